//! Gaps: batches that stand for lost records, in exactly the bytes they are given.

use bytes::Bytes;

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

const STAMP: Stamp = Stamp {
    incarnation: Incarnation(5),
    base_offset: Offset(1000),
    append_time: Timestamp(77),
    log_epoch: LogEpoch(3),
    principal: 0,
};

fn gap() -> Gap {
    Gap {
        reason: "damaged".to_owned(),
        types: Vec::new(),
        what: "the body does not match its checksum".to_owned(),
        file: "channels/05/00000000000000000000.log".to_owned(),
        position: 4096,
        length: 152,
        repaired_at: Timestamp(1_735_689_600_000),
        tool: "npayload-inspect 0.1.0".to_owned(),
    }
}

#[test]
fn a_gap_fills_any_place_that_a_batch_can_leave() {
    let wanted = gap();
    let mut told = 0;
    for len in (MIN_GAP_BYTES..4096).step_by(8).chain([1 << 20]) {
        let bytes = Bytes::from(wanted.encode(&STAMP, 3_000_000_000, len));
        assert_eq!(bytes.len(), len);
        let header = check_stored(&bytes).unwrap();
        assert!(header.is_gap() && header.is_sparse());
        assert_eq!(header.base_offset(), Offset(1000));
        assert_eq!(header.end_offset(), Offset(3_000_001_000));
        assert_eq!(
            (header.append_time(), header.log_epoch()),
            (STAMP.append_time, STAMP.log_epoch)
        );
        let all: Vec<_> = records(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 1);
        assert!(all[0].record_type == GAP_TYPE || len < MIN_GAP_BYTES + 16);
        let found = Gap::of(&bytes).unwrap().expect("it is a gap");
        if len > 1024 {
            assert_eq!(found, wanted);
        } else if len > 256 {
            assert_eq!(found.reason, "damaged", "{len}");
        }
        told += u32::from(found == wanted);
    }
    assert!(told > 400, "{told} of them had room for all of the reason");
}

#[test]
fn the_largest_gap_is_one_record_of_the_largest_size() {
    let bytes = Bytes::from(gap().encode(&STAMP, 1, Gap::MAX_BYTES));
    assert!(check_stored(&bytes).unwrap().is_gap());
    assert_eq!(Gap::of(&bytes), Ok(Some(gap())));
}

#[test]
fn a_batch_of_records_is_no_gap() {
    let mut batch = batch_of(Compression::None, &[b"hello"]);
    stamp(&mut batch, &STAMP);
    assert_eq!(Gap::of(&batch.into()), Ok(None));
}

#[test]
fn a_producer_can_not_send_a_gap() {
    let mut sent = gap().encode(&STAMP, 3, 400);
    let error = check_produced(&sent, &ANY).unwrap_err().to_string();
    assert!(error.contains("must be zero"), "{error}");
    // Nor when all else that the broker stamps is empty.
    let flags = [sent[10], sent[11]];
    sent[4..8].fill(0);
    sent[10..12].fill(0);
    sent[16..72].fill(0);
    assert!(
        check_produced(&sent, &ANY).is_err(),
        "the span is above the count"
    );
    sent[80] = 1;
    mend(&mut sent);
    assert!(
        check_produced(&sent, &ANY).is_ok(),
        "an ordinary record of that type"
    );
    sent[10..12].copy_from_slice(&flags);
    assert!(
        check_produced(&sent, &ANY).is_err(),
        "the flags are the broker's"
    );
}

#[test]
fn a_gap_that_breaks_a_rule_of_gaps_is_refused() {
    let good = gap().encode(&STAMP, 3, 400);
    let refused = |mut bytes: Vec<u8>, message: &str| {
        mend(&mut bytes);
        stamp(&mut bytes, &STAMP);
        let error = check_stored(&bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    refused(with(10, 2), "with a gap that is not sparse");
    refused(with(72, 2), "compression of a batch is 2");
    refused(with(76, 2), "record_count of a batch is 2");
    refused(with(88, 2), "byte 88 must be zero");
    refused(with(104, 2), "byte 104 must be zero");
    refused(with(112, 2), "byte 112 must be zero");
    refused(with(120, 2), "byte 120 must be zero");
}
