//! Files with which no broker starts, and no client connects, and what is said of them.

use npayload::server::StartError;
use npayload::tls::{ClientTls, ClientTlsOptions, IdentityFiles, TlsError};

use super::pki::{self, Pki};
use super::*;

/// Why a broker with these options does not start.
async fn refusal(pki: &Pki, change: impl FnOnce(&mut npayload::tls::ServerTlsOptions)) -> TlsError {
    let mut options = crate::server::options(&pki.path("data"));
    let mut tls = pki.server_options();
    change(&mut tls);
    options.tls = Some(tls);
    match start(options).await {
        Err(StartError::Tls(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it has started"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_starts_with_no_bad_file_and_names_it() {
    let (pki, other) = (Pki::new(), Pki::new());
    let missing = refusal(&pki, |tls| tls.cert = pki.file("nothing.pem")).await;
    assert!(matches!(&missing, TlsError::Read { path, .. } if *path == pki.file("nothing.pem")));
    let mismatch = refusal(&pki, |tls| tls.key = other.file("server-key.pem")).await;
    let text = mismatch.to_string();
    assert!(matches!(mismatch, TlsError::Mismatch { .. }), "{text}");
    assert!(text.contains(&other.arg("server-key.pem")) && text.contains(&pki.arg("server.pem")));
    let swapped = refusal(&pki, |tls| tls.cert = pki.file("server-key.pem")).await;
    assert!(
        matches!(
            &swapped,
            TlsError::Missing {
                what: "certificate",
                ..
            }
        ),
        "{swapped}"
    );
    let no_key = refusal(&pki, |tls| tls.key = pki.file("server.pem")).await;
    assert!(
        matches!(
            &no_key,
            TlsError::Missing {
                what: "private key",
                ..
            }
        ),
        "{no_key}"
    );
    pki::write(&pki.file("empty.pem"), "");
    let empty = refusal(&pki, |tls| tls.client_ca = Some(pki.file("empty.pem"))).await;
    assert!(matches!(&empty, TlsError::Missing { path, .. } if *path == pki.file("empty.pem")));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    pki::write(&pki.file("broken.pem"), broken);
    let broken = refusal(&pki, |tls| tls.cert = pki.file("broken.pem")).await;
    assert!(matches!(&broken, TlsError::Malformed { .. }), "{broken}");
    pki.issue("late", pki::expired);
    let late = refusal(&pki, |tls| {
        (tls.cert, tls.key) = (pki.file("late.pem"), pki.file("late-key.pem"));
    })
    .await;
    assert!(
        late.to_string().contains("expired on 2021-06-01T00:00:00Z"),
        "{late}"
    );
    // A device that never ends is not read to its end.
    let endless = refusal(&pki, |tls| tls.cert = "/dev/zero".into()).await;
    assert!(matches!(endless, TlsError::TooLarge { .. }), "{endless}");
    // Nothing was begun by any of them.
    assert!(!pki.path("data").exists());
}

#[tokio::test]
async fn a_client_with_bad_files_fails_before_it_connects() {
    let (pki, other) = (Pki::new(), Pki::new());
    let with = |ca: &str, identity: Option<(&str, std::path::PathBuf)>| {
        ClientTls::load(&ClientTlsOptions {
            ca: Some(pki.file(ca)),
            identity: identity.map(|(cert, key)| IdentityFiles {
                cert: pki.file(cert),
                key,
            }),
            server_name: None,
        })
        .map(drop)
    };
    assert!(matches!(
        with("nothing.pem", None),
        Err(TlsError::Read { .. })
    ));
    assert!(matches!(
        with("ca-key.pem", None),
        Err(TlsError::Missing { .. })
    ));
    let key = other.file("client-trainer-key.pem");
    let mismatch = with("ca.pem", Some(("client-trainer.pem", key)));
    assert!(matches!(mismatch, Err(TlsError::Mismatch { .. })));
    let named = ClientTls::load(&ClientTlsOptions {
        ca: Some(pki.file("ca.pem")),
        identity: None,
        server_name: Some("no name".to_owned()),
    });
    assert!(matches!(named, Err(TlsError::ServerName { .. })));
    let tls = pki.trusting();
    let error = quick().tls(tls).connect("npayload+tls://a_b..c").await;
    assert!(
        matches!(
            error,
            Err(ConnectError::TlsFiles(_) | ConnectError::Io { .. })
        ),
        "{error:?}"
    );
}
