//! Promises and disputes that memory holds no longer are told as before, page by page; and what a
//! page may be.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use npayload::asp::commitment::State as Promised;
use npayload::asp::dispute::DisputeState;
use npayload::client::{Client, NewCall, RequestError};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{
    AgentSearch, CommitmentDeliver, CommitmentList, DisputeList, EscrowDeposit, EscrowLedger,
    SessionHistory, SessionList, SessionRow, ToolList, TrustExplain,
};
use npayload::types::CommitmentId;
use serde_json::{Value, json};

use super::agreed_live::{described, says};
use super::live::{creation, serve};
use super::promises_live::{agent, code, details, from_now};
use super::*;

const HOUR: i64 = 3_600_000;
/// Sessions at once, and what is offered and taken back in each: together more than memory holds.
const TALKS: usize = 21;
const OFFERS: usize = 100;

async fn offers_and_withdraws(
    client: &Client,
    session: &SessionRow,
    payload: &Value,
) -> CommitmentId {
    let talk = client.sessions();
    let id = session.session_id;
    let commit = says("writer", Performative::Commit, payload);
    let sent = talk.send(id, commit).await.unwrap();
    let withdraw = says("writer", Performative::Withdraw, &json!({})).answers(sent.id);
    talk.send(id, withdraw).await.unwrap();
    sent.commitment_id.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_closed_long_ago_is_told_and_listed_and_its_id_is_not_taken_again() {
    let (_dir, running, client) = serve().await;
    let session = client.sessions().create(creation()).await.unwrap();
    // One that was delivered, disputed and confirmed after all; one whose id the sender chose.
    let promise = npayload::client::Commitments::promise(
        session.session_id,
        agent("writer"),
        "a survey",
        from_now(HOUR),
    );
    let kept = client
        .commitments()
        .create(promise.clone())
        .await
        .unwrap()
        .id;
    let deliver = CommitmentDeliver {
        commitment_id: kept,
        evidence: None,
        references: Vec::new(),
    };
    client.commitments().deliver(deliver).await.unwrap();
    let about = npayload::client::Disputes::about(kept, "not what was promised");
    let dispute = client.disputes().create(about).await.unwrap().id;
    client.disputes().withdraw(dispute).await.unwrap();
    client.commitments().confirm(kept, None).await.unwrap();
    let chosen = CommitmentId(uuid::Uuid::now_v7().as_u128());
    let mut payload = described(from_now(HOUR));
    payload["commitmentId"] = json!(chosen);
    assert_eq!(
        offers_and_withdraws(&client, &session, &payload).await,
        chosen
    );
    let receipt = client.commitments().receipt(chosen, None).await.unwrap();

    let mut talks = tokio::task::JoinSet::new();
    for _ in 0..TALKS {
        let client = client.clone();
        talks.spawn(async move {
            let session = client.sessions().create(creation()).await.unwrap();
            for _ in 0..OFFERS {
                let payload = described(from_now(HOUR));
                offers_and_withdraws(&client, &session, &payload).await;
            }
        });
    }
    talks.join_all().await;
    let another = npayload::client::Commitments::promise(
        session.session_id,
        agent("writer"),
        "another",
        from_now(HOUR),
    );
    let open = client.commitments().create(another).await.unwrap().id;

    let row = client.commitments().info(kept, None).await.unwrap();
    assert_eq!((row.state, row.closed), (Promised::Fulfilled, true));
    let row = client.commitments().info(chosen, None).await.unwrap();
    assert_eq!(row.state, Promised::Withdrawn);
    let later = client.commitments().receipt(chosen, None).await.unwrap();
    later.verify().unwrap();
    assert_eq!(later.messages, receipt.messages);
    assert!(later.records.starts_with(&receipt.records[..2]));
    assert_eq!(later.records.len(), 3, "with its close");
    let told = client.disputes().info(dispute, None).await.unwrap();
    assert_eq!(
        (told.state, told.session_id),
        (DisputeState::Withdrawn, session.session_id)
    );

    let all = |list: CommitmentList| {
        let pages = client
            .commitments()
            .list(CommitmentList { limit: 300, ..list });
        async move {
            let rows = pages.all().await.unwrap();
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let unique: BTreeSet<_> = ids.iter().copied().collect();
            assert_eq!(unique.len(), ids.len(), "none twice");
            ids
        }
    };
    let count = TALKS * OFFERS + 3;
    let everything = all(CommitmentList::default()).await;
    assert_eq!((everything.len(), everything[0]), (count, open));
    assert_eq!(
        everything[count - 2..],
        [chosen, kept],
        "the latest closed first"
    );
    let of_writer = CommitmentList {
        agent_id: Some(agent("writer")),
        ..CommitmentList::default()
    };
    assert_eq!(all(of_writer).await, everything);
    // The session's thread was filed, and another begins when more is closed in it.
    let here = CommitmentList {
        session_id: Some(session.session_id),
        ..CommitmentList::default()
    };
    assert_eq!(all(here.clone()).await, [open, chosen, kept]);
    let later = offers_and_withdraws(&client, &session, &described(from_now(HOUR))).await;
    while !client.commitments().info(later, None).await.unwrap().closed {
        // The keeper closes it when it looks next.
        tokio::task::yield_now().await;
    }
    assert_eq!(all(here.clone()).await, [open, later, chosen, kept]);
    let fulfilled = CommitmentList {
        states: vec![Promised::Fulfilled],
        ..here
    };
    assert_eq!(all(fulfilled).await, [kept]);
    for (session_id, agent_id) in [
        (Some(session.session_id), None),
        (None, Some(agent("lead"))),
        (None, None),
    ] {
        let list = DisputeList {
            session_id,
            agent_id,
            limit: 1,
            ..DisputeList::default()
        };
        let rows = client.disputes().list(list).all().await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, [dispute]);
    }

    let mut again = promise;
    let told = client.commitments().create(again.clone()).await.unwrap();
    assert_eq!(
        (told.id, told.state),
        (kept, Promised::Fulfilled),
        "as it is"
    );
    again.description.push('!');
    let taken = client.commitments().create(again).await;
    assert_eq!(code(taken), ErrorCode::CommitmentIdTaken);
    let commit = says("writer", Performative::Commit, &payload);
    let taken = client.sessions().send(session.session_id, commit).await;
    assert_eq!(code(taken), ErrorCode::CommitmentIdTaken);
    let mut about = npayload::client::Disputes::about(open, "the id of another");
    about.id = dispute;
    let taken = client.disputes().create(about).await;
    assert_eq!(code(taken), ErrorCode::DisputeIdTaken);
    assert!(running.stop().await);
}

/// Every list about agents, asked for one page.
async fn page(
    client: &Client,
    list: &str,
    limit: u32,
    cursor: Option<String>,
) -> Result<(), RequestError> {
    macro_rules! first {
        ($pages:expr) => {
            $pages.next().await.transpose().map(|_| ())
        };
    }
    match list {
        "sessions" => first!(client.sessions().list(SessionList {
            limit,
            cursor,
            ..SessionList::default()
        })),
        "calls" => first!(client.tools().list(ToolList {
            limit,
            cursor,
            ..ToolList::default()
        })),
        "commitments" => first!(client.commitments().list(CommitmentList {
            limit,
            cursor,
            ..CommitmentList::default()
        })),
        "disputes" => first!(client.disputes().list(DisputeList {
            limit,
            cursor,
            ..DisputeList::default()
        })),
        "agents" => first!(client.agents().search(AgentSearch {
            limit,
            cursor,
            ..AgentSearch::default()
        })),
        "ledger" => first!(client.escrow().ledger(EscrowLedger {
            limit,
            cursor,
            ..EscrowLedger::default()
        })),
        "evidence" => {
            let mut asked = TrustExplain::new(agent("writer"));
            (asked.limit, asked.cursor) = (limit, cursor);
            client.trust().explain(asked).await.map(|_| ())
        }
        other => panic!("no list {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_any_list_has_1_to_1000_entries_and_begins_where_a_page_ended() {
    let (_dir, running, client) = serve().await;
    let session = client.sessions().create(creation()).await.unwrap();
    let id = session.session_id;
    let close = NewCall::new("web.search", agent("writer"));
    let call = client.tools().call(close).await.unwrap();
    call.finish(&"found").await.unwrap();
    offers_and_withdraws(&client, &session, &described(from_now(HOUR))).await;
    let deposit = EscrowDeposit {
        id: None,
        org: None,
        agent_id: None,
        amount: 50,
        currency: "USD".parse().unwrap(),
        region: None,
    };
    client.escrow().deposit(deposit).await.unwrap();
    let past = npayload::client::Commitments::promise(id, agent("writer"), "late", from_now(-HOUR));
    client.commitments().create(past).await.unwrap();
    let bye = says("lead", Performative::Close, &json!({}));
    client.sessions().send(id, bye).await.unwrap();

    let lists = [
        "sessions",
        "calls",
        "commitments",
        "disputes",
        "agents",
        "ledger",
        "evidence",
    ];
    for list in lists {
        for limit in [0, 1001, 5000] {
            let told = details(page(&client, list, limit, None).await);
            let told = (
                told["found"].as_u64(),
                told["min"].as_u64(),
                told["max"].as_u64(),
            );
            assert_eq!(
                told,
                (Some(u64::from(limit)), Some(1), Some(1000)),
                "{list}"
            );
        }
        for limit in [1, 1000] {
            page(&client, list, limit, None).await.unwrap();
        }
    }
    let mut history = SessionHistory::new(id, 0);
    history.limit = 0;
    let refused = client.sessions().history(history).await;
    assert_eq!(code(refused), ErrorCode::OutOfLimit);

    // Places that no page has ended at: other records, other numbers, beyond the end.
    let forged = |place: &Value| Some(URL_SAFE_NO_PAD.encode(place.to_string()));
    for number in 0..3 {
        for offset in 0..8 {
            let knot = json!([number + 5, offset]);
            let of_closed = json!({ "closed": { "org": 0, "at": knot } });
            for (list, place) in [
                ("sessions", json!({ "ended": knot })),
                ("calls", json!({ "ended": knot })),
                ("commitments", of_closed.clone()),
                ("disputes", of_closed),
                ("ledger", knot.clone()),
                ("evidence", knot),
            ] {
                let told = page(&client, list, 10, forged(&place)).await;
                assert_eq!(code(told), ErrorCode::InvalidCursor, "{list}: {place}");
            }
        }
    }
    let first = json!([0, 0]);
    for (list, place) in [
        ("sessions", json!({ "ended": first })),
        ("calls", json!({ "ended": first })),
        (
            "commitments",
            json!({ "closed": { "org": 0, "at": first } }),
        ),
        (
            "commitments",
            json!({ "closed": { "org": 7, "at": first } }),
        ),
        ("evidence", first),
    ] {
        let told = page(&client, list, 10, forged(&place)).await;
        assert_eq!(code(told), ErrorCode::InvalidCursor, "{list}: {place}");
    }
    let beyond = json!({ "ended": [0, 1_000_000] });
    for list in ["sessions", "calls"] {
        let told = page(&client, list, 10, forged(&beyond)).await;
        assert_eq!(code(told), ErrorCode::InvalidCursor, "{list}");
    }
    assert!(running.stop().await);
}
