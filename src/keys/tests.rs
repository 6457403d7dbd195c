//! What is wrapped comes back under the right master key alone, and nothing shows.

use super::*;
use crate::types::{Incarnation, Offset, Timestamp};

const LOG: Incarnation = Incarnation(77);

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn masters(bytes: &[u8]) -> MasterKeys {
    let lines: Vec<String> = bytes.iter().map(|byte| hex(*byte)).collect();
    MasterKeys::parse(&lines.join("\n")).unwrap()
}

fn wrapped(masters: &MasterKeys, id: u32) -> WrappedKey {
    let key = RawKey::new([42; 32]);
    WrappedKey {
        id,
        from: Offset(10),
        created_at: Timestamp(5),
        wrapped: Wrapped::new(&key, masters.first().unwrap(), LOG, id, [9; 12]),
    }
}

#[test]
fn master_keys_are_lines_of_hex_or_base64() {
    let base64 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let text = format!(
        "# the new one\n\n  {}  \n{base64}\r\n",
        hex(0xAB).to_uppercase()
    );
    let keys = MasterKeys::parse(&text).unwrap();
    let ids: Vec<MasterKeyId> = keys.iter().map(MasterKey::id).collect();
    let one_by_one = [masters(&[0xAB]), masters(&[1])];
    assert_eq!(ids, one_by_one.map(|keys| keys.first().unwrap().id()));
    assert_eq!(keys.first().unwrap().id(), ids[0]);
}

#[test]
fn a_text_that_is_no_key_is_refused_without_being_repeated() {
    let secret = "5ec2e7".repeat(10);
    for (text, message) in [
        (String::new(), "there is no master key in it"),
        ("# nothing".to_owned(), "there is no master key in it"),
        (secret.clone(), "line 1 has 60 characters"),
        (
            format!("\n{}\n{secret}zzzz", hex(1)),
            "line 3 has 64 characters",
        ),
        ("A".repeat(44), "line 1 has 44 characters"),
        (format!("{0}\n{0}", hex(3)), "line 2 has the master key"),
        (
            (0..17).map(|n| hex(n) + "\n").collect(),
            "more than 16 master keys",
        ),
    ] {
        let error = MasterKeys::parse(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!error.contains("5ec2"), "{error}");
    }
    let shown = format!("{:?}", masters(&[0xAB, 2]));
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
}

#[test]
fn a_wrapped_key_has_the_documented_json_and_reads_back() {
    let key = wrapped(&masters(&[1]), 3);
    let json = serde_json::to_value(&key).unwrap();
    let base64 = json["wrapped"].as_str().unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "id": 3, "from": 10, "createdAt": 5,
            "masterKey": masters(&[1]).first().unwrap().id().to_string(), "wrapped": base64,
        })
    );
    assert_eq!(base64.len(), 80, "60 bytes");
    assert_eq!(serde_json::from_value::<WrappedKey>(json).unwrap(), key);
}

#[test]
fn only_the_master_key_that_wrapped_it_unwraps_a_key_and_only_in_its_place() {
    let known = masters(&[1, 2]);
    let key = wrapped(&known, 3);
    assert_eq!(*key.wrapped.open(&known, LOG, 3).unwrap(), [42; 32]);
    let behind = masters(&[2, 1]);
    assert_eq!(*key.wrapped.open(&behind, LOG, 3).unwrap(), [42; 32]);
    let needed = known.first().unwrap().id();
    let refused = |masters: &MasterKeys, log, id| key.wrapped.open(masters, log, id).unwrap_err();
    assert_eq!(refused(&known, LOG, 4), Locked::Broken { needed });
    assert_eq!(
        refused(&known, Incarnation(78), 3),
        Locked::Broken { needed }
    );
    let none = refused(&MasterKeys::default(), LOG, 3);
    assert_eq!(
        none.to_string(),
        format!("master key {needed} is needed, and none was given")
    );
    let failed = refused(&MasterKeys::unavailable("/k: not there"), LOG, 3);
    assert_eq!(
        failed.to_string(),
        format!("master key {needed} is needed, and /k: not there")
    );
    let other = refused(&masters(&[2]), LOG, 3);
    let given = masters(&[2]).first().unwrap().id();
    assert_eq!(
        other.to_string(),
        format!("master key {needed} is needed, and {given} was given")
    );
}

#[test]
fn a_wrapped_key_that_was_changed_is_refused() {
    let known = masters(&[1]);
    let mut key = wrapped(&known, 1);
    let text = key.wrapped.wrapped.clone();
    for at in 0..text.len() {
        let other = if text.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        key.wrapped.wrapped.replace_range(at..=at, other);
        let opened = key.wrapped.open(&known, LOG, 1);
        assert!(opened.is_err(), "character {at}");
        key.wrapped.wrapped.clone_from(&text);
    }
    key.wrapped.wrapped.truncate(76);
    assert!(key.wrapped.open(&known, LOG, 1).is_err());
}

#[test]
fn a_keyring_has_what_can_be_opened_and_says_why_the_rest_can_not() {
    let (old, new) = (masters(&[1]), masters(&[2]));
    let keys = [wrapped(&old, 1), wrapped(&new, 2)];
    let ring = Keyring::open(&new, LOG, &keys);
    assert_eq!(ring.newest(), Some(2));
    assert!(ring.key(2).is_ok());
    let needed = old.first().unwrap().id();
    let locked = ring.key(1).unwrap_err();
    assert!(matches!(locked, Locked::OtherMasterKey { needed: found, .. } if found == needed));
    assert_eq!(ring.first_locked().map(|(id, _)| id), Some(1));
    assert_eq!(ring.key(3).unwrap_err(), Locked::Unknown);
    let kept = Keyring::open(&new, LOG, &keys[1..]).keeping(&Keyring::open(&old, LOG, &keys));
    assert!(kept.key(1).is_ok() && kept.key(2).is_ok());
    let both = masters(&[2, 1]);
    assert_eq!(Keyring::open(&both, LOG, &keys).first_locked(), None);
}
