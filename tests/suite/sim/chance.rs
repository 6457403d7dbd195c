//! The one source of randomness of a run.

use std::ops::Range;

use crate::load::Draws;

/// Draws, and what is made of them.
#[derive(Clone, Debug)]
pub struct Chance(Draws);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Draws(seed))
    }

    pub fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// One of `0..n`; 0 when there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n.max(1)
    }

    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}
