//! The bodies of requests about escrow: money that is held behind promises.

use serde::{Deserialize, Serialize};

use super::default_page;
use crate::asp::escrow::{Currency, Part};
use crate::asp::registry::AgentRef;
use crate::types::{
    AgentId, AgentName, CommitmentId, Offset, OrgName, PaymentId, PrincipalId, RegionName,
    Timestamp,
};

/// Money that an operator has received for an account, or paid out of it. With neither agent nor
/// organisation the account is that of one's own organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscrowPayment {
    /// The sender's id for it, under which it is booked once. With none it is booked whenever it is
    /// sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PaymentId>,
    /// The agent whose account it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// The organisation whose account it is, where it is no agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// How much, in the smallest unit of the currency; at least 1.
    pub amount: u64,
    /// The currency: three capital letters.
    pub currency: Currency,
    /// The region whose ledger is meant; any other refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
}

/// Puts money into an account.
pub type EscrowDeposit = EscrowPayment;

/// Takes money out of an account.
pub type EscrowWithdraw = EscrowPayment;

/// Asks what accounts hold: that of an agent, or all of an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscrowBalance {
    /// The account of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// All accounts of an organisation; one's own when left out, another's for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// In one currency; in all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

/// Asks what happened to accounts, the latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscrowLedger {
    /// To the account of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// To those of an organisation; one's own when left out, another's for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// For a commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_id: Option<CommitmentId>,
    /// Entries of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for EscrowLedger {
    /// To all accounts of one's own organisation.
    fn default() -> Self {
        Self {
            agent_id: None,
            org: None,
            commitment_id: None,
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Whose money it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountOf {
    /// The organisation.
    pub org: OrgName,
    /// The agent; none where it is the organisation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AgentName>,
}

/// What an account holds of one currency, in its smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRow {
    /// Whose it is.
    #[serde(flatten)]
    pub account: AccountOf,
    /// The currency.
    pub currency: Currency,
    /// What can be withdrawn, or held for a commitment.
    pub available: u64,
    /// What stands behind commitments.
    pub held: u64,
    /// What stands behind disputed ones.
    pub frozen: u64,
}

/// What accounts hold, by organisation, agent and currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balances {
    /// The rows.
    pub accounts: Vec<AccountRow>,
}

/// What happened to money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EscrowStep {
    /// It came in.
    Deposited,
    /// It went out.
    Withdrawn,
    /// It was put behind a promise.
    Held,
    /// It went back to who had put it there.
    Released,
    /// It went to whom it was promised.
    Forfeited,
    /// It stays where it is while a dispute is open.
    Frozen,
    /// It can move again.
    Unfrozen,
}

impl EscrowStep {
    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deposited => "deposited",
            Self::Withdrawn => "withdrawn",
            Self::Held => "held",
            Self::Released => "released",
            Self::Forfeited => "forfeited",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
        }
    }
}

/// A part of somebody's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoneyPlace {
    /// Whose.
    #[serde(flatten)]
    pub account: AccountOf,
    /// Which part.
    pub part: Part,
}

/// One entry of the ledger: a debit and a credit of one amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EscrowEntry {
    /// Where on the topic `__asp.escrow` of the organisation it lies.
    pub offset: Offset,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub step: EscrowStep,
    /// How much, in the smallest unit of the currency.
    pub amount: u64,
    /// The currency.
    pub currency: Currency,
    /// From where; none where it came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MoneyPlace>,
    /// To where; none where it went outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<MoneyPlace>,
    /// To whom it goes where the promise is not kept; where it was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneficiary: Option<AccountOf>,
    /// The commitment, where it was for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_id: Option<CommitmentId>,
    /// The operator's id for it, where it came in or went out under one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// Whose key did it; none where it follows from a commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
}

/// A page of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<EscrowEntry>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
