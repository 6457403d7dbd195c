//! A link to a peer as its puller sees it: when to dial, how long to wait. Nothing of it is
//! recorded.

use std::fmt;

use crate::types::Timestamp;

/// Waiting time after the first loss, in milliseconds; doubled for each that follows.
const FIRST_WAIT_MS: i64 = 100;
/// Longest waiting time after a loss, in milliseconds.
const LONGEST_WAIT_MS: i64 = 10_000;
/// Waiting time after an answer that trying again soon will not change, in milliseconds.
const REFUSED_WAIT_MS: i64 = 60_000;
/// A link that was open for so long, in milliseconds, was well, also without anything new: waiting
/// begins anew.
const WELL_MS: i64 = 10_000;

/// Where a link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not dialled yet.
    Idle,
    /// Being dialled.
    Dialling,
    /// Batches flow.
    Open {
        /// Since when.
        since: Timestamp,
    },
    /// Lost, and dialled again later.
    Waiting {
        /// When.
        until: Timestamp,
    },
    /// The peer wants nothing of it, or it is not who was meant.
    Refused {
        /// When it is dialled again, in case somebody has put it right.
        until: Timestamp,
    },
    /// The peer was removed.
    Gone,
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is dialled for the first time.
    Dial,
    /// The peer has answered `link.open`.
    Opened,
    /// It has brought something new.
    Brought,
    /// The peer has refused, and will again.
    Refused,
    /// It is lost, in whatever way.
    Lost,
    /// Its waiting time is over.
    WaitOver,
    /// Nobody wants it any more.
    Removed,
}

/// What can't happen to a link in its state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a link that is {state} can't be {event}")]
pub struct IllegalStep {
    /// Its state.
    pub state: LinkState,
    /// What was to happen.
    pub event: LinkEvent,
}

/// A link to one peer.
///
/// ```text
/// Idle --dial--> Dialling --opened--> Open --lost--> Waiting --waitOver--> Dialling
///                   |  +--lost--> Waiting  |
///                   +--refused--> Refused <+      Refused --waitOver--> Dialling
///                                         Open --brought--> Open
/// (any) --removed--> Gone
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    state: LinkState,
    /// Losses in a row since it was last well.
    losses: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: LinkState::Idle,
            losses: 0,
        }
    }
}

impl Link {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &LinkState {
        &self.state
    }

    /// When its waiting time is over, while it waits.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        match self.state {
            LinkState::Waiting { until } | LinkState::Refused { until } => Some(until),
            _ => None,
        }
    }

    /// Takes an event.
    ///
    /// - `jitter`: a random number from 0 to 1 inclusive, so that peers do not dial in step.
    ///
    /// # Errors
    /// [`IllegalStep`] when it can't happen, or the waiting time is not over; the link is
    /// unchanged.
    pub fn handle(
        &mut self,
        event: LinkEvent,
        now: Timestamp,
        jitter: f64,
    ) -> Result<(), IllegalStep> {
        use LinkEvent::{Brought, Dial, Lost, Opened, Refused, Removed, WaitOver};
        let next = match (&self.state, event) {
            (LinkState::Gone, _) => None,
            (_, Removed) => Some(LinkState::Gone),
            (LinkState::Idle, Dial) => Some(LinkState::Dialling),
            (LinkState::Open { since }, Brought) => {
                self.losses = 0;
                Some(LinkState::Open { since: *since })
            }
            (LinkState::Dialling, Opened) => Some(LinkState::Open { since: now }),
            (LinkState::Dialling | LinkState::Open { .. }, Refused) => {
                let until = now.saturating_add_ms(REFUSED_WAIT_MS);
                Some(LinkState::Refused { until })
            }
            (LinkState::Dialling | LinkState::Open { .. }, Lost) => Some(self.lose(now, jitter)),
            (LinkState::Waiting { until } | LinkState::Refused { until }, WaitOver)
                if now >= *until =>
            {
                Some(LinkState::Dialling)
            }
            _ => None,
        };
        self.state = next.ok_or_else(|| IllegalStep {
            state: self.state.clone(),
            event,
        })?;
        Ok(())
    }

    fn lose(&mut self, now: Timestamp, jitter: f64) -> LinkState {
        if let LinkState::Open { since } = self.state
            && now.0.saturating_sub(since.0) >= WELL_MS
        {
            self.losses = 0;
        }
        let doubled = FIRST_WAIT_MS << self.losses.min(16);
        let longest = doubled.min(LONGEST_WAIT_MS);
        self.losses = self.losses.saturating_add(1);
        // Half of it always, so that a peer that is down is not dialled without a pause.
        #[expect(clippy::cast_possible_truncation, reason = "at most LONGEST_WAIT_MS")]
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let random = (longest as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as i64;
        let until = now.saturating_add_ms(longest / 2 + random);
        LinkState::Waiting { until }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Dialling => "dialling",
            Self::Open { .. } => "open",
            Self::Waiting { .. } => "waiting",
            Self::Refused { .. } => "refused",
            Self::Gone => "gone",
        })
    }
}

impl fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dialled",
            Self::Opened => "opened",
            Self::Brought => "bringing something",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::WaitOver => "dialled again",
            Self::Removed => "removed",
        })
    }
}

#[cfg(test)]
mod tests {
    use LinkEvent::{Brought, Dial, Lost, Opened, Refused, Removed, WaitOver};

    use super::*;

    const EVENTS: [LinkEvent; 7] = [Dial, Opened, Brought, Refused, Lost, WaitOver, Removed];

    fn after(events: &[LinkEvent]) -> Link {
        let mut link = Link::default();
        for event in events {
            // Late enough for every wait to be over.
            let now = link.due().unwrap_or(Timestamp(0));
            link.handle(*event, now, 1.0).unwrap();
        }
        link
    }

    #[test]
    fn every_event_in_every_state_is_as_the_table_says() {
        let no = "-";
        for (way, row) in [
            (&[][..], ["dialling", no, no, no, no, no, "gone"]),
            (&[Dial], [no, "open", no, "refused", "waiting", no, "gone"]),
            (
                &[Dial, Opened],
                [no, no, "open", "refused", "waiting", no, "gone"],
            ),
            (&[Dial, Lost], [no, no, no, no, no, "dialling", "gone"]),
            (&[Dial, Refused], [no, no, no, no, no, "dialling", "gone"]),
            (&[Removed], [no, no, no, no, no, no, no]),
        ] {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                let mut link = after(way);
                let before = link.clone();
                let now = link.due().unwrap_or(Timestamp(0));
                let state = match link.handle(event, now, 1.0) {
                    Ok(()) => link.state().to_string(),
                    Err(_) => {
                        assert_eq!(link, before);
                        no.to_owned()
                    }
                };
                assert_eq!(state, expected, "{way:?} {event:?}");
            }
        }
    }

    #[test]
    fn who_waits_does_so_until_the_time_is_over() {
        let mut link = after(&[Dial, Lost]);
        assert_eq!(link.due(), Some(Timestamp(100)));
        let error = link.handle(WaitOver, Timestamp(99), 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a link that is waiting can't be dialled again"
        );
        link.handle(WaitOver, Timestamp(100), 1.0).unwrap();
    }

    #[test]
    fn the_wait_doubles_up_to_a_bound_and_begins_anew_when_the_link_was_well() {
        let mut link = after(&[Dial]);
        let mut waits = Vec::new();
        for _ in 0..9 {
            link.handle(Lost, Timestamp(0), 1.0).unwrap();
            waits.push(link.due().unwrap().0);
            link.handle(WaitOver, link.due().unwrap(), 1.0).unwrap();
        }
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        let lost_after = |ms: i64, jitter: f64| {
            let mut link = link.clone();
            link.handle(Opened, Timestamp(0), 1.0).unwrap();
            link.handle(Lost, Timestamp(ms), jitter).unwrap();
            link.due().unwrap().0 - ms
        };
        let mut brought = link.clone();
        for event in [Opened, Brought, Lost] {
            brought.handle(event, Timestamp(0), 1.0).unwrap();
        }
        assert_eq!(brought.due(), Some(Timestamp(100)));
        assert_eq!(lost_after(9_999, 1.0), 10_000);
        assert_eq!(lost_after(10_000, 1.0), 100);
        assert_eq!(lost_after(10_000, 0.0), 50);
        assert_eq!(
            lost_after(10_000, f64::NAN),
            50,
            "and never without a pause"
        );
    }

    #[test]
    fn who_was_refused_waits_a_minute() {
        let link = after(&[Dial, Refused]);
        assert_eq!(link.due(), Some(Timestamp(60_000)));
    }
}
