//! What those try who want what is not theirs: a promise that nobody can judge, an id that hides
//! another's, money out of nothing, trust by saying a thing again, a clock that stands still.

use npayload::asp::commitment::{CommitmentError, EscrowTerms, Evidence, State as Promised, Which};
use npayload::asp::dispute::{DisputeError, DisputeState, Judgement, Verdict};
use npayload::asp::session::SendError;
use npayload::broker::asp::{AspError, LookedFor, NewCommitment, NewDispute, Payment};
use npayload::storage::StorageConfig;
use npayload::types::{CommitmentId, DisputeId, OrgName};

use super::promises::{deposit, dispute, promise, usd};
use super::walls::{admin, register, show};
use super::*;

const HOUR: i64 = 3_600_000;

/// Three organisations: `acme` promises, `beta` holds the session, `gamma` looks on.
struct Town {
    floor: Floor,
    acme: Principal,
    beta: Principal,
    gamma: Principal,
    session: SessionId,
}

fn asp<T: std::fmt::Debug>(refused: Result<Accepted<T>, Refusal>) -> AspError {
    match refused.unwrap_err().error {
        BrokerError::Asp(error) => *error,
        other => panic!("{other}"),
    }
}

fn agent(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

impl Town {
    fn new() -> Self {
        Self::on(Floor::new())
    }

    fn on(mut floor: Floor) -> Self {
        let [acme, beta, gamma] = ["acme", "beta", "gamma"].map(|org| admin(&mut floor, org));
        register(&mut floor, &acme, "bot");
        register(&mut floor, &gamma, "eye");
        show(&mut floor, &acme, &beta, "*");
        let session = session(&mut floor, &beta, &[("agent://acme/bot", &acme)]);
        Self {
            floor,
            acme,
            beta,
            gamma,
            session,
        }
    }

    /// A promise of acme's to beta.
    fn promises(&mut self, id: Option<CommitmentId>) -> CommitmentId {
        let new = NewCommitment {
            commitment: id,
            obligor: agent("bot"),
            ..promise(self.session, self.floor.now + HOUR)
        };
        let at = self.floor.at();
        let made = self
            .floor
            .broker
            .create_commitment(&self.acme, new, &LookedFor::Nowhere, at);
        self.floor.durable(made.unwrap()).commitment.id()
    }

    fn delivers(&mut self, id: CommitmentId) {
        let (at, nothing) = (self.floor.at(), Evidence::default());
        let broker = &mut self.floor.broker;
        let delivered = broker.deliver_commitment(&self.acme, id, None, nothing, at);
        self.floor.durable(delivered.unwrap());
    }
}

/// A session that `lead` coordinates, with guests who accept.
fn session(floor: &mut Floor, by: &Principal, guests: &[(&str, &Principal)]) -> SessionId {
    let lead = [("lead", Role::Coordinator)].into_iter();
    let all = lead.chain(guests.iter().map(|(guest, _)| (*guest, Role::Specialist)));
    let new = new_session(&all.collect::<Vec<_>>());
    let at = floor.at();
    let made = floor.broker.create_session(by, new, at);
    let session = floor.durable(made.unwrap()).session.session;
    for (guest, key) in guests.iter().filter(|(_, key)| key.org != by.org) {
        let id = floor.next_id();
        let accepts = say(Performative::Accept);
        let sent = floor.try_send_as(key, session, guest, accepts, id).unwrap();
        floor.durable(sent);
    }
    session
}

#[test]
fn a_promise_under_the_id_of_another_is_refused_wherever_it_is_made() {
    let mut town = Town::new();
    let id = town.promises(None);
    // In acme's own session, whose topic is looked at before beta's.
    let own = session(&mut town.floor, &town.acme, &[("bot", &town.acme)]);
    let new = NewCommitment {
        commitment: Some(id),
        obligor: agent("bot"),
        ..promise(own, town.floor.now + HOUR)
    };
    let at = town.floor.at();
    let again = town
        .floor
        .broker
        .create_commitment(&town.acme, new, &LookedFor::Nowhere, at);
    assert!(matches!(
        asp(again),
        AspError::Commitment(error) if matches!(*error, CommitmentError::IdTaken { commitment, member: "sessionId" } if commitment == id)
    ));
    town.delivers(id);
    // Who is to judge it finds it.
    let confirmed = town
        .floor
        .broker
        .confirm_commitment(&town.beta, id, None, at);
    let confirmed = town.floor.durable(confirmed.unwrap());
    assert_eq!(confirmed.commitment.state, Promised::Fulfilled);
}

#[test]
fn an_offer_under_the_id_of_another_promise_is_refused_and_hides_nothing() {
    let mut town = Town::new();
    let id = town.promises(None);
    // In a session of the default organisation, whose topic is looked at before beta's.
    let talk = town.floor.create(TRIO).session.session;
    let message = town.floor.next_id();
    let payload = serde_json::json!({
        "description": "another thing",
        "deadline": town.floor.now + HOUR,
        "terms": {},
        "commitmentId": id,
    });
    let offered = town.floor.try_say(
        talk,
        "writer",
        None,
        Performative::Commit,
        payload,
        (message, None),
    );
    assert!(matches!(
        asp(offered),
        AspError::Commitment(error) if matches!(*error, CommitmentError::IdTaken { commitment, member: "sessionId" } if commitment == id)
    ));
    town.delivers(id);
}

#[test]
fn a_dispute_under_the_id_of_another_is_refused_and_no_clock_stands_still() {
    let mut town = Town::new();
    let id = town.promises(None);
    town.delivers(id);
    let at = town.floor.at();
    let filed = town
        .floor
        .broker
        .file_dispute(&town.beta, dispute(id), None, at);
    let filed = town.floor.durable(filed.unwrap()).dispute.id();
    // Acme disputes a promise of its own people, under the same id.
    let own = session(&mut town.floor, &town.acme, &[("bot", &town.acme)]);
    let new = NewCommitment {
        obligor: agent("bot"),
        ..promise(own, town.floor.now - 1)
    };
    let made = town
        .floor
        .broker
        .create_commitment(&town.acme, new, &LookedFor::Nowhere, at);
    let other = town.floor.durable(made.unwrap()).commitment.id();
    let same = NewDispute {
        dispute: Some(filed),
        ..dispute(other)
    };
    let again = town.floor.broker.file_dispute(&town.acme, same, None, at);
    assert!(matches!(
        asp(again),
        AspError::Dispute(error) if matches!(*error, DisputeError::IdTaken { dispute, .. } if dispute == filed)
    ));
    // Acme can answer, and it goes to review when its time is over.
    let words = "it was".to_owned();
    let broker = &mut town.floor.broker;
    let answered = broker.answer_dispute(&town.acme, filed, words, Evidence::default(), at);
    town.floor.durable(answered.unwrap());
    town.floor.now += 72 * HOUR;
    town.floor.look();
    let seen = town
        .floor
        .broker
        .see_dispute(&town.beta, filed, town.floor.at());
    assert_eq!(seen.unwrap().value.dispute.state, DisputeState::UnderReview);
}

#[test]
fn who_promises_alone_leaves_whoever_judges_a_day() {
    let mut town = Town::new();
    let new = NewCommitment {
        obligor: agent("bot"),
        window_ms: 1,
        ..promise(town.session, town.floor.now + HOUR)
    };
    let at = town.floor.at();
    let made = town
        .floor
        .broker
        .create_commitment(&town.acme, new, &LookedFor::Nowhere, at);
    let AspError::Commitment(error) = asp(made) else {
        panic!("another error");
    };
    let CommitmentError::OutOfLimit(limit) = *error else {
        panic!("{error}");
    };
    assert_eq!(
        (limit.what, limit.value, limit.least),
        ("windowMs", 1, 86_400_000)
    );
}

#[test]
fn a_promise_is_judged_though_thousands_of_sessions_have_ended_since() {
    // What files a thousand sessions is more than a small round takes.
    let storage = StorageConfig {
        journal_file_bytes: 4 << 20,
        max_round_bytes: 1 << 20,
        direct_bytes: 256 << 10,
        always_direct_bytes: 512 << 10,
        max_unwritten_bytes: 16 << 20,
        ..small()
    };
    let floor = Floor::open_with(&CrashingDisk::new(), BEGIN, |config| {
        config.storage = storage
    });
    let mut town = Town::on(floor);
    let id = town.promises(None);
    let close = |floor: &mut Floor, by: &Principal, session| {
        let id = floor.next_id();
        let said = floor.try_send_as(by, session, "lead", say(Performative::Close), id);
        floor.durable(said.unwrap());
    };
    close(&mut town.floor, &town.beta, town.session);
    for _ in 0..2_100 {
        let other = session(&mut town.floor, &town.beta, &[("own", &town.beta)]);
        close(&mut town.floor, &town.beta, other);
    }
    town.floor.now += 1;
    town.floor.look();
    let beta = town.beta.org;
    let held = |floor: &Floor| {
        let mut states = floor.broker.asp_states();
        let (_, _, sessions, _) = states.find(|(org, ..)| *org == beta).unwrap();
        sessions.sessions().count()
    };
    let count = held(&town.floor);
    assert!(count < 1_200, "{count} sessions are held");
    town.delivers(id);
    let at = town.floor.at();
    let seen = town.floor.broker.see_commitment(&town.beta, id, at);
    assert_eq!(seen.unwrap().value.commitment.state, Promised::Delivered);
    let filed = town
        .floor
        .broker
        .file_dispute(&town.beta, dispute(id), None, at);
    let filed = town.floor.durable(filed.unwrap());
    assert_ne!(
        filed.dispute.filed.log_hash,
        npayload::asp::chain::Digest::ZERO
    );
    // The same after a start, and once it is over the session goes with the next ones.
    town.floor = town.floor.reopened();
    assert_eq!(held(&town.floor), count);
    let at = town.floor.at();
    let back = town
        .floor
        .broker
        .withdraw_dispute(&town.beta, filed.dispute.id(), at);
    town.floor.durable(back.unwrap());
    let confirmed = town
        .floor
        .broker
        .confirm_commitment(&town.beta, id, None, at);
    town.floor.durable(confirmed.unwrap());
    for _ in 0..1_100 {
        let other = session(&mut town.floor, &town.beta, &[("own", &town.beta)]);
        close(&mut town.floor, &town.beta, other);
    }
    town.floor.now += 1;
    town.floor.look();
    let gone = town
        .floor
        .broker
        .see_session(&town.beta, town.session, town.floor.at());
    assert!(gone.is_err(), "held for a promise that is closed");
}

/// Who was asked to lead and refused judges nothing that is promised there.
#[test]
fn who_did_not_come_into_a_session_has_no_say_about_what_is_promised_in_it() {
    let mut town = Town::new();
    register(&mut town.floor, &town.acme, "chief");
    let new = new_session(&[
        ("lead", Role::Coordinator),
        ("agent://acme/bot", Role::Specialist),
        ("agent://acme/chief", Role::Coordinator),
    ]);
    let at = town.floor.at();
    let made = town.floor.broker.create_session(&town.beta, new, at);
    let session = town.floor.durable(made.unwrap()).session.session;
    let early = NewCommitment {
        obligor: agent("bot"),
        ..promise(session, town.floor.now + HOUR)
    };
    let made = town
        .floor
        .broker
        .create_commitment(&town.acme, early, &LookedFor::Nowhere, at);
    assert!(matches!(
        asp(made),
        AspError::Send(SendError::NotParticipant { .. })
    ));
    for (who, said) in [
        ("bot", Performative::Accept),
        ("chief", Performative::Reject),
    ] {
        let id = town.floor.next_id();
        let sent = town
            .floor
            .try_send_as(&town.acme, session, who, say(said), id);
        town.floor.durable(sent.unwrap());
    }
    town.session = session;
    let id = town.promises(None);
    town.delivers(id);
    let at = town.floor.at();
    let chief = agent("chief");
    let broker = &mut town.floor.broker;
    let confirmed = broker.confirm_commitment(&town.acme, id, Some(&chief), at);
    assert!(matches!(
        asp(confirmed),
        AspError::Commitment(error) if matches!(*error, CommitmentError::NotParty { .. })
    ));
    let confirmed = broker.confirm_commitment(&town.beta, id, None, at);
    town.floor.durable(confirmed.unwrap());
}

/// What is kept counts with whoever confirms it; what is broken has to count there too, or it costs
/// nothing to promise to a session and to keep what is easy.
#[test]
fn a_promise_to_a_session_that_is_broken_counts_with_whoever_leads_it() {
    let mut town = Town::new();
    town.promises(None);
    town.floor.now += HOUR;
    town.floor.look();
    let rows = super::history::records_of(&town.floor, "__asp.evidence");
    let broken = rows.iter().find(|row| row.1 == "commitment.ended").unwrap();
    let broken: serde_json::Value = serde_json::from_slice(&broken.2).unwrap();
    assert_eq!(broken["severity"], 1);
    assert_eq!(broken["counterparty"]["org"], town.beta.org.0);
    let at = town.floor.at();
    let seen = town.floor.broker.trust_of(&town.acme, &agent("bot"), at);
    assert_eq!(seen.unwrap().value.score.distinct_counterparties, 1);
}

#[test]
fn an_agent_is_rated_once_by_each_in_a_session() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    floor.send(session, "lead", say(Performative::Inform));
    floor.send(session, "writer", say(Performative::Inform));
    let (lead, writer) = (agent("lead"), agent("writer"));
    let rate = |floor: &mut Floor, session, rating| {
        let at = floor.at();
        let rated = floor
            .broker
            .rate_agent(&ME, session, &writer, &lead, rating, at);
        rated.map(|rated| floor.durable(rated))
    };
    let first = rate(&mut floor, session, 900).unwrap();
    let score = |floor: &Floor| {
        let seen = floor.broker.trust_of(&ME, &agent("writer"), floor.at());
        seen.unwrap().value.score
    };
    let before = score(&floor);
    let at = floor.at();
    let broker = &mut floor.broker;
    let again = broker
        .rate_agent(&ME, session, &writer, &lead, 900, at)
        .unwrap();
    assert_eq!(again.value.offset, first.offset, "answered as before");
    let otherwise = rate(&mut floor, session, 0).unwrap_err().error;
    assert!(
        matches!(&otherwise, BrokerError::Asp(error)
            if matches!(**error, AspError::AlreadyRated { rating: 900, .. })),
        "{otherwise}"
    );
    // Not either after a start, nor from a snapshot.
    floor.snapshots();
    let mut floor = floor.reopened();
    assert!(rate(&mut floor, session, 100).is_err());
    assert_eq!(score(&floor), before);
    let other = floor.create(TRIO).session.session;
    floor.send(other, "lead", say(Performative::Inform));
    floor.send(other, "writer", say(Performative::Inform));
    rate(&mut floor, other, 900).unwrap();
}

#[test]
fn money_goes_to_whom_the_operator_names_and_to_no_namesake() {
    let mut town = Town::new();
    register(&mut town.floor, &town.beta, "bot");
    let at = town.floor.at();
    let beta = OrgName::parse("beta").unwrap();
    let whose = agent("agent://acme/bot");
    let broker = &mut town.floor.broker;
    let payment = Payment {
        org: Some(&beta),
        ..deposit(&whose, 50)
    };
    let paid = broker.pay(&ME, payment, at);
    let paid = town.floor.durable(paid.unwrap());
    assert_eq!(paid.account.org, town.acme.org);
    // It stands behind acme's promise in beta's session, and is seen by who looks after it.
    let new = NewCommitment {
        obligor: agent("bot"),
        escrow: Some(EscrowTerms {
            amount: 50,
            currency: usd(),
        }),
        ..promise(town.session, town.floor.now + HOUR)
    };
    let made = town
        .floor
        .broker
        .create_commitment(&town.acme, new, &LookedFor::Nowhere, at);
    town.floor.durable(made.unwrap());
    let all = town.floor.broker.balances(&ME, Some(&beta), None, at);
    let all = all.unwrap().value;
    let shown: Vec<_> = all
        .iter()
        .map(|seen| (seen.account.org, seen.balance.available, seen.balance.held))
        .collect();
    assert_eq!(shown, [(town.acme.org, 0, 50)]);
    town.floor.now += HOUR;
    town.floor.look();
    let all = town
        .floor
        .broker
        .balances(&town.beta, None, None, town.floor.at());
    let all = all.unwrap().value;
    let shown: Vec<_> = all
        .iter()
        .map(|seen| (seen.account.agent, seen.balance.available))
        .collect();
    assert_eq!(
        shown,
        [(None, 50)],
        "forfeited to the session's organisation"
    );
}

#[test]
fn nobody_acts_for_another_reads_what_is_not_theirs_or_resolves_twice() {
    let mut town = Town::new();
    let id = town.promises(None);
    let session = town.session;
    let at = town.floor.at();
    let Town {
        floor,
        acme,
        beta,
        gamma,
        ..
    } = &mut town;
    let broker = &mut floor.broker;
    let is_hidden = |error: AspError| {
        assert!(
            matches!(error, AspError::CommitmentNotFound(found) if found == id),
            "{error}"
        );
    };
    // Who is not in the session: it is not there.
    is_hidden(asp(broker.see_commitment(gamma, id, at)));
    is_hidden(asp(broker.commitment_place(gamma, id, at)));
    is_hidden(asp(broker.deliver_commitment(
        gamma,
        id,
        None,
        Evidence::default(),
        at,
    )));
    is_hidden(asp(broker.confirm_commitment(
        gamma,
        id,
        Some(&agent("eye")),
        at,
    )));
    is_hidden(asp(broker.file_dispute(gamma, dispute(id), None, at)));
    let most = CommitmentId(u128::MAX);
    let listed = broker.live_commitments(gamma, Which::All, &|_| true, most, 10, at);
    assert_eq!(listed.unwrap().seen.len(), 0);
    // Who is in it acts for nobody else.
    let delivered = broker.deliver_commitment(beta, id, None, Evidence::default(), at);
    assert!(matches!(asp(delivered), AspError::NotYourAgent { .. }));
    let new = NewCommitment {
        obligor: agent("agent://acme/bot"),
        ..promise(session, at.0 + HOUR)
    };
    let forged = broker.create_commitment(beta, new, &LookedFor::Nowhere, at);
    assert!(matches!(asp(forged), AspError::NotYourAgent { .. }));
    let bot = agent("bot");
    let delivered = broker.deliver_commitment(acme, id, None, Evidence::default(), at);
    floor.durable(delivered.unwrap());
    let broker = &mut floor.broker;
    let own = broker.confirm_commitment(acme, id, Some(&bot), at);
    assert!(matches!(
        asp(own),
        AspError::Commitment(error) if matches!(*error, CommitmentError::Illegal { .. })
    ));
    for filer in [None, Some(bot)] {
        let new = NewDispute {
            agent: filer,
            ..dispute(id)
        };
        broker.file_dispute(acme, new, None, at).unwrap_err();
    }
    let for_another = NewDispute {
        agent: Some(agent("agent://acme/bot")),
        ..dispute(id)
    };
    broker
        .file_dispute(beta, for_another, None, at)
        .unwrap_err();
    let filed = broker.file_dispute(beta, dispute(id), None, at);
    let filed = floor.durable(filed.unwrap()).dispute.id();
    let broker = &mut floor.broker;
    let hidden = |error: AspError| {
        assert!(
            matches!(error, AspError::DisputeNotFound(found) if found == filed),
            "{error}"
        );
    };
    hidden(asp(broker.see_dispute(gamma, filed, at)));
    hidden(asp(broker.answer_dispute(
        gamma,
        filed,
        String::new(),
        Evidence::default(),
        at,
    )));
    hidden(asp(broker.withdraw_dispute(gamma, filed, at)));
    let most = DisputeId(u128::MAX);
    let listed = broker.live_disputes(gamma, &|_, _| true, most, 10, at);
    assert_eq!(listed.unwrap().seen.len(), 0);
    broker.withdraw_dispute(acme, filed, at).unwrap_err();
    broker
        .answer_dispute(beta, filed, String::new(), Evidence::default(), at)
        .unwrap_err();
    // Nobody rules before it is with an operator, and then once.
    let judge = |floor: &mut Floor, by: &Principal, who: Option<&str>| {
        let judgement = Judgement {
            verdict: Verdict::Upheld,
            severity: None,
            reason: "so it is".to_owned(),
        };
        let (at, who) = (floor.at(), who.map(agent));
        floor
            .broker
            .judge_dispute(by, filed, who.as_ref(), judgement, at)
    };
    judge(floor, &ME, None).unwrap_err();
    floor.now += 72 * HOUR;
    floor.look();
    for (by, who) in [
        (&*acme, None),
        (&*beta, None),
        (&*beta, Some("lead")),
        (&*gamma, Some("eye")),
        (&*acme, Some("bot")),
    ] {
        judge(floor, by, who).unwrap_err();
    }
    let ruled = judge(floor, &ME, None).unwrap();
    floor.durable(ruled);
    judge(floor, &ME, None).unwrap_err();
    let at = floor.at();
    let broker = &mut floor.broker;
    broker.confirm_commitment(beta, id, None, at).unwrap_err();
    broker
        .file_dispute(beta, dispute(id), None, at)
        .unwrap_err();
    let score = broker
        .trust_of(acme, &agent("bot"), at)
        .unwrap()
        .value
        .score;
    assert_eq!(score.evidence_count, 1, "ruled once, counted once");
    let _: (CommitmentId, DisputeId) = (id, filed);
}
