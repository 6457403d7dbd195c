//! The steps of a move, judged before they are recorded.

use super::event::{Declined, Fenced, HomeEvent, Missing, Taken};
use super::lineage::{Run, Verdict};
use super::state::{Fence, Homes};
use crate::region::{LogName, MAX_TERM};
use crate::types::{Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// Which log is moved, and who speaks.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The log.
    pub log: &'a LogName,
    /// Its life.
    pub incarnation: Incarnation,
    /// The region that the directory says it was made in.
    pub made_in: &'a RegionName,
    /// The region that takes the step.
    pub me: &'a RegionName,
    /// When.
    pub at: Timestamp,
}

/// What the target of a move has of the log.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Its log end; all below is synced.
    pub end: Offset,
    /// Runs of epochs that it has, in order; what is trimmed need not be there.
    pub runs: &'a [Run],
}

/// Why a step of a move is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Only the home can be fenced.
    #[error("`{home}` is home, and not `{me}`")]
    NotHome {
        /// The home.
        home: RegionName,
        /// Who is asked.
        me: RegionName,
    },
    /// The home is the target already.
    #[error("`{home}` is home already")]
    IsHome {
        /// The home.
        home: RegionName,
    },
    /// The home has stopped writing for another target, which has to decline first.
    #[error("the log is being moved to `{to}`")]
    Moving {
        /// The other target.
        to: RegionName,
    },
    /// The home has not stopped writing for this region.
    #[error("the home `{home}` has not stopped writing for a move to `{me}`")]
    NotFenced {
        /// The home.
        home: RegionName,
        /// Who wants to take over.
        me: RegionName,
    },
    /// The copy has less than the home.
    #[error("the copy ends at {held}, the home has stopped at {end}")]
    NotDrained {
        /// The copy's end.
        held: Offset,
        /// The home's.
        end: Offset,
    },
    /// The copy holds records of a home that has lost.
    #[error("the copy is not of this log from offset {from} on")]
    OtherLineage {
        /// First such record.
        from: Offset,
    },
    /// A claim is not known here yet, so nobody can say what the copy is worth.
    #[error("a home in between is not known here yet")]
    UnknownLineage,
    /// No term is left.
    #[error("the log has been moved {MAX_TERM} times, which is the limit")]
    NoTerm,
}

impl Homes {
    /// The event with which the home stops writing for a move to `to`. Asked again for the same
    /// target while it stands, there is nothing to record: `None`.
    ///
    /// - `end`: its log end, all of it synced.
    ///
    /// # Errors
    /// [`MoveError::NotHome`], [`MoveError::IsHome`], [`MoveError::Moving`], [`MoveError::NoTerm`].
    pub fn fence(
        &self,
        step: Move<'_>,
        to: &RegionName,
        end: Offset,
    ) -> Result<Option<HomeEvent>, MoveError> {
        let home = self.home(step.incarnation, step.made_in);
        if home.region != *step.me {
            let me = step.me.clone();
            return Err(MoveError::NotHome {
                home: home.region,
                me,
            });
        }
        if to == step.me {
            return Err(MoveError::IsHome { home: home.region });
        }
        match home.moving {
            Some(fence) if fence.to == *to => return Ok(None),
            Some(fence) => return Err(MoveError::Moving { to: fence.to }),
            None => {}
        }
        Ok(Some(HomeEvent::Fenced(Fenced {
            incarnation: step.incarnation,
            log: step.log.clone(),
            term: home.tenure.term,
            end,
            to: to.clone(),
            next: self.next_term(step.incarnation)?,
            at: step.at,
        })))
    }

    /// The event with which the target of a planned move becomes home.
    ///
    /// # Errors
    /// [`MoveError`] where the home has not stopped for it, or its copy is not exactly what the
    /// home has.
    pub fn take(&self, step: Move<'_>, held: Held<'_>) -> Result<HomeEvent, MoveError> {
        let fence = self.fence_for(&step)?;
        if held.end != fence.end {
            return Err(MoveError::NotDrained {
                held: held.end,
                end: fence.end,
            });
        }
        self.belongs(&step, held.runs)?;
        Ok(taken(&step, held, fence.next, None))
    }

    /// The event with which a region becomes home without the home before, which is gone.
    ///
    /// - `seen`: the highest flushed offset of the home that this region or a peer ever saw.
    ///
    /// # Errors
    /// [`MoveError`] where it is home already, or its copy is of a loser.
    pub fn take_by_force(
        &self,
        step: Move<'_>,
        held: Held<'_>,
        seen: Option<Offset>,
    ) -> Result<HomeEvent, MoveError> {
        let home = self.home(step.incarnation, step.made_in);
        if home.region == *step.me {
            return Err(MoveError::IsHome { home: home.region });
        }
        self.belongs(&step, held.runs)?;
        let missing = Missing {
            from: held.end,
            to: seen.map(|seen| seen.max(held.end)),
        };
        let term = self.next_term(step.incarnation)?;
        Ok(taken(&step, held, term, Some(missing)))
    }

    /// The event with which the target of a planned move gives it up.
    ///
    /// # Errors
    /// [`MoveError::NotFenced`] where there is no such move.
    pub fn decline(&self, step: Move<'_>) -> Result<HomeEvent, MoveError> {
        let fence = self.fence_for(&step)?;
        Ok(HomeEvent::Declined(Declined {
            incarnation: step.incarnation,
            log: step.log.clone(),
            term: fence.next,
            at: step.at,
        }))
    }

    fn fence_for(&self, step: &Move<'_>) -> Result<Fence, MoveError> {
        let home = self.home(step.incarnation, step.made_in);
        let fence = home.moving.filter(|fence| fence.to == *step.me);
        fence.ok_or_else(|| MoveError::NotFenced {
            home: home.region,
            me: step.me.clone(),
        })
    }

    fn belongs(&self, step: &Move<'_>, runs: &[Run]) -> Result<(), MoveError> {
        match self.lineage(step.incarnation).judge(runs) {
            Verdict::Belongs => Ok(()),
            Verdict::Cut(from) => Err(MoveError::OtherLineage { from }),
            Verdict::Unknown => Err(MoveError::UnknownLineage),
        }
    }

    /// A term above every one that is known of a log.
    fn next_term(&self, log: Incarnation) -> Result<u32, MoveError> {
        let terms = self.of(log).map(|(_, said)| {
            let fenced = said.fence.as_ref().map_or(0, |fence| fence.next);
            said.spent.max(fenced)
        });
        let highest = terms.max().unwrap_or(0);
        if highest >= MAX_TERM {
            return Err(MoveError::NoTerm);
        }
        Ok(highest + 1)
    }

    /// Whether a region may append now: it is home, and has not stopped for a move.
    #[must_use]
    pub fn may_append(&self, log: Incarnation, made_in: &RegionName, me: &RegionName) -> bool {
        let home = self.home(log, made_in);
        home.region == *me && home.moving.is_none()
    }
}

fn taken(step: &Move<'_>, held: Held<'_>, term: u32, missing: Option<Missing>) -> HomeEvent {
    HomeEvent::Taken(Taken {
        incarnation: step.incarnation,
        log: step.log.clone(),
        term,
        start: held.end,
        after: held.runs.last().map_or(LogEpoch(0), |run| run.epoch),
        forced: missing.is_some(),
        missing,
        at: step.at,
    })
}
