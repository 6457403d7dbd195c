//! Organisations, keys and grants by the real binary: what is printed, to whom, and what never is.

use std::path::Path;

use crate::process::{Broker, Ran};

/// Runs a command that shows a key.
fn with_key(broker: &Broker, key: &str, args: &[&str]) -> Ran {
    let mut command = broker.command(args);
    let output = command.env("NPAYLOAD_API_KEY", key).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn text(ran: Ran) -> String {
    String::from_utf8(ran.ok()).unwrap()
}

fn key_file(path: &Path, key: &str) -> String {
    std::fs::write(path, format!("{key}\n")).unwrap();
    path.display().to_string()
}

#[test]
fn a_company_sets_itself_up_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let admin_file = dir.path().join("admin.key");
    let admin_path = admin_file.display().to_string();
    let keys_required = ["--require-keys", "--admin-key-file", &admin_path];
    let broker = Broker::start_with(&dir.path().join("data"), &keys_required);
    // Without a key: one line, with what to do.
    let refused = broker.run(&["channel", "list"]).fails(1);
    assert!(
        refused.contains("API key") && refused.contains("--api-key-file"),
        "{refused}"
    );
    let wrong = with_key(&broker, "npk_live_1234", &["channel", "list"]).fails(2);
    assert!(wrong.contains("81") && !wrong.contains("1234"), "{wrong}");

    let admin = |args: &[&str]| {
        let mut all = vec!["--api-key-file", admin_path.as_str()];
        all.extend(args);
        broker.run(&all)
    };
    assert_eq!(
        text(admin(&["org", "create", "acme"])),
        "created organisation acme\n"
    );
    let again = admin(&["org", "create", "acme"]).fails(1);
    assert!(again.contains("exists already"), "{again}");
    // The key's text alone on stdout.
    let made = admin(&[
        "key",
        "create",
        "worker",
        "--org",
        "acme",
        "--scope",
        "publish,consume:orders.*",
    ]);
    let worker = text(made).trim().to_owned();
    assert!(
        worker.starts_with("npk_live_") && worker.len() == 81,
        "{worker}"
    );
    let root = admin(&[
        "key", "create", "root", "--org", "acme", "--scope", "all", "--test", "--json",
    ]);
    let root = root.json();
    assert_eq!(
        (&root["org"], &root["kind"]),
        (&"acme".into(), &"test".into())
    );
    let (root_id, root) = (
        root["id"].as_str().unwrap(),
        root["secret"].as_str().unwrap(),
    );

    let published = {
        let file = dir.path().join("lines.txt");
        std::fs::write(&file, "one\ntwo\n").unwrap();
        let file = file.display().to_string();
        with_key(&broker, &worker, &["publish", "orders.eu", "--file", &file])
    };
    published.ok();
    assert_eq!(
        text(with_key(&broker, &worker, &["consume", "orders.eu"])),
        "one\ntwo\n"
    );
    let refused = with_key(
        &broker,
        &worker,
        &["channel", "delete", "orders.eu", "--yes"],
    )
    .fails(1);
    assert!(
        refused.contains("channelAdmin") && refused.contains("orders.eu"),
        "{refused}"
    );
    let refused = with_key(&broker, &worker, &["consume", "payments"]).fails(1);
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    // The operator's own channels are others.
    let absent = admin(&["consume", "orders.eu"]).fails(1);
    assert!(absent.contains("CHANNEL_NOT_FOUND"), "{absent}");

    // A grant, both sides.
    let granted = with_key(
        &broker,
        root,
        &[
            "grant", "create", "consume", "orders.*", "--guest", "default", "--json",
        ],
    );
    let grant = granted.json()["id"].as_str().unwrap().to_owned();
    let accepted = text(admin(&["grant", "accept", &grant]));
    assert!(
        accepted.contains("default may consume acme/orders.*"),
        "{accepted}"
    );
    assert_eq!(text(admin(&["consume", "acme/orders.eu"])), "one\ntwo\n");
    // What it does not allow says who could, and proposes no channel of another organisation.
    let file = dir.path().join("lines.txt").display().to_string();
    let refused = admin(&["publish", "acme/orders.eu", "--file", &file]).fails(1);
    assert!(
        refused.contains("FORBIDDEN") && refused.contains("acme has to grant publish"),
        "{refused}"
    );
    let hidden = admin(&["publish", "acme/payments", "--file", &file]).fails(1);
    assert!(
        hidden.contains("grant list") && !hidden.contains("channel create"),
        "{hidden}"
    );
    let listed = admin(&["grant", "list", "--json"]).json_lines();
    assert_eq!(listed[0]["state"], "active");

    // Rotated, the old key works for the overlap; revoked, none does.
    let rotated = with_key(
        &broker,
        root,
        &["key", "rotate", root_id, "--overlap", "1h"],
    );
    let second = text(rotated).trim().to_owned();
    for key in [root, &second] {
        with_key(&broker, key, &["channel", "list"]).ok();
    }
    let unsure = with_key(&broker, root, &["key", "revoke", root_id]).fails(2);
    assert!(unsure.contains("--yes"), "{unsure}");
    with_key(&broker, &second, &["key", "revoke", root_id, "--yes"]).ok();
    let ended = with_key(&broker, root, &["channel", "list"]).fails(1);
    assert!(ended.contains("KEY_REVOKED"), "{ended}");

    // Lists tell everything but the text; a file serves as well as the environment.
    let file = key_file(&dir.path().join("second.key"), &second);
    let keys = broker.run(&["--api-key-file", &file, "key", "list", "--json"]);
    let keys = String::from_utf8(keys.ok()).unwrap();
    let table = text(with_key(&broker, &second, &["key", "list"]));
    for secret in [&worker, root, &second] {
        let random = &secret[9..73];
        assert!(
            !keys.contains(random) && !table.contains(random),
            "{keys}{table}"
        );
    }
    assert!(table.contains("publish,consume:orders.*"), "{table}");
    let missing = broker
        .run(&["--api-key-file", "/nowhere/key", "key", "list"])
        .fails(1);
    assert!(missing.contains("/nowhere/key"), "{missing}");
    assert_eq!(broker.terminate(), 0);
}
