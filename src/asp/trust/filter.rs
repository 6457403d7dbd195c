//! Opinions that stand alone. What the clock saw is not looked at here: it is never left out, and
//! has no say in what is.

use super::settings::{MILLION, ONE, OUTLIER_QUANTILE_SQUARED};
use super::wilson::upper_bound;

/// What one organisation thinks of an agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opinion {
    /// Index among those that are compared.
    pub(super) index: usize,
    /// Number of the organisation; orders what is alike otherwise.
    pub(super) org: u32,
    /// Its credibility.
    pub(super) credibility: u64,
    /// Weight of what it says in favour, and against in opinions.
    pub(super) good: u64,
    pub(super) blame: u64,
}

impl Opinion {
    /// A voice: how many pieces of evidence an organisation has matters little beyond a few.
    fn voice(&self) -> u64 {
        let weight = self.good + self.blame;
        self.credibility * weight / (weight + ONE / 4)
    }

    /// In millionths; of none there is no opinion.
    fn share(&self) -> u64 {
        MILLION * self.good / (self.good + self.blame)
    }
}

/// The opinions to leave out: of those whose evidence excludes two thirds of what the weighted middle of
/// all says, the worst, up to a third of all voices.
pub(super) fn outliers(mut opinions: Vec<Opinion>) -> Vec<usize> {
    opinions.retain(|opinion| opinion.voice() > 0);
    if opinions.iter().all(|opinion| opinion.blame == 0) {
        return Vec::new();
    }
    opinions.sort_by_key(|opinion| (opinion.share(), opinion.org));
    let voices: u64 = opinions.iter().map(Opinion::voice).sum();
    let mut before = 0;
    let middle = opinions.iter().find(|opinion| {
        before += opinion.voice();
        2 * before >= voices
    });
    let Some(middle) = middle.map(Opinion::share) else {
        return Vec::new();
    };
    let mut left = voices / 3;
    let mut found = Vec::new();
    for opinion in &opinions {
        let bound = upper_bound(opinion.good, opinion.blame, OUTLIER_QUANTILE_SQUARED);
        if opinion.blame > 0 && u64::from(bound) * 3 < 2 * middle && opinion.voice() <= left {
            left -= opinion.voice();
            found.push(opinion.index);
        }
    }
    found
}
