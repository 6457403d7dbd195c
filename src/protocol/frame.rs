//! The envelope of every message: a length, a kind, a version and a correlation id, then the body.
//! `docs/wire-protocol.md`, "Frame".

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use super::api::Kind;
use super::error_code::{ErrorCode, WireError};

/// Bytes of the length field and the header, in front of the body.
pub const FRAME_HEADER_BYTES: usize = 16;

/// Smallest value of the length field: a header and no body.
pub const MIN_FRAME_BYTES: u32 = 12;

/// Largest value of the length field of a publish, and of any response: 72 MiB.
pub const MAX_FRAME_BYTES: u32 = 72 << 20;

/// Largest value of the length field of every other request: 1 MiB.
pub const MAX_CONTROL_FRAME_BYTES: u32 = 1 << 20;

/// Largest value of the length field of a hello: 64 KiB.
pub const MAX_HELLO_FRAME_BYTES: u32 = 64 << 10;

/// Set in the kind of a response; the rest is the kind of its request.
pub const RESPONSE_BIT: u16 = 0x8000;

/// Kind of an error response, whatever the request was.
pub const ERROR_KIND: u16 = 0xFFFF;

/// What stands in front of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Number of the request kind, with [`RESPONSE_BIT`] in a response, or [`ERROR_KIND`].
    pub kind: u16,
    /// Version of the kind; a response has its request's, an error response 1.
    pub version: u16,
    /// Chosen by the client, repeated in the response.
    pub correlation: u64,
}

impl FrameHeader {
    /// The header of a request in the newest version of its kind.
    #[must_use]
    pub fn request(kind: Kind, correlation: u64) -> Self {
        Self {
            kind: kind.number(),
            version: kind.api().max_version,
            correlation,
        }
    }

    /// The header of a request in this version of its kind.
    #[must_use]
    pub fn of_version(kind: Kind, version: u16, correlation: u64) -> Self {
        Self {
            kind: kind.number(),
            version,
            correlation,
        }
    }

    /// The header of the answer to a request with `self` as its header.
    #[must_use]
    pub fn response(self) -> Self {
        Self {
            kind: self.kind | RESPONSE_BIT,
            ..self
        }
    }

    /// The header of an error that answers the request with this correlation id.
    #[must_use]
    pub fn error(correlation: u64) -> Self {
        Self {
            kind: ERROR_KIND,
            version: 1,
            correlation,
        }
    }
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What stands in front of the body.
    pub header: FrameHeader,
    /// The body, a slice of the receive buffer: nothing was copied, and a batch in it may be
    /// stamped where it lies. It keeps the whole buffer alive.
    pub body: BytesMut,
}

/// Finds whole frames in the bytes of a connection.
///
/// After an error the stream has no further frame boundary that could be trusted: answer with
/// [`FrameError::to_wire`] and close.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Limits {
    /// By request kind, as in the table.
    Requests,
    /// One limit for everything.
    All(u32),
}

impl FrameDecoder {
    /// For the broker: each kind has the limit of its row in the table, an unknown kind that of a
    /// control request.
    #[must_use]
    pub fn requests() -> Self {
        Self {
            limits: Limits::Requests,
        }
    }

    /// For the broker, of who has not said hello yet: no request may have more than
    /// `max_frame_bytes` after its length field, whatever its kind.
    #[must_use]
    pub fn strangers(max_frame_bytes: u32) -> Self {
        Self::responses(max_frame_bytes)
    }

    /// For a client: every response may have up to `max_frame_bytes` after its length field.
    #[must_use]
    pub fn responses(max_frame_bytes: u32) -> Self {
        Self {
            limits: Limits::All(max_frame_bytes),
        }
    }

    /// Bytes of the next frame with its length field and header, once they are known: what a
    /// connection will need to hold until the frame is whole.
    ///
    /// # Errors
    /// [`FrameError`] when the length breaks a limit.
    pub fn peek(&self, src: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((mut length_field, mut rest)) = src.split_at_checked(4) else {
            return Ok(None);
        };
        let length = length_field.get_u32_le();
        if length < MIN_FRAME_BYTES {
            return Err(FrameError::TooShort { length });
        }
        if rest.len() < FRAME_HEADER_BYTES - 4 {
            return Ok(None);
        }
        let header = FrameHeader {
            kind: rest.get_u16_le(),
            version: rest.get_u16_le(),
            correlation: rest.get_u64_le(),
        };
        let limit = match self.limits {
            Limits::All(limit) => limit,
            Limits::Requests => Kind::from_number(header.kind)
                .map_or(MAX_CONTROL_FRAME_BYTES, |kind| kind.api().max_frame_bytes),
        };
        if length > limit {
            return Err(FrameError::TooLong {
                header,
                length,
                limit,
            });
        }
        let length = usize::try_from(length).expect("usize has at least 32 bits");
        Ok(Some(4 + length))
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(total) = self.peek(src)? else {
            return Ok(None);
        };
        if src.len() < total {
            src.reserve(room(src.len(), total));
            return Ok(None);
        }
        let mut body = src.split_to(total);
        body.advance(4);
        let header = FrameHeader {
            kind: body.get_u16_le(),
            version: body.get_u16_le(),
            correlation: body.get_u64_le(),
        };
        Ok(Some(Frame { header, body }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(src)? {
            Some(frame) => Ok(Some(frame)),
            None if src.is_empty() => Ok(None),
            None => Err(FrameError::Cut { bytes: src.len() }),
        }
    }
}

/// Bytes to make room for when `have` of `total` have come. A peer has to send what it announced
/// before it is given more than 4 MiB: up to there all at once, from there by doubling.
fn room(have: usize, total: usize) -> usize {
    (total - have).min(have.max(4 << 20))
}

/// Why a stream of bytes holds no further frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length leaves no room for a header.
    #[error("frame of {length} bytes is shorter than its header of {MIN_FRAME_BYTES}")]
    TooShort {
        /// Value of the length field.
        length: u32,
    },
    /// The length is over the limit of the kind.
    #[error("frame of kind {} has {length} bytes, more than its limit of {limit}", .header.kind)]
    TooLong {
        /// The header, so that the answer can carry its correlation id.
        header: FrameHeader,
        /// Value of the length field.
        length: u32,
        /// Largest value that is allowed.
        limit: u32,
    },
    /// The stream ended inside a frame.
    #[error("connection ended {bytes} bytes into a frame")]
    Cut {
        /// Bytes of the frame that came.
        bytes: usize,
    },
    /// The connection failed.
    #[error("reading frames")]
    Io(#[from] io::Error),
}

impl FrameError {
    /// The answer that tells the peer, with the correlation id it is for (0 when unknown), or
    /// `None` when the connection is gone anyway. Close after sending it.
    #[must_use]
    pub fn to_wire(&self) -> Option<(u64, WireError)> {
        match self {
            Self::TooShort { length } => {
                let error = WireError::new(ErrorCode::InvalidFrame, self.to_string())
                    .with("length", *length)
                    .with("min", MIN_FRAME_BYTES);
                Some((0, error))
            }
            Self::TooLong {
                header,
                length,
                limit,
            } => {
                let error = WireError::new(ErrorCode::FrameTooLong, self.to_string())
                    .with("length", *length)
                    .with("limit", *limit);
                Some((header.correlation, error))
            }
            Self::Cut { .. } | Self::Io(_) => None,
        }
    }
}

/// Appends a frame to `dst`, its body written by `body`.
///
/// # Panics
/// When the body has 4 GiB or more; every caller's body is bounded by a limit far below.
pub fn encode_frame(header: FrameHeader, dst: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = dst.len();
    put_header(header, 0, dst);
    body(dst);
    let length = u32::try_from(dst.len() - start - 4).expect("bodies are bounded by their limits");
    dst[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends the part of a frame that `prefix` writes; the sender lets exactly `rest_bytes` bytes
/// follow, for instance mapped slices of segments that are never copied into `dst`.
///
/// # Panics
/// When the body has 4 GiB or more.
pub fn encode_frame_before(
    header: FrameHeader,
    rest_bytes: usize,
    dst: &mut BytesMut,
    prefix: impl FnOnce(&mut BytesMut),
) {
    let start = dst.len();
    put_header(header, 0, dst);
    prefix(dst);
    let length = u32::try_from(dst.len() - start - 4 + rest_bytes)
        .expect("bodies are bounded by their limits");
    dst[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_header(header: FrameHeader, length: u32, dst: &mut BytesMut) {
    dst.put_u32_le(length);
    dst.put_u16_le(header.kind);
    dst.put_u16_le(header.version);
    dst.put_u64_le(header.correlation);
}

/// Decodes exactly one frame from bytes that hold nothing else; for tests and tools.
///
/// # Errors
/// [`FrameError`] when the bytes are not one whole frame within the decoder's limits.
pub fn decode_one(mut decoder: FrameDecoder, bytes: &Bytes) -> Result<Frame, FrameError> {
    let mut src = BytesMut::from(&bytes[..]);
    match decoder.decode(&mut src)? {
        Some(frame) if src.is_empty() => Ok(frame),
        _ => Err(FrameError::Cut { bytes: bytes.len() }),
    }
}
