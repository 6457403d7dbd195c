//! `npayload consume`: the records of a channel on stdout.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;
use super::gathered::Gathered;
use super::merged::{self, FromArg};
use super::record_json::{write_exactly, write_record};
use super::{Context, any_channel, interrupted, region_name};
use crate::client::{Client, ConsumeError, Consumer, Gaps, RawBatch, RequestError};
use crate::format::{Gap, Record, records};
use crate::protocol::control::Place;
use crate::protocol::{ErrorCode, Lacking};
use crate::types::{ChannelName, Offset, RegionName, Timestamp};

/// How long to go on trying while the broker is away: without and with `--follow`.
const RETRY_FOR: Duration = Duration::from_secs(30);
const RETRY_FOR_FOLLOWING: Duration = Duration::from_secs(3600);

/// Arguments of `npayload consume`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Places: start, end, 42 (an offset), -10 (records before the end), \
@2026-01-31T08:00:00Z (append time), @-1h (ago: ms, s, m, h, d, w)

Of a channel with a log for each region all logs are read together, each record with its region and
offset. There a place is start, end, a time, or an offset for each region: eu-west=17,us-east=40

Examples:
  npayload consume chat.log --from -10
  npayload consume chat.log --from @-1h --json | jq .payload
  npayload consume chat.log --from end --follow"
)]
pub struct ConsumeArgs {
    /// The channel
    #[arg(value_parser = any_channel)]
    pub(super) channel: ChannelName,
    /// Of a channel with a log for each region: read this region's alone
    #[arg(long, value_name = "NAME", value_parser = region_name)]
    region: Option<RegionName>,
    /// Where to begin
    #[arg(
        long,
        value_name = "PLACE",
        default_value = "start",
        allow_hyphen_values = true
    )]
    pub(super) from: FromArg,
    /// Where to end; the record at this place is not printed [default: the end as it is now]
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(super) to: Option<FromArg>,
    /// Print so many records at most
    #[arg(long, value_name = "N")]
    pub(super) max: Option<u64>,
    /// Wait for more at the end
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// Print payloads as they are, each with a newline; so it is without --json
    #[arg(long, conflicts_with = "json")]
    pub(super) raw: bool,
    /// With --json: keys, headers and payloads byte by byte in base64, for computing digests
    #[arg(long, requires = "json")]
    pub(super) base64: bool,
    /// Only records of this type; may be given more than once. A copy of some record types is read
    /// with these, or fewer
    #[arg(long = "type", value_name = "TYPE", allow_hyphen_values = true)]
    pub(super) types: Vec<String>,
    /// Fail where the broker has a copy of the channel that lacks what is read, rather than have it
    /// read at the channel's home.
    #[arg(long)]
    pub(super) no_home: bool,
    /// Where a repair found that records were lost: end with an error, or tell of them and go on
    ///
    /// With --json they are a line {"gap":{"firstOffset","endOffset","reason",…}}, else a line on stderr.
    #[arg(long, value_name = "WHAT", default_value = "raise")]
    pub(super) gaps: GapsArg,
}

/// What to do at lost records.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum GapsArg {
    /// End with an error in front of them
    Raise,
    /// Tell of them, and go on behind them
    Yield,
}

/// Carries the command out.
///
/// # Errors
/// When a record cannot be read, or the output cannot be written.
pub async fn run(mut args: ConsumeArgs, context: &Context) -> Result<(), Failure> {
    if let Some(region) = &args.region {
        args.channel = args.channel.log_of(region);
    }
    if args.max == Some(0) {
        return Ok(());
    }
    let client = context.client().await?;
    if args.from.is_vector() || args.to.as_ref().is_some_and(FromArg::is_vector) {
        return merged::run(&args, &client, context).await;
    }
    match one(&args, &client, context).await {
        Err(Refused::Each) => merged::run(&args, &client, context).await,
        Err(Refused::Failure(failure)) => Err(*failure),
        Ok(()) => Ok(()),
    }
}

/// Why a log was not read.
enum Refused {
    /// The channel has one for each region.
    Each,
    /// Something else.
    Failure(Box<Failure>),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl ConsumeArgs {
    /// How long to go on trying while the broker is away.
    pub(super) fn retry_for(&self) -> Duration {
        if self.follow {
            RETRY_FOR_FOLLOWING
        } else {
            RETRY_FOR
        }
    }

    /// What to do at lost records.
    pub(super) fn gaps(&self) -> Gaps {
        match self.gaps {
            GapsArg::Raise => Gaps::Raise,
            GapsArg::Yield => Gaps::Yield,
        }
    }
}

/// Reads a channel that is one log.
async fn one(args: &ConsumeArgs, client: &Client, context: &Context) -> Result<(), Refused> {
    let channel = &args.channel;
    let now = context.now();
    let mut consumer = client
        .consumer(channel.clone())
        .follow(args.follow)
        .gaps(args.gaps())
        .retry_for(args.retry_for());
    let types: Option<BTreeSet<String>> =
        (!args.types.is_empty()).then(|| args.types.iter().cloned().collect());
    if args.no_home {
        consumer = consumer.lacking(Lacking::Refuse);
    }
    if let Some(types) = types.clone() {
        consumer = consumer.types(types);
    }
    consumer = match args.from.at(now)? {
        Place::Start => consumer.from_start(),
        Place::End => consumer.from_end(),
        Place::Offset(offset) => consumer.from_offset(offset),
        Place::Time(time) => consumer.from_time(time),
        back @ Place::Back(_) => consumer.from_offset(resolve(client, channel, back).await?),
    };
    let mut until = None;
    let to = args.to.as_ref();
    match to.map(|place| place.at(now)).transpose()? {
        None => {}
        Some(Place::Offset(offset)) => consumer = consumer.to(offset),
        // While following, records from before that time may still come.
        Some(Place::Time(time)) if args.follow => until = Some(time),
        Some(place) => consumer = consumer.to(resolve(client, channel, place).await?),
    }
    let mut output = Output::new(io::stdout(), context.json);
    output.is_exact = args.base64;
    let limits = Limits {
        left: args.max,
        until,
        types,
    };
    let ended = pump(consumer.build(), limits, &mut output).await;
    let flushed = output.out.flush();
    match ended {
        Err(Stopped::Output(failure)) => Err(failure.into()),
        Err(Stopped::Consumer(error)) if is_each(&error) => Err(Refused::Each),
        Err(Stopped::Consumer(error)) => {
            flushed?;
            let what = match output.next {
                Some(next) => format!("consuming {channel} from offset {next}"),
                None => format!("consuming {channel}"),
            };
            Err(Failure::consume(what, &error, channel.as_str()).into())
        }
        Ok(Ended::Done) => Ok(flushed?),
        Ok(Ended::Interrupted { position }) => {
            flushed?;
            match output.next.or(position) {
                Some(next) => eprintln!("npayload: interrupted; go on with --from {next}"),
                None => eprintln!("npayload: interrupted before the first record"),
            }
            Ok(())
        }
    }
}

async fn resolve(client: &Client, channel: &ChannelName, place: Place) -> Result<Offset, Refused> {
    match client.resolve(channel, place).await {
        Ok(resolved) => Ok(resolved.offset),
        Err(RequestError::Server(error)) if error.is(ErrorCode::EachRegion) => Err(Refused::Each),
        Err(error) => {
            let what = format!("consuming {channel}");
            Err(Failure::request(what, &error, Some(channel.as_str())).into())
        }
    }
}

/// Whether the channel has a log for each region, so that nothing was read.
fn is_each(error: &ConsumeError) -> bool {
    let refused = error.server();
    refused.is_some_and(|refused| refused.is(ErrorCode::EachRegion))
}

/// Where to end, apart from the end that the consumer knows.
struct Limits {
    /// Records that may still be printed.
    left: Option<u64>,
    /// Records appended then or later are not printed.
    until: Option<Timestamp>,
    /// Types of the records that are printed; all of them where it is not set.
    types: Option<BTreeSet<String>>,
}

enum Ended {
    Done,
    Interrupted {
        /// Where the consumer was, when nothing was printed.
        position: Option<Offset>,
    },
}

enum Stopped {
    Consumer(ConsumeError),
    Output(Failure),
}

/// Prints records until the end, a limit, or a signal.
async fn pump<W: Write>(
    mut consumer: Consumer,
    mut limits: Limits,
    output: &mut Output<W>,
) -> Result<Ended, Stopped> {
    let stop = interrupted();
    tokio::pin!(stop);
    loop {
        let ready = tokio::select! {
            biased;
            () = &mut stop => None,
            batch = consumer.next_batch() => Some(batch),
            // Nothing is there yet, so whoever reads the output gets what there was.
            () = std::future::ready(()) => {
                output.out.flush().map_err(Stopped::Output)?;
                tokio::select! {
                    biased;
                    () = &mut stop => None,
                    batch = consumer.next_batch() => Some(batch),
                }
            }
        };
        let Some(batch) = ready else {
            let position = consumer.position().offset;
            return Ok(Ended::Interrupted { position });
        };
        let Some(batch) = batch else {
            return Ok(Ended::Done);
        };
        let batch = batch.map_err(Stopped::Consumer)?;
        if !print_batch(&batch, &mut limits, output)? {
            return Ok(Ended::Done);
        }
    }
}

/// Prints the records of a batch that are wanted; tells whether more are.
fn print_batch<W: Write>(
    batch: &RawBatch,
    limits: &mut Limits,
    output: &mut Output<W>,
) -> Result<bool, Stopped> {
    if limits.until.is_some_and(|until| batch.append_time >= until) {
        return Ok(false);
    }
    if let Some(gap) = &batch.gap {
        let offsets = batch.first..batch.end;
        output.gap(offsets, gap).map_err(Stopped::Output)?;
        return Ok(true);
    }
    let corrupt = |source| {
        let offset = batch.base_offset;
        Stopped::Consumer(ConsumeError::Corrupt { offset, source })
    };
    for record in records(&batch.bytes).map_err(corrupt)? {
        let record = record.map_err(corrupt)?;
        if record.offset < batch.first {
            continue;
        }
        if record.offset >= batch.end {
            break;
        }
        let types = limits.types.as_ref();
        if types.is_some_and(|types| !types.contains(record.record_type.as_str())) {
            continue;
        }
        output.record(&record).map_err(Stopped::Output)?;
        if let Some(left) = &mut limits.left {
            *left -= 1;
            if *left == 0 {
                return Ok(false);
            }
        }
    }
    output.next = Some(batch.end);
    Ok(true)
}

#[derive(Serialize)]
struct GapLine<'a> {
    gap: GapRow<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GapRow<'a> {
    first_offset: Offset,
    end_offset: Offset,
    #[serde(flatten)]
    gap: &'a Gap,
}

/// Records as bytes.
struct Output<W> {
    out: Gathered<W>,
    json: bool,
    /// Records byte by byte.
    is_exact: bool,
    /// The offset after the last record that was printed.
    next: Option<Offset>,
}

impl<W: Write> Output<W> {
    fn new(to: W, json: bool) -> Self {
        Self {
            out: Gathered::new(to),
            json,
            is_exact: false,
            next: None,
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), Failure> {
        if self.json && self.is_exact {
            write_exactly(record, &mut self.out.buffer);
        } else if self.json {
            write_record(record, &mut self.out.buffer);
        } else {
            self.out
                .buffer
                .extend_from_slice(record.payload.as_deref().unwrap_or_default());
            self.out.buffer.push(b'\n');
        }
        self.next = Some(Offset(record.offset.0 + 1));
        self.out.write_enough()
    }

    /// Lost records: a line of their own in JSON, and on stderr beside payloads.
    fn gap(&mut self, offsets: Range<Offset>, gap: &Gap) -> Result<(), Failure> {
        let Range { start, end } = offsets;
        if self.json {
            let line = GapLine {
                gap: GapRow {
                    first_offset: start,
                    end_offset: end,
                    gap,
                },
            };
            serde_json::to_writer(&mut self.out.buffer, &line).expect("plain fields into memory");
            self.out.buffer.push(b'\n');
        } else {
            self.out.flush()?;
            let why = if gap.what.is_empty() {
                &gap.reason
            } else {
                &gap.what
            };
            eprintln!("npayload: the records from offset {start} up to {end} are lost: {why}");
        }
        self.next = Some(end);
        self.out.write_enough()
    }
}
