//! A data directory in memory, and what a fuzzer does to its files. Shared by the targets that open
//! one, and by the test suite.

#![allow(dead_code, reason = "each target uses a part of it")]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use npayload::format::{
    BatchBuilder, Checkpoint, Compression, GroupHeader, IndexHeader, NewRecord, RecoveryPoint,
    check_stored, records,
};
use npayload::protocol::{
    FetchFrom, FetchRequest, PublishRequest, PublishTarget, Request, Response,
};
use npayload::server::{Desk, ServeOptions};
use npayload::storage::disk::{Disk, MemoryDisk, OpenMode};
use npayload::types::{ChannelName, LogEpoch, Offset};

use super::bodies::crc32;

const ROOT: &str = "data";
const CHANNELS: [&str; 3] = ["a", "b.large", "c"];
const BLOCK: usize = 4096;

/// Small limits, so that a few records make several segments and journal files.
pub fn options() -> ServeOptions {
    let mut options = ServeOptions::default();
    let storage = &mut options.broker.storage;
    storage.journal_file_bytes = 32 * 1024;
    storage.journal_files = 3;
    storage.max_round_bytes = 12 * 1024;
    storage.direct_bytes = 3 * 1024;
    storage.always_direct_bytes = 6 * 1024;
    storage.write_behind_bytes = 1024;
    storage.max_unwritten_bytes = 64 * 1024;
    storage.min_free_bytes = 0;
    options.broker.defaults.segment_bytes = 8192;
    options
}

/// Opens what is on a disk.
pub fn open(disk: &MemoryDisk, seed: u64) -> Option<Desk> {
    let mut state = seed;
    let random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Desk::open(disk, Path::new(ROOT), options(), Box::new(random)).ok()
}

pub fn batch(compression: Compression, payloads: &[Vec<u8>]) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    for payload in payloads {
        let record = NewRecord {
            payload: Some(payload),
            ..NewRecord::default()
        };
        builder.push(&record).expect("a small record");
    }
    builder.build().expect("a small batch")
}

pub fn publish(channel: &str, batch: BytesMut) -> Request {
    Request::Publish(PublishRequest {
        target: PublishTarget {
            channel: ChannelName::parse(channel).expect("a name"),
            incarnation: None,
            expected_offset: None,
        },
        batch,
        asks: None,
    })
}

fn fetch(channel: &str, from: FetchFrom) -> Request {
    Request::Fetch(FetchRequest {
        channel: ChannelName::parse(channel).expect("a name"),
        incarnation: None,
        from,
        last_epoch: LogEpoch(0),
        max_bytes: 1 << 20,
        min_bytes: 1,
        max_wait_ms: 0,
    })
}

/// Every record of every channel, by offset.
type Records = BTreeMap<(usize, u64), Vec<u8>>;

/// The files of a directory and what was stored in it.
pub struct Snapshot {
    pub files: Vec<(PathBuf, Vec<u8>)>,
    pub records: Records,
}

/// A directory as a killed broker leaves it, or as a stop does.
pub fn snapshot(is_clean: bool) -> &'static Snapshot {
    static KILLED: OnceLock<Snapshot> = OnceLock::new();
    static STOPPED: OnceLock<Snapshot> = OnceLock::new();
    let made = if is_clean { &STOPPED } else { &KILLED };
    made.get_or_init(|| {
        let disk = MemoryDisk::new();
        let desk = open(&disk, 1).expect("a new directory");
        let mut stored = Records::new();
        let mut ends = [0; CHANNELS.len()];
        for n in 0..60u64 {
            let at = usize::try_from(n % 3).expect("small");
            let compression = [Compression::None, Compression::Lz4, Compression::Zstd];
            let len = [20, 900, 3300][usize::try_from(n / 3 % 3).expect("small")];
            let payloads: Vec<Vec<u8>> = (0..=n % 2)
                .map(|k| {
                    let seed = (n * 2 + k).to_le_bytes();
                    (0..len)
                        .map(|i| seed[i % 2] ^ (i / 7 % 251) as u8)
                        .collect()
                })
                .collect();
            let compression = compression[usize::try_from(n % 7 % 3).expect("small")];
            let answer = desk.ask(publish(CHANNELS[at], batch(compression, &payloads)));
            assert!(matches!(answer, Response::Publish(_)), "{answer:?}");
            for payload in payloads {
                stored.insert((at, ends[at]), payload);
                ends[at] += 1;
            }
            // The last ones are in the journal alone.
            if n % 13 == 5 && n < 45 {
                desk.keep();
            }
        }
        if is_clean {
            assert!(desk.stop(), "a clean stop");
        } else {
            drop(desk);
        }
        let mut files = Vec::new();
        collect(&disk, Path::new(ROOT), &mut files);
        Snapshot {
            files,
            records: stored,
        }
    })
}

fn collect(disk: &MemoryDisk, dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in disk.list(dir).expect("a directory") {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            collect(disk, &path, files);
            continue;
        }
        let file = disk.open(&path, OpenMode::Read).expect("a file");
        let mut bytes = vec![0; usize::try_from(entry.len).expect("small")];
        file.read_at(0, &mut bytes).expect("its bytes");
        files.push((path, bytes));
    }
}

/// A disk with these files.
pub fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents {
            disk.create_dir(parent).expect("a directory");
        }
        let file = disk.open(path, OpenMode::CreateNew).expect("a file");
        file.write_at(0, &[IoSlice::new(bytes)]).expect("its bytes");
    }
    disk
}

/// Changes files as the input says, 8 bytes for each change: which file, what, where, with what.
/// The lowest bit of the kind's high half puts the nearest checksum right again. Whether one did.
pub fn mutate(files: &mut Vec<(PathBuf, Vec<u8>)>, input: &[u8]) -> bool {
    let mut has_mended = false;
    for change in input.chunks_exact(8).take(16) {
        if files.is_empty() {
            return has_mended;
        }
        let at = usize::from(change[0]) % files.len();
        let position = u32::from_le_bytes([change[2], change[3], change[4], 0]) as usize;
        let other = usize::from(change[5]) % files.len();
        let value = change[6];
        let other_bytes = files[other].1.clone();
        let (path, bytes) = &mut files[at];
        let position = position % bytes.len().max(1);
        let sector = position / 512 * 512;
        let end = (sector + 512).min(bytes.len());
        match change[1] & 15 {
            0..=3 => {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= value.max(1);
                }
            }
            4 | 5 => bytes[sector..end].fill(0),
            6 => bytes.truncate(position),
            7 => bytes.resize(bytes.len() + usize::from(change[7]) * 16, value),
            // A block that belongs elsewhere.
            8 | 9 => {
                let from = usize::from(change[7]) * 512;
                let from = other_bytes.get(from..).unwrap_or_default();
                let len = (end - sector).min(from.len());
                bytes[sector..sector + len].copy_from_slice(&from[..len]);
            }
            10 => *bytes = other_bytes,
            11 => {
                files.remove(at);
                continue;
            }
            12 => {
                let copy = (path.with_extension("copy"), bytes.clone());
                if files.iter().all(|(path, _)| *path != copy.0) {
                    files.push(copy);
                }
                continue;
            }
            _ => {
                let word = position / 4 * 4;
                if let Some(word) = bytes.get_mut(word..word + 4) {
                    word.copy_from_slice(&[value, change[7], change[5], 0]);
                }
            }
        }
        if change[1] & 16 != 0 {
            has_mended |= mend(path, bytes, position);
        }
    }
    has_mended
}

/// Puts the checksum of the structure right that the block of `position` begins with.
fn mend(path: &Path, bytes: &mut [u8], position: usize) -> bool {
    let path = path.to_string_lossy();
    let block = position / BLOCK * BLOCK;
    let covered = if path.contains("recovery-point") {
        RecoveryPoint::BYTES
    } else if path.contains("checkpoint") {
        let body = bytes.get(Checkpoint::HEADER_BYTES..).map(crc32);
        if let (Some(body), true) = (body, bytes.len() >= 76) {
            bytes[72..76].copy_from_slice(&body.to_le_bytes());
        }
        Checkpoint::HEADER_BYTES
    } else if path.contains("journal") && block > 0 {
        GroupHeader::BYTES
    } else if path.ends_with("index") {
        IndexHeader::BYTES
    } else {
        128
    };
    let Some(structure) = bytes.get_mut(block..block + covered) else {
        return false;
    };
    let crc = crc32(&structure[8..]);
    structure[4..8].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Opens a directory, reads all there is, appends to every channel, and reads that.
///
/// - `stored`: what each record must be where it is readable at all; none where checksums were
///   forged.
pub fn exercise(disk: &MemoryDisk, stored: Option<&Records>) {
    for start in 2..4 {
        let Some(desk) = open(disk, start) else {
            return;
        };
        for (at, channel) in CHANNELS.iter().enumerate() {
            read_all(&desk, channel, |offset, payload| {
                // What was appended by an earlier start comes behind.
                if let Some(known) = stored.and_then(|stored| stored.get(&(at, offset))) {
                    assert_eq!(known, payload, "{channel}, offset {offset}");
                }
            });
        }
        for channel in CHANNELS {
            let payload = b"appended after all".to_vec();
            let answer = desk.ask(publish(
                channel,
                batch(Compression::None, std::slice::from_ref(&payload)),
            ));
            let Response::Publish(published) = answer else {
                continue;
            };
            let offset = published.first_offset;
            let mut found = None;
            if let Response::Fetch(fetched) = desk.ask(fetch(channel, FetchFrom::Offset(offset))) {
                each(&fetched.batches, |at, payload| {
                    if at == offset.0 {
                        found = Some(payload.to_vec());
                    }
                });
            }
            assert_eq!(
                found,
                Some(payload),
                "{channel}, what was just acknowledged"
            );
        }
        desk.keep();
    }
}

/// Everything that a directory holds.
pub fn read_whole(disk: &MemoryDisk) -> Records {
    let desk = open(disk, 2).expect("a whole directory");
    let mut found = Records::new();
    for (at, channel) in CHANNELS.iter().enumerate() {
        read_all(&desk, channel, |offset, payload| {
            found.insert((at, offset), payload.to_vec());
        });
    }
    found
}

/// Reads a channel from its start to its end, past what is damaged.
fn read_all(desk: &Desk, channel: &str, mut each_record: impl FnMut(u64, &[u8])) {
    let mut from = FetchFrom::Start;
    let mut last = 0;
    for _ in 0..1000 {
        match desk.ask(fetch(channel, from)) {
            Response::Fetch(fetched) => {
                let mut next = None;
                each(&fetched.batches, |offset, payload| {
                    each_record(offset, payload);
                    next = Some(offset + 1);
                });
                let Some(next) = next.filter(|next| *next > last) else {
                    return;
                };
                last = next;
                from = FetchFrom::Offset(Offset(next));
            }
            Response::Error(error) => {
                let Some(next) = error.detail_u64("next").filter(|next| *next > last) else {
                    return;
                };
                last = next;
                from = FetchFrom::Offset(Offset(next));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn each(batches: &Bytes, mut each_record: impl FnMut(u64, &[u8])) {
    let mut rest = batches.clone();
    while rest.len() >= 4 {
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let batch = rest.split_to(length);
        // A reader finds damage in the body by itself.
        if check_stored(&batch).is_err() {
            return;
        }
        for record in records(&batch).expect("checked") {
            let record = record.expect("checked");
            let payload = record.payload.unwrap_or_default();
            each_record(record.offset.0, &payload);
        }
    }
    assert!(rest.is_empty(), "whole batches");
}

/// Any change to any file of a directory: the broker opens it or refuses, and what it serves is
/// what was stored. The first byte chooses between a killed broker's directory and a stopped one's.
pub fn recovery(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let snapshot = snapshot(first & 1 == 1);
    let mut files = snapshot.files.clone();
    let has_mended = mutate(&mut files, rest);
    let stored = (!has_mended).then_some(&snapshot.records);
    exercise(&disk_of(&files), stored);
}

/// The same for the segments and indexes of a stopped broker alone: no journal heals them.
pub fn segments(bytes: &[u8]) {
    let snapshot = snapshot(true);
    let is_of_channel = |path: &Path| path.components().any(|part| part.as_os_str() == "channels");
    let (mut files, others): (Vec<_>, Vec<_>) = snapshot
        .files
        .iter()
        .cloned()
        .partition(|(path, _)| is_of_channel(path));
    let has_mended = mutate(&mut files, bytes);
    files.extend(others);
    let stored = (!has_mended).then_some(&snapshot.records);
    exercise(&disk_of(&files), stored);
}
