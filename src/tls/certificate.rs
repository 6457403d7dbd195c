//! A certificate as the broker and people speak of it.

use std::fmt;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::types::Timestamp;

/// SHA-256 of a certificate's DER bytes: what `openssl x509 -fingerprint -sha256` prints, without
/// the colons and in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a verified certificate says of its holder.
///
/// A value of this type on a connection means that the handshake has checked the chain up to a CA
/// in the broker's file of client CAs, the dates, the purpose, and that the peer has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Names exactly this certificate.
    pub fingerprint: Fingerprint,
    /// The distinguished name, such as `CN=trainer, O=Example`.
    pub subject: String,
    /// The subject's common name, if it has one.
    pub common_name: Option<String>,
    /// Alternative names: DNS names, addresses, URIs (SPIFFE ids among them), mail addresses.
    pub names: Vec<String>,
    /// Valid until then.
    pub not_after: Timestamp,
}

impl PeerCertificate {
    /// Reads the first certificate of a chain.
    ///
    /// # Errors
    /// What is wrong with its bytes.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let common_name = parsed.subject().iter_common_name().next();
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let names = alternative.map(|names| names.value.general_names.iter().map(name).collect());
        Ok(Self {
            fingerprint: Fingerprint(Sha256::digest(der).into()),
            subject: parsed.subject().to_string(),
            common_name: common_name
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            names: names.unwrap_or_default(),
            not_after: Timestamp(parsed.validity().not_after.timestamp().saturating_mul(1000)),
        })
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after < now
    }
}

impl fmt::Display for PeerCertificate {
    /// `CN=localhost (localhost, 127.0.0.1), valid until 2027-…, SHA-256 ab…`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.subject.is_empty() {
            "no subject"
        } else {
            &self.subject
        })?;
        if !self.names.is_empty() {
            write!(f, " ({})", self.names.join(", "))?;
        }
        let until = rfc3339(self.not_after);
        write!(f, ", valid until {until}, SHA-256 {}", self.fingerprint)
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            (*name).to_owned()
        }
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), bytes.len()) {
            (Ok(four), _) => std::net::IpAddr::from(four).to_string(),
            (Err(_), 16) => <[u8; 16]>::try_from(*bytes)
                .map(|bytes| std::net::IpAddr::from(bytes).to_string())
                .unwrap_or_default(),
            _ => "an address of neither 4 nor 16 bytes".to_owned(),
        },
        other => other.to_string(),
    }
}

/// A time in UTC, to the second.
pub(super) fn rfc3339(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.0.div_euclid(1000)) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{} ms", time.0),
    }
}
