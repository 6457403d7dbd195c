//! Which regions hold what of the logs that they pull from here, as they say themselves.
//!
//! A region says it with its requests for what is new: everything of its copy below the offset is
//! synced there. What it said stays true when its link is lost, and is forgotten when it follows the
//! log no longer, and when the log's home is moved: what lies at an offset then may be another record.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::PoisonError;

use tokio::sync::oneshot;

use crate::server::ranks::{Mutex, MutexGuard};
use crate::types::{Incarnation, Offset, RegionName};

/// What other regions hold of each log.
#[derive(Debug, Default)]
pub(in crate::server) struct Held {
    logs: Mutex<HashMap<Incarnation, Row>>,
}

#[derive(Debug, Default)]
struct Row {
    /// From where on each has the log, and up to where it is synced there.
    regions: BTreeMap<RegionName, Range<Offset>>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    offsets: Range<Offset>,
    regions: usize,
    done: oneshot::Sender<()>,
}

impl Row {
    fn holders(&self, offsets: &Range<Offset>) -> usize {
        let holds = |held: &&Range<Offset>| {
            // A copy that was begun further on does not have it, however far it is.
            held.start <= offsets.start && held.end >= offsets.end
        };
        self.regions.values().filter(holds).count()
    }
}

impl Held {
    fn logs(&self) -> MutexGuard<'_, HashMap<Incarnation, Row>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a region says: it holds everything of the log at these offsets synced. It may be
    /// less than before, where the region was restored from a backup.
    pub fn says(&self, log: Incarnation, region: &RegionName, held: Range<Offset>) {
        let mut logs = self.logs();
        let row = logs.entry(log).or_default();
        row.regions.insert(region.clone(), held);
        let waiting = std::mem::take(&mut row.waiting);
        for one in waiting {
            if row.holders(&one.offsets) >= one.regions {
                let _ = one.done.send(());
            } else if !one.done.is_closed() {
                row.waiting.push(one);
            }
        }
    }

    /// A region follows a log no longer, and may remove what it has of it.
    pub fn forgets(&self, log: Incarnation, region: &RegionName) {
        let mut logs = self.logs();
        if let Some(row) = logs.get_mut(&log) {
            row.regions.remove(region);
            if row.regions.is_empty() && row.waiting.is_empty() {
                logs.remove(&log);
            }
        }
    }

    /// The home of a log is another one from now on. What was said of it before is forgotten, and
    /// nobody waits any more: what was written here may be set aside, and other records come at its
    /// offsets.
    pub fn moved(&self, log: Incarnation) {
        self.logs().remove(&log);
    }

    /// A region has left: what it holds counts no more.
    pub fn forgets_all(&self, region: &RegionName) {
        let mut logs = self.logs();
        logs.retain(|_, row| {
            row.regions.remove(region);
            !row.regions.is_empty() || !row.waiting.is_empty()
        });
    }

    /// What each other region holds of a log: everything of its copy below its offset; by name.
    pub fn of(&self, log: Incarnation) -> Vec<(RegionName, Offset)> {
        let logs = self.logs();
        let row = logs.get(&log);
        let regions = row.into_iter().flat_map(|row| &row.regions);
        regions
            .map(|(region, held)| (region.clone(), held.end))
            .collect()
    }

    /// How many other regions hold everything of a log at some offsets.
    pub fn holders(&self, log: Incarnation, offsets: &Range<Offset>) -> usize {
        self.logs().get(&log).map_or(0, |row| row.holders(offsets))
    }

    /// Waits until that many other regions hold everything of a log at some offsets; false where
    /// the log's home is moved meanwhile. Cancel-safe; for a log that is deleted meanwhile it never
    /// ends.
    pub async fn wait(&self, log: Incarnation, offsets: Range<Offset>, regions: usize) -> bool {
        let waits = {
            let mut logs = self.logs();
            let row = logs.entry(log).or_default();
            if row.holders(&offsets) >= regions {
                return true;
            }
            let (done, waits) = oneshot::channel();
            row.waiting.retain(|one| !one.done.is_closed());
            row.waiting.push(Waiting {
                offsets,
                regions,
                done,
            });
            waits
        };
        waits.await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LOG: Incarnation = Incarnation(7);

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    fn below(end: u64) -> Range<Offset> {
        Offset(0)..Offset(end)
    }

    #[test]
    fn who_waits_is_told_once_enough_regions_hold_it() {
        let held = Held::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(held.wait(LOG, below(10), 2));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        held.says(LOG, &region("a"), below(10));
        held.says(LOG, &region("b"), below(9));
        held.says(Incarnation(8), &region("b"), below(10));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(held.holders(LOG, &below(10)), 1);
        held.says(LOG, &region("b"), below(11));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(true));
        let mut at_once = pin!(held.wait(LOG, below(11), 1));
        assert_eq!(at_once.as_mut().poll(&mut context), Poll::Ready(true));
        let all = [(region("a"), Offset(10)), (region("b"), Offset(11))];
        assert_eq!(held.of(LOG), all);
    }

    #[test]
    fn a_region_counts_for_what_it_said_last_and_no_more_once_it_has_left() {
        let held = Held::default();
        held.says(LOG, &region("a"), below(10));
        held.says(LOG, &region("a"), below(4));
        assert_eq!(held.holders(LOG, &below(5)), 0);
        held.forgets(LOG, &region("a"));
        assert_eq!(held.holders(LOG, &below(4)), 0);
        assert!(held.logs().is_empty());
    }

    #[test]
    fn a_copy_that_was_begun_further_on_holds_nothing_before_that() {
        let held = Held::default();
        held.says(LOG, &region("a"), Offset(4)..Offset(9));
        assert_eq!(held.holders(LOG, &(Offset(4)..Offset(5))), 1);
        for before in [Offset(3)..Offset(4), Offset(3)..Offset(5)] {
            assert_eq!(held.holders(LOG, &before), 0, "{before:?}");
        }
    }

    #[test]
    fn nothing_that_was_said_of_a_home_is_counted_once_it_is_moved() {
        let held = Held::default();
        let mut context = Context::from_waker(Waker::noop());
        held.says(LOG, &region("a"), below(10));
        let mut waits = pin!(held.wait(LOG, below(11), 1));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        held.moved(LOG);
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(false));
        assert_eq!(held.holders(LOG, &below(1)), 0);
    }

    #[test]
    fn a_region_that_has_left_counts_for_no_log_and_the_others_still_do() {
        let held = Held::default();
        held.says(LOG, &region("a"), below(10));
        held.says(LOG, &region("b"), below(10));
        held.says(Incarnation(8), &region("a"), below(10));
        held.forgets_all(&region("a"));
        assert_eq!(held.of(LOG), [(region("b"), Offset(10))]);
        assert_eq!(held.logs().len(), 1);
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let held = Held::default();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut waits = pin!(held.wait(LOG, below(10), 1));
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        }
        held.says(LOG, &region("a"), below(3));
        assert!(held.logs()[&LOG].waiting.is_empty());
    }
}
