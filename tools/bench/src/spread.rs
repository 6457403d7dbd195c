//! Figures of several rounds: the middle one, and how far they lie apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of all figures; nothing of none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let low = figures.get(figures.len().checked_sub(1)? / 2)?;
        let high = figures.get(figures.len() / 2)?;
        Some(Self {
            median: f64::midpoint(*low, *high),
            min: *figures.first()?,
            max: *figures.last()?,
        })
    }
}

/// A figure with three digits that count.
#[must_use]
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = *self;
        write!(f, "{} ({}–{})", short(median), short(min), short(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_count_lies_between_two() {
        assert_eq!(Spread::of([]), None);
        let odd = Spread::of([3.0, 1.0, 200.0]).expect("figures");
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 200.0));
        let even = Spread::of([4.0, 1.0, 2.0, 9.0]).expect("figures");
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 9.0));
        assert_eq!(odd.to_string(), "3.00 (1.00–200)");
    }
}
