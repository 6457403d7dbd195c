//! Failed authentications, slowed down for each address.
//!
//! Nobody is locked out: a key that works lets its holder in at once, also behind an address that
//! many share. Only the answer to a failure waits, the longer the more of them came from there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are answered at once.
const FREE_FAILURES: u32 = 3;

/// How long the first answer waits that is slowed down; each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest that an answer waits.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Failures of an address are forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// Most addresses that are remembered; past that, whoever is not pays the longest delay.
const MAX_ADDRESSES: usize = 10_000;

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// What is remembered of addresses whose keys did not let them in.
#[derive(Debug, Default)]
pub(super) struct Doorstep {
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

impl Doorstep {
    /// Books a failure; how long its answer has to wait.
    pub fn failed(&self, from: IpAddr, now: Instant) -> Duration {
        let from = network(from);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&from) {
            failures.retain(|_, known| now.saturating_duration_since(known.last) < MEMORY);
            if failures.len() >= MAX_ADDRESSES {
                return MAX_DELAY;
            }
        }
        let known = failures.entry(from).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.saturating_duration_since(known.last) >= MEMORY {
            known.count = 0;
        }
        known.last = now;
        known.count = known.count.saturating_add(1);
        match known.count.checked_sub(FREE_FAILURES + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY
                .saturating_mul(1 << doublings.min(16))
                .min(MAX_DELAY),
        }
    }

    /// Forgets the failures of an address that somebody was let in from.
    pub fn entered(&self, from: IpAddr) {
        let from = network(from);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&from);
    }
}

/// Who has one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::clock;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn answers_wait_longer_with_each_failure_of_an_address_and_of_no_other() {
        let (doorstep, now) = (Doorstep::default(), clock::instant());
        let delays = |from: &str, count: usize| -> Vec<u128> {
            (0..count)
                .map(|_| doorstep.failed(address(from), now).as_millis())
                .collect()
        };
        assert_eq!(
            delays("10.0.0.1", 11),
            [0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
        );
        assert_eq!(delays("10.0.0.2", 1), [0]);
        assert_eq!(delays("::ffff:10.0.0.1", 1), [5_000]);
        // One network of IPv6 is one address.
        assert_eq!(delays("2001:db8::1", 3), [0, 0, 0]);
        assert_eq!(delays("2001:db8::2", 1), [100]);
        doorstep.entered(address("10.0.0.1"));
        assert_eq!(delays("10.0.0.1", 1), [0]);
    }

    #[test]
    fn failures_are_forgotten_and_never_fill_the_memory() {
        let (doorstep, now) = (Doorstep::default(), clock::instant());
        for number in 0..20_000_u32 {
            doorstep.failed(IpAddr::V4(number.into()), now);
        }
        assert_eq!(doorstep.failures.lock().unwrap().len(), MAX_ADDRESSES);
        assert_eq!(doorstep.failed(address("10.9.9.9"), now), MAX_DELAY);
        let later = now + MEMORY;
        assert_eq!(doorstep.failed(address("10.9.9.9"), later), Duration::ZERO);
        assert_eq!(doorstep.failures.lock().unwrap().len(), 1);
    }
}
