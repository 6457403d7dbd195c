//! Disputes about promises: filing them, answering, and ruling where the log does not decide.

use std::sync::Arc;

use super::AspError;
use super::record::Entry;
use super::resolve::Named;
use super::upkeep::Timed;
use crate::access::Principal;
use crate::asp::Trust;
use crate::asp::chain::Digest;
use crate::asp::commitment::{CommitmentRecord, Commitments, Due, Evidence, Party};
use crate::asp::dispute::{
    CheckedFile, Dispute, DisputeType, File, Judgement, LogFacts, MAX_CANDIDATES, Mechanism,
    Secret, Windows,
};
use crate::asp::registry::{AgentRef, AgentStanding};
use crate::asp::trust::TrustFor;
use crate::broker::core::{Accepted, Broker, Refusal};
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::storage::Need;
use crate::types::{CommitmentId, DisputeId, Offset, OrgId, OrgName, SessionId, Timestamp};

/// Least trust of an arbitrator, in thousandths.
const ARBITRATOR_TRUST: u16 = 600;

/// Most secrets that are looked through for the one that is sealed.
const MAX_SEALS: u64 = 1 << 24;

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
        let facts = self.facts(org, new.commitment);
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
            windows: Windows::default(),
        };
        let commitments = self.made_asp(org)?.commitments.known()?;
        match commitments.check_file(file, now).map_err(AspError::from)? {
            CheckedFile::New(records) => {
                self.record_promises(org, records, Entry::default(), Need::Producer, now)?;
                self.made_asp(org)?.seal = Some(at + 1);
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

    /// An arbitrator votes, or an operator rules where arbitrators do not.
    ///
    /// - `agent`: the arbitrator that the caller speaks for; none for an operator.
    ///
    /// # Errors
    /// [`Refusal`]: a dispute that is not there, a caller who has no say, what its state does not
    /// allow, or an entry that was not taken.
    pub fn judge_dispute(
        &mut self,
        by: &Principal,
        dispute: DisputeId,
        agent: Option<&AgentRef>,
        judgement: Judgement,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        let absent = || AspError::DisputeNotFound(dispute);
        let found = self.dispute_anywhere(dispute).ok_or_else(absent)?;
        let (org, known) = found;
        self.settle_due(org, Timed::Promises, now)?;
        let records = match agent {
            Some(agent) => {
                let agent = self.own_agent(by, agent, now)?;
                let party = Party { agent, org: by.org };
                let arbitration = known.arbitration.as_ref();
                let has_seat = arbitration.is_some_and(|arbitration| {
                    arbitration.sitting().any(|seat| seat.party == party)
                });
                if !has_seat {
                    return Err(absent().into());
                }
                let actor = crate::asp::commitment::Actor {
                    party,
                    standing: crate::asp::commitment::Standing::Stranger,
                    by: by.id,
                };
                let secret = self.sealed_for(org, &known)?;
                let commitments = self.made_asp(org)?.commitments.known()?;
                commitments.check_vote(dispute, actor, judgement, &secret, now)
            }
            None => {
                self.authorize_operator(by, now)?;
                let secret = self.sealed_for(org, &known)?;
                let commitments = self.made_asp(org)?.commitments.known()?;
                let ruled = commitments.check_rule(dispute, by.id, judgement, &secret, now);
                ruled.map(|record| vec![record])
            }
        };
        let records = records.map_err(AspError::from)?;
        self.dispute_step(org, dispute, records, now)
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

    /// Records what the clock does to promises and disputes next; whether there was something.
    pub(super) fn settle_promise(
        &mut self,
        org: OrgId,
        now: Timestamp,
    ) -> Result<bool, BrokerError> {
        let Some(of_org) = self.asp_of(org) else {
            return Ok(false);
        };
        if of_org.commitments.unknown.is_some() {
            return Ok(false);
        }
        let record = match of_org.commitments.state.next_due(now) {
            None => return Ok(false),
            Some(Due::Record(record)) => record,
            Some(Due::Review(dispute)) => self.review(org, dispute, now)?,
        };
        self.record_promises(org, vec![record], Entry::default(), Need::Own, now)?;
        Ok(true)
    }

    /// Draws the arbitrators of a dispute, or hands it to an operator.
    fn review(
        &mut self,
        org: OrgId,
        dispute: DisputeId,
        now: Timestamp,
    ) -> Result<CommitmentRecord, BrokerError> {
        let absent = || AspError::DisputeNotFound(dispute);
        let (_, known) = self.dispute_anywhere(dispute).ok_or_else(absent)?;
        let secret = self.sealed_for(org, &known)?;
        let candidates = self.arbitrators(&known)?;
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = commitments.check_review(dispute, &candidates, &secret, now);
        Ok(record.map_err(AspError::from)?)
    }

    /// Who could judge a dispute: trusted, registered, and of organisations of neither party.
    fn arbitrators(&self, dispute: &Dispute) -> Result<Vec<Party>, AspError> {
        let trust = self.trust_state()?;
        let parties = [dispute.filed.filer.org, dispute.filed.against.org];
        let mut found = Vec::new();
        for (org, of_org) in &self.asp.orgs {
            if parties.contains(org) || of_org.registry.unknown.is_some() {
                continue;
            }
            let score = TrustFor {
                state: &trust,
                asker: parties[0],
            };
            let able = of_org.registry.state.agents().filter(|agent| {
                agent.standing == AgentStanding::Registered
                    && score.score(agent.agent).thousandths() >= ARBITRATOR_TRUST
            });
            found.extend(able.map(|agent| Party {
                agent: agent.agent,
                org: *org,
            }));
        }
        found.sort_unstable();
        found.truncate(MAX_CANDIDATES);
        Ok(found)
    }

    /// What the log shows about a commitment.
    fn facts(&self, org: OrgId, commitment: CommitmentId) -> LogFacts {
        let of_org = self.asp_of(org);
        let escrow_holds = of_org.and_then(|of_org| {
            let known = of_org.commitments.state.live(commitment)?;
            let terms = known.created.promise.escrow?;
            let held = of_org.escrow.state.hold(commitment);
            let was_settled = known.is_breach() || known.ended.is_some();
            Some(was_settled || held.is_some_and(|held| held.amount >= terms.amount))
        });
        LogFacts {
            hash_holds: None,
            escrow_holds,
        }
    }

    fn dispute_step(
        &mut self,
        org: OrgId,
        dispute: DisputeId,
        records: Vec<CommitmentRecord>,
        now: Timestamp,
    ) -> Result<Accepted<DisputeSeen>, Refusal> {
        self.record_promises(org, records, Entry::default(), Need::Producer, now)?;
        self.accepted_dispute(org, dispute)
    }

    /// Seals the first secret, where none is sealed; the number of the one that is.
    fn seal_first(&mut self, org: OrgId, now: Timestamp) -> Result<u64, BrokerError> {
        let commitments = self.made_asp(org)?.commitments.known()?;
        let Some(sealed) = commitments.seal() else {
            let seal = self.secret_for(org, 0)?.seal();
            let commitments = self.made_asp(org)?.commitments.known()?;
            let record = commitments.check_seal(seal, now).map_err(AspError::from)?;
            let entry = Entry {
                commitments: vec![record],
                ..Entry::default()
            };
            self.record_asp(org, &entry, Need::Own, now)?;
            self.made_asp(org)?.seal = Some(0);
            return Ok(0);
        };
        if let Some(at) = self.made_asp(org)?.seal {
            return Ok(at);
        }
        let at = self.seal_at(org, sealed)?;
        self.made_asp(org)?.seal = Some(at);
        Ok(at)
    }

    /// Which of the secrets this is the seal of.
    fn seal_at(&self, org: OrgId, seal: Digest) -> Result<u64, BrokerError> {
        for at in 0..MAX_SEALS {
            if self.secret_for(org, at)?.seal() == seal {
                return Ok(at);
            }
        }
        Err(BrokerError::Bug("a seal of another secret file".into()))
    }

    /// The secret that was sealed for a dispute.
    fn sealed_for(&self, org: OrgId, dispute: &Dispute) -> Result<Secret, BrokerError> {
        let at = self.seal_at(org, dispute.filed.seal)?;
        self.secret_for(org, at)
    }

    /// The secrets for disputes, one behind the other: told by nobody who lacks the secret file.
    fn secret_for(&self, org: OrgId, at: u64) -> Result<Secret, BrokerError> {
        let hasher = self.secret.hasher().ok_or(BrokerError::NoSecret)?;
        let log = self.asp_of(org).map(|of| of.commitments.log);
        let mut label = b"npayload/asp/arbitration/1\n".to_vec();
        label.extend_from_slice(&log.unwrap_or_default().0.to_le_bytes());
        label.extend_from_slice(&at.to_le_bytes());
        Ok(Secret(hasher.derive(&label)))
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
        let absent = || AspError::DisputeNotFound(dispute);
        let (org, known) = self.dispute_anywhere(dispute).ok_or_else(absent)?;
        if self.has_part(by, &known, now) || self.commitment_at(by, known.commitment(), now).is_ok()
        {
            return Ok((org, known));
        }
        Err(absent().into())
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

    fn dispute_anywhere(&self, dispute: DisputeId) -> Option<(OrgId, Arc<Dispute>)> {
        self.asp.orgs.iter().find_map(|(org, of_org)| {
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
