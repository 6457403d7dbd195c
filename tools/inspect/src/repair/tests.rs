//! Directories that a broker wrote, damaged and repaired: nothing intact is lost, what is lost is told exactly, and all of it can be
//! taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use npayload::broker::{Broker, BrokerError, Fetch, FetchFrom, FetchStep};
use npayload::format::{BatchHeader, Gap, check_stored};
use npayload::storage::disk::RealDisk;
use npayload::types::{ChannelName, LogEpoch, Timestamp};

use super::command::damaged_indexes;
use super::plan::{Action, Plan};
use super::{Setting, apply, lock, plan, undo};
use crate::verify;
use crate::verify::broker_tests::{Driver, clean, copy};
use crate::verify::key_tests;

const CHANNELS: [&str; 4] = ["a", "b", "lazy", "short"];

/// Every batch of a channel.
pub(super) fn batches(broker: &mut Broker, channel: &str) -> Vec<Bytes> {
    let name = ChannelName::parse(channel).unwrap();
    let mut all = Vec::new();
    let mut from = FetchFrom::Start;
    loop {
        let mut fetch = Fetch::new(name.clone(), None, from, LogEpoch(0), 1 << 16);
        let fetched = loop {
            match broker.fetch_step(&mut fetch) {
                Ok(FetchStep::Done(fetched)) => break fetched,
                Ok(FetchStep::Run(job)) => broker.feed_fetch(&mut fetch, job.run()).unwrap(),
                Err(BrokerError::NoSuchChannel { .. }) => return all,
                Err(error) => panic!("{channel}: {error}"),
            }
        };
        if fetched.slices.bytes == 0 {
            return all;
        }
        from = FetchFrom::Offset(fetched.slices.next);
        for mut part in fetched.slices.parts {
            while !part.is_empty() {
                let len = BatchHeader::peek(&part).unwrap().len();
                let batch = part.split_to(len);
                check_stored(&batch).unwrap();
                all.push(batch);
            }
        }
    }
}

/// All channels with their batches, by first offset.
pub(super) type Records = BTreeMap<&'static str, BTreeMap<u64, Bytes>>;

pub(super) fn read_all(broker: &mut Broker) -> Records {
    let mut all = Records::new();
    for channel in CHANNELS {
        let found = batches(broker, channel);
        let keyed = found
            .into_iter()
            .map(|batch| (header(&batch).base_offset().0, batch));
        all.insert(channel, keyed.collect());
    }
    all
}

fn header(batch: &Bytes) -> BatchHeader {
    BatchHeader::peek(batch).unwrap()
}

/// Checks that every batch of `before` is there byte for byte or lies in a gap; the offsets in gaps.
pub(super) fn lost(before: &Records, after: &Records) -> BTreeMap<&'static str, Vec<Range<u64>>> {
    let mut lost = BTreeMap::new();
    for (channel, old) in before {
        let new = &after[channel];
        let mut next = new.keys().next().copied();
        for (base, batch) in new {
            assert_eq!(Some(*base), next, "{channel}: offsets follow each other");
            next = Some(header(batch).end_offset().0);
        }
        let gaps: Vec<Range<u64>> = new
            .values()
            .filter(|batch| header(batch).is_gap())
            .map(|batch| header(batch).base_offset().0..header(batch).end_offset().0)
            .collect();
        for (base, batch) in old {
            let is_lost = gaps.iter().any(|gap| gap.contains(base));
            match new.get(base) {
                Some(found) if !is_lost => assert_eq!(found, batch, "{channel}: offset {base}"),
                _ => assert!(is_lost, "{channel}: offset {base} is gone in silence"),
            }
        }
        if !gaps.is_empty() {
            lost.insert(*channel, joined(gaps));
        }
    }
    lost
}

fn joined(gaps: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for gap in gaps {
        match joined.last_mut() {
            Some(last) if last.end == gap.start => last.end = gap.end,
            _ => joined.push(gap),
        }
    }
    joined
}

/// Every file and directory but the lock and what repairs have kept.
pub(super) fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "lock" || name.starts_with("repair-") {
                continue;
            }
            if path.is_dir() {
                left.push(path.clone());
                all.insert(path, None);
            } else {
                all.insert(path.clone(), Some(fs::read(&path).unwrap()));
            }
        }
    }
    all
}

fn assert_same(before: &BTreeMap<PathBuf, Option<Vec<u8>>>, root: &Path, when: &str) {
    let after = tree(root);
    let names = |tree: &BTreeMap<PathBuf, Option<Vec<u8>>>| -> BTreeSet<PathBuf> {
        tree.keys().cloned().collect()
    };
    assert_eq!(names(before), names(&after), "{when}");
    for (path, bytes) in before {
        assert!(*bytes == after[path], "{when}: {} differs", path.display());
    }
}

fn with_setting<T>(root: &Path, act: impl FnOnce(&mut Setting<'_>) -> T) -> T {
    let disk = Arc::new(RealDisk);
    let _lock = lock(&*disk, root).unwrap();
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
        state
    };
    act(&mut Setting {
        disk,
        root,
        now: Timestamp(5_000_000),
        random: &mut random,
        progress: &|_| {},
    })
}

pub(super) fn repair(root: &Path) -> Plan {
    let indexes = damaged_indexes(&verify::run(root).unwrap());
    with_setting(root, |setting| {
        let planned = plan(setting, &indexes).unwrap();
        apply(setting, &planned).unwrap();
        planned.plan
    })
}

/// Takes back the repair of `root`, a copy of which is repaired; then it is what it was `before`, which was read at `was`.
pub(super) fn undone(root: &Path, before: &BTreeMap<PathBuf, Option<Vec<u8>>>, was: &Path) {
    with_setting(root, |setting| undo(setting, None).unwrap());
    let moved = |path: &PathBuf| root.join(path.strip_prefix(was).unwrap());
    let before = before
        .iter()
        .map(|(path, bytes)| (moved(path), bytes.clone()));
    assert_same(&before.collect(), root, "taken back");
}

/// A stopped broker's directory with several segments in each channel and padding in them, and what it holds.
pub(super) fn patient(seed: u64) -> (tempfile::TempDir, Records) {
    let directory = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let mut driver = Driver::open(directory.path(), seed + life);
        driver.create_channels();
        for _ in 0..30 {
            for channel in ["a", "b", "a", "lazy"] {
                driver.publish(channel);
            }
            driver.rounds();
            driver.upkeep(2);
        }
        driver.stop();
    }
    let copied = tempfile::tempdir().unwrap();
    copy(directory.path(), copied.path());
    let mut driver = Driver::open(copied.path(), seed + 9);
    let records = read_all(&mut driver.broker);
    (directory, records)
}

pub(super) struct Segment {
    pub path: PathBuf,
    pub base: u64,
    /// Position, length, first offset, end offset.
    pub batches: Vec<(u64, u64, u64, u64)>,
}

/// The segments of a channel, read by their batches.
pub(super) fn segments(root: &Path, channel: &str, records: &Records) -> Vec<Segment> {
    let log = header(records[channel].values().next().unwrap()).incarnation();
    let folder = root.join("channels").join(log.to_string());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|name| name != "log") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut batches = Vec::new();
        let mut at = 4096;
        while at + 128 <= bytes.len() {
            match BatchHeader::peek(&bytes[at..]) {
                Ok(header) => {
                    let (base, end) = (header.base_offset().0, header.end_offset().0);
                    batches.push((at as u64, header.len() as u64, base, end));
                    at += header.len();
                }
                Err(_) => at = (at + 1).next_multiple_of(4096),
            }
        }
        let base = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        found.push(Segment {
            path,
            base,
            batches,
        });
    }
    found.sort_by_key(|segment| segment.base);
    found
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// What a damage costs: a channel's offsets, and nothing else.
type Cost = Vec<(&'static str, Range<u64>)>;

/// Repairs a damaged copy, and checks all that a repair promises.
fn check(root: &Path, records: &Records, cost: &Cost, name: &str) {
    let damaged = tree(root);
    let report = verify::run(root).unwrap();
    assert!(!report.clean, "{name}: not even found");
    let planned = with_setting(root, |setting| {
        plan(setting, &damaged_indexes(&report)).unwrap()
    });
    assert!(
        planned.plan.left.is_empty(),
        "{name}: {:?}",
        planned.plan.left
    );
    assert_same(&damaged, root, &format!("{name}: a plan changes nothing"));
    let gaps = planned
        .plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Gap);
    let told: u64 = gaps.map(|step| step.lost).sum();
    let wanted: u64 = cost.iter().map(|(_, range)| range.end - range.start).sum();
    assert_eq!(told, wanted, "{name}: {:#?}", planned.plan.steps);
    repair(root);
    clean(root, &format!("{name}, repaired"));
    // Taken back, and repaired again.
    assert_eq!(
        with_setting(root, |setting| undo(setting, None).unwrap()),
        1
    );
    assert_same(&damaged, root, &format!("{name}: taken back"));
    repair(root);
    clean(root, &format!("{name}, repaired again"));
    let mut expected: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
    for (channel, range) in cost {
        expected.entry(channel).or_default().push(range.clone());
    }
    let expected: BTreeMap<&str, Vec<Range<u64>>> = expected
        .into_iter()
        .map(|(channel, ranges)| (channel, joined(ranges)))
        .collect();
    for life in 0..2 {
        let mut driver = Driver::open(root, 500 + life);
        let found = read_all(&mut driver.broker);
        assert_eq!(lost(records, &found), expected, "{name}, life {life}");
        for batch in found.values().flat_map(BTreeMap::values) {
            if header(batch).is_gap() {
                assert!(Gap::of(batch).unwrap().is_some());
            }
        }
        for channel in ["a", "b", "lazy"] {
            driver.publish(channel);
        }
        driver.rounds();
        driver.stop();
        clean(root, &format!("{name}, life {life}"));
    }
    let error = with_setting(root, |setting| undo(setting, None).unwrap_err());
    assert!(
        error.to_string().contains("can't be taken back"),
        "{error:#}"
    );
}

/// Damages a copy of `from` and checks its repair.
fn case(from: &Path, records: &Records, name: &str, damage: impl FnOnce(&Path) -> Cost) {
    let copied = tempfile::tempdir().unwrap();
    copy(from, copied.path());
    let cost = damage(copied.path());
    check(copied.path(), records, &cost, name);
}

#[test]
fn a_damaged_batch_in_any_place_becomes_a_gap_and_no_other_is_lost() {
    let (directory, records) = patient(1_000);
    let root = directory.path();
    let all = segments(root, "a", &records);
    assert!(all.len() > 4, "{} segments", all.len());
    let last = all.len() - 1;
    for (segment, at) in [
        (0, 0),
        (1, 0),
        (1, 1),
        (2, usize::MAX),
        (last, 0),
        (last, usize::MAX),
    ] {
        for byte in [4, 80, 130] {
            case(
                root,
                &records,
                &format!("segment {segment} batch {at} byte {byte}"),
                |copied| {
                    let segment = &segments(copied, "a", &records)[segment];
                    let batch = segment.batches[at.min(segment.batches.len() - 1)];
                    flip(&segment.path, batch.0 + byte);
                    vec![("a", batch.2..batch.3)]
                },
            );
        }
    }
}

#[test]
fn damage_in_several_places_at_once_costs_each_place_alone() {
    let (directory, records) = patient(2_000);
    case(directory.path(), &records, "several", |copied| {
        let mut cost = Cost::new();
        for channel in ["a", "b", "lazy"] {
            for (number, segment) in segments(copied, channel, &records).iter().enumerate() {
                for (at, batch) in segment.batches.iter().enumerate() {
                    if (at + number) % 3 == 0 {
                        flip(&segment.path, batch.0 + (at as u64 * 7) % batch.1);
                        cost.push((channel, batch.2..batch.3));
                    }
                }
            }
        }
        cost
    });
}

#[test]
fn a_header_or_padding_that_is_damaged_costs_nothing() {
    let (directory, records) = patient(3_000);
    let root = directory.path();
    let count = segments(root, "a", &records).len();
    for number in [0, 1, count - 1] {
        for byte in [9, 60, 3000] {
            case(
                root,
                &records,
                &format!("header {number} byte {byte}"),
                |copied| {
                    flip(&segments(copied, "a", &records)[number].path, byte);
                    Cost::new()
                },
            );
        }
    }
    let padded = segments(root, "a", &records)
        .into_iter()
        .find_map(|segment| {
            let gap = segment
                .batches
                .windows(2)
                .find(|pair| pair[0].0 + pair[0].1 < pair[1].0)?;
            Some((segment.base, gap[0].0 + gap[0].1, gap[1].0))
        });
    let (base, from, to) = padded.expect("a restart leaves padding");
    for at in [from, to - 1] {
        case(root, &records, &format!("padding byte {at}"), |copied| {
            let all = segments(copied, "a", &records);
            let segment = all.iter().find(|segment| segment.base == base).unwrap();
            flip(&segment.path, at);
            Cost::new()
        });
    }
}

#[test]
fn missing_segments_are_made_again_with_a_gap_for_all_they_held() {
    let (directory, records) = patient(4_000);
    let root = directory.path();
    let count = segments(root, "a", &records).len();
    for numbers in [
        vec![0],
        vec![1],
        vec![0, 1],
        vec![1, 2, 3],
        vec![count - 1],
        vec![count - 2, count - 1],
    ] {
        case(root, &records, &format!("missing {numbers:?}"), |copied| {
            let mut cost = Cost::new();
            for number in &numbers {
                let segment = &segments(root, "a", &records)[*number];
                let path = copied.join(segment.path.strip_prefix(root).unwrap());
                fs::remove_file(path).unwrap();
                let end = segment.batches.last().unwrap().3;
                cost.push(("a", segment.base..end));
            }
            cost
        });
    }
}

#[test]
fn a_batch_in_a_wrong_place_costs_the_one_it_overwrote() {
    let (directory, records) = patient(5_000);
    let root = directory.path();
    let mut tried = 0;
    for (number, segment) in segments(root, "a", &records).iter().enumerate() {
        for from in 0..segment.batches.len() {
            for over in 0..segment.batches.len() {
                let (source, target) = (segment.batches[from], segment.batches[over]);
                // Only what fits over the other, so that no third one is hit.
                if from == over
                    || source.1 > target.1
                    || tried > 12
                    || (from + over + number) % 4 != 0
                {
                    continue;
                }
                tried += 1;
                case(
                    root,
                    &records,
                    &format!("segment {number}: {from} over {over}"),
                    |copied| {
                        let path = copied.join(segment.path.strip_prefix(root).unwrap());
                        let file = OpenOptions::new()
                            .read(true)
                            .write(true)
                            .open(path)
                            .unwrap();
                        let mut bytes = vec![0; usize::try_from(source.1).unwrap()];
                        file.read_exact_at(&mut bytes, source.0).unwrap();
                        file.write_all_at(&bytes, target.0).unwrap();
                        vec![("a", target.2..target.3)]
                    },
                );
            }
        }
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn damaged_copies_slots_and_indexes_are_written_again_and_cost_nothing() {
    let (directory, records) = patient(6_000);
    let root = directory.path();
    let first = |copied: &Path, ending: &str| -> PathBuf {
        let mut paths: Vec<PathBuf> = tree(copied).into_keys().collect();
        paths.retain(|path| path.extension().is_some_and(|name| name == ending));
        paths.sort();
        paths[0].clone()
    };
    for (name, at) in [
        ("checkpoint", 20),
        ("copy", 200),
        ("index", 70),
        ("timeindex", 70),
        ("journal", 20),
    ] {
        case(root, &records, name, |copied| {
            flip(&first(copied, name), at);
            Cost::new()
        });
    }
    for at in [20, 3000, 4096 + 20, 4096 + 3000] {
        case(
            root,
            &records,
            &format!("recovery point byte {at}"),
            |copied| {
                flip(&copied.join("recovery-point"), at);
                Cost::new()
            },
        );
    }
}

#[test]
fn a_repair_is_refused_while_a_broker_holds_the_directory() {
    let (directory, _) = patient(7_000);
    let driver = Driver::open(directory.path(), 7_777);
    let error = lock(&RealDisk, directory.path()).unwrap_err().to_string();
    assert!(error.contains("in use by the test"), "{error}");
    driver.stop();
    drop(lock(&RealDisk, directory.path()).unwrap());
}

#[test]
fn what_takes_more_than_a_repair_is_refused_with_what_to_do_and_nothing_is_changed() {
    let (directory, records) = patient(8_000);
    let refused = |damage: &dyn Fn(&Path), wanted: &str| {
        let copied = tempfile::tempdir().unwrap();
        copy(directory.path(), copied.path());
        damage(copied.path());
        let before = tree(copied.path());
        let error = with_setting(copied.path(), |setting| plan(setting, &[]).err().unwrap());
        let text = format!("{error:#}");
        assert!(text.contains(wanted), "{text}");
        assert_same(&before, copied.path(), wanted);
    };
    refused(
        &|root| flip(&root.join("npayload.marker"), 20),
        "restore npayload.marker",
    );
    refused(
        &|root| {
            [20, 4096 + 20]
                .iter()
                .for_each(|at| flip(&root.join("recovery-point"), *at))
        },
        "restore recovery-point",
    );
    refused(
        &|root| {
            for path in tree(root).into_keys().filter(|path| path.is_file()) {
                if path.parent().unwrap().ends_with("checkpoints") {
                    flip(&path, 20);
                }
            }
        },
        "both copies of the checkpoint",
    );
    let own = fs::read(directory.path().join("npayload.marker")).unwrap();
    let own = u128::from_le_bytes(own[16..32].try_into().unwrap());
    refused(
        &|root| {
            let dir = root.join("channels").join(format!("{own:032x}"));
            flip(&dir.join(format!("{:020}.log", 0)), 4096 + 130);
        },
        "the log of channels itself is damaged",
    );
    drop(records);
}

#[test]
fn the_topic_of_keys_gets_no_gap_while_there_are_keys_and_the_secret_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut driver = Driver::open(root, 5);
    driver.create_channels();
    for _ in 0..3 {
        key_tests::make_key(&mut driver);
        driver.publish("a");
    }
    let topic = key_tests::topic(&driver, root);
    driver.stop();
    flip(&topic, 4096 + 200);
    let secret = root.join("npayload.secret");
    flip(&secret, 40);
    let before = tree(root);
    let plan = repair(root);
    assert_eq!(plan.left.len(), 1, "{:?}", plan.left);
    assert_eq!(plan.left[0].channel.as_deref(), Some("__access"));
    assert!(plan.left[0].instead.contains("backup"), "{:?}", plan.left);
    let after = tree(root);
    for path in [&topic, &secret] {
        assert!(after[path] == before[path], "{}", path.display());
    }
    assert!(!verify::run(root).unwrap().clean);
    // Where there never was a key, it is a log like any other.
    fs::remove_file(&secret).unwrap();
    let plan = repair(root);
    assert!(plan.left.is_empty(), "{:?}", plan.left);
    assert!(tree(root)[&topic] != before[&topic]);
}
