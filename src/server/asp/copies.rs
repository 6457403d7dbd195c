//! Reads of copies: what agents have said in other regions, as far as it is known here, with up to
//! where that is. Nothing of it waits for another region. docs/regions.md, "Copies of what agents say".

use super::super::answer;
use super::super::region::{Asked, asked};
use super::super::shared::Shared;
use super::history::{self, Place};
use super::sessions::{self, Filed};
use super::{Looked, agents, reads, trust};
use crate::access::Principal;
use crate::asp::registry::AgentRef;
use crate::broker::asp::{AspError, Copied, CopiedTopic};
use crate::broker::{BrokerError, Refusal, Wait};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    AgentsPage, CopiesRead, CopiesTold, CopyAnswer, CopyAsk, CopyPart, HistoryPage, SessionHistory,
};
use crate::region::UpTo;
use crate::types::{OrgName, RegionName, SessionId, Timestamp};

/// What one region has said, and what telling it waits for.
struct Part {
    answer: CopyAnswer,
    up_to: UpTo,
    evidence: Option<UpTo>,
    wait: Option<Wait>,
}

impl Part {
    fn of<T>(copied: Copied<T>, answer: impl FnOnce(T) -> CopyAnswer) -> Self {
        let Copied {
            value,
            up_to,
            evidence,
            wait,
        } = copied;
        Self {
            answer: answer(value),
            up_to,
            evidence,
            wait: Some(wait),
        }
    }
}

pub(super) fn read(
    shared: &Shared,
    by: &Principal,
    read: &CopiesRead,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let ask = &read.ask;
    check_own(shared, by, ask)?;
    let session = session_of(ask);
    // A session lives in one region, so its cursors are of that.
    if read.region.is_none() && session.is_none() && ask.cursor().is_some() {
        return Err(AspError::CursorOfOneRegion.into());
    }
    let Asked { own, regions } = asked(shared, by, needs(ask), read.region.as_ref(), session)?;
    if let (Some(session), []) = (session, &*regions) {
        return Err(AspError::SessionNotFound(session).into());
    }
    let is_one = read.region.is_some() || session.is_some();
    let mut as_of = Vec::with_capacity(regions.len());
    let mut parts = Vec::with_capacity(regions.len());
    let mut wait: Option<Wait> = None;
    for region in regions {
        let found = match region == own {
            true => own_part(shared, by, ask, now),
            false => copied_part(shared, by, &region, ask, now),
        };
        let (answer, error, evidence_as_of) = match found {
            Ok(part) => {
                as_of.push((region.clone(), part.up_to));
                wait = match (wait, part.wait) {
                    (Some(one), Some(other)) => Some(one.and(other)),
                    (one, other) => one.or(other),
                };
                (Some(part.answer), None, part.evidence)
            }
            Err(refusal) if is_one => return Err(refusal),
            Err(refusal) => (None, Some(answer::refused(&refusal.error)), None),
        };
        parts.push(CopyPart {
            region,
            answer,
            error,
            evidence_as_of,
        });
    }
    let as_of = as_of.into_iter().collect();
    let told = CopiesTold { as_of, parts };
    Ok(Looked::Answer(AspResponse::CopiesRead(told), wait))
}

/// The topics that an answer needs, first the one that it is of.
fn needs(ask: &CopyAsk) -> &'static [CopiedTopic] {
    use CopiedTopic::{Evidence, Registry, Sessions};
    match ask {
        CopyAsk::AgentInfo(_) | CopyAsk::AgentSearch(_) => &[Registry, Evidence],
        CopyAsk::TrustScore(_) | CopyAsk::TrustExplain(_) => &[Evidence, Registry],
        CopyAsk::SessionInfo(_) | CopyAsk::SessionHistory(_) => &[Sessions, Registry],
    }
}

fn session_of(ask: &CopyAsk) -> Option<SessionId> {
    match ask {
        CopyAsk::SessionInfo(info) => Some(info.session_id),
        CopyAsk::SessionHistory(history) => Some(history.session_id),
        _ => None,
    }
}

/// Checks that nothing of another organisation is asked for: grants and subscriptions count in their
/// own regions.
fn check_own(shared: &Shared, by: &Principal, ask: &CopyAsk) -> Result<(), AspError> {
    let of_agent = |agent: &AgentRef| match agent {
        AgentRef::Uri { org, .. } => Some(org.clone()),
        AgentRef::Id(_) | AgentRef::Name(_) => None,
    };
    let org = match ask {
        CopyAsk::AgentInfo(info) => of_agent(&info.agent),
        CopyAsk::AgentSearch(search) => search.org.clone(),
        CopyAsk::TrustScore(ask) => of_agent(&ask.agent_id),
        CopyAsk::TrustExplain(explain) => of_agent(&explain.agent_id),
        CopyAsk::SessionInfo(_) | CopyAsk::SessionHistory(_) => None,
    };
    match org {
        Some(org) => is_own(shared, by, &org),
        None => Ok(()),
    }
}

fn is_own(shared: &Shared, by: &Principal, org: &OrgName) -> Result<(), AspError> {
    match shared.broker().name_org(by.org) == *org {
        true => Ok(()),
        false => Err(AspError::OthersElsewhere(org.clone())),
    }
}

/// What this region itself says: as without a region, and up to where its topic is.
fn own_part(
    shared: &Shared,
    by: &Principal,
    ask: &CopyAsk,
    now: Timestamp,
) -> Result<Part, Refusal> {
    let topic = needs(ask)[0];
    // Before it is looked at: what is said meanwhile is in the answer, and not in this.
    let (up_to, evidence, ends) = {
        let broker = shared.broker();
        let (up_to, wait) = broker.own_up_to(by.org, topic);
        let (evidence, more) = broker.own_up_to(by.org, CopiedTopic::Evidence);
        (up_to, evidence, wait.and(more))
    };
    if let CopyAsk::SessionHistory(history) = ask {
        // Whose session it is the history does not say.
        let info = crate::protocol::asp::SessionInfo {
            session_id: history.session_id,
        };
        own_part(shared, by, &CopyAsk::SessionInfo(info), now)?;
    }
    let looked = match ask {
        CopyAsk::AgentInfo(info) => agents::info(shared, by, info, now)?,
        CopyAsk::AgentSearch(search) => agents::search(shared, by, search, now)?,
        CopyAsk::TrustScore(ask) => trust::score(shared, by, ask, now)?,
        CopyAsk::TrustExplain(explain) => trust::explain(shared, by, explain, now)?,
        CopyAsk::SessionInfo(info) => sessions::info(shared, by, info, now)?,
        CopyAsk::SessionHistory(history) => history::look(shared, by, history, now)?,
    };
    let (Looked::Answer(response, wait) | Looked::Nothing(_, response, wait)) = looked;
    let (answer, org) = match response {
        AspResponse::AgentInfo(profile) => {
            let org = profile.agent.org.clone();
            (CopyAnswer::AgentInfo(profile.into()), Some(org))
        }
        AspResponse::AgentSearch(page) => (CopyAnswer::AgentSearch(page), None),
        AspResponse::TrustScore(row) => {
            let org = row.org.clone();
            (CopyAnswer::TrustScore(row.into()), Some(org))
        }
        AspResponse::TrustExplain(explained) => {
            let org = explained.trust.org.clone();
            (CopyAnswer::TrustExplain(explained.into()), Some(org))
        }
        AspResponse::SessionInfo(row) => {
            let org = row.org.clone();
            (CopyAnswer::SessionInfo(row.into()), Some(org))
        }
        AspResponse::SessionHistory(page) => (CopyAnswer::SessionHistory(page), None),
        _ => return Err(BrokerError::Bug("another answer than was asked for".into()).into()),
    };
    if let Some(org) = org {
        is_own(shared, by, &org)?;
    }
    let is_about_agents = topic == CopiedTopic::Registry;
    Ok(Part {
        answer,
        up_to,
        evidence: is_about_agents.then_some(evidence),
        wait: Some(wait.map_or(ends, |wait| wait.and(ends))),
    })
}

/// What another region has said, as far as it is known here.
fn copied_part(
    shared: &Shared,
    by: &Principal,
    region: &RegionName,
    ask: &CopyAsk,
    now: Timestamp,
) -> Result<Part, Refusal> {
    match ask {
        CopyAsk::AgentInfo(info) => {
            let found = shared.broker().agent_elsewhere(by, region, &info.agent)?;
            let profile = agents::profile(found.value.clone())?;
            Ok(Part::of(found, |_| CopyAnswer::AgentInfo(profile.into())))
        }
        CopyAsk::AgentSearch(search) => {
            let query = agents::query(search)?;
            let needs_trust = search.min_trust_score.is_some();
            let found = shared.broker().agents_elsewhere(by, region, needs_trust)?;
            let page: AgentsPage = agents::page(&found.value, &query, search.limit)?;
            Ok(Part::of(found, |_| CopyAnswer::AgentSearch(page)))
        }
        CopyAsk::TrustScore(ask) => {
            let found = shared.broker().trust_elsewhere(by, region, &ask.agent_id)?;
            Ok(Part::of(found, |(seen, _)| {
                CopyAnswer::TrustScore(trust::row(seen).into())
            }))
        }
        CopyAsk::TrustExplain(explain) => {
            let (found, topic) = {
                let broker = shared.broker();
                let found = broker.trust_elsewhere(by, region, &explain.agent_id)?;
                (
                    found,
                    broker.copied_channel(by, CopiedTopic::Evidence, region),
                )
            };
            let name_org = |org| shared.broker().name_org_elsewhere(region, org);
            let page = trust::explained(shared, explain, found.value.clone(), topic, name_org)?;
            Ok(Part::of(found, |_| CopyAnswer::TrustExplain(page.into())))
        }
        CopyAsk::SessionInfo(info) => session(shared, by, region, info.session_id, now),
        CopyAsk::SessionHistory(history) => records(shared, by, region, history, now),
    }
}

fn session(
    shared: &Shared,
    by: &Principal,
    region: &RegionName,
    session: SessionId,
    now: Timestamp,
) -> Result<Part, Refusal> {
    let held = shared.broker().session_elsewhere(by, region, session, now);
    match held {
        Ok(found) => Ok(Part::of(found, |it| {
            CopyAnswer::SessionInfo(sessions::row(it.seen).into())
        })),
        Err(error) if sessions::is_absent(&error) => {
            let found = filed(shared, by, region, session, now)?;
            let Filed {
                ended, head, hash, ..
            } = &found.value;
            let own = shared.broker().name_org(by.org);
            let row = sessions::ended_row(ended, *head, *hash, own, |org, agent| {
                let org = (org == ended.org, org);
                shared.broker().name_elsewhere(by, region, org, agent)
            });
            Ok(Part::of(found, |_| CopyAnswer::SessionInfo(row.into())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Finds a session in a copy that is filed, for who may see it.
fn filed(
    shared: &Shared,
    by: &Principal,
    region: &RegionName,
    session: SessionId,
    now: Timestamp,
) -> Result<Copied<Filed>, Refusal> {
    let files = shared
        .broker()
        .session_files_elsewhere(by, region, session, now)?;
    let found = sessions::filed_in(shared, &files.value, session, |ended| {
        let broker = shared.broker();
        let mut asked = sessions::asked(ended);
        asked
            .any(|(org, agent)| org == ended.org && broker.speaks_elsewhere(by, region, agent, now))
    })?;
    Ok(Copied {
        value: found,
        up_to: files.up_to,
        evidence: files.evidence,
        wait: files.wait,
    })
}

fn records(
    shared: &Shared,
    by: &Principal,
    region: &RegionName,
    history: &SessionHistory,
    now: Timestamp,
) -> Result<Part, Refusal> {
    let session = history.session_id;
    if let Some(agent) = &history.agent {
        let broker = shared.broker();
        let found = broker.agent_elsewhere(by, region, agent)?.value.agent;
        if !broker.speaks_elsewhere(by, region, found.agent, now) {
            let agent = found.name.to_string();
            return Err(AspError::NotYourAgent { agent }.into());
        }
    }
    let held = shared.broker().session_elsewhere(by, region, session, now);
    let (place, up_to, wait) = match held {
        Ok(Copied {
            value, up_to, wait, ..
        }) => {
            let head = value.head;
            let mut reader = super::reader::Reader::new(shared, head.channel.clone());
            let last = reads::last(&mut reader, head.head, head.reads)?;
            let place = Place {
                channel: head.channel,
                head: last.ok_or_else(|| reads::hidden(session))?,
                state: head.state,
                wait: Some(wait),
            };
            (place, up_to, wait)
        }
        Err(error) if sessions::is_absent(&error) => {
            let Copied {
                value: filed,
                up_to,
                wait,
                ..
            } = filed(shared, by, region, session, now)?;
            let last = reads::of_filed_elsewhere(shared, by, region, &filed, now)?;
            let place = Place {
                channel: filed.channel,
                head: last.ok_or_else(|| reads::hidden(session))?,
                state: filed.ended.state,
                wait: Some(wait),
            };
            (place, up_to, wait)
        }
        Err(error) => return Err(error.into()),
    };
    let page = match place.head.number < history.from {
        true => HistoryPage {
            records: Vec::new(),
            next: history.from,
            state: place.state,
        },
        false => history::page(shared, history, place)?,
    };
    Ok(Part {
        answer: CopyAnswer::SessionHistory(page),
        up_to,
        evidence: None,
        wait: Some(wait),
    })
}
