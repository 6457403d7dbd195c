//! Whether a source may go on where a copy ends.

use super::cursor::BatchMark;
use crate::types::{Incarnation, LogEpoch, Offset};

/// What a copy has before the offset it wants to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It is new and has nothing.
    Nothing,
    /// This batch.
    Batch(BatchMark),
    /// A gap of the copy's own, which the source does not have; it ends with this epoch.
    OwnGap(LogEpoch),
}

/// What a copy asks its source for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The log it must be; `None` where the copy is new.
    pub incarnation: Option<Incarnation>,
    /// The next offset.
    pub from: Offset,
    /// What the copy has before it.
    pub before: Before,
}

/// What a source has of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The log.
    pub incarnation: Incarnation,
    /// Whether it is the log's home, so that nobody can have more.
    pub is_home: bool,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below is synced.
    pub flushed: Offset,
    /// Epoch of the log.
    pub epoch: LogEpoch,
    /// The batch that holds the offset before [`Wanted::from`]; `None` where it is trimmed, or
    /// there is none.
    pub before: Option<BatchMark>,
}

/// Why a source does not go on from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowRefusal {
    /// The channel was made anew.
    #[error("incarnation {found} is wanted, the log is {here}")]
    Recreated {
        /// The one asked for.
        found: Incarnation,
        /// The log's.
        here: Incarnation,
    },
    /// The copy has more than its home: the home was restored from a backup, or lost what it had
    /// synced.
    #[error("the copy goes on at {from}, and its home ends at {end}")]
    HomeEndsBefore {
        /// Where the copy goes on.
        from: Offset,
        /// Synced at home.
        end: Offset,
    },
    /// A source that is a copy itself has less; another one may have more.
    #[error("{from} is wanted, and this copy ends at {end}")]
    SourceBehind {
        /// Where the copy goes on.
        from: Offset,
        /// Synced here.
        end: Offset,
    },
    /// The two hold different batches there.
    #[error("the batch before {from} is another one here")]
    OtherBatch {
        /// Where the copy goes on.
        from: Offset,
        /// What the source has.
        here: BatchMark,
    },
    /// The copy ends with an epoch that the log never had.
    #[error("the copy ends with epoch {found}, the log is in {here}")]
    EpochAhead {
        /// The copy's.
        found: LogEpoch,
        /// The log's.
        here: LogEpoch,
    },
}

/// The offset from which the source goes on.
///
/// A new copy begins with a whole batch, so from the base of the one that holds its first offset:
/// the caller gives that batch as `holds`, where there is one.
///
/// # Errors
/// [`FollowRefusal`] where what the copy has is not what the source has.
pub fn check_follow(
    source: &Source,
    wanted: &Wanted,
    holds: Option<BatchMark>,
) -> Result<Offset, FollowRefusal> {
    let from = wanted.from;
    if let Some(found) = wanted.incarnation
        && found != source.incarnation
    {
        let here = source.incarnation;
        return Err(FollowRefusal::Recreated { found, here });
    }
    if from > source.flushed {
        let end = source.flushed;
        return Err(if source.is_home {
            FollowRefusal::HomeEndsBefore { from, end }
        } else {
            FollowRefusal::SourceBehind { from, end }
        });
    }
    match (wanted.before, source.before) {
        (Before::Nothing, _) => return Ok(holds.map_or(from, |batch| batch.base)),
        (Before::Batch(mark), Some(here)) if mark != here => {
            return Err(FollowRefusal::OtherBatch { from, here });
        }
        (Before::Batch(BatchMark { epoch, .. }) | Before::OwnGap(epoch), _)
            if epoch > source.epoch =>
        {
            let here = source.epoch;
            return Err(FollowRefusal::EpochAhead { found: epoch, here });
        }
        _ => {}
    }
    Ok(from)
}
