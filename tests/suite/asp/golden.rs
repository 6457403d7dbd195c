//! The files of `tests/golden/asp`: sessions as other languages must write and judge them, checked
//! once more by `tests/asp_vectors.py`, which shares nothing with this code.
//!
//! `UPDATE_GOLDEN=1 cargo test golden` writes them anew. Do that for a new file only.

use std::path::{Path, PathBuf};
use std::process::Command;

use npayload::asp::Canonical;
use npayload::asp::chain::SigningKey;
use npayload::asp::session::{Filed, SessionEvent, SessionRecord};
use npayload::types::Offset;
use serde_json::{Value, json};

use super::{SEED, SILENCE, TALK, topic};

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/asp")
}

/// Texts with their canonical form, and texts that have none with the place of what is wrong.
fn canonical() -> Value {
    let forms = [
        r#"{"b":[1.0,2.50,1E30,4.5e-7,-0,0.000001,123456789012345680000000],"a":{"z":null,"y":true}}"#,
        r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
        r#" "\u0007\u001f\u007f\b\f\t\/\\\" ✓" "#,
        "[9007199254740991,-9007199254740991,5e-324,1.7976931348623157e308,31.245270191439438]",
    ];
    let forms = forms
        .map(|given| json!({"given": given, "form": Canonical::parse(given).unwrap().as_str()}));
    let refused = [
        r#"{"a":1,"a":2}"#,
        r#"[{"b/~":{"c":1,"\u0063":1}}]"#,
        r#"{"n":9007199254740992}"#,
        r#"{"n":[0,-18446744073709551616]}"#,
    ];
    let refused = refused.map(
        |given| json!({"given": given, "why": Canonical::parse(given).unwrap_err().to_string()}),
    );
    json!({"forms": forms, "refused": refused})
}

/// A record, and the texts that are hashed on the way to its hash.
fn record(offset: Offset, record: &SessionRecord) -> Value {
    let text = String::from_utf8(record.encode()).unwrap();
    let mut hashed: Value = serde_json::from_str(&text).unwrap();
    let members = hashed.as_object_mut().unwrap();
    members.remove("hash");
    members.remove("payload");
    let mut vector = json!({
        "offset": offset,
        "type": record.record_type(),
        "record": text,
        "hashed": Canonical::of(&hashed).unwrap().as_str(),
    });
    if let SessionEvent::MessageSent(sent) = &record.event {
        vector["message"] = String::from_utf8(sent.message.canonical()).unwrap().into();
    }
    vector
}

fn goldens() -> Vec<(&'static str, Value)> {
    let topic = topic();
    let of = |session| -> Value {
        let records = topic.of(session).into_iter();
        records.map(|(offset, r)| record(offset, r)).collect()
    };
    let SessionEvent::Ended(_) = &topic.of(SILENCE).last().unwrap().1.event else {
        panic!("a session of the sample has not ended");
    };
    let filed = SessionRecord {
        event: SessionEvent::Filed(Filed {
            rows: vec![(TALK, Offset(57)), (SILENCE, Offset(61))],
        }),
        place: None,
    };
    let texts = |records: Vec<SessionRecord>| -> Vec<String> {
        let records = records.iter();
        records
            .map(|r| String::from_utf8(r.encode()).unwrap())
            .collect()
    };
    let public = SigningKey::from_seed(&SEED).public_key();
    vec![
        ("canonical.json", canonical()),
        ("closed.json", json!({"key": public, "records": of(TALK)})),
        (
            "expired.json",
            json!({"key": public, "records": of(SILENCE)}),
        ),
        (
            "of_all.json",
            json!({"filed": texts(vec![filed]), "folded": texts(topic.sessions.fold())}),
        ),
    ]
}

/// Compares a value with its golden file.
pub(super) fn is_golden(name: &str, value: &Value) {
    let path = directory().join(name);
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(directory()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == text,
        "{name}: format change: raise the version and add a decision record"
    );
}

#[test]
fn the_sessions_are_byte_stable() {
    let goldens = goldens();
    for (name, value) in &goldens {
        is_golden(name, value);
    }
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            name == "evidence.jsonl"
                || name == "promises.json"
                || goldens.iter().any(|(golden, _)| name == *golden),
            "nobody claims {name:?}"
        );
    }
}

#[test]
fn the_golden_sessions_have_a_record_of_every_type() {
    let topic = topic();
    let mut types: Vec<_> = topic.records.iter().map(|(_, r)| r.record_type()).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(
        types,
        [
            "session.created",
            "session.ended",
            "session.expired",
            "session.invitationLapsed",
            "session.messageSent",
            "session.participantLeft",
            "session.responseOverdue",
            "session.resumed",
        ]
    );
}

/// What the independent check says of a directory of golden files; none where there is no Python.
fn check(directory: &Path) -> Option<(bool, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asp_vectors.py");
    let Ok(output) = Command::new("python3").arg(script).arg(directory).output() else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("skipped, python3 is not installed");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn an_independent_check_finds_the_golden_files_right() {
    if let Some((is_right, said)) = check(&directory()) {
        assert!(is_right, "{said}");
    }
}

#[test]
fn the_independent_check_finds_what_is_wrong() {
    // Each a member of a record, and the record of the session that the check then names.
    for (file, from, to, named) in [
        ("closed.json", r#"\"signature\":\"ed25519:"#, "", "record 1"),
        (
            "closed.json",
            r#"\"score\":0.333"#,
            r#"\"score\":0.334"#,
            "record 3",
        ),
        ("closed.json", r#"\"hash\":\"sha256:"#, "", "record 0"),
        ("canonical.json", "5e-324", "5e-323", "form"),
        (
            "promises.json",
            r#"\"termsHash\":\"sha256:"#,
            "",
            "record 1",
        ),
        (
            "promises.json",
            r#"\"evidenceHash\":\"sha256:"#,
            "",
            "record 2",
        ),
        (
            "promises.json",
            r#"\"order\":[{\"agent\":\"agt_"#,
            "",
            "drawn",
        ),
        ("promises.json", r#"\"secret\":\""#, "", "sealed"),
        ("promises.json", r#"\"nextSeal\":\"sha256:"#, "", "sealed"),
        (
            "promises.json",
            r#"\"amount\":9000"#,
            r#"\"amount\":1000"#,
            "money",
        ),
    ] {
        let copy = tempfile::tempdir().unwrap();
        for name in goldens()
            .iter()
            .map(|(name, _)| *name)
            .chain(["promises.json"])
        {
            std::fs::copy(directory().join(name), copy.path().join(name)).unwrap();
        }
        let path = copy.path().join(file);
        let mut text = std::fs::read_to_string(&path).unwrap();
        let at = text
            .find(from)
            .unwrap_or_else(|| panic!("{from} in {file}"));
        if to.is_empty() {
            // The digit behind.
            let digit = at + from.len();
            let other = if &text[digit..=digit] == "0" {
                "1"
            } else {
                "0"
            };
            text.replace_range(digit..=digit, other);
        } else {
            text.replace_range(at..at + from.len(), to);
        }
        std::fs::write(&path, text).unwrap();
        if let Some((is_right, said)) = check(copy.path()) {
            assert!(!is_right && said.contains(named), "{file} {from}: {said}");
        }
    }
}
