//! Bytes of several frames, written with as few system calls as possible: small pieces are copied
//! together, large ones stay where they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// From this size on, a piece is not copied.
const LARGE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Gather {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Gather {
    /// Bytes that were pushed and are not written yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if piece.len() < LARGE {
            self.small.extend_from_slice(&piece);
        } else {
            self.seal();
            self.pieces.push_back(piece);
        }
    }

    /// Makes everything pushed ready to be written.
    pub(super) fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}

impl Buf for Gather {
    fn remaining(&self) -> usize {
        self.bytes - self.small.len()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slot, piece) in dst.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_the_order_they_went_in() {
        let mut gather = Gather::default();
        let mut wanted = Vec::new();
        for length in [3, LARGE, 0, 5, 7, LARGE + 1, 1] {
            let piece: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            wanted.extend_from_slice(&piece);
            gather.push(piece.into());
        }
        gather.seal();
        assert_eq!(gather.remaining(), wanted.len());
        let mut found = Vec::new();
        while gather.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 8];
            assert!(gather.chunks_vectored(&mut slices) > 0);
            let step = gather.chunk().len().min(1000);
            found.extend_from_slice(&gather.chunk()[..step]);
            gather.advance(step);
        }
        assert_eq!(found, wanted);
    }
}
