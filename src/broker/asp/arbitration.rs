//! Who decides a dispute that the log does not decide: arbitrators, drawn by a secret that was sealed
//! before, or an operator.

use std::collections::BTreeSet;

use super::AspError;
use super::disputes::DisputeSeen;
use super::record::Entry;
use super::upkeep::Timed;
use crate::access::{Operation, Principal};
use crate::asp::Trust;
use crate::asp::chain::Digest;
use crate::asp::commitment::{Actor, Commitment, CommitmentRecord, Due, Party, Standing};
use crate::asp::dispute::{Dispute, Judgement, Secret};
use crate::asp::registry::{AgentRef, AgentStanding};
use crate::asp::trust::TrustFor;
use crate::broker::core::{Accepted, Broker, Refusal};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{DisputeId, OrgId, Timestamp};

/// Least trust of an arbitrator, in thousandths.
const ARBITRATOR_TRUST: u16 = 600;

/// Secrets that are looked through for one whose number is on no record: disputes of a broker from
/// before numbers were recorded.
const MAX_UNNUMBERED: u64 = 1 << 16;

impl Broker {
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
        let found = self.disputes_anywhere(dispute).next();
        let found = found.ok_or_else(|| self.absent(by, absent()));
        let (org, known) = found?;
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
                let actor = Actor {
                    party,
                    standing: Standing::Stranger,
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
        // Without its ledger, what has money behind it stands still, and nothing else does.
        let has_ledger = of_org.escrow.unknown.is_none();
        let is_held_up = |of: &Commitment| !has_ledger && of.created.promise.escrow.is_some();
        let due = of_org.commitments.state.next_due_but(now, &is_held_up);
        let record = match due {
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
        let known = self.made_asp(org)?.commitments.known()?.dispute(dispute);
        let known = known.ok_or(AspError::DisputeNotFound(dispute))?;
        let secret = self.sealed_for(org, &known)?;
        let candidates = self.arbitrators(org, &known)?;
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = commitments.check_review(dispute, &candidates, &secret, now);
        Ok(record.map_err(AspError::from)?)
    }

    /// Who could judge a dispute: trusted, registered, and of organisations that have nothing to do
    /// with the parties.
    ///
    /// - `org`: whose session it is.
    fn arbitrators(&self, org: OrgId, dispute: &Dispute) -> Result<Vec<Party>, AspError> {
        let trust = self.trust_state()?;
        let related = self.related(org, dispute);
        let mut found = Vec::new();
        for (org, of_org) in &self.asp.orgs {
            if related.contains(org) || of_org.registry.unknown.is_some() {
                continue;
            }
            let score = TrustFor {
                state: &trust,
                asker: dispute.filed.filer.org,
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
        Ok(found)
    }

    /// The organisations that have something to do with a dispute: those of the obligor, the
    /// counterparty, the filer and the session, and all that one of these ever shared agents with,
    /// by a grant that both agreed to or a subscription that was active. What has ended counts too:
    /// else the parties could end it in time.
    fn related(&self, org: OrgId, dispute: &Dispute) -> BTreeSet<OrgId> {
        let filed = &dispute.filed;
        let mut related = BTreeSet::from([org, filed.filer.org, filed.against.org]);
        let commitment = self.asp_of(org);
        let commitment = commitment.and_then(|of| of.commitments.state.live(filed.commitment));
        let counterparty = commitment.and_then(|of| of.counterparty);
        related.extend(counterparty.map(|party| party.org));
        let parties: Vec<OrgId> = related.iter().copied().collect();
        for party in parties {
            let grants = self.access.grants(party);
            let shared = grants
                .filter(|grant| grant.operation == Operation::Asp && grant.accepted_at.is_some());
            related.extend(shared.flat_map(|grant| [grant.owner, grant.guest]));
            let market = self.market().ok();
            related.extend(
                market
                    .into_iter()
                    .flat_map(|market| market.dealt_with(party)),
            );
        }
        related
    }

    /// Seals the first secret, where none is sealed; the number of the one that is.
    pub(super) fn seal_first(&mut self, org: OrgId, now: Timestamp) -> Result<u64, BrokerError> {
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
            return Ok(0);
        };
        match self.made_asp(org)?.commitments.state.seal_number() {
            Some(number) => Ok(number),
            None => self.seal_at(org, sealed),
        }
    }

    /// Which of the secrets this is the seal of.
    fn seal_at(&self, org: OrgId, seal: Digest) -> Result<u64, BrokerError> {
        for at in 0..MAX_UNNUMBERED {
            if self.secret_for(org, at)?.seal() == seal {
                return Ok(at);
            }
        }
        Err(BrokerError::Bug("a seal of another secret file".into()))
    }

    /// The secret that was sealed for a dispute.
    fn sealed_for(&self, org: OrgId, dispute: &Dispute) -> Result<Secret, BrokerError> {
        let seal = dispute.filed.seal;
        let at = match dispute.filed.seal_number {
            Some(number) => number,
            None => self.seal_at(org, seal)?,
        };
        let secret = self.secret_for(org, at)?;
        match secret.seal() == seal {
            true => Ok(secret),
            false => Err(BrokerError::Bug("a seal of another secret file".into())),
        }
    }

    /// The secrets for disputes, one behind the other: told by nobody who lacks the secret file.
    pub(super) fn secret_for(&self, org: OrgId, at: u64) -> Result<Secret, BrokerError> {
        let hasher = self.secret.hasher().ok_or(BrokerError::NoSecret)?;
        let log = self.asp_of(org).map(|of| of.commitments.log);
        let mut label = b"npayload/asp/arbitration/1\n".to_vec();
        label.extend_from_slice(&log.unwrap_or_default().0.to_le_bytes());
        label.extend_from_slice(&at.to_le_bytes());
        Ok(Secret(hasher.derive(&label)))
    }
}
