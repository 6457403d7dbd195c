//! Requests about disputes: that a promise was not kept, and who decides.

use super::super::access::make_secret;
use super::super::shared::Shared;
use super::commitments::{delivered_places, look_first, party, party_row};
use super::cursor::page_limit;
use super::filed::{ListCursor, Seen, Taken};
use super::reader::Reader;
use super::{Looked, cursor, evidence, filed};
use crate::access::{AuditAct, Principal};
use crate::asp::commitment::{Evidence, OutOfLimit, Which};
use crate::asp::dispute::{Dispute, DisputeError, Judgement, MAX_DISPUTE_WINDOW_MS, Windows};
use crate::broker::asp::{AspError, DisputeSeen, NewDispute};
use crate::broker::{Accepted, Broker, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    AnswerRow, DisputeAnswer, DisputeCreate, DisputeInfo, DisputeList, DisputeRow, DisputeRule,
    DisputeWithdraw, DisputesPage, EvidencePlace, JsonText, RulingRow, SeatRow, VoteRow,
};
use crate::types::{DisputeId, SessionId, Timestamp};

/// Least time that a filer gives, in ms: an hour.
const LEAST_WINDOW_MS: u64 = 3_600_000;

pub(super) fn create(
    shared: &Shared,
    by: &Principal,
    create: &DisputeCreate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (text, places) = (create.evidence.as_ref(), &create.references);
    let delivered = delivered_places(shared, by, create.commitment_id, now)?;
    let shown = evidence::resolve(shared, by, text, places, &delivered, now)?;
    // Arbitrators are drawn by a secret that was sealed before.
    make_secret(shared)?;
    let windows = windows(create)?;
    let mut looked = None;
    loop {
        let (channel, files) = {
            let mut broker = shared.broker();
            let new = NewDispute {
                dispute: Some(create.id),
                commitment: create.commitment_id,
                agent: create.agent_id.clone(),
                dispute_type: create.dispute_type,
                severity: create.severity,
                reason: create.reason.clone(),
                evidence: shown.take(&broker)?,
                delivered: delivered.clone(),
                windows,
            };
            let refusal = match broker.file_dispute(by, new, looked, now) {
                Ok(accepted) => return Ok(changed(&broker, accepted, AspResponse::DisputeCreate)),
                Err(refusal) => refusal,
            };
            look_first(refusal)?
        };
        let mut reader = Reader::new(shared, channel);
        if filed::find(&mut reader, &files, |filed| filed.dispute(create.id))?.is_some() {
            // What is filed is about a commitment that is closed, which this one is not.
            let (dispute, member) = (create.id, "commitment");
            return Err(AspError::from(DisputeError::IdTaken { dispute, member }).into());
        }
        looked = files.first().copied();
    }
}

/// How long the parts of a dispute may take. Less than an hour would leave whoever is accused no time
/// to answer.
fn windows(create: &DisputeCreate) -> Result<Windows, AspError> {
    let default = Windows::default();
    let within = |what, value: Option<u64>, default| match value {
        None => Ok(default),
        Some(value) if (LEAST_WINDOW_MS..=MAX_DISPUTE_WINDOW_MS).contains(&value) => Ok(value),
        Some(value) => Err(AspError::from(DisputeError::from(OutOfLimit {
            what,
            value,
            least: LEAST_WINDOW_MS,
            most: MAX_DISPUTE_WINDOW_MS,
        }))),
    };
    let arbitration_ms = within(
        "arbitrationMs",
        create.arbitration_ms,
        default.arbitration_ms,
    )?;
    Ok(Windows {
        answer_ms: within("answerMs", create.answer_ms, default.answer_ms)?,
        arbitration_ms,
        // Time for two to be silent and a third to vote.
        ballot_ms: default.ballot_ms.min(arbitration_ms / 3),
    })
}

pub(super) fn answer(
    shared: &Shared,
    by: &Principal,
    answer: &DisputeAnswer,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (text, places) = (answer.evidence.as_ref(), &answer.references);
    let shown = evidence::resolve(shared, by, text, places, &[], now)?;
    let mut broker = shared.broker();
    let evidence = shown.take(&broker)?;
    let reason = answer.reason.clone();
    let accepted = broker.answer_dispute(by, answer.dispute_id, reason, evidence, now)?;
    Ok(changed(&broker, accepted, AspResponse::DisputeAnswer))
}

pub(super) fn withdraw(
    shared: &Shared,
    by: &Principal,
    withdraw: &DisputeWithdraw,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let mut broker = shared.broker();
    let accepted = broker.withdraw_dispute(by, withdraw.dispute_id, now)?;
    Ok(changed(&broker, accepted, AspResponse::DisputeWithdraw))
}

pub(super) fn rule(
    shared: &Shared,
    by: &Principal,
    rule: &DisputeRule,
    act: AuditAct,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let judgement = Judgement {
        verdict: rule.verdict,
        severity: rule.severity,
        reason: rule.reason.clone(),
    };
    let agent = rule.agent_id.as_ref();
    let mut broker = shared.broker();
    let id = rule.dispute_id;
    let judged = |broker: &mut Broker| broker.judge_dispute(by, id, agent, judgement, now);
    // An operator's ruling is an act; an arbitrator's vote stands on the topic.
    let accepted = match agent {
        None => broker.acting(act, judged),
        Some(_) => judged(&mut broker),
    }?;
    Ok(changed(&broker, accepted, AspResponse::DisputeRule))
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &DisputeInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let id = info.dispute_id;
    let refusal = {
        let broker = shared.broker();
        if let Some(agent) = &info.agent_id {
            broker.check_reads_for(by, agent, now)?;
        }
        match broker.see_dispute(by, id, now) {
            Ok(accepted) => return Ok(changed(&broker, accepted, AspResponse::DisputeInfo)),
            Err(refusal) => refusal,
        }
    };
    let is_absent = matches!(
        &refusal.error,
        BrokerError::Asp(error) if matches!(**error, AspError::DisputeNotFound(_))
    );
    if !is_absent {
        return Err(refusal);
    }
    let found = filed::dispute(shared, by, id, now)?;
    let broker = shared.broker();
    let told = found.and_then(|found| {
        let one = found.closed.disputes.iter().find(|one| one.id() == id)?;
        Some(broker.seen_ended(found.org, &found.closed, one))
    });
    let Some(told) = told else {
        return Err(refusal);
    };
    let wait = broker.promises_wait(by);
    Ok(Looked::answer(
        AspResponse::DisputeInfo(row(&broker, told)),
        wait,
    ))
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &DisputeList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let text = list.cursor.as_deref().unwrap_or_default();
    let cursor = list
        .cursor
        .as_deref()
        .map(cursor::decode::<ListCursor<DisputeId>>);
    let cursor = cursor.transpose()?;
    let limit = page_limit(list.limit)?;
    let agent = list.agent_id.as_ref();
    let (agent, wait) = {
        let broker = shared.broker();
        let agent = agent.map(|agent| broker.agent_asked_for(by, agent, now));
        (agent.transpose()?, broker.promises_wait(by))
    };
    let fits = |dispute: &Dispute, session: SessionId| {
        let filed = &dispute.filed;
        let takes_part = |agent| {
            let parties = [filed.filer.agent, filed.against.agent];
            let mut seats = dispute.arbitration.iter().flat_map(|of| of.sitting());
            parties.contains(&agent) || seats.any(|seat| seat.party.agent == agent)
        };
        (list.commitment_id).is_none_or(|commitment| dispute.commitment() == commitment)
            && agent.is_none_or(takes_part)
            && (list.states.is_empty() || list.states.contains(&dispute.state))
            && list.session_id.is_none_or(|wanted| wanted == session)
    };
    let (below, from) = ListCursor::begin(cursor, DisputeId(u128::MAX));
    let mut rows = Vec::new();
    let mut next = None;
    if let Some(below) = below {
        let broker = shared.broker();
        let page = broker.live_disputes(by, &fits, below, limit, now)?;
        rows.extend(page.seen.into_iter().map(|seen| row(&broker, seen)));
        next = page.rest.map(ListCursor::Live);
    }
    if next.is_none() {
        // Who filed a dispute may be nobody of whom its commitment has a thread.
        let which = list.session_id.map_or(Which::All, Which::Session);
        let threads = shared.broker().closed_to_walk(by, which, now)?;
        let mut seen = Seen::default();
        let rest = filed::walk(shared, &threads, (from, text), |org, closed, below| {
            let session = closed.commitment.created.promise.session;
            let mut disputes: Vec<&Dispute> = closed.disputes.iter().collect();
            disputes.sort_unstable_by_key(|one| std::cmp::Reverse(one.id()));
            disputes.retain(|one| below.is_none_or(|below| one.id() < below));
            disputes.retain(|one| fits(one, session));
            let mut last = below;
            for one in disputes {
                let has_part = shared.broker().has_part_in(by, one, now);
                if !has_part && !seen.sees(shared, by, org, closed, now)? {
                    continue;
                }
                if rows.len() >= limit {
                    return Ok(Taken::Full(last));
                }
                last = Some(one.id());
                let broker = shared.broker();
                let told = broker.seen_ended(org, closed, one);
                rows.push(row(&broker, told));
            }
            Ok(Taken::On)
        })?;
        next = rest.map(ListCursor::Closed);
    }
    let page = DisputesPage {
        cursor: next.as_ref().map(cursor::encode),
        disputes: rows,
    };
    Ok(Looked::answer(AspResponse::DisputeList(page), wait))
}

fn changed(
    broker: &Broker,
    accepted: Accepted<DisputeSeen>,
    response: impl FnOnce(DisputeRow) -> AspResponse,
) -> Looked {
    Looked::answer(response(row(broker, accepted.value)), accepted.wait)
}

/// Evidence as answers show it.
fn shown(evidence: &Evidence) -> (Option<JsonText>, Vec<EvidencePlace>) {
    let words = evidence.words.as_ref();
    let places = evidence.references.iter().cloned();
    (
        words.and_then(|words| JsonText::parse(words.as_str()).ok()),
        places.map(evidence::place).collect(),
    )
}

fn row(broker: &Broker, seen: DisputeSeen) -> DisputeRow {
    let DisputeSeen {
        org,
        session,
        dispute,
        filer,
        against,
    } = seen;
    let filed = &dispute.filed;
    let (evidence, references) = shown(&filed.evidence);
    let seats = dispute.arbitration.iter().flat_map(|of| &of.seats);
    let arbitrators = seats.map(|seat| SeatRow {
        party: party(broker, seat.party),
        since: seat.since,
        replaced: seat.replaced,
        vote: seat.vote.as_ref().map(|vote| VoteRow {
            at: vote.at,
            verdict: vote.verdict,
            severity: vote.severity,
            reason: vote.reason.clone(),
        }),
    });
    DisputeRow {
        id: filed.dispute,
        commitment_id: filed.commitment,
        session_id: session,
        org,
        state: dispute.state,
        dispute_type: filed.dispute_type,
        severity: filed.severity,
        filed_by: party_row(filer),
        filed_against: party_row(against),
        reason: filed.reason.clone(),
        evidence,
        references,
        filed_at: filed.at,
        due_at: dispute.due().map(|(at, _)| at),
        answer: dispute.answer.as_ref().map(|answer| {
            let (evidence, references) = shown(&answer.evidence);
            AnswerRow {
                at: answer.at,
                reason: answer.reason.clone(),
                evidence,
                references,
            }
        }),
        mechanism: dispute.mechanism,
        arbitrators: arbitrators.collect(),
        ruling: dispute.ruling.as_ref().map(|ruling| RulingRow {
            at: ruling.at,
            verdict: ruling.verdict,
            severity: ruling.severity,
            mechanism: ruling.mechanism,
            reason: ruling.reason.clone(),
        }),
        ended_at: dispute.ended,
        log_hash: filed.log_hash,
        seal: filed.seal,
        offsets: dispute.offsets.clone(),
        by: filed.by,
    }
}
