//! Publishes a payload that no broker can read, and reads it back: the header convention of
//! docs/security.md, "End to end".
//!
//! ```text
//! npayload serve &
//! cargo run --example end_to_end -- private.log
//! ```

use npayload::client::Client;
use npayload::format::{DataKey, NewRecord};
use npayload::types::ChannelName;

const TYPE: &str = "inference.feedback";
const TAG_BYTES: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channel = ChannelName::parse(&std::env::args().nth(1).unwrap_or("private.log".to_owned()))?;
    let client = Client::connect("npayload://127.0.0.1:7400").await?;

    // Producers and consumers share the key by other means; the broker never sees it.
    let (high, low) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let key_bytes: [u8; 32] = [high.into_bytes(), low.into_bytes()]
        .concat()
        .as_slice()
        .try_into()?;
    let key = DataKey::new(&key_bytes);

    let mut payload = br#"{"rating":5}"#.to_vec();
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&uuid::Uuid::new_v4().into_bytes()[4..]);
    let bound = [TYPE.as_bytes(), b"\0user-1"].concat();
    let tag = key.encrypt(nonce, &bound, &mut payload);
    payload.extend_from_slice(&tag);
    let record = NewRecord {
        record_type: TYPE,
        key: Some(b"user-1"),
        headers: &[
            ("np-enc", b"A256GCM"),
            ("np-enc-key", b"example/2026-11"),
            ("np-enc-nonce", &nonce),
        ],
        payload: Some(&payload),
        ..NewRecord::default()
    };
    let producer = client.producer(channel.clone()).build();
    let offset = producer.publish(&record).await?.await?.offset;
    println!(
        "offset {offset}: {} bytes that only readers open",
        payload.len()
    );

    let mut consumer = client.consumer(channel).from_offset(offset).build();
    let Some(record) = consumer.next().await.transpose()? else {
        return Err("the record is gone".into());
    };
    let header = |name: &str| {
        record
            .headers
            .iter()
            .find(|(known, _)| known.as_str() == name)
    };
    let (_, nonce) = header("np-enc-nonce").ok_or("the payload is not encrypted")?;
    let payload = record.payload.clone().unwrap_or_default();
    let at = payload.len().checked_sub(TAG_BYTES).ok_or("too short")?;
    let (mut text, tag) = (payload[..at].to_vec(), payload[at..].try_into()?);
    let bound = [
        record.record_type.as_bytes(),
        b"\0",
        record.key.as_deref().unwrap_or_default(),
    ]
    .concat();
    if !key.decrypt(nonce[..].try_into()?, &bound, tag, &mut text) {
        return Err("another key, or a changed record".into());
    }
    println!(
        "{}: {}",
        record.record_type.as_str(),
        String::from_utf8_lossy(&text)
    );
    Ok(())
}
