//! Disputes about promises: filing them, answering, taking them back.

use std::sync::Arc;

use super::AspError;
use super::record::Entry;
use super::resolve::Named;
use super::upkeep::Timed;
use crate::access::Principal;
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    Commitment, CommitmentRecord, Commitments, Evidence, Party, Reference,
};
use crate::asp::dispute::{
    CheckedFile, Dispute, DisputeError, DisputeType, File, LogFacts, Mechanism, Windows,
};
use crate::asp::registry::AgentRef;
use crate::broker::core::{Accepted, Broker, Refusal};
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::storage::Need;
use crate::types::{CommitmentId, DisputeId, Offset, OrgId, OrgName, SessionId, Timestamp};

/// A dispute to be filed.
#[derive(Clone, Debug)]
pub struct NewDispute {
    /// Its id; the broker chooses one where none is given.
    pub dispute: Option<DisputeId>,
    /// The commitment.
    pub commitment: CommitmentId,
    /// Who files it: a coordinator of the session that the caller speaks for, else another
    /// participant but the obligor, where nobody is named.
    pub agent: Option<AgentRef>,
    /// What went wrong; inferred where it is not said.
    pub dispute_type: Option<DisputeType>,
    /// How bad it is, 1 to 5; inferred where it is not said.
    pub severity: Option<u8>,
    /// In words.
    pub reason: String,
    /// What shows it.
    pub evidence: Evidence,
    /// The places that the delivery in question points to.
    pub delivered: Vec<Reference>,
    /// How long its parts may take.
    pub windows: Windows,
}

/// A dispute as answers show it.
#[derive(Clone, Debug)]
pub struct DisputeSeen {
    /// The organisation whose topic it lies on.
    pub org: OrgName,
    /// The session of its commitment.
    pub session: SessionId,
    /// The dispute.
    pub dispute: Arc<Dispute>,
    /// Who filed it.
    pub filer: Named,
    /// Against whom.
    pub against: Named,
}

impl Broker {
    /// Files a dispute. Where the log decides, it is ruled on in the same entry.
    ///
    /// - `looked`: the latest record that files disputes in which its id was looked for.
    ///
    /// # Errors
    /// [`BrokerError::NoSecret`] until [`Broker::plan_secret`] was run and booked. Else
    /// [`Refusal`]: a commitment that is not there, nobody in its session who is the caller's,
    /// what its state does not allow, a limit, or an entry that was not taken.
    pub fn file_dispute(
        &mut self,
        by: &Principal,
        new: NewDispute,
        looked: Option<Offset>,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let (org, commitment) = self.commitment_at(by, new.commitment, now)?;
        if let Some(dispute) = new.dispute {
            self.check_unfiled_dispute(org, dispute, looked)?;
        }
        let filer = self.actor(by, org, &commitment, new.agent.as_ref(), false, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        let id = DisputeId(self.new_uuid(now));
        let id = new.dispute.unwrap_or(id);
        let session = commitment.created.promise.session;
        let held = self
            .asp_of(org)
            .and_then(|of| of.sessions.state.session(session));
        let log_hash = held.map_or(Digest::ZERO, |held| held.hash);
        self.check_there(&new.evidence)?;
        let facts = self.facts(org, &commitment, &new);
        let at = self.seal_first(org, now)?;
        let next_seal = self.secret_for(org, at + 1)?.seal();
        let file = File {
            dispute: id,
            commitment: new.commitment,
            filer,
            dispute_type: new.dispute_type,
            severity: new.severity,
            reason: new.reason,
            evidence: new.evidence,
            facts,
            log_hash,
            next_seal,
            seal_number: Some(at),
            windows: new.windows,
        };
        let commitments = self.made_asp(org)?.commitments.known()?;
        match commitments.check_file(file, now).map_err(AspError::from)? {
            CheckedFile::New(records) => {
                let mut others = self.asp.orgs.iter().filter(|(other, _)| **other != org);
                if others.any(|(_, of)| of.commitments.state.dispute(id).is_some()) {
                    let (dispute, member) = (id, "commitmentId");
                    return Err(AspError::from(DisputeError::IdTaken { dispute, member }).into());
                }
                self.record_promises(org, records, Entry::default(), Need::Producer, now)?;
            }
            CheckedFile::Before(_) => {}
        }
        self.accepted_dispute(org, id)
    }

    /// The obligor answers.
    ///
    /// # Errors
    /// [`Refusal`]: a dispute that is not there, a key that does not speak for the obligor, what
    /// its state does not allow, or an entry that was not taken.
    pub fn answer_dispute(
        &mut self,
        by: &Principal,
        dispute: DisputeId,
        reason: String,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let (org, known) = self.dispute_at(by, dispute, now)?;
        let (_, commitment) = self.commitment_at(by, known.commitment(), now)?;
        let actor = self.actor(by, org, &commitment, None, true, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        self.check_there(&evidence)?;
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = commitments.check_answer(dispute, actor, reason, evidence, now);
        self.dispute_step(org, dispute, vec![record.map_err(AspError::from)?], now)
    }

    /// The filer takes a dispute back.
    ///
    /// # Errors
    /// As for [`Broker::answer_dispute`], for the filer.
    pub fn withdraw_dispute(
        &mut self,
        by: &Principal,
        dispute: DisputeId,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let (org, known) = self.dispute_at(by, dispute, now)?;
        let (_, commitment) = self.commitment_at(by, known.commitment(), now)?;
        let filer = AgentRef::Id(known.filed.filer.agent);
        let actor = self.actor(by, org, &commitment, Some(&filer), false, now)?;
        self.settle_due(org, Timed::Promises, now)?;
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = commitments.check_withdraw_dispute(dispute, actor, now);
        self.dispute_step(org, dispute, vec![record.map_err(AspError::from)?], now)
    }

    /// A dispute that the caller may see.
    ///
    /// # Errors
    /// [`Refusal`]: there is no such dispute among those held, or nobody in it is the caller's.
    pub fn see_dispute(
        &self,
        by: &Principal,
        dispute: DisputeId,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let (org, _) = self.dispute_at(by, dispute, now)?;
        self.accepted_dispute(org, dispute)
    }

    /// Whether an id was looked for wherever it may be filed.
    fn check_unfiled_dispute(
        &self,
        org: OrgId,
        dispute: DisputeId,
        looked: Option<Offset>,
    ) -> Result<(), AspError> {
        let Some(of_org) = self.asp_of(org) else {
            return Ok(());
        };
        let commitments = of_org.commitments.known()?;
        let files: Vec<Offset> = commitments.filed_dispute(dispute).collect();
        if files.first().copied() <= looked || commitments.dispute(dispute).is_some() {
            return Ok(());
        }
        let channel = self.asp_channel(org, Commitments::TOPIC);
        Err(AspError::LookFirst { channel, files })
    }

    /// What the log shows about a commitment.
    fn facts(&self, org: OrgId, commitment: &Commitment, new: &NewDispute) -> LogFacts {
        let obligor = commitment.created.promise.obligor.org;
        let hash_holds = self.hash_holds(org, obligor, new);
        let commitment = commitment.id();
        let of_org = self.asp_of(org);
        let escrow_holds = of_org.and_then(|of_org| {
            let known = of_org.commitments.state.live(commitment)?;
            let terms = known.created.promise.escrow?;
            let held = of_org.escrow.state.hold(commitment);
            let was_settled = known.is_breach() || known.ended.is_some();
            Some(was_settled || held.is_some_and(|held| held.amount >= terms.amount))
        });
        LogFacts {
            hash_holds,
            escrow_holds,
        }
    }

    /// Whether what the filer points to, and the delivery pointed to, still is what it was then;
    /// none where they have no place in common. What has changed is held against the obligor only
    /// where it lies with the obligor's organisation: with another's, the filer's own perhaps, it is
    /// not the obligor who could have changed it.
    ///
    /// - `org`: whose sessions these are.
    fn hash_holds(&self, org: OrgId, obligor: OrgId, new: &NewDispute) -> Option<bool> {
        let mut holds = None;
        for shown in &new.evidence.references {
            let delivered = new.delivered.iter().find(|place| place.is_at(shown));
            let Some(delivered) = delivered else {
                continue;
            };
            if delivered.digest() == shown.digest() {
                holds = holds.or(Some(true));
                continue;
            }
            let owner = match shown {
                Reference::Session { .. } => Some(org),
                Reference::Channel { channel, .. } => match channel.org() {
                    None => Some(OrgId::DEFAULT),
                    Some(owner) => self.access.org_by_name(owner).map(|owner| owner.org),
                },
            };
            if owner == Some(obligor) {
                holds = Some(false);
            }
        }
        holds
    }

    pub(super) fn dispute_step(
        &mut self,
        org: OrgId,
        dispute: DisputeId,
        records: Vec<CommitmentRecord>,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        self.record_promises(org, records, Entry::default(), Need::Producer, now)?;
        self.accepted_dispute(org, dispute)
    }

    /// The dispute of that id, of those held, for who may see it: the parties and the session, an
    /// arbitrator, an operator.
    fn dispute_at(
        &self,
        by: &Principal,
        dispute: DisputeId,
        now: Timestamp,
    ) -> Result<(OrgId, Arc<Dispute>), BrokerError> {
        self.authorize_asp(by, now)?;
        let mut seen = self
            .disputes_anywhere(dispute)
            .filter(|(_, known)| self.sees_dispute(by, known, now));
        match seen.next() {
            Some(seen) => Ok(seen),
            None => Err(self.absent(by, AspError::DisputeNotFound(dispute))),
        }
    }

    fn sees_dispute(&self, by: &Principal, known: &Dispute, now: Timestamp) -> bool {
        self.has_part(by, known, now) || self.commitment_at(by, known.commitment(), now).is_ok()
    }

    /// Whether somebody has a part in a dispute: as a party, an arbitrator, or an operator where one
    /// decides.
    pub(super) fn has_part(&self, by: &Principal, dispute: &Dispute, now: Timestamp) -> bool {
        let parties = [dispute.filed.filer, dispute.filed.against];
        let speaks = |party: Party| party.org == by.org && self.speaks_for(by, party.agent, now);
        let mut seats = dispute.arbitration.iter().flat_map(|of| of.sitting());
        parties.into_iter().any(speaks)
            || seats.any(|seat| speaks(seat.party))
            || (dispute.mechanism == Some(Mechanism::Human) && self.is_operator(by, now))
    }

    pub(super) fn disputes_anywhere(
        &self,
        dispute: DisputeId,
    ) -> impl Iterator<Item = (OrgId, Arc<Dispute>)> {
        self.asp.orgs.iter().filter_map(move |(org, of_org)| {
            let found = of_org.commitments.state.dispute(dispute)?;
            Some((*org, Arc::new(found)))
        })
    }

    fn accepted_dispute(
        &self,
        org: OrgId,
        id: DisputeId,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let of_org = self.asp_of(org);
        let found = of_org.and_then(|of| Some((of, of.commitments.state.dispute(id)?)));
        let bug = || BrokerError::Bug("a dispute that was found is gone".into());
        let (of_org, dispute) = found.ok_or_else(bug)?;
        let commitment = of_org.commitments.state.commitment(dispute.commitment());
        let session = commitment.map(|held| held.commitment().created.promise.session);
        let session = session.ok_or_else(bug)?;
        Ok(Accepted {
            value: self.dispute_seen(org, session, Arc::new(dispute)),
            wait: self.wait_for(of_org.commitments.log),
        })
    }

    pub(super) fn dispute_seen(
        &self,
        org: OrgId,
        session: SessionId,
        dispute: Arc<Dispute>,
    ) -> DisputeSeen {
        let of = |party: Party| self.named(party.org, party.agent);
        DisputeSeen {
            org: self.shown_org(org),
            session,
            filer: of(dispute.filed.filer),
            against: of(dispute.filed.against),
            dispute,
        }
    }
}
