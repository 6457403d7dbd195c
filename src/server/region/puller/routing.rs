//! Which of several links follows a log: what each does at its turn, and why it leaves one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ended, Session};
use crate::broker::Residence;
use crate::protocol::region::LinkLog;
use crate::protocol::{ErrorCode, Response, WireError};
use crate::region::interest::Wish;
use crate::region::routes::{Refusal, Turn};
use crate::server::clock;
use crate::server::region::{following, travel};
use crate::types::{Incarnation, Offset, RegionName};

/// A copy that was stopped is followed again after this, doubled each time.
const STOPPED: Duration = Duration::from_secs(1);
const LONGEST_STOPPED: Duration = Duration::from_secs(60);
/// A peer that has less than the copy is asked again after this.
const BEHIND: Duration = Duration::from_secs(2);
/// How often a peer is asked what it has while a log is pulled from another one than its home.
const LOOK: Duration = Duration::from_secs(2);

impl Session<'_> {
    /// What this link is to do with a log now.
    ///
    /// - `handle`: where it is followed on this link.
    pub(super) fn turn(&mut self, log: &LinkLog, handle: Option<u32>) -> Turn {
        if log.home == self.regions.name {
            return Turn::Wait;
        }
        if travel::is_other_directory(&self.shared.broker(), self.regions, log) {
            return handle.map_or(Turn::Wait, |_| Turn::Leave);
        }
        if travel::is_spare_directory(&self.shared.broker(), &self.peer.name, log) {
            return Turn::Wait;
        }
        // A log that was moved is followed where it is known to live, and once it is known what of it
        // is here.
        if !following::may_follow(&self.shared.broker(), self.regions, log)
            || self.regions.is_stopped(log.incarnation)
            || self.regions.is_replaced(log.incarnation)
        {
            return handle.map_or(Turn::Wait, |_| Turn::Leave);
        }
        let is_home = log.home == self.peer.name;
        // What was refused is not tried again before its time.
        if self
            .stopped
            .get(&log.name)
            .is_some_and(|(at, _)| at.is_some())
        {
            return Turn::Wait;
        }
        let (home, next) = {
            let broker = self.shared.broker();
            match broker.residence(&log.name) {
                Residence::Unknown => (log.home.clone(), Offset(0)),
                Residence::Copy(id, home) if id == log.incarnation => {
                    let place = broker.copy_place(id);
                    (home, place.map_or(Offset(0), |place| place.next))
                }
                // Only its home can say that it is another one.
                _ if is_home => (log.home.clone(), Offset(0)),
                _ => return Turn::Wait,
            }
        };
        let is_idle = handle.is_some_and(|handle| self.idle.contains(&handle));
        let mut routes = self.regions.routes();
        routes.turn(&self.peer.name, log.incarnation, &home, next, is_idle)
    }

    /// What was refused for long enough may be tried again.
    pub(super) fn forgive_due(&mut self) {
        let now = Instant::from_std(clock::instant());
        let mut routes = self.regions.routes();
        for (name, (at, _)) in &mut self.stopped {
            if at.is_none_or(|at| at > now) {
                continue;
            }
            *at = None;
            if let Some(log) = self.known.get(name) {
                routes.forgiven(&self.peer.name, log.incarnation);
            }
        }
    }

    /// Tells all links what the peer of this one has.
    pub(super) fn tell_list(&self) {
        let offers = self.known.values();
        let offers = offers.map(|log| (log.incarnation, log.home.clone(), log.flushed));
        self.regions.routes().listed(&self.peer.name, offers);
        self.regions.tell_routed();
    }

    /// Takes what the peer has now. What has brought nothing since the last time may be left for
    /// another link.
    pub(super) async fn looked(&mut self, answer: Response) -> Result<(), Ended> {
        self.learn(answer).await?;
        self.idle = self.copying.keys().copied().collect();
        Ok(())
    }

    /// Plans the next look at what the peer has, where it might serve better than who does.
    pub(super) fn plan_look(&mut self) {
        let is_due = self.regions.peers().len() > 1 && {
            let routes = self.regions.routes();
            let mut known = self.known.values();
            known.any(|log| {
                let source: Option<&RegionName> = routes.source(log.incarnation);
                log.home != self.peer.name && source.is_some_and(|source| *source != log.home)
            })
        };
        self.look_at = match (is_due, self.look_at) {
            (false, _) => None,
            (true, Some(at)) if at > Instant::from_std(clock::instant()) => Some(at),
            (true, _) => Some(Instant::from_std(clock::instant()) + LOOK),
        };
    }

    /// Notes that a copy has grown on this link.
    pub(super) fn grown(&mut self, handle: u32) {
        self.holding.grown(handle);
        self.idle.remove(&handle);
    }

    /// The log of a handle, as the peer has it.
    pub(super) fn log_of(&self, handle: u32) -> Option<LinkLog> {
        let copying = self.copying.get(&handle)?;
        let known = self.known.get(&copying.name);
        known.filter(|log| log.incarnation == copying.id).cloned()
    }

    /// Record types that have to cross for a copy to be what it is and what is wanted of it.
    pub(super) fn types(&self, id: Incarnation, wish: &Wish) -> Option<BTreeSet<String>> {
        let broker = self.shared.broker();
        let Some(copy) = broker.copy_of(id) else {
            return wish.types.clone();
        };
        let (of_copy, wanted) = (copy.types.as_ref()?, wish.types.as_ref()?);
        Wish::types_that_cross(Some(of_copy.union(wanted).cloned().collect()))
    }

    /// Notes that the peer does not go on with a log.
    ///
    /// - `id`: the copy that is to show it.
    pub(super) fn refused(&mut self, log: &LinkLog, id: Incarnation, error: &WireError) {
        let refusal = match error.known() {
            Some(ErrorCode::Diverged | ErrorCode::ChannelRecreated) => Refusal::Differs,
            Some(ErrorCode::SourceBehind) => {
                return self.hold_for(log, BEHIND, Refusal::Passing);
            }
            _ => Refusal::Passing,
        };
        let text = format!("{}: {}", error.name, error.message);
        if error.known() == Some(ErrorCode::Diverged) {
            following::diverged(self.shared, self.regions, id);
        }
        self.hold(log, id, &text, refusal);
    }

    /// Notes why a log is not followed, and when it is tried again.
    ///
    /// - `id`: the copy that is to show it.
    pub(super) fn hold(&mut self, log: &LinkLog, id: Incarnation, text: &str, refusal: Refusal) {
        let times = self.stopped.get(&log.name).map_or(0, |(_, times)| *times);
        let wait = STOPPED
            .saturating_mul(1 << times.min(6))
            .min(LONGEST_STOPPED);
        self.hold_for(log, wait, refusal);
        let (peer, name) = (&self.peer.name, &log.name);
        tracing::warn!(%peer, channel = %name, error = text, "a copy is stopped");
        following::refused(self.shared, self.regions, id, text);
        // Another link may follow it meanwhile.
        if self.regions.routes().source(id).is_none() {
            self.regions.copy_state(id, |state| {
                state.source = Some(peer.clone());
                state.is_followed = false;
                state.error = Some(text.to_owned());
            });
        }
    }

    fn hold_for(&mut self, log: &LinkLog, wait: Duration, refusal: Refusal) {
        let times = self.stopped.get(&log.name).map_or(0, |(_, times)| *times);
        let at = Instant::from_std(clock::instant()) + wait;
        self.stopped
            .insert(log.name.clone(), (Some(at), times.saturating_add(1)));
        let mut routes = self.regions.routes();
        routes.refused(&self.peer.name, log.incarnation, refusal);
        drop(routes);
        self.regions.tell_routed();
        self.regions.copy_state(log.incarnation, |state| {
            if state.is_of(&self.peer.name) {
                state.is_followed = false;
            }
        });
    }
}
