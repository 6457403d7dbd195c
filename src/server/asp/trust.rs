//! Requests about trust: how far agents are trusted, why, and what they are rated.

use super::super::shared::Shared;
use super::commitments::party_row;
use super::reader::Reader;
use super::{Looked, cursor};
use crate::access::{AuditAct, Principal};
use crate::asp::Knot;
use crate::asp::trust::{AgentScore, Explanation, PROJECTION, Remark, ScopeScore, TrustRecord};
use crate::broker::asp::{AspError, TrustSeen};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    EndorsementRow, EndorserRow, EvidenceRow, JsonText, Millionths, OrgVerify, PairRow, RatingRow,
    RemarkRow, ScopeRow, TrustAsk, TrustEndorse, TrustExplain, TrustExplained, TrustRate, TrustRow,
    VerifiedOrg,
};
use crate::types::{AgentId, ChannelName, Offset, OrgId, OrgName, Timestamp};

pub(super) fn score(
    shared: &Shared,
    by: &Principal,
    ask: &TrustAsk,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let Accepted { value, wait } = shared.broker().trust_of(by, &ask.agent_id, now)?;
    Ok(Looked::answer(AspResponse::TrustScore(row(value)), wait))
}

pub(super) fn explain(
    shared: &Shared,
    by: &Principal,
    ask: &TrustExplain,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (found, topic) = {
        let broker = shared.broker();
        let found = broker.explain_trust(by, &ask.agent_id, now)?;
        (found, broker.evidence_topic())
    };
    let Accepted { value, wait } = found;
    let name_org = |org| shared.broker().name_org(org);
    let page = explained(shared, ask, value, topic, name_org)?;
    Ok(Looked::answer(AspResponse::TrustExplain(page), wait))
}

/// Why an agent is trusted so far, with a page of the evidence.
///
/// - `topic`: the evidence, or a copy of it.
/// - `name_org`: the name of an organisation that has a number where the evidence was recorded.
pub(super) fn explained(
    shared: &Shared,
    ask: &TrustExplain,
    (seen, explained): (TrustSeen, Option<Explanation>),
    topic: ChannelName,
    name_org: impl Fn(OrgId) -> OrgName,
) -> Result<TrustExplained, Refusal> {
    let cursor = ask.cursor.as_deref().map(cursor::decode::<Knot>);
    let cursor = cursor.transpose()?;
    let limit = cursor::page_limit(ask.limit)?;
    let agent = seen.agent.agent;
    let (last, pairs, remarks, endorsements) = match explained {
        None => (None, Vec::new(), Vec::new(), Vec::new()),
        Some(explained) => {
            let pairs = explained.pairs.iter().map(|pair| PairRow {
                org: name_org(pair.org),
                credibility: pair.credibility.into(),
                good: Millionths(pair.good),
                counted: Millionths(pair.counted),
                bad: Millionths(pair.bad),
            });
            let remarks = explained.remarks.iter();
            let remarks = remarks.map(|remark| remark_row(&name_org, remark));
            let endorsements = explained.endorsements.iter().map(|endorser| EndorserRow {
                agent_id: endorser.agent,
                org: name_org(endorser.org),
                score: endorser.score.into(),
                counted: endorser.counted.into(),
            });
            (
                explained.last,
                pairs.collect(),
                remarks.collect(),
                endorsements.collect(),
            )
        }
    };
    let mut reader = Reader::new(shared, topic);
    let from = match cursor {
        None => last,
        Some(given) => {
            let text = ask.cursor.as_deref().unwrap_or_default();
            let newest = last.map(|last| last.offset);
            let links = |offset| Ok(record_at(&mut reader, offset)?.links_of(agent));
            Some(cursor::checked(text, given, newest, links)?)
        }
    };
    let (evidence, next) = walk(&mut reader, agent, from, limit)?;
    Ok(TrustExplained {
        trust: row(seen),
        pairs,
        remarks,
        endorsements,
        evidence,
        cursor: next.as_ref().map(cursor::encode),
    })
}

/// The evidence about an agent, from a place backwards; where to go on, if there is more.
fn walk(
    reader: &mut Reader<'_>,
    agent: AgentId,
    from: Option<Knot>,
    limit: usize,
) -> Result<(Vec<EvidenceRow>, Option<Knot>), Refusal> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some(knot) = at {
        if found.len() >= limit {
            return Ok((found, Some(knot)));
        }
        let offset = knot.offset;
        let record = record_at(reader, offset)?;
        let Some(links) = record.links_of(agent) else {
            let what = "the record is not about that agent";
            return Err(reader.damaged(offset, what).into());
        };
        found.push(EvidenceRow {
            offset,
            record: raw(reader, knot)?,
        });
        at = links.back.filter(|back| back.offset < offset);
    }
    Ok((found, None))
}

fn record_at(reader: &mut Reader<'_>, offset: Offset) -> Result<TrustRecord, BrokerError> {
    let read = reader.record(offset)?;
    let payload = read.payload.clone().unwrap_or_default();
    let record = TrustRecord::decode(read.record_type.as_str(), &payload);
    record.map_err(|error| reader.damaged(offset, &error.to_string()))
}

fn raw(reader: &mut Reader<'_>, at: Knot) -> Result<JsonText, BrokerError> {
    let text = reader.text(at.offset)?;
    JsonText::parse(&text).map_err(|error| reader.damaged(at.offset, &error.to_string()))
}

pub(super) fn rate(
    shared: &Shared,
    by: &Principal,
    rate: &TrustRate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    if !(0.0..=1.0).contains(&rate.rating) {
        return Err(AspError::Rating(rate.rating).into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1,000"
    )]
    let rating = (rate.rating * 1000.0).round() as u16;
    let (session, agent, from) = (rate.session_id, &rate.agent_id, &rate.from);
    let mut broker = shared.broker();
    let accepted = broker.rate_agent(by, session, agent, from, rating, now)?;
    drop(broker);
    let seen = accepted.value;
    let row = RatingRow {
        session_id: session,
        agent: party_row(seen.agent),
        from: party_row(seen.from),
        rating: Millionths(u64::from(rating) * 1000),
        at: now,
        offset: seen.offset,
    };
    Ok(Looked::answer(AspResponse::TrustRate(row), accepted.wait))
}

pub(super) fn endorse(
    shared: &Shared,
    by: &Principal,
    endorse: &TrustEndorse,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (agent, from, withdrawn) = (&endorse.agent_id, &endorse.from, endorse.withdrawn);
    let mut broker = shared.broker();
    let Accepted { value, wait } = broker.endorse_agent(by, agent, from, withdrawn, now)?;
    drop(broker);
    let row = EndorsementRow {
        agent: party_row(value.agent),
        from: party_row(value.from),
        withdrawn,
        score: value.score.map(Millionths::from),
        at: now,
        offset: value.offset,
    };
    Ok(Looked::answer(AspResponse::TrustEndorse(row), wait))
}

pub(super) fn verify(
    shared: &Shared,
    by: &Principal,
    verify: &OrgVerify,
    act: AuditAct,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let mut broker = shared.broker();
    let done = broker.acting(act, |broker| {
        broker.verify_org(by, &verify.org, verify.verified, now)
    });
    let Accepted { value, wait } = done?;
    let row = VerifiedOrg {
        org: verify.org.clone(),
        verified: verify.verified,
        at: now,
        offset: value,
        by: by.id,
    };
    Ok(Looked::answer(AspResponse::OrgVerify(row), wait))
}

fn remark_row(name_org: impl Fn(OrgId) -> OrgName, remark: &Remark) -> RemarkRow {
    match remark {
        Remark::Ring { orgs } => RemarkRow::Ring {
            orgs: orgs.iter().map(|org| name_org(*org)).collect(),
        },
        Remark::Outlier { org } => RemarkRow::Outlier {
            org: name_org(*org),
        },
        Remark::UnfoundedDisputes { org, candour } => RemarkRow::UnfoundedDisputes {
            org: name_org(*org),
            candour: (*candour).into(),
        },
    }
}

pub(super) fn row(seen: TrustSeen) -> TrustRow {
    let TrustSeen { agent, score } = seen;
    let AgentScore {
        scope,
        score,
        level,
        internal,
        external,
        completion_rate,
        average_response_ms,
        dispute_rate,
        components,
        composite,
        evidence_count,
        distinct_counterparties,
        as_of,
    } = score;
    let of_scope = match scope {
        crate::asp::trust::Scope::Internal => &internal,
        crate::asp::trust::Scope::External => &external,
    };
    TrustRow {
        agent_id: agent.agent,
        name: agent.name,
        org: agent.org,
        projection: PROJECTION.to_owned(),
        score: score.into(),
        scope,
        level,
        mean: of_scope.mean.map(Millionths::from),
        confidence: of_scope.confidence.into(),
        internal: scope_row(&internal),
        external: scope_row(&external),
        completion_rate: completion_rate.map(Millionths::from),
        average_response_time: average_response_ms,
        dispute_rate: dispute_rate.map(Millionths::from),
        components,
        // Hundredths.
        composite: Millionths(u64::from(composite) * 10_000),
        evidence_count,
        distinct_counterparties,
        as_of,
    }
}

fn scope_row(scope: &ScopeScore) -> ScopeRow {
    ScopeRow {
        score: scope.score.into(),
        mean: scope.mean.map(Millionths::from),
        confidence: scope.confidence.into(),
    }
}
