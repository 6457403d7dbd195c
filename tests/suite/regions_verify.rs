//! Whether copies are what their home is, asked at the home: of itself there is nothing to compare.

use serde_json::json;

use crate::process::wait_for;
use crate::regions::{Region, copy_dir};
use crate::regions_dir::mesh;

/// What `region verify` says to a person.
fn said(region: &Region, channel: &str) -> String {
    let told = region.run(&["region", "verify", channel]).ok();
    String::from_utf8(told).expect("text")
}

#[test]
fn asked_at_the_home_every_copy_is_compared_and_never_the_home_with_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut east, mut west] = mesh(dir.path(), ["us-east", "eu-west"]);
    east.publish("orders", &["one", "two"]);
    // Nobody has a copy.
    let alone = said(&east, "orders");
    assert!(alone.contains("us-east is its home"), "{alone}");
    assert!(alone.contains("nothing was compared"), "{alone}");
    let told = east.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!((&told["copies"], &told["batches"]), (&json!([]), &json!(0)));
    // One is compared, from either side.
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 2);
    let told = wait_for("all of the copy to be compared", || {
        let told = east.run(&["region", "verify", "orders", "--json"]).json();
        (told["copies"][0]["to"] == 2).then_some(told)
    });
    assert_eq!(told["copies"][0]["region"], "eu-west", "{told}");
    assert_eq!(
        (&told["home"], &told["equal"]),
        (&json!("us-east"), &json!(true))
    );
    let same = said(&east, "orders");
    assert!(
        same.contains("offsets 0..2 of the copy in eu-west are"),
        "{same}"
    );
    let there = west.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!((&there["to"], &there["copies"]), (&json!(2), &json!(null)));
    // One that can't be asked is not passed over.
    wait_for("the home to know of the copy", || {
        (east.status()["held"][0]["name"] == "orders").then_some(())
    });
    west.kill();
    let missing = east.run(&["region", "verify", "orders"]).fails(1);
    assert!(
        missing.contains("the copy in `eu-west` was not compared"),
        "{missing}"
    );
    let told = east.run(&["region", "verify", "orders", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.out).expect("JSON");
    assert_eq!(told["equal"], json!(false), "{told}");
    west.restart();
    west.linked();
    // A copy that is another one is found although it is stopped: the home is put back to a backup.
    east.kill();
    let (data, backup) = (east.data.clone(), dir.path().join("backup"));
    copy_dir(&data, &backup);
    east.restart();
    east.publish("orders", &["three", "four"]);
    west.has("orders", 4);
    east.kill();
    std::fs::remove_dir_all(&data).expect("removed");
    copy_dir(&backup, &data);
    east.restart();
    east.publish("orders", &["drei", "vier", "fünf"]);
    wait_for("the copy to be stopped", || {
        let error = west.copy("orders")?["error"].as_str()?.to_owned();
        error.starts_with("DIVERGED").then_some(())
    });
    let differs = wait_for("the home to be linked", || {
        let ran = east.run(&["region", "verify", "orders"]);
        (ran.code == 1 && ran.err.contains("of the copy in `eu-west` are not")).then_some(ran)
    });
    differs.fails(1);
    let told = east.run(&["region", "verify", "orders", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.out).expect("JSON");
    assert_eq!(told["equal"], json!(false), "{told}");
    assert_eq!(told["differs"], told["copies"][0]["differs"], "{told}");
}
