//! What comes on a link, item by item.

use super::appending::append;
use super::{Ended, Session, ended, own_gaps, positions};
use crate::broker::{Placed, Travelling};
use crate::protocol::{ErrorCode, LinkFetchResponse, LinkItem, Response};
use crate::region::Tenure;
use crate::region::copies::{GapReason, Item};
use crate::region::routes::Refusal;
use crate::server::clock;
use crate::server::region::{following, packing, seen};
use crate::types::{Incarnation, Offset};

impl Session<'_> {
    /// Takes an answer with what is new.
    pub(super) async fn take(&mut self, answer: Response) -> Result<(), Ended> {
        let Response::LinkFetch(LinkFetchResponse { number, items, .. }) = answer else {
            return Err(ended("the peer gave another answer to link.fetch"));
        };
        if number != self.next_number {
            let next = self.next_number;
            return Err(ended(format!("answer {number} came, {next} is the next")));
        }
        self.next_number += 1;
        for item in items {
            let handle = item.handle();
            if !self.copying.contains_key(&handle) {
                continue; // It was left while this was on its way.
            }
            let taken = match unpacked(item).await {
                Ok((item, way)) => {
                    self.peer.state().wire_bytes += way;
                    self.take_item(item).await?
                }
                Err(text) => Err(text),
            };
            if let Err(text) = taken {
                if self.is_beside(handle) {
                    self.give_up(handle, &text).await?;
                    continue;
                }
                if let Some(log) = self.log_of(handle) {
                    self.hold(&log, log.incarnation, &text, Refusal::Passing);
                }
                self.leave(vec![handle]).await?;
            }
        }
        Ok(())
    }

    /// Notes how far the peer says that a log is synced, how far its copy has come, and with how many
    /// bytes.
    fn saw(
        &self,
        id: Incarnation,
        tenure: Option<Tenure>,
        flushed: Offset,
        next: Offset,
        bytes: u64,
    ) {
        let (shared, regions) = (self.shared, self.regions);
        seen::saw(shared, regions, &self.peer.name, id, tenure, flushed);
        regions.copy_state(id, |state| {
            state.bytes += bytes;
            state.saw(flushed, next, clock::now());
        });
    }

    /// Takes one item; an inner error stops its copy and no other.
    async fn take_item(&mut self, item: LinkItem) -> Result<Result<(), String>, Ended> {
        let Some(copying) = self.copying.get_mut(&item.handle()) else {
            return Ok(Ok(()));
        };
        let (id, item_handle) = (copying.id, item.handle());
        if copying.is_beside {
            return self.take_beside(item).await;
        }
        match item {
            LinkItem::Batches {
                flushed, batches, ..
            } => {
                let bytes = batches.len() as u64;
                if let Err(text) = append(self.shared, copying, batches, flushed).await? {
                    return Ok(Err(text));
                }
                self.regions.progressed(id);
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                let travels = Travelling::of(&copying.name).is_some();
                let is_access = Travelling::of(&copying.name) == Some(Travelling::Access);
                self.saw(id, tenure, flushed, next, bytes);
                if travels {
                    self.regions.tell_consents(&self.shared.broker());
                    self.regions.tell_homes(); // It may say who is home of what.
                    if is_access {
                        self.shared.tell_access_changed();
                    }
                } else {
                    self.peer.state().bytes += bytes;
                }
                self.grown(item_handle);
            }
            LinkItem::Head {
                log_start,
                flushed,
                epoch,
                ..
            } => {
                let head = Item::Head {
                    log_start,
                    flushed,
                    epoch,
                };
                // Behind a trim at home a gap comes next.
                if let Err(refused) = copying.cursor.accept(&head) {
                    return Ok(Err(refused.to_string()));
                }
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                self.saw(id, tenure, flushed, next, 0);
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
                if let Err(text) = copying.pass(from..to, last, flushed) {
                    return Ok(Err(text));
                }
                if let Err(text) = own_gaps::skip(self.shared, copying, from..to, last).await? {
                    return Ok(Err(text));
                }
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                self.saw(id, tenure, flushed, next, 0);
                self.grown(item_handle);
            }
            // It was unpacked before.
            LinkItem::Packed { .. } => return Ok(Err("a packed item in another one".to_owned())),
            LinkItem::Position {
                consumer,
                offset,
                epoch,
                at,
                metadata,
                ..
            } => {
                if let Err(refused) = copying.cursor.accept(&Item::Position { offset }) {
                    return Ok(Err(refused.to_string()));
                }
                let placed = Placed {
                    consumer,
                    offset,
                    log_epoch: epoch,
                    at,
                    metadata,
                };
                if let Err(text) = positions::place(self.shared, copying, placed).await? {
                    return Ok(Err(text));
                }
            }
            LinkItem::Gap { from, to, .. } => {
                // Others may have what a copy has not. A topic that travels begins with its whole state
                // wherever it is trimmed, and that comes next.
                let topic = Travelling::of(&copying.name);
                if !copying.is_home && topic.is_none() {
                    return Ok(Err("a gap from a region that is not its home".to_owned()));
                }
                let gap = Item::Gap {
                    range: from..to,
                    reason: GapReason::Trimmed,
                };
                if let Err(refused) = copying.cursor.accept(&gap) {
                    return Ok(Err(refused.to_string()));
                }
                let (name, peer) = (copying.name.clone(), &self.peer.name);
                if let Err(text) = own_gaps::lost(self.shared, id, from..to).await? {
                    return Ok(Err(text));
                }
                match topic {
                    None => {
                        tracing::error!(
                            %peer, channel = %name, %from, %to,
                            "retention at its home was faster than the link: the copy has a gap"
                        );
                        self.regions
                            .copy_state(id, |state| state.gaps.push(from..to));
                    }
                    Some(topic) => {
                        tracing::debug!(%peer, %name, %from, %to, "a topic was folded before it came");
                        if topic == Travelling::Access {
                            self.shared.tell_access_changed();
                        }
                    }
                }
                self.grown(item_handle);
            }
            LinkItem::Stop { handle, error } => {
                let log = self.log_of(handle);
                self.copying.remove(&handle);
                self.holding.left(handle);
                self.idle.remove(&handle);
                // The peer may have said meanwhile that it has another log of the name.
                self.regions.routes().left(&self.peer.name, id);
                self.regions
                    .copy_state(id, |state| state.is_followed = false);
                // Another link may follow it now, also where the peer does not list it any more.
                self.regions.tell_routed();
                if let Some(log) = log {
                    self.refused(&log, id, &error);
                    if error.known() == Some(ErrorCode::NoConsent) {
                        following::record_withdrawn(self.shared, self.regions, &log.name);
                    }
                }
            }
        }
        Ok(Ok(()))
    }
}

/// An item with its batches as they are stored, and the bytes that they took on the way. Batches are
/// unpacked where that holds up nobody.
async fn unpacked(item: LinkItem) -> Result<(LinkItem, u64), String> {
    match item {
        LinkItem::Packed {
            handle,
            flushed,
            unpacked,
            frame,
        } => {
            let way = frame.len() as u64;
            let work = tokio::task::spawn_blocking(move || packing::unpack(&frame, unpacked));
            let batches = work.await.map_err(|error| error.to_string())??;
            let item = LinkItem::Batches {
                handle,
                flushed,
                batches,
            };
            Ok((item, way))
        }
        LinkItem::Batches { ref batches, .. } => {
            let way = batches.len() as u64;
            Ok((item, way))
        }
        other => Ok((other, 0)),
    }
}
