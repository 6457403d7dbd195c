//! A receipt of a commitment: its records, so that anybody can verify without a broker what was
//! promised, by whom, and what became of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::commitments::Commitments;
use super::one::Commitment;
use super::promise::Party;
use super::queries::Held;
use super::record::CommitmentRecord;
use super::table::State;
use crate::asp::chain::Digest;
use crate::asp::dispute::DisputeRecord;
use crate::asp::tool::Plain;
use crate::types::{CommitmentId, Offset, SessionId};

/// Stands before the bytes of a receipt that are hashed.
pub const RECEIPT_DOMAIN: &[u8] = b"npayload/asp/receipt/1\n";

/// A receipt, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The commitment.
    pub commitment: CommitmentId,
    /// To whom it was promised; none where it was to the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<Party>,
    /// Hash of the records with their offsets.
    pub hash: Digest,
    /// Who promised.
    pub obligor: Party,
    /// The records, in their order.
    pub records: Vec<ReceiptRecord>,
    /// Its session.
    pub session: SessionId,
    /// Where it stood when the receipt was made.
    pub state: State,
    /// Hash of what was promised.
    pub terms_hash: Digest,
    /// Version of the receipt: 1.
    pub v: u64,
}

/// A record in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRecord {
    /// Its offset on the topic.
    pub offset: Offset,
    /// The record, byte for byte.
    pub record: Plain,
}

/// What a receipt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The commitment, as the records make it.
    pub commitment: Commitment,
    /// How many records there are.
    pub records: usize,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFault {
    /// It is of a version that is not known.
    #[error("receipt of version {0}, only version 1 is known")]
    Version(u64),
    /// A record cannot be read.
    #[error("the record at offset {offset} cannot be read: {error}")]
    Unreadable {
        /// Its offset.
        offset: Offset,
        /// What the reader met.
        error: String,
    },
    /// A record is not written as the broker writes it.
    #[error("the record at offset {offset} is not in canonical form")]
    Spelling {
        /// Its offset.
        offset: Offset,
    },
    /// The offsets do not ascend.
    #[error("the record at offset {offset} stands behind one that is not before it")]
    Order {
        /// Its offset.
        offset: Offset,
    },
    /// A record cannot follow those before it.
    #[error("the record at offset {offset} cannot follow: {rule}")]
    State {
        /// Its offset.
        offset: Offset,
        /// What it breaks.
        rule: String,
    },
    /// There is no record of the commitment.
    #[error("it has no record of commitment {0}")]
    Empty(CommitmentId),
    /// What stands above the records is not what they say.
    #[error("its member `{member}` is not what its records say")]
    Head {
        /// The member.
        member: &'static str,
    },
    /// The hash is not that of the records.
    #[error("its hash is {found}, and that of its records {expected}")]
    Hash {
        /// What it says.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
}

impl Receipt {
    /// The receipt of a commitment, from its records.
    ///
    /// - `records`: those at [`Commitment::offsets`], and the one that closed it where one did.
    ///
    /// # Errors
    /// [`ReceiptFault`] where they are not the records of one commitment.
    pub fn of(commitment: CommitmentId, records: Vec<ReceiptRecord>) -> Result<Self, ReceiptFault> {
        let made = replay(commitment, &records)?;
        let promise = &made.created.promise;
        Ok(Self {
            commitment,
            counterparty: made.counterparty,
            hash: hash(&records),
            obligor: promise.obligor,
            records,
            session: promise.session,
            state: made.state,
            terms_hash: made.created.terms_hash,
            v: 1,
        })
    }

    /// Verifies it with nothing but itself: every record is as the broker writes it and can follow
    /// those before it, the promise has the hash, and the hash is that of all records. That a
    /// broker wrote them shows in its topic, at these offsets; who of the parties said so, in the
    /// signed messages of the session.
    ///
    /// # Errors
    /// [`ReceiptFault`] naming what does not fit.
    pub fn verify(&self) -> Result<Verified, ReceiptFault> {
        if self.v != 1 {
            return Err(ReceiptFault::Version(self.v));
        }
        let commitment = replay(self.commitment, &self.records)?;
        let promise = &commitment.created.promise;
        let differs = [
            ("counterparty", self.counterparty != commitment.counterparty),
            ("obligor", self.obligor != promise.obligor),
            ("session", self.session != promise.session),
            ("state", self.state != commitment.state),
            (
                "termsHash",
                self.terms_hash != commitment.created.terms_hash,
            ),
        ];
        if let Some((member, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(ReceiptFault::Head { member });
        }
        let expected = hash(&self.records);
        if expected != self.hash {
            return Err(ReceiptFault::Hash {
                found: self.hash,
                expected,
            });
        }
        Ok(Verified {
            commitment,
            records: self.records.len(),
        })
    }
}

fn hash(records: &[ReceiptRecord]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(RECEIPT_DOMAIN);
    for ReceiptRecord { offset, record } in records {
        hasher.update(offset.0.to_le_bytes());
        hasher.update(super::promise::wide(record.bytes()).to_le_bytes());
        hasher.update(record.as_str());
    }
    Digest(hasher.finalize().into())
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    record_type: String,
}

/// What records of one commitment make of it.
fn replay(id: CommitmentId, records: &[ReceiptRecord]) -> Result<Commitment, ReceiptFault> {
    let mut state = Commitments::default();
    let mut closed = None;
    let mut before = None;
    for ReceiptRecord { offset, record } in records {
        let offset = *offset;
        let unreadable = |error: String| ReceiptFault::Unreadable { offset, error };
        let broken = |rule: String| ReceiptFault::State { offset, rule };
        let text = record.as_str();
        let head: Head = serde_json::from_str(text).map_err(|e| unreadable(e.to_string()))?;
        let read = CommitmentRecord::decode(&head.record_type, text.as_bytes());
        let read = read.map_err(|error| unreadable(error.to_string()))?;
        if matches!(read, CommitmentRecord::Unknown { .. }) {
            return Err(unreadable(format!("unknown type {}", head.record_type)));
        }
        if read.encode() != text.as_bytes() {
            return Err(ReceiptFault::Spelling { offset });
        }
        if before.is_some_and(|before| before >= offset) {
            return Err(ReceiptFault::Order { offset });
        }
        before = Some(offset);
        if read.commitment() != Some(id) || closed.is_some() {
            return Err(broken(format!(
                "it is not about commitment {id} before its close"
            )));
        }
        match &read {
            // What other disputes it was sealed behind is not in a receipt.
            CommitmentRecord::Dispute(DisputeRecord::Filed(filed)) => {
                state.seal = Some(filed.seal);
            }
            CommitmentRecord::Closed(record) => {
                let live = state.live(id).map(|live| Commitment {
                    closed: true,
                    ..(**live).clone()
                });
                if live.as_ref() != Some(&record.commitment) {
                    return Err(broken(
                        "it does not close the commitment as it is".to_owned(),
                    ));
                }
                closed = live;
                continue;
            }
            _ => {}
        }
        let applied = state.apply(&read, offset);
        applied.map_err(|error| broken(error.rule.to_owned()))?;
    }
    if let Some(closed) = closed {
        return Ok(closed);
    }
    match state.commitment(id) {
        Some(Held::Live(commitment)) => Ok((*commitment).clone()),
        _ => Err(ReceiptFault::Empty(id)),
    }
}
