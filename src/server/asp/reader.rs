//! Reads single records of the topics of agents, for walks that go backwards through them. Records
//! that are not durable yet are read too: an answer that tells of them waits until they are.

use bytes::Bytes;

use super::super::fetching;
use super::super::shared::Shared;
use crate::broker::asp::AspError;
use crate::broker::{BrokerError, Fetch, FetchFrom};
use crate::format::{BatchHeader, Record, check_stored, records};
use crate::types::{ChannelName, LogEpoch, Offset};

/// Records that lie this close together are read at once.
const NEAR: u64 = 128;
/// Bytes read at once where records lie close together.
const RUN_BYTES: u64 = 256 * 1024;

/// Reads records of one topic, on a thread that may wait for the disk.
pub(super) struct Reader<'a> {
    shared: &'a Shared,
    channel: ChannelName,
    /// The records of the last read, in order.
    run: Vec<Record>,
    last: Option<Offset>,
}

impl<'a> Reader<'a> {
    pub fn new(shared: &'a Shared, channel: ChannelName) -> Self {
        Self {
            shared,
            channel,
            run: Vec::new(),
            last: None,
        }
    }

    /// The record at an offset below the topic's end.
    ///
    /// # Errors
    /// The topic can't be read there, or has no record there.
    pub fn record(&mut self, offset: Offset) -> Result<&Record, BrokerError> {
        let is_near = self
            .last
            .is_some_and(|last| last > offset && last.0 - offset.0 <= NEAR);
        self.last = Some(offset);
        let held = |run: &[Record]| run.binary_search_by_key(&offset, |record| record.offset);
        let at = match held(&self.run) {
            Ok(at) => at,
            Err(_) => {
                // Backwards through neighbours: those before it come along.
                let before = if is_near { NEAR - 1 } else { 0 };
                self.read(offset, before)?;
                held(&self.run).map_err(|_| self.damaged(offset, "there is no such record"))?
            }
        };
        Ok(&self.run[at])
    }

    /// The payload of that record.
    ///
    /// # Errors
    /// As for [`Reader::record`].
    pub fn payload(&mut self, offset: Offset) -> Result<Bytes, BrokerError> {
        let payload = self.record(offset)?.payload.clone();
        payload.ok_or_else(|| self.damaged(offset, "the record has no payload"))
    }

    /// The payload of that record, which is text.
    ///
    /// # Errors
    /// As for [`Reader::record`], and where it is no text.
    pub fn text(&mut self, offset: Offset) -> Result<String, BrokerError> {
        let text = String::from_utf8(self.payload(offset)?.to_vec());
        text.map_err(|_| self.damaged(offset, "the record is not text"))
    }

    fn read(&mut self, offset: Offset, before: u64) -> Result<(), BrokerError> {
        let from = Offset(offset.0.saturating_sub(before));
        let max_bytes = if before == 0 { 1 } else { RUN_BYTES };
        self.run = self.batches(from, max_bytes)?;
        let is_there = |run: &[Record]| run.iter().any(|record| record.offset == offset);
        if before > 0 && !is_there(&self.run) {
            // They were larger than a run.
            self.run = self.batches(offset, 1)?;
        }
        Ok(())
    }

    fn batches(&self, from: Offset, max_bytes: u64) -> Result<Vec<Record>, BrokerError> {
        let staged = self.shared.broker().staged_asp_batch(&self.channel, from);
        if let Some(batch) = staged {
            return self.decoded(from, batch);
        }
        let place = FetchFrom::Offset(from);
        let mut fetch = Fetch::new(self.channel.clone(), None, place, LogEpoch(0), max_bytes);
        let fetched = fetching::run_here(self.shared, &mut fetch)?;
        let mut found = Vec::new();
        for part in fetched.slices.parts {
            found.extend(self.decoded(from, part)?);
        }
        Ok(found)
    }

    /// The records of consecutive batches.
    fn decoded(&self, from: Offset, mut batches: Bytes) -> Result<Vec<Record>, BrokerError> {
        let mut found = Vec::new();
        while !batches.is_empty() {
            let header = BatchHeader::peek(&batches);
            let len = header.as_ref().map_or(batches.len(), BatchHeader::len);
            let batch = batches.split_to(len.min(batches.len()));
            let read = check_stored(&batch).and_then(|_| records(&batch)?.collect());
            let read: Vec<Record> = read.map_err(|error| self.damaged(from, &error.to_string()))?;
            found.extend(read);
        }
        Ok(found)
    }

    /// The error of a record that does not say what it should.
    pub fn damaged(&self, offset: Offset, what: &str) -> BrokerError {
        AspError::Damaged {
            channel: self.channel.to_string(),
            offset,
            what: what.into(),
        }
        .into()
    }
}
