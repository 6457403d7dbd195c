//! How much of the disk is left, and who may still write to it.
//!
//! ```text
//!   left   ├──── nobody new ────┤ reserve ├──── the broker's own records ────┤ min_free ├── everybody ──▶
//! ```
//! Left is what the last look found free, less everything staged that no segment held then or
//! holds since: a fast writer can't run through a margin between two looks. What frees space is
//! taken at any time: it needs room in the journal only, whose files are as long as they get.

use super::error::{IoFailure, Shortage};

/// Who asks for an entry's space, and so how low the disk may be for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A producer's records, and channels for them: they leave `min_free_bytes`.
    Producer,
    /// The broker's own records, such as a consumer's position: they leave `reserve_bytes`.
    Own,
    /// A record after which space is freed, such as a deletion.
    Freeing,
}

/// The disk's space in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceInfo {
    /// Bytes free at the last look; `None` where that could not be told.
    pub free: Option<u64>,
    /// Bytes free at the last look that found out, less what was staged and is still to be
    /// written; `None` before one.
    pub left: Option<u64>,
    /// Bytes that producers leave.
    pub limit: u64,
}

/// What is known of the disk's space.
#[derive(Debug)]
pub(super) struct Space {
    min_free: u64,
    reserve: u64,
    /// What the last look found.
    looked: Option<u64>,
    /// Bytes staged since the last look that found something.
    staged: u64,
    /// Bytes that may still be staged; `None` before a look found something.
    left: Option<u64>,
    is_low: bool,
    is_spent: bool,
    /// The disk refused a write since the last look that found space.
    is_refused: bool,
    /// A round waits for space.
    is_stuck: bool,
    /// The journal has a single file: bytes that must be free for the one without which it takes no
    /// more.
    ring_needs: Option<u64>,
    /// The log says that producers are turned away.
    is_told: bool,
}

/// How a mark is left again: a quarter above it, so that nothing flaps in between.
fn reopening(mark: u64) -> u64 {
    mark + mark / 4
}

/// Whether a mark is passed downwards at `left`, given whether it was before.
fn is_below(left: u64, mark: u64, was_below: bool) -> bool {
    left < mark || was_below && left < reopening(mark)
}

impl Space {
    /// Space of which nothing is known yet.
    ///
    /// - `reserve`: counts at most as much as `min_free`.
    pub fn new(min_free: u64, reserve: u64) -> Self {
        Self {
            min_free,
            reserve: reserve.min(min_free),
            looked: None,
            staged: 0,
            left: None,
            is_low: false,
            is_spent: false,
            is_refused: false,
            is_stuck: false,
            ring_needs: None,
            is_told: false,
        }
    }

    /// Books a look at the disk.
    ///
    /// - `available`: bytes that are free, or `None` where the operating system did not say. Then
    ///   what was left keeps shrinking with what is staged, and what is freed is not seen.
    /// - `unwritten`: bytes that are staged and that no segment holds yet.
    pub fn look(&mut self, available: Option<u64>, unwritten: u64) {
        self.looked = available;
        let Some(available) = available else {
            return;
        };
        let left = available.saturating_sub(unwritten);
        self.staged = 0;
        self.left = Some(left);
        if self.is_refused && left >= reopening(self.min_free) {
            self.is_refused = false;
        }
        self.judge(left);
    }

    fn judge(&mut self, left: u64) {
        self.is_low = is_below(left, self.min_free, self.is_low);
        self.is_spent = is_below(left, self.reserve, self.is_spent);
        self.tell();
    }

    /// Writes into the log that producers are turned away from now on, or let in again.
    fn tell(&mut self) {
        if self.is_full() == self.is_told {
            return;
        }
        self.is_told = !self.is_told;
        let Shortage {
            free: left, limit, ..
        } = self.shortage(self.min_free);
        if self.is_told {
            tracing::warn!(?left, limit, "the disk is full: writers are turned away");
        } else {
            tracing::warn!(?left, limit, "the disk has space again: writers are let in");
        }
    }

    /// Books bytes that were staged.
    pub fn staged(&mut self, bytes: u64) {
        self.staged += bytes;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes);
            let left = *left;
            self.judge(left);
        }
    }

    /// Whether so much was staged since the last look that another is due before its time.
    pub fn wants_look(&self) -> bool {
        let margin = self.left.unwrap_or(0).saturating_sub(self.min_free);
        self.left.is_some() && !self.is_low && self.staged > margin / 4
    }

    /// Books that the disk refused a write for want of space.
    pub fn refused(&mut self, failure: &IoFailure) {
        if !self.is_full() {
            tracing::warn!(%failure, "the disk is full: writers are turned away");
            self.is_told = true;
        }
        self.is_refused = true;
    }

    /// Books that a round waits for space, or no longer does.
    pub fn set_stuck(&mut self, is_stuck: bool) {
        self.is_stuck = is_stuck;
        self.tell();
    }

    /// Books that the journal takes no more without another file, and how much must be free for that;
    /// or that it does.
    pub fn set_ring_needs(&mut self, bytes: Option<u64>) {
        self.ring_needs = bytes;
        self.tell();
    }

    /// Books a write that took space: where nobody knows how much there is, it is the only sign
    /// that there is some.
    pub fn written(&mut self) {
        if self.left.is_none() {
            self.is_refused = false;
            self.tell();
        }
    }

    /// Books that a producer was turned away: all of them are, until the next look finds enough.
    pub fn turned_away(&mut self) {
        self.is_low |= self.left.is_some();
        self.tell();
    }

    /// Whether producers are turned away.
    pub fn is_full(&self) -> bool {
        self.is_low || self.is_refused || self.is_stuck || self.ring_needs.is_some()
    }

    /// Whether an entry of so many bytes may be staged.
    pub fn check(&self, bytes: u64, need: Need) -> Result<(), Shortage> {
        let mark = match need {
            Need::Freeing => return Ok(()),
            Need::Producer => self.min_free,
            Need::Own => self.reserve,
        };
        let is_refused = match need {
            Need::Producer => self.is_full(),
            // After a refused write the looks tell whether the reserve is still there.
            _ => {
                let is_held = self.is_stuck || self.ring_needs.is_some();
                self.is_spent || is_held || self.is_refused && self.left.is_none()
            }
        };
        let would_leave = self.left.map(|left| left.checked_sub(bytes));
        if is_refused || would_leave.is_some_and(|left| left.is_none_or(|left| left < mark)) {
            return Err(self.shortage(mark));
        }
        Ok(())
    }

    /// Whether the journal may take another file of so many bytes and leave writers their space.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        !self.is_full() && self.check(bytes, Need::Producer).is_ok()
    }

    /// Whether the journal may take a file of so many bytes that it needs: it leaves the reserve. Where
    /// nobody knows how much there is, it may try.
    pub fn leaves_reserve(&self, bytes: u64) -> Result<(), Shortage> {
        let limit = self.reserve.saturating_add(bytes);
        match self.left {
            Some(free) if free < limit => Err(Shortage {
                free: Some(free),
                limit,
                reopens: limit,
            }),
            _ => Ok(()),
        }
    }

    /// What producers are told while they are turned away.
    pub fn producers_shortage(&self) -> Option<Shortage> {
        self.is_full().then(|| self.shortage(self.min_free))
    }

    fn shortage(&self, mark: u64) -> Shortage {
        let needed = self.ring_needs.unwrap_or(0);
        Shortage {
            free: self.left,
            limit: mark.max(needed),
            reopens: reopening(mark).max(needed),
        }
    }

    /// What is known of the disk's space.
    pub fn info(&self) -> SpaceInfo {
        SpaceInfo {
            free: self.looked,
            left: self.left,
            limit: self.min_free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn space(available: u64) -> Space {
        let mut space = Space::new(64 * KIB, 16 * KIB);
        space.look(Some(available), 0);
        space
    }

    fn may(space: &Space, bytes: u64) -> [bool; 3] {
        [Need::Producer, Need::Own, Need::Freeing].map(|need| space.check(bytes, need).is_ok())
    }

    #[test]
    fn each_need_has_its_mark() {
        assert_eq!(may(&space(100 * KIB), 10 * KIB), [true, true, true]);
        assert_eq!(may(&space(70 * KIB), 10 * KIB), [false, true, true]);
        assert_eq!(may(&space(30 * KIB), 10 * KIB), [false, true, true]);
        assert_eq!(may(&space(20 * KIB), 10 * KIB), [false, false, true]);
        assert_eq!(may(&space(0), 10 * KIB), [false, false, true]);
    }

    #[test]
    fn a_file_that_the_journal_needs_leaves_the_reserve() {
        assert!(space(47 * KIB).leaves_reserve(32 * KIB).is_err());
        assert!(space(48 * KIB).leaves_reserve(32 * KIB).is_ok());
        assert!(
            Space::new(64 * KIB, 16 * KIB)
                .leaves_reserve(1 << 40)
                .is_ok()
        );
        let mut space = space(100 * KIB);
        space.staged(60 * KIB);
        let short = space.leaves_reserve(32 * KIB).unwrap_err();
        assert_eq!((short.free, short.limit), (Some(40 * KIB), 48 * KIB));
    }

    #[test]
    fn a_ring_that_is_too_short_turns_all_away_but_what_frees_space() {
        let mut space = space(1 << 30);
        space.set_ring_needs(Some(2 << 30));
        space.look(Some(1 << 30), 0);
        assert_eq!(may(&space, 1), [false, false, true]);
        assert_eq!(space.producers_shortage().unwrap().limit, 2 << 30);
        space.set_ring_needs(None);
        assert_eq!(may(&space, 1), [true, true, true]);
    }

    #[test]
    fn a_mark_is_left_a_quarter_above_it() {
        let mut space = space(63 * KIB);
        for (available, is_full) in [(70, true), (79, true), (80, false), (65, false), (63, true)] {
            space.look(Some(available * KIB), 0);
            assert_eq!(space.is_full(), is_full, "at {available} KiB");
        }
    }

    #[test]
    fn what_is_staged_between_two_looks_counts_at_once() {
        let mut space = space(100 * KIB);
        let mut taken = 0;
        while space.check(KIB, Need::Producer).is_ok() {
            space.staged(KIB);
            taken += 1;
        }
        assert_eq!(taken, 36, "down to the mark and not below it");
        assert!(space.check(KIB, Need::Own).is_ok());
        // The look finds the bytes gone that were written, and counts those that wait.
        space.look(Some(90 * KIB), 26 * KIB);
        assert!(space.check(KIB, Need::Producer).is_err());
    }

    #[test]
    fn a_look_is_due_before_its_time_when_a_quarter_of_the_margin_was_staged() {
        let mut space = space(104 * KIB);
        assert!(!space.wants_look());
        space.staged(5 * KIB);
        assert!(!space.wants_look());
        space.staged(6 * KIB);
        assert!(space.wants_look());
        space.look(Some(100 * KIB), 7 * KIB);
        assert!(!space.wants_look());
    }

    #[test]
    fn a_look_that_failed_changes_nothing_and_what_is_staged_still_counts() {
        let mut space = space(100 * KIB);
        space.look(None, 0);
        space.staged(40 * KIB);
        assert!(space.is_full());
        space.look(None, 0);
        assert!(space.is_full());
        space.look(Some(100 * KIB), 0);
        assert!(!space.is_full());
    }

    #[test]
    fn where_nobody_knows_the_space_only_a_refused_write_counts() {
        let mut space = Space::new(64 * KIB, 16 * KIB);
        assert_eq!(may(&space, 1 << 40), [true, true, true]);
        let refusal = std::io::Error::from_raw_os_error(28);
        space.refused(&IoFailure::new(
            "writing",
            std::path::Path::new("a"),
            refusal,
        ));
        assert_eq!(may(&space, 1), [false, false, true]);
        space.written();
        assert_eq!(may(&space, 1), [true, true, true]);
    }

    #[test]
    fn a_round_that_waits_for_space_turns_all_away_whatever_a_look_finds() {
        let mut space = space(1 << 30);
        space.set_stuck(true);
        space.look(Some(1 << 30), 0);
        assert_eq!(may(&space, 1), [false, false, true]);
        space.set_stuck(false);
        assert_eq!(may(&space, 1), [true, true, true]);
    }
}
