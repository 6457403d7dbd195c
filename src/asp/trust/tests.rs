use proptest::prelude::*;

use super::*;
use crate::asp::chain::Digest;
use crate::asp::{Links, Trust};
use crate::types::{
    AgentId, CommitmentId, DisputeId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

const HOUR: i64 = 3_600_000;

fn party(org: u32, number: u128) -> Party {
    Party {
        agent: AgentId(u128::from(org) * 100 + number),
        org: OrgId(org),
        team: None,
    }
}

/// A state with the records that it was made of.
#[derive(Clone, Default)]
struct Book {
    state: TrustState,
    records: Vec<TrustRecord>,
    hour: i64,
}

impl Book {
    /// One in which the first organisations are verified.
    fn open(verified: u32) -> Self {
        let mut book = Self::default();
        book.clock(480_000);
        for org in 1..=verified {
            book.verify(org, true);
        }
        book.clock(1);
        book
    }

    fn write(&mut self, record: impl Into<TrustRecord>) {
        let record = self.state.link(record.into());
        let offset = Offset(self.records.len() as u64);
        self.state.apply(&record, offset).unwrap();
        self.records.push(record);
    }

    fn clock(&mut self, hours: i64) {
        self.clock_with(hours, DEFAULT_HALF_LIFE_HOURS);
    }

    fn clock_with(&mut self, hours: i64, half_life_hours: u32) {
        self.hour += hours;
        self.write(ClockRead {
            at: Timestamp(self.hour * HOUR),
            half_life_hours,
            kind: Kind::Clock,
            v: 1,
        });
    }

    fn verify(&mut self, org: u32, verified: bool) {
        self.write(OrgVerified {
            at: Timestamp(0),
            by: PrincipalId(0),
            org: OrgId(org),
            kind: Kind::Org,
            v: 1,
            verified,
        });
    }

    fn commitment(&mut self, by: Party, to: Party, outcome: Result<Confirmation, u8>) {
        self.write(commitment(by, Some(to), outcome, false));
    }

    fn done(&mut self, by: Party, to: Party, count: usize) {
        for _ in 0..count {
            self.commitment(by, to, Ok(Confirmation::Explicit));
        }
    }

    fn task(&mut self, agent: Party, by: Party, response_ms: Option<u64>) {
        self.write(TaskSettled {
            agent,
            at: Timestamp(0),
            by,
            links: Links::default(),
            message: MessageId(7),
            response_ms,
            session: SessionId(7),
            signed: true,
            kind: Kind::Task,
            v: 1,
        });
    }

    fn rate(&mut self, agent: Party, by: Party, rating: u16) {
        self.write(Rated {
            agent,
            at: Timestamp(0),
            by,
            links: Links::default(),
            rating,
            // Each in a session of its own: it counts once in each.
            session: SessionId(self.records.len() as u128),
            kind: Kind::Rating,
            v: 1,
        });
    }

    fn rule(&mut self, filer: Party, against: Party, ruling: Ruling, by: Mechanism, of: [u8; 2]) {
        self.write(DisputeRuled {
            against,
            at: Timestamp(0),
            commitment: CommitmentId(7),
            counted: of[1],
            dispute: DisputeId(7),
            filer,
            filer_links: Links::default(),
            links: Links::default(),
            mechanism: by,
            ruling,
            severity: of[0],
            kind: Kind::Dispute,
            v: 1,
        });
    }

    fn endorse(&mut self, agent: Party, by: Party, withdrawn: bool) {
        self.write(Endorsed {
            agent,
            at: Timestamp(0),
            by,
            links: Links::default(),
            kind: Kind::Endorsement,
            v: 1,
            withdrawn,
        });
    }

    fn outside(&self, of: Party) -> u32 {
        self.state.score(of.agent, Scope::External).score
    }

    fn inside(&self, of: Party) -> u32 {
        self.state.score(of.agent, Scope::Internal).score
    }

    fn replayed(&self) -> TrustState {
        let mut state = TrustState::default();
        for (record, offset) in self.records.iter().zip(0..) {
            let read = TrustRecord::decode(record.record_type(), &record.encode()).unwrap();
            assert_eq!(read, *record);
            state.apply(&read, Offset(offset)).unwrap();
        }
        state
    }
}

fn commitment(
    obligor: Party,
    counterparty: Option<Party>,
    outcome: Result<Confirmation, u8>,
    one_sided: bool,
) -> CommitmentEnded {
    CommitmentEnded {
        at: Timestamp(0),
        commitment: CommitmentId(7),
        confirmation: outcome.ok(),
        counterparty,
        escrow: false,
        links: Links::default(),
        obligor,
        one_sided,
        severity: outcome.err(),
        signed: false,
        terms: Digest::ZERO,
        kind: Kind::Commitment,
        v: 1,
    }
}

#[test]
fn without_evidence_the_score_is_0_and_there_are_no_rates() {
    let book = Book::open(1);
    let score = book.state.score(party(9, 0).agent, Scope::External);
    assert_eq!(
        (score.score, score.evidence_count, score.level),
        (0, 0, Level::L0)
    );
    assert_eq!(score.completion_rate, None);
    assert_eq!(score.average_response_ms, None);
    assert_eq!(score.dispute_rate, None);
    assert_eq!(score.external.mean, None);
    assert_eq!(
        Trust::score(&book.state, party(9, 0).agent).thousandths(),
        0
    );
}

#[test]
fn the_own_organisation_counts_inside_and_others_outside() {
    let mut book = Book::open(1);
    let (lead, worker) = (party(5, 0), party(5, 1));
    book.done(worker, lead, 30);
    assert_eq!(book.outside(worker), 0);
    assert!(book.inside(worker) > 900_000, "{}", book.inside(worker));
    book.done(worker, party(1, 0), 3);
    let outside = book.outside(worker);
    assert!(outside > 500_000 && outside < book.inside(worker));
    assert_eq!(
        book.state.score_for(worker.agent, OrgId(5)),
        book.inside(worker)
    );
    assert_eq!(book.state.score_for(worker.agent, OrgId(6)), outside);
}

#[test]
fn a_one_sided_promise_counts_only_when_another_owner_or_team_confirms_it() {
    let mut home = party(5, 0);
    let mut lead = party(5, 1);
    let book = Book::open(1);
    let score = |obligor: Party, to: Option<Party>, how| {
        let mut book = book.clone();
        book.write(commitment(obligor, to, Ok(how), true));
        [book.outside(obligor), book.inside(obligor)].map(|score| score > 0)
    };
    assert_eq!(score(home, None, Confirmation::Itself), [false, false]);
    assert_eq!(
        score(home, Some(lead), Confirmation::Explicit),
        [false, false]
    );
    assert_eq!(
        score(home, Some(party(1, 0)), Confirmation::Silence),
        [false, false]
    );
    assert_eq!(
        score(home, Some(party(1, 0)), Confirmation::Explicit),
        [true, true]
    );
    (home.team, lead.team) = (Some(1), Some(1));
    assert_eq!(
        score(home, Some(lead), Confirmation::Explicit),
        [false, false]
    );
    lead.team = Some(2);
    assert_eq!(
        score(home, Some(lead), Confirmation::Explicit),
        [false, true]
    );
    let mut book = book.clone();
    book.done(home, lead, 9);
    let before = book.inside(home);
    book.write(commitment(home, None, Err(1), true));
    assert!(
        book.inside(home) < before,
        "a promise that was missed counts whoever knew of it"
    );
}

#[test]
fn a_task_that_ended_in_a_commitment_is_one_piece_of_evidence() {
    let mut book = Book::open(1);
    let (agent, by) = (party(5, 0), party(1, 0));
    book.done(agent, by, 4);
    let before = book.outside(agent);
    for _ in 0..4 {
        book.task(agent, by, Some(100));
    }
    assert_eq!(book.outside(agent), before);
    book.task(agent, by, Some(600));
    assert!(
        book.outside(agent) > before,
        "one more without a commitment"
    );
    let score = book.state.score(agent.agent, Scope::External);
    assert_eq!(score.average_response_ms, Some(200));
    assert_eq!(score.completion_rate, Some(1_000_000));
    book.task(agent, by, None);
    let later = book.state.score(agent.agent, Scope::External);
    assert!(later.score < score.score);
    assert_eq!(later.completion_rate, Some(900_000));
}

#[test]
fn a_breach_and_its_disputes_are_one_piece_of_evidence() {
    let mut book = Book::open(2);
    let (agent, by) = (party(5, 0), party(1, 0));
    book.done(agent, by, 20);
    book.commitment(agent, by, Err(2));
    let breached = book.outside(agent);
    book.rule(by, agent, Ruling::Upheld, Mechanism::Automated, [2, 2]);
    assert_eq!(book.outside(agent), breached);
    book.rule(
        party(2, 0),
        agent,
        Ruling::Partial,
        Mechanism::Human,
        [2, 2],
    );
    assert_eq!(book.outside(agent), breached);
    book.rule(by, agent, Ruling::Upheld, Mechanism::Human, [4, 2]);
    assert!(book.outside(agent) < breached);
    let score = book.state.score(agent.agent, Scope::External);
    assert_eq!(score.dispute_rate, Some(3 * 1_000_000 / 21));
}

#[test]
fn a_dismissed_dispute_costs_its_filer_and_nobody_else() {
    let mut book = Book::open(2);
    let (agent, filer) = (party(5, 0), party(1, 0));
    book.done(agent, party(2, 0), 10);
    let before = book.outside(agent);
    for _ in 0..50 {
        book.rule(
            filer,
            agent,
            Ruling::Dismissed,
            Mechanism::Arbitrated,
            [3, 0],
        );
    }
    book.clock(1);
    assert!(book.state.credibility(OrgId(1)) <= 200_000);
    assert!(before - book.outside(agent) < 2_000, "an hour of decay");
    let why = book.state.explain(filer.agent, Scope::External).unwrap();
    assert!(matches!(
        why.remarks[..],
        [Remark::UnfoundedDisputes { org: OrgId(1), .. }]
    ));
}

#[test]
fn severity_and_time_and_half_life_count() {
    let mut book = Book::open(1);
    let agent = party(5, 0);
    book.done(agent, party(1, 0), 20);
    let scores: Vec<u32> = (1..=5)
        .map(|severity| {
            let mut book = book.clone();
            book.commitment(agent, party(1, 0), Err(severity));
            book.outside(agent)
        })
        .collect();
    assert!(scores.windows(2).all(|two| two[1] < two[0]), "{scores:?}");
    assert!(scores[4] < 450_000, "{scores:?}");
    let before = book.outside(agent);
    book.clock(720);
    let after = book.outside(agent);
    assert!(after < before);
    book.clock(24 * 365 * 5);
    assert_eq!(book.outside(agent), 0);
}

#[test]
fn credibility_flows_from_verified_organisations_two_steps_and_is_divided() {
    let mut book = Book::open(1);
    book.done(party(5, 0), party(1, 0), 10);
    book.done(party(6, 0), party(5, 0), 3);
    book.done(party(7, 0), party(6, 0), 3);
    book.clock(1);
    let [one, two, three] = [5, 6, 7].map(|org| book.state.credibility(OrgId(org)));
    assert!(
        one > 600_000 && two > 50_000 && two < one && three == 0,
        "{one} {two} {three}"
    );
    for org in 100..150 {
        book.done(party(org, 0), party(5, 0), 3);
    }
    book.clock(1);
    assert_eq!(
        book.state.credibility(OrgId(6)),
        0,
        "what is split among many is lost"
    );
    assert_eq!(
        book.state.credibility(OrgId(0)),
        1_000_000,
        "the operator's own"
    );
    book.verify(1, false);
    book.clock(1);
    assert_eq!(book.state.credibility(OrgId(5)), 0);
    assert!(!book.state.is_verified(OrgId(1)));
}

#[test]
fn slander_is_left_out_and_named_and_what_the_clock_saw_is_not() {
    let mut book = Book::open(8);
    let agent = party(20, 0);
    for org in 1..=8 {
        book.done(agent, party(org, 0), 5);
    }
    let before = book.outside(agent);
    let mut slandered = book.clone();
    let mut cheating = book;
    for org in 1..=2 {
        for _ in 0..20 {
            slandered.rate(agent, party(org, 0), 0);
            cheating.commitment(agent, party(org, 0), Err(1));
        }
    }
    assert_eq!(slandered.outside(agent), before);
    assert!(cheating.outside(agent) < 700_000);
    let why = slandered
        .state
        .explain(agent.agent, Scope::External)
        .unwrap();
    let named = [1, 2].map(|org| Remark::Outlier { org: OrgId(org) });
    assert_eq!(why.remarks, named);
    for org in 3..=5 {
        for _ in 0..20 {
            slandered.rate(agent, party(org, 0), 0);
        }
    }
    assert!(
        slandered.outside(agent) < before,
        "more than a third are not outliers"
    );
}

#[test]
fn endorsements_make_a_component_and_no_score() {
    let mut book = Book::open(1);
    let agent = party(5, 0);
    book.done(agent, party(1, 0), 3);
    book.done(party(6, 0), party(1, 0), 20);
    book.done(party(5, 1), party(1, 0), 20);
    let score = |book: &Book| book.state.score(agent.agent, Scope::External);
    let before = score(&book);
    book.endorse(agent, party(7, 0), false);
    assert_eq!(
        score(&book).components,
        before.components,
        "nobody knows that one"
    );
    book.endorse(agent, party(5, 1), false);
    assert_eq!(
        score(&book).components.peer_endorsements,
        3,
        "a quarter, of the same owner"
    );
    book.endorse(agent, party(6, 0), false);
    book.endorse(agent, party(6, 0), false);
    let after = score(&book);
    assert_eq!(after.components.peer_endorsements, 16);
    assert_eq!(after.score, before.score);
    assert!(after.composite > before.composite);
    book.endorse(agent, party(6, 0), true);
    assert_eq!(score(&book).components.peer_endorsements, 3);
    for number in 0..60 {
        book.done(party(50 + number, 0), party(1, 0), 20);
        book.endorse(agent, party(50 + number, 0), false);
    }
    let full = score(&book).components;
    book.done(party(200, 0), party(1, 0), 20);
    book.endorse(agent, party(200, 0), false);
    assert_eq!(score(&book).components, full, "{MAX_ENDORSEMENTS} count");
}

#[test]
fn a_newcomer_bears_the_failures_of_its_organisation() {
    let score = |failures| {
        let mut book = Book::open(1);
        for _ in 0..failures {
            book.commitment(party(5, 0), party(1, 0), Err(1));
        }
        book.done(party(5, 1), party(1, 0), 3);
        book.outside(party(5, 1))
    };
    assert!(score(10) < score(0) / 2, "{} {}", score(10), score(0));
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let mut book = Book::open(1);
    let (agent, by) = (party(5, 0), party(1, 0));
    book.done(agent, by, 2);
    let state = book.state.clone();
    let next = Offset(book.records.len() as u64);
    let mut refuse = |record: TrustRecord, offset: Offset, rule: &str| {
        let refused = book.state.apply(&record, offset).unwrap_err();
        assert!(refused.rule.contains(rule), "{refused}");
        assert_eq!(book.state, state);
    };
    let linked = |record: CommitmentEnded| state.link(record.into());
    let good = commitment(agent, Some(by), Ok(Confirmation::Explicit), false);
    let last = book.records.last().unwrap().clone();
    refuse(last, next, "does not follow the last evidence");
    refuse(linked(good.clone()), Offset(0), "not above");
    let mut moved = good.clone();
    moved.obligor.org = OrgId(6);
    refuse(linked(moved), next, "another organisation");
    for severity in [0, 6] {
        let bad = commitment(agent, Some(by), Err(severity), false);
        refuse(linked(bad), next, "1 to 5");
    }
    let mut both = good;
    both.severity = Some(1);
    refuse(linked(both), next, "either confirmed or breached");
    let clock = |at: i64, half_life_hours| {
        let kind = Kind::Clock;
        let at = Timestamp(at);
        TrustRecord::Clock(ClockRead {
            at,
            half_life_hours,
            kind,
            v: 1,
        })
    };
    refuse(clock(0, 720), next, "before that of the last");
    refuse(clock(i64::MAX, 720), next, "beyond");
    refuse(clock(500_000 * HOUR, 0), next, "half-life");
    refuse(clock(500_000 * HOUR, 87_601), next, "half-life");
    let mut empty = TrustState::default();
    let first = commitment(agent, Some(by), Err(1), false);
    let refused = empty.apply(&first.into(), Offset(0)).unwrap_err();
    assert!(refused.rule.contains("no clock record"));
    assert_eq!(empty, TrustState::default());
}

#[test]
fn evidence_is_threaded_by_agent() {
    let mut book = Book::open(1);
    let (agent, other, by) = (party(5, 0), party(6, 0), party(1, 0));
    for number in 0..40 {
        book.done(if number % 3 == 0 { agent } else { other }, by, 1);
    }
    book.rule(agent, other, Ruling::Dismissed, Mechanism::Human, [1, 0]);
    let mut at = book.state.last_evidence(agent.agent);
    let mut seen = 0;
    while let Some(knot) = at {
        let record = &book.records[usize::try_from(knot.offset.0).unwrap()];
        let links = record.links_of(agent.agent).unwrap();
        assert_eq!(links.number(), knot.number);
        (at, seen) = (links.back, seen + 1);
    }
    assert_eq!(seen, 15);
    assert_eq!(book.records[0].links_of(agent.agent), None);
}

#[test]
fn a_failure_long_ago_is_not_turned_into_good_service() {
    let (agent, by, other) = (party(5, 0), party(1, 0), party(2, 0));
    let of = |ends: &[(Party, Result<Confirmation, u8>)]| {
        let mut book = Book::open(2);
        book.clock_with(1, 1);
        for (by, how) in ends {
            book.commitment(agent, *by, *how);
        }
        book.clock_with(40, 1);
        book.done(agent, other, 1);
        book.state.score(agent.agent, Scope::External)
    };
    let (without, with) = (of(&[]), of(&[(by, Err(1))]));
    assert_eq!(without.components.behavioral_consistency, 100);
    assert_eq!(with.components, without.components);
    // Nor does it stand beside one that failed.
    let mut book = Book::open(2);
    book.clock_with(1, 1);
    book.commitment(agent, by, Err(1));
    book.clock_with(40, 1);
    book.commitment(agent, other, Err(1));
    let after = book.state.score(agent.agent, Scope::External);
    assert_eq!(after.components.behavioral_consistency, 0);
    // The own organisation's likewise.
    let mut book = Book::open(2);
    book.clock_with(1, 1);
    book.commitment(agent, party(5, 1), Err(1));
    book.clock_with(40, 1);
    let after = book.state.score(agent.agent, Scope::Internal);
    assert_eq!(after.components.behavioral_consistency, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Clock(i64),
    HalfLife(u32),
    Commitment(Party, Party, Result<Confirmation, u8>),
    Task(Party, Party, Option<u64>),
    Rating(Party, Party, u16),
    Ruling(Party, Party, Ruling, Mechanism, [u8; 2]),
    Endorsement(Party, Party, bool),
    Verified(u32, bool),
}

fn two() -> impl Strategy<Value = (Party, Party)> {
    let one = || (1_u32..9, 0_u128..2).prop_map(|(org, number)| party(org, number));
    (one(), one()).prop_filter("two agents", |(one, other)| one.agent != other.agent)
}

fn step() -> impl Strategy<Value = Step> {
    use Confirmation::{Explicit, Silence};
    let outcome = prop_oneof![
        6 => prop_oneof![Just(Ok(Explicit)), Just(Ok(Silence))],
        1 => (1_u8..=5).prop_map(Err),
    ];
    let ruling = prop_oneof![
        Just(Ruling::Upheld),
        Just(Ruling::Partial),
        Just(Ruling::Dismissed)
    ];
    let mechanism = prop_oneof![
        Just(Mechanism::Automated),
        Just(Mechanism::Arbitrated),
        Just(Mechanism::Human)
    ];
    let severities = (1_u8..=5, 0_u8..=5).prop_map(|(one, other)| [one, other]);
    prop_oneof![
        3 => (1_i64..60).prop_map(Step::Clock),
        1 => (1_u32..900).prop_map(Step::HalfLife),
        20 => (two(), outcome).prop_map(|((a, b), how)| Step::Commitment(a, b, how)),
        6 => (two(), proptest::option::weighted(0.8, 1_u64..9_000))
            .prop_map(|((a, b), ms)| Step::Task(a, b, ms)),
        5 => (two(), prop_oneof![Just(0_u16), 0_u16..=1_000])
            .prop_map(|((a, b), rating)| Step::Rating(a, b, rating)),
        2 => (two(), ruling, mechanism, severities)
            .prop_map(|((a, b), how, by, of)| Step::Ruling(a, b, how, by, of)),
        1 => (two(), any::<bool>()).prop_map(|((a, b), is)| Step::Endorsement(a, b, is)),
        1 => (1_u32..9, prop::bool::weighted(0.8)).prop_map(|(org, is)| Step::Verified(org, is)),
    ]
}

impl Book {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Clock(hours) => self.clock(hours),
            Step::HalfLife(hours) => self.clock_with(1, hours),
            Step::Commitment(of, by, how) => self.commitment(of, by, how),
            Step::Task(of, by, ms) => self.task(of, by, ms),
            Step::Rating(of, by, rating) => self.rate(of, by, rating),
            Step::Ruling(by, of, how, mechanism, severities) => {
                self.rule(by, of, how, mechanism, severities);
            }
            Step::Endorsement(of, by, is) => self.endorse(of, by, is),
            Step::Verified(org, is) => self.verify(org, is),
        }
    }

    fn all(&self) -> Vec<AgentScore> {
        let agents = (1..9).flat_map(|org| [party(org, 0), party(org, 1)]);
        agents
            .flat_map(|of| [Scope::External, Scope::Internal].map(|scope| (of, scope)))
            .map(|(of, scope)| self.state.score(of.agent, scope))
            .collect()
    }
}

proptest! {
    #[test]
    fn any_history_replays_to_the_same_state_and_folds_to_it(
        steps in proptest::collection::vec(step(), 1..120),
        cut in 0_usize..120,
        max_part_bytes in 300_usize..4_000,
    ) {
        let mut book = Book::open(2);
        for step in &steps[..cut.min(steps.len())] {
            book.step(step);
        }
        let mut folded = TrustState::default();
        for record in book.state.fold_in_parts(max_part_bytes) {
            let read = TrustRecord::decode(record.record_type(), &record.encode()).unwrap();
            folded.apply(&read, Offset(0)).unwrap();
        }
        prop_assert_eq!(&folded, &book.state);
        prop_assert_eq!(&book.replayed(), &book.state);
        for step in &steps[cut.min(steps.len())..] {
            let offset = Offset(book.records.len() as u64);
            book.step(step);
            folded.apply(book.records.last().unwrap(), offset).unwrap();
        }
        prop_assert_eq!(&folded, &book.state);
    }

    #[test]
    fn a_breach_raises_no_score_now_or_later(
        steps in proptest::collection::vec(step(), 1..150),
        at in 0_usize..150,
        (of, by) in two(),
        severity in 1_u8..=5,
    ) {
        let mut without = Book::open(2);
        let at = at.min(steps.len());
        for step in &steps[..at] {
            without.step(step);
        }
        let mut with = without.clone();
        with.commitment(of, by, Err(severity));
        for step in [None].into_iter().chain(steps[at..].iter().map(Some)) {
            if let Some(step) = step {
                with.step(step);
                without.step(step);
            }
            for (with, without) in with.all().iter().zip(without.all()) {
                prop_assert!(with.score <= without.score);
                prop_assert!(with.internal.score <= without.internal.score);
                // Of an agent without evidence not even the organisation is known.
                let is_known = without.evidence_count > 0;
                prop_assert!(!is_known || with.composite <= without.composite);
                prop_assert!(with.completion_rate.unwrap_or(0) <= without.completion_rate.unwrap_or(1_000_000));
            }
        }
    }
}
