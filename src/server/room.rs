//! Room for fetched batches on their way to sockets: bounded for each connection, and for all of
//! them together.
//!
//! ```text
//! connection's room ──▶ first half of the broker's room: as much as was asked for
//!                   └─▶ second half, when the first is taken: one small answer a connection
//! ```
//! A connection that doesn't take its answers fills its own room and waits there. Those who take
//! none can use up the first half; of the second each gets so little that enough is left for the
//! others, and who takes nothing while room is short is given up sooner.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::{ErrorCode, WireError};

/// Most bytes of an answer while room is short; a single larger batch still comes whole.
pub(super) const SHORT_FETCH_BYTES: u64 = 64 * 1024;

/// The room of all connections.
#[derive(Debug, Clone)]
pub(crate) struct AnswerRoom {
    first: Half,
    second: Half,
    patience: Duration,
}

#[derive(Debug, Clone)]
struct Half {
    kib: u32,
    free: Arc<Semaphore>,
}

/// The room of one connection within it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionRoom {
    all: AnswerRoom,
    own: Half,
}

/// Room that an answer takes until it has been written.
#[derive(Debug)]
pub(super) struct Held {
    bytes: u64,
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Half {
    fn of(bytes: u64) -> Self {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let kib = kib.clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let free = Arc::new(Semaphore::new(kib as usize));
        Self { kib, free }
    }

    /// What so many bytes take of it: all of it, where they are more.
    fn kib(&self, bytes: u64) -> u32 {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        kib.min(self.kib)
    }

    fn try_hold(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let free = self.free.clone();
        free.try_acquire_many_owned(self.kib(bytes)).ok()
    }

    /// Waits in line; `None` never comes, for no room is ever closed.
    async fn hold(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let free = self.free.clone();
        free.acquire_many_owned(self.kib(bytes)).await.ok()
    }

    fn is_all_free(&self) -> bool {
        self.free.available_permits() == self.kib as usize
    }
}

impl AnswerRoom {
    /// Room for so many bytes; a fetch that finds none for as long as `patience` is refused.
    pub fn new(bytes: u64, patience: Duration) -> Self {
        Self {
            first: Half::of(bytes / 2),
            second: Half::of(bytes - bytes / 2),
            patience,
        }
    }

    /// Room for one connection, of at most so many bytes.
    pub(super) fn of_connection(&self, bytes: u64) -> ConnectionRoom {
        let own = Half::of(bytes);
        let all = self.clone();
        ConnectionRoom { all, own }
    }
}

impl ConnectionRoom {
    /// Whether somebody had to do with the second half.
    pub fn is_short(&self) -> bool {
        !self.all.second.is_all_free()
    }

    /// Room for an answer, if there is some at once.
    pub fn try_hold(&self, bytes: u64) -> Option<Held> {
        let own = self.own.try_hold(bytes)?;
        let all = self.all.first.try_hold(bytes)?;
        Some(held(bytes, own, all))
    }

    /// Waits behind the connection's own answers, as long as its client takes for them; `None`
    /// when the first half of the broker's room is taken.
    pub async fn hold(&self, bytes: u64) -> Option<Held> {
        let own = self.own.hold(bytes).await?;
        let all = self.all.first.try_hold(bytes)?;
        Some(held(bytes, own, all))
    }

    /// Waits for room in the second half, for the connection's only answer.
    ///
    /// - `bytes`: at most [`SHORT_FETCH_BYTES`], or one batch.
    ///
    /// # Errors
    /// `OVERLOADED`, when there was none for too long.
    pub async fn hold_little(&self, bytes: u64) -> Result<Held, WireError> {
        let own = self.own.hold(u64::MAX).await;
        let all = self.all.second.hold(bytes);
        let all = tokio::time::timeout(self.all.patience, all).await;
        match (own, all) {
            (Some(own), Ok(Some(all))) => Ok(held(bytes, own, all)),
            _ => {
                let limit = u64::from(self.all.first.kib + self.all.second.kib) * 1024;
                let text = format!("answers that are not taken fill the room of {limit} bytes");
                let error = WireError::new(ErrorCode::Overloaded, text).with("limit", limit);
                Err(error.retry_after_ms(1000))
            }
        }
    }
}

/// The search for room of an answer that is read again once there is some, so that nothing that was
/// found is kept while it waits.
#[derive(Debug)]
pub(super) struct Rereading {
    room: ConnectionRoom,
    held: Option<Held>,
    /// Room in the broker is short: a small answer has to do.
    is_short: bool,
}

impl Rereading {
    pub fn new(room: &ConnectionRoom) -> Self {
        Self {
            room: room.clone(),
            held: None,
            is_short: false,
        }
    }

    /// Most bytes that are to be read now.
    pub fn most(&self) -> u64 {
        let most = match self.is_short {
            true => SHORT_FETCH_BYTES,
            false => u64::MAX,
        };
        self.held
            .as_ref()
            .map_or(most, |held| held.bytes().min(most))
    }

    /// Room for what was found, if there is some now.
    pub fn take(&mut self, bytes: u64) -> Option<Held> {
        let enough = self.held.take().filter(|held| held.bytes() >= bytes);
        enough.or_else(|| self.room.try_hold(bytes))
    }

    /// Nothing was found: others may have the room.
    pub fn give_back(&mut self) {
        self.held = None;
    }

    /// Waits for room for so many bytes, which are to be read again then.
    ///
    /// # Errors
    /// `OVERLOADED`, when there was none for too long.
    pub async fn wait(&mut self, bytes: u64) -> Result<(), WireError> {
        if self.is_short {
            self.held = Some(self.room.hold_little(bytes).await?);
        } else {
            self.held = self.room.hold(bytes).await;
            self.is_short = self.held.is_none();
        }
        Ok(())
    }
}

fn held(bytes: u64, own: OwnedSemaphorePermit, all: OwnedSemaphorePermit) -> Held {
    Held {
        bytes,
        _own: own,
        _all: all,
    }
}

impl Held {
    /// Bytes that it has room for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
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

    #[tokio::test]
    async fn short_room_is_shared_out_in_small_answers_one_for_each_connection() {
        let all = AnswerRoom::new(16 * MIB, PATIENCE);
        let greedy: Vec<ConnectionRoom> = (0..20).map(|_| all.of_connection(4 * MIB)).collect();
        let mut taken = Vec::new();
        for room in &greedy {
            match room.try_hold(4 * MIB) {
                Some(held) => taken.push(held),
                None => {
                    assert!(room.hold(4 * MIB).await.is_none());
                    let little = room.hold_little(SHORT_FETCH_BYTES).await;
                    taken.push(little.expect("there is room for all of them"));
                    assert!(room.try_hold(1).is_none(), "one answer at a time");
                }
            }
        }
        assert_eq!(taken.len(), 20);
        let modest = all.of_connection(4 * MIB);
        assert!(modest.is_short());
        assert!(modest.hold_little(SHORT_FETCH_BYTES).await.is_ok());
        drop(taken);
        assert!(!modest.is_short());
        assert!(modest.try_hold(4 * MIB).is_some());
    }

    #[tokio::test]
    async fn a_fetch_that_finds_no_room_for_long_is_refused_with_the_limit() {
        let all = AnswerRoom::new(2 * MIB, PATIENCE);
        let held = all.of_connection(MIB).hold_little(MIB).await;
        assert!(held.is_ok());
        let refused = all.of_connection(MIB).hold_little(1).await;
        let refused = refused.expect_err("no room");
        assert!(refused.is(ErrorCode::Overloaded) && refused.retryable);
        assert_eq!(refused.detail_u64("limit"), Some(2 * MIB));
        drop(held);
        assert!(all.of_connection(MIB).hold_little(1).await.is_ok());
    }
}
