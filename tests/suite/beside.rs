//! Lives of a channel beside each other in one broker: one entry says all of it, so that a crash at
//! any call of the disk leaves the one or the other. Copies that become wider: one that has more takes
//! the place of the one that had less.

use bytes::Bytes;
use npayload::broker::config::ChannelConfig;
use npayload::broker::{BrokerError, Looked, NewCopy, Residence, Wider};
use npayload::format::BatchHeader;
use npayload::region::copies::AsideReason;
use npayload::storage::StageError;
use npayload::storage::disk::{CrashingDisk, Disk, Loss};
use npayload::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

use crate::copies::{Driven, SIZES, name};

const NEW: Incarnation = Incarnation(0x99);

fn aside(id: Incarnation) -> ChannelName {
    let digits = &id.to_string()[..8];
    ChannelName::parse_any(&format!("__aside.{digits}.{}", name())).unwrap()
}

/// The batches of a home.
fn home() -> (Incarnation, Vec<Bytes>) {
    let mut home = Driven::open_as(CrashingDisk::new(), 1, None).unwrap();
    let mut sequence = 0;
    for sizes in SIZES {
        let mut batch = Some(Driven::built(sequence, sizes));
        home.try_publish(&mut batch).unwrap();
        home.settle();
        sequence += sizes.len() as u64;
    }
    (home.id().unwrap(), home.batches(Offset(0)))
}

fn recreated(home: &str) -> NewCopy {
    NewCopy {
        name: name(),
        incarnation: NEW,
        config: ChannelConfig::default(),
        home: RegionName::parse(home).unwrap(),
        begins_at: Offset(0),
        from_start: true,
        types: None,
    }
}

fn copy_of(id: Incarnation, batches: &[Bytes]) -> Driven {
    let mut copy = Driven::open_as(CrashingDisk::new(), 5, Some("eu-west")).unwrap();
    copy.begin_copy(id, Offset(0));
    copy.pull(batches, id);
    copy
}

#[test]
fn a_crash_leaves_either_the_old_copy_or_both_and_never_two_of_a_name() {
    let (id, batches) = home();
    let mut seen = [0, 0];
    for (synced, loss) in [
        (false, Loss::All),
        (false, Loss::None),
        (true, Loss::All),
        (true, Loss::None),
    ] {
        let mut copy = copy_of(id, &batches);
        let now = Timestamp(copy.now);
        copy.broker
            .create_recreated(recreated("us-east"), now)
            .unwrap();
        if synced {
            copy.settle();
        }
        for _ in 0..2 {
            copy = copy.reopen(loss);
            let kept = copy.broker.kept_copies();
            match copy.broker.residence(&name()) {
                Residence::Copy(found, _) if found == NEW => {
                    seen[1] += 1;
                    assert!(kept.is_beside(id) && kept.copy(id).is_none());
                    assert_eq!(kept.aside()[0].reason, AsideReason::Recreated);
                    assert_eq!(kept.aside()[0].place, aside(id).as_str());
                    assert_eq!(copy.batches_of(&aside(id), Offset(0)), batches);
                    assert!(copy.batches(Offset(0)).is_empty());
                }
                Residence::Copy(found, _) if found == id => {
                    seen[0] += 1;
                    assert!(!synced, "it was synced");
                    assert!(!kept.is_beside(id) && kept.copy(id).is_some());
                    assert_eq!(copy.broker.residence(&aside(id)), Residence::Unknown);
                    assert_eq!(copy.batches(Offset(0)), batches);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn what_is_not_made_again_at_its_home_stays_as_it_is() {
    let (id, batches) = home();
    let mut copy = copy_of(id, &batches);
    let now = Timestamp(copy.now);
    let mut same = recreated("us-east");
    same.incarnation = id;
    for wrong in [recreated("ap-south"), same] {
        copy.broker.create_recreated(wrong, now).unwrap_err();
        assert!(matches!(copy.broker.residence(&name()), Residence::Copy(found, _) if found == id));
    }
    copy.broker
        .create_recreated(recreated("us-east"), now)
        .unwrap();
    // That life is over, and nothing of it comes back into its place.
    let mut back = recreated("us-east");
    back.incarnation = id;
    copy.broker.create_recreated(back, now).unwrap_err();
    copy.settle();
    assert_eq!(copy.batches_of(&aside(id), Offset(0)), batches);
    copy.broker.purge_copy(&aside(id), now).unwrap();
    copy.settle();
    assert_eq!(copy.broker.residence(&aside(id)), Residence::Unknown);
    assert!(copy.broker.kept_copies().aside().is_empty());
    let copy = copy.reopen(Loss::All);
    assert_eq!(copy.broker.residence(&aside(id)), Residence::Unknown);
}

#[test]
fn retention_ends_a_former_life_whole() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (id, batches) = home();
    let mut copy = copy_of(id, &batches);
    let now = Timestamp(copy.now);
    let mut new = recreated("us-east");
    new.config.retention_days = None;
    copy.broker.create_recreated(new, now).unwrap();
    copy.settle();
    assert!(matches!(
        copy.broker.residence(&aside(id)),
        Residence::Copy(..)
    ));
    // The copy was begun with the retention of channels by default.
    let days = ChannelConfig::default()
        .retention_days
        .expect("a retention");
    copy.now += DAY_MS * i64::try_from(days + 1).unwrap();
    for _ in 0..8 {
        if let Looked::Unlisted(task) = copy.broker.tick(Timestamp(copy.now)) {
            copy.broker.finish_load(task.run()).unwrap();
        }
        copy.settle();
    }
    assert_eq!(copy.broker.residence(&aside(id)), Residence::Unknown);
    assert!(copy.broker.kept_copies().aside().is_empty());
    assert!(matches!(copy.broker.residence(&name()), Residence::Copy(found, _) if found == NEW));
}

/// How many batches of the home the copies below miss at their start, and at their end.
const LATE: usize = 5;
const LACKS: usize = 2;

/// A copy that begins in the middle of the log.
fn late_copy(id: Incarnation, batches: &[Bytes], disk: CrashingDisk) -> Driven {
    let mut copy = Driven::open_as(disk, 5, Some("eu-west")).unwrap();
    let begins_at = BatchHeader::peek(&batches[LATE]).unwrap().base_offset();
    copy.begin_copy(id, begins_at);
    copy.pull(&batches[LATE..batches.len() - LACKS], id);
    copy
}

/// Writes a whole copy beside it and has it put in its place; false where the disk has crashed.
fn widen(copy: &mut Driven, id: Incarnation, batches: &[Bytes]) -> bool {
    let wider = Wider {
        begins_at: Offset(0),
        from_start: true,
        types: None,
    };
    copy.now += 1;
    let now = Timestamp(copy.now);
    let Ok(mut beside) = copy.broker.begin_wider(id, &wider, now) else {
        assert!(copy.disk.is_crashed());
        return false;
    };
    for batch in &batches[..batches.len() - LACKS] {
        let sealing = copy.broker.seal_beside(id, now).unwrap();
        if beside.append(batch, sealing.as_ref(), now).is_err() {
            assert!(copy.disk.is_crashed());
            return false;
        }
    }
    copy.settle();
    if copy.disk.is_crashed() {
        return false;
    }
    copy.broker.put_in_place(beside, wider).expect("it begins");
    for _ in 0..20 {
        copy.settle();
        if copy.disk.is_crashed() {
            return false;
        }
        if let Some(ended) = copy.broker.take_wider(id) {
            ended.expect("it is put in its place");
            copy.settle();
            return !copy.disk.is_crashed();
        }
    }
    panic!("it does not end");
}

fn log_start(copy: &Driven, id: Incarnation) -> Offset {
    let log = copy.broker.storage().log(id).expect("a log");
    log.log_start()
}

fn left_beside(copy: &Driven) -> Vec<String> {
    let root = std::path::Path::new(crate::storage_harness::ROOT).join("beside");
    match copy.disk.exists(&root).unwrap() {
        true => {
            let entries = copy.disk.list(&root).unwrap().into_iter();
            entries.map(|entry| entry.name).collect()
        }
        false => Vec::new(),
    }
}

#[test]
fn a_copy_with_more_takes_the_place_of_the_one_beside_which_it_was_written() {
    let (id, batches) = home();
    let most = &batches[..batches.len() - LACKS];
    let mut copy = late_copy(id, &batches, CrashingDisk::new());
    let begun = log_start(&copy, id);
    assert!(begun > Offset(0));
    assert!(widen(&mut copy, id, &batches));
    for loss in [None, Some(Loss::All), Some(Loss::None)] {
        if let Some(loss) = loss {
            copy = copy.reopen(loss);
        }
        assert_eq!(log_start(&copy, id), Offset(0));
        assert_eq!(copy.batches(Offset(0)), most);
        let of = copy.broker.copy_of(id).unwrap();
        assert!(of.is_whole() && of.begins_at == Offset(0), "{of:?}");
        let kept = copy.broker.kept_copies().copy(id).unwrap();
        assert_eq!((kept.from, kept.wider.is_some()), (Offset(0), false));
        assert_eq!(left_beside(&copy), Vec::<String>::new());
        let report = copy.broker.storage().recovery_report();
        assert_eq!((&report.damage, &report.moved), (&Vec::new(), &Vec::new()));
    }
    // It goes on where it ends, and knows the producers of all of it.
    copy.pull(&batches, id);
    assert_eq!(copy.batches(Offset(0)), batches);
    assert_eq!(copy.broker.fence_of(&name()), 3);
    let mut copy = copy.reopen(Loss::All);
    assert_eq!(copy.batches(Offset(0)), batches);
}

#[test]
fn nothing_is_begun_beside_a_copy_until_nothing_is_left_of_the_one_before() {
    let (id, batches) = home();
    let mut copy = late_copy(id, &batches, CrashingDisk::new());
    let now = Timestamp(copy.now + 1);
    let wider = Wider {
        begins_at: Offset(0),
        from_start: true,
        types: None,
    };
    let is_refused = |copy: &mut Driven| match copy.broker.begin_wider(id, &wider, now) {
        Ok(_) => false,
        Err(refusal) => {
            let error = refusal.error;
            assert!(
                matches!(error, BrokerError::Stage(StageError::Busy)),
                "{error}"
            );
            true
        }
    };
    let mut beside = copy.broker.begin_wider(id, &wider, now).ok().unwrap();
    assert!(is_refused(&mut copy), "one is written");
    for batch in &batches[..batches.len() - LACKS] {
        beside.append(batch, None, now).unwrap();
    }
    copy.settle();
    copy.broker.put_in_place(beside, wider.clone()).unwrap();
    assert!(is_refused(&mut copy), "it is put in its place");
    let ended = (0..20).find_map(|_| {
        copy.settle();
        copy.broker.take_wider(id)
    });
    ended.expect("it ends").unwrap();
    copy.settle();
    assert!(!is_refused(&mut copy), "nothing is left of it");
}

#[test]
fn a_crash_at_any_call_leaves_the_copy_as_it_was_or_wider() {
    let (id, batches) = home();
    let most = &batches[..batches.len() - LACKS];
    let mut counted = late_copy(id, &batches, CrashingDisk::new());
    let before = counted.disk.calls();
    assert!(widen(&mut counted, id, &batches));
    let calls = counted.disk.calls();
    assert!(calls - before > 30, "{before}..{calls}");
    let mut seen = [0, 0];
    for call in before..calls {
        let mut copy = late_copy(id, &batches, CrashingDisk::new());
        match call % 2 {
            0 => copy.disk.crash_during(call),
            _ => copy.disk.crash_after(call),
        }
        widen(&mut copy, id, &batches);
        let loss = match call % 3 {
            0 => Loss::All,
            1 => Loss::None,
            _ => Loss::Random(call),
        };
        let mut copy = copy.reopen(loss);
        let report = copy.broker.storage().recovery_report();
        assert_eq!(report.damage, [], "call {call}, {loss:?}");
        let start = log_start(&copy, id);
        let found = copy.batches(start);
        match start {
            Offset(0) => assert_eq!(found, most, "call {call}, {loss:?}"),
            _ => assert_eq!(found, most[LATE..], "call {call}, {loss:?}"),
        }
        seen[usize::from(start == Offset(0))] += 1;
        assert_eq!(
            left_beside(&copy),
            Vec::<String>::new(),
            "call {call}, {loss:?}"
        );
        // It is done again, or for the first time, and goes on.
        assert!(widen(&mut copy, id, &batches), "call {call}, {loss:?}");
        copy.pull(&batches, id);
        let mut copy = copy.reopen(Loss::All);
        assert_eq!(copy.batches(Offset(0)), batches, "call {call}, {loss:?}");
    }
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn what_does_not_follow_is_not_written_beside_and_what_has_less_takes_no_place() {
    let (id, batches) = home();
    let mut copy = late_copy(id, &batches, CrashingDisk::new());
    let before = copy.batches(log_start(&copy, id));
    let wider = Wider {
        begins_at: Offset(0),
        from_start: true,
        types: None,
    };
    let now = Timestamp(copy.now);
    let mut beside = copy.broker.begin_wider(id, &wider, now).unwrap();
    beside.append(&batches[1], None, now).unwrap_err();
    beside.append(&batches[0], None, now).unwrap();
    for wrong in [0, 2] {
        beside.append(&batches[wrong], None, now).unwrap_err();
    }
    beside.append(&batches[1], None, now).unwrap();
    let (beside, error) = *copy.broker.put_in_place(beside, wider).unwrap_err();
    assert!(error.to_string().contains("is not behind"), "{error}");
    assert!(!left_beside(&copy).is_empty());
    beside.give_up().unwrap();
    assert!(left_beside(&copy).is_empty());
    copy.pull(&batches, id);
    assert_eq!(copy.batches(log_start(&copy, id))[..before.len()], before);
}
