//! The calls of an organisation, folded from [`ToolRecord`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::{ToolEvent, split};
use super::content::{Plain, Progress};
use super::durations::ToolStats;
use super::fold::{MAX_HELD, ToolRow};
use super::record::{
    CallEnded, CallProgressed, CallStarted, CallsFiled, Kind, Outcome, ToolRecord,
};
use super::threads::{Threads, Which};
use crate::asp::{Files, Knot};
use crate::folding::{self, Assembly, BETWEEN_PARTS, EVENT_VERSION, IllegalEvent};
use crate::types::{AgentId, CallId, Offset, SessionId, Timestamp, ToolName};

/// A call that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Offset of the record that it began with.
    pub offset: Offset,
    /// What was told last of how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<LastProgress>,
    /// What it began with.
    pub started: CallStarted,
}

/// What was told last of how far a call is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastProgress {
    /// When.
    pub at: Timestamp,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl OpenCall {
    /// When it is given up.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let ms = i64::try_from(self.started.timeout_ms).unwrap_or(i64::MAX);
        self.started.at.saturating_add_ms(ms)
    }
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedCall {
    /// Offset of the record that ended it.
    pub offset: Offset,
    /// That record. Where memory holds it, without arguments and result: those are on the topic.
    pub record: CallEnded,
}

/// A call, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It has not ended.
    Open(Arc<OpenCall>),
    /// It has.
    Ended(Arc<EndedCall>),
}

/// The calls of one organisation. Of each:
///
/// ```text
/// Absent --started--> Open --progressed--> Open --finished, failed, abandoned--> Ended --filed--> on the topic
/// ```
///
/// Open calls and the last 1,000 to 2,000 that ended are held; rows are shared with clones, so
/// that a clone for a query or a snapshot copies no call. A state record replaces all once its
/// last part is there; no other record may stand between its parts. An unknown record changes
/// nothing. Limits are judged once, at the door, and not by a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// Time of the last record.
    pub(super) at: Timestamp,
    /// Where each call that is held is: offset of its start while open, else of its end.
    places: BTreeMap<CallId, Place>,
    pub(super) open: BTreeMap<Offset, Arc<OpenCall>>,
    open_argument_bytes: usize,
    open_of_agents: BTreeSet<(AgentId, Offset)>,
    open_of_sessions: BTreeSet<(SessionId, Offset)>,
    open_of_tools: BTreeSet<(ToolName, Offset)>,
    deadlines: BTreeSet<(Timestamp, Offset)>,
    pub(super) ended: BTreeMap<Offset, Arc<EndedCall>>,
    pub(super) files: Files<CallId>,
    pub(super) session_files: Files<SessionId>,
    pub(super) threads: Threads,
    pub(super) stats: BTreeMap<ToolName, ToolStats>,
    assembly: Option<Assembly<ToolRow>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open(Offset),
    Ended(Offset),
}

impl Tools {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &ToolRecord, offset: Offset) -> Result<(), IllegalEvent> {
        self.transition(record, offset)
            .map_err(|rule| IllegalEvent {
                event: record.record_type().to_owned(),
                subject: subject(record),
                rule,
            })
    }

    /// The record that an event becomes: an end says all of its call, and is linked to the ended
    /// calls before it. Changes nothing; apply it before the next is linked.
    ///
    /// # Errors
    /// [`IllegalEvent`] when it ends a call that is not open.
    pub fn link(&self, event: ToolEvent) -> Result<ToolRecord, IllegalEvent> {
        let (call, outcome, error, result, by, at) = match event {
            ToolEvent::Started(started) => return Ok(ToolRecord::Started(started)),
            ToolEvent::Progressed(progressed) => return Ok(ToolRecord::Progressed(progressed)),
            ToolEvent::Ended {
                call,
                outcome,
                error,
                result,
                by,
                at,
            } => (call, outcome, error, result, by, at),
        };
        let open = self.open_call(call).ok_or_else(|| IllegalEvent {
            event: format!("tool.{}", outcome.name()),
            subject: format!("call {call}"),
            rule: NOT_OPEN,
        })?;
        let mut record = self.ended_record(open, outcome, at);
        record.arguments = open.started.arguments.clone();
        (record.result, record.result_digest) = split(result);
        (record.error, record.by) = (error, by);
        Ok(ToolRecord::Ended(record))
    }

    /// The call whose time was over first of all, as the event that gives it up; `None` when none
    /// is over. Record and apply it, and ask again.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<ToolEvent> {
        let (due, offset) = self.deadlines.first()?;
        let open = self.open.get(offset).filter(|_| *due <= now)?;
        Some(ToolEvent::Ended {
            call: open.started.call,
            outcome: Outcome::Abandoned,
            error: None,
            result: None,
            by: None,
            at: self.stamp(now),
        })
    }

    /// When something becomes due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The record that files the oldest half of the ended calls, once [`MAX_HELD`] are held.
    #[must_use]
    pub fn next_filing(&self) -> Option<ToolRecord> {
        let is_full = self.ended.len() >= MAX_HELD;
        is_full.then(|| ToolRecord::Filed(self.filing(MAX_HELD / 2)))
    }

    /// The call, when it is held: open, or among those that ended last.
    #[must_use]
    pub fn call(&self, call: CallId) -> Option<Call> {
        Some(match self.places.get(&call)? {
            Place::Open(offset) => Call::Open(self.open.get(offset)?.clone()),
            Place::Ended(offset) => Call::Ended(self.ended.get(offset)?.clone()),
        })
    }

    /// The records in which this call may be filed, the latest first. Empty for most calls that
    /// were never made, as ids grow with time.
    pub fn filed(&self, call: CallId) -> impl Iterator<Item = Offset> {
        self.files.candidates(call)
    }

    /// The records in which threads of this session may be filed, the latest first.
    pub fn filed_session(&self, session: SessionId) -> impl Iterator<Item = Offset> {
        self.session_files.candidates(session)
    }

    /// The open calls, the latest first.
    pub fn open(&self) -> impl Iterator<Item = &Arc<OpenCall>> {
        self.open.values().rev()
    }

    /// The open calls of an agent, the latest first.
    pub fn open_of_agent(&self, agent: AgentId) -> impl Iterator<Item = &Arc<OpenCall>> {
        self.open_in(&self.open_of_agents, agent)
    }

    /// The open calls in a session, the latest first.
    pub fn open_of_session(&self, session: SessionId) -> impl Iterator<Item = &Arc<OpenCall>> {
        self.open_in(&self.open_of_sessions, session)
    }

    /// The open calls of a tool, the latest first.
    pub fn open_of_tool(&self, tool: &ToolName) -> impl Iterator<Item = &Arc<OpenCall>> {
        self.open_in(&self.open_of_tools, tool.clone())
    }

    /// The last ended calls that are held, the latest first.
    pub fn held(&self) -> impl Iterator<Item = &Arc<EndedCall>> {
        self.ended.values().rev()
    }

    /// The last record of a thread; none where it has none yet.
    ///
    /// - `agent`, `tool`, `session`: what the thread is of; what it is not of is passed over.
    #[must_use]
    pub fn knot(
        &self,
        which: Which,
        agent: Option<AgentId>,
        tool: Option<&ToolName>,
        session: Option<SessionId>,
    ) -> Option<Knot> {
        let threads = &self.threads;
        let thread = match which {
            Which::All => Some(&threads.all),
            Which::Agent => threads.agents.get(&agent?),
            Which::AgentTool => threads.pairs.get(&(agent?, tool?.clone())),
            Which::Session => threads.sessions.get(&session?),
            Which::Tool => threads.tools.get(tool?),
        };
        thread?.last()
    }

    /// What became of the calls of a tool.
    #[must_use]
    pub fn stats(&self, tool: &ToolName) -> Option<&ToolStats> {
        self.stats.get(tool)
    }

    /// What became of the calls of every tool, by name.
    pub fn all_stats(&self) -> impl Iterator<Item = (&ToolName, &ToolStats)> {
        self.stats.iter()
    }

    /// How many calls are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn open_argument_bytes(&self) -> usize {
        self.open_argument_bytes
    }

    pub(super) fn tool_count(&self) -> usize {
        self.stats.len()
    }

    pub(super) fn pair_count(&self) -> usize {
        self.threads.pairs.len()
    }

    pub(super) fn has_called(&self, agent: AgentId, tool: &ToolName) -> bool {
        self.threads.pairs.contains_key(&(agent, tool.clone()))
    }

    /// The time that a record gets: the clock's, but never one before the last record's, so that
    /// the order of the topic is that of time.
    pub(super) fn stamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.at)
    }

    fn open_call(&self, call: CallId) -> Option<&Arc<OpenCall>> {
        match self.places.get(&call)? {
            Place::Open(offset) => self.open.get(offset),
            Place::Ended(_) => None,
        }
    }

    fn open_in<'a, Of: Ord + Clone>(
        &'a self,
        index: &'a BTreeSet<(Of, Offset)>,
        of: Of,
    ) -> impl Iterator<Item = &'a Arc<OpenCall>> {
        let all = (of.clone(), Offset(0))..=(of, Offset(u64::MAX));
        index
            .range(all)
            .rev()
            .filter_map(|(_, offset)| self.open.get(offset))
    }

    /// The end of a call without what only its event knows: arguments, result, error, and who.
    fn ended_record(&self, open: &OpenCall, outcome: Outcome, at: Timestamp) -> CallEnded {
        let started = &open.started;
        let ms = at.0.saturating_sub(started.at.0);
        CallEnded {
            agent: started.agent,
            arguments: None,
            arguments_digest: started.arguments_digest,
            at,
            by: None,
            call: started.call,
            duration_ms: u64::try_from(ms).unwrap_or(0),
            error: None,
            parent: started.parent,
            result: None,
            result_digest: None,
            session: started.session,
            started: open.offset,
            started_at: started.at,
            started_by: started.by,
            threads: self.threads.links(started),
            timeout_ms: started.timeout_ms,
            tool: started.tool.clone(),
            outcome,
            v: EVENT_VERSION.into(),
        }
    }

    fn transition(&mut self, record: &ToolRecord, offset: Offset) -> Result<(), &'static str> {
        match record {
            ToolRecord::Unknown { .. } => Ok(()),
            ToolRecord::Folded(part) => {
                let state = folding::join(&mut self.assembly, &part.folded, Self::from_rows)?;
                if let Some(state) = state {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            ToolRecord::Started(started) => self.start(started, offset),
            ToolRecord::Progressed(progressed) => self.progress(progressed),
            ToolRecord::Ended(ended) => self.end(ended, offset),
            ToolRecord::Filed(filed) => self.file(filed, offset),
        }
    }

    fn start(&mut self, started: &CallStarted, offset: Offset) -> Result<(), &'static str> {
        self.follows(started.at)?;
        let open = OpenCall {
            offset,
            progress: None,
            started: started.clone(),
        };
        self.insert_open(Arc::new(open))?;
        self.at = started.at;
        self.threads.begin(started);
        match self.stats.get_mut(&started.tool) {
            Some(stats) => stats.calls += 1,
            None => {
                let first = ToolStats {
                    calls: 1,
                    ..ToolStats::default()
                };
                self.stats.insert(started.tool.clone(), first);
            }
        }
        Ok(())
    }

    fn progress(&mut self, progressed: &CallProgressed) -> Result<(), &'static str> {
        self.follows(progressed.at)?;
        let Some(Place::Open(offset)) = self.places.get(&progressed.call) else {
            return Err(NOT_OPEN);
        };
        let open = self.open.get_mut(offset).ok_or(NOT_OPEN)?;
        if open.due() <= progressed.at {
            return Err(LATE);
        }
        Arc::make_mut(open).progress = Some(LastProgress {
            at: progressed.at,
            message: progressed.message.clone(),
            progress: progressed.progress,
        });
        self.at = progressed.at;
        Ok(())
    }

    fn end(&mut self, record: &CallEnded, offset: Offset) -> Result<(), &'static str> {
        self.follows(record.at)?;
        let open = self.open_call(record.call).ok_or(NOT_OPEN)?.clone();
        match (record.outcome, open.due() <= record.at) {
            (Outcome::Abandoned, false) => return Err("the call's time is not over"),
            (Outcome::Finished | Outcome::Failed, true) => return Err(LATE),
            _ => {}
        }
        if record.by.is_some() == (record.outcome == Outcome::Abandoned) {
            return Err("the clock gives a call up, and somebody else ends it");
        }
        if record.error.is_some() != (record.outcome == Outcome::Failed) {
            return Err("a call that failed has an error, and no other");
        }
        let expected = CallEnded {
            arguments: record.arguments.clone(),
            by: record.by,
            error: record.error.clone(),
            result: record.result.clone(),
            result_digest: record.result_digest,
            ..self.ended_record(&open, record.outcome, record.at)
        };
        if expected.threads != record.threads {
            return Err("it is not linked behind the ended calls before it");
        }
        if expected != *record {
            return Err("it does not end the call as it began");
        }
        self.remove_open(&open);
        self.at = record.at;
        self.threads.push(&open.started, offset);
        let held = EndedCall {
            offset,
            record: CallEnded {
                arguments: None,
                result: None,
                ..expected
            },
        };
        self.insert_ended(Arc::new(held))?;
        if let Some(stats) = self.stats.get_mut(&record.tool) {
            stats.end(record.outcome, record.duration_ms);
        }
        Ok(())
    }

    fn file(&mut self, filed: &CallsFiled, offset: Offset) -> Result<(), &'static str> {
        if filed.calls.is_empty() || *filed != self.filing(filed.calls.len()) {
            return Err("it does not file the oldest of the ended calls that are held");
        }
        for (call, ended) in &filed.calls {
            self.places.remove(call);
            self.ended.remove(ended);
        }
        for (session, _) in &filed.sessions {
            self.threads.sessions.remove(session);
        }
        let calls = filed.calls.iter().map(|(call, _)| *call);
        self.files.push(calls, offset);
        let sessions = filed.sessions.iter().map(|(session, _)| *session);
        self.session_files.push(sessions, offset);
        Ok(())
    }

    /// The oldest of the ended calls, and the sessions none of whose calls is held without them.
    pub(super) fn filing(&self, count: usize) -> CallsFiled {
        let oldest = || self.ended.values().take(count);
        let keeps_from = self.ended.keys().nth(count);
        let sessions: BTreeSet<_> = oldest().filter_map(|call| call.record.session).collect();
        let let_go = sessions.into_iter().filter_map(|session| {
            let last = self.threads.sessions.get(&session)?.last()?;
            let is_old = keeps_from.is_none_or(|keeps| last.offset < *keeps);
            let is_over = self.open_of_session(session).next().is_none();
            (is_old && is_over).then_some((session, last))
        });
        CallsFiled {
            sessions: let_go.collect(),
            calls: oldest()
                .map(|call| (call.record.call, call.offset))
                .collect(),
            kind: Kind::Filed,
            v: EVENT_VERSION.into(),
        }
    }

    fn follows(&self, at: Timestamp) -> Result<(), &'static str> {
        if at < self.at {
            return Err("its time lies before that of the record before it");
        }
        Ok(())
    }

    pub(super) fn insert_open(&mut self, open: Arc<OpenCall>) -> Result<(), &'static str> {
        let (offset, started) = (open.offset, &open.started);
        if self.places.contains_key(&started.call) {
            return Err("the call is there already");
        }
        self.places.insert(started.call, Place::Open(offset));
        self.open_argument_bytes += argument_bytes(started);
        self.open_of_agents.insert((started.agent, offset));
        if let Some(session) = started.session {
            self.open_of_sessions.insert((session, offset));
        }
        self.open_of_tools.insert((started.tool.clone(), offset));
        self.deadlines.insert((open.due(), offset));
        self.open.insert(offset, open);
        Ok(())
    }

    fn remove_open(&mut self, open: &OpenCall) {
        let (offset, started) = (open.offset, &open.started);
        self.places.remove(&started.call);
        self.open_argument_bytes -= argument_bytes(started);
        self.open_of_agents.remove(&(started.agent, offset));
        if let Some(session) = started.session {
            self.open_of_sessions.remove(&(session, offset));
        }
        self.open_of_tools.remove(&(started.tool.clone(), offset));
        self.deadlines.remove(&(open.due(), offset));
        self.open.remove(&offset);
    }

    pub(super) fn insert_ended(&mut self, ended: Arc<EndedCall>) -> Result<(), &'static str> {
        let (call, offset) = (ended.record.call, ended.offset);
        if self.places.contains_key(&call) {
            return Err("the call is there already");
        }
        self.places.insert(call, Place::Ended(offset));
        self.ended.insert(offset, ended);
        Ok(())
    }
}

const NOT_OPEN: &str = "there is no such open call";
const LATE: &str = "the call's time was over before it";

fn argument_bytes(started: &CallStarted) -> usize {
    started.arguments.as_ref().map_or(0, Plain::bytes)
}

fn subject(record: &ToolRecord) -> String {
    match record {
        ToolRecord::Started(started) => format!("call {}", started.call),
        ToolRecord::Progressed(progressed) => format!("call {}", progressed.call),
        ToolRecord::Ended(ended) => format!("call {}", ended.call),
        ToolRecord::Filed(filed) => format!("{} calls", filed.calls.len()),
        ToolRecord::Folded(part) => {
            format!("part {} of {}", part.folded.part, part.folded.parts)
        }
        ToolRecord::Unknown { .. } => "nothing known".to_owned(),
    }
}
