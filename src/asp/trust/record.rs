//! What is recorded on the topic `__asp.evidence`. Content-free: who, with whom, when, how it ended.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fold::TrustPart;
use crate::asp::Links;
use crate::asp::chain::Digest;
use crate::folding::{EVENT_VERSION, EventError};
use crate::types::{
    AgentId, CommitmentId, DisputeId, MessageId, OrgId, PrincipalId, SessionId, Timestamp,
};

/// Declares the records: JSON with members in alphabetical order, so that each is the canonical
/// form (RFC 8785) of what it says.
macro_rules! records {
    ($($(#[$doc:meta])* $variant:ident($record:ident) = $name:literal,)*) => {
        /// One record of the topic `__asp.evidence`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum TrustRecord {
            $($(#[$doc])* $variant($record),)*
            /// A record of a newer broker: kept as it is, and without effect here.
            Unknown {
                /// Type of the record.
                record_type: String,
                /// Payload of the record.
                payload: Vec<u8>,
            },
        }

        /// The types of records, as in their member `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Kind {
            $(
                #[doc = concat!("`", $name, "`.")]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl TrustRecord {
            /// Type of the record.
            #[must_use]
            pub fn record_type(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Unknown { record_type, .. } => record_type,
                }
            }

            /// Payload of the record.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(record) => to_vec(record),)*
                    Self::Unknown { payload, .. } => payload.clone(),
                }
            }

            /// What a record of the topic holds. A type this broker does not know gives `Unknown`;
            /// members it does not know are passed over.
            ///
            /// # Errors
            /// [`EventError`] when the payload is not that record's JSON, or has a newer version.
            pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
                let read = match record_type {
                    $($name => serde_json::from_slice(payload).map(|read: $record| {
                        (read.v, read.kind == Kind::$variant, Self::$variant(read))
                    }),)*
                    _ => {
                        return Ok(Self::Unknown {
                            record_type: record_type.to_owned(),
                            payload: payload.to_owned(),
                        });
                    }
                };
                match read {
                    Ok((v, true, record)) if v == u64::from(EVENT_VERSION) => Ok(record),
                    read => Err(refusal(record_type, payload, read.err())),
                }
            }
        }

        $(impl From<$record> for TrustRecord {
            fn from(record: $record) -> Self {
                Self::$variant(record)
            }
        })*
    };
}

records! {
    /// An hour went by: `clock.read`.
    Clock(ClockRead) = "clock.read",
    /// A commitment ended: `commitment.ended`.
    Commitment(CommitmentEnded) = "commitment.ended",
    /// A dispute was ruled on: `dispute.ruled`.
    Dispute(DisputeRuled) = "dispute.ruled",
    /// An agent endorsed another, or took that back: `agent.endorsed`.
    Endorsement(Endorsed) = "agent.endorsed",
    /// An operator verified an organisation, or took that back: `org.verified`.
    Org(OrgVerified) = "org.verified",
    /// A counterparty rated an agent within a session: `agent.rated`.
    Rating(Rated) = "agent.rated",
    /// A task was answered, or its time was over: `task.settled`.
    Task(TaskSettled) = "task.settled",
    /// A part of the whole state: `trust.folded`. Stands in snapshots and not on the topic.
    Folded(TrustPart) = "trust.folded",
}

/// An agent and its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The agent.
    pub agent: AgentId,
    /// Its organisation.
    pub org: OrgId,
    /// Its team within that, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<u32>,
}

/// See [`TrustRecord::Clock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockRead {
    /// When.
    pub at: Timestamp,
    /// Half-life of evidence from here on, in hours.
    pub half_life_hours: u32,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// How it is known that a commitment was fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirmation {
    /// The counterparty said so.
    Explicit,
    /// The counterparty said nothing while it could.
    Silence,
    /// There was no other party.
    Itself,
}

/// See [`TrustRecord::Commitment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentEnded {
    /// When.
    pub at: Timestamp,
    /// The commitment.
    pub commitment: CommitmentId,
    /// How it is known that it was fulfilled; none where it was breached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// To whom it was promised; none where there was no other party.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<Party>,
    /// Whether something was in escrow.
    pub escrow: bool,
    /// The evidence about the obligor before it.
    pub links: Links,
    /// Who promised.
    pub obligor: Party,
    /// Whether nobody had to accept it.
    pub one_sided: bool,
    /// Severity of the breach by the broker's clock, 1 to 5; none where it was fulfilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Whether the obligor signed.
    pub signed: bool,
    /// Digest of the terms.
    pub terms: Digest,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// See [`TrustRecord::Task`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSettled {
    /// Who was given the task.
    pub agent: Party,
    /// When.
    pub at: Timestamp,
    /// Who gave it.
    pub by: Party,
    /// The evidence about the agent before it.
    pub links: Links,
    /// The message that gave it.
    pub message: MessageId,
    /// Time to the first answer in ms; none where there was none in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<u64>,
    /// The session.
    pub session: SessionId,
    /// Whether the answer was signed.
    pub signed: bool,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// Who ruled on a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// The log decided.
    Automated,
    /// Arbitrators did: an opinion.
    Arbitrated,
    /// An operator did.
    Human,
}

/// How a dispute ended that was ruled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// The filer is right.
    Upheld,
    /// Both are, in part.
    Partial,
    /// The filer is not.
    Dismissed,
}

/// See [`TrustRecord::Dispute`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisputeRuled {
    /// Against whom.
    pub against: Party,
    /// When.
    pub at: Timestamp,
    /// The commitment.
    pub commitment: CommitmentId,
    /// Severity with which a breach or a dispute of this commitment counts already, 0 to 5: all of
    /// them are one piece of evidence.
    pub counted: u8,
    /// The dispute.
    pub dispute: DisputeId,
    /// Who filed it.
    pub filer: Party,
    /// The evidence about the filer before it.
    pub filer_links: Links,
    /// The evidence about the other side before it.
    pub links: Links,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// How.
    pub ruling: Ruling,
    /// Severity, 1 to 5.
    pub severity: u8,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// See [`TrustRecord::Rating`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rated {
    /// Who is rated.
    pub agent: Party,
    /// When.
    pub at: Timestamp,
    /// Who rates.
    pub by: Party,
    /// The evidence about the agent before it.
    pub links: Links,
    /// The rating in thousandths, 0 to 1,000.
    pub rating: u16,
    /// The session in which they worked together.
    pub session: SessionId,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// See [`TrustRecord::Endorsement`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endorsed {
    /// Who is endorsed.
    pub agent: Party,
    /// When.
    pub at: Timestamp,
    /// Who endorses.
    pub by: Party,
    /// The evidence about the agent before it.
    pub links: Links,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
    /// Whether it is taken back.
    pub withdrawn: bool,
}

/// See [`TrustRecord::Org`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgVerified {
    /// When.
    pub at: Timestamp,
    /// The operator.
    pub by: PrincipalId,
    /// The organisation.
    pub org: OrgId,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
    /// Whether it is verified from here on.
    pub verified: bool,
}

impl TrustRecord {
    /// Hands over what it says of the evidence before it, with whom that is about.
    pub(super) fn each_thread(&mut self, take: &mut dyn FnMut(AgentId, &mut Links)) {
        match self {
            Self::Commitment(of) => take(of.obligor.agent, &mut of.links),
            Self::Dispute(of) => {
                take(of.against.agent, &mut of.links);
                take(of.filer.agent, &mut of.filer_links);
            }
            Self::Endorsement(of) => take(of.agent.agent, &mut of.links),
            Self::Rating(of) => take(of.agent.agent, &mut of.links),
            Self::Task(of) => take(of.agent.agent, &mut of.links),
            Self::Clock(_) | Self::Org(_) | Self::Folded(_) | Self::Unknown { .. } => {}
        }
    }

    /// What it says of the evidence about this agent before it; none where it is not about it.
    #[must_use]
    pub fn links_of(&self, agent: AgentId) -> Option<Links> {
        let of = |party: &Party, links: &Links| (party.agent == agent).then_some(*links);
        match self {
            Self::Commitment(record) => of(&record.obligor, &record.links),
            Self::Dispute(record) => of(&record.against, &record.links)
                .or_else(|| of(&record.filer, &record.filer_links)),
            Self::Endorsement(record) => of(&record.agent, &record.links),
            Self::Rating(record) => of(&record.agent, &record.links),
            Self::Task(record) => of(&record.agent, &record.links),
            Self::Clock(_) | Self::Org(_) | Self::Folded(_) | Self::Unknown { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u64,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// Why a payload is not what its record's type says. Type and version are told first: what else a
/// newer version holds is not for this one to judge.
fn refusal(record_type: &str, payload: &[u8], found: Option<serde_json::Error>) -> EventError {
    let event = record_type.to_owned();
    let head: Head<'_> = match serde_json::from_slice(payload) {
        Ok(head) => head,
        Err(source) => return EventError::Json { event, source },
    };
    if head.kind != record_type {
        return EventError::TypeMismatch {
            record: event,
            event: head.kind.into_owned(),
        };
    }
    match found {
        Some(source) if head.v == u64::from(EVENT_VERSION) => EventError::Json { event, source },
        _ => EventError::UnsupportedVersion {
            event,
            found: head.v,
            supported: EVENT_VERSION,
        },
    }
}

fn to_vec(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and no fallible values")
}
