//! Output that is gathered, so that a write is worth its while.

use std::io::Write;

use super::failure::Failure;

/// What was gathered is written from so many bytes on.
const ENOUGH_BYTES: usize = 256 << 10;

/// An output, and what is on its way there.
pub struct Gathered<W> {
    to: W,
    /// What is not written yet.
    pub buffer: Vec<u8>,
}

impl<W: Write> Gathered<W> {
    /// Nothing is gathered yet.
    pub fn new(to: W) -> Self {
        Self {
            to,
            buffer: Vec::with_capacity(2 * ENOUGH_BYTES),
        }
    }

    /// Writes what was gathered, once that is enough.
    pub fn write_enough(&mut self) -> Result<(), Failure> {
        if self.buffer.len() >= ENOUGH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes all of it, and has the output pass it on.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if !self.buffer.is_empty() {
            self.write()?;
        }
        self.to.flush().map_err(|error| Failure::output(&error))
    }

    fn write(&mut self) -> Result<(), Failure> {
        let result = self.to.write_all(&self.buffer);
        self.buffer.clear();
        result.map_err(|error| Failure::output(&error))
    }
}
