//! One dispute, and what each record makes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arbitration::{ARBITRATORS, draw};
use super::record::{Answered, DisputeRecord, DisputeStepped, Filed, Reviewed, RuledOn, Voted};
use super::ruling::{Mechanism, Verdict, majority};
use super::table::{DisputeState, DisputeStep, DisputeVoice, next};
use crate::asp::commitment::{Evidence, Party, Reference, Ruled};
use crate::asp::shared;
use crate::types::{AgentId, CommitmentId, DisputeId, Offset, Timestamp};

/// A dispute, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispute {
    /// What the obligor answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Who arbitrates, where arbitrators were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arbitration: Option<Arbitration>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What it began with.
    #[serde(with = "shared")]
    pub filed: Arc<Filed>,
    /// Who rules; none before that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Offsets of the records about it, in their order.
    pub offsets: Vec<Offset>,
    /// What was ruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<Ruling>,
    /// Since when it is with whom it is now.
    pub since: Timestamp,
    /// Where it stands.
    pub state: DisputeState,
}

/// What the obligor answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// What shows it.
    pub evidence: Evidence,
    /// In words.
    pub reason: String,
}

/// Who arbitrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arbitration {
    /// Among whom was drawn, by id.
    pub candidates: Vec<Party>,
    /// The order drawn.
    pub order: Vec<Party>,
    /// Those who have or had a seat, in that order: three at a time are not replaced.
    pub seats: Vec<Seat>,
}

/// The seat of an arbitrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Who.
    pub party: Party,
    /// Whether it was silent, and another has its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// Since when.
    pub since: Timestamp,
    /// What it voted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub reason: String,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// What it holds.
    pub verdict: Verdict,
}

/// A ruling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// When.
    pub at: Timestamp,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// In words.
    pub reason: String,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// What was ruled.
    pub verdict: Verdict,
}

/// What the clock does next to a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DisputeDue {
    /// It goes to review; who arbitrates is to be drawn.
    Review,
    /// That arbitrator was silent.
    Replace(AgentId),
    /// Arbitrators did not decide in time.
    Escalate,
    /// The operator did not decide in time.
    Expire,
}

impl Arbitration {
    fn begin(reviewed: &Reviewed) -> Self {
        let seats = reviewed.order.iter().take(ARBITRATORS);
        Self {
            candidates: reviewed.candidates.clone(),
            order: reviewed.order.clone(),
            seats: seats
                .map(|party| Seat {
                    party: *party,
                    since: reviewed.at,
                    replaced: false,
                    vote: None,
                })
                .collect(),
        }
    }

    /// The seats of those who are not replaced.
    pub fn sitting(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| !seat.replaced)
    }

    /// What was voted so far.
    #[must_use]
    pub fn votes(&self) -> Vec<(Verdict, u8)> {
        let votes = self.sitting().filter_map(|seat| seat.vote.as_ref());
        votes.map(|vote| (vote.verdict, vote.severity)).collect()
    }

    /// Who would have the next seat.
    #[must_use]
    pub fn next(&self) -> Option<Party> {
        self.order.get(self.seats.len()).copied()
    }

    fn seat(&mut self, agent: AgentId) -> Option<&mut Seat> {
        let mut sitting = self.seats.iter_mut().filter(|seat| !seat.replaced);
        sitting.find(|seat| seat.party.agent == agent)
    }
}

impl Dispute {
    /// What a record that files a dispute begins.
    pub(in crate::asp) fn begin(filed: &Arc<Filed>, offset: Offset) -> Self {
        Self {
            answer: None,
            arbitration: None,
            ended: None,
            filed: Arc::clone(filed),
            mechanism: None,
            offsets: vec![offset],
            ruling: None,
            since: filed.at,
            state: DisputeState::Open,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> DisputeId {
        self.filed.dispute
    }

    /// The commitment that it is about.
    #[must_use]
    pub fn commitment(&self) -> CommitmentId {
        self.filed.commitment
    }

    /// All places in the broker's record that it points to: those of the filer, and those of the
    /// answer.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let answer = self
            .answer
            .iter()
            .flat_map(|answer| &answer.evidence.references);
        self.filed.evidence.references.iter().chain(answer)
    }

    /// The agents that may have something to do with it: filer, obligor, and those who
    /// have or had a seat.
    pub fn agents(&self) -> impl Iterator<Item = AgentId> {
        let seats = self
            .arbitration
            .iter()
            .flat_map(|arbitration| &arbitration.seats);
        [self.filed.filer.agent, self.filed.against.agent]
            .into_iter()
            .chain(seats.map(|seat| seat.party.agent))
    }

    /// What the clock does to it next, and when.
    #[must_use]
    pub fn due(&self) -> Option<(Timestamp, DisputeDue)> {
        let filed = &self.filed;
        match (self.state, &self.arbitration, self.mechanism) {
            (DisputeState::Open | DisputeState::Answered, ..) => {
                Some((after(filed.at, filed.answer_ms), DisputeDue::Review))
            }
            (DisputeState::UnderReview, Some(arbitration), Some(Mechanism::Peer)) => {
                let silent = arbitration.sitting().filter(|seat| seat.vote.is_none());
                let silent = silent.map(|seat| {
                    let due = after(seat.since, filed.ballot_ms);
                    (due, DisputeDue::Replace(seat.party.agent))
                });
                let all = (
                    after(self.since, filed.arbitration_ms),
                    DisputeDue::Escalate,
                );
                // Nobody is left to replace the silent one: it goes on to an operator.
                let escalates = arbitration.next().is_none();
                let silent = silent.min().map(|(due, replaces)| {
                    (
                        due,
                        if escalates {
                            DisputeDue::Escalate
                        } else {
                            replaces
                        },
                    )
                });
                Some(silent.map_or(all, |silent| silent.min(all)))
            }
            (DisputeState::UnderReview, ..) => {
                Some((after(self.since, filed.arbitration_ms), DisputeDue::Expire))
            }
            _ => None,
        }
    }

    /// Takes a record about it in, other than the one that it began with.
    pub(in crate::asp) fn follow(
        &mut self,
        record: &DisputeRecord,
        offset: Offset,
    ) -> Result<(), &'static str> {
        let is_due = self.due().is_some_and(|(due, _)| due <= record.at());
        match record {
            DisputeRecord::Answered(_) | DisputeRecord::Voted(_) if is_due => return Err(LATE),
            DisputeRecord::Ruled(ruled) if is_due && ruled.by.is_some() => return Err(LATE),
            DisputeRecord::Stepped { stepped, .. } if is_due && stepped.by.is_some() => {
                return Err(LATE);
            }
            DisputeRecord::Reviewed(_) if !is_due => return Err(NOT_DUE),
            _ => {}
        }
        match record {
            DisputeRecord::Answered(answered) => self.answer(answered)?,
            DisputeRecord::Reviewed(reviewed) => self.review(reviewed)?,
            DisputeRecord::Voted(voted) => self.vote(voted)?,
            DisputeRecord::Ruled(ruled) => self.rule(ruled)?,
            DisputeRecord::Stepped { step, stepped } => self.step(*step, stepped)?,
            DisputeRecord::Sealed(_) | DisputeRecord::Filed(_) => {
                return Err("it is no event of a dispute that is there");
            }
        }
        self.offsets.push(offset);
        Ok(())
    }

    /// Takes an answer in.
    fn answer(&mut self, answered: &Answered) -> Result<(), &'static str> {
        self.state = self.next(DisputeStep::Answer, DisputeVoice::Obligor)?;
        self.answer = Some(Answer {
            at: answered.at,
            evidence: answered.evidence.clone(),
            reason: answered.reason.clone(),
        });
        Ok(())
    }

    /// Takes in that it goes to arbitrators, or to an operator.
    fn review(&mut self, reviewed: &Reviewed) -> Result<(), &'static str> {
        let state = self.next(DisputeStep::Review, DisputeVoice::Broker)?;
        if !reviewed.order.is_empty() && reviewed.order.len() < ARBITRATORS {
            return Err("fewer arbitrators are drawn than have to vote");
        }
        self.state = state;
        self.since = reviewed.at;
        if reviewed.order.is_empty() {
            self.mechanism = Some(Mechanism::Human);
        } else {
            self.mechanism = Some(Mechanism::Peer);
            self.arbitration = Some(Arbitration::begin(reviewed));
        }
        Ok(())
    }

    /// Takes a vote in.
    fn vote(&mut self, voted: &Voted) -> Result<(), &'static str> {
        self.next(DisputeStep::Vote, DisputeVoice::Arbitrator)?;
        if self.mechanism != Some(Mechanism::Peer) {
            return Err("no arbitrators decide it");
        }
        let arbitration = self.arbitration.as_mut().ok_or(NO_SEAT)?;
        let seat = arbitration.seat(voted.party.agent).ok_or(NO_SEAT)?;
        if seat.party != voted.party {
            return Err(NO_SEAT);
        }
        if seat.vote.is_some() {
            return Err("that arbitrator has voted");
        }
        seat.vote = Some(Vote {
            at: voted.at,
            reason: voted.reason.clone(),
            severity: voted.severity,
            verdict: voted.verdict,
        });
        Ok(())
    }

    /// Takes a ruling in.
    fn rule(&mut self, ruled: &RuledOn) -> Result<(), &'static str> {
        let voice = match ruled.mechanism {
            Mechanism::Human => DisputeVoice::Operator,
            Mechanism::Automated | Mechanism::Peer => DisputeVoice::Broker,
        };
        let state = self.next(DisputeStep::Rule, voice)?;
        let is_open = self.state == DisputeState::Open;
        if is_open != (ruled.mechanism == Mechanism::Automated) {
            return Err("the log rules when a dispute is filed, and at no other time");
        }
        if !is_open && self.mechanism != Some(ruled.mechanism) {
            return Err("another mechanism decides it");
        }
        if ruled.by.is_some() != (ruled.mechanism == Mechanism::Human) {
            return Err("an operator says who it is, and nobody else");
        }
        if ruled.mechanism == Mechanism::Peer {
            let votes = self.arbitration.as_ref().map(Arbitration::votes);
            if majority(&votes.unwrap_or_default()) != Some((ruled.verdict, ruled.severity)) {
                return Err("it is not what the arbitrators voted");
            }
        }
        self.is_drawn(ruled)?;
        self.state = state;
        self.mechanism = Some(ruled.mechanism);
        self.ended = Some(ruled.at);
        self.ruling = Some(Ruling {
            at: ruled.at,
            mechanism: ruled.mechanism,
            reason: ruled.reason.clone(),
            severity: ruled.severity,
            verdict: ruled.verdict,
        });
        Ok(())
    }

    /// Takes any other step in.
    fn step(&mut self, step: DisputeStep, stepped: &DisputeStepped) -> Result<(), &'static str> {
        let voice = match step {
            DisputeStep::Withdraw => DisputeVoice::Filer,
            _ => DisputeVoice::Broker,
        };
        let state = self.next(step, voice)?;
        if stepped.by.is_some() != (step == DisputeStep::Withdraw) {
            return Err("the clock does it, and nobody else");
        }
        let due = self.due().filter(|(due, _)| *due <= stepped.at);
        let due = due.map(|(_, due)| due);
        match step {
            DisputeStep::Withdraw => self.ended = Some(stepped.at),
            DisputeStep::Replace => {
                let agent = stepped.agent.ok_or(NO_SEAT)?;
                if due != Some(DisputeDue::Replace(agent)) {
                    return Err(NOT_DUE);
                }
                let arbitration = self.arbitration.as_mut().ok_or(NO_SEAT)?;
                let party = arbitration.next().ok_or("nobody is left to replace it")?;
                arbitration.seat(agent).ok_or(NO_SEAT)?.replaced = true;
                arbitration.seats.push(Seat {
                    party,
                    since: stepped.at,
                    replaced: false,
                    vote: None,
                });
            }
            DisputeStep::Escalate => {
                if due != Some(DisputeDue::Escalate) {
                    return Err(NOT_DUE);
                }
                self.mechanism = Some(Mechanism::Human);
                self.since = stepped.at;
            }
            DisputeStep::Expire => {
                if due != Some(DisputeDue::Expire) {
                    return Err(NOT_DUE);
                }
                self.ended = Some(stepped.at);
            }
            _ => return Err("such a step has a record of its own"),
        }
        self.state = state;
        Ok(())
    }

    /// What its ruling says against the commitment; none where it did not go against it.
    #[must_use]
    pub fn against(&self) -> Option<Ruled> {
        let ruling = self.ruling.as_ref()?;
        (ruling.verdict != Verdict::Dismissed).then_some(Ruled {
            at: ruling.at,
            dispute: self.id(),
            mechanism: ruling.mechanism,
            severity: ruling.severity,
            verdict: ruling.verdict,
        })
    }

    /// Whether the secret is the sealed one and draws those who were asked.
    fn is_drawn(&self, ruled: &RuledOn) -> Result<(), &'static str> {
        match (&self.arbitration, &ruled.secret) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err("nobody was drawn with a secret"),
            (Some(_), None) => Err("those drawn are told with the secret"),
            (Some(arbitration), Some(secret)) => {
                if secret.seal() != self.filed.seal {
                    return Err("the secret is not the one that was sealed");
                }
                let filed = &self.filed;
                let order = draw(
                    &filed.log_hash,
                    secret,
                    filed.dispute,
                    &arbitration.candidates,
                );
                if order != arbitration.order {
                    return Err("the secret does not draw those who arbitrated");
                }
                Ok(())
            }
        }
    }

    fn next(&self, step: DisputeStep, voice: DisputeVoice) -> Result<DisputeState, &'static str> {
        next(self.state, step, voice).ok_or("the transition table does not allow it")
    }
}

const NO_SEAT: &str = "that arbitrator has no seat";
const LATE: &str = "a deadline that had passed is not recorded before it";
const NOT_DUE: &str = "its time is not over";

fn after(at: Timestamp, ms: u64) -> Timestamp {
    at.saturating_add_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}
