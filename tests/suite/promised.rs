//! Promised groups of the journal, and what refers to them, damaged in every part: each is told at
//! its place, nothing else passes for it, and its logs take no writes.

use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npayload::format::{BatchHeader, DamageKind, GroupHeader, GroupItem, ItemKind};
use npayload::storage::ReadError;
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};

use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_id};
use crate::stored::read_file;

/// A group as it lies in a file of the journal.
#[derive(Clone, Debug)]
struct Written {
    header: GroupHeader,
    items: Vec<GroupItem>,
    path: PathBuf,
    range: Range<usize>,
    bytes: Vec<u8>,
}

impl Written {
    /// Where the batches begin.
    fn data(&self) -> usize {
        self.range.start + GroupHeader::BYTES + self.items.len() * GroupItem::BYTES
    }
}

fn start() -> (CrashingDisk, Harness) {
    let disk = CrashingDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    harness.checkpoint();
    (disk, harness)
}

/// A group for each size, with a batch of two logs.
fn with_groups(sizes: &[usize]) -> (CrashingDisk, Harness) {
    let (disk, mut harness) = start();
    for size in sizes {
        harness.append(&[(0, &[*size]), (1, &[*size])]).unwrap();
        harness.flush();
    }
    (disk, harness)
}

fn write(disk: &CrashingDisk, path: &Path, at: usize, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_at(at as u64, &[IoSlice::new(bytes)]).unwrap();
}

fn flip(disk: &CrashingDisk, path: &Path, at: usize) {
    let byte = read_file(disk, path)[at];
    write(disk, path, at, &[byte ^ 4]);
}

/// The last `count` groups of the journal, oldest first.
fn last_groups(disk: &CrashingDisk, count: usize) -> Vec<Written> {
    let dir = Path::new(ROOT).join("journal");
    let mut found = Vec::new();
    for entry in disk.list(&dir).unwrap() {
        let path = dir.join(&entry.name);
        let bytes = read_file(disk, &path);
        for at in (4096..bytes.len()).step_by(4096) {
            let Ok(header) = GroupHeader::decode(&bytes[at..]) else {
                continue;
            };
            let range = at..at + usize::try_from(header.total_len()).unwrap();
            let items = bytes[at + GroupHeader::BYTES..].chunks(GroupItem::BYTES);
            let items = items.take(header.item_count as usize);
            found.push(Written {
                header,
                items: items.map(|item| GroupItem::decode(item).unwrap()).collect(),
                path: path.clone(),
                bytes: bytes[range.clone()].to_vec(),
                range,
            });
        }
    }
    found.sort_by_key(|one| one.header.group);
    found.split_off(found.len() - count)
}

fn open(disk: &CrashingDisk, harness: &Harness) -> Harness {
    let model = harness.model.clone();
    Harness::open(Arc::new(disk.clone()), model, harness.now + 1).unwrap()
}

fn is_refused(harness: &Harness, n: u64) -> bool {
    harness.storage.log(log_id(n)).unwrap().refused().is_some()
}

/// A file with damage in it is kept as it was found.
fn is_kept(disk: &CrashingDisk, harness: &Harness, path: &Path, damaged: &[u8]) -> bool {
    let mut moved = harness.report.moved.iter();
    moved.any(|(from, to)| from == path && read_file(disk, to) == damaged)
}

#[test]
fn a_group_that_only_a_later_one_vouches_for_is_damaged_and_never_the_end() {
    // No recovery point is written meanwhile.
    let (disk, harness) = with_groups(&[60, 70, 80, 90]);
    let groups = last_groups(&disk, 4);
    let is_batch = |one: &Written| one.items.len() == 2;
    assert!(groups.iter().all(is_batch));
    for (n, group) in groups.iter().enumerate() {
        let in_header = group.range.start + 40;
        let in_items = group.range.start + GroupHeader::BYTES + 30;
        for at in [in_header, in_items, group.data() + 90] {
            let story = format!("byte {at} of group {n}");
            let after = disk.after(Loss::None);
            flip(&after, &group.path, at);
            let damaged = read_file(&after, &group.path);
            let mut found = open(&after, &harness);
            let place = (group.path.clone(), group.range.start as u64);
            if n == groups.len() - 1 {
                // Nothing vouches for the last of all.
                assert_eq!(found.report.damage, [], "{story}");
                let torn = found.report.torn.clone().unwrap();
                assert_eq!((torn.0, torn.1), place, "{story}");
                assert!(!is_refused(&found, 0) && !is_refused(&found, 1));
                continue;
            }
            assert_eq!(found.report.torn, None, "{story}");
            let damage = found.report.damage.first().expect(&story);
            assert_eq!(damage.path, group.path, "{story}");
            assert!((damage.from..damage.to).contains(&(at as u64)), "{story}");
            assert!(is_refused(&found, 0), "{story}: its end may be lost");
            assert!(
                is_kept(&after, &found, &group.path, &damaged),
                "{story}: {:?}",
                found.report.moved
            );
            // What the groups behind it hold is served.
            let last = &groups[groups.len() - 1].items[0];
            for (n, item) in groups[groups.len() - 1].items.iter().enumerate() {
                let id = log_id(n as u64);
                assert_eq!(found.storage.log(id).unwrap().end(), item.end_offset);
                found.check_from(id, item.base_offset.0, 3_000);
            }
            assert_eq!(last.base_offset.0, 3);
        }
    }
}

/// A copy of a later group in the place of an earlier one is not that one, and hides none behind it.
#[test]
fn a_later_group_in_the_place_of_a_promised_one_is_never_the_next_one() {
    let (disk, mut harness) = with_groups(&[60, 70, 80, 90]);
    harness.point();
    let groups = last_groups(&disk, 4);
    let (lost, last) = (&groups[1], &groups[3]);
    let after = disk.after(Loss::None);
    write(&after, &lost.path, lost.range.start, &last.bytes);
    let mut found = open(&after, &harness);
    let damage = found.report.damage.first().unwrap();
    let place = (&lost.path, lost.range.start as u64);
    assert_eq!((&damage.path, damage.from), place);
    for n in [0, 1] {
        assert!(is_refused(&found, n));
        // Offset 1 is lost, and nothing else.
        assert!(found.read(log_id(n), 1, 1).is_err());
        found.check_from(log_id(n), 2, 3_000);
    }
    assert_eq!(found.report.groups, 3, "those that are intact");
}

/// Sound in itself, of the right log and offset, and not what the group's list names.
#[test]
fn another_batch_in_the_place_of_a_promised_one_is_damage() {
    let (disk, mut harness) = with_groups(&[60, 70]);
    harness.point();
    // Another life of the same log: the same offsets, and other records.
    let (twin, mut other) = start();
    other.append(&[(2, &[1])]).unwrap();
    for size in [60, 70] {
        other.append(&[(0, &[size]), (1, &[size])]).unwrap();
        other.flush();
    }
    let (group, source) = (&last_groups(&disk, 1)[0], &last_groups(&twin, 1)[0]);
    let mut at = (group.data(), source.data());
    for (n, (item, twin)) in group.items.iter().zip(&source.items).enumerate() {
        let len = usize::try_from(item.length).unwrap();
        let from = at.1 - source.range.start;
        let stray = &source.bytes[from..from + len];
        let header = BatchHeader::peek(stray).unwrap();
        assert_eq!(
            (header.incarnation(), header.base_offset(), header.len()),
            (item.incarnation, item.base_offset, len)
        );
        assert_ne!(item.checksum, twin.checksum);
        let after = disk.after(Loss::None);
        write(&after, &group.path, at.0, stray);
        let mut found = open(&after, &harness);
        let damage = found
            .report
            .damage
            .first()
            .expect("not the one that was acknowledged");
        assert_eq!((&damage.path, damage.from), (&group.path, at.0 as u64));
        assert_eq!(damage.log, Some(item.incarnation));
        assert!(is_refused(&found, n as u64));
        assert!(found.read(item.incarnation, item.base_offset.0, 1).is_err());
        at = (at.0 + len, at.1 + len);
    }
}

#[test]
fn damage_in_the_bytes_of_a_synced_reference_closes_its_log_and_no_other() {
    let (disk, mut harness) = start();
    harness.append(&[(1, &[40])]).unwrap();
    harness.flush();
    harness.append(&[(1, &[3_600])]).unwrap();
    harness.flush();
    harness.point();
    let group = &last_groups(&disk, 1)[0];
    let [item] = group.items[..] else {
        panic!("{:?}", group.items);
    };
    assert!(item.kind == ItemKind::Reference && item.was_synced_before);
    let dir = Path::new(ROOT).join("channels").join(log_id(1).to_string());
    let path = dir.join(format!("{:020}.log", item.segment_base.0));
    let after = disk.after(Loss::None);
    flip(&after, &path, usize::try_from(item.position).unwrap() + 20);
    let mut found = open(&after, &harness);
    let [damage] = &found.report.damage[..] else {
        panic!("{:?}", found.report.damage);
    };
    assert_eq!((&damage.path, damage.from), (&path, item.position));
    assert_eq!(damage.offsets, Some((item.base_offset, item.end_offset)));
    let log = found.storage.log(log_id(1)).unwrap();
    assert_eq!(log.end(), item.end_offset, "the log is shorter in silence");
    assert_eq!(log.damage()[0].what, DamageKind::Reference);
    assert!(is_refused(&found, 1));
    assert!(matches!(
        found.read(log_id(1), item.base_offset.0, 1),
        Err(ReadError::Damaged { .. })
    ));
    assert!(!is_refused(&found, 0));
    found.append(&[(0, &[50])]).unwrap();
    found.flush();
    found.check_from(log_id(0), 0, 3_000);
    // Whole, it is nobody's damage.
    open(&disk.after(Loss::None), &harness).check_recovered(Mercy::Process);
}
