//! The way of a query through the ended calls: which record to read next, and whether it fits.

use super::record::{CallEnded, Outcome};
use super::threads::Which;
use super::tools::Tools;
use crate::asp::{Knot, Links};
use crate::types::{AgentId, SessionId, Timestamp, ToolName};

/// Which ended calls are asked for. The default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this tool.
    pub tool: Option<ToolName>,
    /// In this session.
    pub session: Option<SessionId>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// That ended at this time or after it.
    pub since: Option<Timestamp>,
    /// That ended before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether the call is asked for.
    #[must_use]
    pub fn fits(&self, call: &CallEnded) -> bool {
        self.agent.is_none_or(|agent| agent == call.agent)
            && self.tool.as_ref().is_none_or(|tool| *tool == call.tool)
            && (self.session.is_none() || self.session == call.session)
            && self.outcome.is_none_or(|outcome| outcome == call.outcome)
            && self.since.is_none_or(|since| since <= call.at)
            && self.until.is_none_or(|until| call.at < until)
    }

    /// The shortest thread that leads through all that is asked for.
    #[must_use]
    pub fn thread(&self) -> Which {
        match (self.session, self.agent, &self.tool) {
            (Some(_), ..) => Which::Session,
            (None, Some(_), Some(_)) => Which::AgentTool,
            (None, Some(_), None) => Which::Agent,
            (None, None, Some(_)) => Which::Tool,
            (None, None, None) => Which::All,
        }
    }
}

impl Tools {
    /// Where the thread of what is asked for ends now. A session's thread that is filed is not
    /// seen here: [`Tools::filed_session`].
    #[must_use]
    pub fn last_of(&self, filter: &Filter) -> Option<Knot> {
        let (agent, tool, session) = (filter.agent, filter.tool.as_ref(), filter.session);
        self.knot(filter.thread(), agent, tool, session)
    }
}

/// Reads a thread backwards, the latest first. Records that are too new are jumped over, in a
/// number of reads that grows with the logarithm of theirs; the first that is too old ends it, as
/// the order of the topic is that of time.
///
/// Read the record that [`Walk::wants`] names, hand it to [`Walk::read`], and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    filter: Filter,
    wants: Option<Knot>,
    /// Where to go on when the record that was jumped to is not too new: it was too far.
    beside: Option<Knot>,
}

impl Walk {
    /// Begins at a record of the thread that [`Filter::thread`] names.
    #[must_use]
    pub fn new(filter: Filter, last: Option<Knot>) -> Self {
        Self {
            filter,
            wants: last,
            beside: None,
        }
    }

    /// The same walk from another record of its thread.
    #[must_use]
    pub fn begin(self, last: Option<Knot>) -> Self {
        Self::new(self.filter, last)
    }

    /// What a record says of those before it in the thread; none where it is in another one.
    #[must_use]
    pub fn links(&self, call: &CallEnded) -> Option<Links> {
        let filter = &self.filter;
        let is_in = match filter.thread() {
            Which::Session => filter.session == call.session,
            Which::AgentTool => {
                filter.agent == Some(call.agent) && filter.tool.as_ref() == Some(&call.tool)
            }
            Which::Agent => filter.agent == Some(call.agent),
            Which::Tool => filter.tool.as_ref() == Some(&call.tool),
            Which::All => true,
        };
        call.threads.of(filter.thread()).filter(|_| is_in)
    }

    /// The record to be read next; none when all were read.
    #[must_use]
    pub fn wants(&self) -> Option<Knot> {
        self.wants
    }

    /// Where a page that ends now is gone on with, by another walk; none when all were read.
    #[must_use]
    pub fn rest(&self) -> Option<Knot> {
        self.beside.or(self.wants)
    }

    /// Takes the record that was wanted. Whether it is asked for.
    pub fn read(&mut self, call: &CallEnded) -> bool {
        let links = call.threads.of(self.filter.thread()).unwrap_or_default();
        if self.filter.until.is_some_and(|until| call.at >= until) {
            self.beside = links.jump.and(links.back);
            self.wants = links.jump.or(links.back);
            return false;
        }
        if let Some(beside) = self.beside.take() {
            self.wants = Some(beside);
            return false;
        }
        if self.filter.since.is_some_and(|since| call.at < since) {
            self.wants = None;
            return false;
        }
        self.wants = links.back;
        self.filter.fits(call)
    }
}
