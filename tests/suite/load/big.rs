//! A channel too large to be read at every start.

use npayload::format::Compression;

use crate::raw::{CREATE, From, INFO, PUBLISH, Raw, batch_of, publish_body};
use serde_json::json;

const NAME: &str = "load.big";

/// Bytes of one record's payload.
const RECORD_BYTES: u64 = 64 << 10;

/// Records of one batch.
const BATCH_RECORDS: u64 = 12;

/// Writes a channel of about this many bytes; how many records it has.
pub fn fill(raw: &mut Raw, bytes: u64) -> u64 {
    raw.json(CREATE, &json!({"name": NAME})).of(CREATE);
    let mut records = 0;
    while records * RECORD_BYTES < bytes {
        let payloads: Vec<Vec<u8>> = (records..records + BATCH_RECORDS).map(payload).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let batch = batch_of(From::default(), Compression::None, &payloads);
        let body = publish_body(NAME, records, &batch);
        records = raw.request(PUBLISH, &body).published().last + 1;
    }
    records
}

fn payload(number: u64) -> Vec<u8> {
    let words = usize::try_from(RECORD_BYTES / 8).expect("small");
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .to_le_bytes()
        .repeat(words)
}

/// It has as many records, and the last of them is what was written.
pub fn check_end(raw: &mut Raw, records: u64) {
    let info = raw.json(INFO, &json!({"name": NAME})).json();
    assert_eq!(info["logEnd"], records, "{info}");
    check_from(raw, records - 1, records);
}

/// Every record is what was written.
pub fn check_all(raw: &mut Raw, records: u64) {
    check_from(raw, 0, records);
}

fn check_from(raw: &mut Raw, mut at: u64, end: u64) {
    while at < end {
        for (offset, found) in raw.fetch(NAME, at).fetched().records() {
            assert!(found == payload(offset), "{NAME}: offset {offset}");
            at = at.max(offset + 1);
        }
    }
}
