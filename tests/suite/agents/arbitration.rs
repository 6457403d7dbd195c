//! Who decides disputes that the log does not: arbitrators of organisations that have nothing to do
//! with it, or an operator; how many an agent files, and how long they take.

use std::collections::BTreeSet;

use npayload::access::{GrantRequest, Operation};
use npayload::asp::commitment::Evidence;
use npayload::asp::dispute::{
    DisputeError, DisputeState, FILING_PERIOD_MS, Judgement, MAX_FILINGS, Mechanism, Verdict,
    Windows,
};
use npayload::asp::trust::AgentScore;
use npayload::broker::asp::{AspError, LookedFor, NewCommitment, NewDispute};
use npayload::types::{CommitmentId, DisputeId, OrgName};

use super::promises::{dispute, promise};
use super::walls::{admin, register, show};
use super::*;

const HOUR_MS: i64 = 3_600_000;

fn agent(name: &str) -> AgentRef {
    AgentRef::parse(name).unwrap()
}

/// Whoever is invited comes in.
fn comes_in(floor: &mut Floor, by: &Principal, name: &str, session: SessionId) {
    let id = floor.next_id();
    let accepts = say(Performative::Accept);
    let sent = floor.try_send_as(by, session, name, accepts, id).unwrap();
    floor.durable(sent);
}

/// What somebody promises in a session, and has delivered.
fn delivered(floor: &mut Floor, by: &Principal, name: &str, session: SessionId) -> CommitmentId {
    let new = NewCommitment {
        obligor: agent(name),
        ..promise(session, floor.now + 10_000)
    };
    let at = floor.at();
    let made = floor
        .broker
        .create_commitment(by, new, &LookedFor::Nowhere, at)
        .unwrap();
    let id = floor.durable(made).commitment.id();
    let none = Evidence::default();
    let done = floor.broker.deliver_commitment(by, id, None, none, at);
    floor.durable(done.unwrap());
    id
}

/// An organisation with an agent `judge` that has kept promises to the default organisation.
fn trusted(floor: &mut Floor, org: &str) -> Principal {
    let by = admin(floor, org);
    register(floor, &by, "judge");
    show(floor, &by, &ME, "*");
    let judge = format!("agent://{org}/judge");
    let session = floor.create(&[("lead", Role::Coordinator), (&judge, Role::Specialist)]);
    let session = session.session.session;
    comes_in(floor, &by, "judge", session);
    for _ in 0..8 {
        let id = delivered(floor, &by, "judge", session);
        let at = floor.at();
        let kept = floor.broker.confirm_commitment(&ME, id, None, at).unwrap();
        floor.durable(kept);
    }
    by
}

/// A dispute of `beta` about what `acme` delivered.
fn disputed(floor: &mut Floor, acme: &Principal, beta: &Principal) -> DisputeId {
    register(floor, acme, "worker");
    show(floor, acme, beta, "*");
    let at = floor.at();
    let both = new_session(&[
        ("chief", Role::Coordinator),
        ("agent://acme/worker", Role::Specialist),
    ]);
    let made = floor.broker.create_session(beta, both, at).unwrap();
    let session = floor.durable(made).session.session;
    comes_in(floor, acme, "worker", session);
    let id = delivered(floor, acme, "worker", session);
    let filed = floor
        .broker
        .file_dispute(beta, dispute(id), None, at)
        .unwrap();
    let filed = floor.durable(filed).dispute;
    assert_eq!(filed.state, DisputeState::Open);
    filed.id()
}

fn reviewed(floor: &mut Floor, by: &Principal, id: DisputeId) -> npayload::asp::dispute::Dispute {
    floor.now += 72 * HOUR_MS;
    floor.look();
    let seen = floor.broker.see_dispute(by, id, floor.at()).unwrap();
    assert_eq!(seen.value.dispute.state, DisputeState::UnderReview);
    (*seen.value.dispute).clone()
}

fn org_of(floor: &Floor, name: &str) -> OrgId {
    let name = OrgName::parse(name).unwrap();
    floor
        .broker
        .access()
        .org_by_name(name.as_str())
        .unwrap()
        .org
}

fn upheld() -> Judgement {
    Judgement {
        verdict: Verdict::Upheld,
        severity: Some(2),
        reason: "it is not what was agreed".to_owned(),
    }
}

#[test]
fn arbitrators_are_of_organisations_that_never_shared_agents_with_a_party() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    let judges = ["one", "two", "three"].map(|org| trusted(&mut floor, org));
    let friend = trusted(&mut floor, "friend");
    show(&mut floor, &friend, &acme, "*");
    let customer = trusted(&mut floor, "customer");
    show(&mut floor, &beta, &customer, "*");
    // Whom a party only asks is not kept out by that.
    let at = floor.at();
    let asked = GrantRequest {
        owner: acme.org,
        guest: judges[2].org,
        channels: "*".parse().unwrap(),
        operation: Operation::Asp,
        expires_at: None,
    };
    let asked = floor.broker.propose_grant(&acme, asked, at).unwrap();
    floor.durable(asked);
    let id = disputed(&mut floor, &acme, &beta);
    // A grant that ended in time keeps out all the same.
    let grants: Vec<_> = floor.broker.access().grants(friend.org).cloned().collect();
    for grant in grants.iter().filter(|grant| grant.guest == acme.org) {
        let at = floor.at();
        let ended = floor.broker.revoke_grant(&friend, grant.grant, at).unwrap();
        floor.durable(ended);
    }
    let known = reviewed(&mut floor, &beta, id);
    let arbitration = known.arbitration.unwrap();
    let orgs: BTreeSet<_> = arbitration.candidates.iter().map(|one| one.org).collect();
    let expected = ["one", "two", "three"].map(|org| org_of(&floor, org));
    assert_eq!(orgs, BTreeSet::from(expected));
    assert_eq!(known.mechanism, Some(Mechanism::Peer));

    // The secret is found again by its number, also behind a restart.
    let mut floor = floor.reopened();
    let at = floor.at();
    let outsider = floor
        .broker
        .judge_dispute(&friend, id, Some(&agent("judge")), upheld(), at);
    assert!(outsider.is_err());
    for judge in &judges[..2] {
        let at = floor.at();
        let by = agent("judge");
        let voted = floor
            .broker
            .judge_dispute(judge, id, Some(&by), upheld(), at);
        floor.durable(voted.unwrap());
    }
    let seen = floor
        .broker
        .see_dispute(&beta, id, floor.at())
        .unwrap()
        .value;
    let ruling = seen.dispute.ruling.clone().unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism),
        (Verdict::Upheld, Mechanism::Peer)
    );
}

#[test]
fn fewer_than_three_unrelated_organisations_leave_it_to_an_operator() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    for org in ["one", "two"] {
        trusted(&mut floor, org);
    }
    let friend = trusted(&mut floor, "friend");
    show(&mut floor, &friend, &acme, "*");
    let id = disputed(&mut floor, &acme, &beta);
    let known = reviewed(&mut floor, &beta, id);
    assert_eq!(known.mechanism, Some(Mechanism::Human));
}

#[test]
fn secrets_of_many_disputes_are_found_by_number_across_restarts() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let mut seals = BTreeSet::new();
    for n in 0..6 {
        let id = delivered(&mut floor, &ME, "writer", session);
        let filed = floor.disputes(dispute(id)).dispute;
        assert_eq!(filed.filed.seal_number, Some(n));
        assert!(
            seals.insert(filed.filed.seal),
            "each has a secret of its own"
        );
        if n % 2 == 0 {
            floor.snapshots();
        }
        floor = floor.reopened();
    }
}

#[test]
fn an_agent_files_so_many_disputes_a_day_that_the_log_does_not_decide() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    for _ in 0..MAX_FILINGS {
        let id = delivered(&mut floor, &ME, "writer", session);
        floor.disputes(dispute(id));
    }
    let id = delivered(&mut floor, &ME, "writer", session);
    floor.now += 1_000;
    let at = floor.at();
    let refused = floor.broker.file_dispute(&ME, dispute(id), None, at);
    let error = match refused.unwrap_err().error {
        BrokerError::Asp(error) => *error,
        other => panic!("{other}"),
    };
    let AspError::Dispute(error) = error else {
        panic!("{error}");
    };
    let DisputeError::TooMany {
        found,
        limit,
        wait_ms,
        ..
    } = *error
    else {
        panic!("{error}");
    };
    assert_eq!((found, limit), (MAX_FILINGS + 1, MAX_FILINGS));
    assert_eq!(
        wait_ms,
        FILING_PERIOD_MS - 1_000,
        "until the first is a day old"
    );
    // Another agent is not held up by it, nor is what the log decides.
    let other = NewDispute {
        agent: Some(agent("watcher")),
        ..dispute(id)
    };
    floor.disputes(other);
    let late = promise(session, floor.now - 1);
    let late = floor.promises(late).commitment.id();
    assert_eq!(
        floor.disputes(dispute(late)).dispute.state,
        DisputeState::Resolved
    );
    floor.now += i64::try_from(wait_ms).unwrap();
    floor.look();
    let session = floor.create(TRIO).session.session;
    let id = delivered(&mut floor, &ME, "writer", session);
    floor.disputes(dispute(id));
}

#[test]
fn the_windows_that_a_filer_gives_are_what_the_clock_goes_by() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let id = delivered(&mut floor, &ME, "writer", session);
    let windows = Windows {
        answer_ms: 2 * HOUR_MS.unsigned_abs(),
        arbitration_ms: 3 * HOUR_MS.unsigned_abs(),
        ballot_ms: HOUR_MS.unsigned_abs(),
    };
    let new = NewDispute {
        windows,
        ..dispute(id)
    };
    let id = floor.disputes(new).dispute.id();
    for (ms, state) in [
        (2 * HOUR_MS - 1, DisputeState::Open),
        (1, DisputeState::UnderReview),
        (3 * HOUR_MS - 1, DisputeState::UnderReview),
        (1, DisputeState::Expired),
    ] {
        floor.now += ms;
        floor.look();
        let seen = floor.broker.see_dispute(&ME, id, floor.at()).unwrap().value;
        assert_eq!(seen.dispute.state, state);
    }
}

#[test]
fn another_half_life_is_on_the_record_and_every_rebuild_counts_by_it() {
    let score = |floor: &Floor| -> AgentScore {
        let seen = floor
            .broker
            .trust_of(&ME, &agent("writer"), floor.at())
            .unwrap();
        seen.value.score
    };
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    for _ in 0..3 {
        floor.promises(promise(session, floor.now - 1));
    }
    floor.now += HOUR_MS;
    floor.look();
    let before = score(&floor);
    assert!(before.internal.confidence > 0);
    let other = |config: &mut BrokerConfig| config.trust_half_life_hours = 24;
    floor.rounds();
    let (disk, now) = (floor.disk.clone(), floor.now + 1);
    drop(floor);
    let mut floor = Floor::open_with(&disk, now, other);
    assert_eq!(score(&floor), before, "what was recorded counts as it did");
    floor.look();
    // Taken over into counters of the other half-life, but for a rounding.
    let taken = score(&floor).internal.confidence;
    let off = taken.abs_diff(before.internal.confidence);
    assert!(off <= 5, "{taken} of {before:?}");
    floor.now += 48 * HOUR_MS;
    floor.look();
    let after = score(&floor);
    assert!(
        after.internal.confidence < before.internal.confidence / 2,
        "{after:?}"
    );
    let (disk, now) = (floor.disk.clone(), floor.now + 1);
    drop(floor);
    // Without anything to go by but the record, and with the first half-life in the configuration.
    let floor = Floor::open(&disk, now);
    assert_eq!(score(&floor), after);
}
