//! The sessions of an organisation, folded from [`SessionRecord`]s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::error::SendError;
use super::event::{Ended, EndedParticipant, EndedStanding, Filed, MessageSent, SessionEvent};
use super::fold::FoldRow;
use super::one::{Deadline, Session};
use super::record::{Place, SessionRecord};
use super::table::{Next, State};
use crate::asp::chain::Digest;
use crate::asp::{Files, Knot, Links, Thread};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent};
use crate::types::{AgentId, Offset, SessionId, Timestamp};

/// Sessions held after they ended; once there are as many, the oldest [`FILED_AT_ONCE`] are filed.
pub const MAX_ENDED: usize = 2000;
/// Sessions that one record files.
pub const FILED_AT_ONCE: usize = 1000;

/// The live sessions of an organisation and the last ones that ended. Of each session:
///
/// ```text
/// Absent --created--> IDLE, CONVERSING --messageSent, …--> … --> CLOSED, FAILED --ended, filed--> Absent
/// ```
///
/// with the arrows in between as the transition table has them (docs/asp.md). A state record
/// replaces all once its last part is there; no other record may stand between its parts. An
/// unknown record takes its place in its session and changes nothing else.
///
/// A clone shares the sessions, and takes a copy of one when that one changes: a snapshot is taken
/// of a clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Arc<Session>>,
    /// Those that ended and are not filed, the first first, by the offset of their `session.ended`.
    ended: VecDeque<(Offset, SessionId)>,
    files: Files<SessionId>,
    all_ended: Thread,
    agents_ended: BTreeMap<AgentId, Arc<Thread>>,
    agents: BTreeSet<(AgentId, SessionId)>,
    /// Of the live ones.
    states: BTreeSet<(State, SessionId)>,
    deadlines: BTreeSet<(Timestamp, Deadline, SessionId)>,
    assembly: Option<Assembly<FoldRow>>,
}

impl Sessions {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// - `offset`: that of the record.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &SessionRecord, offset: Offset) -> Result<(), IllegalEvent> {
        self.transition(record, offset)
            .map_err(|rule| illegal(&record.event, rule))
    }

    /// The session of that id, live or among those that ended and are not filed.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session).map(|session| &**session)
    }

    /// All sessions that are held, by id and so by age.
    pub fn sessions(&self) -> impl DoubleEndedIterator<Item = &Session> {
        self.sessions.values().map(|session| &**session)
    }

    /// Sessions that are held in which an agent takes part, took part or was asked to, the newest
    /// first.
    pub fn of_agent(&self, agent: AgentId) -> impl Iterator<Item = &Session> {
        let range = (agent, SessionId(0))..=(agent, SessionId(u128::MAX));
        let ids = self.agents.range(range).rev();
        ids.filter_map(|(_, session)| self.session(*session))
    }

    /// Live sessions in that state, the newest first.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Session> {
        let range = (state, SessionId(0))..=(state, SessionId(u128::MAX));
        let ids = self.states.range(range).rev();
        ids.filter_map(|(_, session)| self.session(*session))
    }

    /// How many sessions are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.states.len()
    }

    /// Where a session that ended may be filed: offsets of `sessions.filed`, the latest first.
    pub fn filed(&self, session: SessionId) -> impl Iterator<Item = Offset> {
        self.files.candidates(session)
    }

    /// The last `session.ended` of all.
    #[must_use]
    pub fn ended(&self) -> Option<Knot> {
        self.all_ended.last()
    }

    /// The last `session.ended` of a session in which that agent took part.
    #[must_use]
    pub fn ended_of_agent(&self, agent: AgentId) -> Option<Knot> {
        self.agents_ended.get(&agent)?.last()
    }

    /// When something becomes due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.first_deadline().map(|(due, ..)| due)
    }

    pub(super) fn first_deadline(&self) -> Option<(Timestamp, Deadline, SessionId)> {
        self.deadlines.first().copied()
    }

    pub(super) fn ended_sessions(&self) -> &VecDeque<(Offset, SessionId)> {
        &self.ended
    }

    /// What the next `session.ended` says of those before it: of an agent's, or of all.
    pub(super) fn ended_links(&self, agent: Option<AgentId>) -> Links {
        match agent {
            None => self.all_ended.links(),
            Some(agent) => self
                .agents_ended
                .get(&agent)
                .map_or_else(Links::default, |thread| thread.links()),
        }
    }

    fn transition(&mut self, record: &SessionRecord, offset: Offset) -> Result<(), &'static str> {
        if let SessionEvent::Folded(part) = &record.event {
            if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                *self = state;
            }
            return Ok(());
        }
        if self.assembly.is_some() {
            return Err(BETWEEN_PARTS);
        }
        match &record.event {
            SessionEvent::Filed(filed) => return self.file(filed, offset),
            SessionEvent::Unknown { session, .. } => {
                let held = session.is_some_and(|session| self.sessions.contains_key(&session));
                if !held {
                    return Ok(());
                }
            }
            _ => {}
        }
        let place = record
            .place
            .as_ref()
            .ok_or("it has no place in a session")?;
        self.is_next(record, place)?;
        if let SessionEvent::Ended(ended) = &record.event {
            self.threads_end_before(ended)?;
        }
        self.step(&record.event, place.hash, offset)
    }

    /// Whether a record stands behind the last of its session.
    fn is_next(&self, record: &SessionRecord, place: &Place) -> Result<(), &'static str> {
        let session = record.session().and_then(|session| self.session(session));
        let links = match (session, &record.event) {
            (None, SessionEvent::Created(_)) => Links::default(),
            (None, _) => return Err(NO_SESSION),
            (Some(_), SessionEvent::Created(_)) => return Err("the session is there already"),
            (Some(session), _) => session.thread.links(),
        };
        if place.links == links {
            return Ok(());
        }
        Err("it does not name the last record of its session")
    }

    fn threads_end_before(&self, ended: &Ended) -> Result<(), &'static str> {
        let mut all = ended.participants.iter();
        let follows = ended.all == self.ended_links(None)
            && all.all(|one| one.links == self.ended_links(Some(one.agent)));
        if follows {
            return Ok(());
        }
        Err("it does not name the sessions that ended before it")
    }

    /// Takes an event of one session into the state, whatever its record names.
    pub(super) fn step(
        &mut self,
        event: &SessionEvent,
        hash: Digest,
        offset: Offset,
    ) -> Result<(), &'static str> {
        if let SessionEvent::Created(created) = event {
            if self.sessions.contains_key(&created.session) {
                return Err("the session is there already");
            }
            let mut session = Session::begin(created)?;
            session.hash = hash;
            session.thread.push(offset);
            self.insert(Arc::new(session));
            return Ok(());
        }
        let id = event.session().ok_or(NO_SESSION)?;
        let session = self.sessions.get_mut(&id).ok_or(NO_SESSION)?;
        let before = (session.next_deadline(), session.state);
        follow(Arc::make_mut(session), event, hash, offset)?;
        let session = Arc::clone(session);
        let after = (session.next_deadline(), session.state);
        if before.0 != after.0 {
            if let Some((due, deadline)) = before.0 {
                self.deadlines.remove(&(due, deadline, id));
            }
            if let Some((due, deadline)) = after.0 {
                self.deadlines.insert((due, deadline, id));
            }
        }
        if before.1 != after.1 {
            self.states.remove(&(before.1, id));
            if !after.1.is_terminal() {
                self.states.insert((after.1, id));
            }
        }
        match event {
            SessionEvent::MessageSent(sent) => {
                if let Some(brings) = &sent.brings {
                    self.agents.insert((brings.agent, id));
                }
            }
            SessionEvent::Ended(ended) => {
                self.ended.push_back((offset, id));
                self.all_ended.push(offset);
                // Who was never asked to has no part in it.
                let asked = |one: &&EndedParticipant| one.standing != EndedStanding::Pending;
                for one in ended.participants.iter().filter(asked) {
                    let thread = self.agents_ended.entry(one.agent).or_default();
                    Arc::make_mut(thread).push(offset);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets those go that are filed.
    fn file(&mut self, filed: &Filed, offset: Offset) -> Result<(), &'static str> {
        let mut rows = filed.rows.iter().copied().peekable();
        let (mut let_go, mut kept) = (Vec::new(), VecDeque::new());
        for (offset, id) in &self.ended {
            match rows.next_if_eq(&(*id, *offset)) {
                Some(_) => let_go.push(*id),
                None => kept.push_back((*offset, *id)),
            }
        }
        if let_go.is_empty() || rows.next().is_some() {
            return Err("those are not sessions that ended and are held, in their order");
        }
        self.ended = kept;
        for id in let_go {
            if let Some(session) = self.sessions.remove(&id) {
                for agent in session.participants.keys() {
                    self.agents.remove(&(*agent, id));
                }
            }
        }
        let ids = filed.rows.iter().map(|(session, _)| *session);
        self.files.push(ids, offset);
        Ok(())
    }

    pub(super) fn insert(&mut self, session: Arc<Session>) {
        let id = session.session;
        if let Some((due, deadline)) = session.next_deadline() {
            self.deadlines.insert((due, deadline, id));
        }
        if !session.state.is_terminal() {
            self.states.insert((session.state, id));
        }
        let agents = session.participants.keys();
        self.agents.extend(agents.map(|agent| (*agent, id)));
        self.sessions.insert(id, session);
    }

    /// The whole state; what is not here follows from it.
    pub(super) fn rows(&self) -> impl Iterator<Item = FoldRow> {
        let all = (!self.all_ended.is_empty()).then(|| FoldRow::Ended {
            agent: None,
            thread: self.all_ended.clone(),
        });
        let agents = self.agents_ended.iter();
        let agents = agents.map(|(agent, thread)| FoldRow::Ended {
            agent: Some(*agent),
            thread: (**thread).clone(),
        });
        let files = self.files.iter().cloned().map(FoldRow::Filed);
        let sessions = self.sessions.values().cloned().map(FoldRow::Session);
        all.into_iter().chain(agents).chain(files).chain(sessions)
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &FoldRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            match row {
                FoldRow::Ended { agent, thread } => {
                    let before = match agent {
                        None => std::mem::replace(&mut state.all_ended, thread.clone()),
                        Some(agent) => {
                            let thread = Arc::new(thread.clone());
                            let before = state.agents_ended.insert(*agent, thread);
                            before.map_or_else(Thread::default, Arc::unwrap_or_clone)
                        }
                    };
                    if !before.is_empty() {
                        return Err("a thread stands in it twice");
                    }
                }
                FoldRow::Filed(file) => state.files.push_file(file.clone()),
                FoldRow::Session(session) => {
                    if state.sessions.contains_key(&session.session) {
                        return Err("a session stands in it twice");
                    }
                    let ended = session.ended.map(|offset| (offset, session.session));
                    state.ended.extend(ended);
                    state.insert(Arc::clone(session));
                }
            }
        }
        state.ended.make_contiguous().sort_unstable();
        Ok(state)
    }
}

pub(super) const NO_SESSION: &str = "there is no such session";

pub(super) fn illegal(event: &SessionEvent, rule: &'static str) -> IllegalEvent {
    IllegalEvent {
        event: event.record_type().to_owned(),
        subject: match event.session() {
            Some(session) => format!("session {session}"),
            None => "all sessions".to_owned(),
        },
        rule,
    }
}

/// What an event does to its session, which is another than created. One that is refused has
/// changed nothing.
pub(super) fn follow(
    session: &mut Session,
    event: &SessionEvent,
    hash: Digest,
    offset: Offset,
) -> Result<(), &'static str> {
    match event {
        SessionEvent::MessageSent(sent) => {
            let next = judge(session, sent).map_err(|refused| refused.rule())?;
            session.take(sent, next, hash);
        }
        SessionEvent::ParticipantLeft(event) => {
            on_time(session, event.at)?;
            session.leave(event.agent, event.at)?;
        }
        SessionEvent::Resumed(event) => {
            on_time(session, event.at)?;
            session.resume(event.at)?;
        }
        SessionEvent::InvitationLapsed(event) => {
            is_due(session, Deadline::Invitation(event.agent), event.at)?;
            session.lapse(event.agent, event.at)?;
        }
        SessionEvent::ResponseOverdue(event) => {
            is_due(session, Deadline::Response(event.message), event.at)?;
            session.overdue(event.message)?;
        }
        SessionEvent::Expired(event) => {
            is_due(session, Deadline::Expiry, event.at)?;
            session.settle(Next::To(State::Failed), event.at);
        }
        SessionEvent::Ended(ended) => session.end(ended, offset)?,
        SessionEvent::Unknown { .. } => {}
        SessionEvent::Created(_) | SessionEvent::Filed(_) | SessionEvent::Folded(_) => {
            return Err("it is no event of a session that is there");
        }
    }
    session.thread.push(offset);
    session.hash = hash;
    Ok(())
}

/// The deadline of a session that has passed and is not recorded.
pub(super) fn late(session: &Session, now: Timestamp) -> Option<Timestamp> {
    let (due, _) = session.next_deadline()?;
    (due <= now).then_some(due)
}

/// Whether no deadline of the session has passed that should come first.
fn on_time(session: &Session, at: Timestamp) -> Result<(), &'static str> {
    let late = late(session, at).map(|due| SendError::DeadlineFirst { due });
    late.map_or(Ok(()), |late| Err(late.rule()))
}

/// Whether that is what the session's clock shows next.
fn is_due(session: &Session, deadline: Deadline, at: Timestamp) -> Result<(), &'static str> {
    match session.next_deadline() {
        Some((due, next)) if next == deadline && due <= at => Ok(()),
        _ => Err("that is not what was due next"),
    }
}

/// As [`Session::judge`], after the clock and the numbers.
pub(super) fn judge(session: &Session, sent: &MessageSent) -> Result<Next, SendError> {
    if let Some(due) = late(session, sent.at) {
        return Err(SendError::DeadlineFirst { due });
    }
    let next = session.judge(sent)?;
    let sender = session.participants.get(&sent.message.sender);
    let number = sender.map_or(0, |sender| sender.sequence) + 1;
    super::check::within("senderSequence", sent.sender_sequence, number, number)?;
    Ok(next)
}
