//! Promises over the wire: what is promised, delivered, disputed, paid and rated, as clients see it.

use npayload::asp::commitment::{Confirmation, EscrowTerms, State as Promised};
use npayload::asp::dispute::{DisputeState, Mechanism, Verdict};
use npayload::client::{Client, RequestError};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{
    CommitmentDeliver, CommitmentList, CommitmentRow, DisputeAnswer, DisputeList, DisputeRule,
    EscrowBalance, EscrowDeposit, EscrowLedger, EscrowStep, EvidencePlace, JsonText, OrgVerify,
    SessionPlace, SessionRow, TrustExplain, TrustRate,
};
use npayload::server::start;

use super::live::{connect, creation, says, serve};
use super::*;

const HOUR: i64 = 3_600_000;

pub(super) fn agent(name: &str) -> AgentRef {
    AgentRef::parse(name).unwrap()
}

/// A time in the broker's day, which is today.
pub(super) fn from_now(ms: i64) -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap() + ms)
}

pub(super) fn details<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> serde_json::Value {
    match answer.unwrap_err() {
        RequestError::Server(error) => serde_json::to_value(error.details).unwrap(),
        other => panic!("{other}"),
    }
}

pub(super) fn code<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> ErrorCode {
    match answer.unwrap_err() {
        RequestError::Server(error) => ErrorCode::from_number(error.code).unwrap(),
        other => panic!("{other}"),
    }
}

async fn session(client: &Client) -> SessionRow {
    client.sessions().create(creation()).await.unwrap()
}

async fn promise(client: &Client, session: &SessionRow, deadline: Timestamp) -> CommitmentRow {
    let what = "Deliver competitor pricing analysis";
    let new =
        npayload::client::Commitments::promise(session.session_id, agent("writer"), what, deadline);
    let row = client.commitments().create(new.clone()).await.unwrap();
    let again = client.commitments().create(new).await.unwrap();
    assert_eq!(row, again, "the same promise again is answered as before");
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_promised_and_delivered_is_evidence_and_has_a_receipt_across_a_restart() {
    let (dir, running, client) = serve().await;
    let session = session(&client).await;
    let row = promise(&client, &session, from_now(HOUR)).await;
    assert_eq!((row.state, row.closed), (Promised::Active, false));
    assert_eq!(row.obligor.name.as_str(), "writer");
    let before = client.trust().score(agent("writer")).await.unwrap();
    assert_eq!((before.score.0, before.evidence_count), (0, 0));
    assert_eq!(before.projection, "trust/1");

    let place = |sequence, digest| {
        EvidencePlace::Session(SessionPlace {
            session_id: session.session_id,
            sequence,
            digest,
        })
    };
    let deliver = |references: Vec<EvidencePlace>| CommitmentDeliver {
        commitment_id: row.id,
        evidence: Some(JsonText::of(&serde_json::json!({ "rows": 12 })).unwrap()),
        references,
    };
    let nowhere = client
        .commitments()
        .deliver(deliver(vec![place(9_999, None)]))
        .await;
    assert_eq!(code(nowhere), ErrorCode::InvalidEvidence);
    let other = npayload::asp::chain::Digest([9; 32]);
    let forged = client
        .commitments()
        .deliver(deliver(vec![place(0, Some(other))]))
        .await;
    assert_eq!(code(forged), ErrorCode::InvalidEvidence);
    let delivered = client
        .commitments()
        .deliver(deliver(vec![place(0, None)]))
        .await
        .unwrap();
    assert_eq!(delivered.state, Promised::Delivered);
    let twice = client.commitments().deliver(deliver(Vec::new())).await;
    assert_eq!(code(twice), ErrorCode::IllegalStep, "a delivery comes once");
    let own = client
        .commitments()
        .confirm(row.id, Some(agent("writer")))
        .await;
    assert_eq!(
        code(own),
        ErrorCode::IllegalStep,
        "nobody confirms their own"
    );
    let confirmed = client.commitments().confirm(row.id, None).await.unwrap();
    assert_eq!(confirmed.state, Promised::Fulfilled);
    let ended = confirmed.ended.unwrap();
    assert_eq!(ended.confirmation, Some(Confirmation::Explicit));
    assert_eq!(ended.party.unwrap().name.as_str(), "lead");

    let after = client.trust().score(agent("writer")).await.unwrap();
    // A word given by one alone, and confirmed at home, is on record and raises no score.
    assert_eq!((after.score, after.evidence_count), (before.score, 1));
    let explained = client
        .trust()
        .explain(TrustExplain::new(agent("writer")))
        .await
        .unwrap();
    assert_eq!(explained.trust, after);
    assert_eq!(explained.evidence.len(), 1);
    let evidence: serde_json::Value = explained.evidence[0].record.read().unwrap();
    assert_eq!(evidence["type"], "commitment.ended");
    assert_eq!(evidence["commitment"], row.id.to_string());

    let info = client.commitments().info(row.id, None).await.unwrap();
    let shown = info.delivery.unwrap();
    let words: serde_json::Value = shown.evidence.unwrap().read().unwrap();
    assert_eq!(words, serde_json::json!({ "rows": 12 }));
    assert!(matches!(
        shown.references[..],
        [EvidencePlace::Session(SessionPlace {
            sequence: 0,
            digest: Some(_),
            ..
        })]
    ));
    let receipt = client.commitments().receipt(row.id, None).await.unwrap();
    let verified = receipt.verify().unwrap();
    assert_eq!(verified.commitment.state, Promised::Fulfilled);

    assert!(running.stop().await);
    let running = start(crate::server::options(dir.path())).await.unwrap();
    let client = connect(&running).await;
    let kept = client.trust().score(agent("writer")).await.unwrap();
    assert_eq!((kept.score, kept.evidence_count), (after.score, 1));
    assert_eq!(
        client.commitments().receipt(row.id, None).await.unwrap(),
        receipt
    );
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_is_disputed_and_ruled_on_by_the_log_and_everything_is_listed_in_pages() {
    let (_dir, running, client) = serve().await;
    let session = session(&client).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        let row = promise(&client, &session, from_now(-HOUR)).await;
        assert_eq!(row.state, Promised::Breached, "the clock has decided");
        made.push(row.id);
    }
    let breached = client.trust().score(agent("writer")).await.unwrap();
    assert_eq!(breached.completion_rate.map(f64::from), Some(0.0));
    let mut filed = Vec::new();
    for id in &made {
        let about = npayload::client::Disputes::about(*id, "not delivered by the deadline");
        let row = client.disputes().create(about.clone()).await.unwrap();
        assert_eq!(row.state, DisputeState::Resolved);
        let ruling = row.ruling.as_ref().unwrap();
        assert_eq!(
            (ruling.verdict, ruling.mechanism),
            (Verdict::Upheld, Mechanism::Automated)
        );
        assert_eq!(client.disputes().create(about).await.unwrap(), row);
        let twice = npayload::client::Disputes::about(*id, "again");
        assert_eq!(
            code(client.disputes().create(twice).await),
            ErrorCode::IllegalStep
        );
        filed.push(row.id);
    }
    made.reverse();
    filed.reverse();
    let list = CommitmentList {
        limit: 2,
        session_id: Some(session.session_id),
        ..CommitmentList::default()
    };
    let rows = client.commitments().list(list).all().await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        made,
        "the newest first"
    );
    assert!(rows.iter().all(|row| row.state == Promised::Resolved));
    let list = DisputeList {
        limit: 2,
        agent_id: Some(agent("writer")),
        ..DisputeList::default()
    };
    let rows = client.disputes().list(list).all().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), filed);
    let found = client.disputes().info(filed[0], None).await.unwrap();
    assert_eq!(found, rows[0]);
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_about_what_was_delivered_is_answered_and_taken_back() {
    let (_dir, running, client) = serve().await;
    let session = session(&client).await;
    let row = promise(&client, &session, from_now(HOUR)).await;
    let deliver = CommitmentDeliver {
        commitment_id: row.id,
        evidence: None,
        references: Vec::new(),
    };
    client.commitments().deliver(deliver).await.unwrap();
    let about = npayload::client::Disputes::about(row.id, "half of it is missing");
    let filed = client.disputes().create(about).await.unwrap();
    assert_eq!(filed.state, DisputeState::Open);
    let answer = DisputeAnswer {
        dispute_id: filed.id,
        reason: "it is in the annex".to_owned(),
        evidence: None,
        references: Vec::new(),
    };
    let answered = client.disputes().answer(answer).await.unwrap();
    assert_eq!(answered.state, DisputeState::Answered);
    assert_eq!(answered.answer.unwrap().reason, "it is in the annex");
    let early = DisputeRule {
        dispute_id: filed.id,
        agent_id: None,
        verdict: Verdict::Upheld,
        severity: None,
        reason: "I say so".to_owned(),
    };
    let refused = code(client.disputes().rule(early).await);
    assert!(
        matches!(refused, ErrorCode::OtherMechanism | ErrorCode::IllegalStep),
        "{refused:?}"
    );
    let back = client.disputes().withdraw(filed.id).await.unwrap();
    assert_eq!(back.state, DisputeState::Withdrawn);
    let row = client.commitments().info(row.id, None).await.unwrap();
    assert_eq!(row.state, Promised::Delivered, "as it was before");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_held_behind_a_promise_and_comes_back_and_each_step_is_in_the_ledger() {
    let (_dir, running, client) = serve().await;
    let session = session(&client).await;
    let usd = "USD".parse().unwrap();
    let mut new = npayload::client::Commitments::promise(
        session.session_id,
        agent("writer"),
        "with money behind it",
        from_now(HOUR),
    );
    new.escrow = Some(EscrowTerms {
        amount: 500,
        currency: usd,
    });
    let poor = client.commitments().create(new.clone()).await;
    let refused = code(poor);
    assert!(
        matches!(
            refused,
            ErrorCode::InsufficientFunds | ErrorCode::AboveCeiling
        ),
        "{refused:?}"
    );
    let deposit = EscrowDeposit {
        id: None,
        agent_id: Some(agent("writer")),
        org: None,
        amount: 700,
        currency: usd,
        region: None,
    };
    let account = client.escrow().deposit(deposit).await.unwrap();
    assert_eq!(
        (account.available, account.held, account.frozen),
        (700, 0, 0)
    );
    let balance = client
        .escrow()
        .balance(EscrowBalance::default())
        .await
        .unwrap();
    assert_eq!(balance, [account]);
    let held = client.commitments().create(new.clone()).await.unwrap();
    let balance = client
        .escrow()
        .balance(EscrowBalance::default())
        .await
        .unwrap();
    assert_eq!((balance[0].available, balance[0].held), (200, 500));
    // Nobody is trusted with that much before there is evidence.
    let mut large = npayload::client::Commitments::promise(
        session.session_id,
        agent("writer"),
        "with much more",
        from_now(HOUR),
    );
    large.escrow = Some(EscrowTerms {
        amount: 1_000_000_000,
        currency: usd,
    });
    assert_eq!(
        code(client.commitments().create(large).await),
        ErrorCode::AboveCeiling
    );
    let deliver = CommitmentDeliver {
        commitment_id: held.id,
        evidence: None,
        references: Vec::new(),
    };
    client.commitments().deliver(deliver).await.unwrap();
    client.commitments().confirm(held.id, None).await.unwrap();
    let balance = client
        .escrow()
        .balance(EscrowBalance::default())
        .await
        .unwrap();
    assert_eq!((balance[0].available, balance[0].held), (700, 0));
    let ledger = client
        .escrow()
        .ledger(EscrowLedger::default())
        .all()
        .await
        .unwrap();
    let steps: Vec<_> = ledger
        .iter()
        .map(|entry| (entry.step, entry.amount))
        .collect();
    let all = [
        (EscrowStep::Released, 500),
        (EscrowStep::Held, 500),
        (EscrowStep::Deposited, 700),
    ];
    assert_eq!(steps, all, "the latest first");
    let of_it = EscrowLedger {
        commitment_id: Some(held.id),
        limit: 1,
        ..EscrowLedger::default()
    };
    let entries = client.escrow().ledger(of_it).all().await.unwrap();
    assert_eq!(entries, ledger[..2]);
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_worked_together_rate_each_other_and_nobody_else() {
    let (_dir, running, client) = serve().await;
    let session = session(&client).await;
    let rate = |of: &str, from: &str, rating| TrustRate {
        session_id: session.session_id,
        agent_id: agent(of),
        from: agent(from),
        rating,
    };
    let silent = client.trust().rate(rate("writer", "lead", 0.9)).await;
    assert_eq!(
        code(silent),
        ErrorCode::NotCounterparty,
        "nobody has said anything"
    );
    let id = session.session_id;
    for who in ["lead", "writer"] {
        let said = says(who, Performative::Inform, 1);
        client.sessions().send(id, said).await.unwrap();
    }
    let rated = client
        .trust()
        .rate(rate("writer", "lead", 0.9))
        .await
        .unwrap();
    assert_eq!(
        (f64::from(rated.rating), rated.from.name.as_str()),
        (0.9, "lead")
    );
    assert_eq!(
        code(client.trust().rate(rate("lead", "lead", 1.0)).await),
        ErrorCode::NotCounterparty
    );
    assert_eq!(
        code(client.trust().rate(rate("writer", "lead", 1.5)).await),
        ErrorCode::OutOfLimit
    );
    let told = details(client.trust().rate(rate("writer", "lead", 1.5)).await);
    let limits = serde_json::json!({ "field": "rating", "found": 1.5, "min": 0, "max": 1 });
    assert_eq!(told, limits);
    let row = client.trust().score(agent("writer")).await.unwrap();
    assert_eq!(row.evidence_count, 1);
    assert!(row.components.response_quality > 0);
    let nobody = OrgVerify {
        org: npayload::types::OrgName::parse("nobody").unwrap(),
        verified: true,
    };
    let absent = client.trust().verify_org(nobody.org, nobody.verified).await;
    assert_eq!(code(absent), ErrorCode::OrgNotFound);
    assert!(running.stop().await);
}
