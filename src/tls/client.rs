//! The client's side: whom it trusts, and what it shows of itself.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::error::TlsError;
use super::{BINARY_PROTOCOL, files, provider};

/// Files of a certificate and of the key to it, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, followed by those between it and its CA.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Whom a client trusts, and what it shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTlsOptions {
    /// The CAs to trust, PEM; those of the system when there is none.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for brokers that want one.
    pub identity: Option<IdentityFiles>,
    /// The name that the broker's certificate must have; the URL's host when there is none.
    pub server_name: Option<String>,
}

/// The same with all files read, shared by every connection of a client.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    trusted: String,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// Brokers speak TLS 1.3, and so does this client: it never falls back to 1.2.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(options: &ClientTlsOptions) -> Result<Self, TlsError> {
        let (roots, trusted) = match &options.ca {
            Some(path) => {
                let roots = files::roots(path, &files::read(path)?)?;
                (roots, path.display().to_string())
            }
            None => (system_roots()?, "the system's CAs".to_owned()),
        };
        let server_name = options.server_name.as_deref().map(parse_name).transpose()?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match &options.identity {
            Some(IdentityFiles { cert, key }) => {
                let (cert_bytes, key_bytes) = (files::read(cert)?, files::read(key)?);
                let (identity, _) = files::identity((cert, &cert_bytes), (key, &key_bytes))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![BINARY_PROTOCOL.to_vec()];
        // Connections last; and one that is made again after a refusal shall be judged anew.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            server_name,
            trusted,
        })
    }

    /// What handshakes are made with.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The name that the certificate of the broker at `host` must have.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] when the host is neither a name nor an address.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => parse_name(host),
        }
    }

    /// Whom it trusts, in words.
    #[must_use]
    pub fn trusted(&self) -> &str {
        &self.trusted
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}

/// The CAs that the operating system trusts. One that can't be read is passed over, as every
/// program does; none at all is an error.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why: String = found
            .errors
            .iter()
            .map(|error| format!(": {error}"))
            .collect();
        return Err(TlsError::NoRoots { why });
    }
    Ok(roots)
}
