//! Copies that are to be wider than they were begun: what is wanted of them is pulled anew beside the
//! copy, which serves until the new one has all that it has.
//!
//! What is beside stays with the region while links come and go, and goes on where it ends. It is
//! given up when something else is wanted, and when retention at home takes what the copy has; what
//! failed is tried again (`again.rs`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::appending::{next_batch, room};
use super::follow::that_fit;
use super::{Copying, Ended, Session, ended};
use crate::broker::{Wake, Wider, is_of_copy, skip_batches};
use crate::format::{BatchHeader, Sealing};
use crate::protocol::LinkItem;
use crate::protocol::region::{FollowFrom, FollowLog, FollowedLog, LinkLog};
use crate::region::copies::{BatchMark, Cursor};
use crate::region::interest::{Since, Wish};
use crate::server::clock;
use crate::server::ranks::MutexGuard;
use crate::server::region::{Regions, digest, following, travel};
use crate::server::shared::{Shared, TaskWake};
use crate::storage::{BesideLog, CutError};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// How often a copy that is put in its place is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Where something else goes first.
const BUSY: Duration = Duration::from_millis(200);

/// A copy that is written beside another.
#[derive(Debug)]
pub(in crate::server::region) struct Beside {
    log: BesideLog,
    wider: Wider,
    /// When it was begun.
    since: Instant,
    /// What it has at its end: of a gap of its own only the epoch.
    last: Option<Result<BatchMark, LogEpoch>>,
}

impl Regions {
    fn beside(&self) -> MutexGuard<'_, HashMap<Incarnation, Beside>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a copy is being put in the place of this one.
    pub fn is_replaced(&self, id: Incarnation) -> bool {
        let replaced = self.replaced.lock();
        replaced
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }

    fn set_replaced(&self, id: Incarnation, is_replaced: bool) {
        let replaced = self.replaced.lock();
        let mut replaced = replaced.unwrap_or_else(PoisonError::into_inner);
        match is_replaced {
            true => replaced.insert(id),
            false => replaced.remove(&id),
        };
    }

    /// First offset and end of what is written beside a copy.
    pub fn beside_place(&self, id: Incarnation) -> Option<(Offset, Offset)> {
        let beside = self.beside();
        let log = &beside.get(&id)?.log;
        Some((log.begins_at(), log.end()))
    }

    /// Gives up what is written beside a copy that was purged, whether or not a link is open.
    pub fn purged(self: &Arc<Self>, id: Incarnation) {
        self.forget_narrow(id);
        let regions = self.clone();
        tokio::spawn(async move { regions.give_up_beside(id).await });
    }

    /// Gives up what is written beside a copy; how long it was written.
    async fn give_up_beside(&self, id: Incarnation) -> Duration {
        let beside = self.beside().remove(&id);
        let Some(beside) = beside else {
            return Duration::ZERO;
        };
        removed(beside.log).await;
        Instant::from_std(clock::instant()).saturating_duration_since(beside.since)
    }
}

/// Removes what was written beside a copy. What is left goes at the next start, or with the next.
async fn removed(log: BesideLog) {
    let gone = tokio::task::spawn_blocking(move || log.give_up()).await;
    if let Ok(Err(failure)) = gone {
        tracing::warn!(%failure, "what was written beside a copy was not removed");
    }
}

/// What a copy has, and what is wanted of it.
struct Asked {
    log: LinkLog,
    wish: Wish,
    wider: Wider,
    /// Lowest offset of the copy.
    start: Offset,
    /// It is of more types.
    has_more_types: bool,
    /// It goes on where it was left.
    goes_on: bool,
}

impl Session<'_> {
    /// Follows anew, beside their copies, the logs of which more is wanted than these have.
    pub(super) async fn follow_wider(&mut self) -> Result<(), Ended> {
        self.forget_beside().await;
        self.regions
            .try_wider(self.copying.values().map(|one| one.id));
        let followed = self.copying.values().filter(|one| !one.is_beside);
        let ids: Vec<(ChannelName, Incarnation)> = followed
            .filter(|one| !one.name.is_internal())
            .map(|one| (one.name.clone(), one.id))
            .collect();
        let mut asked = Vec::new();
        for (name, id) in ids {
            if self
                .copying
                .values()
                .any(|one| one.is_beside && one.id == id)
            {
                continue;
            }
            let log = self.known.get(&name).filter(|log| log.incarnation == id);
            let Some((log, wish)) = log.cloned().zip(self.wish(&name)) else {
                continue;
            };
            if let Some(one) = self.plan_wider(log, wish).await {
                asked.push(one);
            }
        }
        while !asked.is_empty() {
            let rest = asked.split_off(that_fit(&asked));
            for (followed, one) in self.ask_to_follow(asked).await? {
                self.begin_wider(followed, one).await?;
            }
            asked = rest;
        }
        Ok(())
    }

    /// Gives up what is written beside copies of which no more is wanted, or that are gone.
    async fn forget_beside(&self) {
        let ids: Vec<Incarnation> = self.regions.beside().keys().copied().collect();
        for id in ids {
            let is_wanted = {
                let broker = self.shared.broker();
                let copy = broker
                    .copy_of(id)
                    .filter(|_| broker.copy_place(id).is_some());
                let name = copy.and_then(|_| broker.name_of(id));
                name.is_some_and(|name| following::wish(&broker, name).is_some())
            };
            if !is_wanted {
                self.regions.give_up_beside(id).await;
                self.regions.forget_narrow(id);
            }
        }
    }

    /// How a log is followed beside its copy; none where the copy has all that is wanted.
    async fn plan_wider(&mut self, log: LinkLog, wish: Wish) -> Option<(FollowLog, Asked)> {
        let id = log.incarnation;
        let (copy, start) = {
            let broker = self.shared.broker();
            let start = broker.storage().log(id)?.log_start();
            (broker.copy_of(id)?.clone(), start)
        };
        let has_more_types = match (&copy.types, &wish.types) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(here), Some(wanted)) => !wanted.is_subset(here),
        };
        let types = self.types(id, &wish);
        let is_of_all = copy.from_start || copy.begins_at == Offset(0);
        let may_begin_earlier = !is_of_all
            && match wish.from {
                Since::Start => log.log_start < start,
                Since::Time(_) => true,
                Since::End => false,
            };
        if !has_more_types && !may_begin_earlier {
            self.regions.give_up_beside(id).await;
            self.regions.forget_narrow(id);
            return None;
        }
        if self.regions.stays_narrow(id, &wish) {
            self.regions.give_up_beside(id).await;
            return None;
        }
        // What retention at home has removed, and the copy has, would be lost.
        if log.log_start > start {
            let text = format!(
                "retention at home has removed what the copy has from {start} to {}",
                log.log_start
            );
            self.regions.waits_wider(id, wish, &text);
            return None;
        }
        let kept = self
            .regions
            .beside()
            .get(&id)
            .map(|beside| (beside.wider.clone(), beside.log.end(), beside.last));
        let is_late = |from: Offset| wish.from == Since::Start && from > log.log_start;
        let goes_on = kept.filter(|(wider, ..)| {
            wider.types == types && (wider.from_start || !is_late(wider.begins_at))
        });
        if goes_on.is_none() {
            self.regions.give_up_beside(id).await;
        }
        let from_start = match may_begin_earlier {
            true => wish.from == Since::Start && log.whole,
            false => copy.from_start,
        };
        let (from, last) = match &goes_on {
            Some((_, end, last)) => (FollowFrom::Offset(*end), *last),
            None if may_begin_earlier => (FollowFrom::Since(wish.from), None),
            None => (FollowFrom::Offset(start), None),
        };
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        let follow = FollowLog {
            handle,
            name: travel::named_there(&log.name),
            incarnation: Some(id),
            from,
            last: last.and_then(Result::ok),
            last_epoch: last.and_then(Result::err),
            begins_at: goes_on.as_ref().map(|(wider, ..)| wider.begins_at),
            types: types.clone(),
            orgs: self.shared.broker().askers(&log.name),
        };
        let wider = match &goes_on {
            Some((wider, ..)) => wider.clone(),
            None => Wider {
                begins_at: start,
                from_start,
                types,
            },
        };
        let one = Asked {
            log,
            wish,
            wider,
            start,
            has_more_types,
            goes_on: goes_on.is_some(),
        };
        Some((follow, one))
    }

    /// Takes what became of a log that was to be followed beside its copy.
    async fn begin_wider(&mut self, followed: FollowedLog, asked: Asked) -> Result<(), Ended> {
        let (id, peer) = (asked.log.incarnation, self.peer.name.clone());
        let (handle, from) = match followed {
            FollowedLog::Followed {
                handle,
                incarnation,
                from,
            } if incarnation == id => (handle, from),
            FollowedLog::Followed { .. } => {
                return Err(ended("the peer follows another log than was asked for"));
            }
            FollowedLog::Refused { error, .. } => {
                tracing::warn!(%peer, channel = %asked.log.name, error = %error.message, "a wider copy is not begun");
                let took = self.regions.give_up_beside(id).await;
                let text = format!("{}: {}", error.name, error.message);
                self.regions.failed_wider(id, asked.wish, &text, took);
                return Ok(());
            }
        };
        let (epoch, time) = {
            let beside = self.regions.beside();
            let known = beside.get(&id).filter(|_| asked.goes_on);
            known.map_or((LogEpoch(0), Timestamp(i64::MIN)), |it| it.log.last())
        };
        if !asked.goes_on {
            // It has to have all that the copy has, and more.
            let is_more = from < asked.start || asked.has_more_types && from == asked.start;
            if !is_more {
                self.regions.has_all(id, asked.wish);
                return self.leave(vec![handle]).await;
            }
            let wider = Wider {
                begins_at: from,
                ..asked.wider.clone()
            };
            let begun = self.shared.broker().begin_wider(id, &wider, clock::now());
            self.shared.wake_committer();
            match begun {
                Ok(log) => {
                    let beside = Beside {
                        log,
                        wider,
                        since: Instant::from_std(clock::instant()),
                        last: None,
                    };
                    self.regions.beside().insert(id, beside);
                }
                Err(refusal) => {
                    tracing::warn!(%peer, channel = %asked.log.name, error = %refusal.error, "a wider copy is not begun");
                    let text = refusal.error.to_string();
                    (self.regions).failed_wider(id, asked.wish, &text, Duration::ZERO);
                    return self.leave(vec![handle]).await;
                }
            }
            tracing::info!(
                %peer, channel = %asked.log.name, %from, was = %asked.start,
                "more is wanted of a copy than it has: it is begun anew beside it"
            );
        }
        let types = asked.wider.types;
        let copying = Copying {
            name: asked.log.name.clone(),
            id,
            cursor: Cursor::new(id, from, epoch, time, types.is_some()),
            is_home: asked.log.home == self.peer.name,
            types,
            tenure: self.shared.broker().home_of(id).map(|home| home.tenure),
            is_beside: true,
        };
        self.copying.insert(handle, copying);
        self.put_where_due(handle).await
    }

    /// Takes an item of a log that is followed beside its copy; an inner error gives that up.
    pub(super) async fn take_beside(
        &mut self,
        item: LinkItem,
    ) -> Result<Result<(), String>, Ended> {
        let handle = item.handle();
        let Some(copying) = self.copying.get_mut(&handle) else {
            return Ok(Ok(()));
        };
        let taken = match item {
            LinkItem::Batches {
                flushed, batches, ..
            } => {
                self.peer.state().bytes += batches.len() as u64;
                checked(copying, batches, flushed)
            }
            LinkItem::Skip {
                from,
                to,
                epoch,
                append_time,
                flushed,
                ..
            } => {
                let last = (epoch, append_time);
                copying.pass(from..to, last, flushed).map(|()| {
                    let types: BTreeSet<String> = copying.types.clone().unwrap_or_default();
                    skip_batches(copying.id, from..to, &types, last)
                })
            }
            // The copy may have what retention takes at home.
            LinkItem::Gap { from, to, .. } => Err(format!(
                "retention at home was faster: offsets {from} up to {to} are not there any more"
            )),
            LinkItem::Stop { error, .. } => Err(format!("{}: {}", error.name, error.message)),
            LinkItem::Head { .. } | LinkItem::Position { .. } | LinkItem::Packed { .. } => {
                return Ok(Ok(()));
            }
        };
        let batches = match taken {
            Ok(batches) => batches,
            Err(text) => return Ok(Err(text)),
        };
        let id = copying.id;
        if let Err(text) = self.write_beside(id, batches).await? {
            return Ok(Err(text));
        }
        self.put_where_due(handle).await?;
        Ok(Ok(()))
    }

    /// Writes batches to what is beside a copy, waiting for the disk.
    async fn write_beside(
        &self,
        id: Incarnation,
        batches: Vec<Bytes>,
    ) -> Result<Result<(), String>, Ended> {
        if let Some(shortage) = self.shared.broker().storage().shortage() {
            return Ok(Err(shortage.to_string()));
        }
        let mut sealed: Vec<(Bytes, Option<Sealing>)> = Vec::with_capacity(batches.len());
        for batch in batches {
            loop {
                let waiter = TaskWake::new();
                let sealing = {
                    let mut broker = self.shared.broker();
                    let sealing = broker.seal_beside(id, clock::now());
                    if sealing.is_err() {
                        broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                    }
                    sealing
                };
                match sealing {
                    Ok(sealing) => break sealed.push((batch, sealing)),
                    Err(error) => {
                        if let Err(text) = room(self.shared, &waiter, &error).await? {
                            return Ok(Err(text));
                        }
                    }
                }
            }
        }
        let Some(mut beside) = self.regions.beside().remove(&id) else {
            return Ok(Err("it was given up".to_owned()));
        };
        let now = clock::now();
        let work = tokio::task::spawn_blocking(move || {
            let mut written = Ok(());
            for (batch, sealing) in &sealed {
                written = beside.log.append(batch, sealing.as_ref(), now);
                if written.is_err() {
                    break;
                }
            }
            let last = sealed.last().map(|(batch, _)| batch);
            beside.last = last.and_then(mark_at_end).or(beside.last);
            (beside, written)
        });
        let (beside, written) = work.await.map_err(|error| ended(error.to_string()))?;
        self.regions.beside().insert(id, beside);
        Ok(written.map_err(|error| error.to_string()))
    }

    /// Whether a handle is of a log that is followed beside its copy.
    pub(super) fn is_beside(&self, handle: u32) -> bool {
        self.copying.get(&handle).is_some_and(|one| one.is_beside)
    }

    /// Gives up what is followed beside a copy, which goes on.
    pub(super) async fn give_up(&mut self, handle: u32, text: &str) -> Result<(), Ended> {
        if let Some(copying) = self.copying.get(&handle) {
            let (id, name) = (copying.id, copying.name.clone());
            tracing::warn!(peer = %self.peer.name, channel = %name, error = text, "a wider copy is given up");
            let took = self.regions.give_up_beside(id).await;
            if let Some(wish) = self.wish(&name) {
                self.regions.failed_wider(id, wish, text, took);
            }
        }
        self.leave(vec![handle]).await
    }

    /// Has what is beside a copy put in its place, once it has all that the copy has.
    async fn put_where_due(&mut self, handle: u32) -> Result<(), Ended> {
        let Some(copying) = self.copying.get(&handle) else {
            return Ok(());
        };
        let (id, name) = (copying.id, copying.name.clone());
        let place = self.shared.broker().copy_place(id);
        let end = self.regions.beside_place(id);
        let has_all = place
            .zip(end)
            .is_some_and(|(place, (begins_at, end))| end >= place.next && end > begins_at);
        let copies = self.copying.iter();
        let of_copy = copies.filter(|(_, one)| one.id == id && !one.is_beside);
        let Some(of_copy) = of_copy
            .map(|(handle, _)| *handle)
            .next()
            .filter(|_| has_all)
        else {
            return Ok(());
        };
        // Nobody follows it before it is done.
        self.regions.set_replaced(id, true);
        self.leave(vec![of_copy, handle]).await?;
        let (shared, wish) = (self.shared.clone(), self.wish(&name));
        let begun = self.regions.beside().get(&id).map(|beside| beside.since);
        let begun = begun.unwrap_or_else(|| Instant::from_std(clock::instant()));
        tokio::spawn(async move {
            let Some(regions) = shared.regions.clone() else {
                return;
            };
            let put = put_in_place(&shared, &regions, id).await;
            match put {
                Ok(()) => {
                    regions.forget_narrow(id);
                    regions.copy_state(id, |state| state.gaps.clear());
                    tracing::info!(channel = %name, "a copy has all that is wanted of it");
                }
                Err(error) => {
                    tracing::warn!(channel = %name, %error, "a copy stays as it was");
                    if let Some(wish) = wish {
                        let took = begun.elapsed();
                        regions.failed_wider(id, wish, &error.to_string(), took);
                    }
                }
            }
            regions.set_replaced(id, false);
            // Others may pull it from here now.
            regions.tell_homes();
            regions.tell_routed();
        });
        Ok(())
    }
}

async fn put_in_place(shared: &Shared, regions: &Regions, id: Incarnation) -> Result<(), CutError> {
    loop {
        let Some(beside) = regions.beside().remove(&id) else {
            return Err(CutError::Closed(id));
        };
        let Beside {
            log,
            wider,
            since,
            last,
        } = beside;
        let begun = shared.broker().put_in_place(log, wider.clone());
        match begun.map_err(|refused| *refused) {
            Ok(()) => break,
            Err((log, CutError::Busy)) => {
                let beside = Beside {
                    log,
                    wider,
                    since,
                    last,
                };
                regions.beside().insert(id, beside);
                tokio::select! {
                    () = sleep(BUSY) => {}
                    () = shared.stop.cancelled() => return Err(CutError::Busy),
                }
            }
            Err((log, error)) => {
                removed(log).await;
                return Err(error);
            }
        }
    }
    loop {
        shared.wake_committer();
        shared.wake_keeper();
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            if let Some(ended) = broker.take_wider(id) {
                return ended;
            }
            broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
        }
        tokio::select! {
            _ = timeout(LOOK, waiter.0.notified()) => {}
            () = shared.stop.cancelled() => return Err(CutError::Busy),
        }
    }
}

/// The batches of an item, each checked and accepted by the cursor.
fn checked(
    copying: &mut Copying,
    mut batches: Bytes,
    flushed: Offset,
) -> Result<Vec<Bytes>, String> {
    let mut all = Vec::new();
    while !batches.is_empty() {
        let (_, batch) = next_batch(copying, &mut batches, flushed)?;
        all.push(batch);
    }
    Ok(all)
}

/// What a copy that ends with a batch is told to have at its end.
fn mark_at_end(batch: &Bytes) -> Option<Result<BatchMark, LogEpoch>> {
    let header = BatchHeader::peek(batch).ok()?;
    let gap = header.is_gap().then(|| crate::format::Gap::of(batch));
    let is_own = matches!(gap, Some(Ok(Some(gap))) if is_of_copy(&gap));
    Some(match is_own {
        true => Err(header.log_epoch()),
        false => Ok(digest::mark_of(&header)),
    })
}
