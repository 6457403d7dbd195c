//! How evidence loses weight with time.
//!
//! A counter is not made smaller with time: what is added is made larger, by 2^(t / half-life) of
//! the time since its period began, and what is read is made smaller by as much. With each period, a
//! half-life long, counters are halved. So a counter depends on what was added and when, and not on
//! when it was looked at or what was added to others.

/// Powers 2^-(1/2), 2^-(1/4), … 2^-(1/65,536) in 60 binary places, each the root of the one before.
fn roots() -> [u128; 16] {
    let mut roots = [0; 16];
    let mut last: u128 = 1 << 59;
    for root in &mut roots {
        last = (last << 60).isqrt();
        *root = last;
    }
    roots
}

/// The part `of / all` of a half-life, as 2^-(of / all) in 60 binary places.
fn left(of: u64, all: u64) -> u128 {
    let halvings = (of << 16) / all;
    let mut left: u128 = (1 << 60) >> (halvings >> 16);
    for (place, root) in roots().iter().enumerate() {
        if halvings & (0x8000 >> place) != 0 {
            left = (left * root) >> 60;
        }
    }
    left
}

/// A time, as counters need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The period of a half-life in which it is.
    period: u32,
    /// By how much what is added grows, and what is left of what is read; of 2^32.
    growth: u64,
    left: u64,
}

impl Default for Moment {
    fn default() -> Self {
        Self::new(0, 1)
    }
}

impl Moment {
    /// - `hours`: since 1970.
    /// - `half_life_hours`: at least 1.
    pub(super) fn new(hours: u64, half_life_hours: u32) -> Self {
        let half_life = u64::from(half_life_hours);
        let into = hours % half_life;
        let narrow = |factor: u128| u64::try_from(factor).unwrap_or(u64::MAX);
        Self {
            period: u32::try_from(hours / half_life).unwrap_or(u32::MAX),
            growth: narrow(left(half_life - into, half_life) >> 27),
            left: narrow(left(into, half_life) >> 28),
        }
    }

    pub(super) fn period(self) -> u32 {
        self.period
    }

    /// A counter of an earlier period, as one of this.
    fn halved(self, counter: u32, period: u32) -> u32 {
        let periods = self.period.saturating_sub(period);
        counter.checked_shr(periods).unwrap_or(0)
    }

    /// What a counter of that period comes to.
    pub(super) fn read(self, counter: u32, period: u32) -> u32 {
        let counter = u64::from(self.halved(counter, period));
        u32::try_from((counter * self.left) >> 32).unwrap_or(u32::MAX)
    }

    /// A counter with something added, as one of this period, up to what it holds: more than
    /// 32,000 pieces of evidence.
    pub(super) fn add(self, counter: u32, period: u32, more: u64) -> u32 {
        let more = (more * self.growth) >> 32;
        let sum = u64::from(self.halved(counter, period)).saturating_add(more);
        u32::try_from(sum).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asp::trust::settings::ONE;

    #[test]
    fn a_weight_halves_with_each_half_life_and_does_not_grow() {
        let then = Moment::new(480_011, 720);
        let counter = then.add(0, 0, ONE);
        let read = |hours: u64| Moment::new(480_011 + hours, 720).read(counter, then.period());
        assert!((65_534..=65_536).contains(&read(0)), "{}", read(0));
        assert!((32_766..=32_768).contains(&read(720)), "{}", read(720));
        assert!((46_338..=46_341).contains(&read(360)), "{}", read(360));
        assert_eq!(read(40 * 720), 0);
        assert!((0..9_000).all(|hours| read(hours + 1) <= read(hours)));
        assert_eq!(then.add(u32::MAX - 1, then.period(), ONE), u32::MAX);
    }

    #[test]
    fn it_does_not_matter_when_a_counter_was_looked_at() {
        for half_life in [1, 7, 720, 87_600] {
            let [one, two, three] = [5, 90, 4_000].map(|hours| Moment::new(hours, half_life));
            let counter = one.add(0, 0, 3 * ONE);
            let straight = three.add(counter, one.period(), ONE);
            let touched = two.add(counter, one.period(), 0);
            assert_eq!(three.add(touched, two.period(), ONE), straight);
        }
    }
}
