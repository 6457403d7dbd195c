//! Requests about disputes: that a promise was not kept, and who decides.

use serde::{Deserialize, Serialize};

use super::super::access::make_secret;
use super::super::shared::Shared;
use super::commitments::{delivered_places, is_filed, party, party_row};
use super::{Looked, cursor, evidence};
use crate::access::Principal;
use crate::asp::commitment::{Evidence, OutOfLimit};
use crate::asp::dispute::{Dispute, DisputeError, Judgement, MAX_DISPUTE_WINDOW_MS, Windows};
use crate::broker::asp::{AspError, DisputeSeen, NewDispute};
use crate::broker::{Accepted, Broker, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    AnswerRow, DisputeAnswer, DisputeCreate, DisputeInfo, DisputeList, DisputeRow, DisputeRule,
    DisputeWithdraw, DisputesPage, EvidencePlace, JsonText, RulingRow, SeatRow, VoteRow,
};
use crate::types::{DisputeId, Timestamp};

/// Least time that a filer gives, in ms: an hour.
const LEAST_WINDOW_MS: u64 = 3_600_000;

/// Most rows of a page.
const MAX_PAGE: u32 = 1000;

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
    let files = |broker: &Broker| broker.dispute_files(by, create.commitment_id, create.id, now);
    loop {
        let (channel, searched) = files(&shared.broker())?;
        let is_taken = is_filed(shared, channel, &searched, |filed| {
            filed.dispute(create.id).is_some()
        });
        if is_taken? {
            let (dispute, member) = (create.id, "disputeId");
            let taken = DisputeError::IdTaken { dispute, member };
            return Err(BrokerError::from(AspError::from(taken)).into());
        }
        let mut broker = shared.broker();
        // What was held a moment ago may be filed by now.
        if files(&broker)?.1 == searched {
            let new = NewDispute {
                dispute: Some(create.id),
                commitment: create.commitment_id,
                agent: create.agent_id.clone(),
                dispute_type: create.dispute_type,
                severity: create.severity,
                reason: create.reason.clone(),
                evidence: shown.take(&broker)?,
                delivered,
                windows,
            };
            let accepted = broker.file_dispute(by, new, now)?;
            return changed(&broker, accepted, AspResponse::DisputeCreate);
        }
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
    changed(&broker, accepted, AspResponse::DisputeAnswer)
}

pub(super) fn withdraw(
    shared: &Shared,
    by: &Principal,
    withdraw: &DisputeWithdraw,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let mut broker = shared.broker();
    let accepted = broker.withdraw_dispute(by, withdraw.dispute_id, now)?;
    changed(&broker, accepted, AspResponse::DisputeWithdraw)
}

pub(super) fn rule(
    shared: &Shared,
    by: &Principal,
    rule: &DisputeRule,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let judgement = Judgement {
        verdict: rule.verdict,
        severity: rule.severity,
        reason: rule.reason.clone(),
    };
    let agent = rule.agent_id.as_ref();
    let mut broker = shared.broker();
    let accepted = broker.judge_dispute(by, rule.dispute_id, agent, judgement, now)?;
    changed(&broker, accepted, AspResponse::DisputeRule)
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &DisputeInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let broker = shared.broker();
    if let Some(agent) = &info.agent_id {
        broker.check_reads_for(by, agent, now)?;
    }
    let accepted = broker.see_dispute(by, info.dispute_id, now)?;
    changed(&broker, accepted, AspResponse::DisputeInfo)
}

/// Where a list of disputes goes on: with those before this one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor {
    before: DisputeId,
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &DisputeList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = list.cursor.as_deref().map(cursor::decode::<Cursor>);
    let before = cursor.transpose()?.map(|cursor| cursor.before);
    let limit = list.limit.clamp(1, MAX_PAGE) as usize;
    let broker = shared.broker();
    let agent = list.agent_id.as_ref();
    let agent = agent.map(|agent| broker.agent_asked_for(by, agent, now));
    let agent = agent.transpose()?;
    let session = list.session_id;
    let in_session = |dispute: &Dispute| match session {
        None => true,
        Some(session) => broker.session_of(dispute.commitment()) == Some(session),
    };
    let fits = |dispute: &Dispute| {
        let filed = &dispute.filed;
        let takes_part = |agent| {
            let parties = [filed.filer.agent, filed.against.agent];
            let mut seats = dispute.arbitration.iter().flat_map(|of| of.sitting());
            parties.contains(&agent) || seats.any(|seat| seat.party.agent == agent)
        };
        before.is_none_or(|before| dispute.id() < before)
            && (list.commitment_id).is_none_or(|commitment| dispute.commitment() == commitment)
            && agent.is_none_or(takes_part)
            && (list.states.is_empty() || list.states.contains(&dispute.state))
            && in_session(dispute)
    };
    let found = broker.held_disputes(by, &fits, limit + 1, now)?;
    let Accepted { value, wait } = found;
    let is_full = value.len() > limit;
    let rows = value.into_iter().take(limit).map(|seen| row(&broker, seen));
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    let next = rows.last().filter(|_| is_full);
    let page = DisputesPage {
        cursor: next.map(|last| cursor::encode(&Cursor { before: last.id })),
        disputes: rows,
    };
    Ok(Looked::answer(AspResponse::DisputeList(page), wait))
}

fn changed(
    broker: &Broker,
    accepted: Accepted<DisputeSeen>,
    response: impl FnOnce(DisputeRow) -> AspResponse,
) -> Result<Looked, Refusal> {
    let row = row(broker, accepted.value)?;
    Ok(Looked::answer(response(row), accepted.wait))
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

fn row(broker: &Broker, seen: DisputeSeen) -> Result<DisputeRow, Refusal> {
    let DisputeSeen {
        org,
        dispute,
        filer,
        against,
    } = seen;
    let filed = &dispute.filed;
    let session = broker.session_of(filed.commitment);
    let session = session.ok_or(AspError::CommitmentNotFound(filed.commitment))?;
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
    Ok(DisputeRow {
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
    })
}
