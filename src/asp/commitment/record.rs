//! What is recorded on the topic `__asp.commitments`: commitments, and the disputes about them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::fold::CommitmentRow;
use super::one::Commitment;
use super::promise::{Party, Promise};
use super::table::{Judge, Step, Voice};
use super::threads::ClosedLinks;
use crate::asp::Knot;
use crate::asp::chain::Digest;
use crate::asp::dispute::{Dispute, DisputeRecord};
use crate::folding::{self, EVENT_VERSION, EventError, Folded};
use crate::types::{CommitmentId, DisputeId, MessageId, Offset, PrincipalId, SessionId, Timestamp};

/// One record of the topic `__asp.commitments`: JSON with its members in alphabetical order, so
/// that it is the canonical form (RFC 8785) of what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitmentRecord {
    /// A promise begins: `commitment.created` where it binds at once, `commitment.proposed` where
    /// it is offered.
    Created(Arc<Created>),
    /// What was promised is delivered: `commitment.delivered`.
    Delivered(Arc<Delivered>),
    /// Any other step: `commitment.accepted`, `.rejected`, `.withdrawn`, `.expired`, `.confirmed`,
    /// `.windowShortened`, `.silenceConfirmed`, `.breached`.
    Stepped {
        /// Which.
        step: Step,
        /// What is said of it.
        stepped: Stepped,
    },
    /// Nothing can happen to it any more; says all of it: `commitment.closed`.
    Closed(Arc<Closed>),
    /// Something about a dispute: `dispute.…`, `arbitration.sealed`.
    Dispute(DisputeRecord),
    /// The oldest closed commitments are no longer held: `commitments.filed`.
    Filed(CommitmentsFiled),
    /// A part of the whole state: `commitments.folded`. Stands in snapshots and not on the topic.
    Folded(Folded<CommitmentRow>),
    /// A record of a newer broker: kept as it is, and without effect here.
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// How a promise comes to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Offered by one and accepted by another.
    Agreed,
    /// Given by one alone.
    OneSided,
}

/// See [`CommitmentRecord::Created`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// Time after a breach in which it can be disputed and delivered late, in ms.
    pub claim_ms: u64,
    /// The commitment.
    pub commitment: CommitmentId,
    /// Who judges it.
    pub judge: Judge,
    /// The message that offered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// Offset of that message's record on `__asp.sessions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_offset: Option<Offset>,
    /// How it comes to bind.
    pub mode: Mode,
    /// What is promised.
    pub promise: Promise,
    /// Whether that message is signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
    /// Hash of the promise.
    pub terms_hash: Digest,
}

/// See [`CommitmentRecord::Delivered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The commitment.
    pub commitment: CommitmentId,
    /// What shows it.
    pub evidence: Evidence,
    /// Hash of the evidence.
    pub evidence_hash: Digest,
}

/// See [`CommitmentRecord::Stepped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stepped {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so; none where the clock did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The message that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// Offset of that message's record on `__asp.sessions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_offset: Option<Offset>,
    /// The agent that did it; none where the clock did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// As whom.
    pub role: Voice,
    /// The new time for judging, in ms, where it was shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortened_to: Option<u64>,
}

/// See [`CommitmentRecord::Closed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// The commitment, closed.
    pub commitment: Commitment,
    /// All disputes about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputes: Vec<Dispute>,
    /// The closed commitments before it.
    pub threads: ClosedLinks,
}

/// See [`CommitmentRecord::Filed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitmentsFiled {
    /// The commitments, each with the offset of the record that closed it, in the order of the
    /// topic.
    pub commitments: Vec<(CommitmentId, Offset)>,
    /// The disputes about them, each with the offset of the record that closed its commitment.
    pub disputes: Vec<(DisputeId, Offset)>,
    /// The sessions none of whose commitments is held any longer, each with the last record of
    /// its thread. A later commitment in such a session begins another thread.
    pub sessions: Vec<(SessionId, Knot)>,
}

impl CommitmentsFiled {
    /// Where the record is that closed this commitment, when it is filed here.
    #[must_use]
    pub fn commitment(&self, commitment: CommitmentId) -> Option<Offset> {
        find(&self.commitments, commitment)
    }

    /// Where the record is that closed this dispute's commitment, when it is filed here.
    #[must_use]
    pub fn dispute(&self, dispute: DisputeId) -> Option<Offset> {
        find(&self.disputes, dispute)
    }

    /// The last record of this session's thread, when that is filed here.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<Knot> {
        find(&self.sessions, session)
    }
}

fn find<Id: PartialEq, Value: Copy>(rows: &[(Id, Value)], id: Id) -> Option<Value> {
    let row = rows.iter().find(|(other, _)| *other == id);
    row.map(|(_, value)| *value)
}

/// The types of records of a step, `None` for those that have a record of their own.
fn step_type(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Accept => "commitment.accepted",
        Step::Reject => "commitment.rejected",
        Step::Withdraw => "commitment.withdrawn",
        Step::Expire => "commitment.expired",
        Step::Confirm => "commitment.confirmed",
        Step::Shorten => "commitment.windowShortened",
        Step::Lapse => "commitment.silenceConfirmed",
        Step::Breach => "commitment.breached",
        Step::Deliver | Step::Dispute | Step::Settle => return None,
    })
}

impl CommitmentRecord {
    /// Type of the record.
    ///
    /// # Panics
    /// Where a step is given that has a record of its own.
    #[must_use]
    pub fn record_type(&self) -> &str {
        match self {
            Self::Created(created) => match created.mode {
                Mode::Agreed => "commitment.proposed",
                Mode::OneSided => "commitment.created",
            },
            Self::Delivered(_) => "commitment.delivered",
            Self::Stepped { step, .. } => step_type(*step).expect("no step with its own record"),
            Self::Closed(_) => "commitment.closed",
            Self::Dispute(record) => record.record_type(),
            Self::Filed(_) => "commitments.filed",
            Self::Folded(_) => "commitments.folded",
            Self::Unknown { record_type, .. } => record_type,
        }
    }

    /// The commitment that it is about, where it is about one.
    #[must_use]
    pub fn commitment(&self) -> Option<CommitmentId> {
        match self {
            Self::Created(created) => Some(created.commitment),
            Self::Delivered(delivered) => Some(delivered.commitment),
            Self::Stepped { stepped, .. } => Some(stepped.commitment),
            Self::Closed(closed) => Some(closed.commitment.id()),
            Self::Dispute(record) => record.commitment(),
            Self::Filed(_) | Self::Folded(_) | Self::Unknown { .. } => None,
        }
    }

    /// Payload of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let record_type = self.record_type();
        match self {
            Self::Created(created) => envelope(record_type, &**created),
            Self::Delivered(delivered) => envelope(record_type, &**delivered),
            Self::Stepped { stepped, .. } => envelope(record_type, stepped),
            Self::Closed(closed) => envelope(record_type, &**closed),
            Self::Dispute(record) => record.encode(),
            Self::Filed(filed) => envelope(record_type, filed),
            Self::Folded(part) => envelope(record_type, part),
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
        let stepped = |step| {
            let stepped = read.read()?;
            Ok(Self::Stepped { step, stepped })
        };
        match record_type {
            "commitment.created" | "commitment.proposed" => {
                let created = Self::Created(Arc::new(read.read()?));
                // The mode is said twice, by the type and by the member.
                if created.record_type() == record_type {
                    return Ok(created);
                }
                Err(EventError::TypeMismatch {
                    record: record_type.to_owned(),
                    event: created.record_type().to_owned(),
                })
            }
            "commitment.delivered" => Ok(Self::Delivered(Arc::new(read.read()?))),
            "commitment.closed" => Ok(Self::Closed(Arc::new(read.read()?))),
            "commitments.filed" => Ok(Self::Filed(read.read()?)),
            "commitments.folded" => Ok(Self::Folded(read.read()?)),
            _ => match Step::ALL
                .into_iter()
                .find(|step| step_type(*step) == Some(record_type))
            {
                Some(step) => stepped(step),
                None => match DisputeRecord::decode(record_type, payload)? {
                    Some(record) => Ok(Self::Dispute(record)),
                    None => Ok(Self::Unknown {
                        record_type: record_type.to_owned(),
                        payload: payload.to_owned(),
                    }),
                },
            },
        }
    }
}

/// A record as JSON: its members, then its type and version, which stand last in the alphabet.
pub(in crate::asp) fn envelope(record_type: &str, record: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a, Record> {
        #[serde(flatten)]
        record: &'a Record,
        #[serde(rename = "type")]
        record_type: &'a str,
        v: u16,
    }
    let envelope = Envelope {
        record,
        record_type,
        v: EVENT_VERSION,
    };
    serde_json::to_vec(&envelope).expect("records have string keys and no fallible values")
}

/// A record that is being read.
pub(in crate::asp) struct Reader<'a> {
    pub(in crate::asp) record_type: &'a str,
    pub(in crate::asp) payload: &'a [u8],
}

impl<'a> Reader<'a> {
    /// What it holds, when it is of its type and of a version that is known.
    pub(in crate::asp) fn read<Record: Deserialize<'a>>(&self) -> Result<Record, EventError> {
        folding::check_head(EVENT_VERSION, self.record_type, self.payload)?;
        serde_json::from_slice(self.payload).map_err(|source| EventError::Json {
            event: self.record_type.to_owned(),
            source,
        })
    }
}
