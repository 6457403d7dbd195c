//! Encrypted batches: what comes back, what shows, and what is refused.

use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

const STAMP: Stamp = Stamp {
    incarnation: Incarnation(5),
    base_offset: Offset(1000),
    append_time: Timestamp(77),
    log_epoch: LogEpoch(3),
    principal: 9,
};

fn sealing() -> Sealing {
    Sealing {
        key: Arc::new(DataKey::new(&[7; 32])),
        key_id: 3,
        nonce: *b"twelve bytes",
    }
}

fn plain(compression: Compression, payload: &[u8]) -> Vec<u8> {
    let mut batch = batch_of(compression, &[payload, b"second"]);
    stamp(&mut batch, &STAMP);
    batch
}

fn sealed() -> Vec<u8> {
    let batch = plain(Compression::None, b"attack at dawn");
    seal(&batch, &sealing()).0.to_vec()
}

/// Both checksums made right again, as somebody would who changes bytes on purpose.
fn forge(batch: &mut [u8]) {
    mend(batch);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&batch[..4]);
    crc.update(&batch[8..72]);
    batch[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
}

#[test]
fn what_is_unsealed_is_the_producers_batch_to_the_byte() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for length in [0, 1, 7, 8, 9, 100, 5000] {
            let batch = plain(compression, &vec![b'a'; length]);
            let (sealed, header) = seal(&batch, &sealing());
            assert_eq!(sealed.len(), batch.len() + SEAL_BYTES);
            assert_eq!(check_stored(&sealed), Ok(header));
            assert!(header.is_sealed());
            assert_eq!(header.key_id(), 3);
            let mut found = BytesMut::from(&b"before"[..]);
            let opened = unseal(&sealed, &sealing().key, &mut found).unwrap();
            assert_eq!(&found[..6], b"before");
            assert!(found[6..] == batch[..], "{compression:?} {length}");
            assert_eq!(check_stored(&found[6..]), Ok(opened));
        }
    }
}

#[test]
fn what_a_log_is_kept_by_shows_without_a_key() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord::default()).unwrap();
    builder.producer(ProducerId(12), 4, 55).fence(99);
    let mut batch = builder.build().unwrap();
    let before = stamp(&mut batch, &STAMP);
    let after = check_stored(&seal(&batch, &sealing()).0).unwrap();
    let kept = |header: &BatchHeader| {
        (
            (
                header.incarnation(),
                header.base_offset(),
                header.end_offset(),
            ),
            (header.append_time(), header.log_epoch(), header.principal()),
            (
                header.producer_id(),
                header.producer_epoch(),
                header.base_sequence(),
            ),
            (header.fence(), header.record_count(), header.offset_span()),
            (
                header.compression(),
                header.uncompressed_len(),
                header.records_len(),
            ),
        )
    };
    assert_eq!(kept(&before), kept(&after));
}

#[test]
fn nothing_of_the_records_and_not_their_checksum_shows() {
    let batch = plain(Compression::None, b"attack at dawn");
    let sealed = sealed();
    let shows = |needle: &[u8]| sealed.windows(needle.len()).any(|part| part == needle);
    assert!(!shows(b"attack"));
    assert!(!shows(&batch[12..16]), "a checksum confirms a guess");
    assert!(!shows(&batch[128..136]));
    let error = records(&sealed.clone().into()).unwrap_err();
    assert_eq!(error, DecodeError::Encrypted { key_id: 3 });
    assert_eq!(format!("{:?}", sealing().key), "DataKey(…)");
}

#[test]
fn every_changed_bit_is_found_by_a_checksum_and_forged_ones_by_the_tag() {
    let batch = sealed();
    let key = sealing().key;
    for bit in 0..batch.len() * 8 {
        let mut changed = batch.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check_stored(&changed).is_err(), "bit {bit}");
        let mut into = BytesMut::new();
        forge(&mut changed);
        // The padding holds nothing; the rules of the stored form refuse it.
        let padding = 160 + check_stored(&batch).unwrap().records_len();
        if changed == batch || bit / 8 >= padding {
            continue;
        }
        assert!(unseal(&changed, &key, &mut into).is_err(), "bit {bit}");
        assert!(into.is_empty());
    }
}

#[test]
fn a_batch_is_bound_to_its_place_its_log_and_its_key() {
    let batch = sealed();
    let key = sealing().key;
    for (at, what) in [
        (16, "another log"),
        (32, "another offset"),
        (40, "another time"),
        (48, "another epoch"),
        (56, "another principal"),
        (60, "another key's number"),
        (88, "another producer"),
        (112, "another sequence"),
        (120, "another fence"),
        (128, "another nonce"),
    ] {
        let mut moved = batch.clone();
        moved[at] ^= 4;
        forge(&mut moved);
        assert!(check_stored(&moved).is_ok(), "{what}: checksums are right");
        let error = unseal(&moved, &key, &mut BytesMut::new()).unwrap_err();
        assert!(matches!(error, DecodeError::NotAuthentic { .. }), "{what}");
    }
    let other = DataKey::new(&[8; 32]);
    let error = unseal(&batch, &other, &mut BytesMut::new()).unwrap_err();
    let what = "batch";
    assert_eq!(error, DecodeError::NotAuthentic { what, key_id: 3 });
}

#[test]
fn a_key_and_its_version_go_together() {
    let batch = sealed();
    for (at, value, message) in [
        (8, 1, "key_id of a batch is 3, and a batch of version 1"),
        (8, 3, "unsupported version 3, this npayload reads version 2"),
        (60, 0, "key_id of a batch is 0, and a batch of version 2"),
        (
            10,
            3,
            "stamped_flags of a batch is 3, with a gap that is encrypted",
        ),
        (108, 1, "records_len of a batch is 1"),
    ] {
        let mut wrong = batch.clone();
        wrong[at] = value;
        forge(&mut wrong);
        let error = check_stored(&wrong).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = check_produced(&batch, &ANY).unwrap_err();
    let is_refused = matches!(
        error,
        DecodeError::UnsupportedVersion {
            found: 2,
            supported: 1,
            ..
        }
    );
    assert!(is_refused, "{error}");
}

#[test]
fn the_largest_batch_can_be_encrypted_and_nothing_larger_is_stored() {
    let mut header = [0; 128];
    let longest = u32::try_from(MAX_STORED_BATCH_BYTES).unwrap();
    header[..4].copy_from_slice(&longest.to_le_bytes());
    let peeked = |header: &mut [u8; 128], version: u8, key: u8| {
        (header[8], header[60]) = (version, key);
        forge(header);
        BatchHeader::peek(header)
    };
    assert_eq!(
        peeked(&mut header, 2, 1).unwrap().len(),
        MAX_STORED_BATCH_BYTES
    );
    assert!(
        peeked(&mut header, 1, 0).is_err(),
        "in plain it is too long"
    );
    header[..4].copy_from_slice(&(longest + 8).to_le_bytes());
    assert!(peeked(&mut header, 2, 1).is_err());
}
