//! Requests about what agents promise each other.

use super::super::shared::Shared;
use super::cursor::page_limit;
use super::filed::{ListCursor, Seen, Taken};
use super::reader::Reader;
use super::{Looked, cursor, evidence, filed};
use crate::access::Principal;
use crate::asp::commitment::{
    Commitment, CommitmentRecord, DEFAULT_WINDOW_MS, Evidence, Party, Receipt, ReceiptFault,
    ReceiptRecord, Reference, Which, messages_of,
};
use crate::asp::registry::AgentRef;
use crate::broker::asp::{
    AspError, CommitmentPlace, CommitmentSeen, LookedFor, Named, NewCommitment,
};
use crate::broker::{Accepted, Broker, BrokerError, Refusal, Wait};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    CommitmentConfirm, CommitmentCreate, CommitmentDeliver, CommitmentInfo, CommitmentList,
    CommitmentReceipt, CommitmentRow, CommitmentSide, CommitmentWindow, CommitmentsPage,
    DeliveryRow, EndedRow, JsonText, PartyRow, ReceiptExport, RuledRow,
};
use crate::types::{ChannelName, CommitmentId, Offset, Timestamp};

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
    let mut looked = LookedFor::Nowhere;
    loop {
        let (channel, files) = {
            let mut broker = shared.broker();
            let refusal = match broker.create_commitment(by, new.clone(), &looked, now) {
                Ok(accepted) => {
                    return Ok(changed(&broker, accepted, AspResponse::CommitmentCreate));
                }
                Err(refusal) => refusal,
            };
            look_first(refusal)?
        };
        let mut reader = Reader::new(shared, channel);
        looked = match filed::find(&mut reader, &files, |filed| filed.commitment(create.id))? {
            Some(at) => LookedFor::Closed(filed::closed_at(&mut reader, at)?),
            None => LookedFor::Absent(files.first().copied().unwrap_or_default()),
        };
    }
}

/// Where an id is to be looked for before the request is carried out.
pub(super) fn look_first(refusal: Refusal) -> Result<(ChannelName, Vec<Offset>), Refusal> {
    match &refusal.error {
        BrokerError::Asp(error) => match &**error {
            AspError::LookFirst { channel, files } => Ok((channel.clone(), files.clone())),
            _ => Err(refusal),
        },
        _ => Err(refusal),
    }
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
    let Told {
        place,
        mut row,
        wait,
    } = told(shared, by, id, info.agent_id.as_ref(), now)?;
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
    match filed::record(reader, offset)? {
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
    let Told { place, wait, .. } = told(shared, by, id, asked.agent_id.as_ref(), now)?;
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

/// A commitment as it is told, and where its records are.
struct Told {
    place: CommitmentPlace,
    row: CommitmentRow,
    wait: Wait,
}

/// A commitment, held or filed, for who may see it.
fn told(
    shared: &Shared,
    by: &Principal,
    id: CommitmentId,
    agent: Option<&AgentRef>,
    now: Timestamp,
) -> Result<Told, Refusal> {
    let refusal = {
        let broker = shared.broker();
        if let Some(agent) = agent {
            broker.check_reads_for(by, agent, now)?;
        }
        match broker.see_commitment(by, id, now) {
            Ok(Accepted { value, wait }) => {
                let place = broker.commitment_place(by, id, now)?.value;
                let row = row(&broker, value);
                return Ok(Told { place, row, wait });
            }
            Err(refusal) => refusal,
        }
    };
    let is_absent = matches!(
        &refusal.error,
        BrokerError::Asp(error) if matches!(**error, AspError::CommitmentNotFound(_))
    );
    if !is_absent {
        return Err(refusal);
    }
    let Some(found) = filed::commitment(shared, by, id, now)? else {
        return Err(refusal);
    };
    let broker = shared.broker();
    let Accepted { value, wait } = broker.seen_closed(found.org, &found.closed);
    let mut offsets = found.closed.commitment.offsets.clone();
    offsets.retain(|one| *one != found.offset);
    offsets.push(found.offset);
    Ok(Told {
        place: CommitmentPlace {
            channel: found.channel,
            sessions: broker.sessions_topic(found.org),
            offsets,
        },
        row: row(&broker, value),
        wait,
    })
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &CommitmentList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let text = list.cursor.as_deref().unwrap_or_default();
    let cursor = list
        .cursor
        .as_deref()
        .map(cursor::decode::<ListCursor<CommitmentId>>);
    let cursor = cursor.transpose()?;
    let limit = page_limit(list.limit)?;
    let agent = list.agent_id.as_ref();
    let (agent, wait) = {
        let broker = shared.broker();
        let agent = agent.map(|agent| broker.agent_asked_for(by, agent, now));
        (agent.transpose()?, broker.promises_wait(by))
    };
    // Of agent and session, the session has the fewer.
    let which = match (list.session_id, agent, list.side) {
        (Some(session), ..) => Which::Session(session),
        (None, Some(agent), CommitmentSide::Obligor) => Which::Obligor(agent),
        (None, Some(agent), CommitmentSide::Counterparty) => Which::Counterparty(agent),
        (None, None, _) => Which::All,
    };
    let fits = |commitment: &Commitment| {
        let promise = &commitment.created.promise;
        let party = match list.side {
            CommitmentSide::Obligor => Some(promise.obligor),
            CommitmentSide::Counterparty => commitment.counterparty,
        };
        agent.is_none_or(|agent| party.is_some_and(|party| party.agent == agent))
            && (list.session_id).is_none_or(|session| promise.session == session)
            && (list.states.is_empty() || list.states.contains(&commitment.state))
    };
    let (below, from) = ListCursor::begin(cursor, CommitmentId(u128::MAX));
    let mut rows = Vec::new();
    let mut next = None;
    if let Some(below) = below {
        let broker = shared.broker();
        let page = broker.live_commitments(by, which, &fits, below, limit, now)?;
        rows.extend(page.seen.into_iter().map(|seen| row(&broker, seen)));
        next = page.rest.map(ListCursor::Live);
    }
    if next.is_none() {
        let threads = shared.broker().closed_to_walk(by, which, now)?;
        let mut seen = Seen::default();
        let rest = filed::walk(shared, &threads, (from, text), |org, closed, _| {
            if !fits(&closed.commitment) || !seen.sees(shared, by, org, closed, now)? {
                return Ok(Taken::On);
            }
            if rows.len() >= limit {
                return Ok(Taken::Full(None));
            }
            let broker = shared.broker();
            let told = broker.seen_closed(org, closed).value;
            rows.push(row(&broker, told));
            Ok(Taken::On)
        })?;
        next = rest.map(ListCursor::Closed);
    }
    let page = CommitmentsPage {
        cursor: next.as_ref().map(cursor::encode),
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
