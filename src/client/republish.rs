//! Publishing again what a region has set aside: its file read through the broker, its records
//! published to a channel, each of them once however often it is tried.
//!
//! The batches are made from the file alone, and carry a producer that is derived from its contents, so
//! that a second run sends the same batches again and the channel's home knows them. How far it has
//! come is on the record of the region that holds the file. A run that finds one before it which did
//! not finish looks in the channel for what that one has left there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::format::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BuildError, Compression, DecodeError, NewRecord,
    Record, check_stored, records,
};
use crate::protocol::region::{AsideLook, AsidePart, AsideTold, RegionAside};
use crate::protocol::{
    ErrorCode, FetchFrom, FetchRequest, PublishRequest, PublishTarget, RegionRequest,
    RegionResponse, Request, Response,
};
use crate::region::copies::Republished;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, ProducerId};

/// A batch takes records up to so many bytes. This and the next line decide which batches a file
/// becomes: another number needs another [`NAME`], or a retry would not be known as one.
const BATCH_BYTES: usize = 256 << 10;
/// A batch takes at most so many records.
const BATCH_RECORDS: u32 = 1000;
/// What producers are derived from, beside the file.
const NAME: &str = "npayload region republish 1";
/// How far it has come is recorded after so many batches.
const NOTE_BATCHES: u32 = 64;
/// Bytes that are read of the channel at once.
const READ_BYTES: u32 = 4 << 20;

/// What is to be published again.
#[derive(Clone, Debug)]
pub struct Republish {
    /// The file's name in `lost+found` of the region that is asked.
    pub file: String,
    /// The channel; the one whose log it was taken from where none is given.
    pub to: Option<ChannelName>,
    /// Whether nothing is published, and only what is there is told.
    pub dry_run: bool,
}

/// What was published again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RepublishDone {
    /// The file.
    pub file: String,
    /// The channel whose log it was taken from, where that is known.
    pub channel: Option<ChannelName>,
    /// First offset that it had there.
    pub from: Offset,
    /// Offset after the last one.
    pub end: Offset,
    /// The channel that has the records now.
    pub to: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Whether nothing was published because nothing was to be.
    pub dry_run: bool,
    /// Records in the file.
    pub records: u64,
    /// Batches in the file that say that records were lost before, and hold none.
    pub gaps: u64,
    /// Records that were there from a run before.
    pub already_there: u64,
    /// Records that this run has published.
    pub published: u64,
    /// Offset of the first record that this run has published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_offset: Option<Offset>,
    /// Offset of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_offset: Option<Offset>,
}

/// Why records were not published again, or not all of them.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepublishError {
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nobody knows any more from which channel the file is, and none was named.
    #[error("nobody knows any more from which channel `{file}` is: name one")]
    NoChannel {
        /// The file.
        file: String,
    },
    /// What came of the file is no batch.
    #[error("file `{file}`, as it came, is damaged")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// A record can't be published.
    #[error("record {record} of `{file}` can't be published")]
    Invalid {
        /// The file.
        file: String,
        /// Number of the record, from 0.
        record: u64,
        /// Why.
        source: BuildError,
    },
    /// The home of the channel does not know the run before any more, so that nobody can tell which
    /// records behind those are there.
    #[error(
        "channel `{to}` has {records} records of `{file}` from a run before, which its home has \
         forgotten: whether it has more can't be told"
    )]
    Forgotten {
        /// The file.
        file: String,
        /// The channel.
        to: ChannelName,
        /// Records that are there.
        records: u64,
    },
}

impl Client {
    /// Publishes again what the region that is asked has set aside.
    ///
    /// - `told`: is told how many records are there, of how many, each time that this is recorded.
    ///
    /// # Errors
    /// [`RepublishError`]; of the broker's, `ASIDE_UNREADABLE`, `KEY_UNAVAILABLE`,
    /// `CHANNEL_NOT_FOUND`, and those of a publish. What was published by then is on the record: a
    /// second run goes on behind it.
    pub async fn republish(
        &self,
        what: &Republish,
        mut told: impl FnMut(u64, u64),
    ) -> Result<RepublishDone, RepublishError> {
        let file = &what.file;
        let look = self.look_aside(file).await?;
        let to = what.to.clone().or_else(|| look.channel.clone());
        let to = to.ok_or_else(|| RepublishError::NoChannel { file: file.clone() })?;
        let info = self.channel_info(&to).await?;
        let target = info.incarnation;
        let mut done = RepublishDone {
            file: file.clone(),
            channel: look.channel.clone(),
            from: look.aside.from,
            end: look.aside.end,
            to: to.clone(),
            incarnation: target,
            dry_run: what.dry_run,
            records: look.records,
            gaps: look.gaps,
            already_there: 0,
            published: 0,
            first_offset: None,
            last_offset: None,
        };
        let mut rows = look.aside.republished.iter();
        let before = rows.find(|row| row.to == to && row.target == target);
        if before.is_some_and(|before| before.done) {
            done.already_there = look.records;
            return Ok(done);
        }
        let mut run = Run {
            client: self,
            file,
            to: &to,
            target,
            begun_at: before.map_or(info.log_end, |before| before.begun_at),
            producer: producer_of(&look.sha256),
            at: 0,
            batches: 0,
        };
        if let Some(before) = before {
            run.at = run.found(before).await?;
        }
        done.already_there = run.at;
        if what.dry_run {
            return Ok(done);
        }
        // Before anything is published it is on the record that something may be.
        run.note(false).await?;
        run.publish(&look, &mut done, &mut told).await?;
        run.note(true).await?;
        told(run.at, look.records);
        Ok(done)
    }

    async fn look_aside(&self, file: &str) -> Result<AsideLook, RequestError> {
        let file = file.to_owned();
        match self.ask_aside(RegionAside::Look { file }).await? {
            AsideTold::Look(look) => Ok(*look),
            _ => Err(unexpected()),
        }
    }

    async fn ask_aside(&self, ask: RegionAside) -> Result<AsideTold, RequestError> {
        let request = Request::Region(Box::new(RegionRequest::RegionAside(ask)));
        match self.call(&request, Retry::Safe).await? {
            Response::Region(answer) => match *answer {
                RegionResponse::RegionAside(told) => Ok(told),
                _ => Err(unexpected()),
            },
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> RequestError {
    RequestError::Unexpected {
        kind: crate::protocol::Kind::RegionAside.name(),
    }
}

/// The producer of what is published again from a file with these contents.
fn producer_of(sha256: &str) -> ProducerId {
    let mut sha = Sha256::new();
    sha.update(NAME);
    sha.update(sha256);
    let digest = sha.finalize();
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    ProducerId(u128::from_le_bytes(bytes).max(1))
}

/// One run.
struct Run<'a> {
    client: &'a Client,
    file: &'a str,
    to: &'a ChannelName,
    target: Incarnation,
    begun_at: Offset,
    producer: ProducerId,
    /// Records of the file that are in the channel: also the sequence of the next.
    at: u64,
    /// Batches since that was recorded.
    batches: u32,
}

impl Run<'_> {
    /// How many records a run before has left in the channel.
    async fn found(&self, before: &Republished) -> Result<u64, RepublishError> {
        let mut found = before.records;
        let mut from = FetchFrom::Offset(before.begun_at);
        loop {
            let request = FetchRequest {
                channel: self.to.clone(),
                incarnation: Some(self.target),
                from,
                last_epoch: LogEpoch(0),
                max_bytes: READ_BYTES,
                min_bytes: 0,
                max_wait_ms: 0,
            };
            let mut batches = match self.client.fetch(request).await {
                Ok(answer) => answer.batches,
                Err(RequestError::Server(error)) if error.is(ErrorCode::OffsetTrimmed) => {
                    from = FetchFrom::Start;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if batches.is_empty() {
                return Ok(found);
            }
            while !batches.is_empty() {
                let header = BatchHeader::peek(&batches).map_err(|error| self.damaged(error))?;
                batches.advance(header.len().min(batches.len()));
                from = FetchFrom::Offset(header.end_offset());
                if header.producer_id() == self.producer {
                    let end = header.base_sequence() + u64::from(header.record_count());
                    found = found.max(end);
                }
            }
        }
    }

    fn damaged(&self, source: DecodeError) -> RepublishError {
        let file = self.file.to_owned();
        RepublishError::Damaged { file, source }
    }

    /// Records how far it has come.
    async fn note(&mut self, done: bool) -> Result<(), RequestError> {
        self.batches = 0;
        let note = RegionAside::Published {
            file: self.file.to_owned(),
            to: self.to.clone(),
            target: self.target,
            begun_at: self.begun_at,
            records: self.at,
            done,
        };
        match self.client.ask_aside(note).await? {
            AsideTold::Published {} => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Publishes the records that are not there.
    async fn publish(
        &mut self,
        look: &AsideLook,
        done: &mut RepublishDone,
        told: &mut impl FnMut(u64, u64),
    ) -> Result<(), RepublishError> {
        let mut left = BytesMut::new();
        let (mut position, mut within) = (0, 0);
        let mut builder = BatchBuilder::new(Compression::None);
        let mut number = 0;
        let skipped = self.at;
        while position < look.bytes {
            let read = RegionAside::Read {
                file: self.file.to_owned(),
                position,
                within,
            };
            let AsideTold::Part(part) = self.client.ask_aside(read).await? else {
                return Err(unexpected().into());
            };
            (position, within) = self.take(part, &mut left)?;
            while let Some(batch) = self.next_batch(&mut left)? {
                let all = records(&batch).map_err(|error| self.damaged(error))?;
                for record in all {
                    let record = record.map_err(|error| self.damaged(error))?;
                    number += 1;
                    if number <= skipped {
                        continue;
                    }
                    let full = self.push(&mut builder, &record, number - 1)?;
                    if let Some(full) = full {
                        self.send(full, done).await?;
                        if self.batches >= NOTE_BATCHES {
                            self.note(false).await?;
                            told(self.at, look.records);
                        }
                    }
                }
            }
        }
        if !builder.is_empty() {
            self.send(builder, done).await?;
        }
        Ok(())
    }

    fn take(&self, part: AsidePart, left: &mut BytesMut) -> Result<(u64, u64), RequestError> {
        let bytes = STANDARD.decode(part.batches).map_err(|_| unexpected())?;
        left.extend_from_slice(&bytes);
        Ok((part.position, part.within))
    }

    /// The next whole batch with records.
    fn next_batch(&self, left: &mut BytesMut) -> Result<Option<Bytes>, RepublishError> {
        while left.len() >= BATCH_HEADER_BYTES {
            let header = BatchHeader::peek(left).map_err(|error| self.damaged(error))?;
            if left.len() < header.len() {
                break;
            }
            let batch = left.split_to(header.len()).freeze();
            check_stored(&batch).map_err(|error| self.damaged(error))?;
            if !header.is_gap() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Adds a record to the batch; gives the one before it where it finds no room there.
    fn push(
        &self,
        builder: &mut BatchBuilder,
        record: &Record,
        number: u64,
    ) -> Result<Option<BatchBuilder>, RepublishError> {
        let invalid = |source| RepublishError::Invalid {
            file: self.file.to_owned(),
            record: number,
            source,
        };
        let headers: Vec<(&str, &[u8])> = (record.headers.iter())
            .map(|(name, value)| (name.as_str(), &value[..]))
            .collect();
        let new = NewRecord {
            record_type: record.record_type.as_str(),
            key: record.key.as_deref(),
            headers: &headers,
            payload: record.payload.as_deref(),
            event_time: record.event_time,
        };
        let len = new.encoded_len().map_err(invalid)?;
        let has_room = builder.len() + len <= BATCH_BYTES && builder.record_count() < BATCH_RECORDS;
        let full = match builder.is_empty() || has_room {
            true => None,
            false => {
                let empty = BatchBuilder::new(Compression::None);
                Some(std::mem::replace(builder, empty))
            }
        };
        builder.push(&new).map_err(invalid)?;
        Ok(full)
    }

    async fn send(
        &mut self,
        mut builder: BatchBuilder,
        done: &mut RepublishDone,
    ) -> Result<(), RepublishError> {
        let records = u64::from(builder.record_count());
        builder.producer(self.producer, 1, self.at);
        let batch = builder.build().map_err(|source| RepublishError::Invalid {
            file: self.file.to_owned(),
            record: self.at,
            source,
        })?;
        let request = Request::Publish(PublishRequest {
            target: PublishTarget {
                channel: self.to.clone(),
                incarnation: Some(self.target),
                expected_offset: None,
            },
            batch,
            asks: None,
        });
        let answer = match self.client.call(&request, Retry::Safe).await {
            Ok(Response::Publish(answer)) => Some(answer),
            Ok(_) => {
                let kind = crate::protocol::Kind::Publish.name();
                return Err(RequestError::Unexpected { kind }.into());
            }
            // It was appended, and others of this producer behind it.
            Err(RequestError::Server(error)) if error.is(ErrorCode::SequenceTooOld) => None,
            Err(RequestError::Server(error)) if error.is(ErrorCode::UnknownProducer) => {
                return Err(RepublishError::Forgotten {
                    file: self.file.to_owned(),
                    to: self.to.clone(),
                    records: self.at,
                });
            }
            Err(error) => return Err(error.into()),
        };
        match answer.filter(|answer| !answer.duplicate) {
            Some(answer) => {
                done.published += records;
                done.first_offset.get_or_insert(answer.first_offset);
                done.last_offset = Some(answer.last_offset);
            }
            None => done.already_there += records,
        }
        self.at += records;
        self.batches += 1;
        Ok(())
    }
}
