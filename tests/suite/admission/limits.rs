//! What organisations and keys may use: channels and their configuration through the server's doors,
//! rates and connections against a running server.

use std::time::Duration;

use npayload::access::{Limits, Scope, Secret};
use npayload::client::Client;
use npayload::protocol::ErrorCode;
use npayload::protocol::access::{AccessRequest, KeyCreate, OrgLimit};
use npayload::protocol::control::{ChannelCreate, ChannelUpdate, ConfigChange, NamedChannel};
use npayload::protocol::{AtomicPart, PublishAtomicRequest, PublishRequest, PublishTarget};
use npayload::protocol::{Request, Response};
use npayload::server::{Desk, ServeOptions, start};
use npayload::types::ChannelName;

use super::walls::{batch, publish};
use super::{ask, code, desk, key_request, make_key, make_org, org};
use crate::raw::{ERROR, HELLO, KEY_CREATE, PING, Raw, Server};
use crate::server::options;

fn limited(limits: Limits) -> (Desk, Secret) {
    let desk = desk(ServeOptions::default());
    make_org(&desk, "acme");
    let key = make_key(&desk, Some("acme"), vec![Scope::all()]).secret.0;
    let name = org("acme");
    ask(
        &desk,
        None,
        AccessRequest::OrgLimit(OrgLimit { name, limits }),
    )
    .unwrap();
    (desk, key)
}

fn create(name: &str, config: ConfigChange) -> Request {
    Request::ChannelCreate(ChannelCreate {
        name: ChannelName::parse(name).unwrap(),
        config,
        if_not_exists: true,
        home: None,
        residency: None,
    })
}

#[test]
fn an_organisation_makes_as_many_channels_as_it_may_whichever_way() {
    let (desk, key) = limited(Limits {
        max_channels: Some(2),
        ..Limits::default()
    });
    let told = |request: Request| code(&desk.ask_with(Some(&key), request));
    let publish_to = |name: &str| {
        AtomicPart::Publish(PublishRequest {
            target: PublishTarget::any(ChannelName::parse(name).unwrap()),
            batch: batch(b"x"),
            asks: None,
        })
    };
    let both =
        |parts: Vec<AtomicPart>| Request::PublishAtomic(PublishAtomicRequest { parts, asks: None });
    let three = both(vec![publish_to("a"), publish_to("b"), publish_to("c")]);
    assert_eq!(told(three), Some(ErrorCode::AccessLimit));
    assert_eq!(told(create("a", ConfigChange::default())), None);
    assert_eq!(told(publish("b", b"x")), None);
    assert_eq!(told(publish("c", b"x")), Some(ErrorCode::AccessLimit));
    assert_eq!(
        told(create("c", ConfigChange::default())),
        Some(ErrorCode::AccessLimit)
    );
    assert_eq!(
        told(both(vec![publish_to("c")])),
        Some(ErrorCode::AccessLimit)
    );
    // What is there goes on, and others are not bound.
    assert_eq!(told(create("a", ConfigChange::default())), None);
    assert_eq!(told(publish("b", b"y")), None);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(code(&desk.ask(publish(name, b"x"))), None);
    }
}

#[test]
fn a_channel_keeps_within_its_organisations_limits() {
    let (desk, key) = limited(Limits {
        max_retention_days: Some(3),
        max_record_bytes: Some(1_000),
        ..Limits::default()
    });
    let told = |request: Request| code(&desk.ask_with(Some(&key), request));
    let days = |days: Option<u32>| ConfigChange {
        retention_days: Some(days),
        ..ConfigChange::default()
    };
    let bytes = |bytes: u32| ConfigChange {
        max_record_bytes: Some(bytes),
        ..ConfigChange::default()
    };
    for beyond in [days(Some(4)), days(None), bytes(1_001)] {
        assert_eq!(told(create("a", beyond)), Some(ErrorCode::AccessLimit));
    }
    // The defaults are cut to what may be, also where publishing makes the channel.
    assert_eq!(
        told(publish("a", &[1; 2_000])),
        Some(ErrorCode::RecordTooLarge)
    );
    assert_eq!(told(publish("a", &[1; 900])), None);
    let info = Request::ChannelInfo(NamedChannel {
        name: ChannelName::parse("a").unwrap(),
    });
    match desk.ask_with(Some(&key), info) {
        Response::ChannelInfo(info) => {
            assert_eq!(info.config.retention_days, Some(3));
            assert_eq!(info.config.max_record_bytes, 1_000);
        }
        other => panic!("{other:?}"),
    }
    let update = |config: ConfigChange| {
        Request::ChannelUpdate(ChannelUpdate {
            name: ChannelName::parse("a").unwrap(),
            config,
        })
    };
    assert_eq!(told(update(days(None))), Some(ErrorCode::AccessLimit));
    assert_eq!(told(update(days(Some(2)))), None);
    assert_eq!(told(update(bytes(2_000))), Some(ErrorCode::AccessLimit));
}

async fn key_with(admin: &Client, limits: Limits) -> Secret {
    let request = KeyCreate {
        limits,
        ..key_request("limited", vec![Scope::all()])
    };
    admin.create_key(request).await.unwrap().1
}

async fn connect(url: &str, key: &Secret) -> Result<Client, npayload::client::ConnectError> {
    Client::builder()
        .api_key(key.clone())
        .connect_timeout(Duration::from_millis(800))
        .request_timeout(Duration::from_secs(3))
        .connect(url)
        .await
}

#[test]
fn a_key_past_its_rate_is_told_when_to_come_back_and_others_are_not() {
    let server = Server::start_with(|options| {
        options.http = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let mut admin = server.client();
    let made = admin.json(
        KEY_CREATE,
        &serde_json::json!({
            "name": "slow", "limits": {"requestsPerS": 5},
            "scopes": [{"operations": ["publish"]}],
        }),
    );
    let secret = made.json()["secret"].clone();
    let mut slow = Raw::connect(server.address());
    let hello = serde_json::json!({
        "client": "slow", "apiKey": secret, "minVersion": 1, "maxVersion": 1,
    });
    slow.json(HELLO, &hello).of(HELLO);
    // All at once: a second's worth and one on credit pass, and what comes in while they do.
    for _ in 0..500 {
        slow.ask(PING, b"");
    }
    let replies: Vec<_> = (0..500).map(|_| slow.reply()).collect();
    let refused = replies.iter().find(|reply| reply.kind == ERROR);
    let error = refused.expect("500 pings take less than 98 seconds").json();
    assert_eq!(error["name"], "RATE_LIMITED");
    assert_eq!(
        (&error["retryable"], &error["details"]["limit"]),
        (&true.into(), &5.into())
    );
    let wait = error["retryAfterMs"].as_u64().expect("a time to wait");
    assert!((1..=1_001).contains(&wait), "{wait}");
    // Nobody else is held up; and after the wait there is room again.
    for _ in 0..20 {
        admin.request(PING, b"").of(PING);
    }
    std::thread::sleep(Duration::from_millis(wait));
    slow.request(PING, b"").of(PING);
    assert!(server.metric("npayload_rate_limited_requests_total") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_and_out_are_counted_and_a_large_frame_passes_on_credit() {
    use npayload::format::NewRecord;
    use npayload::protocol::{FetchFrom, FetchRequest};
    use npayload::types::LogEpoch;
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let url = format!("npayload://{}", running.listen());
    let admin = Client::connect(&url).await.unwrap();
    let limits = |bytes_in, bytes_out| Limits {
        bytes_in_per_s: bytes_in,
        bytes_out_per_s: bytes_out,
        ..Limits::default()
    };
    let writer = connect(&url, &key_with(&admin, limits(Some(2_048), None)).await)
        .await
        .unwrap();
    let channel = ChannelName::parse("large").unwrap();
    let producer = writer.producer(channel.clone()).build();
    let payload = vec![7; 60_000];
    let record = NewRecord {
        payload: Some(&payload),
        ..NewRecord::default()
    };
    producer.publish(&record).await.unwrap().await.unwrap();
    let refused = writer.ping().await.unwrap_err();
    assert!(refused.is(ErrorCode::RateLimited), "{refused:?}");
    let wait = refused.server().unwrap().retry_after_ms.unwrap();
    assert!(
        (20_000..40_000).contains(&wait),
        "what was too much is owed: {wait}"
    );

    let reader = connect(&url, &key_with(&admin, limits(None, Some(2_048))).await)
        .await
        .unwrap();
    let fetch = || FetchRequest {
        channel: channel.clone(),
        incarnation: None,
        from: FetchFrom::Start,
        last_epoch: LogEpoch(0),
        max_bytes: 1 << 20,
        min_bytes: 1,
        max_wait_ms: 0,
    };
    assert!(reader.fetch(fetch()).await.unwrap().batches.len() > 60_000);
    let refused = reader.fetch(fetch()).await.unwrap_err();
    assert!(refused.is(ErrorCode::RateLimited), "{refused:?}");
    // Only fetches are held back by what was fetched.
    reader.ping().await.unwrap();
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_as_many_connections_as_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let url = format!("npayload://{}", running.listen());
    let admin = Client::connect(&url).await.unwrap();
    let two = Limits {
        max_connections: Some(2),
        ..Limits::default()
    };
    let key = key_with(&admin, two).await;
    let (one, _two) = (
        connect(&url, &key).await.unwrap(),
        connect(&url, &key).await.unwrap(),
    );
    let refused = connect(&url, &key).await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("TOO_MANY_CONNECTIONS"),
        "{refused:?}"
    );
    one.close().await;
    let mut third = connect(&url, &key).await;
    for _ in 0..100 {
        // The broker notices a closed connection a moment later.
        if third.is_ok() {
            break;
        }
        third = connect(&url, &key).await;
    }
    third.unwrap();
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_keys_wait_and_a_key_that_works_does_not_wait_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let url = format!("npayload://{}", running.listen());
    let admin = Client::connect(&url).await.unwrap();
    let works = key_with(&admin, Limits::default()).await;
    let wrong = Secret::new(npayload::access::KeyKind::Live, &[5; 32]);
    let mut failing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (url, wrong) = (url.clone(), wrong.clone());
        failing.spawn(async move {
            let builder = Client::builder().api_key(wrong);
            let builder = builder.connect_timeout(Duration::from_secs(30));
            builder.connect(&url).await.unwrap_err()
        });
    }
    // The first few are answered at once: by the fourth the address is known.
    let mut answered = 0;
    while answered < 4 {
        let error = failing.join_next().await.unwrap().unwrap();
        assert!(
            format!("{error:?}").contains("UNAUTHENTICATED"),
            "{error:?}"
        );
        answered += 1;
    }
    connect(&url, &works).await.unwrap();
    assert!(!failing.is_empty(), "the others still wait");
    // Each is answered in the end, with the reason.
    while let Some(error) = failing.join_next().await {
        assert!(format!("{error:?}").contains("UNAUTHENTICATED"));
    }
    assert!(running.stop().await);
}
