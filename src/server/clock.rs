//! The only place that asks what time it is.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::Timestamp;

/// The time, in milliseconds: the wall clock's, but it never goes back, so that what is due after a
/// while does not wait until a clock that was set back has caught up.
pub(crate) fn now() -> Timestamp {
    static CLOCK: Mutex<Forward> = Mutex::new(Forward { last: None });
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    clock.at(wall(), instant())
}

/// A clock that goes on at half its speed while the wall clock is behind it: what is due after a
/// while is due after twice that at the latest, and both agree again in the end.
#[derive(Debug)]
struct Forward {
    /// The last time that was the wall clock's, and when that was.
    last: Option<(Timestamp, Instant)>,
}

impl Forward {
    fn at(&mut self, wall: Timestamp, instant: Instant) -> Timestamp {
        if let Some((last, then)) = self.last {
            let passed = instant.saturating_duration_since(then).as_millis() / 2;
            let least = last.saturating_add_ms(i64::try_from(passed).unwrap_or(i64::MAX));
            if wall < least {
                return least;
            }
        }
        self.last = Some((wall, instant));
        wall
    }
}

fn wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    let now = SystemTime::now();
    let ms = match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    Timestamp(ms)
}

/// A clock that never goes back, for durations.
pub(crate) fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_is_set_back_stands_still_for_nobody() {
        let start = instant();
        let mut clock = Forward { last: None };
        let mut at = |wall: i64, passed_ms: u64| {
            let passed = start + Duration::from_millis(passed_ms);
            clock.at(Timestamp(wall), passed).0
        };
        assert_eq!(at(1_000_000, 0), 1_000_000);
        assert_eq!(at(1_000_500, 500), 1_000_500);
        // Set back by 100 s: time goes on at half its speed, however often it is asked for.
        let steps: Vec<i64> = (0..=2_000)
            .map(|ms| at(900_500 + ms, 500 + ms as u64))
            .collect();
        assert!(steps.is_sorted());
        assert_eq!((steps[0], steps[2_000]), (1_000_500, 1_001_500));
        // After 200 s the wall clock has caught up, and leads again.
        assert_eq!(at(1_100_500, 200_500), 1_100_500);
        assert_eq!(at(1_101_500, 201_500), 1_101_500);
        // Set forth it leads at once.
        assert_eq!(at(9_000_000, 201_600), 9_000_000);
        // Set back for good: half of what passes.
        assert_eq!(at(1_101_700, 203_600), 9_001_000);
    }
}
