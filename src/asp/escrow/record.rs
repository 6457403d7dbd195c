//! What is recorded on the topic `__asp.escrow`.

use serde::{Deserialize, Serialize};

use super::fold::EscrowRow;
use super::ledger::Account;
use super::money::Currency;
use crate::asp::Links;
use crate::asp::commitment::{Reader, envelope};
use crate::folding::{EventError, Folded};
use crate::types::{CommitmentId, PaymentId, PrincipalId, Timestamp};

/// One record of the topic `__asp.escrow`: JSON with its members in alphabetical order, so that it
/// is the canonical form (RFC 8785) of what it says.
#[expect(
    clippy::large_enum_variant,
    reason = "records are made, written and dropped one at a time"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EscrowRecord {
    /// Money moved from one place to another: `escrow.deposited`, `.withdrawn`, `.held`,
    /// `.released`, `.forfeited`, `.frozen`, `.unfrozen`.
    Moved {
        /// Why.
        kind: MoveKind,
        /// From where to where.
        moved: Moved,
    },
    /// A part of the whole state: `escrow.folded`. Stands in snapshots and not on the topic.
    Folded(Folded<EscrowRow>),
    /// A record of a newer broker: kept as it is, and without effect here.
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// Why money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoveKind {
    /// It comes in.
    Deposit,
    /// It goes out.
    Withdraw,
    /// It is put behind a promise.
    Hold,
    /// It goes back to who put it there.
    Release,
    /// It goes to whom it was promised.
    Forfeit,
    /// It stays where it is while a dispute is open.
    Freeze,
    /// It can move again.
    Unfreeze,
}

/// Part of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// What its owner may use.
    Available,
    /// What stands behind promises.
    Held,
    /// What stands behind disputed promises.
    Frozen,
}

/// Where money is: a part of an account, or outside of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Whose.
    pub account: Account,
    /// Which part.
    pub part: Part,
}

/// See [`EscrowRecord::Moved`]. A debit and a credit of one amount, so that the ledger balances
/// after every record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// In the smallest unit of the currency; at least 1.
    pub amount: u64,
    /// When; never before the record before it.
    pub at: Timestamp,
    /// To whom it goes where the promise is not kept; where it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneficiary: Option<Account>,
    /// Who said so; none where it follows from a commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// The commitment, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<CommitmentId>,
    /// The currency.
    pub currency: Currency,
    /// From where; none where it comes from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Place>,
    /// The operator's id for it, where it comes in or goes out under one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentId>,
    /// The movements before it.
    pub threads: MovedLinks,
    /// To where; none where it goes outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Place>,
}

/// What the record of a movement says of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedLinks {
    /// Of all.
    pub all: Links,
    /// Of the account that it comes from; none where it comes from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Links>,
    /// Of the account that it goes to; none where that is the same one, or outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Links>,
}

impl Moved {
    /// What it says of the movements of an account before it; none where it is not about that one.
    #[must_use]
    pub fn links_of(&self, account: Account) -> Option<Links> {
        let is_of = |place: Option<Place>| place.is_some_and(|place| place.account == account);
        if is_of(self.from) {
            self.threads.from
        } else if is_of(self.to) {
            self.threads.to
        } else {
            None
        }
    }
}

impl MoveKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Deposit,
        Self::Withdraw,
        Self::Hold,
        Self::Release,
        Self::Forfeit,
        Self::Freeze,
        Self::Unfreeze,
    ];

    /// The type of its record.
    #[must_use]
    pub fn record_type(self) -> &'static str {
        match self {
            Self::Deposit => "escrow.deposited",
            Self::Withdraw => "escrow.withdrawn",
            Self::Hold => "escrow.held",
            Self::Release => "escrow.released",
            Self::Forfeit => "escrow.forfeited",
            Self::Freeze => "escrow.frozen",
            Self::Unfreeze => "escrow.unfrozen",
        }
    }

    /// The parts that it moves between; none is outside.
    #[must_use]
    pub fn parts(self) -> (Option<Part>, Option<Part>) {
        use Part::{Available, Frozen, Held};
        match self {
            Self::Deposit => (None, Some(Available)),
            Self::Withdraw => (Some(Available), None),
            Self::Hold => (Some(Available), Some(Held)),
            Self::Release | Self::Forfeit => (Some(Held), Some(Available)),
            Self::Freeze => (Some(Held), Some(Frozen)),
            Self::Unfreeze => (Some(Frozen), Some(Held)),
        }
    }
}

impl EscrowRecord {
    /// Type of the record.
    #[must_use]
    pub fn record_type(&self) -> &str {
        match self {
            Self::Moved { kind, .. } => kind.record_type(),
            Self::Folded(_) => "escrow.folded",
            Self::Unknown { record_type, .. } => record_type,
        }
    }

    /// Payload of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Moved { moved, .. } => envelope(self.record_type(), moved),
            Self::Folded(part) => envelope(self.record_type(), part),
            Self::Unknown { payload, .. } => payload.clone(),
        }
    }

    /// What a record of the topic holds. A type this broker does not know gives `Unknown`; members
    /// it does not know are passed over.
    ///
    /// # Errors
    /// [`EventError`] when the payload is not that record's JSON, or has a newer version.
    pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
        let read = Reader {
            record_type,
            payload,
        };
        if record_type == "escrow.folded" {
            return Ok(Self::Folded(read.read()?));
        }
        let mut kinds = MoveKind::ALL.into_iter();
        match kinds.find(|kind| kind.record_type() == record_type) {
            Some(kind) => Ok(Self::Moved {
                kind,
                moved: read.read()?,
            }),
            None => Ok(Self::Unknown {
                record_type: record_type.to_owned(),
                payload: payload.to_owned(),
            }),
        }
    }
}
