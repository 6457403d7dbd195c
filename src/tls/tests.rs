//! Certificates read and made, in memory and in a directory.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use sha2::{Digest, Sha256};

use super::*;
use crate::types::Timestamp;

/// 2026-01-31T12:00:00Z.
const NOON: Timestamp = Timestamp(1_769_860_800_000);

fn made(clients: &[&str]) -> (tempfile::TempDir, DevelopmentFiles) {
    let dir = tempfile::tempdir().unwrap();
    let options = DevelopmentOptions {
        dir: dir.path().to_owned(),
        names: vec![
            "localhost".to_owned(),
            "::1".to_owned(),
            "10.0.0.1".to_owned(),
        ],
        clients: clients.iter().map(|&name| name.to_owned()).collect(),
        days: 1,
    };
    let files = DevelopmentFiles::make(&options, NOON).unwrap();
    (dir, files)
}

#[test]
fn a_certificate_tells_its_holder_its_names_its_end_and_its_fingerprint() {
    let (_dir, files) = made(&["trainer"]);
    let (cert, _) = &files.clients[0];
    let der = CertificateDer::from_pem_file(cert).unwrap();
    let client = PeerCertificate::read(&der).unwrap();
    assert_eq!(client.subject, "O=npayload development, CN=trainer");
    assert_eq!(client.common_name.as_deref(), Some("trainer"));
    assert!(client.names.is_empty());
    let digest: [u8; 32] = Sha256::digest(&der).into();
    assert_eq!(client.fingerprint, Fingerprint(digest));
    assert_eq!(client.fingerprint.to_string().len(), 64);
    // Whole days: to the end of the one after the last.
    assert_eq!(client.not_after, Timestamp(NOON.0 + (24 + 12) * 3_600_000));
    assert!(!client.is_expired(client.not_after));
    assert!(client.is_expired(Timestamp(client.not_after.0 + 1)));
    let (cert, _) = files.server.unwrap();
    let der = CertificateDer::from_pem_file(cert).unwrap();
    let server = PeerCertificate::read(&der).unwrap();
    assert_eq!(server.names, ["localhost", "::1", "10.0.0.1"]);
    let text = server.to_string();
    assert!(
        text.contains("(localhost, ::1, 10.0.0.1), valid until 2026-02-02T00:00:00Z"),
        "{text}"
    );
    assert!(PeerCertificate::read(&CertificateDer::from(vec![1, 2, 3])).is_err());
}

#[test]
fn a_beginning_is_tls_or_it_is_a_frame() {
    for version in 1..=4 {
        assert!(is_client_hello(&[0x16, 3, version, 2, 0]));
    }
    // The longest hello is 64 KiB, and its length comes first.
    for length in (12..=64 * 1024u32).chain([u32::MAX]) {
        assert!(!is_client_hello(&length.to_le_bytes()), "{length}");
    }
    for other in [
        &b""[..],
        b"\x16",
        b"\x16\x03",
        b"GET / HTTP/1.1",
        b"\x16\x03\x05",
    ] {
        assert!(!is_client_hello(other));
    }
}

#[test]
fn new_files_are_told_from_old_ones_by_what_is_in_them() {
    let (dir, files) = made(&[]);
    let (cert, key) = files.server.unwrap();
    let options = ServerTlsOptions {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: None,
        client_certificates: ClientCertificates::Required,
        min_version: TlsVersion::V13,
    };
    let tls = ServerTls::load(options, NOON).unwrap();
    let first = tls.certificate();
    // Written again, and the same.
    std::fs::write(&cert, std::fs::read(&cert).unwrap()).unwrap();
    assert_eq!(tls.reload(NOON).unwrap(), Reloaded::Unchanged);
    let (_other, others) = made(&[]);
    let (other_cert, other_key) = others.server.unwrap();
    std::fs::copy(other_cert, &cert).unwrap();
    let half = tls.reload(NOON).unwrap_err();
    assert!(matches!(half, TlsError::Mismatch { .. }), "{half}");
    assert_eq!(tls.certificate(), first);
    std::fs::copy(other_key, &key).unwrap();
    // At a time when nobody would take it any more it is not taken.
    let late = tls.reload(Timestamp(NOON.0 + 3 * 86_400_000)).unwrap_err();
    assert!(matches!(late, TlsError::Expired { .. }), "{late}");
    let Reloaded::Changed(second) = tls.reload(NOON).unwrap() else {
        panic!("new files");
    };
    assert_eq!(tls.certificate(), second);
    assert_ne!(first.fingerprint, second.fingerprint);
    drop(dir);
}
