//! Who has rated an agent in which session: an opinion counts once.

use serde::{Deserialize, Serialize};

use crate::types::{AgentId, Offset, SessionId, Timestamp};

/// How long after a session began its ratings are known, in ms: 90 days. None is taken after
/// [`RATABLE_MS`], so that none is taken twice.
const KNOWN_MS: i64 = 90 * 24 * 3_600_000;

/// How long after a session began its participants rate each other, in ms: 60 days. A session is
/// over after 30.
pub const RATABLE_MS: i64 = 60 * 24 * 3_600_000;

/// A rating that an agent got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "(SessionId, AgentId, Offset, u16)",
    into = "(SessionId, AgentId, Offset, u16)"
)]
pub struct GivenRating {
    /// In which session.
    pub session: SessionId,
    /// By whom.
    pub by: AgentId,
    /// Offset of the record.
    pub offset: Offset,
    /// In thousandths.
    pub rating: u16,
}

impl From<(SessionId, AgentId, Offset, u16)> for GivenRating {
    fn from((session, by, offset, rating): (SessionId, AgentId, Offset, u16)) -> Self {
        Self {
            session,
            by,
            offset,
            rating,
        }
    }
}

impl From<GivenRating> for (SessionId, AgentId, Offset, u16) {
    fn from(of: GivenRating) -> Self {
        (of.session, of.by, of.offset, of.rating)
    }
}

/// The ratings that an agent got in sessions of the last time, by session and by who rated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RatedBy(Vec<GivenRating>);

impl RatedBy {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, session: SessionId, by: AgentId) -> Option<GivenRating> {
        self.place(session, by).ok().map(|at| self.0[at])
    }

    /// Takes a rating in, and lets those go of sessions that began too long ago.
    pub(super) fn insert(&mut self, rating: GivenRating, now: Timestamp) {
        if let Err(at) = self.place(rating.session, rating.by) {
            self.0.insert(at, rating);
        }
        let is_known = |one: &GivenRating| began(one.session).saturating_add(KNOWN_MS) >= now.0;
        let first = self.0.iter().position(is_known).unwrap_or(self.0.len());
        self.0.drain(..first);
    }

    /// Whether they are in their order, each once.
    pub(super) fn is_ascending(&self) -> bool {
        let key = |one: &GivenRating| (one.session, one.by);
        self.0.windows(2).all(|two| key(&two[0]) < key(&two[1]))
    }

    fn place(&self, session: SessionId, by: AgentId) -> Result<usize, usize> {
        let wanted = (session, by);
        self.0
            .binary_search_by(|one| (one.session, one.by).cmp(&wanted))
    }
}

/// When a session began, by its id, which the broker made: ms since 1970.
fn began(session: SessionId) -> i64 {
    i64::try_from(session.0 >> 80).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rating(began: u64, by: u128) -> GivenRating {
        GivenRating {
            session: SessionId(u128::from(began) << 80 | 7 << 76),
            by: AgentId(by),
            offset: Offset(began),
            rating: 500,
        }
    }

    #[test]
    fn a_rating_is_known_for_as_long_as_it_could_be_given_again() {
        let mut rated = RatedBy::default();
        let all = [rating(5, 2), rating(5, 1), rating(9, 1)];
        all.iter().for_each(|one| rated.insert(*one, Timestamp(10)));
        assert!(rated.is_ascending());
        for one in all {
            assert_eq!(rated.find(one.session, one.by), Some(one));
        }
        assert_eq!(rated.find(all[2].session, AgentId(2)), None);
        let json = serde_json::to_string(&rated).unwrap();
        assert_eq!(serde_json::from_str::<RatedBy>(&json).unwrap(), rated);
        let late = rating(4_000_000_000, 1);
        rated.insert(late, Timestamp(6 + KNOWN_MS));
        assert_eq!(rated.0, [all[2], late]);
        const { assert!(RATABLE_MS < KNOWN_MS) };
    }
}
