//! Tasks that are given in a session, and whether they are answered: what the broker can see of an
//! agent's reliability without a word of anybody. docs/asp.md, "Tasks".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{MessageSent, ResponseOverdue};
use super::one::Session;
use super::table::Performative;
use crate::types::{AgentId, MessageId, OrgId, Timestamp};

/// Most tasks of a session that wait for an answer; those beyond are not counted.
pub const MAX_TASKS: usize = 1024;

/// The application type of a message that gives a task.
pub const TASK_ASSIGN: &str = "task.assign";
/// The application types that answer one, also without saying which message they answer.
const ANSWERS: [&str; 5] = [
    "task.accept",
    "task.reject",
    "task.progress",
    "task.result",
    "task.fail",
];

/// A task that waits for its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// When it was given.
    pub at: Timestamp,
    /// Who gave it.
    pub by: AgentId,
    /// Who alone is to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AgentId>,
}

/// How many tasks an agent has given in a session, whatever became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// To nobody in particular.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub anybody: u64,
    /// To one agent alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub to: BTreeMap<AgentId, u64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What became of a task: it was answered for the first time, or not in the time that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The message that gave it.
    pub message: MessageId,
    /// Who gave it, and whose agent that is.
    pub by: (AgentId, OrgId),
    /// Who answered, or should have.
    pub agent: (AgentId, OrgId),
    /// Time to the first answer, in ms; none where there was none in time.
    pub response_ms: Option<u64>,
}

impl Session {
    /// The task that a message answers, before the message is taken.
    #[must_use]
    pub fn task_answered(&self, sent: &MessageSent) -> Option<Settled> {
        let message = self.answered_task(sent)?;
        let task = self.tasks.get(&message)?;
        let response = sent.at.0.saturating_sub(task.at.0);
        Some(Settled {
            message,
            by: (task.by, self.org_of(task.by)?),
            agent: (sent.message.sender, self.org_of(sent.message.sender)?),
            response_ms: Some(u64::try_from(response).unwrap_or(0)),
        })
    }

    /// The task that was not answered in its time, before that is taken; none where nobody in
    /// particular was to do it.
    #[must_use]
    pub fn task_missed(&self, overdue: &ResponseOverdue) -> Option<Settled> {
        let task = self.tasks.get(&overdue.message)?;
        let agent = task.to?;
        Some(Settled {
            message: overdue.message,
            by: (task.by, self.org_of(task.by)?),
            agent: (agent, self.org_of(agent)?),
            response_ms: None,
        })
    }

    /// The task that a message answers: the one that it says, else the oldest that its sender was
    /// given.
    pub(super) fn answered_task(&self, sent: &MessageSent) -> Option<MessageId> {
        let message = &sent.message;
        let is_asked = |task: &Task| {
            task.by != message.sender && task.to.is_none_or(|only| only == message.sender)
        };
        if let Some(id) = message.in_reply_to {
            return self
                .tasks
                .get(&id)
                .filter(|task| is_asked(task))
                .map(|_| id);
        }
        let message_type = message.message_type.as_deref()?;
        if !ANSWERS.contains(&message_type) {
            return None;
        }
        let open = self.tasks.iter().filter(|(_, task)| is_asked(task));
        // One that was given to this agent alone comes before one that anybody may do.
        let oldest = open.min_by_key(|(id, task)| (task.to.is_none(), task.at, **id));
        oldest.map(|(id, _)| *id)
    }

    /// Takes a message's part in tasks.
    pub(super) fn take_task(&mut self, sent: &MessageSent) {
        if let Some(answered) = self.answered_task(sent) {
            self.tasks.remove(&answered);
        }
        let message = &sent.message;
        let own = |task: &Task| task.by == message.sender;
        if message.performative == Performative::Withdraw
            && let Some(id) = message.in_reply_to
            && self.tasks.get(&id).is_some_and(own)
        {
            self.tasks.remove(&id);
        }
        if message.message_type.as_deref() == Some(TASK_ASSIGN) && self.tasks.len() < MAX_TASKS {
            let task = Task {
                at: sent.at,
                by: message.sender,
                to: message.recipient,
            };
            self.tasks.insert(message.id, task);
            let given = self.given.entry(message.sender).or_default();
            match message.recipient {
                Some(agent) => *given.to.entry(agent).or_default() += 1,
                None => given.anybody += 1,
            }
        }
    }

    /// How many tasks an agent has given to some others, or to nobody in particular.
    #[must_use]
    pub fn tasks_given(&self, by: AgentId, to: &[AgentId]) -> u64 {
        let Some(given) = self.given.get(&by) else {
            return 0;
        };
        let one_by_one = to.iter().filter_map(|agent| given.to.get(agent));
        given.anybody + one_by_one.sum::<u64>()
    }

    fn org_of(&self, agent: AgentId) -> Option<OrgId> {
        self.participants.get(&agent).map(|one| one.org)
    }
}
