//! What can be wrong with the files that TLS needs.

use std::io;
use std::path::PathBuf;

use super::certificate::rfc3339;
use crate::types::Timestamp;

/// Why certificates and keys can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The operating system could not read a file.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than certificates and keys ever are.
    #[error("{} has more than {limit} bytes, which no certificate or key needs", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        limit: u64,
    },
    /// A file holds nothing of the kind that is looked for.
    #[error("{} holds no {what} in PEM form", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file is not what it seems to be.
    #[error("{}: {why}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {} does not belong to the certificate in {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate is past its end.
    #[error("the certificate in {} expired on {}", .cert.display(), rfc3339(*.not_after))]
    Expired {
        /// The certificate's file.
        cert: PathBuf,
        /// Its last moment.
        not_after: Timestamp,
    },
    /// The system has no certificates of CAs that it trusts.
    #[error("the system has no certificates of CAs to trust{why}")]
    NoRoots {
        /// What was met on the way, behind a colon; empty when nothing was.
        why: String,
    },
    /// A text is neither a host name nor an address.
    #[error("`{name}` is neither a host name nor an address")]
    ServerName {
        /// The text.
        name: String,
    },
    /// The library refused what the files hold.
    #[error("the certificates can't be used")]
    Unusable(#[from] rustls::Error),
}
