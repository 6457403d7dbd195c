//! Tool calls: their steps, and what is known of them.

use std::sync::Arc;

use super::AspError;
use super::record::Entry;
use super::resolve::Named;
use super::upkeep::Timed;
use crate::access::Principal;
use crate::asp::registry::AgentRef;
use crate::asp::tool::{
    Call, Checked, Content, Fail, Filed, Filter, Finish, OpenCall, Report, Start, ToolError,
    ToolEvent, ToolStats, Tools, Walk,
};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{AgentId, CallId, ChannelName, Offset, SessionId, Timestamp, ToolName};

/// A call to be started.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// The caller's id for it.
    pub call: CallId,
    /// The tool.
    pub tool: ToolName,
    /// Who calls.
    pub agent: AgentRef,
    /// In which session.
    pub session: Option<SessionId>,
    /// Within which call.
    pub parent: Option<CallId>,
    /// What the tool is given.
    pub arguments: Option<Content>,
    /// Time after which it is given up, in ms.
    pub timeout_ms: u64,
}

/// A call as answers show it.
#[derive(Clone, Debug)]
pub struct CallSeen {
    /// The call.
    pub call: Call,
    /// Who called.
    pub agent: Named,
}

/// How a step of a call goes on.
#[derive(Debug)]
pub enum CallStep {
    /// It is done.
    Done(Accepted<CallSeen>),
    /// The call may be filed in these records of this topic, the latest first: read them, and ask
    /// again with what they say.
    Search(ChannelName, Vec<Offset>),
}

/// Calls to be looked through.
#[derive(Debug)]
pub struct CallsToWalk {
    /// Those that are open, the latest first.
    pub open: Vec<CallSeen>,
    /// The topic of those that have ended.
    pub channel: ChannelName,
    /// The last record of the topic.
    pub newest: Option<Offset>,
    /// The way through them.
    pub walk: Walk,
    /// Where the thread of a session may be filed that the way does not know the end of, the
    /// latest first.
    pub files: Vec<Offset>,
    /// What the answer waits for.
    pub wait: Wait,
}

impl Broker {
    /// Records that a tool is called.
    ///
    /// - `filed`: what is known of the call beyond memory.
    ///
    /// # Errors
    /// [`Refusal`]: an agent or session that is not there, a session that has ended, a key that does
    /// not speak for the agent, an id that was used for another call, a limit, or an entry that was not taken.
    pub fn start_call(
        &mut self,
        by: &Principal,
        new: &NewCall,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<CallStep, Refusal> {
        let agent = self.own_agent(by, &new.agent, now)?;
        let start = Start {
            call: new.call,
            tool: new.tool.clone(),
            agent,
            session: new.session,
            parent: new.parent,
            arguments: new.arguments.clone(),
            timeout_ms: new.timeout_ms,
            by: by.id,
        };
        self.step(by, new.call, filed, now, |tools| {
            tools.check_start(start, filed, now)
        })
    }

    /// Records how far a call is.
    ///
    /// # Errors
    /// [`Refusal`]: a call that is not open, a key that does not speak for its agent, a limit, or
    /// an entry that was not taken.
    pub fn report_call(
        &mut self,
        by: &Principal,
        report: &Report,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<CallStep, Refusal> {
        self.step(by, report.call, filed, now, |tools| {
            tools.check_progress(report.clone(), filed, now)
        })
    }

    /// Records that a call has come to its result.
    ///
    /// # Errors
    /// As for [`Broker::report_call`].
    pub fn finish_call(
        &mut self,
        by: &Principal,
        finish: &Finish,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<CallStep, Refusal> {
        self.step(by, finish.call, filed, now, |tools| {
            tools.check_finish(finish.clone(), filed, now)
        })
    }

    /// Records that a call has failed.
    ///
    /// # Errors
    /// As for [`Broker::report_call`].
    pub fn fail_call(
        &mut self,
        by: &Principal,
        fail: &Fail,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<CallStep, Refusal> {
        self.step(by, fail.call, filed, now, |tools| {
            tools.check_fail(fail.clone(), filed, now)
        })
    }

    /// A call that the caller may see.
    ///
    /// # Errors
    /// [`Refusal`]: there is no such call, or its agent is none that the caller speaks for.
    pub fn see_call(
        &self,
        by: &Principal,
        call: CallId,
        filed: &Filed,
        now: Timestamp,
    ) -> Result<CallStep, Refusal> {
        self.authorize_asp(by, now)?;
        let absent = || AspError::CallNotFound(call);
        let of_org = self.asp_of(by.org).ok_or_else(absent)?;
        let tools = of_org.tools.known()?;
        let found = match (tools.call(call), filed) {
            (Some(held), _) => held,
            (None, Filed::Found(ended)) => Call::Ended(ended.clone()),
            (None, Filed::Absent(_)) => return Err(absent().into()),
            (None, Filed::Unsearched) => {
                let files: Vec<Offset> = tools.filed(call).collect();
                if files.is_empty() {
                    return Err(absent().into());
                }
                return Ok(CallStep::Search(self.tools_channel(by), files));
            }
        };
        if !self.speaks_for(by, agent_of(&found), now) {
            return Err(absent().into());
        }
        let value = self.call_seen(by, found);
        let wait = self.wait_for(of_org.tools.log);
        Ok(CallStep::Done(Accepted { value, wait }))
    }

    /// The calls that a filter finds: the open ones, and the way through those that have ended.
    ///
    /// - `agent`: only the calls of this agent; else of all that the caller speaks for.
    ///
    /// # Errors
    /// [`Refusal`]: an agent that is not there, or the topic is damaged.
    pub fn calls_to_walk(
        &self,
        by: &Principal,
        agent: Option<&AgentRef>,
        filter: Filter,
        now: Timestamp,
    ) -> Result<Option<CallsToWalk>, Refusal> {
        self.authorize_asp(by, now)?;
        let agent = match agent {
            Some(agent) => Some(self.own_agent(by, agent, now)?),
            None => None,
        };
        let filter = Filter { agent, ..filter };
        let Some(of_org) = self.asp_of(by.org) else {
            return Ok(None);
        };
        let tools = of_org.tools.known()?;
        let open = open_calls(tools, &filter);
        let open = open.filter(|open| self.speaks_for(by, open.started.agent, now));
        Ok(Some(CallsToWalk {
            open: open
                .map(|open| self.call_seen(by, Call::Open(open.clone())))
                .collect(),
            files: match filter.session {
                Some(session) if tools.last_of(&filter).is_none() => {
                    tools.filed_session(session).collect()
                }
                _ => Vec::new(),
            },
            channel: self.tools_channel(by),
            newest: self
                .next_offset(of_org.tools.log)
                .0
                .checked_sub(1)
                .map(Offset),
            walk: Walk::new(filter.clone(), tools.last_of(&filter)),
            wait: self.wait_for(of_org.tools.log),
        }))
    }

    /// A call that was read from the topic, for who may see it.
    #[must_use]
    pub fn see_ended_call(&self, by: &Principal, call: Call, now: Timestamp) -> Option<CallSeen> {
        self.speaks_for(by, agent_of(&call), now)
            .then(|| self.call_seen(by, call))
    }

    /// What became of the calls of each tool of the caller's organisation, or of one of them.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, or the topic is damaged.
    pub fn tool_stats(
        &self,
        by: &Principal,
        tool: Option<&ToolName>,
        now: Timestamp,
    ) -> Result<Accepted<Vec<(ToolName, ToolStats)>>, Refusal> {
        self.authorize_asp(by, now)?;
        let Some(of_org) = self.asp_of(by.org) else {
            let wait = self.wait_for(crate::types::Incarnation::default());
            return Ok(Accepted {
                value: Vec::new(),
                wait,
            });
        };
        let tools = of_org.tools.known()?;
        let stats = tools.all_stats();
        let wanted = stats.filter(|(name, _)| tool.is_none_or(|tool| tool == *name));
        Ok(Accepted {
            value: wanted.map(|(n, s)| (n.clone(), s.clone())).collect(),
            wait: self.wait_for(of_org.tools.log),
        })
    }

    fn step(
        &mut self,
        by: &Principal,
        call: CallId,
        filed: &Filed,
        now: Timestamp,
        check: impl FnOnce(&Tools) -> Result<Checked, ToolError>,
    ) -> Result<CallStep, Refusal> {
        let absent = || AspError::CallNotFound(call);
        if self.asp_of(by.org).is_none() {
            return Err(absent().into());
        }
        self.settle_due(by.org, Timed::Tools, now)?;
        let tools = self.made_asp(by.org)?.tools.known()?;
        let known = match (tools.call(call), filed) {
            (Some(held), _) => Some(agent_of(&held)),
            (None, Filed::Found(ended)) => Some(ended.record.agent),
            _ => None,
        };
        if known.is_some_and(|agent| !self.speaks_for(by, agent, now)) {
            return Err(absent().into());
        }
        let of_org = self.made_asp(by.org)?;
        let (log, tools) = (of_org.tools.log, of_org.tools.known()?);
        let event = match check(tools).map_err(AspError::from)? {
            Checked::New(event) => event,
            Checked::Before(before) => {
                let value = self.call_seen(by, before);
                let wait = self.wait_for(log);
                return Ok(CallStep::Done(Accepted { value, wait }));
            }
            Checked::Search(files) => {
                return Ok(CallStep::Search(self.tools_channel(by), files));
            }
        };
        // One that comes again is answered whatever has become of its session.
        if let ToolEvent::Started(started) = &event
            && let Some(session) = started.session
        {
            self.check_takes_part(by, session, started.agent, now)?;
        }
        let linked = self.made_asp(by.org)?.tools.known()?.link(event);
        let linked = linked.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        let entry = Entry {
            tools: vec![linked],
            ..Entry::default()
        };
        let wait = self.record_asp(by.org, &entry, Need::Producer, now)?;
        let after = self.made_asp(by.org)?.tools.known()?.call(call);
        let after = after.ok_or_else(|| BrokerError::Bug("a recorded call is gone".into()))?;
        self.file_ended(by.org, now);
        let value = self.call_seen(by, after);
        Ok(CallStep::Done(Accepted { value, wait }))
    }

    /// Whether an agent takes part in a session that is held and has not ended.
    fn check_takes_part(
        &self,
        by: &Principal,
        session: SessionId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let org = self.org_of_session(by, session, now)?;
        let held = self.asp_of(org);
        let held = held.and_then(|of| of.sessions.state.session(session));
        if held.is_some_and(|held| held.participants.contains_key(&agent)) {
            return Ok(self.session_goes_on(org, session)?);
        }
        let error = crate::asp::session::SendError::NotParticipant { session, agent };
        Err(AspError::from(error).into())
    }

    fn call_seen(&self, by: &Principal, call: Call) -> CallSeen {
        let agent = self.named(by.org, agent_of(&call));
        CallSeen { call, agent }
    }

    /// The topic of the calls of the caller's organisation.
    #[must_use]
    pub fn tools_topic(&self, by: &Principal) -> ChannelName {
        self.tools_channel(by)
    }

    fn tools_channel(&self, by: &Principal) -> ChannelName {
        self.asp_channel(by.org, <Tools as crate::broker::topic::Fold>::TOPIC)
    }
}

/// The open calls that a filter finds, the latest first.
fn open_calls<'a>(
    tools: &'a Tools,
    filter: &'a Filter,
) -> Box<dyn Iterator<Item = &'a Arc<OpenCall>> + 'a> {
    let open: Box<dyn Iterator<Item = &Arc<OpenCall>>> = match (filter.session, filter.agent) {
        _ if filter.outcome.is_some() => Box::new(std::iter::empty()),
        (Some(session), _) => Box::new(tools.open_of_session(session)),
        (None, Some(agent)) => Box::new(tools.open_of_agent(agent)),
        (None, None) => match &filter.tool {
            Some(tool) => Box::new(tools.open_of_tool(tool)),
            None => Box::new(tools.open()),
        },
    };
    Box::new(open.filter(|open| {
        let started = &open.started;
        filter.agent.is_none_or(|agent| agent == started.agent)
            && filter
                .tool
                .as_ref()
                .is_none_or(|tool| *tool == started.tool)
            && filter.until.is_none_or(|until| started.at < until)
    }))
}

/// Whose call it is.
pub(super) fn agent_of(call: &Call) -> AgentId {
    match call {
        Call::Open(open) => open.started.agent,
        Call::Ended(ended) => ended.record.agent,
    }
}
