//! New certificates while the broker runs: connections stay, good files are taken, bad ones not.

use npayload::tls::ClientCertificates;

use super::pki::{self, Pki};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_get_the_new_certificate_and_old_ones_stay() {
    let (pki, next) = (Pki::new(), Pki::new());
    let running = broker(&pki, |_| {}).await;
    let before = running.certificate().expect("it has one");
    let old = quick()
        .tls(pki.trusting())
        .connect(&url(&running))
        .await
        .expect("let in");
    let epoch = old.hello().await.expect("said").epoch;
    assert!(running.reload_tls().await, "the same files are good");
    assert_eq!(running.certificate().as_ref(), Some(&before));
    pki.replace_server(&next, "server");
    assert!(running.reload_tls().await, "good files");
    let after = running.certificate().expect("it has one");
    assert_ne!(after.fingerprint, before.fingerprint);
    let state = old.state();
    old.ping().await.expect("still served");
    assert!(
        !state.has_changed().expect("alive"),
        "over the connection that it had"
    );
    let failed = failure(quick().tls(pki.trusting()), &url(&running)).await;
    assert!(
        matches!(failed, TlsFailure::UnknownIssuer { .. }),
        "{failed:?}"
    );
    let new = quick()
        .tls(next.trusting())
        .connect(&url(&running))
        .await
        .expect("let in");
    assert_eq!(new.hello().await.expect("said").epoch, epoch, "no restart");
    let config = next.config(&[&rustls::version::TLS13]);
    let stream = raw_tls(running.http().unwrap(), config)
        .await
        .expect("both ports");
    assert!(get(stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_new_files_leave_the_old_ones_in_use() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = broker(&pki, |_| {}).await;
    let before = running.certificate();
    let (cert, key) = (pki.file("server.pem"), pki.file("server-key.pem"));
    let (good_cert, good_key) = (std::fs::read(&cert).unwrap(), std::fs::read(&key).unwrap());
    other.issue("late", pki::expired);
    let spoil: [&dyn Fn(); 5] = [
        &|| std::fs::remove_file(&cert).unwrap(),
        &|| pki::write(&cert, "-----BEGIN CERTIFICATE-----\nno base64!\n"),
        &|| pki::write(&key, ""),
        &|| assert!(std::fs::copy(other.file("server-key.pem"), &key).is_ok()),
        &|| pki.replace_server(&other, "late"),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        spoil();
        assert!(!running.reload_tls().await, "case {n} is bad");
        assert_eq!(running.certificate(), before, "case {n}");
        let client = quick().tls(pki.trusting()).connect(&url(&running)).await;
        client
            .expect("the old one serves")
            .ping()
            .await
            .expect("served");
        std::fs::write(&cert, &good_cert).unwrap();
        std::fs::write(&key, &good_key).unwrap();
        assert!(running.reload_tls().await, "case {n} is mended");
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_client_cas_are_taken_too() {
    let (pki, next) = (Pki::new(), Pki::new());
    let running = broker(&pki, |options| {
        options.tls = Some(pki.demanding(ClientCertificates::Required));
    })
    .await;
    let with = |identity| {
        let tls = pki.client(Some(identity));
        let url = url(&running);
        async move { quick().tls(tls).connect(&url).await }
    };
    with(pki.identity("client-trainer")).await.expect("let in");
    assert!(with(next.identity("client-trainer")).await.is_err());
    let own = std::fs::read_to_string(pki.file("ca.pem")).unwrap();
    let theirs = std::fs::read_to_string(next.file("ca.pem")).unwrap();
    // Both, as while one CA follows another.
    let broker_ca = pki.file("ca.pem");
    pki::write(&broker_ca, &format!("{own}{theirs}"));
    assert!(running.reload_tls().await);
    with(pki.identity("client-trainer"))
        .await
        .expect("let in still");
    with(next.identity("client-trainer"))
        .await
        .expect("let in now");
    assert!(running.stop().await);
}
