//! What may be done to a commitment, judged before anything is written.

use std::sync::Arc;

use super::commitments::{Commitments, promise_bytes};
use super::error::CommitmentError;
use super::evidence::Evidence;
use super::one::Commitment;
use super::promise::{DEFAULT_WINDOW_MS, MAX_WINDOW_MS, Party, Promise, within};
use super::queries::Held;
use super::record::{CommitmentRecord, Created, Delivered, Mode, Stepped};
use super::table::{Judge, Standing, Step, Voice, allowed, next};
use crate::types::{CommitmentId, MessageId, Offset, PrincipalId, Timestamp};

/// Most commitments of an organisation that are not closed.
pub const MAX_LIVE: usize = 200_000;
/// Most bytes of the promises of all commitments of an organisation that are not closed.
pub const MAX_LIVE_BYTES: usize = 256 * 1024 * 1024;
/// Time after a breach in which it can be disputed and delivered late unless an organisation says
/// otherwise, in ms: 7 days.
pub const DEFAULT_CLAIM_MS: u64 = 7 * 24 * 3_600_000;
/// Longest such time, in ms: 90 days.
pub const MAX_CLAIM_MS: u64 = 90 * 24 * 3_600_000;

/// A promise to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Its id.
    pub commitment: CommitmentId,
    /// What is promised.
    pub promise: Promise,
    /// Whether it is to be accepted first.
    pub mode: Mode,
    /// Who judges it where no counterparty is named: a coordinator, else another participant, else
    /// nobody. What is given beside a named counterparty is passed over.
    pub judge: Judge,
    /// The message that offers it.
    pub message: Option<Said>,
    /// Time after a breach in which it can be disputed and delivered late, in ms, 1 to
    /// [`MAX_CLAIM_MS`].
    pub claim_ms: u64,
    /// What is held in escrow for it, in the currency that it names; 0 where nothing is. Where it
    /// is held in the same entry, as the promise wants it.
    pub escrow_held: u64,
    /// Who says so.
    pub by: PrincipalId,
}

/// A message of the session that does something to a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The message.
    pub message: MessageId,
    /// Offset of its record on `__asp.sessions`.
    pub offset: Offset,
    /// Whether it is signed.
    pub is_signed: bool,
}

/// Somebody who does something to a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The agent that it is done for.
    pub party: Party,
    /// What that one is in the commitment's session now.
    pub standing: Standing,
    /// Who says so; the caller has seen to it that it speaks for the agent.
    pub by: PrincipalId,
}

/// What becomes of a promise to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// To be recorded.
    New(CommitmentRecord),
    /// It was made before, and nothing is to be recorded. The commitment as it is now.
    Before(Held),
}

impl Commitments {
    /// Turns a promise into the record of it, or finds that it was made before.
    ///
    /// The caller has looked in the records of [`Commitments::filed`] that the id is not there,
    /// and holds the escrow in the same entry where the promise wants some.
    ///
    /// # Errors
    /// [`CommitmentError`] naming what was found and what would be allowed. Nothing is changed.
    pub fn check_create(&self, create: Create, now: Timestamp) -> Result<Checked, CommitmentError> {
        let Create {
            commitment,
            promise,
            mode,
            ..
        } = &create;
        if let Some(held) = self.commitment(*commitment) {
            same(&create, held.commitment())?;
            return Ok(Checked::Before(held));
        }
        if !commitment.is_version_7() {
            return Err(CommitmentError::IdVersion(*commitment));
        }
        promise.check()?;
        within("claimMs", create.claim_ms, 1, MAX_CLAIM_MS)?;
        let judge = match promise.counterparty {
            Some(party) if party.agent == promise.obligor.agent => {
                return Err(CommitmentError::OwnCounterparty(party.agent));
            }
            Some(_) => Judge::Counterparty,
            // An offer to all is for whoever accepts it, who judges from then on.
            None if *mode == Mode::Agreed && create.judge != Judge::Nobody => Judge::Participant,
            None if create.judge == Judge::Counterparty => Judge::Participant,
            None => create.judge,
        };
        if *mode == Mode::Agreed && judge == Judge::Nobody {
            return Err(CommitmentError::NobodyAccepts(promise.obligor.agent));
        }
        if *mode == Mode::OneSided && judge != Judge::Nobody {
            // Nobody agreed to less: who promises alone would leave no time to look at it.
            let least = DEFAULT_WINDOW_MS;
            within("windowMs", promise.window_ms, least, MAX_WINDOW_MS)?;
        }
        is_held(*commitment, promise, create.escrow_held)?;
        self.check_room(promise)?;
        let terms_hash = promise.terms_hash();
        Ok(Checked::New(CommitmentRecord::Created(Arc::new(Created {
            at: self.stamp(now),
            by: create.by,
            claim_ms: create.claim_ms,
            commitment: *commitment,
            judge,
            message: create.message.map(|said| said.message),
            message_offset: create.message.map(|said| said.offset),
            mode: *mode,
            promise: create.promise,
            signed: create.message.is_some_and(|said| said.is_signed),
            terms_hash,
        }))))
    }

    /// Whether what is to be made is what was made under its id and is no longer held.
    ///
    /// # Errors
    /// [`CommitmentError::IdTaken`] naming what differs.
    pub fn check_again(create: &Create, known: &Commitment) -> Result<(), CommitmentError> {
        same(create, known)
    }

    /// An offer is accepted, and binds from now on.
    ///
    /// - `escrow_held`: what is held in escrow for it.
    /// - `now`: the broker's clock. What [`Commitments::next_due`] gives for it must be applied
    ///   first, here and below.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is no open offer to that agent, or its escrow is not held.
    pub fn check_accept(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        message: Option<Said>,
        escrow_held: u64,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        let record = self.check_step(commitment, Step::Accept, actor, message, now)?;
        let promise = &self.known(commitment)?.created.promise;
        is_held(commitment, promise, escrow_held)?;
        Ok(record)
    }

    /// An offer is refused.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is no open offer to that agent.
    pub fn check_reject(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        message: Option<Said>,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        self.check_step(commitment, Step::Reject, actor, message, now)
    }

    /// An offer is taken back.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is no open offer of that agent.
    pub fn check_withdraw(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        message: Option<Said>,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        self.check_step(commitment, Step::Withdraw, actor, message, now)
    }

    /// The session of an offer has ended, so that nobody can accept it any more.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is no open offer.
    pub fn check_expire(
        &self,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        let known = self.known(commitment)?;
        legal(known, Step::Expire, Voice::Clock)?;
        Ok(CommitmentRecord::Stepped {
            step: Step::Expire,
            stepped: Stepped {
                at: self.stamp(now),
                by: None,
                commitment,
                message: None,
                message_offset: None,
                party: None,
                role: Voice::Clock,
                shortened_to: None,
            },
        })
    }

    /// What was promised is delivered: in time, or late where it was breached.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is not to be delivered by that agent, or was.
    pub fn check_deliver(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        evidence: Evidence,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        let known = self.known(commitment)?;
        legal(known, Step::Deliver, voice(known, actor)?)?;
        if let Some(delivery) = known.delivery {
            let at = delivery.at;
            return Err(CommitmentError::Delivered { commitment, at });
        }
        on_time(known, self.stamp(now))?;
        evidence.check()?;
        let evidence_hash = evidence.digest();
        Ok(CommitmentRecord::Delivered(Arc::new(Delivered {
            at: self.stamp(now),
            by: actor.by,
            commitment,
            evidence,
            evidence_hash,
        })))
    }

    /// A delivery is confirmed.
    ///
    /// # Errors
    /// [`CommitmentError`] when there is none to confirm, or not by that agent.
    pub fn check_confirm(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        self.check_step(commitment, Step::Confirm, actor, None, now)
    }

    /// The time for judging a delivery is made shorter.
    ///
    /// - `window_ms`: the new time, in ms, at least 1 and less than it was.
    ///
    /// # Errors
    /// [`CommitmentError`] when it is not that agent's to shorten, or would be longer.
    pub fn check_shorten(
        &self,
        commitment: CommitmentId,
        actor: Actor,
        window_ms: u64,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        let record = self.check_step(commitment, Step::Shorten, actor, None, now)?;
        let most = self.known(commitment)?.window_ms - 1;
        within("windowMs", window_ms, 1, most.min(MAX_WINDOW_MS))?;
        let CommitmentRecord::Stepped { step, stepped } = record else {
            return Ok(record);
        };
        let stepped = Stepped {
            shortened_to: Some(window_ms),
            ..stepped
        };
        Ok(CommitmentRecord::Stepped { step, stepped })
    }

    fn check_step(
        &self,
        commitment: CommitmentId,
        step: Step,
        actor: Actor,
        message: Option<Said>,
        now: Timestamp,
    ) -> Result<CommitmentRecord, CommitmentError> {
        let known = self.known(commitment)?;
        let role = voice(known, actor)?;
        legal(known, step, role)?;
        on_time(known, self.stamp(now))?;
        Ok(CommitmentRecord::Stepped {
            step,
            stepped: Stepped {
                at: self.stamp(now),
                by: Some(actor.by),
                commitment,
                message: message.map(|said| said.message),
                message_offset: message.map(|said| said.offset),
                party: Some(actor.party),
                role,
                shortened_to: None,
            },
        })
    }

    /// The commitment, where it is held; a closed one is told from one that is not there.
    pub(in crate::asp) fn known(&self, id: CommitmentId) -> Result<&Commitment, CommitmentError> {
        if let Some(commitment) = self.live(id) {
            return Ok(commitment);
        }
        self.closed_commitment(id)
            .ok_or(CommitmentError::Unknown(id))
    }

    fn check_room(&self, promise: &Promise) -> Result<(), CommitmentError> {
        let room = |what, found, limit| {
            let too_many = CommitmentError::TooMany { what, found, limit };
            if found > limit { Err(too_many) } else { Ok(()) }
        };
        room(
            "commitments that are not closed",
            self.live_count() + 1,
            MAX_LIVE,
        )?;
        room(
            "bytes of promises that are not closed",
            self.live_bytes() + promise_bytes(promise),
            MAX_LIVE_BYTES,
        )
    }
}

/// As whom somebody acts.
pub(in crate::asp) fn voice(known: &Commitment, actor: Actor) -> Result<Voice, CommitmentError> {
    let Actor {
        party, standing, ..
    } = actor;
    known
        .voice(party, standing)
        .ok_or(CommitmentError::NotParty {
            commitment: known.id(),
            agent: party.agent,
        })
}

/// Whether the table allows a step.
pub(in crate::asp) fn legal(
    known: &Commitment,
    step: Step,
    voice: Voice,
) -> Result<(), CommitmentError> {
    let state = known.state;
    if !known.closed && next(state, step, voice).is_some() {
        return Ok(());
    }
    let allowed = if known.closed {
        None
    } else {
        Some(allowed(state, voice))
    };
    Err(CommitmentError::Illegal {
        commitment: known.id(),
        state,
        step,
        voice,
        allowed: allowed.into_iter().flatten().collect(),
    })
}

pub(in crate::asp) fn on_time(known: &Commitment, now: Timestamp) -> Result<(), CommitmentError> {
    match known.due() {
        Some(due) if due <= now => Err(CommitmentError::DeadlineFirst { due }),
        _ => Ok(()),
    }
}

fn is_held(commitment: CommitmentId, promise: &Promise, held: u64) -> Result<(), CommitmentError> {
    match promise.escrow {
        Some(escrow) if held < escrow.amount => Err(CommitmentError::EscrowNotHeld {
            commitment,
            amount: escrow.amount,
            currency: escrow.currency,
            held,
        }),
        _ => Ok(()),
    }
}

fn same(create: &Create, known: &Commitment) -> Result<(), CommitmentError> {
    let created = &known.created;
    let differs = [
        ("promise", create.promise.terms_hash() != created.terms_hash),
        ("mode", create.mode != created.mode),
        (
            "message",
            create.message.map(|said| said.message) != created.message,
        ),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((member, _)) => Err(CommitmentError::IdTaken {
            commitment: create.commitment,
            member,
        }),
    }
}
