//! Money that an operator books under an id is booked once, whatever becomes of the answer.

use npayload::broker::asp::Payment;
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{EscrowBalance, EscrowDeposit, EscrowLedger, EscrowWithdraw};
use npayload::storage::disk::Loss;
use npayload::types::{PaymentId, RegionName};

use super::live::serve;
use super::promises::{deposit, usd};
use super::promises_live::{agent, code, details};
use super::*;

/// An id of a payment at the time of a test's broker.
fn id(number: u128) -> PaymentId {
    PaymentId(u128::from(BEGIN.unsigned_abs()) << 80 | 7 << 76 | 2 << 62 | number)
}

impl Floor {
    /// What the writer has available, as a payment of that id is answered.
    fn paid(&mut self, id: PaymentId, amount: u64, is_deposit: bool) -> u64 {
        let (writer, at) = (agent("writer"), self.at());
        let payment = Payment {
            id: Some(id),
            is_deposit,
            ..deposit(&writer, amount)
        };
        let paid = self.broker.pay(&ME, payment, at).unwrap();
        self.rounds();
        assert!(self.is_done(paid.wait));
        paid.value.balance.available
    }
}

#[test]
fn a_payment_that_is_tried_again_is_booked_once_after_restarts_and_from_a_snapshot() {
    let mut floor = Floor::new();
    floor.register("writer");
    assert_eq!(floor.paid(id(1), 80, true), 80);
    assert_eq!(floor.paid(id(2), 30, false), 50);
    for _ in 0..2 {
        assert_eq!(floor.paid(id(1), 80, true), 80, "as it was answered then");
        assert_eq!(floor.paid(id(2), 30, false), 50);
        assert_eq!(floor.balance(Some("writer")).available, 50);
        floor = floor.reopened();
    }
    // Enough for a snapshot, from which the next start goes on.
    for number in 3..20 {
        floor.paid(id(number), 1, true);
    }
    assert!(floor.snapshots() > 0);
    floor = floor.reopened();
    assert_eq!(floor.paid(id(1), 80, true), 80);
    assert_eq!(floor.paid(id(2), 30, false), 50);
    assert_eq!(floor.balance(Some("writer")).available, 67);
}

#[test]
fn a_payment_whose_answer_was_lost_in_a_crash_is_booked_once() {
    for is_durable in [false, true] {
        let mut floor = Floor::new();
        floor.register("writer");
        let (writer, at) = (agent("writer"), floor.at());
        let payment = Payment {
            id: Some(id(1)),
            ..deposit(&writer, 80)
        };
        let paid = floor.broker.pay(&ME, payment, at).unwrap();
        if is_durable {
            floor.rounds();
            assert!(floor.is_done(paid.wait));
        }
        let (image, now) = (floor.disk.after(Loss::All), floor.now + 1);
        drop(floor);
        let mut floor = Floor::open(&image, now);
        for _ in 0..2 {
            assert_eq!(floor.paid(id(1), 80, true), 80, "durable: {is_durable}");
            assert_eq!(floor.balance(Some("writer")).available, 80);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_answered_again_over_the_wire_and_another_one_of_its_id_is_refused() {
    let (_dir, running, client) = serve().await;
    let escrow = client.escrow();
    let deposit = EscrowDeposit {
        id: Some(npayload::client::Escrow::new_id()),
        agent_id: None,
        org: None,
        amount: 700,
        currency: usd(),
        region: None,
    };
    let first = escrow.deposit(deposit.clone()).await.unwrap();
    // Two with ids of their own are two.
    for _ in 0..2 {
        let another = EscrowDeposit {
            id: None,
            ..deposit.clone()
        };
        escrow.deposit(another).await.unwrap();
    }
    let again = escrow.deposit(deposit.clone()).await.unwrap();
    assert_eq!((again.available, &again), (700, &first));
    let more = EscrowDeposit {
        amount: 701,
        ..deposit.clone()
    };
    let refused = details(escrow.deposit(more).await);
    assert_eq!(refused["member"], "amount", "{refused}");
    let out = EscrowWithdraw {
        id: deposit.id,
        agent_id: None,
        org: None,
        amount: 700,
        currency: usd(),
        region: None,
    };
    let refused = escrow.withdraw(out.clone()).await;
    assert_eq!(code(refused), ErrorCode::PaymentIdTaken);
    let wrong = EscrowWithdraw {
        id: Some(PaymentId(7)),
        ..out.clone()
    };
    let refused = escrow.withdraw(wrong).await;
    assert_eq!(code(refused), ErrorCode::InvalidPaymentId);
    // It is the ledger of another region that is meant.
    let elsewhere = EscrowWithdraw {
        id: None,
        region: Some(RegionName::parse("eu-west").unwrap()),
        ..out
    };
    let refused = escrow.withdraw(elsewhere).await;
    assert_eq!(code(refused), ErrorCode::RegionMismatch);
    let accounts = escrow.balance(EscrowBalance::default()).await.unwrap();
    assert_eq!(accounts[0].available, 2_100);
    let ledger = escrow.ledger(EscrowLedger::default()).all().await.unwrap();
    assert_eq!(ledger.len(), 3);
    assert_eq!(ledger[2].payment_id, deposit.id);
    assert!(running.stop().await);
}
