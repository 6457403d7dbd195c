//! Money, promises, disputes and evidence over any history that is cut off at any moment: what was
//! answered is there, an entry is there on all of its topics or on none, and the ledger balances
//! after every record.

use std::collections::BTreeMap;

use npayload::asp::commitment::{
    CommitmentRecord, Commitments, EscrowStep, EscrowTerms, Evidence, OutcomeKind, Penalties,
    State as Promised, Which,
};
use npayload::asp::dispute::{DisputeRecord, Judgement, Mechanism, Verdict, Windows};
use npayload::asp::escrow::{Currency, Escrow, EscrowRecord, MoveKind};
use npayload::asp::trust::{TrustRecord, TrustState};
use npayload::broker::asp::{LookedFor, NewCommitment, NewDispute, Payment};
use npayload::storage::disk::Loss;
use npayload::types::{CommitmentId, DisputeId, Offset};
use proptest::prelude::*;
use serde_json::Value;

use super::history::{Row, records_of};
use super::promises::deposit;
use super::*;

const TOPICS: [&str; 3] = ["__asp.commitments", "__asp.escrow", "__asp.evidence"];
const NAMES: [&str; 3] = ["lead", "writer", "watcher"];
const HOUR: i64 = 3_600_000;

/// What is done. Numbers count from what was made last.
#[derive(Clone, Debug)]
enum Op {
    Deposit(usize, u64),
    Withdraw(usize, u64),
    Promise {
        obligor: usize,
        to: Option<usize>,
        /// In ms from now; not later than now is breached at once.
        within: i64,
        escrow: u64,
        is_late_allowed: bool,
    },
    Deliver(usize),
    Confirm(usize),
    Shorten(usize),
    Dispute(usize, usize),
    Answer(usize),
    TakeBack(usize),
    Rule(usize, usize),
    Pass(i64),
    Flush,
    Snapshot,
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let who = || 0..NAMES.len();
    let which = || 0..4_usize;
    let amount = || prop_oneof![1..9_u64, 20..90_u64];
    let within = prop_oneof![Just(-1), Just(1_000), Just(HOUR), Just(40 * HOUR)];
    let to = proptest::option::of(who());
    let escrow = prop_oneof![Just(0), amount()];
    let promise = (who(), to, within, escrow, any::<bool>());
    let promise = promise.prop_map(
        |(obligor, to, within, escrow, is_late_allowed)| Op::Promise {
            obligor,
            to,
            within,
            escrow,
            is_late_allowed,
        },
    );
    let pass = prop_oneof![
        Just(1),
        Just(1_000),
        Just(HOUR),
        Just(30 * HOUR),
        Just(75 * HOUR)
    ];
    prop_oneof![
        3 => (who(), amount()).prop_map(|(who, amount)| Op::Deposit(who, amount)),
        1 => (who(), amount()).prop_map(|(who, amount)| Op::Withdraw(who, amount)),
        6 => promise,
        4 => which().prop_map(Op::Deliver),
        2 => which().prop_map(Op::Confirm),
        1 => which().prop_map(Op::Shorten),
        4 => (which(), who()).prop_map(|(which, who)| Op::Dispute(which, who)),
        2 => which().prop_map(Op::Answer),
        1 => which().prop_map(Op::TakeBack),
        3 => (which(), 0..3_usize).prop_map(|(which, how)| Op::Rule(which, how)),
        5 => pass.prop_map(Op::Pass),
        4 => Just(Op::Flush),
        1 => Just(Op::Snapshot),
        2 => any::<u64>().prop_map(Op::Crash),
    ]
}

/// A floor with one session, what was done on it, and what was answered.
struct Teller {
    floor: Floor,
    session: SessionId,
    commitments: Vec<CommitmentId>,
    disputes: Vec<DisputeId>,
    /// What is answered once it is durable: the record that tells of it.
    asked: Vec<(Wait, Told)>,
    answered: Vec<Told>,
    /// What could be read of each topic when it was last read.
    read: [Vec<Row>; 3],
}

/// What somebody was told: a member of a record, and the type of that record.
#[derive(Clone, Debug, PartialEq)]
struct Told(&'static str, String);

impl Teller {
    fn new(disk: &CrashingDisk) -> Self {
        let mut floor = Floor::open(disk, BEGIN);
        // One that goes on through all of a story: nothing is promised in one that has ended.
        let new = npayload::broker::asp::NewSession {
            ttl_ms: 30 * 24 * HOUR.unsigned_abs(),
            ..new_session(TRIO)
        };
        let made = floor.broker.create_session(&ME, new, Timestamp(BEGIN));
        let session = floor.durable(made.unwrap()).session.session;
        let job = floor.broker.plan_secret().unwrap();
        floor.broker.finish_secret(job.run()).unwrap();
        let (whose, at) = (agent(1), Timestamp(BEGIN));
        let paid = floor.broker.pay(&ME, deposit(&whose, 100), at);
        floor.durable(paid.unwrap());
        let mut teller = Self {
            floor,
            session,
            commitments: Vec::new(),
            disputes: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
            read: Default::default(),
        };
        teller.flush();
        teller
    }

    fn ask<T>(
        &mut self,
        accepted: Result<Accepted<T>, Refusal>,
        told: impl FnOnce(&T) -> Told,
    ) -> Option<T> {
        match accepted {
            Ok(Accepted { value, wait }) => {
                self.asked.push((wait, told(&value)));
                Some(value)
            }
            Err(refusal) => {
                let is_bug = matches!(refusal.error, BrokerError::Bug(_));
                assert!(!is_bug, "{}", refusal.error);
                None
            }
        }
    }

    fn step(&mut self, op: &Op) {
        let at = self.floor.at();
        let nth = |all: &[CommitmentId], n: usize| all.iter().rev().nth(n).copied();
        match *op {
            Op::Deposit(who, amount) => self.pay(who, amount, true),
            Op::Withdraw(who, amount) => self.pay(who, amount, false),
            Op::Promise {
                obligor,
                to,
                within,
                escrow,
                is_late_allowed,
            } => {
                let late = is_late_allowed.then(|| serde_json::from_str("15").unwrap());
                let new = NewCommitment {
                    commitment: None,
                    session: self.session,
                    obligor: agent(obligor),
                    counterparty: to.map(agent),
                    description: "a promise".to_owned(),
                    deadline: Timestamp(self.floor.now + within),
                    obligations: Vec::new(),
                    penalties: Some(Penalties {
                        late_fulfillment_percent_per_day: late,
                        non_delivery_percent: Some(serde_json::from_str("40").unwrap()),
                    }),
                    escrow: (escrow > 0).then(|| EscrowTerms {
                        amount: escrow,
                        currency: usd(),
                    }),
                    severity: None,
                    terms: None,
                    window_ms: 24 * 3_600_000,
                };
                let made = self
                    .floor
                    .broker
                    .create_commitment(&ME, new, &LookedFor::Nowhere, at);
                let told = self.ask(made, |seen| {
                    Told("commitment.created", seen.commitment.id().to_string())
                });
                self.commitments
                    .extend(told.map(|seen| seen.commitment.id()));
            }
            Op::Deliver(n) => {
                let Some(id) = nth(&self.commitments, n) else {
                    return;
                };
                let evidence = Evidence::default();
                let done = self
                    .floor
                    .broker
                    .deliver_commitment(&ME, id, None, evidence, at);
                self.ask(done, |_| Told("commitment.delivered", id.to_string()));
            }
            Op::Confirm(n) => {
                let Some(id) = nth(&self.commitments, n) else {
                    return;
                };
                let done = self.floor.broker.confirm_commitment(&ME, id, None, at);
                self.ask(done, |_| Told("commitment.confirmed", id.to_string()));
            }
            Op::Shorten(n) => {
                let Some(id) = nth(&self.commitments, n) else {
                    return;
                };
                let done = self
                    .floor
                    .broker
                    .shorten_window(&ME, id, None, 2 * 3_600_000, at);
                self.ask(done, |_| Told("commitment.windowShortened", id.to_string()));
            }
            Op::Dispute(n, who) => {
                let Some(id) = nth(&self.commitments, n) else {
                    return;
                };
                let new = NewDispute {
                    dispute: None,
                    commitment: id,
                    agent: Some(agent(who)),
                    dispute_type: None,
                    severity: None,
                    reason: "it is not what was promised".to_owned(),
                    evidence: Evidence::default(),
                    delivered: Vec::new(),
                    windows: Windows::default(),
                };
                let filed = self.floor.broker.file_dispute(&ME, new, None, at);
                let told = |id: DisputeId| Told("dispute.filed", id.to_string());
                let filed = self.ask(filed, |seen| told(seen.dispute.id()));
                self.disputes.extend(filed.map(|seen| seen.dispute.id()));
            }
            Op::Answer(n) => {
                let Some(id) = self.disputes.iter().rev().nth(n).copied() else {
                    return;
                };
                let words = "it is".to_owned();
                let evidence = Evidence::default();
                let done = self
                    .floor
                    .broker
                    .answer_dispute(&ME, id, words, evidence, at);
                self.ask(done, |_| Told("dispute.answered", id.to_string()));
            }
            Op::TakeBack(n) => {
                let Some(id) = self.disputes.iter().rev().nth(n).copied() else {
                    return;
                };
                let done = self.floor.broker.withdraw_dispute(&ME, id, at);
                self.ask(done, |_| Told("dispute.withdrawn", id.to_string()));
            }
            Op::Rule(n, how) => {
                let Some(id) = self.disputes.iter().rev().nth(n).copied() else {
                    return;
                };
                let judgement = Judgement {
                    verdict: Verdict::ALL[how],
                    severity: None,
                    reason: "so it is".to_owned(),
                };
                let done = self
                    .floor
                    .broker
                    .judge_dispute(&ME, id, None, judgement, at);
                self.ask(done, |_| Told("dispute.ruled", id.to_string()));
            }
            Op::Pass(ms) => {
                self.floor.now += ms;
                while self.floor.broker.settle_asp(self.floor.at()) {}
            }
            Op::Flush => self.flush(),
            Op::Snapshot => {
                self.floor.snapshots();
            }
            Op::Crash(seed) => {
                self.answers();
                let disk = self.floor.disk.after(Loss::Random(seed));
                self.restart(&disk);
            }
        }
    }

    fn pay(&mut self, who: usize, amount: u64, is_deposit: bool) {
        let (whose, at) = (agent(who), self.floor.at());
        let broker = &mut self.floor.broker;
        let payment = Payment {
            is_deposit,
            ..deposit(&whose, amount)
        };
        let paid = broker.pay(&ME, payment, at);
        let what = if is_deposit {
            "escrow.deposited"
        } else {
            "escrow.withdrawn"
        };
        self.ask(paid, |seen| {
            Told(what, seen.account.agent.unwrap().to_string())
        });
    }

    /// Takes note of what was answered by now.
    fn answers(&mut self) {
        let (answered, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|(wait, _)| self.floor.is_done(*wait));
        self.asked = waiting;
        self.answered
            .extend(answered.into_iter().map(|(_, told)| told));
    }

    fn flush(&mut self) {
        self.floor.rounds();
        self.answers();
        if !self.floor.disk.is_crashed() {
            self.read = TOPICS.map(|topic| records_of(&self.floor, topic));
        }
    }

    /// The broker died, and is started on what it left.
    fn restart(&mut self, disk: &CrashingDisk) {
        self.asked.clear();
        self.floor = Floor::open(disk, self.floor.now + 1);
        let found = TOPICS.map(|topic| records_of(&self.floor, topic));
        for (topic, (was, is)) in TOPICS.iter().zip(self.read.iter().zip(&found)) {
            assert!(is.starts_with(was), "{topic}: what was read is gone");
        }
        self.read = found;
        self.check();
        // What was not answered may be gone, and its number with it.
        let known = |told: Told| self.answered.contains(&told);
        let made = |id: &CommitmentId| known(Told("commitment.created", id.to_string()));
        self.commitments.retain(made);
        let filed = |id: &DisputeId| known(Told("dispute.filed", id.to_string()));
        self.disputes.retain(filed);
    }

    /// What was answered is there, and all that there is agrees.
    fn check(&self) {
        let mut told = BTreeMap::<_, usize>::new();
        for Told(of, what) in &self.answered {
            *told.entry((*of, what.clone())).or_default() += 1;
        }
        for ((of, what), times) in told {
            let rows = self.read.iter().flatten();
            let found = rows.filter(|(_, record_type, payload)| {
                record_type == of && String::from_utf8_lossy(payload).contains(&what)
            });
            assert!(
                found.count() >= times,
                "{of} {what}: answered, and not there"
            );
        }
        ledger_balances(&self.read[1]);
        let folded = topics_agree(&self.read);
        let states = self.floor.broker.promise_states();
        for (_, commitments, escrow) in states {
            assert_eq!(
                commitments, &folded.0,
                "a snapshot or the memory is another"
            );
            assert_eq!(escrow, &folded.1);
        }
        assert_eq!(
            self.floor
                .broker
                .evidence_state()
                .unwrap_or(&TrustState::default()),
            &folded.2
        );
        money_stands_behind_promises(&folded.0, &folded.1);
    }
}

fn agent(n: usize) -> AgentRef {
    AgentRef::parse(NAMES[n]).unwrap()
}

fn usd() -> Currency {
    "USD".parse().unwrap()
}

fn json(row: &Row) -> Value {
    serde_json::from_slice(&row.2).unwrap()
}

/// Adds up the money by hand, record by record.
fn ledger_balances(rows: &[Row]) {
    let mut parts: BTreeMap<String, i64> = BTreeMap::new();
    let mut outside = 0;
    for row in rows {
        let moved = json(row);
        let amount = moved["amount"].as_i64().unwrap();
        assert!(amount > 0, "{moved}");
        for (side, sign) in [("from", -1), ("to", 1)] {
            match moved.get(side) {
                Some(place) => {
                    let part = parts.entry(place.to_string()).or_default();
                    *part += sign * amount;
                    assert!(*part >= 0, "{moved}: {part}");
                }
                None => outside += sign * amount,
            }
        }
        let inside: i64 = parts.values().sum();
        assert_eq!(inside + outside, 0, "behind {moved}");
    }
}

/// What the records of promises say of money and of trust, each as one row: nothing more stands on
/// the other topics, and nothing less.
fn topics_agree(read: &[Vec<Row>; 3]) -> (Commitments, Escrow, TrustState) {
    let [promises, moves, evidence] = read;
    let mut commitments = Commitments::default();
    let (mut moved, mut seen) = (Vec::new(), Vec::new());
    let decoded: Vec<(Offset, CommitmentRecord)> = promises
        .iter()
        .map(|(offset, of, payload)| (*offset, CommitmentRecord::decode(of, payload).unwrap()))
        .collect();
    let mut rest = &decoded[..];
    while let Some((_, first)) = rest.first() {
        let is_ruled_at_once = matches!(
            (first, rest.get(1)),
            (
                CommitmentRecord::Dispute(DisputeRecord::Filed(_)),
                Some((_, CommitmentRecord::Dispute(DisputeRecord::Ruled(ruled)))),
            ) if ruled.mechanism == Mechanism::Automated
        );
        let (entry, after) = rest.split_at(if is_ruled_at_once { 2 } else { 1 });
        rest = after;
        let records: Vec<_> = entry.iter().map(|(_, record)| record.clone()).collect();
        let effects = commitments.effects(&records).unwrap();
        let id = records[0].commitment();
        for step in effects.escrow {
            let (kind, amount) = match step {
                EscrowStep::Hold(terms) => (MoveKind::Hold, Some(terms.amount)),
                EscrowStep::Freeze => (MoveKind::Freeze, None),
                EscrowStep::Unfreeze => (MoveKind::Unfreeze, None),
                EscrowStep::Forfeit { amount } => (MoveKind::Forfeit, Some(amount)),
                EscrowStep::Release => (MoveKind::Release, None),
            };
            moved.push((kind.record_type(), id, amount));
        }
        let ended = effects.outcome.filter(|of| {
            of.kind == OutcomeKind::Fulfilled
                || of.kind == OutcomeKind::Breached && of.mechanism.is_none()
        });
        seen.extend(ended.map(|of| ("commitment.ended", of.commitment)));
        let ruled = effects.disputes.iter().filter(|of| of.ruling.is_some());
        seen.extend(ruled.map(|of| ("dispute.ruled", of.commitment)));
        for (offset, record) in entry {
            commitments.apply(record, *offset).unwrap();
        }
    }
    let mut escrow = Escrow::default();
    let mut found = moved.iter();
    for (offset, of, payload) in moves {
        let record = EscrowRecord::decode(of, payload).unwrap();
        escrow.apply(&record, *offset).unwrap();
        let EscrowRecord::Moved { moved, .. } = record else {
            panic!("{record:?}")
        };
        if moved.commitment.is_none() {
            continue;
        }
        let (kind, id, amount) = found.next().expect("money moved for no reason");
        assert_eq!((*kind, *id), (of.as_str(), moved.commitment));
        assert!(
            amount.is_none_or(|amount| amount == moved.amount),
            "{moved:?}"
        );
    }
    assert_eq!(found.next(), None, "money did not follow");
    let mut trust = TrustState::default();
    let mut found = seen.iter();
    for row in evidence {
        let record = TrustRecord::decode(&row.1, &row.2).unwrap();
        trust.apply(&record, row.0).unwrap();
        if row.1 != "clock.read" {
            let (of, commitment) = found.next().expect("evidence of nothing");
            let said = json(row);
            assert_eq!(
                (row.1.as_str(), &said["commitment"]),
                (*of, &Value::from(commitment.to_string()))
            );
        }
    }
    assert_eq!(found.next(), None, "there is no evidence of it");
    (commitments, escrow, trust)
}

/// Of each promise that can still be kept, what was agreed is held.
fn money_stands_behind_promises(commitments: &Commitments, escrow: &Escrow) {
    let mut open = 0;
    for commitment in commitments.live_below(Which::All, CommitmentId(u128::MAX)) {
        let agreed = commitment.created.promise.escrow.map(|terms| terms.amount);
        let hold = escrow.hold(commitment.id());
        open += hold.map_or(0, |hold| hold.amount);
        let is_disputed = commitment.state == Promised::Disputed;
        match commitment.state {
            Promised::Active | Promised::Delivered => {
                assert_eq!(
                    hold.map(|hold| (hold.amount, hold.frozen)),
                    agreed.map(|all| (all, false))
                );
            }
            Promised::Disputed if !commitment.is_breach() => {
                assert_eq!(
                    hold.map(|hold| (hold.amount, hold.frozen)),
                    agreed.map(|all| (all, true))
                );
            }
            _ => assert!(hold.is_none_or(|hold| hold.frozen == is_disputed)),
        }
    }
    let parts = escrow
        .balances()
        .map(|(_, _, balance)| balance.held + balance.frozen);
    assert_eq!(parts.sum::<u64>(), open, "held for nothing that is live");
}

fn run(ops: &[Op]) {
    let mut teller = Teller::new(&CrashingDisk::new());
    for op in ops {
        teller.step(op);
    }
    teller.flush();
    assert_eq!(teller.asked, [], "never answered");
    teller.check();
    let disk = teller.floor.disk.after(Loss::All);
    teller.restart(&disk);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn money_promises_and_evidence_agree_over_any_history_and_any_power_cut(
        ops in proptest::collection::vec(op(), 1..70)
    ) {
        run(&ops);
    }
}

/// Everything that moves money or trust, once.
fn story() -> Vec<Op> {
    let promise = |within, escrow, is_late_allowed| Op::Promise {
        obligor: 1,
        to: None,
        within,
        escrow,
        is_late_allowed,
    };
    vec![
        Op::Deposit(1, 80),
        promise(HOUR, 30, false),
        Op::Deliver(0),
        Op::Confirm(0),
        Op::Flush,
        promise(-1, 20, true),
        Op::Dispute(0, 0),
        Op::Flush,
        promise(HOUR, 40, true),
        promise(HOUR, 0, false),
        Op::Snapshot,
        Op::Pass(HOUR),
        Op::Flush,
        Op::Deliver(1),
        Op::Flush,
        promise(HOUR, 25, false),
        Op::Deliver(0),
        Op::Flush,
        Op::Dispute(0, 0),
        Op::Dispute(0, 2),
        Op::Flush,
        Op::Answer(1),
        Op::TakeBack(0),
        Op::Pass(75 * HOUR),
        Op::Flush,
        Op::Rule(1, 1),
        Op::Withdraw(1, 10),
        Op::Flush,
        promise(HOUR, 15, false),
        Op::Deliver(0),
        Op::Shorten(0),
        Op::Pass(3 * HOUR),
        Op::Flush,
        Op::Snapshot,
        Op::Pass(9 * 24 * HOUR),
        Op::Flush,
    ]
}

#[test]
fn a_cut_at_any_call_of_the_disk_leaves_every_entry_whole_and_every_answer_true() {
    let whole = CrashingDisk::new();
    let mut teller = Teller::new(&whole);
    let first = whole.calls();
    story().iter().for_each(|op| teller.step(op));
    let all = teller.answered.len();
    assert!(all >= 17, "{all} were answered of the whole story");
    let kinds: std::collections::BTreeSet<_> = teller
        .read
        .iter()
        .flatten()
        .map(|row| row.1.as_str())
        .collect();
    assert!(kinds.len() >= 20, "the story shrank to {kinds:?}");
    let last = whole.calls();
    assert!(last - first > 100, "{first}..{last}");
    for call in first..last {
        let disk = CrashingDisk::new();
        let mut teller = Teller::new(&disk);
        match call % 2 {
            0 => disk.crash_during(call),
            _ => disk.crash_after(call),
        }
        for op in story() {
            if disk.is_crashed() {
                break;
            }
            teller.step(&op);
        }
        teller.answers();
        for loss in [Loss::All, Loss::None, Loss::Random(call)] {
            let after = disk.after(loss);
            if matches!(loss, Loss::Random(_)) {
                // The start is cut off too.
                let calls = after.calls();
                after.crash_after(calls + call % 11);
                drop(Floor::try_open(&after, teller.floor.now + 1));
            }
            let after = after.after(Loss::Random(call + 1));
            let mut heir = Teller {
                floor: Floor::open(&after, teller.floor.now + 1),
                session: teller.session,
                commitments: teller.commitments.clone(),
                disputes: teller.disputes.clone(),
                asked: Vec::new(),
                answered: teller.answered.clone(),
                read: teller.read.clone(),
            };
            heir.restart(&after.after(Loss::None));
            // Life goes on: money comes in, time passes, and all agrees again.
            heir.step(&Op::Deposit(2, 7));
            heir.step(&Op::Pass(10 * 24 * HOUR));
            heir.flush();
            assert_eq!(heir.asked, [], "never answered");
            heir.check();
        }
    }
}
