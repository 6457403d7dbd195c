//! Room for fetched batches on their way to sockets: bounded for each connection, and for all of
//! them together.
//!
//! A connection that doesn't take its answers fills its own room and waits there. When half of the
//! broker's room is taken, every connection gets one answer at a time, and a small one, so that
//! those who take none can't use up what the others need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::{ErrorCode, WireError};

/// Most bytes of an answer while room is short; a single larger batch still comes whole.
pub(super) const SHORT_FETCH_BYTES: u64 = 64 * 1024;

/// The room of all connections.
#[derive(Debug, Clone)]
pub(crate) struct AnswerRoom {
    kib: u32,
    free: Arc<Semaphore>,
    patience: Duration,
}

/// The room of one connection within it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionRoom {
    all: AnswerRoom,
    kib: u32,
    free: Arc<Semaphore>,
}

/// Room that an answer takes until it has been written.
#[derive(Debug)]
pub(super) struct Held {
    bytes: u64,
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl AnswerRoom {
    /// Room for so many bytes; a fetch that finds none for as long as `patience` is refused.
    pub fn new(bytes: u64, patience: Duration) -> Self {
        let kib = kib(bytes).max(1);
        let free = Arc::new(Semaphore::new(kib as usize));
        Self {
            kib,
            free,
            patience,
        }
    }

    /// Room for one connection, of at most so many bytes.
    pub(super) fn of_connection(&self, bytes: u64) -> ConnectionRoom {
        let kib = kib(bytes).clamp(1, self.kib);
        ConnectionRoom {
            all: self.clone(),
            kib,
            free: Arc::new(Semaphore::new(kib as usize)),
        }
    }

    fn is_short(&self) -> bool {
        self.free.available_permits() < self.kib as usize / 2
    }

    fn kib(&self, bytes: u64) -> u32 {
        kib(bytes).min(self.kib)
    }
}

impl ConnectionRoom {
    /// How much of what was asked for may be fetched now.
    pub fn most(&self, asked: u64) -> u64 {
        if self.all.is_short() {
            asked.min(SHORT_FETCH_BYTES)
        } else {
            asked
        }
    }

    /// What an answer of so many bytes takes of the connection's room: all of it while room is
    /// short.
    fn kib(&self, bytes: u64) -> u32 {
        if self.all.is_short() {
            self.kib
        } else {
            kib(bytes).min(self.kib)
        }
    }

    /// Room for an answer, if there is some at once.
    pub fn try_hold(&self, bytes: u64) -> Option<Held> {
        let own = self.free.clone().try_acquire_many_owned(self.kib(bytes));
        let all = self.all.free.clone();
        let all = all.try_acquire_many_owned(self.all.kib(bytes));
        Some(Held {
            bytes,
            _own: own.ok()?,
            _all: all.ok()?,
        })
    }

    /// Waits for room: as long as it takes behind the connection's own answers, which its client
    /// has to take, and for a while behind those of others.
    ///
    /// # Errors
    /// `OVERLOADED`, when the others took none of theirs.
    pub async fn hold(&self, bytes: u64) -> Result<Held, WireError> {
        let own = self.free.clone().acquire_many_owned(self.kib(bytes));
        let own = own.await.map_err(|_| self.refused())?;
        let all = self.all.free.clone();
        let all = all.acquire_many_owned(self.all.kib(bytes));
        match tokio::time::timeout(self.all.patience, all).await {
            Ok(Ok(all)) => Ok(Held {
                bytes,
                _own: own,
                _all: all,
            }),
            _ => Err(self.refused()),
        }
    }

    fn refused(&self) -> WireError {
        let limit = u64::from(self.all.kib) * 1024;
        let text = format!("answers that clients do not take fill the room of {limit} bytes");
        let error = WireError::new(ErrorCode::Overloaded, text).with("limit", limit);
        error.retry_after_ms(1000)
    }
}

impl Held {
    /// Bytes that it has room for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const PATIENCE: Duration = Duration::from_millis(50);

    #[test]
    fn a_connection_holds_its_own_room_and_no_more() {
        let all = AnswerRoom::new(64 * MIB, PATIENCE);
        let greedy = all.of_connection(4 * MIB);
        let held: Vec<Held> = (0..10).filter_map(|_| greedy.try_hold(MIB)).collect();
        assert_eq!(held.len(), 4);
        assert!(all.of_connection(4 * MIB).try_hold(4 * MIB).is_some());
        drop(held);
        let larger = greedy.try_hold(20 * MIB);
        assert!(larger.is_some(), "a batch larger than the room comes alone");
        assert!(greedy.try_hold(1).is_none());
    }

    #[test]
    fn short_room_is_shared_out_in_small_answers_one_for_each_connection() {
        let all = AnswerRoom::new(16 * MIB, PATIENCE);
        let greedy: Vec<ConnectionRoom> = (0..20).map(|_| all.of_connection(4 * MIB)).collect();
        let mut held = Vec::new();
        for room in &greedy {
            let bytes = room.most(4 * MIB);
            held.extend(room.try_hold(bytes));
            if bytes == SHORT_FETCH_BYTES {
                assert!(room.try_hold(1).is_none(), "one answer at a time");
            }
        }
        assert_eq!(held.len(), 20);
        let modest = all.of_connection(4 * MIB);
        assert_eq!(modest.most(4 * MIB), SHORT_FETCH_BYTES);
        assert!(modest.try_hold(SHORT_FETCH_BYTES).is_some());
        drop(held);
        assert_eq!(modest.most(4 * MIB), 4 * MIB);
    }

    #[tokio::test]
    async fn a_fetch_that_finds_no_room_for_long_is_refused_with_the_limit() {
        let all = AnswerRoom::new(MIB, PATIENCE);
        let held = all.of_connection(MIB).try_hold(MIB);
        let refused = all.of_connection(MIB).hold(1).await.expect_err("no room");
        assert!(refused.is(ErrorCode::Overloaded) && refused.retryable);
        assert_eq!(refused.detail_u64("limit"), Some(MIB));
        drop(held);
        assert!(all.of_connection(MIB).hold(1).await.is_ok());
    }
}
