//! `npayload consume` of a channel with a log for each region: all logs together, each record with its
//! region and offset.

use std::io;
use std::str::FromStr;

use serde::Serialize;

use super::consume::ConsumeArgs;
use super::failure::Failure;
use super::gathered::Gathered;
use super::place::PlaceArg;
use super::record_json::{write_exactly, write_record};
use super::{Context, interrupted};
use crate::client::{Client, LostRecords, MergedError, MergedItem, MergedRecord};
use crate::format::Gap;
use crate::protocol::control::Place;
use crate::protocol::logs::RegionLogs;
use crate::region::Vector;
use crate::region::interest::Since;
use crate::types::{Offset, RegionName, Timestamp};

/// Where to begin or to end: a place in one log, or an offset in each region's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromArg {
    /// A place.
    Place(PlaceArg),
    /// An offset for each region.
    Vector(Vector),
}

impl FromArg {
    /// Whether it is an offset for each region.
    #[must_use]
    pub fn is_vector(&self) -> bool {
        matches!(self, Self::Vector(_))
    }

    /// The place in one log, where `now` is the time that an age is counted back from.
    ///
    /// # Errors
    /// A vector is none.
    pub fn at(&self, now: Timestamp) -> Result<Place, Failure> {
        match self {
            Self::Place(place) => Ok(place.at(now)),
            Self::Vector(_) => {
                let why = "offsets of several regions are no place in one log";
                Err(Failure::usage("consuming one log", why))
            }
        }
    }
}

impl FromStr for FromArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') {
            return vector(text).map(Self::Vector);
        }
        let place = text.parse().map(Self::Place);
        place.map_err(|error: super::place::InvalidPlace| error.to_string())
    }
}

/// Offsets in the logs of regions: `eu-west=17,us-east=40`.
pub(super) fn vector(text: &str) -> Result<Vector, String> {
    let mut parts: Vec<(RegionName, Offset)> = Vec::new();
    for part in text.split(',') {
        let form = || format!("`{part}` is no part of a vector, such as eu-west=17,us-east=40");
        let (region, offset) = part.split_once('=').ok_or_else(form)?;
        let region = RegionName::parse(region).map_err(|error| error.to_string())?;
        let is_number = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        let offset: u64 = match offset.parse() {
            // The highest number stands for "none" on the wire.
            Ok(offset) if is_number && offset < u64::MAX => offset,
            _ => return Err(form()),
        };
        if parts.iter().any(|(named, _)| *named == region) {
            return Err(format!("region `{region}` is named twice"));
        }
        parts.push((region, Offset(offset)));
    }
    Ok(parts.into_iter().collect())
}

/// A vector as it is typed.
pub(super) fn typed(vector: &Vector) -> String {
    let parts: Vec<String> = vector
        .parts()
        .map(|(region, offset)| format!("{region}={offset}"))
        .collect();
    parts.join(",")
}

/// Reads all logs of a channel together.
///
/// # Errors
/// When a record cannot be read, or the output cannot be written.
pub(super) async fn run(
    args: &ConsumeArgs,
    client: &Client,
    context: &Context,
) -> Result<(), Failure> {
    let channel = &args.channel;
    let what = format!("consuming {channel}");
    if !args.types.is_empty() {
        let why = "records of some types are read of one region's log";
        return Err(Failure::usage(what, why).hint("add --region NAME"));
    }
    let failed = |error: &MergedError| Failure::merged(&what, error, channel.as_str());
    let now = context.now();
    let mut reader = client
        .merged(channel.clone())
        .follow(args.follow)
        .gaps(args.gaps())
        .retry_for(args.retry_for())
        .patience(args.retry_for());
    let one = |why: &str| {
        let why = format!("{why} is a place in one log");
        let hint = "give start, end, a time, or offsets such as eu-west=17,us-east=40";
        Failure::usage(&what, why).hint(hint)
    };
    reader = match &args.from {
        FromArg::Vector(vector) => reader.from(vector.clone()),
        FromArg::Place(place) => match place.at(now) {
            Place::Start => reader,
            Place::End => reader.from_end(),
            Place::Time(time) => reader.from_time(time),
            Place::Offset(_) => return Err(one("an offset")),
            Place::Back(_) => return Err(one("a number of records before the end")),
        },
    };
    reader = match &args.to {
        None => reader,
        Some(FromArg::Vector(vector)) => reader.to(vector.clone()),
        Some(FromArg::Place(place)) => match place.at(now) {
            Place::Offset(_) => return Err(one("an offset")),
            Place::Back(_) => return Err(one("a number of records before the end")),
            // To the ends as they are now, which is what there is without.
            Place::End if !args.follow => reader,
            place => reader.to(ends(client, args, place).await.map_err(|e| failed(&e))?),
        },
    };
    let mut merged = reader.build().await.map_err(|error| failed(&error))?;
    let mut output = Output::new(args, context.json);
    let stop = interrupted();
    tokio::pin!(stop);
    let mut left = args.max;
    loop {
        let item = tokio::select! {
            biased;
            () = &mut stop => None,
            item = merged.next_item() => Some(item),
            // Nothing is there yet, so whoever reads the output gets what there was.
            () = std::future::ready(()) => {
                output.out.flush()?;
                tokio::select! {
                    biased;
                    () = &mut stop => None,
                    item = merged.next_item() => Some(item),
                }
            }
        };
        let Some(item) = item else {
            output.out.flush()?;
            let at = typed(merged.position());
            match at.is_empty() {
                true => eprintln!("npayload: interrupted before the first record"),
                false => eprintln!("npayload: interrupted; go on with --from {at}"),
            }
            return Ok(());
        };
        match item {
            None => break,
            Some(Ok(MergedItem::Record(record))) => output.record(&record)?,
            Some(Ok(MergedItem::Lost { region, lost })) => {
                output.lost(&region, &lost)?;
                continue;
            }
            Some(Err(error)) => {
                output.out.flush()?;
                let at = typed(merged.position());
                let what = format!("{what} from {at}");
                return Err(Failure::merged(what, &error, channel.as_str()));
            }
        }
        if let Some(left) = &mut left {
            *left -= 1;
            if *left == 0 {
                break;
            }
        }
    }
    output.out.flush()
}

/// The vector of a place in every log that there is.
async fn ends(client: &Client, args: &ConsumeArgs, place: Place) -> Result<Vector, MergedError> {
    let asked = RegionLogs {
        channel: args.channel.clone(),
        read: true,
        from: Since::Start,
        after: None,
        wait_ms: 0,
    };
    let told = client.channel_logs(asked).await?;
    let mut parts = Vec::with_capacity(told.logs.len());
    for log in told.logs {
        let resolved = client.resolve(&log.name, place).await?;
        parts.push((log.region, resolved.offset));
    }
    Ok(parts.into_iter().collect())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GapRow<'a> {
    region: &'a RegionName,
    first_offset: Offset,
    end_offset: Offset,
    #[serde(flatten)]
    gap: &'a Gap,
}

/// Records as bytes.
struct Output {
    out: Gathered<io::Stdout>,
    /// One record as JSON.
    line: Vec<u8>,
    json: bool,
    is_exact: bool,
    is_raw: bool,
}

impl Output {
    fn new(args: &ConsumeArgs, json: bool) -> Self {
        Self {
            out: Gathered::new(io::stdout()),
            line: Vec::new(),
            json,
            is_exact: args.base64,
            is_raw: args.raw,
        }
    }

    fn record(
        &mut self,
        MergedRecord { region, record, .. }: &MergedRecord,
    ) -> Result<(), Failure> {
        if self.json {
            self.line.clear();
            match self.is_exact {
                true => write_exactly(record, &mut self.line),
                false => write_record(record, &mut self.line),
            }
            // A region's name needs no escapes.
            let head = format!("{{\"region\":\"{region}\",");
            self.out.buffer.extend_from_slice(head.as_bytes());
            self.out.buffer.extend_from_slice(&self.line[1..]);
        } else {
            if !self.is_raw {
                let place = format!("{region}={}\t", record.offset);
                self.out.buffer.extend_from_slice(place.as_bytes());
            }
            let payload = record.payload.as_deref().unwrap_or_default();
            self.out.buffer.extend_from_slice(payload);
            self.out.buffer.push(b'\n');
        }
        self.out.write_enough()
    }

    fn lost(&mut self, region: &RegionName, lost: &LostRecords) -> Result<(), Failure> {
        if !self.json {
            self.out.flush()?;
            eprintln!("npayload: in the log of {region}: {lost}");
            return Ok(());
        }
        let gap = GapRow {
            region,
            first_offset: lost.first,
            end_offset: lost.end,
            gap: &lost.gap,
        };
        let line = serde_json::json!({ "gap": gap });
        serde_json::to_writer(&mut self.out.buffer, &line).expect("plain fields into memory");
        self.out.buffer.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_an_offset_for_each_region() {
        let text = "eu-west=17,us-east=40";
        let read: FromArg = text.parse().unwrap();
        let FromArg::Vector(vector) = &read else {
            panic!("{read:?}");
        };
        assert_eq!(typed(vector), text);
        assert_eq!(vector.to_string(), "{eu-west: 17, us-east: 40}");
        assert!(read.at(Timestamp(0)).is_err());
        let place: FromArg = "-10".parse().unwrap();
        assert_eq!(place, FromArg::Place(PlaceArg::Back(10)));
        for bad in [
            "=",
            "eu=",
            "=1",
            "eu=1,",
            "EU=1",
            "eu=+1",
            "eu=-1",
            "eu=1,eu=2",
            "eu=18446744073709551615",
            "eu=1;us=2",
        ] {
            assert!(bad.parse::<FromArg>().is_err(), "{bad}");
        }
    }
}
