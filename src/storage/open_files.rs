//! Bounds how many segments are open at once: the one opened longest ago is closed first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use super::segment::Segment;

/// The segments that hold an open file, oldest first.
#[derive(Debug)]
pub struct OpenFiles {
    limit: usize,
    open: Mutex<VecDeque<Weak<Segment>>>,
}

impl OpenFiles {
    /// Keeps at most `limit` segments open, not counting those that owe a sync.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::new(VecDeque::new()),
        }
    }

    /// Books a segment that was just opened. It is closed some time after, by another's opening.
    pub(super) fn opened(&self, segment: &Arc<Segment>) {
        let mut open = self.open.lock().expect("no panic while the list is locked");
        open.push_back(Arc::downgrade(segment));
        let mut tries = open.len();
        while open.len() > self.limit && tries > 0 {
            tries -= 1;
            let Some(oldest) = open.pop_front() else {
                break;
            };
            let Some(oldest) = oldest.upgrade() else {
                continue;
            };
            // The caller holds the lock of the segment it has just opened.
            if Arc::ptr_eq(&oldest, segment) || !oldest.try_close() {
                open.push_back(Arc::downgrade(&oldest));
            }
        }
    }
}
