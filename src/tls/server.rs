//! The broker's side: its certificate, whether clients need one, and taking new files while it
//! runs.

use std::fmt;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::certificate::PeerCertificate;
use super::error::TlsError;
use super::{BINARY_PROTOCOL, HTTP_PROTOCOL, files, provider};
use crate::types::Timestamp;

/// What a broker shows of itself and demands of its clients. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsOptions {
    /// The broker's certificate, followed by those between it and its CA.
    pub cert: PathBuf,
    /// The key to it.
    pub key: PathBuf,
    /// The CAs whose client certificates are taken; clients are asked for none without it.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must have one; only looked at beside `client_ca`.
    pub client_certificates: ClientCertificates,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// Whether a client must show a certificate. One that is shown must be valid either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Whoever has none is refused in the handshake.
    #[default]
    Required,
    /// Whoever has none is let in without.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2, for clients that know no better.
    #[serde(rename = "1.2")]
    V12,
    /// 1.3.
    #[default]
    #[serde(rename = "1.3")]
    V13,
}

impl TlsVersion {
    fn and_newer(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::V13 => vec![&rustls::version::TLS13],
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.2" => Ok(Self::V12),
            "1.3" => Ok(Self::V13),
            _ => Err("the versions are 1.2 and 1.3"),
        }
    }
}

impl FromStr for ClientCertificates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => Err("client certificates are `required` or `optional`"),
        }
    }
}

/// The files in use. New ones are taken without disturbing connections that are open.
#[derive(Debug)]
pub struct ServerTls {
    options: ServerTlsOptions,
    current: RwLock<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    binary: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    certificate: PeerCertificate,
    /// Of the files' bytes.
    digest: [u8; 32],
}

/// What looking at the files again came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// They are what they were.
    Unchanged,
    /// New connections get this certificate from now on.
    Changed(PeerCertificate),
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file. A certificate that has expired is refused: no client
    /// would take it.
    pub fn load(options: ServerTlsOptions, now: Timestamp) -> Result<Self, TlsError> {
        let loaded = Loaded::of(&Files::read(&options)?, &options, now)?;
        Ok(Self {
            options,
            current: RwLock::new(Arc::new(loaded)),
        })
    }

    /// Reads the files again and takes them, if they have changed and are good.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use.
    pub fn reload(&self, now: Timestamp) -> Result<Reloaded, TlsError> {
        let files = Files::read(&self.options)?;
        if files.digest == self.current().digest {
            return Ok(Reloaded::Unchanged);
        }
        let loaded = Loaded::of(&files, &self.options, now)?;
        let certificate = loaded.certificate.clone();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(loaded);
        Ok(Reloaded::Changed(certificate))
    }

    /// What handshakes on the binary port are made with now.
    #[must_use]
    pub fn binary(&self) -> Arc<ServerConfig> {
        self.current().binary.clone()
    }

    /// What handshakes on the HTTP port are made with now.
    #[must_use]
    pub fn http(&self) -> Arc<ServerConfig> {
        self.current().http.clone()
    }

    /// The certificate that clients are shown now.
    #[must_use]
    pub fn certificate(&self) -> PeerCertificate {
        self.current().certificate.clone()
    }

    /// The file of the key, where every user of the machine may read it.
    #[must_use]
    pub fn exposed_key(&self) -> Option<&Path> {
        #[cfg(unix)]
        {
            let mode = std::fs::metadata(&self.options.key).map(|file| file.mode());
            if mode.is_ok_and(|mode| mode & 0o004 != 0) {
                return Some(&self.options.key);
            }
        }
        None
    }

    fn current(&self) -> Arc<Loaded> {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The bytes of the files, as they were at one moment.
struct Files {
    cert: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
    digest: [u8; 32],
}

impl Files {
    fn read(options: &ServerTlsOptions) -> Result<Self, TlsError> {
        let cert = files::read(&options.cert)?;
        let key = files::read(&options.key)?;
        let client_ca = options.client_ca.as_deref().map(files::read).transpose()?;
        let mut digest = Sha256::new();
        for bytes in [Some(&cert), Some(&key), client_ca.as_ref()] {
            // Each by itself, so that bytes moved from one file to the next are a change.
            digest.update(Sha256::digest(bytes.map_or(&[][..], |bytes| bytes)));
        }
        Ok(Self {
            cert,
            key,
            client_ca,
            digest: digest.finalize().into(),
        })
    }
}

impl Loaded {
    fn of(files: &Files, options: &ServerTlsOptions, now: Timestamp) -> Result<Self, TlsError> {
        let cert = (options.cert.as_path(), files.cert.as_slice());
        let key = (options.key.as_path(), files.key.as_slice());
        let (identity, certificate) = files::identity(cert, key)?;
        if certificate.is_expired(now) {
            return Err(TlsError::Expired {
                cert: options.cert.clone(),
                not_after: certificate.not_after,
            });
        }
        let roots = match (&options.client_ca, &files.client_ca) {
            (Some(path), Some(bytes)) => Some(Arc::new(files::roots(path, bytes)?)),
            _ => None,
        };
        let config = |protocol: &[u8]| config(options, &identity, roots.as_ref(), protocol);
        Ok(Self {
            binary: Arc::new(config(BINARY_PROTOCOL)?),
            http: Arc::new(config(HTTP_PROTOCOL)?),
            certificate,
            digest: files.digest,
        })
    }
}

fn config(
    options: &ServerTlsOptions,
    identity: &Arc<CertifiedKey>,
    roots: Option<&Arc<RootCertStore>>,
    protocol: &[u8],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&options.min_version.and_newer())?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
            let verifier = match options.client_certificates {
                ClientCertificates::Required => verifier,
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| TlsError::Malformed {
                path: options.client_ca.clone().unwrap_or_default(),
                why: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let resolver = SingleCertAndKey::from(identity.clone());
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![protocol.to_vec()];
    // No session is resumed: a client whose certificate was refused is refused the next time, and
    // what the broker holds for a client that has gone is nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
