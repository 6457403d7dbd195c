//! What ties a session to the subscriptions that it needed, and what it is metered with when it
//! ends, each in the entry that does it.

use std::collections::BTreeMap;

use super::record::Entry;
use crate::access::Principal;
use crate::asp::market::{Count, MarketRecord, Use};
use crate::asp::session::{Invitee, Session, SessionRecord};
use crate::broker::core::Broker;
use crate::storage::Need;
use crate::types::{AgentId, OrgId, SessionId, SubscriptionId, Timestamp};

/// Sessions whose metering was missed that are metered under one hold of the broker's lock.
const STRAYS_AT_ONCE: usize = 256;

impl Broker {
    /// What ties a session to the subscriptions without which its opener, or who brings somebody
    /// in, would not see who comes in. Whom a grant shows needs none.
    ///
    /// - `place`: the session, and the organisation on whose topic it lies.
    /// - `held`: the session, where it is there already.
    pub(super) fn uses_of(
        &self,
        by: &Principal,
        place: (SessionId, OrgId),
        held: Option<&Session>,
        coming: &[Invitee],
        now: Timestamp,
    ) -> Vec<MarketRecord> {
        let Ok(market) = self.market() else {
            return Vec::new();
        };
        let mut needed: BTreeMap<SubscriptionId, Vec<AgentId>> = BTreeMap::new();
        for one in coming.iter().filter(|one| one.org != by.org) {
            let name = self.named(one.org, one.agent).name;
            if self.access.shows_agent(one.org, name.as_str(), by.org, now) {
                continue;
            }
            if let Some(subscription) = market.shows(one.org, name.as_str(), by.org) {
                needed.entry(subscription).or_default().push(one.agent);
            }
        }
        let uses = needed.into_iter().filter_map(|(subscription, agents)| {
            let counted = |agents: &[AgentId]| {
                let all = held.map(|held| Count::of(held, by.org, agents));
                all.unwrap_or_default()
            };
            market.use_record(subscription, place, agents, counted, now)
        });
        uses.collect()
    }

    /// What meters the session that an entry ends, where that is tied to subscriptions.
    ///
    /// - `host`: the organisation on whose topic the session lies.
    pub(super) fn metered_by(
        &self,
        host: OrgId,
        entry: &Entry,
        now: Timestamp,
    ) -> Vec<MarketRecord> {
        let session = entry.sessions.first().and_then(SessionRecord::session);
        let (Some(session), Ok(market), Some(of_org)) = (session, self.market(), self.asp_of(host))
        else {
            return Vec::new();
        };
        if market.uses_in(session).next().is_none() {
            return Vec::new();
        }
        let offset = self.next_offset(of_org.sessions.log);
        let Some(ended) = of_org.sessions.state.ended_by(&entry.sessions, offset) else {
            return Vec::new();
        };
        let count = |of: &Use, subscriber| Some(Count::of(&ended, subscriber, &of.agents));
        market.meter_records(ended.session, count, now)
    }

    /// Meters sessions that ended while nobody knew what the market says. Of those that are no
    /// longer held nothing is known: they are metered as lost.
    pub(super) fn meter_strays(&mut self, now: Timestamp) {
        if !self.asp.may_have_strays {
            return;
        }
        let Ok(market) = self.market() else {
            self.asp.may_have_strays = false;
            return;
        };
        let mut hosts: BTreeMap<OrgId, Vec<SessionId>> = BTreeMap::new();
        for of in market.uses() {
            let host = self.asp_of(of.host);
            let Some(sessions) = host.and_then(|of_org| of_org.sessions.known().ok()) else {
                continue;
            };
            let held = sessions.session(of.session);
            if held.is_none_or(|held| held.state.is_terminal()) {
                let strays = hosts.entry(of.host).or_default();
                if strays.last() != Some(&of.session) {
                    strays.push(of.session);
                }
            }
        }
        self.asp.may_have_strays = !hosts.is_empty();
        let strays = hosts
            .into_iter()
            .flat_map(|(host, sessions)| sessions.into_iter().map(move |session| (host, session)));
        for (host, session) in strays.take(STRAYS_AT_ONCE) {
            let Ok(market) = self.market() else {
                return;
            };
            let count = |of: &Use, subscriber| self.counted(of, subscriber);
            let metered = market.meter_records(session, count, now);
            let is_lost = |record: &MarketRecord| match record {
                MarketRecord::Metered(metered) => metered.lost,
                _ => false,
            };
            if metered.iter().any(is_lost) {
                tracing::warn!(
                    %session,
                    "a session of a subscription ended unmetered and is no longer held: it counts \
                     nothing"
                );
            }
            let entry = Entry {
                market: metered,
                ..Entry::default()
            };
            if let Err(error) = self.record_asp(host, &entry, Need::Own, now) {
                tracing::debug!(%error, "sessions of subscriptions are metered later");
                return;
            }
        }
    }
}
