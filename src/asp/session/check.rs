//! What is asked for, turned into events, or refused. Limits are judged here, once, and not by a
//! replay.

use std::collections::BTreeMap;

use super::error::{CreateError, OutOfLimit, SendError};
use super::event::{
    Created, Expired, InvitationLapsed, MessageSent, ParticipantLeft, ResponseOverdue, Resumed,
    SessionEvent,
};
use super::one::{Deadline, Session};
use super::send::{Send, Sent};
use super::sessions::{Sessions, judge, late};
use super::table::Performative;
use crate::asp::{Canonical, MAX_INTEGER, Trust};
use crate::types::{AgentId, MessageId, PrincipalId, SessionId, Timestamp};

/// Most participants of a session, those who went included.
pub const MAX_PARTICIPANTS: usize = 64;
/// Most live sessions of an organisation: memory holds all of each.
pub const MAX_LIVE: usize = 100_000;
/// Longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 1024;
/// Most bytes of a session's metadata as JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Most bytes of a message's payload in canonical form.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Longest application type, in bytes.
pub const MAX_TYPE_BYTES: usize = 256;
/// Most open offers of a session, and most messages with constraints that wait for an answer.
pub const MAX_OPEN: usize = 1024;
/// Time to answer an invitation unless the session says otherwise, in ms.
pub const DEFAULT_INVITATION_MS: u64 = 30_000;
/// Time until a session expires unless it says otherwise, in ms.
pub const DEFAULT_TTL_MS: u64 = 3_600_000;
/// How far the time of a message id may lie ahead of the broker's clock, in ms: 5 minutes. An id is
/// older than what is held for comparison where it is not younger than what was let go, so one of
/// tomorrow would shut its own sender out until then.
pub const MAX_ID_AHEAD_MS: u64 = 5 * 60_000;
/// Open offers, and messages with constraints that wait for an answer, for which a session keeps
/// room for each of its participants, whatever the others do.
pub const OPEN_FOR_EACH: usize = MAX_OPEN / MAX_PARTICIPANTS;
/// Longest time that may be given for anything, in ms: 30 days.
pub const MAX_TIME_MS: u64 = 30 * 24 * 3_600_000;

impl Sessions {
    /// Turns a request for a session into the event that records it.
    ///
    /// # Errors
    /// [`CreateError`] for the first limit that is broken, and for metadata without a canonical
    /// form. Who takes part is judged by [`Sessions::link`].
    pub fn check_create(&self, created: Created) -> Result<SessionEvent, CreateError> {
        let metadata = Canonical::of(&created.metadata.clone().into())?;
        let bytes = metadata.as_str().len();
        let count = created.participants.len();
        within("live sessions", self.live() + 1, 1, MAX_LIVE)?;
        within("topic bytes", created.topic.len(), 1, MAX_TOPIC_BYTES)?;
        within("participants", count, 2, MAX_PARTICIPANTS)?;
        within("metadata bytes", bytes, 0, MAX_METADATA_BYTES)?;
        time_within("ttlMs", created.ttl_ms)?;
        time_within("invitationMs", created.invitation_ms)?;
        let limits = &created.limits;
        let wide = |n: usize| n as u64;
        if let Some(most) = limits.max_messages {
            within("limits.maxMessages", most, 1, MAX_INTEGER)?;
        }
        if let Some(most) = limits.max_participants {
            let (least, limit) = (wide(count), wide(MAX_PARTICIPANTS));
            within("limits.maxParticipants", most, least, limit)?;
        }
        if let Some(most) = limits.max_payload_bytes {
            let limit = wide(MAX_PAYLOAD_BYTES);
            within("limits.maxPayloadBytes", most, 0, limit)?;
        }
        Ok(SessionEvent::Created(Box::new(created)))
    }

    /// Turns a message into the event that records it, or finds that it was taken before.
    ///
    /// - `now`: the broker's clock. What [`Sessions::next_due`] gives for it must be applied first.
    ///
    /// # Errors
    /// [`SendError`] naming what was found and what would be allowed. Nothing is changed.
    pub fn check_send(
        &self,
        send: &Send,
        trust: &dyn Trust,
        now: Timestamp,
    ) -> Result<Sent, SendError> {
        let session = self.known(send.message.session)?;
        check_send(session, send, trust, now)
    }

    /// Turns the wish of an agent to leave into the event that records it.
    ///
    /// # Errors
    /// [`SendError`] when it is not in, is the last coordinator, or the session has ended.
    pub fn check_leave(
        &self,
        session: SessionId,
        agent: AgentId,
        by: PrincipalId,
        now: Timestamp,
    ) -> Result<SessionEvent, SendError> {
        let row = self.known(session)?;
        on_time(row, now)?;
        row.judge_leave(agent)?;
        let at = now;
        Ok(SessionEvent::ParticipantLeft(ParticipantLeft {
            session,
            agent,
            by,
            at,
        }))
    }

    /// Turns the wish that an escalated session goes on into the event that records it.
    ///
    /// # Errors
    /// [`SendError::Ended`] for one that has ended, [`SendError::NotEscalated`] for any other.
    pub fn check_resume(
        &self,
        session: SessionId,
        by: PrincipalId,
        now: Timestamp,
    ) -> Result<SessionEvent, SendError> {
        let row = self.known(session)?;
        on_time(row, now)?;
        if row.state.is_terminal() {
            let state = row.state;
            return Err(SendError::Ended { session, state });
        }
        row.judge_resume()?;
        let at = now;
        Ok(SessionEvent::Resumed(Resumed { session, by, at }))
    }

    /// The deadline that passed first of all, as the event that records it; `None` when none has
    /// passed. Apply it and ask again.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<SessionEvent> {
        let (due, deadline, session) = self.first_deadline()?;
        let at = now;
        (due <= now).then_some(match deadline {
            Deadline::Invitation(agent) => {
                SessionEvent::InvitationLapsed(InvitationLapsed { session, agent, at })
            }
            Deadline::Response(message) => SessionEvent::ResponseOverdue(ResponseOverdue {
                session,
                message,
                at,
            }),
            Deadline::Expiry => SessionEvent::Expired(Expired { session, at }),
        })
    }

    fn known(&self, session: SessionId) -> Result<&Session, SendError> {
        self.session(session)
            .ok_or(SendError::UnknownSession(session))
    }
}

fn on_time(session: &Session, now: Timestamp) -> Result<(), SendError> {
    late(session, now).map_or(Ok(()), |due| Err(SendError::DeadlineFirst { due }))
}

/// Whether the time of a message id is not too far ahead: at the door alone, as those of records are
/// what they are.
///
/// - `now`: the broker's clock.
///
/// # Errors
/// [`SendError::MessageIdAhead`] more than [`MAX_ID_AHEAD_MS`] ahead of it.
pub fn check_id_time(id: MessageId, now: Timestamp) -> Result<(), SendError> {
    let id_ms = u64::try_from(id.0 >> 80).unwrap_or(u64::MAX);
    let ahead_ms = id_ms.saturating_sub(u64::try_from(now.0).unwrap_or(0));
    if ahead_ms <= MAX_ID_AHEAD_MS {
        return Ok(());
    }
    Err(SendError::MessageIdAhead {
        id,
        ahead_ms,
        most_ms: MAX_ID_AHEAD_MS,
    })
}

/// As [`Sessions::check_send`], in a session.
pub(super) fn check_send(
    session: &Session,
    send: &Send,
    trust: &dyn Trust,
    now: Timestamp,
) -> Result<Sent, SendError> {
    let message = &send.message;
    if let Some(taken) = session.taken(message.id) {
        let sender = session.participants.get(&message.sender);
        let is_own = sender.is_some_and(|sender| sender.held.contains(taken));
        return if is_own && taken.digest == send.digest {
            Ok(Sent::Before(*taken))
        } else {
            Err(SendError::MessageIdTaken { id: message.id })
        };
    }
    if !message.id.is_version_7() {
        return Err(SendError::MessageIdVersion { id: message.id });
    }
    check_limits(session, send)?;
    let sender = session.participants.get(&message.sender);
    let sent = MessageSent {
        sender_sequence: sender.map_or(0, |sender| sender.sequence) + 1,
        digest: send.digest,
        signature: send.signature,
        key: send.key,
        payload: send.payload.clone(),
        brings: send.brings,
        commitment: send.commitment,
        by: send.by,
        at: now,
        message: send.message.clone(),
    };
    judge(session, &sent)?;
    let asked = sent.message.in_reply_to;
    let asked = asked.and_then(|id| session.asked.get(&id));
    let asked = asked.filter(|asked| asked.sender != sent.message.sender);
    if let Some(required) = asked.and_then(|asked| asked.constraints.required_trust) {
        let score = trust.score(sent.message.sender);
        if score < required {
            return Err(SendError::TrustTooLow { required, score });
        }
    }
    Ok(Sent::New(SessionEvent::MessageSent(Box::new(sent))))
}

fn check_limits(session: &Session, send: &Send) -> Result<(), OutOfLimit> {
    let message = &send.message;
    let limits = &session.limits;
    let payload = send.payload.as_ref().map_or(0, |p| p.as_str().len());
    let most = narrowed(limits.max_payload_bytes, MAX_PAYLOAD_BYTES);
    within("payload bytes", payload, 0, most)?;
    if let Some(most) = limits.max_messages
        && message.performative != Performative::Close
    {
        within("messages", session.messages() + 1, 1, most)?;
    }
    if let Some(message_type) = &message.message_type {
        within("type bytes", message_type.len(), 1, MAX_TYPE_BYTES)?;
    }
    if let Some(ms) = message.constraints.max_response_time_ms {
        time_within("maxResponseTimeMs", ms)?;
    }
    let said = message.constraints.allowed_performatives.len();
    within("allowedPerformatives", said, 0, 13)?;
    // Only what opens one more is held up, or a full session could never be emptied.
    let answers = message
        .in_reply_to
        .is_some_and(|id| session.offers.contains_key(&id));
    let opens = match message.performative {
        Performative::Propose | Performative::Commit => true,
        Performative::Counter => !answers,
        _ => false,
    };
    if opens {
        let offers = session.offers.values().map(|offer| offer.sender);
        has_room("open offers", session, message.sender, offers)?;
    }
    if !message.constraints.is_empty() {
        let asked = session.asked.values().map(|asked| asked.sender);
        let what = "unanswered messages with constraints";
        has_room(what, session, message.sender, asked)?;
    }
    if let Some(brings) = &send.brings {
        let is_known = session.participants.contains_key(&brings.agent);
        let count = session.participants.len() + usize::from(!is_known);
        let most = narrowed(limits.max_participants, MAX_PARTICIPANTS);
        within("participants", count, 2, most)?;
    }
    Ok(())
}

/// Whether a sender may have one more of what all participants of a session share: room is kept for
/// [`OPEN_FOR_EACH`] of each of the others.
///
/// - `senders`: of those that there are.
fn has_room(
    what: &'static str,
    session: &Session,
    sender: AgentId,
    senders: impl ExactSizeIterator<Item = AgentId>,
) -> Result<(), OutOfLimit> {
    let total = senders.len();
    let expected = session.participants.values();
    let expected = expected.filter(|one| one.is_expected()).count();
    if total + expected * OPEN_FOR_EACH < MAX_OPEN {
        return Ok(());
    }
    let mut each: BTreeMap<AgentId, usize> = BTreeMap::new();
    for sender in senders {
        *each.entry(sender).or_default() += 1;
    }
    let own = each.get(&sender).copied().unwrap_or(0);
    if own < OPEN_FOR_EACH && total < MAX_OPEN {
        return Ok(());
    }
    let others = session.participants.iter();
    let others = others.filter(|(agent, one)| **agent != sender && one.is_expected());
    let kept = others.map(|(agent, _)| {
        let has = each.get(agent).copied().unwrap_or(0);
        OPEN_FOR_EACH.saturating_sub(has)
    });
    let free = MAX_OPEN.saturating_sub(total + kept.sum::<usize>());
    within(what, own, 0, (own + free).saturating_sub(1))
}

/// The session's own limit, where it has one.
fn narrowed(own: Option<u64>, general: usize) -> usize {
    let own = own.and_then(|own| usize::try_from(own).ok());
    own.map_or(general, |own| own.min(general))
}

fn time_within(what: &'static str, ms: u64) -> Result<(), OutOfLimit> {
    within(what, ms, 1, MAX_TIME_MS)
}

pub(super) fn within<N: TryInto<u64>>(
    what: &'static str,
    value: N,
    least: N,
    most: N,
) -> Result<(), OutOfLimit> {
    let wide = |n: N| n.try_into().unwrap_or(u64::MAX);
    let (value, least, most) = (wide(value), wide(least), wide(most));
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OutOfLimit {
        what,
        value,
        least,
        most,
    })
}
