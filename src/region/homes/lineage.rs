//! Which batches belong to a log that has had several homes.

use std::ops::Range;

use super::state::Claim;
use crate::region::{HomeEpoch, Tenure};
use crate::types::{LogEpoch, Offset};

/// Batches of a copy that follow each other and have one log epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their epoch.
    pub epoch: LogEpoch,
    /// Their offsets.
    pub offsets: Range<Offset>,
}

/// What becomes of a copy under the claims that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it belongs to the log.
    Belongs,
    /// What lies from this offset on is a loser's.
    Cut(Offset),
    /// A claim, in between or newer than all others, is not known here yet.
    Unknown,
}

/// The claims from term 0 to the home now, each behind a batch of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// From the oldest known to the newest; empty while the log was never moved.
    claims: Vec<(Tenure, Offset)>,
    /// Whether the oldest stands behind a batch of term 0, or behind none.
    is_complete: bool,
}

impl Lineage {
    /// The chain that ends with the highest of some claims.
    pub(super) fn of<'a>(claims: impl Iterator<Item = (Tenure, &'a Claim)> + Clone) -> Self {
        let mut chain = Vec::new();
        let mut newest = claims.clone().max_by_key(|(tenure, _)| *tenure);
        let mut is_complete = true;
        while let Some((tenure, claim)) = newest {
            chain.push((tenure, claim.start));
            let before = HomeEpoch::of(claim.after).tenure;
            if before.term == 0 {
                break;
            }
            newest = claims.clone().find(|(tenure, _)| *tenure == before);
            is_complete = newest.is_some();
        }
        chain.reverse();
        Self {
            claims: chain,
            is_complete,
        }
    }

    /// Who is home now and from which offset on; `None` while the log was never moved.
    #[must_use]
    pub fn newest(&self) -> Option<(Tenure, Offset)> {
        self.claims.last().copied()
    }

    /// Judges what a copy holds.
    ///
    /// - `runs`: in order of their offsets.
    #[must_use]
    pub fn judge(&self, runs: &[Run]) -> Verdict {
        for run in runs {
            let tenure = HomeEpoch::of(run.epoch).tenure;
            let end = match self.end_of(tenure) {
                Some(end) => end,
                None if !self.is_complete && self.is_before_known(tenure) => {
                    return Verdict::Unknown;
                }
                // Only who has claimed it stamps it: the claim is still on its way here.
                None if self.is_behind_known(tenure) => return Verdict::Unknown,
                None => Some(run.offsets.start),
            };
            match end {
                Some(end) if run.offsets.end > end => {
                    return Verdict::Cut(end.max(run.offsets.start));
                }
                _ => {}
            }
        }
        Verdict::Belongs
    }

    /// Offset at which the batches of a tenure end; the inner `None` is that they go on, the outer
    /// that the tenure is not in the chain.
    fn end_of(&self, tenure: Tenure) -> Option<Option<Offset>> {
        let start = |at: usize| self.claims.get(at).map(|(_, start)| *start);
        if tenure.term == 0 {
            // Whatever the oldest known claim stands behind, term 0 ends at its start or earlier.
            return self.is_complete.then(|| start(0));
        }
        let at = self.claims.iter().position(|(one, _)| *one == tenure)?;
        Some(start(at + 1))
    }

    fn is_behind_known(&self, tenure: Tenure) -> bool {
        match self.claims.last() {
            Some((newest, _)) => tenure > *newest,
            None => tenure.term > 0,
        }
    }

    fn is_before_known(&self, tenure: Tenure) -> bool {
        self.claims
            .first()
            .is_none_or(|(oldest, _)| tenure < *oldest)
    }
}
