//! Every arrow and every refusal of the market, what it counts, and the properties that every
//! history has.

mod listings;
mod property;
mod search;
mod subscriptions;
mod usage;

use super::*;
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::escrow::Currency;
use crate::types::{
    AgentId, AgentName, ListingId, Offset, OrgId, OrgName, PrincipalId, SessionId, SubscriptionId,
    Timestamp,
};

/// 2026-11-26T00:00:00Z.
const START: Timestamp = Timestamp(1_795_651_200_000);
const DAY: i64 = 24 * 3_600_000;

const ACME: u32 = 1;
const BETA: u32 = 2;
const GAMMA: u32 = 3;

fn asker(org: u32) -> Asker {
    Asker {
        org: OrgId(org),
        name: org_name(org),
        by: PrincipalId(org * 10),
        is_operator: org == 0,
    }
}

fn org_name(org: u32) -> OrgName {
    OrgName::parse(&format!("org-{org}")).unwrap()
}

/// A number as an id of version 7.
fn lst(number: u128) -> ListingId {
    ListingId(number << 80 | 7 << 76)
}

fn sub(number: u128) -> SubscriptionId {
    SubscriptionId(number << 80 | 7 << 76)
}

fn ses(number: u128) -> SessionId {
    SessionId(number)
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn names(names: &[&str]) -> Vec<AgentName> {
    names
        .iter()
        .map(|name| AgentName::parse(name).unwrap())
        .collect()
}

fn content(title: &str) -> Content {
    Content {
        access: ListingAccess::Open,
        agents: names(&["analyst"]),
        capabilities: names(&["data.analyze"]),
        category: "data-analysis".to_owned(),
        description: "Reads tables and says what stands in them.".to_owned(),
        invited: Vec::new(),
        pricing: Pricing::PerCall {
            currency: eur(),
            unit_price: 250,
        },
        sample: None,
        tags: vec!["tables".to_owned()],
        terms: "No warranty.".to_owned(),
        title: title.to_owned(),
        visibility: Visibility::Public,
    }
}

/// A market with the records that made it.
#[derive(Clone, Default)]
struct Topic {
    state: Market,
    records: Vec<MarketRecord>,
    now: i64,
}

impl Topic {
    fn new() -> Self {
        Self {
            now: START.0,
            ..Self::default()
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Writes a record as it is read back.
    fn write(&mut self, record: MarketRecord) {
        let json = String::from_utf8(record.encode()).unwrap();
        assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
        let read = MarketRecord::decode(record.record_type(), json.as_bytes()).unwrap();
        assert_eq!(read, record);
        let offset = Offset(self.records.len() as u64);
        self.state.apply(&read, offset).unwrap();
        self.records.push(read);
    }

    fn checked(&mut self, checked: Result<Checked, MarketError>) -> Result<bool, MarketError> {
        match checked? {
            Checked::New(record) => {
                self.write(record);
                Ok(true)
            }
            Checked::Before => Ok(false),
        }
    }

    fn list(&mut self, org: u32, id: u128, content: Content) -> Result<bool, MarketError> {
        let checked = self
            .state
            .check_list(&asker(org), lst(id), content, self.at());
        self.checked(checked)
    }

    fn update(&mut self, org: u32, id: u128, change: ContentChange) -> Result<bool, MarketError> {
        let checked = self
            .state
            .check_update(&asker(org), lst(id), change, self.at());
        self.checked(checked)
    }

    fn retitle(&mut self, org: u32, id: u128, title: &str) -> Result<bool, MarketError> {
        let change = ContentChange {
            title: Some(title.to_owned()),
            ..ContentChange::default()
        };
        self.update(org, id, change)
    }

    fn submit(&mut self, org: u32, id: u128) -> Result<bool, MarketError> {
        let checked = self.state.check_submit(&asker(org), lst(id), self.at());
        self.checked(checked.map(Checked::New))
    }

    fn archive(&mut self, org: u32, id: u128) -> Result<bool, MarketError> {
        let checked = self.state.check_archive(&asker(org), lst(id), self.at());
        self.checked(checked.map(Checked::New))
    }

    fn review(&mut self, id: u128, verdict: ReviewVerdict) -> Result<bool, MarketError> {
        let reason = verdict.needs_reason().then(|| "not so".to_owned());
        let by = asker(0);
        let checked = self
            .state
            .check_review(&by, lst(id), verdict, reason, self.at());
        self.checked(checked.map(Checked::New))
    }

    /// A listing of ACME that is published.
    fn published(&mut self, id: u128, content: Content) {
        self.list(ACME, id, content).unwrap();
        self.submit(ACME, id).unwrap();
        self.review(id, ReviewVerdict::Approve).unwrap();
    }

    fn subscribe(&mut self, org: u32, id: u128, listing: u128) -> Result<bool, MarketError> {
        let new = NewSubscription {
            subscription: sub(id),
            listing: lst(listing),
            terms_hash: None,
        };
        let checked = self.state.check_subscribe(&asker(org), &new, self.at());
        self.checked(checked)
    }

    fn approve(
        &mut self,
        org: u32,
        id: u128,
        verdict: ApproveVerdict,
    ) -> Result<bool, MarketError> {
        let by = asker(org);
        let checked = self
            .state
            .check_approve(&by, sub(id), verdict, None, self.at());
        self.checked(checked.map(Checked::New))
    }

    fn cancel(&mut self, org: u32, id: u128) -> Result<bool, MarketError> {
        let checked = self.state.check_cancel(&asker(org), sub(id), self.at());
        self.checked(checked.map(Checked::New))
    }

    fn rate(&mut self, org: u32, id: u128, rating: u8) -> Result<bool, MarketError> {
        let checked = self
            .state
            .check_rate(&asker(org), lst(id), rating, None, self.at());
        self.checked(checked.map(Checked::New))
    }

    fn use_it(&mut self, session: u128, id: u128, agents: &[u128], before: Count) -> bool {
        let agents = agents.iter().copied().map(AgentId).collect();
        let place = (ses(session), OrgId(BETA));
        let state = &self.state;
        let record = state.use_record(sub(id), place, agents, |_| before, self.at());
        let is_new = record.is_some();
        record.into_iter().for_each(|record| self.write(record));
        is_new
    }

    fn meter(&mut self, session: u128, count: Option<Count>) -> usize {
        let records = self
            .state
            .meter_records(ses(session), |_, _| count, self.at());
        let metered = records.len();
        records.into_iter().for_each(|record| self.write(record));
        metered
    }

    fn listing(&self, id: u128) -> &Listing {
        self.state.listing(lst(id)).unwrap()
    }

    fn subscription(&self, id: u128) -> &Subscription {
        self.state.subscription(sub(id)).unwrap()
    }

    fn shows(&self, agent: &str, guest: u32) -> Option<SubscriptionId> {
        self.state.shows(OrgId(ACME), agent, OrgId(guest))
    }

    /// The state that a snapshot gives, and the one that a replay gives, are this one.
    fn check_rebuilds(&self) {
        let mut replayed = Market::default();
        for (record, offset) in self.records.iter().zip(0..) {
            replayed.apply(record, Offset(offset)).unwrap();
        }
        assert_eq!(replayed, self.state);
        check_snapshot(&self.state);
    }
}

/// A snapshot in small parts reads back as the state.
fn check_snapshot(state: &Market) {
    let mut folded = Market::default();
    for part in state.fold_in_parts(2_000) {
        let json = part.encode();
        let read = MarketRecord::decode(part.record_type(), &json).unwrap();
        folded.apply(&read, Offset(0)).unwrap();
    }
    assert_eq!(&folded, state);
}

fn count(messages: u64, calls: u64) -> Count {
    Count { calls, messages }
}

#[test]
fn a_record_that_cannot_follow_is_refused_and_changes_nothing() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    topic.use_it(1, 1, &[1], Count::default());
    let before = topic.state.clone();
    let at = topic.at();
    let by = PrincipalId(1);
    let moved = |listing, at| Moved { at, by, listing };
    let used = |subscription, agents: Vec<u128>, before, host| {
        MarketRecord::Used(Used {
            agents: agents.into_iter().map(AgentId).collect(),
            at,
            before,
            host: OrgId(host),
            session: ses(1),
            subscription,
        })
    };
    let metered = |session, lost, count| {
        MarketRecord::Metered(Metered {
            at,
            count,
            lost,
            session: ses(session),
            subscription: sub(1),
        })
    };
    let subscribed = |org, id, listing, state| {
        MarketRecord::Subscribed(Subscribed {
            at,
            by,
            listing: lst(listing),
            org: OrgId(org),
            pricing: Pricing::Free,
            state,
            subscription: sub(id),
            terms_hash: Digest::ZERO,
        })
    };
    let rated = |org, rating| {
        MarketRecord::Rated(Rated {
            at,
            by,
            comment: None,
            listing: lst(1),
            org: OrgId(org),
            rating,
        })
    };
    let nothing = Count::default();
    let wrong = [
        (
            MarketRecord::Archived(moved(lst(1), Timestamp(at.0 - 1))),
            "its time lies before",
        ),
        (MarketRecord::Archived(moved(lst(2), at)), "no such listing"),
        (MarketRecord::Submitted(moved(lst(1), at)), "does not allow"),
        (topic.records[0].clone(), "there already"),
        (
            subscribed(ACME, 2, 1, SubscriptionState::Active),
            "own listing",
        ),
        (
            subscribed(BETA, 2, 1, SubscriptionState::Active),
            "has not ended",
        ),
        (
            subscribed(BETA, 1, 1, SubscriptionState::Active),
            "there already",
        ),
        (
            subscribed(GAMMA, 2, 1, SubscriptionState::Refused),
            "begins as",
        ),
        (used(sub(2), vec![1], nothing, BETA), "no such subscription"),
        (used(sub(1), vec![], nothing, BETA), "not in order"),
        (used(sub(1), vec![2, 1], nothing, BETA), "not in order"),
        (used(sub(1), vec![2], count(1, 0), BETA), "the same"),
        (used(sub(1), vec![2], nothing, ACME), "the same"),
        (metered(2, false, nothing), "not tied"),
        (metered(1, true, count(1, 0)), "counts nothing"),
        (rated(BETA, 0), "outside 1..=5"),
        (rated(BETA, 6), "outside 1..=5"),
        (rated(GAMMA, 5), "has not used"),
    ];
    for (record, rule) in wrong {
        let error = topic.state.apply(&record, Offset(99)).unwrap_err();
        assert!(error.to_string().contains(rule), "{error}: {rule}");
        assert_eq!(topic.state, before, "{error}");
    }
    let unknown = MarketRecord::decode("market.gifted", b"{\"new\":1}").unwrap();
    topic.state.apply(&unknown, Offset(99)).unwrap();
    assert_eq!(topic.state, before);
    let parts = before.fold_in_parts(300);
    assert!(parts.len() > 1);
    topic.state.apply(&parts[0], Offset(0)).unwrap();
    let between = topic.state.apply(&rated(BETA, 5), Offset(99)).unwrap_err();
    assert!(
        between.to_string().contains("last part is to come"),
        "{between}"
    );
}

#[test]
fn a_part_of_a_state_that_says_something_twice_is_refused() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    topic.use_it(1, 1, &[1], Count::default());
    topic.rate(BETA, 1, 4).unwrap();
    let MarketRecord::Folded(whole) = topic.state.fold().remove(0) else {
        panic!("a state is folded into parts of it");
    };
    assert_eq!(whole.rows.len(), 5, "the time, and one of each kind");
    for row in &whole.rows[1..] {
        let mut twice = whole.clone();
        twice.rows.push(row.clone());
        let error = Market::default()
            .apply(&MarketRecord::Folded(twice), Offset(0))
            .unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
}

#[test]
fn what_another_version_or_type_wrote_is_refused() {
    let mut topic = Topic::new();
    topic.list(ACME, 1, content("one")).unwrap();
    let json = String::from_utf8(topic.records[0].encode()).unwrap();
    let newer = json.replace("\"v\":1", "\"v\":2");
    let error = MarketRecord::decode("market.listed", newer.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let error = MarketRecord::decode("market.updated", json.as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("holds an event of type"),
        "{error}"
    );
    let more = json.replace("\"v\":1", "\"v\":1,\"z\":true");
    let read = MarketRecord::decode("market.listed", more.as_bytes()).unwrap();
    assert_eq!(
        read, topic.records[0],
        "members that are not known are passed over"
    );
}
