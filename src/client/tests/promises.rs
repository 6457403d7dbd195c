//! Promises over connections that fail: nothing is promised or paid twice.

use super::fake::{Fake, Fault};
use super::fake_asp::SESSION;
use crate::client::{Client, Commitments, Disputes};
use crate::protocol::ErrorCode;
use crate::protocol::asp::{
    CommitmentCreate, CommitmentDeliver, CommitmentList, EscrowDeposit, JsonText,
};
use crate::types::{AgentName, CommitmentId, PaymentId, Timestamp};

fn promise(words: &str) -> CommitmentCreate {
    let agent = AgentName::parse("research-agent").unwrap();
    Commitments::promise(SESSION, agent, words, Timestamp(1_773_532_800_000))
}

async fn promised(client: &Client) -> CommitmentId {
    client
        .commitments()
        .create(promise("a survey"))
        .await
        .unwrap()
        .id
}

/// For the caller's own account, not sent before.
fn five_hundred_euros() -> EscrowDeposit {
    EscrowDeposit {
        id: None,
        agent_id: None,
        org: None,
        amount: 50_000,
        currency: "EUR".parse().unwrap(),
        region: None,
    }
}

#[tokio::test]
async fn a_promise_whose_answer_was_lost_is_made_once() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().faults = [Fault::DropAfter, Fault::DropBefore, Fault::DropAfter].into();
    let first = promised(&client).await;
    let second = promised(&client).await;
    assert!(first < second, "each has an id of its own");
    let made: Vec<_> = fake.state().asp.promises.iter().map(|one| one.id).collect();
    assert_eq!(made, [first, second]);
}

#[tokio::test]
async fn a_delivery_whose_answer_was_lost_is_not_sent_again_and_a_deposit_is_under_its_id() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let commitment_id = promised(&client).await;
    fake.state().faults = [Fault::DropAfter].into();
    let deliver = CommitmentDeliver {
        commitment_id,
        evidence: None,
        references: Vec::new(),
    };
    client.commitments().deliver(deliver).await.unwrap_err();
    assert_eq!(fake.state().asp.deliveries, 1);
    fake.state().faults = [Fault::DropAfter].into();
    // A payment goes again under the id that it was given, and is booked once.
    let mut deposit = five_hundred_euros();
    client.escrow().deposit(deposit.clone()).await.unwrap();
    let deposits = fake.state().asp.deposits.clone();
    let tried = fake.state().asp.tried;
    deposit.id = deposits[0].id;
    assert!(deposit.id.is_some_and(PaymentId::is_version_7));
    assert_eq!((deposits, tried), (vec![deposit], 2));
}

#[tokio::test]
async fn a_payment_goes_to_no_other_data_directory() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    // Read by the client before it is another broker that answers.
    promised(&client).await;
    fake.state().faults = [Fault::DropAfter].into();
    fake.state().directory = 2;
    let deposit = five_hundred_euros();
    let error = client.escrow().deposit(deposit.clone()).await.unwrap_err();
    assert!(error.server().is_none(), "nobody knows: {error}");
    assert_eq!(fake.state().asp.tried, 1);
    client.escrow().deposit(deposit).await.unwrap();
    assert_eq!(fake.state().asp.tried, 2, "the next one is the caller's");
}

#[tokio::test]
async fn a_promise_whose_id_another_agent_has_used_is_made_under_a_new_one_where_that_was_nobodys()
{
    let fake = Fake::new().await;
    let client = fake.client().await;
    let made = promise("a survey");
    let last = u128::from(u16::MAX);
    assert_eq!(made.id.0 & last, SESSION.0 & last, "it names its region");
    fake.state().asp.taken = 2;
    let row = client
        .commitments()
        .create_anew(made.clone())
        .await
        .unwrap();
    assert_ne!(row.id, made.id);
    assert_eq!(row.id.0 & last, SESSION.0 & last);
    assert!(row.id.is_version_7());
    assert_eq!(fake.state().asp.promises.len(), 1);
    // An id that somebody keeps stays what it is.
    fake.state().asp.taken = 1;
    let error = client.commitments().create(made.clone()).await.unwrap_err();
    assert!(error.is(ErrorCode::CommitmentIdTaken), "{error}");
    // And nobody tries for ever.
    fake.state().asp.taken = 100;
    let error = client.commitments().create_anew(made).await.unwrap_err();
    assert!(error.is(ErrorCode::CommitmentIdTaken), "{error}");
}

#[tokio::test]
async fn commitments_come_page_by_page_to_the_last() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let mut wanted = Vec::new();
    for _ in 0..5 {
        wanted.push(promised(&client).await);
    }
    let list = CommitmentList {
        limit: 2,
        ..CommitmentList::default()
    };
    let all = client.commitments().list(list).all().await.unwrap();
    let found: Vec<_> = all.iter().map(|row| row.id).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_dispute_goes_with_its_evidence_and_its_refusal_comes_as_it_is() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let commitment = promised(&client).await;
    let mut dispute = Disputes::about(commitment, "Analysis was not delivered by the deadline");
    let evidence = JsonText::parse(r#"{ "missedDeadline": true }"#).unwrap();
    dispute.evidence = Some(evidence.clone());
    fake.state().faults = [Fault::DropAfter].into();
    let error = client.disputes().create(dispute.clone()).await.unwrap_err();
    assert!(error.is(ErrorCode::IllegalStep), "{error}");
    // Byte for byte, and once.
    assert_eq!(fake.state().asp.disputes, [dispute]);
    assert_eq!(fake.state().asp.disputes[0].evidence, Some(evidence));
}
