//! The ledger, folded from [`EscrowRecord`]s.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fold::EscrowRow;
use super::money::Currency;
use super::paid::{Paid, Payments};
use super::record::{EscrowRecord, MoveKind, Moved, MovedLinks, Part, Place};
use crate::asp::commitment::Party;
use crate::asp::{Knot, Links, MAX_INTEGER, Thread};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent};
use crate::types::{AgentId, CommitmentId, Offset, OrgId, Timestamp};

/// Whose money it is: an agent's, or its organisation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The agent; none where it is the organisation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The organisation.
    pub org: OrgId,
}

impl From<Party> for Account {
    fn from(party: Party) -> Self {
        Self {
            agent: Some(party.agent),
            org: party.org,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.agent {
            Some(agent) => write!(f, "account of agent {agent}"),
            None => write!(f, "account of organisation {}", self.org),
        }
    }
}

/// What an account has of a currency, in its smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What its owner may use.
    pub available: u64,
    /// What stands behind disputed promises.
    pub frozen: u64,
    /// What stands behind promises.
    pub held: u64,
}

/// What is held for a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose it is.
    pub account: Account,
    /// What is left of it.
    pub amount: u64,
    /// To whom it goes where the promise is not kept.
    pub beneficiary: Account,
    /// The currency.
    pub currency: Currency,
    /// Whether a dispute holds it fast.
    pub frozen: bool,
}

/// A movement that is not linked yet. [`Escrow::link`] makes a record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub(super) kind: MoveKind,
    pub(super) moved: Moved,
}

/// The ledger of an organisation. After every record, of each currency, what is in all accounts
/// together is what came in less what went out; no part of any account is ever negative. Of what
/// is held for a commitment:
///
/// ```text
/// Absent --held--> Held --forfeited--> Held --released, forfeited (all)--> Absent
///                  |  ^
///                  |  +--unfrozen--+
///                  +----frozen-----+--> Frozen
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Escrow {
    /// Time of the last record.
    pub(super) at: Timestamp,
    pub(super) balances: BTreeMap<(Account, Currency), Balance>,
    /// What came in less what went out.
    pub(super) totals: BTreeMap<Currency, u64>,
    pub(super) holds: BTreeMap<CommitmentId, Hold>,
    pub(super) paid: Payments,
    pub(super) all: Arc<Thread>,
    pub(super) threads: BTreeMap<Account, Arc<Thread>>,
    assembly: Option<Assembly<EscrowRow>>,
}

impl Escrow {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &EscrowRecord, offset: Offset) -> Result<(), IllegalEvent> {
        self.transition(record, offset)
            .map_err(|rule| illegal(record, rule))
    }

    /// The records that movements become, each linked behind the one before. Changes nothing.
    ///
    /// - `moves`: of one entry, in their order.
    /// - `offset`: what the first of them will have.
    #[must_use]
    pub fn link(&self, moves: Vec<Move>, offset: Offset) -> Vec<EscrowRecord> {
        let mut ends: BTreeMap<Option<Account>, Thread> = BTreeMap::new();
        let records = moves.into_iter().zip(offset.0..).map(|(one, offset)| {
            let mut links = |account: Option<Account>| -> Links {
                let known = || match account {
                    None => (*self.all).clone(),
                    Some(account) => self
                        .threads
                        .get(&account)
                        .map_or_else(Thread::default, |end| (**end).clone()),
                };
                let end = ends.entry(account).or_insert_with(known);
                let links = end.links();
                end.push(Offset(offset));
                links
            };
            let Move { kind, mut moved } = one;
            let (from, to) = accounts(&moved);
            moved.threads = MovedLinks {
                all: links(None),
                from: from.map(|account| links(Some(account))),
                to: to.map(|account| links(Some(account))),
            };
            EscrowRecord::Moved { kind, moved }
        });
        records.collect()
    }

    /// What an account has of a currency.
    #[must_use]
    pub fn balance(&self, account: Account, currency: Currency) -> Balance {
        let balance = self.balances.get(&(account, currency));
        balance.copied().unwrap_or_default()
    }

    /// What an account has, by currency.
    pub fn balances_of(&self, account: Account) -> impl Iterator<Item = (Currency, Balance)> {
        let first = "AAA".parse().expect("three capital letters");
        let all = self.balances.range((account, first)..);
        all.take_while(move |((of, _), _)| *of == account)
            .map(|((_, currency), balance)| (*currency, *balance))
    }

    /// What every account has, by account and currency.
    pub fn balances(&self) -> impl Iterator<Item = (Account, Currency, Balance)> {
        let all = self.balances.iter();
        all.map(|((account, currency), balance)| (*account, *currency, *balance))
    }

    /// What is held for a commitment; none where nothing is.
    #[must_use]
    pub fn hold(&self, commitment: CommitmentId) -> Option<Hold> {
        self.holds.get(&commitment).copied()
    }

    /// What came in of a currency less what went out.
    #[must_use]
    pub fn total(&self, currency: Currency) -> u64 {
        self.totals.get(&currency).copied().unwrap_or(0)
    }

    /// The last movement of all; of an account.
    #[must_use]
    pub fn knot(&self, account: Option<Account>) -> Option<Knot> {
        match account {
            None => self.all.last(),
            Some(account) => self.threads.get(&account)?.last(),
        }
    }

    /// Whether what is in all accounts is what came in less what went out, and what is held is
    /// what stands behind commitments.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let mut sums: BTreeMap<Currency, u128> = BTreeMap::new();
        let mut parts: BTreeMap<(Account, Currency), (u64, u64)> = BTreeMap::new();
        for ((account, currency), balance) in &self.balances {
            let Balance {
                available,
                frozen,
                held,
            } = *balance;
            let all = u128::from(available) + u128::from(frozen) + u128::from(held);
            *sums.entry(*currency).or_default() += all;
            if held > 0 || frozen > 0 {
                parts.insert((*account, *currency), (held, frozen));
            }
        }
        let mut behind: BTreeMap<(Account, Currency), (u64, u64)> = BTreeMap::new();
        for hold in self.holds.values() {
            let (held, frozen) = behind.entry((hold.account, hold.currency)).or_default();
            *if hold.frozen { frozen } else { held } += hold.amount;
        }
        let totals = self.totals.iter();
        let totals: BTreeMap<_, _> = totals
            .map(|(of, total)| (*of, u128::from(*total)))
            .collect();
        sums.retain(|currency, sum| *sum > 0 || totals.contains_key(currency));
        sums == totals && parts == behind
    }

    /// The time that a record gets: the clock's, but never one before the last record's.
    pub(super) fn stamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.at)
    }

    fn transition(&mut self, record: &EscrowRecord, offset: Offset) -> Result<(), &'static str> {
        match record {
            EscrowRecord::Unknown { .. } => Ok(()),
            EscrowRecord::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            EscrowRecord::Moved { kind, moved } => self.take(*kind, moved, offset),
        }
    }

    fn take(&mut self, kind: MoveKind, moved: &Moved, offset: Offset) -> Result<(), &'static str> {
        if moved.at < self.at {
            return Err("its time lies before that of the record before it");
        }
        if moved.amount == 0 {
            return Err("nothing moves");
        }
        let part = |place: Option<Place>| place.map(|place| place.part);
        if (part(moved.from), part(moved.to)) != kind.parts() {
            return Err("it does not move between the parts that it should");
        }
        if self.links(moved) != moved.threads {
            return Err("it is not linked behind the movements before it");
        }
        if let Some(rule) = (moved.payment).and_then(|id| self.paid.cannot_follow(id)) {
            return Err(rule);
        }
        let hold = self.next_hold(kind, moved)?;
        let total = self.next_total(moved)?;
        let from = match moved.from {
            Some(place) => Some(self.less(place, moved)?),
            None => None,
        };
        // Nothing is refused from here on.
        if let (Some(place), Some(balance)) = (moved.from, from) {
            self.set(place.account, moved.currency, balance);
        }
        if let Some(place) = moved.to {
            let mut balance = self.balance(place.account, moved.currency);
            *balance.part(place.part) += moved.amount;
            self.set(place.account, moved.currency, balance);
        }
        if let Some(commitment) = moved.commitment {
            match hold {
                Some(hold) if hold.amount > 0 => {
                    self.holds.insert(commitment, hold);
                }
                _ => {
                    self.holds.remove(&commitment);
                }
            }
        }
        if total == 0 {
            self.totals.remove(&moved.currency);
        } else {
            self.totals.insert(moved.currency, total);
        }
        self.at = moved.at;
        if let (Some(payment), Some(place)) = (moved.payment, moved.to.or(moved.from)) {
            let paid = Paid {
                account: place.account,
                amount: moved.amount,
                balance: self.balance(place.account, moved.currency),
                currency: moved.currency,
                deposit: kind == MoveKind::Deposit,
            };
            self.paid.take(payment, paid);
        }
        Arc::make_mut(&mut self.all).push(offset);
        let (from, to) = accounts(moved);
        for account in from.into_iter().chain(to) {
            Arc::make_mut(self.threads.entry(account).or_default()).push(offset);
        }
        Ok(())
    }

    /// What is held for the commitment after a movement.
    fn next_hold(&self, kind: MoveKind, moved: &Moved) -> Result<Option<Hold>, &'static str> {
        let is_of_commitment = !matches!(kind, MoveKind::Deposit | MoveKind::Withdraw);
        if is_of_commitment != moved.commitment.is_some() {
            return Err("what is held is held for a commitment, and nothing else is");
        }
        if (kind == MoveKind::Hold) != moved.beneficiary.is_some() {
            return Err("what is held has a beneficiary, and no other movement names one");
        }
        if is_of_commitment == (moved.by.is_some() && kind != MoveKind::Hold) {
            return Err("an operator moves money in and out, and commitments move it within");
        }
        if is_of_commitment && moved.payment.is_some() {
            return Err("what an operator moves in and out is a payment, and nothing else is");
        }
        let Some(commitment) = moved.commitment else {
            return Ok(None);
        };
        let known = self.holds.get(&commitment).copied();
        let (Some(from), Some(to)) = (moved.from, moved.to) else {
            return Err("it does not move between the parts that it should");
        };
        let Some(mut hold) = known else {
            if kind != MoveKind::Hold || from.account != to.account {
                return Err("nothing is held for the commitment");
            }
            return Ok(Some(Hold {
                account: from.account,
                amount: moved.amount,
                beneficiary: moved.beneficiary.unwrap_or(from.account),
                currency: moved.currency,
                frozen: false,
            }));
        };
        let to_whom = match kind {
            MoveKind::Forfeit => hold.beneficiary,
            _ => hold.account,
        };
        if from.account != hold.account || to.account != to_whom || moved.currency != hold.currency
        {
            return Err("it is not what is held for the commitment");
        }
        let is_all = moved.amount == hold.amount;
        match kind {
            MoveKind::Hold => return Err("something is held for the commitment already"),
            MoveKind::Forfeit if moved.amount <= hold.amount && !hold.frozen => {
                hold.amount -= moved.amount;
            }
            MoveKind::Release if is_all && !hold.frozen => hold.amount = 0,
            MoveKind::Freeze if is_all && !hold.frozen => hold.frozen = true,
            MoveKind::Unfreeze if is_all && hold.frozen => hold.frozen = false,
            _ => return Err("it is not all of it, or a dispute holds it fast"),
        }
        Ok(Some(hold))
    }

    fn next_total(&self, moved: &Moved) -> Result<u64, &'static str> {
        let total = self.total(moved.currency);
        let next = match (moved.from, moved.to) {
            (None, Some(_)) => total.checked_add(moved.amount),
            (Some(_), None) => total.checked_sub(moved.amount),
            (Some(_), Some(_)) => Some(total),
            (None, None) => None,
        };
        next.filter(|total| *total <= MAX_INTEGER)
            .ok_or("more would be there than can be counted, or less than nothing")
    }

    /// The balance without what is moved.
    fn less(&self, place: Place, moved: &Moved) -> Result<Balance, &'static str> {
        let mut balance = self.balance(place.account, moved.currency);
        let part = balance.part(place.part);
        *part = part
            .checked_sub(moved.amount)
            .ok_or("there is less than is moved")?;
        Ok(balance)
    }

    fn set(&mut self, account: Account, currency: Currency, balance: Balance) {
        if balance == Balance::default() {
            self.balances.remove(&(account, currency));
        } else {
            self.balances.insert((account, currency), balance);
        }
    }

    fn links(&self, moved: &Moved) -> MovedLinks {
        let links = |account: Account| {
            let end = self.threads.get(&account);
            end.map(|end| end.links()).unwrap_or_default()
        };
        let (from, to) = accounts(moved);
        MovedLinks {
            all: self.all.links(),
            from: from.map(links),
            to: to.map(links),
        }
    }
}

impl Balance {
    fn part(&mut self, part: Part) -> &mut u64 {
        match part {
            Part::Available => &mut self.available,
            Part::Held => &mut self.held,
            Part::Frozen => &mut self.frozen,
        }
    }
}

/// The accounts in whose threads a movement is: the one that it comes from, and the one that it
/// goes to where that is another.
fn accounts(moved: &Moved) -> (Option<Account>, Option<Account>) {
    let from = moved.from.map(|place| place.account);
    let to = moved.to.map(|place| place.account);
    (from, to.filter(|to| from != Some(*to)))
}

fn illegal(record: &EscrowRecord, rule: &'static str) -> IllegalEvent {
    IllegalEvent {
        event: record.record_type().to_owned(),
        subject: match record {
            EscrowRecord::Moved { moved, .. } => match moved.commitment {
                Some(commitment) => format!("commitment {commitment}"),
                None => format!("{} {}", moved.amount, moved.currency),
            },
            EscrowRecord::Folded(part) => format!("part {} of {}", part.part, part.parts),
            EscrowRecord::Unknown { .. } => "nothing known".to_owned(),
        },
        rule,
    }
}
