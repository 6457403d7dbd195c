//! Publishes a few records, and tells their offsets as soon as they are safe.
//!
//! ```text
//! npayload serve &
//! cargo run --example publish -- chat.log
//! ```

use npayload::client::Client;
use npayload::format::{Compression, NewRecord};
use npayload::types::ChannelName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channel = std::env::args().nth(1).unwrap_or("chat.log".to_owned());
    let client = Client::connect("npayload://127.0.0.1:7400").await?;
    // Retries are idempotent: each record is in the log once, whatever the network does.
    let producer = client
        .producer(ChannelName::parse(&channel)?)
        .compression(Compression::Lz4)
        .build();

    let mut tickets = Vec::new();
    for number in 0..10 {
        let payload = format!(r#"{{"text":"message {number}"}}"#);
        let record = NewRecord {
            record_type: "chat.message",
            key: Some(b"room-1"),
            payload: Some(payload.as_bytes()),
            ..NewRecord::default()
        };
        // Waits only while too much is on its way; the ticket tells what became of the record.
        tickets.push(producer.publish(&record).await?);
    }
    for ticket in tickets {
        let ack = ticket.await?;
        println!("offset {}, {}", ack.offset, ack.level);
    }
    Ok(())
}
