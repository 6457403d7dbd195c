//! Who arbitrates, and what votes decide.

use super::*;

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
