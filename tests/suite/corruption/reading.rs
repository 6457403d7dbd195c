//! What a careful reader gets of a channel: it checks every batch, and goes on behind damage.

use npayload::broker::{BrokerError, Fetch, FetchFrom, FetchStep};
use npayload::format::{BatchHeader, check_stored, records};
use npayload::storage::ReadError;
use npayload::types::{ChannelName, LogEpoch, Offset};

use super::case::patient::{Driver, KnownChannel};

/// What could not be read of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Where the log starts and ends.
    pub start: u64,
    pub end: u64,
    /// First offsets of the batches that could not be read.
    pub bad: Vec<u64>,
    /// What was said of them: the file, the byte and the words.
    pub said: Vec<String>,
    /// Served bytes that were never written, and silent gaps.
    pub wrong: Vec<String>,
}

/// Reads a channel from its start to its end.
pub fn read(driver: &mut Driver, name: &str, known: &KnownChannel) -> Reading {
    let mut reading = Reading::default();
    let info = driver
        .broker
        .channel_info(&ChannelName::parse(name).unwrap());
    let Ok(info) = info else {
        reading.wrong.push(format!("{name} is no channel any more"));
        return reading;
    };
    (reading.start, reading.end) = (info.value.log_start.0, info.value.high_watermark.0);
    let mut at = reading.start;
    while at < reading.end {
        let Some(expected) = known.batch_at(at) else {
            let what = format!("{name} goes on at {at}, where nobody wrote");
            reading.wrong.push(what);
            break;
        };
        let before = at;
        match fetch(driver, name, at) {
            Ok(parts) => {
                for part in parts {
                    if let Err(what) = reading.take(part, known, &mut at) {
                        let bad = known.batch_at(at).expect("inside the log");
                        reading.bad.push(bad.first);
                        reading.said.push(format!("{name} offset {at}: {what}"));
                        at = bad.end;
                        break;
                    }
                }
            }
            Err(BrokerError::Read(error)) => {
                reading.said.push(error.to_string());
                let next = match &error {
                    ReadError::Damaged { next, .. } => next.map(|next| next.0),
                    _ => None,
                };
                // What is named as readable is read; all between is lost with the first.
                let to = next.unwrap_or(expected.end);
                let lost = known
                    .batches
                    .iter()
                    .filter(|one| one.end > at && one.first < to);
                reading.bad.extend(lost.map(|one| one.first));
                at = to;
            }
            Err(error) => {
                reading.said.push(error.to_string());
                reading.bad.push(expected.first);
                at = expected.end;
            }
        }
        if at <= before {
            reading
                .wrong
                .push(format!("{name} ends in silence at {at}"));
            break;
        }
    }
    reading.bad.dedup();
    reading
}

fn fetch(driver: &mut Driver, name: &str, at: u64) -> Result<Vec<bytes::Bytes>, BrokerError> {
    let channel = ChannelName::parse(name).unwrap();
    let from = FetchFrom::Offset(Offset(at));
    let mut fetch = Fetch::new(channel, None, from, LogEpoch(0), 3_000).for_socket();
    loop {
        match driver.broker.fetch_step(&mut fetch)? {
            FetchStep::Done(fetched) => return Ok(fetched.slices.parts),
            FetchStep::Run(job) => {
                let end = job.run();
                driver.broker.feed_fetch(&mut fetch, end)?;
            }
        }
    }
}

impl Reading {
    /// Compares served bytes with what was written; `at` is where the next batch must begin.
    fn take(
        &mut self,
        mut part: bytes::Bytes,
        known: &KnownChannel,
        at: &mut u64,
    ) -> Result<(), String> {
        while !part.is_empty() {
            let header = BatchHeader::peek(&part).map_err(|error| error.to_string())?;
            if header.len() > part.len() {
                return Err("a batch is cut".to_owned());
            }
            let batch = part.split_to(header.len());
            let header = check_stored(&batch).map_err(|error| error.to_string())?;
            let expected = known.batch_at(*at);
            let first = expected.map(|expected| expected.first);
            if header.incarnation() != known.id || Some(header.base_offset().0) != first {
                // A client refuses what is not the next of its channel.
                return Err(format!(
                    "batch {} of log {} where {first:?} follows",
                    header.base_offset(),
                    header.incarnation()
                ));
            }
            let expected = expected.expect("compared above");
            let found = records(&batch).map_err(|error| error.to_string())?;
            let found = found.map(|one| one.unwrap().payload.unwrap_or_default());
            if !found.eq(expected.payloads.iter().map(|one| &one[..])) {
                self.wrong.push(format!("other records at offset {at}"));
            }
            *at = expected.end;
        }
        Ok(())
    }
}
