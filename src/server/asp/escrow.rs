//! Requests about money that stands behind promises.

use super::super::shared::Shared;
use super::reader::Reader;
use super::{Looked, cursor};
use crate::access::{AuditAct, Principal};
use crate::asp::Knot;
use crate::asp::escrow::{Account, EscrowRecord, MoveKind, Moved, Place};
use crate::broker::asp::{AspError, BalanceSeen, Payment};
use crate::broker::{Accepted, Broker, BrokerError, Refusal, Wait};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    AccountOf, AccountRow, Balances, EscrowBalance, EscrowDeposit, EscrowEntry, EscrowLedger,
    EscrowPayment, EscrowStep, EscrowWithdraw, LedgerPage, MoneyPlace,
};
use crate::types::{Offset, Timestamp};

/// Movements that one request looks at, whether they are wanted or not.
const MAX_LOOKED_AT: usize = 10_000;

pub(super) fn deposit(
    shared: &Shared,
    by: &Principal,
    deposit: &EscrowDeposit,
    act: AuditAct,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (row, wait) = pay(shared, by, deposit, true, act, now)?;
    Ok(Looked::answer(AspResponse::EscrowDeposit(row), wait))
}

pub(super) fn withdraw(
    shared: &Shared,
    by: &Principal,
    withdraw: &EscrowWithdraw,
    act: AuditAct,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (row, wait) = pay(shared, by, withdraw, false, act, now)?;
    Ok(Looked::answer(AspResponse::EscrowWithdraw(row), wait))
}

/// Books money in this region's ledger, where that is meant: each region has its own, and knows its
/// own payments again.
fn pay(
    shared: &Shared,
    by: &Principal,
    asked: &EscrowPayment,
    is_deposit: bool,
    act: AuditAct,
    now: Timestamp,
) -> Result<(AccountRow, Wait), Refusal> {
    let here = shared.regions.as_ref().map(|regions| &regions.name);
    if let Some(meant) = asked.region.as_ref().filter(|meant| here != Some(*meant)) {
        let (meant, here) = (meant.clone(), here.cloned());
        return Err(AspError::OtherLedger { meant, here }.into());
    }
    let payment = Payment {
        id: asked.id,
        org: asked.org.as_ref(),
        agent: asked.agent_id.as_ref(),
        amount: asked.amount,
        currency: asked.currency,
        is_deposit,
    };
    let mut broker = shared.broker();
    let paid = broker.acting(act, |broker| broker.pay(by, payment, now))?;
    Ok((account_row(&broker, paid.value), paid.wait))
}

pub(super) fn balance(
    shared: &Shared,
    by: &Principal,
    ask: &EscrowBalance,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let broker = shared.broker();
    let found = broker.balances(by, ask.org.as_ref(), ask.agent_id.as_ref(), now)?;
    let Accepted { value, wait } = found;
    let rows = value.into_iter();
    let rows = rows.filter(|seen| ask.currency.is_none_or(|wanted| seen.currency == wanted));
    let accounts = rows.map(|seen| account_row(&broker, seen)).collect();
    let balances = Balances { accounts };
    Ok(Looked::answer(AspResponse::EscrowBalance(balances), wait))
}

pub(super) fn ledger(
    shared: &Shared,
    by: &Principal,
    ask: &EscrowLedger,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = ask.cursor.as_deref().map(cursor::decode::<Knot>);
    let cursor = cursor.transpose()?;
    let limit = cursor::page_limit(ask.limit)?;
    let place = {
        let broker = shared.broker();
        broker.ledger_place(by, ask.org.as_ref(), ask.agent_id.as_ref(), now)?
    };
    let Accepted { value: place, wait } = place;
    let mut reader = Reader::new(shared, place.channel);
    let mut at = match cursor {
        None => place.last,
        Some(given) => {
            let text = ask.cursor.as_deref().unwrap_or_default();
            let newest = place.last.map(|last| last.offset);
            Some(cursor::checked(text, given, newest, |offset| {
                let EscrowRecord::Moved { moved, .. } = record_at(&mut reader, offset)? else {
                    return Ok(None);
                };
                Ok(match place.account {
                    None => Some(moved.threads.all),
                    Some(account) => moved.links_of(account),
                })
            })?)
        }
    };
    let mut entries = Vec::new();
    let mut looked_at = 0;
    while let Some(knot) = at {
        if entries.len() >= limit || looked_at >= MAX_LOOKED_AT {
            break;
        }
        looked_at += 1;
        let (kind, moved) = moved_at(&mut reader, knot.offset)?;
        let links = match place.account {
            None => Some(moved.threads.all),
            Some(account) => moved.links_of(account),
        };
        let no_links = "the record is not about that account";
        let links = links.ok_or_else(|| reader.damaged(knot.offset, no_links))?;
        let is_wanted = (ask.commitment_id).is_none_or(|id| moved.commitment == Some(id));
        if is_wanted && sees(shared, by, place.account, &moved, now) {
            let broker = shared.broker();
            entries.push(entry(&broker, knot.offset, kind, moved));
        }
        at = links.back.filter(|back| back.offset < knot.offset);
    }
    let page = LedgerPage {
        entries,
        cursor: at.as_ref().map(cursor::encode),
    };
    Ok(Looked::answer(AspResponse::EscrowLedger(page), wait))
}

/// Whether a movement is the caller's to see: of the account that was asked for, or of one of an
/// agent that the key speaks for, or of the organisation.
fn sees(
    shared: &Shared,
    by: &Principal,
    asked: Option<Account>,
    moved: &Moved,
    now: Timestamp,
) -> bool {
    if asked.is_some() {
        return true;
    }
    let broker = shared.broker();
    if broker.is_operator(by, now) {
        return true;
    }
    let mut places = moved.from.iter().chain(&moved.to);
    places.any(|place| match place.account.agent {
        None => place.account.org == by.org,
        Some(agent) => broker.speaks_for_any(by, [(place.account.org, agent)], now),
    })
}

fn record_at(reader: &mut Reader<'_>, offset: Offset) -> Result<EscrowRecord, BrokerError> {
    let read = reader.record(offset)?;
    let payload = read.payload.clone().unwrap_or_default();
    let record = EscrowRecord::decode(read.record_type.as_str(), &payload);
    record.map_err(|error| reader.damaged(offset, &error.to_string()))
}

fn moved_at(reader: &mut Reader<'_>, offset: Offset) -> Result<(MoveKind, Moved), Refusal> {
    match record_at(reader, offset)? {
        EscrowRecord::Moved { kind, moved } => Ok((kind, moved)),
        _ => Err(reader.damaged(offset, "no money moved there").into()),
    }
}

fn entry(broker: &Broker, offset: Offset, kind: MoveKind, moved: Moved) -> EscrowEntry {
    EscrowEntry {
        offset,
        at: moved.at,
        step: match kind {
            MoveKind::Deposit => EscrowStep::Deposited,
            MoveKind::Withdraw => EscrowStep::Withdrawn,
            MoveKind::Hold => EscrowStep::Held,
            MoveKind::Release => EscrowStep::Released,
            MoveKind::Forfeit => EscrowStep::Forfeited,
            MoveKind::Freeze => EscrowStep::Frozen,
            MoveKind::Unfreeze => EscrowStep::Unfrozen,
        },
        amount: moved.amount,
        currency: moved.currency,
        from: moved.from.map(|place| money_place(broker, place)),
        to: moved.to.map(|place| money_place(broker, place)),
        beneficiary: moved.beneficiary.map(|account| account_of(broker, account)),
        commitment_id: moved.commitment,
        payment_id: moved.payment,
        by: moved.by,
    }
}

fn money_place(broker: &Broker, place: Place) -> MoneyPlace {
    MoneyPlace {
        account: account_of(broker, place.account),
        part: place.part,
    }
}

fn account_of(broker: &Broker, account: Account) -> AccountOf {
    let named = account
        .agent
        .map(|agent| broker.name_agent(account.org, agent));
    AccountOf {
        org: broker.name_org(account.org),
        agent_id: account.agent,
        name: named.map(|named| named.name),
    }
}

fn account_row(broker: &Broker, seen: BalanceSeen) -> AccountRow {
    AccountRow {
        account: account_of(broker, seen.account),
        currency: seen.currency,
        available: seen.balance.available,
        held: seen.balance.held,
        frozen: seen.balance.frozen,
    }
}
