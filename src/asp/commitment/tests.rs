//! The steps of a commitment one by one, what follows from them for money and trust, and the
//! properties that every history has.

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

#[test]
fn every_step_in_every_state_by_everybody_is_what_the_table_says() {
    let clock_only = [Step::Lapse, Step::Breach, Step::Settle, Step::Expire];
    for state in State::ALL {
        let (topic, now) = in_state(state);
        assert_eq!(topic.state_of(1), state);
        for step in Step::ALL {
            for (actor, voice) in [
                (obligor(), Voice::Obligor),
                (counterparty(), Voice::Judge),
                (actor(3, Standing::Coordinator), Voice::Participant),
                (actor(4, Standing::Participant), Voice::Participant),
            ] {
                if clock_only.contains(&step) {
                    continue;
                }
                let found = try_step(&topic, step, actor, now);
                let case = format!("{voice} {step} {state}: {found:?}");
                match (next(state, step, voice), found) {
                    (Some(next), Ok(records)) => {
                        let mut after = topic.clone();
                        if records.is_empty() {
                            continue;
                        }
                        if step == Step::Dispute && after.state.seal().is_none() {
                            let seal = after.state.check_seal(secret(1).seal(), now).unwrap();
                            after.write(vec![seal]);
                        }
                        after.write(records);
                        let expected = match (next, state) {
                            (Next::Stays, _) => state,
                            // What the clock saw is ruled on at once.
                            (Next::To(State::Disputed), State::Breached) => State::Resolved,
                            (Next::To(state), _) => state,
                            (Next::Delivery, _) => State::Delivered,
                            (Next::Ruling, _) => unreachable!("only the clock does this"),
                        };
                        assert_eq!(after.state_of(1), expected, "{case}");
                        after.check();
                    }
                    (None, Err(CommitmentError::Illegal { .. })) => {}
                    // A delivery comes once, whatever the table says.
                    (Some(_), Err(CommitmentError::Delivered { .. })) => {
                        assert_eq!((step, state), (Step::Deliver, State::Disputed), "{case}");
                    }
                    _ => panic!("{case}"),
                }
            }
            let stranger = actor(9, Standing::Stranger);
            if !clock_only.contains(&step) {
                let refused = try_step(&topic, step, stranger, now).unwrap_err();
                assert!(
                    matches!(refused, CommitmentError::NotParty { .. }),
                    "{refused}"
                );
            }
        }
        let expires = try_step(&topic, Step::Expire, obligor(), now).is_ok();
        assert_eq!(expires, next(state, Step::Expire, Voice::Clock).is_some());
    }
}

#[test]
fn the_clock_breaches_lapses_expires_and_closes_at_the_deadline_and_not_before() {
    for (state, after) in [
        (State::Proposed, State::Expired),
        (State::Active, State::Breached),
        (State::Delivered, State::Fulfilled),
    ] {
        let (mut topic, _) = in_state(state);
        assert_eq!(topic.state.next_deadline(), Some(at(DAY)));
        assert_eq!(topic.state.next_due(at(DAY - 1)), None);
        let Some(Due::Record(record)) = topic.state.next_due(at(DAY)) else {
            panic!("nothing is due");
        };
        let CommitmentRecord::Stepped { step, stepped } = &record else {
            panic!("{record:?}");
        };
        let mut early = stepped.clone();
        early.at = at(DAY - 1);
        let early = CommitmentRecord::Stepped {
            step: *step,
            stepped: early,
        };
        let refused = topic.state.clone().apply(&early, topic.offset());
        // An offer also expires with its session.
        assert_eq!(refused.is_ok(), *step == Step::Expire);
        topic.write(vec![record]);
        assert_eq!(topic.state_of(1), after);
        topic.check();
    }
}

#[test]
fn nobody_comes_between_a_deadline_and_its_record() {
    let (topic, _) = in_state(State::Active);
    let late = try_step(&topic, Step::Deliver, obligor(), at(DAY)).unwrap_err();
    assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
    let (topic, _) = in_state(State::Delivered);
    for step in [Step::Confirm, Step::Dispute, Step::Shorten] {
        let late = try_step(&topic, step, counterparty(), at(DAY)).unwrap_err();
        assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
    }
    let (topic, _) = in_state(State::Proposed);
    let late = try_step(&topic, Step::Accept, counterparty(), at(DAY)).unwrap_err();
    assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
}

#[test]
fn a_deadline_already_past_is_taken_as_given_and_breached_at_once() {
    let mut topic = Topic::default();
    let mut past = promise();
    past.deadline = at(-DAY);
    let effects = topic.create(create(1, past, Mode::OneSided), START);
    assert_eq!(effects, Effects::default());
    assert_eq!(topic.state_of(1), State::Active);
    let effects = topic.tick(START);
    assert_eq!(topic.state_of(1), State::Breached);
    let outcome = effects[0].outcome.clone().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Breached);
    assert_eq!((outcome.severity, outcome.at), (1, START));
}

#[test]
fn an_offer_binds_once_accepted_and_cannot_be_taken_back() {
    let (mut topic, now) = in_state(State::Proposed);
    let message = Some(Said {
        message: MessageId(3),
        offset: Offset(9),
        is_signed: false,
    });
    let record = topic
        .state
        .check_accept(id(1), counterparty(), message, 0, now);
    topic.write(vec![record.unwrap()]);
    assert_eq!(topic.state_of(1), State::Active);
    let refused = try_step(&topic, Step::Withdraw, obligor(), now).unwrap_err();
    let CommitmentError::Illegal { allowed, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(allowed, &[Step::Deliver]);
    topic.deliver(1, now);
    let effects = topic.confirm(1, counterparty(), now);
    let outcome = effects.outcome.unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Explicit));
    assert_eq!(outcome.confirmed_by, Some(party(2)));
    assert_eq!(outcome.mode, Mode::Agreed);
    topic.check();
}

#[test]
fn an_offer_to_all_is_judged_by_whoever_accepts_it() {
    let mut topic = Topic::default();
    let mut open = promise();
    open.counterparty = None;
    topic.create(create(1, open.clone(), Mode::Agreed), START);
    let record = topic
        .state
        .check_accept(id(1), actor(4, Standing::Participant), None, 0, START);
    topic.write(vec![record.unwrap()]);
    topic.deliver(1, START);
    let other = actor(2, Standing::Coordinator);
    let refused = topic.state.check_confirm(id(1), other, START).unwrap_err();
    assert!(matches!(refused, CommitmentError::Illegal { .. }));
    topic.confirm(1, actor(4, Standing::Participant), START);
    let of = topic.state.live_of(Which::Counterparty(AgentId(4)));
    assert_eq!(of.count(), 1);
    let mut alone = create(2, open, Mode::Agreed);
    alone.judge = Judge::Nobody;
    let refused = topic.state.check_create(alone, START).unwrap_err();
    assert_eq!(refused, CommitmentError::NobodyAccepts(AgentId(1)));
}

#[test]
fn a_promise_to_the_session_is_judged_by_its_coordinator_else_by_any_other_else_by_nobody() {
    let mut open = promise();
    open.counterparty = None;
    let coordinator = actor(3, Standing::Coordinator);
    let specialist = actor(4, Standing::Participant);
    for (judge, may, may_not) in [
        (Judge::Coordinator, vec![coordinator], vec![specialist]),
        (Judge::Participant, vec![coordinator, specialist], vec![]),
    ] {
        for (actor, is_judge) in may
            .iter()
            .map(|actor| (*actor, true))
            .chain(may_not.iter().map(|actor| (*actor, false)))
        {
            let mut topic = Topic::default();
            let mut create = create(1, open.clone(), Mode::OneSided);
            create.judge = judge;
            topic.create(create, START);
            topic.deliver(1, START);
            assert_eq!(topic.state_of(1), State::Delivered);
            let confirmed = topic.state.check_confirm(id(1), actor, START);
            assert_eq!(confirmed.is_ok(), is_judge, "{judge:?} {actor:?}");
        }
    }
    let mut topic = Topic::default();
    let mut create = create(1, open, Mode::OneSided);
    create.judge = Judge::Nobody;
    topic.create(create, START);
    let effects = topic.deliver(1, START);
    assert_eq!(topic.state_of(1), State::Fulfilled);
    let outcome = effects.outcome.unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Unjudged));
}

#[test]
fn silence_confirms_and_only_whoever_judges_makes_the_window_shorter() {
    let (mut topic, now) = in_state(State::Delivered);
    let refused = topic
        .state
        .check_shorten(id(1), obligor(), 1_000, now)
        .unwrap_err();
    assert!(matches!(refused, CommitmentError::Illegal { .. }));
    for (ms, least, most) in [
        (0, 1, DEFAULT_WINDOW_MS - 1),
        (DEFAULT_WINDOW_MS, 1, DEFAULT_WINDOW_MS - 1),
    ] {
        let refused = topic.state.check_shorten(id(1), counterparty(), ms, now);
        let expected = OutOfLimit {
            what: "windowMs",
            value: ms,
            least,
            most,
        };
        assert_eq!(refused, Err(expected.into()));
    }
    let record = topic
        .state
        .check_shorten(id(1), counterparty(), 1_000, now)
        .unwrap();
    topic.write(vec![record]);
    assert_eq!(topic.state.next_deadline(), Some(at(1_000)));
    let effects = topic.tick(at(1_000));
    let outcome = effects[0].outcome.clone().unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Silent));
    assert_eq!(outcome.confirmed_by, None);
    topic.check();
}

#[test]
fn of_two_who_resolve_one_commitment_at_once_exactly_one_wins() {
    let (topic, now) = in_state(State::Delivered);
    // Both are judged before either is written.
    let first = topic.state.check_confirm(id(1), counterparty(), now);
    let mut disputes = topic.clone();
    disputes.file(file(1, 1, actor(3, Standing::Coordinator)), now);
    let second = disputes.records[2..].to_vec();
    let mut won = topic.clone();
    won.write(vec![first.clone().unwrap()]);
    let lost = won.state.check_confirm(id(1), counterparty(), now);
    let expected = CommitmentError::Illegal {
        commitment: id(1),
        state: State::Fulfilled,
        step: Step::Confirm,
        voice: Voice::Judge,
        allowed: Vec::new(),
    };
    assert_eq!(lost, Err(expected));
    won.state.apply(&second[0], won.offset()).unwrap();
    won.state.apply(&second[1], won.offset()).unwrap_err();
    won.state.apply(&first.unwrap(), won.offset()).unwrap_err();
    assert_eq!(won.state_of(1), State::Fulfilled);
}

#[test]
fn a_promise_that_comes_again_is_answered_and_another_under_its_id_is_refused() {
    let mut topic = Topic::default();
    let first = create(1, promise(), Mode::OneSided);
    topic.create(first.clone(), START);
    match topic.state.check_create(first.clone(), at(5)).unwrap() {
        Checked::Before(held) => assert_eq!(held.commitment().state, State::Active),
        Checked::New(record) => panic!("{record:?}"),
    }
    let mut other = first.clone();
    other.promise.description.push('!');
    let taken = |member| CommitmentError::IdTaken {
        commitment: id(1),
        member,
    };
    let state = &topic.state;
    assert_eq!(state.check_create(other, at(5)), Err(taken("promise")));
    let mut other = first;
    other.mode = Mode::Agreed;
    assert_eq!(state.check_create(other, at(5)), Err(taken("mode")));
}

#[test]
fn what_breaks_a_limit_is_refused_with_limit_and_value() {
    let state = Commitments::default();
    let refuse = |change: &dyn Fn(&mut Create)| {
        let mut create = create(1, promise(), Mode::OneSided);
        change(&mut create);
        state.check_create(create, START).unwrap_err()
    };
    type Change = Box<dyn Fn(&mut Create)>;
    let limits: [(&str, u64, Change); 9] = [
        (
            "description bytes",
            4_097,
            Box::new(|c| c.promise.description = "a".repeat(4_097)),
        ),
        (
            "obligations",
            33,
            Box::new(|c| {
                let one = Obligation {
                    action: String::new(),
                    deadline: None,
                    party: String::new(),
                    verification_method: None,
                };
                c.promise.obligations = vec![one; 33];
            }),
        ),
        (
            "obligations.deadline",
            1_000_001 + 86_400_000,
            Box::new(|c| {
                c.promise.obligations = vec![Obligation {
                    action: String::new(),
                    deadline: Some(at(DAY + 1)),
                    party: String::new(),
                    verification_method: None,
                }];
            }),
        ),
        (
            "deadline",
            1 << 53,
            Box::new(|c| c.promise.deadline = Timestamp(1 << 53)),
        ),
        ("severity", 6, Box::new(|c| c.promise.severity = Some(6))),
        ("severity", 0, Box::new(|c| c.promise.severity = Some(0))),
        ("windowMs", 0, Box::new(|c| c.promise.window_ms = 0)),
        ("claimMs", 0, Box::new(|c| c.claim_ms = 0)),
        (
            "terms bytes",
            65_537,
            Box::new(|c| {
                let text = format!("\"{}\"", "a".repeat(65_535));
                c.promise.terms = Some(plain(&Canonical::parse(&text).unwrap()));
            }),
        ),
    ];
    for (what, value, change) in limits {
        match refuse(&*change) {
            CommitmentError::OutOfLimit(limit) => {
                assert_eq!((limit.what, limit.value), (what, value));
            }
            other => panic!("{what}: {other}"),
        }
    }
    let refused = refuse(&|c| c.commitment = CommitmentId(1));
    assert_eq!(refused, CommitmentError::IdVersion(CommitmentId(1)));
    let refused = refuse(&|c| c.promise.counterparty = Some(party(1)));
    assert_eq!(refused, CommitmentError::OwnCounterparty(AgentId(1)));
    let refused = refuse(&|c| {
        let currency = "EUR".parse().unwrap();
        c.promise.escrow = Some(EscrowTerms {
            amount: 100,
            currency,
        });
        c.escrow_held = 99;
    });
    assert!(matches!(
        refused,
        CommitmentError::EscrowNotHeld {
            amount: 100,
            held: 99,
            ..
        }
    ));
    let unknown = state.check_confirm(id(1), counterparty(), START);
    assert_eq!(unknown, Err(CommitmentError::Unknown(id(1))));
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

fn forfeit(amount: u64) -> EscrowStep {
    EscrowStep::Forfeit { amount }
}

#[test]
fn escrow_is_held_by_the_promise_and_released_once_it_is_kept() {
    let mut topic = Topic::default();
    let effects = topic.create(with_escrow(None, None), START);
    assert!(matches!(effects.escrow[..], [EscrowStep::Hold(_)]));
    assert_eq!(topic.deliver(1, START).escrow, []);
    let effects = topic.confirm(1, counterparty(), START);
    assert_eq!(effects.escrow, [EscrowStep::Release]);
    assert!(topic.tick(START).iter().all(|all| all.escrow.is_empty()));
}

#[test]
fn a_breach_forfeits_by_the_penalties_at_once() {
    for (none, expected) in [
        (None, vec![forfeit(1_000)]),
        (Some(25.0), vec![forfeit(250), EscrowStep::Release]),
        (Some(0.0), vec![EscrowStep::Release]),
    ] {
        let mut topic = Topic::default();
        topic.create(with_escrow(None, none), START);
        assert_eq!(topic.tick(at(DAY))[0].escrow, expected);
        // A dispute about it finds the money gone, and moves nothing.
        let effects = topic.file(file(1, 1, counterparty()), at(DAY));
        assert_eq!(effects.escrow, []);
        let outcome = effects.outcome.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Upheld);
        assert_eq!(outcome.commitment, id(1));
        assert_eq!(effects.disputes.len(), 1);
    }
}

#[test]
fn late_terms_keep_what_is_left_for_a_late_delivery() {
    let late = || {
        let mut topic = Topic::default();
        topic.create(with_escrow(Some(10.0), Some(60.0)), START);
        assert_eq!(topic.tick(at(DAY))[0].escrow, [forfeit(100)]);
        topic
    };
    let mut delivered = late();
    // Three days have begun.
    let effects = delivered.deliver(1, at(DAY + 2 * DAY + 1));
    assert_eq!(effects.escrow, [forfeit(200), EscrowStep::Release]);
    assert_eq!(effects.outcome, None);
    assert_eq!(delivered.state_of(1), State::Breached);
    let again = try_step(&delivered, Step::Deliver, obligor(), at(4 * DAY)).unwrap_err();
    assert!(matches!(again, CommitmentError::Delivered { .. }));

    let mut never = late();
    let effects = never.tick(at(8 * DAY));
    // Seven days of ten percent each are more than what was agreed for no delivery.
    assert_eq!(effects[0].escrow, [forfeit(600), EscrowStep::Release]);

    let mut disputed = late();
    let effects = disputed.file(file(1, 1, actor(3, Standing::Coordinator)), at(2 * DAY));
    // The log rules what the clock saw; late delivery stays possible.
    assert_eq!(effects.escrow, []);
    assert_eq!(disputed.state_of(1), State::Resolved);
    let effects = disputed.deliver(1, at(2 * DAY));
    assert_eq!(effects.escrow, [EscrowStep::Release]);
    disputed.check();
}

#[test]
fn an_open_dispute_freezes_and_moves_neither_money_nor_trust() {
    let mut topic = Topic::default();
    topic.create(with_escrow(None, Some(40.0)), START);
    topic.deliver(1, START);
    let effects = topic.file(file(1, 1, counterparty()), START);
    assert_eq!(effects.escrow, [EscrowStep::Freeze]);
    assert_eq!((effects.outcome, effects.disputes), (None, vec![]));
    assert_eq!(topic.state_of(1), State::Disputed);
    // Longer than its window, and it does not confirm itself.
    assert!(topic.tick(at(2 * DAY)).is_empty());
    topic.tick(at(3 * DAY));
    for (verdict, steps, state) in [
        (
            Verdict::Upheld,
            vec![EscrowStep::Unfreeze, forfeit(400), EscrowStep::Release],
            State::Resolved,
        ),
        (
            Verdict::Partial,
            vec![EscrowStep::Unfreeze, forfeit(200), EscrowStep::Release],
            State::Resolved,
        ),
        (
            Verdict::Dismissed,
            vec![EscrowStep::Unfreeze],
            State::Delivered,
        ),
    ] {
        let mut topic = topic.clone();
        let arbitration = topic.state.dispute(dispute_id(1)).unwrap().arbitration;
        let seats: Vec<_> = arbitration.unwrap().sitting().cloned().collect();
        let mut last = Effects::default();
        for seat in &seats[..2] {
            let actor = Actor {
                party: seat.party,
                standing: Standing::Stranger,
                by: BY,
            };
            let judgement = Judgement {
                verdict,
                severity: Some(3),
                reason: String::new(),
            };
            let state = &topic.state;
            let now = at(3 * DAY);
            let records = state.check_vote(dispute_id(1), actor, judgement, &secret(1), now);
            last = topic.write(records.unwrap());
        }
        assert_eq!(last.escrow, steps);
        assert_eq!(topic.state_of(1), state);
        assert_eq!(last.outcome.is_some(), state == State::Resolved);
        assert_eq!(last.disputes[0].ruling, Some((verdict, Mechanism::Peer, 3)));
        if state == State::Delivered {
            // Whoever judges has the window that was left when it was disputed.
            assert_eq!(topic.state.next_deadline(), Some(at(4 * DAY)));
            topic.tick(at(4 * DAY));
            assert_eq!(topic.state_of(1), State::Fulfilled);
        }
        topic.check();
    }
}

#[test]
fn what_is_delivered_late_while_disputed_moves_money_when_the_dispute_ends() {
    let mut topic = Topic::default();
    topic.create(with_escrow(Some(10.0), Some(60.0)), START);
    topic.tick(at(DAY));
    let mut mismatch = file(1, 1, counterparty());
    mismatch.dispute_type = Some(crate::asp::dispute::DisputeType::SpecificationMismatch);
    let effects = topic.file(mismatch, at(DAY));
    assert_eq!(effects.escrow, [EscrowStep::Freeze]);
    assert_eq!(topic.deliver(1, at(DAY + 1)).escrow, []);
    let state = &topic.state;
    let record = state.check_withdraw_dispute(dispute_id(1), counterparty(), at(2 * DAY));
    let effects = topic.write(vec![record.unwrap()]);
    assert_eq!(effects.escrow, [EscrowStep::Unfreeze, EscrowStep::Release]);
    // It was and is breached, so that is nothing new.
    assert_eq!(effects.outcome, None);
    assert_eq!(topic.state_of(1), State::Breached);
    topic.check();
}

#[test]
fn offers_that_come_to_nothing_release_what_they_held() {
    let offer = || {
        let mut topic = Topic::default();
        let mut create = with_escrow(None, None);
        create.mode = Mode::Agreed;
        topic.create(create, START);
        topic
    };
    let state = offer().state;
    let refused = state.check_accept(id(1), counterparty(), None, 999, START);
    assert!(matches!(
        refused,
        Err(CommitmentError::EscrowNotHeld { held: 999, .. })
    ));
    for record in [
        state.check_reject(id(1), counterparty(), None, START),
        state.check_withdraw(id(1), obligor(), None, START),
        state.check_expire(id(1), START),
    ] {
        let effects = offer().write(vec![record.unwrap()]);
        assert_eq!(effects.escrow, [EscrowStep::Release]);
        assert_eq!(effects.outcome, None);
    }
}

#[test]
fn closed_ones_are_found_by_thread_and_filed_ones_by_their_file() {
    let mut topic = Topic::default();
    let count = MAX_HELD as u128;
    for number in 1..=count {
        let mut promise = promise();
        promise.obligor = party(1 + number % 3 * 10);
        promise.session = SessionId(number % 7);
        topic.create(create(number, promise, Mode::OneSided), START);
    }
    topic.tick(at(DAY));
    topic.tick(at(9 * DAY));
    assert_eq!(topic.state.live_count(), 0);
    // Every thread leads through exactly its own, the latest first.
    for (which, expected) in [
        (Which::All, count),
        (Which::Obligor(AgentId(1)), count / 3),
        (Which::Counterparty(AgentId(2)), count),
        (Which::Session(SessionId(1)), count.div_ceil(7)),
    ] {
        let mut found = 0;
        let mut at = topic.state.knot(which);
        while let Some(Knot { number, offset }) = at {
            let record = &topic.records[usize::try_from(offset.0).unwrap()];
            let CommitmentRecord::Closed(closed) = record else {
                panic!("{record:?}");
            };
            let links = closed.threads.of(which).unwrap();
            assert_eq!(links.number(), number);
            at = links.back;
            found += 1;
        }
        assert!(
            found >= expected && found <= expected + 1,
            "{which:?} {found}"
        );
    }
    let filing = topic.state.next_filing().unwrap();
    topic.write(vec![filing]);
    assert_eq!(topic.state.next_filing(), None);
    assert_eq!(topic.state.held().count(), MAX_HELD / 2);
    let gone = id(1);
    assert_eq!(topic.state.commitment(gone), None);
    let file = topic.state.filed(gone).next().unwrap();
    let CommitmentRecord::Filed(filed) = &topic.records[usize::try_from(file.0).unwrap()] else {
        panic!("no file");
    };
    let offset = filed.commitment(gone).unwrap();
    let record = &topic.records[usize::try_from(offset.0).unwrap()];
    assert_eq!(record.commitment(), Some(gone));
    topic.check();
}

#[test]
fn a_receipt_is_verified_with_nothing_but_itself_and_shows_any_change() {
    let (mut topic, _) = in_state(State::Resolved);
    for closed in [false, true] {
        if closed {
            topic.tick(at(30 * DAY));
        }
        let receipt = topic.receipt(1);
        let text = serde_json::to_string(&receipt).unwrap();
        let read: Receipt = serde_json::from_str(&text).unwrap();
        let verified = read.verify().unwrap();
        assert_eq!(verified.commitment.state, State::Resolved);
        assert_eq!(verified.commitment.closed, closed);
        let mut caught = 0;
        for (at, byte) in text.bytes().enumerate() {
            // Digits and letters, so that most changes are still JSON.
            if !byte.is_ascii_alphanumeric() || at % 3 != 0 {
                continue;
            }
            let mut changed = text.clone().into_bytes();
            changed[at] = if byte == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(receipt) = serde_json::from_str::<Receipt>(&changed) {
                receipt.verify().unwrap_err();
                caught += 1;
            }
        }
        assert!(caught > 300, "{caught}");
        let mut without = read.clone();
        without.records.remove(1);
        without.verify().unwrap_err();
    }
    let (topic, _) = in_state(State::Delivered);
    let mut receipt = topic.receipt(1);
    receipt.records.reverse();
    assert!(matches!(
        receipt.verify(),
        Err(ReceiptFault::State { .. } | ReceiptFault::Order { .. })
    ));
}

#[test]
fn a_record_that_cannot_follow_is_refused_and_changes_nothing() {
    let (topic, now) = in_state(State::Delivered);
    let forged = |change: &dyn Fn(&mut Stepped)| {
        let CommitmentRecord::Stepped { step, mut stepped } = topic
            .state
            .check_confirm(id(1), counterparty(), now)
            .unwrap()
        else {
            panic!("no step");
        };
        change(&mut stepped);
        CommitmentRecord::Stepped { step, stepped }
    };
    let mut state = topic.state.clone();
    for record in [
        forged(&|stepped| stepped.party = Some(party(3))),
        forged(&|stepped| stepped.party = Some(party(1))),
        forged(&|stepped| stepped.party = None),
        forged(&|stepped| stepped.role = Voice::Obligor),
        forged(&|stepped| stepped.at = at(-1)),
        forged(&|stepped| stepped.at = at(DAY)),
        forged(&|stepped| stepped.commitment = id(2)),
        forged(&|stepped| stepped.shortened_to = Some(1)),
    ] {
        state.apply(&record, topic.offset()).unwrap_err();
        assert_eq!(state, topic.state);
    }
    let CommitmentRecord::Created(created) = &topic.records[0] else {
        panic!("no promise");
    };
    let mut forged = (**created).clone();
    forged.commitment = id(2);
    forged.promise.description.push('!');
    let forged = CommitmentRecord::Created(forged.into());
    let refused = state.apply(&forged, topic.offset()).unwrap_err();
    assert_eq!(refused.rule, "its hash is not that of the promise");
    state.apply(&topic.records[0], topic.offset()).unwrap_err();
}

#[test]
fn records_of_a_newer_broker_are_kept_and_damaged_ones_told() {
    let record = CommitmentRecord::decode("commitment.praised", b"{}").unwrap();
    assert!(matches!(record, CommitmentRecord::Unknown { .. }));
    let mut state = Commitments::default();
    state.apply(&record, Offset(0)).unwrap();
    assert_eq!(state, Commitments::default());
    let newer = br#"{"type":"commitment.breached","v":2}"#;
    let newer = CommitmentRecord::decode("commitment.breached", newer).unwrap_err();
    assert!(matches!(
        newer,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    let (topic, _) = in_state(State::Proposed);
    let payload = topic.records[0].encode();
    CommitmentRecord::decode("commitment.created", &payload).unwrap_err();
    CommitmentRecord::decode("commitment.proposed", &payload[1..]).unwrap_err();
}

/// Something done in a random history.
#[derive(Clone, Debug)]
enum Act {
    Create(u128, bool, u64),
    Step(u128, Step, u128),
    Rule(u128, u8, u8),
    Tick(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let steps = [
        Step::Accept,
        Step::Reject,
        Step::Withdraw,
        Step::Deliver,
        Step::Confirm,
        Step::Shorten,
        Step::Dispute,
    ];
    prop_oneof![
        2 => (1..6_u128, any::<bool>(), 0..3_u64).prop_map(|(id, one, pay)| Act::Create(id, one, pay)),
        8 => (1..6_u128, proptest::sample::select(steps.to_vec()), 1..4_u128)
            .prop_map(|(id, step, agent)| Act::Step(id, step, agent)),
        4 => (1..6_u128, 0..3_u8, 1..6_u8).prop_map(|(id, verdict, severity)| Act::Rule(id, verdict, severity)),
        3 => (0..5 * DAY).prop_map(Act::Tick),
    ]
}

/// What is left in escrow of a commitment, after all effects so far.
fn pay(
    left: &mut std::collections::BTreeMap<CommitmentId, (u64, bool)>,
    of: CommitmentId,
    effects: &Effects,
) {
    for step in &effects.escrow {
        match step {
            EscrowStep::Hold(terms) => assert!(left.insert(of, (terms.amount, false)).is_none()),
            EscrowStep::Freeze => {
                let (_, frozen) = left.get_mut(&of).expect("it is held");
                assert!(!std::mem::replace(frozen, true));
            }
            EscrowStep::Unfreeze => {
                let (_, frozen) = left.get_mut(&of).expect("it is held");
                assert!(std::mem::replace(frozen, false));
            }
            EscrowStep::Forfeit { amount } => {
                let (held, frozen) = left.get_mut(&of).expect("it is held");
                assert!(!*frozen && *amount > 0 && *amount <= *held);
                *held -= amount;
                if *held == 0 {
                    left.remove(&of);
                }
            }
            EscrowStep::Release => assert!(left.remove(&of).is_some_and(|(_, frozen)| !frozen)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_history_replays_folds_and_leaves_nothing_held_behind_what_is_closed(acts in proptest::collection::vec(act(), 1..60)) {
        let mut topic = Topic::default();
        let mut now = START;
        let mut disputes = 0_u128;
        let seal = topic.state.check_seal(secret(1).seal(), now).unwrap();
        topic.write(vec![seal]);
        for act in acts {
            match act {
                Act::Create(number, one_sided, money) => {
                    let mut create = with_escrow((money == 1).then_some(33.33), (money < 2).then_some(50.0));
                    if money == 0 {
                        create.promise.escrow = None;
                    }
                    create.commitment = id(number);
                    create.mode = if one_sided { Mode::OneSided } else { Mode::Agreed };
                    create.promise.deadline = now.saturating_add_ms(DAY);
                    if let Ok(Checked::New(record)) = topic.state.check_create(create, now) {
                        topic.write(vec![record]);
                    }
                }
                Act::Step(number, Step::Dispute, agent) => {
                    disputes += 1;
                    let mut file = file(disputes, number, actor(agent, Standing::Participant));
                    file.next_seal = secret(1).seal();
                    if let Ok(CheckedFile::New(records)) = topic.state.check_file(file, now) {
                        topic.write(records);
                    }
                }
                Act::Step(number, step, agent) => {
                    let actor = actor(agent, Standing::Participant);
                    let state = &topic.state;
                    let record = match step {
                        Step::Accept => state.check_accept(id(number), actor, None, 1_000, now),
                        Step::Reject => state.check_reject(id(number), actor, None, now),
                        Step::Withdraw => state.check_withdraw(id(number), actor, None, now),
                        Step::Deliver => state.check_deliver(id(number), actor, Evidence::default(), now),
                        Step::Confirm => state.check_confirm(id(number), actor, now),
                        _ => state.check_shorten(id(number), actor, 60_000, now),
                    };
                    if let Ok(record) = record {
                        topic.write(vec![record]);
                    }
                }
                Act::Rule(number, verdict, severity) => {
                    let open = topic.state.disputes_of(id(number)).find(|dispute| !dispute.state.is_terminal()).cloned();
                    let Some(dispute) = open else { continue };
                    let judgement = Judgement {
                        verdict: Verdict::ALL[usize::from(verdict)],
                        severity: Some(severity),
                        reason: "seen".to_owned(),
                    };
                    let seat = dispute.arbitration.as_ref().and_then(|all| all.sitting().find(|seat| seat.vote.is_none()).cloned());
                    let state = &topic.state;
                    let voted = seat.and_then(|seat| {
                        let actor = Actor { party: seat.party, standing: Standing::Stranger, by: BY };
                        state.check_vote(dispute.id(), actor, judgement.clone(), &secret(1), now).ok()
                    });
                    let records = voted.or_else(|| {
                        let ruled = state.check_rule(dispute.id(), BY, judgement, &secret(1), now);
                        ruled.ok().map(|record| vec![record])
                    });
                    if let Some(records) = records {
                        topic.write(records);
                    }
                }
                Act::Tick(ms) => {
                    now = now.saturating_add_ms(ms);
                    topic.tick(now);
                }
            }
        }
        topic.check();
        // A breach, its claims, an answer, arbitrators, and an operator: each has its time.
        for _ in 0..8 {
            now = now.saturating_add_ms(100 * DAY);
            topic.tick(now);
        }
        topic.check();
        let mut left = std::collections::BTreeMap::new();
        for (of, effects) in &topic.effects {
            if let Some(of) = of {
                pay(&mut left, *of, effects);
            }
        }
        prop_assert_eq!(left, std::collections::BTreeMap::new());
        prop_assert_eq!(topic.state.live_count(), 0);
        for held in topic.state.held().map(|(_, closed)| closed.commitment.id().0 >> 80) {
            topic.receipt(held).verify().unwrap();
        }
    }
}
