//! Regions whose leaving was cut short, and what a region does that has nobody left to ask.

use std::path::Path;

use serde_json::{Value, json};

use crate::process::wait_for;
use crate::regions::Region;
use crate::regions_dir::{has_joined, makes, mesh};

/// Three regions, of which `us-east` is gone; another one has taken it out. So it stands when it comes
/// back as after a kill behind the word of its own leaving.
fn taken_out(dir: &Path) -> [Region; 3] {
    let [south, west, mut east] = mesh(dir, ["ap-south", "eu-west", "us-east"]);
    west.publish("orders", &["one"]);
    east.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    east.has("orders", 1);
    east.kill();
    south.run(&["region", "leave", "us-east"]).ok();
    for region in [&south, &west] {
        has_joined(region, &["ap-south", "eu-west"]);
    }
    east.restart();
    wait_for("its links to be refused", || {
        let status = east.status();
        let mut links = status["links"].as_array()?.iter();
        let is_refused = |link: &Value| {
            let error = link["error"].as_str().unwrap_or_default();
            error.contains("REGION_LEFT")
        };
        links.all(is_refused).then_some(())
    });
    [south, west, east]
}

/// Leaves, and goes on alone: channels are made, also after a restart.
fn leaves(east: &mut Region) {
    let told = east.run(&["region", "leave", "--json"]).json();
    assert_eq!(
        told,
        json!({"region": "us-east", "regions": ["ap-south", "eu-west"]})
    );
    for name in ["mine", "mine-too"] {
        makes(east, name);
        let listed = east.run(&["region", "list", "--json"]).json();
        assert_eq!(
            (&listed["peers"], &listed["directory"]),
            (&json!([]), &Value::Null)
        );
        assert_eq!(east.records("orders").len(), 1, "its copy stays");
        east.kill();
        east.restart();
    }
}

#[test]
fn a_region_whose_leaving_was_cut_short_ends_it_by_leaving_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, _west, mut east] = taken_out(dir.path());
    leaves(&mut east);
}

#[test]
fn so_it_does_where_its_peers_were_removed_by_hand() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, _west, mut east] = taken_out(dir.path());
    for peer in ["ap-south", "eu-west"] {
        east.run(&["region", "peer", "remove", peer]).ok();
    }
    let refused = east.run(&["channel", "create", "mine"]).fails(1);
    assert!(refused.contains("REGION_UNREACHABLE"), "{refused}");
    leaves(&mut east);
}

#[test]
fn a_region_that_is_linked_asks_the_directory_whether_it_may_leave() {
    let dir = tempfile::tempdir().expect("a directory");
    let [south, _west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    makes(&east, "mine");
    let refused = east.run(&["region", "leave"]).fails(1);
    assert!(refused.contains("mine"), "{refused}");
    has_joined(&south, &["ap-south", "eu-west", "us-east"]);
}

#[test]
fn a_region_without_peers_keeps_nothing_in_an_outbox() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    west.publish("orders", &["one"]);
    east.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    east.has("orders", 1);
    for peer in ["ap-south", "eu-west"] {
        east.run(&["region", "peer", "remove", peer]).ok();
    }
    let publish = ["publish", "orders", "--outbox"];
    let refused = east.broker().run_with(&publish, b"two\n").fails(1);
    assert!(refused.contains("OUTBOX_REFUSED"), "{refused}");
    let status = east.status();
    let kept = status["outboxes"].as_array().map_or(0, Vec::len);
    assert_eq!(kept, 0, "{status}");
}
