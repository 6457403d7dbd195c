//! What a dispute is about, and what follows from the log or from votes. Pure functions.

use serde::{Deserialize, Serialize};

use crate::asp::commitment::Commitment;

/// What a dispute says went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DisputeType {
    /// The deadline was missed.
    TimeoutBreach,
    /// What was delivered is not what was agreed.
    SpecificationMismatch,
    /// Nothing was delivered.
    NonDelivery,
    /// The escrow is not what was agreed.
    EscrowViolation,
    /// What was agreed or delivered was changed.
    UnauthorizedModification,
}

/// What is ruled, from the mildest to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The obligor did as agreed.
    Dismissed,
    /// The obligor did part of it.
    Partial,
    /// The obligor did not do as agreed.
    Upheld,
}

/// Who rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mechanism {
    /// The log.
    Automated,
    /// Arbitrators.
    Peer,
    /// An operator.
    Human,
}

/// What the caller found in the log about a dispute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// Whether what the filer points to still has the hash that was agreed or delivered; none
    /// where it does not point to something that has one.
    pub hash_holds: Option<bool>,
    /// Whether the escrow that was agreed is held for the commitment, or was until it was settled
    /// by the terms; none where none was agreed.
    pub escrow_holds: Option<bool>,
}

impl DisputeType {
    /// All types, in the order of the document.
    pub const ALL: [Self; 5] = [
        Self::TimeoutBreach,
        Self::SpecificationMismatch,
        Self::NonDelivery,
        Self::EscrowViolation,
        Self::UnauthorizedModification,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeoutBreach => "timeoutBreach",
            Self::SpecificationMismatch => "specificationMismatch",
            Self::NonDelivery => "nonDelivery",
            Self::EscrowViolation => "escrowViolation",
            Self::UnauthorizedModification => "unauthorizedModification",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What a dispute is about whose filer does not say: what the log shows.
    #[must_use]
    pub fn inferred(commitment: &Commitment, facts: LogFacts) -> Self {
        if facts.hash_holds == Some(false) {
            Self::UnauthorizedModification
        } else if facts.escrow_holds == Some(false) {
            Self::EscrowViolation
        } else if commitment.is_breach() {
            Self::TimeoutBreach
        } else {
            Self::SpecificationMismatch
        }
    }

    /// How bad it is where the filer does not say and the log does not decide.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Self::TimeoutBreach => 1,
            Self::SpecificationMismatch | Self::NonDelivery => 2,
            Self::EscrowViolation => 3,
            Self::UnauthorizedModification => 4,
        }
    }

    /// What the log alone decides; `None` where it does not.
    #[must_use]
    pub fn automated(self, commitment: &Commitment, facts: LogFacts) -> Option<Verdict> {
        let by = |holds: Option<bool>| match holds {
            Some(true) => Some(Verdict::Dismissed),
            Some(false) => Some(Verdict::Upheld),
            None => None,
        };
        match self {
            Self::TimeoutBreach if commitment.is_breach() => Some(Verdict::Upheld),
            Self::TimeoutBreach => Some(Verdict::Dismissed),
            Self::NonDelivery if commitment.delivery.is_none() => Some(Verdict::Upheld),
            Self::NonDelivery | Self::SpecificationMismatch => None,
            Self::EscrowViolation => by(facts.escrow_holds),
            Self::UnauthorizedModification => by(facts.hash_holds),
        }
    }
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 3] = [Self::Dismissed, Self::Partial, Self::Upheld];

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dismissed => "dismissed",
            Self::Partial => "partial",
            Self::Upheld => "upheld",
        }
    }

    /// The verdict of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// What votes decide, each a verdict and a severity: two that agree, or else, of three that all
/// differ, the middle one. The severity is the middle one, of two the milder one, of those who
/// voted no milder than the ruling. `None` while too few have voted.
#[must_use]
pub fn majority(votes: &[(Verdict, u8)]) -> Option<(Verdict, u8)> {
    let mut verdicts: Vec<_> = votes.iter().map(|(verdict, _)| *verdict).collect();
    verdicts.sort_unstable();
    let agreed = verdicts.windows(2).find(|two| two[0] == two[1]);
    let verdict = match agreed {
        Some(two) => two[0],
        None if verdicts.len() >= 3 => verdicts[1],
        None => return None,
    };
    let grave = votes.iter().filter(|(voted, _)| *voted >= verdict);
    let mut severities: Vec<_> = grave.map(|(_, severity)| *severity).collect();
    severities.sort_unstable();
    let middle = severities.get(severities.len().saturating_sub(1) / 2)?;
    Some((verdict, *middle))
}
