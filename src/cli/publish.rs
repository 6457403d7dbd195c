//! `npayload publish`: each line of a file or of stdin becomes a record.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::lines::{Chunk, LineReader, LinesError};
use super::{CompressionArg, Context, atomic, interrupted, output, own_channel};
use crate::client::{BatchAck, Client, Producer, PublishError};
use crate::format::{BatchBuilder, Compression, MAX_RECORD_BYTES, NewRecord, RECORD_HEADER_BYTES};
use crate::protocol::ErrorCode;
use crate::types::{ChannelName, Durability, Offset, RegionName};

/// Chunks of lines that are read ahead.
const CHUNKS_AHEAD: usize = 8;
/// Bytes at which a batch is sent before it has all its records.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of records on their way at once.
const UNACKED_BYTES: usize = 16 << 20;
/// Batches on their way at once.
const BATCHES_IN_FLIGHT: usize = 8;
/// Largest record of a channel that does not exist yet, and is created by the first batch.
const DEFAULT_MAX_RECORD_BYTES: u32 = 1 << 20;

/// Arguments of `npayload publish`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload publish chat.log --file lines.txt
  tail -f app.log | npayload publish app.log --type log.line --acks
  echo '{\"n\":1}' | npayload publish raw
  echo '{\"channel\":\"clean\",\"payload\":{\"n\":1}}
  {\"consumer\":\"cleaner\",\"channel\":\"raw\",\"commit\":1}' | npayload publish --atomic

Publishing makes a channel that does not exist, unless the broker is told not to; a commit wants one
that does. A line of --atomic without any payload is stored as a tombstone.")]
pub struct PublishArgs {
    /// The channel
    #[arg(
        value_parser = own_channel,
        required_unless_present = "atomic",
        conflicts_with = "atomic"
    )]
    channel: Option<ChannelName>,
    /// Read lines {"channel","type","key","headers","payload"} or {"consumer","channel","commit"}
    /// and store them all or nothing
    #[arg(
        long,
        conflicts_with_all = [
            "record_type", "key", "headers", "batch_records", "linger_ms", "expect_offset", "fence",
        ]
    )]
    atomic: bool,
    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Type of every record
    #[arg(long = "type", value_name = "TYPE", allow_hyphen_values = true)]
    record_type: Option<String>,
    /// Key of every record
    #[arg(long, allow_hyphen_values = true)]
    key: Option<String>,
    /// Header of every record; may be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header, allow_hyphen_values = true)]
    headers: Vec<(String, String)>,
    /// Records in a batch at most
    #[arg(
        long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    batch_records: u32,
    /// How long a record waits for others to share its batch
    #[arg(long, value_name = "N", default_value_t = 5)]
    linger_ms: u64,
    /// How batches are compressed
    #[arg(long, value_enum, value_name = "NAME", default_value = "none")]
    compression: CompressionArg,
    /// The offset that the first record must get; the others follow it
    #[arg(
        long, value_name = "N",
        value_parser = clap::value_parser!(u64).range(..u64::MAX)
    )]
    expect_offset: Option<u64>,
    /// Fencing token: refused once the channel has seen a higher one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fence: Option<u64>,
    /// Let records wait in the outbox of the region that is asked, while the home of the channel can't
    /// be reached
    #[arg(long, conflicts_with_all = ["atomic", "expect_offset", "fence"])]
    outbox: bool,
    /// How long to go on trying
    #[arg(
        long, value_name = "N", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    timeout_s: u64,
    /// Print offsets and durability, as JSON, as soon as a batch is acknowledged
    #[arg(long)]
    acks: bool,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is NAME=VALUE"),
    }
}

/// Carries the command out.
///
/// # Errors
/// When a record was not stored, or it is not known whether it was.
pub async fn run(args: PublishArgs, context: &Context) -> Result<(), Failure> {
    let timeout = Duration::from_secs(args.timeout_s);
    let Some(channel) = &args.channel else {
        let options = atomic::Options {
            compression: args.compression.into(),
            timeout,
            acks: args.acks,
        };
        return atomic::run(open(args.file.as_deref())?.0, &options, context).await;
    };
    let headers: Vec<_> = args
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let record = NewRecord {
        record_type: args.record_type.as_deref().unwrap_or_default(),
        key: args.key.as_deref().map(str::as_bytes),
        headers: &headers,
        payload: Some(b""),
        event_time: None,
    };
    if let Err(error) = BatchBuilder::new(Compression::None).push(&record) {
        return Err(Failure::usage("publishing", error.to_string()));
    }
    let (input, input_bytes) = open(args.file.as_deref())?;
    let client = context.client_within(timeout, timeout).await?;
    let limit = LineLimit::of(&client, channel, &record).await?;
    let mut producer = client
        .producer(channel.clone())
        .batch_bytes(BATCH_BYTES)
        .batch_records(args.batch_records)
        .linger(Duration::from_millis(args.linger_ms))
        .compression(args.compression.into())
        .max_unacked_bytes(UNACKED_BYTES)
        .max_in_flight(BATCHES_IN_FLIGHT)
        .fence(args.fence.unwrap_or(0))
        .outbox(args.outbox)
        .delivery_timeout(timeout);
    if let Some(offset) = args.expect_offset {
        producer = producer.expected_offset(Offset(offset));
    }
    let producer = producer.build();
    let bar = progress(args.file.is_some(), args.acks, input_bytes);
    let acks = tokio::spawn(take_acks(producer.acks(), args.acks, bar.clone()));

    let chunks = read_ahead(LineReader::new(input, limit.line_bytes));
    let ended = tokio::select! {
        biased;
        () = interrupted() => Ended::Interrupted,
        ended = pump(&producer, chunks, &record, &bar) => ended,
    };
    let flushed = tokio::select! {
        biased;
        // Somebody who is asked to wait for the rest may still not want to.
        () = interrupted() => None,
        flushed = producer.flush() => Some(flushed),
    };
    // Of several failures the first caused the others.
    let failure = producer.failure();
    let summary = summary(producer, acks, flushed.is_some()).await?;
    bar.finish_and_clear();

    let is_whole = matches!(ended, Ended::All) && matches!(flushed, Some(Ok(())));
    if is_whole || summary.count > 0 {
        summary.print(channel, args.acks, context)?;
    }
    let what = format!("publishing to {channel}");
    let are = if summary.count == 1 { "is" } else { "are" };
    let stored = format!("{} {are} stored", output::counted(summary.count, "record"));
    match (failure, ended, flushed) {
        (Some(error), _, _) | (None, Ended::Refused(error), _) | (None, _, Some(Err(error))) => {
            let line = summary.count + 1;
            let what = match (summary.count, &error) {
                (0, _) => what,
                // Without an answer nobody knows what became of the batches on their way.
                (_, PublishError::Timeout { .. }) => {
                    format!("{what}: {stored}, unknown of line {line} and after")
                }
                _ => format!("{what}: {stored}, but not line {line} and after"),
            };
            Err(Failure::publish(what, &error, channel.as_str()))
        }
        (None, Ended::BadInput(error @ LinesError::TooLong { .. }), _) => {
            let why = format!(
                "{error}, which is what {channel} takes (maxRecordBytes {}); the lines before it \
                 are stored, nothing after it was read",
                limit.record_bytes
            );
            let hint = format!(
                "allow larger records with `npayload channel update {channel} --max-record-bytes N`"
            );
            Err(Failure::because(what, why).hint(hint))
        }
        (None, Ended::BadInput(error), _) => Err(Failure::new(format!("{what}: {stored}"), &error)),
        (None, Ended::Interrupted, _) | (None, _, None) => Err(Failure::because(
            what,
            format!("interrupted when the first {stored}"),
        )),
        (None, Ended::All, Some(Ok(()))) => Ok(()),
    }
}

/// Why no more lines were handed to the producer.
enum Ended {
    All,
    Interrupted,
    Refused(PublishError),
    BadInput(LinesError),
}

type Chunks = mpsc::Receiver<Result<Chunk, LinesError>>;

/// Reads lines on a thread of its own, because reading blocks.
fn read_ahead<R: Read + Send + 'static>(mut lines: LineReader<R>) -> Chunks {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        while let Some(chunk) = lines.next_chunk().transpose() {
            let is_last = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    chunks
}

/// Hands every line to the producer. A failure is noticed even while no line comes.
async fn pump(
    producer: &Producer,
    mut chunks: Chunks,
    record: &NewRecord<'_>,
    bar: &ProgressBar,
) -> Ended {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        let chunk = tokio::select! {
            chunk = chunks.recv() => chunk,
            _ = tick.tick() => match producer.failure() {
                Some(error) => return Ended::Refused(error),
                None => continue,
            },
        };
        let chunk = match chunk {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Ended::BadInput(error),
            None => return Ended::All,
        };
        for (_, line) in chunk.lines() {
            let record = NewRecord {
                payload: Some(line),
                ..*record
            };
            // The acknowledgements come batch by batch instead.
            match producer.publish(&record).await {
                Ok(ticket) => drop(ticket),
                Err(error) => return Ended::Refused(error),
            }
        }
        bar.inc(chunk.len() as u64);
    }
}

/// The longest line whose record the channel takes.
struct LineLimit {
    line_bytes: usize,
    record_bytes: u32,
}

impl LineLimit {
    async fn of(
        client: &Client,
        channel: &ChannelName,
        record: &NewRecord<'_>,
    ) -> Result<Self, Failure> {
        let record_bytes = match client.channel_info(channel).await {
            Ok(info) => info.config.max_record_bytes,
            Err(error) if error.is(ErrorCode::ChannelNotFound) => DEFAULT_MAX_RECORD_BYTES,
            // The first batch begins this region's log.
            Err(error) if error.is(ErrorCode::EachRegion) => DEFAULT_MAX_RECORD_BYTES,
            Err(error) => {
                let what = format!("publishing to {channel}");
                return Err(Failure::request(what, &error, Some(channel.as_str())));
            }
        };
        let headers = record.headers.iter();
        let around = RECORD_HEADER_BYTES
            + record.record_type.len()
            + record.key.map_or(0, <[u8]>::len)
            + headers
                .map(|(name, value)| 6 + name.len() + value.len())
                .sum::<usize>();
        let most =
            usize::try_from(record_bytes).map_or(MAX_RECORD_BYTES, |n| n.min(MAX_RECORD_BYTES));
        match most.checked_sub(around) {
            Some(line_bytes) => Ok(Self {
                line_bytes,
                record_bytes,
            }),
            None => Err(Failure::because(
                format!("publishing to {channel}"),
                format!(
                    "type, key and headers take {around} bytes of each record, and the channel's \
                     largest is {record_bytes}"
                ),
            )),
        }
    }
}

/// The input, and its size where that is known.
fn open(file: Option<&Path>) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        let input = io::stdin();
        if input.is_terminal() {
            eprintln!("reading lines from the terminal; Ctrl-D ends");
        }
        return Ok((Box::new(input), None));
    };
    let fault = |error| Failure::new(format!("opening {}", path.display()), &error);
    let file = File::open(path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if metadata.is_dir() {
        let what = format!("opening {}", path.display());
        return Err(Failure::because(what, "it is a directory"));
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), bytes))
}

/// A bar on stderr, when that is a terminal and nothing else is printed on it.
fn progress(is_file: bool, acks: bool, bytes: Option<u64>) -> ProgressBar {
    let is_quiet = acks && io::stdout().is_terminal() || !is_file && io::stdin().is_terminal();
    if is_quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {bytes_per_sec} {elapsed}",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) first: Option<Offset>,
    pub(super) last: Option<Offset>,
    /// The lowest level of all batches.
    pub(super) level: Option<Durability>,
    /// The region that the last batch is in.
    region: Option<RegionName>,
    /// The fewest regions that hold a batch.
    held: Option<u32>,
    /// Records that wait in the outbox of the region.
    outbox: u64,
    /// Whether acknowledgements could no longer be printed.
    output_closed: bool,
}

/// The line that `--acks` prints for a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AckLine<'a> {
    first_offset: Offset,
    last_offset: Offset,
    level: Durability,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a RegionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    outbox: bool,
}

/// The line that ends a publish with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SummaryLine<'a> {
    channel: &'a ChannelName,
    count: u64,
    first_offset: Option<Offset>,
    last_offset: Option<Offset>,
    level: Option<Durability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a RegionName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u32>,
    /// Records that wait in the outbox, and have no offsets in the channel yet.
    #[serde(skip_serializing_if = "is_zero")]
    outbox: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where something that was acknowledged is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// The region.
    pub(super) region: Option<&'a RegionName>,
    /// How many regions hold it.
    pub(super) held: u32,
    /// It waits in the outbox of the region.
    pub(super) outbox: bool,
}

impl<'a> Place<'a> {
    fn of(ack: &'a BatchAck) -> Self {
        Self {
            region: ack.region.as_ref(),
            held: ack.held,
            outbox: ack.outbox,
        }
    }
}

impl Summary {
    pub(super) fn add(&mut self, first: Offset, last: Offset, level: Durability, at: Place<'_>) {
        let records = last.0 - first.0 + 1;
        self.count += records;
        if at.outbox {
            self.outbox += records;
        } else {
            self.first.get_or_insert(first);
            self.last = Some(last);
        }
        self.level = Some(self.level.map_or(level, |lowest| lowest.min(level)));
        if let Some(region) = at.region {
            self.region = Some(region.clone());
            self.held = Some(self.held.map_or(at.held, |fewest| fewest.min(at.held)));
        }
    }

    fn print(&self, channel: &ChannelName, acks: bool, context: &Context) -> Result<(), Failure> {
        if self.output_closed {
            return Err(Failure::OutputClosed);
        }
        if context.json {
            return output::print_json(&SummaryLine {
                channel,
                count: self.count,
                first_offset: self.first,
                last_offset: self.last,
                level: self.level,
                region: self.region.as_ref(),
                held: self.held,
                outbox: self.outbox,
            });
        }
        let line = format!(
            "published {} to {channel}{}",
            output::counted(self.count, "record"),
            self.place()
        );
        if acks {
            // Stdout holds nothing but the acknowledgements then.
            eprintln!("{line}");
            return Ok(());
        }
        output::print(&line)
    }

    /// Reads on from a channel: where the records are, and how safe.
    pub(super) fn place(&self) -> String {
        let Some(level) = self.level else {
            return String::new();
        };
        let level = match &self.region {
            Some(region) => format!("{level}@{region}"),
            None => level.to_string(),
        };
        let offsets = match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => format!("offset {first}, "),
            (Some(first), Some(last)) => format!("offsets {first} to {last}, "),
            _ => String::new(),
        };
        let waiting = match self.outbox {
            0 => String::new(),
            records => format!(
                ", {} in the outbox until the home can be reached",
                output::counted(records, "record")
            ),
        };
        format!(": {offsets}{level}{waiting}")
    }
}

/// Counts acknowledgements, and prints them when asked to, until the producer is done.
async fn take_acks(
    mut acks: mpsc::UnboundedReceiver<BatchAck>,
    print: bool,
    bar: ProgressBar,
) -> Summary {
    let mut summary = Summary::default();
    while let Some(ack) = acks.recv().await {
        let at = Place::of(&ack);
        summary.add(ack.first_offset, ack.last_offset, ack.level, at);
        bar.tick();
        if print && !summary.output_closed {
            summary.output_closed =
                print_ack(ack.first_offset, ack.last_offset, ack.level, at).is_err();
        }
    }
    summary
}

pub(super) fn print_ack(
    first: Offset,
    last: Offset,
    level: Durability,
    at: Place<'_>,
) -> Result<(), Failure> {
    output::print_json(&AckLine {
        first_offset: first,
        last_offset: last,
        level,
        region: at.region,
        held: at.region.map(|_| at.held),
        outbox: at.outbox,
    })
}

/// The summary, once the producer has nothing more to acknowledge; at once when it was given up.
async fn summary(
    producer: Producer,
    acks: JoinHandle<Summary>,
    is_flushed: bool,
) -> Result<Summary, Failure> {
    drop(producer);
    if !is_flushed {
        // Nobody waits any longer, and what was printed so far is all that is known.
        return Err(Failure::because(
            "publishing",
            "interrupted twice, so given up",
        ));
    }
    acks.await
        .map_err(|error| Failure::new("taking acknowledgements", &error))
}
