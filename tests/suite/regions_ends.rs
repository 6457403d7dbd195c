//! What has to stay true of regions however long they run, and whoever asks: topics that are folded stay
//! whole for who comes late, a name is given back by who holds it, a copy that could not become wider is
//! tried again, an outbox promises no more than its channel, and a session is shown to who takes part.

use std::path::Path;
use std::time::Duration;

use npayload::access::{KeyKind, Limits, Scope};
use npayload::client::{Client, Link, RequestError};
use npayload::protocol::access::KeyCreate;
use npayload::protocol::region::{ConsentSet, LinkDirectory};
use npayload::protocol::{ErrorCode, RegionRequest, WireError};
use npayload::region::directory::Side;
use npayload::server::{PeerOptions, RegionOptions, ServeOptions, start};
use npayload::tls::{ClientCertificates, ClientTls};
use npayload::types::{ChannelName, Incarnation, OrgName, RegionName};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::line::Line;
use crate::process::wait_for;
use crate::regions::{Region, kept_key, key_of_org, link_as};
use crate::regions_dir::{force_directory, mesh};
use crate::regions_out::{pair, survey};
use crate::tls::pki::Pki;

/// Events after which a topic is folded, unless it is told otherwise.
const FOLD_EVENTS: u64 = 10_000;

/// Lowest readable offset and end of a topic of the broker's own.
fn range_of(region: &Region, topic: &str) -> Option<(u64, u64)> {
    let told = region.run(&["channel", "info", topic, "--json"]);
    if told.code != 0 {
        return None;
    }
    let told = told.json();
    let start = told["logStart"].as_u64();
    start.zip(told["highWatermark"].as_u64())
}

/// Words of two organisations in turn, as many as make a topic worth folding, and a last one.
async fn says_much(region: &Region) {
    let client = Client::connect(&region.url()).await.expect("a connection");
    let org = |name: &str| OrgName::parse(name).expect("a name");
    let word = |allowed| ConsentSet::Crossing {
        owner: org("acme"),
        guest: org("beta"),
        side: Side::Owner,
        allowed,
    };
    let mut saying = JoinSet::new();
    for n in 0..FOLD_EVENTS + 200 {
        if saying.len() >= 100 {
            saying.join_next().await.expect("one").expect("no panic");
        }
        let client = client.clone();
        let word = word(n % 2 == 0);
        saying.spawn(async move {
            client.set_consent(word).await.expect("it is said");
        });
    }
    saying.join_all().await;
    client.set_consent(word(true)).await.expect("it is said");
}

fn crossings(region: &Region) -> Value {
    region.run(&["consent", "list", "--json"]).json()["crossings"].clone()
}

fn all_know(regions: &[&Region], channel: &str) {
    for region in regions {
        wait_for(&format!("`{channel}` to be taken"), || {
            let made = region.run(&["channel", "create", channel]);
            made.err.contains("exists").then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_folded_is_whole_for_who_was_away_comes_late_or_takes_it_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, west, mut east] = mesh(dir.path(), ["ap-south", "eu-west", "us-east"]);
    south.run(&["channel", "create", "early"]).ok();
    all_know(&[&west, &east], "early");
    east.kill();
    says_much(&south).await;
    let said = crossings(&south);
    assert_eq!(said[0]["ownerAllows"], true, "{said}");
    let (start, _) = wait_for("the directory to be folded", || {
        let range = range_of(&south, "__regions")?;
        (range.0 > FOLD_EVENTS / 2).then_some(range)
    });
    // Its copy is trimmed as well.
    wait_for("the copy to be trimmed", || {
        let (here, _) = range_of(&west, "__regions")?;
        (here == start && crossings(&west) == said).then_some(())
    });
    // Whoever comes late begins with all of it.
    let peers = [&south, &west].map(|region| region.url());
    let peers = ["ap-south", "eu-west"].into_iter().zip(peers);
    let peers = peers.map(|(name, url)| format!("{name}={url}")).collect();
    let late = Region::start_at(dir.path(), "zz-late", peers);
    wait_for("the late one to know it all", || {
        (crossings(&late) == said).then_some(())
    });
    assert_eq!(range_of(&late, "__regions").expect("a copy").0, start);
    all_know(&[&late], "early");
    // One that was away when it was folded gets it from a copy, the home being gone; and takes it over.
    south.kill();
    east.restart();
    wait_for("the one that was away to know it all", || {
        (crossings(&east) == said).then_some(())
    });
    let told = force_directory(&east, "us-east");
    assert_eq!(told["missing"]["from"], told["start"], "{told}");
    assert_eq!(crossings(&east), said);
    wait_for("a channel with a name of the new home's", || {
        (west.run(&["channel", "create", "later"]).code == 0).then_some(())
    });
    assert!(
        east.run(&["channel", "create", "later"])
            .err
            .contains("exists")
    );
}

/// What the home of the directory answers to a region that gives a name back.
async fn give_back(link: &Link, channel: &str, id: Incarnation) -> Result<(), WireError> {
    let ask = LinkDirectory::Unname {
        channel: ChannelName::parse(channel).expect("a name"),
        incarnation: id,
    };
    let limit = Duration::from_secs(60);
    match link.ask(RegionRequest::LinkDirectory(ask), limit).await {
        Ok(_) => Ok(()),
        Err(RequestError::Server(error)) => Err(*error),
        Err(error) => panic!("{error}"),
    }
}

/// What the directory said last of a channel.
fn last_said(region: &Region, channel: &str) -> Option<String> {
    let args = ["consume", "__regions", "--from", "start", "--json"];
    let lines = region.run(&args).json_lines();
    let mut said = lines.iter().rev();
    let last = said.find(|line| line["payload"]["channel"] == channel)?;
    Some(last["type"].as_str()?.to_owned())
}

fn identity(region: &Region, channel: &str) -> Incarnation {
    let told = region.run(&["channel", "info", channel, "--json"]).json();
    let text = told["incarnation"].as_str().expect("an identity");
    text.parse().expect("an identity")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_back_by_the_region_that_holds_it_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let [east, mut west] = mesh(dir.path(), ["us-east", "us-west"]);
    for (region, name) in [
        (&east, "ours"),
        (&west, "theirs"),
        (&east, "moved"),
        (&west, "lost"),
    ] {
        wait_for("a channel", || {
            (region.run(&["channel", "create", name]).code == 0).then_some(())
        });
    }
    // Any other one that is linked is told whose it is.
    let link = link_as("eu-west", &east).await;
    for (channel, holder, home) in [("ours", "us-east", &east), ("theirs", "us-west", &west)] {
        let refused = give_back(&link, channel, identity(home, channel)).await;
        let error = refused.expect_err("it is not theirs to give back");
        assert_eq!(error.known(), Some(ErrorCode::NameHeld), "{error:?}");
        assert_eq!(error.detail("region"), Some(holder));
        assert!(!error.retryable);
    }
    // A name that nobody has is given back by anybody, as a retry finds it.
    give_back(&link, "nobody", Incarnation(5))
        .await
        .expect("done");
    all_know(&[&west], "ours");
    all_know(&[&east], "theirs");
    // Who holds it may; also who has become home of the channel since it was named.
    west.run(&["channel", "delete", "theirs", "--yes"]).ok();
    west.run(&["interest", "add", "moved", "--from", "start"])
        .ok();
    west.has("moved", 0);
    let to = ["region", "move", "moved", "--to", "us-west", "--json"];
    wait_for("the move", || {
        let ran = east.run(&to);
        (ran.code == 0 || ran.err.contains("home already")).then_some(())
    });
    wait_for("the end of the channel", || {
        let ran = west.run(&["channel", "delete", "moved", "--yes"]);
        (ran.code == 0).then_some(())
    });
    wait_for("what was copied of it to be removed", || {
        (east.run(&["region", "purge", "moved", "--yes"]).code == 0).then_some(())
    });
    for name in ["theirs", "moved"] {
        wait_for("the name to be free", || {
            (east.run(&["channel", "create", name]).code == 0).then_some(())
        });
    }
    // The name of a region that is gone stays its own, until who runs the directory's home says so.
    let refused = west.run(&["region", "unname", "ours", "--yes"]).fails(1);
    assert!(refused.contains("us-east"), "{refused}");
    let refused = east.run(&["region", "unname", "ours", "--yes"]).fails(1);
    assert!(refused.contains("NAME_HELD"), "{refused}");
    let refused = east.run(&["region", "unname", "nobody", "--yes"]).fails(1);
    assert!(refused.contains("CHANNEL_NOT_FOUND"), "{refused}");
    west.kill();
    assert_ne!(east.run(&["channel", "create", "lost"]).code, 0);
    let told = east
        .run(&["region", "unname", "lost", "--yes", "--json"])
        .json();
    assert_eq!(
        (&told["channel"], &told["region"]),
        (&json!("lost"), &json!("us-west")),
        "{told}"
    );
    assert_eq!(last_said(&east, "lost").as_deref(), Some("channel.unnamed"));
    // Comes the region back, it asks for the name again.
    west.restart();
    wait_for("the name to be its own again", || {
        (last_said(&east, "lost")? == "channel.named").then_some(())
    });
    all_know(&[&east], "lost");
    let record = String::from_utf8(east.run(&["audit", "--json"]).ok()).expect("text");
    assert_eq!(record.matches("directory.unname").count(), 3, "{record}");
}

fn declare(region: &Region, channel: &str, from: &str) {
    region
        .run(&["interest", "add", channel, "--from", from])
        .ok();
}

/// A copy of the end of `orders` in the second of two regions.
fn late_copy(east: &Region, west: &Region, more: &[&str]) {
    west.linked();
    let create = ["channel", "create", "orders", "--segment-bytes", "65536"];
    east.run(&[&create[..], more].concat()).ok();
    let lines: Vec<String> = (0..200)
        .map(|n| format!("secret {n} {}", "x".repeat(2000)))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    east.publish("orders", &lines);
    declare(west, "orders", "end");
    wait_for("the copy", || west.copy("orders"));
    east.publish("orders", &["secret late 1", "secret late 2"]);
    west.has("orders", 202);
    assert_eq!(west.copy("orders").expect("a copy")["beginsAt"], 200);
}

fn is_wide(region: &Region, next: u64) -> Value {
    wait_for("a wider copy", || {
        let copy = region.copy("orders")?;
        let is_it = copy["beginsAt"] == 0
            && copy["beside"].is_null()
            && copy["followed"] == true
            && copy["next"].as_u64() >= Some(next);
        is_it.then_some(copy)
    })
}

fn holds_the_same(region: &Region, home: &Region) {
    let all = home.records("orders");
    wait_for("all records", || {
        (region.records("orders") == all).then_some(())
    });
}

#[test]
fn a_wider_copy_that_was_given_up_is_tried_again_by_itself_and_says_why_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    late_copy(&east, &west, &[]);
    // Nothing can be written beside it.
    let beside = west.data.join("beside");
    let _ = std::fs::remove_dir(&beside);
    std::fs::write(&beside, "in the way").expect("a file");
    declare(&west, "orders", "start");
    let told = wait_for("it to be given up twice", || {
        let copy = west.copy("orders")?;
        (copy["wider"]["times"].as_u64() >= Some(2)).then_some(copy)
    });
    let error = told["wider"]["error"].as_str().expect("a text");
    assert!(error.contains("beside"), "{told}");
    assert_eq!(told["beginsAt"], 200, "the copy serves as it is");
    let text = String::from_utf8(west.run(&["region", "status"]).ok()).expect("text");
    assert!(text.contains("more is wanted of orders"), "{text}");
    // Once nothing is in the way any more nobody has to do anything.
    std::fs::remove_file(&beside).expect("removed");
    let copy = is_wide(&west, 202);
    assert!(copy["wider"].is_null(), "{copy}");
    holds_the_same(&west, &east);
}

/// Whether any file below a folder holds these bytes.
fn is_kept(dir: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(dir).expect("a folder");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths.any(|path| match path.is_dir() {
        true => is_kept(&path, bytes),
        false => {
            let found = std::fs::read(&path).unwrap_or_default();
            found.windows(bytes.len()).any(|window| window == bytes)
        }
    })
}

#[test]
fn a_copy_that_is_encrypted_at_rest_becomes_wider_under_its_own_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut regions = [
        Region::start(dir.path(), "us-east", &[]),
        Region::start(dir.path(), "eu-west", &[]),
    ];
    // Each has a master key of its own.
    for (region, digit) in regions.iter_mut().zip(["6b", "79"]) {
        let key = region.data.with_extension("key");
        std::fs::write(&key, digit.repeat(32) + "\n").expect("written");
        let key: &'static str = key.display().to_string().leak();
        region.kill();
        region.more = vec!["--master-key-file", key].leak();
    }
    let [mut east, mut west] = regions;
    east.restart();
    west.peers = vec![format!("us-east={}", east.url())];
    west.restart();
    late_copy(&east, &west, &["--encryption", "on"]);
    declare(&west, "orders", "start");
    is_wide(&west, 202);
    holds_the_same(&west, &east);
    east.publish("orders", &["secret later"]);
    west.has("orders", 203);
    west.kill();
    assert!(!is_kept(&west.data, b"secret"), "encrypted at rest");
    west.restart();
    is_wide(&west, 203);
    holds_the_same(&west, &east);
    let verified = west.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!(verified["equal"], true, "{verified}");
    // Killed on the way it is the one or the other, and ends wide.
    declare(&west, "orders", "end");
    west.run(&["interest", "remove", "orders"]).ok();
    west.run(&["region", "purge", "orders", "--yes"]).ok();
    declare(&west, "orders", "end");
    wait_for("the copy", || west.copy("orders"));
    east.publish("orders", &["secret last"]);
    west.has("orders", 204);
    declare(&west, "orders", "start");
    for _ in 0..3 {
        west.kill();
        assert!(!is_kept(&west.data, b"secret"), "encrypted at rest");
        west.restart();
        wait_for("the copy", || west.copy("orders"));
    }
    is_wide(&west, 204);
    holds_the_same(&west, &east);
}

/// Publishes a line that may wait; what the acknowledgement says.
fn keep(region: &Region, channel: &str) -> Value {
    let args = ["publish", channel, "--outbox", "--json"];
    region.broker().run_with(&args, b"kept\n").json()
}

#[test]
fn what_waits_in_an_outbox_is_acknowledged_with_what_its_channel_promises() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let line = Line::to(east.broker().address());
    let west = Region::start_at(
        dir.path(),
        "eu-west",
        vec![format!("us-east={}", line.url())],
    );
    west.linked();
    for (channel, level) in [("quick", "written"), ("sure", "synced")] {
        east.run(&["channel", "create", channel, "--durability", level])
            .ok();
        east.publish(channel, &["first"]);
    }
    // One of them by a copy, the other by what its home has told.
    west.run(&["interest", "add", "quick", "--from", "start"])
        .ok();
    west.has("quick", 1);
    assert_eq!(west.publish("sure", &["second"]), 1);
    line.cut();
    west.is_unlinked();
    for (channel, level, held) in [("quick", "written", 0), ("sure", "synced", 1)] {
        let told = keep(&west, channel);
        assert_eq!(
            (&told["level"], &told["held"], &told["outbox"]),
            (&json!(level), &json!(held), &json!(1)),
            "{channel}: {told}"
        );
    }
    line.mend();
    for (channel, count) in [("quick", 2), ("sure", 3)] {
        wait_for("what was kept", || {
            (east.records(channel).len() == count).then_some(())
        });
    }
}

#[test]
fn a_session_elsewhere_is_shown_to_a_key_that_speaks_for_one_who_takes_part_and_to_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, mut west) = pair(dir.path());
    let session = survey(&east);
    let message = ["session", "send", &session, "{}", "--from", "writer"];
    east.run(&message).ok();
    east.run(&["org", "create", "acme"]).ok();
    let admin = west.require_keys(dir.path());
    let as_key = |file: &str, args: &[&str]| west.with_key(file, args);
    as_key(&admin, &["org", "create", "acme"]).ok();
    let made = |name: &str, scope: &str, of: &[&str]| {
        let create = ["key", "create", name, "--scope", scope, "--json"];
        let told = as_key(&admin, &[&create[..], of].concat()).json();
        kept_key(&told, &dir.path().join(name))
    };
    // The home knows none of these keys, and takes the word of the region that is asked.
    let editor = made("editor-key", "asp:*:editor", &[]);
    let other = made("other-key", "asp:*:stranger", &[]);
    let foreign = made("foreign-key", "all", &["--org", "acme"]);
    let show = ["session", "show", &session, "--json"];
    let tail = ["session", "tail", &session, "--json"];
    assert_eq!(as_key(&editor, &show).json(), east.run(&show).json());
    let told = as_key(&editor, &tail).json_lines();
    assert_eq!(told, east.run(&tail).json_lines());
    assert_eq!(as_key(&admin, &show).json(), east.run(&show).json());
    let resume = ["session", "resume", &session];
    for key in [&other, &foreign] {
        for asked in [&show[..], &tail, &resume] {
            let refused = as_key(key, asked);
            assert!(
                refused.err.contains("SESSION_NOT_FOUND"),
                "{asked:?}: {}",
                refused.err
            );
            assert!(refused.out.is_empty(), "{asked:?}");
        }
    }
}

#[test]
fn a_grant_of_one_region_shows_agents_in_another_until_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let [west, east] = mesh(dir.path(), ["eu-west", "us-east"]);
    for org in ["acme", "beta"] {
        east.run(&["org", "create", org]).ok();
    }
    let owner = key_of_org(&east, &dir.path().join("owner"), "acme");
    let guest = key_of_org(&east, &dir.path().join("guest"), "beta");
    let by = |region: &Region, key: &str, args: &[&str]| region.with_key(key, args);
    // The agents live where neither key was made.
    for (key, agent) in [(&owner, "helper"), (&guest, "asker")] {
        wait_for("the keys to have come", || {
            let made = by(&west, key, &["agent", "register", agent]);
            (made.code == 0).then_some(())
        });
    }
    let invites = || {
        let create = [
            "session",
            "create",
            "a question",
            "--participant",
            "asker:coordinator",
            "--participant",
            "agent://acme/helper:specialist",
            "--json",
        ];
        by(&west, &guest, &create)
    };
    assert_ne!(invites().code, 0, "nobody has shown it to them");
    let grant = [
        "grant", "create", "asp", "helper*", "--guest", "beta", "--json",
    ];
    let grant = by(&east, &owner, &grant).json();
    let grant = grant["id"].as_str().expect("a text");
    by(&east, &guest, &["grant", "accept", grant]).ok();
    let made = wait_for("the grant to have come", || {
        let made = invites();
        (made.code == 0).then(|| made.json())
    });
    assert!(made["participants"].to_string().contains("acme"), "{made}");
    by(&east, &owner, &["grant", "revoke", grant]).ok();
    wait_for("its end to have come", || {
        (invites().code != 0).then_some(())
    });
}

fn options(
    dir: &Path,
    name: &str,
    peers: Vec<PeerOptions>,
    tls: Option<ClientTls>,
) -> ServeOptions {
    let mut options = crate::server::options(&dir.join(name));
    options.region = Some(RegionOptions {
        name: RegionName::parse(name).expect("a name"),
        peers,
        key: None,
        interest_idle: Duration::from_secs(3600),
        peer_bandwidth: 0,
        peer_pack: true,
        outbox_bytes: 1 << 30,
        ack_wait: Duration::from_secs(10),
        tls,
    });
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_stands_for_a_key_of_another_region_until_that_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new();
    let home = options(dir.path(), "aa", Vec::new(), None);
    let home = start(home).await.expect("it starts");
    let home_url = format!("npayload://{}", home.listen());
    let peer = PeerOptions {
        name: RegionName::parse("aa").expect("a name"),
        url: home_url.clone(),
    };
    let mut other = options(dir.path(), "zz", vec![peer], None);
    other.tls = Some(pki.demanding(ClientCertificates::Optional));
    other.require_keys = true;
    other.admin_key_file = Some(dir.path().join("admin"));
    let other = start(other).await.expect("it starts");
    let other_url = format!("npayload+tls://localhost:{}", other.listen().port());
    let admin = Client::connect(&home_url).await.expect("a connection");
    let (key, _) = admin
        .create_key(KeyCreate {
            org: None,
            name: "a trainer's".to_owned(),
            kind: KeyKind::Live,
            scopes: vec![Scope::all()],
            limits: Limits::default(),
            expires_at: None,
            certificate: Some("trainer".to_owned()),
        })
        .await
        .expect("a key");
    let enters = || async {
        let builder = Client::builder().tls(pki.showing("client-trainer"));
        let client = builder.connect(&other_url).await.ok()?;
        client.ping().await.ok()
    };
    let until = |wanted: bool| async move {
        for _ in 0..600 {
            if enters().await.is_some() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("whether it is let in does not become {wanted}");
    };
    until(true).await;
    admin.revoke_key(key.id).await.expect("revoked");
    until(false).await;
    assert!(other.stop().await);
    assert!(home.stop().await);
}
