//! What comes of a log that is followed beside its copy, and is written there.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::{Wake, is_of_copy, skip_batches};
use crate::format::{BatchHeader, Sealing};
use crate::protocol::LinkItem;
use crate::region::copies::BatchMark;
use crate::server::clock;
use crate::server::region::digest;
use crate::server::region::puller::appending::{next_batch, room};
use crate::server::region::puller::{Copying, Ended, Session, ended};
use crate::server::shared::TaskWake;
use crate::types::{Incarnation, LogEpoch, Offset};

impl Session<'_> {
    /// Takes an item of a log that is followed beside its copy; an inner error gives that up.
    pub(in crate::server::region::puller) async fn take_beside(
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
    pub(in crate::server::region::puller) fn is_beside(&self, handle: u32) -> bool {
        self.copying.get(&handle).is_some_and(|one| one.is_beside)
    }

    /// Gives up what is followed beside a copy, which goes on.
    pub(in crate::server::region::puller) async fn give_up(
        &mut self,
        handle: u32,
        text: &str,
    ) -> Result<(), Ended> {
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
