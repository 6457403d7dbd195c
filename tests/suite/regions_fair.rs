//! What a link sends first: logs that have little before those with a backlog, which share the rest by
//! turns. Seen in the order of the items of one answer, whatever time that takes.

use std::time::Duration;

use npayload::client::Link;
use npayload::protocol::{LinkFetchRequest, LinkItem, Request, Response};

use crate::regions::{Region, follow_from_start, link_as};

/// Most bytes of batches in one answer.
const ANSWER: u32 = 128 << 10;

async fn follow(link: &Link, handle: u32, name: &str) {
    let follow = follow_from_start(handle, name);
    let told = link.ask(follow, Duration::from_secs(30)).await;
    told.expect("it is followed");
}

/// The handles of the next answer's batches, in order, and the bytes of each.
async fn fetch(link: &Link) -> Vec<(u32, usize)> {
    let mut call = link.send(&Request::LinkFetch(LinkFetchRequest {
        max_bytes: ANSWER,
        max_wait_ms: 20_000,
        held: Vec::new(),
    }));
    let Ok(Response::LinkFetch(answer)) = call.answer().await else {
        panic!("an answer");
    };
    let items = answer.items.into_iter();
    let batches = items.filter_map(|item| match item {
        LinkItem::Batches {
            handle, batches, ..
        } => Some((handle, batches.len())),
        _ => None,
    });
    batches.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_of_a_live_log_comes_before_the_backlogs_which_have_their_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let region = Region::start(dir.path(), "us-east", &[]);
    let line = "x".repeat(50_000);
    let many = vec![line.as_str(); 60].join("\n") + "\n";
    for name in ["backlog.one", "backlog.two"] {
        let args = ["publish", name, "--batch-records", "2"];
        region.broker().run_with(&args, many.as_bytes()).ok();
    }
    for name in ["live", "later"] {
        region.run(&["channel", "create", name]).ok();
    }
    let link = link_as("eu-west", &region).await;
    // On both sides of it, so that no order of their numbers does.
    follow(&link, 1, "backlog.one").await;
    follow(&link, 2, "live").await;
    follow(&link, 3, "backlog.two").await;
    // Until something was sent of both it is not known which is a backlog.
    let mut begun = std::collections::BTreeSet::new();
    while begun.len() < 2 {
        begun.extend(fetch(&link).await.into_iter().map(|(handle, _)| handle));
    }
    let mut turns = Vec::new();
    for round in 0..6 {
        region.publish("live", &["something new"]);
        let told = fetch(&link).await;
        assert_eq!(told[0].0, 2, "round {round}: the live log first: {told:?}");
        assert!(told.len() > 1, "round {round}: and what is left: {told:?}");
        turns.extend(told[1..].iter().map(|(handle, _)| *handle));
    }
    assert!(
        turns.windows(2).all(|two| two[0] != two[1]),
        "by turns: {turns:?}"
    );
    // One that is followed while there is a backlog is told of at once, too.
    region.publish("later", &["something old"]);
    follow(&link, 4, "later").await;
    let told = fetch(&link).await;
    assert_eq!(told[0].0, 4, "{told:?}");
}
