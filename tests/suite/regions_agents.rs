//! What follows from a session of another region: promises, disputes, calls of tools, money. All of it
//! is where the session lives, from whatever region it is asked for.

use std::path::Path;

use serde_json::Value;

use crate::line::Line;
use crate::process::wait_for;
use crate::regions::{self, Region, kept_key, over_line, promise};

/// Two regions, the second linked to the first over a line.
fn pair(dir: &Path) -> (Region, Line, Region) {
    let (east, line, west) = over_line(dir);
    west.linked();
    (east, line, west)
}

/// A session of two agents that lives in a region; its id.
fn survey(region: &Region) -> String {
    regions::survey(region, ["writer:specialist", "editor:coordinator"])
}

fn id_of(row: &Value) -> String {
    let id = row["id"].as_str().unwrap_or_else(|| panic!("{row}"));
    id.to_owned()
}

/// Nothing of agents is kept in a region.
fn has_no_agents(region: &Region) {
    let listed = region
        .run(&["channel", "list", "--internal", "--json"])
        .ok();
    let listed = String::from_utf8(listed).expect("JSON");
    let is_theirs = |line: &&str| line.contains("__asp.") && !line.contains("@");
    let kept: Vec<&str> = listed.lines().filter(is_theirs).collect();
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn a_promise_is_made_kept_and_judged_from_any_region_and_lives_with_its_session() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    let session = survey(&east);
    let shown =
        |region: &Region, id: &str| region.run(&["commitment", "show", id, "--json"]).json();
    let made = promise(&west, &session);
    assert_eq!(shown(&east, &made)["state"], "active");
    west.run(&[
        "commitment",
        "deliver",
        &made,
        "--evidence",
        "{\"answers\":10}",
    ])
    .ok();
    // A region that remembers nothing of it asks where it is.
    west.kill();
    west.restart();
    west.linked();
    assert_eq!(shown(&west, &made), shown(&east, &made));
    assert_eq!(shown(&west, &made)["state"], "delivered");
    west.run(&["commitment", "confirm", &made, "--agent", "editor"])
        .ok();
    assert_eq!(shown(&east, &made)["state"], "fulfilled");
    let list = ["commitment", "list", "--session", &session, "--json"];
    let listed = east.run(&list).json_lines();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(west.run(&list).json_lines(), listed);
    let receipt = ["commitment", "receipt", &made];
    assert_eq!(west.run(&receipt).ok(), east.run(&receipt).ok());
    has_no_agents(&west);
    // One that nobody has is told from one that can't be asked for.
    let unknown = "cmt_01998a2b-0c3d-7e4f-8001-020304050607";
    let show = ["commitment", "show", unknown];
    let refused = west.run(&show).err;
    assert!(refused.contains("COMMITMENT_NOT_FOUND"), "{refused}");
    line.cut();
    west.is_unlinked();
    for id in [unknown, &made] {
        let refused = west.run(&["commitment", "show", id]).err;
        assert!(refused.contains("us-east"), "{refused}");
    }
}

#[test]
fn a_dispute_is_filed_answered_and_ruled_on_from_any_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    let session = survey(&east);
    let made = promise(&east, &session);
    east.run(&["commitment", "deliver", &made]).ok();
    let create = [
        "dispute",
        "create",
        &made,
        "Half of it is missing",
        "--type",
        "specification-mismatch",
        "--agent",
        "editor",
        "--json",
    ];
    let dispute = id_of(&west.run(&create).json());
    let show = ["dispute", "show", &dispute, "--json"];
    assert_eq!(west.run(&show).json(), east.run(&show).json());
    west.run(&["dispute", "answer", &dispute, "All of it is there"])
        .ok();
    let list = ["dispute", "list", "--commitment", &made, "--json"];
    let listed = west.run(&list).json_lines();
    assert_eq!(listed, east.run(&list).json_lines());
    assert_eq!(
        listed[0]["answer"]["reason"], "All of it is there",
        "{listed:?}"
    );
    // An operator rules at home too, which says whose turn it is.
    let rule = ["dispute", "rule", &dispute, "dismissed", "It is there"];
    let refused = west.run(&rule).err;
    assert!(refused.contains("ILLEGAL_STEP"), "{refused}");
    assert_eq!(refused, east.run(&rule).err);
    assert_eq!(west.run(&show).json(), east.run(&show).json());
    // Another one is taken back by who filed it.
    let second = promise(&west, &session);
    west.run(&["commitment", "deliver", &second]).ok();
    let mut create = create;
    create[2] = &second;
    let again = id_of(&west.run(&create).json());
    let taken = west.run(&["dispute", "withdraw", &again, "--json"]).json();
    assert_eq!(taken["state"], "withdrawn", "{taken}");
    has_no_agents(&west);
}

#[test]
fn a_call_for_a_session_is_recorded_where_that_lives_and_one_for_none_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    let session = survey(&east);
    let start = ["tool", "start", "search", "--agent", "writer"];
    let begun = [&start[..], &["--session", &session, "--json"]].concat();
    let begun = west.run(&begun).json();
    let call = begun["callId"]
        .as_str()
        .unwrap_or_else(|| panic!("{begun}"));
    west.run(&["tool", "progress", call, "--progress", "0.5"])
        .ok();
    west.run(&["tool", "finish", call, "{\"pages\":3}"]).ok();
    let show = ["tool", "show", call, "--json"];
    let shown = east.run(&show).json();
    assert_eq!(shown["outcome"], "finished", "{shown}");
    assert_eq!(west.run(&show).json(), shown);
    let list = ["tool", "list", "--session", &session, "--json"];
    assert_eq!(west.run(&list).json_lines(), east.run(&list).json_lines());
    has_no_agents(&west);
    west.run(&["agent", "register", "writer"]).ok();
    let alone = [&start[..], &["--json"]].concat();
    let alone = west.run(&alone).json();
    let alone = alone["callId"].as_str().expect("an id");
    west.run(&["tool", "fail", alone, "timeout"]).ok();
    let elsewhere = east.run(&["tool", "show", alone]).err;
    assert!(elsewhere.contains("CALL_NOT_FOUND"), "{elsewhere}");
}

#[test]
fn of_several_regions_the_one_that_has_a_promise_carries_it_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let south = Region::start(dir.path(), "ap-south", &[]);
    let east = Region::start(dir.path(), "us-east", &[&south]);
    east.linked();
    let mut west = Region::start(dir.path(), "eu-west", &[&south, &east]);
    west.linked();
    let (there, other) = (survey(&east), survey(&south));
    let (made, another) = (promise(&east, &there), promise(&south, &other));
    for (id, region) in [(&made, &east), (&another, &south)] {
        west.run(&["commitment", "deliver", id]).ok();
        let shown = region.run(&["commitment", "show", id, "--json"]).json();
        assert_eq!(shown["state"], "delivered", "{shown}");
    }
    // A region that is gone hides nothing that another one has.
    let mut south = south;
    south.kill();
    west.kill();
    west.restart();
    wait_for("the link to us-east", || {
        let status = west.status();
        let mut links = status["links"].as_array().expect("rows").iter();
        let east = links.find(|link| link["peer"] == "us-east")?;
        (east["state"] == "open").then_some(())
    });
    west.run(&["commitment", "confirm", &made, "--agent", "editor"])
        .ok();
    let refused = west.run(&["commitment", "confirm", &another]).err;
    assert!(refused.contains("ap-south"), "{refused}");
}

#[test]
fn a_key_keeps_no_other_agents_promises_through_another_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, mut west) = pair(dir.path());
    let session = survey(&east);
    let made = promise(&east, &session);
    let admin = west.require_keys(dir.path());
    let with = |key: &str, args: &[&str]| west.with_key(key, args);
    let key = |agent: &str| {
        let scope = format!("asp:*:{agent}");
        let create = ["key", "create", agent, "--scope", &scope, "--json"];
        kept_key(&with(&admin, &create).json(), &dir.path().join(agent))
    };
    let (writer, editor) = (key("writer"), key("editor"));
    // Whose promise it is the home has told.
    let deliver = ["commitment", "deliver", &made];
    let refused = with(&editor, &deliver).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    with(&writer, &deliver).ok();
    let confirm = ["commitment", "confirm", &made, "--agent", "editor"];
    let refused = with(&writer, &confirm).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    // Who names no agent may have to speak for any.
    let refused = with(&editor, &["commitment", "confirm", &made]).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    with(&editor, &confirm).ok();
    // A call is finished by whoever made it.
    let start = [
        "tool",
        "start",
        "search",
        "--agent",
        "writer",
        "--session",
        &session,
        "--json",
    ];
    let call = with(&writer, &start).json();
    let call = call["callId"].as_str().expect("an id");
    let finish = ["tool", "finish", call];
    let refused = with(&editor, &finish).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    with(&writer, &finish).ok();
}

#[test]
fn money_stands_behind_no_promise_of_another_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    let session = survey(&east);
    let own = survey(&west);
    let paid = |region: &Region, sum: &str| {
        let deposit = ["escrow", "deposit", sum, "--agent", "writer"];
        region.run(&deposit).ok();
    };
    let promised = |sum: &str| {
        let create = [
            "commitment",
            "create",
            &session,
            "Ten answers",
            "--agent",
            "writer",
            "--deadline",
            "1h",
            "--escrow",
            sum,
            "--json",
        ];
        west.run(&create)
    };
    paid(&west, "500:EUR");
    let refused = promised("100:EUR").err;
    let words = ["ESCROW_ACROSS_HOMES", "eu-west", "us-east", "EUR"];
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    // So is an offer of it in a message.
    let offer = "{\"description\":\"Ten answers\",\"deadline\":\"2099-01-01T00:00:00Z\",\
                 \"escrow\":{\"amount\":100,\"currency\":\"EUR\"}}";
    let send = [
        "session", "send", &session, offer, "--from", "writer", "--to", "editor", "--say", "COMMIT",
    ];
    let refused = west.run(&send).err;
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    let list = ["commitment", "list", "--session", &session, "--json"];
    assert!(
        east.run(&list).json_lines().is_empty(),
        "nothing is promised"
    );
    let balance = ["escrow", "balance", "--agent", "writer", "--json"];
    let account = west.run(&balance).json_lines();
    assert_eq!(account[0]["available"], 500, "{account:?}");
    // What stands behind a promise is there still.
    let create = [
        "commitment",
        "create",
        &own,
        "Five answers",
        "--agent",
        "writer",
        "--deadline",
        "1h",
        "--escrow",
        "500:EUR",
    ];
    west.run(&create).ok();
    let account = west.run(&balance).json_lines();
    assert_eq!(account[0]["available"], 0, "{account:?}");
    let refused = promised("100:EUR").err;
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    // Where there is none here, the home's account is meant, and the home says what is in it.
    let refused = promised("100:USD").err;
    assert!(refused.contains("INSUFFICIENT_FUNDS"), "{refused}");
    paid(&east, "100:USD");
    let made = id_of(&promised("100:USD").json());
    let ledger = ["escrow", "ledger", "--commitment", &made, "--json"];
    let steps = east.run(&ledger).json_lines();
    assert_eq!(steps[0]["step"], "held", "{steps:?}");
    assert_eq!(west.run(&ledger).json_lines(), steps);
}
