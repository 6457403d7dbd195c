//! Certificates and keys, read from PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use super::certificate::PeerCertificate;
use super::error::TlsError;
use super::provider;

/// No bundle of certificates comes near it.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The bytes of a file, wiped from memory when dropped: it may hold a key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    let limit = MAX_FILE_BYTES;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        let path = path.to_owned();
        return Err(TlsError::TooLarge { path, limit });
    }
    Ok(bytes)
}

/// Every certificate of a file, at least one.
pub(super) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(path, "certificate", &error))?;
    if found.is_empty() {
        return Err(missing(path, "certificate"));
    }
    Ok(found)
}

/// The certificate and its chain with the key to it.
pub(super) fn identity(
    (cert, cert_bytes): (&Path, &[u8]),
    (key, key_bytes): (&Path, &[u8]),
) -> Result<(Arc<CertifiedKey>, PeerCertificate), TlsError> {
    let chain = certificates(cert, cert_bytes)?;
    let described = PeerCertificate::read(&chain[0]).map_err(|why| TlsError::Malformed {
        path: cert.to_owned(),
        why: format!("its first certificate can't be read: {why}"),
    })?;
    let private = PrivateKeyDer::from_pem_slice(key_bytes)
        .map_err(|error| malformed(key, "private key", &error))?;
    match CertifiedKey::from_der(chain, private, &provider()) {
        Ok(certified) => Ok((Arc::new(certified), described)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        Err(error) => Err(TlsError::Malformed {
            path: key.to_owned(),
            why: format!("its key can't be used: {error}"),
        }),
    }
}

/// CAs to trust, from a file.
pub(super) fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Malformed {
                path: path.to_owned(),
                why: format!("a certificate in it can't be a CA: {error}"),
            })?;
    }
    Ok(roots)
}

fn missing(path: &Path, what: &'static str) -> TlsError {
    let path = path.to_owned();
    TlsError::Missing { path, what }
}

fn malformed(path: &Path, what: &'static str, error: &PemError) -> TlsError {
    match error {
        PemError::NoItemsFound => missing(path, what),
        error => TlsError::Malformed {
            path: path.to_owned(),
            why: format!("it is no PEM file: {error}"),
        },
    }
}
