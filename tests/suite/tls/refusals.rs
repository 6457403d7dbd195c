//! Who is not let in, or does not go in, and what the client is told of it.

use std::sync::Arc;

use npayload::protocol::ErrorCode;
use npayload::tls::{ClientTls, ClientTlsOptions, TlsVersion};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::pki::{self, Pki};
use super::*;

/// A server that shows `name.pem`, good or bad, and does nothing else.
async fn impostor(pki: &Pki, name: &str) -> String {
    let identity = pki.identity(name);
    let cert = CertificateDer::from_pem_file(identity.cert).expect("PEM");
    let key = PrivateKeyDer::from_pem_file(identity.key).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("accepted");
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let _ = stream.read(&mut [0; 100]).await;
            }
        }
    });
    format!("npayload+tls://localhost:{}", address.port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_ca_that_is_not_trusted_is_refused_naming_whom_is() {
    let (pki, other) = (Pki::new(), Pki::new());
    let running = broker(&pki, |_| {}).await;
    let failed = failure(quick().tls(other.trusting()), &url(&running)).await;
    let trusted = other.file("ca.pem").display().to_string();
    assert_eq!(failed, TlsFailure::UnknownIssuer { trusted });
    // One of the same name, made anew, is another CA.
    pki.forge("forged", |_| {});
    let failed = failure(quick().tls(pki.trusting()), &impostor(&pki, "forged").await).await;
    let trusted = pki.file("ca.pem").display().to_string();
    assert_eq!(failed, TlsFailure::OtherKey { trusted });
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_host_is_refused_naming_both() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let port = running.listen().port();
    // ::1 is not among its names; nobody needs to listen there for the name to be checked.
    let options = ClientTlsOptions {
        ca: Some(pki.file("ca.pem")),
        identity: None,
        server_name: Some("broker.example".to_owned()),
    };
    let tls = ClientTls::load(&options).expect("good files");
    match failure(quick().tls(tls), &url(&running)).await {
        TlsFailure::WrongName {
            expected,
            presented,
        } => {
            assert_eq!(expected, "broker.example");
            assert!(
                presented.iter().any(|name| name.contains("localhost")),
                "{presented:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    // The address is a name of it too.
    let by_address = format!("npayload+tls://127.0.0.1:{port}");
    let client = quick().tls(pki.trusting()).connect(&by_address).await;
    client
        .expect("one of its names")
        .ping()
        .await
        .expect("served");
    // And a name that the URL does not have may be asked for.
    let options = ClientTlsOptions {
        server_name: Some("127.0.0.1".to_owned()),
        ..options
    };
    let tls = ClientTls::load(&options).expect("good files");
    let client = quick().tls(tls).connect(&url(&running)).await;
    client
        .expect("the other name")
        .ping()
        .await
        .expect("served");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_before_or_after_its_time_is_refused_with_the_time() {
    let pki = Pki::new();
    pki.issue("expired", pki::expired);
    pki.issue("early", |params| {
        params.not_before = rcgen::date_time_ymd(2085, 1, 1)
    });
    let failed = failure(
        quick().tls(pki.trusting()),
        &impostor(&pki, "expired").await,
    )
    .await;
    assert_eq!(
        failed.to_string(),
        "the broker's certificate expired on 2021-06-01T00:00:00Z"
    );
    let failed = failure(quick().tls(pki.trusting()), &impostor(&pki, "early").await).await;
    assert_eq!(failed, TlsFailure::NotYetValid);
    // The same server with a good one is believed, so it was the time.
    pki.issue("good", |_| {});
    let url = impostor(&pki, "good").await;
    let error = quick()
        .tls(pki.trusting())
        .connect(&url)
        .await
        .expect_err("it says nothing");
    assert!(!matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_is_told_by_a_frame_that_the_port_speaks_tls() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let plain = format!("npayload://{}", running.listen());
    match quick().connect(&plain).await {
        Err(ConnectError::Refused { source, .. }) => {
            assert!(source.is(ErrorCode::TlsRequired), "{source:?}");
        }
        other => panic!("{other:?}"),
    }
    // Whatever it begins with, and however much of it: one readable frame, then the end.
    for begun in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", &[0xFF; 60_000]] {
        let mut socket = TcpStream::connect(running.listen())
            .await
            .expect("accepted");
        socket.write_all(begun).await.expect("taken");
        let mut told = Vec::new();
        socket
            .read_to_end(&mut told)
            .await
            .expect("a frame and the end");
        let length = u32::from_le_bytes(told[..4].try_into().unwrap());
        assert_eq!(length as usize + 4, told.len(), "one frame");
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("TLS_REQUIRED"), "{told}");
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_tls_is_told_that_the_port_speaks_without() {
    let pki = Pki::new();
    let running = broker(&pki, |options| options.tls = None).await;
    let failed = failure(quick().tls(pki.trusting()), &url(&running)).await;
    assert_eq!(failed, TlsFailure::NotTls);
    let mut socket = TcpStream::connect(running.listen())
        .await
        .expect("accepted");
    socket
        .write_all(b"\x16\x03\x01\x02\x00\x01")
        .await
        .expect("taken");
    let mut told = Vec::new();
    socket
        .read_to_end(&mut told)
        .await
        .expect("a frame and the end");
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("TLS_UNAVAILABLE"), "{told}");
    // A record whose length merely looks like it is no hello, and whoever trickles in is served.
    let mut slow = TcpStream::connect(running.listen())
        .await
        .expect("accepted");
    let hello = crate::raw::frame(crate::raw::HELLO, 1, &crate::raw::hello());
    for byte in &hello {
        slow.write_all(&[*byte]).await.expect("taken");
    }
    let mut length = [0; 4];
    slow.read_exact(&mut length).await.expect("an answer");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_http_port_each_is_told_in_http() {
    let pki = Pki::new();
    let with = broker(&pki, |_| {}).await;
    let socket = TcpStream::connect(with.http().unwrap())
        .await
        .expect("accepted");
    let told = get(socket, "/healthz").await;
    assert!(
        told.starts_with("HTTP/1.1 400") && told.contains("https://"),
        "{told}"
    );
    assert!(with.stop().await);
    let without = broker(&pki, |options| options.tls = None).await;
    let mut socket = TcpStream::connect(without.http().unwrap())
        .await
        .expect("accepted");
    socket
        .write_all(b"\x16\x03\x01\x02\x00\x01")
        .await
        .expect("taken");
    let mut told = String::new();
    socket.read_to_string(&mut told).await.expect("an answer");
    assert!(
        told.starts_with("HTTP/1.1 400") && told.contains("http://"),
        "{told}"
    );
    assert!(without.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_spoken_only_where_it_is_asked_for() {
    let pki = Pki::new();
    let old = || pki.config(&[&rustls::version::TLS12]);
    let strict = broker(&pki, |_| {}).await;
    let refused = raw_tls(strict.listen(), old()).await.expect_err("1.3 only");
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    assert!(raw_tls(strict.http().unwrap(), old()).await.is_err());
    assert!(strict.stop().await);
    let lenient = broker(&pki, |options| {
        let tls = options.tls.as_mut().expect("it has one");
        tls.min_version = TlsVersion::V12;
    })
    .await;
    let stream = raw_tls(lenient.listen(), old()).await.expect("1.2 too");
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_2)
    );
    let stream = raw_tls(lenient.http().unwrap(), old())
        .await
        .expect("on both ports");
    assert!(get(stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    let client = quick().tls(pki.trusting()).connect(&url(&lenient)).await;
    client.expect("and 1.3").ping().await.expect("served");
    assert!(lenient.stop().await);
}

#[tokio::test]
async fn what_closes_in_the_handshake_is_tried_again_and_told_as_that() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (counter, mut tries) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("accepted");
            let _ = counter.send(());
            let _ = socket.read(&mut [0; 4096]).await;
        }
    });
    let url = format!("npayload+tls://localhost:{port}");
    let builder = Client::builder().connect_timeout(Duration::from_millis(500));
    let failed = failure(builder.tls(pki.trusting()), &url).await;
    assert_eq!(failed, TlsFailure::Closed);
    tries.recv().await.expect("a first");
    tries.recv().await.expect("and a second try");
}
