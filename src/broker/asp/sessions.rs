//! Sessions: creating them, what is said in them, leaving and going on.

use std::borrow::Cow;

use super::evidence::{UnknownTrust, of_task};
use super::record::Entry;
use super::resolve::{Found, Named};
use super::upkeep::Timed;
use super::{AspError, OrgAsp};
use crate::access::{Ask, Operation, Principal};
use crate::asp::Canonical;
use crate::asp::chain::{Digest, payload_digest};
use crate::asp::registry::{AgentEvent, AgentRef, PublicKey};
use crate::asp::session::{
    Constraints, Created, Invitee, Limits, Message, Performative, Role, Send, SendError, Sent,
    Session, SessionEvent, Sessions, Standing, State, Voice, check_id_time,
};
use crate::asp::trust::TrustFor;
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::region::RegionNumber;
use crate::storage::Need;
use crate::types::{
    AgentId, AgentName, CommitmentId, MessageId, Offset, OrgId, OrgName, SessionId, Timestamp,
};

/// A session to be created.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What it is about.
    pub topic: String,
    /// Who takes part. A name of one's own organisation that nobody has used becomes an agent.
    pub participants: Vec<(AgentRef, Role)>,
    /// Time until it expires, in ms.
    pub ttl_ms: u64,
    /// Time to answer an invitation, in ms.
    pub invitation_ms: u64,
    /// What it may hold.
    pub limits: Limits,
    /// The application's own words.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Who speaks in a session and to whom, as the broker knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// Who speaks.
    pub sender: AgentId,
    /// Its public key, which its signature is judged by.
    pub key: Option<PublicKey>,
    /// Who should act.
    pub recipient: Option<AgentId>,
}

/// Whom a DELEGATE brings in, as it names it.
#[derive(Clone, Debug)]
pub struct Invited {
    /// Who.
    pub agent: AgentRef,
    /// As what.
    pub role: Role,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    /// Number in the session.
    pub sequence: u64,
    /// Number among its sender's.
    pub sender_sequence: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// What its sender supplied.
    pub digest: Digest,
    /// The session's chain up to it.
    pub hash: Digest,
    /// Where the session stood after it.
    pub state: State,
    /// It had been taken before, and nothing was recorded.
    pub is_duplicate: bool,
    /// The commitment that it offers or answers, as long as that is held.
    pub commitment: Option<CommitmentId>,
}

/// A session as answers show it.
#[derive(Clone, Debug)]
pub struct SessionSeen {
    /// The organisation whose topic it lies in.
    pub org: OrgName,
    /// The session.
    pub session: Session,
    /// All who ever took part or were asked to, in the order of [`Session::participants`].
    pub participants: Vec<Named>,
}

impl Broker {
    /// An id for a session that lives here: its last 16 bits are the number of the region, so that
    /// others know whom to ask.
    fn new_session_id(&mut self, now: Timestamp) -> SessionId {
        let id = self.new_uuid(now);
        SessionId(match &self.config.region {
            None => id,
            Some(region) => id & !u128::from(u16::MAX) | u128::from(RegionNumber::of(region).0),
        })
    }

    /// Creates a session. Agents of the caller's organisation are in at once; those of others are
    /// invited by a PROPOSE of the coordinator in the same entry, unless the coordinator has
    /// enrolled a key: then it has to invite them itself.
    ///
    /// # Errors
    /// [`Refusal`]: an agent that is not there, no coordinator that the caller's key speaks for,
    /// a limit that is broken, or an entry that was not taken.
    pub fn create_session(
        &mut self,
        by: &Principal,
        new: NewSession,
        now: Timestamp,
    ) -> Result<Accepted<SessionSeen>, Refusal> {
        self.authorize_asp(by, now)?;
        self.make_asp(by.org, now)?;
        let mut entry = Entry::default();
        let mut participants = Vec::with_capacity(new.participants.len());
        let mut coordinator = None;
        for (agent, role) in &new.participants {
            let invitee = self.invitee(by, agent, *role, &mut entry, now)?;
            if *role == Role::Coordinator && coordinator.is_none() && invitee.org == by.org {
                let name = self.name_or_new(&invitee, &entry);
                if self.check_speaks(by, &name, now).is_ok() {
                    coordinator = Some(invitee.agent);
                }
            }
            participants.push(invitee);
        }
        let rule = "a coordinator of one's own organisation that the key speaks for must take part";
        let coordinator = coordinator.ok_or(AspError::Session { rule })?;
        let session = self.new_session_id(now);
        let has_guests = participants.iter().any(|one| one.org != by.org);
        let invites = has_guests && self.key_of(by.org, coordinator).is_none();
        let invitation = invites.then(|| MessageId(self.new_uuid(now)));
        let invitation = invitation.map(|id| invitation_of(session, id, coordinator, &new.topic));
        let invitation = invitation
            .map(|(message, payload)| Send::new(message, Some(payload), by.id))
            .transpose()
            .map_err(AspError::from)?;
        let created = Created {
            session,
            org: by.org,
            topic: new.topic,
            participants,
            ttl_ms: new.ttl_ms,
            invitation_ms: new.invitation_ms,
            limits: new.limits,
            metadata: new.metadata,
            by: by.id,
            at: now,
        };
        let place = (session, by.org);
        entry.market = self.uses_of(by, place, None, &created.participants, now);
        self.settle_due(by.org, Timed::Sessions, now)?;
        let log = self.made_asp(by.org)?.sessions.log;
        let offset = self.next_offset(log);
        let sessions = self.made_asp(by.org)?.sessions.known()?;
        let linked = sessions.link_created(created, invitation, offset);
        entry.sessions = linked.map_err(AspError::from)?;
        let wait = self.record_asp(by.org, &entry, Need::Producer, now)?;
        let value = self.seen_held(by.org, session)?;
        Ok(Accepted { value, wait })
    }

    /// Who speaks in a session and to whom: what a message is made of before its digest and its
    /// signature are judged, without the broker's lock.
    ///
    /// # Errors
    /// [`BrokerError`]: a session or an agent that is not there, or a key that does not speak for
    /// the sender.
    pub fn address(
        &self,
        by: &Principal,
        session: SessionId,
        from: &AgentRef,
        to: Option<&AgentRef>,
        now: Timestamp,
    ) -> Result<Addressed, BrokerError> {
        let org = self.org_of_session(by, session, now)?;
        let sender = self.own_agent(by, from, now)?;
        let recipient = match to {
            Some(agent) => Some(self.recipient(by, org, session, agent, now)?),
            None => None,
        };
        Ok(Addressed {
            sender,
            key: self.key_of(by.org, sender),
            recipient,
        })
    }

    /// Takes a message.
    ///
    /// - `brings`: whom a DELEGATE brings in.
    /// - `looked`: the latest record that files commitments in which the id was looked for that a
    ///   COMMIT gives to what it offers.
    ///
    /// # Errors
    /// [`AspError::LookFirst`] where such an id is to be looked for first. Else
    /// [`Refusal`]: an agent or session that is not there, a key that does not speak for the
    /// sender, a signature that fits its key no more, what the session does not allow, or an entry
    /// that was not taken.
    pub fn send_message(
        &mut self,
        by: &Principal,
        send: &Send,
        brings: Option<&Invited>,
        looked: Option<Offset>,
        now: Timestamp,
    ) -> Result<Accepted<SentMessage>, Refusal> {
        let (session, sender) = (send.message().session, send.message().sender);
        let org = self.org_of_session(by, session, now)?;
        self.own_agent(by, &AgentRef::Id(sender), now)?;
        if send.key() != self.key_of(by.org, sender) {
            let agent = self.named(by.org, sender).name;
            return Err(AspError::KeyChanged { agent }.into());
        }
        self.settle_due(org, Timed::Sessions, now)?;
        let mut entry = Entry::default();
        let mut send = Cow::Borrowed(send);
        // What was taken before is answered as then, whoever may see whom now.
        let held = self.made_asp(org)?.sessions.known()?.session(session);
        let is_taken = held.is_some_and(|held| held.taken(send.message().id).is_some());
        if !is_taken {
            check_id_time(send.message().id, now).map_err(AspError::from)?;
        }
        if let Some(invited) = brings.filter(|_| !is_taken) {
            let invitee = self.brought(by, org, invited, &mut entry, now)?;
            send = Cow::Owned(send.into_owned().bringing(invitee));
        }
        if !is_taken && (send.offered().is_some() || send.message().in_reply_to.is_some()) {
            self.settle_due(org, Timed::Promises, now)?;
        }
        let digest = send.digest();
        let of_org = self.made_asp(org)?;
        let log = of_org.sessions.log;
        let sessions = of_org.sessions.shared()?;
        let wait = self.wait_for(log);
        // Not held while the record is applied, which would copy all of it.
        let checked = {
            let (trust, nobody) = (self.trust_state(), UnknownTrust::default());
            let known = trust.as_ref().map(|state| TrustFor { state, asker: org });
            let checked = match &known {
                Ok(known) => sessions.check_send(&send, known, now),
                Err(_) => sessions.check_send(&send, &nobody, now),
            };
            if nobody.was_asked() {
                trust?;
            }
            checked
        };
        let event = match checked {
            Ok(Sent::New(event)) => event,
            Ok(Sent::Before(taken)) => {
                let value = SentMessage {
                    sequence: taken.sequence,
                    sender_sequence: taken.sender_sequence,
                    at: taken.at,
                    digest,
                    hash: taken.hash,
                    state: taken.state,
                    is_duplicate: true,
                    commitment: self.commitment_of(org, &send),
                };
                return Ok(Accepted { value, wait });
            }
            Err(error) => {
                let error = BrokerError::from(AspError::from(error));
                return Err(Refusal::revealing(error, Some(wait)));
            }
        };
        if let SessionEvent::MessageSent(sent) = &event {
            let held = sessions.session(session);
            let coming = sent.brings.as_slice();
            entry.market = self.uses_of(by, (session, org), held, coming, now);
            let settled = held.and_then(|held| held.task_answered(sent));
            let is_signed = sent.signature.is_some();
            let of_task = |settled| of_task(session, &settled, is_signed, now);
            entry.evidence.extend(settled.map(of_task));
            let offset = self.next_offset(log);
            let place = (looked, offset);
            self.agree(by, org, (&send, sent), place, &mut entry, now)?;
        }
        let records = linked(sessions.link(event, self.next_offset(log)))?;
        drop(sessions);
        self.lapse_offers(org, &records, &mut entry, now)?;
        entry.sessions = records;
        self.link_moves(org, &mut entry)?;
        let wait = self.record_asp(org, &entry, Need::Producer, now)?;
        let held = self.made_asp(org)?.sessions.known()?.session(session);
        let taken = held.and_then(|held| Some((held.state, held.participants.get(&sender)?)));
        let place = entry.sessions.first().and_then(|first| first.place);
        let (Some((state, own)), Some(place)) = (taken, place) else {
            return Err(BrokerError::Bug("a message that was just taken is gone".into()).into());
        };
        let value = SentMessage {
            sequence: place.links.number(),
            sender_sequence: own.sequence,
            at: now,
            digest,
            hash: place.hash,
            state,
            is_duplicate: false,
            commitment: self.commitment_of(org, &send),
        };
        if state.is_terminal() {
            self.file_ended(org, now);
        }
        Ok(Accepted { value, wait })
    }

    /// Takes an agent out of a session.
    ///
    /// # Errors
    /// [`Refusal`]: an agent or session that is not there, a key that does not speak for the
    /// agent, a last coordinator, or an entry that was not taken.
    pub fn leave_session(
        &mut self,
        by: &Principal,
        session: SessionId,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<SessionSeen>, Refusal> {
        let org = self.org_of_session(by, session, now)?;
        let agent = self.own_agent(by, agent, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        let mut entry = Entry::default();
        self.withdraw_offers(by, org, (session, agent), &mut entry, now)?;
        self.change_session(org, session, entry, now, |sessions| {
            sessions.check_leave(session, agent, by.id, now)
        })
    }

    /// Lets an escalated session go on, for a human who speaks for a coordinator that is in or
    /// administers its organisation.
    ///
    /// # Errors
    /// [`Refusal`]: a session that is not there or not escalated, a key that may not, or an entry
    /// that was not taken.
    pub fn resume_session(
        &mut self,
        by: &Principal,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Accepted<SessionSeen>, Refusal> {
        let org = self.org_of_session(by, session, now)?;
        let held = self.made_asp(org)?.sessions.known()?.session(session);
        let leads: Vec<AgentId> = held
            .into_iter()
            .flat_map(|held| &held.participants)
            .filter(|(_, one)| one.voice() == Some(Voice::Coordinator) && one.org == by.org)
            .map(|(agent, _)| *agent)
            .collect();
        if !leads.iter().any(|agent| self.speaks_for(by, *agent, now)) {
            let operation = Operation::AccessAdmin;
            let judged = self.access.authorize(by, &Ask::Org { operation, org }, now);
            judged.map_err(|denied| BrokerError::Access(denied.into()))?;
        }
        self.change_session(org, session, Entry::default(), now, |sessions| {
            sessions.check_resume(session, by.id, now)
        })
    }

    /// A session that is held and that the caller may see.
    ///
    /// # Errors
    /// [`Refusal`] with [`AspError::SessionNotFound`] where it is not held: it may be filed.
    pub fn see_session(
        &self,
        by: &Principal,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Accepted<SessionSeen>, Refusal> {
        let org = self.org_of_session(by, session, now)?;
        let value = self.seen_held(org, session)?;
        let wait = self.sessions_wait(org);
        Ok(Accepted { value, wait })
    }

    fn change_session(
        &mut self,
        org: OrgId,
        session: SessionId,
        mut entry: Entry,
        now: Timestamp,
        check: impl FnOnce(&Sessions) -> Result<SessionEvent, SendError>,
    ) -> Result<Accepted<SessionSeen>, Refusal> {
        self.settle_due(org, Timed::Sessions, now)?;
        let log = self.made_asp(org)?.sessions.log;
        let offset = self.next_offset(log);
        let sessions = self.made_asp(org)?.sessions.known()?;
        let event = check(sessions).map_err(AspError::from)?;
        entry.sessions = linked(sessions.link(event, offset))?;
        self.link_moves(org, &mut entry)?;
        let wait = self.record_asp(org, &entry, Need::Producer, now)?;
        let value = self.seen_held(org, session)?;
        Ok(Accepted { value, wait })
    }

    /// Whether somebody's key speaks for agents at all.
    pub(super) fn authorize_asp(&self, by: &Principal, now: Timestamp) -> Result<(), BrokerError> {
        let ask = Ask::Org {
            operation: Operation::Asp,
            org: by.org,
        };
        let judged = self.access.authorize(by, &ask, now);
        judged.map_err(|denied| BrokerError::Access(denied.into()))
    }

    /// The organisation whose topic a held session lies in, for who may see the session: who
    /// speaks for one that takes part.
    pub(super) fn org_of_session(
        &self,
        by: &Principal,
        session: SessionId,
        now: Timestamp,
    ) -> Result<OrgId, BrokerError> {
        // Who may see it is not known without the agents of the caller's organisation.
        self.agents_of(by.org)?;
        let own = match self.asp_of(by.org) {
            Some(of_org) => of_org.sessions.known()?.session(session),
            None => None,
        };
        let (org, held) = match own {
            Some(held) => (by.org, Some(held)),
            None => {
                let org = self.asp.shared.get(&session).copied().unwrap_or(by.org);
                let of_org = self.asp_of(org);
                (
                    org,
                    of_org.and_then(|of| of.sessions.state.session(session)),
                )
            }
        };
        let is_seen = held.is_some_and(|held| self.may_see(by, held, now));
        if is_seen {
            return Ok(org);
        }
        Err(AspError::SessionNotFound(session).into())
    }

    pub(super) fn may_see(&self, by: &Principal, session: &Session, now: Timestamp) -> bool {
        session.participants.iter().any(|(agent, one)| {
            one.org == by.org
                && one.standing != Standing::Pending
                && self.speaks_for(by, *agent, now)
        })
    }

    /// Whether somebody speaks for one who is in a session, or is invited to it.
    pub(super) fn is_in(&self, by: &Principal, session: &Session, now: Timestamp) -> bool {
        session.participants.iter().any(|(agent, one)| {
            one.org == by.org
                && one.standing != Standing::Pending
                && one.is_expected()
                && self.speaks_for(by, *agent, now)
        })
    }

    pub(super) fn seen_held(
        &self,
        org: OrgId,
        session: SessionId,
    ) -> Result<SessionSeen, BrokerError> {
        let held = self.asp_of(org);
        let held = held.and_then(|of| of.sessions.state.session(session));
        let held =
            held.ok_or_else(|| BrokerError::Bug("a session that was found is gone".into()))?;
        Ok(self.session_seen(org, held))
    }

    pub(super) fn session_seen(&self, org: OrgId, session: &Session) -> SessionSeen {
        let participants = session.participants.iter();
        SessionSeen {
            org: self.shown_org(org),
            participants: participants
                .map(|(agent, one)| self.named(one.org, *agent))
                .collect(),
            session: session.clone(),
        }
    }

    pub(super) fn sessions_wait(&self, org: OrgId) -> Wait {
        let log = self.asp_of(org).map(|of| of.sessions.log);
        self.wait_for(log.unwrap_or_default())
    }

    /// An agent that is to take part; a name that nobody has used gets its place on the record.
    fn invitee(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        role: Role,
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<Invitee, BrokerError> {
        let (agent, org) = match self.find_agent(by, agent, now)? {
            Found::There { agent, org } => (agent, org),
            Found::Free(name) => {
                let placed = entry.agents.iter().find_map(|event| match event {
                    AgentEvent::Placeheld(placed) if placed.name == name => Some(placed.agent),
                    _ => None,
                });
                let agent = match placed {
                    Some(agent) => agent,
                    None => {
                        self.check_speaks(by, &name, now)?;
                        let agent = AgentId(self.new_uuid(now));
                        let agents = self.made_asp(by.org)?.registry.known()?;
                        let placed = OrgAsp::placeheld(agent, name, by, now);
                        let event = agents.check_use(placed).map_err(AspError::from)?;
                        entry.agents.extend(event);
                        agent
                    }
                };
                (agent, by.org)
            }
        };
        Ok(Invitee { agent, org, role })
    }

    /// Whom a DELEGATE brings in.
    fn brought(
        &mut self,
        by: &Principal,
        session_org: OrgId,
        invited: &Invited,
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<Invitee, BrokerError> {
        let invitee = self.invitee(by, &invited.agent, invited.role, entry, now)?;
        if !entry.agents.is_empty() && by.org != session_org {
            // Two organisations' topics would change in one entry.
            let agent = super::resolve::shown(&invited.agent);
            return Err(AspError::AgentNotFound { agent }.into());
        }
        Ok(invitee)
    }

    fn name_or_new(&self, invitee: &Invitee, entry: &Entry) -> AgentName {
        let placed = entry.agents.iter().find_map(|event| match event {
            AgentEvent::Placeheld(placed) if placed.agent == invitee.agent => Some(&placed.name),
            _ => None,
        });
        placed.map_or_else(
            || self.named(invitee.org, invitee.agent).name,
            AgentName::clone,
        )
    }

    fn key_of(&self, org: OrgId, agent: AgentId) -> Option<PublicKey> {
        let agents = &self.asp_of(org)?.registry.state;
        agents.agent(agent)?.key
    }

    /// Who should act: whoever takes part is seen, whatever grants say.
    pub(super) fn recipient(
        &self,
        by: &Principal,
        org: OrgId,
        session: SessionId,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<AgentId, BrokerError> {
        let found = self.agent_there(by, agent, now);
        if let Ok((_, id)) = found {
            return Ok(id);
        }
        let held = self.asp_of(org);
        let held = held.and_then(|of| of.sessions.state.session(session));
        let mut participants = held.into_iter().flat_map(|held| &held.participants);
        let named = participants.find(|(id, one)| match agent {
            AgentRef::Id(wanted) => wanted == *id,
            AgentRef::Name(_) => false,
            AgentRef::Uri { org, name } => {
                let named = self.named(one.org, **id);
                named.org == *org && named.name == *name
            }
        });
        match named {
            Some((id, _)) => Ok(*id),
            None => Ok(found.map(|(_, id)| id)?),
        }
    }
}

/// The PROPOSE that invites whoever is to come in from outside.
fn invitation_of(
    session: SessionId,
    id: MessageId,
    sender: AgentId,
    topic: &str,
) -> (Message, Canonical) {
    let payload = serde_json::json!({
        "proposalId": id.to_string(),
        "type": "session-invitation",
        "subject": topic,
        "terms": {},
    });
    let payload = Canonical::of(&payload).expect("texts alone have a canonical form");
    let message = Message {
        id,
        session,
        sender,
        recipient: None,
        performative: Performative::Propose,
        message_type: None,
        payload: payload_digest(Some(&payload)),
        in_reply_to: None,
        constraints: Constraints::default(),
    };
    (message, payload)
}

fn linked<T>(linked: Result<T, crate::folding::IllegalEvent>) -> Result<T, BrokerError> {
    linked.map_err(|illegal| BrokerError::Bug(illegal.to_string().into()))
}
