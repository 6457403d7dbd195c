//! The threads through the records that closed a commitment: one of each obligor, of each
//! counterparty, of each session, and of all. docs/asp.md, "Threads".

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::one::Commitment;
use crate::asp::{Links, Thread};
use crate::types::{AgentId, Offset, SessionId};

/// Which thread is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// Of all commitments.
    All,
    /// Of those that an agent was promised.
    Counterparty(AgentId),
    /// Of those that an agent gave.
    Obligor(AgentId),
    /// Of those in a session, as far as they are not filed.
    Session(SessionId),
}

/// What the record of a closed commitment says of those before it, for each thread that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedLinks {
    /// Of all.
    pub all: Links,
    /// Of the counterparty; none where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<Links>,
    /// Of the obligor.
    pub obligor: Links,
    /// Of the session.
    pub session: Links,
}

impl ClosedLinks {
    /// Those of one thread; none where the record is not in it.
    #[must_use]
    pub fn of(&self, which: Which) -> Option<Links> {
        match which {
            Which::All => Some(self.all),
            Which::Counterparty(_) => self.counterparty,
            Which::Obligor(_) => Some(self.obligor),
            Which::Session(_) => Some(self.session),
        }
    }
}

/// The ends of all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Threads {
    pub(super) all: Arc<Thread>,
    pub(super) counterparties: BTreeMap<AgentId, Arc<Thread>>,
    pub(super) obligors: BTreeMap<AgentId, Arc<Thread>>,
    /// Only of sessions that have a commitment that is held.
    pub(super) sessions: BTreeMap<SessionId, Arc<Thread>>,
}

impl Threads {
    /// The thread, where it has a record.
    pub(super) fn of(&self, which: Which) -> Option<&Arc<Thread>> {
        match which {
            Which::All => Some(&self.all),
            Which::Counterparty(agent) => self.counterparties.get(&agent),
            Which::Obligor(agent) => self.obligors.get(&agent),
            Which::Session(session) => self.sessions.get(&session),
        }
    }

    /// What the record that closes this commitment says of those before it.
    pub(super) fn links(&self, commitment: &Commitment) -> ClosedLinks {
        let links = |which| self.of(which).map(|end| end.links()).unwrap_or_default();
        let promise = &commitment.created.promise;
        ClosedLinks {
            all: links(Which::All),
            counterparty: commitment
                .counterparty
                .map(|party| links(Which::Counterparty(party.agent))),
            obligor: links(Which::Obligor(promise.obligor.agent)),
            session: links(Which::Session(promise.session)),
        }
    }

    /// Takes the record in that closes this commitment.
    pub(super) fn push(&mut self, commitment: &Commitment, offset: Offset) {
        let promise = &commitment.created.promise;
        push(&mut self.all, offset);
        push(
            self.obligors.entry(promise.obligor.agent).or_default(),
            offset,
        );
        push(self.sessions.entry(promise.session).or_default(), offset);
        if let Some(party) = commitment.counterparty {
            push(self.counterparties.entry(party.agent).or_default(), offset);
        }
    }
}

fn push(thread: &mut Arc<Thread>, offset: Offset) {
    Arc::make_mut(thread).push(offset);
}
