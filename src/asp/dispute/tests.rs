//! Disputes step by step, what the log rules by itself, and who arbitrates.

use super::*;
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    Actor, Checked, CommitmentError, CommitmentRecord, Commitments, Create, DEFAULT_CLAIM_MS, Due,
    Evidence, Judge, Mode, Party, Promise, Reference, Standing, State, plain,
};
use crate::types::{
    AgentId, ChannelName, CommitmentId, DisputeId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

const BY: PrincipalId = PrincipalId(1);
const START: Timestamp = Timestamp(1_000_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const COMMITMENT: CommitmentId = CommitmentId(1 << 80 | 7 << 76);

fn at(ms: i64) -> Timestamp {
    START.saturating_add_ms(ms)
}

fn id(number: u128) -> DisputeId {
    DisputeId(number << 80 | 7 << 76)
}

fn party(number: u32) -> Party {
    Party {
        agent: AgentId(number.into()),
        org: OrgId(number),
    }
}

fn actor(number: u32) -> Actor {
    Actor {
        party: party(number),
        standing: Standing::Participant,
        by: BY,
    }
}

fn secret(number: u8) -> Secret {
    Secret([number; 32])
}

fn file(number: u8, filer: u32) -> File {
    File {
        dispute: id(number.into()),
        commitment: COMMITMENT,
        filer: actor(filer),
        dispute_type: None,
        severity: None,
        reason: "it is not what was agreed".to_owned(),
        evidence: Evidence::default(),
        facts: LogFacts::default(),
        log_hash: Digest([9; 32]),
        next_seal: secret(number + 1).seal(),
        seal_number: None,
        windows: Windows::default(),
    }
}

fn judgement(verdict: Verdict, severity: u8) -> Judgement {
    Judgement {
        verdict,
        severity: Some(severity),
        reason: "I have seen it".to_owned(),
    }
}

/// A state with the records that made it.
#[derive(Clone, Default)]
struct Topic {
    state: Commitments,
    records: Vec<CommitmentRecord>,
}

impl Topic {
    fn write(&mut self, records: Vec<CommitmentRecord>) {
        for record in records {
            let json = String::from_utf8(record.encode()).unwrap();
            assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
            let read = CommitmentRecord::decode(record.record_type(), json.as_bytes()).unwrap();
            assert_eq!(read, record);
            let offset = Offset(self.records.len() as u64);
            self.state.apply(&read, offset).unwrap();
            self.records.push(read);
        }
        let mut folded = Commitments::default();
        for part in self.state.fold() {
            folded.apply(&part, Offset(0)).unwrap();
        }
        assert_eq!(folded, self.state);
    }

    /// A commitment of agent 1 to agent 2; the secret for the first dispute is sealed.
    fn active() -> Self {
        let mut topic = Self::default();
        let mut promise = Promise::new(SessionId(5), party(1), at(DAY));
        promise.counterparty = Some(party(2));
        let create = Create {
            commitment: COMMITMENT,
            promise,
            mode: Mode::OneSided,
            judge: Judge::Counterparty,
            message: None,
            claim_ms: DEFAULT_CLAIM_MS,
            escrow_held: 0,
            by: BY,
        };
        let seal = topic.state.check_seal(secret(1).seal(), START).unwrap();
        let Checked::New(record) = topic.state.check_create(create, START).unwrap() else {
            panic!("it was there before");
        };
        topic.write(vec![seal, record]);
        topic
    }

    fn delivered() -> Self {
        let mut topic = Self::active();
        let evidence = Evidence::default();
        let state = &topic.state;
        let record = state.check_deliver(COMMITMENT, actor(1), evidence, START);
        topic.write(vec![record.unwrap()]);
        topic
    }

    fn breached() -> Self {
        let mut topic = Self::active();
        topic.tick(at(DAY), &[]);
        topic
    }

    fn file(&mut self, file: File, now: Timestamp) {
        match self.state.check_file(file, now).unwrap() {
            CheckedFile::New(records) => self.write(records),
            CheckedFile::Before(dispute) => panic!("{dispute:?} was there before"),
        }
    }

    /// All that the clock does until that time, arbitrators drawn among those candidates.
    fn tick(&mut self, now: Timestamp, candidates: &[Party]) {
        while let Some(due) = self.state.next_due(now) {
            let record = match due {
                Due::Record(record) => record,
                Due::Review(dispute) => {
                    let secret = self.secret(dispute);
                    let state = &self.state;
                    state
                        .check_review(dispute, candidates, &secret, now)
                        .unwrap()
                }
            };
            self.write(vec![record]);
        }
    }

    fn secret(&self, dispute: DisputeId) -> Secret {
        let seal = self.dispute(dispute).filed.seal;
        let mut secrets = (0..=u8::MAX).map(secret);
        secrets.find(|secret| secret.seal() == seal).unwrap()
    }

    fn dispute(&self, id: DisputeId) -> Dispute {
        self.state.dispute(id).unwrap()
    }

    fn commitment(&self) -> State {
        let held = self.state.commitment(COMMITMENT).unwrap();
        held.commitment().state
    }

    /// Under review by arbitrators among ten of organisations of their own; those with a seat.
    fn reviewed() -> (Self, Vec<Party>) {
        let mut topic = Self::delivered();
        topic.file(file(1, 2), START);
        topic.tick(at(3 * DAY), &candidates());
        let seats = topic.seats();
        assert_eq!(seats.len(), ARBITRATORS);
        (topic, seats)
    }

    fn seats(&self) -> Vec<Party> {
        let arbitration = self.dispute(id(1)).arbitration.unwrap();
        arbitration.sitting().map(|seat| seat.party).collect()
    }

    fn vote(
        &mut self,
        by: Party,
        verdict: Verdict,
        severity: u8,
        now: Timestamp,
    ) -> Result<(), DisputeError> {
        let actor = Actor {
            party: by,
            standing: Standing::Stranger,
            by: BY,
        };
        let judgement = judgement(verdict, severity);
        let secret = self.secret(id(1));
        let state = &self.state;
        let records = state.check_vote(id(1), actor, judgement, &secret, now)?;
        self.write(records);
        Ok(())
    }
}

fn candidates() -> Vec<Party> {
    (10..20).map(party).collect()
}

#[test]
fn a_missed_deadline_is_upheld_at_once_with_the_severity_of_the_log() {
    let mut topic = Topic::breached();
    let mut missed = file(1, 2);
    missed.severity = Some(5);
    topic.file(missed, at(DAY));
    let dispute = topic.dispute(id(1));
    assert_eq!(dispute.state, DisputeState::Resolved);
    assert_eq!(dispute.filed.dispute_type, DisputeType::TimeoutBreach);
    let ruling = dispute.ruling.unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism, ruling.severity),
        (Verdict::Upheld, Mechanism::Automated, 1)
    );
    assert_eq!(topic.commitment(), State::Resolved);
}

#[test]
fn the_log_decides_what_it_can_and_nothing_else() {
    let facts = |hash_holds, escrow_holds| LogFacts {
        hash_holds,
        escrow_holds,
    };
    let none = facts(None, None);
    use DisputeType::{
        EscrowViolation, NonDelivery, SpecificationMismatch, TimeoutBreach,
        UnauthorizedModification,
    };
    use Verdict::{Dismissed, Upheld};
    for (breached, given, facts, dispute_type, ruling) in [
        (true, None, none, TimeoutBreach, Some(Upheld)),
        (true, Some(NonDelivery), none, NonDelivery, Some(Upheld)),
        (
            true,
            Some(SpecificationMismatch),
            none,
            SpecificationMismatch,
            None,
        ),
        (false, None, none, SpecificationMismatch, None),
        (false, Some(NonDelivery), none, NonDelivery, None),
        (
            false,
            Some(TimeoutBreach),
            none,
            TimeoutBreach,
            Some(Dismissed),
        ),
        (
            false,
            None,
            facts(Some(false), None),
            UnauthorizedModification,
            Some(Upheld),
        ),
        (
            false,
            Some(UnauthorizedModification),
            facts(Some(true), None),
            UnauthorizedModification,
            Some(Dismissed),
        ),
        (
            false,
            Some(UnauthorizedModification),
            none,
            UnauthorizedModification,
            None,
        ),
        (
            false,
            None,
            facts(None, Some(false)),
            EscrowViolation,
            Some(Upheld),
        ),
        (
            false,
            Some(EscrowViolation),
            facts(None, Some(true)),
            EscrowViolation,
            Some(Dismissed),
        ),
        (false, Some(EscrowViolation), none, EscrowViolation, None),
    ] {
        let (mut topic, now) = if breached {
            (Topic::breached(), at(DAY))
        } else {
            (Topic::delivered(), START)
        };
        let mut filed = file(1, 2);
        (filed.dispute_type, filed.facts) = (given, facts);
        topic.file(filed, now);
        let dispute = topic.dispute(id(1));
        let case = format!("{breached} {given:?} {facts:?}");
        assert_eq!(dispute.filed.dispute_type, dispute_type, "{case}");
        assert_eq!(dispute.filed.severity, dispute_type.severity(), "{case}");
        assert_eq!(dispute.ruling.map(|one| one.verdict), ruling, "{case}");
        // A dismissed one leaves the commitment as it was.
        let expected = match ruling {
            None => State::Disputed,
            Some(Upheld | Verdict::Partial) => State::Resolved,
            Some(Dismissed) => State::Delivered,
        };
        assert_eq!(topic.commitment(), expected, "{case}");
    }
}

#[test]
fn a_dispute_is_filed_once_by_each_of_those_who_may() {
    let topic = Topic::active();
    let refused = topic.state.check_file(file(1, 2), START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::Illegal {
            state: State::Active,
            ..
        })
    ));
    let mut topic = Topic::delivered();
    let refused = topic.state.check_file(file(1, 1), START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::Illegal { .. })
    ));
    let mut stranger = file(1, 9);
    stranger.filer.standing = Standing::Stranger;
    let refused = topic.state.check_file(stranger, START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::NotParty { .. })
    ));
    topic.file(file(1, 2), START);
    match topic.state.check_file(file(1, 2), at(1)).unwrap() {
        CheckedFile::Before(dispute) => assert_eq!(dispute.id(), id(1)),
        CheckedFile::New(records) => panic!("{records:?}"),
    }
    let mut other = file(1, 2);
    other.reason.push('!');
    let taken = DisputeError::IdTaken {
        dispute: id(1),
        member: "reason",
    };
    assert_eq!(topic.state.check_file(other, at(1)), Err(taken));
    let again = DisputeError::Filed {
        commitment: COMMITMENT,
        agent: AgentId(2),
        dispute: id(1),
    };
    assert_eq!(topic.state.check_file(file(2, 2), at(1)), Err(again));
    topic.file(file(2, 3), at(1));
    assert_eq!(topic.state.disputes_of(COMMITMENT).count(), 2);
    for (agent, count) in [(1, 2), (2, 1), (3, 1), (4, 0)] {
        let of = topic.state.disputes_of_agent(AgentId(agent));
        assert_eq!(of.count(), count);
    }
    // Both have to end before the commitment goes on.
    for (number, filer, state) in [(1, 2, State::Disputed), (2, 3, State::Delivered)] {
        let state_now = &topic.state;
        let record = state_now.check_withdraw_dispute(id(number), actor(filer), at(2));
        topic.write(vec![record.unwrap()]);
        assert_eq!(topic.commitment(), state);
    }
}

#[test]
fn what_breaks_a_limit_is_refused_with_limit_and_value() {
    let topic = Topic::delivered();
    let channel = |start, end, bytes| Reference::Channel {
        bytes,
        channel: ChannelName::parse("results").unwrap(),
        digest: Digest::ZERO,
        end: Offset(end),
        start: Offset(start),
    };
    type Change = Box<dyn Fn(&mut File)>;
    let changes: [(&str, u64, Change); 10] = [
        ("severity", 6, Box::new(|one| one.severity = Some(6))),
        ("severity", 0, Box::new(|one| one.severity = Some(0))),
        (
            "reason bytes",
            4_097,
            Box::new(|one| one.reason = "a".repeat(4_097)),
        ),
        ("answerMs", 0, Box::new(|one| one.windows.answer_ms = 0)),
        (
            "arbitrationMs",
            0,
            Box::new(|one| one.windows.arbitration_ms = 0),
        ),
        ("ballotMs", 0, Box::new(|one| one.windows.ballot_ms = 0)),
        (
            "evidence.references",
            33,
            Box::new(move |one| one.evidence.references = vec![channel(0, 1, 1); 33]),
        ),
        (
            "evidence.references records",
            10_001,
            Box::new(move |one| one.evidence.references = vec![channel(0, 10_001, 1)]),
        ),
        (
            "evidence.references bytes",
            (64 << 20) + 1,
            Box::new(move |one| {
                one.evidence.references = vec![channel(0, 1, 1), channel(0, 1, 64 << 20)];
            }),
        ),
        (
            "evidence bytes",
            65_537,
            Box::new(|one| {
                let text = format!("\"{}\"", "a".repeat(65_535));
                one.evidence.words = Some(plain(&Canonical::parse(&text).unwrap()));
            }),
        ),
    ];
    for (what, value, change) in changes {
        let mut one = file(1, 2);
        change(&mut one);
        match topic.state.check_file(one, START).unwrap_err() {
            DisputeError::OutOfLimit(limit) => {
                assert_eq!((limit.what, limit.value), (what, value));
            }
            other => panic!("{what}: {other}"),
        }
    }
    let mut one = file(1, 2);
    one.dispute = DisputeId(1);
    let refused = topic.state.check_file(one, START);
    assert_eq!(refused, Err(DisputeError::IdVersion(DisputeId(1))));
    let unsealed = Commitments::default();
    unsealed.check_seal(secret(1).seal(), START).unwrap();
    let sealed = topic.state.check_seal(secret(2).seal(), START).unwrap_err();
    assert!(matches!(
        sealed,
        DisputeError::NotSealed { sealed: Some(_) }
    ));
}

/// What each voice does in each state, as the code judges it.
#[test]
fn every_step_in_every_state_by_everybody_is_what_the_table_says() {
    let open = {
        let mut topic = Topic::delivered();
        topic.file(file(1, 2), START);
        topic
    };
    let mut answered = open.clone();
    let state = &answered.state;
    let answer = state.check_answer(
        id(1),
        actor(1),
        "it is".to_owned(),
        Evidence::default(),
        START,
    );
    answered.write(vec![answer.unwrap()]);
    let mut withdrawn = open.clone();
    let state = &withdrawn.state;
    let record = state.check_withdraw_dispute(id(1), actor(2), START);
    withdrawn.write(vec![record.unwrap()]);
    let (peers, seats) = Topic::reviewed();
    let mut human = open.clone();
    human.tick(at(3 * DAY), &[]);
    let mut expired = human.clone();
    // The commitment goes on when the dispute expires, and closes in its turn.
    expired.tick(at(10 * DAY), &[]);
    let mut resolved = peers.clone();
    for seat in &seats[..2] {
        resolved
            .vote(*seat, Verdict::Upheld, 2, at(3 * DAY))
            .unwrap();
    }
    for (topic, expected, now, mechanism) in [
        (&open, DisputeState::Open, START, None),
        (&answered, DisputeState::Answered, START, None),
        (
            &peers,
            DisputeState::UnderReview,
            at(3 * DAY),
            Some(Mechanism::Peer),
        ),
        (
            &human,
            DisputeState::UnderReview,
            at(3 * DAY),
            Some(Mechanism::Human),
        ),
        (
            &resolved,
            DisputeState::Resolved,
            at(3 * DAY),
            Some(Mechanism::Peer),
        ),
        (&withdrawn, DisputeState::Withdrawn, START, None),
        (
            &expired,
            DisputeState::Expired,
            at(10 * DAY),
            Some(Mechanism::Human),
        ),
    ] {
        let dispute = topic.dispute(id(1));
        assert_eq!((dispute.state, dispute.mechanism), (expected, mechanism));
        let state = &topic.state;
        let words = || judgement(Verdict::Upheld, 2);
        let arbitrator = Actor {
            party: seats[2],
            standing: Standing::Stranger,
            by: BY,
        };
        let secret = topic.secret(id(1));
        let answer = |by| {
            let evidence = Evidence::default();
            state.check_answer(id(1), actor(by), String::new(), evidence, now)
        };
        let withdraw = |by| state.check_withdraw_dispute(id(1), actor(by), now);
        let vote = |by| state.check_vote(id(1), by, words(), &secret, now);
        use DisputeVoice::{Arbitrator, Filer, Obligor, Operator};
        let allowed = |step, voice| next(expected, step, voice).is_some();
        let is_peer = mechanism == Some(Mechanism::Peer);
        let is_human = mechanism == Some(Mechanism::Human);
        let found = [
            answer(1).is_ok() == allowed(DisputeStep::Answer, Obligor),
            withdraw(2).is_ok() == allowed(DisputeStep::Withdraw, Filer),
            vote(arbitrator).is_ok() == (allowed(DisputeStep::Vote, Arbitrator) && is_peer),
            state.check_rule(id(1), BY, words(), &secret, now).is_ok()
                == (allowed(DisputeStep::Rule, Operator) && is_human),
        ];
        assert_eq!(found, [true; 4], "{expected:?} {mechanism:?}");
        // Nobody else may, in any state.
        for by in [2, 3] {
            assert!(matches!(answer(by), Err(DisputeError::NotParty { .. })));
        }
        for by in [1, 3] {
            assert!(matches!(withdraw(by), Err(DisputeError::NotParty { .. })));
        }
        vote(actor(2)).unwrap_err();
        vote(actor(9)).unwrap_err();
    }
}

#[test]
fn nobody_comes_between_a_deadline_and_its_record() {
    let mut topic = Topic::delivered();
    topic.file(file(1, 2), START);
    let late = at(3 * DAY);
    let first = DisputeError::DeadlineFirst { due: late };
    let state = &topic.state;
    let withdrawn = state.check_withdraw_dispute(id(1), actor(2), late);
    assert_eq!(withdrawn, Err(first.clone()));
    let evidence = Evidence::default();
    let answered = state.check_answer(id(1), actor(1), String::new(), evidence, late);
    assert_eq!(answered, Err(first));
    let early = state.check_review(id(1), &[], &secret(1), at(3 * DAY - 1));
    let not_due = DisputeError::NotDue {
        dispute: id(1),
        due: late,
    };
    assert_eq!(early, Err(not_due));
    let (mut topic, seats) = Topic::reviewed();
    let refused = topic.vote(seats[0], Verdict::Upheld, 1, at(5 * DAY));
    let first = DisputeError::DeadlineFirst { due: at(5 * DAY) };
    assert_eq!(refused, Err(first));
}

#[test]
fn the_majority_of_three_rules_and_the_secret_shows_that_they_were_drawn() {
    let (mut topic, seats) = Topic::reviewed();
    topic
        .vote(seats[0], Verdict::Upheld, 4, at(3 * DAY))
        .unwrap();
    let again = topic.vote(seats[0], Verdict::Dismissed, 1, at(3 * DAY));
    assert!(matches!(again, Err(DisputeError::Voted { .. })));
    // One that colludes with the obligor changes nothing.
    topic
        .vote(seats[1], Verdict::Dismissed, 1, at(3 * DAY))
        .unwrap();
    assert_eq!(topic.commitment(), State::Disputed);
    topic
        .vote(seats[2], Verdict::Upheld, 2, at(3 * DAY))
        .unwrap();
    let dispute = topic.dispute(id(1));
    let ruling = dispute.ruling.clone().unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism, ruling.severity),
        (Verdict::Upheld, Mechanism::Peer, 2)
    );
    assert_eq!(topic.commitment(), State::Resolved);
    let CommitmentRecord::Dispute(DisputeRecord::Ruled(ruled)) = topic.records.last().unwrap()
    else {
        panic!("no ruling");
    };
    let told = ruled.secret.unwrap();
    assert_eq!(told.seal(), dispute.filed.seal);
    let arbitration = dispute.arbitration.unwrap();
    let drawn = draw(&dispute.filed.log_hash, &told, id(1), &candidates());
    assert_eq!(drawn, arbitration.order);
    assert_eq!(drawn[..3], seats[..]);
}

#[test]
fn a_ruling_that_the_votes_or_the_secret_do_not_bear_out_is_refused() {
    let (mut topic, seats) = Topic::reviewed();
    topic
        .vote(seats[0], Verdict::Upheld, 2, at(3 * DAY))
        .unwrap();
    let other = secret(77);
    let vote = topic.state.check_vote(
        id(1),
        Actor {
            party: seats[1],
            standing: Standing::Stranger,
            by: BY,
        },
        judgement(Verdict::Upheld, 2),
        &other,
        at(3 * DAY),
    );
    assert!(matches!(vote, Err(DisputeError::OtherSecret { .. })));
    let ruled = |change: &dyn Fn(&mut RuledOn)| {
        let mut ruled = RuledOn {
            at: at(3 * DAY),
            by: None,
            commitment: COMMITMENT,
            dispute: id(1),
            verdict: Verdict::Upheld,
            mechanism: Mechanism::Peer,
            reason: String::new(),
            secret: Some(secret(1)),
            severity: 2,
        };
        change(&mut ruled);
        CommitmentRecord::Dispute(DisputeRecord::Ruled(ruled.into()))
    };
    let mut state = topic.state.clone();
    let offset = Offset(topic.records.len() as u64);
    // One vote is no majority.
    state.apply(&ruled(&|_| {}), offset).unwrap_err();
    let records = topic.state.check_vote(
        id(1),
        Actor {
            party: seats[1],
            standing: Standing::Stranger,
            by: BY,
        },
        judgement(Verdict::Upheld, 2),
        &secret(1),
        at(3 * DAY),
    );
    state.apply(&records.unwrap()[0], offset).unwrap();
    let before = state.clone();
    for record in [
        ruled(&|ruled| ruled.verdict = Verdict::Dismissed),
        ruled(&|ruled| ruled.severity = 5),
        ruled(&|ruled| ruled.secret = None),
        ruled(&|ruled| ruled.secret = Some(secret(77))),
        ruled(&|ruled| ruled.mechanism = Mechanism::Automated),
        ruled(&|ruled| ruled.mechanism = Mechanism::Human),
        ruled(&|ruled| ruled.by = Some(BY)),
    ] {
        state.apply(&record, offset).unwrap_err();
        assert_eq!(state, before);
    }
    state.apply(&ruled(&|_| {}), offset).unwrap();
}

#[test]
fn arbitrators_that_were_not_drawn_show_when_the_secret_is_told() {
    let mut topic = Topic::delivered();
    topic.file(file(1, 2), START);
    let state = &topic.state;
    let record = state.check_review(id(1), &candidates(), &secret(1), at(3 * DAY));
    let CommitmentRecord::Dispute(DisputeRecord::Reviewed(reviewed)) = record.unwrap() else {
        panic!("no review");
    };
    let mut chosen = (*reviewed).clone();
    chosen.order.swap(0, 4);
    topic.write(vec![CommitmentRecord::Dispute(DisputeRecord::Reviewed(
        chosen.into(),
    ))]);
    let seats = topic.seats();
    topic
        .vote(seats[0], Verdict::Upheld, 1, at(3 * DAY))
        .unwrap();
    let actor = Actor {
        party: seats[1],
        standing: Standing::Stranger,
        by: BY,
    };
    let state = &topic.state;
    let judgement = judgement(Verdict::Upheld, 1);
    let records = state.check_vote(id(1), actor, judgement, &secret(1), at(3 * DAY));
    let records = records.unwrap();
    let mut state = topic.state.clone();
    state.apply(&records[0], Offset(90)).unwrap();
    let refused = state.apply(&records[1], Offset(91)).unwrap_err();
    assert_eq!(
        refused.rule,
        "the secret does not draw those who arbitrated"
    );
}

#[test]
fn who_is_silent_is_replaced_until_nobody_is_left_and_then_an_operator_decides() {
    let (mut topic, seats) = Topic::reviewed();
    topic
        .vote(seats[0], Verdict::Dismissed, 1, at(3 * DAY))
        .unwrap();
    topic.tick(at(5 * DAY), &[]);
    let order = topic.dispute(id(1)).arbitration.unwrap().order;
    assert_eq!(topic.seats(), [order[0], order[3], order[4]]);
    // Those who were replaced have no say any more.
    let refused = topic.vote(seats[1], Verdict::Dismissed, 1, at(5 * DAY));
    assert!(matches!(refused, Err(DisputeError::NotParty { .. })));
    let (mut all, _) = Topic::reviewed();
    all.tick(at(10 * DAY), &[]);
    let dispute = all.dispute(id(1));
    assert_eq!(dispute.mechanism, Some(Mechanism::Human));
    assert_eq!(dispute.state, DisputeState::UnderReview);
    let state = &all.state;
    let mut silent = judgement(Verdict::Partial, 3);
    silent.reason = " ".to_owned();
    let refused = state.check_rule(id(1), BY, silent, &secret(1), at(10 * DAY));
    assert_eq!(refused, Err(DisputeError::NoReason(id(1))));
    let judgement = judgement(Verdict::Partial, 3);
    let ruled = state.check_rule(id(1), BY, judgement, &secret(1), at(10 * DAY));
    all.write(vec![ruled.unwrap()]);
    assert_eq!(all.commitment(), State::Resolved);
    topic.tick(at(10 * DAY), &[]);
    topic.tick(at(17 * DAY), &[]);
    // Nobody ruled: the commitment goes on, and silence confirms it.
    assert_eq!(topic.dispute(id(1)).state, DisputeState::Expired);
    assert_eq!(topic.commitment(), State::Delivered);
    topic.tick(at(18 * DAY), &[]);
    assert_eq!(topic.commitment(), State::Fulfilled);
}

#[test]
fn fewer_than_three_organisations_that_have_nothing_to_do_with_it_leave_it_to_an_operator() {
    // Many agents, of two organisations, and those of the parties.
    let mut few: Vec<Party> = (0..50)
        .map(|number| Party {
            agent: AgentId(100 + number),
            org: OrgId(10 + u32::from(number % 2 == 0)),
        })
        .collect();
    for org in 1..=2 {
        few.push(Party {
            agent: AgentId(500 + u128::from(org)),
            org: OrgId(org),
        });
    }
    let mut topic = Topic::delivered();
    topic.file(file(1, 2), START);
    topic.tick(at(3 * DAY), &few);
    let dispute = topic.dispute(id(1));
    assert_eq!(dispute.mechanism, Some(Mechanism::Human));
    assert_eq!(dispute.arbitration, None);
    few.push(party(30));
    let mut topic = Topic::delivered();
    topic.file(file(1, 2), START);
    topic.tick(at(3 * DAY), &few);
    let orgs: Vec<_> = topic.seats().iter().map(|seat| seat.org).collect();
    for org in [10, 11, 30] {
        assert!(orgs.contains(&OrgId(org)), "{orgs:?}");
    }
}

#[test]
fn drawing_is_a_function_of_its_inputs_and_fair_to_organisations() {
    let log = Digest([1; 32]);
    let order = draw(&log, &secret(1), id(1), &candidates());
    let mut turned = candidates();
    turned.reverse();
    assert_eq!(draw(&log, &secret(1), id(1), &turned), order);
    assert_ne!(draw(&log, &secret(2), id(1), &turned), order);
    assert_ne!(draw(&log, &secret(1), id(2), &turned), order);
    assert_ne!(draw(&Digest([2; 32]), &secret(1), id(1), &turned), order);
    // One organisation with a hundred agents has a seat as often as one with a single agent.
    let mut many = candidates();
    many.extend((0..100).map(|number| Party {
        agent: AgentId(1_000 + number),
        org: OrgId(10),
    }));
    let mut seats = [0_u32; 20];
    for number in 0..2_000 {
        for party in &draw(&log, &secret(1), id(number), &many)[..ARBITRATORS] {
            seats[usize::try_from(party.org.0).unwrap()] += 1;
        }
    }
    // 600 of 2,000 each; six standard deviations are 123.
    assert!(
        seats[10..].iter().all(|count| (477..=723).contains(count)),
        "{seats:?}"
    );
}

#[test]
fn what_votes_decide_is_a_majority_or_the_middle_and_never_one_alone() {
    use Verdict::{Dismissed, Partial, Upheld};
    for (votes, decided) in [
        (vec![], None),
        (vec![(Upheld, 1)], None),
        (vec![(Upheld, 1), (Dismissed, 1)], None),
        (vec![(Upheld, 1), (Upheld, 4)], Some((Upheld, 1))),
        (
            vec![(Dismissed, 5), (Upheld, 2), (Dismissed, 1)],
            Some((Dismissed, 2)),
        ),
        (
            vec![(Upheld, 5), (Dismissed, 1), (Partial, 2)],
            Some((Partial, 2)),
        ),
        (
            vec![(Upheld, 5), (Upheld, 3), (Upheld, 4)],
            Some((Upheld, 4)),
        ),
    ] {
        assert_eq!(majority(&votes), decided, "{votes:?}");
    }
}

#[test]
fn what_an_open_dispute_points_to_is_needed_and_nothing_else() {
    let channel = ChannelName::parse("results").unwrap();
    let place = |name: &str, start, end| Reference::Channel {
        bytes: 10,
        channel: ChannelName::parse(name).unwrap(),
        digest: Digest::ZERO,
        end: Offset(end),
        start: Offset(start),
    };
    let mut topic = Topic::delivered();
    let mut filed = file(1, 2);
    filed.evidence.references = vec![
        place("results", 5, 9),
        place("other", 1, 2),
        Reference::Session {
            digest: Digest::ZERO,
            sequence: 3,
            session: SessionId(5),
        },
    ];
    topic.file(filed, START);
    let state = &topic.state;
    let evidence = Evidence {
        references: vec![place("results", 2, 3)],
        words: None,
    };
    let answer = state.check_answer(id(1), actor(1), String::new(), evidence, START);
    topic.write(vec![answer.unwrap()]);
    let ranges = |topic: &Topic| {
        let needed = topic.state.needed(&channel);
        needed
            .map(|(range, _)| (range.start.0, range.end.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(ranges(&topic), [(2, 3), (5, 9)]);
    assert_eq!(topic.state.all_needed().count(), 3);
    let state = &topic.state;
    let record = state.check_withdraw_dispute(id(1), actor(2), START);
    topic.write(vec![record.unwrap()]);
    assert_eq!(ranges(&topic), []);
    assert_eq!(topic.state.all_needed().count(), 0);
}

#[test]
fn a_filing_is_refused_that_names_another_seal_or_is_not_by_whom_it_says() {
    let topic = Topic::delivered();
    let CheckedFile::New(records) = topic.state.check_file(file(1, 2), START).unwrap() else {
        panic!("it was there before");
    };
    let CommitmentRecord::Dispute(DisputeRecord::Filed(filed)) = &records[0] else {
        panic!("no dispute");
    };
    let forged = |change: &dyn Fn(&mut Filed)| {
        let mut filed = (**filed).clone();
        change(&mut filed);
        CommitmentRecord::Dispute(DisputeRecord::Filed(filed.into()))
    };
    use crate::asp::commitment::Voice;
    let mut state = topic.state.clone();
    for record in [
        forged(&|filed| filed.seal = secret(3).seal()),
        forged(&|filed| filed.filer = party(1)),
        forged(&|filed| filed.against = party(2)),
        forged(&|filed| filed.role = Voice::Participant),
        forged(&|filed| filed.role = Voice::Obligor),
        forged(&|filed| filed.commitment = CommitmentId(9)),
    ] {
        state.apply(&record, Offset(9)).unwrap_err();
        assert_eq!(state, topic.state);
    }
    state.apply(&records[0], Offset(9)).unwrap();
    assert_eq!(state.seal(), Some(secret(2).seal()));
}

#[test]
fn an_organisation_with_many_agents_does_not_crowd_the_others_out() {
    let party = |agent: u128, org| Party {
        agent: AgentId(agent),
        org: OrgId(org),
    };
    let crowd = (0..1_000).map(|agent| party(agent, 1));
    let others = (2..=9).map(|org| party(1_000_000 + u128::from(org), org));
    let able: Vec<_> = crowd.chain(others).collect();
    let candidates = in_turn(&able);
    assert_eq!(candidates.len(), MAX_CANDIDATES);
    assert!(candidates.is_sorted());
    for org in 2..=9 {
        let of_org = candidates.iter().filter(|one| one.org == OrgId(org));
        assert_eq!(of_org.count(), 1, "organisation {org}");
    }
    assert_eq!(in_turn(&able[..3]), able[..3]);
    assert_eq!(in_turn(&[able[1], able[0], able[1]]), able[..2]);
}
