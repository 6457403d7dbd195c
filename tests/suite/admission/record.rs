//! What the audit records of requests through a running broker, and secrets that appear nowhere.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::{Broker, npayload};
use crate::raw::{ERROR, HELLO, KEY_CREATE, Raw};

const KEY_REVOKE: u16 = 86;
const KEY_ROTATE: u16 = 85;
const ORG_CREATE: u16 = 80;

fn greeted(broker: &Broker, key: Option<&str>) -> Raw {
    let mut raw = Raw::connect(broker.address());
    let hello = json!({"client": "test", "apiKey": key, "minVersion": 1, "maxVersion": 1});
    raw.json(HELLO, &hello).of(HELLO);
    raw
}

fn acts(broker: &Broker) -> Vec<Value> {
    broker.run(&["audit", "--json"]).json_lines()
}

#[test]
fn every_administrative_act_and_every_refused_one_is_on_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    broker.run(&["channel", "create", "orders"]).ok();
    broker
        .run(&["channel", "update", "orders", "--retention-days", "3"])
        .ok();
    broker.run(&["channel", "create", "orders"]).fails(1);
    broker
        .run_with(&["publish", "made.by.publishing"], b"x\n")
        .ok();
    broker
        .run_with(&["publish", "made.by.publishing"], b"y\n")
        .ok();
    broker.run(&["consume", "orders"]).ok();
    broker.run(&["channel", "delete", "orders", "--yes"]).ok();
    broker.run(&["org", "create", "acme"]).ok();
    let made = broker
        .run(&["key", "create", "ci", "--scope", "consume:a", "--json"])
        .json();
    let (id, secret) = (made["id"].clone(), made["secret"].as_str().unwrap());
    let mut raw = greeted(&broker, Some(secret));
    let refused = raw.json(ORG_CREATE, &json!({"name": "beta"}));
    refused.error("FORBIDDEN");
    raw.json(34, &json!({"name": "secret.plans"}))
        .error("FORBIDDEN");
    let mut stranger = Raw::connect(broker.address());
    let (rest, last) = secret.split_at(secret.len() - 1);
    let wrong = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    let hello = json!({"client": "x", "apiKey": wrong, "minVersion": 1, "maxVersion": 1});
    assert_eq!(stranger.json(HELLO, &hello).kind, ERROR);
    broker
        .run(&["key", "revoke", id.as_str().unwrap(), "--yes"])
        .ok();
    broker.run(&["org", "verify", "acme"]).ok();
    let account = ["--org", "acme"];
    broker
        .run(&[&["escrow", "deposit", "500:EUR"], &account[..]].concat())
        .ok();
    broker
        .run(&[&["escrow", "withdraw", "200:EUR"], &account[..]].concat())
        .ok();

    let acts = acts(&broker);
    let short: Vec<String> = acts
        .iter()
        .map(|act| {
            let text = |name: &str| act[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} {} {}",
                text("act"),
                text("target"),
                text("outcome"),
                text("error")
            )
        })
        .map(|line| line.trim_end().replace(id.as_str().unwrap(), "KEY"))
        .collect();
    assert_eq!(
        short,
        [
            "channel.create orders done",
            "channel.update orders done",
            "channel.create orders refused CHANNEL_EXISTS",
            "publish made.by.publishing done",
            "channel.delete orders done",
            "org.create acme done",
            "key.create ci done",
            "org.create beta refused FORBIDDEN",
            "channel.info secret.plans refused FORBIDDEN",
            "hello  refused UNAUTHENTICATED",
            "key.revoke KEY done",
            "org.verify acme done",
            "escrow.deposit 500 EUR acme done",
            "escrow.withdraw 200 EUR acme done",
        ]
    );
    for (act, at) in acts.iter().zip(0..) {
        assert_eq!(act["seq"], at);
        assert!(
            act["from"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{act}"
        );
    }
    assert_eq!(acts[0]["who"], json!({"principal": 0, "org": "default"}));
    assert_eq!(acts[7]["who"]["key"], id);
    assert_eq!(acts[9]["who"], Value::Null);
    let verified = String::from_utf8(broker.run(&["audit", "--verify"]).ok()).unwrap();
    assert!(verified.contains("14"), "{verified}");
    assert_eq!(broker.terminate(), 0);
}

/// All bytes of all files below a directory.
fn bytes_below(dir: &Path, found: &mut Vec<u8>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, found);
        } else {
            std::fs::File::open(path)
                .unwrap()
                .read_to_end(found)
                .unwrap();
        }
    }
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    memchr(haystack, needle.as_bytes())
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn secrets_are_in_no_log_no_answer_no_metric_no_topic_and_no_core_state() {
    let dir = tempfile::tempdir().unwrap();
    let (data, log) = (dir.path().join("data"), dir.path().join("log.txt"));
    let admin = dir.path().join("admin.key");
    let config = dir.path().join("data.toml");
    std::fs::write(
        &config,
        "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n",
    )
    .unwrap();
    let mut command = crate::process::binary();
    command.env("NPAYLOAD_LOG", "trace");
    let admin_path = admin.display().to_string();
    let more = [
        "--http",
        "127.0.0.1:0",
        "--require-keys",
        "--admin-key-file",
        &admin_path,
    ];
    let errors = std::fs::OpenOptions::new();
    let errors = errors
        .clone()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&log)
        .unwrap();
    let broker = Broker::launch_logging(command, &config, &data, &more, errors).ready();
    let first = std::fs::read_to_string(&admin).unwrap().trim().to_owned();
    let mut secrets = vec![first.clone()];
    let mut raw = greeted(&broker, Some(&first));
    let made = raw.json(
        KEY_CREATE,
        &json!({"name": "canary", "scopes": [{"operations": ["publish"]}]}),
    );
    let made = made.json();
    secrets.push(made["secret"].as_str().unwrap().to_owned());
    let id = &made["key"]["id"];
    let rotated = raw.json(KEY_ROTATE, &json!({"key": id, "overlapMs": 60_000}));
    secrets.push(rotated.json()["secret"].as_str().unwrap().to_owned());
    let mut errors = Vec::new();
    // Used, refused, misspelt, ended, shown where no key belongs: all that tells of it.
    for secret in secrets.clone() {
        greeted(&broker, Some(&secret)).json(64, &json!({}));
        let mut wrong = Raw::connect(broker.address());
        let misspelt = format!("{secret}ff");
        secrets.push(misspelt.clone());
        let hello = json!({"client": "x", "apiKey": misspelt, "minVersion": 1, "maxVersion": 1});
        errors.extend(wrong.json(HELLO, &hello).body);
        let hello = json!({"client": "x", "apiKey": secret, "minVersion": 9, "maxVersion": 9});
        errors.extend(wrong.json(HELLO, &hello).body);
        let hello = json!({"client": "x", "apiKey": secret, "more": 1});
        errors.extend(wrong.json(HELLO, &hello).body);
        errors.extend(raw.json(KEY_REVOKE, &json!({"key": &secret[..30]})).body);
    }
    raw.json(KEY_REVOKE, &json!({"key": id})).json();
    let ended = greeted_or_error(&broker, &secrets[1]);
    errors.extend(ended);
    let metrics = broker.http_get("/metrics");
    let health = broker.http_get("/healthz");
    assert_eq!(broker.terminate(), 0);

    let mut logged = Vec::new();
    std::fs::File::open(&log)
        .unwrap()
        .read_to_end(&mut logged)
        .unwrap();
    assert!(
        holds(&logged, "a client was not let in"),
        "the log has told of it"
    );
    let mut stored = Vec::new();
    bytes_below(&data, &mut stored);
    assert!(
        holds(&stored, "canary"),
        "the name of the key is on the record"
    );
    let dumped = npayload(&["--help"]).ok();
    for secret in &secrets {
        // The random part; the prefix is no secret.
        let random = &secret[9..41];
        for (place, bytes) in [
            ("the log", &logged),
            ("the data directory", &stored),
            ("an error", &errors),
            ("metrics", &metrics.clone().into_bytes()),
            ("health", &health.clone().into_bytes()),
            ("help", &dumped),
        ] {
            assert!(!holds(bytes, random), "{place} holds a secret");
        }
    }
}

fn greeted_or_error(broker: &Broker, key: &str) -> Vec<u8> {
    let mut raw = Raw::connect(broker.address());
    let hello = json!({"client": "x", "apiKey": key, "minVersion": 1, "maxVersion": 1});
    let reply = raw.json(HELLO, &hello);
    assert_eq!(reply.kind, ERROR);
    reply.body
}
