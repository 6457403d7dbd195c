//! The ledger's movements one by one, and the property that it always balances.

mod paid;

use proptest::prelude::*;

use super::*;
use crate::asp::commitment::{EscrowStep, EscrowTerms, Penalties};
use crate::asp::registry::Amount;
use crate::asp::trust::Level;
use crate::asp::{Canonical, MAX_INTEGER, TrustScore};
use crate::folding::EventError;
use crate::types::{AgentId, CommitmentId, Offset, OrgId, PrincipalId, Timestamp};

const BY: PrincipalId = PrincipalId(1);
const NOW: Timestamp = Timestamp(1_000);

fn account(number: u32) -> Account {
    Account {
        agent: (number > 0).then_some(AgentId(number.into())),
        org: OrgId(number),
    }
}

fn currency(text: &str) -> Currency {
    text.parse().unwrap()
}

fn cash(number: u32, amount: u64) -> Cash {
    Cash {
        account: account(number),
        amount,
        currency: currency("EUR"),
        payment: None,
        by: BY,
    }
}

fn hold(commitment: u128, number: u32, amount: u64) -> HoldFor<'static> {
    HoldFor {
        commitment: CommitmentId(commitment),
        terms: EscrowTerms {
            amount,
            currency: currency("EUR"),
        },
        account: account(number),
        beneficiary: account(number + 1),
        score: TrustScore::try_from(1.0).unwrap(),
        own_maximum: None,
        by: BY,
    }
}

/// A ledger with the records that made it.
#[derive(Clone, Default)]
struct Topic {
    state: Escrow,
    records: Vec<EscrowRecord>,
}

impl Topic {
    /// Writes movements as one entry, as they are read back; the ledger balances after each.
    fn write(&mut self, moves: Vec<Move>) {
        let offset = Offset(self.records.len() as u64);
        for (record, offset) in self.state.link(moves, offset).into_iter().zip(offset.0..) {
            let json = String::from_utf8(record.encode()).unwrap();
            assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
            let read = EscrowRecord::decode(record.record_type(), json.as_bytes()).unwrap();
            assert_eq!(read, record);
            self.state.apply(&read, Offset(offset)).unwrap();
            assert!(self.state.is_balanced());
            self.records.push(read);
        }
    }

    fn deposit(&mut self, number: u32, amount: u64) {
        let one = self.state.check_deposit(cash(number, amount), NOW);
        self.write(vec![one.unwrap()]);
    }

    fn hold(&mut self, commitment: u128, number: u32, amount: u64) {
        let one = self.state.check_hold(hold(commitment, number, amount), NOW);
        self.write(vec![one.unwrap()]);
    }

    fn steps(&mut self, commitment: u128, steps: &[EscrowStep]) {
        let moves = self.state.check_steps(CommitmentId(commitment), steps, NOW);
        self.write(moves.unwrap());
    }

    fn of(&self, number: u32) -> (u64, u64, u64) {
        let balance = self.state.balance(account(number), currency("EUR"));
        (balance.available, balance.held, balance.frozen)
    }
}

/// 1,000 of account 1, 400 of them held for commitment 1.
fn held() -> Topic {
    let mut topic = Topic::default();
    topic.deposit(1, 1_000);
    topic.hold(1, 1, 400);
    topic
}

#[test]
fn money_moves_between_the_parts_that_each_movement_names() {
    let mut topic = held();
    assert_eq!(topic.of(1), (600, 400, 0));
    topic.steps(1, &[EscrowStep::Freeze]);
    assert_eq!(topic.of(1), (600, 0, 400));
    topic.steps(
        1,
        &[
            EscrowStep::Unfreeze,
            EscrowStep::Forfeit { amount: 150 },
            EscrowStep::Release,
        ],
    );
    assert_eq!((topic.of(1), topic.of(2)), ((850, 0, 0), (150, 0, 0)));
    assert_eq!(topic.state.hold(CommitmentId(1)), None);
    let out = topic.state.check_withdraw(cash(2, 150), NOW).unwrap();
    topic.write(vec![out]);
    assert_eq!(topic.state.total(currency("EUR")), 850);
    assert_eq!(topic.state.balances().count(), 1);
}

#[test]
fn what_is_not_there_does_not_move() {
    let topic = held();
    let state = &topic.state;
    let too_little = |available, wanted| EscrowError::TooLittle {
        account: account(1),
        currency: currency("EUR"),
        available,
        wanted,
    };
    assert_eq!(
        state.check_withdraw(cash(1, 601), NOW).unwrap_err(),
        too_little(600, 601)
    );
    assert_eq!(
        state.check_hold(hold(2, 1, 601), NOW).unwrap_err(),
        too_little(600, 601)
    );
    let again = state.check_hold(hold(1, 1, 1), NOW).unwrap_err();
    assert!(matches!(
        again,
        EscrowError::HeldAlready { amount: 400, .. }
    ));
    let steps = |commitment, steps: &[EscrowStep]| {
        state
            .check_steps(CommitmentId(commitment), steps, NOW)
            .unwrap_err()
    };
    let nothing = EscrowError::NothingHeld(CommitmentId(9));
    assert_eq!(steps(9, &[EscrowStep::Release]), nothing);
    let more = steps(1, &[EscrowStep::Forfeit { amount: 401 }]);
    assert!(matches!(
        more,
        EscrowError::MoreThanHeld {
            held: 400,
            wanted: 401,
            ..
        }
    ));
    let frozen = EscrowError::Frozen(CommitmentId(1));
    for step in [
        EscrowStep::Freeze,
        EscrowStep::Release,
        EscrowStep::Forfeit { amount: 1 },
    ] {
        assert_eq!(steps(1, &[EscrowStep::Freeze, step]), frozen);
    }
    let not_frozen = EscrowError::NotFrozen(CommitmentId(1));
    assert_eq!(steps(1, &[EscrowStep::Unfreeze]), not_frozen);
    let terms = hold(1, 1, 1).terms;
    let no_step = EscrowError::HoldIsNoStep(CommitmentId(1));
    assert_eq!(steps(1, &[EscrowStep::Hold(terms)]), no_step);
    let gone = [EscrowStep::Release, EscrowStep::Release];
    assert_eq!(steps(1, &gone), EscrowError::NothingHeld(CommitmentId(1)));
    let none = state.check_deposit(cash(1, 0), NOW).unwrap_err();
    assert!(matches!(none, EscrowError::OutOfLimit(_)));
    let much = state.check_deposit(cash(1, MAX_INTEGER), NOW).unwrap_err();
    assert!(matches!(
        much,
        EscrowError::TooMuch {
            limit: MAX_INTEGER,
            ..
        }
    ));
}

#[test]
fn a_record_that_does_not_balance_or_follow_is_refused_and_changes_nothing() {
    let topic = held();
    let offset = Offset(2);
    let forged = |steps: &[EscrowStep], change: &dyn Fn(&mut Moved)| {
        let moves = topic.state.check_steps(CommitmentId(1), steps, NOW);
        let record = topic.state.link(moves.unwrap(), offset).remove(0);
        let EscrowRecord::Moved { kind, mut moved } = record else {
            panic!("nothing moved");
        };
        change(&mut moved);
        EscrowRecord::Moved { kind, moved }
    };
    let release = [EscrowStep::Release];
    let other = |part| {
        Some(Place {
            account: account(3),
            part,
        })
    };
    let mut state = topic.state.clone();
    for record in [
        forged(&release, &|moved| moved.amount = 399),
        forged(&release, &|moved| moved.amount = 0),
        forged(&release, &|moved| moved.amount = 401),
        forged(&release, &|moved| moved.currency = currency("USD")),
        forged(&release, &|moved| moved.to = other(Part::Available)),
        forged(&release, &|moved| moved.from = other(Part::Held)),
        forged(&release, &|moved| moved.to = None),
        forged(&release, &|moved| moved.commitment = None),
        forged(&release, &|moved| moved.commitment = Some(CommitmentId(2))),
        forged(&release, &|moved| moved.by = Some(BY)),
        forged(&release, &|moved| moved.at = Timestamp(1)),
        forged(&release, &|moved| moved.threads = MovedLinks::default()),
        forged(&[EscrowStep::Forfeit { amount: 1 }], &|moved| {
            moved.to = other(Part::Available);
        }),
    ] {
        state.apply(&record, offset).unwrap_err();
        assert_eq!(state, topic.state);
    }
    state.apply(&topic.records[1], offset).unwrap_err();
    // The first of two who move the same money wins, and the second finds none.
    let one = forged(&release, &|_| {});
    state.apply(&one, offset).unwrap();
    state.apply(&one, Offset(3)).unwrap_err();
}

#[test]
fn ceilings_follow_from_trust_and_from_the_agents_own_word() {
    let eur = currency("EUR");
    for (score, level, ceiling) in [
        (0.0, Level::L0, 100_000),
        (0.299, Level::L0, 100_000),
        (0.3, Level::L1, 300_000),
        (0.5, Level::L2, 1_000_000),
        (0.699, Level::L2, 1_000_000),
        (0.7, Level::L3, 10_000_000),
        (0.899, Level::L3, 10_000_000),
        (0.9, Level::L4, MAX_INTEGER),
    ] {
        let score = TrustScore::try_from(score).unwrap();
        assert_eq!(super::ceiling(level), ceiling);
        check_ceiling(ceiling, eur, score, None).unwrap();
        if ceiling < MAX_INTEGER {
            let refused = check_ceiling(ceiling + 1, eur, score, None).unwrap_err();
            let expected = EscrowError::AboveLevel {
                amount: ceiling + 1,
                currency: eur,
                level,
                ceiling,
            };
            assert_eq!(refused, expected);
        }
    }
    let own = Amount {
        value: 50,
        currency: "EUR".to_owned(),
    };
    let score = TrustScore::NEUTRAL;
    check_ceiling(50, eur, score, Some(&own)).unwrap();
    let refused = check_ceiling(51, eur, score, Some(&own)).unwrap_err();
    assert!(matches!(refused, EscrowError::AboveOwn { ceiling: 50, .. }));
    check_ceiling(51, currency("USD"), score, Some(&own)).unwrap();
    let mut topic = Topic::default();
    topic.deposit(1, 1_000);
    let mut above = hold(1, 1, 51);
    above.own_maximum = Some(&own);
    let refused = topic.state.check_hold(above, NOW).unwrap_err();
    assert!(matches!(refused, EscrowError::AboveOwn { .. }));
}

#[test]
fn penalties_are_rounded_down_and_never_above_the_whole() {
    let percent = |percent: f64| Percent::try_from(percent).unwrap();
    for (part, amount, times, expected) in [
        (33.33, 100, 1, 33),
        (33.33, 1, 1, 0),
        (33.33, 100, 3, 99),
        (33.34, 100, 3, 100),
        (100.0, MAX_INTEGER, u64::MAX, MAX_INTEGER),
        (0.01, 9_999, 1, 0),
        (0.01, 10_000, 1, 1),
    ] {
        assert_eq!(
            percent(part).of(amount, times),
            expected,
            "{part} of {amount}"
        );
    }
    for (ms, days) in [(0, 0), (1, 1), (DAY_MS, 1), (DAY_MS + 1, 2)] {
        assert_eq!(days_late(ms), days);
    }
    let penalties = Penalties {
        late_fulfillment_percent_per_day: Some(percent(2.5)),
        non_delivery_percent: Some(percent(80.0)),
    };
    assert_eq!(late_penalty(&penalties, 1_001, 3), 75);
    assert_eq!(late_penalty(&penalties, 1_001, 1_000), 1_001);
    assert_eq!(non_delivery_penalty(Some(&penalties), 1_001), 800);
    assert_eq!(non_delivery_penalty(None, 1_001), 1_001);
    for wrong in [-0.01, 100.01, 1.001, f64::NAN] {
        Percent::try_from(wrong).unwrap_err();
    }
    for hundredths in 0..=10_000_u16 {
        let part = percent(f64::from(hundredths) / 100.0);
        assert_eq!(part.hundredths(), hundredths);
        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(serde_json::from_str::<Percent>(&json).unwrap(), part);
        assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
    }
    for wrong in ["eur", "EURO", "E1R", ""] {
        wrong.parse::<Currency>().unwrap_err();
    }
}

#[test]
fn movements_of_an_account_are_found_by_its_thread_alone() {
    let mut topic = Topic::default();
    for number in 1..=3 {
        topic.deposit(number, 1_000);
    }
    topic.hold(1, 1, 400);
    topic.steps(
        1,
        &[EscrowStep::Forfeit { amount: 150 }, EscrowStep::Release],
    );
    for (number, expected) in [(1, vec![5, 4, 3, 0]), (2, vec![4, 1]), (3, vec![2])] {
        let mut found = Vec::new();
        let mut knot = topic.state.knot(Some(account(number)));
        while let Some(at) = knot {
            found.push(at.offset.0);
            let record = &topic.records[usize::try_from(at.offset.0).unwrap()];
            let EscrowRecord::Moved { moved, .. } = record else {
                panic!("{record:?}");
            };
            let links = moved.links_of(account(number)).unwrap();
            assert_eq!(links.number(), at.number);
            knot = links.back;
        }
        assert_eq!(found, expected);
    }
    assert_eq!(topic.state.knot(None).unwrap().number, 5);
}

#[test]
fn records_of_a_newer_broker_are_kept_and_snapshots_that_do_not_add_up_refused() {
    let record = EscrowRecord::decode("escrow.lent", b"{}").unwrap();
    assert!(matches!(record, EscrowRecord::Unknown { .. }));
    let newer = br#"{"type":"escrow.held","v":2}"#;
    let newer = EscrowRecord::decode("escrow.held", newer).unwrap_err();
    assert!(matches!(
        newer,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    let topic = held();
    let EscrowRecord::Folded(mut part) = topic.state.fold().remove(0) else {
        panic!("no snapshot");
    };
    let row = part.rows.iter_mut().find_map(|row| match row {
        EscrowRow::Balance(_, _, balance) => Some(balance),
        _ => None,
    });
    row.unwrap().available += 1;
    let mut state = Escrow::default();
    let refused = state.apply(&EscrowRecord::Folded(part), Offset(0));
    assert_eq!(refused.unwrap_err().rule, "its accounts do not add up");
}

/// A command; what it asks for may be refused.
#[derive(Clone, Debug)]
enum Command {
    Deposit(u32, u64),
    /// A deposit under an id: the first for it pays, whatever comes later.
    Paid(u64, u32, u64),
    Withdraw(u32, u64),
    Hold(u128, u32, u64),
    Steps(u128, Vec<EscrowStep>),
}

fn command() -> impl Strategy<Value = Command> {
    let step = prop_oneof![
        Just(EscrowStep::Freeze),
        Just(EscrowStep::Unfreeze),
        Just(EscrowStep::Release),
        (0..700_u64).prop_map(|amount| EscrowStep::Forfeit { amount }),
    ];
    prop_oneof![
        (0..4_u32, 0..1_000_u64).prop_map(|(of, amount)| Command::Deposit(of, amount)),
        (0..4_u64, 0..2_u32, 1..3_u64).prop_map(|(id, of, amount)| Command::Paid(id, of, amount)),
        (0..4_u32, 0..1_000_u64).prop_map(|(of, amount)| Command::Withdraw(of, amount)),
        (0..6_u128, 0..4_u32, 0..700_u64)
            .prop_map(|(id, of, amount)| Command::Hold(id, of, amount)),
        (0..6_u128, proptest::collection::vec(step, 1..4))
            .prop_map(|(id, steps)| Command::Steps(id, steps)),
    ]
}

proptest! {
    #[test]
    fn the_ledger_balances_after_every_record_of_any_commands_wherever_a_crash_cuts_them(commands in proptest::collection::vec(command(), 1..80)) {
        let mut topic = Topic::default();
        for command in commands {
            let state = &topic.state;
            let moves = match command {
                Command::Deposit(of, amount) => state.check_deposit(cash(of, amount), NOW).map(|one| vec![one]),
                Command::Paid(id, of, amount) => {
                    let cash = paid::payment(paid::id(1_000, id), of, amount);
                    match state.paid_before(MoveKind::Deposit, cash, NOW) {
                        Ok(None) => state.check_deposit(cash, NOW).map(|one| vec![one]),
                        known => known.map(|_| Vec::new()),
                    }
                }
                Command::Withdraw(of, amount) => state.check_withdraw(cash(of, amount), NOW).map(|one| vec![one]),
                Command::Hold(id, of, amount) => state.check_hold(hold(id, of, amount), NOW).map(|one| vec![one]),
                Command::Steps(id, steps) => state.check_steps(CommitmentId(id), &steps, NOW),
            };
            if let Ok(moves) = moves {
                topic.write(moves);
            }
        }
        // Any prefix is what a crash leaves: it replays to a ledger that balances, and its
        // snapshot reads back as the same.
        let mut state = Escrow::default();
        for (record, offset) in topic.records.iter().zip(0..) {
            state.apply(record, Offset(offset)).unwrap();
            prop_assert!(state.is_balanced());
            let mut folded = Escrow::default();
            for part in state.fold_in_parts(1_000) {
                let read = EscrowRecord::decode(part.record_type(), &part.encode()).unwrap();
                folded.apply(&read, Offset(0)).unwrap();
            }
            prop_assert_eq!(&folded, &state);
        }
        prop_assert_eq!(state, topic.state);
    }
}
