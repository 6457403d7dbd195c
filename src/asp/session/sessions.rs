//! The sessions of an organisation, folded from [`SessionEvent`]s.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{OutOfLimit, SendError};
use super::event::{
    AgentFact, Created, Digest, Expired, Invitee, Message, MessageSent, ResponseOverdue,
    SessionEvent,
};
use super::one::{Deadline, Session, Taken};
use super::table::{Next, Performative, State};
use crate::asp::Trust;
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::types::{SessionId, Timestamp};

/// Sessions held after they ended, so that what is sent to them is told why it is refused.
pub const MAX_ENDED: usize = 1000;
/// Most participants of a session, those who went included.
pub const MAX_PARTICIPANTS: usize = 64;
/// Longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 1024;
/// Most bytes of a session's metadata as JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Most bytes of a message's payload as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Longest application type, in bytes.
pub const MAX_TYPE_BYTES: usize = 256;
/// Most open offers of a session, and most messages with constraints that wait for an answer.
pub const MAX_OPEN: usize = 1024;
/// Time to answer an invitation unless the session says otherwise, in ms.
pub const DEFAULT_INVITATION_MS: u64 = 30_000;
/// Time until a session expires unless it says otherwise, in ms.
pub const DEFAULT_TTL_MS: u64 = 3_600_000;
/// Longest time that may be given for anything, in ms: 30 days.
pub const MAX_TIME_MS: u64 = 30 * 24 * 3_600_000;

/// One session in a state record.
pub type SessionRow = Session;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// To which session.
    pub session: SessionId,
    /// What the sender supplies.
    pub message: Message,
    /// SHA-256 over what the sender supplies.
    pub digest: Digest,
    /// Whom a DELEGATE brings in.
    pub brings: Option<Invitee>,
}

/// What becomes of a message.
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is used at once, and most are the large one"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To be recorded.
    New(SessionEvent),
    /// It was taken before, and nothing is to be recorded.
    Before(Taken),
}

/// The live sessions of an organisation and the last ones that ended. Of each session:
///
/// ```text
/// Absent --created--> IDLE, CONVERSING --messageSent, …--> … --> CLOSED, FAILED --> forgotten
/// ```
///
/// with the arrows in between as the transition table has them (docs/asp.md). A state record
/// replaces all once its last part is there; no other event may stand between its parts. An
/// unknown event changes nothing. Limits are judged once, at the door, and not by a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    ended: BTreeSet<(Timestamp, SessionId)>,
    deadlines: BTreeSet<(Timestamp, Deadline, SessionId)>,
    assembly: Option<Assembly<SessionRow>>,
}

impl Sessions {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &SessionEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: match event.session() {
                Some(session) => format!("session {session}"),
                None => "all sessions".to_owned(),
            },
            rule,
        })
    }

    /// The session of that id, live or among those that ended last.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// All sessions that are held, by id and so by age.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Turns a request for a session into the event that records it.
    ///
    /// # Errors
    /// [`OutOfLimit`] for the first limit that is broken. Who takes part is judged by
    /// [`Sessions::apply`].
    pub fn check_create(&self, created: Created) -> Result<SessionEvent, OutOfLimit> {
        let bytes = json_bytes(&created.metadata);
        within("topic bytes", created.topic.len(), 1, MAX_TOPIC_BYTES)?;
        within(
            "participants",
            created.participants.len(),
            2,
            MAX_PARTICIPANTS,
        )?;
        within("metadata bytes", bytes, 0, MAX_METADATA_BYTES)?;
        time_within("ttlMs", created.ttl_ms)?;
        time_within("invitationMs", created.invitation_ms)?;
        Ok(SessionEvent::Created(created))
    }

    /// Turns a message into the event that records it, or finds that it was taken before.
    ///
    /// - `now`: the broker's clock. What [`Sessions::next_due`] gives for it must be applied first.
    ///
    /// # Errors
    /// [`SendError`] naming what was found and what would be allowed. Nothing is changed.
    pub fn check_send(
        &self,
        send: Send,
        trust: &dyn Trust,
        now: Timestamp,
    ) -> Result<Sent, SendError> {
        let Some(session) = self.session(send.session) else {
            return Err(SendError::UnknownSession(send.session));
        };
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
        if message.id.0 >> 76 & 0xf != 7 {
            return Err(SendError::MessageIdVersion { id: message.id });
        }
        check_limits(session, &send)?;
        let sender = session.participants.get(&message.sender);
        let event = MessageSent {
            session: send.session,
            digest: send.digest,
            sequence: session.sequence + 1,
            sender_sequence: sender.map_or(0, |sender| sender.sequence) + 1,
            brings: send.brings,
            at: now,
            message: send.message,
        };
        judge(session, &event)?;
        let asked = event
            .message
            .in_reply_to
            .and_then(|id| session.asked.get(&id));
        let asked = asked.filter(|asked| asked.sender != event.message.sender);
        if let Some(required) = asked.and_then(|asked| asked.constraints.required_trust) {
            let score = trust.score(event.message.sender);
            if score < required {
                return Err(SendError::TrustTooLow { required, score });
            }
        }
        Ok(Sent::New(SessionEvent::MessageSent(event)))
    }

    /// The deadline that passed first of all, as the event that records it; `None` when none has
    /// passed. Apply it and ask again.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<SessionEvent> {
        let (due, deadline, session) = *self.deadlines.first()?;
        (due <= now).then_some(match deadline {
            Deadline::Invitation(agent) => SessionEvent::InvitationLapsed(AgentFact {
                session,
                agent,
                at: now,
            }),
            Deadline::Response(message) => SessionEvent::ResponseOverdue(ResponseOverdue {
                session,
                message,
                at: now,
            }),
            Deadline::Expiry => SessionEvent::Expired(Expired { session, at: now }),
        })
    }

    /// When something becomes due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(due, ..)| *due)
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<SessionEvent> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<SessionEvent> {
        folding::split(self.sessions.values().cloned(), max_part_bytes)
            .into_iter()
            .map(SessionEvent::Folded)
            .collect()
    }

    fn transition(&mut self, event: &SessionEvent) -> Result<(), &'static str> {
        match event {
            SessionEvent::Unknown { .. } => Ok(()),
            SessionEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            SessionEvent::Created(created) => {
                if self.sessions.contains_key(&created.session) {
                    return Err("the session is there already");
                }
                self.insert(Session::begin(created)?);
                Ok(())
            }
            SessionEvent::MessageSent(sent) => {
                let session = self.session(sent.session).ok_or(NO_SESSION)?;
                let next = judge(session, sent).map_err(|refused| refused.rule())?;
                self.change(sent.session, |session| {
                    session.take(sent, next);
                    Ok(())
                })
            }
            SessionEvent::ParticipantLeft(event) => {
                self.on_time(event.session, event.at)?;
                self.change(event.session, |session| {
                    session.leave(event.agent, event.at)
                })
            }
            SessionEvent::Resumed(event) => {
                self.on_time(event.session, event.at)?;
                self.change(event.session, |session| session.resume(event.at))
            }
            SessionEvent::InvitationLapsed(event) => {
                self.is_due(event.session, Deadline::Invitation(event.agent), event.at)?;
                self.change(event.session, |session| {
                    session.lapse(event.agent, event.at)
                })
            }
            SessionEvent::ResponseOverdue(event) => {
                self.is_due(event.session, Deadline::Response(event.message), event.at)?;
                self.change(event.session, |session| session.overdue(event.message))
            }
            SessionEvent::Expired(event) => {
                self.is_due(event.session, Deadline::Expiry, event.at)?;
                self.change(event.session, |session| {
                    session.settle(Next::To(State::Failed), event.at);
                    Ok(())
                })
            }
        }
    }

    /// Whether no deadline of the session has passed that should come first.
    fn on_time(&self, session: SessionId, at: Timestamp) -> Result<(), &'static str> {
        let session = self.session(session).ok_or(NO_SESSION)?;
        let late = late(session, at).map(|due| SendError::DeadlineFirst { due });
        late.map_or(Ok(()), |late| Err(late.rule()))
    }

    /// Whether that is what the session's clock shows next.
    fn is_due(
        &self,
        session: SessionId,
        deadline: Deadline,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        let session = self.session(session).ok_or(NO_SESSION)?;
        match session.next_deadline() {
            Some((due, next)) if next == deadline && due <= at => Ok(()),
            _ => Err("that is not what was due next"),
        }
    }

    /// Changes a session and brings the indexes after it. A change that is refused has changed
    /// nothing.
    fn change(
        &mut self,
        id: SessionId,
        change: impl FnOnce(&mut Session) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let session = self.sessions.get_mut(&id).ok_or(NO_SESSION)?;
        let before = session.next_deadline();
        change(session)?;
        let (after, ended_at) = (session.next_deadline(), session.ended_at);
        if before != after {
            if let Some((due, deadline)) = before {
                self.deadlines.remove(&(due, deadline, id));
            }
            if let Some((due, deadline)) = after {
                self.deadlines.insert((due, deadline, id));
            }
        }
        if let Some(ended_at) = ended_at {
            self.ended.insert((ended_at, id));
            self.forget_ended();
        }
        Ok(())
    }

    fn insert(&mut self, session: Session) {
        if let Some((due, deadline)) = session.next_deadline() {
            self.deadlines.insert((due, deadline, session.session));
        }
        if let Some(ended_at) = session.ended_at {
            self.ended.insert((ended_at, session.session));
        }
        self.sessions.insert(session.session, session);
    }

    /// Memory is for the live ones; the topic has all.
    fn forget_ended(&mut self) {
        while self.ended.len() > MAX_ENDED {
            if let Some((_, oldest)) = self.ended.pop_first() {
                self.sessions.remove(&oldest);
            }
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &SessionRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            if state.sessions.contains_key(&row.session) {
                return Err("a session stands in it twice");
            }
            state.insert(row.clone());
        }
        Ok(state)
    }
}

const NO_SESSION: &str = "there is no such session";

/// The deadline of a session that has passed and is not recorded.
fn late(session: &Session, now: Timestamp) -> Option<Timestamp> {
    let (due, _) = session.next_deadline()?;
    (due <= now).then_some(due)
}

/// As [`Session::judge`], after the clock and the numbers.
fn judge(session: &Session, sent: &MessageSent) -> Result<Next, SendError> {
    if let Some(due) = late(session, sent.at) {
        return Err(SendError::DeadlineFirst { due });
    }
    let next = session.judge(sent)?;
    let sender = session.participants.get(&sent.message.sender);
    let sender_sequence = sender.map_or(0, |sender| sender.sequence) + 1;
    within(
        "sequence",
        sent.sequence,
        session.sequence + 1,
        session.sequence + 1,
    )?;
    within(
        "senderSequence",
        sent.sender_sequence,
        sender_sequence,
        sender_sequence,
    )?;
    Ok(next)
}

fn check_limits(session: &Session, send: &Send) -> Result<(), OutOfLimit> {
    let message = &send.message;
    within(
        "payload bytes",
        json_bytes(&message.payload),
        0,
        MAX_PAYLOAD_BYTES,
    )?;
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
        within("open offers", session.offers.len(), 0, MAX_OPEN - 1)?;
    }
    if !message.constraints.is_empty() {
        let waiting = session.asked.len();
        within(
            "unanswered messages with constraints",
            waiting,
            0,
            MAX_OPEN - 1,
        )?;
    }
    if let Some(brings) = &send.brings {
        let is_known = session.participants.contains_key(&brings.agent);
        let count = session.participants.len() + usize::from(!is_known);
        within("participants", count, 2, MAX_PARTICIPANTS)?;
    }
    Ok(())
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

fn time_within(what: &'static str, ms: u64) -> Result<(), OutOfLimit> {
    within(what, ms, 1, MAX_TIME_MS)
}

fn within<N: TryInto<u64>>(
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
