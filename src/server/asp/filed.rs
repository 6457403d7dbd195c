//! Commitments that are closed, and their disputes: found in the records that file them, and in
//! the threads through the records that closed them. docs/asp.md, "Lists of commitments".

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::shared::Shared;
use super::reader::Reader;
use super::sessions::{find_filed, is_absent};
use crate::access::Principal;
use crate::asp::Knot;
use crate::asp::commitment::{Closed, CommitmentRecord, CommitmentsFiled, Which};
use crate::broker::asp::{AspError, ClosedToWalk, Sight};
use crate::broker::{BrokerError, Refusal};
use crate::types::{ChannelName, CommitmentId, DisputeId, Offset, OrgId, SessionId, Timestamp};

/// Closed commitments that one request looks at, whether they are wanted or not.
const MAX_LOOKED_AT: usize = 10_000;

/// The record at an offset.
pub(super) fn record(
    reader: &mut Reader<'_>,
    offset: Offset,
) -> Result<CommitmentRecord, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = CommitmentRecord::decode(record.record_type.as_str(), &payload);
    read.map_err(|error| reader.damaged(offset, &error.to_string()))
}

/// The record that closed a commitment.
pub(super) fn closed_at(
    reader: &mut Reader<'_>,
    offset: Offset,
) -> Result<Arc<Closed>, BrokerError> {
    match record(reader, offset)? {
        CommitmentRecord::Closed(closed) => Ok(closed),
        _ => Err(reader.damaged(offset, "no commitment is closed there")),
    }
}

/// What is wanted of the first of these records that files it.
pub(super) fn find<T>(
    reader: &mut Reader<'_>,
    files: &[Offset],
    wanted: impl Fn(&CommitmentsFiled) -> Option<T>,
) -> Result<Option<T>, BrokerError> {
    for file in files {
        let CommitmentRecord::Filed(filed) = record(reader, *file)? else {
            return Err(reader.damaged(*file, "the record files nothing"));
        };
        if let Some(found) = wanted(&filed) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A closed commitment that was found again.
pub(super) struct Found {
    /// The organisation whose topic it is on.
    pub org: OrgId,
    /// The topic.
    pub channel: ChannelName,
    /// The record that closed it.
    pub closed: Arc<Closed>,
    /// Offset of that record.
    pub offset: Offset,
}

/// A commitment that is filed, for who may see it.
pub(super) fn commitment(
    shared: &Shared,
    by: &Principal,
    id: CommitmentId,
    now: Timestamp,
) -> Result<Option<Found>, Refusal> {
    let files = shared.broker().commitment_files(by, id, now)?;
    let Some(found) = search(shared, files, |filed| filed.commitment(id))? else {
        return Ok(None);
    };
    let mut seen = Seen::default();
    let is_seen = seen.sees(shared, by, found.org, &found.closed, now)?;
    Ok(is_seen.then_some(found))
}

/// The commitment of a dispute that is filed, for who may see the dispute.
pub(super) fn dispute(
    shared: &Shared,
    by: &Principal,
    id: DisputeId,
    now: Timestamp,
) -> Result<Option<Found>, Refusal> {
    let files = shared.broker().dispute_files(by, id, now)?;
    let Some(found) = search(shared, files, |filed| filed.dispute(id))? else {
        return Ok(None);
    };
    let about = found.closed.disputes.iter().find(|one| one.id() == id);
    let has_part = about.is_some_and(|one| shared.broker().has_part_in(by, one, now));
    let mut seen = Seen::default();
    let is_seen = has_part || seen.sees(shared, by, found.org, &found.closed, now)?;
    Ok(is_seen.then_some(found))
}

fn search(
    shared: &Shared,
    topics: Vec<(OrgId, ChannelName, Vec<Offset>)>,
    wanted: impl Fn(&CommitmentsFiled) -> Option<Offset>,
) -> Result<Option<Found>, BrokerError> {
    for (org, channel, files) in topics {
        let mut reader = Reader::new(shared, channel.clone());
        if let Some(offset) = find(&mut reader, &files, &wanted)? {
            let closed = closed_at(&mut reader, offset)?;
            return Ok(Some(Found {
                org,
                channel,
                closed,
                offset,
            }));
        }
    }
    Ok(None)
}

/// In which sessions somebody took part, as far as it was asked: a list asks for the same ones
/// again and again.
#[derive(Default)]
pub(super) struct Seen(HashMap<SessionId, bool>);

impl Seen {
    /// Whether somebody may see a closed commitment: as a party, or as one who took part in its
    /// session.
    pub fn sees(
        &mut self,
        shared: &Shared,
        by: &Principal,
        org: OrgId,
        closed: &Closed,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let sight = shared.broker().sight_of(by, org, &closed.commitment, now);
        let session = match sight {
            Sight::Seen => return Ok(true),
            Sight::Hidden => return Ok(false),
            Sight::OfSession(session) => session,
        };
        if let Some(known) = self.0.get(&session) {
            return Ok(*known);
        }
        let is_seen = match find_filed(shared, by, session, now) {
            Ok(_) => true,
            Err(refusal) if is_absent(&refusal.error) => false,
            Err(refusal) => return Err(refusal),
        };
        self.0.insert(session, is_seen);
        Ok(is_seen)
    }
}

/// Where a walk through closed commitments goes on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ClosedCursor {
    /// Which of the topics, as an organisation's number.
    org: OrgId,
    /// From this record on.
    at: Knot,
    /// Of its disputes, those with a lesser id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<DisputeId>,
}

/// Where a list goes on that tells what is not closed first, and then what is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ListCursor<Id> {
    /// With those that are not closed, or whose commitment is not, and have a lesser id.
    Live(Id),
    /// With those that are closed, or whose commitment is, from this one on.
    Closed(ClosedCursor),
}

impl<Id> ListCursor<Id> {
    /// Below which id those are told that are not closed, where they are at all, and from where on
    /// those that are.
    ///
    /// - `newest`: above all ids.
    pub fn begin(cursor: Option<Self>, newest: Id) -> (Option<Id>, Option<ClosedCursor>) {
        match cursor {
            None => (Some(newest), None),
            Some(Self::Live(below)) => (Some(below), None),
            Some(Self::Closed(from)) => (None, Some(from)),
        }
    }
}

/// What becomes of a closed commitment that a walk has come to.
pub(super) enum Taken {
    /// It was taken, or is not wanted; on to the one before.
    On,
    /// The page is full: with this one again, and of its disputes with those below.
    Full(Option<DisputeId>),
}

/// Goes backwards through the closed commitments of these threads that somebody may see, from a
/// place on; where to go on, if there is more.
///
/// - `take`: what is done with one; the id below which its disputes are wanted goes with it.
///
/// # Errors
/// [`AspError::Cursor`] where the place is none of these threads.
pub(super) fn walk(
    shared: &Shared,
    threads: &[ClosedToWalk],
    (from, text): (Option<ClosedCursor>, &str),
    mut take: impl FnMut(OrgId, &Closed, Option<DisputeId>) -> Result<Taken, Refusal>,
) -> Result<Option<ClosedCursor>, Refusal> {
    let forged = || AspError::cursor(text);
    let first = match from {
        None => 0,
        Some(from) => {
            let of = threads.iter().position(|thread| thread.org == from.org);
            of.ok_or_else(forged)?
        }
    };
    let mut from = from;
    let mut looked_at = 0;
    for thread in threads.iter().skip(first) {
        let mut reader = Reader::new(shared, thread.channel.clone());
        let mut below = from.and_then(|from| from.below);
        let mut at = match from.take() {
            // What a client hands back is believed where a record of this thread is there.
            Some(from) => Some(checked(&mut reader, thread, from.at)?.ok_or_else(forged)?),
            None => match thread.last {
                Some(last) => Some(last),
                None => older(&mut reader, thread, Offset(u64::MAX))?,
            },
        };
        while let Some(knot) = at {
            let place = |below| ClosedCursor {
                org: thread.org,
                at: knot,
                below,
            };
            if looked_at >= MAX_LOOKED_AT {
                return Ok(Some(place(below)));
            }
            looked_at += 1;
            let closed = closed_at(&mut reader, knot.offset)?;
            if let Taken::Full(below) = take(thread.org, &closed, below.take())? {
                return Ok(Some(place(below)));
            }
            let links = closed.threads.of(thread.which);
            at = match links.and_then(|links| links.back) {
                Some(back) => Some(back),
                None => older(&mut reader, thread, knot.offset)?,
            };
        }
    }
    Ok(None)
}

/// A knot of a thread, where it is one.
fn checked(
    reader: &mut Reader<'_>,
    thread: &ClosedToWalk,
    at: Knot,
) -> Result<Option<Knot>, BrokerError> {
    let newest = thread.last.map(|last| last.offset);
    let newest = newest.max(thread.files.iter().max().copied());
    if newest.is_none_or(|newest| at.offset > newest) {
        return Ok(None);
    }
    let CommitmentRecord::Closed(closed) = record(reader, at.offset)? else {
        return Ok(None);
    };
    let promise = &closed.commitment.created.promise;
    let is_of = match thread.which {
        Which::All => true,
        Which::Obligor(agent) => promise.obligor.agent == agent,
        Which::Counterparty(agent) => {
            (closed.commitment.counterparty).is_some_and(|party| party.agent == agent)
        }
        Which::Session(session) => promise.session == session,
    };
    let number = closed.threads.of(thread.which).map(|links| links.number());
    Ok((is_of && number == Some(at.number)).then_some(at))
}

/// The last record of the session's thread that was filed last before that offset.
fn older(
    reader: &mut Reader<'_>,
    thread: &ClosedToWalk,
    before: Offset,
) -> Result<Option<Knot>, BrokerError> {
    let Which::Session(session) = thread.which else {
        return Ok(None);
    };
    let files: Vec<Offset> = (thread.files.iter().copied())
        .filter(|file| *file < before)
        .collect();
    find(reader, &files, |filed| filed.session(session))
}
