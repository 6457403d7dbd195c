//! Ids of promises and calls are chosen by whoever sends them, and need not say in which region what they
//! name is. What somebody sends under the id of another's leads nobody to look for theirs elsewhere, also
//! not whom they have in their session.

use std::path::Path;

use serde_json::Value;

use crate::process::{Ran, wait_for};
use crate::regions::{Region, kept_key};

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
    kept_key(&made, &dir.join(name))
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

/// Three regions, and who asks for one agent alone in each of them.
struct Squat {
    _dir: tempfile::TempDir,
    regions: [Region; 3],
    /// The keys, by region and agent.
    keys: Vec<[String; 3]>,
}

/// What each of the three does: whoever promises, who squats, and to whom is promised.
const AGENTS: [&str; 3] = ["writer", "squatter", "reader"];
const SOUTH: usize = 0;
const EAST: usize = 1;
const WEST: usize = 2;

impl Squat {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let regions = three(dir.path());
        let keys = regions.iter().map(|region| {
            for agent in AGENTS {
                region.run(&["agent", "register", agent]).ok();
            }
            AGENTS.map(|agent| {
                let port = region.url().rsplit(':').next().expect("a port").to_owned();
                let scope = format!("asp:*:{agent}");
                let name = format!("{agent}-{port}");
                key(dir.path(), region, &name, &["--scope", &scope])
            })
        });
        let keys = keys.collect();
        Self {
            _dir: dir,
            regions,
            keys,
        }
    }

    fn at(&self, region: usize, agent: &str) -> At<'_> {
        let place = AGENTS.iter().position(|known| *known == agent);
        At {
            region: &self.regions[region],
            key: self.keys[region][place.expect("an agent")].clone(),
        }
    }

    /// Has the squatter use an id in a session of its own, which somebody is in who does not know.
    fn squats(&self, region: usize, whom: &str, id: &str) {
        let squatter = self.at(region, "squatter");
        let session = squatter.session(["squatter", whom]);
        squatter.promise(&session, "squatter", Some(id)).ok();
    }

    fn state(&self, region: usize, id: &str) -> Value {
        let shown = ["commitment", "show", id, "--json"];
        self.regions[region].run(&shown).json()["state"].clone()
    }
}

#[test]
fn who_uses_the_id_of_anothers_promise_first_keeps_nobody_from_keeping_it() {
    let squat = Squat::new();
    // In a third region and where it is asked for, before it is made.
    for (number, place) in [SOUTH, WEST].into_iter().enumerate() {
        let id = format!("cmt_01998a2b-0c3d-7e4f-8001-02030405061{number}");
        squat.squats(place, "writer", &id);
        let session = squat.at(EAST, "reader").session(["reader", "writer"]);
        let made = squat
            .at(EAST, "writer")
            .promise(&session, "writer", Some(&id));
        assert_eq!(id_of(&made.json()), id);
        let deliver = ["commitment", "deliver", &id];
        let told = squat.at(WEST, "writer").told(&deliver);
        assert_eq!(told["state"], "delivered", "{told}");
        assert_eq!(squat.state(EAST, &id), "delivered");
        assert_eq!(squat.state(place, &id), "active", "the other one");
        // Nor does the squatter reach anything but its own.
        let told = squat.at(WEST, "squatter").told(&deliver);
        assert_ne!(told["sessionId"], *session, "{told}");
        assert_eq!(squat.state(place, &id), "delivered");
    }
}

#[test]
fn who_is_promised_something_finds_it_where_its_id_says_whatever_others_send_under_that() {
    let squat = Squat::new();
    let session = squat.at(EAST, "reader").session(["reader", "writer"]);
    for place in [SOUTH, WEST] {
        let writer = squat.at(EAST, "writer");
        let made = id_of(&writer.promise(&session, "writer", None).json());
        writer.run(&["commitment", "deliver", &made]).ok();
        squat.squats(place, "reader", &made);
        let reader = squat.at(WEST, "reader");
        let shown = ["commitment", "show", &made, "--agent", "reader"];
        assert_eq!(reader.told(&shown)["sessionId"], *session);
        let confirm = ["commitment", "confirm", &made, "--agent", "reader"];
        let told = reader.told(&confirm);
        assert_eq!(told["state"], "fulfilled", "{told}");
        assert_eq!(squat.state(EAST, &made), "fulfilled");
        assert_eq!(squat.state(place, &made), "active", "the other one");
    }
}
