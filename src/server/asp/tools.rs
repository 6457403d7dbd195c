//! Requests about tool calls.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::shared::Shared;
use super::reader::Reader;
use super::{Looked, cursor};
use crate::access::Principal;
use crate::asp::chain::{Digest, payload_digest};
use crate::asp::tool::{
    Call, CallEnded, CallError, Content, DEFAULT_TIMEOUT_MS, EndedCall, Fail, Filed, Filter,
    Finish, Outcome, Progress, Report, ToolRecord, Walk,
};
use crate::asp::{Canonical, Knot};
use crate::broker::asp::{AspError, CallSeen, CallStep, NewCall};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    CallOutcome, JsonText, ToolFail, ToolFinish, ToolInfo, ToolList, ToolProgress, ToolRow,
    ToolStart, ToolStats, ToolStatsRow, ToolTotals, ToolsPage,
};
use crate::types::{CallId, ChannelName, Offset, Timestamp, ToolName};

/// Calls that one request looks at, whether they are wanted or not.
const MAX_LOOKED_AT: usize = 10_000;

pub(super) fn start(
    shared: &Shared,
    by: &Principal,
    start: &ToolStart,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let arguments = content(
        start.arguments.as_ref(),
        start.arguments_sha256,
        start.sensitive,
    )?;
    let new = NewCall {
        call: start.call_id,
        tool: ToolName::parse(&start.tool).map_err(AspError::from)?,
        agent: start.agent.clone(),
        session: start.session_id,
        parent: start.parent_call_id,
        arguments,
        timeout_ms: start.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
    };
    let step = |filed: &Filed| shared.broker().start_call(by, &new, filed, now);
    stepped(shared, by, start.call_id, step, AspResponse::ToolStart)
}

pub(super) fn progress(
    shared: &Shared,
    by: &Principal,
    progress: &ToolProgress,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let part = progress.progress.map(Progress::try_from);
    let report = Report {
        call: progress.call_id,
        progress: part.transpose().map_err(AspError::from)?,
        message: progress.message.clone(),
        by: by.id,
    };
    let step = |filed: &Filed| shared.broker().report_call(by, &report, filed, now);
    stepped(
        shared,
        by,
        progress.call_id,
        step,
        AspResponse::ToolProgress,
    )
}

pub(super) fn finish(
    shared: &Shared,
    by: &Principal,
    finish: &ToolFinish,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let finished = Finish {
        call: finish.call_id,
        result: content(
            finish.result.as_ref(),
            finish.result_sha256,
            finish.sensitive,
        )?,
        by: by.id,
    };
    let step = |filed: &Filed| shared.broker().finish_call(by, &finished, filed, now);
    stepped(shared, by, finish.call_id, step, AspResponse::ToolFinish)
}

pub(super) fn fail(
    shared: &Shared,
    by: &Principal,
    fail: &ToolFail,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let failed = Fail {
        call: fail.call_id,
        error: CallError {
            message: fail.message.clone(),
            error_type: fail.error_type.clone(),
        },
        by: by.id,
    };
    let step = |filed: &Filed| shared.broker().fail_call(by, &failed, filed, now);
    stepped(shared, by, fail.call_id, step, AspResponse::ToolFail)
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &ToolInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let step = |filed: &Filed| shared.broker().see_call(by, info.call_id, filed, now);
    stepped(shared, by, info.call_id, step, AspResponse::ToolInfo)
}

/// The answer to a step of a call.
fn stepped(
    shared: &Shared,
    by: &Principal,
    call: CallId,
    step: impl FnMut(&Filed) -> Result<CallStep, Refusal>,
    response: impl FnOnce(ToolRow) -> AspResponse,
) -> Result<Looked, Refusal> {
    let Accepted { value, wait } = done(shared, call, step)?;
    let Call::Ended(held) = &value.call else {
        return Ok(Looked::answer(response(row(value)), wait));
    };
    // Memory holds no arguments and results of what has ended.
    let channel = shared.broker().tools_topic(by);
    let mut reader = Reader::new(shared, channel);
    let call = Call::Ended(Arc::new(ended_at(&mut reader, held.offset)?));
    let seen = CallSeen { call, ..value };
    Ok(Looked::answer(response(row(seen)), wait))
}

/// Asks for a step, and again with what the topic says of a call that memory does not hold.
fn done(
    shared: &Shared,
    call: CallId,
    mut step: impl FnMut(&Filed) -> Result<CallStep, Refusal>,
) -> Result<Accepted<CallSeen>, Refusal> {
    let mut filed = Filed::Unsearched;
    loop {
        match step(&filed)? {
            CallStep::Done(accepted) => return Ok(accepted),
            CallStep::Search(channel, files) => filed = search(shared, call, channel, &files)?,
        }
    }
}

/// Looks for a call where it may be filed.
pub(super) fn search(
    shared: &Shared,
    call: CallId,
    channel: ChannelName,
    files: &[Offset],
) -> Result<Filed, BrokerError> {
    let mut reader = Reader::new(shared, channel);
    let latest = files.iter().max().copied().unwrap_or(Offset(0));
    for file in files {
        let ToolRecord::Filed(filed) = record_at(&mut reader, *file)? else {
            return Err(reader.damaged(*file, "the record files nothing"));
        };
        if let Some(at) = filed.call(call) {
            return Ok(Filed::Found(Arc::new(ended_at(&mut reader, at)?)));
        }
    }
    Ok(Filed::Absent(latest))
}

fn record_at(reader: &mut Reader<'_>, offset: Offset) -> Result<ToolRecord, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = ToolRecord::decode(record.record_type.as_str(), &payload);
    read.map_err(|error| reader.damaged(offset, &error.to_string()))
}

fn ended_at(reader: &mut Reader<'_>, offset: Offset) -> Result<EndedCall, BrokerError> {
    match record_at(reader, offset)? {
        ToolRecord::Ended(record) => Ok(EndedCall { offset, record }),
        _ => Err(reader.damaged(offset, "no call ended there")),
    }
}

/// Where a list of calls goes on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Cursor {
    /// With the open ones that began before this record.
    Open(Offset),
    /// With those that ended, from this one on.
    Ended(Knot),
}

pub(super) fn list(
    shared: &Shared,
    by: &Principal,
    list: &ToolList,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = list.cursor.as_deref().map(cursor::decode::<Cursor>);
    let cursor = cursor.transpose()?;
    let limit = cursor::page_limit(list.limit)?;
    let tool = list.tool.as_deref().map(ToolName::parse);
    let filter = Filter {
        agent: None,
        tool: tool.transpose().map_err(AspError::from)?,
        session: list.session_id,
        outcome: match list.outcome {
            None | Some(CallOutcome::Open) => None,
            Some(CallOutcome::Finished) => Some(Outcome::Finished),
            Some(CallOutcome::Failed) => Some(Outcome::Failed),
            Some(CallOutcome::Abandoned) => Some(Outcome::Abandoned),
        },
        since: list.since,
        until: list.until,
    };
    let agent = list.agent.as_ref();
    let found = shared.broker().calls_to_walk(by, agent, filter, now)?;
    let Some(found) = found else {
        let page = ToolsPage {
            calls: Vec::new(),
            cursor: None,
        };
        return Ok(Looked::Answer(AspResponse::ToolList(page), None));
    };
    let mut calls = Vec::new();
    let before = match cursor {
        None => Offset(u64::MAX),
        Some(Cursor::Open(before)) => before,
        Some(Cursor::Ended(_)) => Offset(0),
    };
    let mut last = before;
    let open = found.open.into_iter().filter(|seen| match &seen.call {
        Call::Open(open) => open.offset < before,
        Call::Ended(_) => false,
    });
    for seen in open.take(limit) {
        if let Call::Open(open) = &seen.call {
            last = open.offset;
        }
        calls.push(row(seen));
    }
    let mut next = None;
    if calls.len() >= limit {
        next = Some(Cursor::Open(last));
    } else if list.outcome != Some(CallOutcome::Open) {
        let mut reader = Reader::new(shared, found.channel);
        let mut walk = match cursor {
            Some(Cursor::Ended(from)) => {
                let text = list.cursor.as_deref().unwrap_or_default();
                let newest = found.newest;
                let from = cursor::checked(text, from, newest, |offset| {
                    let ToolRecord::Ended(call) = record_at(&mut reader, offset)? else {
                        return Ok(None);
                    };
                    Ok(found.walk.links(&call))
                })?;
                found.walk.begin(Some(from))
            }
            _ if found.files.is_empty() => found.walk,
            _ => {
                let last = filed_thread(&mut reader, list, &found.files)?;
                found.walk.begin(last)
            }
        };
        let rest = walk_ended(shared, by, &mut reader, &mut walk, limit, &mut calls, now)?;
        next = rest.map(Cursor::Ended);
    }
    let page = ToolsPage {
        calls,
        cursor: next.as_ref().map(cursor::encode),
    };
    Ok(Looked::answer(AspResponse::ToolList(page), found.wait))
}

/// Where the thread of a session ends that is filed.
fn filed_thread(
    reader: &mut Reader<'_>,
    list: &ToolList,
    files: &[Offset],
) -> Result<Option<Knot>, BrokerError> {
    let Some(session) = list.session_id else {
        return Ok(None);
    };
    for file in files {
        let ToolRecord::Filed(filed) = record_at(reader, *file)? else {
            return Err(reader.damaged(*file, "the record files nothing"));
        };
        if let Some(last) = filed.session(session) {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// Adds the calls that ended, the latest first; where to go on, if there are more.
fn walk_ended(
    shared: &Shared,
    by: &Principal,
    reader: &mut Reader<'_>,
    walk: &mut Walk,
    limit: usize,
    calls: &mut Vec<ToolRow>,
    now: Timestamp,
) -> Result<Option<Knot>, BrokerError> {
    let mut looked_at = 0;
    while let Some(knot) = walk.wants() {
        if calls.len() >= limit || looked_at >= MAX_LOOKED_AT {
            return Ok(walk.rest());
        }
        looked_at += 1;
        let ended = ended_at(reader, knot.offset)?;
        if walk.read(&ended.record) {
            let call = Call::Ended(Arc::new(ended));
            let seen = shared.broker().see_ended_call(by, call, now);
            calls.extend(seen.map(row));
        }
    }
    Ok(None)
}

pub(super) fn stats(
    shared: &Shared,
    by: &Principal,
    stats: &ToolStats,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let tool = stats.tool.as_deref().map(ToolName::parse);
    let tool = tool.transpose().map_err(AspError::from)?;
    let Accepted { value, wait } = shared.broker().tool_stats(by, tool.as_ref(), now)?;
    let rows = value.into_iter().map(|(tool, stats)| {
        let at = |per_mille| stats.durations.percentile(per_mille).unwrap_or(0);
        ToolStatsRow {
            tool: tool.to_string(),
            calls: stats.calls,
            open: stats.open(),
            finished: stats.finished,
            failed: stats.failed,
            abandoned: stats.abandoned,
            p50_ms: at(500),
            p90_ms: at(900),
            p99_ms: at(990),
            max_ms: stats.durations.max_ms,
            total_ms: stats.durations.total_ms,
        }
    });
    let totals = ToolTotals {
        tools: rows.collect(),
    };
    Ok(Looked::answer(AspResponse::ToolStats(totals), wait))
}

/// Arguments or a result: what was given, or its digest alone.
fn content(
    given: Option<&JsonText>,
    digest: Option<Digest>,
    is_sensitive: bool,
) -> Result<Option<Content>, AspError> {
    match (given, digest) {
        (Some(_), Some(_)) => Err(AspError::BothGiven),
        (None, digest) => Ok(digest.map(Content::sensitive)),
        (Some(text), None) => {
            let canonical = Canonical::parse(text.text())?;
            let digest = payload_digest(Some(&canonical));
            if is_sensitive {
                return Ok(Some(Content::sensitive(digest)));
            }
            let raw = serde_json::value::RawValue::from_string(canonical.as_str().to_owned());
            let raw = raw.expect("a canonical form is JSON");
            Ok(Some(Content::plain(digest, raw)))
        }
    }
}

fn row(seen: CallSeen) -> ToolRow {
    let CallSeen { call, agent } = seen;
    let text = |json: &str| JsonText::parse(json).ok();
    match call {
        Call::Open(open) => {
            let started = &open.started;
            let progress = open.progress.as_ref();
            let arguments = started.arguments.as_ref();
            ToolRow {
                call_id: started.call,
                tool: started.tool.to_string(),
                agent: agent.agent,
                name: agent.name,
                org: agent.org,
                session_id: started.session,
                parent_call_id: started.parent,
                outcome: CallOutcome::Open,
                started_at: started.at,
                ended_at: None,
                duration_ms: None,
                timeout_ms: Some(started.timeout_ms),
                progress: progress
                    .and_then(|last| last.progress)
                    .map(|part| f64::from(part.thousandths()) / 1000.0),
                arguments: arguments.and_then(|plain| text(plain.as_str())),
                arguments_sha256: started.arguments_digest.filter(|_| arguments.is_none()),
                result: None,
                result_sha256: None,
                error_type: None,
                message: progress.and_then(|last| last.message.clone()),
                by: Some(started.by),
            }
        }
        Call::Ended(ended) => {
            let CallEnded {
                arguments, result, ..
            } = &ended.record;
            let record = &ended.record;
            ToolRow {
                call_id: record.call,
                tool: record.tool.to_string(),
                agent: agent.agent,
                name: agent.name,
                org: agent.org,
                session_id: record.session,
                parent_call_id: record.parent,
                outcome: match record.outcome {
                    Outcome::Finished => CallOutcome::Finished,
                    Outcome::Failed => CallOutcome::Failed,
                    Outcome::Abandoned => CallOutcome::Abandoned,
                },
                started_at: record.started_at,
                ended_at: Some(record.at),
                duration_ms: Some(record.duration_ms),
                timeout_ms: None,
                progress: None,
                arguments: arguments.as_ref().and_then(|plain| text(plain.as_str())),
                arguments_sha256: record.arguments_digest.filter(|_| arguments.is_none()),
                result: result.as_ref().and_then(|plain| text(plain.as_str())),
                result_sha256: record.result_digest.filter(|_| result.is_none()),
                error_type: record.error.as_ref().map(|error| error.error_type.clone()),
                message: record
                    .error
                    .as_ref()
                    .and_then(|error| error.message.clone()),
                by: Some(record.started_by),
            }
        }
    }
}
