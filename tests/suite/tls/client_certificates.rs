//! Client certificates: required, optional, absent, wrong.

use npayload::tls::ClientCertificates::{Optional, Required};
use npayload::tls::{ClientTls, ClientTlsOptions};

use super::pki::{self, Pki};
use super::*;

async fn demanding(pki: &Pki, how: npayload::tls::ClientCertificates) -> Running {
    broker(pki, |options| options.tls = Some(pki.demanding(how))).await
}

/// Certificates that no broker of `pki` takes from a client, each with what the client is told.
fn wrong(pki: &Pki, other: &Pki) -> Vec<(ClientTls, &'static str)> {
    pki.issue("late", |params| {
        pki::for_clients(params);
        pki::expired(params);
    });
    pki.forge("forged", pki::for_clients);
    let strangers = ClientTlsOptions {
        ca: Some(pki.file("ca.pem")),
        identity: Some(other.identity("client-trainer")),
        server_name: None,
    };
    vec![
        (
            ClientTls::load(&strangers).expect("good files"),
            "knows no CA",
        ),
        (pki.showing("late"), "expired"),
        (pki.showing("forged"), "not signed by the CA that it names"),
        // The broker's own certificate is meant for brokers.
        (pki.showing("server"), "not meant for clients"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_they_are_required_only_good_ones_are_let_in() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = demanding(&pki, Required).await;
    let client = quick()
        .tls(pki.showing("client-trainer"))
        .connect(&url(&running))
        .await;
    client.expect("a good one").ping().await.expect("served");
    let absent = failure(quick().tls(pki.trusting()), &url(&running)).await;
    assert_eq!(absent, TlsFailure::CertificateDemanded);
    for (tls, why) in wrong(&pki, &other) {
        match failure(quick().tls(tls), &url(&running)).await {
            TlsFailure::CertificateRefused { why: told } => assert!(told.contains(why), "{told}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_they_are_required_the_http_port_requires_them_too() {
    let pki = Pki::new();
    let running = demanding(&pki, Required).await;
    let http = running.http().unwrap();
    let config = pki.config(&[&rustls::version::TLS13]);
    // In TLS 1.3 the client's part of the handshake is over before the broker has judged it.
    let mut stream = raw_tls(http, config).await.expect("its own part");
    let refused = stream.read(&mut [0]).await.expect_err("no certificate");
    assert!(
        refused.to_string().contains("CertificateRequired"),
        "{refused}"
    );
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_they_are_optional_none_is_let_in_but_a_wrong_one_is_not() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = demanding(&pki, Optional).await;
    for tls in [pki.trusting(), pki.showing("client-trainer")] {
        let client = quick().tls(tls).connect(&url(&running)).await;
        client.expect("let in").ping().await.expect("served");
    }
    for (tls, why) in wrong(&pki, &other) {
        match failure(quick().tls(tls), &url(&running)).await {
            TlsFailure::CertificateRefused { why: told } => assert!(told.contains(why), "{told}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_asks_for_none_takes_who_has_one() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let client = quick()
        .tls(pki.showing("client-trainer"))
        .connect(&url(&running))
        .await;
    client.expect("let in").ping().await.expect("served");
    assert!(running.stop().await);
}
