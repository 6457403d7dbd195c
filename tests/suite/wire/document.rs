//! `docs/wire-protocol.md` against the code: its tables of kinds and errors, and its frames in hex.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use npayload::format::{
    BatchBuilder, Compression, DoorLimits, NewRecord, Stamp, check_produced, check_stored, stamp,
};
use npayload::protocol::api::APIS;
use npayload::protocol::error_code::ERRORS;
use npayload::protocol::{Frame, FrameHeader, Kind, Request};
use npayload::types::{LogEpoch, Offset, ProducerId};

use super::fixtures::{INCARNATION, PRODUCER, TIME, examples, produced_batch, stored_batch};

const DOCUMENT: &str = include_str!("../../../docs/wire-protocol.md");

/// The rows of the first table after a heading, without its head; cells without back-ticks.
fn table_under(heading: &str) -> Vec<Vec<String>> {
    DOCUMENT
        .lines()
        .skip_while(|line| line.trim_start_matches('#').trim() != heading)
        .skip(1)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.replace('`', "").trim().to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn the_table_of_kinds_is_the_code() {
    let code: Vec<Vec<String>> = APIS
        .iter()
        .map(|api| {
            let versions = if api.min_version == api.max_version {
                api.min_version.to_string()
            } else {
                format!("{}-{}", api.min_version, api.max_version)
            };
            let largest = match api.max_frame_bytes {
                bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
                bytes => format!("{} KiB", bytes >> 10),
            };
            vec![
                api.kind.number().to_string(),
                api.name.to_owned(),
                versions,
                api.encoding.name().to_owned(),
                largest,
            ]
        })
        .collect();
    let document: Vec<Vec<String>> = table_under("Kinds")
        .into_iter()
        .map(|mut row| {
            row.truncate(5);
            row
        })
        .collect();
    assert_eq!(document, code);
}

#[test]
fn the_table_of_errors_is_the_code() {
    let code: Vec<Vec<String>> = ERRORS
        .iter()
        .map(|row| {
            vec![
                row.code.number().to_string(),
                row.name.to_owned(),
                if row.retryable { "yes" } else { "no" }.to_owned(),
                row.text.to_owned(),
            ]
        })
        .collect();
    assert_eq!(table_under("Table of errors"), code);
}

/// The bytes of the code block that follows a line of the form `Frame: NAME` or `Batch: NAME`.
/// In a block, everything from `#` on is a remark.
fn hex_after(marker: &str) -> Vec<u8> {
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != marker);
    assert!(lines.next().is_some(), "no line `{marker}`");
    let block = lines
        .skip_while(|line| !line.starts_with("```"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"));
    block
        .flat_map(|line| {
            let code = line.split('#').next().unwrap_or_default();
            code.split_whitespace().map(ToOwned::to_owned)
        })
        .map(|byte| u8::from_str_radix(&byte, 16).unwrap())
        .collect()
}

#[test]
fn the_frames_in_hex_are_the_golden_frames() {
    let shown: Vec<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("Frame: "))
        .collect();
    assert!(shown.len() >= 6, "{shown:?}");
    for name in shown {
        let example = examples()
            .into_iter()
            .find(|example| example.name == name)
            .unwrap_or_else(|| panic!("no example {name}"));
        assert_eq!(
            hex_after(&format!("Frame: {name}")),
            example.message.encode(),
            "{name}"
        );
    }
}

#[test]
fn the_batch_in_hex_is_a_batch() {
    assert_eq!(
        hex_after("Batch: a produced batch of two records"),
        produced_batch()
    );
}

/// The hand-made batch of the document is what the format room builds, lets in and stamps.
#[test]
fn the_batch_in_hex_is_what_the_builder_builds_and_the_door_lets_in() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(ProducerId(PRODUCER), 1, 0);
    let hello = NewRecord {
        record_type: "chat.message",
        key: Some(b"u1"),
        headers: &[("lang", b"en")],
        payload: Some(b"hello"),
        event_time: None,
    };
    let empty = NewRecord {
        payload: Some(b""),
        ..NewRecord::default()
    };
    builder.push(&hello).unwrap();
    builder.push(&empty).unwrap();
    let mut batch = builder.build().unwrap();
    assert_eq!(batch, produced_batch());
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: false,
        zstd: false,
    };
    check_produced(&batch, &limits).unwrap();
    let broker = Stamp {
        incarnation: INCARNATION,
        base_offset: Offset(41),
        append_time: TIME,
        log_epoch: LogEpoch(3),
        principal: 0,
    };
    stamp(&mut batch, &broker);
    assert_eq!(batch, stored_batch());
    check_stored(&batch).unwrap();
}

/// The words between back-ticks.
fn quoted(text: &str) -> BTreeSet<String> {
    let words = text.split('`').skip(1).step_by(2);
    words.map(ToOwned::to_owned).collect()
}

/// The table of the section "Agents", cells as they are.
fn agents_table(head: &str) -> Vec<Vec<String>> {
    DOCUMENT
        .lines()
        .skip_while(|line| *line != "## Agents")
        .skip_while(|line| !line.starts_with(head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The fields that a request may have, as its refusal of another one lists them.
fn fields_of(kind: Kind) -> BTreeSet<String> {
    let frame = Frame {
        header: FrameHeader::request(kind, 1),
        body: BytesMut::from(&br#"{"?":0}"#[..]),
    };
    let error = Request::decode(frame).unwrap_err();
    let (_, known) = error.message.split_once("expected ").unwrap();
    quoted(known)
}

#[test]
fn the_table_of_requests_about_agents_has_their_fields() {
    let rows = agents_table("| Request |");
    let asp = APIS
        .iter()
        .filter(|api| (100..190).contains(&api.kind.number()));
    assert!(
        asp.clone()
            .map(|api| format!("`{}`", api.name))
            .eq(rows.iter().map(|row| row[0].clone())),
    );
    for (api, row) in asp.zip(&rows) {
        assert_eq!(quoted(&row[1]), fields_of(api.kind), "{}", api.name);
    }
}

#[test]
fn the_table_of_requests_about_agents_has_the_fields_of_the_answers() {
    let of_rows: BTreeMap<String, BTreeSet<String>> = agents_table("| Row |")
        .into_iter()
        .map(|row| (row[0].clone(), quoted(&row[1])))
        .collect();
    for row in agents_table("| Request |") {
        let name = row[0].trim_matches('`').replace('.', "_");
        let example = examples()
            .into_iter()
            .find(|example| example.name == format!("{name}_response"))
            .unwrap();
        let body: serde_json::Value =
            serde_json::from_slice(&example.message.encode()[16..]).unwrap();
        let mut told: BTreeSet<String> = quoted(&row[2]);
        if let Some((_, fields)) = of_rows.iter().find(|(of, _)| row[2].contains(*of)) {
            told.extend(fields.iter().cloned());
        }
        let mut found: BTreeSet<String> = body.as_object().unwrap().keys().cloned().collect();
        for value in body.as_object().unwrap().values() {
            let first = value.as_array().and_then(|all| all.first()?.as_object());
            // What is in the arrays of a single row is told below the table.
            if !row[2].ends_with(" row") {
                found.extend(first.into_iter().flat_map(|one| one.keys().cloned()));
            }
        }
        assert!(found.is_subset(&told), "{name}: {found:?} {told:?}");
    }
}
