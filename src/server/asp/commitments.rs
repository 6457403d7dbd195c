//! Requests about what agents promise each other.

use serde::{Deserialize, Serialize};

use super::super::shared::Shared;
use super::reader::Reader;
use super::{Looked, cursor, evidence};
use crate::access::Principal;
use crate::asp::commitment::{
    Commitment, CommitmentError, CommitmentRecord, CommitmentsFiled, DEFAULT_WINDOW_MS, Evidence,
    Party, Receipt, ReceiptFault, ReceiptRecord, Reference, messages_of,
};
use crate::broker::asp::{AspError, CommitmentSeen, Named, NewCommitment};
use crate::broker::{Accepted, Broker, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    CommitmentConfirm, CommitmentCreate, CommitmentDeliver, CommitmentInfo, CommitmentList,
    CommitmentReceipt, CommitmentRow, CommitmentSide, CommitmentWindow, CommitmentsPage,
    DeliveryRow, EndedRow, JsonText, PartyRow, ReceiptExport, RuledRow,
};
use crate::types::{ChannelName, CommitmentId, Offset, Timestamp};

/// Most rows of a page.
const MAX_PAGE: u32 = 1000;

pub(super) fn create(
    shared: &Shared,
    by: &Principal,
    create: &CommitmentCreate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let new = NewCommitment {
        commitment: Some(create.id),
        session: create.session_id,
        obligor: create.agent_id.clone(),
        counterparty: create.counterparty.clone(),
        description: create.description.clone(),
        deadline: create.deadline,
        obligations: create.obligations.clone(),
        penalties: create.penalties,
        escrow: create.escrow,
        severity: create.severity,
        terms: create.terms.as_ref().map(evidence::words).transpose()?,
        window_ms: create.window_ms.unwrap_or(DEFAULT_WINDOW_MS),
    };
    let files = |broker: &Broker| broker.commitment_files(by, create.session_id, create.id, now);
    loop {
        let (channel, searched) = files(&shared.broker())?;
        let is_taken = is_filed(shared, channel, &searched, |filed| {
            filed.commitment(create.id).is_some()
        });
        if is_taken? {
            let (commitment, member) = (create.id, "commitmentId");
            let taken = CommitmentError::IdTaken { commitment, member };
            return Err(BrokerError::from(AspError::from(taken)).into());
        }
        let mut broker = shared.broker();
        // What was held a moment ago may be filed by now.
        if files(&broker)?.1 == searched {
            let accepted = broker.create_commitment(by, new, now)?;
            return Ok(changed(&broker, accepted, AspResponse::CommitmentCreate));
        }
    }
}

/// Whether one of the records that file what has closed has something in it.
pub(super) fn is_filed(
    shared: &Shared,
    channel: ChannelName,
    files: &[Offset],
    has: impl Fn(&CommitmentsFiled) -> bool,
) -> Result<bool, BrokerError> {
    let mut reader = Reader::new(shared, channel);
    for file in files {
        let record = reader.record(*file)?;
        let payload = record.payload.clone().unwrap_or_default();
        let read = CommitmentRecord::decode(record.record_type.as_str(), &payload);
        let CommitmentRecord::Filed(filed) =
            read.map_err(|error| reader.damaged(*file, &error.to_string()))?
        else {
            return Err(reader.damaged(*file, "the record files nothing"));
        };
        if has(&filed) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn deliver(
    shared: &Shared,
    by: &Principal,
    deliver: &CommitmentDeliver,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let id = deliver.commitment_id;
    let shown = evidence::resolve(
        shared,
        by,
        deliver.evidence.as_ref(),
        &deliver.references,
        &[],
        now,
    )?;
    let mut broker = shared.broker();
    let shown = shown.take(&broker)?;
    let accepted = broker.deliver_commitment(by, id, None, shown, now)?;
    Ok(changed(&broker, accepted, AspResponse::CommitmentDeliver))
}

pub(super) fn confirm(
    shared: &Shared,
    by: &Principal,
    confirm: &CommitmentConfirm,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let mut broker = shared.broker();
    let agent = confirm.agent_id.as_ref();
    let accepted = broker.confirm_commitment(by, confirm.commitment_id, agent, now)?;
    Ok(changed(&broker, accepted, AspResponse::CommitmentConfirm))
}

pub(super) fn window(
    shared: &Shared,
    by: &Principal,
    window: &CommitmentWindow,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let mut broker = shared.broker();
    let agent = window.agent_id.as_ref();
    let (id, ms) = (window.commitment_id, window.window_ms);
    let accepted = broker.shorten_window(by, id, agent, ms, now)?;
    Ok(changed(&broker, accepted, AspResponse::CommitmentWindow))
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &CommitmentInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let id = info.commitment_id;
    let (place, mut row, wait) = {
        let broker = shared.broker();
        if let Some(agent) = &info.agent_id {
            broker.check_reads_for(by, agent, now)?;
        }
        let Accepted { value, wait } = broker.see_commitment(by, id, now)?;
        let place = broker.commitment_place(by, id, now)?.value;
        (place, row(&broker, value), wait)
    };
    if let Some(delivery) = &mut row.delivery {
        let mut reader = Reader::new(shared, place.channel);
        let Evidence { references, words } = delivered(&mut reader, delivery.offset)?;
        delivery.evidence = words.and_then(|words| JsonText::parse(words.as_str()).ok());
        delivery.references = references.into_iter().map(evidence::place).collect();
    }
    Ok(Looked::answer(AspResponse::CommitmentInfo(row), wait))
}

/// The places that the delivery of a commitment points to; none where nothing is delivered.
pub(super) fn delivered_places(
    shared: &Shared,
    by: &Principal,
    id: CommitmentId,
    now: Timestamp,
) -> Result<Vec<Reference>, Refusal> {
    let (place, delivery) = {
        let broker = shared.broker();
        let seen = broker.see_commitment(by, id, now)?.value;
        let place = broker.commitment_place(by, id, now)?.value;
        (place, seen.commitment.delivery)
    };
    let Some(delivery) = delivery else {
        return Ok(Vec::new());
    };
    let mut reader = Reader::new(shared, place.channel);
    Ok(delivered(&mut reader, delivery.offset)?.references)
}

/// The evidence of a delivery, from its record.
fn delivered(reader: &mut Reader<'_>, offset: Offset) -> Result<Evidence, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = CommitmentRecord::decode(record.record_type.as_str(), &payload);
    match read.map_err(|error| reader.damaged(offset, &error.to_string()))? {
        CommitmentRecord::Delivered(delivered) => Ok(delivered.evidence.clone()),
        _ => Err(reader.damaged(offset, "nothing is delivered there")),
    }
}

pub(super) fn receipt(
    shared: &Shared,
    by: &Principal,
    asked: &CommitmentReceipt,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let id = asked.commitment_id;
    let Accepted { value: place, wait } = {
        let broker = shared.broker();
        if let Some(agent) = &asked.agent_id {
            broker.check_reads_for(by, agent, now)?;
        }
        broker.commitment_place(by, id, now)?
    };
    let mut reader = Reader::new(shared, place.channel);
    let mut records = Vec::with_capacity(place.offsets.len());
    for offset in place.offsets {
        let record = super::history::raw(reader.text(offset)?)?.into();
        records.push(ReceiptRecord { offset, record });
    }
    let bug = |fault: ReceiptFault| BrokerError::Bug(fault.to_string().into());
    let mut sessions = Reader::new(shared, place.sessions);
    let mut messages = Vec::new();
    for offset in messages_of(id, &records).map_err(bug)? {
        let record = super::history::raw(sessions.text(offset)?)?.into();
        messages.push(ReceiptRecord { offset, record });
    }
    let receipt = Receipt::of(id, records, messages).map_err(bug)?;
    let export = ReceiptExport { receipt };
    Ok(Looked::answer(AspResponse::CommitmentReceipt(export), wait))
}

/// Where a list of commitments goes on: with those before this one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor {
    before: CommitmentId,
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &CommitmentList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = list.cursor.as_deref().map(cursor::decode::<Cursor>);
    let before = cursor.transpose()?.map(|cursor| cursor.before);
    let limit = list.limit.clamp(1, MAX_PAGE) as usize;
    let broker = shared.broker();
    let agent = list.agent_id.as_ref();
    let agent = agent.map(|agent| broker.agent_asked_for(by, agent, now));
    let agent = agent.transpose()?;
    let fits = |commitment: &Commitment| {
        let promise = &commitment.created.promise;
        let party = match list.side {
            CommitmentSide::Obligor => Some(promise.obligor),
            CommitmentSide::Counterparty => commitment.counterparty,
        };
        before.is_none_or(|before| commitment.id() < before)
            && agent.is_none_or(|agent| party.is_some_and(|party| party.agent == agent))
            && (list.session_id).is_none_or(|session| promise.session == session)
            && (list.states.is_empty() || list.states.contains(&commitment.state))
    };
    let found = broker.held_commitments(by, &fits, limit + 1, now)?;
    let Accepted { value, wait } = found;
    let is_full = value.len() > limit;
    let rows = value.into_iter().take(limit).map(|seen| row(&broker, seen));
    let rows: Vec<_> = rows.collect();
    let next = rows.last().filter(|_| is_full);
    let page = CommitmentsPage {
        cursor: next.map(|last| cursor::encode(&Cursor { before: last.id })),
        commitments: rows,
    };
    Ok(Looked::answer(AspResponse::CommitmentList(page), wait))
}

fn changed(
    broker: &Broker,
    accepted: Accepted<CommitmentSeen>,
    response: impl FnOnce(CommitmentRow) -> AspResponse,
) -> Looked {
    Looked::answer(response(row(broker, accepted.value)), accepted.wait)
}

/// An agent as answers show it.
pub(super) fn party_row(named: Named) -> PartyRow {
    PartyRow {
        agent_id: named.agent,
        name: named.name,
        org: named.org,
    }
}

/// A party as answers show it.
pub(super) fn party(broker: &Broker, party: Party) -> PartyRow {
    party_row(broker.name_agent(party.org, party.agent))
}

fn row(broker: &Broker, seen: CommitmentSeen) -> CommitmentRow {
    let CommitmentSeen {
        org,
        commitment,
        obligor,
        counterparty,
    } = seen;
    let created = &commitment.created;
    let promise = &created.promise;
    CommitmentRow {
        id: created.commitment,
        session_id: promise.session,
        org,
        state: commitment.state,
        closed: commitment.closed,
        mode: created.mode,
        obligor: party_row(obligor),
        counterparty: counterparty.map(party_row),
        judge: commitment.judge,
        description: promise.description.clone(),
        deadline: promise.deadline,
        obligations: promise.obligations.clone(),
        penalties: promise.penalties,
        escrow: promise.escrow,
        severity: promise.severity(),
        terms: (promise.terms.as_ref()).and_then(|terms| JsonText::parse(terms.as_str()).ok()),
        terms_hash: created.terms_hash,
        window_ms: commitment.window_ms,
        window_until: commitment.window_until,
        claims_until: commitment.claims_until(),
        message_id: created.message,
        created_at: created.at,
        accepted_at: commitment.accepted,
        delivery: commitment.delivery.map(|delivery| DeliveryRow {
            at: delivery.at,
            late: delivery.late,
            evidence_hash: delivery.evidence_hash,
            offset: delivery.offset,
            evidence: None,
            references: Vec::new(),
        }),
        ended: commitment.ended.map(|ended| EndedRow {
            at: ended.at,
            confirmation: ended.confirmation,
            party: ended.party.map(|one| party(broker, one)),
        }),
        ruled: commitment.ruled.map(|ruled| RuledRow {
            at: ruled.at,
            dispute_id: ruled.dispute,
            mechanism: ruled.mechanism,
            severity: ruled.severity,
            verdict: ruled.verdict,
        }),
        offsets: commitment.offsets.clone(),
        by: created.by,
    }
}
