//! One session: what a message may do in it, and what becomes of it.

mod judging;
mod taking;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Constraints, Created, Ended, EndedParticipant, Invitee, Limits, Message};
use super::table::{Role, State, Voice};
use super::tasks::{Given, Task};
use crate::asp::chain::Digest;
use crate::asp::{Knot, Links, Thread};
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
