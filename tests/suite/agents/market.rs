//! The market in the broker: what a subscription opens, what is metered and with which entry, and
//! who may do what.

use std::io::IoSlice;

use npayload::access::{KeyKind, KeyRequest, Limits as KeyLimits, Scope};
use npayload::asp::market::{
    ApproveVerdict, Content, ContentChange, Count, ListingAccess, ListingState, MarketError,
    MarketQuery, Month, Pricing, ReviewVerdict, SubscriptionState, Tally, Usage, Visibility,
};
use npayload::asp::session::TASK_ASSIGN;
use npayload::broker::asp::{AspError, Reads, SubscriptionsAsked};
use npayload::storage::disk::OpenMode;
use npayload::types::{ListingId, OrgName, SubscriptionId};

use super::walls::{admin, register, show, with_guest};
use super::*;

fn names(names: &[&str]) -> Vec<AgentName> {
    names
        .iter()
        .map(|name| AgentName::parse(name).unwrap())
        .collect()
}

fn content(agents: &[&str]) -> Content {
    Content {
        access: ListingAccess::Open,
        agents: names(agents),
        capabilities: names(&["data.analyze"]),
        category: "data-analysis".to_owned(),
        description: String::new(),
        invited: Vec::new(),
        pricing: Pricing::PerCall {
            currency: "EUR".parse().unwrap(),
            unit_price: 250,
        },
        sample: None,
        tags: Vec::new(),
        terms: "No warranty.".to_owned(),
        title: "Reads tables".to_owned(),
        visibility: Visibility::Public,
    }
}

/// A broker with a publisher, `acme`, and a subscriber, `beta`.
struct Fair {
    floor: Floor,
    acme: Principal,
    beta: Principal,
}

impl Fair {
    fn new() -> Self {
        let mut floor = Floor::new();
        let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
        for name in ["bot", "helper", "secret"] {
            register(&mut floor, &acme, name);
        }
        Self { floor, acme, beta }
    }

    fn at(&self) -> Timestamp {
        self.floor.at()
    }

    /// A listing that is published.
    fn publish(&mut self, content: Content) -> ListingId {
        let (acme, at) = (self.acme, self.at());
        let made = self
            .floor
            .broker
            .create_listing(&acme, None, content, at)
            .unwrap();
        let id = self.floor.durable(made).listing;
        let done = self.floor.broker.submit_listing(&acme, id, at).unwrap();
        assert_eq!(self.floor.durable(done).state, ListingState::InReview);
        self.review(id, ReviewVerdict::Approve);
        id
    }

    fn review(&mut self, id: ListingId, verdict: ReviewVerdict) {
        let (reason, at) = (Some("because".to_owned()), self.at());
        let done = self
            .floor
            .broker
            .review_listing(&ME, id, verdict, reason, at);
        self.floor.durable(done.unwrap());
    }

    fn subscribe(&mut self, listing: ListingId) -> SubscriptionId {
        let (beta, at) = (self.beta, self.at());
        let done = self
            .floor
            .broker
            .subscribe_listing(&beta, None, listing, None, at);
        self.floor.durable(done.unwrap()).subscription
    }

    fn approve(&mut self, id: SubscriptionId, verdict: ApproveVerdict) -> SubscriptionState {
        let (acme, at) = (self.acme, self.at());
        let done = self
            .floor
            .broker
            .approve_subscription(&acme, id, verdict, None, at);
        self.floor.durable(done.unwrap()).state
    }

    fn cancel(&mut self, id: SubscriptionId) {
        let (beta, at) = (self.beta, self.at());
        let done = self.floor.broker.cancel_subscription(&beta, id, at);
        self.floor.durable(done.unwrap());
    }

    /// Whether beta sees that agent of acme: by its name, its id, a search, and for a session.
    fn sees(&self, name: &str) -> bool {
        let (broker, at) = (&self.floor.broker, self.at());
        let uri = AgentRef::parse(&format!("agent://acme/{name}")).unwrap();
        let own = AgentRef::parse(name).unwrap();
        let id = broker
            .see_agent(&self.acme, &own, at)
            .unwrap()
            .value
            .agent
            .agent;
        let by_name = broker.see_agent(&self.beta, &uri, at).is_ok();
        let by_id = broker.see_agent(&self.beta, &AgentRef::Id(id), at).is_ok();
        let org = OrgName::parse("acme").unwrap();
        let shown = broker.agents_to_search(&self.beta, Some(&org), at).unwrap();
        let (found, _) = shown
            .search(&npayload::asp::registry::Query::default(), 10)
            .unwrap();
        let by_search = found.iter().any(|seen| seen.agent.name.as_str() == name);
        assert_eq!((by_name, by_id), (by_search, by_search), "{name}");
        by_search
    }

    fn open(&mut self, guest: &str) -> Result<SessionId, Refusal> {
        let (beta, at) = (self.beta, self.at());
        let made = self
            .floor
            .broker
            .create_session(&beta, with_guest(guest), at)?;
        Ok(self.floor.durable(made).session.session)
    }

    fn say(&mut self, by: Principal, session: SessionId, from: &str, said: Performative) {
        let id = self.floor.next_id();
        let sent = self.floor.try_send_as(&by, session, from, say(said), id);
        self.floor.durable(sent.unwrap());
    }

    /// A `task.assign` of beta's coordinator.
    fn assign(&mut self, session: SessionId, to: Option<&str>) {
        let at = self.at();
        let (beta, id) = (self.beta, self.floor.next_id());
        let from = AgentRef::parse("lead").unwrap();
        let to = to.map(|to| AgentRef::parse(to).unwrap());
        let addressed = self
            .floor
            .broker
            .address(&beta, session, &from, to.as_ref(), at)
            .unwrap();
        let message = Message {
            id,
            session,
            sender: addressed.sender,
            recipient: addressed.recipient,
            performative: Performative::Propose,
            message_type: Some(TASK_ASSIGN.to_owned()),
            payload: Digest::ZERO,
            in_reply_to: None,
            constraints: Constraints::default(),
        };
        let payload = Canonical::of(&serde_json::json!({"n": 1})).unwrap();
        let send = Send::new(message, Some(payload), beta.id).unwrap();
        let sent = self
            .floor
            .broker
            .send_message(&beta, &send, None, None, at)
            .unwrap();
        self.floor.durable(sent);
    }

    fn usage(&self, id: SubscriptionId) -> Usage {
        let (broker, at) = (&self.floor.broker, self.at());
        let seen = |by| {
            broker
                .subscription_usage(by, id, None, None, at)
                .unwrap()
                .value
        };
        let usage = seen(&self.beta);
        assert_eq!(usage, seen(&self.acme), "both sides are told the same");
        usage
    }

    /// Sessions that are tied to a subscription and not metered.
    fn unmetered(&self) -> usize {
        self.floor.broker.market().unwrap().uses().count()
    }

    fn tally(&self, id: SubscriptionId) -> Tally {
        self.usage(id).total.tally
    }

    fn reopened(self) -> Self {
        let Self { floor, acme, beta } = self;
        // Ids of messages go on, so that none is taken for one that was sent before.
        let ids = floor.ids;
        let mut floor = floor.reopened();
        floor.ids = ids;
        Self { floor, acme, beta }
    }
}

fn market_error<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> MarketError {
    match refused.unwrap_err().error {
        BrokerError::Asp(error) => match *error {
            AspError::Market(error) => *error,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

const fn tally(sessions: u64, messages: u64, calls: u64) -> Tally {
    Tally {
        calls,
        messages,
        sessions,
    }
}

#[test]
fn a_subscription_shows_agents_and_one_that_ends_is_like_a_revoked_grant() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    assert!(!fair.sees("bot"), "a listing alone shows nobody");
    assert!(fair.open("agent://acme/bot").is_err());
    let id = fair.subscribe(listing);
    assert!(fair.sees("bot") && fair.sees("helper") && !fair.sees("secret"));
    assert!(fair.open("agent://acme/secret").is_err());
    let session = fair.open("agent://acme/bot").unwrap();
    let (acme, beta) = (fair.acme, fair.beta);
    fair.say(acme, session, "bot", Performative::Accept);
    for end in ["suspend", "the listing", "cancel"] {
        match end {
            "suspend" => drop(fair.approve(id, ApproveVerdict::Suspend)),
            "the listing" => fair.review(listing, ReviewVerdict::Suspend),
            _ => fair.cancel(id),
        }
        assert!(!fair.sees("bot") && !fair.sees("helper"), "{end}");
        assert!(fair.open("agent://acme/bot").is_err(), "{end}");
        // As after a grant was revoked: who is in stays in, and is addressed.
        fair.say(beta, session, "lead", Performative::Inform);
        fair.say(acme, session, "bot", Performative::Inform);
        fair.assign(session, Some("agent://acme/bot"));
        match end {
            "suspend" => drop(fair.approve(id, ApproveVerdict::Resume)),
            "the listing" => fair.review(listing, ReviewVerdict::Restore),
            _ => continue,
        }
        assert!(fair.sees("bot") && !fair.sees("secret"), "{end} is over");
    }
    // What goes on is still counted.
    assert_eq!(fair.tally(id), tally(1, 7, 3));
    // And a new one is another subscription.
    let again = fair.subscribe(listing);
    assert!(again != id && fair.sees("bot"));
}

#[test]
fn the_grant_that_is_revoked_behaves_the_same() {
    let mut fair = Fair::new();
    let (acme, beta) = (fair.acme, fair.beta);
    show(&mut fair.floor, &acme, &beta, "bot");
    let session = fair.open("agent://acme/bot").unwrap();
    fair.say(acme, session, "bot", Performative::Accept);
    let grants: Vec<_> = fair
        .floor
        .broker
        .access()
        .grants(beta.org)
        .map(|one| one.grant)
        .collect();
    let at = fair.at();
    let revoked = fair
        .floor
        .broker
        .revoke_grant(&acme, grants[0], at)
        .unwrap();
    fair.floor.durable(revoked);
    assert!(!fair.sees("bot") && fair.open("agent://acme/bot").is_err());
    fair.say(beta, session, "lead", Performative::Inform);
    fair.say(acme, session, "bot", Performative::Inform);
    fair.assign(session, Some("agent://acme/bot"));
}

#[test]
fn a_session_is_metered_by_what_it_holds_live_and_in_the_entry_that_ends_it() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    assert_eq!(fair.tally(id), Tally::default());
    let session = fair.open("agent://acme/bot").unwrap();
    assert_eq!(
        fair.tally(id),
        tally(1, 1, 0),
        "the invitation is its coordinator's"
    );
    let (acme, beta) = (fair.acme, fair.beta);
    fair.say(acme, session, "bot", Performative::Accept);
    fair.say(beta, session, "lead", Performative::Inform);
    fair.assign(session, Some("agent://acme/bot"));
    fair.assign(session, None);
    fair.say(acme, session, "bot", Performative::Inform);
    assert_eq!(
        fair.tally(id),
        tally(1, 4, 2),
        "the publisher's messages are not counted"
    );
    // The same from the log alone, and from a snapshot.
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 2));
    fair.publish(content(&["helper"]));
    for _ in 0..4 {
        fair.say(acme, session, "bot", Performative::Inform);
    }
    let written = fair.floor.snapshots();
    assert!(written >= 2, "the market's and the sessions', of {written}");
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 2));
    assert_eq!(fair.unmetered(), 1);
    fair.say(beta, session, "lead", Performative::Close);
    assert_eq!(fair.unmetered(), 0, "in the entry that ended it");
    let usage = fair.usage(id);
    assert_eq!(usage.total.tally, tally(1, 5, 2), "its last message counts");
    assert_eq!(usage.months[0].month, Month::of(fair.at()));
    assert_eq!(usage.total.charge.unwrap().amount, 500);
    let mut fair = fair.reopened();
    assert_eq!(fair.usage(id), usage);
    fair.floor.look();
    assert_eq!(fair.usage(id), usage, "once");
    let (broker, at) = (&fair.floor.broker, fair.at());
    assert!(
        broker.subscription_usage(&ME, id, None, None, at).is_ok(),
        "and an operator"
    );
    let gamma = admin(&mut fair.floor, "gamma");
    let (broker, at) = (&fair.floor.broker, fair.floor.at());
    let absent = broker.subscription_usage(&gamma, id, None, None, at);
    assert_eq!(market_error(absent), MarketError::SubscriptionNotFound(id));
}

#[test]
fn sessions_that_the_clock_ends_are_metered_too() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    fair.open("agent://acme/bot").unwrap();
    // Nobody accepts it, and it fails; the broker is down as it does.
    fair.floor.now += 40_000;
    let mut fair = fair.reopened();
    fair.floor.look();
    assert_eq!(fair.tally(id), tally(1, 1, 0));
    let session = fair.open("agent://acme/bot").unwrap();
    let acme = fair.acme;
    fair.say(acme, session, "bot", Performative::Accept);
    fair.assign(session, Some("agent://acme/bot"));
    fair.floor.now += 4_000_000;
    fair.floor.look();
    assert_eq!(fair.tally(id), tally(2, 3, 1), "it expired");
    assert_eq!(fair.unmetered(), 0);
    let state = fair
        .floor
        .broker
        .see_session(&acme, session, fair.at())
        .unwrap();
    assert_eq!(state.value.session.state, State::Failed);
    assert_eq!(fair.reopened().tally(id), tally(2, 3, 1));
}

#[test]
fn who_is_brought_in_later_is_metered_from_then_on() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let beta = fair.beta;
    let at = fair.at();
    let own = new_session(&[("lead", Role::Coordinator), ("clerk", Role::Specialist)]);
    let made = fair.floor.broker.create_session(&beta, own, at).unwrap();
    let session = fair.floor.durable(made).session.session;
    fair.say(beta, session, "lead", Performative::Inform);
    fair.assign(session, None);
    assert_eq!(
        fair.tally(id),
        Tally::default(),
        "nobody of the market is in it"
    );
    for guest in ["bot", "helper"] {
        let from = AgentRef::parse("lead").unwrap();
        let message = fair.floor.next_id();
        let addressed = fair
            .floor
            .broker
            .address(&beta, session, &from, None, at)
            .unwrap();
        let uri = format!("agent://acme/{guest}");
        let message = Message {
            id: message,
            session,
            sender: addressed.sender,
            recipient: None,
            performative: Performative::Delegate,
            message_type: Some("test.brings".to_owned()),
            payload: Digest::ZERO,
            in_reply_to: None,
            constraints: Constraints::default(),
        };
        let payload = Canonical::of(&serde_json::json!({"n": 1})).unwrap();
        let send = Send::new(message, Some(payload), beta.id).unwrap();
        let brings = npayload::broker::asp::Invited {
            agent: AgentRef::parse(&uri).unwrap(),
            role: Role::Specialist,
        };
        let sent = fair
            .floor
            .broker
            .send_message(&beta, &send, Some(&brings), None, at)
            .unwrap();
        fair.floor.durable(sent);
        // Sent again, it is answered as before and counts nothing.
        let again = fair
            .floor
            .broker
            .send_message(&beta, &send, Some(&brings), None, at)
            .unwrap();
        assert!(again.value.is_duplicate);
    }
    assert_eq!(
        fair.tally(id),
        tally(1, 2, 0),
        "one session, from the first of them on"
    );
    fair.assign(session, Some("agent://acme/helper"));
    fair.assign(session, Some("clerk"));
    assert_eq!(
        fair.tally(id),
        tally(1, 4, 1),
        "a task of one's own agent is no call"
    );
    fair.say(beta, session, "clerk", Performative::Inform);
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 5, 1));
    fair.say(beta, session, "lead", Performative::Close);
    assert_eq!((fair.tally(id), fair.unmetered()), (tally(1, 6, 1), 0));
}

#[test]
fn whom_a_grant_shows_is_not_metered() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let (acme, beta) = (fair.acme, fair.beta);
    show(&mut fair.floor, &acme, &beta, "bot");
    let session = fair.open("agent://acme/bot").unwrap();
    fair.assign_after_accept(session);
    assert_eq!(fair.tally(id), Tally::default());
    fair.open("agent://acme/helper").unwrap();
    assert_eq!(fair.tally(id), tally(1, 1, 0));
}

impl Fair {
    fn assign_after_accept(&mut self, session: SessionId) {
        let acme = self.acme;
        self.say(acme, session, "bot", Performative::Accept);
        self.assign(session, Some("agent://acme/bot"));
    }
}

#[test]
fn many_sessions_are_metered_as_a_plain_count_of_what_was_sent_says() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let (acme, beta) = (fair.acme, fair.beta);
    let mut plain = Tally::default();
    let mut open = Vec::new();
    let mut random = 7_u64;
    for _ in 0..160 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (act, which) = (random >> 33, usize::try_from(random >> 40).unwrap());
        match (act % 10, open.is_empty()) {
            (0 | 1, _) | (_, true) => {
                let guest = ["bot", "helper"][which % 2];
                let session = fair.open(&format!("agent://acme/{guest}")).unwrap();
                fair.say(acme, session, guest, Performative::Accept);
                plain += Count {
                    calls: 0,
                    messages: 1,
                };
                plain.sessions += 1;
                open.push((session, guest));
            }
            (2, _) => {
                let (session, _) = open.swap_remove(which % open.len());
                fair.say(beta, session, "lead", Performative::Close);
                plain.messages += 1;
            }
            (3 | 4, _) => {
                let (session, guest) = open[which % open.len()];
                fair.say(acme, session, guest, Performative::Inform);
            }
            (5 | 6, _) => {
                let (session, guest) = open[which % open.len()];
                fair.assign(session, Some(&format!("agent://acme/{guest}")));
                plain += Count {
                    calls: 1,
                    messages: 1,
                };
            }
            (7, _) => {
                let (session, _) = open[which % open.len()];
                fair.say(beta, session, "lead", Performative::Inform);
                plain.messages += 1;
            }
            (8, _) => drop(fair.floor.snapshots()),
            _ => fair = fair.reopened(),
        }
        assert_eq!(fair.tally(id), plain);
    }
    assert!(plain.sessions > 10 && plain.calls > 10);
}

#[test]
fn what_an_organisation_does_needs_a_key_that_speaks_for_all_of_it() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let (acme, at) = (fair.acme, fair.at());
    let mut key = |scope: Scope, name: &str| {
        let request = KeyRequest {
            org: acme.org,
            name: name.to_owned(),
            kind: KeyKind::Test,
            scopes: vec![scope],
            limits: KeyLimits::default(),
            expires_at: None,
            certificate: None,
        };
        let made = fair.floor.broker.create_key(&acme, request, at).unwrap();
        let (_, secret) = fair.floor.durable(made);
        fair.floor.broker.authenticate(&secret, at).unwrap()
    };
    let some: Scope = serde_json::from_str(r#"{"operations":["asp"],"agents":["bot*"]}"#).unwrap();
    let none: Scope = serde_json::from_str(r#"{"operations":["publish"]}"#).unwrap();
    let all: Scope = serde_json::from_str(r#"{"operations":["asp"]}"#).unwrap();
    let (some, none, all) = (key(some, "some"), key(none, "none"), key(all, "all"));
    let broker = &mut fair.floor.broker;
    let id = SubscriptionId(1);
    let needed = MarketError::OrgKeyRequired;
    let change = ContentChange::default;
    assert_eq!(
        market_error(broker.create_listing(&some, None, content(&["bot"]), at)),
        needed
    );
    assert_eq!(
        market_error(broker.update_listing(&some, listing, change(), at)),
        needed
    );
    assert_eq!(
        market_error(broker.submit_listing(&some, listing, at)),
        needed
    );
    assert_eq!(
        market_error(broker.archive_listing(&some, listing, at)),
        needed
    );
    assert_eq!(
        market_error(broker.subscribe_listing(&some, None, listing, None, at)),
        needed
    );
    assert_eq!(
        market_error(broker.cancel_subscription(&some, id, at)),
        needed
    );
    assert_eq!(
        market_error(broker.rate_listing(&some, listing, 5, None, at)),
        needed
    );
    let verdict = ApproveVerdict::Approve;
    assert_eq!(
        market_error(broker.approve_subscription(&some, id, verdict, None, at)),
        needed
    );
    // Looking takes any key for agents.
    assert!(broker.see_listing(&some, listing, at).is_ok());
    let query = MarketQuery::default;
    assert!(broker.market_to_search(&some, query(), None, at).is_ok());
    assert!(
        broker
            .list_subscriptions(&some, &SubscriptionsAsked::default(), 9, at)
            .is_ok()
    );
    for refused in [
        broker.see_listing(&none, listing, at).map(drop),
        broker.market_to_search(&none, query(), None, at).map(drop),
        broker
            .list_subscriptions(&none, &SubscriptionsAsked::default(), 9, at)
            .map(drop),
        broker
            .subscription_usage(&none, id, None, None, at)
            .map(drop),
        broker
            .create_listing(&none, None, content(&["bot"]), at)
            .map(drop),
        // Operators are of the default organisation.
        broker
            .review_listing(&acme, listing, ReviewVerdict::Suspend, None, at)
            .map(drop),
        broker
            .market_to_search(
                &acme,
                MarketQuery {
                    in_review: true,
                    ..query()
                },
                None,
                at,
            )
            .map(drop),
    ] {
        assert!(matches!(refused.unwrap_err().error, BrokerError::Access(_)));
    }
    broker.update_listing(&all, listing, change(), at).unwrap();
}

#[test]
fn a_listing_is_found_seen_subscribed_to_and_rated_across_organisations() {
    let mut fair = Fair::new();
    let listing = fair.publish(Content {
        access: ListingAccess::OnRequest,
        ..content(&["bot", "nobody"])
    });
    let (acme, beta, at) = (fair.acme, fair.beta, fair.at());
    let find = |fair: &Fair, by: &Principal, org: Option<&str>| {
        let org = org.map(|org| OrgName::parse(org).unwrap());
        let market =
            fair.floor
                .broker
                .market_to_search(by, MarketQuery::default(), org.as_ref(), at);
        let (found, next) = market.unwrap().search(10).unwrap();
        assert!(next.is_none());
        found
    };
    for org in [None, Some("acme")] {
        let found = find(&fair, &beta, org);
        assert_eq!((found.len(), found[0].listing.listing), (1, listing));
        assert_eq!(
            (found[0].org.as_str(), found[0].is_verified),
            ("acme", false)
        );
        let agents: Vec<_> = found[0]
            .agents
            .iter()
            .map(|one| (one.name.as_str(), one.agent.is_some()))
            .collect();
        assert_eq!(agents, [("bot", true), ("nobody", false)]);
        assert_eq!(found[0].trust, npayload::asp::TrustScore::NONE);
        assert!(!found[0].is_own && !found[0].is_operator);
    }
    assert!(find(&fair, &beta, Some("beta")).is_empty());
    assert!(find(&fair, &beta, Some("not-there")).is_empty());
    let verified = fair
        .floor
        .broker
        .verify_org(&ME, &OrgName::parse("acme").unwrap(), true, at);
    fair.floor.durable(verified.unwrap());
    assert!(find(&fair, &acme, None)[0].is_verified && find(&fair, &acme, None)[0].is_own);
    let id = fair.subscribe(listing);
    let seen = |fair: &Fair, by| {
        fair.floor
            .broker
            .see_listing(by, listing, at)
            .unwrap()
            .value
    };
    let (of, own) = seen(&fair, &beta);
    assert_eq!(of.subscribers, 1);
    let own = own.unwrap();
    assert_eq!((own.org.as_str(), own.publisher.as_str()), ("beta", "acme"));
    assert_eq!(own.subscription.state, SubscriptionState::Requested);
    assert!(seen(&fair, &acme).1.is_none(), "the publisher has none");
    assert!(!fair.sees("bot"));
    let list = |fair: &Fair, by, as_publisher, state| {
        let asked = SubscriptionsAsked {
            as_publisher,
            state,
            ..SubscriptionsAsked::default()
        };
        let listed = fair
            .floor
            .broker
            .list_subscriptions(by, &asked, 1, at)
            .unwrap()
            .value;
        assert!(!listed.1);
        listed
            .0
            .iter()
            .map(|one| one.subscription.subscription)
            .collect::<Vec<_>>()
    };
    let requested = Some(SubscriptionState::Requested);
    assert_eq!(list(&fair, &acme, true, requested), [id]);
    assert_eq!(
        fair.approve(id, ApproveVerdict::Approve),
        SubscriptionState::Active
    );
    assert_eq!(list(&fair, &acme, true, requested), []);
    assert_eq!(list(&fair, &acme, false, None), []);
    assert_eq!(list(&fair, &beta, false, None), [id]);
    assert!(fair.sees("bot"));
    let refused = fair.floor.broker.rate_listing(&beta, listing, 5, None, at);
    assert_eq!(market_error(refused), MarketError::NotUsed(listing));
    fair.open("agent://acme/bot").unwrap();
    let rated = fair
        .floor
        .broker
        .rate_listing(&beta, listing, 4, None, at)
        .unwrap();
    let rating = fair.floor.durable(rated);
    assert_eq!((rating.mean_hundredths(), rating.count), (Some(400), 1));
    let fair = fair.reopened();
    assert_eq!(seen(&fair, &beta).0.listing.rating, rating);
}

/// Flips the last bit of the first batch of a topic's segment; what stood there before.
fn damage(fair: &mut Fair, topic: &str) -> (std::path::PathBuf, Vec<u8>) {
    fair.floor.now += crate::storage_harness::CHECKPOINT_MS;
    fair.floor.rounds();
    let name = npayload::types::ChannelName::parse_any(topic).unwrap();
    let log = fair.floor.broker.identity_of(&name).unwrap();
    let dir = Path::new(ROOT).join("channels").join(log.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let file = fair.floor.disk.open(&path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let header = npayload::format::BatchHeader::peek(&bytes[4096..]).unwrap();
    let mut damaged = bytes.clone();
    damaged[4096 + header.len() - 1] ^= 1;
    write(&fair.floor.disk, &path, &damaged);
    (path, bytes)
}

fn write(disk: &CrashingDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, &[IoSlice::new(bytes)]).unwrap();
}

#[test]
fn a_market_that_cannot_be_read_shows_nobody_and_meters_what_ended_once_it_is_restored() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    let session = fair.open("agent://acme/bot").unwrap();
    fair.assign_after_accept(session);
    let (path, intact) = damage(&mut fair, "__asp.market");
    let mut fair = fair.reopened();
    assert!(!fair.sees("bot"), "what is not known shows nobody");
    let (beta, acme, at) = (fair.beta, fair.acme, fair.at());
    let broker = &mut fair.floor.broker;
    for refused in [
        broker.see_listing(&beta, listing, at).map(drop),
        broker
            .market_to_search(&beta, MarketQuery::default(), None, at)
            .map(drop),
        broker
            .subscription_usage(&beta, id, None, None, at)
            .map(drop),
        broker
            .create_listing(&acme, None, content(&["bot"]), at)
            .map(drop),
        broker
            .subscribe_listing(&beta, None, listing, None, at)
            .map(drop),
    ] {
        let error = refused.unwrap_err().error;
        let BrokerError::Asp(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(*error, AspError::Unavailable(_)), "{error}");
    }
    // All else goes on.
    fair.say(beta, session, "lead", Performative::Inform);
    fair.say(beta, session, "lead", Performative::Close);
    fair.floor.look();
    write(&fair.floor.disk, &path, &intact);
    let mut fair = fair.reopened();
    assert!(fair.sees("bot"));
    fair.floor.look();
    assert_eq!((fair.tally(id), fair.unmetered()), (tally(1, 4, 1), 0));
    let fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 1), "it is on the record");
}

#[test]
fn whom_a_subscription_showed_reads_no_further_than_to_its_end() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let bot = AgentRef::parse("bot").unwrap();
    let bot = fair.floor.broker.see_agent(&fair.acme, &bot, fair.at());
    let bot = bot.unwrap().value.agent.agent;
    let reads = |fair: &Fair| {
        let (acme, beta) = (fair.acme.org, fair.beta.org);
        fair.floor.broker.shown_in(beta, (acme, bot), fair.at())
    };
    let first = fair.subscribe(listing);
    assert_eq!(reads(&fair), Reads::All);
    let end = fair.at();
    fair.cancel(first);
    fair.floor.now += 10;
    assert_eq!(reads(&fair), Reads::Until(end));
    let second = fair.subscribe(listing);
    assert_eq!(reads(&fair), Reads::All, "a later one shows it again");
    assert_eq!(
        fair.approve(second, ApproveVerdict::Suspend),
        SubscriptionState::Suspended
    );
    assert_eq!(reads(&fair), Reads::All, "it may go on");
    let end = fair.at();
    fair.cancel(second);
    fair.floor.now += 10;
    assert_eq!(reads(&fair.reopened()), Reads::Until(end));
}
