//! What a run did: a running hash of everything, the lines where they are wanted, and counters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    step: u64,
    /// Where the whole story is wanted.
    lines: Option<Vec<String>>,
    counts: BTreeMap<String, u64>,
}

impl Trace {
    pub fn new(keeps_lines: bool) -> Self {
        let trace = Self::default();
        trace.inner().lines = keeps_lines.then(Vec::new);
        trace
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Books an event: `values` go into the hash, the text into the lines.
    pub fn note(&self, event: &str, values: &[u64], text: impl FnOnce() -> String) {
        let mut inner = self.inner();
        let mut hasher = crc32fast::Hasher::new_with_initial(0);
        hasher.update(event.as_bytes());
        values
            .iter()
            .for_each(|value| hasher.update(&value.to_le_bytes()));
        let (hash, step) = (inner.hash, inner.step);
        inner.hash = (hash.rotate_left(7) ^ u64::from(hasher.finalize()) ^ step)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if let Some(lines) = &mut inner.lines {
            lines.push(format!("{step:5} {event} {}", text()));
        }
    }

    /// Counts something that the coverage table shows.
    pub fn count(&self, what: impl Into<String>) {
        *self.inner().counts.entry(what.into()).or_default() += 1;
    }

    pub fn set_step(&self, step: u64) {
        self.inner().step = step;
    }

    pub fn hash(&self) -> u64 {
        self.inner().hash
    }

    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.clone().unwrap_or_default()
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.inner().counts.clone()
    }
}

/// Ends a run: something was seen that must never be. The first word names the kind, as the
/// literature on such tests does.
macro_rules! anomaly {
    ($name:literal, $($text:tt)*) => {
        panic!("{}: {}", $name, format_args!($($text)*))
    };
}
pub(crate) use anomaly;
