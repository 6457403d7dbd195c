//! Money that is held behind promises.

use super::asp;
use super::pages::Pages;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    AccountRow, EscrowBalance, EscrowDeposit, EscrowLedger, EscrowWithdraw,
};
use crate::types::PaymentId;

/// Requests about escrow; [`Client::escrow`]. Amounts are whole numbers of the smallest unit of
/// their currency.
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::protocol::asp::{EscrowBalance, EscrowDeposit};
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let deposit = EscrowDeposit {
///     id: None, // a new one
///     agent_id: Some("agent://acme/writer".parse()?),
///     org: None,
///     amount: 50_000, // 500.00
///     currency: "EUR".parse()?,
///     region: None,
/// };
/// client.escrow().deposit(deposit).await?;
/// for account in client.escrow().balance(EscrowBalance::default()).await? {
///     println!("{} {}", account.available, account.currency);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Escrow {
    client: Client,
}

impl Escrow {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// An id for a payment: of one that is tried again later, also by another process, keep it
    /// with what is paid.
    #[must_use]
    pub fn new_id() -> PaymentId {
        PaymentId(uuid::Uuid::now_v7().as_u128())
    }

    /// Puts money into an account, once under its id, which is a new one where it has none. For a
    /// key of the default organisation. After a lost connection it is sent again with the same id,
    /// to the same data directory alone: another region has another ledger.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `ORG_NOT_FOUND`, `FORBIDDEN`,
    /// `INVALID_REQUEST` where both are named, `OUT_OF_LIMIT`, `PAYMENT_ID_TAKEN`,
    /// `PAYMENT_ID_TOO_OLD`, `INVALID_PAYMENT_ID`, and `REGION_MISMATCH` where another region is
    /// meant.
    pub async fn deposit(&self, mut deposit: EscrowDeposit) -> Result<AccountRow, RequestError> {
        deposit.id = Some(deposit.id.unwrap_or_else(Self::new_id));
        asp!(&self.client, Retry::SameData, EscrowDeposit(deposit))
    }

    /// Takes money out of an account, as [`Escrow::deposit`] puts it in.
    ///
    /// # Errors
    /// As [`Escrow::deposit`], and `INSUFFICIENT_FUNDS`.
    pub async fn withdraw(&self, mut withdraw: EscrowWithdraw) -> Result<AccountRow, RequestError> {
        withdraw.id = Some(withdraw.id.unwrap_or_else(Self::new_id));
        asp!(&self.client, Retry::SameData, EscrowWithdraw(withdraw))
    }

    /// What accounts hold, by organisation, agent and currency.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `ORG_NOT_FOUND` and `NOT_YOUR_AGENT`.
    pub async fn balance(&self, balance: EscrowBalance) -> Result<Vec<AccountRow>, RequestError> {
        Ok(asp!(&self.client, Retry::Safe, EscrowBalance(balance))?.accounts)
    }

    /// What happened to accounts, the latest first. Its `limit` is the size of a page, and its
    /// `cursor` where to begin.
    #[must_use]
    pub fn ledger(&self, ledger: EscrowLedger) -> Pages<EscrowLedger> {
        Pages::new(self.client.clone(), ledger)
    }
}
