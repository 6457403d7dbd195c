//! Copies that are to be wider than they were begun: what is wanted of them is pulled anew beside the
//! copy, which serves until the new one has all that it has.
//!
//! What is beside stays with the region while links come and go, and goes on where it ends. It is
//! given up when something else is wanted, and when retention at home takes what the copy has; what
//! failed is tried again (`again.rs`).

mod beside;
mod placing;
mod taking;

use std::time::Duration;

use tokio::time::Instant;

pub(in crate::server::region) use self::beside::Beside;
use super::follow::that_fit;
use super::{Copying, Ended, Session, ended};
use crate::broker::Wider;
use crate::protocol::region::{FollowFrom, FollowLog, FollowedLog, LinkLog};
use crate::region::copies::Cursor;
use crate::region::interest::{Since, Wish};
use crate::server::clock;
use crate::server::region::{following, travel};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

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
}
