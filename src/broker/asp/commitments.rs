//! Promises: making them, delivering and judging them, and what follows for money and trust.

use std::sync::Arc;

use super::evidence::{of_commitment, of_dispute};
use super::record::Entry;
use super::resolve::Named;
use super::upkeep::Timed;
use super::{AspError, OrgAsp};
use crate::access::Principal;
use crate::asp::commitment::{
    Actor, Checked, Closed, Commitment, CommitmentError, CommitmentRecord, Commitments, Create,
    DEFAULT_CLAIM_MS, Effects, EscrowStep, EscrowTerms, Evidence, Held, Judge, Mode, Obligation,
    Outcome, OutcomeKind, Party, Penalties, Promise, Standing,
};
use crate::asp::registry::AgentRef;
use crate::asp::session::{self, Role, Session};
use crate::asp::tool::Plain;
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::storage::Need;
use crate::types::{AgentId, CommitmentId, Offset, OrgId, OrgName, SessionId, Timestamp};

/// A promise to be made, by one side alone.
#[derive(Clone, Debug)]
pub struct NewCommitment {
    /// Its id; the broker chooses one where none is given.
    pub commitment: Option<CommitmentId>,
    /// The session in which it is made.
    pub session: SessionId,
    /// Who promises.
    pub obligor: AgentRef,
    /// To whom; to the session where nobody is named.
    pub counterparty: Option<AgentRef>,
    /// In words.
    pub description: String,
    /// Until when.
    pub deadline: Timestamp,
    /// What is to be done, one by one.
    pub obligations: Vec<Obligation>,
    /// What it costs not to keep it.
    pub penalties: Option<Penalties>,
    /// Money that stands behind it.
    pub escrow: Option<EscrowTerms>,
    /// How bad it is not to keep it, 1 to 5.
    pub severity: Option<u8>,
    /// The application's own terms.
    pub terms: Option<Plain>,
    /// Time for judging a delivery, in ms.
    pub window_ms: u64,
}

/// A commitment as answers show it.
#[derive(Clone, Debug)]
pub struct CommitmentSeen {
    /// The organisation whose topic it lies on.
    pub org: OrgName,
    /// The commitment.
    pub commitment: Arc<Commitment>,
    /// Who promised.
    pub obligor: Named,
    /// To whom, where somebody is named or has accepted it.
    pub counterparty: Option<Named>,
}

/// What is known of an id beyond memory.
#[derive(Clone, Debug, Default)]
pub enum LookedFor {
    /// It was not looked for.
    #[default]
    Nowhere,
    /// It is in none of the records that file something, up to this one.
    Absent(Offset),
    /// The commitment was closed, and is filed.
    Closed(Arc<Closed>),
}

impl LookedFor {
    /// The latest record that was looked in.
    fn latest(&self) -> Option<Offset> {
        match self {
            Self::Absent(latest) => Some(*latest),
            Self::Nowhere | Self::Closed(_) => None,
        }
    }
}

impl Broker {
    /// Makes a promise of one side: it binds at once. One whose deadline has passed is breached at
    /// once.
    ///
    /// - `looked`: what is known of its id beyond memory.
    ///
    /// # Errors
    /// [`AspError::LookFirst`] where its id is to be looked for. Else
    /// [`Refusal`]: a session or an agent that is not there, a key that does not speak for the
    /// obligor, an agent that takes no part, a session that has ended, money that is not there, a
    /// limit, or an entry that was not taken.
    pub fn create_commitment(
        &mut self,
        by: &Principal,
        new: NewCommitment,
        looked: &LookedFor,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        let org = self.org_of_session(by, new.session, now)?;
        let obligor = self.own_agent(by, &new.obligor, now)?;
        let counterparty = match &new.counterparty {
            Some(agent) => Some(self.recipient(by, org, new.session, agent, now)?),
            None => None,
        };
        self.settle_due(org, Timed::Sessions, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        let id = CommitmentId(self.new_uuid(now));
        let id = new.commitment.unwrap_or(id);
        let held = self
            .asp_of(org)
            .and_then(|of| of.sessions.state.session(new.session));
        let held = held.ok_or(AspError::SessionNotFound(new.session))?;
        let obligor = party_in(held, obligor)?;
        if standing(held, obligor.agent) == Standing::Stranger {
            let (session, agent) = (held.session, obligor.agent);
            let outside = session::SendError::NotParticipant { session, agent };
            return Err(AspError::from(outside).into());
        }
        let counterparty = match counterparty {
            Some(agent) => Some(party_in(held, agent)?),
            None => None,
        };
        let judge = judge(held, obligor.agent);
        let promise = Promise {
            counterparty,
            deadline: new.deadline,
            description: new.description,
            escrow: new.escrow,
            obligations: new.obligations,
            obligor,
            penalties: new.penalties,
            session: new.session,
            severity: new.severity,
            terms: new.terms,
            window_ms: new.window_ms,
        };
        let create = Create {
            commitment: id,
            promise,
            mode: Mode::OneSided,
            judge,
            message: None,
            claim_ms: DEFAULT_CLAIM_MS,
            // It is put there in the same entry, or nothing is recorded.
            escrow_held: new.escrow.map_or(0, |escrow| escrow.amount),
            by: by.id,
        };
        let commitments = self.made_asp(org)?.commitments.known()?;
        if commitments.commitment(id).is_none() {
            if let LookedFor::Closed(closed) = looked {
                let known = &closed.commitment;
                Commitments::check_again(&create, known).map_err(AspError::from)?;
                return Ok(self.seen_closed(org, closed));
            }
            let files: Vec<Offset> = commitments.filed(id).collect();
            if files.first().copied() > looked.latest() {
                let channel = self.asp_channel(org, Commitments::TOPIC);
                return Err(AspError::LookFirst { channel, files }.into());
            }
        }
        let commitments = self.made_asp(org)?.commitments.known()?;
        match commitments
            .check_create(create, now)
            .map_err(AspError::from)?
        {
            Checked::New(record) => {
                self.session_goes_on(org, new.session)?;
                self.is_free_elsewhere(org, id)?;
                let mut entry = Entry::default();
                if let Some(terms) = new.escrow {
                    let parties = (obligor, counterparty);
                    let hold = self.held_for(org, id, terms, parties, by.id, now)?;
                    entry.moves.push(hold);
                }
                self.record_promises(org, vec![record], entry, Need::Producer, now)?;
                // A deadline that has passed is taken as given.
                self.settle_after(org, now);
            }
            Checked::Before(_) => {}
        }
        self.accepted_commitment(org, id)
    }

    /// Refuses what would be new in a session that has ended. What is there goes on: what was
    /// promised binds on, and calls that were begun come to their end.
    pub(super) fn session_goes_on(&self, org: OrgId, session: SessionId) -> Result<(), AspError> {
        let held = self.asp_of(org);
        let state = held.and_then(|of| Some(of.sessions.state.session(session)?.state));
        match state.filter(|state| state.is_terminal()) {
            Some(state) => Err(session::SendError::Ended { session, state }.into()),
            None => Ok(()),
        }
    }

    /// Says that what was promised is delivered.
    ///
    /// # Errors
    /// [`Refusal`]: a commitment that is not there, a key that does not speak for its obligor,
    /// what its state does not allow, or an entry that was not taken.
    pub fn deliver_commitment(
        &mut self,
        by: &Principal,
        commitment: CommitmentId,
        agent: Option<&AgentRef>,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        self.step_commitment(by, commitment, agent, true, now, |commitments, actor| {
            commitments.check_deliver(commitment, actor, evidence, now)
        })
    }

    /// Says that what was delivered is what was promised.
    ///
    /// # Errors
    /// As for [`Broker::deliver_commitment`], for whoever judges it.
    pub fn confirm_commitment(
        &mut self,
        by: &Principal,
        commitment: CommitmentId,
        agent: Option<&AgentRef>,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        self.step_commitment(by, commitment, agent, false, now, |commitments, actor| {
            commitments.check_confirm(commitment, actor, now)
        })
    }

    /// Shortens the time for judging a delivery.
    ///
    /// # Errors
    /// As for [`Broker::confirm_commitment`].
    pub fn shorten_window(
        &mut self,
        by: &Principal,
        commitment: CommitmentId,
        agent: Option<&AgentRef>,
        window_ms: u64,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        self.step_commitment(by, commitment, agent, false, now, |commitments, actor| {
            commitments.check_shorten(commitment, actor, window_ms, now)
        })
    }

    /// A commitment that is held and that the caller may see.
    ///
    /// # Errors
    /// [`Refusal`]: there is no such commitment among those held, or nobody in it is the caller's.
    pub fn see_commitment(
        &self,
        by: &Principal,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        let (org, _) = self.commitment_at(by, commitment, now)?;
        self.accepted_commitment(org, commitment)
    }

    /// Records what happens to a commitment and its disputes, with what follows for money and
    /// trust, in one entry.
    pub(super) fn record_promises(
        &mut self,
        org: OrgId,
        records: Vec<CommitmentRecord>,
        mut entry: Entry,
        need: Need,
        now: Timestamp,
    ) -> Result<Wait, BrokerError> {
        self.follow(org, records, &mut entry, now)?;
        self.link_moves(org, &mut entry)?;
        self.record_asp(org, &entry, need, now)
    }

    /// Movements of money become records, one behind the other.
    pub(super) fn link_moves(&mut self, org: OrgId, entry: &mut Entry) -> Result<(), BrokerError> {
        if entry.moves.is_empty() {
            return Ok(());
        }
        let log = self.made_asp(org)?.escrow.log;
        let offset = self.next_offset(log);
        let ledger = self.made_asp(org)?.escrow.known()?;
        let moves = std::mem::take(&mut entry.moves);
        entry.escrow.extend(ledger.link(moves, offset));
        Ok(())
    }

    /// Adds what happens to one commitment and its disputes to an entry, with what follows for
    /// money and trust.
    pub(super) fn follow(
        &mut self,
        org: OrgId,
        records: Vec<CommitmentRecord>,
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let commitments = self.made_asp(org)?.commitments.known()?;
        let effects = commitments.effects(&records);
        let Effects {
            escrow,
            outcome,
            disputes,
        } = effects.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        let id = records.iter().find_map(CommitmentRecord::commitment);
        let counted = id.map_or(0, |id| counted(commitments, id));
        let judge = id.and_then(|id| Some(commitments.live(id)?.judge));
        let has_escrow = id
            .and_then(|id| commitments.live(id))
            .is_some_and(|of| of.created.promise.escrow.is_some());
        let steps: Vec<EscrowStep> = escrow
            .into_iter()
            .filter(|step| !matches!(step, EscrowStep::Hold(_)))
            .collect();
        if let (Some(id), false) = (id, steps.is_empty()) {
            let moves = self.follow_escrow(org, id, &steps, now)?;
            entry.moves.extend(moves);
        }
        let has_escrow = has_escrow || !entry.escrow.is_empty() || !entry.moves.is_empty();
        let outcome = outcome.map(|mut outcome| {
            if outcome.kind == OutcomeKind::Breached && outcome.counterparty.is_none() {
                let judge = judge.unwrap_or(Judge::Nobody);
                outcome.counterparty = self.would_judge(org, &outcome, judge);
            }
            outcome
        });
        let outcome = outcome.and_then(|outcome| of_commitment(&outcome, has_escrow));
        entry.evidence.extend(outcome);
        let ruled = disputes.iter();
        let ruled = ruled.filter_map(|dispute| of_dispute(dispute, counted));
        entry.evidence.extend(ruled);
        entry.commitments.extend(records);
        Ok(())
    }

    fn step_commitment(
        &mut self,
        by: &Principal,
        commitment: CommitmentId,
        agent: Option<&AgentRef>,
        is_obligors: bool,
        now: Timestamp,
        check: impl FnOnce(&Commitments, Actor) -> Result<CommitmentRecord, CommitmentError>,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        let (org, known) = self.commitment_at(by, commitment, now)?;
        let actor = self.actor(by, org, &known, agent, is_obligors, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = check(commitments, actor).map_err(AspError::from)?;
        self.record_promises(org, vec![record], Entry::default(), Need::Producer, now)?;
        self.settle_after(org, now);
        self.accepted_commitment(org, commitment)
    }

    /// Records what follows at once from a step that is recorded. Where that finds no room, the
    /// keeper does it: who took the step is not told that it was refused.
    fn settle_after(&mut self, org: OrgId, now: Timestamp) {
        if let Err(error) = self.settle_due(org, Timed::Promises, now) {
            tracing::debug!(%error, "what follows is recorded later");
        }
    }

    /// The commitment of that id, of those held, for who may see it.
    pub(super) fn commitment_at(
        &self,
        by: &Principal,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> Result<(OrgId, Arc<Commitment>), BrokerError> {
        self.authorize_asp(by, now)?;
        let own = self.asp.orgs.get_key_value(&by.org);
        let others = self.asp.orgs.iter().filter(|(org, _)| **org != by.org);
        let found = own.into_iter().chain(others).filter_map(|(org, of_org)| {
            let held = of_org.commitments.state.commitment(commitment)?;
            Some((*org, held_commitment(held)))
        });
        let mut seen = found.filter(|(org, known)| self.sees_commitment(by, *org, known, now));
        match seen.next() {
            Some(seen) => Ok(seen),
            None => Err(self.absent(by, AspError::CommitmentNotFound(commitment))),
        }
    }

    /// What is said of a promise or a dispute that is not found: where it may lie on a topic that
    /// cannot be read, that it is not known.
    pub(super) fn absent(&self, by: &Principal, absent: AspError) -> BrokerError {
        let unknown = self.knows_own(by).err();
        unknown
            .or_else(|| self.unknown_to(by))
            .unwrap_or(absent)
            .into()
    }

    /// Refuses where the promises of the caller's organisation, or who is in its sessions, or its
    /// agents, cannot be read.
    pub(super) fn knows_own(&self, by: &Principal) -> Result<(), AspError> {
        if let Some(of_org) = self.asp_of(by.org) {
            of_org.commitments.known()?;
            of_org.sessions.known()?;
            of_org.registry.known()?;
        }
        Ok(())
    }

    /// That the promises of another organisation cannot be read in whose sessions the caller's
    /// takes part: so it is not known what there is.
    pub(super) fn unknown_to(&self, by: &Principal) -> Option<AspError> {
        let is_unknown = |of: &OrgAsp| of.commitments.unknown.is_some();
        if !self.asp.orgs.values().any(is_unknown) {
            return None;
        }
        let mut shared = self.asp.shared.iter().filter(|(session, org)| {
            let held = self.asp_of(**org);
            let held = held.and_then(|of| of.sessions.state.session(**session));
            held.is_some_and(|held| held.participants.values().any(|one| one.org == by.org))
        });
        shared.find_map(|(_, org)| self.asp_of(*org)?.commitments.known().err())
    }

    /// An id that a sender chose names one promise, whichever organisation's session it is made
    /// in: else whoever makes another of that id hides the first from those who look for it.
    pub(super) fn is_free_elsewhere(&self, org: OrgId, id: CommitmentId) -> Result<(), AspError> {
        let mut others = self.asp.orgs.iter().filter(|(other, _)| **other != org);
        if !others.any(|(_, of)| of.commitments.state.commitment(id).is_some()) {
            return Ok(());
        }
        let (commitment, member) = (id, "sessionId");
        Err(CommitmentError::IdTaken { commitment, member }.into())
    }

    /// Who acts on a commitment: the agent that is named, else the one that the caller speaks for
    /// whose part it is.
    pub(super) fn actor(
        &self,
        by: &Principal,
        org: OrgId,
        commitment: &Commitment,
        agent: Option<&AgentRef>,
        is_obligors: bool,
        now: Timestamp,
    ) -> Result<Actor, BrokerError> {
        let session = commitment.created.promise.session;
        if let Some(of_org) = self.asp_of(org) {
            of_org.sessions.known()?;
            if commitment.created.promise.escrow.is_some() {
                of_org.escrow.known()?;
            }
        }
        let held = self
            .asp_of(org)
            .and_then(|of| of.sessions.state.session(session));
        let agent = match agent {
            Some(agent) => self.own_agent(by, agent, now)?,
            None => {
                let obligor = commitment.created.promise.obligor;
                let mut asked: Vec<(AgentId, OrgId)> = Vec::new();
                if is_obligors {
                    asked.push((obligor.agent, obligor.org));
                } else {
                    asked.extend(commitment.counterparty.map(|of| (of.agent, of.org)));
                    let participants = held.into_iter().flat_map(|held| &held.participants);
                    let mut others: Vec<_> = participants
                        .filter(|(agent, _)| **agent != obligor.agent)
                        .collect();
                    others.sort_by_key(|(_, one)| one.role != Role::Coordinator);
                    asked.extend(others.iter().map(|(agent, one)| (**agent, one.org)));
                }
                let mut own = asked
                    .iter()
                    .filter(|(agent, org)| *org == by.org && self.speaks_for(by, *agent, now));
                let first = own.next().map(|(agent, _)| *agent);
                first.ok_or_else(|| AspError::NotYourAgent {
                    agent: obligor.agent.to_string(),
                })?
            }
        };
        let standing = held.map_or(Standing::Stranger, |held| standing(held, agent));
        let party = Party { agent, org: by.org };
        Ok(Actor {
            party,
            standing,
            by: by.id,
        })
    }

    pub(super) fn sees_commitment(
        &self,
        by: &Principal,
        org: OrgId,
        commitment: &Commitment,
        now: Timestamp,
    ) -> bool {
        let promise = &commitment.created.promise;
        let parties = commitment.counterparty.into_iter().chain([promise.obligor]);
        let mut own = parties.filter(|party| party.org == by.org);
        own.any(|party| self.speaks_for(by, party.agent, now))
            || self
                .asp_of(org)
                .and_then(|of| of.sessions.state.session(promise.session))
                .is_some_and(|held| self.is_in(by, held, now))
    }

    /// To whom a promise to a session was broken: whoever would have judged it. Where it was kept,
    /// it counts with whoever confirmed it; it must not count for less where it was not.
    fn would_judge(&self, org: OrgId, broken: &Outcome, judge: Judge) -> Option<Party> {
        let session = self.asp_of(org)?.sessions.state.session(broken.session)?;
        let others = session.participants.iter().filter(|(agent, one)| {
            let judges = match judge {
                Judge::Coordinator => one.role == Role::Coordinator,
                Judge::Participant => true,
                Judge::Counterparty | Judge::Nobody => false,
            };
            judges && **agent != broken.obligor.agent && one.is_expected()
        });
        let others = others.map(|(agent, one)| Party {
            agent: *agent,
            org: one.org,
        });
        // One of another organisation before one of its own.
        others.min_by_key(|party| (party.org == broken.obligor.org, *party))
    }

    fn accepted_commitment(
        &self,
        org: OrgId,
        id: CommitmentId,
    ) -> Result<Accepted<CommitmentSeen>, Refusal> {
        let of_org = self.asp_of(org);
        let held = of_org.and_then(|of| Some((of, of.commitments.state.commitment(id)?)));
        let (of_org, held) =
            held.ok_or_else(|| BrokerError::Bug("a commitment that was found is gone".into()))?;
        let value = self.commitment_seen(org, held_commitment(held));
        let wait = self.wait_for(of_org.commitments.log);
        Ok(Accepted { value, wait })
    }

    pub(super) fn commitment_seen(
        &self,
        org: OrgId,
        commitment: Arc<Commitment>,
    ) -> CommitmentSeen {
        let obligor = commitment.created.promise.obligor;
        let counterparty = commitment.counterparty;
        CommitmentSeen {
            org: self.shown_org(org),
            obligor: self.named(obligor.org, obligor.agent),
            counterparty: counterparty.map(|of| self.named(of.org, of.agent)),
            commitment,
        }
    }
}

/// An agent that takes part in a session, as a party of what is promised in it.
pub(super) fn party_in(session: &Session, agent: AgentId) -> Result<Party, AspError> {
    match session.participants.get(&agent) {
        Some(one) => Ok(Party {
            agent,
            org: one.org,
        }),
        None => Err(crate::asp::session::SendError::NotParticipant {
            session: session.session,
            agent,
        }
        .into()),
    }
}

/// Who judges what is promised to a session.
pub(super) fn judge(session: &Session, obligor: AgentId) -> Judge {
    let others = || {
        let participants = session.participants.iter();
        participants.filter(|(agent, one)| **agent != obligor && one.is_expected())
    };
    if others().any(|(_, one)| one.role == Role::Coordinator) {
        Judge::Coordinator
    } else if others().next().is_some() {
        Judge::Participant
    } else {
        Judge::Nobody
    }
}

/// What an agent is in a session. Who did not come in, or has left, has no say there.
pub(super) fn standing(session: &Session, agent: AgentId) -> Standing {
    let one = session.participants.get(&agent);
    match one.filter(|one| one.standing == session::Standing::In) {
        Some(one) if one.role == Role::Coordinator => Standing::Coordinator,
        Some(_) => Standing::Participant,
        None => Standing::Stranger,
    }
}

pub(super) fn held_commitment(held: Held) -> Arc<Commitment> {
    match held {
        Held::Live(commitment) => commitment,
        Held::Closed(closed, _) => Arc::new(closed.commitment.clone()),
    }
}

/// Severity with which a commitment counts already, before what is recorded next.
fn counted(commitments: &Commitments, id: CommitmentId) -> u8 {
    let Some(known) = commitments.live(id) else {
        return 0;
    };
    let by_clock = if known.is_breach() {
        known.created.promise.severity()
    } else {
        0
    };
    by_clock.max(known.ruled.map_or(0, |ruled| ruled.severity))
}
