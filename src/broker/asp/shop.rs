//! The market as it is looked at: searching it, one listing, subscriptions and what they are used
//! for.

use std::sync::Arc;

use super::AspError;
use super::market::refused;
use crate::access::Principal;
use crate::asp::TrustScore;
use crate::asp::market::{
    Asker, Count, Listing, Market, MarketCursor, MarketFacts, MarketQuery, Subscription,
    SubscriptionState, Usage, Use,
};
use crate::asp::registry::Agents;
use crate::asp::trust::TrustState;
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::types::{AgentId, AgentName, ListingId, OrgId, OrgName, SubscriptionId, Timestamp};

/// Most subscriptions of a page.
pub const MAX_SUBSCRIPTION_PAGE: usize = 100;

/// A listing as somebody is shown it.
#[derive(Clone, Debug)]
pub struct ListingSeen {
    /// The listing. What others than its owner and operators are not to see of it is for the
    /// caller to leave out, by [`ListingSeen::is_own`] and [`ListingSeen::is_operator`].
    pub listing: Arc<Listing>,
    /// Whose it is.
    pub org: OrgName,
    /// Whether an operator verified that organisation.
    pub is_verified: bool,
    /// Its agents, in the order of the content.
    pub agents: Vec<ListedAgent>,
    /// The least trust of them, as other organisations are told it.
    pub trust: TrustScore,
    /// Subscriptions that have not ended.
    pub subscribers: usize,
    /// Whether it is the asker's own.
    pub is_own: bool,
    /// Whether the asker is an operator.
    pub is_operator: bool,
}

/// An agent of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAgent {
    /// Its name.
    pub name: AgentName,
    /// Its identity, where the name has been used.
    pub agent: Option<AgentId>,
    /// How far it is trusted, as other organisations are told it.
    pub trust: TrustScore,
}

/// A subscription as somebody is shown it.
#[derive(Clone, Debug)]
pub struct SubscriptionSeen {
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Who subscribed.
    pub org: OrgName,
    /// Whose listing it is.
    pub publisher: OrgName,
}

/// Which subscriptions are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionsAsked {
    /// Those to the organisation's listings; else those that it has.
    pub as_publisher: bool,
    /// To this listing.
    pub listing: Option<ListingId>,
    /// In this state.
    pub state: Option<SubscriptionState>,
    /// Older than this one.
    pub before: Option<SubscriptionId>,
}

/// The market as somebody may search it, without the broker's lock.
#[derive(Clone, Debug)]
pub struct MarketToSearch {
    market: Arc<Market>,
    asker: Asker,
    facts: Facts,
    /// The organisation that was named is not there: nothing is found.
    is_empty: bool,
    query: MarketQuery,
    /// What an answer waits for.
    pub wait: Wait,
}

/// What is told of listings that the market does not know.
#[derive(Clone, Debug, Default)]
struct Facts {
    trust: Arc<TrustState>,
    /// The agents and the name of each organisation with listings.
    owners: std::collections::BTreeMap<OrgId, (OrgName, Arc<Agents>)>,
}

impl MarketFacts for Facts {
    fn trust(&self, listing: &Listing) -> TrustScore {
        let agents = listing.content.agents.iter();
        let scores = agents.map(|name| self.agent(listing.org, name).trust);
        scores.min().unwrap_or(TrustScore::NONE)
    }

    fn is_verified(&self, org: OrgId) -> bool {
        self.trust.is_verified(org)
    }
}

impl Facts {
    fn agent(&self, org: OrgId, name: &AgentName) -> ListedAgent {
        let agents = self.owners.get(&org).map(|(_, agents)| agents);
        let agent = agents.and_then(|agents| agents.agent_by_name(name.as_str()));
        let agent = agent.map(|agent| agent.agent);
        ListedAgent {
            name: name.clone(),
            agent,
            trust: agent.map_or(TrustScore::NONE, |agent| self.trust.external_score(agent)),
        }
    }

    fn seen(&self, market: &Market, asker: &Asker, listing: &Arc<Listing>) -> Option<ListingSeen> {
        let (org, _) = self.owners.get(&listing.org)?;
        let agents = listing.content.agents.iter();
        let agents: Vec<_> = agents.map(|name| self.agent(listing.org, name)).collect();
        let trust = agents.iter().map(|agent| agent.trust).min();
        Some(ListingSeen {
            org: org.clone(),
            is_verified: self.is_verified(listing.org),
            trust: trust.unwrap_or(TrustScore::NONE),
            agents,
            subscribers: market.subscribers(listing.listing),
            is_own: listing.org == asker.org,
            is_operator: asker.is_operator,
            listing: Arc::clone(listing),
        })
    }
}

impl MarketToSearch {
    /// A page of what the query finds, and where the next page begins.
    ///
    /// - `limit`: listings of the page, 1 to [`crate::asp::market::MAX_MARKET_PAGE`].
    ///
    /// # Errors
    /// [`AspError::Market`] for a query or a page that breaks a rule.
    pub fn search(
        &self,
        limit: usize,
    ) -> Result<(Vec<ListingSeen>, Option<MarketCursor>), AspError> {
        let page = self
            .market
            .search(&self.asker, &self.query, &self.facts, limit)?;
        if self.is_empty {
            return Ok((Vec::new(), None));
        }
        let seen = page.listings.iter();
        let seen = seen.filter_map(|one| self.facts.seen(&self.market, &self.asker, one));
        Ok((seen.collect(), page.next))
    }
}

impl Broker {
    /// The market, to be searched without the broker's lock.
    ///
    /// - `org`: only listings of this organisation; its id in the query is put there.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, one that is no operator's and asks for
    /// what waits for review, or a damaged topic.
    pub fn market_to_search(
        &self,
        by: &Principal,
        mut query: MarketQuery,
        org: Option<&OrgName>,
        now: Timestamp,
    ) -> Result<MarketToSearch, Refusal> {
        let asker = self.asker(by, now)?;
        if query.in_review {
            self.authorize_operator(by, now)?;
        }
        let named = org.map(|org| self.org_id_of(org).ok());
        query.org = named.flatten().or(query.org);
        let market = self.shared_market()?;
        Ok(MarketToSearch {
            facts: self.market_facts(market.listings().map(|listing| listing.org))?,
            market,
            asker,
            is_empty: named == Some(None),
            query,
            wait: self.market_wait(),
        })
    }

    fn market_facts(&self, owners: impl Iterator<Item = OrgId>) -> Result<Facts, AspError> {
        let mut facts = Facts {
            trust: self.trust_state()?,
            ..Facts::default()
        };
        for org in owners {
            facts.owners.entry(org).or_insert_with(|| {
                // Where its registry is damaged, nobody knows its agents, and nobody trusts them.
                let agents = self.asp_of(org).and_then(|of| of.registry.shared().ok());
                (self.shown_org(org), agents.unwrap_or_default())
            });
        }
        Ok(facts)
    }

    /// A listing that the caller may see, and the caller's own subscription to it, the last one.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, a listing that is not there, or a damaged
    /// topic.
    pub fn see_listing(
        &self,
        by: &Principal,
        listing: ListingId,
        now: Timestamp,
    ) -> Result<Accepted<(ListingSeen, Option<SubscriptionSeen>)>, Refusal> {
        let asker = self.asker(by, now)?;
        let market = self.market()?;
        let held = market.seen(&asker, listing).map_err(refused)?;
        let facts = self.market_facts(std::iter::once(held.org))?;
        let seen = facts.seen(market, &asker, held);
        let seen = seen.ok_or_else(|| {
            crate::broker::error::BrokerError::Bug("a listing without an owner".into())
        })?;
        let own = market.subscription_between(listing, by.org);
        let own = own.map(|own| self.subscription_seen(own));
        Ok(Accepted {
            value: (seen, own),
            wait: self.market_wait(),
        })
    }

    /// A page of subscriptions, the newest first; whether there are more.
    ///
    /// - `limit`: of the page, 1 to [`MAX_SUBSCRIPTION_PAGE`]; the cursor of the next page is the
    ///   last one's id.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, or a damaged topic.
    pub fn list_subscriptions(
        &self,
        by: &Principal,
        asked: &SubscriptionsAsked,
        limit: usize,
        now: Timestamp,
    ) -> Result<Accepted<(Vec<SubscriptionSeen>, bool)>, Refusal> {
        self.authorize_asp(by, now)?;
        let market = self.market()?;
        let limit = limit.clamp(1, MAX_SUBSCRIPTION_PAGE);
        let fits = |one: &&Arc<Subscription>| {
            asked.listing.is_none_or(|listing| one.listing == listing)
                && asked.state.is_none_or(|state| one.state == state)
                && asked.before.is_none_or(|before| one.subscription < before)
        };
        let mut found: Vec<&Arc<Subscription>> = match asked.as_publisher {
            false => market
                .subscriptions_of(by.org)
                .filter(fits)
                .take(limit + 1)
                .collect(),
            true => {
                let own = market.listings_of(by.org);
                let to = own.flat_map(|listing| market.subscriptions_to(listing.listing));
                let mut all: Vec<_> = to.filter(fits).collect();
                all.sort_unstable_by_key(|one| std::cmp::Reverse(one.subscription));
                all
            }
        };
        let is_more = found.len() > limit;
        found.truncate(limit);
        let seen = found.into_iter().map(|one| self.subscription_seen(one));
        Ok(Accepted {
            value: (seen.collect(), is_more),
            wait: self.market_wait(),
        })
    }

    /// What a subscription was used for, month by month, for its two sides and operators: what
    /// sessions that have ended were metered with, and what those that go on hold now.
    ///
    /// - `since`, `until`: from the month of the one up to that of the other.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, a subscription that is not there, or a
    /// damaged topic.
    pub fn subscription_usage(
        &self,
        by: &Principal,
        subscription: SubscriptionId,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Accepted<Usage>, Refusal> {
        let asker = self.asker(by, now)?;
        let market = self.market()?;
        market.sided(&asker, subscription).map_err(refused)?;
        let mut wait = self.market_wait();
        for of in market.uses_of(subscription) {
            if let Some(host) = self.asp_of(of.host) {
                // What is not known is not counted as nothing.
                host.sessions.known()?;
                wait = super::listing::later(wait, self.sessions_wait(of.host));
            }
        }
        let count = |of: &Use, org| self.counted(of, org);
        let usage = market.usage(subscription, count, since, until, now);
        Ok(Accepted {
            value: usage.map_err(refused)?,
            wait,
        })
    }

    /// What a session that is tied to a subscription holds of it now; none where it is not held.
    pub(super) fn counted(&self, of: &Use, subscriber: OrgId) -> Option<Count> {
        let host = self.asp_of(of.host)?;
        let session = host.sessions.state.session(of.session)?;
        Some(Count::of(session, subscriber, &of.agents))
    }

    fn subscription_seen(&self, one: &Arc<Subscription>) -> SubscriptionSeen {
        SubscriptionSeen {
            org: self.shown_org(one.org),
            publisher: self.shown_org(one.publisher),
            subscription: Arc::clone(one),
        }
    }
}
