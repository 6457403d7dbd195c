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

fn described(deadline: Timestamp) -> Value {
    json!({
        "description": "Deliver competitor pricing analysis",
        "deadline": deadline,
        "terms": { "pages": 12 },
    })
}

fn says(from: &str, said: Performative, payload: &Value) -> NewMessage {
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
