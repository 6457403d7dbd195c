//! Memory in which large frames were received, to receive others in once nobody needs them any more.
//!
//! A frame of a megabyte in fresh memory is hundreds of pages that the kernel clears first, or asks
//! its host for. A batch is let go of once it is in its segment, and the next frame that comes, of
//! whichever connection, is received in its place.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

/// Most bytes that are kept, in use or not.
const MAX_BYTES: usize = 16 << 20;

/// So many are looked at, oldest first: what one log holds up keeps none from the others.
const LOOKS: usize = 4;

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What is left behind each frame, which holds on to the memory of all of it, and its bytes.
    rests: VecDeque<(BytesMut, usize)>,
    bytes: usize,
}

impl Buffers {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the memory of a frame of so many bytes; the oldest goes past the bound.
    ///
    /// - `rest`: what is left of it behind the frame.
    pub fn keep(&self, rest: BytesMut, bytes: usize) {
        if bytes > MAX_BYTES {
            return;
        }
        let mut kept = self.kept();
        kept.rests.push_back((rest, bytes));
        kept.bytes += bytes;
        while kept.bytes > MAX_BYTES
            && let Some((_, bytes)) = kept.rests.pop_front()
        {
            kept.bytes -= bytes;
        }
    }

    /// Memory that nobody needs any more, empty; none where all that is kept is in use.
    pub fn take(&self) -> Option<BytesMut> {
        let mut kept = self.kept();
        let mut oldest = kept.rests.iter_mut().take(LOOKS);
        let at = oldest.position(|(rest, bytes)| rest.try_reclaim(*bytes))?;
        let (buffer, bytes) = kept.rests.remove(at)?;
        kept.bytes -= bytes;
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that was received, and what is left behind it.
    fn received(byte: u8, bytes: usize) -> (BytesMut, BytesMut) {
        let mut rest = BytesMut::with_capacity(bytes);
        rest.resize(bytes, byte);
        let frame = rest.split_to(bytes);
        (frame, rest)
    }

    #[test]
    fn memory_is_used_again_once_its_frame_is_gone() {
        let buffers = Buffers::default();
        let (frame, rest) = received(7, 1000);
        let at = frame.as_ptr();
        let batch = frame.freeze();
        let slice = batch.slice(10..20);
        buffers.keep(rest, 1000);
        drop(batch);
        assert!(buffers.take().is_none(), "a slice of it is held");
        assert_eq!(slice, [7; 10][..]);
        drop(slice);
        let again = buffers.take().unwrap();
        assert!(again.is_empty() && again.capacity() >= 1000);
        assert_eq!(again.as_ptr(), at);
        assert!(buffers.take().is_none(), "it is given once");
    }

    #[test]
    fn one_that_is_held_for_long_keeps_none_from_the_others() {
        let buffers = Buffers::default();
        let (held, rest) = received(1, 100);
        buffers.keep(rest, 100);
        let (frame, rest) = received(2, 200);
        buffers.keep(rest, 200);
        drop(frame);
        assert!(buffers.take().unwrap().capacity() >= 200);
        assert_eq!(held, [1; 100][..]);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let buffers = Buffers::default();
        let bytes = MAX_BYTES / 2 - 1;
        let frames: Vec<BytesMut> = (0..5)
            .map(|byte| {
                let (frame, rest) = received(byte, bytes);
                buffers.keep(rest, bytes);
                frame
            })
            .collect();
        assert_eq!(buffers.kept().rests.len(), 2);
        drop(frames);
        assert!(buffers.take().is_some() && buffers.take().is_some());
        assert_eq!(buffers.kept().bytes, 0);
        let (_frame, rest) = received(0, MAX_BYTES + 1);
        buffers.keep(rest, MAX_BYTES + 1);
        assert!(buffers.kept().rests.is_empty());
    }
}
