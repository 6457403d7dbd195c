//! The bounds of a share (E. B. Wilson, 1927), without roots and without rounding: each is the
//! first or last number for which an inequality of whole numbers holds. So they move as the share
//! does: more failures never raise one, and more successes never lower one.

use super::settings::{MILLION, ONE};

/// The highest share, in millionths, that so much evidence shows to be reached; 0 for none.
///
/// - `good`, `bad`: weights, [`ONE`] for a piece of evidence, less than 2^40 together.
/// - `quantile_squared`: in thousandths.
pub(super) fn lower_bound(good: u64, bad: u64, quantile_squared: u64) -> u32 {
    let (mut low, mut high) = (0, MILLION);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if is_below(middle, good, good + bad, quantile_squared) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    if good == 0 {
        0
    } else {
        u32::try_from(low).unwrap_or(0)
    }
}

/// The lowest share, in millionths, that so much evidence shows not to be passed; 1 for none.
pub(super) fn upper_bound(good: u64, bad: u64, quantile_squared: u64) -> u32 {
    1_000_000 - lower_bound(bad, good, quantile_squared)
}

/// Whether (good - n x)^2 >= z^2 n x (1 - x), and x is below the share.
fn is_below(x: u64, good: u64, n: u64, quantile_squared: u64) -> bool {
    let [x, good, n, z2] = [x, good, n, quantile_squared].map(i128::from);
    let (million, one) = (i128::from(MILLION), i128::from(ONE));
    let distance = good * million - n * x;
    distance >= 0 && distance * distance >= z2 * one * n * x * (million - x) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_formula() {
        for (good, bad, z2) in [
            (3_u32, 0_u32, 1_640_u32),
            (28, 1, 1_640),
            (5, 5, 4_000),
            (0, 9, 2_000),
        ] {
            let (g, n, z) = (f64::from(good), f64::from(good + bad), f64::from(z2) / 1e3);
            let p = g / n;
            let root = (z * (p * (1.0 - p) / n + z / (4.0 * n * n))).sqrt();
            let exact = (p + z / (2.0 * n) - root) / (1.0 + z / n);
            let bound = lower_bound(u64::from(good) * ONE, u64::from(bad) * ONE, u64::from(z2));
            assert!(
                (f64::from(bound) / 1e6 - exact).abs() < 2e-6,
                "{good} {bad}"
            );
        }
        assert_eq!(lower_bound(0, 0, 1_640), 0);
        assert_eq!(upper_bound(0, 0, 1_640), 1_000_000);
        assert_eq!(upper_bound(3 * ONE, 0, 1_640), 1_000_000);
    }

    #[test]
    fn a_failure_lowers_the_bound_and_a_success_raises_it() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2_000 {
            let (good, bad, more) = (draw(1 << 24), draw(1 << 22), draw(1 << 18));
            let before = lower_bound(good, bad, 1_640);
            assert!(lower_bound(good, bad + more, 1_640) <= before);
            assert!(lower_bound(good + more, bad, 1_640) >= before);
        }
    }
}
