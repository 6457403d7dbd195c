//! The one transition table of disputes, used for checking and for replay. Drawn in docs/asp.md,
//! "Disputes", and compared with it cell by cell by tests/suite/asp_commitments.rs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DisputeState {
    /// Filed, and not answered.
    Open,
    /// The obligor has answered.
    Answered,
    /// Arbitrators or an operator decide.
    UnderReview,
    /// Ruled on.
    Resolved,
    /// Taken back.
    Withdrawn,
    /// Nobody ruled in time.
    Expired,
}

/// What is done to a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisputeStep {
    /// The obligor answers.
    Answer,
    /// The filer takes it back.
    Withdraw,
    /// The time to answer is over.
    Review,
    /// An arbitrator votes.
    Vote,
    /// A silent arbitrator is replaced.
    Replace,
    /// There are not enough arbitrators: an operator is to decide.
    Escalate,
    /// It is ruled.
    Rule,
    /// The time for a ruling is over.
    Expire,
}

/// As whom somebody acts on a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisputeVoice {
    /// Who filed it.
    Filer,
    /// Against whom it is.
    Obligor,
    /// An arbitrator with a seat.
    Arbitrator,
    /// An operator, to whom it was escalated.
    Operator,
    /// The broker: by its clock, its log, or the count of the votes.
    Broker,
}

impl DisputeState {
    /// All states, in the order of the table's columns.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Answered,
        Self::UnderReview,
        Self::Resolved,
        Self::Withdrawn,
        Self::Expired,
    ];

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Resolved | Self::Withdrawn | Self::Expired)
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::UnderReview => "underReview",
            Self::Resolved => "resolved",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl DisputeStep {
    /// All steps, in the order of the table's rows.
    pub const ALL: [Self; 8] = [
        Self::Answer,
        Self::Withdraw,
        Self::Review,
        Self::Vote,
        Self::Replace,
        Self::Escalate,
        Self::Rule,
        Self::Expire,
    ];

    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Withdraw => "withdraw",
            Self::Review => "review",
            Self::Vote => "vote",
            Self::Replace => "replace",
            Self::Escalate => "escalate",
            Self::Rule => "rule",
            Self::Expire => "expire",
        }
    }
}

impl DisputeVoice {
    /// All voices: F, O, A, H and K of the table.
    pub const ALL: [Self; 5] = [
        Self::Filer,
        Self::Obligor,
        Self::Arbitrator,
        Self::Operator,
        Self::Broker,
    ];
}

impl fmt::Display for DisputeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DisputeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DisputeVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filer => "its filer",
            Self::Obligor => "the obligor",
            Self::Arbitrator => "an arbitrator",
            Self::Operator => "an operator",
            Self::Broker => "the broker",
        })
    }
}

/// The state after a step, when that voice takes it; `None` where it is illegal.
#[must_use]
pub fn next(state: DisputeState, step: DisputeStep, voice: DisputeVoice) -> Option<DisputeState> {
    use DisputeState::{Answered, Expired, Open, Resolved, UnderReview, Withdrawn};
    use DisputeStep as Step;
    use DisputeVoice::{Arbitrator, Broker, Filer, Obligor, Operator};
    match (state, step, voice) {
        (Open, Step::Answer, Obligor) => Some(Answered),
        (Open | Answered, Step::Withdraw, Filer) => Some(Withdrawn),
        (Open | Answered, Step::Review, Broker) => Some(UnderReview),
        (Open, Step::Rule, Broker) => Some(Resolved),
        (UnderReview, Step::Vote, Arbitrator) => Some(UnderReview),
        (UnderReview, Step::Replace | Step::Escalate, Broker) => Some(UnderReview),
        (UnderReview, Step::Rule, Operator | Broker) => Some(Resolved),
        (UnderReview, Step::Expire, Broker) => Some(Expired),
        _ => None,
    }
}
