//! The directory of all regions as a broker keeps it: a channel and its name are there together or not
//! at all, whatever is cut; what other regions tell is folded, and again after a restart.

mod keys;

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use npayload::broker::config::{ChannelConfig, ConfigChange};
use npayload::broker::{
    Asked, Broker, BrokerConfig, BrokerError, CopiedBatch, Fetch, FetchStep, Looked, NewCopy,
    Place, Seat, Travelling,
};
use npayload::format::BatchHeader;
use npayload::region::directory::{
    Consent, Crossing, Joined, Left, Named, RegionEvent, Scope, Side, Spread,
};
use npayload::region::homes::Run;
use npayload::region::interest::{Declared, Since, Wish};
use npayload::storage::StorageConfig;
use npayload::storage::disk::{CrashingDisk, Disk, Loss};
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset, OrgName, RegionName, Timestamp};

use crate::storage_harness::{ROOT, small};

pub fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse_any(name).unwrap()
}

/// A broker that is a region, driven from one thread.
pub struct Driven {
    pub broker: Broker,
    disk: CrashingDisk,
    name: &'static str,
    now: i64,
}

impl Driven {
    pub fn new(name: &'static str) -> Self {
        Self::open(CrashingDisk::new(), name, 1000)
    }

    fn open(disk: CrashingDisk, name: &'static str, now: i64) -> Self {
        let config = BrokerConfig {
            storage: StorageConfig {
                reserve_bytes: 0,
                ..small()
            },
            fold_events: 20,
            region: Some(region(name)),
            ..BrokerConfig::default()
        };
        let mut seed = now.unsigned_abs() + name.len() as u64;
        let random = Box::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let of: Arc<dyn Disk> = Arc::new(disk.clone());
        let now_ms = Timestamp(now);
        let broker = Broker::open(of, Path::new(ROOT), config, "a test", now_ms, random);
        Self {
            broker: broker.expect("it opens"),
            disk,
            name,
            now,
        }
    }

    /// As after a power cut: what was not synced is gone.
    pub fn cut(self) -> Self {
        let (name, now) = (self.name, self.now + 1);
        Self::open(self.disk.after(Loss::All), name, now)
    }

    pub fn at(&mut self) -> Timestamp {
        self.now += 1;
        Timestamp(self.now)
    }

    pub fn round(&mut self) {
        while let Some(round) = self.broker.plan_round(Timestamp(self.now)) {
            let end = round.run();
            self.broker.finish_round(end);
        }
    }

    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.now += 2_000;
            let now = Timestamp(self.now);
            self.round();
            // Topics are folded and trimmed by the keeper's tick, and by nothing else.
            while let Looked::Unlisted(task) = self.broker.tick(now) {
                self.broker.finish_load(task.run()).expect("listed");
            }
            self.round();
            while let Some(job) = self.broker.plan_upkeep(now) {
                self.broker.finish_upkeep(job.run(), now);
                self.round();
            }
        }
    }

    pub fn begin(&mut self) {
        let now = self.at();
        self.broker.begin_directory(now).unwrap();
        self.round();
    }

    pub fn record(&mut self, events: &[RegionEvent]) {
        loop {
            let now = self.at();
            match self.broker.record_regions(events, now) {
                Ok(_) => break,
                Err(refusal) => assert!(refusal.is_busy(), "{}", refusal.error),
            }
            self.settle();
        }
        self.round();
    }

    pub fn create(&mut self, name: &str, asked: Asked) -> Result<Incarnation, BrokerError> {
        let name = channel(name);
        loop {
            let now = self.at();
            let made = self.broker.asking(asked.clone(), |broker| {
                broker.create_channel(name.clone(), &ConfigChange::default(), false, now)
            });
            match made {
                Ok(_) => return Ok(self.broker.identity_of(&name).unwrap()),
                Err(refusal) if refusal.is_busy() => self.settle(),
                Err(refusal) => return Err(refusal.error),
            }
        }
    }

    fn delete(&mut self, name: &str) {
        loop {
            let now = self.at();
            match self.broker.delete_channel(&channel(name), None, now) {
                Ok(_) => return,
                Err(refusal) => assert!(refusal.is_busy(), "{}", refusal.error),
            }
            self.settle();
        }
    }

    pub fn declare(&mut self, pattern: &str) {
        loop {
            let now = self.at();
            let declared = Declared {
                org: OrgName::parse("default").unwrap(),
                pattern: pattern.parse().unwrap(),
                wish: Wish {
                    types: None,
                    from: Since::Start,
                    retention_days: None,
                },
                at: now,
            };
            match self.broker.declare_interest(declared, now) {
                Ok(_) => return,
                Err(refusal) => assert!(refusal.is_busy(), "{}", refusal.error),
            }
            self.settle();
        }
    }

    /// Lowest readable offset and end of a topic, by its name here.
    fn range_of(&self, topic: &ChannelName) -> (Offset, Offset) {
        let id = self.broker.identity_of(topic).expect("it is here");
        let log = self.broker.storage().log(id).expect("it is here");
        (log.log_start(), log.end())
    }

    fn named(&self, name: &str) -> Option<(RegionName, Incarnation)> {
        let known = self.broker.region_directory().channel(name)?;
        let (home, id) = known.logs.iter().next()?;
        Some((home.clone(), *id))
    }

    /// All stored batches of a topic from its log start on.
    fn batches(&mut self, topic: &ChannelName) -> (Incarnation, Offset, Vec<BytesMut>) {
        self.round();
        let id = self.broker.identity_of(topic).unwrap();
        let log = self.broker.storage().log(id).unwrap();
        let (start, end) = (log.log_start(), log.flushed());
        let (mut at, mut all) = (start, Vec::new());
        while at < end {
            let place = Place::Offset(at);
            let mut fetch = Fetch::new(topic.clone(), Some(id), place, LogEpoch(0), 1 << 20);
            let fetched = loop {
                match self.broker.fetch_step(&mut fetch).expect("readable") {
                    FetchStep::Done(fetched) => break fetched,
                    FetchStep::Run(job) => {
                        let end = job.run();
                        self.broker.feed_fetch(&mut fetch, end).expect("readable");
                    }
                }
            };
            for part in fetched.slices.parts {
                let mut rest = BytesMut::from(&part[..]);
                while !rest.is_empty() {
                    let header = BatchHeader::peek(&rest).unwrap();
                    at = header.end_offset();
                    all.push(rest.split_to(header.len()));
                }
            }
        }
        (id, start, all)
    }

    /// Takes what another region's topic has that is not here yet.
    pub fn take(&mut self, from: &mut Self, topic: Travelling) {
        let (id, begins_at, batches) = from.batches(&topic.name());
        let here = topic.name_from(&region(from.name));
        let now = self.at();
        if self.broker.identity_of(&here).is_none() {
            let new = NewCopy {
                name: here,
                incarnation: id,
                config: ChannelConfig::default(),
                home: region(from.name),
                begins_at,
                from_start: true,
                types: None,
            };
            self.broker.create_travelled(new, now).unwrap();
        }
        let next = self.broker.copy_place(id).unwrap().next;
        if next < begins_at {
            self.broker.append_gap(id, next..begins_at, now).unwrap();
        }
        for batch in batches {
            let mut batch = Some(CopiedBatch::check(batch).unwrap());
            while let Err(refusal) = self.broker.append_copied(id, &mut batch, now) {
                assert!(refusal.is_busy(), "{}", refusal.error);
                self.settle();
            }
        }
        self.round();
    }
}

pub fn joined(name: &str) -> RegionEvent {
    RegionEvent::Joined(Joined {
        region: region(name),
        at: Timestamp(1),
    })
}

#[test]
fn a_channel_and_its_name_are_one_entry_and_so_is_the_end_of_both() {
    for rounds in [0, 1] {
        let mut home = Driven::new("ap-south");
        home.begin();
        let id = home.create("orders", Asked::default()).unwrap();
        assert_eq!(home.named("orders"), Some((region("ap-south"), id)));
        if rounds == 1 {
            home.round();
        }
        let mut home = home.cut();
        // Both or neither.
        let is_there = home.broker.identity_of(&channel("orders")).is_some();
        assert_eq!(is_there, rounds == 1);
        assert_eq!(home.named("orders").is_some(), is_there);
        if !is_there {
            continue;
        }
        let now = home.at();
        home.broker
            .delete_channel(&channel("orders"), None, now)
            .unwrap();
        assert_eq!(home.named("orders"), None);
        let home = home.cut();
        assert_eq!(
            home.named("orders"),
            Some((region("ap-south"), id)),
            "nothing was synced"
        );
        assert!(home.broker.identity_of(&channel("orders")).is_some());
    }
}

#[test]
fn elsewhere_a_channel_is_made_with_the_identity_that_its_name_was_given_and_not_without_one() {
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west")]);
    let mut west = Driven::new("eu-west");
    assert_eq!(west.broker.directory_seat(), Seat::Nowhere);
    let free = west.create("before", Asked::default()).unwrap();
    west.take(&mut home, Travelling::Regions);
    assert_eq!(
        west.broker.directory_seat(),
        Seat::There(region("ap-south"))
    );
    assert_eq!(west.broker.unnamed("", 9), [(channel("before"), free)]);
    let refused = west.create("orders", Asked::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Unnamed { .. }), "{refused}");
    let id = Incarnation(77);
    west.broker.grant(channel("orders"), id);
    assert_eq!(west.create("orders", Asked::default()).unwrap(), id);
    // A name is used once: the next channel of the name needs another.
    let now = west.at();
    west.broker
        .delete_channel(&channel("orders"), None, now)
        .unwrap();
    let refused = west.create("orders", Asked::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Unnamed { .. }), "{refused}");
    // What another region has is not made at the directory's home either.
    home.record(&[RegionEvent::Named(Named {
        channel: channel("theirs"),
        incarnation: Incarnation(5),
        regions: Spread::One,
        home: region("eu-west"),
        residency: None,
        ack_regions: 1,
        at: Timestamp(1),
    })]);
    let refused = home.create("theirs", Asked::default()).unwrap_err();
    assert!(refused.to_string().contains("exists"), "{refused}");
}

#[test]
fn what_a_region_tells_is_folded_where_it_comes_and_again_after_a_restart_and_a_trim() {
    let mut home = Driven::new("ap-south");
    home.begin();
    let mut west = Driven::new("eu-west");
    home.record(&[joined("eu-west")]);
    west.take(&mut home, Travelling::Regions);
    let topic = Travelling::Regions.name();
    // Many names, and their ends: the topic is begun anew with a state record.
    for round in 0..40 {
        let name = format!("c{round}");
        home.create(&name, Asked::default()).unwrap();
        if round % 4 != 0 {
            home.delete(&name);
        }
        if round % 8 == 7 {
            home.settle();
        }
        if round == 10 {
            west.take(&mut home, Travelling::Regions);
        }
    }
    home.settle();
    let (start, _) = home.range_of(&topic);
    assert!(start > west.range_of(&topic).1, "{start}");
    let mut home = home.cut();
    assert_eq!(home.broker.region_directory().channels().count(), 10);
    assert_eq!(home.range_of(&topic).0, start, "on the record");
    // What was trimmed before it came is a gap here, and the state comes whole behind it.
    west.take(&mut home, Travelling::Regions);
    assert_eq!(
        west.broker.region_directory(),
        home.broker.region_directory()
    );
    west.settle();
    assert_eq!(west.range_of(&topic).0, start, "trimmed here as well");
    // It is no loss that anybody has to see to, and the copy is as whole as any.
    let id = west.broker.identity_of(&topic).unwrap();
    assert!(west.broker.kept_copies().copy(id).is_none());
    assert!(west.broker.copy_of(id).unwrap().is_whole());
    let west = west.cut();
    assert_eq!(
        west.broker.region_directory(),
        home.broker.region_directory()
    );
    // Whoever comes late begins with the whole state.
    let mut east = Driven::new("us-east");
    east.take(&mut home, Travelling::Regions);
    assert_eq!(east.range_of(&topic).0, start);
    assert!(east.broker.copy_of(id).unwrap().is_whole());
    assert_eq!(
        east.cut().broker.region_directory(),
        home.broker.region_directory()
    );
}

/// The topics that a region writes by itself, however long it runs, are bounded by what they come to.
#[test]
fn topics_of_a_region_stay_as_long_as_what_they_come_to() {
    let mut home = Driven::new("ap-south");
    home.begin();
    let mut west = Driven::new("eu-west");
    home.record(&[joined("eu-west")]);
    let theirs = Travelling::Homes.name_from(&region("ap-south"));
    for _ in 0..30 {
        for topic in Travelling::ALL {
            west.take(&mut home, topic);
        }
        for n in 0..8 {
            home.declare(&format!("n{n}"));
            home.create("c", Asked::default()).unwrap();
            home.delete("c");
        }
        home.settle();
        west.settle();
    }
    for topic in [Travelling::Regions, Travelling::Interest] {
        let (start, end) = home.range_of(&topic.name());
        assert!(end.0 > 200, "{topic:?} ends at {end}");
        assert!(end.0 - start.0 < 100, "{topic:?} has {start}..{end}");
        let here = topic.name_from(&region("ap-south"));
        let (start, end) = west.range_of(&here);
        assert!(end.0 > 200, "{topic:?} ends at {end}");
        assert!(end.0 - start.0 < 100, "{topic:?} has {start}..{end} here");
    }
    assert!(west.broker.identity_of(&theirs).is_some());
    // What they come to is there, and after a start that reads no more than is left.
    let asked = home.broker.interests().len();
    let known = |west: &Driven| {
        west.broker
            .interests_of(&region("ap-south"))
            .map(|it| it.len())
    };
    assert_eq!(known(&west), Some(asked));
    assert_eq!(known(&west.cut()), Some(asked));
}

#[test]
fn what_may_be_held_is_what_was_said_last_of_channel_and_organisation() {
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west"), joined("us-east")]);
    let asked = |names: &[&str]| Asked {
        residency: Some(names.iter().map(|name| region(name)).collect()),
        ack_regions: 1,
    };
    home.create("secret", asked(&["ap-south", "us-east"]))
        .unwrap();
    home.create("open", Asked::default()).unwrap();
    for refused in [asked(&["us-east"]), asked(&["ap-south", "mars"])] {
        let error = home.create("refused", refused).unwrap_err();
        assert!(matches!(error, BrokerError::Name(_)), "{error}");
        assert!(home.broker.identity_of(&channel("refused")).is_none());
    }
    let holds = |home: &Driven, name: &str| {
        let all = ["ap-south", "eu-west", "us-east", "mars"];
        all.map(|one| home.broker.may_hold(&channel(name), &region(one)))
    };
    assert_eq!(holds(&home, "secret"), [true, false, true, false]);
    // One that nobody has restricted is held by any region, known or not.
    assert_eq!(holds(&home, "open"), [true; 4]);
    let before = home.broker.consents();
    home.record(&[RegionEvent::Consent(Consent {
        scope: Scope::Org(OrgName::parse("default").unwrap()),
        residency: Some([region("ap-south"), region("eu-west")].into()),
        at: Timestamp(1),
    })]);
    assert!(home.broker.consents() > before, "links are told");
    let home = home.cut();
    assert_eq!(holds(&home, "secret"), [true, false, false, false]);
    assert_eq!(holds(&home, "open"), [true, true, false, false]);
    assert_eq!(holds(&home, "__interest"), [true; 4]);
}

#[test]
fn between_organisations_both_have_said_yes_before_anything_crosses() {
    let org = |name: &str| OrgName::parse(name).unwrap();
    let mut home = Driven::new("ap-south");
    let crosses =
        |home: &Driven, guest: &str| home.broker.may_cross(&channel("acme/orders"), &org(guest));
    assert!(
        crosses(&home, "beta"),
        "without a directory nobody is asked"
    );
    home.begin();
    let guests = ["acme", "default", "beta"];
    assert_eq!(
        guests.map(|guest| crosses(&home, guest)),
        [true, true, false]
    );
    for (side, then) in [(Side::Owner, false), (Side::Guest, true)] {
        home.record(&[RegionEvent::Crossing(Crossing {
            owner: org("acme"),
            guest: org("beta"),
            side,
            allowed: true,
            at: Timestamp(1),
        })]);
        assert_eq!(crosses(&home, "beta"), then);
    }
}

#[test]
fn purging_a_copy_where_the_directory_is_at_home_gives_no_name_back() {
    let mut home = Driven::new("ap-south");
    home.begin();
    let id = Incarnation(5);
    home.record(&[
        joined("eu-west"),
        RegionEvent::Named(Named {
            channel: channel("theirs"),
            incarnation: id,
            regions: Spread::One,
            home: region("eu-west"),
            residency: None,
            ack_regions: 1,
            at: Timestamp(1),
        }),
    ]);
    let new = NewCopy {
        name: channel("theirs"),
        incarnation: id,
        config: ChannelConfig::default(),
        home: region("eu-west"),
        begins_at: Offset(0),
        from_start: true,
        types: None,
    };
    let now = home.at();
    home.broker.create_copy(new, now).unwrap();
    assert_eq!(
        home.named("theirs"),
        Some((region("eu-west"), id)),
        "as it was named"
    );
    home.broker.purge_copy(&channel("theirs"), now).unwrap();
    assert_eq!(home.named("theirs"), Some((region("eu-west"), id)));
}

#[test]
fn a_directory_that_is_moved_takes_nothing_behind_its_fence_and_is_the_same_in_its_new_home() {
    let topic = Travelling::Regions.name();
    let (south, west) = (region("ap-south"), region("eu-west"));
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west")]);
    let mut target = Driven::new("eu-west");
    for round in 0..5 {
        home.create(&format!("c{round}"), Asked::default()).unwrap();
    }
    // So much that its state would be written anew.
    let word = RegionEvent::Crossing(Crossing {
        owner: OrgName::parse("acme").unwrap(),
        guest: OrgName::parse("beta").unwrap(),
        side: Side::Owner,
        allowed: true,
        at: Timestamp(1),
    });
    home.record(&vec![word; 60]);
    let id = home.broker.identity_of(&topic).unwrap();
    let now = home.at();
    let stopped = home.broker.stop_for_move(&topic, id, &west, now);
    assert!(!stopped.unwrap(), "it has to be synced first");
    home.round();
    let end = home.broker.storage().log(id).unwrap().end();
    // Nobody is given a name, and no state is written, neither before nor behind the fence.
    for is_fenced in [false, true] {
        if is_fenced {
            let now = home.at();
            home.broker.record_fence(&topic, id, &west, now).unwrap();
        }
        let refused = home.create("late", Asked::default()).unwrap_err();
        assert!(
            matches!(refused, BrokerError::HomeMoving { .. }),
            "{refused}"
        );
        assert!(home.broker.identity_of(&channel("late")).is_none());
        let now = home.at();
        let refused = home.broker.record_regions(&[joined("us-east")], now);
        let refused = refused.unwrap_err().error;
        assert!(
            matches!(refused, BrokerError::HomeMoving { .. }),
            "{refused}"
        );
        home.settle();
        assert_eq!(home.broker.storage().log(id).unwrap().end(), end);
    }
    target.take(&mut home, Travelling::Regions);
    target.take(&mut home, Travelling::Homes);
    let (_, start, batches) = target.batches(&topic);
    let epochs = batches
        .iter()
        .map(|batch| BatchHeader::peek(batch).unwrap());
    let epoch = epochs.map(|header| header.log_epoch()).max().unwrap();
    let runs = [Run {
        epoch,
        offsets: start..end,
    }];
    let now = target.at();
    target
        .broker
        .take_home(&topic, id, &runs, None, now)
        .unwrap();
    assert_eq!(target.broker.directory_seat(), Seat::Here);
    target.create("new", Asked::default()).unwrap();
    // The home before hears of it, and takes what comes, also behind a restart of both.
    home.take(&mut target, Travelling::Homes);
    assert_eq!(home.broker.directory_seat(), Seat::There(west.clone()));
    home.take(&mut target, Travelling::Regions);
    assert_eq!(home.named("new").map(|(home, _)| home), Some(west.clone()));
    let refused = home.create("late", Asked::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Unnamed { .. }), "{refused}");
    for round in 0..30 {
        target
            .create(&format!("d{round}"), Asked::default())
            .unwrap();
    }
    target.settle();
    home.take(&mut target, Travelling::Regions);
    home.settle();
    let (home, mut target) = (home.cut(), target.cut());
    assert_eq!(home.broker.directory_seat(), Seat::There(west));
    assert_eq!(target.broker.directory_seat(), Seat::Here);
    assert_eq!(
        home.broker.region_directory(),
        target.broker.region_directory()
    );
    assert_eq!(target.broker.region_directory().channels().count(), 36);
    assert!(target.broker.region_directory().is_known(&south));
    target.create("newer", Asked::default()).unwrap();
}

#[test]
fn a_region_that_has_left_may_hold_nothing_and_may_join_again() {
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west")]);
    home.create("orders", Asked::default()).unwrap();
    let west = region("eu-west");
    let holds = |home: &Driven| {
        let names = ["orders", "__interest", "__regions"];
        names.map(|name| home.broker.may_hold(&channel(name), &west))
    };
    assert_eq!(holds(&home), [true; 3]);
    let before = home.broker.consents();
    home.record(&[RegionEvent::Left(Left {
        region: west.clone(),
        at: Timestamp(7),
    })]);
    assert!(home.broker.consents() > before, "links are told");
    assert_eq!(holds(&home), [false, false, true]);
    // It is in the state record too.
    for round in 0..40 {
        home.create(&format!("c{round}"), Asked::default()).unwrap();
    }
    home.settle();
    let mut home = home.cut();
    assert_eq!(
        home.broker.region_directory().left_at(&west),
        Some(Timestamp(7))
    );
    assert_eq!(holds(&home), [false, false, true]);
    home.record(&[joined("eu-west")]);
    assert_eq!(holds(&home), [true; 3]);
    assert_eq!(home.broker.region_directory().left_at(&west), None);
}
