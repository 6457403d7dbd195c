//! What works over TLS as it does without: both ports, large records, many at once, and the end.

use std::time::Duration;

use npayload::client::Client;
use npayload::format::NewRecord;
use npayload::types::{ChannelName, Offset};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::Pki;
use super::*;
use crate::raw;

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a valid name")
}

async fn publish(client: &Client, channel: &ChannelName, payloads: &[Vec<u8>]) {
    let producer = client.producer(channel.clone()).build();
    let mut tickets = Vec::new();
    for payload in payloads {
        let record = NewRecord {
            payload: Some(payload),
            ..NewRecord::default()
        };
        tickets.push(producer.publish(&record).await.expect("room"));
    }
    producer.flush().await.expect("acknowledged");
    for ticket in tickets {
        ticket.await.expect("acknowledged");
    }
}

async fn read_all(client: &Client, channel: &ChannelName) -> Vec<Vec<u8>> {
    let consumer = client.consumer(channel.clone()).from_offset(Offset(0));
    let mut consumer = consumer.follow(false).build();
    let mut found = Vec::new();
    while let Some(record) = consumer.next().await {
        found.push(record.expect("readable").payload.expect("one").to_vec());
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_every_size_come_back_as_they_were_sent() {
    let pki = Pki::new();
    let running = broker(&pki, |options| {
        options.broker.defaults.max_record_bytes = 4 << 20;
    })
    .await;
    // From less than a TLS record to many of them, and far more than a socket's buffers hold.
    let sizes = [0, 1, 1000, 16_384, 16_385, 65_537, 700_000, 3_000_000];
    let mut tasks = Vec::new();
    for n in 0..4u8 {
        let (url, tls) = (url(&running), pki.trusting());
        tasks.push(tokio::spawn(async move {
            let client = quick().tls(tls).connect(&url).await.expect("let in");
            let channel = name(&format!("c.{n}"));
            let payloads: Vec<Vec<u8>> = sizes
                .iter()
                .map(|size| (0..*size).map(|at| (at % 251) as u8 ^ n).collect())
                .collect();
            publish(&client, &channel, &payloads).await;
            assert!(
                read_all(&client, &channel).await == payloads,
                "not what was sent"
            );
            client.close().await;
        }));
    }
    for task in tasks {
        task.await.expect("served");
    }
    assert!(running.stop().await, "stops clean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_are_served_over_tls_and_name_the_certificates_end() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let http = running.http().expect("it has one");
    let config = || pki.config(&[&rustls::version::TLS13]);
    let stream = raw_tls(http, config()).await.expect("a handshake");
    let health = get(stream, "/healthz").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(!health.contains("insecure"), "nothing is: {health}");
    let stream = raw_tls(http, config()).await.expect("a handshake");
    let metrics = get(stream, "/metrics").await;
    let seconds = running.certificate().expect("it has one").not_after.0 / 1000;
    let line = format!("npayload_tls_certificate_not_after_seconds {seconds}");
    assert!(metrics.contains(&line), "{metrics}");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_another_protocol_than_the_ports_is_turned_away() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let http = format!(
        "npayload+tls://localhost:{}",
        running.http().unwrap().port()
    );
    let failed = failure(quick().tls(pki.trusting()), &http).await;
    assert_eq!(failed, TlsFailure::OtherProtocol);
    let mut browser = pki.config(&[&rustls::version::TLS13]);
    browser.alpn_protocols = vec![b"http/1.1".to_vec()];
    let refused = raw_tls(running.listen(), browser)
        .await
        .expect_err("another protocol");
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_tells_its_clients_that_nothing_was_cut_off() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let config = pki.config(&[&rustls::version::TLS13]);
    let mut stream = raw_tls(running.listen(), config)
        .await
        .expect("a handshake");
    stream
        .write_all(&raw::frame(raw::HELLO, 1, &raw::hello()))
        .await
        .unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.expect("an answer");
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut answer).await.expect("all of it");
    let stopping = tokio::spawn(running.stop());
    // An end without close_notify is an error of kind UnexpectedEof.
    let rest = stream.read(&mut [0]).await.expect("an end in order");
    assert_eq!(rest, 0);
    assert!(stopping.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_said_all_it_has_to_say_still_gets_its_answers() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let config = pki.config(&[&rustls::version::TLS13]);
    let mut stream = raw_tls(running.listen(), config)
        .await
        .expect("a handshake");
    let mut asked = raw::frame(raw::HELLO, 1, &raw::hello());
    asked.extend(raw::frame(raw::PING, 2, b""));
    stream.write_all(&asked).await.unwrap();
    stream.shutdown().await.expect("half of it closed");
    let mut answers = Vec::new();
    stream
        .read_to_end(&mut answers)
        .await
        .expect("all answers, and an end in order");
    assert!(
        answers.ends_with(&raw::frame(raw::PING | 0x8000, 2, b"")),
        "the ping's is the last"
    );
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_hold_up_nobody_and_are_cut_off() {
    let pki = Pki::new();
    let running = broker(&pki, |_| {}).await;
    let mut slow = Vec::new();
    for n in 0..60 {
        let mut socket = TcpStream::connect(running.listen())
            .await
            .expect("accepted");
        // Nothing, the beginning of a beginning, or a client hello of which the end never comes.
        let begun: &[u8] = match n % 3 {
            0 => b"",
            1 => b"\x16\x03",
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        };
        socket.write_all(begun).await.unwrap();
        slow.push(socket);
    }
    let client = quick().tls(pki.trusting()).connect(&url(&running)).await;
    client
        .expect("others are let in meanwhile")
        .ping()
        .await
        .expect("and served");
    for mut socket in slow {
        // Their time is 10 s; what they are told before the end does not matter.
        let mut told = Vec::new();
        let ended = socket.read_to_end(&mut told);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert!(ended.is_ok(), "a handshake without end is still waited for");
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_counts_against_the_limit_and_who_is_over_it_is_told_inside_tls() {
    let pki = Pki::new();
    let running = broker(&pki, |options| options.max_connections = 2).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(running.listen())
            .await
            .expect("accepted");
        socket.write_all(b"\x16\x03\x01").await.unwrap();
        slow.push(socket);
    }
    let config = || pki.config(&[&rustls::version::TLS13]);
    let mut refused = raw_tls(running.listen(), config())
        .await
        .expect("a handshake, to be told");
    let mut told = Vec::new();
    refused
        .read_to_end(&mut told)
        .await
        .expect("an end in order");
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("TOO_MANY_CONNECTIONS"), "{told}");
    drop(slow);
    // Those who have gone make room again; the client tries until there is.
    let client = quick().tls(pki.trusting()).connect(&url(&running)).await;
    client.expect("let in").ping().await.expect("served");
    assert!(running.stop().await);
}
