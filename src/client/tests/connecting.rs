//! Connections and single requests: errors, retries, many at once, silence.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::fake::{Fake, Fault};
use crate::client::{Client, ConnectError, ConnectionState, RequestError};
use crate::protocol::control::Place;
use crate::protocol::{
    CommitRequest, ErrorCode, ExpectedPosition, FetchFrom, FetchRequest, WireError,
};
use crate::types::{ChannelName, ConsumerName, LogEpoch, Offset};

fn channel() -> ChannelName {
    ChannelName::parse("c").unwrap()
}

fn commit(offset: u64, expected_previous: ExpectedPosition) -> CommitRequest {
    CommitRequest {
        channel: channel(),
        incarnation: None,
        consumer: ConsumerName::parse("worker").unwrap(),
        offset: Offset(offset),
        log_epoch: LogEpoch(0),
        expected_previous,
        metadata: String::new(),
    }
}

#[tokio::test]
async fn a_url_that_is_none_and_a_port_where_nobody_listens_are_typed_errors() {
    let error = Client::connect("localhost:7400").await.unwrap_err();
    assert!(matches!(error, ConnectError::Url(_)));
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("npayload://{}", unused.local_addr().unwrap());
    drop(unused);
    let error = Client::builder()
        .connect_timeout(Duration::from_millis(100))
        .connect(&url)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_or_something_else_is_a_typed_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("npayload://{}", listener.local_addr().unwrap());
    let quick = || Client::builder().connect_timeout(Duration::from_millis(100));
    let error = quick().connect(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = b"\x03\0\0\0 HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, text)
                .await
                .unwrap();
        }
    });
    let error = quick().connect(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_hello_tells_what_the_broker_said() {
    let fake = Fake::new().await;
    let code = ErrorCode::UnsupportedVersion;
    fake.state().hello_error = Some(WireError::new(code, "too old"));
    let error = Client::connect(&fake.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { source, .. } if source.is(code)));
}

#[tokio::test]
async fn an_open_long_poll_holds_nothing_up() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let fetch = FetchRequest {
        channel: channel(),
        incarnation: None,
        from: FetchFrom::Start,
        last_epoch: LogEpoch(0),
        max_bytes: 1000,
        min_bytes: 1,
        max_wait_ms: 3000,
    };
    let poll = tokio::spawn({
        let client = client.clone();
        async move { client.fetch(fetch).await }
    });
    let start = Instant::now();
    let pings: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ping().await })
        })
        .collect();
    for ping in pings {
        ping.await.unwrap().unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(!poll.is_finished());
    assert_eq!(fake.state().connections, 1);
    poll.abort();
}

#[tokio::test]
async fn a_request_after_a_lost_connection_connects_again() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let mut state = client.state();
    assert!(matches!(
        *state.borrow_and_update(),
        ConnectionState::Connected(_)
    ));
    let fake = fake.start().await;
    client.ping().await.unwrap();
    let epoch = client.hello().await.unwrap().epoch;
    assert_eq!(epoch, LogEpoch(2));
    assert!(state.has_changed().unwrap());
    client.close().await;
    assert!(client.ping().await.is_err());
    drop(fake);
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_details() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let error = client.resolve(&channel(), Place::End).await.unwrap_err();
    assert!(error.is(ErrorCode::InvalidRequest) && !error.is_retryable());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_mistaken_for_another_writers() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().faults = [Fault::DropAfter].into();
    let stored = client.commit(commit(5, ExpectedPosition::Absent)).await;
    assert_eq!(stored.unwrap(), Offset(5));
    let error = client
        .commit(commit(9, ExpectedPosition::At(Offset(4))))
        .await
        .unwrap_err();
    assert!(error.is(ErrorCode::PositionMismatch));
    fake.state().faults = [Fault::DropBefore].into();
    let stored = client.commit(commit(9, ExpectedPosition::Any)).await;
    assert_eq!(stored.unwrap(), Offset(9));
}

#[tokio::test]
async fn what_the_broker_wants_tried_again_is_tried_again_until_the_timeout() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let busy = || Fault::Refuse(WireError::new(ErrorCode::DiskFull, "full").retry_after_ms(5));
    fake.state().faults = [busy(), busy()].into();
    client
        .commit(commit(1, ExpectedPosition::Any))
        .await
        .unwrap();
    let impatient = Client::builder()
        .request_timeout(Duration::from_millis(60))
        .connect(&fake.url())
        .await
        .unwrap();
    fake.state().faults = std::iter::repeat_with(busy).take(100).collect();
    let error = impatient
        .commit(commit(2, ExpectedPosition::Any))
        .await
        .unwrap_err();
    assert!(error.is(ErrorCode::DiskFull) && error.is_retryable());
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up() {
    let fake = Fake::new().await;
    let client = Client::builder()
        .keep_alive(Duration::from_millis(20))
        .request_timeout(Duration::from_millis(300))
        .connect(&fake.url())
        .await
        .unwrap();
    // Pings keep a quiet connection alive.
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.ping().await.unwrap();
    assert_eq!(fake.state().connections, 1);
    fake.state().is_dead = true;
    let error = client.ping().await.unwrap_err();
    assert!(matches!(
        error,
        RequestError::Connect(_) | RequestError::Interrupted(_) | RequestError::Timeout { .. }
    ));
    assert!(fake.state().connections > 1);
}
