//! Client certificates that stand for keys, keys that are not shown to the network, and who may watch
//! a broker that asks everybody for a key.

use std::net::SocketAddr;
use std::time::Duration;

use npayload::access::{KeyKind, Operation, Scope, Secret};
use npayload::client::{Client, ConnectError};
use npayload::protocol::ErrorCode;
use npayload::protocol::access::KeyCreate;
use npayload::server::start;
use npayload::tls::ClientCertificates::Optional;

use super::{key_request, org, scope};
use crate::server::options;
use crate::tls::pki::Pki;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_stands_for_the_key_that_names_it() {
    let pki = Pki::new();
    let mut options = options(&pki.path("data"));
    options.tls = Some(pki.demanding(Optional));
    options.require_keys = true;
    let file = pki.path("admin.key");
    options.admin_key_file = Some(file.clone());
    let running = start(options).await.unwrap();
    let url = format!("npayload+tls://localhost:{}", running.listen().port());
    let first: Secret = std::fs::read_to_string(&file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let builder = || Client::builder().connect_timeout(Duration::from_secs(10));
    let admin = builder().tls(pki.trusting()).api_key(first);
    let admin = admin.connect(&url).await.unwrap();
    // Known to the CA, and to nobody yet.
    let trainer = || builder().tls(pki.showing("client-trainer")).connect(&url);
    let stranger = trainer().await.unwrap_err();
    assert!(matches!(&stranger, ConnectError::Refused { source, .. }
        if source.is(ErrorCode::Unauthenticated)));
    admin
        .create_org(org("acme"), Default::default())
        .await
        .unwrap();
    let named = |org_name: Option<&str>| KeyCreate {
        org: org_name.map(org),
        certificate: Some("trainer".to_owned()),
        ..key_request("trainer", vec![scope(&[Operation::Publish], &["*"])])
    };
    let (key, _) = admin.create_key(named(Some("acme"))).await.unwrap();
    let client = trainer().await.unwrap();
    let principal = client.hello().await.unwrap().principal.unwrap();
    assert_eq!((principal.key, principal.org), (Some(key.id), org("acme")));
    let refused = client.channels("").await.unwrap();
    assert!(refused.is_empty());
    // One name stands for one key, and only who runs the broker says for which.
    let twice = admin.create_key(named(None)).await.unwrap_err();
    assert!(twice.is(ErrorCode::InvalidAccess), "{twice:?}");
    let mut all = key_request("administrator", vec![Scope::all()]);
    all.org = Some(org("acme"));
    let (_, of_acme) = admin.create_key(all).await.unwrap();
    let of_acme = builder()
        .tls(pki.trusting())
        .api_key(of_acme)
        .connect(&url)
        .await
        .unwrap();
    let mut other = named(None);
    other.certificate = Some("somebody.else".to_owned());
    let refused = of_acme.create_key(other).await.unwrap_err();
    assert!(refused.is(ErrorCode::Forbidden), "{refused:?}");
    // Revoked, the certificate stands for nobody, on open connections too.
    admin.revoke_key(key.id).await.unwrap();
    assert!(trainer().await.is_err());
    let ended = client.ping().await.unwrap_err();
    assert!(!ended.is_retryable(), "{ended:?}");
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_key_is_not_shown_to_the_network() {
    let key = Secret::new(KeyKind::Live, &[7; 32]);
    let lazy = |url: &str| Client::builder().api_key(key.clone()).lazy(url).map(drop);
    for hidden in [
        "npayload://127.0.0.1",
        "npayload://localhost",
        "npayload://[::1]",
    ] {
        lazy(hidden).unwrap();
    }
    let refused = lazy("npayload://broker.example").unwrap_err();
    assert!(matches!(refused, ConnectError::PlainKey { .. }));
    assert!(!refused.to_string().contains("0707"));
    let allowed = Client::builder().api_key(key.clone()).plain_key(true);
    allowed.lazy("npayload://broker.example").unwrap();
    // Without a key there is nothing to hide.
    Client::builder().lazy("npayload://broker.example").unwrap();
}

/// One GET with a key: the status and the body.
fn get(address: SocketAddr, path: &str, key: Option<&str>) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let shown = key.map_or(String::new(), |key| {
        format!("Authorization: Bearer {key}\r\n")
    });
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{shown}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        answer
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_who_has_the_scope_where_keys_are_required() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin.key");
    let mut options = options(&dir.path().join("data"));
    options.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    options.require_keys = true;
    options.admin_key_file = Some(file.clone());
    let running = start(options).await.unwrap();
    let http = running.http().unwrap();
    let first = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let admin = Client::builder()
        .api_key(first.parse().unwrap())
        .connect(&format!("npayload://{}", running.listen()))
        .await
        .unwrap();
    let make = async |operation| {
        let request = key_request("watcher", vec![scope(&[operation], &["*"])]);
        admin
            .create_key(request)
            .await
            .unwrap()
            .1
            .expose()
            .to_owned()
    };
    let (watcher, other) = (
        make(Operation::Metrics).await,
        make(Operation::Publish).await,
    );
    let told = tokio::task::spawn_blocking(move || {
        let shown = |path: &str, key: Option<&str>| {
            let (status, body) = get(http, path, key);
            (
                status,
                body.contains("npayload_requests_total") || body.contains("scrub"),
            )
        };
        assert_eq!(shown("/metrics", None), (401, false));
        assert_eq!(shown("/metrics", Some("npk_live_no")), (401, false));
        assert_eq!(shown("/metrics", Some(&other)), (401, false));
        assert_eq!(shown("/metrics", Some(&watcher)), (200, true));
        // Whether all is well is for everybody, why not is for who may see it.
        assert_eq!(
            get(http, "/healthz", None),
            (200, "{\"ok\":true}\n".to_owned())
        );
        assert_eq!(shown("/healthz", Some(&watcher)), (200, true));
    });
    told.await.unwrap();
    assert!(running.stop().await);
}
