//! The requests of a link that stand at the peer, in the order in which they are answered.

use std::collections::VecDeque;

use crate::client::LinkCall;

/// Requests for what is new that stand at once, so that others are on their way while the answer of
/// one is stored. All their answers together fill a line of 1 Gbit/s over 100 ms there and back, and
/// little more: what is more waits in the buffers of the line, and what is live waits behind it.
const ASKS: usize = 12;
/// Those of them that are asked anew only once all that is to be said is synced, so that they say
/// it: where little comes, the peer answers none of those behind them.
const KEPT: usize = 2;
/// Those beside them that say what was synced meanwhile. Of them the last is kept for when there is
/// no more to say.
const SAYINGS: usize = 4;
/// Requests at most.
#[cfg(test)]
pub(super) const MOST: usize = ASKS + SAYINGS;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Much, of whatever is new.
    Much,
    /// Little: it is there for what it says.
    Little,
}

impl Asks {
    /// Bytes of its answer. It is whole before any of it is taken, so what is live waits for all of it.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Much => 3 << 19,
            Self::Little => 64 << 10,
        }
    }
}

/// The requests.
pub(super) struct Standing<Call = LinkCall> {
    calls: VecDeque<(Call, Asks)>,
}

impl<Call> Default for Standing<Call> {
    fn default() -> Self {
        Self {
            calls: VecDeque::new(),
        }
    }
}

impl<Call> Standing<Call> {
    /// Whether one more is to stand for what is new.
    ///
    /// - `is_all`: whether it would say all that is to be said, or nothing is.
    pub fn wants_one(&self, is_all: impl FnOnce() -> bool) -> bool {
        let asked = self.count(Asks::Much);
        asked < ASKS - KEPT || (asked < ASKS && is_all())
    }

    /// Whether something may be said beside them.
    ///
    /// - `is_all`: whether it is all that is to be said; the last that may stand is kept for that,
    ///   as what is said of a part would leave none for the rest until the peer answers.
    pub fn may_say(&self, is_all: impl FnOnce() -> bool) -> bool {
        let said = self.count(Asks::Little);
        said < SAYINGS && (said + 1 < SAYINGS || is_all())
    }

    /// One more stands.
    pub fn push(&mut self, call: Call, asks: Asks) {
        self.calls.push_back((call, asks));
    }

    /// The one that is answered next.
    pub fn first(&mut self) -> Option<&mut Call> {
        self.calls.front_mut().map(|(call, _)| call)
    }

    /// The first has been answered.
    pub fn answered(&mut self) {
        self.calls.pop_front();
    }

    fn count(&self, asks: Asks) -> usize {
        self.calls.iter().filter(|(_, of)| *of == asks).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_takes_no_place_of_what_is_asked_for() {
        let mut standing = Standing::<()>::default();
        let mut much = 0;
        for round in 0..100 {
            while standing.wants_one(|| round % 2 == 0) {
                standing.push((), Asks::Much);
            }
            // There is something to say all the time.
            while standing.may_say(|| round % 2 == 0) {
                standing.push((), Asks::Little);
            }
            let little = standing.count(Asks::Little);
            assert!(
                little == SAYINGS || (round % 2 == 1 && little + 1 == SAYINGS),
                "{little}"
            );
            assert!(standing.count(Asks::Much) >= ASKS - KEPT);
            assert!(standing.calls.len() <= MOST);
            much += usize::from(standing.calls[0].1 == Asks::Much);
            standing.answered();
        }
        // Each has its turn.
        assert!(much >= 100 * (ASKS - KEPT) / (MOST + 1), "{much} of 100");
    }

    /// Answers `answers` requests with something new, of which a part is synced at a time, and tells
    /// whether the peer knows of all of it then.
    fn is_told(standing: &mut Standing<()>, answers: usize, parts: usize) -> bool {
        let mut told = false;
        for _ in 0..answers {
            standing.answered();
            // The next are asked for before what came is synced.
            while standing.wants_one(|| false) {
                standing.push((), Asks::Much);
            }
            for part in 1..=parts {
                let is_all = part == parts;
                told = false;
                while standing.wants_one(|| is_all) {
                    standing.push((), Asks::Much);
                    told = true;
                }
                if !told && standing.may_say(|| is_all) {
                    standing.push((), Asks::Little);
                    told = true;
                }
            }
        }
        told
    }

    #[test]
    fn after_a_burst_a_quiet_peer_is_told_where_the_copy_ends_however_it_was_synced() {
        // What the peer is told of must be all in the end, with requests that it has no reason to
        // answer: after each of many bursts, whatever was synced at once.
        for (answers, parts) in [(1, 1), (1, 2), (1, 1000), (3, 1), (3, 5), (40, 1), (40, 7)] {
            let mut standing = Standing::<()>::default();
            while standing.wants_one(|| true) {
                standing.push((), Asks::Much);
            }
            for burst in 0..100 {
                let is_told = is_told(&mut standing, answers, parts);
                assert!(
                    is_told,
                    "burst {burst} of {answers} answers in {parts} parts"
                );
                assert!(standing.calls.len() <= MOST);
            }
        }
    }
}
