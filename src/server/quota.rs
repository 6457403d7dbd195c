//! What organisations and keys use of what they may: connections, requests and bytes a second.
//!
//! A second's worth may be used at once. Whoever still has something to use may use more than is
//! left, so that a frame larger than a second's bytes passes too; what was used too much is owed,
//! and nothing is let in until time has paid for it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::access::{Access, Limits, Principal};
use crate::protocol::{ErrorCode, WireError};
use crate::types::{KeyId, OrgId};

/// So much a second, and what is owed of it.
struct Bucket<C: Clock = DefaultClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    rate: NonZeroU32,
    owed: AtomicU64,
}

impl<C: Clock + Clone> Bucket<C> {
    fn new(rate: u32, clock: C) -> Self {
        // The least of every limit is 1; what a log holds may be less.
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::direct_with_clock(Quota::per_second(rate), clock.clone()),
            clock,
            rate,
            owed: AtomicU64::new(0),
        }
    }

    /// Pays what is owed.
    ///
    /// # Errors
    /// How long it takes until all of it is paid.
    fn pay(&self) -> Result<(), Duration> {
        let mut owed = self.owed.load(Ordering::Acquire);
        while owed > 0 {
            let part = u32::try_from(owed).unwrap_or(u32::MAX).min(self.rate.get());
            let Some(cells) = NonZeroU32::new(part) else {
                return Ok(());
            };
            // Taken by one payer only.
            let rest = owed - u64::from(part);
            let taken = self
                .owed
                .compare_exchange(owed, rest, Ordering::AcqRel, Ordering::Acquire);
            if let Err(found) = taken {
                owed = found;
                continue;
            }
            match self.limiter.check_n(cells) {
                Ok(Ok(())) => owed = self.owed.load(Ordering::Acquire),
                Ok(Err(until)) => {
                    self.owed.fetch_add(u64::from(part), Ordering::AcqRel);
                    let ms = rest.saturating_mul(1000) / u64::from(self.rate.get());
                    let wait = until.wait_time_from(self.clock.now());
                    return Err(wait + Duration::from_millis(ms));
                }
                // A part is no larger than a second's worth.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn owe(&self, cells: u64) {
        self.owed.fetch_add(cells, Ordering::AcqRel);
    }
}

/// Whose limits they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Org(OrgId),
    Key(KeyId),
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Org(_) => "organisation",
            Self::Key(_) => "key",
        }
    }
}

/// What one organisation or key uses.
struct Meter {
    owner: Owner,
    limits: Limits,
    requests: Option<Bucket>,
    bytes_in: Option<Bucket>,
    bytes_out: Option<Bucket>,
    connections: Arc<AtomicU32>,
}

impl Meter {
    fn new(owner: Owner, limits: Limits, connections: Arc<AtomicU32>) -> Self {
        let bucket =
            |rate: Option<u32>| rate.map(|rate| Bucket::new(rate, DefaultClock::default()));
        Self {
            owner,
            limits,
            requests: bucket(limits.requests_per_s),
            bytes_in: bucket(limits.bytes_in_per_s),
            bytes_out: bucket(limits.bytes_out_per_s),
            connections,
        }
    }

    /// Whether something is left of everything that a request takes.
    fn check(&self, is_fetch: bool) -> Result<(), WireError> {
        let out = self.bytes_out.as_ref().filter(|_| is_fetch);
        let rows = [
            ("requestsPerS", self.requests.as_ref()),
            ("bytesInPerS", self.bytes_in.as_ref()),
            ("bytesOutPerS", out),
        ];
        for (limit, bucket) in rows {
            let Some(bucket) = bucket else { continue };
            if let Err(wait) = bucket.pay() {
                let owner = self.owner.name();
                let text = format!("the {owner} uses more than {limit} of {}", bucket.rate);
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                return Err(WireError::new(ErrorCode::RateLimited, text)
                    .with("of", owner)
                    .with("field", limit)
                    .with("limit", bucket.rate.get())
                    .retry_after_ms(ms.saturating_add(1)));
            }
        }
        Ok(())
    }

    fn book(&self, bytes: u64) {
        if let Some(bucket) = &self.requests {
            bucket.owe(1);
        }
        if let Some(bucket) = &self.bytes_in {
            bucket.owe(bytes);
        }
    }
}

/// All meters, as far as anybody is limited.
#[derive(Default)]
pub(super) struct Quotas {
    meters: Mutex<HashMap<Owner, Arc<Meter>>>,
}

/// What one connection is measured by.
#[derive(Default)]
pub(super) struct Usage {
    meters: Vec<Arc<Meter>>,
}

/// A connection, as the limits count it.
#[derive(Default)]
pub(super) struct CountedConnection(Vec<Arc<AtomicU32>>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        for count in &self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Quotas {
    /// What somebody is measured by, under the limits as they are now.
    pub fn usage(&self, access: &Access, principal: &Principal) -> Usage {
        let org = access.org(principal.org);
        let org = org.map(|org| (Owner::Org(org.org), org.limits));
        let key = principal.key.and_then(|key| access.key(key));
        let key = key.map(|key| (Owner::Key(key.key), key.limits));
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = |(_, limits): &(Owner, Limits)| *limits != Limits::default();
        let meters = org
            .into_iter()
            .chain(key)
            .filter(limited)
            .map(|(owner, limits)| {
                let known = meters.get(&owner);
                if let Some(meter) = known.filter(|meter| meter.limits == limits) {
                    return meter.clone();
                }
                let connections = known.map(|meter| meter.connections.clone());
                let meter = Meter::new(owner, limits, connections.unwrap_or_default());
                let meter = Arc::new(meter);
                meters.insert(owner, meter.clone());
                meter
            })
            .collect();
        Usage { meters }
    }
}

impl Usage {
    /// Counts a connection that has just said hello.
    ///
    /// # Errors
    /// `TOO_MANY_CONNECTIONS` where a limit is reached.
    pub fn connect(&self) -> Result<CountedConnection, WireError> {
        let mut counted = CountedConnection::default();
        for meter in &self.meters {
            let before = meter.connections.fetch_add(1, Ordering::AcqRel);
            counted.0.push(meter.connections.clone());
            if let Some(limit) = meter.limits.max_connections.filter(|most| before >= *most) {
                let owner = meter.owner.name();
                let text = format!("the {owner} has {limit} connections, which is its limit");
                return Err(WireError::new(ErrorCode::TooManyConnections, text)
                    .with("of", owner)
                    .with("limit", limit)
                    .retry_after_ms(1000));
            }
        }
        Ok(counted)
    }

    /// Lets a request of so many bytes in.
    ///
    /// # Errors
    /// `RATE_LIMITED`; nothing is used up then.
    pub fn admit(&self, bytes: u64, is_fetch: bool) -> Result<(), WireError> {
        for meter in &self.meters {
            meter.check(is_fetch)?;
        }
        for meter in &self.meters {
            meter.book(bytes);
        }
        Ok(())
    }

    /// Books fetched bytes that are sent.
    pub fn sent(&self, bytes: u64) {
        for bucket in self
            .meters
            .iter()
            .filter_map(|meter| meter.bytes_out.as_ref())
        {
            bucket.owe(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_pass_and_tells_how_long_to_wait() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(100, clock.clone());
        let mut passed = 0;
        for _ in 0..10 {
            for _ in 0..1_000 {
                if bucket.pay().is_ok() {
                    bucket.owe(1);
                    passed += 1;
                }
            }
            clock.advance(Duration::from_secs(1));
        }
        // A second's worth at once, one on credit, and the rate from then on.
        assert_eq!(passed, 100 + 1 + 9 * 100);
    }

    #[test]
    fn what_is_larger_than_a_seconds_worth_passes_and_is_paid_for() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(1_000, clock.clone());
        assert_eq!(bucket.pay(), Ok(()));
        bucket.owe(5_500);
        let wait = bucket.pay().unwrap_err();
        assert!(
            wait > Duration::from_secs(4) && wait <= Duration::from_secs(5),
            "{wait:?}"
        );
        clock.advance(Duration::from_secs(4));
        assert!(bucket.pay().is_err());
        // As long as it was told to wait, all in all.
        clock.advance(wait - Duration::from_secs(4));
        assert_eq!(bucket.pay(), Ok(()));
    }

    #[test]
    fn usage_is_shared_by_all_connections_of_a_key_and_survives_other_limits() {
        use crate::access::{AccessEvent, OrgCreated, OrgLimited};
        use crate::types::{OrgName, PrincipalId, Timestamp};
        let (at, by) = (Timestamp(1), PrincipalId(0));
        let mut access = Access::default();
        let limits = |max_connections| Limits {
            max_connections: Some(max_connections),
            requests_per_s: Some(1),
            ..Limits::default()
        };
        let created = AccessEvent::OrgCreated(OrgCreated {
            org: OrgId(1),
            name: OrgName::parse("acme").unwrap(),
            limits: limits(2),
            at,
            by,
        });
        access.apply(&created).unwrap();
        let who = Principal {
            id: PrincipalId(1),
            org: OrgId(1),
            key: None,
        };
        let quotas = Quotas::default();
        let (one, two) = (quotas.usage(&access, &who), quotas.usage(&access, &who));
        let held = [one.connect().unwrap(), two.connect().unwrap()];
        let refused = quotas.usage(&access, &who).connect().map(drop).unwrap_err();
        assert!(refused.is(ErrorCode::TooManyConnections));
        // What is refused does not count.
        drop(held);
        let held = [one.connect().unwrap(), two.connect().unwrap()];
        assert_eq!(one.admit(10, false), Ok(()));
        let admitted = (0..10).filter(|_| two.admit(10, false).is_ok()).count();
        assert!(admitted < 10, "the other connection has used it up");
        let wider = OrgLimited {
            org: OrgId(1),
            limits: limits(3),
            at,
            by,
        };
        access.apply(&AccessEvent::OrgLimited(wider)).unwrap();
        let third = quotas.usage(&access, &who);
        let _third = third.connect().unwrap();
        assert!(third.connect().is_err(), "those of before are counted");
        drop(held);
    }
}
