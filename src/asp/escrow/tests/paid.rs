//! Payments that are tried again.

use super::*;
use crate::types::PaymentId;

/// An id of a payment whose time is so many ms.
pub(super) fn id(at: u64, number: u64) -> PaymentId {
    PaymentId(u128::from(at) << 80 | 7 << 76 | 2 << 62 | u128::from(number))
}

pub(super) fn payment(id: PaymentId, number: u32, amount: u64) -> Cash {
    Cash {
        payment: Some(id),
        ..cash(number, amount)
    }
}

impl Topic {
    pub(super) fn pays(
        &mut self,
        kind: MoveKind,
        cash: Cash,
    ) -> Result<Option<Balance>, EscrowError> {
        let before = self.state.paid_before(kind, cash, NOW)?;
        if before.is_none() {
            let one = match kind {
                MoveKind::Withdraw => self.state.check_withdraw(cash, NOW)?,
                _ => self.state.check_deposit(cash, NOW)?,
            };
            self.write(vec![one]);
        }
        Ok(before)
    }
}

/// What a snapshot of a ledger is read back as.
fn restored(state: &Escrow) -> Escrow {
    let mut folded = Escrow::default();
    for part in state.fold_in_parts(1_000) {
        let read = EscrowRecord::decode(part.record_type(), &part.encode()).unwrap();
        folded.apply(&read, Offset(0)).unwrap();
    }
    folded
}

#[test]
fn a_payment_that_is_tried_again_is_answered_as_before_and_another_one_of_its_id_refused() {
    use MoveKind::{Deposit, Withdraw};
    let mut topic = Topic::default();
    let (first, second) = (id(1_000, 1), id(1_000, 2));
    assert_eq!(topic.pays(Deposit, payment(first, 1, 1_000)), Ok(None));
    assert_eq!(topic.pays(Withdraw, payment(second, 1, 400)), Ok(None));
    let available = |available| {
        Ok(Some(Balance {
            available,
            ..Balance::default()
        }))
    };
    let refused = |payment, member| Err(EscrowError::PaymentIdTaken { payment, member });
    // Also of what was read back from its snapshot, and whatever came behind it.
    topic.deposit(1, 7);
    for state in [topic.state.clone(), restored(&topic.state)] {
        topic.state = state;
        let records = topic.records.len();
        assert_eq!(
            topic.pays(Deposit, payment(first, 1, 1_000)),
            available(1_000)
        );
        assert_eq!(
            topic.pays(Withdraw, payment(second, 1, 400)),
            available(600)
        );
        let other = Cash {
            currency: currency("USD"),
            ..payment(first, 1, 1_000)
        };
        let of_org = Cash {
            account: Account {
                org: OrgId(9),
                ..account(1)
            },
            ..payment(first, 1, 1_000)
        };
        for (kind, cash, member) in [
            (Withdraw, payment(first, 1, 1_000), "step"),
            (Deposit, payment(first, 2, 1_000), "agentId"),
            (Deposit, of_org, "org"),
            (Deposit, payment(first, 1, 999), "amount"),
            (Deposit, other, "currency"),
        ] {
            assert_eq!(topic.pays(kind, cash), refused(first, member));
        }
        assert_eq!(topic.records.len(), records);
        assert_eq!(topic.of(1), (607, 0, 0));
    }
    // Without an id each is a payment of its own.
    assert_eq!(topic.pays(Deposit, cash(1, 1)), Ok(None));
    assert_eq!(topic.pays(Deposit, cash(1, 1)), Ok(None));
    assert_eq!(topic.of(1), (609, 0, 0));
}

#[test]
fn an_id_that_nobody_may_choose_pays_nothing() {
    let topic = Topic::default();
    let check = |id| {
        let paid = topic
            .state
            .paid_before(MoveKind::Deposit, payment(id, 1, 1), NOW);
        paid.map(|before| assert_eq!(before, None))
    };
    let version = PaymentId(id(1_000, 1).0 ^ 3 << 76);
    assert_eq!(check(version), Err(EscrowError::PaymentIdVersion(version)));
    assert_eq!(check(id(301_000, 1)), Ok(()));
    let (payment, ahead_ms) = (id(301_001, 1), 300_001);
    assert_eq!(
        check(payment),
        Err(EscrowError::PaymentIdAhead { payment, ahead_ms })
    );
}

#[test]
fn a_payment_that_is_no_longer_known_is_refused_and_never_booked_twice() {
    let mut topic = Topic::default();
    let most = u64::try_from(MAX_PAID).unwrap();
    for number in 1..=most + 2 {
        let cash = payment(id(1_000, number), 1, 1);
        assert_eq!(
            topic.state.paid_before(MoveKind::Deposit, cash, NOW),
            Ok(None)
        );
        let one = topic.state.check_deposit(cash, NOW).unwrap();
        let offset = Offset(number);
        for record in topic.state.link(vec![one], offset) {
            topic.state.apply(&record, offset).unwrap();
        }
    }
    let let_go = id(1_000, 2);
    for state in [topic.state.clone(), restored(&topic.state)] {
        assert_eq!(state, topic.state);
        let tried = |number| {
            let cash = payment(id(1_000, number), 1, 1);
            state.paid_before(MoveKind::Deposit, cash, NOW)
        };
        // Those that are known, and those that would be younger.
        assert!(tried(3).unwrap().is_some());
        assert!(tried(most + 2).unwrap().is_some());
        assert_eq!(tried(most + 3), Ok(None));
        for number in [0, 1, 2] {
            let payment = id(1_000, number);
            let too_old = EscrowError::PaymentIdTooOld { payment, let_go };
            assert_eq!(tried(number), Err(too_old));
        }
    }
}

#[test]
fn a_record_that_books_a_payment_again_is_refused_by_the_replay() {
    let mut topic = Topic::default();
    let paid = payment(id(1_000, 1), 1, 1_000);
    topic.pays(MoveKind::Deposit, paid).unwrap();
    let mut held = topic.state.check_hold(hold(1, 1, 400), NOW).unwrap();
    held.moved.payment = Some(id(1_000, 2));
    for one in [topic.state.check_deposit(paid, NOW).unwrap(), held] {
        let mut state = topic.state.clone();
        let record = state.link(vec![one], Offset(1)).remove(0);
        state.apply(&record, Offset(1)).unwrap_err();
        assert_eq!(state, topic.state);
    }
}
