//! The steps of a commitment one by one, what follows from them for money and trust, and the
//! properties that every history has.

mod clock;
mod history;
mod judging;
mod limits;
mod money;
mod records;
mod table;

use proptest::prelude::*;

use super::*;
use crate::asp::chain::Digest;
use crate::asp::dispute::{
    CheckedFile, DisputeError, File, Judgement, LogFacts, Mechanism, Secret, Verdict, Windows,
};
use crate::asp::{Canonical, Knot};
use crate::folding::EventError;
use crate::types::{AgentId, CommitmentId, DisputeId, Offset, OrgId, PrincipalId, SessionId};
use crate::types::{MessageId, Timestamp};

const BY: PrincipalId = PrincipalId(1);
const START: Timestamp = Timestamp(1_000_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A number as an id of version 7.
fn id(number: u128) -> CommitmentId {
    CommitmentId(number << 80 | 7 << 76)
}

fn dispute_id(number: u128) -> DisputeId {
    DisputeId(number << 80 | 7 << 76)
}

fn party(agent: u128) -> Party {
    Party {
        agent: AgentId(agent),
        org: OrgId(u32::try_from(agent).unwrap()),
    }
}

fn actor(agent: u128, standing: Standing) -> Actor {
    Actor {
        party: party(agent),
        standing,
        by: BY,
    }
}

fn obligor() -> Actor {
    actor(1, Standing::Participant)
}

fn counterparty() -> Actor {
    actor(2, Standing::Participant)
}

fn secret(number: u8) -> Secret {
    Secret([number; 32])
}

fn promise() -> Promise {
    let mut promise = Promise::new(SessionId(5), party(1), at(DAY));
    promise.counterparty = Some(party(2));
    promise.description = "Deliver competitor pricing analysis".to_owned();
    promise
}

fn at(ms: i64) -> Timestamp {
    START.saturating_add_ms(ms)
}

fn create(commitment: u128, promise: Promise, mode: Mode) -> Create {
    Create {
        commitment: id(commitment),
        escrow_held: promise.escrow.map_or(0, |escrow| escrow.amount),
        promise,
        mode,
        judge: Judge::Participant,
        message: None,
        claim_ms: DEFAULT_CLAIM_MS,
        by: BY,
    }
}

fn file(dispute: u128, commitment: u128, filer: Actor) -> File {
    File {
        dispute: dispute_id(dispute),
        commitment: id(commitment),
        filer,
        dispute_type: None,
        severity: None,
        reason: "Analysis was not delivered by the deadline".to_owned(),
        evidence: Evidence {
            references: Vec::new(),
            words: Some(plain(
                &Canonical::parse(r#"{"missedDeadline":true}"#).unwrap(),
            )),
        },
        facts: LogFacts::default(),
        log_hash: Digest([9; 32]),
        next_seal: secret(2).seal(),
        seal_number: None,
        windows: Windows::default(),
    }
}

/// A state with the records that made it.
#[derive(Clone, Default)]
struct Topic {
    state: Commitments,
    records: Vec<CommitmentRecord>,
    effects: Vec<(Option<CommitmentId>, Effects)>,
}

impl Topic {
    fn offset(&self) -> Offset {
        Offset(self.records.len() as u64)
    }

    /// Writes records as one entry, as they are read back.
    fn write(&mut self, records: Vec<CommitmentRecord>) -> Effects {
        let effects = self.state.effects(&records).unwrap();
        let of = records.iter().find_map(CommitmentRecord::commitment);
        for record in records {
            let json = String::from_utf8(record.encode()).unwrap();
            assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
            let read = CommitmentRecord::decode(record.record_type(), json.as_bytes()).unwrap();
            assert_eq!(read, record);
            self.state.apply(&read, self.offset()).unwrap();
            self.records.push(read);
        }
        self.effects.push((of, effects.clone()));
        effects
    }

    fn create(&mut self, create: Create, now: Timestamp) -> Effects {
        match self.state.check_create(create, now).unwrap() {
            Checked::New(record) => self.write(vec![record]),
            Checked::Before(held) => panic!("{held:?} was there before"),
        }
    }

    fn file(&mut self, file: File, now: Timestamp) -> Effects {
        if self.state.seal().is_none() {
            let seal = self.state.check_seal(secret(1).seal(), now).unwrap();
            self.write(vec![seal]);
        }
        match self.state.check_file(file, now).unwrap() {
            CheckedFile::New(records) => self.write(records),
            CheckedFile::Before(dispute) => panic!("{dispute:?} was there before"),
        }
    }

    /// All that the clock does until that time.
    fn tick(&mut self, now: Timestamp) -> Vec<Effects> {
        let mut effects = Vec::new();
        while let Some(due) = self.state.next_due(now) {
            let record = match due {
                Due::Record(record) => record,
                Due::Review(dispute) => {
                    let filed = self.state.dispute(dispute).unwrap().filed;
                    let mut secrets = (0..=u8::MAX).map(secret);
                    let secret = secrets.find(|secret| secret.seal() == filed.seal).unwrap();
                    let candidates: Vec<_> = (10..20).map(party).collect();
                    let state = &self.state;
                    state
                        .check_review(dispute, &candidates, &secret, now)
                        .unwrap()
                }
            };
            effects.push(self.write(vec![record]));
        }
        effects
    }

    fn state_of(&self, commitment: u128) -> State {
        self.state
            .commitment(id(commitment))
            .unwrap()
            .commitment()
            .state
    }

    fn deliver(&mut self, commitment: u128, now: Timestamp) -> Effects {
        let evidence = Evidence::default();
        let state = &self.state;
        let record = state
            .check_deliver(id(commitment), obligor(), evidence, now)
            .unwrap();
        self.write(vec![record])
    }

    fn confirm(&mut self, commitment: u128, actor: Actor, now: Timestamp) -> Effects {
        let record = self.state.check_confirm(id(commitment), actor, now);
        self.write(vec![record.unwrap()])
    }

    /// A replay of all records, and a snapshot read back, give the same state.
    fn check(&self) {
        let mut replayed = Commitments::default();
        for (record, offset) in self.records.iter().zip(0..) {
            replayed.apply(record, Offset(offset)).unwrap();
        }
        assert_eq!(replayed, self.state);
        let mut folded = Commitments::default();
        for record in self.state.fold_in_parts(2_000) {
            let read = CommitmentRecord::decode(record.record_type(), &record.encode()).unwrap();
            folded.apply(&read, Offset(0)).unwrap();
        }
        assert_eq!(folded, self.state);
    }

    fn receipt(&self, commitment: u128) -> Receipt {
        let held = self.state.commitment(id(commitment)).unwrap();
        let mut offsets = held.commitment().offsets.clone();
        if let Held::Closed(_, offset) = held {
            offsets.push(offset);
        }
        let records = offsets.into_iter().map(|offset| {
            let record = &self.records[usize::try_from(offset.0).unwrap()];
            let json = String::from_utf8(record.encode()).unwrap();
            ReceiptRecord {
                offset,
                record: serde_json::value::RawValue::from_string(json)
                    .unwrap()
                    .into(),
            }
        });
        Receipt::of(id(commitment), records.collect(), Vec::new()).unwrap()
    }
}

/// A commitment in that state, with number 1, and the time to go on from.
fn in_state(state: State) -> (Topic, Timestamp) {
    let mut topic = Topic::default();
    let mode = match state {
        State::Proposed | State::Withdrawn | State::Rejected | State::Expired => Mode::Agreed,
        _ => Mode::OneSided,
    };
    topic.create(create(1, promise(), mode), START);
    let step = |topic: &mut Topic, record: Result<CommitmentRecord, CommitmentError>| {
        topic.write(vec![record.unwrap()]);
    };
    match state {
        State::Proposed | State::Active => {}
        State::Withdrawn => {
            let record = topic.state.check_withdraw(id(1), obligor(), None, START);
            step(&mut topic, record);
        }
        State::Rejected => {
            let record = topic.state.check_reject(id(1), counterparty(), None, START);
            step(&mut topic, record);
        }
        State::Expired => {
            let record = topic.state.check_expire(id(1), START);
            step(&mut topic, record);
        }
        State::Delivered => {
            topic.deliver(1, START);
        }
        State::Fulfilled => {
            topic.deliver(1, START);
            topic.confirm(1, counterparty(), START);
        }
        State::Breached => {
            topic.tick(at(DAY));
            return (topic, at(DAY));
        }
        State::Disputed => {
            topic.deliver(1, START);
            topic.file(file(1, 1, counterparty()), START);
        }
        State::Resolved => {
            topic.tick(at(DAY));
            topic.file(file(1, 1, counterparty()), at(DAY));
            return (topic, at(DAY));
        }
    }
    (topic, START)
}

/// What a step gives, as the code judges it for that actor.
fn try_step(
    topic: &Topic,
    step: Step,
    actor: Actor,
    now: Timestamp,
) -> Result<Vec<CommitmentRecord>, CommitmentError> {
    let state = &topic.state;
    let one = |record: Result<CommitmentRecord, CommitmentError>| record.map(|one| vec![one]);
    match step {
        Step::Accept => one(state.check_accept(id(1), actor, None, 0, now)),
        Step::Reject => one(state.check_reject(id(1), actor, None, now)),
        Step::Withdraw => one(state.check_withdraw(id(1), actor, None, now)),
        Step::Deliver => one(state.check_deliver(id(1), actor, Evidence::default(), now)),
        Step::Confirm => one(state.check_confirm(id(1), actor, now)),
        Step::Shorten => one(state.check_shorten(id(1), actor, 1_000, now)),
        Step::Dispute => {
            let mut topic = topic.clone();
            if topic.state.seal().is_none() {
                let seal = topic.state.check_seal(secret(1).seal(), now).unwrap();
                topic.write(vec![seal]);
            }
            match topic.state.check_file(file(77, 1, actor), now) {
                Ok(CheckedFile::New(records)) => Ok(records),
                Ok(CheckedFile::Before(dispute)) => panic!("{dispute:?} was there before"),
                // One that this agent has filed is not the table's to refuse.
                Err(DisputeError::Filed { .. }) => Ok(Vec::new()),
                Err(DisputeError::Commitment(error)) => Err(error),
                Err(error) => panic!("{error}"),
            }
        }
        Step::Expire => one(state.check_expire(id(1), now)),
        Step::Lapse | Step::Breach | Step::Settle => unreachable!("only the clock does this"),
    }
}

/// A one-sided promise with 1,000 in escrow.
fn with_escrow(late: Option<f64>, none: Option<f64>) -> Create {
    let mut promise = promise();
    promise.escrow = Some(EscrowTerms {
        amount: 1_000,
        currency: "EUR".parse().unwrap(),
    });
    let percent = |percent: Option<f64>| percent.map(|percent| percent.try_into().unwrap());
    promise.penalties = Some(Penalties {
        late_fulfillment_percent_per_day: percent(late),
        non_delivery_percent: percent(none),
    });
    create(1, promise, Mode::OneSided)
}
