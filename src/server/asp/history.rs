//! A session's records, read backwards from its last one along its thread.

use serde_json::value::RawValue;

use super::super::shared::Shared;
use super::Looked;
use super::cursor::page_limit;
use super::first::First;
use super::reader::Reader;
use super::reads;
use super::sessions::find_filed;
use crate::access::Principal;
use crate::asp::session::{SessionRecord, State};
use crate::asp::{Knot, Links};
use crate::broker::asp::{AspError, AspWaiter};
use crate::broker::{BrokerError, Refusal, Wait};
use crate::protocol::AspResponse;
use crate::protocol::asp::{HistoryPage, HistoryRecord, SessionHistory};
use crate::types::{ChannelName, Timestamp};

/// Most bytes of a page; one record comes whatever its size.
const MAX_BYTES: u32 = 8 << 20;

/// Records that are read in one walk backwards.
pub(super) const RUN: u64 = 64;

/// Where a session's records are, and how far.
pub(super) struct Place {
    pub channel: ChannelName,
    pub head: Knot,
    pub state: State,
    pub wait: Option<Wait>,
}

pub(super) fn look(
    shared: &Shared,
    by: &Principal,
    history: &SessionHistory,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let session = history.session_id;
    if let Some(agent) = &history.agent {
        shared.broker().check_reads_for(by, agent, now)?;
    }
    let held = shared.broker().session_head(by, session, now);
    let place = match held {
        Ok(head) => {
            let mut reader = Reader::new(shared, head.channel.clone());
            let last = reads::last(&mut reader, head.head, head.reads)?;
            Place {
                channel: head.channel,
                head: last.ok_or_else(|| reads::hidden(session))?,
                state: head.state,
                wait: Some(head.wait),
            }
        }
        Err(BrokerError::Asp(error)) if matches!(*error, AspError::SessionNotFound(_)) => {
            let filed = find_filed(shared, by, session, now)?;
            let last = reads::of_filed(shared, by, &filed, now)?;
            Place {
                channel: filed.channel,
                head: last.ok_or_else(|| reads::hidden(session))?,
                state: filed.ended.state,
                wait: None,
            }
        }
        Err(error) => return Err(error.into()),
    };
    if place.head.number < history.from {
        let empty = AspResponse::SessionHistory(HistoryPage {
            records: Vec::new(),
            next: history.from,
            state: place.state,
        });
        return Ok(match place.state.is_terminal() {
            true => Looked::Answer(empty, place.wait),
            // Who reads no further waits for nothing, and waits.
            false => Looked::Nothing(AspWaiter::Session(session), empty, place.wait),
        });
    }
    let wait = place.wait;
    let page = page(shared, history, place)?;
    Ok(Looked::Answer(AspResponse::SessionHistory(page), wait))
}

/// The records of a session that has some from where is asked.
pub(super) fn page(
    shared: &Shared,
    history: &SessionHistory,
    place: Place,
) -> Result<HistoryPage, Refusal> {
    let most = page_limit(history.limit)? as u64;
    let last = place.head.number.min(history.from.saturating_add(most - 1));
    let mut reader = Reader::new(shared, place.channel);
    let mut first = First::new(usize::MAX, history.max_bytes.min(MAX_BYTES) as usize);
    walk(&mut reader, place.head, history.from, last, &mut first)?;
    let mut page = HistoryPage {
        records: Vec::new(),
        next: history.from,
        state: place.state,
    };
    for (offset, number, text) in first.into_records() {
        page.next = number + 1;
        page.records.push(HistoryRecord {
            offset,
            record: raw(text)?.into(),
        });
    }
    Ok(page)
}

/// The first of the records `from..=last` of a session, by its thread that ends at `head`. A few
/// at a time: large ones fill a page soon.
fn walk(
    reader: &mut Reader<'_>,
    head: Knot,
    from: u64,
    last: u64,
    first: &mut First<u64>,
) -> Result<(), BrokerError> {
    let mut from = from;
    while from <= last && first.end().is_none() {
        let through = last.min(from.saturating_add(RUN - 1));
        let mut at = head;
        // To the last that is wanted, over as many as possible.
        while at.number > through {
            let links = links(reader, at)?;
            at = earlier(reader, at, links.towards(through))?;
        }
        loop {
            let links = links(reader, at)?;
            first.push(at.offset, at.number, reader.text(at.offset)?);
            if at.number <= from {
                break;
            }
            at = earlier(reader, at, links.back)?;
        }
        from = through + 1;
    }
    Ok(())
}

/// What the record at a knot says of those before it.
pub(super) fn links(reader: &mut Reader<'_>, at: Knot) -> Result<Links, BrokerError> {
    let record = session_record(reader, at)?;
    let links = record.links();
    links.ok_or_else(|| reader.damaged(at.offset, "the record has no place in a session"))
}

/// The session's record at a knot.
pub(super) fn session_record(
    reader: &mut Reader<'_>,
    at: Knot,
) -> Result<SessionRecord, BrokerError> {
    let record = reader.record(at.offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = SessionRecord::decode(record.record_type.as_str(), &payload);
    let read = read.map_err(|error| reader.damaged(at.offset, &error.to_string()))?;
    if read.sequence().is_some_and(|number| number != at.number) {
        return Err(reader.damaged(at.offset, "the record has another number in its session"));
    }
    Ok(read)
}

fn earlier(reader: &Reader<'_>, at: Knot, next: Option<Knot>) -> Result<Knot, BrokerError> {
    let next = next.filter(|next| next.number < at.number && next.offset < at.offset);
    next.ok_or_else(|| reader.damaged(at.offset, "the record names no earlier one"))
}

/// A record's JSON as it stands.
pub(super) fn raw(text: String) -> Result<Box<RawValue>, BrokerError> {
    RawValue::from_string(text).map_err(|error| BrokerError::Bug(error.to_string().into()))
}
