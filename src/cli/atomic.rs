//! `npayload publish --atomic`: records for several channels and consumers' positions, stored all
//! or nothing.
//!
//! A line is a record, written as `npayload consume --json` prints one, or a commit:
//!
//! ```json
//! {"channel":"clean","type":"t","key":"k","headers":{"a":"b"},"payload":{"n":1}}
//! {"consumer":"cleaner","channel":"raw","commit":42,"metadata":"m","expect":41}
//! ```
//!
//! `payload` is stored as the JSON it is; `payloadText` and `payloadBase64` store a text and bytes,
//! `keyBase64` a key that is not text. Without any payload the record is a tombstone.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::failure::Failure;
use super::lines::LineReader;
use super::publish::{Place, Summary, print_ack};
use super::{Context, output};
use crate::client::AtomicBuilder;
use crate::format::{Compression, NewRecord};
use crate::protocol::{AtomicCommit, ExpectedPosition};
use crate::types::{ChannelName, ConsumerName, Durability, Offset, Timestamp};

/// Longest line: the largest record, written in the longest way.
const MAX_LINE_BYTES: usize = 256 << 20;

/// How to publish.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How batches are compressed.
    pub compression: Compression,
    /// How long to go on trying.
    pub timeout: Duration,
    /// Whether to print a line for each channel.
    pub acks: bool,
}

/// One line of the input.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    channel: Option<ChannelName>,
    consumer: Option<ConsumerName>,
    commit: Option<Offset>,
    expect: Option<Offset>,
    metadata: Option<String>,
    #[serde(rename = "type")]
    record_type: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(default)]
    headers: Headers,
    event_time: Option<Timestamp>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    payload_text: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    tombstone: bool,
}

/// Headers in the order in which they are written.
#[derive(Debug, Default)]
struct Headers(Vec<(String, String)>);

/// Tells `null`, which is a payload, from no payload.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            One(String),
            Many(Vec<String>),
        }

        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts, or of arrays of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, values)) = map.next_entry::<String, Values>()? {
                    match values {
                        Values::One(value) => headers.push((name, value)),
                        Values::Many(values) => {
                            headers.extend(values.into_iter().map(|value| (name.clone(), value)));
                        }
                    }
                }
                Ok(Headers(headers))
            }
        }

        from.deserialize_map(Fields)
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Part {
    Record {
        channel: ChannelName,
        record: OwnRecord,
    },
    Commit(AtomicCommit),
}

#[derive(Debug, Default, PartialEq)]
struct OwnRecord {
    record_type: String,
    key: Option<Vec<u8>>,
    headers: Vec<(String, String)>,
    payload: Option<Vec<u8>>,
    event_time: Option<Timestamp>,
}

/// Reads one line.
fn parse(line: &[u8]) -> Result<Part, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        // It is always line 1 of what was given to the reader: the number would mislead.
        let text = error.to_string();
        text.replacen(" at line 1 column ", " at character ", 1)
    })?;
    let is_commit = line.consumer.is_some() || line.commit.is_some();
    let Some(channel) = line.channel else {
        return Err("`channel` is missing".to_owned());
    };
    if is_commit {
        let (Some(consumer), Some(offset)) = (line.consumer, line.commit) else {
            return Err("a commit has both `consumer` and `commit`".to_owned());
        };
        let is_record = line.record_type.is_some()
            || line.key.is_some()
            || line.key_base64.is_some()
            || !line.headers.0.is_empty()
            || line.event_time.is_some()
            || line.payload.is_some()
            || line.payload_text.is_some()
            || line.payload_base64.is_some()
            || line.tombstone;
        if is_record {
            return Err("a line is a record or a commit, not both".to_owned());
        }
        return Ok(Part::Commit(AtomicCommit {
            channel,
            consumer,
            offset,
            expected_previous: line
                .expect
                .map_or(ExpectedPosition::Any, ExpectedPosition::At),
            metadata: line.metadata.unwrap_or_default(),
        }));
    }
    if line.expect.is_some() || line.metadata.is_some() {
        return Err("`expect` and `metadata` belong to a commit".to_owned());
    }
    let base64 = |name, text: String| {
        let bytes = STANDARD.decode(text);
        bytes.map_err(|error| format!("`{name}` is not base64: {error}"))
    };
    let key = match (line.key, line.key_base64) {
        (Some(_), Some(_)) => return Err("`key` and `keyBase64` exclude each other".to_owned()),
        (Some(key), None) => Some(key.into_bytes()),
        (None, Some(key)) => Some(base64("keyBase64", key)?),
        (None, None) => None,
    };
    // A tombstone is printed with a payload of null.
    let payload = line
        .payload
        .filter(|payload| !(line.tombstone && payload.get() == "null"));
    let payload = match (payload, line.payload_text, line.payload_base64) {
        (Some(json), None, None) => Some(json.get().as_bytes().to_vec()),
        (None, Some(text), None) => Some(text.into_bytes()),
        (None, None, Some(text)) => Some(base64("payloadBase64", text)?),
        (None, None, None) => None,
        _ => {
            let names = "`payload`, `payloadText` and `payloadBase64`";
            return Err(format!("{names} exclude each other"));
        }
    };
    if line.tombstone && payload.is_some() {
        return Err("a tombstone has no payload".to_owned());
    }
    Ok(Part::Record {
        channel,
        record: OwnRecord {
            record_type: line.record_type.unwrap_or_default(),
            key,
            headers: line.headers.0,
            payload,
            event_time: line.event_time,
        },
    })
}

/// Reads all lines, sends them as one entry, tells where they are.
///
/// # Errors
/// When a line is wrong or the broker refuses: nothing is stored then.
pub async fn run(
    input: Box<dyn Read + Send>,
    options: &Options,
    context: &Context,
) -> Result<(), Failure> {
    let parts = tokio::task::block_in_place(|| read(input))?;
    let client = context
        .client_within(options.timeout, options.timeout)
        .await?;
    let mut atomic = client.atomic();
    atomic.compression(options.compression);
    let mut channels: Vec<ChannelName> = Vec::new();
    let mut counts: HashMap<ChannelName, u64> = HashMap::new();
    let mut commits = Vec::new();
    for (number, part) in &parts {
        match part {
            Part::Record { channel, record } => {
                add(&mut atomic, channel, record).map_err(|why| wrong_line(*number, &why))?;
                let count = counts.entry(channel.clone()).or_insert_with(|| {
                    channels.push(channel.clone());
                    0
                });
                *count += 1;
            }
            Part::Commit(commit) => {
                atomic.commit_with(commit.clone());
                commits.push(CommitLine {
                    channel: commit.channel.clone(),
                    consumer: commit.consumer.clone(),
                    offset: commit.offset,
                });
            }
        }
    }
    let mut published = Vec::new();
    let (mut region, mut held) = (None, 0);
    if !parts.is_empty() {
        let answer = atomic.send().await.map_err(|error| {
            Failure::atomic(
                "publishing all or nothing: nothing is known to be stored",
                &error,
            )
        })?;
        published = answer.published;
        (region, held) = (answer.region, answer.held);
    }
    let mut done = Done {
        channel: None,
        count: 0,
        first_offset: None,
        last_offset: None,
        level: None,
        channels: Vec::new(),
        commits,
    };
    for (channel, answer) in channels.into_iter().zip(published) {
        let mut summary = Summary::default();
        let at = Place {
            region: region.as_ref(),
            held,
            outbox: false,
        };
        summary.add(answer.first_offset, answer.last_offset, answer.level, at);
        if options.acks {
            print_ack(answer.first_offset, answer.last_offset, answer.level, at)?;
        }
        let count = counts.get(&channel).copied().unwrap_or(0);
        done.count += count;
        done.level = Some(
            done.level
                .map_or(answer.level, |level| level.min(answer.level)),
        );
        done.channels.push(ChannelLine {
            channel,
            count,
            first_offset: answer.first_offset,
            last_offset: answer.last_offset,
            level: answer.level,
            place: summary.place(),
        });
    }
    done.print(options.acks, context)
}

fn read(input: Box<dyn Read + Send>) -> Result<Vec<(u64, Part)>, Failure> {
    let mut lines = LineReader::new(input, MAX_LINE_BYTES);
    let mut parts = Vec::new();
    loop {
        let chunk = lines.next_chunk();
        let chunk = chunk.map_err(|error| Failure::new("publishing nothing", &error))?;
        let Some(chunk) = chunk else {
            return Ok(parts);
        };
        for (number, line) in chunk.lines() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            parts.push((number, parse(line).map_err(|why| wrong_line(number, &why))?));
        }
    }
}

fn wrong_line(number: u64, why: &str) -> Failure {
    Failure::because(format!("publishing nothing: line {number}"), why).hint(
        "a line is {\"channel\",\"type\",\"key\",\"payload\"} or \
         {\"consumer\",\"channel\",\"commit\"}",
    )
}

fn add(
    atomic: &mut AtomicBuilder,
    channel: &ChannelName,
    record: &OwnRecord,
) -> Result<(), String> {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let record = NewRecord {
        record_type: &record.record_type,
        key: record.key.as_deref(),
        headers: &headers,
        payload: record.payload.as_deref(),
        event_time: record.event_time,
    };
    match atomic.record(channel, &record) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What was stored. The first five fields are those of a plain publish, offsets and channel null
/// when there is not exactly one channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    channel: Option<ChannelName>,
    count: u64,
    first_offset: Option<Offset>,
    last_offset: Option<Offset>,
    level: Option<Durability>,
    channels: Vec<ChannelLine>,
    commits: Vec<CommitLine>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelLine {
    channel: ChannelName,
    count: u64,
    first_offset: Offset,
    last_offset: Offset,
    level: Durability,
    #[serde(skip)]
    place: String,
}

#[derive(Debug, Serialize)]
struct CommitLine {
    channel: ChannelName,
    consumer: ConsumerName,
    offset: Offset,
}

impl Done {
    fn print(mut self, acks: bool, context: &Context) -> Result<(), Failure> {
        if let [only] = self.channels.as_slice() {
            self.channel = Some(only.channel.clone());
            self.first_offset = Some(only.first_offset);
            self.last_offset = Some(only.last_offset);
        }
        if context.json {
            return output::print_json(&self);
        }
        let records = self.channels.iter().map(|line| {
            let count = output::counted(line.count, "record");
            format!("published {count} to {}{}", line.channel, line.place)
        });
        let commits = self.commits.iter().map(|line| {
            let CommitLine {
                channel,
                consumer,
                offset,
            } = line;
            format!("consumer {consumer} of {channel} is at {offset}")
        });
        let mut lines: Vec<_> = records.chain(commits).collect();
        if lines.is_empty() {
            lines.push("published nothing: there were no lines".to_owned());
        }
        if acks {
            eprintln!("{}", lines.join("\n"));
            return Ok(());
        }
        output::print(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> OwnRecord {
        match parse(line.as_bytes()) {
            Ok(Part::Record { record, .. }) => record,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_json_payload_is_stored_as_it_was_written() {
        let line = r#"{"channel":"a","type":"t","key":"k","payload":{"n": 1.10, "b":[1e2]}}"#;
        assert_eq!(
            record(line),
            OwnRecord {
                record_type: "t".to_owned(),
                key: Some(b"k".to_vec()),
                payload: Some(br#"{"n": 1.10, "b":[1e2]}"#.to_vec()),
                ..OwnRecord::default()
            }
        );
        let payload = |json: &str| record(&format!(r#"{{"channel":"a",{json}}}"#)).payload;
        assert_eq!(payload(r#""payload":null"#), Some(b"null".to_vec()));
        assert_eq!(payload(r#""payload":"x""#), Some(br#""x""#.to_vec()));
        assert_eq!(payload(r#""payloadText":"x""#), Some(b"x".to_vec()));
        assert_eq!(payload(r#""payloadBase64":"/wA=""#), Some(vec![255, 0]));
        assert_eq!(payload(r#""type":"t""#), None);
        assert_eq!(payload(r#""payload":null,"tombstone":true"#), None);
    }

    #[test]
    fn headers_keep_their_order_and_may_repeat() {
        let line = r#"{"channel":"a","headers":{"z":"1","a":["2","3"]},"eventTime":-5,"keyBase64":"/w=="}"#;
        let record = record(line);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            record.headers,
            [header("z", "1"), header("a", "2"), header("a", "3")]
        );
        assert_eq!(record.event_time, Some(Timestamp(-5)));
        assert_eq!(record.key, Some(vec![255]));
    }

    #[test]
    fn a_commit_names_consumer_channel_and_offset() {
        let line = r#"{"consumer":"c","channel":"a","commit":42,"expect":41,"metadata":"m"}"#;
        let Ok(Part::Commit(commit)) = parse(line.as_bytes()) else {
            panic!("not a commit");
        };
        assert_eq!(commit.offset, Offset(42));
        assert_eq!(commit.expected_previous, ExpectedPosition::At(Offset(41)));
        assert_eq!(commit.metadata, "m");
    }

    #[test]
    fn a_line_that_could_mean_two_things_is_refused() {
        for line in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"channel":"a b"}"#,
            r#"{"payload":1}"#,
            r#"{"channel":"a","pay":1}"#,
            r#"{"channel":"a","consumer":"c"}"#,
            r#"{"channel":"a","commit":1}"#,
            r#"{"channel":"a","consumer":"c","commit":-1}"#,
            r#"{"channel":"a","consumer":"c","commit":1,"payload":1}"#,
            r#"{"channel":"a","metadata":"m"}"#,
            r#"{"channel":"a","payload":1,"payloadText":"1"}"#,
            r#"{"channel":"a","payloadBase64":"!"}"#,
            r#"{"channel":"a","key":"a","keyBase64":"YQ=="}"#,
            r#"{"channel":"a","payload":1,"tombstone":true}"#,
            r#"{"channel":"a","payload":1} {"channel":"a"}"#,
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
