//! Promises, disputes, money and trust in the broker: what follows from what, in one entry.

use npayload::asp::commitment::{
    DEFAULT_WINDOW_MS, EscrowTerms, Evidence, Penalties, State as Promised,
};
use npayload::asp::dispute::{DisputeState, Judgement, Mechanism, Verdict};
use npayload::asp::escrow::Currency;
use npayload::broker::asp::{
    AspError, CommitmentSeen, DisputeSeen, LookedFor, NewCommitment, NewDispute, Payment,
};
use npayload::types::{CommitmentId, DisputeId};

use super::*;

pub(super) fn promise(session: SessionId, deadline: i64) -> NewCommitment {
    NewCommitment {
        commitment: None,
        session,
        obligor: AgentRef::parse("writer").unwrap(),
        counterparty: None,
        description: "Deliver competitor pricing analysis".to_owned(),
        deadline: Timestamp(deadline),
        obligations: Vec::new(),
        penalties: None,
        escrow: None,
        severity: None,
        terms: None,
        window_ms: DEFAULT_WINDOW_MS,
    }
}

pub(super) fn dispute(commitment: CommitmentId) -> NewDispute {
    NewDispute {
        dispute: None,
        commitment,
        agent: None,
        dispute_type: None,
        severity: None,
        reason: "Analysis was not delivered by the deadline".to_owned(),
        evidence: Evidence::default(),
        delivered: Vec::new(),
        windows: npayload::asp::dispute::Windows::default(),
    }
}

impl Floor {
    pub(super) fn promises(&mut self, new: NewCommitment) -> CommitmentSeen {
        let at = self.at();
        let accepted = self
            .broker
            .create_commitment(&ME, new, &LookedFor::Nowhere, at)
            .unwrap();
        self.durable(accepted)
    }

    fn promised(&self, id: CommitmentId) -> Promised {
        let seen = self.broker.see_commitment(&ME, id, self.at()).unwrap();
        seen.value.commitment.state
    }

    pub(super) fn disputes(&mut self, new: NewDispute) -> DisputeSeen {
        if let Some(job) = self.broker.plan_secret() {
            self.broker.finish_secret(job.run()).unwrap();
        }
        let at = self.at();
        let accepted = self.broker.file_dispute(&ME, new, None, at).unwrap();
        self.durable(accepted)
    }

    pub(super) fn score(&self, agent: &str) -> npayload::asp::trust::AgentScore {
        let agent = AgentRef::parse(agent).unwrap();
        self.broker
            .trust_of(&ME, &agent, self.at())
            .unwrap()
            .value
            .score
    }

    pub(super) fn pay_in(&mut self, agent: &str, amount: u64) {
        let (agent, at) = (AgentRef::parse(agent).unwrap(), self.at());
        let paid = self.broker.pay(&ME, deposit(&agent, amount), at);
        let seen = self.durable(paid.unwrap());
        assert_eq!(seen.balance.available, amount);
    }

    pub(super) fn balance(&self, agent: Option<&str>) -> npayload::asp::escrow::Balance {
        let all = self
            .broker
            .balances(&ME, None, None, self.at())
            .unwrap()
            .value;
        let name = |seen: &npayload::broker::asp::BalanceSeen| {
            seen.agent
                .as_ref()
                .map(|agent| agent.name.as_str().to_owned())
        };
        let found = all.iter().find(|seen| name(seen).as_deref() == agent);
        found.map_or_else(Default::default, |seen| seen.balance)
    }
}

pub(super) fn usd() -> Currency {
    "USD".parse().unwrap()
}

/// Money for an agent, without an id.
pub(super) fn deposit(agent: &AgentRef, amount: u64) -> Payment<'_> {
    Payment {
        id: None,
        org: None,
        agent: Some(agent),
        amount,
        currency: usd(),
        is_deposit: true,
    }
}

#[test]
fn a_deadline_that_has_passed_is_a_breach_at_once_and_its_dispute_is_upheld_at_once() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let made = floor.promises(promise(session, BEGIN - 1));
    assert_eq!(made.commitment.state, Promised::Breached);
    assert_eq!(made.obligor.name.as_str(), "writer");
    let breached = floor.score("writer");
    assert_eq!(
        (breached.evidence_count, breached.completion_rate),
        (1, Some(0))
    );
    let id = made.commitment.id();
    let filed = floor.disputes(dispute(id));
    assert_eq!(filed.dispute.state, DisputeState::Resolved);
    let ruling = filed.dispute.ruling.as_ref().unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism),
        (Verdict::Upheld, Mechanism::Automated)
    );
    assert_eq!(filed.filer.name.as_str(), "lead", "the coordinator files");
    assert_eq!(floor.promised(id), Promised::Resolved);
    // A breach and its dispute are one piece: the score has not fallen twice.
    let ruled = floor.score("writer");
    assert_eq!(ruled.internal.score, breached.internal.score);
    let again = floor
        .broker
        .file_dispute(&ME, dispute(id), None, floor.at());
    assert!(again.is_err(), "one dispute for each filer");
}

#[test]
fn a_breach_is_seen_by_the_clock_and_at_the_start_behind_it() {
    for is_down in [false, true] {
        let mut floor = Floor::new();
        let session = floor.create(TRIO).session.session;
        let id = floor
            .promises(promise(session, BEGIN + 10_000))
            .commitment
            .id();
        floor.now += 9_999;
        floor.look();
        assert_eq!(floor.promised(id), Promised::Active);
        if is_down {
            let (disk, now) = (floor.disk.clone(), floor.now + 5_000);
            drop(floor);
            floor = Floor::open(&disk, now);
        } else {
            floor.now += 1;
        }
        floor.look();
        assert_eq!(floor.promised(id), Promised::Breached, "down: {is_down}");
        assert_eq!(floor.score("writer").evidence_count, 1);
    }
}

#[test]
fn a_delivery_that_is_confirmed_is_kept_and_one_that_nobody_judges_is_confirmed_by_silence() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    for is_confirmed in [true, false] {
        let at = floor.at();
        let id = floor
            .promises(promise(session, floor.now + 10_000))
            .commitment
            .id();
        let delivered = floor
            .broker
            .deliver_commitment(&ME, id, None, Evidence::default(), at);
        let delivered = floor.durable(delivered.unwrap());
        assert_eq!(delivered.commitment.state, Promised::Delivered);
        if is_confirmed {
            let confirmed = floor.broker.confirm_commitment(&ME, id, None, at).unwrap();
            floor.durable(confirmed);
        } else {
            floor.now += i64::try_from(DEFAULT_WINDOW_MS).unwrap();
            floor.look();
        }
        assert_eq!(floor.promised(id), Promised::Fulfilled);
        let twice = floor
            .broker
            .deliver_commitment(&ME, id, None, Evidence::default(), floor.at());
        let refused = twice.unwrap_err().error;
        assert!(
            matches!(refused, BrokerError::Asp(error) if matches!(*error, AspError::Commitment(_)))
        );
    }
    let score = floor.score("writer");
    // Of one's own company alone, neither earns anything: both are on the record.
    assert_eq!((score.evidence_count, score.internal.mean), (2, None));
    let before = floor.states();
    let floor = floor.reopened();
    assert_eq!(floor.states(), before);
    assert_eq!(floor.score("writer"), score, "the same to the bit");
}

#[test]
fn escrow_is_held_and_forfeited_by_the_terms_and_the_ledger_balances() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let with_escrow = |floor: &Floor| NewCommitment {
        escrow: Some(EscrowTerms {
            amount: 50,
            currency: usd(),
        }),
        penalties: Some(Penalties {
            late_fulfillment_percent_per_day: None,
            non_delivery_percent: Some(serde_json::from_str("40").unwrap()),
        }),
        ..promise(session, floor.now + 10_000)
    };
    let poor =
        floor
            .broker
            .create_commitment(&ME, with_escrow(&floor), &LookedFor::Nowhere, floor.at());
    assert!(poor.is_err(), "nothing is there to be held");
    floor.pay_in("writer", 80);
    let id = floor.promises(with_escrow(&floor)).commitment.id();
    let held = floor.balance(Some("writer"));
    assert_eq!((held.available, held.held), (30, 50));
    floor.now += 10_000;
    floor.look();
    assert_eq!(floor.promised(id), Promised::Breached);
    let after = floor.balance(Some("writer"));
    assert_eq!(
        (after.available, after.held),
        (60, 0),
        "40 percent of 50 are forfeited"
    );
    assert_eq!(
        floor.balance(None).available,
        20,
        "to the organisation of the session"
    );
    let floor = floor.reopened();
    assert_eq!(floor.balance(Some("writer")), after);
    assert_eq!(floor.balance(None).available, 20);
}

#[test]
fn what_the_log_does_not_decide_goes_to_an_operator_and_moves_nothing_before() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let at = floor.at();
    let id = floor
        .promises(promise(session, floor.now + 10_000))
        .commitment
        .id();
    let delivered = floor
        .broker
        .deliver_commitment(&ME, id, None, Evidence::default(), at);
    floor.durable(delivered.unwrap());
    let filed = floor.disputes(dispute(id));
    assert_eq!(filed.dispute.state, DisputeState::Open);
    assert_eq!(floor.promised(id), Promised::Disputed);
    assert_eq!(floor.score("writer").evidence_count, 0);
    let dispute_id: DisputeId = filed.dispute.id();
    let answered = floor.broker.answer_dispute(
        &ME,
        dispute_id,
        "It was there".to_owned(),
        Evidence::default(),
        at,
    );
    floor.durable(answered.unwrap());
    floor.now += 72 * 3_600_000;
    floor.look();
    let judgement = Judgement {
        verdict: Verdict::Dismissed,
        severity: None,
        reason: "It was delivered".to_owned(),
    };
    let ruled = floor
        .broker
        .judge_dispute(&ME, dispute_id, None, judgement, floor.at());
    let ruled = floor.durable(ruled.unwrap());
    assert_eq!(ruled.dispute.state, DisputeState::Resolved);
    // What was suspended goes on, with the time that it had left.
    assert_eq!(floor.promised(id), Promised::Delivered);
    floor.now += i64::try_from(DEFAULT_WINDOW_MS).unwrap();
    floor.look();
    assert_eq!(floor.promised(id), Promised::Fulfilled);
}

#[test]
fn a_task_that_is_answered_and_one_that_is_not_are_seen() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let assign = |floor: &mut Floor| {
        let id = floor.next_id();
        let lead = AgentRef::parse("lead").unwrap();
        let writer = AgentRef::parse("writer").unwrap();
        let at = floor.at();
        let addressed = floor
            .broker
            .address(&ME, session, &lead, Some(&writer), at)
            .unwrap();
        let message = Message {
            id,
            session,
            sender: addressed.sender,
            recipient: addressed.recipient,
            performative: Performative::Propose,
            message_type: Some("task.assign".to_owned()),
            payload: Digest::ZERO,
            in_reply_to: None,
            constraints: Constraints {
                max_response_time_ms: Some(5_000),
                ..Constraints::default()
            },
        };
        let send = Send::new(message, None, ME.id).unwrap();
        let sent = floor
            .broker
            .send_message(&ME, &send, None, None, at)
            .unwrap();
        floor.durable(sent);
        id
    };
    let first = assign(&mut floor);
    floor.now += 2_300;
    let said = Said {
        in_reply_to: Some(first),
        ..say(Performative::Inform)
    };
    floor.send(session, "writer", said);
    let score = floor.score("writer");
    assert_eq!(score.completion_rate, Some(1_000_000));
    assert_eq!(score.average_response_ms, Some(2_300));
    assign(&mut floor);
    floor.now += 5_000;
    floor.look();
    assert_eq!(floor.score("writer").completion_rate, Some(500_000));
}
