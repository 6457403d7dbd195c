//! Which logs a link follows: whether the puller may have each, and from where on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reading::lacks;
use super::{Followed, Grown, Source};
use crate::broker::{BrokerError, CopyOf, Fetch, Place, Residence, Travelling, Wake};
use crate::protocol::region::{FollowFrom, FollowLog, FollowedLog};
use crate::protocol::{ErrorCode, WireError};
use crate::region::copies::{Before, FollowRefusal, Source as Has, Wanted, check_follow};
use crate::region::interest::Since;
use crate::server::access::Caller;
use crate::server::region::digest::batch_at;
use crate::server::region::{Regions, leaving, travel};
use crate::server::{answer, auditing, fetching};
use crate::types::{ChannelName, LogEpoch, Offset, OrgName};

/// Most logs that one link follows.
pub(super) const MAX_FOLLOWED: usize = 100_000;

impl Source {
    pub(super) async fn follow(
        &mut self,
        regions: &Regions,
        log: FollowLog,
    ) -> Result<FollowedLog, WireError> {
        let handle = log.handle;
        if self.followed.contains_key(&handle) {
            let text = format!("handle {handle} is in use");
            return Err(WireError::new(ErrorCode::InvalidRequest, text).with("handle", handle));
        }
        if self.followed.len() >= MAX_FOLLOWED {
            let text = format!("the link follows {MAX_FOLLOWED} logs, which is the limit");
            let error = WireError::new(ErrorCode::TooManyFollowed, text);
            return Err(error.with("limit", MAX_FOLLOWED));
        }
        let name = &log.name;
        self.check_consent(name, &log.orgs)?;
        let (id, is_home, log_start, flushed, epoch) = {
            let broker = self.shared.broker();
            let (id, is_home) = match broker.residence(name) {
                Residence::Home(id)
                    if !name.is_internal()
                        || Travelling::of(name).is_some()
                        || travel::is_of_agents(name) =>
                {
                    (id, true)
                }
                Residence::Copy(id, _)
                    if broker.copy_of(id).is_none_or(CopyOf::is_whole)
                        && regions.is_settled(&broker, id) =>
                {
                    (id, false)
                }
                Residence::Copy(_, home) => {
                    let channel = name.to_string();
                    let error = BrokerError::LivesElsewhere { channel, home };
                    return Err(answer::refused(&error));
                }
                _ => return Err(absent(name)),
            };
            let log = broker.storage().log(id).ok_or_else(|| absent(name))?;
            let (start, flushed) = (log.log_start(), log.flushed());
            (id, is_home, start, flushed, log.last_epoch())
        };
        let refused = |error: &BrokerError| answer::refused(error);
        let from = match log.from {
            FollowFrom::Offset(offset) => offset,
            FollowFrom::Since(Since::Start) => log_start,
            FollowFrom::Since(Since::End) => flushed,
            FollowFrom::Since(Since::Time(time)) => {
                let place = Place::Time(time);
                let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), 0);
                let found = fetching::run(&self.shared, &mut fetch).await;
                found
                    .map_err(|error| refused(&error))?
                    .head
                    .from
                    .min(flushed)
            }
        };
        let readable = |offset: Offset| offset >= log_start && offset < flushed;
        let (before, holds) = match log.last {
            Some(last) => {
                let at = from.0.checked_sub(1).map(Offset).filter(|at| readable(*at));
                let before = match at {
                    Some(at) => batch_at(&self.shared, name, id, at).await,
                    None => Ok(None),
                };
                (
                    before.map_err(|error| refused(&error))?,
                    (Before::Batch(last), None),
                )
            }
            None if log.last_epoch.is_some() => {
                let epoch = log.last_epoch.unwrap_or_default();
                (None, (Before::OwnGap(epoch), None))
            }
            None => {
                // A new copy begins with a whole batch.
                let holds = match readable(from) {
                    true => batch_at(&self.shared, name, id, from).await,
                    false => Ok(None),
                };
                (
                    None,
                    (Before::Nothing, holds.map_err(|error| refused(&error))?),
                )
            }
        };
        let (before_from, holds) = holds;
        let source = Has {
            incarnation: id,
            is_home,
            log_start,
            flushed,
            epoch,
            before,
        };
        let wanted = Wanted {
            incarnation: log.incarnation,
            from,
            before: before_from,
        };
        let from = check_follow(&source, &wanted, holds).map_err(|error| diverged(&error))?;
        if !is_home && from < log_start && Travelling::of(name).is_none() {
            return Err(lacks(from..log_start));
        }
        let waker: Arc<dyn Wake> = Arc::new(Grown {
            handle,
            ready: self.ready.clone(),
        });
        tracing::debug!(log = %id, %name, %from, region = %regions.name, "a log is followed");
        let followed = Followed {
            name: log.name,
            id,
            begins_at: log.begins_at.unwrap_or(from),
            next: from,
            said: None,
            waker,
            is_home,
            types: log.types,
            orgs: log.orgs,
            skipped: None,
        };
        self.followed.insert(handle, followed);
        self.places.followed(handle, id);
        self.ready.insert(handle);
        Ok(FollowedLog::Followed {
            handle,
            incarnation: id,
            from,
        })
    }

    /// The puller wants a log no longer, and may remove what it has of it.
    pub(super) fn unfollow_for_good(&mut self, handle: u32, regions: &Regions) {
        let id = self.followed.get(&handle).map(|followed| followed.id);
        if let (Some(id), Some(region)) = (id, &self.puller) {
            regions.held.forgets(id, region);
        }
        self.unfollow(handle);
    }

    /// Takes what the puller holds synced of each log.
    pub(super) fn take_held(&self, held: &[(u32, Offset)]) {
        let (Some(regions), Some(region)) = (&self.shared.regions, &self.puller) else {
            return;
        };
        if leaving::is_out(&self.shared.broker(), regions, region) {
            return;
        }
        for (handle, offset) in held {
            // A copy of some types does not hold what was passed over.
            let followed = self.followed.get(handle);
            if let Some(followed) = followed.filter(|it| it.types.is_none()) {
                let held = followed.begins_at..(*offset).min(followed.next);
                regions.held.says(followed.id, region, held);
            }
        }
    }

    /// Checks that who pulls may hold a channel, and that it may cross for one of those that ask for
    /// it there; a refusal is on the record.
    pub(super) fn check_consent(
        &self,
        name: &ChannelName,
        orgs: &BTreeSet<OrgName>,
    ) -> Result<(), WireError> {
        let Some(puller) = &self.puller else {
            return Ok(());
        };
        let mut broker = self.shared.broker();
        if broker.may_hold(name, puller) && broker.may_cross_for(name, orgs) {
            return Ok(());
        }
        let error = answer::refused(&BrokerError::NoConsent {
            channel: name.to_string(),
            region: puller.clone(),
        });
        auditing::Draft::of_copying(name, puller).refused(&mut broker, &Caller::LOCAL, &error);
        drop(broker);
        self.shared.wake_committer();
        tracing::warn!(channel = %name, region = %puller, "a region asked for what it may not hold");
        Err(error)
    }

    /// Has the logs looked at that who pulls may not hold any more: they are sent no further.
    pub(super) fn look_at_consent(&mut self) {
        let Some(puller) = &self.puller else { return };
        let broker = self.shared.broker();
        for (handle, followed) in &self.followed {
            let may_cross = broker.may_cross_for(&followed.name, &followed.orgs);
            if !broker.may_hold(&followed.name, puller) || !may_cross {
                self.ready.insert(*handle);
            }
        }
    }

    pub(super) fn unfollow(&mut self, handle: u32) {
        self.unsynced.remove(&handle);
        self.lingering.remove(&handle);
        self.backlog.remove(&handle);
        if let Some(followed) = self.followed.remove(&handle) {
            self.places.left(handle, followed.id);
            let mut broker = self.shared.broker();
            broker.forget_waiter(followed.id, &followed.waker);
        }
    }
}

fn absent(name: &ChannelName) -> WireError {
    answer::refused(&BrokerError::NoSuchChannel {
        name: name.to_string(),
    })
}

fn diverged(refusal: &FollowRefusal) -> WireError {
    let text = refusal.to_string();
    match refusal {
        FollowRefusal::Recreated { found, here } => {
            WireError::new(ErrorCode::ChannelRecreated, text)
                .with("expected", found.to_string())
                .with("actual", here.to_string())
        }
        FollowRefusal::HomeEndsBefore { from, end } => WireError::new(ErrorCode::Diverged, text)
            .with("offset", from.0)
            .with("end", end.0),
        FollowRefusal::SourceBehind { end, .. } => {
            WireError::new(ErrorCode::SourceBehind, text).with("end", end.0)
        }
        FollowRefusal::OtherBatch { from, .. } => {
            WireError::new(ErrorCode::Diverged, text).with("offset", from.0)
        }
        _ => WireError::new(ErrorCode::Diverged, text),
    }
}
