//! What may be done to a dispute, judged before anything is written.

use std::sync::Arc;

use super::arbitration::{ARBITRATORS, Secret, draw, in_turn};
use super::error::DisputeError;
use super::one::{Arbitration, Dispute};
use super::record::{
    Answered, DisputeRecord, DisputeStepped, Filed, Reviewed, RuledOn, Sealed, Voted,
};
use super::ruling::{DisputeType, LogFacts, Mechanism, Verdict, majority};
use super::table::{DisputeState, DisputeStep, DisputeVoice, next};
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    Actor, CommitmentError, CommitmentRecord, Commitments, Evidence, MAX_SEVERITY, Party, Step,
    Voice, legal, on_time, voice, wide, within,
};
use crate::types::{AgentId, CommitmentId, DisputeId, PrincipalId, Timestamp};

/// Time to answer unless an organisation says otherwise, in ms: 72 hours.
pub const DEFAULT_ANSWER_MS: u64 = 72 * 3_600_000;
/// Time for a ruling unless an organisation says otherwise, in ms: 7 days.
pub const DEFAULT_ARBITRATION_MS: u64 = 7 * 24 * 3_600_000;
/// Time for an arbitrator to vote unless an organisation says otherwise, in ms: 48 hours.
pub const DEFAULT_BALLOT_MS: u64 = 48 * 3_600_000;
/// Longest of these times, in ms: 90 days.
pub const MAX_DISPUTE_WINDOW_MS: u64 = 90 * 24 * 3_600_000;
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 4096;

/// Most disputes that an agent files within [`FILING_PERIOD_MS`], of those that the log does not decide.
pub const MAX_FILINGS: usize = 50;
/// The time in which disputes are counted, in ms: 24 hours.
pub const FILING_PERIOD_MS: u64 = 24 * 3_600_000;
/// Most disputes about one promise by those who judge it.
pub const MAX_OF_JUDGES: usize = 12;
/// Most disputes about one promise by others.
pub const MAX_OF_OTHERS: usize = 6;

/// How long each part of a dispute may take, in ms, each 1 to [`MAX_DISPUTE_WINDOW_MS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// For the obligor to answer.
    pub answer_ms: u64,
    /// For arbitrators to rule, and again for an operator.
    pub arbitration_ms: u64,
    /// For one arbitrator to vote.
    pub ballot_ms: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            answer_ms: DEFAULT_ANSWER_MS,
            arbitration_ms: DEFAULT_ARBITRATION_MS,
            ballot_ms: DEFAULT_BALLOT_MS,
        }
    }
}

/// A dispute to be filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub dispute: DisputeId,
    /// The commitment.
    pub commitment: CommitmentId,
    /// Who files it.
    pub filer: Actor,
    /// What went wrong; inferred where it is not said.
    pub dispute_type: Option<DisputeType>,
    /// How bad it is, 1 to 5; inferred where it is not said.
    pub severity: Option<u8>,
    /// In words.
    pub reason: String,
    /// What shows it.
    pub evidence: Evidence,
    /// What the caller found in the log.
    pub facts: LogFacts,
    /// Hash of the last record of the commitment's session.
    pub log_hash: Digest,
    /// Digest of the secret for the dispute after this one.
    pub next_seal: Digest,
    /// Number of the secret for this one, where the caller finds secrets by number.
    pub seal_number: Option<u64>,
    /// How long its parts may take.
    pub windows: Windows,
}

/// A vote or a ruling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What is held.
    pub verdict: Verdict,
    /// How bad it is, 1 to 5; as the filer has it where it is not said.
    pub severity: Option<u8>,
    /// In words.
    pub reason: String,
}

/// What becomes of a dispute to be filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckedFile {
    /// To be recorded, in one entry: the dispute, and the ruling where the log decides.
    New(Vec<CommitmentRecord>),
    /// It was filed before, and nothing is to be recorded. The dispute as it is now.
    Before(Box<Dispute>),
}

impl Commitments {
    /// The first secret is sealed, before any dispute is filed. Each dispute seals the next.
    ///
    /// # Errors
    /// [`DisputeError::NotSealed`] where one is sealed already.
    pub fn check_seal(
        &self,
        seal: Digest,
        now: Timestamp,
    ) -> Result<CommitmentRecord, DisputeError> {
        if let Some(sealed) = self.seal() {
            let sealed = Some(sealed);
            return Err(DisputeError::NotSealed { sealed });
        }
        let at = self.stamp(now);
        Ok(record(DisputeRecord::Sealed(Sealed { at, seal })))
    }

    /// Turns a dispute into the records of it, or finds that it was filed before.
    ///
    /// The caller has looked in the records of [`Commitments::filed_dispute`] that the id is not
    /// there, and has seen to it that the filer can read what it points to.
    ///
    /// - `now`: the broker's clock. What [`Commitments::next_due`] gives for it must be applied
    ///   first, here and below.
    ///
    /// # Errors
    /// [`DisputeError`] naming what was found and what would be allowed. Nothing is changed.
    pub fn check_file(&self, file: File, now: Timestamp) -> Result<CheckedFile, DisputeError> {
        let id = file.dispute;
        if let Some(known) = self.dispute(id) {
            same(&file, &known)?;
            return Ok(CheckedFile::Before(Box::new(known)));
        }
        if !id.is_version_7() {
            return Err(DisputeError::IdVersion(id));
        }
        let known = self.known(file.commitment)?;
        let role = voice(known, file.filer)?;
        legal(known, Step::Dispute, role)?;
        let at = self.stamp(now);
        on_time(known, at)?;
        let party = file.filer.party;
        let mut before = self.disputes_of(file.commitment);
        if let Some(other) = before.find(|other| other.filed.filer.agent == party.agent) {
            return Err(DisputeError::Filed {
                commitment: file.commitment,
                agent: party.agent,
                dispute: other.id(),
            });
        }
        self.has_room_for(file.commitment, role)?;
        check_windows(file.windows)?;
        check_words(file.severity, &file.reason)?;
        file.evidence.check()?;
        let sealed = self.seal();
        let seal = sealed.ok_or(DisputeError::NotSealed { sealed })?;
        let dispute_type = file
            .dispute_type
            .unwrap_or_else(|| DisputeType::inferred(known, file.facts));
        let automated = dispute_type.automated(known, file.facts);
        if automated.is_none() {
            self.check_pace(party.agent, at)?;
        }
        let severity = known.created.promise.severity();
        let claimed = file.severity.unwrap_or_else(|| dispute_type.severity());
        let mut records = vec![record(DisputeRecord::Filed(Arc::new(Filed {
            against: known.created.promise.obligor,
            answer_ms: file.windows.answer_ms,
            arbitration_ms: file.windows.arbitration_ms,
            at,
            by: file.filer.by,
            commitment: file.commitment,
            dispute: id,
            dispute_type,
            evidence: file.evidence,
            filer: party,
            log_hash: file.log_hash,
            next_seal: file.next_seal,
            reason: file.reason,
            role,
            seal,
            seal_number: file.seal_number,
            severity: claimed,
            ballot_ms: file.windows.ballot_ms,
        })))];
        if let Some(verdict) = automated {
            records.push(record(DisputeRecord::Ruled(Arc::new(RuledOn {
                at,
                by: None,
                commitment: file.commitment,
                dispute: id,
                mechanism: Mechanism::Automated,
                reason: because(dispute_type, verdict).to_owned(),
                secret: None,
                severity,
                verdict,
            }))));
        }
        Ok(CheckedFile::New(records))
    }

    /// The obligor answers.
    ///
    /// # Errors
    /// [`DisputeError`] when it is not that agent's to answer, or was answered.
    pub fn check_answer(
        &self,
        dispute: DisputeId,
        actor: Actor,
        reason: String,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<CommitmentRecord, DisputeError> {
        let known = self.known_dispute(dispute)?;
        is_party(
            known,
            known.filed.against,
            actor.party,
            DisputeVoice::Obligor,
        )?;
        legal_step(known, DisputeStep::Answer, DisputeVoice::Obligor)?;
        let at = self.on_time_dispute(known, now)?;
        check_words(None, &reason)?;
        evidence.check()?;
        Ok(record(DisputeRecord::Answered(Arc::new(Answered {
            at,
            by: actor.by,
            commitment: known.commitment(),
            dispute,
            evidence,
            reason,
        }))))
    }

    /// The filer takes it back.
    ///
    /// # Errors
    /// [`DisputeError`] when it is not that agent's, or is under review.
    pub fn check_withdraw_dispute(
        &self,
        dispute: DisputeId,
        actor: Actor,
        now: Timestamp,
    ) -> Result<CommitmentRecord, DisputeError> {
        let known = self.known_dispute(dispute)?;
        is_party(known, known.filed.filer, actor.party, DisputeVoice::Filer)?;
        legal_step(known, DisputeStep::Withdraw, DisputeVoice::Filer)?;
        let at = self.on_time_dispute(known, now)?;
        Ok(record(DisputeRecord::Stepped {
            step: DisputeStep::Withdraw,
            stepped: DisputeStepped {
                agent: None,
                at,
                by: Some(actor.by),
                commitment: known.commitment(),
                dispute,
            },
        }))
    }

    /// The time to answer is over: arbitrators are drawn, or it goes to an operator where there
    /// are not enough organisations for three.
    ///
    /// - `candidates`: those who are trusted far enough and whose organisations have nothing to do
    ///   with the parties', as many of them are drawn among as [`in_turn`] leaves. Those of the parties' own organisations are left out here.
    /// - `secret`: the one that was sealed for this dispute.
    ///
    /// # Errors
    /// [`DisputeError`] when it is not time, or the secret is another.
    pub fn check_review(
        &self,
        dispute: DisputeId,
        candidates: &[Party],
        secret: &Secret,
        now: Timestamp,
    ) -> Result<CommitmentRecord, DisputeError> {
        let known = self.known_dispute(dispute)?;
        legal_step(known, DisputeStep::Review, DisputeVoice::Broker)?;
        let at = self.stamp(now);
        match known.due() {
            Some((due, _)) if due > at => return Err(DisputeError::NotDue { dispute, due }),
            _ => {}
        }
        let filed = &known.filed;
        is_sealed(known, secret)?;
        let commitment = self.known(known.commitment())?;
        let mut parties = vec![filed.filer.org, filed.against.org];
        parties.extend(commitment.counterparty.map(|party| party.org));
        let apart = candidates.iter();
        let apart = apart.filter(|candidate| !parties.contains(&candidate.org));
        let candidates = in_turn(&apart.copied().collect::<Vec<_>>());
        let mut order = draw(&filed.log_hash, secret, dispute, &candidates);
        if order.len() < ARBITRATORS {
            order.clear();
        }
        Ok(record(DisputeRecord::Reviewed(Arc::new(Reviewed {
            at,
            candidates,
            commitment: known.commitment(),
            dispute,
            order,
        }))))
    }

    /// An arbitrator votes. The vote that decides is followed by the ruling, in one entry.
    ///
    /// - `secret`: the one that was sealed for this dispute; the ruling tells it to everybody.
    ///
    /// # Errors
    /// [`DisputeError`] when the agent has no seat, has voted, or the secret is another.
    pub fn check_vote(
        &self,
        dispute: DisputeId,
        actor: Actor,
        judgement: Judgement,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<Vec<CommitmentRecord>, DisputeError> {
        let known = self.known_dispute(dispute)?;
        legal_step(known, DisputeStep::Vote, DisputeVoice::Arbitrator)?;
        let voice = DisputeVoice::Arbitrator;
        let arbitration = known.arbitration.as_ref();
        let arbitration = arbitration.filter(|_| known.mechanism == Some(Mechanism::Peer));
        let arbitration = arbitration.ok_or(DisputeError::OtherMechanism { dispute, voice })?;
        let agent = actor.party.agent;
        let mut seats = arbitration.sitting();
        let seat = seats.find(|seat| seat.party == actor.party);
        let seat = seat.ok_or(DisputeError::NotParty {
            dispute,
            agent,
            voice,
        })?;
        if let Some(vote) = &seat.vote {
            let at = vote.at;
            return Err(DisputeError::Voted { dispute, agent, at });
        }
        let at = self.on_time_dispute(known, now)?;
        check_words(judgement.severity, &judgement.reason)?;
        is_sealed(known, secret)?;
        let severity = judgement.severity.unwrap_or(known.filed.severity);
        let verdict = judgement.verdict;
        let mut records = vec![record(DisputeRecord::Voted(Arc::new(Voted {
            at,
            by: actor.by,
            commitment: known.commitment(),
            dispute,
            party: actor.party,
            reason: judgement.reason,
            severity,
            verdict,
        })))];
        records.extend(ruled_by_votes(
            known,
            arbitration,
            (verdict, severity),
            secret,
            at,
        ));
        Ok(records)
    }

    /// An operator rules.
    ///
    /// - `secret`: the one that was sealed for this dispute, told to everybody where arbitrators
    ///   were drawn.
    ///
    /// # Errors
    /// [`DisputeError`] when it is not with an operator, or no reason is given.
    pub fn check_rule(
        &self,
        dispute: DisputeId,
        by: PrincipalId,
        judgement: Judgement,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<CommitmentRecord, DisputeError> {
        let known = self.known_dispute(dispute)?;
        let voice = DisputeVoice::Operator;
        legal_step(known, DisputeStep::Rule, voice)?;
        if known.mechanism != Some(Mechanism::Human) {
            return Err(DisputeError::OtherMechanism { dispute, voice });
        }
        let at = self.on_time_dispute(known, now)?;
        if judgement.reason.trim().is_empty() {
            return Err(DisputeError::NoReason(dispute));
        }
        check_words(judgement.severity, &judgement.reason)?;
        is_sealed(known, secret)?;
        Ok(record(DisputeRecord::Ruled(Arc::new(RuledOn {
            at,
            by: Some(by),
            commitment: known.commitment(),
            dispute,
            mechanism: Mechanism::Human,
            reason: judgement.reason,
            secret: known.arbitration.is_some().then_some(*secret),
            severity: judgement.severity.unwrap_or(known.filed.severity),
            verdict: judgement.verdict,
        }))))
    }

    /// Whether an agent has not filed too many disputes of late. Those that the log decided cost
    /// nobody anything, and are not counted.
    fn check_pace(&self, filer: AgentId, at: Timestamp) -> Result<(), DisputeError> {
        let since = at.0.saturating_sub(signed(FILING_PERIOD_MS));
        let counts = |dispute: &Dispute| {
            let is_automated = dispute.mechanism == Some(Mechanism::Automated);
            dispute.filed.filer.agent == filer && !is_automated && dispute.filed.at.0 > since
        };
        let open = self.disputes_of_agent(filer).map(|dispute| &**dispute);
        let closed = self.held().take_while(|(_, closed)| closed.at.0 > since);
        let closed = closed.flat_map(|(_, closed)| &closed.disputes);
        let times = open.chain(closed).filter(|dispute| counts(dispute));
        let mut times: Vec<_> = times.map(|dispute| dispute.filed.at).collect();
        if times.len() < MAX_FILINGS {
            return Ok(());
        }
        times.sort_unstable();
        // Once the last of those that are too many no longer counts.
        let free = times[times.len() - MAX_FILINGS]
            .0
            .saturating_add(signed(FILING_PERIOD_MS));
        Err(DisputeError::TooMany {
            filer,
            found: times.len() + 1,
            limit: MAX_FILINGS,
            wait_ms: free.saturating_sub(at.0).max(1).unsigned_abs(),
        })
    }

    /// All disputes about a promise stand once more in the record that closes it, which has to fit
    /// into one entry with what becomes of the money. Those who do not judge take no room from
    /// those who do.
    fn has_room_for(&self, commitment: CommitmentId, role: Voice) -> Result<(), DisputeError> {
        let judges = role == Voice::Judge;
        let (what, limit) = match judges {
            true => (
                "disputes about a promise by those who judge it",
                MAX_OF_JUDGES,
            ),
            false => ("disputes about a promise by others", MAX_OF_OTHERS),
        };
        let alike = self.disputes_of(commitment);
        let alike = alike.filter(|other| (other.filed.role == Voice::Judge) == judges);
        let found = alike.count() + 1;
        if found <= limit {
            return Ok(());
        }
        Err(CommitmentError::TooMany { what, found, limit }.into())
    }

    fn known_dispute(&self, id: DisputeId) -> Result<&Dispute, DisputeError> {
        self.held_dispute(id).ok_or(DisputeError::Unknown(id))
    }

    fn on_time_dispute(&self, known: &Dispute, now: Timestamp) -> Result<Timestamp, DisputeError> {
        let at = self.stamp(now);
        match known.due() {
            Some((due, _)) if due <= at => Err(DisputeError::DeadlineFirst { due }),
            _ => Ok(at),
        }
    }
}

/// The ruling that follows from a vote, where it decides.
fn ruled_by_votes(
    known: &Dispute,
    arbitration: &Arbitration,
    vote: (Verdict, u8),
    secret: &Secret,
    at: Timestamp,
) -> Option<CommitmentRecord> {
    let mut votes = arbitration.votes();
    votes.push(vote);
    let (verdict, severity) = majority(&votes)?;
    let alike = votes.iter().filter(|(voted, _)| *voted == verdict).count();
    Some(record(DisputeRecord::Ruled(Arc::new(RuledOn {
        at,
        by: None,
        commitment: known.commitment(),
        dispute: known.id(),
        mechanism: Mechanism::Peer,
        reason: format!("{alike} of {} votes", votes.len()),
        secret: Some(*secret),
        severity,
        verdict,
    }))))
}

fn record(record: DisputeRecord) -> CommitmentRecord {
    CommitmentRecord::Dispute(record)
}

/// Why the log rules so.
fn because(dispute_type: DisputeType, verdict: Verdict) -> &'static str {
    match (dispute_type, verdict) {
        (DisputeType::TimeoutBreach, Verdict::Upheld) => "the deadline passed without delivery",
        (DisputeType::TimeoutBreach, _) => "it was delivered before the deadline",
        (DisputeType::NonDelivery, _) => "nothing was delivered by the deadline",
        (DisputeType::EscrowViolation, Verdict::Upheld) => "the escrow is not held as agreed",
        (DisputeType::EscrowViolation, _) => "the escrow is held as agreed",
        (DisputeType::UnauthorizedModification, Verdict::Upheld) => "the hash has changed",
        (DisputeType::UnauthorizedModification, _) => "the hash is what was agreed",
        (DisputeType::SpecificationMismatch, _) => "the log does not decide this",
    }
}

fn legal_step(
    known: &Dispute,
    step: DisputeStep,
    voice: DisputeVoice,
) -> Result<DisputeState, DisputeError> {
    next(known.state, step, voice).ok_or(DisputeError::Illegal {
        dispute: known.id(),
        state: known.state,
        step,
        voice,
    })
}

fn is_party(
    known: &Dispute,
    wanted: Party,
    found: Party,
    voice: DisputeVoice,
) -> Result<(), DisputeError> {
    if wanted == found {
        return Ok(());
    }
    Err(DisputeError::NotParty {
        dispute: known.id(),
        agent: found.agent,
        voice,
    })
}

fn is_sealed(known: &Dispute, secret: &Secret) -> Result<(), DisputeError> {
    let (found, sealed) = (secret.seal(), known.filed.seal);
    if found == sealed {
        return Ok(());
    }
    Err(DisputeError::OtherSecret { found, sealed })
}

fn check_words(severity: Option<u8>, reason: &str) -> Result<(), DisputeError> {
    if let Some(severity) = severity {
        within("severity", severity.into(), 1, MAX_SEVERITY.into())?;
    }
    Ok(within(
        "reason bytes",
        wide(reason.len()),
        0,
        wide(MAX_REASON_BYTES),
    )?)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn check_windows(windows: Windows) -> Result<(), DisputeError> {
    within("answerMs", windows.answer_ms, 1, MAX_DISPUTE_WINDOW_MS)?;
    within(
        "arbitrationMs",
        windows.arbitration_ms,
        1,
        MAX_DISPUTE_WINDOW_MS,
    )?;
    Ok(within(
        "ballotMs",
        windows.ballot_ms,
        1,
        MAX_DISPUTE_WINDOW_MS,
    )?)
}

fn same(file: &File, known: &Dispute) -> Result<(), DisputeError> {
    let filed = &known.filed;
    let differs = [
        ("commitmentId", file.commitment != filed.commitment),
        ("filedBy", file.filer.party != filed.filer),
        ("reason", file.reason != filed.reason),
        (
            "evidence",
            file.evidence.digest() != filed.evidence.digest(),
        ),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((member, _)) => Err(DisputeError::IdTaken {
            dispute: file.dispute,
            member,
        }),
    }
}
