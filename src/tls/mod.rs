//! TLS: certificates and keys from files, what each side demands of the other, words for what goes
//! wrong, and certificates for development.
//!
//! One library (rustls) and one provider of cryptography (ring) for both sides; see
//! docs/decisions/2026-11-26-tls-with-rustls-and-ring.md. Keys are read from files and never taken
//! as text, so that none shows in a list of processes. Not here: sockets and handshakes, which are
//! the server's and the client's, and what a certificate allows, which is the broker's.

mod certificate;
mod client;
mod development;
mod error;
mod failure;
mod files;
mod server;

#[cfg(test)]
mod tests;

pub use certificate::{Fingerprint, PeerCertificate};
pub use client::{ClientTls, ClientTlsOptions, IdentityFiles};
pub use development::{DevelopmentError, DevelopmentFiles, DevelopmentOptions};
pub use error::TlsError;
pub use failure::{TlsFailure, rustls_error, why_the_client_failed};
pub use server::{ClientCertificates, Reloaded, ServerTls, ServerTlsOptions, TlsVersion};

/// The protocol that the binary port and its clients agree on in the handshake, so that a
/// handshake meant for another service never becomes a connection of this one.
pub const BINARY_PROTOCOL: &[u8] = b"npayload";

/// The same for `/metrics` and `/healthz`.
pub const HTTP_PROTOCOL: &[u8] = b"http/1.1";

/// The one provider of cryptography.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}

/// Whether bytes are how a TLS connection begins: a handshake record of any version since TLS 1.0. No frame of a
/// hello begins so: its length would be above 64 KiB, the limit of a hello.
///
/// - `first`: at least [`OPENING_BYTES`].
#[must_use]
pub fn is_client_hello(first: &[u8]) -> bool {
    matches!(first, [0x16, 3, 1..=4, ..])
}

/// As many bytes tell whether a connection begins with TLS.
pub const OPENING_BYTES: usize = 3;
