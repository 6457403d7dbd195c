//! What is recorded on the topic `__asp.tools`.

use serde::{Deserialize, Serialize};

use super::content::{Plain, Progress};
use super::fold::ToolPart;
use super::threads::EndedLinks;
use crate::asp::Knot;
use crate::asp::chain::Digest;
use crate::folding::{EVENT_VERSION, EventError};
use crate::types::{AgentId, CallId, Offset, PrincipalId, SessionId, Timestamp, ToolName};

/// One record of the topic `__asp.tools`: JSON with its members in alphabetical order, so that it
/// is the canonical form (RFC 8785) of what it says.
#[expect(
    clippy::large_enum_variant,
    reason = "records are made, written and dropped one at a time"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolRecord {
    /// A call began: `tool.started`.
    Started(CallStarted),
    /// A call came further: `tool.progressed`.
    Progressed(CallProgressed),
    /// A call ended: `tool.finished`, `tool.failed` or `tool.abandoned`.
    Ended(CallEnded),
    /// The oldest ended calls are no longer held: `tools.filed`.
    Filed(CallsFiled),
    /// A part of the whole state: `tools.folded`. Stands in snapshots and not on the topic.
    Folded(ToolPart),
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
    /// Of [`CallStarted`].
    #[serde(rename = "tool.started")]
    Started,
    /// Of [`CallProgressed`].
    #[serde(rename = "tool.progressed")]
    Progressed,
    /// Of [`CallsFiled`].
    #[serde(rename = "tools.filed")]
    Filed,
    /// Of [`ToolPart`].
    #[serde(rename = "tools.folded")]
    Folded,
}

/// How a call ended, in a record its member `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was open longer than it may be.
    #[serde(rename = "tool.abandoned")]
    Abandoned,
    /// It failed.
    #[serde(rename = "tool.failed")]
    Failed,
    /// It gave a result.
    #[serde(rename = "tool.finished")]
    Finished,
}

impl Outcome {
    /// In one word, as queries have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Abandoned, Self::Failed, Self::Finished]
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }

    fn record_type(self) -> &'static str {
        match self {
            Self::Abandoned => "tool.abandoned",
            Self::Failed => "tool.failed",
            Self::Finished => "tool.finished",
        }
    }
}

/// See [`ToolRecord::Started`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallStarted {
    /// Who calls.
    pub agent: AgentId,
    /// What the tool is given; none where it is sensitive, or where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Plain>,
    /// SHA-256 of the canonical form of the arguments; none where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_digest: Option<Digest>,
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The call.
    pub call: CallId,
    /// The call within which this one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CallId>,
    /// The session in which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Time after which it is given up, in ms.
    pub timeout_ms: u64,
    /// The tool.
    pub tool: ToolName,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// See [`ToolRecord::Progressed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallProgressed {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The call.
    pub call: CallId,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// See [`ToolRecord::Ended`]. Says all of the call, so that a query reads no other record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallEnded {
    /// Who called.
    pub agent: AgentId,
    /// What the tool was given; none where it is sensitive, or where nothing was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Plain>,
    /// SHA-256 of the canonical form of the arguments; none where nothing was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_digest: Option<Digest>,
    /// When it ended; never before the record before it.
    pub at: Timestamp,
    /// Who said so; none where the clock did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// The call.
    pub call: CallId,
    /// How long it took, in ms.
    pub duration_ms: u64,
    /// Why it failed; where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
    /// The call within which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CallId>,
    /// What the tool gave back; none where it is sensitive, or where nothing was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Plain>,
    /// SHA-256 of the canonical form of the result; none where nothing was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<Digest>,
    /// The session in which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Offset of the record that it began with.
    pub started: Offset,
    /// When it began.
    pub started_at: Timestamp,
    /// Who began it.
    pub started_by: PrincipalId,
    /// The ended calls before it.
    pub threads: EndedLinks,
    /// Time after which it would have been given up, in ms.
    pub timeout_ms: u64,
    /// The tool.
    pub tool: ToolName,
    /// How it ended; the type of the record.
    #[serde(rename = "type")]
    pub outcome: Outcome,
    /// Version of the record.
    pub v: u64,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In one word, for counting.
    #[serde(rename = "type")]
    pub error_type: String,
}

/// See [`ToolRecord::Filed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsFiled {
    /// The calls, each with the offset of the record that ended it, in the order of the topic.
    pub calls: Vec<(CallId, Offset)>,
    /// The sessions none of whose calls is held any longer, each with the last record of its
    /// thread. A later call in such a session begins another thread.
    pub sessions: Vec<(SessionId, Knot)>,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

impl CallsFiled {
    /// Where the record is that ended this call, when the call is filed here.
    #[must_use]
    pub fn call(&self, call: CallId) -> Option<Offset> {
        let row = self.calls.iter().find(|(id, _)| *id == call);
        row.map(|(_, offset)| *offset)
    }

    /// The last record of this session's thread, when that is filed here.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<Knot> {
        let row = self.sessions.iter().find(|(id, _)| *id == session);
        row.map(|(_, knot)| *knot)
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u64,
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
}

impl ToolRecord {
    /// Type of the record.
    #[must_use]
    pub fn record_type(&self) -> &str {
        match self {
            Self::Started(_) => "tool.started",
            Self::Progressed(_) => "tool.progressed",
            Self::Ended(ended) => ended.outcome.record_type(),
            Self::Filed(_) => "tools.filed",
            Self::Folded(_) => "tools.folded",
            Self::Unknown { record_type, .. } => record_type,
        }
    }

    /// Payload of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started(started) => to_vec(started),
            Self::Progressed(progressed) => to_vec(progressed),
            Self::Ended(ended) => to_vec(ended),
            Self::Filed(filed) => to_vec(filed),
            Self::Folded(part) => to_vec(part),
            Self::Unknown { payload, .. } => payload.clone(),
        }
    }

    /// What a record of the topic holds. A type this broker does not know gives `Unknown`; members
    /// it does not know are passed over. Arguments and results are not read, only their ends found.
    ///
    /// # Errors
    /// [`EventError`] when the payload is not that record's JSON, or has a newer version.
    pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
        let read = match record_type {
            "tool.started" => serde_json::from_slice(payload)
                .map(|read: CallStarted| (read.v, read.kind == Kind::Started, Self::Started(read))),
            "tool.progressed" => serde_json::from_slice(payload).map(|read: CallProgressed| {
                (
                    read.v,
                    read.kind == Kind::Progressed,
                    Self::Progressed(read),
                )
            }),
            "tool.abandoned" | "tool.failed" | "tool.finished" => serde_json::from_slice(payload)
                .map(|read: CallEnded| {
                    let is_so = read.outcome.record_type() == record_type;
                    (read.v, is_so, Self::Ended(read))
                }),
            "tools.filed" => serde_json::from_slice(payload)
                .map(|read: CallsFiled| (read.v, read.kind == Kind::Filed, Self::Filed(read))),
            "tools.folded" => serde_json::from_slice(payload)
                .map(|read: ToolPart| (read.v, read.kind == Kind::Folded, Self::Folded(read))),
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

/// Why a payload is not what its record's type says. Type and version are told first: what else a
/// newer version holds is not for this one to judge.
fn refusal(record_type: &str, payload: &[u8], found: Option<serde_json::Error>) -> EventError {
    let json = |source| EventError::Json {
        event: record_type.to_owned(),
        source,
    };
    let head: Head<'_> = match serde_json::from_slice(payload) {
        Ok(head) => head,
        Err(source) => return json(source),
    };
    if head.kind != record_type {
        return EventError::TypeMismatch {
            record: record_type.to_owned(),
            event: head.kind.into_owned(),
        };
    }
    match found {
        Some(source) if head.v == u64::from(EVENT_VERSION) => json(source),
        _ => EventError::UnsupportedVersion {
            event: record_type.to_owned(),
            found: head.v,
            supported: EVENT_VERSION,
        },
    }
}

fn to_vec(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys and no fallible values")
}
