//! Which regions hold what of the logs that they pull from here, as they say themselves.
//!
//! A region says it with its requests for what is new: everything below the offset is synced there.
//! What it said stays true when its link is lost, and is forgotten when it follows the log no longer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::types::{Incarnation, Offset, RegionName};

/// What other regions hold of each log.
#[derive(Debug, Default)]
pub(in crate::server) struct Held {
    logs: Mutex<HashMap<Incarnation, Row>>,
}

#[derive(Debug, Default)]
struct Row {
    regions: BTreeMap<RegionName, Offset>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    offset: Offset,
    regions: usize,
    done: oneshot::Sender<()>,
}

impl Row {
    fn holders(&self, offset: Offset) -> usize {
        let held = self.regions.values();
        held.filter(|held| **held >= offset).count()
    }
}

impl Held {
    fn logs(&self) -> MutexGuard<'_, HashMap<Incarnation, Row>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a region says: it holds everything of the log below the offset synced. It may be
    /// less than before, where the region was restored from a backup.
    pub fn says(&self, log: Incarnation, region: &RegionName, offset: Offset) {
        let mut logs = self.logs();
        let row = logs.entry(log).or_default();
        row.regions.insert(region.clone(), offset);
        let waiting = std::mem::take(&mut row.waiting);
        for one in waiting {
            if row.holders(one.offset) >= one.regions {
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

    /// A region has left: what it holds counts no more.
    pub fn forgets_all(&self, region: &RegionName) {
        let mut logs = self.logs();
        logs.retain(|_, row| {
            row.regions.remove(region);
            !row.regions.is_empty() || !row.waiting.is_empty()
        });
    }

    /// What each other region holds of a log: everything below its offset; by name.
    pub fn of(&self, log: Incarnation) -> Vec<(RegionName, Offset)> {
        let logs = self.logs();
        let row = logs.get(&log);
        let regions = row.into_iter().flat_map(|row| &row.regions);
        regions
            .map(|(region, offset)| (region.clone(), *offset))
            .collect()
    }

    /// How many other regions hold everything of a log below an offset.
    pub fn holders(&self, log: Incarnation, offset: Offset) -> usize {
        self.logs().get(&log).map_or(0, |row| row.holders(offset))
    }

    /// Waits until that many other regions hold everything of a log below an offset. Cancel-safe;
    /// for a log that is deleted meanwhile it never ends.
    pub async fn wait(&self, log: Incarnation, offset: Offset, regions: usize) {
        let waits = {
            let mut logs = self.logs();
            let row = logs.entry(log).or_default();
            if row.holders(offset) >= regions {
                return;
            }
            let (done, waits) = oneshot::channel();
            row.waiting.retain(|one| !one.done.is_closed());
            row.waiting.push(Waiting {
                offset,
                regions,
                done,
            });
            waits
        };
        // The table lives as long as the server.
        let _ = waits.await;
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

    #[test]
    fn who_waits_is_told_once_enough_regions_hold_it() {
        let held = Held::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(held.wait(LOG, Offset(10), 2));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        held.says(LOG, &region("a"), Offset(10));
        held.says(LOG, &region("b"), Offset(9));
        held.says(Incarnation(8), &region("b"), Offset(10));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(held.holders(LOG, Offset(10)), 1);
        held.says(LOG, &region("b"), Offset(11));
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(()));
        let mut at_once = pin!(held.wait(LOG, Offset(11), 1));
        assert_eq!(at_once.as_mut().poll(&mut context), Poll::Ready(()));
        let all = [(region("a"), Offset(10)), (region("b"), Offset(11))];
        assert_eq!(held.of(LOG), all);
    }

    #[test]
    fn a_region_counts_for_what_it_said_last_and_no_more_once_it_has_left() {
        let held = Held::default();
        held.says(LOG, &region("a"), Offset(10));
        held.says(LOG, &region("a"), Offset(4));
        assert_eq!(held.holders(LOG, Offset(5)), 0);
        held.forgets(LOG, &region("a"));
        assert_eq!(held.holders(LOG, Offset(4)), 0);
        assert!(held.logs().is_empty());
    }

    #[test]
    fn a_region_that_has_left_counts_for_no_log_and_the_others_still_do() {
        let held = Held::default();
        held.says(LOG, &region("a"), Offset(10));
        held.says(LOG, &region("b"), Offset(10));
        held.says(Incarnation(8), &region("a"), Offset(10));
        held.forgets_all(&region("a"));
        assert_eq!(held.of(LOG), [(region("b"), Offset(10))]);
        assert_eq!(held.logs().len(), 1);
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let held = Held::default();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut waits = pin!(held.wait(LOG, Offset(10), 1));
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
        }
        held.says(LOG, &region("a"), Offset(3));
        assert!(held.logs()[&LOG].waiting.is_empty());
    }
}
