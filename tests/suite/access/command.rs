//! `npayload audit` against the real binary, and what the data directory shows to others of its
//! machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use npayload::access::{AuditAct, AuditHash, AuditOutcome};
use npayload::broker::Stop;
use npayload::format::BatchHeader;
use npayload::storage::disk::RealDisk;
use serde_json::json;

use super::*;
use crate::process::Broker as Process;

/// A broker on a real directory that makes some organisations and a key, and stops.
fn prepared(data: &Path) {
    let mut seed = 5u64;
    let random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed
    };
    let config = BrokerConfig::default();
    let now = Timestamp(1_000);
    let disk = Arc::new(RealDisk);
    let mut broker = Broker::open(disk, data, config, "a test", now, Box::new(random)).unwrap();
    for (at, name) in ["acme", "beta", "gamma"].into_iter().enumerate() {
        let act = AuditAct {
            who: Some(ME),
            from: format!("127.0.0.1:{}", 50_000 + at),
            act: "org.create",
            target: name.to_owned(),
            detail: String::new(),
            outcome: AuditOutcome::Done,
        };
        let made = broker.acting(act, |broker| {
            broker.create_org(&ME, org_name(name), Limits::default(), now)
        });
        made.unwrap();
    }
    let end = broker.plan_secret().unwrap().run();
    broker.finish_secret(end).unwrap();
    broker
        .create_key(&ME, key_request(OrgId::DEFAULT), now)
        .unwrap();
    let mut at = now;
    let mut work = |broker: &mut Broker| {
        for _ in 0..100 {
            at.0 += 1_000;
            while let Some(round) = broker.plan_round(at) {
                broker.finish_round(round.run());
            }
            while let Some(job) = broker.plan_upkeep(at) {
                broker.finish_upkeep(job.run(), at);
            }
            if broker.stop_state() == Stop::Clean {
                return;
            }
        }
    };
    work(&mut broker);
    broker.begin_stop();
    work(&mut broker);
    assert_eq!(broker.stop_state(), Stop::Clean);
    broker.release();
}

#[test]
fn the_audit_is_printed_and_checked_and_a_change_that_checksums_miss_is_found() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    prepared(&data);
    let broker = Process::start(&data);
    let lines = String::from_utf8(broker.run(&["audit"]).ok()).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        "1970-01-01T00:00:01.000Z  done     org.create beta  by default without a key  from \
         127.0.0.1:50001"
    );
    // What an auditor does with the lines and `sha256sum`.
    let stored = broker.run(&["audit", "--json"]).ok();
    let stored: Vec<&[u8]> = stored
        .trim_ascii_end()
        .split(|byte| *byte == b'\n')
        .collect();
    for pair in stored.windows(2) {
        let next: serde_json::Value = serde_json::from_slice(pair[1]).unwrap();
        assert_eq!(next["previous"], json!(AuditHash::of(pair[0]).to_string()));
    }
    let head = format!("3:{}", AuditHash::of(stored[2]));
    let verified = broker.run(&["audit", "--verify", "--json"]).json();
    let whole = json!({"ok": true, "first": 0, "records": 3, "head": head});
    assert_eq!(verified, whole);
    let shown = broker.run(&["audit", "--verify"]).ok();
    assert!(String::from_utf8(shown).unwrap().contains(&head));
    let earlier = format!("2:{}", AuditHash::of(stored[1]));
    for known in [&head, &earlier] {
        broker.run(&["audit", "--verify", "--expect", known]).ok();
    }
    let another = format!("2:{}", AuditHash::of(b"another"));
    let expect = ["audit", "--verify", "--expect", &another];
    let error = broker.run(&expect).fails(1);
    assert!(error.contains(&another), "{error}");
    assert!(error.contains(&head), "{error}");
    let info = broker.run(&["channel", "info", "__audit", "--json"]).json();
    assert_eq!(broker.terminate(), 0);

    // Somebody with a hex editor who knows the format.
    let id = info["incarnation"].as_str().unwrap();
    let file = format!("channels/{id}/{:020}.log", 0);
    let path = data.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let is_name = |part: &[u8]| part == b"\"target\":\"beta\"";
    let at = bytes.windows(15).position(is_name).unwrap();
    bytes[at + 10..at + 14].copy_from_slice(b"evil");
    let mut batch = 4096;
    loop {
        let header = BatchHeader::peek(&bytes[batch..]).unwrap();
        if batch + header.len() > at {
            let whole = &mut bytes[batch..batch + header.len()];
            let body = crc32fast::hash(&whole[72..]);
            whole[12..16].copy_from_slice(&body.to_le_bytes());
            let covered = [&whole[..4], &whole[8..72]].concat();
            let head = crc32fast::hash(&covered);
            whole[4..8].copy_from_slice(&head.to_le_bytes());
            break;
        }
        batch += header.len();
    }
    std::fs::write(&path, bytes).unwrap();
    let broker = Process::start(&data);
    let lines = broker.run(&["audit"]).ok();
    assert!(String::from_utf8(lines).unwrap().contains("evil"));
    let error = broker.run(&["audit", "--verify"]).fails(1);
    assert!(error.contains("broken at offset 2"), "{error}");
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn nobody_else_of_the_machine_may_read_the_directory_or_any_file_in_it() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    prepared(&data);
    let broker = Process::start(&data);
    broker.run_with(&["publish", "orders"], b"a line\n").ok();
    assert_eq!(broker.terminate(), 0);
    let mut modes = BTreeMap::new();
    let mut dirs = vec![data.clone()];
    while let Some(dir) = dirs.pop() {
        let metadata = std::fs::metadata(&dir).unwrap();
        modes.insert(dir.clone(), (metadata.permissions().mode() & 0o777, 0o700));
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            modes.insert(path, (mode & 0o777, 0o600));
        }
    }
    assert!(modes.contains_key(&data.join("npayload.secret")));
    assert!(modes.len() > 15, "{modes:?}");
    for (path, (found, wanted)) in modes {
        assert_eq!(found, wanted, "{}: {found:o}", path.display());
    }
}
