//! The constants of `trust/1`. To change one is to make another projection with another name: a
//! score is the same for everybody who reads the same records. How each was found:
//! docs/decisions/2026-11-26-trust-1.md.

/// One whole: a piece of evidence of full weight, a credibility of 1.
pub(super) const ONE: u64 = 1 << 16;

/// Scores, rates and shares are told in millionths.
pub(super) const MILLION: u64 = 1_000_000;

/// Name of the rules by which scores are computed. Other rules have another name.
pub const PROJECTION: &str = "trust/1";

/// Half-life of evidence where the clock records say nothing else: 30 days.
pub const DEFAULT_HALF_LIFE_HOURS: u32 = 720;

/// Longest half-life: ten years.
pub const MAX_HALF_LIFE_HOURS: u32 = 87_600;

/// Endorsements that count for one agent.
pub const MAX_ENDORSEMENTS: usize = 50;

/// Least score of an endorser, in millionths.
pub(super) const ENDORSER_FLOOR: u32 = 300_000;

/// Weight of a breach, or of a dispute upheld, by severity 1 to 5.
pub(super) const SEVERITY: [u64; 5] = [ONE, 2 * ONE, 4 * ONE, 8 * ONE, 16 * ONE];

/// Weight of a rating: an opinion counts half of what a commitment does.
pub(super) const RATING: u64 = ONE / 2;

/// What one organisation's evidence about one agent comes to at most, where it is credible in full.
pub(super) const SATURATION: u64 = 10 * ONE;

/// Square of the quantile of the lower bound, in thousandths.
pub(super) const QUANTILE_SQUARED: u64 = 1_500;

/// Square of the quantile by which an opinion is an outlier, in thousandths.
pub(super) const OUTLIER_QUANTILE_SQUARED: u64 = 4_000;

/// Mutual successes from which on two organisations vouch for each other no longer.
pub(super) const MUTUAL: u64 = 8 * ONE;

/// Most credibility of an organisation that no operator verified.
pub(super) const EARNED_CREDIBILITY: u64 = ONE * 9 / 10;

/// Custom that gives half of that.
pub(super) const HALF_CREDIBLE: u64 = 2 * ONE;

/// What an organisation that is not verified can hand on to all others together.
pub(super) const HANDED_ON: u64 = 2 * ONE;

/// Credibility below this is none, so that what is split among many is lost.
pub(super) const CREDIBLE: u64 = ONE / 20;

/// Unfounded disputes that halve a filer's credibility.
pub(super) const HALF_SPITEFUL: u64 = 10 * ONE;

/// Evidence below which an agent bears the failures of its organisation's other agents.
pub(super) const SETTLED: u64 = 10 * ONE;

/// Failures that a newcomer bears at most for its organisation.
pub(super) const INHERITED: u64 = 3 * ONE;

/// Hours after which credibility is computed again in any case.
pub(super) const STALE_HOURS: u32 = 24;

/// A pair of organisations is looked at again for so many changes.
pub(super) const EDGES_A_CHANGE: u64 = 16;

/// How many times faster the recent past decays than the rest.
pub(super) const RECENT_PACE: u64 = 8;

/// Successes that the recent past is given beside what it shows.
pub(super) const RECENT_CREDIT: u64 = 3 * ONE;

/// A failure of the recent past counts so much more than a success, in quarters.
pub(super) const RECENT_LOSS_QUARTERS: u64 = 5;
