//! The one transition table of commitments, used for checking and for replay. Drawn in
//! docs/asp.md, "Commitments", and compared with it cell by cell by tests/suite/asp_commitments.rs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Offered, and binds nobody yet.
    Proposed,
    /// Taken back before anybody accepted it.
    Withdrawn,
    /// Refused.
    Rejected,
    /// Not answered in time.
    Expired,
    /// Binds, and is to be delivered by its deadline.
    Active,
    /// Delivered, and can be confirmed or disputed until its window ends.
    Delivered,
    /// Confirmed: by word, by silence, or because nobody judges it.
    Fulfilled,
    /// Its deadline passed without delivery.
    Breached,
    /// A dispute about it is not decided.
    Disputed,
    /// A dispute about it was ruled on.
    Resolved,
}

/// What is done to a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The offer is accepted.
    Accept,
    /// The offer is refused.
    Reject,
    /// The offer is taken back.
    Withdraw,
    /// Nobody answered the offer in time, or its session ended.
    Expire,
    /// What was promised is delivered.
    Deliver,
    /// The delivery is confirmed.
    Confirm,
    /// The time for judging a delivery is made shorter.
    Shorten,
    /// Nobody said anything until the window ended, which confirms.
    Lapse,
    /// The deadline passed.
    Breach,
    /// A dispute is filed.
    Dispute,
    /// The last open dispute has ended.
    Settle,
}

/// As whom somebody acts on a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Voice {
    /// Who promised.
    Obligor,
    /// Who judges the delivery: see [`Judge`].
    Judge,
    /// Any other participant of the session.
    Participant,
    /// The broker's clock.
    Clock,
}

/// Who judges whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Judge {
    /// The counterparty, which is named.
    Counterparty,
    /// Nobody is named: any coordinator of the session but the obligor.
    Coordinator,
    /// Nobody is named and no other leads: any participant of the session but the obligor.
    Participant,
    /// There is nobody but the obligor.
    Nobody,
}

/// What an agent is in the commitment's session, which the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It leads.
    Coordinator,
    /// It takes part.
    Participant,
    /// It is not in it.
    Stranger,
}

/// What a legal step does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays.
    Stays,
    /// It becomes this one.
    To(State),
    /// Fulfilled where nobody judges, else delivered.
    Delivery,
    /// Resolved where a dispute was ruled on, else the state before the first of them.
    Ruling,
}

impl State {
    /// All states, in the order of the table's columns.
    pub const ALL: [Self; 10] = [
        Self::Proposed,
        Self::Withdrawn,
        Self::Rejected,
        Self::Expired,
        Self::Active,
        Self::Delivered,
        Self::Fulfilled,
        Self::Breached,
        Self::Disputed,
        Self::Resolved,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Withdrawn => "withdrawn",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Active => "active",
            Self::Delivered => "delivered",
            Self::Fulfilled => "fulfilled",
            Self::Breached => "breached",
            Self::Disputed => "disputed",
            Self::Resolved => "resolved",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Step {
    /// All steps, in the order of the table's rows.
    pub const ALL: [Self; 11] = [
        Self::Accept,
        Self::Reject,
        Self::Withdraw,
        Self::Expire,
        Self::Deliver,
        Self::Confirm,
        Self::Shorten,
        Self::Lapse,
        Self::Breach,
        Self::Dispute,
        Self::Settle,
    ];

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Withdraw => "withdraw",
            Self::Expire => "expire",
            Self::Deliver => "deliver",
            Self::Confirm => "confirm",
            Self::Shorten => "shorten",
            Self::Lapse => "lapse",
            Self::Breach => "breach",
            Self::Dispute => "dispute",
            Self::Settle => "settle",
        }
    }
}

impl Voice {
    /// All voices: O, J, P and K of the table.
    pub const ALL: [Self; 4] = [Self::Obligor, Self::Judge, Self::Participant, Self::Clock];
}

impl Judge {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 4] = [
        Self::Counterparty,
        Self::Coordinator,
        Self::Participant,
        Self::Nobody,
    ];

    /// As whom somebody acts who is neither the obligor nor the named counterparty; `None` for
    /// one who has no say.
    #[must_use]
    pub fn voice(self, standing: Standing) -> Option<Voice> {
        match (self, standing) {
            (_, Standing::Stranger) => None,
            (Self::Coordinator, Standing::Coordinator) | (Self::Participant, _) => {
                Some(Voice::Judge)
            }
            _ => Some(Voice::Participant),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Obligor => "the obligor",
            Self::Judge => "whoever judges it",
            Self::Participant => "another participant",
            Self::Clock => "the clock",
        })
    }
}

/// What a step does in a state, when that voice takes it; `None` where it is illegal.
#[must_use]
pub fn next(state: State, step: Step, voice: Voice) -> Option<Next> {
    use Next::{Delivery, Ruling, Stays, To};
    use Voice::{Clock, Judge, Obligor, Participant};
    match (state, step, voice) {
        (State::Proposed, Step::Accept, Judge) => Some(To(State::Active)),
        (State::Proposed, Step::Reject, Judge) => Some(To(State::Rejected)),
        (State::Proposed, Step::Withdraw, Obligor) => Some(To(State::Withdrawn)),
        (State::Proposed, Step::Expire, Clock) => Some(To(State::Expired)),
        (State::Active, Step::Deliver, Obligor) => Some(Delivery),
        (State::Breached | State::Disputed | State::Resolved, Step::Deliver, Obligor) => {
            Some(Stays)
        }
        (State::Delivered, Step::Confirm, Judge) => Some(To(State::Fulfilled)),
        (State::Active | State::Delivered, Step::Shorten, Judge) => Some(Stays),
        (State::Delivered, Step::Lapse, Clock) => Some(To(State::Fulfilled)),
        (State::Active, Step::Breach, Clock) => Some(To(State::Breached)),
        (State::Delivered | State::Breached, Step::Dispute, Judge | Participant) => {
            Some(To(State::Disputed))
        }
        (State::Disputed, Step::Dispute, Judge | Participant) => Some(Stays),
        (State::Disputed, Step::Settle, Clock) => Some(Ruling),
        _ => None,
    }
}

/// The steps that a voice may take in a state.
pub fn allowed(state: State, voice: Voice) -> impl Iterator<Item = Step> {
    Step::ALL
        .into_iter()
        .filter(move |step| next(state, *step, voice).is_some())
}
