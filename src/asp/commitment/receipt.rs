//! A receipt of a commitment: its records, so that anybody can verify without a broker what was
//! promised, by whom, and what became of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::commitments::Commitments;
use super::offer::Offered;
use super::one::Commitment;
use super::promise::Party;
use super::queries::Held;
use super::record::CommitmentRecord;
use super::table::{State, Step};
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::dispute::DisputeRecord;
use crate::asp::registry::PublicKey;
use crate::asp::session::{MessageSent, Performative, judge_alone};
use crate::asp::tool::Plain;
use crate::types::{AgentId, CommitmentId, MessageId, Offset, SessionId};

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
    /// Hash of the records and the messages with their offsets.
    pub hash: Digest,
    /// The session's records of the messages that offered and answered it, in their order; none
    /// of a promise of one side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ReceiptRecord>,
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
    /// Who of the parties signed what it said.
    pub signed: Vec<SignedBy>,
}

/// A message of a receipt that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Who said and signed it.
    pub agent: AgentId,
    /// The key that the signature is of. Whether it was the agent's, `__asp.registry` tells.
    pub key: PublicKey,
    /// The message.
    pub message: MessageId,
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
    /// A message is not the one by which the commitment was offered or answered.
    #[error("the message at offset {offset} of the session's topic: {what}")]
    Message {
        /// Its offset.
        offset: Offset,
        /// What does not fit.
        what: String,
    },
    /// There are more messages than the records name, or fewer.
    #[error("its records name {expected} messages, and it has {found}")]
    Messages {
        /// How many it has.
        found: usize,
        /// How many its records name.
        expected: usize,
    },
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
    /// - `messages`: those at [`messages_of`] these records, of the session's topic.
    ///
    /// # Errors
    /// [`ReceiptFault`] where they are not the records of one commitment, or not its messages.
    pub fn of(
        commitment: CommitmentId,
        records: Vec<ReceiptRecord>,
        messages: Vec<ReceiptRecord>,
    ) -> Result<Self, ReceiptFault> {
        let (made, said) = replay(commitment, &records)?;
        judge_messages(&made, &said, &messages)?;
        let promise = &made.created.promise;
        Ok(Self {
            commitment,
            counterparty: made.counterparty,
            hash: hash(&records, &messages),
            messages,
            obligor: promise.obligor,
            records,
            session: promise.session,
            state: made.state,
            terms_hash: made.created.terms_hash,
            v: 1,
        })
    }

    /// Verifies it with nothing but itself: every record is as the broker writes it and can follow
    /// those before it, the promise has the hash, the messages say what the records say, and the
    /// hash is that of all of them. That a broker wrote them shows in its topics, at these offsets;
    /// who of the parties said so, in the signatures of the messages.
    ///
    /// # Errors
    /// [`ReceiptFault`] naming what does not fit.
    pub fn verify(&self) -> Result<Verified, ReceiptFault> {
        if self.v != 1 {
            return Err(ReceiptFault::Version(self.v));
        }
        let (commitment, said) = replay(self.commitment, &self.records)?;
        let signed = judge_messages(&commitment, &said, &self.messages)?;
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
        let expected = hash(&self.records, &self.messages);
        if expected != self.hash {
            return Err(ReceiptFault::Hash {
                found: self.hash,
                expected,
            });
        }
        Ok(Verified {
            commitment,
            records: self.records.len(),
            signed,
        })
    }
}

fn hash(records: &[ReceiptRecord], messages: &[ReceiptRecord]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(RECEIPT_DOMAIN);
    for ReceiptRecord { offset, record } in records.iter().chain(messages) {
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

/// A message that a record of a commitment names.
#[derive(Clone, Copy, Debug)]
struct Named {
    message: MessageId,
    offset: Offset,
    /// Who said it, as the record has it.
    party: Party,
    /// What it did; none where it offered the commitment.
    step: Option<Step>,
}

impl Named {
    fn of(record: &CommitmentRecord) -> Option<Self> {
        match record {
            CommitmentRecord::Created(created) => Some(Self {
                message: created.message?,
                offset: created.message_offset?,
                party: created.promise.obligor,
                step: None,
            }),
            CommitmentRecord::Stepped { step, stepped } => Some(Self {
                message: stepped.message?,
                offset: stepped.message_offset?,
                party: stepped.party?,
                step: Some(*step),
            }),
            _ => None,
        }
    }
}

/// Offsets, on the session's topic, of the messages that these records of a commitment name.
///
/// # Errors
/// [`ReceiptFault`] where they are not the records of one commitment.
pub fn messages_of(
    commitment: CommitmentId,
    records: &[ReceiptRecord],
) -> Result<Vec<Offset>, ReceiptFault> {
    let (_, said) = replay(commitment, records)?;
    Ok(said.into_iter().map(|said| said.offset).collect())
}

/// Whether the messages said what the records say; who signed them.
fn judge_messages(
    commitment: &Commitment,
    said: &[Named],
    messages: &[ReceiptRecord],
) -> Result<Vec<SignedBy>, ReceiptFault> {
    if said.len() != messages.len() {
        return Err(ReceiptFault::Messages {
            found: messages.len(),
            expected: said.len(),
        });
    }
    let mut signed = Vec::new();
    for (named, ReceiptRecord { offset, record }) in said.iter().zip(messages) {
        let fault = |what: String| ReceiptFault::Message {
            offset: *offset,
            what,
        };
        if named.offset != *offset {
            let what = format!("the records name the one at offset {}", named.offset.0);
            return Err(fault(what));
        }
        let judged = judge_alone(record.as_str().as_bytes());
        let (sent, payload) = judged.map_err(|misfit| fault(misfit.to_string()))?;
        judge_message(commitment, named, &sent, payload.as_ref())
            .map_err(|what| fault(what.to_owned()))?;
        if let (Some(key), Some(_)) = (sent.key, sent.signature) {
            signed.push(SignedBy {
                agent: sent.message.sender,
                key,
                message: sent.message.id,
            });
        }
    }
    Ok(signed)
}

/// Whether a message said what a record says that it said.
fn judge_message(
    commitment: &Commitment,
    named: &Named,
    sent: &MessageSent,
    payload: Option<&Canonical>,
) -> Result<(), &'static str> {
    let created = &commitment.created;
    let promise = &created.promise;
    let message = &sent.message;
    if message.id != named.message || message.session != promise.session {
        return Err("it is another message than its record names");
    }
    if message.sender != named.party.agent {
        return Err("it was sent by another agent");
    }
    let said = message.performative;
    let Some(step) = named.step else {
        if said != Performative::Commit || sent.commitment != Some(commitment.id()) {
            return Err("it does not offer the commitment");
        }
        if created.signed != sent.signature.is_some() {
            return Err("the record says otherwise whether it is signed");
        }
        if promise.counterparty.map(|to| to.agent) != message.recipient {
            return Err("it is meant for another agent than the promise");
        }
        let payload = payload.ok_or("its payload, which has the terms, was erased")?;
        let offered = Offered::of(payload).ok().flatten();
        let offered = offered.ok_or("its payload describes no commitment")?;
        let offered = offered.promise(promise.session, promise.obligor, promise.counterparty);
        if offered.terms_hash() != created.terms_hash {
            return Err("its payload offers other terms");
        }
        return Ok(());
    };
    let is_so = match step {
        Step::Accept => said == Performative::Accept,
        Step::Reject => matches!(said, Performative::Reject | Performative::Counter),
        Step::Withdraw => said == Performative::Withdraw,
        _ => false,
    };
    if !is_so || message.in_reply_to != created.message {
        return Err("it does not answer the offer as its record says");
    }
    Ok(())
}

/// What records of one commitment make of it, and the messages that they name.
fn replay(
    id: CommitmentId,
    records: &[ReceiptRecord],
) -> Result<(Commitment, Vec<Named>), ReceiptFault> {
    let mut said = Vec::new();
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
        said.extend(Named::of(&read));
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
        return Ok((closed, said));
    }
    match state.commitment(id) {
        Some(Held::Live(commitment)) => Ok(((*commitment).clone(), said)),
        _ => Err(ReceiptFault::Empty(id)),
    }
}
