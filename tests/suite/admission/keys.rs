//! Keys against a running server: shown at the hello, ended on open connections, made first.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use npayload::access::{Operation, Scope, Secret};
use npayload::client::{Client, PublishError, RequestError};
use npayload::format::NewRecord;
use npayload::protocol::control::ConfigChange;
use npayload::protocol::{ErrorCode, FetchFrom, FetchRequest};
use npayload::server::{Running, ServeOptions, StartError, start};
use npayload::types::{ChannelName, LogEpoch, Offset, Timestamp};

use super::{key_request, scope};
use crate::server::options;

fn url(running: &Running) -> String {
    format!("npayload://{}", running.listen())
}

async fn with_key(
    running: &Running,
    key: &Secret,
) -> Result<Client, npayload::client::ConnectError> {
    Client::builder()
        .api_key(key.clone())
        .connect_timeout(Duration::from_secs(20))
        .connect(&url(running))
        .await
}

async fn local(running: &Running) -> Client {
    Client::connect(&url(running)).await.unwrap()
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn record(payload: &[u8]) -> NewRecord<'_> {
    NewRecord {
        payload: Some(payload),
        ..NewRecord::default()
    }
}

async fn make(client: &Client, scopes: Vec<Scope>) -> (npayload::types::KeyId, Secret) {
    let (key, secret) = client
        .create_key(key_request("a test's", scopes))
        .await
        .unwrap();
    (key.id, secret)
}

/// A fetch that waits for records that do not come.
async fn wait_for_nothing(client: Client, channel: ChannelName) -> RequestError {
    let request = FetchRequest {
        channel,
        incarnation: None,
        from: FetchFrom::End,
        last_epoch: LogEpoch(0),
        max_bytes: 1 << 20,
        min_bytes: 1,
        max_wait_ms: 60_000,
    };
    match client.fetch(request).await {
        Ok(found) => panic!("{} bytes came", found.batches.len()),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_its_connections_and_every_publish_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let admin = local(&running).await;
    let channel = name("busy");
    admin
        .create_channel(&channel, ConfigChange::default(), false)
        .await
        .unwrap();
    admin
        .create_channel(&name("quiet"), ConfigChange::default(), false)
        .await
        .unwrap();
    let (key, secret) = make(&admin, vec![Scope::all()]).await;
    let client = with_key(&running, &secret).await.unwrap();
    let waiting = tokio::spawn(wait_for_nothing(
        with_key(&running, &secret).await.unwrap(),
        name("quiet"),
    ));
    let producer = client
        .producer(channel.clone())
        .linger(Duration::ZERO)
        .build();
    let mut tickets: Vec<npayload::client::Ticket> = Vec::new();
    let mut acked = Vec::new();
    for n in 0..2_000u32 {
        if n == 1_000 {
            // Some are acknowledged by then, however slow the machine is.
            let early: Vec<_> = tickets.drain(..10).collect();
            for ticket in early {
                acked.push(ticket.await.unwrap().offset);
            }
            admin.revoke_key(key).await.unwrap();
        }
        match producer.publish(&record(&n.to_le_bytes())).await {
            Ok(ticket) => tickets.push(ticket),
            Err(_) => break,
        }
    }
    let mut refused = 0;
    for ticket in tickets {
        match ticket.await {
            Ok(ack) => acked.push(ack.offset),
            Err(error) => {
                refused += 1;
                // The first one says why; those behind it were never sent.
                let mut first = &error;
                while let PublishError::Poisoned(before) = first {
                    first = before;
                }
                let told = first.server().and_then(|error| error.known());
                assert_eq!(told, Some(ErrorCode::KeyRevoked), "{error:?}");
            }
        }
    }
    assert!(
        !acked.is_empty() && refused > 0,
        "{} {refused}",
        acked.len()
    );
    let ended = waiting.await.unwrap();
    assert!(ended.is(ErrorCode::KeyRevoked), "{ended:?}");
    // What was acknowledged is there, and nothing else.
    let info = admin.channel_info(&channel).await.unwrap();
    assert_eq!(info.log_end, Offset(acked.len() as u64));
    let refused = with_key(&running, &secret).await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_expires_ends_its_connections_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let admin = local(&running).await;
    admin
        .create_channel(&name("quiet"), ConfigChange::default(), false)
        .await
        .unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis() as i64;
    let mut request = key_request("short", vec![Scope::all()]);
    request.expires_at = Some(Timestamp(now + 1_500));
    let (_, secret) = admin.create_key(request).await.unwrap();
    let client = with_key(&running, &secret).await.unwrap();
    let ended = wait_for_nothing(client, name("quiet")).await;
    assert!(ended.is(ErrorCode::KeyExpired), "{ended:?}");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_last_over_a_restart_and_stand_for_their_principal() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let admin = local(&running).await;
    let (old, first) = make(&admin, vec![scope(&[Operation::Publish], &["a.*"])]).await;
    let (_, other) = make(&admin, vec![Scope::all()]).await;
    let (_, second) = admin.rotate_key(old, 60_000).await.unwrap();
    assert!(running.stop().await);

    let running = start(options(dir.path())).await.unwrap();
    let principal = async |key: &Secret| {
        let client = with_key(&running, key).await.unwrap();
        client.hello().await.unwrap().principal.unwrap().id
    };
    // A rotated key stands for the same one, and both work for the overlap.
    assert_eq!(principal(&first).await, principal(&second).await);
    assert_ne!(principal(&first).await, principal(&other).await);
    let client = with_key(&running, &second).await.unwrap();
    let producer = client.producer(name("a.b")).build();
    producer
        .publish(&record(b"x"))
        .await
        .unwrap()
        .await
        .unwrap();
    let stamped = local(&running).await;
    let mut batches = stamped
        .consumer(name("a.b"))
        .from_offset(Offset(0))
        .follow(false)
        .build();
    let batch = batches.next_batch().await.unwrap().unwrap();
    let header = npayload::format::check_stored(&batch.bytes).unwrap();
    assert_eq!(header.principal(), principal(&first).await.0);
    let keys = stamped.keys(None).await.unwrap();
    assert!(
        keys.iter()
            .any(|key| key.id == old && key.used_at.is_some())
    );
    assert!(running.stop().await);
}

fn keyed(dir: &Path, file: Option<&Path>) -> ServeOptions {
    ServeOptions {
        require_keys: true,
        admin_key_file: file.map(Path::to_owned),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..options(dir)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_is_written_once_to_a_file_that_only_its_owner_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("admin.key"));
    // Nobody could come in.
    let refused = start(keyed(&data, None)).await.unwrap_err();
    assert!(matches!(refused, StartError::FirstKey(_)), "{refused}");
    assert!(refused.to_string().contains("--admin-key-file"));

    let running = start(keyed(&data, Some(&file))).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let secret: Secret = text.trim().parse().unwrap();
    let keyless = Client::builder().connect(&url(&running)).await.unwrap_err();
    assert!(!keyless.is_retryable());
    let admin = with_key(&running, &secret).await.unwrap();
    assert_eq!(admin.keys(None).await.unwrap().len(), 1);
    assert!(running.stop().await);

    // With a key that makes others there is no need for one, and the file is left alone.
    let running = start(keyed(&data, Some(&file))).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert!(running.stop().await);
    let running = start(keyed(&data, None)).await.unwrap();
    assert!(running.stop().await);
}
