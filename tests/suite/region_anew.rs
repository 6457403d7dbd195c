//! Topics of other regions as a broker keeps them: damaged and brought anew, let go, or of a region that
//! was begun anew with another data directory. Whatever is cut, a broker knows what it does not know.

use bytes::BytesMut;
use npayload::broker::config::{ChannelConfig, ConfigChange};
use npayload::broker::{
    Asked, BrokerError, CheckedBatch, CopiedBatch, NewCopy, Residence, Target, Travelling,
    lived_before,
};
use npayload::format::{BatchBuilder, Compression, NewRecord, Stamp, stamp};
use npayload::region::copies::AsideReason;
use npayload::region::directory::{Named, RegionEvent, Spread, Unnamed};
use npayload::region::homes::{Declined, HomeEvent, Taken};
use npayload::region::interest::{Declared, InterestEvent, Since, Wish};
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset, OrgName, RegionName, Timestamp};

use crate::broker_failures::let_in;
use crate::region_names::{Driven, channel, joined, region};

/// The topic of what `us-east` says of homes, and the one that it has once it was begun anew.
const TOPIC: Incarnation = Incarnation(7 << 96);
const ANEW: Incarnation = Incarnation(8 << 96);

fn homes() -> ChannelName {
    Travelling::Homes.name_from(&region("us-east"))
}

/// A batch of one record, as `us-east` has it on a topic.
fn batch(topic: Incarnation, base: u64, record_type: &str, payload: &[u8]) -> CopiedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        record_type,
        payload: Some(payload),
        ..NewRecord::default()
    };
    builder.push(&record).expect("a record");
    let mut bytes = builder.build().expect("a batch").to_vec();
    let at = Stamp {
        incarnation: topic,
        base_offset: Offset(base),
        append_time: Timestamp(1),
        log_epoch: LogEpoch(1),
        principal: 0,
    };
    stamp(&mut bytes, &at);
    CopiedBatch::check(BytesMut::from(&bytes[..])).expect("as its home has it")
}

/// That `us-east` has taken a log over.
fn taken(topic: Incarnation, base: u64, log: Incarnation) -> CopiedBatch {
    let event = HomeEvent::Taken(Taken {
        incarnation: log,
        log: "orders".parse().unwrap(),
        term: 1,
        start: Offset(0),
        after: LogEpoch(0),
        forced: true,
        missing: None,
        at: Timestamp(1),
    });
    batch(topic, base, event.record_type(), &event.encode())
}

/// That `us-east` takes over nothing that this test is about.
fn nothing(topic: Incarnation, base: u64) -> CopiedBatch {
    let event = HomeEvent::Declined(Declined {
        incarnation: Incarnation(99),
        log: "nobodys".parse().unwrap(),
        term: 1,
        at: Timestamp(1),
    });
    batch(topic, base, event.record_type(), &event.encode())
}

fn copy_of(name: ChannelName, incarnation: Incarnation) -> NewCopy {
    NewCopy {
        name,
        incarnation,
        config: ChannelConfig::default(),
        home: region("us-east"),
        begins_at: Offset(0),
        from_start: true,
        types: None,
    }
}

fn begin(west: &mut Driven, name: ChannelName, topic: Incarnation) {
    let now = west.at();
    let begun = west.broker.create_travelled(copy_of(name, topic), now);
    begun.expect("a copy");
}

fn append(west: &mut Driven, topic: Incarnation, batch: CopiedBatch) {
    let now = west.at();
    let appended = west.broker.append_copied(topic, &mut Some(batch), now);
    appended.expect("appended");
    west.round();
}

/// A batch of one record, of nobody who counts them.
fn produced() -> CheckedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        payload: Some(b"payload"),
        ..NewRecord::default()
    };
    builder.push(&record).expect("a record");
    let_in(builder.build().expect("a batch"))
}

/// Publishes to `orders`.
fn publish(west: &mut Driven) -> Result<(), BrokerError> {
    let target = Target {
        channel: channel("orders"),
        incarnation: None,
        expected: None,
        principal: 9,
    };
    let now = west.at();
    let mut batch = Some(produced());
    let published = west.broker.publish(&target, &mut batch, now);
    published.map(drop).map_err(|refusal| refusal.error)
}

fn is_refused(west: &mut Driven, when: &str) {
    let told = publish(west);
    assert!(
        matches!(&told, Err(BrokerError::HomesUnknown { region: by, .. }) if *by == region("us-east")),
        "{when}: {told:?}"
    );
    let mut lacking = west.broker.lacking_topics();
    let (name, id, why) = lacking.next().expect("it is told");
    assert_eq!((name, id), (&homes(), TOPIC), "{when}");
    assert!(why.starts_with("DAMAGED: "), "{why}");
}

/// A region in which `orders` lives, and whose copy of what `us-east` says of homes can't be so.
fn damaged() -> (Driven, Incarnation) {
    let mut west = Driven::new("eu-west");
    let orders = west.create("orders", Asked::default()).expect("a channel");
    begin(&mut west, homes(), TOPIC);
    publish(&mut west).expect("it lives here");
    for base in 0..2 {
        append(&mut west, TOPIC, taken(TOPIC, base, Incarnation(99)));
    }
    is_refused(&mut west, "once it is found");
    (west, orders)
}

#[test]
fn what_another_region_says_of_homes_is_unknown_until_all_of_it_is_here_whatever_is_cut() {
    let (mut west, orders) = damaged();
    west.settle();
    west = west.cut();
    is_refused(&mut west, "after a start that finds it again");
    let now = west.at();
    let begun = west.broker.begin_anew(&homes(), now).expect("room");
    assert_eq!(begun.map(|begun| begun.value), Some(TOPIC));
    is_refused(&mut west, "while it is removed");
    west.settle();
    // The region is out of reach from here on, and nothing is left of the copy.
    for when in ["a start with nothing of it", "the next one"] {
        west = west.cut();
        assert_eq!(west.broker.residence(&homes()), Residence::Unknown);
        is_refused(&mut west, when);
        west.settle();
    }
    begin(&mut west, homes(), TOPIC);
    append(&mut west, TOPIC, nothing(TOPIC, 0));
    is_refused(&mut west, "before the region has told how far it goes");
    let now = west.at();
    west.broker.topic_goes_to(&homes(), Offset(2), now);
    is_refused(&mut west, "with a part of it");
    west = west.cut();
    is_refused(&mut west, "after a start with a part of it");
    // What is here of it is sound, and is gone on with.
    let now = west.at();
    assert!(
        west.broker
            .begin_anew(&homes(), now)
            .expect("room")
            .is_none()
    );
    west.broker.topic_goes_to(&homes(), Offset(2), now);
    append(&mut west, TOPIC, taken(TOPIC, 1, orders));
    for _ in 0..2 {
        assert_eq!(west.broker.lacking_topics().count(), 0);
        let told = publish(&mut west);
        assert!(
            matches!(told, Err(BrokerError::LivesElsewhere { .. })),
            "{told:?}"
        );
        west = west.cut();
    }
}

#[test]
fn a_region_with_nothing_to_say_is_known_as_soon_as_it_has_told_so() {
    let (mut west, _) = damaged();
    let now = west.at();
    west.broker.begin_anew(&homes(), now).expect("room");
    west.settle();
    begin(&mut west, homes(), TOPIC);
    west.broker.topic_goes_to(&homes(), Offset(0), now);
    publish(&mut west).expect("nobody has taken it");
    west.settle();
    let mut west = west.cut();
    publish(&mut west).expect("nobody has taken it");
}

#[test]
fn nobody_purges_what_is_to_be_known_and_who_goes_on_alone_needs_to_know_nothing() {
    let (mut west, _) = damaged();
    let now = west.at();
    let refused = west.broker.purge_copy(&homes(), now).unwrap_err();
    assert!(
        matches!(refused.error, BrokerError::NotPurged { .. }),
        "{}",
        refused.error
    );
    // Another life of the region can't say what this one said.
    assert!(west.broker.check_life(&homes(), TOPIC).is_ok());
    let other = west.broker.check_life(&homes(), ANEW).unwrap_err();
    assert!(other.contains("region leave"), "{other}");
    // This region leaves: its peers are removed, and its directory with them.
    let removed =
        npayload::region::peers::PeerEvent::Removed(npayload::region::peers::PeerRemoved {
            region: region("us-east"),
            at: now,
        });
    west.broker.record_peer(&removed, now).expect("room");
    west.broker.leave_directory(now).expect("room");
    publish(&mut west).expect("nobody is left who could take it over");
    west.settle();
    let mut west = west.cut();
    publish(&mut west).expect("nobody is left who could take it over");
    west.broker.purge_copy(&homes(), now).expect("of no use");
    west.settle();
    let west = west.cut();
    assert_eq!(west.broker.lacking_topics().count(), 0);
}

#[test]
fn a_directory_that_is_let_go_lets_nobody_else_have_anything_until_all_of_it_is_here() {
    let mut east = Driven::new("us-east");
    east.begin();
    let names = ["eu-west", "ap-south"];
    east.record(&names.map(joined));
    let asked = Asked {
        residency: Some([region("us-east"), region("eu-west")].into()),
        ..Asked::default()
    };
    east.create("orders", asked).expect("a channel");
    east.create("news", Asked::default()).expect("a channel");
    let mut west = Driven::new("eu-west");
    west.take(&mut east, Travelling::Regions);
    let topic = Travelling::Regions.name();
    let south = region("ap-south");
    let may =
        |west: &Driven| ["orders", "news"].map(|name| west.broker.may_hold(&channel(name), &south));
    assert_eq!(may(&west), [false, true]);
    // All that was here of it was another region's: so a loser that comes back finds it.
    let id = west.broker.identity_of(&topic).expect("it is here");
    let now = west.at();
    west.broker.drop_copy(&topic, id, now).expect("dropped");
    west.broker.refold_regions(&[]).expect("nothing");
    for _ in 0..2 {
        assert_eq!(may(&west), [false, false]);
        let own = west.broker.may_hold_here(&channel("orders"));
        assert!(own, "whoever it comes from judges that");
        assert!(west.broker.lacks_directory());
        west.settle();
        west = west.cut();
    }
    let end = east.broker.copy_place(id).expect("a log").next;
    let now = west.at();
    west.broker.topic_goes_to(&topic, end, now);
    west.take(&mut east, Travelling::Regions);
    west.settle();
    for _ in 0..2 {
        assert_eq!(may(&west), [false, true]);
        assert!(!west.broker.lacks_directory());
        west = west.cut();
    }
}

/// A region with a copy of what `us-east` said of homes before it was begun anew.
fn with_homes(said: impl Fn(Incarnation) -> CopiedBatch) -> Driven {
    let mut west = Driven::new("eu-west");
    let orders = west.create("orders", Asked::default()).expect("a channel");
    begin(&mut west, homes(), TOPIC);
    append(&mut west, TOPIC, said(orders));
    west
}

#[test]
fn what_was_said_of_homes_before_a_region_was_begun_anew_stays_where_a_log_rests_on_it() {
    let mut west = with_homes(|orders| taken(TOPIC, 0, orders));
    let why = west.broker.check_begin_anew(&homes()).unwrap_err();
    assert!(why.contains("`orders`") && why.contains("--force"), "{why}");
    let now = west.at();
    let anew = copy_of(homes(), ANEW);
    west.broker.create_travelled_anew(anew, now).unwrap_err();
    let refused = west.broker.purge_copy(&homes(), now).unwrap_err();
    assert!(
        matches!(refused.error, BrokerError::NotPurged { .. }),
        "{}",
        refused.error
    );
    let told = publish(&mut west);
    assert!(
        matches!(told, Err(BrokerError::LivesElsewhere { .. })),
        "{told:?}"
    );
}

#[test]
fn what_no_log_rests_on_is_begun_anew_in_one_entry_with_the_end_of_the_one_before() {
    let mut west = with_homes(|_| nothing(TOPIC, 0));
    west.settle();
    west.broker
        .check_begin_anew(&homes())
        .expect("nothing rests on it");
    let now = west.at();
    west.broker
        .create_travelled_anew(copy_of(homes(), ANEW), now)
        .expect("room");
    let found = |west: &Driven| west.broker.identity_of(&homes());
    assert_eq!(found(&west), Some(ANEW));
    // Nothing of it was synced: it is the one before, whole.
    west = west.cut();
    assert_eq!(found(&west), Some(TOPIC));
    let now = west.at();
    west.broker
        .create_travelled_anew(copy_of(homes(), ANEW), now)
        .expect("room");
    append(&mut west, ANEW, nothing(ANEW, 0));
    west.settle();
    let mut west = west.cut();
    assert_eq!(found(&west), Some(ANEW));
    assert!(west.broker.storage().log(TOPIC).is_none(), "it is gone");
    publish(&mut west).expect("it lives here");
}

#[test]
fn what_a_region_asked_for_before_it_was_begun_anew_is_asked_for_no_more() {
    let mut west = Driven::new("eu-west");
    let topic = Travelling::Interest.name_from(&region("us-east"));
    begin(&mut west, topic.clone(), TOPIC);
    let asks = |topic: Incarnation, pattern: &str| {
        let event = InterestEvent::Declared(Declared {
            org: OrgName::parse("default").unwrap(),
            pattern: pattern.parse().unwrap(),
            wish: Wish {
                types: None,
                from: Since::Start,
                retention_days: None,
            },
            at: Timestamp(1),
        });
        batch(topic, 0, event.record_type(), &event.encode())
    };
    append(&mut west, TOPIC, asks(TOPIC, "old.>"));
    let now = west.at();
    let anew = copy_of(topic, ANEW);
    west.broker.create_travelled_anew(anew, now).expect("room");
    append(&mut west, ANEW, asks(ANEW, "new.>"));
    for _ in 0..2 {
        let asked = west.broker.interests_of(&region("us-east"));
        let patterns = asked.expect("it asks").patterns();
        let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["new.>"]);
        west.settle();
        west = west.cut();
    }
}

/// The directory at home here, with a channel of `us-east` of which a copy is here.
fn with_copy(is_of_directory: bool) -> Driven {
    let mut west = Driven::new("eu-west");
    west.begin();
    if is_of_directory {
        west.record(&[joined("us-east")]);
    }
    west.record(&[RegionEvent::Named(Named {
        channel: channel("orders"),
        incarnation: TOPIC,
        regions: Spread::One,
        home: region("us-east"),
        residency: None,
        ack_regions: 1,
        at: Timestamp(1),
    })]);
    west.declare("orders");
    let now = west.at();
    let copy = copy_of(channel("orders"), TOPIC);
    west.broker.create_copy(copy, now).expect("a copy");
    append(&mut west, TOPIC, batch(TOPIC, 0, "text", b"old"));
    west
}

fn unname(west: &mut Driven) {
    west.record(&[RegionEvent::Unnamed(Unnamed {
        channel: channel("orders"),
        incarnation: TOPIC,
        at: Timestamp(2),
    })]);
}

#[test]
fn a_channel_is_made_where_the_one_of_its_name_is_over_and_what_is_here_of_that_is_kept_beside() {
    let mut west = with_copy(true);
    let orders = channel("orders");
    assert!(!west.broker.is_over(&orders));
    let refused = west.create("orders", Asked::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Create(_)), "{refused}");
    unname(&mut west);
    assert!(west.broker.is_over(&orders));
    let made = west
        .create("orders", Asked::default())
        .expect("its name is free");
    assert_ne!(made, TOPIC);
    west.settle();
    for _ in 0..2 {
        assert_eq!(west.broker.residence(&orders), Residence::Home(made));
        let kept = west.broker.kept_copies();
        let [aside] = kept.aside() else {
            panic!("{:?}", kept.aside());
        };
        assert_eq!(
            (aside.incarnation, aside.reason),
            (TOPIC, AsideReason::Recreated)
        );
        let place = channel(&aside.place);
        assert_eq!(lived_before(&place), Some(orders.clone()));
        assert!(matches!(
            west.broker.residence(&place),
            Residence::Copy(TOPIC, _)
        ));
        assert!(!west.broker.is_over(&orders));
        west = west.cut();
    }
    publish(&mut west).expect("it lives here");
}

#[test]
fn a_copy_whose_home_the_directory_does_not_know_is_in_the_way_whatever_has_a_name() {
    let mut west = with_copy(false);
    unname(&mut west);
    assert!(!west.broker.is_over(&channel("orders")));
    let refused = west.create("orders", Asked::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Create(_)), "{refused}");
}

#[test]
fn what_is_left_of_a_channel_that_is_over_is_purged_whatever_is_asked_for() {
    let mut west = with_copy(true);
    let (orders, now) = (channel("orders"), west.at());
    let refused = west.broker.purge_copy(&orders, now).unwrap_err();
    assert!(
        matches!(refused.error, BrokerError::NotPurged { .. }),
        "{}",
        refused.error
    );
    unname(&mut west);
    west.broker
        .purge_copy(&orders, now)
        .expect("nobody can want it");
    assert_eq!(west.broker.residence(&orders), Residence::Unknown);
}

#[test]
fn another_channel_that_the_directory_names_takes_the_place_of_one_that_is_over() {
    let mut west = with_copy(true);
    let south = NewCopy {
        home: region("ap-south"),
        ..copy_of(channel("orders"), ANEW)
    };
    unname(&mut west);
    // Whoever says so, while the directory does not.
    let now = west.at();
    west.broker
        .create_recreated(south.clone(), now)
        .unwrap_err();
    west.record(&[
        joined("ap-south"),
        RegionEvent::Named(Named {
            channel: channel("orders"),
            incarnation: ANEW,
            regions: Spread::One,
            home: region("ap-south"),
            residency: None,
            ack_regions: 1,
            at: Timestamp(3),
        }),
    ]);
    assert!(west.broker.is_made_again(&channel("orders"), ANEW));
    let now = west.at();
    west.broker
        .create_recreated(south, now)
        .expect("the directory names it");
    let home = RegionName::parse("ap-south").unwrap();
    let found = west.broker.residence(&channel("orders"));
    assert_eq!(found, Residence::Copy(ANEW, home));
    assert_eq!(west.broker.kept_copies().aside().len(), 1);
}

#[test]
fn a_log_that_was_moved_away_and_purged_is_not_made_a_second_time_under_its_identity() {
    let mut west = Driven::new("eu-west");
    west.begin();
    west.record(&[joined("us-east")]);
    let orders = west.create("orders", Asked::default()).expect("a channel");
    begin(&mut west, homes(), TOPIC);
    append(&mut west, TOPIC, taken(TOPIC, 0, orders));
    let now = west.at();
    west.broker
        .purge_copy(&channel("orders"), now)
        .expect("nobody wants it");
    west.settle();
    let mut west = west.cut();
    for told in [
        publish(&mut west),
        west.create("orders", Asked::default()).map(drop),
    ] {
        assert!(
            matches!(&told, Err(BrokerError::LivesElsewhere { home, .. }) if *home == region("us-east")),
            "{told:?}"
        );
    }
    let change = ConfigChange::default();
    let now = west.at();
    let made = west
        .broker
        .create_channel(channel("others"), &change, false, now);
    made.expect("another one is made");
}
