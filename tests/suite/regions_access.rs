//! Who may do what across regions: what organisations have to say before their bytes cross, at both ends
//! of a link; keys and grants that are made in one region and count in all.

use std::path::Path;

use serde_json::{Value, json};

use crate::process::wait_for;
use crate::raw::Raw;
use crate::regions::{Region, kept_key, raw};
use crate::regions_dir::{mesh, thief};

const LINK_LOGS: u16 = 191;
const LINK_FOLLOW: u16 = 192;
const LINK_FETCH: u16 = 194;

/// A key made in a region by whoever needs none there, in a file.
fn key(region: &Region, file: &Path, args: &[&str]) -> String {
    let mut all = vec!["key", "create", "a key", "--json"];
    all.extend(args);
    kept_key(&region.run(&all).json(), file)
}

fn publish(region: &Region, key: &str, channel: &str, line: &str) {
    let args = ["--api-key-file", key, "publish", channel, "--json"];
    let ran = region
        .broker()
        .run_with(&args, format!("{line}\n").as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.err);
}

fn crossing(region: &Region, key: &str, side: &str, more: &[&str]) {
    let mut args = vec!["consent", "grant", "--owner", "acme", "--guest", "beta"];
    args.extend(["--side", side, "--json"]);
    args.extend(more);
    region.with_key(key, &args).ok();
}

/// The refusals on a region's record that tell of a log that may not be copied.
fn refused_copies(region: &Region) -> Vec<String> {
    let audit = region.run(&["audit", "--json"]).json_lines();
    let refused = audit.into_iter().filter(|row| row["error"] == "NO_CONSENT");
    let targets = refused.map(|row| row["target"].as_str().expect("a text").to_owned());
    targets.collect()
}

fn follow(link: &mut Raw, handle: u32, from: u64, orgs: &[&str]) -> Value {
    let log =
        json!({"handle": handle, "name": "acme/orders", "from": {"offset": from}, "orgs": orgs});
    link.json(LINK_FOLLOW, &json!({"logs": [log]})).json()["logs"][0].clone()
}

#[test]
fn a_copy_for_a_guest_takes_the_word_of_both_and_is_stopped_at_its_source_when_one_is_taken_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let [west, east] = mesh(dir.path(), ["eu-west", "us-east"]);
    for region in [&west, &east] {
        for org in ["acme", "beta"] {
            region.run(&["org", "create", org]).ok();
        }
    }
    let all = |org| ["--org", org, "--scope", "all"];
    let owner = key(&east, &file("owner"), &all("acme"));
    let owner_west = key(&west, &file("owner-west"), &all("acme"));
    let guest = key(&west, &file("guest"), &all("beta"));
    east.with_key(&owner, &["channel", "create", "orders"]).ok();
    publish(&east, &owner, "orders", "one");
    // The guest's organisation may read it; that does not bring it here.
    let grant = [
        "grant", "create", "consume", "orders", "--guest", "beta", "--json",
    ];
    let grant = west.with_key(&owner_west, &grant).json();
    let grant = grant["id"].as_str().expect("a text");
    west.with_key(&guest, &["grant", "accept", grant]).ok();
    let read = ["consume", "acme/orders", "--from", "start"];
    for (region, key, side) in [(&east, &owner, "owner"), (&west, &guest, "guest")] {
        let refused = west.with_key(&guest, &read).fails(1);
        assert!(refused.contains("may not hold"), "{refused}");
        assert!(west.copy("acme/orders").is_none());
        crossing(region, key, side, &[]);
    }
    wait_for("both words to be known", || {
        let ran = west.with_key(&guest, &read);
        (ran.code == 0 && ran.out == b"one\n").then_some(())
    });
    west.has("acme/orders", 1);
    // A link that asks for nobody who may: the source judges for itself.
    let mut link = thief(&east, "eu-west", "us-east");
    assert_eq!(follow(&mut link, 1, 1, &["beta"])["from"], json!(1));
    let refused = follow(&mut link, 2, 1, &["gamma"]);
    assert_eq!(refused["error"]["name"], "NO_CONSENT", "{refused}");
    assert_eq!(
        follow(&mut link, 3, 1, &["gamma", "acme"])["from"],
        json!(1)
    );
    assert_eq!(refused_copies(&east), ["acme/orders eu-west"]);
    // One side takes its word back.
    crossing(&east, &owner, "owner", &["--deny"]);
    let stopped = wait_for("the copy to be stopped", || {
        let copy = west.copy("acme/orders")?;
        (copy["followed"] == false && copy["error"].is_string()).then_some(copy)
    });
    let error = stopped["error"].as_str().expect("a text");
    assert!(error.starts_with("NO_CONSENT"), "{stopped}");
    publish(&east, &owner, "orders", "two");
    wait_for("the refusal to be on the record", || {
        refused_copies(&west)
            .contains(&"acme/orders eu-west".to_owned())
            .then_some(())
    });
    // Who goes on asking for the guest gets nothing more; who asks for the owner does.
    let mut fetch = 1_048_576_u32.to_le_bytes().to_vec();
    fetch.extend(1000_u32.to_le_bytes());
    fetch.extend(0_u32.to_le_bytes());
    let mut got = Vec::new();
    wait_for("both to be told", || {
        got.extend_from_slice(link.request(LINK_FETCH, &fetch).of(LINK_FETCH));
        let text = String::from_utf8_lossy(&got);
        (text.contains("NO_CONSENT") && text.contains("two")).then_some(())
    });
    let text = String::from_utf8_lossy(&got);
    assert_eq!(text.matches("two").count(), 1, "one of both is sent it");
    assert!(refused_copies(&east).len() >= 2);
    assert_eq!(
        west.copy("acme/orders").expect("it stays")["next"],
        json!(1)
    );
    // What remains is named until it is purged.
    let purge = ["region", "purge", "orders", "--yes"];
    west.with_key(&owner_west, &purge).ok();
    assert!(west.copy("acme/orders").is_none());
    // Given again, it comes again.
    crossing(&west, &owner_west, "owner", &[]);
    wait_for("the channel to come again", || {
        let ran = west.with_key(&guest, &read);
        (ran.code == 0 && ran.out == b"one\ntwo\n").then_some(())
    });
}

/// Publishes a line with a key; the offset where it was taken.
fn try_publish(region: &Region, key: &str, channel: &str, line: &str) -> Result<u64, String> {
    let args = ["--api-key-file", key, "publish", channel, "--json"];
    let ran = region
        .broker()
        .run_with(&args, format!("{line}\n").as_bytes());
    match ran.code {
        0 => Ok(ran.json()["firstOffset"].as_u64().expect("an offset")),
        _ => Err(ran.err),
    }
}

fn topics(region: &Region) -> Vec<String> {
    let rows = region
        .run(&["channel", "list", "--internal", "--json"])
        .json();
    let rows = rows.as_array().expect("rows").iter();
    let names = rows.map(|row| row["name"].as_str().expect("a name").to_owned());
    names.collect()
}

/// Records of a type on the topic of a region's own keys.
pub fn said_of_access(region: &Region, record_type: &str) -> Vec<Value> {
    let args = ["consume", "__access", "--from", "start", "--json"];
    let rows = region.run(&args).json_lines().into_iter();
    let events = rows.map(|row| row["payload"].clone());
    events
        .filter(|event| event["type"] == record_type)
        .collect()
}

#[test]
fn a_key_opens_in_every_region_what_it_opens_where_it_was_made_and_nothing_once_it_was_revoked() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let [mut west, mut east] = mesh(dir.path(), ["eu-west", "us-east"]);
    east.run(&["org", "create", "acme"]).ok();
    let root = key(&east, &file("root"), &["--org", "acme", "--scope", "all"]);
    let worker = [
        "--org",
        "acme",
        "--scope",
        "publish:orders",
        "--scope",
        "consume:orders",
    ];
    let worker = key(&east, &file("worker"), &worker);
    east.with_key(&root, &["channel", "create", "orders"]).ok();
    wait_for("the keys to have come", || {
        (try_publish(&west, &worker, "orders", "one") == Ok(0)).then_some(())
    });
    let read = west
        .with_key(&worker, &["consume", "orders", "--from", "start"])
        .ok();
    assert_eq!(read, b"one\n");
    let refused = try_publish(&west, &worker, "others", "x").unwrap_err();
    assert!(refused.contains("scopes"), "{refused}");
    // What it makes elsewhere is that region's, and the organisation is one.
    west.with_key(&root, &["channel", "create", "local"]).ok();
    assert_eq!(try_publish(&west, &root, "local", "one"), Ok(0));
    assert_eq!(try_publish(&east, &root, "local", "two"), Ok(1));
    let met = said_of_access(&west, "principal.met");
    assert_eq!(met.len(), 2, "once for each: {met:?}");
    assert_eq!(said_of_access(&west, "org.created").len(), 1);
    assert_eq!(said_of_access(&east, "principal.met").len(), 0);
    // Whoever administers a region administers no other.
    let operator = key(&east, &file("operator"), &["--scope", "all"]);
    west.run(&["channel", "create", "plain"]).ok();
    wait_for("the operator's key to have come", || {
        (try_publish(&west, &operator, "plain", "x") == Ok(0)).then_some(())
    });
    let commands: [(&String, &[&str]); 10] = [
        (&operator, &["org", "create", "other"]),
        (&operator, &["org", "list"]),
        (&operator, &["region", "status"]),
        (&operator, &["region", "leave"]),
        (&operator, &["audit"]),
        (&operator, &["consume", "__access"]),
        (&operator, &["key", "create", "more", "--scope", "consume"]),
        (&root, &["key", "create", "more", "--scope", "consume"]),
        (&root, &["key", "list"]),
        (
            &root,
            &["grant", "create", "consume", "orders", "--guest", "default"],
        ),
    ];
    for (key, command) in commands {
        let refused = west.with_key(key, command);
        assert_ne!(refused.code, 0, "{command:?}");
        east.with_key(key, &["channel", "list"]).ok();
    }
    // It is known without its region, after a restart too.
    east.kill();
    west.kill();
    west.restart();
    assert_eq!(try_publish(&west, &root, "local", "three"), Ok(2));
    assert_eq!(said_of_access(&west, "principal.met").len(), 3);
    east.restart();
    // Another one takes its place, and the end of the first counts everywhere.
    let listed = east
        .with_key(&root, &["key", "list", "--json"])
        .json_lines();
    let of_worker = listed
        .iter()
        .find(|row| row["scopes"].to_string().contains("orders"));
    let id = of_worker.expect("a key")["id"].as_str().expect("a text");
    let rotated = east
        .with_key(&root, &["key", "rotate", id, "--overlap", "1h", "--json"])
        .json();
    let next = file("next");
    std::fs::write(&next, rotated["secret"].as_str().expect("a text")).expect("written");
    let next = next.display().to_string();
    wait_for("the new key to have come", || {
        try_publish(&west, &next, "orders", "two").ok()
    });
    assert_eq!(
        said_of_access(&west, "principal.met").len(),
        3,
        "it is the same"
    );
    east.with_key(&root, &["key", "revoke", id, "--yes"]).ok();
    let error = wait_for("the end of the key to have come", || {
        let error = try_publish(&west, &worker, "orders", "late").err()?;
        error.contains("revoked").then_some(error)
    });
    assert!(error.contains(id), "{error}");
    // A region that is no peer any more opens nothing.
    west.run(&["region", "peer", "remove", "us-east"]).ok();
    let refused = try_publish(&west, &root, "local", "late").unwrap_err();
    assert!(refused.contains("not known"), "{refused}");
    assert!(!topics(&west).contains(&"__access@us-east".to_owned()));
}

#[test]
fn keys_go_to_regions_of_the_deployment_alone_and_those_from_before_go_with_their_next_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    // Made by a broker that was no region yet.
    let data = dir.path().join("us-east");
    let before = crate::process::Broker::start_with(&data, &[]);
    let made = before
        .run(&["key", "create", "old", "--scope", "publish", "--json"])
        .json();
    std::fs::write(file("old"), made["secret"].as_str().expect("a text")).expect("written");
    let old = file("old").display().to_string();
    assert_eq!(before.terminate(), 0);
    let [west, east] = mesh(dir.path(), ["eu-west", "us-east"]);
    wait_for("the keys of the other", || {
        topics(&west)
            .contains(&"__access@us-east".to_owned())
            .then_some(())
    });
    let refused = try_publish(&west, &old, "plain", "x").unwrap_err();
    assert!(refused.contains("not known"), "{refused}");
    east.run(&["channel", "create", "plain"]).ok();
    assert_eq!(try_publish(&east, &old, "plain", "one"), Ok(0));
    wait_for("the key to have come", || {
        (try_publish(&west, &old, "plain", "two").ok()? >= 1).then_some(())
    });
    // Somebody who may replicate and does not belong to the deployment is not told who has keys.
    let mut link = thief(&east, "mars", "us-east");
    let asked = json!({"patterns": [], "topics": ["__access", "__homes"]});
    let logs = link.json(LINK_LOGS, &asked).json()["logs"].clone();
    let names: Vec<&Value> = logs
        .as_array()
        .expect("rows")
        .iter()
        .map(|log| &log["name"])
        .collect();
    assert_eq!(names, [&json!("__homes")]);
    let log = json!({"handle": 1, "name": "__access", "from": {"offset": 0}});
    let followed = link.json(LINK_FOLLOW, &json!({"logs": [log]})).json();
    assert_eq!(
        followed["logs"][0]["error"]["name"], "NO_CONSENT",
        "{followed}"
    );
}

#[test]
fn a_grant_counts_in_every_region_and_ends_in_all_and_the_home_judges_a_key_of_another_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let [west, east] = mesh(dir.path(), ["eu-west", "us-east"]);
    for org in ["acme", "beta"] {
        east.run(&["org", "create", org]).ok();
    }
    let owner = key(&east, &file("owner"), &["--org", "acme", "--scope", "all"]);
    let guest = key(&east, &file("guest"), &["--org", "beta", "--scope", "all"]);
    // The channel lives where nobody has made a key or an organisation.
    wait_for("the keys to have come", || {
        let made = west.with_key(&owner, &["channel", "create", "orders", "--if-not-exists"]);
        (made.code == 0).then_some(())
    });
    assert_eq!(try_publish(&west, &owner, "orders", "one"), Ok(0));
    assert!(try_publish(&west, &guest, "acme/orders", "x").is_err());
    let grant = [
        "grant", "create", "publish", "orders", "--guest", "beta", "--json",
    ];
    let grant = east.with_key(&owner, &grant).json();
    let grant = grant["id"].as_str().expect("a text");
    east.with_key(&guest, &["grant", "accept", grant]).ok();
    // Asked where the grant is, and of the home.
    wait_for("the grant to have come", || {
        (try_publish(&west, &guest, "acme/orders", "two").ok()? == 1).then_some(())
    });
    assert_eq!(try_publish(&east, &guest, "acme/orders", "three"), Ok(2));
    east.with_key(&guest, &["grant", "revoke", grant]).ok();
    wait_for("its end to have come", || {
        try_publish(&west, &guest, "acme/orders", "late")
            .is_err()
            .then_some(())
    });
    assert!(try_publish(&east, &guest, "acme/orders", "late").is_err());
    // Who asks by way of another region is stamped with the same number as who asks at the home.
    let writer = key(&east, &file("writer"), &["--scope", "publish"]);
    west.publish("plain", &["zero"]);
    wait_for("the key to have come", || {
        try_publish(&west, &writer, "plain", "one").ok()
    });
    try_publish(&east, &writer, "plain", "two").expect("taken");
    let mut rest = bytes::Bytes::from(raw(&west, "plain"));
    let mut principals = Vec::new();
    while !rest.is_empty() {
        let header = npayload::format::BatchHeader::peek(&rest).expect("a batch");
        principals.push(header.principal());
        let _ = rest.split_to(header.len());
    }
    assert_eq!((principals[0], principals.len()), (0, 3), "{principals:?}");
    assert_eq!(principals[1], principals[2], "{principals:?}");
    assert_ne!(principals[1], 0, "{principals:?}");
}
