//! Any commands in any order: replay and snapshot give the same state after each, what is metered
//! is what a naive count says, and a subscription shows exactly what it should.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A command of the property; those that are refused change nothing.
#[derive(Clone, Copy, Debug)]
enum Command {
    List(u32, u128),
    Update(u32, u128, u8),
    Submit(u32, u128),
    Review(u128, ReviewVerdict),
    Archive(u32, u128),
    Subscribe(u32, u128, u128),
    Approve(u32, u128, ApproveVerdict),
    Cancel(u32, u128),
    Use(u128, u128, u128),
    Say(u128, u64, u64),
    End(u128),
    Rate(u32, u128, u8),
    Tick(i64),
}

fn command() -> impl Strategy<Value = Command> {
    use Command as C;
    let (org, id) = (|| 1..4_u32, || 1..4_u128);
    prop_oneof![
        4 => (org(), id()).prop_map(|(org, id)| C::List(org, id)),
        2 => (org(), id(), 0..4_u8).prop_map(|(org, id, n)| C::Update(org, id, n)),
        6 => (org(), id()).prop_map(|(org, id)| C::Submit(org, id)),
        8 => (id(), proptest::sample::select(ReviewVerdict::ALL.to_vec()))
            .prop_map(|(id, verdict)| C::Review(id, verdict)),
        1 => (org(), id()).prop_map(|(org, id)| C::Archive(org, id)),
        8 => (org(), 1..9_u128, id()).prop_map(|(org, id, of)| C::Subscribe(org, id, of)),
        4 => (org(), 1..9_u128, proptest::sample::select(ApproveVerdict::ALL.to_vec()))
            .prop_map(|(org, id, verdict)| C::Approve(org, id, verdict)),
        2 => (org(), 1..9_u128).prop_map(|(org, id)| C::Cancel(org, id)),
        10 => (1..6_u128, 1..9_u128, 1..4_u128).prop_map(|(of, id, agent)| C::Use(of, id, agent)),
        8 => (1..6_u128, 0..5_u64, 0..3_u64).prop_map(|(of, says, calls)| C::Say(of, says, calls)),
        4 => (1..6_u128).prop_map(C::End),
        4 => (org(), id(), 0..7_u8).prop_map(|(org, id, rating)| C::Rate(org, id, rating)),
        3 => (0..20 * DAY).prop_map(C::Tick),
    ]
}

/// What a plain count of everything says.
#[derive(Default)]
struct Naive {
    /// What each session holds that goes on.
    sessions: BTreeMap<u128, Count>,
    /// What each subscription was used for in each session: the month, and what was said since.
    uses: BTreeMap<(SubscriptionId, u128, u32), (Month, Count)>,
    /// How often a session's number has been used before.
    lives: BTreeMap<u128, u32>,
    ratings: BTreeMap<(ListingId, u32), u8>,
}

impl Naive {
    fn life(&self, session: u128) -> u32 {
        self.lives.get(&session).copied().unwrap_or(0)
    }

    fn tallies(&self, id: SubscriptionId) -> BTreeMap<Month, Tally> {
        let mut tallies: BTreeMap<Month, Tally> = BTreeMap::new();
        for ((of, ..), (month, count)) in &self.uses {
            if *of == id {
                let tally = tallies.entry(*month).or_default();
                *tally += *count;
                tally.sessions += 1;
            }
        }
        tallies
    }
}

fn run(topic: &mut Topic, naive: &mut Naive, command: Command) {
    match command {
        Command::List(org, id) => {
            let access = [
                ListingAccess::Open,
                ListingAccess::OnRequest,
                ListingAccess::ByInvitation,
            ];
            let content = Content {
                access: access[usize::try_from(id).unwrap() % 3],
                invited: vec![org_name(BETA)],
                ..content("one")
            };
            let _ = topic.list(org, id, content);
        }
        Command::Update(org, id, n) => {
            let _ = topic.retitle(org, id, &format!("title {n}"));
        }
        Command::Submit(org, id) => {
            let _ = topic.submit(org, id);
        }
        Command::Review(id, verdict) => {
            let _ = topic.review(id, verdict);
        }
        Command::Archive(org, id) => {
            let _ = topic.archive(org, id);
        }
        Command::Subscribe(org, id, of) => {
            let _ = topic.subscribe(org, id, of);
        }
        Command::Approve(org, id, verdict) => {
            let _ = topic.approve(org, id, verdict);
        }
        Command::Cancel(org, id) => {
            let _ = topic.cancel(org, id);
        }
        Command::Use(session, id, agent) => {
            // The broker asks which subscription shows the agent, so it is an active one.
            let held = topic.state.subscription(sub(id));
            if held.is_none_or(|held| held.state != SubscriptionState::Active) {
                return;
            }
            let before = naive.sessions.entry(session).or_default();
            let before = *before;
            topic.use_it(session, id, &[agent], before);
            let key = (sub(id), session, naive.life(session));
            let month = Month::of(topic.at());
            naive.uses.entry(key).or_insert((month, Count::default()));
        }
        Command::Say(session, messages, calls) => {
            let Some(held) = naive.sessions.get_mut(&session) else {
                return;
            };
            held.messages += messages;
            held.calls += calls;
            let life = naive.life(session);
            for ((_, of, lives), (_, count)) in &mut naive.uses {
                if (*of, *lives) == (session, life) {
                    count.messages += messages;
                    count.calls += calls;
                }
            }
        }
        Command::End(session) => {
            if let Some(held) = naive.sessions.remove(&session) {
                topic.meter(session, Some(held));
                *naive.lives.entry(session).or_default() += 1;
            }
        }
        Command::Rate(org, id, rating) => {
            if topic.rate(org, id, rating).is_ok() {
                naive.ratings.insert((lst(id), org), rating);
            }
        }
        Command::Tick(ms) => topic.now += ms,
    }
}

/// Whether a subscription should show an agent, looked up the long way.
fn should_show(state: &Market, guest: u32, owner: u32) -> bool {
    state.listings().any(|listing| {
        let own = state.subscriptions_to(listing.listing);
        let mut own = own.filter(|one| one.org == OrgId(guest));
        listing.org == OrgId(owner)
            && listing.state != ListingState::Suspended
            && own.any(|one| one.state == SubscriptionState::Active)
    })
}

proptest! {
    #[test]
    fn any_commands_replay_to_the_same_state_and_meter_what_a_naive_count_says(commands in proptest::collection::vec(command(), 1..120)) {
        let (mut topic, mut naive) = (Topic::new(), Naive::default());
        for command in commands {
            run(&mut topic, &mut naive, command);
            let state = &topic.state;
            for guest in 1..4 {
                for owner in 1..4 {
                    let shows = state.shows(OrgId(owner), "analyst", OrgId(guest)).is_some();
                    prop_assert_eq!(shows, owner != guest && should_show(state, guest, owner));
                }
            }
            for id in 1..9 {
                let Some(held) = state.subscription(sub(id)) else { continue };
                let live = |of: &Use, _: OrgId| naive.sessions.get(&of.session.0).copied();
                let usage = state.usage(sub(id), live, None, None, topic.at()).unwrap();
                let found: BTreeMap<_, _> = usage.months.iter().map(|of| (of.month, of.tally)).collect();
                let expected = naive.tallies(sub(id));
                let calls: u64 = expected.values().map(|tally| tally.calls).sum();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(usage.total.charge.map(|charge| charge.amount), Some(250 * calls));
                prop_assert_eq!(held.is_used(), !usage.months.is_empty());
            }
            for listing in state.listings() {
                let mine = naive.ratings.iter().filter(|((of, _), _)| *of == listing.listing);
                let (count, sum) = mine.fold((0, 0), |(count, sum), (_, rating)| (count + 1, sum + u64::from(*rating)));
                prop_assert_eq!(listing.rating, RatingSum { count, sum });
            }
        }
        // Any prefix is what a crash leaves.
        let mut replayed = Market::default();
        for (record, offset) in topic.records.iter().zip(0..) {
            replayed.apply(record, Offset(offset)).unwrap();
            check_snapshot(&replayed);
        }
        prop_assert_eq!(replayed, topic.state);
    }
}
