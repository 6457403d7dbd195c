//! Money that is held behind promises.

use super::asp;
use super::pages::Pages;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    AccountRow, EscrowBalance, EscrowDeposit, EscrowLedger, EscrowWithdraw,
};

/// Requests about escrow; [`Client::escrow`]. Amounts are whole numbers of the smallest unit of
/// their currency.
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::protocol::asp::{EscrowBalance, EscrowDeposit};
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let deposit = EscrowDeposit {
///     agent_id: Some("agent://acme/writer".parse()?),
///     org: None,
///     amount: 50_000, // 500.00
///     currency: "EUR".parse()?,
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

    /// Puts money into an account. For a key of the default organisation. Not sent again after a
    /// lost connection: [`Escrow::ledger`] tells whether it came.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `ORG_NOT_FOUND`, `FORBIDDEN`,
    /// `INVALID_REQUEST` where both are named, and `OUT_OF_LIMIT`.
    pub async fn deposit(&self, deposit: EscrowDeposit) -> Result<AccountRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, EscrowDeposit(deposit))
    }

    /// Takes money out of an account. For a key of the default organisation. Not sent again after
    /// a lost connection: [`Escrow::ledger`] tells whether it went.
    ///
    /// # Errors
    /// As [`Escrow::deposit`], and `INSUFFICIENT_FUNDS`.
    pub async fn withdraw(&self, withdraw: EscrowWithdraw) -> Result<AccountRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, EscrowWithdraw(withdraw))
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
