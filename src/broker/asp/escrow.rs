//! Money that stands behind promises: what an operator pays in and out, and what is held.

use super::AspError;
use super::record::Entry;
use crate::access::Principal;
use crate::asp::Trust;
use crate::asp::commitment::{EscrowStep, EscrowTerms, Party};
use crate::asp::escrow::{Account, Balance, Cash, Currency, HoldFor, Move, MoveKind};
use crate::asp::registry::AgentRef;
use crate::asp::trust::TrustFor;
use crate::broker::core::{Accepted, Broker, Refusal};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{CommitmentId, OrgId, OrgName, PaymentId, PrincipalId, Timestamp};

/// What an account has of a currency.
#[derive(Clone, Debug)]
pub struct BalanceSeen {
    /// Whose it is.
    pub account: Account,
    /// The agent, where it is an agent's.
    pub agent: Option<super::Named>,
    /// The currency.
    pub currency: Currency,
    /// What it has.
    pub balance: Balance,
}

/// Money that an operator pays in or out.
#[derive(Clone, Copy, Debug)]
pub struct Payment<'a> {
    /// The operator's id for it: paid once under it.
    pub id: Option<PaymentId>,
    /// Whose ledger; the caller's own where none is named.
    pub org: Option<&'a OrgName>,
    /// Whose account; the organisation's own where none is named.
    pub agent: Option<&'a AgentRef>,
    /// In the smallest unit of the currency; at least 1.
    pub amount: u64,
    /// The currency.
    pub currency: Currency,
    /// Whether it comes in, or goes out.
    pub is_deposit: bool,
}

impl Broker {
    /// An operator pays money in, or out. What was paid before under the same id is answered as it
    /// was then, and not paid again.
    ///
    /// # Errors
    /// [`Refusal`]: a caller who is no operator, an agent that is not there, less than is to be
    /// paid out, an id that was used for another payment or is too old, or an entry that was not
    /// taken.
    pub fn pay(
        &mut self,
        by: &Principal,
        payment: Payment<'_>,
        now: Timestamp,
    ) -> Result<Accepted<BalanceSeen>, Refusal> {
        let Payment {
            id,
            org,
            agent,
            amount,
            currency,
            is_deposit,
        } = payment;
        // Who administers an organisation alone would make its money out of nothing.
        self.authorize_operator(by, now)?;
        let org = self.account_org(by, org, now)?;
        self.make_asp(org, now)?;
        let account = match agent {
            Some(agent) => self.account_of(by, org, agent, now)?,
            None => Account { agent: None, org },
        };
        let cash = Cash {
            account,
            amount,
            currency,
            payment: id,
            by: by.id,
        };
        let kind = match is_deposit {
            true => MoveKind::Deposit,
            false => MoveKind::Withdraw,
        };
        let of_org = self.made_asp(org)?;
        let (log, escrow) = (of_org.escrow.log, of_org.escrow.known()?);
        let before = escrow
            .paid_before(kind, cash, now)
            .map_err(AspError::from)?;
        if let Some(balance) = before {
            let value = self.balance_seen(account, currency, balance);
            let wait = self.wait_for(log);
            return Ok(Accepted { value, wait });
        }
        let checked = match is_deposit {
            true => escrow.check_deposit(cash, now),
            false => escrow.check_withdraw(cash, now),
        };
        let moved = checked.map_err(AspError::from)?;
        let entry = self.moved(org, vec![moved])?;
        let wait = self.record_asp(org, &entry, Need::Producer, now)?;
        let balance = self.made_asp(org)?.escrow.known()?;
        let balance = balance.balance(account, currency);
        let value = self.balance_seen(account, currency, balance);
        Ok(Accepted { value, wait })
    }

    /// What the accounts in an organisation's ledger have, or that of one of its agents.
    ///
    /// - `org`: whose; the caller's own where none is named, another's for an operator, who is
    ///   told of the accounts of all organisations in it.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, an organisation that is another's, or an
    /// agent that is not there.
    pub fn balances(
        &self,
        by: &Principal,
        org: Option<&OrgName>,
        agent: Option<&AgentRef>,
        now: Timestamp,
    ) -> Result<Accepted<Vec<BalanceSeen>>, Refusal> {
        self.authorize_asp(by, now)?;
        let org = self.account_org(by, org, now)?;
        let only = match agent {
            Some(agent) => Some(self.account_of(by, org, agent, now)?),
            None => None,
        };
        let is_operator = self.is_operator(by, now);
        // Whose accounts are the caller's is not known without its agents.
        self.agents_of(by.org)?;
        let Some(of_org) = self.asp_of(org) else {
            let wait = self.wait_for(crate::types::Incarnation::default());
            return Ok(Accepted {
                value: Vec::new(),
                wait,
            });
        };
        let all = of_org.escrow.known()?.balances();
        let seen = all.filter(|(account, ..)| {
            let is_own = || {
                let mut agent = account.agent.iter();
                account.org == by.org && agent.all(|agent| self.speaks_for(by, *agent, now))
            };
            only.is_none_or(|only| *account == only) && (is_operator || is_own())
        });
        let rows =
            seen.map(|(account, currency, balance)| self.balance_seen(account, currency, balance));
        Ok(Accepted {
            value: rows.collect(),
            wait: self.wait_for(of_org.escrow.log),
        })
    }

    fn balance_seen(&self, account: Account, currency: Currency, balance: Balance) -> BalanceSeen {
        BalanceSeen {
            account,
            agent: account.agent.map(|agent| self.named(account.org, agent)),
            currency,
            balance,
        }
    }

    /// Movements as the records that they become.
    fn moved(&self, org: OrgId, moves: Vec<Move>) -> Result<Entry, BrokerError> {
        let Some(of_org) = self.asp_of(org) else {
            return Err(BrokerError::Bug("money without a ledger".into()));
        };
        let offset = self.next_offset(of_org.escrow.log);
        Ok(Entry {
            escrow: of_org.escrow.known()?.link(moves, offset),
            ..Entry::default()
        })
    }

    /// Money that is put behind a promise.
    pub(super) fn held_for(
        &self,
        org: OrgId,
        commitment: CommitmentId,
        terms: EscrowTerms,
        (obligor, counterparty): (Party, Option<Party>),
        by: PrincipalId,
        now: Timestamp,
    ) -> Result<Move, BrokerError> {
        let trust = self.trust_state()?;
        let score = TrustFor {
            state: &trust,
            asker: org,
        };
        let agents = self.agents_of(obligor.org)?;
        let profile = agents.and_then(|agents| agents.agent(obligor.agent));
        let profile = profile.and_then(|agent| agent.profile.max_transaction.as_ref());
        let of_org = self.asp_of(org);
        let of_org = of_org.ok_or_else(|| BrokerError::Bug("money without a ledger".into()))?;
        let hold = HoldFor {
            commitment,
            terms,
            account: obligor.into(),
            beneficiary: counterparty.map_or(Account { agent: None, org }, Account::from),
            score: score.score(obligor.agent),
            own_maximum: profile,
            by,
        };
        let checked = of_org.escrow.known()?.check_hold(hold, now);
        Ok(checked.map_err(AspError::from)?)
    }

    /// What follows for the money from what happens to a commitment.
    pub(super) fn follow_escrow(
        &self,
        org: OrgId,
        commitment: CommitmentId,
        steps: &[EscrowStep],
        now: Timestamp,
    ) -> Result<Vec<Move>, BrokerError> {
        let of_org = self.asp_of(org);
        let of_org = of_org.ok_or_else(|| BrokerError::Bug("money without a ledger".into()))?;
        let checked = of_org.escrow.known()?.check_steps(commitment, steps, now);
        Ok(checked.map_err(AspError::from)?)
    }
}
