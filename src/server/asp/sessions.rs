//! Requests about sessions, but for what is said in them.

use serde::{Deserialize, Serialize};

use super::super::shared::Shared;
use super::history::session_record;
use super::reader::Reader;
use super::{Looked, cursor};
use crate::access::Principal;
use crate::asp::chain::Digest;
use crate::asp::session::{
    DEFAULT_INVITATION_MS, DEFAULT_TTL_MS, Ended, EndedParticipant, EndedStanding, Limits, Session,
    SessionEvent, SessionRecord,
};
use crate::asp::{Knot, Links};
use crate::broker::asp::{AspError, EndedToWalk, Named, NewSession, SessionSeen};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    ParticipantRow, SessionCreate, SessionInfo, SessionLimits, SessionList, SessionRow,
    SessionsPage,
};
use crate::types::{AgentId, ChannelName, Offset, OrgId, OrgName, SessionId, Timestamp};

/// Ended sessions that one request looks at, whether they are wanted or not.
const MAX_LOOKED_AT: usize = 10_000;

pub(super) fn create(
    shared: &Shared,
    by: &Principal,
    create: &SessionCreate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let participants = create.participants.iter();
    let new = NewSession {
        topic: create.topic.clone(),
        participants: participants
            .map(|one| (one.agent_id.clone(), one.role))
            .collect(),
        ttl_ms: create.ttl_ms.unwrap_or(DEFAULT_TTL_MS),
        invitation_ms: create.invitation_ms.unwrap_or(DEFAULT_INVITATION_MS),
        limits: Limits {
            max_messages: create.limits.max_messages,
            max_participants: create.limits.max_participants,
            max_payload_bytes: create.limits.max_payload_bytes,
        },
        metadata: create.metadata.clone(),
    };
    let accepted = shared.broker().create_session(by, new, now)?;
    Ok(changed(accepted, AspResponse::SessionCreate))
}

/// The answer to a change of a session.
pub(super) fn changed(
    accepted: Accepted<SessionSeen>,
    response: impl FnOnce(SessionRow) -> AspResponse,
) -> Looked {
    Looked::answer(response(row(accepted.value)), accepted.wait)
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &SessionInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let session = info.session_id;
    let held = shared.broker().see_session(by, session, now);
    match held {
        Ok(accepted) => Ok(changed(accepted, AspResponse::SessionInfo)),
        Err(refusal) if is_absent(&refusal.error) => {
            let Filed {
                ended, head, hash, ..
            } = find_filed(shared, by, session, now)?;
            let row = own_ended_row(shared, &ended, head, hash);
            Ok(Looked::Answer(AspResponse::SessionInfo(row), None))
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) fn is_absent(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Asp(error) if matches!(**error, AspError::SessionNotFound(_)))
}

/// A session that is not held any more.
pub(super) struct Filed {
    /// Its topic.
    pub channel: ChannelName,
    /// Its last record.
    pub head: Knot,
    /// That record: `session.ended`.
    pub ended: Ended,
    /// The hash of that record.
    pub hash: Digest,
}

/// Finds a session that is filed, for who may see it: who speaks for one that took part.
pub(super) fn find_filed(
    shared: &Shared,
    by: &Principal,
    session: SessionId,
    now: Timestamp,
) -> Result<Filed, Refusal> {
    let files = shared.broker().session_files(by, session, now)?;
    filed_in(shared, &files, session, |ended| {
        shared.broker().speaks_for_any(by, asked(ended), now)
    })
}

/// Finds a session that is filed, for who may see it.
///
/// - `files`: the records in which it may be filed, each with its topic.
/// - `is_shown`: whether somebody sees a session that ended so.
pub(super) fn filed_in(
    shared: &Shared,
    files: &[(ChannelName, Offset)],
    session: SessionId,
    is_shown: impl Fn(&Ended) -> bool,
) -> Result<Filed, Refusal> {
    for (channel, offset) in files.iter().cloned() {
        let mut reader = Reader::new(shared, channel.clone());
        // The record that files it is in no session: it has no number.
        let file = session_record(&mut reader, Knot { number: 0, offset })?;
        let SessionEvent::Filed(file) = file.event else {
            return Err(reader.damaged(offset, "the record files nothing").into());
        };
        let Some(at) = file.rows.iter().find(|(id, _)| *id == session) else {
            continue;
        };
        let (head, ended, hash) = ended_at(&mut reader, at.1)?;
        if ended.session != session {
            return Err(reader.damaged(at.1, "another session ended there").into());
        }
        if is_shown(&ended) {
            return Ok(Filed {
                channel,
                head,
                ended,
                hash,
            });
        }
    }
    Err(AspError::SessionNotFound(session).into())
}

/// Those who took part in a session that has ended, or were asked to. Who was to be, and was not
/// before its end, has never seen it and does not now.
pub(super) fn asked(ended: &Ended) -> impl Iterator<Item = (OrgId, AgentId)> {
    let all = ended.participants.iter();
    let asked = all.filter(|one| one.standing != EndedStanding::Pending);
    asked.map(|one| (one.org, one.agent))
}

/// The `session.ended` at an offset.
fn ended_at(
    reader: &mut Reader<'_>,
    offset: crate::types::Offset,
) -> Result<(Knot, Ended, Digest), BrokerError> {
    let record = {
        let read = reader.record(offset)?;
        let payload = read.payload.clone().unwrap_or_default();
        let read = crate::asp::session::SessionRecord::decode(read.record_type.as_str(), &payload);
        read.map_err(|error| reader.damaged(offset, &error.to_string()))?
    };
    match (record.event, record.place) {
        (SessionEvent::Ended(ended), Some(place)) => {
            let number = place.links.number();
            Ok((Knot { number, offset }, *ended, place.hash))
        }
        _ => Err(reader.damaged(offset, "no session ended there")),
    }
}

/// Where a list of sessions goes on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Cursor {
    /// With the live ones before this one.
    Live(SessionId),
    /// With those that ended, from this one on.
    Ended(Knot),
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &SessionList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = list.cursor.as_deref().map(cursor::decode::<Cursor>);
    let cursor = cursor.transpose()?;
    let limit = cursor::page_limit(list.limit)?;
    let before = match cursor {
        Some(Cursor::Live(before)) => Some(before),
        // None of the live ones is wanted any more.
        Some(Cursor::Ended(_)) => Some(SessionId(0)),
        None => None,
    };
    let fits = |session: &Session| {
        (list.states.is_empty() || list.states.contains(&session.state))
            && list.until.is_none_or(|until| session.created_at < until)
    };
    let agent = list.agent.as_ref();
    let page = shared
        .broker()
        .live_sessions(by, agent, &fits, before, limit, now)?;
    let mut rows: Vec<SessionRow> = page.sessions.into_iter().map(row).collect();
    let mut next = None;
    if page.is_full {
        next = rows.last().map(|last| Cursor::Live(last.session_id));
    } else if let Some(ended) = page.ended
        && (list.states.is_empty() || list.states.iter().any(|state| state.is_terminal()))
    {
        let from = match cursor {
            Some(Cursor::Ended(from)) => Some(from),
            _ => ended.last,
        };
        next = list_ended(shared, by, list, &ended, from, limit, &mut rows, now)?;
    }
    let page_of = SessionsPage {
        sessions: rows,
        cursor: next.as_ref().map(cursor::encode),
    };
    Ok(Looked::answer(AspResponse::SessionList(page_of), page.wait))
}

/// Adds the sessions that ended, latest end first; where to go on, if there are more.
#[expect(clippy::too_many_arguments, reason = "one walk, called once")]
fn list_ended(
    shared: &Shared,
    by: &Principal,
    list: &SessionList,
    walk: &EndedToWalk,
    from: Option<Knot>,
    limit: usize,
    rows: &mut Vec<SessionRow>,
    now: Timestamp,
) -> Result<Option<Cursor>, Refusal> {
    let mut reader = Reader::new(shared, walk.channel.clone());
    let mut at = from;
    if let (Some(text), Some(given)) = (list.cursor.as_deref(), from)
        && from != walk.last
    {
        let newest = walk.last.map(|last| last.offset);
        let links = |offset| links_at(&mut reader, walk, offset);
        at = Some(cursor::checked(text, given, newest, links)?);
    }
    let mut looked_at = 0;
    while let Some(knot) = at {
        if rows.len() >= limit || looked_at >= MAX_LOOKED_AT {
            return Ok(Some(Cursor::Ended(knot)));
        }
        looked_at += 1;
        let (head, ended, hash) = ended_at(&mut reader, knot.offset)?;
        if list.since.is_some_and(|since| ended.at < since) {
            return Ok(None);
        }
        at = links_of(&ended, walk).and_then(|links| links.back);
        let is_wanted = (list.states.is_empty() || list.states.contains(&ended.state))
            && list.until.is_none_or(|until| ended.created_at < until)
            && shared.broker().speaks_for_any(by, asked(&ended), now);
        if is_wanted {
            rows.push(own_ended_row(shared, &ended, head, hash));
        }
    }
    Ok(None)
}

/// What a `session.ended` says of those before it in a thread.
fn links_of(ended: &Ended, walk: &EndedToWalk) -> Option<Links> {
    match walk.agent {
        None => Some(ended.all),
        Some(agent) => {
            let asked = |one: &&EndedParticipant| one.standing != EndedStanding::Pending;
            let mut own = ended.participants.iter().filter(asked);
            own.find(|one| one.agent == agent).map(|own| own.links)
        }
    }
}

/// The same of the record at an offset; none where no session ended there.
fn links_at(
    reader: &mut Reader<'_>,
    walk: &EndedToWalk,
    offset: Offset,
) -> Result<Option<Links>, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = SessionRecord::decode(record.record_type.as_str(), &payload);
    let read = read.map_err(|error| reader.damaged(offset, &error.to_string()))?;
    match read.event {
        SessionEvent::Ended(ended) => Ok(links_of(&ended, walk)),
        _ => Ok(None),
    }
}

pub(super) fn row(seen: SessionSeen) -> SessionRow {
    let SessionSeen {
        org,
        session,
        participants,
    } = seen;
    let rows = participants.into_iter().zip(session.participants.values());
    let rows = rows.map(|(named, one)| ParticipantRow {
        agent_id: named.agent,
        name: named.name,
        org: named.org,
        role: one.role,
        standing: Some(standing(EndedStanding::from(one.standing)).to_owned()),
        messages: Some(one.sequence),
    });
    SessionRow {
        session_id: session.session,
        org,
        state: session.state,
        participants: rows.collect(),
        sequence: session.sequence(),
        hash: session.hash,
        created_at: session.created_at,
        expires_at: Some(session.expires_at),
        invitation_ms: Some(session.invitation_ms),
        limits: limits(&session.limits),
        metadata: session.metadata.clone(),
        by: Some(session.by),
        ended_at: session.ended_at,
        topic: session.topic,
    }
}

fn own_ended_row(shared: &Shared, ended: &Ended, head: Knot, hash: Digest) -> SessionRow {
    let org = shared.broker().name_org(ended.org);
    ended_row(ended, head, hash, org, |org, agent| {
        shared.broker().name_agent(org, agent)
    })
}

/// A session that has ended.
///
/// - `name`: an agent as answers show it.
pub(super) fn ended_row(
    ended: &Ended,
    head: Knot,
    hash: Digest,
    org: OrgName,
    name: impl Fn(OrgId, AgentId) -> Named,
) -> SessionRow {
    let rows = ended.participants.iter().map(|one| {
        let named = name(one.org, one.agent);
        ParticipantRow {
            agent_id: named.agent,
            name: named.name,
            org: named.org,
            role: one.role,
            standing: Some(standing(one.standing).to_owned()),
            messages: Some(one.messages),
        }
    });
    SessionRow {
        session_id: ended.session,
        org,
        topic: ended.topic.clone(),
        state: ended.state,
        participants: rows.collect(),
        sequence: head.number + 1,
        hash,
        created_at: ended.created_at,
        expires_at: Some(ended.expires_at),
        invitation_ms: None,
        limits: limits(&ended.limits),
        metadata: ended.metadata.clone(),
        by: Some(ended.by),
        ended_at: Some(ended.at),
    }
}

fn limits(limits: &Limits) -> SessionLimits {
    SessionLimits {
        max_messages: limits.max_messages,
        max_payload_bytes: limits.max_payload_bytes,
        max_participants: limits.max_participants,
    }
}

fn standing(standing: EndedStanding) -> &'static str {
    match standing {
        EndedStanding::Pending => "pending",
        EndedStanding::Invited => "invited",
        EndedStanding::In => "in",
        EndedStanding::Refused => "refused",
        EndedStanding::Lapsed => "lapsed",
        EndedStanding::Left => "left",
    }
}
