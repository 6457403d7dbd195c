//! The market in the broker: what a subscription opens, what is metered and with which entry, and
//! who may do what.

mod damaged;
mod metering;
mod showing;

use npayload::asp::market::{
    ApproveVerdict, Content, ListingAccess, ListingState, MarketError, Pricing, ReviewVerdict,
    SubscriptionState, Tally, Usage, Visibility,
};
use npayload::asp::session::TASK_ASSIGN;
use npayload::broker::asp::{AspError, Reads};
use npayload::types::{ListingId, OrgName, SubscriptionId};

use super::walls::{admin, register, with_guest};
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

    fn assign_after_accept(&mut self, session: SessionId) {
        let acme = self.acme;
        self.say(acme, session, "bot", Performative::Accept);
        self.assign(session, Some("agent://acme/bot"));
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
