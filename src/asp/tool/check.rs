//! What may be done to a call, judged before anything is written.

use std::sync::Arc;

use super::content::{Content, MAX_CONTENT_BYTES, Plain, Progress};
use super::error::ToolError;
use super::record::{CallError, CallProgressed, CallStarted, Kind, Outcome};
use super::tools::{Call, EndedCall, OpenCall, Tools};
use crate::asp::chain::Digest;
use crate::folding::EVENT_VERSION;
use crate::types::{AgentId, CallId, Offset, PrincipalId, SessionId, Timestamp, ToolName};

/// Most open calls of an organisation.
pub const MAX_OPEN: usize = 100_000;
/// Most bytes of the arguments of all open calls of an organisation: they are held in memory, to
/// be told again when the call ends.
pub const MAX_OPEN_ARGUMENT_BYTES: usize = 128 * 1024 * 1024;
/// Most different tools that an organisation may have called in its life.
pub const MAX_TOOLS: usize = 10_000;
/// Most different pairs of an agent and a tool that it called, in an organisation's life.
pub const MAX_PAIRS: usize = 1_000_000;
/// Time after which an open call is given up unless it says otherwise, in ms: 24 hours.
pub const DEFAULT_TIMEOUT_MS: u64 = 24 * 3_600_000;
/// Longest time that a call may be open, in ms: 30 days.
pub const MAX_TIMEOUT_MS: u64 = 30 * 24 * 3_600_000;
/// Longest type of an error, in bytes.
pub const MAX_ERROR_TYPE_BYTES: usize = 256;
/// Longest message of an error or a progress, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// A call to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The caller's id for it.
    pub call: CallId,
    /// The tool.
    pub tool: ToolName,
    /// Who calls.
    pub agent: AgentId,
    /// In which session.
    pub session: Option<SessionId>,
    /// Within which call. It is not looked up.
    pub parent: Option<CallId>,
    /// What the tool is given.
    pub arguments: Option<Content>,
    /// Time after which it is given up, in ms, 1 to [`MAX_TIMEOUT_MS`].
    pub timeout_ms: u64,
    /// Who says so.
    pub by: PrincipalId,
}

/// A call that came further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The call.
    pub call: CallId,
    /// How far it is.
    pub progress: Option<Progress>,
    /// In words.
    pub message: Option<String>,
    /// Who says so.
    pub by: PrincipalId,
}

/// A call that gave a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The call.
    pub call: CallId,
    /// What it gave.
    pub result: Option<Content>,
    /// Who says so.
    pub by: PrincipalId,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// The call.
    pub call: CallId,
    /// Why.
    pub error: CallError,
    /// Who says so.
    pub by: PrincipalId,
}

/// What is to happen to a call. [`Tools::link`] makes a record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolEvent {
    /// It begins.
    Started(CallStarted),
    /// It comes further.
    Progressed(CallProgressed),
    /// It ends.
    Ended {
        /// The call.
        call: CallId,
        /// How.
        outcome: Outcome,
        /// Why it failed; where it did.
        error: Option<CallError>,
        /// What it gave; where it gave something.
        result: Option<Content>,
        /// Who says so; none where the clock does.
        by: Option<PrincipalId>,
        /// When.
        at: Timestamp,
    },
}

/// What is known of a call that memory does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filed {
    /// Nothing: nobody has looked.
    #[default]
    Unsearched,
    /// It is in none of the files up to this offset.
    Absent(Offset),
    /// It ended so.
    Found(Arc<EndedCall>),
}

/// What becomes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// To be recorded.
    New(ToolEvent),
    /// It was taken before, and nothing is to be recorded. The call as it is now.
    Before(Call),
    /// The call may be filed in these records, the latest first. Read them, and ask again with
    /// what they say.
    Search(Vec<Offset>),
}

impl Tools {
    /// Turns the start of a call into the event that records it, or finds that it was started
    /// before.
    ///
    /// - `filed`: what is known of the call beyond memory.
    /// - `now`: the broker's clock.
    ///
    /// # Errors
    /// [`ToolError`] naming what was found and what would be allowed. Nothing is changed.
    pub fn check_start(
        &self,
        start: Start,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<Checked, ToolError> {
        match self.known(start.call, filed) {
            Known::Call(Call::Open(open)) => {
                same(&start, Terms::of_open(&open))?;
                return Ok(Checked::Before(Call::Open(open)));
            }
            Known::Call(Call::Ended(ended)) => {
                same(&start, Terms::of_ended(&ended))?;
                return Ok(Checked::Before(Call::Ended(ended)));
            }
            Known::Perhaps(files) => return Ok(Checked::Search(files)),
            Known::Nothing => {}
        }
        if !start.call.is_version_7() {
            return Err(ToolError::CallIdVersion(start.call));
        }
        if start.parent == Some(start.call) {
            return Err(ToolError::OwnParent(start.call));
        }
        within("timeoutMs", start.timeout_ms, 1, MAX_TIMEOUT_MS)?;
        let bytes = content_bytes("arguments bytes", start.arguments.as_ref())?;
        self.check_room(&start, bytes)?;
        let (arguments, arguments_digest) = split(start.arguments);
        Ok(Checked::New(ToolEvent::Started(CallStarted {
            agent: start.agent,
            arguments,
            arguments_digest,
            at: self.stamp(now),
            by: start.by,
            call: start.call,
            parent: start.parent,
            session: start.session,
            timeout_ms: start.timeout_ms,
            tool: start.tool,
            kind: Kind::Started,
            v: EVENT_VERSION.into(),
        })))
    }

    /// Turns the progress of a call into the event that records it, or finds that it is what was
    /// told last.
    ///
    /// - `filed`, `now`: as in [`Tools::check_start`]. What [`Tools::next_due`] gives for `now`
    ///   must be applied first.
    ///
    /// # Errors
    /// [`ToolError`] when the call is not open, or too much is said.
    pub fn check_progress(
        &self,
        report: Report,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<Checked, ToolError> {
        let open = match self.known(report.call, filed) {
            Known::Call(Call::Open(open)) => open,
            Known::Call(Call::Ended(ended)) => return Err(has_ended(&ended)),
            Known::Perhaps(files) => return Ok(Checked::Search(files)),
            Known::Nothing => return Err(ToolError::UnknownCall(report.call)),
        };
        message_within(report.message.as_deref())?;
        if let Some(last) = &open.progress
            && (last.progress, &last.message) == (report.progress, &report.message)
        {
            return Ok(Checked::Before(Call::Open(open)));
        }
        on_time(&open, now)?;
        Ok(Checked::New(ToolEvent::Progressed(CallProgressed {
            at: self.stamp(now),
            by: report.by,
            call: report.call,
            message: report.message,
            progress: report.progress,
            kind: Kind::Progressed,
            v: EVENT_VERSION.into(),
        })))
    }

    /// Turns the end of a call into the event that records it, or finds that it ended so before.
    ///
    /// - `filed`, `now`: as in [`Tools::check_progress`].
    ///
    /// # Errors
    /// [`ToolError`] when the call is not there, has ended in another way, or gave too much.
    pub fn check_finish(
        &self,
        finish: Finish,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<Checked, ToolError> {
        content_bytes("result bytes", finish.result.as_ref())?;
        let digest = finish.result.as_ref().map(|result| result.digest);
        let is_so = |ended: &EndedCall| {
            ended.record.outcome == Outcome::Finished && ended.record.result_digest == digest
        };
        self.check_end(finish.call, filed, now, is_so, |at| ToolEvent::Ended {
            call: finish.call,
            outcome: Outcome::Finished,
            error: None,
            result: finish.result.clone(),
            by: Some(finish.by),
            at,
        })
    }

    /// Turns the failure of a call into the event that records it, or finds that it failed so
    /// before.
    ///
    /// - `filed`, `now`: as in [`Tools::check_progress`].
    ///
    /// # Errors
    /// [`ToolError`] when the call is not there, has ended in another way, or too much is said.
    pub fn check_fail(
        &self,
        fail: Fail,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<Checked, ToolError> {
        let bytes = fail.error.error_type.len();
        within(
            "errorType bytes",
            wide(bytes),
            1,
            wide(MAX_ERROR_TYPE_BYTES),
        )?;
        message_within(fail.error.message.as_deref())?;
        let is_so = |ended: &EndedCall| {
            ended.record.outcome == Outcome::Failed
                && ended.record.error.as_ref() == Some(&fail.error)
        };
        self.check_end(fail.call, filed, now, is_so, |at| ToolEvent::Ended {
            call: fail.call,
            outcome: Outcome::Failed,
            error: Some(fail.error.clone()),
            result: None,
            by: Some(fail.by),
            at,
        })
    }

    fn check_end(
        &self,
        call: CallId,
        filed: &Filed,
        now: Timestamp,
        is_so: impl Fn(&EndedCall) -> bool,
        event: impl Fn(Timestamp) -> ToolEvent,
    ) -> Result<Checked, ToolError> {
        match self.known(call, filed) {
            Known::Call(Call::Open(open)) => {
                on_time(&open, now)?;
                Ok(Checked::New(event(self.stamp(now))))
            }
            Known::Call(Call::Ended(ended)) if is_so(&ended) => {
                Ok(Checked::Before(Call::Ended(ended)))
            }
            Known::Call(Call::Ended(ended)) => Err(has_ended(&ended)),
            Known::Perhaps(files) => Ok(Checked::Search(files)),
            Known::Nothing => Err(ToolError::UnknownCall(call)),
        }
    }

    fn known(&self, call: CallId, filed: &Filed) -> Known {
        if let Some(call) = self.call(call) {
            return Known::Call(call);
        }
        let after = match filed {
            Filed::Found(ended) => return Known::Call(Call::Ended(ended.clone())),
            Filed::Absent(offset) => Some(*offset),
            Filed::Unsearched => None,
        };
        let files = self.filed(call);
        let unread: Vec<_> = files.filter(|offset| Some(*offset) > after).collect();
        if unread.is_empty() {
            Known::Nothing
        } else {
            Known::Perhaps(unread)
        }
    }

    fn check_room(&self, start: &Start, bytes: usize) -> Result<(), ToolError> {
        let room = |what, found, limit| {
            let too_many = ToolError::TooMany { what, found, limit };
            if found > limit { Err(too_many) } else { Ok(()) }
        };
        room("open calls", self.open_count() + 1, MAX_OPEN)?;
        room(
            "bytes of arguments of open calls",
            self.open_argument_bytes() + bytes,
            MAX_OPEN_ARGUMENT_BYTES,
        )?;
        let tools = self.tool_count() + 1;
        if tools > MAX_TOOLS && self.stats(&start.tool).is_none() {
            return Err(ToolError::TooManyTools {
                tool: start.tool.clone(),
                found: tools,
                limit: MAX_TOOLS,
            });
        }
        if self.has_called(start.agent, &start.tool) {
            return Ok(());
        }
        room("pairs of agent and tool", self.pair_count() + 1, MAX_PAIRS)
    }
}

enum Known {
    Call(Call),
    Perhaps(Vec<Offset>),
    Nothing,
}

/// What a repetition of a call must have in common with it.
struct Terms<'a> {
    tool: &'a ToolName,
    agent: AgentId,
    session: Option<SessionId>,
    parent: Option<CallId>,
    arguments: Option<Digest>,
    timeout_ms: u64,
}

impl<'a> Terms<'a> {
    fn of_open(open: &'a OpenCall) -> Self {
        let started = &open.started;
        Self {
            tool: &started.tool,
            agent: started.agent,
            session: started.session,
            parent: started.parent,
            arguments: started.arguments_digest,
            timeout_ms: started.timeout_ms,
        }
    }

    fn of_ended(ended: &'a EndedCall) -> Self {
        Self {
            tool: &ended.record.tool,
            agent: ended.record.agent,
            session: ended.record.session,
            parent: ended.record.parent,
            arguments: ended.record.arguments_digest,
            timeout_ms: ended.record.timeout_ms,
        }
    }
}

fn same(start: &Start, known: Terms<'_>) -> Result<(), ToolError> {
    let digest = start.arguments.as_ref().map(|arguments| arguments.digest);
    let differs = [
        ("tool", start.tool != *known.tool),
        ("agent", start.agent != known.agent),
        ("sessionId", start.session != known.session),
        ("parentCallId", start.parent != known.parent),
        ("arguments", digest != known.arguments),
        ("timeoutMs", start.timeout_ms != known.timeout_ms),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((member, _)) => Err(ToolError::CallIdTaken {
            call: start.call,
            member,
        }),
    }
}

fn has_ended(ended: &EndedCall) -> ToolError {
    ToolError::Ended {
        call: ended.record.call,
        outcome: ended.record.outcome,
        at: ended.record.at,
    }
}

fn on_time(open: &OpenCall, now: Timestamp) -> Result<(), ToolError> {
    let due = open.due();
    if due <= now {
        return Err(ToolError::DeadlineFirst { due });
    }
    Ok(())
}

pub(super) fn split(content: Option<Content>) -> (Option<Plain>, Option<Digest>) {
    content.map_or((None, None), |content| {
        (content.plain, Some(content.digest))
    })
}

fn content_bytes(what: &'static str, content: Option<&Content>) -> Result<usize, ToolError> {
    let plain = content.and_then(|content| content.plain.as_ref());
    let bytes = plain.map_or(0, Plain::bytes);
    within(what, wide(bytes), 0, wide(MAX_CONTENT_BYTES))?;
    Ok(bytes)
}

fn message_within(message: Option<&str>) -> Result<(), ToolError> {
    let bytes = message.map_or(0, str::len);
    within("message bytes", wide(bytes), 0, wide(MAX_MESSAGE_BYTES))
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn within(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), ToolError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ToolError::OutOfLimit {
        what,
        value,
        least,
        most,
    })
}
