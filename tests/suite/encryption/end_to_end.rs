//! The end-to-end mode: docs/security.md, "End to end". The broker passes it on untouched.

use bytes::BytesMut;
use npayload::format::{BatchBuilder, Compression, DataKey, NewRecord, records};
use npayload::protocol::control::Encryption;

use super::desk::{CANARY, Office, Settings, masters, showing};

const SECURITY: &str = include_str!("../../../docs/security.md");

/// The names of the headers, as the document has them.
const HEADERS: [&str; 4] = ["np-enc", "np-enc-key", "np-enc-nonce", "np-enc-wrapped"];

#[test]
fn a_payload_that_its_producer_encrypted_passes_through_and_only_its_reader_opens_it() {
    // What producer and consumer share, and the broker does not have.
    let key = DataKey::new(&[0x77; 32]);
    let nonce = *b"client nonce";
    let mut payload = CANARY.to_vec();
    let bound = b"inference.feedback\0user-1";
    let tag = key.encrypt(nonce, bound, &mut payload);
    payload.extend_from_slice(&tag);
    let wrapped = [9; 60];
    let values: [&[u8]; 4] = [b"A256GCM", b"team-a/2026-11", &nonce, &wrapped];
    let headers: Vec<(&str, &[u8])> = HEADERS.into_iter().zip(values).collect();
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder
        .push(&NewRecord {
            record_type: "inference.feedback",
            key: Some(b"user-1"),
            headers: &headers,
            payload: Some(&payload),
            event_time: None,
        })
        .unwrap();
    let batch: BytesMut = builder.build().unwrap();
    for encryption in [Encryption::Off, Encryption::On] {
        let office = Office::with_keys(&[1]);
        office.create("private", encryption).unwrap();
        office.publish("private", batch.clone()).unwrap();
        office.keep();
        let office = office.restart(Settings::with(masters(&[1])));
        assert!(showing(&office.disk, CANARY).is_empty());
        let found = office.fetch("private", 0).unwrap().swap_remove(0);
        assert!(found[72..] == batch[72..], "the producer's bytes");
        let record = records(&found).unwrap().next().unwrap().unwrap();
        // Metadata is there for whoever routes by it.
        assert_eq!(record.record_type.as_str(), "inference.feedback");
        assert_eq!(record.key.as_deref(), Some(&b"user-1"[..]));
        let got: Vec<(&str, &[u8])> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]))
            .collect();
        assert_eq!(got, headers);
        let (mut text, tag) = {
            let payload = record.payload.unwrap();
            let (text, tag) = payload.split_at(payload.len() - 16);
            (text.to_vec(), tag.try_into().unwrap())
        };
        assert!(key.decrypt(nonce, bound, tag, &mut text));
        assert_eq!(text, CANARY);
        assert!(!key.decrypt(nonce, b"another type\0user-1", tag, &mut payload.clone()));
    }
}

#[test]
fn the_document_names_every_header_of_the_convention() {
    for header in HEADERS {
        assert!(SECURITY.contains(&format!("| `{header}` |")), "{header}");
    }
}
