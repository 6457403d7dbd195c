//! Replays a channel from where this program ended the last time, and remembers how far it came.
//!
//! ```text
//! npayload serve &
//! cargo run --example replay -- chat.log my-consumer
//! ```

use npayload::client::Client;
use npayload::protocol::ErrorCode;
use npayload::types::{ChannelName, ConsumerName, Offset};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let channel = ChannelName::parse(&args.next().unwrap_or("chat.log".to_owned()))?;
    let name = ConsumerName::parse(&args.next().unwrap_or("example".to_owned()))?;
    let client = Client::connect("npayload://127.0.0.1:7400").await?;

    let from = match client.consumer_position(&channel, &name).await {
        Ok(row) => row.offset,
        Err(error) if error.is(ErrorCode::ConsumerNotFound) => Offset(0),
        Err(error) => return Err(error.into()),
    };
    // Ends where the end of the log is now; `.follow(true)` would wait for more.
    let mut consumer = client.consumer(channel).from_offset(from).build();
    let mut records = 0;
    while let Some(record) = consumer.next().await {
        let record = record?;
        let payload = record.payload.unwrap_or_default();
        println!("{}: {}", record.offset, String::from_utf8_lossy(&payload));
        records += 1;
        if records % 1000 == 0 {
            // Records after the last commit come again when this program is killed.
            consumer.commit(&name, "").await?;
        }
    }
    if let Some(next) = consumer.commit(&name, "").await? {
        println!("{records} records; next time from offset {next}");
    }
    Ok(())
}
