//! Input as lines: the bytes between newlines, nothing added, nothing taken away.

use std::io::{self, Read};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Splits its input at newlines. A carriage return belongs to the line, an empty line is a line,
/// and the newline of the last one may be missing.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    /// What is read into, again and again.
    buffer: Box<[u8]>,
    /// Longest line, without its newline.
    max_line_bytes: usize,
    /// The beginning of a line whose newline has not come yet.
    rest: Vec<u8>,
    /// Lines handed out.
    lines: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    TooLong,
    Ended,
}

/// Some whole lines.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Where each line begins and ends in `bytes`.
    lines: Vec<(usize, usize)>,
    first_line: u64,
}

/// Why there are no more lines.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The input cannot be read.
    #[error("reading line {line}")]
    Io {
        /// Number of the line, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line is too long. Those before it were handed out; nothing after it is read.
    #[error("line {line} is longer than {limit} bytes")]
    TooLong {
        /// Number of the line, counted from 1.
        line: u64,
        /// Longest line allowed, in bytes.
        limit: usize,
    },
}

impl Chunk {
    /// The lines, each with its number, counted from 1.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first_line..).zip(self.lines.iter().map(|&(from, to)| &self.bytes[from..to]))
    }

    /// Bytes of the input that the lines took up.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl<R: Read> LineReader<R> {
    /// A reader of lines of at most `max_line_bytes` bytes, newline not counted.
    pub fn new(input: R, max_line_bytes: usize) -> Self {
        Self {
            input,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            max_line_bytes,
            rest: Vec::new(),
            lines: 0,
            state: State::Reading,
        }
    }

    /// The next lines, as many as one read brings, so that slow input is not held back. `None` at
    /// the end.
    ///
    /// # Errors
    /// [`LinesError`], after every line before the place was handed out.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, LinesError> {
        loop {
            match self.state {
                State::Reading => {}
                State::TooLong => {
                    return Err(LinesError::TooLong {
                        line: self.lines + 1,
                        limit: self.max_line_bytes,
                    });
                }
                State::Ended => return Ok(None),
            }
            let read = match self.input.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(LinesError::Io {
                        line: self.lines + 1,
                        source,
                    });
                }
                Ok(read) => read,
            };
            let mut bytes = std::mem::take(&mut self.rest);
            let searched = bytes.len();
            bytes.extend_from_slice(&self.buffer[..read]);
            let chunk = self.split(bytes, searched, read == 0);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    /// Splits what was read; up to `searched` there is no newline.
    fn split(&mut self, mut bytes: Vec<u8>, searched: usize, is_end: bool) -> Chunk {
        let first_line = self.lines + 1;
        let mut lines = Vec::new();
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', &bytes[searched..]) {
            let to = searched + newline;
            if to - from > self.max_line_bytes {
                self.state = State::TooLong;
                break;
            }
            lines.push((from, to));
            from = to + 1;
        }
        if matches!(self.state, State::Reading) {
            if bytes.len() - from > self.max_line_bytes {
                self.state = State::TooLong;
            } else if is_end {
                if from < bytes.len() {
                    lines.push((from, bytes.len()));
                    from = bytes.len();
                }
                self.state = State::Ended;
            } else if from == 0 {
                // A long line is not copied once for each read.
                self.rest = std::mem::take(&mut bytes);
            } else {
                self.rest = bytes[from..].to_vec();
            }
        }
        bytes.truncate(from);
        self.lines += lines.len() as u64;
        Chunk {
            bytes,
            lines,
            first_line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out at most this many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(to.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// Lines with their numbers, and the error that ended them.
    type All = (Vec<(u64, Vec<u8>)>, Option<String>);

    fn all(input: &[u8], step: usize, limit: usize) -> All {
        let mut reader = LineReader::new(Slow(input, step), limit);
        let mut lines = Vec::new();
        loop {
            match reader.next_chunk() {
                Ok(Some(chunk)) => {
                    lines.extend(chunk.lines().map(|(number, line)| (number, line.to_vec())));
                }
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
    }

    fn numbered(lines: &[&[u8]]) -> Vec<(u64, Vec<u8>)> {
        (1..).zip(lines.iter().map(|line| line.to_vec())).collect()
    }

    #[test]
    fn a_line_is_the_bytes_between_newlines() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"\n", &[b""]),
            (b"\n\n", &[b"", b""]),
            (b"a", &[b"a"]),
            (b"a\n", &[b"a"]),
            (b"a\nb", &[b"a", b"b"]),
            (b"a\r\n\r\n", &[b"a\r", b"\r"]),
            (b"\0\xff\n \n", &[b"\0\xff", b" "]),
        ];
        for (input, wanted) in cases {
            for step in [1, 2, 3, 100] {
                assert_eq!(all(input, step, 10), (numbered(wanted), None), "{input:?}");
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_ends_it_with_its_number_after_all_before_it() {
        for step in [1, 3, 100] {
            let (lines, error) = all(b"abc\nabcd\n\nabcde\nx\n", step, 4);
            assert_eq!(lines, numbered(&[b"abc", b"abcd", b""]));
            assert_eq!(error.unwrap(), "line 4 is longer than 4 bytes");
            let (lines, error) = all(b"abcde", step, 4);
            assert_eq!(lines, []);
            assert_eq!(error.unwrap(), "line 1 is longer than 4 bytes");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_without_reading_all_of_it() {
        let mut reader = LineReader::new(io::repeat(b'x'), 100);
        for _ in 0..2 {
            assert!(matches!(
                reader.next_chunk(),
                Err(LinesError::TooLong {
                    line: 1,
                    limit: 100
                })
            ));
        }
    }

    #[test]
    fn lines_come_out_as_they_went_in_whatever_the_reads() {
        let text: Vec<u8> = (0..5_000u32)
            .flat_map(|n| format!("{}\n", "y".repeat((n % 97) as usize)).into_bytes())
            .collect();
        for step in [7, 4096, usize::MAX] {
            let (lines, error) = all(&text, step, 100);
            let joined: Vec<u8> = lines
                .iter()
                .flat_map(|(_, line)| [line, &b"\n"[..]].concat())
                .collect();
            assert_eq!((lines.len(), joined == text, error), (5_000, true, None));
        }
    }
}
