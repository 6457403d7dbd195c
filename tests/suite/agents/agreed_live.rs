//! Promises that are agreed on, over the wire: signed, told again, and resolved by two at once.

use npayload::asp::chain::SigningKey;
use npayload::asp::commitment::{ReceiptFault, State as Promised};
use npayload::client::{Client, NewMessage, Sessions as Talk};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{CommitmentDeliver, JsonText, SessionRow, SessionSent};
use npayload::types::CommitmentId;
use serde_json::{Value, json};

use super::live::{connect, creation, serve};
use super::promises_live::{agent, code, from_now};
use super::*;

const HOUR: i64 = 3_600_000;
const ROUNDS: usize = 40;

pub(super) fn described(deadline: Timestamp) -> Value {
    json!({
        "description": "Deliver competitor pricing analysis",
        "deadline": deadline,
        "terms": { "pages": 12 },
    })
}

pub(super) fn says(from: &str, said: Performative, payload: &Value) -> NewMessage {
    NewMessage::new(agent(from))
        .said(said)
        .content(payload)
        .unwrap()
}

async fn offer(talk: &Talk, session: &SessionRow, payload: &Value) -> SessionSent {
    let commit = says("writer", Performative::Commit, payload);
    talk.send(session.session_id, commit).await.unwrap()
}

async fn state(client: &Client, id: CommitmentId) -> Promised {
    client.commitments().info(id, None).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_have_signed_is_verified_from_the_receipt_alone() {
    let (_dir, running, client) = serve().await;
    let key = |seed: u8| SigningKey::from_seed(&[seed; 32]);
    for (name, seed) in [("writer", 3), ("lead", 4)] {
        let name = AgentName::parse(name).unwrap();
        let profile = npayload::asp::registry::Profile::default();
        let mut register = npayload::protocol::asp::AgentRegister::new(name, profile);
        register.public_key = Some(key(seed).public_key());
        client.agents().register(register).await.unwrap();
    }
    let session = client.sessions().create(creation()).await.unwrap();
    let writer = client.sessions().signing_with(key(3));
    let lead = client.sessions().signing_with(key(4));
    let offered = offer(&writer, &session, &described(from_now(HOUR))).await;
    let id = offered.commitment_id.unwrap();
    let accept = says("lead", Performative::Accept, &json!({})).answers(offered.id);
    let accepted = lead.send(session.session_id, accept).await.unwrap();
    assert_eq!(
        (accepted.commitment_id, accepted.state),
        (Some(id), State::Executing)
    );
    let row = client.commitments().info(id, None).await.unwrap();
    assert_eq!(row.message_id, Some(offered.id));

    let receipt = client.commitments().receipt(id, None).await.unwrap();
    assert_eq!(receipt.messages.len(), 2);
    assert!(receipt.messages[0].offset < receipt.messages[1].offset);
    let verified = receipt.verify().unwrap();
    let signed: Vec<_> = verified
        .signed
        .iter()
        .map(|by| (by.message, by.key))
        .collect();
    assert_eq!(
        signed,
        [
            (offered.id, key(3).public_key()),
            (accepted.id, key(4).public_key())
        ]
    );
    // Whatever is changed in a message shows, whatever hash the receipt is given.
    let told = serde_json::to_string(&receipt).unwrap();
    for (from, to) in [
        ("pricing analysis", "pricing synopsis"),
        ("\"pages\":12", "\"pages\":11"),
        ("\"performative\":\"ACCEPT\"", "\"performative\":\"REJECT\""),
        ("\"signature\":\"ed25519:", "\"signature\":\"ed25519:0"),
    ] {
        let (head, messages) = told.split_once("\"messages\":").unwrap();
        let (messages, tail) = messages.split_once("\"obligor\":").unwrap();
        let changed = messages.replacen(from, to, 1);
        assert_ne!(changed, messages, "{from}");
        let changed = format!("{head}\"messages\":{changed}\"obligor\":{tail}");
        let changed: npayload::asp::commitment::Receipt = serde_json::from_str(&changed).unwrap();
        let fault = changed.verify().unwrap_err();
        assert!(
            matches!(fault, ReceiptFault::Message { .. }),
            "{from}: {fault}"
        );
    }
    let mut without = receipt.clone();
    without.messages.pop();
    assert!(matches!(
        without.verify(),
        Err(ReceiptFault::Messages { .. })
    ));
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_resolve_one_commitment_at_once_exactly_one_wins() {
    let (_dir, running, client) = serve().await;
    let other = connect(&running).await;
    let mut wins = [0; 2];
    for round in 0..ROUNDS {
        let session = client.sessions().create(creation()).await.unwrap();
        let id = session.session_id;
        // An offer that is accepted and taken back.
        let offered = offer(&client.sessions(), &session, &described(from_now(HOUR))).await;
        let commitment = offered.commitment_id.unwrap();
        let accept = says("lead", Performative::Accept, &json!({})).answers(offered.id);
        let withdraw = says("writer", Performative::Withdraw, &json!({})).answers(offered.id);
        let (one, two) = (client.sessions(), other.sessions());
        let (accepted, withdrawn) = match round % 2 {
            0 => tokio::join!(one.send(id, accept), two.send(id, withdraw)),
            _ => {
                let (withdrawn, accepted) =
                    tokio::join!(one.send(id, withdraw), two.send(id, accept));
                (accepted, withdrawn)
            }
        };
        assert_ne!(
            accepted.is_ok(),
            withdrawn.is_ok(),
            "{accepted:?} {withdrawn:?}"
        );
        let became = state(&client, commitment).await;
        match accepted.is_ok() {
            true => {
                assert_eq!(became, Promised::Active);
                assert_eq!(code(withdrawn), ErrorCode::OfferNotOpen);
                wins[0] += 1;
            }
            false => {
                assert_eq!(became, Promised::Withdrawn);
                assert_eq!(code(accepted), ErrorCode::OfferNotOpen);
                wins[1] += 1;
            }
        }
        // A delivery that is confirmed and disputed.
        let offered = offer(&client.sessions(), &session, &described(from_now(HOUR))).await;
        let commitment = offered.commitment_id.unwrap();
        let accept = says("lead", Performative::Accept, &json!({})).answers(offered.id);
        client.sessions().send(id, accept).await.unwrap();
        let deliver = CommitmentDeliver {
            commitment_id: commitment,
            evidence: Some(JsonText::of(&json!({ "rows": 12 })).unwrap()),
            references: Vec::new(),
        };
        client.commitments().deliver(deliver).await.unwrap();
        let about = npayload::client::Disputes::about(commitment, "not what was promised");
        let (one, two) = match round % 2 {
            0 => (&client, &other),
            _ => (&other, &client),
        };
        let (asked, of) = (one.commitments(), two.disputes());
        let (confirmed, disputed) = tokio::join!(
            asked.confirm(commitment, Some(agent("lead"))),
            of.create(about)
        );
        assert_ne!(
            confirmed.is_ok(),
            disputed.is_ok(),
            "{confirmed:?} {disputed:?}"
        );
        let became = state(&client, commitment).await;
        let (lost, expected) = match confirmed.is_ok() {
            true => (code(disputed), Promised::Fulfilled),
            false => (code(confirmed), Promised::Disputed),
        };
        assert_eq!((lost, became), (ErrorCode::IllegalStep, expected));
    }
    println!("{} accepted, {} taken back", wins[0], wins[1]);
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_after_a_history_of_successes_costs_trust_and_money_and_is_upheld_at_once() {
    let (_dir, running, client) = serve().await;
    let session = client.sessions().create(creation()).await.unwrap();
    let id = session.session_id;
    for _ in 0..10 {
        let offered = offer(&client.sessions(), &session, &described(from_now(HOUR))).await;
        let commitment = offered.commitment_id.unwrap();
        let accept = says("lead", Performative::Accept, &json!({})).answers(offered.id);
        client.sessions().send(id, accept).await.unwrap();
        let deliver = CommitmentDeliver {
            commitment_id: commitment,
            evidence: None,
            references: Vec::new(),
        };
        client.commitments().deliver(deliver).await.unwrap();
        client
            .commitments()
            .confirm(commitment, None)
            .await
            .unwrap();
    }
    let before = client.trust().score(agent("writer")).await.unwrap();
    assert_eq!(before.evidence_count, 10);
    let usd = "USD".parse().unwrap();
    let deposit = npayload::protocol::asp::EscrowDeposit {
        id: None,
        org: None,
        agent_id: Some(agent("writer")),
        amount: 30_000,
        currency: usd,
        region: None,
    };
    client.escrow().deposit(deposit).await.unwrap();

    // The seed's promise, whose date has passed, with money and penalties behind it.
    let mut promise = npayload::client::Commitments::promise(
        id,
        agent("writer"),
        "Deliver competitor pricing analysis",
        from_now(-HOUR),
    );
    promise.escrow = Some(npayload::asp::commitment::EscrowTerms {
        amount: 20_000,
        currency: usd,
    });
    promise.penalties = Some(npayload::asp::commitment::Penalties {
        late_fulfillment_percent_per_day: None,
        non_delivery_percent: Some(serde_json::from_str("40").unwrap()),
    });
    let made = client.commitments().create(promise).await.unwrap();
    assert_eq!(made.state, Promised::Breached);
    let mut about =
        npayload::client::Disputes::about(made.id, "Analysis was not delivered by the deadline");
    about.evidence = Some(JsonText::of(&json!({ "missedDeadline": true })).unwrap());
    let ruled = client.disputes().create(about).await.unwrap();
    let ruling = ruled.ruling.unwrap();
    assert_eq!(ruling.verdict, npayload::asp::dispute::Verdict::Upheld);
    assert_eq!(
        ruling.mechanism,
        npayload::asp::dispute::Mechanism::Automated
    );
    assert_eq!(state(&client, made.id).await, Promised::Resolved);

    let after = client.trust().score(agent("writer")).await.unwrap();
    assert!(after.score.0 < before.score.0, "{before:?} {after:?}");
    println!("score {} before, {} after", before.score.0, after.score.0);
    assert_eq!(
        after.dispute_rate.map(|rate| rate.0 / 1_000),
        Some(90),
        "1 of 11"
    );
    let balance = npayload::protocol::asp::EscrowBalance::default();
    let accounts = client.escrow().balance(balance).await.unwrap();
    let of = |name: Option<&str>| {
        let mut all = accounts.iter();
        let named = |row: &&npayload::protocol::asp::AccountRow| {
            row.account.name.as_ref().map(|name| name.as_str()) == name
        };
        let row = all.find(named).unwrap();
        (row.available, row.held, row.frozen)
    };
    assert_eq!(
        of(Some("writer")),
        (22_000, 0, 0),
        "40 percent are forfeited"
    );
    assert_eq!(
        of(None),
        (8_000, 0, 0),
        "to the organisation of the session"
    );
    assert!(running.stop().await);
}
