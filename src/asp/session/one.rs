//! One session: what a message may do in it, and what becomes of it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::SendError;
use super::event::{
    Constraints, Created, Ended, EndedParticipant, Invitee, Limits, Message, MessageSent,
};
use super::table::{Next, Performative, Role, State, Voice, allowed, next};
use super::tasks::{Given, Task};
use crate::asp::Knot;
use crate::asp::chain::Digest;
use crate::asp::{Links, Thread};
use crate::types::{
    AgentId, CommitmentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

/// Message ids of each sender that are held to recognise a message that comes again.
pub const HELD_IDS: usize = 32;

/// A session as its events have left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its identity.
    pub session: SessionId,
    /// The creator's organisation.
    pub org: OrgId,
    /// What it is about.
    pub topic: String,
    /// The application's own words.
    pub metadata: Map<String, Value>,
    /// Who created it.
    pub by: PrincipalId,
    /// When.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Time to answer an invitation, in ms.
    pub invitation_ms: u64,
    /// Where it stands.
    pub state: State,
    /// Set while it is escalated: where it goes on, and since when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it may grow to.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The end of the thread of its records.
    pub thread: Thread,
    /// Hash of its last record.
    pub hash: Digest,
    /// Offset of its `session.ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Offset>,
    /// Commitments that were accepted.
    pub accepted: u64,
    /// All who ever took part or were asked to.
    pub participants: BTreeMap<AgentId, Participant>,
    /// Offers that are not answered, by their message.
    pub offers: BTreeMap<MessageId, Offer>,
    /// Messages with constraints that are not answered.
    pub asked: BTreeMap<MessageId, Asked>,
    /// Tasks that were given and not answered so far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<MessageId, Task>,
    /// Tasks that were given, whatever became of them, by who gave them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<AgentId, Given>,
    /// The youngest message id that was taken: none above it was, which spares most messages the
    /// search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub youngest: Option<MessageId>,
}

/// See [`Session::paused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// The state before.
    pub state: State,
    /// When it was escalated.
    pub at: Timestamp,
}

/// One who takes part, took part, or was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// The agent's organisation.
    pub org: OrgId,
    /// As what.
    pub role: Role,
    /// Whether in.
    pub standing: Standing,
    /// Number of the record with which it went, where it refused, let its invitation lapse, or
    /// left: it reads no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// Messages sent in this session.
    pub sequence: u64,
    /// The last [`HELD_IDS`] messages sent, oldest first.
    #[serde(with = "super::fold::held")]
    pub held: VecDeque<Taken>,
    /// The youngest id of those that are no longer held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_go: Option<MessageId>,
}

/// Whether somebody is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// To be invited.
    Pending,
    /// Invited, with this much time to answer.
    Invited {
        /// The invitation lapses then.
        until: Timestamp,
    },
    /// In.
    In,
    /// Refused the invitation.
    Refused,
    /// Did not answer it in time.
    Lapsed,
    /// Was in, and left.
    Left,
}

/// A message that was taken, and what its sender was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The sender's id for it.
    pub id: MessageId,
    /// What it was.
    pub digest: Digest,
    /// Hash of its record.
    pub hash: Digest,
    /// Number of its record in the session.
    pub sequence: u64,
    /// Number among its sender's messages.
    pub sender_sequence: u64,
    /// State of the session after it.
    pub state: State,
    /// When.
    pub at: Timestamp,
}

/// An offer that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Who made it.
    pub sender: AgentId,
    /// Who alone may answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<AgentId>,
    /// Whether it binds once accepted.
    pub is_commitment: bool,
    /// The commitment that it offers, where it describes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<CommitmentId>,
}

/// A message with constraints that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Who sent it.
    pub sender: AgentId,
    /// Who alone can answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<AgentId>,
    /// What an answer must keep to.
    pub constraints: Constraints,
    /// When an answer is overdue; none where that has been recorded, or no time was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// Something that becomes due when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// An invitation lapses.
    Invitation(AgentId),
    /// An answer is overdue.
    Response(MessageId),
    /// The session expires.
    Expiry,
}

/// Time that many milliseconds later.
fn later(at: Timestamp, ms: u64) -> Timestamp {
    at.saturating_add_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

impl Participant {
    fn new(invitee: &Invitee, standing: Standing) -> Self {
        Self {
            org: invitee.org,
            role: invitee.role,
            standing,
            gone: None,
            sequence: 0,
            held: VecDeque::new(),
            let_go: None,
        }
    }

    /// As whom it may speak, if at all.
    #[must_use]
    pub fn voice(&self) -> Option<Voice> {
        match self.standing {
            Standing::In => Some(self.role.into()),
            Standing::Invited { .. } => Some(Voice::Invited),
            _ => None,
        }
    }

    /// Whether it is in, or may still come in.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(
            self.standing,
            Standing::Pending | Standing::Invited { .. } | Standing::In
        )
    }

    fn hold(&mut self, taken: Taken) {
        self.sequence = taken.sender_sequence;
        if self.held.len() == HELD_IDS {
            let gone = self.held.pop_front().map(|taken| taken.id);
            self.let_go = self.let_go.max(gone);
        }
        self.held.push_back(taken);
    }
}

impl Session {
    pub(super) fn begin(created: &Created) -> Result<Self, &'static str> {
        let mut participants = BTreeMap::new();
        for invitee in &created.participants {
            let is_in = invitee.org == created.org;
            let standing = if is_in {
                Standing::In
            } else {
                Standing::Pending
            };
            let participant = Participant::new(invitee, standing);
            if participants.insert(invitee.agent, participant).is_some() {
                return Err("an agent takes part twice");
            }
        }
        if participants.len() < 2 {
            return Err("it takes two");
        }
        let leads = |p: &Participant| p.voice() == Some(Voice::Coordinator);
        if !participants.values().any(leads) {
            return Err("no coordinator is of the organisation that creates it");
        }
        let all_in = participants.values().all(|p| p.standing == Standing::In);
        Ok(Self {
            session: created.session,
            org: created.org,
            topic: created.topic.clone(),
            metadata: created.metadata.clone(),
            by: created.by,
            created_at: created.at,
            expires_at: later(created.at, created.ttl_ms),
            invitation_ms: created.invitation_ms,
            state: if all_in {
                State::Conversing
            } else {
                State::Idle
            },
            paused: None,
            ended_at: None,
            limits: created.limits,
            thread: Thread::default(),
            hash: Digest::ZERO,
            ended: None,
            accepted: 0,
            participants,
            offers: BTreeMap::new(),
            asked: BTreeMap::new(),
            tasks: BTreeMap::new(),
            given: BTreeMap::new(),
            youngest: None,
        })
    }

    /// Records so far, which is the number of the next one.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.thread.len()
    }

    /// Messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.participants.values().map(|p| p.sequence).sum()
    }

    /// Its last record. A session has one from its creation on.
    #[must_use]
    pub fn head(&self) -> Knot {
        let first = Knot {
            number: 0,
            offset: Offset(0),
        };
        self.thread.last().unwrap_or(first)
    }

    /// Whether agents of other organisations take part, took part, or were asked to.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.participants.values().any(|one| one.org != self.org)
    }

    /// What becomes due next, and when. While the session is escalated only its own time runs.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, Deadline)> {
        if self.state.is_terminal() {
            return None;
        }
        let expiry = (self.expires_at, Deadline::Expiry);
        if self.state == State::Escalated {
            return Some(expiry);
        }
        let invitations = self
            .participants
            .iter()
            .filter_map(|(agent, p)| match p.standing {
                Standing::Invited { until } => Some((until, Deadline::Invitation(*agent))),
                _ => None,
            });
        let answers = self
            .asked
            .iter()
            .filter_map(|(id, asked)| Some((asked.due?, Deadline::Response(*id))));
        invitations.chain(answers).chain([expiry]).min()
    }

    /// The message of that id, when it is held.
    #[must_use]
    pub fn taken(&self, id: MessageId) -> Option<&Taken> {
        if Some(id) > self.youngest {
            return None;
        }
        let mut held = self.participants.values().flat_map(|p| &p.held);
        held.find(|taken| taken.id == id)
    }

    /// The offer that a message answers or takes back; none where it does neither, and where who
    /// is invited answers its invitation.
    #[must_use]
    pub fn answered_offer(&self, message: &Message) -> Option<&Offer> {
        let sender = self.participants.get(&message.sender)?;
        let answers = message.performative.answers_an_offer();
        if !answers || sender.voice() == Some(Voice::Invited) {
            return None;
        }
        self.offers.get(&message.in_reply_to?)
    }

    /// What a message does to the state, or why it cannot follow.
    pub(super) fn judge(&self, sent: &MessageSent) -> Result<Next, SendError> {
        let message = &sent.message;
        let unknown = |agent| SendError::NotParticipant {
            session: self.session,
            agent,
        };
        let sender = self
            .participants
            .get(&message.sender)
            .ok_or(unknown(message.sender))?;
        if self.taken(message.id).is_some() {
            return Err(SendError::MessageIdTaken { id: message.id });
        }
        if let Some(let_go) = sender.let_go.filter(|let_go| message.id <= *let_go) {
            return Err(SendError::MessageIdTooOld {
                id: message.id,
                let_go,
            });
        }
        // Its sender may have sent so much since that it is not held; it still stands for its offer.
        if self.offers.contains_key(&message.id) || self.asked.contains_key(&message.id) {
            return Err(SendError::MessageIdTaken { id: message.id });
        }
        let said = message.performative;
        if self.state.is_terminal() {
            return Err(SendError::Illegal {
                state: self.state,
                said,
                voice: None,
                allowed: Vec::new(),
            });
        }
        let voice = sender.voice().ok_or(unknown(message.sender))?;
        let next = next(self.state, said, voice).ok_or_else(|| SendError::Illegal {
            state: self.state,
            said,
            voice: Some(voice),
            allowed: allowed(self.state, voice).collect(),
        })?;
        if let Some(recipient) = message.recipient {
            let known = self.participants.get(&recipient);
            if recipient == message.sender || !known.is_some_and(Participant::is_expected) {
                return Err(unknown(recipient));
            }
        }
        if sent.commitment.is_some() && said != Performative::Commit {
            return Err(SendError::OffersNone);
        }
        self.judge_answer(sent, voice)?;
        self.judge_delegate(sent, voice)?;
        Ok(next)
    }

    fn judge_answer(&self, sent: &MessageSent, voice: Voice) -> Result<(), SendError> {
        let message = &sent.message;
        let said = message.performative;
        if said.answers_an_offer() && voice != Voice::Invited {
            let offer = message.in_reply_to.and_then(|id| self.offers.get(&id));
            let is_open = offer.is_some_and(|offer| match said {
                Performative::Withdraw => offer.sender == message.sender,
                _ => {
                    offer.sender != message.sender
                        && offer.recipient.is_none_or(|only| only == message.sender)
                }
            });
            if !is_open {
                return Err(SendError::OfferNotOpen {
                    said,
                    offer: message.in_reply_to,
                });
            }
        }
        let asked = message.in_reply_to.and_then(|id| self.asked.get(&id));
        let Some(asked) = asked.filter(|asked| asked.sender != message.sender) else {
            return Ok(());
        };
        let allowed = &asked.constraints.allowed_performatives;
        if !allowed.is_empty() && !allowed.contains(&said) {
            return Err(SendError::PerformativeConstrained {
                said,
                allowed: allowed.clone(),
            });
        }
        Ok(())
    }

    fn judge_delegate(&self, sent: &MessageSent, voice: Voice) -> Result<(), SendError> {
        let is_delegate = sent.message.performative == Performative::Delegate;
        let Some(brings) = sent.brings.filter(|_| is_delegate) else {
            return if is_delegate || sent.brings.is_some() {
                Err(SendError::DelegateBringsOne)
            } else {
                Ok(())
            };
        };
        let known = self.participants.get(&brings.agent);
        if known.is_some_and(Participant::is_expected) {
            return Err(SendError::AlreadyParticipant {
                agent: brings.agent,
            });
        }
        if brings.role == Role::Coordinator && voice != Voice::Coordinator {
            return Err(SendError::RoleAboveOwn { role: brings.role });
        }
        Ok(())
    }

    /// Takes a message that [`Session::judge`] let through.
    ///
    /// - `hash`: of its record.
    pub(super) fn take(&mut self, sent: &MessageSent, next: Next, hash: Digest) {
        let message = &sent.message;
        let is_inviting = matches!(self.state, State::Idle | State::Invited)
            && message.performative == Performative::Propose;
        let invited_until = later(sent.at, self.invitation_ms);
        let number = self.sequence();
        if let Some(sender) = self.participants.get_mut(&message.sender) {
            // Who is invited answers the invitation, and no offer.
            match (sender.voice(), message.performative) {
                (Some(Voice::Invited), Performative::Accept) => sender.standing = Standing::In,
                (Some(Voice::Invited), Performative::Reject) => {
                    sender.standing = Standing::Refused;
                    sender.gone = Some(number);
                }
                (Some(Voice::Invited), _) => {}
                _ => self.answer(sent),
            }
        }
        self.stop_clock(sent);
        if is_inviting {
            for participant in self.participants.values_mut() {
                if matches!(
                    participant.standing,
                    Standing::Pending | Standing::Invited { .. }
                ) {
                    participant.standing = Standing::Invited {
                        until: invited_until,
                    };
                }
            }
        } else if matches!(
            message.performative,
            Performative::Propose | Performative::Counter | Performative::Commit
        ) {
            let offer = Offer {
                sender: message.sender,
                recipient: message.recipient,
                is_commitment: message.performative == Performative::Commit,
                commitment: sent.commitment,
            };
            self.offers.insert(message.id, offer);
        }
        if !message.constraints.is_empty() {
            let max = message.constraints.max_response_time_ms;
            // While it is paused, from where the time begins that `resume` gives back.
            let from = self.paused.map_or(sent.at, |paused| paused.at);
            let asked = Asked {
                sender: message.sender,
                recipient: message.recipient,
                constraints: message.constraints.clone(),
                due: max.map(|ms| later(from, ms)),
            };
            self.asked.insert(message.id, asked);
        }
        if let Some(brings) = &sent.brings {
            let standing = if brings.org == self.org {
                Standing::In
            } else {
                Standing::Invited {
                    until: invited_until,
                }
            };
            // Who comes back keeps its numbers, so that none of its messages is taken twice.
            let participant = self
                .participants
                .entry(brings.agent)
                .or_insert_with(|| Participant::new(brings, standing));
            (participant.role, participant.standing) = (brings.role, standing);
            participant.gone = None;
        }
        if next == Next::To(State::Escalated) {
            self.paused = Some(Paused {
                state: self.state,
                at: sent.at,
            });
        }
        self.take_task(sent);
        self.settle(next, sent.at);
        self.youngest = self.youngest.max(Some(message.id));
        let taken = Taken {
            id: message.id,
            digest: sent.digest,
            hash,
            sequence: self.sequence(),
            sender_sequence: sent.sender_sequence,
            state: self.state,
            at: sent.at,
        };
        if let Some(sender) = self.participants.get_mut(&message.sender) {
            sender.hold(taken);
        }
    }

    /// The offer that a message answers is answered.
    fn answer(&mut self, sent: &MessageSent) {
        let message = &sent.message;
        if message.performative.answers_an_offer()
            && let Some(answered) = message.in_reply_to
        {
            let offer = self.offers.remove(&answered);
            let binds = offer.is_some_and(|offer| offer.is_commitment);
            self.accepted += u64::from(binds && message.performative == Performative::Accept);
        }
    }

    /// What was asked is answered, or taken back.
    fn stop_clock(&mut self, sent: &MessageSent) {
        let message = &sent.message;
        let Some(answered) = message.in_reply_to else {
            return;
        };
        let ends = self.asked.get(&answered).is_some_and(|asked| {
            // Its own sender only takes it back.
            let is_withdrawn = message.performative == Performative::Withdraw;
            let is_asked = asked.recipient.is_none_or(|only| only == message.sender);
            (asked.sender == message.sender && is_withdrawn)
                || (asked.sender != message.sender && is_asked)
        });
        if ends {
            self.asked.remove(&answered);
        }
    }

    /// Goes to the next state.
    pub(super) fn settle(&mut self, next: Next, at: Timestamp) {
        let count =
            |is: fn(&Participant) -> bool| self.participants.values().filter(|p| is(p)).count();
        self.state = match next {
            Next::Stays => self.state,
            Next::To(state) => state,
            Next::Invitation if count(|p| p.standing == Standing::In) >= 2 => State::Introduced,
            Next::Invitation if count(|p| matches!(p.standing, Standing::Invited { .. })) > 0 => {
                State::Invited
            }
            Next::Invitation => State::Failed,
            Next::Agreement if self.accepted > 0 => State::Executing,
            Next::Agreement if self.offers.values().any(|offer| offer.is_commitment) => {
                State::Agreeing
            }
            Next::Agreement => State::Conversing,
        };
        if self.state.is_terminal() {
            self.ended_at = Some(at);
            self.paused = None;
            self.offers.clear();
            self.asked.clear();
            self.tasks.clear();
        }
    }

    /// Whether an agent may leave.
    pub(super) fn judge_leave(&self, agent: AgentId) -> Result<(), SendError> {
        if self.state.is_terminal() {
            return Err(SendError::Ended {
                session: self.session,
                state: self.state,
            });
        }
        let is_in = |p: &Participant| p.standing == Standing::In;
        let leaver = self.participants.get(&agent).filter(|p| is_in(p));
        let leaver = leaver.ok_or(SendError::NotParticipant {
            session: self.session,
            agent,
        })?;
        let leads = |p: &&Participant| p.voice() == Some(Voice::Coordinator);
        let coordinators = self.participants.values().filter(leads).count();
        if leads(&leaver) && coordinators == 1 {
            return Err(SendError::LastCoordinator { agent });
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, agent: AgentId, at: Timestamp) -> Result<(), &'static str> {
        self.judge_leave(agent).map_err(|refused| refused.rule())?;
        let number = self.sequence();
        if let Some(leaver) = self.participants.get_mut(&agent) {
            leaver.standing = Standing::Left;
            leaver.gone = Some(number);
        }
        self.offers.retain(|_, offer| offer.sender != agent);
        if self.state == State::Agreeing {
            self.settle(Next::Agreement, at);
        }
        Ok(())
    }

    pub(super) fn lapse(&mut self, agent: AgentId, at: Timestamp) -> Result<(), &'static str> {
        let number = self.sequence();
        let invited = self.participants.get_mut(&agent);
        let invited = invited.filter(|one| matches!(one.standing, Standing::Invited { .. }));
        let invited = invited.ok_or("the agent has no open invitation")?;
        invited.standing = Standing::Lapsed;
        invited.gone = Some(number);
        if self.state == State::Invited {
            self.settle(Next::Invitation, at);
        }
        Ok(())
    }

    pub(super) fn overdue(&mut self, message: MessageId) -> Result<(), &'static str> {
        let asked = self
            .asked
            .get_mut(&message)
            .ok_or("nothing is asked there")?;
        asked.due.take().ok_or("it has no time to answer")?;
        self.tasks.remove(&message);
        Ok(())
    }

    /// Whether it waits for a human.
    pub(super) fn judge_resume(&self) -> Result<(), SendError> {
        let paused = self.paused.map(|_| ());
        paused.ok_or(SendError::NotEscalated {
            session: self.session,
            state: self.state,
        })
    }

    /// Goes on after an escalation. What stood still gets the time back that it waited.
    pub(super) fn resume(&mut self, at: Timestamp) -> Result<(), &'static str> {
        let paused = self.paused.take().ok_or("the session is not escalated")?;
        let waited = u64::try_from(at.0.saturating_sub(paused.at.0)).unwrap_or(0);
        for participant in self.participants.values_mut() {
            if let Standing::Invited { until } = &mut participant.standing {
                *until = later(*until, waited);
            }
        }
        for due in self
            .asked
            .values_mut()
            .filter_map(|asked| asked.due.as_mut())
        {
            *due = later(*due, waited);
        }
        self.state = paused.state;
        if self.state == State::Agreeing {
            // Whoever had offered may have left meanwhile.
            self.settle(Next::Agreement, at);
        }
        Ok(())
    }

    /// What is to be known of it once it has ended.
    ///
    /// - `all`: links of the thread of all sessions that ended.
    /// - `of`: links of the thread of those of an agent.
    pub(super) fn epitaph(&self, all: Links, of: impl Fn(AgentId) -> Links) -> Option<Ended> {
        let participants = self.participants.iter().map(|(agent, p)| EndedParticipant {
            agent: *agent,
            org: p.org,
            role: p.role,
            standing: p.standing.into(),
            messages: p.sequence,
            links: of(*agent),
        });
        Some(Ended {
            session: self.session,
            org: self.org,
            topic: self.topic.clone(),
            metadata: self.metadata.clone(),
            limits: self.limits,
            by: self.by,
            created_at: self.created_at,
            expires_at: self.expires_at,
            state: self.state,
            accepted: self.accepted,
            participants: participants.collect(),
            all,
            at: self.ended_at?,
        })
    }

    /// Takes down that its end is recorded.
    pub(super) fn end(&mut self, ended: &Ended, offset: Offset) -> Result<(), &'static str> {
        if !self.state.is_terminal() {
            return Err("the session has not ended");
        }
        if self.ended.is_some() {
            return Err("its end is recorded already");
        }
        // The threads are those of all sessions, and judged with them.
        let links = |agent| {
            let mut all = ended.participants.iter();
            let one = all.find(|one| one.agent == agent);
            one.map_or_else(Links::default, |one| one.links)
        };
        if self.epitaph(ended.all, links).as_ref() != Some(ended) {
            return Err("it is not what is to be known of the session");
        }
        self.ended = Some(offset);
        Ok(())
    }
}
