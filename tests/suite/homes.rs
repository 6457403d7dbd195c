//! Homes of logs, broker by broker: epochs with term and region number, and the steps of a move.

use npayload::broker::{BrokerError, BrokerOpenError, Residence};
use npayload::region::homes::{HomeEvent, Run};
use npayload::region::{HomeEpoch, RegionNumber, Tenure};
use npayload::storage::disk::{CrashingDisk, Loss};
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

use crate::copies::{Driven, name};

fn region(name: &str) -> RegionName {
    RegionName::parse(name).expect("a name")
}

fn open(region: &str) -> Driven {
    Driven::open_as(CrashingDisk::new(), 1, Some(region)).expect("it opens")
}

fn publish(home: &mut Driven, sequence: u64) -> npayload::broker::Published {
    let mut batch = Some(Driven::built(sequence, &[100]));
    let published = home.try_publish(&mut batch).expect("it is taken");
    home.settle();
    published
}

fn refused(home: &mut Driven, sequence: u64) -> BrokerError {
    let mut batch = Some(Driven::built(sequence, &[100]));
    home.try_publish(&mut batch)
        .expect_err("it is refused")
        .error
}

/// What a region has said on its topic of homes.
fn said(of: &mut Driven) -> Vec<HomeEvent> {
    let topic = ChannelName::parse_any("__homes").expect("a name");
    let batches = of.batches_of(&topic, Offset(0));
    let records = batches.iter().flat_map(|batch| {
        let records = npayload::format::records(batch).expect("records");
        records
            .map(|record| record.expect("a record"))
            .collect::<Vec<_>>()
    });
    let events = records.map(|record| {
        let payload = record.payload.clone().unwrap_or_default();
        HomeEvent::decode(record.record_type.as_str(), &payload).expect("an event")
    });
    events.collect()
}

/// Has a region hear what another has said since it last did.
fn tell(from: &mut Driven, by: &str, heard: &mut usize, to: &mut [&mut Driven]) {
    let all = said(from);
    for broker in to {
        broker
            .broker
            .apply_homes(&region(by), &all[*heard..])
            .expect("in order");
    }
    *heard = all.len();
}

fn runs(of: &mut Driven) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for batch in of.batches(Offset(0)) {
        let header = npayload::format::BatchHeader::peek(&batch).expect("a batch");
        runs.push(Run {
            epoch: header.log_epoch(),
            offsets: header.base_offset()..header.end_offset(),
        });
    }
    runs
}

fn epoch(term: u32, name: &str, starts: u64) -> LogEpoch {
    let region = RegionNumber::of(&region(name));
    HomeEpoch::new(Tenure { term, region }, starts)
        .expect("it fits")
        .log_epoch()
}

/// A home with a few batches, and a copy of them in another region.
fn pair() -> (Driven, Driven, Incarnation) {
    let mut east = open("us-east");
    for sequence in 0..4 {
        publish(&mut east, sequence);
    }
    let id = east.id().expect("a log");
    let mut west = open("eu-west");
    west.begin_copy(id, Offset(0));
    let batches = east.batches(Offset(0));
    west.pull(&batches, id);
    (east, west, id)
}

#[test]
fn a_region_stamps_its_number_and_its_starts_and_stays_who_it_is() {
    let mut east = open("us-east");
    assert_eq!(publish(&mut east, 0).log_epoch, epoch(0, "us-east", 1));
    let mut east = east.reopen(Loss::All);
    assert_eq!(publish(&mut east, 1).log_epoch, epoch(0, "us-east", 2));
    east.settle();
    let disk = east.disk.after(Loss::All);
    for other in [Some("eu-west"), None] {
        let found = Driven::try_open(disk.after(Loss::All), 9, other);
        let error = found.err().expect("it is refused");
        let BrokerOpenError::OtherRegion { name, number } = &error else {
            panic!("{error}");
        };
        assert_eq!(name.as_ref().map(RegionName::as_str), other);
        assert_eq!(*number, RegionNumber::of(&region("us-east")));
    }
    // One without a name stamps what it always did, and may be named later.
    let mut plain = Driven::open_as(CrashingDisk::new(), 1, None).expect("it opens");
    assert_eq!(publish(&mut plain, 0).log_epoch, LogEpoch(1));
    plain.settle();
    let mut named =
        Driven::open_as(plain.disk.after(Loss::All), 5, Some("us-east")).expect("it opens");
    assert_eq!(publish(&mut named, 1).log_epoch, epoch(0, "us-east", 2));
}

#[test]
fn a_planned_move_stops_the_home_and_goes_on_in_the_other_region() {
    let (mut east, mut west, id) = pair();
    let to = region("eu-west");
    let (mut heard_east, mut heard_west) = (0, 0);
    let now = |of: &Driven| Timestamp(of.now);
    // Without a fence nobody takes over.
    let held = runs(&mut west);
    let at = now(&west);
    assert!(west.broker.take_home(&name(), id, &held, None, at).is_err());
    let at = now(&east);
    assert!(
        !east
            .broker
            .stop_for_move(&name(), id, &to, at)
            .expect("it stops")
    );
    let error = refused(&mut east, 4);
    assert!(matches!(error, BrokerError::HomeMoving { .. }), "{error}");
    let fenced = east
        .broker
        .record_fence(&name(), id, &to, at)
        .expect("recorded");
    let fence = fenced.value.moving.expect("a fence");
    assert_eq!((fence.end, fence.next), (Offset(4), 1));
    assert!(
        east.broker
            .stop_for_move(&name(), id, &to, at)
            .expect("again"),
        "it stands"
    );
    let elsewhere = east
        .broker
        .stop_for_move(&name(), id, &region("ap-south"), at);
    assert!(elsewhere.is_err(), "for one target at a time");
    east.settle();
    // The fence outlives a restart.
    let mut east = east.reopen(Loss::All);
    assert!(matches!(
        refused(&mut east, 4),
        BrokerError::HomeMoving { .. }
    ));
    assert_eq!(east.batches(Offset(0)).len(), 4, "it is read");
    tell(&mut east, "us-east", &mut heard_east, &mut [&mut west]);
    assert_eq!(west.broker.fence_for_me(id), Some(fence));
    let at = now(&west);
    let short = west.broker.take_home(&name(), id, &held[..3], None, at);
    assert!(short.is_err(), "what it has is what it says it has");
    let taken = west
        .broker
        .take_home(&name(), id, &held, None, at)
        .expect("it takes over");
    assert_eq!((taken.value.tenure.term, taken.value.start), (1, Offset(4)));
    west.settle();
    // A retry of what the home before has taken is answered as there.
    let again = publish(&mut west, 3);
    assert!(again.is_duplicate);
    assert_eq!(again.first, Offset(3));
    let published = publish(&mut west, 4);
    assert_eq!(
        (published.first, published.log_epoch),
        (Offset(4), epoch(1, "eu-west", 1))
    );
    // The home before hears of it, and is a copy.
    tell(&mut west, "eu-west", &mut heard_west, &mut [&mut east]);
    assert_eq!(
        east.broker.residence(&name()),
        Residence::Copy(id, to.clone())
    );
    assert!(matches!(
        refused(&mut east, 4),
        BrokerError::LivesElsewhere { .. }
    ));
    let batches = west.batches(Offset(0));
    east.pull(&batches, id);
    assert_eq!(east.batches(Offset(0)), batches);
    // After restarts both know it; what the other has said comes from its topic.
    let mut west = west.reopen(Loss::All);
    let Residence::Home(_) = west.broker.residence(&name()) else {
        panic!("it is home");
    };
    assert_eq!(publish(&mut west, 5).log_epoch, epoch(1, "eu-west", 2));
}

#[test]
fn a_move_that_is_declined_leaves_the_home_where_it_was() {
    let (mut east, mut west, id) = pair();
    let (mut heard_east, mut heard_west) = (0, 0);
    let at = Timestamp(east.now);
    east.broker
        .stop_for_move(&name(), id, &region("eu-west"), at)
        .expect("it stops");
    east.broker
        .record_fence(&name(), id, &region("eu-west"), at)
        .expect("recorded");
    east.settle();
    tell(&mut east, "us-east", &mut heard_east, &mut [&mut west]);
    let at = Timestamp(west.now);
    west.broker
        .decline_home(&name(), id, at)
        .expect("it gives up");
    west.settle();
    assert!(west.broker.decline_home(&name(), id, at).is_err(), "once");
    tell(&mut west, "eu-west", &mut heard_west, &mut [&mut east]);
    let published = publish(&mut east, 4);
    assert_eq!(published.first, Offset(4));
    // The term is spent: the next fence names another.
    let at = Timestamp(east.now);
    east.broker
        .stop_for_move(&name(), id, &region("eu-west"), at)
        .expect("it stops");
    let fenced = east
        .broker
        .record_fence(&name(), id, &region("eu-west"), at)
        .expect("recorded");
    assert_eq!(fenced.value.moving.expect("a fence").next, 2);
}

#[test]
fn a_home_that_was_overtaken_knows_what_of_it_is_no_part_of_the_log() {
    let (mut east, mut west, id) = pair();
    let mut heard_west = 0;
    // It goes on in a split, unheard.
    publish(&mut east, 4);
    publish(&mut east, 5);
    let held = runs(&mut west);
    let at = Timestamp(west.now);
    let seen = Some(Some(Offset(5)));
    let taken = west
        .broker
        .take_home(&name(), id, &held, seen, at)
        .expect("by force");
    assert_eq!(taken.value.start, Offset(4));
    let moved = west.broker.moved_logs();
    let (by, missing) = &moved[0].missing[0];
    assert_eq!(
        (by, missing.from, missing.to),
        (&region("eu-west"), Offset(4), Some(Offset(5)))
    );
    west.settle();
    publish(&mut west, 4);
    tell(&mut west, "eu-west", &mut heard_west, &mut [&mut east]);
    let held = runs(&mut east);
    let verdict = east.broker.lineage_of(id).judge(&held);
    assert_eq!(verdict, npayload::region::homes::Verdict::Cut(Offset(4)));
    assert!(matches!(
        refused(&mut east, 6),
        BrokerError::LivesElsewhere { .. }
    ));
    // Cut there, it goes on as a copy.
    east.broker.begin_cut(id, Offset(4)).expect("it begins");
    for _ in 0..3 {
        east.settle();
    }
    east.broker
        .take_cut(id)
        .expect("it ends")
        .expect("it is cut");
    let batches = west.batches(Offset(0));
    east.pull(&batches, id);
    assert_eq!(east.batches(Offset(0)), batches);
    let mut east = east.reopen(Loss::All);
    assert_eq!(east.batches(Offset(0)), batches);
}
