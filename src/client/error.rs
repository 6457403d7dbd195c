//! What can go wrong with a connection and a single request. Publishing and consuming have errors
//! of their own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::url::InvalidUrl;
use crate::protocol::{ErrorCode, FrameError, ResponseError, WireError};
use crate::tls::{TlsError, TlsFailure};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL names no broker.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The operating system could not connect.
    #[error("connecting to {url}")]
    Io {
        /// The broker.
        url: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The certificates of this client can't be used.
    #[error("TLS can't be spoken")]
    TlsFiles(#[source] Arc<TlsError>),
    /// The two sides did not come to terms over TLS.
    #[error("connecting to {url}")]
    Tls {
        /// The broker.
        url: String,
        /// Why.
        source: TlsFailure,
    },
    /// Nothing answered in time.
    #[error("{url} did not answer within {after:?}")]
    Timeout {
        /// The broker.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The broker refused the hello.
    #[error("{url} refused the connection")]
    Refused {
        /// The broker.
        url: String,
        /// What it said.
        source: Box<WireError>,
    },
    /// An API key would go over the network as it is.
    #[error("the API key is not shown to {url}: the connection is not encrypted")]
    PlainKey {
        /// The broker.
        url: String,
    },
    /// The client was closed by [`Client::close`](super::Client::close).
    #[error("the client was closed")]
    Closed,
    /// What answered does not speak this protocol.
    #[error("{url} does not speak the protocol of npayload")]
    Protocol {
        /// The broker.
        url: String,
        /// What was wrong.
        source: LostError,
    },
}

impl ConnectError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::PlainKey { .. }
            | Self::Closed
            | Self::Protocol { .. }
            | Self::TlsFiles(_) => false,
            // Everything else stays as it is until somebody changes a file.
            Self::Tls { source, .. } => matches!(source, TlsFailure::Closed),
            Self::Io { .. } | Self::Timeout { .. } => true,
            Self::Refused { source, .. } => source.retryable,
        }
    }
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        Self::TlsFiles(Arc::new(error))
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LostError {
    /// The broker closed it.
    #[error("the broker closed the connection")]
    Closed,
    /// This side closed it.
    #[error("the client was closed")]
    ClosedHere,
    /// The operating system reported an error.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// Nothing came for too long, not even an answer to a ping.
    #[error("the broker stopped answering")]
    Silent,
    /// The broker sent bytes that are no frame.
    #[error("the broker sent bytes that are no frame")]
    Frame(#[source] Arc<FrameError>),
    /// The broker reported that the connection cannot go on.
    #[error("the broker gave the connection up")]
    Server(#[source] Box<WireError>),
}

/// Why a request has no answer, or not the one hoped for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection; the request was not sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection was lost before the answer came, and sending the request again could have
    /// carried it out twice. It may have been carried out.
    #[error(
        "the connection was lost before the answer came; the request may have been carried out"
    )]
    Interrupted(#[source] LostError),
    /// No answer came in time. The request may have been carried out.
    #[error("no answer within {after:?}; the request may have been carried out")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The broker refused.
    #[error(transparent)]
    Server(Box<WireError>),
    /// The answer is not one this client understands.
    #[error("the answer is not understood")]
    Answer(#[source] ResponseError),
    /// The answer belongs to another kind of request.
    #[error("the answer to {kind} is of another kind")]
    Unexpected {
        /// Name of the request kind.
        kind: &'static str,
    },
}

impl RequestError {
    /// What the broker said, when it was the broker who refused.
    #[must_use]
    pub fn server(&self) -> Option<&WireError> {
        match self {
            Self::Server(error) => Some(error),
            Self::Connect(ConnectError::Refused { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// Whether the broker refused with this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.server().is_some_and(|error| error.is(code))
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Server(error) => error.retryable,
            Self::Interrupted(_) | Self::Timeout { .. } => true,
            Self::Answer(_) | Self::Unexpected { .. } => false,
        }
    }
}
