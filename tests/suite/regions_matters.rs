//! Ids of promises and calls are chosen by whoever sends them, and do not say in which region what they
//! name is. What somebody sends under the id of another's leads nobody to look for theirs elsewhere.

use std::path::Path;

use serde_json::Value;

use crate::process::{Ran, wait_for};
use crate::regions::Region;

/// A region and who asks there.
struct At<'a> {
    region: &'a Region,
    /// File with the key that is shown.
    key: String,
}

impl At<'_> {
    fn run(&self, args: &[&str]) -> Ran {
        self.region
            .run(&[args, &["--api-key-file", &self.key]].concat())
    }

    fn told(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).json()
    }

    /// A session of two agents of the caller's; its id.
    fn session(&self, [leads, works]: [&str; 2]) -> String {
        let (leads, works) = (
            format!("{leads}:coordinator"),
            format!("{works}:specialist"),
        );
        let create = ["session", "create", "a survey", "--participant", &leads];
        let told = self.told(&[&create[..], &["--participant", &works]].concat());
        told["sessionId"].as_str().expect("an id").to_owned()
    }

    /// Promises something in a session, under an id where one is given.
    fn promise(&self, session: &str, by: &str, id: Option<&str>) -> Ran {
        let create = ["commitment", "create", session, "Ten answers", "--json"];
        let more = ["--agent", by, "--deadline", "1h"];
        let id = id.map_or(Vec::new(), |id| vec!["--id", id]);
        self.run(&[&create[..], &more, &id].concat())
    }

    /// Calls a tool; the id of the call.
    fn call(&self, agent: &str, more: &[&str]) -> String {
        let start = ["tool", "start", "search", "--agent", agent];
        let told = self.told(&[&start[..], more].concat());
        told["callId"].as_str().expect("an id").to_owned()
    }
}

fn id_of(row: &Value) -> String {
    row["id"].as_str().expect("an id").to_owned()
}

/// A new key; the file that it is in.
fn key(dir: &Path, region: &Region, name: &str, more: &[&str]) -> String {
    let create = ["key", "create", name, "--json"];
    let made = region.run(&[&create[..], more].concat()).json();
    let file = dir.join(name);
    std::fs::write(&file, made["secret"].as_str().expect("a text")).expect("a file");
    file.display().to_string()
}

/// A key for all agents of an organisation, which a region comes to know.
fn of_org(dir: &Path, region: &Region, org: &str) -> String {
    let name = format!("{org}-{}", region.url().rsplit(':').next().expect("a port"));
    key(dir, region, &name, &["--org", org, "--scope", "asp"])
}

/// Three regions that are linked; `us-east` is where things live, `eu-west` where they are asked for.
fn three(dir: &Path) -> [Region; 3] {
    let south = Region::start(dir, "ap-south", &[]);
    let east = Region::start(dir, "us-east", &[&south]);
    east.linked();
    let west = Region::start(dir, "eu-west", &[&south, &east]);
    west.linked();
    [south, east, west]
}

#[test]
fn what_was_refused_does_not_say_whose_a_promise_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, east, west] = three(dir.path());
    let narrow = |agent: &str| At {
        region: &west,
        key: key(
            dir.path(),
            &west,
            agent,
            &["--scope", &format!("asp:*:{agent}")],
        ),
    };
    let everybody = At {
        region: &east,
        key: key(dir.path(), &east, "everybody", &["--scope", "asp"]),
    };
    for agent in ["writer", "editor"] {
        east.run(&["agent", "register", agent]).ok();
    }
    let session = everybody.session(["editor", "writer"]);
    let made = everybody.promise(&session, "writer", None).json();
    let made = id_of(&made);
    let (writer, editor) = (narrow("writer"), narrow("editor"));
    // The id is taken, and whoever sent it has promised nothing.
    let refused = editor.promise(&session, "editor", Some(&made)).err;
    assert!(refused.contains("COMMITMENT_ID_TAKEN"), "{refused}");
    let deliver = ["commitment", "deliver", &made];
    let refused = editor.run(&deliver).err;
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    writer.run(&deliver).ok();
    let shown = everybody.told(&["commitment", "show", &made]);
    assert_eq!(shown["state"], "delivered", "{shown}");
}

#[test]
fn what_others_send_under_the_same_id_hides_no_promise_and_no_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let regions = three(dir.path());
    for region in &regions {
        for org in ["acme", "bolt"] {
            wait_for(&format!("{org} in a region"), || {
                let listed = region.run(&["org", "list", "--json"]).json_lines();
                if listed.iter().any(|row| row["name"] == org) {
                    return Some(());
                }
                let _ = region.run(&["org", "create", org]);
                None
            });
        }
    }
    let [south, east, west] = &regions;
    let at = |region, org| At {
        region,
        key: of_org(dir.path(), region, org),
    };
    let (home, here) = (at(east, "acme"), at(west, "acme"));
    for agent in ["writer", "editor"] {
        home.run(&["agent", "register", agent]).ok();
    }
    let session = home.session(["editor", "writer"]);
    // The same id where it is asked for, in a third region, and where it lives.
    for squatted in [west, south, east] {
        let squatter = at(squatted, "bolt");
        let made = id_of(&home.promise(&session, "writer", None).json());
        let call = home.call("writer", &["--session", &session]);
        let other = squatter.session(["maker", "taker"]);
        // In the region where it lives the id is taken.
        let _ = squatter.promise(&other, "maker", Some(&made));
        assert_eq!(squatter.call("maker", &["--id", &call]), call);
        let delivered = here.told(&["commitment", "deliver", &made]);
        assert_eq!(delivered["state"], "delivered", "{delivered}");
        here.run(&["tool", "finish", &call]).ok();
        let shown = home.told(&["tool", "show", &call]);
        assert_eq!(shown["outcome"], "finished", "{shown}");
        // Each has its own.
        let shown = squatter.told(&["tool", "show", &call]);
        assert_eq!(shown["outcome"], "open", "{shown}");
    }
}
