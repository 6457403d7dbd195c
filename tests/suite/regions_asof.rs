//! What agents say in one region, read in another from copies that say up to when they are current:
//! registry, evidence and sessions.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::line::Line;
use crate::process::{Ran, wait_for};
use crate::raw::Raw;
use crate::regions::{self, Region, key_of_org, promise};
use crate::regions_dir::{has_joined, mesh, thief};

const LINK_LOGS: u16 = 191;
const LINK_FOLLOW: u16 = 192;
const REGION_MOVE: u16 = 203;

/// Two regions of one directory; the second pulls from the first over a line.
fn lined(dir: &Path) -> (Region, Line, Region) {
    let mut east = Region::start(dir, "us-east", &[]);
    let mut west = Region::start(dir, "eu-west", &[]);
    let line = Line::to(east.broker().address());
    west.peers = vec![format!("us-east={}", line.url())];
    east.peers = vec![format!("eu-west={}", west.url())];
    for region in [&mut east, &mut west] {
        region.kill();
        region.restart();
    }
    for region in [&east, &west] {
        has_joined(region, &["eu-west", "us-east"]);
        region.linked();
    }
    (east, line, west)
}

/// Asks for what a region has said.
fn asked(region: &Region, of: &str, args: &[&str]) -> Ran {
    region.run(&[args, &["--region", of, "--json"]].concat())
}

/// What a region has said.
fn told(region: &Region, of: &str, args: &[&str]) -> Value {
    let told = asked(region, of, args).json();
    assert_eq!(told["parts"].as_array().map(Vec::len), Some(1), "{told}");
    told
}

fn answer<'a>(told: &'a Value, kind: &str) -> &'a Value {
    let answer = &told["parts"][0]["answer"][kind];
    assert!(!answer.is_null(), "{told}");
    answer
}

/// Up to which offset a region's log was known.
fn offset(told: &Value, region: &str) -> u64 {
    let up_to = &told["asOf"][region];
    up_to["offset"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

/// The names of the agents that were found, sorted.
fn names(told: &Value) -> Vec<String> {
    let agents = answer(told, "agent.search")["agents"]
        .as_array()
        .expect("rows");
    let names = agents
        .iter()
        .map(|row| row["name"].as_str().expect("a name").to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

fn register(region: &Region, names: &[&str]) {
    for name in names {
        region.run(&["agent", "register", name]).ok();
    }
}

fn topics(region: &Region) -> String {
    let listed = region
        .run(&["channel", "list", "--internal", "--json"])
        .ok();
    String::from_utf8(listed).expect("JSON")
}

/// A session of two agents that lives in a region; its id.
fn survey(region: &Region) -> String {
    regions::survey(region, ["writer:specialist", "editor:coordinator"])
}

fn say(region: &Region, session: &str, text: &str) {
    let payload = json!({ "text": text }).to_string();
    let send = ["session", "send", session, &payload, "--from", "editor"];
    region.run(&[&send[..], &["--type", "note"]].concat()).ok();
}

/// A promise of the writer to the editor that is kept, so that there is evidence of it.
fn kept_promise(region: &Region, session: &str) {
    let id = promise(region, session);
    region.run(&["commitment", "deliver", &id]).ok();
    let confirm = ["commitment", "confirm", &id, "--agent", "editor"];
    region.run(&confirm).ok();
}

/// Waits until a region tells of another what that tells of itself, as of the same place; what it
/// tells.
fn caught_up(here: &Region, there: &Region, of: &str, args: &[&str]) -> Value {
    wait_for("the copy to catch up", || {
        let ran = asked(here, of, args);
        if ran.code != 0 {
            return None;
        }
        let (here, there) = (ran.json(), told(there, of, args));
        if here["asOf"] != there["asOf"] {
            return None;
        }
        // As of the same place both say the same.
        assert_eq!(here["parts"][0]["answer"], there["parts"][0]["answer"]);
        Some(here)
    })
}

#[test]
fn agents_of_another_region_are_found_in_a_copy_that_stands_still_while_the_line_is_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = lined(dir.path());
    register(&east, &["writer", "editor"]);
    register(&west, &["local"]);
    let copy = "__asp.registry@us-east";
    assert!(!topics(&west).contains(copy), "nobody has asked for it");
    let search = ["agent", "search"];
    let first = told(&west, "us-east", &search);
    assert_eq!(names(&first), ["editor", "writer"]);
    assert!(topics(&west).contains(copy));
    assert!(west.copy(copy).is_some(), "operators see it");
    assert!(first["asOf"]["us-east"]["time"].is_u64(), "{first}");
    assert_eq!(first["asOf"].as_object().map(serde_json::Map::len), Some(1));
    // One agent is told as its own region tells it.
    let shown = told(&west, "us-east", &["agent", "show", "writer"]);
    let there = east.run(&["agent", "show", "writer", "--json"]).json();
    assert_eq!(answer(&shown, "agent.info"), &there);
    let unknown = asked(&west, "us-east", &["agent", "show", "nobody"]).err;
    assert!(unknown.contains("AGENT_NOT_FOUND"), "{unknown}");
    // What is asked without a region is this one's own.
    let own = west.run(&["agent", "search", "--json"]).json_lines();
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(own[0].get("asOf").is_none(), "{own:?}");
    // What is registered there comes.
    register(&east, &["third"]);
    let later = wait_for("the third agent", || {
        let told = told(&west, "us-east", &search);
        (names(&told).len() == 3).then_some(told)
    });
    assert!(offset(&later, "us-east") > offset(&first, "us-east"));
    // While the line is cut the copy answers, and says that it stands where it stood; also after a
    // restart, in which it is folded anew.
    line.cut();
    west.is_unlinked();
    register(&east, &["fourth"]);
    let still = told(&west, "us-east", &search);
    assert_eq!(
        (names(&still), &still["asOf"]),
        (names(&later), &later["asOf"])
    );
    west.kill();
    west.restart();
    let still = told(&west, "us-east", &search);
    assert_eq!(
        (names(&still), &still["asOf"]),
        (names(&later), &later["asOf"])
    );
    // Linked again it goes on by itself.
    line.mend();
    let newest = wait_for("the fourth agent", || {
        let told = told(&west, "us-east", &search);
        (names(&told).len() == 4).then_some(told)
    });
    assert!(offset(&newest, "us-east") > offset(&later, "us-east"));
    let strange = asked(&west, "ap-south", &search).err;
    assert!(strange.contains("UNKNOWN_REGION"), "{strange}");
    // It is written in its own region, and has no other home.
    let mut raw = Raw::greeted(west.broker().address());
    let to = json!({"name": copy, "to": "eu-west", "force": true});
    let moved = raw.json(REGION_MOVE, &to).json();
    let refused = ["MOVE_REFUSED", "INVALID_REQUEST"].map(|name| json!(name));
    assert!(refused.contains(&moved["name"]), "{moved}");
}

#[test]
fn trust_is_told_from_a_copy_of_the_evidence_as_its_own_region_tells_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = lined(dir.path());
    let session = survey(&east);
    kept_promise(&east, &session);
    let show = ["trust", "show", "writer"];
    let before = caught_up(&west, &east, "us-east", &show);
    let row = answer(&before, "trust.score");
    assert_eq!(row["evidenceCount"], json!(1), "{row}");
    assert_eq!(row["scope"], "internal", "{row}");
    let explained = caught_up(&west, &east, "us-east", &["trust", "explain", "writer"]);
    let evidence = &answer(&explained, "trust.explain")["evidence"];
    assert_eq!(evidence.as_array().map(Vec::len), Some(1), "{evidence}");
    // The scores that a search tells rest on the same evidence.
    let search = ["agent", "search", "--min-trust", "0"];
    let found = told(&west, "us-east", &search);
    let up_to = &found["parts"][0]["evidenceAsOf"];
    assert!(
        up_to["offset"].as_u64() >= Some(offset(&before, "us-east")),
        "{found}"
    );
    caught_up(&west, &east, "us-east", &search);
    line.cut();
    west.is_unlinked();
    kept_promise(&east, &session);
    let still = told(&west, "us-east", &show);
    assert_eq!(still["asOf"], before["asOf"]);
    assert_eq!(answer(&still, "trust.score")["evidenceCount"], json!(1));
    line.mend();
    wait_for("the second promise", || {
        let told = told(&west, "us-east", &show);
        (answer(&told, "trust.score")["evidenceCount"] == json!(2)).then_some(())
    });
    caught_up(&west, &east, "us-east", &show);
}

#[test]
fn a_session_is_read_from_a_copy_while_its_home_is_out_of_reach() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = lined(dir.path());
    let session = survey(&east);
    say(&east, &session, "one");
    let show = ["session", "show", &session];
    let first = caught_up(&west, &east, "us-east", &show);
    let row = answer(&first, "session.info");
    assert_eq!(row["sessionId"], json!(session));
    // The records are those of the home, byte by byte.
    let tail = ["session", "tail", &session];
    let records = |region: &Region| {
        let pages = asked(region, "us-east", &tail).json_lines();
        let records = pages.iter().flat_map(|page| {
            let page = answer(page, "session.history");
            page["records"].as_array().expect("rows").clone()
        });
        records.map(|one| one["record"].clone()).collect::<Vec<_>>()
    };
    let at_home = |region: &Region| {
        let args = ["session", "tail", &session, "--json"];
        region.run(&args).json_lines()
    };
    let before = records(&west);
    assert_eq!(before, at_home(&east));
    line.cut();
    west.is_unlinked();
    say(&east, &session, "two");
    west.kill();
    west.restart();
    // Without a region it is asked at home, which can't be reached.
    let unreachable = west.run(&["session", "show", &session]).err;
    assert!(unreachable.contains("us-east"), "{unreachable}");
    assert_eq!(told(&west, "us-east", &show), first);
    assert_eq!(records(&west), before);
    // Its id says in which region it lives.
    let any = west
        .run(&["session", "show", &session, "--any-region", "--json"])
        .json();
    assert_eq!(any, first);
    line.mend();
    wait_for("what was said meanwhile", || {
        (records(&west).len() > before.len()).then_some(())
    });
    east.run(&["session", "close", &session, "--from", "editor"])
        .ok();
    let closed = wait_for("its end", || {
        let told = told(&west, "us-east", &show);
        let row = answer(&told, "session.info").clone();
        row["endedAt"].is_u64().then_some(row)
    });
    let there = east.run(&["session", "show", &session, "--json"]).json();
    assert_eq!(closed, there);
    assert_eq!(records(&west), at_home(&east));
    let unknown = "ses_01998a2b-0c3d-7e4f-8001-020304050607";
    let refused = asked(&west, "us-east", &["session", "show", unknown]).err;
    assert!(refused.contains("SESSION_NOT_FOUND"), "{refused}");
}

#[test]
fn all_regions_are_asked_at_once_and_the_vector_has_a_part_for_each_that_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let [south, west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    register(&east, &["writer"]);
    register(&west, &["local"]);
    let search = ["agent", "search", "--any-region", "--json"];
    let told = wait_for("us-east to be known", || {
        let told = west.run(&search).json();
        told["asOf"]["us-east"].is_object().then_some(told)
    });
    let parts = told["parts"].as_array().expect("rows");
    let regions: Vec<_> = parts.iter().map(|part| part["region"].clone()).collect();
    assert_eq!(regions, ["ap-south", "eu-west", "us-east"]);
    let found = |at: usize| parts[at]["answer"]["agent.search"]["agents"][0]["name"].clone();
    assert_eq!((found(1), found(2)), (json!("local"), json!("writer")));
    // Nothing was ever registered there, so it has no part in the vector.
    assert!(parts[0].get("answer").is_none(), "{}", parts[0]);
    assert!(told["asOf"].get("ap-south").is_none(), "{told}");
    let error = parts[0]["error"]["name"].as_str().expect("a name");
    assert!(
        ["COPY_NOT_HERE", "COPY_NOT_OFFERED"].contains(&error),
        "{error}"
    );
    let refused = asked(&west, "ap-south", &["agent", "search"]).err;
    assert!(refused.contains("COPY_NOT_OFFERED"), "{refused}");
    // Once something is, it is offered.
    register(&south, &["far"]);
    let all = wait_for("all three", || {
        let told = west.run(&search).json();
        told["asOf"]["ap-south"].is_object().then_some(told)
    });
    assert_eq!(all["asOf"].as_object().map(serde_json::Map::len), Some(3));
    let far = all["parts"][0]["answer"]["agent.search"]["agents"].clone();
    assert_eq!(far[0]["name"], "far", "{all}");
}

#[test]
fn an_organisation_sees_its_own_agents_alone_and_those_it_keeps_in_one_region_cross_to_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let [west, east] = mesh(dir.path(), ["eu-west", "us-east"]);
    for region in [&west, &east] {
        for org in ["acme", "beta"] {
            region.run(&["org", "create", org]).ok();
        }
    }
    let acme = key_of_org(&east, &file("acme"), "acme");
    let beta = key_of_org(&west, &file("beta"), "beta");
    east.with_key(&acme, &["agent", "register", "writer"]).ok();
    let search = ["agent", "search", "--region", "us-east", "--json"];
    // The key was made there, and opens here once it has come.
    let seen = wait_for("the agent", || {
        let ran = west.with_key(&acme, &search);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(names(&seen), ["writer"]);
    let copy = "acme/__asp.registry@us-east";
    assert!(west.copy(copy).is_some());
    // To others nothing of it is there: not as theirs, not by its name, and not as bytes.
    let refused = west.with_key(&beta, &search).err;
    assert!(refused.contains("COPY_NOT_OFFERED"), "{refused}");
    for args in [&["--org", "acme"][..], &["--org", "acme", "--any-region"]] {
        let mut all = vec!["agent", "search", "--json"];
        if args.len() == 2 {
            all.extend(["--region", "us-east"]);
        }
        all.extend(args);
        let refused = west.with_key(&beta, &all).err;
        assert!(refused.contains("INVALID_REQUEST"), "{refused}");
    }
    let show = [
        "agent",
        "show",
        "agent://acme/writer",
        "--region",
        "us-east",
    ];
    let refused = west.with_key(&beta, &show).err;
    assert!(refused.contains("INVALID_REQUEST"), "{refused}");
    let refused = west.with_key(&beta, &["consume", copy]).err;
    assert!(refused.contains("CHANNEL_NOT_FOUND"), "{refused}");
    // Whoever belongs to no directory gets nothing of agents, whatever it asks for.
    let mut link = thief(&east, "ap-north", "us-east");
    let logs = json!({"patterns": [], "topics": ["acme/__asp.registry", "__asp.evidence"]});
    let listed = link.json(LINK_LOGS, &logs).json();
    assert_eq!(listed["logs"], json!([]), "{listed}");
    let log = json!({"handle": 1, "name": "acme/__asp.registry", "from": {"offset": 0}});
    let followed = link.json(LINK_FOLLOW, &json!({"logs": [log]})).json();
    assert_eq!(
        followed["logs"][0]["error"]["name"], "NO_CONSENT",
        "{followed}"
    );
    // The organisation keeps what it has there.
    let consent = ["consent", "set", "--org", "acme", "--residency", "us-east"];
    east.run(&consent).ok();
    let refused = wait_for("the refusal", || {
        let ran = west.with_key(&acme, &search);
        (ran.code != 0).then_some(ran.err)
    });
    assert!(refused.contains("NO_CONSENT"), "{refused}");
    wait_for("the copy to be left", || {
        let copy = west.copy(copy)?;
        (copy["followed"] == false).then_some(())
    });
    let stood = west.copy(copy).expect("it stays")["next"].clone();
    east.with_key(&acme, &["agent", "register", "secret"]).ok();
    // Evidence is of all organisations: who keeps its own from a region keeps all of it from there.
    register(&east, &["boss"]);
    wait_for("the registry to be offered", || {
        let ran = asked(&west, "us-east", &["agent", "search"]);
        (ran.code == 0 && names(&ran.json()) == ["boss"]).then_some(())
    });
    let trust = ["trust", "show", "boss", "--region", "us-east"];
    let refused = west.run(&trust).err;
    assert!(refused.contains("NO_CONSENT"), "{refused}");
    // The source judges it too.
    let mut link = thief(&east, "eu-west", "us-east");
    let log = json!({"handle": 1, "name": "acme/__asp.registry", "from": {"offset": 0}});
    let followed = link.json(LINK_FOLLOW, &json!({"logs": [log]})).json();
    assert_eq!(
        followed["logs"][0]["error"]["name"], "NO_CONSENT",
        "{followed}"
    );
    assert_eq!(west.copy(copy).expect("it stays")["next"], stood);
    west.with_key(&acme, &["region", "purge", copy, "--yes"])
        .ok();
    assert!(west.copy(copy).is_none());
    // Allowed again, it is begun anew for who asks.
    east.run(&["consent", "set", "--org", "acme", "--all"]).ok();
    let again = wait_for("both agents", || {
        let ran = west.with_key(&acme, &search);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(names(&again), ["secret", "writer"]);
}

#[test]
fn a_copy_is_wanted_until_it_is_purged_and_then_by_whoever_asks_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = lined(dir.path());
    register(&east, &["writer"]);
    let search = ["agent", "search"];
    let copy = "__asp.registry@us-east";
    let first = told(&west, "us-east", &search);
    west.run(&["region", "purge", copy, "--yes"]).ok();
    assert!(west.copy(copy).is_none());
    // It does not come again by itself.
    register(&east, &["editor"]);
    line.cut();
    west.is_unlinked();
    line.mend();
    west.linked();
    assert!(west.copy(copy).is_none());
    let again = told(&west, "us-east", &search);
    assert_eq!(names(&again), ["editor", "writer"]);
    assert!(offset(&again, "us-east") > offset(&first, "us-east"));
}

#[test]
fn a_region_that_was_begun_anew_is_not_mixed_into_the_copy_of_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, west) = lined(dir.path());
    register(&east, &["writer"]);
    let search = ["agent", "search"];
    let first = told(&west, "us-east", &search);
    east.kill();
    fs::remove_dir_all(&east.data).expect("the data directory");
    east.restart();
    line.flap();
    register(&east, &["another"]);
    let copy = "__asp.registry@us-east";
    let error = wait_for("the copy to say so", || {
        let copy = west.copy(copy)?;
        copy["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("begun it anew"), "{error}");
    let still = told(&west, "us-east", &search);
    assert_eq!(
        (names(&still), &still["asOf"]),
        (names(&first), &first["asOf"])
    );
    west.run(&["region", "purge", copy, "--yes"]).ok();
    let again = told(&west, "us-east", &search);
    assert_eq!(names(&again), ["another"]);
}

/// Ended sessions are filed once there are 2,000 of them.
const FILED: usize = 2_000;

/// Begins sessions and ends them, many at once, until the first ones that had ended are filed.
async fn files_sessions(region: &Region) {
    use npayload::asp::registry::AgentRef;
    use npayload::asp::session::{Performative, Role};
    use npayload::client::{Client, NewMessage};
    use npayload::protocol::asp::{Joining, SessionCreate, SessionLimits};

    let lead = AgentRef::parse("editor").expect("a name");
    let creation = SessionCreate {
        topic: "another survey".to_owned(),
        participants: vec![
            Joining {
                agent_id: lead.clone(),
                role: Role::Coordinator,
            },
            Joining {
                agent_id: AgentRef::parse("writer").expect("a name"),
                role: Role::Specialist,
            },
        ],
        ttl_ms: None,
        invitation_ms: None,
        limits: SessionLimits::default(),
        metadata: serde_json::Map::default(),
    };
    let client = Client::connect(&region.url()).await.expect("a connection");
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (client, creation, lead) = (client.clone(), creation.clone(), lead.clone());
        lanes.spawn(async move {
            for _ in 0..FILED.div_ceil(64) {
                let made = client.sessions().create(creation.clone()).await;
                let made = made.expect("a session");
                let close = NewMessage::new(lead.clone()).said(Performative::Close);
                let sent = client.sessions().send(made.session_id, close).await;
                sent.expect("it is closed");
            }
        });
    }
    lanes.join_all().await;
}

#[test]
fn a_session_that_is_filed_is_read_from_a_copy_whole_and_as_of_the_same_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = lined(dir.path());
    let session = survey(&east);
    for text in ["one", "two", "three"] {
        say(&east, &session, text);
    }
    let show = ["session", "show", &session];
    // Held there and in the copy while it lives.
    let lives = caught_up(&west, &east, "us-east", &show);
    assert!(answer(&lives, "session.info")["invitationMs"].is_u64());
    east.run(&["session", "close", &session, "--from", "editor"])
        .ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(files_sessions(&east));
    // What is no longer held lacks what only memory has.
    let filed = |region: &Region| {
        let told = told(region, "us-east", &show);
        let row = answer(&told, "session.info");
        (row["state"] == "CLOSED" && row.get("invitationMs").is_none()).then_some(())
    };
    wait_for("the session to be filed", || filed(&east));
    wait_for("the copy to have filed it", || filed(&west));
    let first = caught_up(&west, &east, "us-east", &show);
    assert!(offset(&first, "us-east") > offset(&lives, "us-east"));
    let row = answer(&first, "session.info");
    assert!(row["endedAt"].is_u64(), "{row}");
    assert_eq!(row["sessionId"], json!(session));
    let tail = ["session", "tail", &session];
    let at_home = east.run(&[&tail[..], &["--json"]].concat()).json_lines();
    // Created, three that were said, closed, and the record that says all of it.
    assert_eq!(at_home.len(), 6, "{at_home:?}");
    // Whole, byte by byte, and as of where the answer says; also where the home is out of reach, and
    // folded anew.
    let is_whole = |west: &Region| {
        let pages = asked(west, "us-east", &tail).json_lines();
        let up_to = pages.iter().map(|page| offset(page, "us-east"));
        assert!(up_to.min() >= Some(offset(&first, "us-east")));
        let records = pages.iter().flat_map(|page| {
            let page = answer(page, "session.history");
            page["records"].as_array().expect("rows").clone()
        });
        let records: Vec<Value> = records.map(|one| one["record"].clone()).collect();
        assert_eq!(records, at_home);
        let late = ["session", "tail", &session, "--from", "4"];
        let pages = asked(west, "us-east", &late).json_lines();
        let page = answer(&pages[0], "session.history");
        let first = &page["records"][0]["record"];
        assert_eq!(first, &at_home[4], "from a number on");
    };
    is_whole(&west);
    line.cut();
    west.is_unlinked();
    west.kill();
    west.restart();
    assert_eq!(told(&west, "us-east", &show), first);
    is_whole(&west);
}
