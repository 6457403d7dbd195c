//! An agent's inbox: the records of the sessions that it takes part in, in the order of their
//! topics, without those that it sent itself and those that are meant for somebody else.
//!
//! Of each session the thread is sought back to the first record that is wanted, then a few at a
//! time are read until what follows is behind the page's end; what does not fit is not held.

use std::collections::{BTreeMap, HashSet};

use super::super::shared::Shared;
use super::first::First;
use super::history::{RUN, links, raw, session_record};
use super::reader::Reader;
use super::reads;
use super::{Looked, cursor};
use crate::access::Principal;
use crate::asp::Knot;
use crate::asp::session::SessionEvent;
use crate::broker::asp::{AspWaiter, InboxTopic};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{AgentEntry, AgentInbox, InboxPage};
use crate::types::{AgentId, Offset, OrgName, SessionId, Timestamp};

/// Most bytes of a page; one entry comes whatever its size.
const MAX_BYTES: usize = 8 << 20;

/// Up to where each topic was read.
type Cursor = BTreeMap<OrgName, Offset>;

pub(super) fn look(
    shared: &Shared,
    by: &Principal,
    inbox: &AgentInbox,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let read: Cursor = match &inbox.cursor {
        Some(text) => cursor::decode(text)?,
        None => Cursor::default(),
    };
    let Accepted { value, wait } = shared.broker().inbox(by, &inbox.agent, now)?;
    let (agent, topics) = value;
    let limit = cursor::page_limit(inbox.limit)?;
    let mut next = read.clone();
    let mut entries: Vec<AgentEntry> = Vec::new();
    let mut bytes = 0;
    for topic in &topics {
        let from = from(&read, &topic.org);
        let left = limit - entries.len();
        if left == 0 {
            break;
        }
        let mut found = First::new(left, MAX_BYTES);
        of_topic(shared, agent, topic, from, (left, now), &mut found)?;
        // Up to here all of the topic has been looked at.
        let mut through = found.end().unwrap_or(topic.end);
        for (offset, session_id, text) in found.into_records() {
            bytes += text.len();
            if bytes > MAX_BYTES && !entries.is_empty() {
                through = offset;
                break;
            }
            entries.push(AgentEntry {
                org: topic.org.clone(),
                session_id,
                offset,
                record: raw(text)?.into(),
            });
        }
        next.insert(topic.org.clone(), through.max(from));
    }
    let is_empty = entries.is_empty();
    let page = AspResponse::AgentInbox(InboxPage {
        entries,
        cursor: cursor::encode(&next),
    });
    // A cursor that moved over records of others spares the next look their reading.
    Ok(if is_empty {
        Looked::Nothing(AspWaiter::Inbox(agent), page, Some(wait))
    } else {
        Looked::answer(page, wait)
    })
}

fn from(read: &Cursor, org: &OrgName) -> Offset {
    read.get(org).copied().unwrap_or(Offset(0))
}

/// Finds what came first for an agent on one topic from an offset on.
fn of_topic(
    shared: &Shared,
    agent: AgentId,
    topic: &InboxTopic,
    from: Offset,
    (wanted, now): (usize, Timestamp),
    found: &mut First<SessionId>,
) -> Result<(), BrokerError> {
    let mut reader = Reader::new(shared, topic.channel.clone());
    let mut heads = Vec::new();
    for (session, head, reads) in &topic.sessions {
        if head.offset >= from
            && let Some(last) = reads::last(&mut reader, *head, *reads)?
        {
            heads.push((*session, last));
        }
    }
    let held: HashSet<SessionId> = topic
        .sessions
        .iter()
        .map(|(session, ..)| *session)
        .collect();
    // Those that ended since, and are held no more.
    let mut at = topic.ended.filter(|ended| ended.offset >= from);
    while let Some(knot) = at {
        let record = session_record_anywhere(&mut reader, knot.offset)?;
        let (SessionEvent::Ended(ended), Some(place)) = (record.event, record.place) else {
            return Err(reader.damaged(knot.offset, "no session ended there"));
        };
        if !held.contains(&ended.session) {
            let number = place.links.number();
            let offset = knot.offset;
            let head = Knot { number, offset };
            let last = reads::of_ended(shared, &mut reader, (&ended, head), agent, now)?;
            heads.extend(last.map(|last| (ended.session, last)));
        }
        let own = ended.participants.iter().find(|one| one.agent == agent);
        let back = own.and_then(|own| own.links.back);
        at = back.filter(|back| back.offset >= from);
    }
    heads.retain(|(_, head)| head.offset >= from);
    for (session, head) in heads {
        of_session(&mut reader, agent, session, head, from, wanted, found)?;
    }
    Ok(())
}

/// Adds what came for an agent in one session from an offset on.
fn of_session(
    reader: &mut Reader<'_>,
    agent: AgentId,
    session: SessionId,
    head: Knot,
    from: Offset,
    wanted: usize,
    found: &mut First<SessionId>,
) -> Result<(), BrokerError> {
    let first = first_from(reader, head, from)?;
    // Some are passed over: a few more are read than wanted, until enough are found.
    let mut start = first;
    while start <= head.number {
        let last = head.number.min(start + RUN.min(wanted as u64));
        let mut at = seek(reader, head, last)?;
        let reached = at.offset;
        loop {
            let record = session_record(reader, at)?;
            if is_for(agent, &record.event) {
                let text = reader.text(at.offset)?;
                found.push(at.offset, session, text);
            }
            match record.links().and_then(|links| links.back) {
                Some(back) if at.number > start => at = back,
                _ => break,
            }
        }
        if !found.wants(reached) {
            break;
        }
        start = last + 1;
    }
    Ok(())
}

/// Number of a session's first record at or behind an offset.
fn first_from(reader: &mut Reader<'_>, head: Knot, from: Offset) -> Result<u64, BrokerError> {
    let mut at = head;
    loop {
        let links = links(reader, at)?;
        let is_wanted = |knot: &Knot| knot.offset >= from;
        match links
            .jump
            .filter(is_wanted)
            .or(links.back.filter(is_wanted))
        {
            Some(earlier) => at = earlier,
            None => return Ok(at.number),
        }
    }
}

/// The record of that number.
fn seek(reader: &mut Reader<'_>, head: Knot, number: u64) -> Result<Knot, BrokerError> {
    let mut at = head;
    while at.number > number {
        let links = links(reader, at)?;
        let next = links.towards(number).filter(|next| next.number < at.number);
        at = next.ok_or_else(|| reader.damaged(at.offset, "the record names no earlier one"))?;
    }
    Ok(at)
}

fn session_record_anywhere(
    reader: &mut Reader<'_>,
    offset: Offset,
) -> Result<crate::asp::session::SessionRecord, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = crate::asp::session::SessionRecord::decode(record.record_type.as_str(), &payload);
    read.map_err(|error| reader.damaged(offset, &error.to_string()))
}

/// Whether a record is one that an agent is to see: not its own, and not meant for another.
fn is_for(agent: AgentId, event: &SessionEvent) -> bool {
    match event {
        SessionEvent::MessageSent(sent) => {
            let message = &sent.message;
            message.sender != agent && message.recipient.is_none_or(|only| only == agent)
        }
        _ => true,
    }
}
