//! What is counted of the use of a subscription: a projection of what sessions hold, by calendar
//! month (UTC) of when the session was opened.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::pricing::{Charge, Pricing};
use crate::asp::session::Session;
use crate::types::{AgentId, OrgId, SessionId, SubscriptionId, Timestamp};

/// A calendar month (UTC) of the years 0 to 9999, shown as `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(u32);

/// Text that is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no month such as `2026-11`")]
pub struct InvalidMonth(pub String);

/// The last month that there is.
const LAST: u32 = 9999 * 12 + 11;

impl Month {
    /// The month that holds a time. Times outside of the years 0 to 9999 lie in the first or the
    /// last one.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        let Ok(time) = jiff::Timestamp::from_millisecond(time.0) else {
            return Self(if time.0 < 0 { 0 } else { LAST });
        };
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
        Self(u32::try_from(months).unwrap_or(0))
    }

    /// The one after it; the last month is followed by itself.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(LAST))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}

impl FromStr for Month {
    type Err = InvalidMonth;

    fn from_str(text: &str) -> Result<Self, InvalidMonth> {
        let invalid = || InvalidMonth(text.chars().take(16).collect());
        let (year, month) = text.split_once('-').ok_or_else(invalid)?;
        let number = |digits: &str, width| {
            let is_plain = digits.len() == width && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| is_plain)
        };
        match (number(year, 4), number(month, 2)) {
            (Some(year), Some(month @ 1..=12)) => Ok(Self(year * 12 + month - 1)),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::types::from_text(from)
    }
}

/// What was said within sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Tasks that the subscriber's agents gave to listed agents.
    pub calls: u64,
    /// Messages of the subscriber's agents.
    pub messages: u64,
}

/// What a subscription was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// See [`Count::calls`].
    pub calls: u64,
    /// See [`Count::messages`].
    pub messages: u64,
    /// Sessions that were opened.
    pub sessions: u64,
}

/// A session that is tied to a subscription and has not been metered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The listed agents that needed the subscription, by id.
    pub agents: Vec<AgentId>,
    /// When it was tied.
    pub at: Timestamp,
    /// What was counted in it before it was tied, which does not count.
    pub before: Count,
    /// The organisation whose topic the session lies on.
    pub host: OrgId,
    /// The session.
    pub session: SessionId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

impl Count {
    /// What a session holds of an organisation's use of some agents, from its beginning. A task
    /// given to nobody in particular is given to them too.
    #[must_use]
    pub fn of(session: &Session, subscriber: OrgId, agents: &[AgentId]) -> Self {
        let mut count = Self::default();
        for (agent, one) in &session.participants {
            if one.org != subscriber {
                continue;
            }
            count.messages += one.sequence;
            count.calls += session.tasks_given(*agent, agents);
        }
        count
    }

    /// What came after another count.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            messages: self.messages.saturating_sub(before.messages),
        }
    }
}

impl AddAssign<Count> for Tally {
    fn add_assign(&mut self, count: Count) {
        self.calls = self.calls.saturating_add(count.calls);
        self.messages = self.messages.saturating_add(count.messages);
    }
}

impl Tally {
    /// What is priced of it.
    #[must_use]
    pub fn count(&self) -> Count {
        Count {
            calls: self.calls,
            messages: self.messages,
        }
    }
}

/// What a subscription was used for, month by month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The months in which something is to be told, the oldest first.
    pub months: Vec<MonthUsage>,
    /// Their sum.
    pub total: TotalUsage,
}

/// What a subscription was used for in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthUsage {
    /// The month.
    pub month: Month,
    /// What was counted.
    pub tally: Tally,
    /// What it costs; none where the listing is free.
    pub charge: Option<Charge>,
}

/// See [`Usage::total`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalUsage {
    /// What was counted.
    pub tally: Tally,
    /// What it costs; none where the listing is free.
    pub charge: Option<Charge>,
}

impl Usage {
    /// What a price makes of what was counted.
    ///
    /// - `tallies`: what was counted in each month.
    /// - `active`: whether the subscription was active in a month.
    pub(super) fn of(
        pricing: &Pricing,
        tallies: &BTreeMap<Month, Tally>,
        active: impl Fn(Month) -> bool,
    ) -> Self {
        let nothing = pricing.charge(&Count::default(), false);
        let mut total = TotalUsage {
            tally: Tally::default(),
            charge: nothing,
        };
        let mut months = Vec::with_capacity(tallies.len());
        for (month, tally) in tallies {
            let charge = pricing.charge(&tally.count(), active(*month));
            total.tally += tally.count();
            total.tally.sessions += tally.sessions;
            if let (Some(sum), Some(charge)) = (&mut total.charge, charge) {
                sum.amount = sum.amount.saturating_add(charge.amount);
            }
            months.push(MonthUsage {
                month: *month,
                tally: *tally,
                charge,
            });
        }
        Self { months, total }
    }
}
