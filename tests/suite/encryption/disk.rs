//! What lies on the disk of an encrypted channel, and what becomes of it when it is changed.

use std::collections::HashMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use npayload::format::{BatchHeader, Compression, Stamp, check_stored, stamp};
use npayload::protocol::ErrorCode;
use npayload::protocol::control::{ConfigChange, Encryption};
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};

use super::desk::{CANARY, Office, Settings, batch, files, masters, showing};

/// Small ones, which go through the journal, and large ones, which go straight to a segment.
const SIZES: [usize; 5] = [0, 10, 700, 3_000, 9_000];

#[test]
fn nothing_of_a_record_is_on_the_disk_and_all_of_it_comes_back() {
    let office = Office::with_keys(&[1]);
    office.create("secret", Encryption::On).unwrap();
    let mut sent = Vec::new();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for size in SIZES {
            let batch = batch(compression, size);
            sent.push((office.publish("secret", batch.clone()).unwrap(), batch));
        }
    }
    let check = |office: &Office| {
        let found = office.read_all("secret", 0).unwrap();
        assert_eq!(found.len(), sent.len());
        for (offset, batch) in &sent {
            assert!(
                found[offset][..] == batch[72..],
                "the producer's bytes at {offset}"
            );
        }
        assert_eq!(showing(&office.disk, CANARY), [] as [PathBuf; 0]);
    };
    check(&office);
    office.keep();
    check(&office);
    let office = office.restart(Settings::with(masters(&[1])));
    check(&office);
    // The test would see what is in plain: a channel beside it is.
    office.create("open", Encryption::Off).unwrap();
    for size in SIZES {
        let batch = batch(Compression::None, size);
        office.publish("open", batch).unwrap();
    }
    office.keep();
    let shown = showing(&office.disk, CANARY);
    let is_in = |part: &str| {
        shown
            .iter()
            .any(|path| path.to_str().unwrap().contains(part))
    };
    assert!(is_in("/journal/") && is_in("/channels/"), "{shown:?}");
}

#[test]
fn what_was_acknowledged_survives_crashes_and_power_cuts_and_stays_hidden() {
    let mut office = Office::with_keys(&[1]);
    office.create("secret", Encryption::On).unwrap();
    let mut sent = Vec::new();
    for round in 0..12u64 {
        for size in SIZES {
            let batch = batch(Compression::None, size + usize::try_from(round).unwrap());
            sent.push((office.publish("secret", batch.clone()).unwrap(), batch));
            if size == 700 && round % 3 == 1 {
                office.keep();
            }
        }
        let loss = match round % 3 {
            0 => Loss::All,
            1 => Loss::Random(round),
            _ => Loss::None,
        };
        let disk = office.disk.after(loss);
        assert_eq!(showing(&disk, CANARY), [] as [PathBuf; 0], "{loss:?}");
        office = Office::open(disk, Settings::with(masters(&[1])));
        let found = office.read_all("secret", 0).unwrap();
        assert_eq!(found.len(), sent.len(), "{loss:?}");
        for (offset, batch) in &sent {
            assert!(found[offset][..] == batch[72..], "{loss:?} at {offset}");
        }
    }
}

/// Where the batches of a channel's segments are: file, position, first offset.
fn stored(disk: &CrashingDisk, id: &str) -> Vec<(PathBuf, usize, BatchHeader)> {
    let mut found = Vec::new();
    for (path, bytes) in files(disk) {
        let text = path.to_str().unwrap();
        if !text.contains(id) || path.extension().is_none_or(|ext| ext != "log") {
            continue;
        }
        let mut at = 4096;
        while at + 128 <= bytes.len() {
            match BatchHeader::peek(&bytes[at..]) {
                Ok(header) => {
                    at += header.len();
                    found.push((path.clone(), at - header.len(), header));
                }
                Err(_) => at += 8,
            }
        }
    }
    found.sort_by_key(|(_, _, header)| header.base_offset());
    found
}

fn change(disk: &CrashingDisk, path: &Path, position: usize, change: impl FnOnce(&mut [u8])) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    let mut head = [0; 128];
    file.read_at(position as u64, &mut head).unwrap();
    let mut bytes = vec![0; BatchHeader::peek(&head).unwrap().len()];
    file.read_at(position as u64, &mut bytes).unwrap();
    change(&mut bytes);
    file.write_at(position as u64, &[IoSlice::new(&bytes)])
        .unwrap();
}

/// Both checksums made right again.
fn forge(bytes: &mut [u8]) {
    let body = crc32fast::hash(&bytes[72..]);
    bytes[12..16].copy_from_slice(&body.to_le_bytes());
    let mut header = crc32fast::Hasher::new();
    header.update(&bytes[..4]);
    header.update(&bytes[8..72]);
    bytes[4..8].copy_from_slice(&header.finalize().to_le_bytes());
}

#[test]
fn a_changed_bit_is_damage_and_a_forged_batch_is_called_what_it_is() {
    for (at, is_forged, code) in [
        (200, false, ErrorCode::Damaged),
        (130, false, ErrorCode::Damaged),
        (12, false, ErrorCode::Damaged),
        (200, true, ErrorCode::NotAuthentic),
        (130, true, ErrorCode::NotAuthentic),
        (145, true, ErrorCode::NotAuthentic),
        // Another append time, and another fence.
        (40, true, ErrorCode::NotAuthentic),
        (120, true, ErrorCode::NotAuthentic),
    ] {
        let office = Office::with_keys(&[1]);
        office.create("secret", Encryption::On).unwrap();
        for _ in 0..5 {
            office
                .publish("secret", batch(Compression::None, 300))
                .unwrap();
        }
        office.keep();
        let office = office.restart(Settings::with(masters(&[1])));
        let id = office.info("secret").id.to_string();
        let (path, position, header) = stored(&office.disk, &id).swap_remove(2);
        assert!(header.is_sealed());
        change(&office.disk, &path, position, |bytes| {
            // The lowest bit of a time stays within the order of times.
            bytes[at] ^= 1;
            if is_forged {
                forge(bytes);
                assert!(
                    check_stored(bytes).is_ok(),
                    "nobody would notice without the key"
                );
            }
        });
        let case = format!("byte {at}, forged: {is_forged}");
        // The batches before it come first.
        let before = office.fetch("secret", 0).unwrap();
        assert_eq!(before.len(), 2, "{case}");
        let error = office.fetch("secret", 4).unwrap_err();
        assert!(error.is(code), "{case}: {error}");
        assert_eq!(error.detail_u64("next"), Some(6), "{case}: {error}");
        assert_eq!(error.detail_u64("offset"), Some(4), "{case}: {error}");
        assert_eq!(office.read_all("secret", 6).unwrap().len(), 2, "{case}");
    }
}

#[test]
fn no_nonce_is_used_twice_with_a_key_whatever_was_cut_off() {
    let mut office = Office::with_keys(&[1]);
    office.create("secret", Encryption::On).unwrap();
    let change = ConfigChange {
        durability: Some(npayload::types::Durability::Written),
        sync_interval_ms: Some(3_600_000),
        ..ConfigChange::default()
    };
    office.update("secret", change).unwrap();
    let id = office.info("secret").id.to_string();
    let mut seen: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut offsets = HashMap::new();
    for round in 0..8u64 {
        for more in [50, 900, 5_000] {
            let more = more + usize::try_from(round).unwrap();
            let offset = office
                .publish("secret", batch(Compression::None, more))
                .unwrap();
            *offsets.entry(offset).or_insert(0) += 1;
        }
        office.keep();
        for (path, position, header) in stored(&office.disk, &id) {
            let (_, bytes) = files(&office.disk)
                .into_iter()
                .find(|file| file.0 == path)
                .unwrap();
            let stored = bytes[position..position + header.len()].to_vec();
            let (nonce, text) = (stored[128..140].to_vec(), stored[140..].to_vec());
            let known = seen.entry(nonce).or_insert_with(|| text.clone());
            assert!(
                *known == text,
                "round {round}, offset {}",
                header.base_offset()
            );
        }
        // What was not synced is gone, and its offsets are given again.
        office = Office::open(office.disk.after(Loss::All), Settings::with(masters(&[1])));
    }
    assert!(
        offsets.values().any(|times| *times > 1),
        "no offset was given twice"
    );
    assert!(seen.len() > 8);
}

#[test]
fn a_plain_batch_in_the_place_of_an_encrypted_one_is_called_what_it_is() {
    let office = Office::with_keys(&[1]);
    office.create("secret", Encryption::Off).unwrap();
    office
        .publish("secret", batch(Compression::None, 300))
        .unwrap();
    office.turn("secret", Encryption::On).unwrap();
    for _ in 0..3 {
        office
            .publish("secret", batch(Compression::None, 300))
            .unwrap();
    }
    office.keep();
    let office = office.restart(Settings::with(masters(&[1])));
    let id = office.info("secret").id.to_string();
    let (path, position, header) = stored(&office.disk, &id).swap_remove(2);
    assert!(header.is_sealed());
    change(&office.disk, &path, position, |bytes| {
        // As long as the other, with the seal: of the forger's own making, without any key.
        let mut forged = batch(Compression::None, 316);
        assert_eq!(forged.len(), bytes.len());
        let stamped = stamp(
            &mut forged,
            &Stamp {
                incarnation: header.incarnation(),
                base_offset: header.base_offset(),
                append_time: header.append_time(),
                log_epoch: header.log_epoch(),
                principal: header.principal(),
            },
        );
        assert_eq!(stamped.end_offset(), header.end_offset());
        bytes.copy_from_slice(&forged);
        assert!(check_stored(bytes).is_ok());
    });
    // What was plain before, and what comes before and behind it, is served.
    assert_eq!(office.fetch("secret", 0).unwrap().len(), 1);
    assert_eq!(office.fetch("secret", 2).unwrap().len(), 1);
    let error = office.fetch("secret", 4).unwrap_err();
    assert!(error.is(ErrorCode::NotAuthentic), "{error}");
    assert_eq!(office.read_all("secret", 6).unwrap().len(), 1);
}
