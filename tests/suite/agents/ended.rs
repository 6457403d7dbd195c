//! What a session that has ended takes, and what goes on: docs/asp.md, "What else is asked".

use npayload::asp::commitment::State as Promised;
use npayload::asp::dispute::DisputeState;
use npayload::client::{Client, Commitments, Disputes};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{
    CallOutcome, CommitmentDeliver, CommitmentRow, DisputeAnswer, SessionRow, ToolFinish, ToolStart,
};
use npayload::types::{CallId, CommitmentId};

use super::live::{creation, says, serve};
use super::promises_live::{agent, code, from_now};
use super::*;

const HOUR: i64 = 3_600_000;

/// A promise of the writer; one whose deadline has passed is broken at once.
async fn promised(client: &Client, session: &SessionRow, within: i64) -> CommitmentRow {
    let new = Commitments::promise(
        session.session_id,
        agent("writer"),
        "ten answers",
        from_now(within),
    );
    client.commitments().create(new).await.unwrap()
}

/// A call of the writer in a session.
fn call(session: SessionId, n: u128) -> ToolStart {
    ToolStart {
        call_id: CallId(session.0 ^ n << 64),
        tool: "web.search".to_owned(),
        agent: agent("writer"),
        session_id: Some(session),
        parent_call_id: None,
        arguments: None,
        arguments_sha256: None,
        sensitive: false,
        timeout_ms: None,
    }
}

fn deliver(commitment_id: CommitmentId) -> CommitmentDeliver {
    CommitmentDeliver {
        commitment_id,
        evidence: None,
        references: Vec::new(),
    }
}

/// A session, in which two have spoken. Where it is to fail, it does so soon, by its time.
async fn session(client: &Client, end: State) -> SessionRow {
    let mut new = creation();
    new.ttl_ms = (end == State::Failed).then_some(8_000);
    let session = client.sessions().create(new).await.unwrap();
    for from in ["lead", "writer"] {
        let said = says(from, Performative::Inform, 1);
        client
            .sessions()
            .send(session.session_id, said)
            .await
            .unwrap();
    }
    session
}

/// Waits until a session has ended so.
async fn ends(client: &Client, session: &SessionRow, end: State) {
    if end == State::Closed {
        let close = says("lead", Performative::Close, 9);
        client
            .sessions()
            .send(session.session_id, close)
            .await
            .unwrap();
    }
    loop {
        let row = client.sessions().info(session.session_id).await.unwrap();
        if row.state == end {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_session_takes_nothing_new_and_what_was_promised_and_begun_in_it_goes_on() {
    let (_dir, running, client) = serve().await;
    let (commitments, disputes) = (client.commitments(), client.disputes());
    for end in [State::Closed, State::Failed] {
        let session = session(&client, end).await;
        let id = session.session_id;
        let new = Commitments::promise(id, agent("writer"), "ten answers", from_now(HOUR));
        let kept = commitments.create(new.clone()).await.unwrap();
        let faulty = promised(&client, &session, HOUR).await;
        let broken = promised(&client, &session, -HOUR).await;
        let call = call(id, 1);
        client.tools().start(call.clone()).await.unwrap();
        ends(&client, &session, end).await;

        // Nothing new.
        let late = Commitments::promise(id, agent("writer"), "one more", from_now(HOUR));
        let refused = commitments.create(late.clone()).await;
        assert_eq!(code(refused), ErrorCode::SessionEnded, "{end}");
        let absent = commitments.info(late.id, None).await;
        assert_eq!(code(absent), ErrorCode::CommitmentNotFound);
        let refused = client.tools().start(self::call(id, 2)).await;
        assert_eq!(code(refused), ErrorCode::SessionEnded, "{end}");
        let said = says("writer", Performative::Inform, 2);
        let refused = client.sessions().send(id, said).await;
        assert_eq!(code(refused), ErrorCode::SessionEnded, "{end}");
        let refused = client.sessions().leave(id, agent("watcher")).await;
        assert_eq!(code(refused), ErrorCode::SessionEnded, "{end}");
        let refused = client.sessions().resume(id).await;
        assert_eq!(code(refused), ErrorCode::SessionEnded, "{end}");

        // What comes again is answered as it is.
        let again = commitments.create(new).await.unwrap();
        assert_eq!((again.id, again.state), (kept.id, Promised::Active));
        let again = client.tools().start(call.clone()).await.unwrap();
        assert_eq!(again.outcome, CallOutcome::Open);

        // What was promised before binds on, and is judged.
        commitments.deliver(deliver(kept.id)).await.unwrap();
        let windowed = commitments.shorten(kept.id, None, HOUR as u64).await;
        assert_eq!(windowed.unwrap().window_ms, HOUR as u64);
        let confirmed = commitments.confirm(kept.id, None).await.unwrap();
        assert_eq!(confirmed.state, Promised::Fulfilled, "{end}");
        // So it is disputed: where the log decides, and where others do.
        let filed = Disputes::about(broken.id, "never came");
        let filed = disputes.create(filed).await.unwrap();
        assert_eq!(filed.state, DisputeState::Resolved, "{end}");
        commitments.deliver(deliver(faulty.id)).await.unwrap();
        let filed = Disputes::about(faulty.id, "two of ten are missing");
        let filed = disputes.create(filed).await.unwrap();
        let answer = DisputeAnswer {
            dispute_id: filed.id,
            reason: "they are there".to_owned(),
            evidence: None,
            references: Vec::new(),
        };
        disputes.answer(answer).await.unwrap();
        let taken_back = disputes.withdraw(filed.id).await.unwrap();
        assert_eq!(taken_back.state, DisputeState::Withdrawn, "{end}");
        let shown = commitments.info(faulty.id, None).await.unwrap();
        assert_eq!(shown.state, Promised::Delivered, "{end}");
        commitments.receipt(kept.id, None).await.unwrap();
        // What was called comes to its end, and who worked together says so.
        let finish = ToolFinish {
            call_id: call.call_id,
            result: None,
            result_sha256: None,
            sensitive: false,
        };
        let finished = client.tools().finish(finish).await.unwrap();
        assert_eq!(finished.outcome, CallOutcome::Finished, "{end}");
        let rating = npayload::protocol::asp::TrustRate {
            session_id: id,
            agent_id: agent("writer"),
            from: agent("lead"),
            rating: serde_json::from_str("0.9").unwrap(),
        };
        client.trust().rate(rating).await.unwrap();
    }
    assert!(running.stop().await);
}
