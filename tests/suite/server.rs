//! A server in this process, the Rust client against it, and restarts in between.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use npayload::client::Client;
use npayload::format::NewRecord;
use npayload::server::{Running, ServeOptions, start};
use npayload::types::{ChannelName, Offset};

pub fn options(dir: &Path) -> ServeOptions {
    let mut options = ServeOptions {
        data_dir: dir.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ServeOptions::default()
    };
    options.broker.storage.journal_file_bytes = 4 << 20;
    options.broker.storage.max_round_bytes = 1 << 20;
    options
}

async fn client(running: &Running) -> Client {
    Client::connect(&format!("npayload://{}", running.listen()))
        .await
        .expect("the server listens")
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a valid name")
}

fn record(payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        record_type: "test.line",
        key: None,
        headers: &[],
        payload: Some(payload),
        event_time: None,
    }
}

async fn publish(client: &Client, channel: &ChannelName, payloads: &[Vec<u8>]) {
    let producer = client.producer(channel.clone()).build();
    let mut tickets = Vec::new();
    for payload in payloads {
        tickets.push(
            producer
                .publish(&record(payload))
                .await
                .expect("room for a record"),
        );
    }
    producer.flush().await.expect("everything is acknowledged");
    for ticket in tickets {
        ticket.await.expect("acknowledged");
    }
}

async fn read_all(client: &Client, channel: &ChannelName, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut consumer = client
        .consumer(channel.clone())
        .from_offset(Offset(from))
        .follow(false)
        .build();
    let mut found = Vec::new();
    while let Some(record) = consumer.next().await {
        let record = record.expect("a readable record");
        found.push((record.offset.0, record.payload.expect("a payload").to_vec()));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let payloads: Vec<Vec<u8>> = (0..5_000)
        .map(|n| format!("line {n}").into_bytes())
        .collect();
    let expected: Vec<(u64, Vec<u8>)> = (0..).zip(payloads.clone()).collect();
    let channel = name("a.b");
    let running = start(options(dir.path())).await.expect("starts");
    let c = client(&running).await;
    publish(&c, &channel, &payloads).await;
    assert_eq!(read_all(&c, &channel, 0).await, expected);
    c.close().await;
    assert!(running.stop().await, "stops clean");
    let running = start(options(dir.path())).await.expect("starts again");
    assert!(running.recovery_report().was_clean);
    let c = client(&running).await;
    assert_eq!(read_all(&c, &channel, 0).await, expected);
    assert_eq!(read_all(&c, &channel, 4_990).await, expected[4_990..]);
    publish(&c, &channel, &payloads[..10]).await;
    let again = read_all(&c, &channel, 5_000).await;
    assert_eq!(again.len(), 10);
    assert_eq!(again[0], (5_000, payloads[0].clone()));
    c.close().await;
    assert!(
        tokio::time::timeout(Duration::from_secs(10), running.stop())
            .await
            .expect("in time")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_frames_of_many_connections_take_turns_for_little_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut options = options(dir.path());
    options.receive_bytes = 1 << 20;
    options.broker.defaults.max_record_bytes = 4 << 20;
    let running = start(options).await.expect("starts");
    let channel = name("large");
    let mut tasks = Vec::new();
    for n in 0..6u8 {
        let (c, channel) = (client(&running).await, channel.clone());
        tasks.push(tokio::spawn(async move {
            publish(&c, &channel, &[vec![n; 700_000], vec![n; 2_000_000]]).await;
        }));
    }
    for task in tasks {
        task.await.expect("every publisher is served");
    }
    let c = client(&running).await;
    let found = read_all(&c, &channel, 0).await;
    assert_eq!(found.len(), 12);
    assert!(
        found
            .iter()
            .all(|(_, payload)| payload.iter().all(|byte| *byte == payload[0]))
    );
    c.close().await;
    assert!(running.stop().await);
}
