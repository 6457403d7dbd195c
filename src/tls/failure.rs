//! Words for a handshake that failed, from either side's point of view.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::certificate::rfc3339;
use crate::types::Timestamp;

/// Why a client and what it has reached did not come to terms over TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// No CA that is trusted here has issued the broker's certificate.
    #[error("the broker's certificate was not issued by a CA that is trusted here ({trusted})")]
    UnknownIssuer {
        /// Whom this client trusts.
        trusted: String,
    },
    /// The CA that the broker's certificate names is trusted here, and has another key.
    #[error(
        "the broker's certificate was not signed by the CA that it names, but by one of the same \
         name with another key; trusted here is {trusted}"
    )]
    OtherKey {
        /// Whom this client trusts.
        trusted: String,
    },
    /// The broker's certificate is past its end.
    #[error("the broker's certificate expired{}", on(.not_after))]
    Expired {
        /// Its last moment, where it is known.
        not_after: Option<Timestamp>,
    },
    /// The broker's certificate begins in the future.
    #[error("the broker's certificate is not valid yet; is a clock wrong?")]
    NotYetValid,
    /// The broker's certificate is another host's.
    #[error("the broker's certificate is not for `{expected}`, but for {}", listed(.presented))]
    WrongName {
        /// The name that was looked for.
        expected: String,
        /// The names it has.
        presented: Vec<String>,
    },
    /// The broker's certificate breaks another rule.
    #[error("the broker's certificate is not good: {why}")]
    BadCertificate {
        /// The rule.
        why: String,
    },
    /// The broker takes nobody without a certificate.
    #[error("the broker demands a client certificate, and this client has none")]
    CertificateDemanded,
    /// The broker does not take this client's certificate.
    #[error("the broker refused this client's certificate: {why}")]
    CertificateRefused {
        /// As the broker put it.
        why: &'static str,
    },
    /// What answers speaks something else.
    #[error("what answers there does not speak TLS")]
    NotTls,
    /// What answers speaks TLS, and another protocol in it.
    #[error("what answers there speaks TLS, but not the protocol of npayload in it")]
    OtherProtocol,
    /// What answers speaks only other versions of TLS.
    #[error("what answers there does not speak TLS 1.3")]
    OtherVersion,
    /// The connection ended during the handshake.
    #[error("the connection was closed during the TLS handshake")]
    Closed,
    /// Anything else.
    #[error("{why}")]
    Other {
        /// What the library said.
        why: String,
    },
}

/// What rustls has to say in an error of a stream.
#[must_use]
pub fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

impl TlsFailure {
    /// What a client's stream has failed with, if that was TLS.
    ///
    /// - `trusted`: whom the client trusts, in words.
    #[must_use]
    pub fn of_client(error: &io::Error, trusted: &str) -> Option<Self> {
        let error = rustls_error(error)?;
        Some(match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error, trusted),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Self::OtherVersion,
            other => Self::Other {
                why: other.to_string(),
            },
        })
    }

    fn of_certificate(error: &CertificateError, trusted: &str) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer {
                trusted: trusted.to_owned(),
            },
            CertificateError::BadSignature => Self::OtherKey {
                trusted: trusted.to_owned(),
            },
            CertificateError::Expired => Self::Expired { not_after: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                let seconds = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
                let not_after = Some(Timestamp(seconds.saturating_mul(1000)));
                Self::Expired { not_after }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Self::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.clone(),
            },
            other => Self::BadCertificate {
                why: other.to_string(),
            },
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        let refused = |why| Self::CertificateRefused { why };
        match alert {
            AlertDescription::CertificateRequired => Self::CertificateDemanded,
            AlertDescription::UnknownCA => refused("it knows no CA that has issued it"),
            AlertDescription::CertificateExpired => refused("it expired, or is not valid yet"),
            AlertDescription::CertificateRevoked => refused("it was revoked"),
            AlertDescription::BadCertificate => refused("it can't be read"),
            AlertDescription::UnsupportedCertificate => refused("it is not meant for clients"),
            AlertDescription::DecryptError => {
                refused("it was not signed by the CA that it names, but by one of the same name")
            }
            AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => {
                refused("it does not verify")
            }
            AlertDescription::NoApplicationProtocol => Self::OtherProtocol,
            AlertDescription::ProtocolVersion => Self::OtherVersion,
            other => Self::Other {
                why: format!("the broker ended the handshake with {other:?}"),
            },
        }
    }
}

/// Why a client's handshake failed, for the broker's log.
#[must_use]
pub fn why_the_client_failed(error: &io::Error) -> String {
    let Some(failure) = rustls_error(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "it closed the connection during the handshake".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match failure {
        Error::NoCertificatesPresented => {
            "it has no client certificate, which is required here".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no CA in the file of client CAs has issued its certificate".to_owned()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "its certificate was not signed by the CA that it names, but by one of the same name \
             with another key"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            let seconds = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
            let time = Timestamp(seconds.saturating_mul(1000));
            format!("its certificate expired on {}", rfc3339(time))
        }
        Error::InvalidCertificate(error) => format!("its certificate is not good: {error}"),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => {
                "it does not trust the CA of this broker's certificate".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "to it this broker's certificate has expired, or is not valid yet".to_owned()
            }
            AlertDescription::BadCertificate => {
                "it does not take this broker's certificate: most often because the certificate \
                 is not for the name that it connected to"
                    .to_owned()
            }
            AlertDescription::DecryptError => {
                "it trusts a CA of the same name as this broker's, with another key".to_owned()
            }
            AlertDescription::CertificateUnknown | AlertDescription::UnsupportedCertificate => {
                format!("it does not take this broker's certificate ({alert:?})")
            }
            alert => format!("it ended the handshake with {alert:?}"),
        },
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "it speaks no version of TLS that is taken here".to_owned(),
        Error::NoApplicationProtocol => "it wants another protocol than this port's".to_owned(),
        other => other.to_string(),
    }
}

fn on(not_after: &Option<Timestamp>) -> String {
    not_after.map_or_else(String::new, |time| format!(" on {}", rfc3339(time)))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    names.join(", ")
}
