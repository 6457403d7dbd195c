//! `npayload audit`: who did what to the broker, and whether the record of it is whole.

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::{Context, output};
use crate::access::{AuditHead, AuditRecord, ChainCheck, InvalidHead};
use crate::client::{Client, Gaps, RawBatch};
use crate::format::records;
use crate::types::{ChannelName, Offset};

/// The topic.
const TOPIC: &str = "__audit";

/// Arguments of `npayload audit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload audit
  npayload audit --json | jq 'select(.outcome == \"refused\")'
  npayload audit --verify
  npayload audit --verify --expect 42:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub struct AuditArgs {
    /// Check the chain of hashes instead of printing the records, and print where it ends
    ///
    /// Keep what it prints somewhere else: with it, --expect finds out later whether anything before
    /// that place was changed, the last record included.
    #[arg(long)]
    verify: bool,
    /// A place where the chain ended at an earlier time, as --verify printed it: NEXT:SHA-256
    #[arg(long, value_name = "HEAD", requires = "verify", value_parser = head)]
    expect: Option<AuditHead>,
}

fn head(text: &str) -> Result<AuditHead, InvalidHead> {
    text.parse()
}

/// Carries the command out.
///
/// # Errors
/// When the records can't be read, or the chain is broken.
pub async fn run(args: AuditArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    if args.verify {
        return verify(&client, args.expect, context.json).await;
    }
    each(&client, |_, payload| {
        let payload = payload?;
        if context.json {
            // As it is stored, so that its hash can be taken.
            return output::print(&String::from_utf8_lossy(payload));
        }
        match AuditRecord::decode(payload) {
            Ok(record) => output::print(&line(&record)),
            Err(fault) => output::print(&format!("not shown: {fault}")),
        }
    })
    .await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    ok: bool,
    first: Option<Offset>,
    records: u64,
    head: String,
}

async fn verify(
    client: &Client,
    expected: Option<AuditHead>,
    is_json: bool,
) -> Result<(), Failure> {
    let what = || "checking the audit chain".to_owned();
    let mut check = ChainCheck::default();
    let mut first = None;
    let mut is_met = expected.is_none_or(|expected| expected == AuditHead::default());
    each(client, |offset, payload| {
        check
            .take(offset, payload?)
            .map_err(|broken| Failure::new(what(), &broken))?;
        first.get_or_insert(offset);
        is_met |= expected == Some(check.head());
        Ok(())
    })
    .await?;
    let head = check.head();
    if let Some(expected) = expected.filter(|_| !is_met) {
        let why = format!("the chain does not lead through {expected}; it ends at {head}");
        return Err(Failure::because(what(), why)
            .hint("records up to that place were changed, or retention dropped them"));
    }
    let records = first.map_or(0, |first| head.next - first.0);
    if is_json {
        let head = head.to_string();
        return output::print_json(&Verified {
            ok: true,
            first,
            records,
            head,
        });
    }
    output::print(&output::fields(&[
        ("records", output::count(records)),
        (
            "from offset",
            first.map_or_else(String::new, |first| first.to_string()),
        ),
        ("chain", "whole".to_owned()),
        ("head", head.to_string()),
    ]))
}

/// Gives every record to `take`, by offset; lost ones as a failure in their place.
async fn each(
    client: &Client,
    mut take: impl FnMut(Offset, Result<&[u8], Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let what = || "reading the audit records".to_owned();
    let topic = ChannelName::parse_any(TOPIC).expect("a constant that follows the rule");
    let mut consumer = client
        .consumer(topic)
        .gaps(Gaps::Yield)
        .from_start()
        .build();
    while let Some(batch) = consumer.next_batch().await {
        let batch = batch.map_err(|error| Failure::consume(what(), &error, TOPIC))?;
        if batch.gap.is_some() {
            let RawBatch { first, end, .. } = batch;
            let why = format!("the records from offset {first} up to {end} are lost");
            take(first, Err(Failure::because(what(), why)))?;
            continue;
        }
        let corrupt = |error| Failure::new(what(), &error);
        for record in records(&batch.bytes).map_err(corrupt)? {
            let record = record.map_err(corrupt)?;
            if (batch.first..batch.end).contains(&record.offset) {
                take(
                    record.offset,
                    Ok(record.payload.as_deref().unwrap_or_default()),
                )?;
            }
        }
    }
    Ok(())
}

/// A record for a person. Whatever a client could choose is shown without control characters.
fn line(record: &AuditRecord) -> String {
    let who = match &record.who {
        None => "nobody known".to_owned(),
        Some(who) => match who.key {
            Some(key) => format!("{} {key}", who.org),
            None => format!("{} without a key", who.org),
        },
    };
    let mut line = format!(
        "{}  {:<7}  {} {}  by {who}",
        output::time(record.at),
        record.outcome,
        record.act.escape_debug(),
        record.target.escape_debug(),
    );
    let from = &record.from;
    let named = [
        ("from", Some(from).filter(|from| !from.is_empty())),
        ("error", record.error.as_ref()),
        ("detail", record.detail.as_ref()),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            line += &format!("  {name} {}", value.escape_debug());
        }
    }
    if record.suppressed > 0 {
        line += &format!("  and {} refused before it", record.suppressed);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AuditAct, AuditOutcome, Principal};
    use crate::types::{OrgName, Timestamp};

    #[test]
    fn a_line_says_who_did_what_and_nothing_of_a_client_reaches_the_terminal_as_it_is() {
        let act = AuditAct {
            who: Some(Principal::LOCAL),
            from: "127.0.0.1:5".to_owned(),
            act: "channel.delete",
            target: "a\u{1b}[2J\nb".to_owned(),
            detail: String::new(),
            outcome: AuditOutcome::Refused {
                error: "PERMISSION_DENIED",
            },
        };
        let org = OrgName::parse("default").unwrap();
        let head = AuditHead::default();
        let record = AuditRecord::new(&act, Some(&org), 3, &head, Timestamp(0));
        assert_eq!(
            line(&record),
            "1970-01-01T00:00:00.000Z  refused  channel.delete a\\u{1b}[2J\\nb  by default without \
             a key  from 127.0.0.1:5  error PERMISSION_DENIED  and 3 refused before it"
        );
    }
}
