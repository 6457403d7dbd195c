//! The directory that regions share: one channel for each name, made where it was asked for, held by
//! whom it may be held by; and peers that come and go while a region runs.

use std::path::Path;

use serde_json::{Value, json};

use crate::process::wait_for;
use crate::raw::Raw;
use crate::regions::Region;

const LINK_OPEN: u16 = 190;
const LINK_LOGS: u16 = 191;
const LINK_FOLLOW: u16 = 192;

/// Regions that all have each other as peers, the first of them the home of the directory.
pub fn mesh<const N: usize>(dir: &Path, names: [&'static str; N]) -> [Region; N] {
    let mut regions = names.map(|name| Region::start(dir, name, &[]));
    let urls = std::array::from_fn::<_, N, _>(|at| format!("{}={}", names[at], regions[at].url()));
    for (at, region) in regions.iter_mut().enumerate() {
        region.kill();
        let others = urls.iter().enumerate().filter(|(other, _)| *other != at);
        region.peers = others.map(|(_, url)| url.clone()).collect();
        region.restart();
    }
    for region in &regions {
        has_joined(region, &names);
    }
    regions
}

/// Has a region take over the directory by force, as soon as it may; what it says of that.
pub fn force_directory(region: &Region, to: &str) -> Value {
    let to = ["region", "move", "--directory", "--to", to];
    let force = [&to[..], &["--force", "--json"]].concat();
    wait_for("the move", || {
        let ran = region.run(&force);
        (ran.code == 0).then(|| ran.json())
    })
}

/// Waits until a region knows that these belong to the directory.
pub fn has_joined(region: &Region, names: &[&str]) {
    let mut names = names.to_vec();
    names.sort_unstable();
    wait_for("the regions to join", || {
        let told = region.run(&["region", "list", "--json"]).json();
        (told["joined"] == json!(names)).then_some(())
    });
}

fn lives_in(region: &Region, channel: &str) -> Option<String> {
    let told = region.run(&["channel", "info", channel, "--json"]);
    if told.code != 0 {
        return None;
    }
    let told: Value = serde_json::from_slice(&told.out).expect("JSON");
    told["home"].as_str().map(str::to_owned)
}

fn try_publish(region: &Region, channel: &str, text: &str) -> (i32, String) {
    let args = ["publish", channel, "--timeout-s", "1", "--json"];
    let ran = region.broker().run_with(&args, text.as_bytes());
    (ran.code, ran.err)
}

fn topics(region: &Region) -> Vec<String> {
    let rows = region
        .run(&["channel", "list", "--internal", "--json"])
        .json();
    let rows = rows.as_array().expect("rows").iter();
    let names = rows.map(|row| row["name"].as_str().expect("a name").to_owned());
    names.filter(|name| name.starts_with("__")).collect()
}

#[test]
fn no_two_regions_make_a_channel_of_one_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    east.run(&["channel", "create", "orders"]).ok();
    assert_eq!(lives_in(&east, "orders").as_deref(), Some("us-east"));
    // What another region has is published to there, and not made again.
    assert_eq!(west.publish("orders", &["one"]), 0);
    assert_eq!(lives_in(&west, "orders"), None);
    let refused = west.run(&["channel", "create", "orders"]).fails(1);
    assert!(refused.contains("us-east"), "{refused}");
    let there = ["channel", "create", "orders", "--if-not-exists", "--json"];
    let there = west.run(&there).json();
    assert_eq!(
        (&there["created"], &there["home"]),
        (&json!(false), &json!("us-east"))
    );
    // Both at once, again and again: one of them makes it.
    for round in 0..8 {
        let name = format!("race.{round}");
        std::thread::scope(|scope| {
            let tries = [&east, &west].map(|region| {
                let args = ["channel", "create", &name].map(str::to_owned);
                scope.spawn(move || {
                    let args = args.each_ref().map(String::as_str);
                    region.run(&args).code
                })
            });
            let made = tries.map(|one| one.join().expect("it ran"));
            assert_eq!(
                made.iter().filter(|code| **code == 0).count(),
                1,
                "{made:?}"
            );
        });
        let homes = [&east, &west].map(|region| lives_in(region, &name));
        assert_eq!(homes.iter().flatten().count(), 1, "{homes:?}");
    }
    // Whoever publishes first makes it, and the other finds it.
    let firsts = [west.publish("news", &["a"]), east.publish("news", &["b"])];
    assert_eq!(firsts, [0, 1]);
    // While the directory is away everything known goes on, and an unknown name has to wait.
    south.kill();
    assert_eq!(west.publish("orders", &["two"]), 1);
    assert_eq!(east.publish("news", &["c"]), 2);
    for region in [&west, &east] {
        let (code, error) = try_publish(region, "unknown", "x");
        assert_ne!(code, 0);
        assert!(error.contains("ap-south"), "{error}");
        let listed = region.run(&["channel", "list", "--json"]).ok();
        assert!(!String::from_utf8_lossy(&listed).contains("unknown"));
    }
    south.restart();
    wait_for("the directory to be back", || {
        (try_publish(&west, "unknown", "x").0 == 0).then_some(())
    });
    assert_eq!(lives_in(&west, "unknown").as_deref(), Some("eu-west"));
    // A name that was given back is anybody's.
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    wait_for("the name", || {
        (west.run(&["channel", "create", "orders"]).code == 0).then_some(())
    });
    assert_eq!(lives_in(&west, "orders").as_deref(), Some("eu-west"));
    assert_eq!(east.publish("orders", &["new"]), 0);
}

#[test]
fn what_was_told_is_known_after_a_restart_without_those_who_told_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, mut west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    east.run(&["channel", "create", "orders"]).ok();
    west.run(&["interest", "add", "ml.>"]).ok();
    let names = [
        "__interest",
        "__interest@ap-south",
        "__interest@us-east",
        "__regions",
    ];
    wait_for("the topics of the others", || {
        let topics = topics(&west);
        let has = |name: &&str| topics.iter().any(|topic| topic == name);
        names.iter().all(has).then_some(())
    });
    // It has come to where it may be needed.
    wait_for("the name", || {
        let listed = west.run(&["consume", "__regions", "--from", "start", "--json"]);
        String::from_utf8_lossy(&listed.out)
            .contains("orders")
            .then_some(())
    });
    south.kill();
    west.kill();
    west.restart();
    has_joined(&west, &["ap-south", "eu-west", "us-east"]);
    wait_for("the link to the home of the channel", || {
        (try_publish(&west, "orders", "one").0 == 0).then_some(())
    });
    assert!(lives_in(&west, "orders").is_none(), "it lives in us-east");
    assert_eq!(east.records("orders").len(), 1);
    // The copies of topics are nobody's to write to, and count as no copies of channels.
    assert_ne!(try_publish(&west, "__interest@us-east", "x").0, 0);
    assert_eq!(west.status()["copies"], json!([]));
    assert_eq!(
        (west.received(), east.status()["sentBytes"].as_u64()),
        (0, Some(0))
    );
}

#[test]
fn channels_from_before_there_were_peers_are_named_and_a_name_of_two_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut south = Region::start(dir.path(), "ap-south", &[]);
    let mut east = Region::start(dir.path(), "us-east", &[]);
    for (region, names) in [(&south, ["both", "south"]), (&east, ["both", "east"])] {
        for name in names {
            region.publish(name, &[name]);
        }
        // Without peers there is nothing of a directory.
        assert!(
            !topics(region)
                .iter()
                .any(|topic| topic.starts_with("__regions"))
        );
        let told = region.run(&["region", "list", "--json"]).json();
        assert_eq!(
            (&told["directory"], &told["joined"]),
            (&Value::Null, &Value::Null)
        );
    }
    let urls = [&south, &east].map(Region::url);
    south.kill();
    east.kill();
    south.peers = vec![format!("us-east={}", urls[1])];
    east.peers = vec![format!("ap-south={}", urls[0])];
    south.restart();
    east.restart();
    for region in [&south, &east] {
        has_joined(region, &["ap-south", "us-east"]);
    }
    let told = wait_for("the name of both", || {
        let told = east.status()["disputed"].clone();
        told.is_array().then_some(told)
    });
    assert_eq!(told, json!([{"channel": "both", "namedIn": "ap-south"}]));
    assert_eq!(south.status()["disputed"], Value::Null);
    // Neither is taken for the other, whoever asks for it.
    for region in [&south, &east] {
        region
            .run(&["interest", "add", ">", "--from", "start"])
            .ok();
    }
    south.has("east", 1);
    east.has("south", 1);
    for region in [&south, &east] {
        assert_eq!(region.publish("both", &["more"]), 1);
        assert_eq!(region.records("both").len(), 2);
    }
    assert_eq!(south.publish("east", &["from afar"]), 1);
}

#[test]
fn a_channel_is_made_in_another_region_where_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, west, mut east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    let create = |name: &str, home: &str| {
        west.run(&[
            "channel",
            "create",
            name,
            "--home",
            home,
            "--retention-days",
            "3",
            "--json",
        ])
    };
    let made = create("models", "us-east").json();
    assert_eq!(
        (&made["created"], &made["home"]),
        (&json!(true), &json!("us-east"))
    );
    assert_eq!(made["config"]["retentionDays"], json!(3));
    assert_eq!(lives_in(&east, "models").as_deref(), Some("us-east"));
    assert_eq!(lives_in(&west, "models"), None);
    assert_eq!(west.publish("models", &["one"]), 0);
    assert_eq!(east.records("models").len(), 1);
    assert_eq!(create("here", "eu-west").json()["home"], json!("eu-west"));
    let unknown = create("models2", "mars").fails(1);
    assert!(unknown.contains("mars"), "{unknown}");
    let taken = create("here", "us-east").fails(1);
    assert!(taken.contains("exists"), "{taken}");
    east.kill();
    let away = create("models3", "us-east");
    assert_ne!(away.code, 0);
    assert!(away.err.contains("us-east"), "{}", away.err);
    east.restart();
    let made = wait_for("the region to be back", || {
        let made = create("models3", "us-east");
        (made.code == 0).then(|| made.json())
    });
    assert_eq!(made["home"], json!("us-east"));
}

/// A link made by hand, of a region that does not ask itself what it may hold.
pub fn thief(source: &Region, region: &str, expect: &str) -> Raw {
    let mut link = Raw::greeted(source.broker().address());
    let open = json!({"region": region, "expect": expect, "directoryId": "00000000000000000000000000000007"});
    let opened = link.json(LINK_OPEN, &open).json();
    assert_eq!(opened["region"], expect, "{opened}");
    link
}

#[test]
fn a_region_that_may_not_hold_a_channel_gets_no_byte_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let [south, west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    let create = [
        "channel",
        "create",
        "secret",
        "--residency",
        "us-east,ap-south",
        "--json",
    ];
    let made = east.run(&create).json();
    assert_eq!(made["residency"], json!(["ap-south", "us-east"]));
    east.publish("secret", &["one"]);
    east.publish("open", &["one"]);
    for region in [&south, &west] {
        region
            .run(&["interest", "add", ">", "--from", "start"])
            .ok();
    }
    south.has("secret", 1);
    west.has("open", 1);
    assert!(west.copy("secret").is_none());
    let read = west.run(&["consume", "secret", "--from", "start"]).fails(1);
    assert!(
        read.contains("NO_CONSENT") || read.contains("may not hold"),
        "{read}"
    );
    // Publishing needs no copy.
    assert_eq!(west.publish("secret", &["two"]), 1);
    let listed = west.run(&["region", "list", "--json"]).json();
    let row = json!({"scope": {"channel": "secret"}, "residency": ["ap-south", "us-east"]});
    assert_eq!(listed["residency"], json!([row]));
    // Who does not ask first is told no by the source, which records it.
    let mut link = thief(&east, "eu-west", "us-east");
    let logs = link.json(LINK_LOGS, &json!({"patterns": [">"]})).json();
    let names: Vec<&str> = logs["logs"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|log| log["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["open"]);
    let log = json!({"handle": 1, "name": "secret", "from": {"offset": 0}});
    let followed = link.json(LINK_FOLLOW, &json!({"logs": [log]})).json();
    assert_eq!(
        followed["logs"][0]["error"]["name"], "NO_CONSENT",
        "{followed}"
    );
    let audit = String::from_utf8(east.run(&["audit", "--json"]).ok()).expect("text");
    assert!(
        audit.contains("NO_CONSENT") && audit.contains("secret eu-west"),
        "{audit}"
    );
    // Regions that nobody knows, or without its home, can't hold it.
    for residency in ["us-east,mars", "eu-west,ap-south"] {
        let refused = east.run(&["channel", "create", "other", "--residency", residency]);
        assert_eq!(refused.code, 1, "{}", refused.err);
        assert!(lives_in(&east, "other").is_none());
    }
}

#[test]
fn consent_that_is_withdrawn_stops_a_copy_and_what_it_holds_is_named_until_it_is_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let [_south, mut west, east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    east.publish("ml.models", &["one"]);
    east.publish("ml.others", &["one"]);
    west.run(&["interest", "add", "ml.>", "--from", "start"])
        .ok();
    west.has("ml.models", 1);
    // A link that goes on without looking at consent is stopped by its source.
    let mut link = thief(&east, "eu-west", "us-east");
    let log = json!({"handle": 1, "name": "ml.models", "from": {"offset": 1}});
    let followed = link.json(LINK_FOLLOW, &json!({"logs": [log]})).json();
    assert_eq!(followed["logs"][0]["from"], json!(1), "{followed}");
    // Said in a third region, it holds in all.
    let set = [
        "consent",
        "set",
        "ml.models",
        "--residency",
        "us-east",
        "--json",
    ];
    let set = west.run(&set).json();
    assert_eq!(set["residency"][0]["residency"], json!(["us-east"]));
    let stopped = wait_for("the copy to be stopped", || {
        let copy = west.copy("ml.models")?;
        (copy["followed"] == false && copy["error"].is_string()).then_some(copy)
    });
    assert!(
        stopped["error"]
            .as_str()
            .expect("a text")
            .starts_with("NO_CONSENT"),
        "{stopped}"
    );
    east.publish("ml.models", &["two"]);
    east.publish("ml.others", &["two"]);
    west.has("ml.others", 2);
    assert_eq!(west.copy("ml.models").expect("it stays")["next"], json!(1));
    let mut fetch = 1_048_576_u32.to_le_bytes().to_vec();
    fetch.extend(1000_u32.to_le_bytes());
    fetch.extend(0_u32.to_le_bytes());
    let items = link.request(194, &fetch);
    let items = String::from_utf8_lossy(items.of(194)).into_owned();
    assert!(
        items.contains("NO_CONSENT") && !items.contains("two"),
        "{items}"
    );
    // It is still named after a restart, and goes when somebody says so.
    west.kill();
    west.restart();
    west.has("ml.others", 2);
    let copy = west.copy("ml.models").expect("it stays");
    assert!(
        copy["error"]
            .as_str()
            .expect("a text")
            .starts_with("NO_CONSENT"),
        "{copy}"
    );
    assert_eq!(west.records("ml.models").len(), 1);
    west.run(&["region", "purge", "ml.models", "--yes"]).ok();
    assert!(west.copy("ml.models").is_none());
    // Given again, the channel comes again.
    east.run(&["consent", "set", "ml.models", "--all"]).ok();
    west.has("ml.models", 2);
    // An organisation's word holds for all its channels.
    east.run(&[
        "consent",
        "set",
        "--org",
        "default",
        "--residency",
        "us-east,ap-south",
    ])
    .ok();
    wait_for("both to be stopped", || {
        let copies = ["ml.models", "ml.others"].map(|name| west.copy(name));
        let is_stopped =
            |copy: &Option<Value>| copy.as_ref().is_some_and(|copy| copy["error"].is_string());
        copies.iter().all(is_stopped).then_some(())
    });
    let unknown = east.run(&["consent", "set", "ml.models", "--residency", "us-east,mars"]);
    assert!(unknown.fails(1).contains("mars"));
    let homeless = east.run(&["consent", "set", "ml.models", "--residency", "eu-west"]);
    assert!(homeless.fails(1).contains("us-east"));
}

#[test]
fn peers_come_and_go_while_a_region_runs_and_a_restart_knows_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[]);
    east.publish("orders", &["one"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    let peer = format!("us-east={}", east.url());
    let told = west.run(&["region", "peer", "add", &peer, "--json"]).json();
    assert_eq!(told["peers"][0]["name"], "us-east");
    west.has("orders", 1);
    west.kill();
    east.publish("orders", &["two"]);
    west.restart();
    west.has("orders", 2);
    // Another address is another line to the same region.
    let other = crate::line::Line::to(east.broker().address());
    let moved = format!("us-east={}", other.url());
    west.run(&["region", "peer", "add", &moved]).ok();
    east.publish("orders", &["three"]);
    west.has("orders", 3);
    let listed = west.run(&["region", "list", "--json"]).json();
    assert_eq!(listed["peers"].as_array().expect("rows").len(), 1);
    assert_eq!(listed["peers"][0]["url"], json!(other.url()));
    for refused in [
        "eu-west=npayload://127.0.0.1:1",
        "us-east=http://127.0.0.1:1",
    ] {
        assert_ne!(
            west.run(&["region", "peer", "add", refused]).code,
            0,
            "{refused}"
        );
    }
    west.run(&["region", "peer", "remove", "us-east"]).ok();
    west.run(&["region", "peer", "remove", "us-east"]).fails(1);
    assert_eq!(west.status()["links"], json!([]));
    east.publish("orders", &["four"]);
    west.kill();
    west.restart();
    assert_eq!(west.status()["links"], json!([]));
    assert_eq!(west.copy("orders").expect("it stays")["next"], json!(3));
    // One that it is told of at its start is left out as well, until it is added again.
    west.kill();
    west.peers = vec![peer.clone()];
    west.restart();
    assert_eq!(west.status()["links"], json!([]));
    west.run(&["region", "peer", "add", &peer]).ok();
    west.has("orders", 4);
}

const LINK_DIRECTORY: u16 = 213;

/// Waits until a region goes by a directory at home there.
fn goes_by(region: &Region, home: &str) {
    wait_for("the home of the directory to be known", || {
        let told = region.run(&["region", "list", "--json"]).json();
        (told["directory"] == json!(home)).then_some(())
    });
}

/// Makes a channel; tried again while the directory is out of reach.
/// Makes a channel, once its name is given.
pub fn makes(region: &Region, channel: &str) {
    wait_for("a channel to be made", || {
        let made = region.run(&["channel", "create", channel, "--if-not-exists"]);
        (made.code == 0).then_some(())
    });
}

#[test]
fn the_directory_moves_and_names_are_given_where_it_is_from_then_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, west, mut east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    east.run(&["channel", "create", "orders"]).ok();
    south.run(&["channel", "create", "south"]).ok();
    east.run(&["consent", "set", "orders", "--residency", "us-east"])
        .ok();
    // Asked of one that has nothing to do with it.
    let to = ["region", "move", "--directory", "--to", "us-east", "--json"];
    let told = west.run(&to).json();
    assert_eq!(
        (&told["name"], &told["home"], &told["term"], &told["forced"]),
        (
            &json!("__regions"),
            &json!("us-east"),
            &json!(1),
            &json!(false)
        )
    );
    for region in [&south, &west, &east] {
        goes_by(region, "us-east");
    }
    assert!(west.run(&to).fails(1).contains("home already"));
    // The home before is needed by nobody any more.
    south.kill();
    assert_eq!(west.publish("after", &["one"]), 0);
    assert_eq!(lives_in(&west, "after").as_deref(), Some("eu-west"));
    assert_ne!(east.run(&["channel", "create", "after"]).code, 0);
    assert_ne!(west.run(&["channel", "create", "south"]).code, 0);
    east.kill();
    east.restart();
    goes_by(&east, "us-east");
    makes(&west, "later");
    // It comes back, asks there for names, and knows what was named meanwhile.
    south.restart();
    goes_by(&south, "us-east");
    makes(&south, "mine");
    assert_eq!(lives_in(&south, "mine").as_deref(), Some("ap-south"));
    for name in ["after", "orders"] {
        let refused = south.run(&["channel", "create", name]).fails(1);
        assert!(refused.contains("exists"), "{refused}");
    }
    let listed = south.run(&["region", "list", "--json"]).json();
    assert_eq!(listed["residency"][0]["residency"], json!(["us-east"]));
    south.run(&["channel", "delete", "mine", "--yes"]).ok();
    wait_for("the name", || {
        (west.run(&["channel", "create", "mine"]).code == 0).then_some(())
    });
    // And back again, in a higher term.
    let back = [
        "region",
        "move",
        "--directory",
        "--to",
        "ap-south",
        "--json",
    ];
    let told = wait_for("the move back", || {
        let ran = south.run(&back);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(told["term"], json!(2));
    for region in [&south, &west, &east] {
        goes_by(region, "ap-south");
    }
    makes(&east, "last");
    has_joined(&east, &["ap-south", "eu-west", "us-east"]);
    south.kill();
    south.restart();
    goes_by(&south, "ap-south");
    makes(&east, "very-last");
}

#[test]
fn a_directory_whose_home_is_gone_is_taken_by_force_and_what_the_loser_named_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, mut west, mut east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    south.run(&["channel", "create", "known"]).ok();
    makes(&east, "orders");
    west.kill();
    east.kill();
    // Nobody hears of these.
    south.run(&["channel", "create", "both"]).ok();
    south.run(&["channel", "create", "lone"]).ok();
    south.kill();
    west.restart();
    east.restart();
    assert_ne!(try_publish(&west, "new", "x").0, 0, "the directory is away");
    let told = force_directory(&west, "us-east");
    assert_eq!(
        (&told["home"], &told["forced"]),
        (&json!("us-east"), &json!(true))
    );
    assert_eq!(told["missing"]["from"], told["start"]);
    for region in [&west, &east] {
        goes_by(region, "us-east");
    }
    makes(&west, "both");
    assert_eq!(lives_in(&west, "both").as_deref(), Some("eu-west"));
    assert_ne!(west.run(&["channel", "create", "known"]).code, 0);
    south.restart();
    goes_by(&south, "us-east");
    let aside = wait_for("what it had named to be set aside", || {
        let status = south.status();
        status["aside"]
            .as_array()
            .and_then(|rows| rows.first().cloned())
    });
    let place = aside["place"].as_str().expect("a text");
    assert!(place.contains("__regions"), "{aside}");
    assert!(south.data.join(place).exists());
    // The channels are there still: one asks for its name again, the other's is taken.
    let told = wait_for("the name of both", || {
        let told = south.status()["disputed"].clone();
        told.is_array().then_some(told)
    });
    assert_eq!(told, json!([{"channel": "both", "namedIn": "eu-west"}]));
    wait_for("the other name", || {
        let made = east.run(&["channel", "create", "lone"]);
        made.err.contains("ap-south").then_some(())
    });
    makes(&south, "fresh");
    assert_ne!(east.run(&["channel", "create", "fresh"]).code, 0);
    // It stays so.
    south.kill();
    south.restart();
    goes_by(&south, "us-east");
    assert_eq!(
        south.status()["disputed"],
        json!([{"channel": "both", "namedIn": "eu-west"}])
    );
    makes(&south, "fresher");
}

fn peers_of(region: &Region) -> Vec<String> {
    let told = region.run(&["region", "list", "--json"]).json();
    let peers = told["peers"].as_array().expect("rows").iter();
    let names = peers.map(|peer| peer["name"].as_str().expect("a name").to_owned());
    names.collect()
}

#[test]
fn a_region_leaves_once_it_is_home_of_nothing_and_counts_for_nothing_then() {
    /// Has the number of `us-east`.
    const TWIN: &str = "r19309";
    let dir = tempfile::tempdir().expect("a directory");
    let [south, west, mut east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    east.publish("orders", &["one"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 1);
    let join = json!({"ask": "join", "channels": [], "last": true});
    let mut twin = thief(&south, TWIN, "ap-south");
    twin.json(LINK_DIRECTORY, &join).error("REGION_MISMATCH");
    // What is home of anything stays.
    let leave = ["region", "leave", "--json"];
    let refused = east.run(&leave).fails(1);
    assert!(refused.contains("orders"), "{refused}");
    let refused = west.run(&["region", "leave", "us-east"]).fails(1);
    assert!(refused.contains("orders"), "{refused}");
    let refused = south.run(&leave).fails(1);
    assert!(refused.contains("directory"), "{refused}");
    let refused = south.run(&["region", "leave", "mars"]).fails(1);
    assert!(refused.contains("mars"), "{refused}");
    west.run(&["region", "move", "orders", "--to", "eu-west"])
        .ok();
    let holders = || {
        let status = west.status();
        let rows = status["held"].as_array().expect("rows").clone();
        let regions = rows.iter().flat_map(|row| {
            let regions = row["regions"].as_array().expect("rows").clone();
            regions.into_iter()
        });
        let names = regions.map(|one| one["region"].as_str().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    wait_for("the home before to pull", || {
        holders().contains(&"us-east".to_owned()).then_some(())
    });
    let told = wait_for("the word of the move", || {
        let ran = east.run(&leave);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(
        told,
        json!({"region": "us-east", "regions": ["ap-south", "eu-west"]})
    );
    // The others let go of it.
    for region in [&south, &west] {
        has_joined(region, &["ap-south", "eu-west"]);
        wait_for("it to be a peer no more", || {
            (!peers_of(region).contains(&"us-east".to_owned())).then_some(())
        });
    }
    wait_for("what it holds to count no more", || {
        holders().is_empty().then_some(())
    });
    let mut link = Raw::greeted(west.broker().address());
    let open = json!({"region": "us-east", "expect": "eu-west", "directoryId": "00000000000000000000000000000007"});
    link.json(LINK_OPEN, &open).error("REGION_LEFT");
    // It goes on alone, also after a restart, and so do they.
    for _ in 0..2 {
        let told = east.run(&["region", "list", "--json"]).json();
        assert_eq!(
            (&told["peers"], &told["directory"]),
            (&json!([]), &Value::Null)
        );
        assert_eq!(east.records("orders").len(), 1, "its copy stays");
        east.kill();
        makes(&west, "without-it");
        east.restart();
    }
    // Its number is free, and a region that is gone is taken out from elsewhere.
    let told = twin.json(LINK_DIRECTORY, &join).json();
    assert_eq!(told["regions"], json!(["ap-south", "eu-west", TWIN]));
    west.run(&["region", "leave", TWIN]).ok();
    has_joined(&south, &["ap-south", "eu-west"]);
    // Added again it belongs again.
    let url = |name: &str, region: &Region| format!("{name}={}", region.url());
    for region in [&south, &west] {
        region
            .run(&["region", "peer", "add", &url("us-east", &east)])
            .ok();
    }
    for (name, region) in [("ap-south", &south), ("eu-west", &west)] {
        east.run(&["region", "peer", "add", &url(name, region)])
            .ok();
    }
    for region in [&south, &west, &east] {
        has_joined(region, &["ap-south", "eu-west", "us-east"]);
    }
    west.publish("orders", &["two"]);
    makes(&east, "mine");
    assert_eq!(lives_in(&east, "mine").as_deref(), Some("us-east"));
    assert_ne!(south.run(&["channel", "create", "mine"]).code, 0);
}
