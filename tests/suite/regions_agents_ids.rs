//! Whose that is which goes by an id of its own, in a region where it is not: one that several regions
//! have, one that is here too, one that was refused elsewhere, one of a namesake.

use std::path::Path;

use serde_json::Value;

use crate::process::Ran;
use crate::regions::{self, Region, kept_key, promise, promised};

/// Three regions; the first is linked to both others.
fn three(dir: &Path) -> (Region, Region, Region) {
    let south = Region::start(dir, "ap-south", &[]);
    let east = Region::start(dir, "us-east", &[&south]);
    east.linked();
    let west = Region::start(dir, "eu-west", &[&south, &east]);
    west.linked();
    (west, east, south)
}

/// A session of two agents that lives in a region; its id.
fn survey(region: &Region) -> String {
    regions::survey(region, ["writer:specialist", "editor:coordinator"])
}

fn show(region: &Region, id: &str) -> Ran {
    region.run(&["commitment", "show", id, "--json"])
}

/// The session in which a promise was made, as a region tells.
fn session_of(region: &Region, id: &str) -> Value {
    show(region, id).json()["sessionId"].clone()
}

#[test]
fn of_several_regions_that_have_one_of_an_id_none_is_chosen_and_what_is_here_is_meant_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let (west, east, south) = three(dir.path());
    let (there, other, here) = (survey(&east), survey(&south), survey(&west));
    let id = promise(&east, &there);
    promised(&south, &other, "writer", &["--id", &id]).ok();
    for args in [
        &["commitment", "show", &id][..],
        &["commitment", "deliver", &id],
        &["dispute", "create", &id, "It is late", "--agent", "editor"],
    ] {
        let refused = west.run(args).fails(1);
        let words = ["FORWARD_REFUSED", "us-east", "ap-south"];
        let says = words.iter().all(|word| refused.contains(word));
        assert!(says, "{args:?}: {refused}");
    }
    for (region, session) in [(&east, &there), (&south, &other)] {
        let row = show(region, &id).json();
        assert_eq!(row["state"], "active", "{row}");
        assert_eq!(row["sessionId"].as_str(), Some(session.as_str()), "{row}");
    }
    // Whoever has one of its own means that.
    promised(&west, &here, "writer", &["--id", &id]).ok();
    west.run(&["commitment", "deliver", &id]).ok();
    let states = [&west, &east, &south].map(|region| show(region, &id).json()["state"].clone());
    assert_eq!(states, ["delivered", "active", "active"]);
}

#[test]
fn what_another_region_was_asked_for_and_refused_is_found_where_it_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let (west, east, south) = three(dir.path());
    let (there, other, here) = (survey(&east), survey(&south), survey(&west));
    let id = "cmt_01998a2b-0c3d-7e4f-8001-020304050607";
    let refused = promised(&west, &there, "nobody", &["--id", id]).fails(1);
    assert!(refused.contains("nobody"), "{refused}");
    promised(&south, &other, "writer", &["--id", id]).ok();
    assert_eq!(session_of(&west, id).as_str(), Some(other.as_str()));
    // What was made there is there; and what is made here under its id is meant here from then on.
    let made = promise(&west, &there);
    assert_eq!(session_of(&west, &made).as_str(), Some(there.as_str()));
    promised(&west, &here, "writer", &["--id", &made]).ok();
    assert_eq!(session_of(&west, &made).as_str(), Some(here.as_str()));
    assert_eq!(session_of(&east, &made).as_str(), Some(there.as_str()));
}

#[test]
fn a_namesake_in_another_organisation_keeps_nobodys_promise_through_another_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    let session = survey(&east);
    let made = promise(&east, &session);
    east.run(&["org", "create", "rival"]).ok();
    let admin = west.require_keys(dir.path());
    let with = |key: &str, args: &[&str]| west.with_key(key, args);
    with(&admin, &["org", "create", "rival"]).ok();
    let key = |name: &str, more: &[&str]| {
        let create = ["key", "create", name, "--json"];
        let made = with(&admin, &[&create[..], more].concat()).json();
        kept_key(&made, &dir.path().join(name))
    };
    let scope = ["--scope", "asp:*:writer"];
    let (writer, namesake) = (
        key("writer", &scope),
        key("namesake", &[&scope[..], &["--org", "rival"]].concat()),
    );
    let deliver = ["commitment", "deliver", &made];
    let refused = with(&namesake, &deliver).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    let state = || show(&east, &made).json()["state"].clone();
    assert_eq!(state(), "active");
    with(&writer, &deliver).ok();
    assert_eq!(state(), "delivered");
}
