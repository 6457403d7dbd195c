//! One commitment, and what each record makes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::promise::Party;
use super::record::{Created, Delivered, Mode, Stepped};
use super::table::{Judge, Next, Standing, State, Step, Voice, next};
use crate::asp::chain::Digest;
use crate::asp::dispute::{Mechanism, Verdict};
use crate::asp::shared;
use crate::types::{CommitmentId, DisputeId, Offset, Timestamp};

/// A commitment, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commitment {
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
    /// Whether nothing can happen to it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// To whom it was promised, or who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<Party>,
    /// What it began with.
    #[serde(with = "shared")]
    pub created: Arc<Created>,
    /// What was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Where a dispute is open: since when, and what it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disputed: Option<Suspended>,
    /// How it ended, before any ruling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Who judges it.
    pub judge: Judge,
    /// Offsets of the records about it and its disputes, in their order.
    pub offsets: Vec<Offset>,
    /// The weightiest ruling against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruled: Option<Ruled>,
    /// Where it stands.
    pub state: State,
    /// Time for judging a delivery, in ms.
    pub window_ms: u64,
    /// When that ends, where it was delivered in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_until: Option<Timestamp>,
}

/// A delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// When.
    pub at: Timestamp,
    /// Hash of the evidence.
    pub evidence_hash: Digest,
    /// Whether the deadline had passed.
    pub late: bool,
    /// Offset of the record, which has the evidence.
    pub offset: Offset,
}

/// What a commitment was before it was disputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Since when it is disputed.
    pub at: Timestamp,
    /// Whether it was delivered then.
    pub delivered: bool,
    /// Disputes that are not decided.
    pub open: u32,
    /// What it was before.
    pub state: State,
}

/// How a commitment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How it was confirmed, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// Who ended it; none where the clock or its own delivery did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
}

/// How a delivery was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Confirmation {
    /// By the word of whoever judges.
    Explicit,
    /// By silence until the window ended.
    Silent,
    /// There was nobody to judge.
    Unjudged,
}

/// A ruling against a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// When.
    pub at: Timestamp,
    /// In which dispute.
    pub dispute: DisputeId,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// What was ruled.
    pub verdict: Verdict,
}

impl Commitment {
    /// What a record that creates a commitment begins.
    pub(super) fn begin(created: &Arc<Created>, offset: Offset) -> Result<Self, &'static str> {
        let promise = &created.promise;
        if (created.judge == Judge::Counterparty) != promise.counterparty.is_some() {
            return Err("a named counterparty judges, and nobody else where there is one");
        }
        if promise
            .counterparty
            .is_some_and(|to| to.agent == promise.obligor.agent)
        {
            return Err("nobody promises to oneself");
        }
        if created.mode == Mode::Agreed && created.judge == Judge::Nobody {
            return Err("there is nobody who could accept it");
        }
        if promise.terms_hash() != created.terms_hash {
            return Err("its hash is not that of the promise");
        }
        Ok(Self {
            accepted: None,
            closed: false,
            counterparty: promise.counterparty,
            created: Arc::clone(created),
            delivery: None,
            disputed: None,
            ended: None,
            judge: created.judge,
            offsets: vec![offset],
            ruled: None,
            state: match created.mode {
                Mode::Agreed => State::Proposed,
                Mode::OneSided => State::Active,
            },
            window_ms: promise.window_ms,
            window_until: None,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> CommitmentId {
        self.created.commitment
    }

    /// As whom an agent acts on it; `None` for one who has no say.
    ///
    /// - `standing`: what it is in the commitment's session.
    #[must_use]
    pub fn voice(&self, party: Party, standing: Standing) -> Option<Voice> {
        if party.agent == self.created.promise.obligor.agent {
            return Some(Voice::Obligor);
        }
        match self.counterparty {
            Some(counterparty) if counterparty.agent == party.agent => Some(Voice::Judge),
            _ => self.judge.voice(standing),
        }
    }

    /// When the clock does something to it.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        let ended = self.ended.map(|ended| ended.at);
        match self.state {
            State::Proposed | State::Active => Some(self.created.promise.deadline),
            State::Delivered => self.window_until,
            State::Withdrawn | State::Rejected | State::Expired | State::Fulfilled => ended,
            State::Breached => self.claims_until(),
            State::Resolved => self.claims_until().max(self.ruled.map(|ruled| ruled.at)),
            State::Disputed => None,
        }
    }

    /// Until when a breach can be disputed and delivered late; none where there was no breach.
    #[must_use]
    pub fn claims_until(&self) -> Option<Timestamp> {
        let ms = signed(self.created.claim_ms);
        let breach = self.ended.filter(|_| self.is_breach());
        breach.map(|breach| breach.at.saturating_add_ms(ms))
    }

    /// Whether the clock saw it broken, whatever was ruled later.
    #[must_use]
    pub fn is_breach(&self) -> bool {
        let before = self
            .disputed
            .map_or(self.state, |suspended| suspended.state);
        match before {
            State::Breached => true,
            State::Resolved => self.ended.is_some(),
            _ => false,
        }
    }

    /// The step that the clock takes once it is due; none where it then closes.
    pub(super) fn clock_step(&self) -> Option<Step> {
        match self.state {
            State::Proposed => Some(Step::Expire),
            State::Active => Some(Step::Breach),
            State::Delivered => Some(Step::Lapse),
            _ => None,
        }
    }

    /// Takes a delivery in.
    pub(super) fn deliver(
        &mut self,
        delivered: &Delivered,
        offset: Offset,
    ) -> Result<(), &'static str> {
        let next = next(self.state, Step::Deliver, Voice::Obligor).ok_or(NOT_ALLOWED)?;
        self.on_time(delivered.at)?;
        if self.delivery.is_some() {
            return Err("a late delivery comes once");
        }
        if delivered.evidence.digest() != delivered.evidence_hash {
            return Err("its hash is not that of the evidence");
        }
        let late = next == Next::Stays;
        self.delivery = Some(Delivery {
            at: delivered.at,
            evidence_hash: delivered.evidence_hash,
            late,
            offset,
        });
        self.offsets.push(offset);
        if late {
            return Ok(());
        }
        if self.judge == Judge::Nobody {
            self.state = State::Fulfilled;
            self.ended = Some(Ended {
                at: delivered.at,
                confirmation: Some(Confirmation::Unjudged),
                party: None,
            });
        } else {
            self.state = State::Delivered;
            self.open_window(delivered.at);
        }
        Ok(())
    }

    /// Takes any other step that is no dispute in.
    pub(super) fn step(
        &mut self,
        step: Step,
        stepped: &Stepped,
        offset: Offset,
    ) -> Result<(), &'static str> {
        let next = next(self.state, step, stepped.role).ok_or(NOT_ALLOWED)?;
        self.is_said_by(stepped)?;
        let is_due = self.due().is_some_and(|due| due <= stepped.at);
        match step {
            Step::Breach | Step::Lapse if !is_due => return Err("its time is not over"),
            Step::Breach | Step::Lapse | Step::Expire => {}
            _ => self.on_time(stepped.at)?,
        }
        if stepped.shortened_to.is_some() != (step == Step::Shorten) {
            return Err("a window that is shortened has a new length, and no other");
        }
        match step {
            Step::Accept => {
                self.accepted = Some(stepped.at);
                self.counterparty = stepped.party;
                self.judge = Judge::Counterparty;
            }
            Step::Shorten => self.shorten(stepped)?,
            _ => {
                self.ended = Some(Ended {
                    at: stepped.at,
                    confirmation: match step {
                        Step::Confirm => Some(Confirmation::Explicit),
                        Step::Lapse => Some(Confirmation::Silent),
                        _ => None,
                    },
                    party: stepped.party,
                });
            }
        }
        if let Next::To(state) = next {
            self.state = state;
        }
        self.offsets.push(offset);
        Ok(())
    }

    /// Takes in that a dispute is filed.
    pub(in crate::asp) fn dispute(
        &mut self,
        at: Timestamp,
        role: Voice,
        offset: Offset,
    ) -> Result<(), &'static str> {
        let next = next(self.state, Step::Dispute, role).ok_or(NOT_ALLOWED)?;
        self.on_time(at)?;
        let state = self.state;
        let delivered = self.delivery.is_some();
        let suspended = self.disputed.get_or_insert(Suspended {
            at,
            delivered,
            open: 0,
            state,
        });
        suspended.open += 1;
        if let Next::To(state) = next {
            self.state = state;
        }
        self.offsets.push(offset);
        Ok(())
    }

    /// Takes in a record about one of its disputes.
    pub(in crate::asp) fn note(&mut self, offset: Offset) {
        self.offsets.push(offset);
    }

    /// Takes in that a dispute has ended.
    ///
    /// - `ruled`: the ruling, where it went against the obligor.
    pub(in crate::asp) fn settle(&mut self, at: Timestamp, ruled: Option<Ruled>) {
        if let Some(ruled) = ruled {
            let weight = |ruled: &Ruled| (ruled.verdict, ruled.severity);
            if self
                .ruled
                .is_none_or(|known| weight(&known) < weight(&ruled))
            {
                self.ruled = Some(ruled);
            }
        }
        let Some(mut suspended) = self.disputed else {
            return;
        };
        suspended.open = suspended.open.saturating_sub(1);
        if suspended.open > 0 {
            self.disputed = Some(suspended);
            return;
        }
        self.disputed = None;
        if self.ruled.is_some() {
            self.state = State::Resolved;
            return;
        }
        self.state = suspended.state;
        // Whoever judges loses no time to the disputes of others.
        let spent = at.0.saturating_sub(suspended.at.0);
        self.window_until = self
            .window_until
            .map(|until| until.saturating_add_ms(spent));
    }

    /// Whether a step is taken by whom it says.
    fn is_said_by(&self, stepped: &Stepped) -> Result<(), &'static str> {
        let obligor = self.created.promise.obligor;
        let named = self
            .counterparty
            .filter(|_| self.judge == Judge::Counterparty);
        let is_so = match (stepped.role, stepped.party) {
            (Voice::Clock, party) => party.is_none() && stepped.by.is_none(),
            (_, None) => false,
            (Voice::Obligor, Some(party)) => party == obligor,
            (Voice::Judge, Some(party)) => {
                party.agent != obligor.agent && named.is_none_or(|named| named == party)
            }
            (Voice::Participant, Some(party)) => party.agent != obligor.agent,
        };
        if is_so {
            return Ok(());
        }
        Err("it is not said by whom it says")
    }

    fn shorten(&mut self, stepped: &Stepped) -> Result<(), &'static str> {
        let ms = stepped.shortened_to.unwrap_or(0);
        if ms == 0 || ms >= self.window_ms {
            return Err("a window is only made shorter");
        }
        let less = signed(self.window_ms - ms);
        self.window_ms = ms;
        self.window_until = self
            .window_until
            .map(|until| until.saturating_add_ms(-less));
        Ok(())
    }

    fn open_window(&mut self, at: Timestamp) {
        self.window_until = Some(at.saturating_add_ms(signed(self.window_ms)));
    }

    fn on_time(&self, at: Timestamp) -> Result<(), &'static str> {
        if self.due().is_some_and(|due| due <= at) {
            return Err("a deadline that had passed is not recorded before it");
        }
        Ok(())
    }
}

const NOT_ALLOWED: &str = "the transition table does not allow it";

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
