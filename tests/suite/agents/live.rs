//! Agents over the wire: writers that race, tails beside them, and what memory holds no longer.

use std::collections::BTreeSet;

use npayload::asp::session::Verifier;
use npayload::client::{Client, NewCall, NewMessage};
use npayload::protocol::asp::{
    CallOutcome, Joining, SessionCreate, SessionHistory, SessionLimits, SessionList, SessionRow,
    ToolList,
};
use npayload::server::{Running, start};

use super::*;
use crate::server::options;

/// Ended sessions and calls are filed once there are 2,000 of them.
const MANY: usize = 2_050;
/// Requests under way at once.
const AT_ONCE: usize = 64;

pub(super) async fn serve() -> (tempfile::TempDir, Running, Client) {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let client = connect(&running).await;
    (dir, running, client)
}

pub(super) async fn connect(running: &Running) -> Client {
    let url = format!("npayload://{}", running.listen());
    Client::connect(&url).await.unwrap()
}

pub(super) fn creation() -> SessionCreate {
    SessionCreate {
        topic: "a race".to_owned(),
        participants: TRIO
            .iter()
            .map(|(agent, role)| Joining {
                agent_id: AgentRef::parse(agent).unwrap(),
                role: *role,
            })
            .collect(),
        ttl_ms: None,
        invitation_ms: None,
        limits: SessionLimits::default(),
        metadata: serde_json::Map::default(),
    }
}

pub(super) fn says(agent: &str, said: Performative, n: usize) -> NewMessage {
    let message = NewMessage::new(AgentRef::parse(agent).unwrap()).said(said);
    message
        .typed("test.said")
        .content(&serde_json::json!({ "n": n }))
        .unwrap()
}

/// Runs work for each number, some at once.
async fn each<F: Future<Output = ()> + std::marker::Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> F + Clone + std::marker::Send + 'static,
) {
    let mut lanes = Vec::new();
    for lane in 0..AT_ONCE {
        let work = work.clone();
        lanes.push(tokio::spawn(async move {
            for n in (lane..count).step_by(AT_ONCE) {
                work(n).await;
            }
        }));
    }
    for lane in lanes {
        lane.await.unwrap();
    }
}

/// All records of a session, verified.
async fn verified(client: &Client, session: &SessionRow) -> Verifier {
    let mut verifier = Verifier::default();
    let mut from = 0;
    loop {
        let mut history = SessionHistory::new(session.session_id, from);
        history.limit = 7;
        let page = client.sessions().history(history).await.unwrap();
        if page.records.is_empty() {
            return verifier;
        }
        assert_eq!(page.next, from + page.records.len() as u64);
        for row in page.records {
            let record: serde_json::Value = row.record.read().unwrap();
            let record_type = record["type"].as_str().unwrap();
            let bytes = row.record.text().as_bytes();
            verifier
                .record(Some(row.offset), record_type, bytes)
                .unwrap();
        }
        from = page.next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_in_one_session_never_fork_its_chain_and_a_tail_sees_it_whole() {
    const MESSAGES: usize = 400;
    let (_dir, running, client) = serve().await;
    let session = client.sessions().create(creation()).await.unwrap();
    let id = session.session_id;
    let tailing = connect(&running).await;
    let tail = tokio::spawn(async move {
        let mut tail = tailing.sessions().tail(id, 0).follow(true);
        let mut seen = Vec::new();
        while seen.len() < MESSAGES + 1 {
            let row = tail.next().await.unwrap().unwrap();
            let record: serde_json::Value = row.record.read().unwrap();
            seen.push(record["sequence"].as_u64().unwrap());
        }
        seen
    });
    let address = running.listen();
    each(MESSAGES, move |n| async move {
        let client = Client::connect(&format!("npayload://{address}"))
            .await
            .unwrap();
        let agent = ["lead", "writer"][n % 2];
        let sent = client
            .sessions()
            .send(id, says(agent, Performative::Inform, n))
            .await;
        assert!(!sent.unwrap().duplicate);
    })
    .await;
    let seen = tail.await.unwrap();
    assert!(
        seen.into_iter().eq(0..=MESSAGES as u64),
        "in order, none twice, none missing"
    );
    let verifier = verified(&client, &session).await;
    assert_eq!(verifier.messages(), MESSAGES as u64);
    let now = client.sessions().info(id).await.unwrap();
    assert_eq!(
        (now.sequence, now.hash),
        (verifier.records(), verifier.hash())
    );
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_memory_holds_no_longer_are_found_listed_read_and_verified() {
    let (dir, running, client) = serve().await;
    let first = client.sessions().create(creation()).await.unwrap();
    let asked = says("lead", Performative::Query, 0);
    client
        .sessions()
        .send(first.session_id, asked)
        .await
        .unwrap();
    let closed = says("lead", Performative::Close, 0);
    client
        .sessions()
        .send(first.session_id, closed)
        .await
        .unwrap();
    let at_once = client.clone();
    each(MANY, move |n| {
        let client = at_once.clone();
        async move {
            let made = client.sessions().create(creation()).await.unwrap();
            let closed = says("lead", Performative::Close, n);
            client
                .sessions()
                .send(made.session_id, closed)
                .await
                .unwrap();
        }
    })
    .await;
    let live = client.sessions().create(creation()).await.unwrap();
    for is_again in [false, true] {
        let row = client.sessions().info(first.session_id).await.unwrap();
        assert_eq!(
            (row.state, row.sequence),
            (State::Closed, 4),
            "again: {is_again}"
        );
        assert_eq!(row.participants.len(), 3);
        let verifier = verified(&client, &first).await;
        assert_eq!((verifier.messages(), verifier.hash()), (2, row.hash));
        let mut listing = SessionList {
            limit: 300,
            ..SessionList::default()
        };
        let all = client.sessions().list(listing.clone()).all().await.unwrap();
        let ids: BTreeSet<_> = all.iter().map(|row| row.session_id).collect();
        assert_eq!((all.len(), ids.len()), (MANY + 2, MANY + 2));
        assert_eq!(all[0].session_id, live.session_id);
        assert_eq!(all[MANY + 1].session_id, first.session_id);
        listing.agent = Some(AgentRef::parse("writer").unwrap());
        listing.states = vec![State::Closed];
        let closed = client.sessions().list(listing).all().await.unwrap();
        assert_eq!(closed.len(), MANY + 1);
        let late = says("lead", Performative::Inform, 1);
        assert!(
            client
                .sessions()
                .send(first.session_id, late)
                .await
                .is_err()
        );
        if is_again {
            break;
        }
        // Each session: its creation, its end; the first one a question besides.
        let mut inbox = client
            .sessions()
            .inbox(AgentRef::parse("writer").unwrap(), None)
            .follow(false);
        let mut entries = Vec::new();
        while let Some(entry) = inbox.next().await {
            let entry = entry.unwrap();
            entries.push(entry.offset);
        }
        assert_eq!(entries.len(), (MANY + 1) * 3 + 2);
        assert!(
            entries.is_sorted_by(|a, b| a < b),
            "in the order of the topic, none twice"
        );
    }
    assert!(running.stop().await);
    let again = start(options(dir.path())).await.unwrap();
    let client = connect(&again).await;
    let row = client.sessions().info(first.session_id).await.unwrap();
    assert_eq!(row.state, State::Closed, "after a restart too");
    assert!(again.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_memory_holds_no_longer_are_found_by_agent_and_tool() {
    let (_dir, running, client) = serve().await;
    let agent = AgentRef::parse("worker").unwrap();
    let profile = npayload::asp::registry::Profile::default();
    let name = AgentName::parse("worker").unwrap();
    let register = npayload::protocol::asp::AgentRegister::new(name, profile);
    client.agents().register(register).await.unwrap();
    let new = |tool: &str, n: usize| {
        let call = NewCall::new(tool, AgentRef::parse("worker").unwrap());
        call.arguments(&serde_json::json!({ "n": n })).unwrap()
    };
    let first = client.tools().call(new("web.search", 0)).await.unwrap();
    let id = first.id();
    first.finish(&"found").await.unwrap();
    let at_once = client.clone();
    each(MANY, move |n| {
        let client = at_once.clone();
        async move {
            let tool = ["web.search", "files.read"][n % 2];
            let call = NewCall::new(tool, AgentRef::parse("worker").unwrap());
            let call = client.tools().call(call).await.unwrap();
            call.finish(&n).await.unwrap();
        }
    })
    .await;
    let open = client.tools().call(new("web.search", 1)).await.unwrap();
    let row = client.tools().info(id).await.unwrap();
    assert_eq!(row.outcome, CallOutcome::Finished);
    assert_eq!(row.result.unwrap().text(), "\"found\"");
    assert_eq!(row.arguments.unwrap().text(), "{\"n\":0}");
    let listing = ToolList {
        agent: Some(agent),
        tool: Some("web.search".to_owned()),
        limit: 100,
        ..ToolList::default()
    };
    let calls = client.tools().list(listing).all().await.unwrap();
    let ids: BTreeSet<_> = calls.iter().map(|row| row.call_id).collect();
    assert_eq!((calls.len(), ids.len()), (MANY / 2 + 2, MANY / 2 + 2));
    assert_eq!(
        (calls[0].call_id, calls[0].outcome),
        (open.id(), CallOutcome::Open)
    );
    assert_eq!(calls.last().unwrap().call_id, id);
    let stats = client
        .tools()
        .stats(Some("web.search".to_owned()))
        .await
        .unwrap();
    let (all, open_now) = (stats[0].calls, stats[0].open);
    assert_eq!((all, open_now), (MANY as u64 / 2 + 2, 1));
    drop(open);
    assert!(running.stop().await);
}
