//! `npayload consumer`: named consumers, their positions and their lag.

use std::str::FromStr;

use clap::Subcommand;
use serde::Serialize;

use super::failure::Failure;
use super::merged;
use super::output::{self, Columns};
use super::place::PlaceArg;
use super::{Context, any_channel, consumer_name};
use crate::client::{Client, RequestError};
use crate::protocol::control::{ConsumerLagRow, Place};
use crate::protocol::{CommitRequest, ErrorCode, ExpectedPosition};
use crate::region::Vector;
use crate::types::{ChannelName, ConsumerName, LogEpoch, Offset};

/// What to do with consumers.
#[derive(Clone, Debug, Subcommand)]
pub enum ConsumerCommand {
    /// List the consumers of a channel
    #[command(alias = "ls")]
    List {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
    },
    /// Tell where a consumer is
    Position {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// The consumer
        #[arg(value_parser = consumer_name)]
        name: ConsumerName,
    },
    /// Store a consumer's position: the next offset it will read
    ///
    /// Where the channel has a log for each region, offsets such as eu-west=17,us-east=40 are stored in
    /// all of these logs or in none.
    #[command(after_help = "Examples:
  npayload consumer commit orders billing 5 --metadata 'step 1200'
  npayload consumer commit orders billing 6 --expect 5       only if nobody else moved it
  npayload consumer commit orders billing 0 --expect none    only if there is no position yet")]
    Commit {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// The consumer
        #[arg(value_parser = consumer_name)]
        name: ConsumerName,
        /// The next offset it will read; of a channel with a log for each region, those of regions
        offset: CommitArg,
        /// Anything to find again with the position, at most 4096 bytes
        #[arg(
            long,
            value_name = "S",
            default_value = "",
            hide_default_value = true,
            allow_hyphen_values = true
        )]
        metadata: String,
        /// Only if the position is this one now; `none`: only if there is none yet
        #[arg(long, value_name = "N")]
        expect: Option<Expect>,
    },
    /// Move a consumer to a place: start, end, 42, -10, @TIME or @-1h
    #[command(after_help = "Examples:
  npayload consumer reset orders billing start
  npayload consumer reset orders billing @-1h")]
    Reset {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// The consumer
        #[arg(value_parser = consumer_name)]
        name: ConsumerName,
        /// The place
        #[arg(value_name = "POS", allow_negative_numbers = true)]
        place: PlaceArg,
    },
    /// Tell how far consumers are behind, of one channel or of all
    #[command(after_help = "Examples:
  npayload consumer lag
  npayload consumer lag orders --json | jq '.[] | select(.lagRecords > 1000)'")]
    Lag {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: Option<ChannelName>,
    },
    /// Forget a consumer
    Delete {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// The consumer
        #[arg(value_parser = consumer_name)]
        name: ConsumerName,
        /// Yes, really
        #[arg(long)]
        yes: bool,
    },
}

/// What a commit stored.
#[derive(Serialize)]
struct Committed<'a> {
    channel: &'a ChannelName,
    consumer: &'a ConsumerName,
    offset: Offset,
    metadata: &'a str,
}

/// The position that a consumer must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect(ExpectedPosition);

impl FromStr for Expect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "none" => Ok(Self(ExpectedPosition::Absent)),
            // The two highest numbers have other meanings on the wire.
            Ok(offset) if offset < u64::MAX - 1 => Ok(Self(ExpectedPosition::At(Offset(offset)))),
            _ => Err("it is neither an offset nor `none`"),
        }
    }
}

/// A vector, in words.
const VECTOR: &str = "eu-west=17,us-east=40";

/// What a consumer has read up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitArg {
    /// The next offset of the channel.
    One(u64),
    /// The next offset in each region's log.
    Each(Vector),
}

impl FromStr for CommitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') {
            return merged::vector(text).map(Self::Each);
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(offset) if is_number => Ok(Self::One(offset)),
            _ => Err(format!(
                "an offset is a whole number from 0 on, such as 42; those of the logs of regions \
                 are {VECTOR}"
            )),
        }
    }
}

/// Where a consumer stands in the logs of regions.
#[derive(Serialize)]
struct InEach<'a> {
    channel: &'a ChannelName,
    consumer: &'a ConsumerName,
    position: &'a Vector,
}

fn print_each(
    channel: &ChannelName,
    consumer: &ConsumerName,
    position: &Vector,
    context: &Context,
) -> Result<(), Failure> {
    if context.json {
        return output::print_json(&InEach {
            channel,
            consumer,
            position,
        });
    }
    let position = merged::typed(position);
    output::print(&format!(
        "consumer {consumer} of {channel} is at {position}"
    ))
}

/// Moves a consumer in every log of a channel that has one for each region: in all of them or in none.
async fn reset_each(
    client: &Client,
    channel: &ChannelName,
    name: &ConsumerName,
    place: Place,
    context: &Context,
) -> Result<(), Failure> {
    let failed = |error: &RequestError| failure("resetting", channel, name, error);
    if let Place::Offset(_) = place {
        let what = format!("resetting consumer {name} of {channel}");
        let why = "an offset is a place in one region's log";
        return Err(Failure::usage(what, why)
            .hint("commit offsets such as eu-west=17,us-east=40, or name the log CHANNEL@REGION"));
    }
    let done = client.reset_merged(channel, name, place).await;
    done.map_err(|error| failed(&error))?;
    let rows = client.consumers(channel).await;
    let mut rows = rows.map_err(|error| failed(&error))?;
    rows.retain(|row| row.consumer == *name);
    print_rows(&rows, context)
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: ConsumerCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ConsumerCommand::List { channel } => {
            let rows = context.client().await?.consumers(&channel).await;
            let rows = rows.map_err(|error| {
                let what = format!("listing the consumers of {channel}");
                Failure::request(what, &error, Some(channel.as_str()))
            })?;
            print_rows(&rows, context)
        }
        ConsumerCommand::Lag { channel } => {
            let rows = context.client().await?.consumer_lag(channel.as_ref()).await;
            let rows = rows.map_err(|error| {
                let channel = channel.as_ref().map(ChannelName::as_str);
                Failure::request("telling the lag", &error, channel)
            })?;
            print_rows(&rows, context)
        }
        ConsumerCommand::Position { channel, name } => {
            let client = context.client().await?;
            let row = client.consumer_position(&channel, &name).await;
            if let Err(error) = &row
                && error.is(ErrorCode::EachRegion)
            {
                let position = client.merged_position(&channel, &name).await;
                let position = position.map_err(|e| failure("finding", &channel, &name, &e))?;
                if position.is_empty() {
                    let what = format!("finding consumer {name} of {channel}");
                    return Err(Failure::because(
                        what,
                        "it has no position in any region's log",
                    ));
                }
                return print_each(&channel, &name, &position, context);
            }
            let row = row.map_err(|error| failure("finding", &channel, &name, &error))?;
            print_row(&row, context)
        }
        ConsumerCommand::Reset {
            channel,
            name,
            place,
        } => {
            let client = context.client().await?;
            let place = place.at(context.now());
            let row = client.reset_consumer(&channel, &name, place).await;
            if let Err(error) = &row
                && error.is(ErrorCode::EachRegion)
            {
                return reset_each(&client, &channel, &name, place, context).await;
            }
            let row = row.map_err(|error| failure("resetting", &channel, &name, &error))?;
            print_row(&row, context)
        }
        ConsumerCommand::Commit {
            channel,
            name,
            offset,
            metadata,
            expect,
        } => {
            let offset = match offset {
                CommitArg::One(offset) => offset,
                CommitArg::Each(position) => {
                    if expect.is_some() {
                        let what = format!("committing consumer {name} of {channel}");
                        let why = "--expect is of one log";
                        return Err(Failure::usage(what, why));
                    }
                    let client = context.client().await?;
                    let done = client.commit_merged(&channel, &name, &position, &metadata);
                    let done = done.await;
                    done.map_err(|error| failure("committing", &channel, &name, &error))?;
                    return print_each(&channel, &name, &position, context);
                }
            };
            let request = CommitRequest {
                channel: channel.clone(),
                incarnation: None,
                consumer: name.clone(),
                offset: Offset(offset),
                log_epoch: LogEpoch(0),
                expected_previous: expect
                    .map_or(ExpectedPosition::Any, |Expect(position)| position),
                metadata: metadata.clone(),
            };
            let offset = context.client().await?.commit(request).await;
            let offset = offset.map_err(|error| failure("committing", &channel, &name, &error))?;
            if context.json {
                return output::print_json(&Committed {
                    channel: &channel,
                    consumer: &name,
                    offset,
                    metadata: &metadata,
                });
            }
            output::print(&format!("consumer {name} of {channel} is at {offset}"))
        }
        ConsumerCommand::Delete { channel, name, yes } => {
            if !yes {
                let what = format!("deleting consumer {name} of {channel}");
                let why = "this forgets its position for ever";
                return Err(Failure::usage(what, why).hint("add --yes if that is meant"));
            }
            let gone = context
                .client()
                .await?
                .delete_consumer(&channel, &name)
                .await;
            let gone = gone.map_err(|error| failure("deleting", &channel, &name, &error))?;
            if context.json {
                return output::print_json(&gone);
            }
            output::print(&format!("deleted consumer {name} of {channel}"))
        }
    }
}

fn failure(
    doing: &str,
    channel: &ChannelName,
    name: &ConsumerName,
    error: &RequestError,
) -> Failure {
    let what = format!("{doing} consumer {name} of {channel}");
    Failure::request(what, error, Some(channel.as_str()))
}

fn print_row(row: &ConsumerLagRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(row);
    }
    output::print(&output::fields(&[
        ("channel", row.channel.to_string()),
        ("consumer", row.consumer.to_string()),
        ("offset", row.offset.to_string()),
        ("metadata", row.metadata.clone()),
        ("committed", committed(row)),
        ("lag", lag(row)),
    ]))
}

fn print_rows(rows: &[ConsumerLagRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(&rows);
    }
    let mut columns = Columns::new(&[
        "CHANNEL",
        "CONSUMER",
        ">OFFSET",
        ">LAG",
        ">LAG BYTES",
        ">LAG TIME",
        "COMMITTED",
    ]);
    for row in rows {
        columns.row([
            row.channel.to_string(),
            row.consumer.to_string(),
            row.offset.to_string(),
            output::count(row.lag_records),
            output::bytes(row.lag_bytes),
            output::duration(row.lag_ms),
            committed(row),
        ]);
    }
    columns.print("there are no consumers; a first commit or reset creates one")
}

fn committed(row: &ConsumerLagRow) -> String {
    let time = output::time(row.committed_at);
    if row.repositioned {
        return format!("{time}, moved back to the log end by a recovery since");
    }
    time
}

fn lag(row: &ConsumerLagRow) -> String {
    format!(
        "{}, {}, {}",
        output::counted(row.lag_records, "record"),
        output::bytes(row.lag_bytes),
        output::duration(row.lag_ms)
    )
}
