//! What organisations and keys use of what they may: connections, requests and bytes a second.
//!
//! A second's worth may be used at once. What is larger than that passes where all of it is left, and
//! then nothing is let in for as long as it takes to pay for the rest.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::clock;
use super::ranks::Mutex;
use crate::access::{Access, Limits, Principal};
use crate::protocol::{ErrorCode, WireError};
use crate::types::{KeyId, OrgId};

/// How much may be used at once, in time.
const A_SECOND: Duration = Duration::from_secs(1);

/// Nanoseconds since the first look at the clock, as of the last one.
static NOW_NS: AtomicU64 = AtomicU64::new(0);

/// Looks at the clock for all that is measured next: once for the frames that have come together,
/// not for each of them.
pub(super) fn tick() -> tokio::time::Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let now = clock::instant();
    let since = now.saturating_duration_since(*START.get_or_init(|| now));
    let ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    // Another connection may have looked later.
    NOW_NS.fetch_max(ns, Ordering::Relaxed);
    tokio::time::Instant::from_std(now)
}

/// The time of the last [`tick`].
#[derive(Clone, Copy, Debug, Default)]
struct LoopClock;

impl Clock for LoopClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(NOW_NS.load(Ordering::Relaxed))
    }
}

/// What was used before it was paid for: time pays for it.
struct Owed<C: Clock<Instant = Nanos> = LoopClock> {
    clock: C,
    rate: NonZeroU32,
    /// Nanoseconds on the clock.
    paid_at: AtomicU64,
}

impl<C: Clock<Instant = Nanos>> Owed<C> {
    fn new(rate: NonZeroU32, clock: C) -> Self {
        let paid_at = AtomicU64::new(clock.now().as_u64());
        Self {
            clock,
            rate,
            paid_at,
        }
    }

    /// Whether all is paid for, or less than `credit` is not.
    ///
    /// # Errors
    /// How long it takes until it is.
    fn check(&self, credit: Duration) -> Result<(), Duration> {
        let paid_at = self.paid_at.load(Ordering::Acquire);
        let left = paid_at.saturating_sub(self.clock.now().as_u64());
        match Duration::from_nanos(left).saturating_sub(credit) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    fn owe(&self, cells: u64) {
        let ns = u128::from(cells) * 1_000_000_000 / u128::from(self.rate.get());
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        let now = self.clock.now().as_u64();
        let mut paid_at = self.paid_at.load(Ordering::Acquire);
        while let Err(found) = self.paid_at.compare_exchange_weak(
            paid_at,
            paid_at.max(now).saturating_add(ns),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            paid_at = found;
        }
    }
}

/// So much a second.
struct Bucket<C: Clock<Instant = Nanos> = LoopClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    /// For what is larger than a second's worth, which the limiter would never let pass.
    owed: Owed<C>,
}

impl<C: Clock<Instant = Nanos> + Clone> Bucket<C> {
    fn new(rate: NonZeroU32, clock: C) -> Self {
        Self {
            limiter: RateLimiter::direct_with_clock(Quota::per_second(rate), clock.clone()),
            owed: Owed::new(rate, clock),
        }
    }

    /// Takes so many.
    ///
    /// # Errors
    /// How long it takes until there are as many; none are taken then.
    fn take(&self, cells: u64) -> Result<(), Duration> {
        self.owed.check(Duration::ZERO)?;
        let most = self.owed.rate.get();
        let part = u32::try_from(cells).unwrap_or(u32::MAX).min(most);
        let Some(part) = NonZeroU32::new(part) else {
            return Ok(());
        };
        match self.limiter.check_n(part) {
            Ok(Err(until)) => return Err(until.wait_time_from(self.owed.clock.now())),
            Ok(Ok(())) if cells > u64::from(most) => self.owed.owe(cells),
            // A part is no larger than what there may be at once.
            Ok(Ok(())) | Err(_) => {}
        }
        Ok(())
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
    /// How much is sent is known only once it is read.
    bytes_out: Option<Owed>,
    connections: Arc<AtomicU32>,
}

impl Meter {
    fn new(owner: Owner, limits: Limits, connections: Arc<AtomicU32>) -> Self {
        // The least of every limit is 1; what a log holds may be less.
        let rate =
            |rate: Option<u32>| rate.map(|rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
        let bucket = |limit| rate(limit).map(|rate| Bucket::new(rate, LoopClock));
        let owed = |limit| rate(limit).map(|rate| Owed::new(rate, LoopClock));
        Self {
            owner,
            limits,
            requests: bucket(limits.requests_per_s),
            bytes_in: bucket(limits.bytes_in_per_s),
            bytes_out: owed(limits.bytes_out_per_s),
            connections,
        }
    }

    /// Takes what a request takes.
    fn admit(&self, bytes: u64, is_fetch: bool) -> Result<(), WireError> {
        if let Some(owed) = self.bytes_out.as_ref().filter(|_| is_fetch) {
            let checked = owed.check(A_SECOND);
            checked.map_err(|wait| self.rate_limited("bytesOutPerS", owed.rate, wait))?;
        }
        let buckets = [
            ("requestsPerS", &self.requests, 1),
            ("bytesInPerS", &self.bytes_in, bytes),
        ];
        for (limit, bucket, cells) in buckets {
            if let Some(bucket) = bucket {
                let taken = bucket.take(cells);
                taken.map_err(|wait| self.rate_limited(limit, bucket.owed.rate, wait))?;
            }
        }
        Ok(())
    }

    fn rate_limited(&self, limit: &'static str, rate: NonZeroU32, wait: Duration) -> WireError {
        let owner = self.owner.name();
        let text = format!("the {owner} uses more than {limit} of {rate}");
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        WireError::new(ErrorCode::RateLimited, text)
            .with("of", owner)
            .with("field", limit)
            .with("limit", rate.get())
            .retry_after_ms(ms.saturating_add(1))
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
        let key = principal.key.and_then(|key| access.known_key(key));
        let key = key.map(|key| (Owner::Key(key.key), key.limits));
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = |(_, limits): &(Owner, Limits)| *limits != Limits::default();
        let meters = key
            .into_iter()
            .chain(org)
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

    /// Lets a request of so many bytes in, frame and all.
    ///
    /// # Errors
    /// `RATE_LIMITED`, of the key before its organisation: what a key uses too much, the others of
    /// its organisation don't pay for.
    pub fn admit(&self, bytes: u64, is_fetch: bool) -> Result<(), WireError> {
        let mut meters = self.meters.iter();
        meters.try_for_each(|meter| meter.admit(bytes, is_fetch))
    }

    /// Books fetched bytes that are sent.
    pub fn sent(&self, bytes: u64) {
        let all = self.meters.iter();
        let all = all.filter_map(|meter| meter.bytes_out.as_ref());
        all.for_each(|owed| owed.owe(bytes));
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(rate: u32) -> NonZeroU32 {
        NonZeroU32::new(rate).unwrap()
    }

    #[test]
    fn a_bucket_lets_its_rate_pass_and_tells_how_long_to_wait() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(rate(100), clock.clone());
        let mut passed = 0;
        for _ in 0..10 {
            passed += (0..1_000).filter(|_| bucket.take(1).is_ok()).count();
            let wait = bucket.take(1).unwrap_err();
            assert!(wait <= Duration::from_millis(10), "{wait:?}");
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(passed, 10 * 100);
    }

    #[test]
    fn what_is_larger_than_a_seconds_worth_passes_and_is_paid_for() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::new(rate(1_000), clock.clone());
        bucket.take(5_500).unwrap();
        assert_eq!(bucket.take(1), Err(Duration::from_millis(5_500)));
        clock.advance(Duration::from_secs(5));
        assert_eq!(bucket.take(1), Err(Duration::from_millis(500)));
        // As long as it was told to wait, all in all.
        clock.advance(Duration::from_millis(500));
        assert_eq!(bucket.take(1), Ok(()));
        // Not while less than a second's worth is left.
        assert!(bucket.take(5_500).is_err());
        // What is sent is sent, and paid for afterwards: no more than the rate over any long time.
        let owed = Owed::new(rate(1_000), clock.clone());
        let mut sent = 0;
        for _ in 0..1_000 {
            if owed.check(A_SECOND).is_ok() {
                owed.owe(700);
                sent += 700;
            }
            clock.advance(Duration::from_millis(100));
        }
        assert!((95_000..=102_000).contains(&sent), "{sent} in 100 s");
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
