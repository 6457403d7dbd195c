//! What is new in the logs that a link follows, by turns, for the requests that stand.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::reading::{Read, Rest, read};
use super::{MAX_WAIT, Source, Standing, link_required};
use crate::broker::Travelling;
use crate::protocol::{
    ErrorCode, LinkFetchRequest, LinkFetchResponse, LinkItem, Response, WireError,
};
use crate::server::clock;
use crate::server::region::packing;

/// Most requests of a link that wait for something new.
const MAX_STANDING: usize = 16;

/// Most bytes of items in one answer.
const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// Of one log at once at most, and at least where there is that much.
const MAX_LOG_BYTES: u64 = 1 << 20;
const MIN_LOG_BYTES: u64 = 64 << 10;

/// Bytes that are read for one answer, of logs of which little crosses, before others have a turn.
const MAX_READ_BYTES: u64 = 16 << 20;

impl Source {
    pub(super) fn fetch(&mut self, correlation: u64, request: LinkFetchRequest) {
        let refused = |error| (self.answers)(correlation, Response::Error(error));
        if !self.is_open {
            return refused(link_required());
        }
        if self.standing.len() >= MAX_STANDING {
            let text = format!("{MAX_STANDING} requests of the link wait, which is the limit");
            return refused(WireError::new(ErrorCode::Overloaded, text).retry_after_ms(100));
        }
        self.take_held(&request.held);
        let wait = Duration::from_millis(u64::from(request.max_wait_ms)).min(MAX_WAIT);
        self.standing.push_back(Standing {
            correlation,
            // The first batch is sent however large, and so is one where nothing is asked for.
            max_bytes: u64::from(request.max_bytes).clamp(1, MAX_ANSWER_BYTES),
            deadline: Instant::from_std(clock::instant()) + wait,
        });
    }

    /// Answers what stands and has something to be told, or has waited for long enough.
    pub(super) async fn answer_standing(&mut self) {
        while let Some(first) = self.standing.front() {
            let is_over = Instant::from_std(clock::instant()) >= first.deadline;
            let items = self.collect(first.max_bytes).await;
            if items.is_empty() && !is_over {
                return;
            }
            let Some(first) = self.standing.pop_front() else {
                return;
            };
            let response = LinkFetchResponse {
                number: self.next_number,
                now: clock::now(),
                items,
            };
            self.next_number += 1;
            (self.answers)(first.correlation, Response::LinkFetch(response));
        }
    }

    /// What is new. Logs that have little come first; those with a backlog share what is left, by
    /// turns, so that it starves no live log.
    async fn collect(&mut self, max_bytes: u64) -> Vec<LinkItem> {
        let now = Instant::from_std(clock::instant());
        self.pause = None;
        let max_bytes = match self.budget.as_mut().map(|budget| budget.allowed(now)) {
            None => max_bytes,
            Some(Some(allowed)) => max_bytes.min(allowed),
            Some(None) => {
                self.pause = self.budget.as_ref().map(Budget::due);
                return Vec::new();
            }
        };
        let ready = self.ready.take();
        if ready.is_empty() && self.backlog.is_empty() && !self.places.is_due() {
            return Vec::new();
        }
        let (mut items, mut bytes, mut passed) = (Vec::new(), 0, 0);
        // Each has its turn: those behind the last one come first.
        let live = ready.difference(&self.backlog).copied().collect();
        for handle in behind(&live, self.after) {
            if bytes >= max_bytes {
                self.ready.insert(handle);
                continue;
            }
            self.after = handle;
            let part = (max_bytes - bytes).clamp(MIN_LOG_BYTES, MAX_LOG_BYTES);
            let (sent, read) = self.read(handle, part, &mut items).await;
            bytes += sent;
            passed += read - sent;
        }
        while bytes < max_bytes && passed < MAX_READ_BYTES {
            let Some(handle) = behind(&self.backlog, self.after_backlog).next() else {
                break;
            };
            self.after_backlog = handle;
            let part = (max_bytes - bytes).clamp(MIN_LOG_BYTES, MAX_LOG_BYTES);
            let (sent, read) = self.read(handle, part, &mut items).await;
            bytes += sent;
            passed += read - sent;
        }
        if passed >= MAX_READ_BYTES {
            // There may be nothing to answer yet, and other requests have their turn first.
            self.ready.notify.notify_one();
        }
        if let Some(regions) = &self.shared.regions {
            let told = std::mem::take(&mut self.told);
            let sent = bytes - told;
            regions.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        }
        let mut way = bytes;
        if self.packs && bytes > 0 {
            (items, way) = packed(items).await;
        }
        if let Some(budget) = &mut self.budget {
            budget.spend(way);
        }
        let mut broker = self.shared.broker();
        self.places.tell(&mut broker, &self.followed, &mut items);
        drop(broker);
        items
    }

    /// Reads what is new in a log, and notes whether there is more; the bytes of it that are sent,
    /// and of all that was read.
    async fn read(&mut self, handle: u32, max_bytes: u64, items: &mut Vec<LinkItem>) -> (u64, u64) {
        self.backlog.remove(&handle);
        let followed = self.followed.get(&handle);
        if let Some(Err(error)) = followed.map(|it| self.check_consent(&it.name, &it.orgs)) {
            self.unfollow(handle);
            items.push(LinkItem::Stop { handle, error });
            return (0, 0);
        }
        let Some(followed) = self.followed.get_mut(&handle) else {
            return (0, 0);
        };
        match read(&self.shared, handle, followed, max_bytes, items).await {
            Ok(Read { sent, read, rest }) => {
                let always_travels = Travelling::of(&followed.name).is_some();
                self.told += if always_travels { sent } else { 0 };
                if let Some(skipped) = &followed.skipped {
                    self.lingering.insert(handle, skipped.due());
                } else {
                    self.lingering.remove(&handle);
                }
                match rest {
                    Rest::More => {
                        self.backlog.insert(handle);
                    }
                    Rest::Unsynced => {
                        self.unsynced.insert(handle);
                    }
                    Rest::Nothing => {}
                }
                (sent, read)
            }
            Err(error) => {
                match (error.known(), self.shared.regions.clone()) {
                    (Some(ErrorCode::ChannelNotFound), Some(regions)) => {
                        self.unfollow_for_good(handle, &regions);
                    }
                    _ => self.unfollow(handle),
                }
                items.push(LinkItem::Stop { handle, error });
                (0, 0)
            }
        }
    }
}

/// The items with their batches packed, where that is worth it; and the bytes of batches that go on
/// the way.
async fn packed(items: Vec<LinkItem>) -> (Vec<LinkItem>, u64) {
    let pack = move || {
        let mut way = 0;
        let each = items.into_iter().map(|item| {
            let LinkItem::Batches {
                handle,
                flushed,
                batches,
            } = item
            else {
                return item;
            };
            let packed = packing::pack(&batches).zip(u32::try_from(batches.len()).ok());
            way += packed
                .as_ref()
                .map_or(batches.len(), |(frame, _)| frame.len()) as u64;
            match packed {
                Some((frame, unpacked)) => LinkItem::Packed {
                    handle,
                    flushed,
                    unpacked,
                    frame,
                },
                None => LinkItem::Batches {
                    handle,
                    flushed,
                    batches,
                },
            }
        });
        let items: Vec<LinkItem> = each.collect();
        (items, way)
    };
    match tokio::task::spawn_blocking(pack).await {
        Ok(packed) => packed,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and with it the link.
        Err(_) => std::future::pending().await,
    }
}

/// The handles in order, those behind `after` first.
fn behind(handles: &BTreeSet<u32>, after: u32) -> impl Iterator<Item = u32> {
    let first = handles.range(after.saturating_add(1)..);
    first.chain(handles.range(..=after)).copied()
}
