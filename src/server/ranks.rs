//! Locks that come after the broker's.
//!
//! Whoever needs the broker and one of these locks the broker first. The other way round, two threads
//! wait for each other for ever, in one of some hundred runs. Which of them a run meets is chance, so
//! builds with debug assertions, as tests are, check it whenever the broker is locked.

use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};

#[cfg(debug_assertions)]
thread_local! {
    /// How many of these locks the thread holds.
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A lock that comes after the broker's.
#[derive(Debug, Default)]
pub(super) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock that nobody holds.
    pub fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits until nobody else holds it.
    ///
    /// # Errors
    /// Somebody panicked with it; what it guards comes with the error.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.0.lock() {
            Ok(guarded) => Ok(MutexGuard::of(guarded)),
            Err(error) => Err(PoisonError::new(MutexGuard::of(error.into_inner()))),
        }
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct MutexGuard<'a, T> {
    guarded: std::sync::MutexGuard<'a, T>,
    _counted: Counted,
}

impl<'a, T> MutexGuard<'a, T> {
    fn of(guarded: std::sync::MutexGuard<'a, T>) -> Self {
        Self {
            guarded,
            _counted: Counted::new(),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guarded
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guarded
    }
}

/// One lock among those that the thread holds. A guard never leaves its thread.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Self {
        #[cfg(debug_assertions)]
        HELD.with(|held| held.set(held.get() + 1));
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        HELD.with(|held| held.set(held.get() - 1));
    }
}

/// Says that this thread is about to lock the broker.
///
/// # Panics
/// In builds with debug assertions, where it holds a lock that comes after the broker's.
#[cfg_attr(debug_assertions, track_caller)]
pub(super) fn locks_broker() {
    #[cfg(debug_assertions)]
    HELD.with(|held| {
        assert_eq!(
            held.get(),
            0,
            "the broker is locked by a thread that holds a lock which comes after it"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_locked_by_whoever_holds_none_of_these() {
        let (first, second) = (Mutex::new(1), Mutex::new(2));
        locks_broker();
        let sum = {
            let (first, second) = (first.lock().unwrap(), second.lock().unwrap());
            *first + *second
        };
        locks_broker();
        assert_eq!(sum, 3);
        // What another thread holds is that one's.
        let held = first.lock().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(locks_broker).join().unwrap();
        });
        drop(held);
        locks_broker();
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "holds a lock which comes after it")]
    fn the_broker_is_not_locked_by_whoever_holds_one_of_these() {
        let lock = Mutex::new(1);
        let _held = lock.lock();
        locks_broker();
    }

    #[test]
    fn what_somebody_panicked_with_is_there_and_counts_as_held_by_nobody() {
        let lock = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let work = || {
                let mut held = lock.lock().unwrap();
                *held = 2;
                assert_ne!(*held, 2, "with the lock");
            };
            scope.spawn(work).join()
        });
        assert!(panicked.is_err());
        let found = *lock.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(found, 2);
        locks_broker();
    }
}
