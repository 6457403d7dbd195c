//! Certificates of a test's own, good and bad.

use std::path::{Path, PathBuf};

use npayload::tls::{
    ClientCertificates, ClientTls, ClientTlsOptions, DevelopmentFiles, DevelopmentOptions,
    IdentityFiles, ServerTlsOptions, TlsVersion,
};
use npayload::types::Timestamp;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A directory with a CA, a broker's certificate for `localhost` and 127.0.0.1, and one of the
/// client `trainer`.
pub struct Pki {
    dir: tempfile::TempDir,
}

pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "certificates are made for today")]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("soon enough"))
}

impl Pki {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = DevelopmentOptions {
            dir: dir.path().join("certs"),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            clients: vec!["trainer".to_owned()],
            days: 30,
        };
        DevelopmentFiles::make(&options, now()).expect("certificates");
        Self { dir }
    }

    /// A path beside the certificates.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// One of the certificates or keys.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path("certs").join(name)
    }

    /// The same as text, for a command line.
    pub fn arg(&self, name: &str) -> String {
        self.file(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn server_options(&self) -> ServerTlsOptions {
        ServerTlsOptions {
            cert: self.file("server.pem"),
            key: self.file("server-key.pem"),
            client_ca: None,
            client_certificates: ClientCertificates::Required,
            min_version: TlsVersion::V13,
        }
    }

    /// The broker's, demanding client certificates of its own CA.
    pub fn demanding(&self, how: ClientCertificates) -> ServerTlsOptions {
        ServerTlsOptions {
            client_ca: Some(self.file("ca.pem")),
            client_certificates: how,
            ..self.server_options()
        }
    }

    /// A client that trusts this CA and has no certificate.
    pub fn trusting(&self) -> ClientTls {
        self.client(None)
    }

    /// A client that trusts this CA and shows `name.pem`.
    pub fn showing(&self, name: &str) -> ClientTls {
        self.client(Some(self.identity(name)))
    }

    pub fn identity(&self, name: &str) -> IdentityFiles {
        IdentityFiles {
            cert: self.file(&format!("{name}.pem")),
            key: self.file(&format!("{name}-key.pem")),
        }
    }

    pub fn client(&self, identity: Option<IdentityFiles>) -> ClientTls {
        let options = ClientTlsOptions {
            ca: Some(self.file("ca.pem")),
            identity,
            server_name: None,
        };
        ClientTls::load(&options).expect("good files")
    }

    /// This CA, for rustls itself.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.file("ca.pem")).expect("PEM");
        roots.add(ca).expect("a CA");
        roots
    }

    /// A client of rustls itself that trusts this CA.
    pub fn config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ClientConfig {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that there are")
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// Issues another certificate, `name.pem` with `name-key.pem`; the first of its names is
    /// `localhost`.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let read = |name: &str| std::fs::read_to_string(self.file(name)).expect("readable");
        let ca_key = KeyPair::from_pem(&read("ca-key.pem")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("a CA");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&self.file(&format!("{name}.pem")), &certificate.pem());
        write(&self.file(&format!("{name}-key.pem")), &key.serialize_pem());
    }

    /// Issues `name.pem` under the name of this CA, with another key than the CA's.
    pub fn forge(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let ca_key = std::fs::read(self.file("ca-key.pem")).expect("readable");
        let other = KeyPair::generate().expect("a key");
        write(&self.file("ca-key.pem"), &other.serialize_pem());
        self.issue(name, change);
        std::fs::write(self.file("ca-key.pem"), ca_key).expect("written");
    }

    /// Puts another certificate and key in the place of the broker's.
    pub fn replace_server(&self, pki: &Self, name: &str) {
        for end in ["-key.pem", ".pem"] {
            let from = pki.file(&format!("{name}{end}"));
            std::fs::copy(from, self.file(&format!("server{end}"))).expect("copied");
        }
    }
}

pub fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

pub fn expired(params: &mut CertificateParams) {
    params.not_after = rcgen::date_time_ymd(2021, 6, 1);
}

pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}
