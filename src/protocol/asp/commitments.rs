//! The bodies of requests about commitments: what agents promise each other.

use serde::{Deserialize, Serialize};

use super::{EvidencePlace, JsonText, default_page};
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    Confirmation, EscrowTerms, Judge, Mode, Obligation, Penalties, Receipt, State,
};
use crate::asp::dispute::{Mechanism, Verdict};
use crate::asp::registry::AgentRef;
use crate::types::{
    AgentId, AgentName, CommitmentId, DisputeId, MessageId, Offset, OrgName, PrincipalId,
    SessionId, Timestamp,
};

/// Promises something in a session: at once, and without anybody's consent. What is to be agreed
/// on is offered and accepted by messages of the session instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentCreate {
    /// The sender's id for the commitment, a UUID of version 7: sent again, it gets the same
    /// answer.
    pub id: CommitmentId,
    /// Where.
    pub session_id: SessionId,
    /// Who promises.
    pub agent_id: AgentRef,
    /// To whom; to the session when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<AgentRef>,
    /// What, in words; at most 4,096 bytes.
    pub description: String,
    /// Until when. One that has passed is taken as given, and breached at once.
    pub deadline: Timestamp,
    /// What is to be done, one by one; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Obligation>,
    /// What it costs not to keep it, in parts of the escrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalties: Option<Penalties>,
    /// Money that stands behind it, held from the account of who promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<EscrowTerms>,
    /// How bad it is not to keep it, 1 to 5; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// The application's own terms; at most 65,536 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<JsonText>,
    /// Time for judging a delivery, in milliseconds; 24 hours when left out, 30 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
}

/// Says that what was promised is delivered. Only who promised says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentDeliver {
    /// What.
    pub commitment_id: CommitmentId,
    /// What shows it, in one's own words; at most 65,536 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record; at most 32 places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
}

/// Says that a delivery is what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentConfirm {
    /// Of what.
    pub commitment_id: CommitmentId,
    /// Who says so; the one who judges it that the key speaks for when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
}

/// Makes the time for judging a delivery shorter. Only who judges it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentWindow {
    /// Of what.
    pub commitment_id: CommitmentId,
    /// Who says so; the one who judges it that the key speaks for when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// The time from the delivery on, in milliseconds: at least 1, and less than it was.
    pub window_ms: u64,
}

/// The side of a commitment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CommitmentSide {
    /// Who promised.
    #[default]
    Obligor,
    /// Who was promised, or accepted it.
    Counterparty,
}

/// Asks for commitments: those that are not closed, newest first, then those that are, the latest
/// closed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentList {
    /// Those of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// On which side the agent is.
    #[serde(default)]
    pub side: CommitmentSide,
    /// Those in a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Those in one of these states; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Commitments of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for CommitmentList {
    /// All of one's own organisation.
    fn default() -> Self {
        Self {
            agent_id: None,
            side: CommitmentSide::default(),
            session_id: None,
            states: Vec::new(),
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks for a commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentInfo {
    /// Which.
    pub commitment_id: CommitmentId,
    /// The participant on whose behalf it is read; needed in sessions of other organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
}

/// Asks for a receipt of a commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentReceipt {
    /// Of which.
    pub commitment_id: CommitmentId,
    /// The participant on whose behalf it is read; needed in sessions of other organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
}

/// An agent that has a part in a commitment or a dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartyRow {
    /// Its identity.
    pub agent_id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// The organisation that it belongs to.
    pub org: OrgName,
}

/// One commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentRow {
    /// Its id.
    pub id: CommitmentId,
    /// The session in which it was made.
    pub session_id: SessionId,
    /// The organisation on whose topic it lies: that of the session.
    pub org: OrgName,
    /// Where it stands.
    pub state: State,
    /// Whether nothing can happen to it any more.
    pub closed: bool,
    /// Whether it was given by one alone, or agreed on.
    pub mode: Mode,
    /// Who promised.
    pub obligor: PartyRow,
    /// To whom it was promised, or who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<PartyRow>,
    /// Who judges a delivery.
    pub judge: Judge,
    /// What was promised, in words.
    pub description: String,
    /// Until when.
    pub deadline: Timestamp,
    /// What is to be done, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Obligation>,
    /// What it costs not to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalties: Option<Penalties>,
    /// Money that stands behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<EscrowTerms>,
    /// How bad it is not to keep it, 1 to 5.
    pub severity: u8,
    /// The application's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<JsonText>,
    /// Hash of all that was promised.
    pub terms_hash: Digest,
    /// Time for judging a delivery, in milliseconds.
    pub window_ms: u64,
    /// When that ends, where it was delivered in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_until: Option<Timestamp>,
    /// Until when a breach can be disputed and delivered late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_until: Option<Timestamp>,
    /// The message that offered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// When it was made or offered.
    pub created_at: Timestamp,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// What was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryRow>,
    /// How it ended, before any ruling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedRow>,
    /// The weightiest ruling against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruled: Option<RuledRow>,
    /// Offsets of the records about it and its disputes, in their order.
    pub offsets: Vec<Offset>,
    /// Whose key made it.
    pub by: PrincipalId,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRow {
    /// When.
    pub at: Timestamp,
    /// Whether the deadline had passed.
    pub late: bool,
    /// Hash of what shows it.
    pub evidence_hash: Digest,
    /// Offset of the record.
    pub offset: Offset,
    /// What shows it, in words of its own; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
}

/// How a commitment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedRow {
    /// When.
    pub at: Timestamp,
    /// How it was confirmed, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// Who ended it; none where the clock or its own delivery did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<PartyRow>,
}

/// A ruling against a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuledRow {
    /// When.
    pub at: Timestamp,
    /// In which dispute.
    pub dispute_id: DisputeId,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// What was ruled.
    pub verdict: Verdict,
}

/// A page of commitments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentsPage {
    /// The rows.
    pub commitments: Vec<CommitmentRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A receipt that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptExport {
    /// The receipt, to be kept as it is: [`Receipt::verify`] needs nothing else.
    pub receipt: Receipt,
}

impl CommitmentCreate {
    /// A promise to the session with nothing but what each must have.
    #[must_use]
    pub fn new(
        id: CommitmentId,
        session_id: SessionId,
        agent_id: impl Into<AgentRef>,
        description: impl Into<String>,
        deadline: Timestamp,
    ) -> Self {
        Self {
            id,
            session_id,
            agent_id: agent_id.into(),
            counterparty: None,
            description: description.into(),
            deadline,
            obligations: Vec::new(),
            penalties: None,
            escrow: None,
            severity: None,
            terms: None,
            window_ms: None,
        }
    }
}
