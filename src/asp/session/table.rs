//! The one transition table, used for checking and for replay. Drawn in docs/asp.md, "The
//! transition table", and compared with it cell by cell by tests/suite/asp_table.rs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Created; those from outside are not invited yet.
    Idle,
    /// The invitation is out, and fewer than two agents are in.
    Invited,
    /// Two agents are in; nothing has been said.
    Introduced,
    /// They talk.
    Conversing,
    /// A commitment is offered and not answered, and none was accepted.
    Agreeing,
    /// A commitment was accepted.
    Executing,
    /// Paused for a human.
    Escalated,
    /// Ended by a coordinator.
    Closed,
    /// Ended by a timeout, or because nobody came.
    Failed,
}

/// The kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Performative {
    /// Offers terms or an invitation.
    Propose,
    /// Agrees to an offer.
    Accept,
    /// Refuses an offer.
    Reject,
    /// Replaces an offer by another.
    Counter,
    /// Tells.
    Inform,
    /// Asks.
    Query,
    /// Asks for, or gives, more about an offer.
    Clarify,
    /// Offers an obligation that binds once accepted.
    Commit,
    /// Brings another agent in.
    Delegate,
    /// Calls for a human.
    Escalate,
    /// Takes an own, unanswered offer back.
    Withdraw,
    /// Notes what was seen.
    Observe,
    /// Ends the session.
    Close,
}

/// What a participant is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Leads: invites and closes.
    Coordinator,
    /// Works.
    Specialist,
    /// Watches and asks.
    Observer,
}

/// As whom somebody speaks: an invited agent has no role yet, whatever it is invited as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// A coordinator that is in.
    Coordinator,
    /// A specialist that is in.
    Specialist,
    /// An observer that is in.
    Observer,
    /// Somebody whose invitation is open.
    Invited,
}

/// What a legal message does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays.
    Stays,
    /// It becomes this one.
    To(State),
    /// FAILED when fewer than two are in and no invitation is open, INVITED when fewer than two
    /// are in, else INTRODUCED.
    Invitation,
    /// EXECUTING when a commitment was accepted, else AGREEING when one is open, else CONVERSING.
    Agreement,
}

impl State {
    /// All states, in the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Invited,
        Self::Introduced,
        Self::Conversing,
        Self::Agreeing,
        Self::Executing,
        Self::Escalated,
        Self::Closed,
        Self::Failed,
    ];

    /// Its number in what is held of a message: its place among [`State::ALL`], from 1.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Idle => 1,
            Self::Invited => 2,
            Self::Introduced => 3,
            Self::Conversing => 4,
            Self::Agreeing => 5,
            Self::Executing => 6,
            Self::Escalated => 7,
            Self::Closed => 8,
            Self::Failed => 9,
        }
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Failed)
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Invited => "INVITED",
            Self::Introduced => "INTRODUCED",
            Self::Conversing => "CONVERSING",
            Self::Agreeing => "AGREEING",
            Self::Executing => "EXECUTING",
            Self::Escalated => "ESCALATED",
            Self::Closed => "CLOSED",
            Self::Failed => "FAILED",
        }
    }
}

impl Performative {
    /// All performatives, in the order of the table's rows.
    pub const ALL: [Self; 13] = [
        Self::Propose,
        Self::Accept,
        Self::Reject,
        Self::Counter,
        Self::Inform,
        Self::Query,
        Self::Clarify,
        Self::Commit,
        Self::Delegate,
        Self::Escalate,
        Self::Withdraw,
        Self::Observe,
        Self::Close,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Propose => "PROPOSE",
            Self::Accept => "ACCEPT",
            Self::Reject => "REJECT",
            Self::Counter => "COUNTER",
            Self::Inform => "INFORM",
            Self::Query => "QUERY",
            Self::Clarify => "CLARIFY",
            Self::Commit => "COMMIT",
            Self::Delegate => "DELEGATE",
            Self::Escalate => "ESCALATE",
            Self::Withdraw => "WITHDRAW",
            Self::Observe => "OBSERVE",
            Self::Close => "CLOSE",
        }
    }

    /// Whether it must name the offer that it answers or takes back.
    #[must_use]
    pub fn answers_an_offer(self) -> bool {
        matches!(
            self,
            Self::Accept | Self::Reject | Self::Counter | Self::Withdraw
        )
    }
}

impl Voice {
    /// All voices: C, S, O and I of the table.
    pub const ALL: [Self; 4] = [
        Self::Coordinator,
        Self::Specialist,
        Self::Observer,
        Self::Invited,
    ];
}

impl From<Role> for Voice {
    fn from(role: Role) -> Self {
        match role {
            Role::Coordinator => Self::Coordinator,
            Role::Specialist => Self::Specialist,
            Role::Observer => Self::Observer,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Performative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "a coordinator",
            Self::Specialist => "a specialist",
            Self::Observer => "an observer",
            Self::Invited => "an invited agent",
        })
    }
}

/// What a message does in a state, when said by that voice; `None` where it is illegal.
#[must_use]
pub fn next(state: State, said: Performative, voice: Voice) -> Option<Next> {
    use Next::{Agreement, Invitation, Stays, To};
    use Performative as P;
    use State as S;
    if voice == Voice::Invited {
        return match (state, said) {
            (S::Invited, P::Accept | P::Reject) => Some(Invitation),
            (S::Invited, P::Counter) => Some(Stays),
            (
                S::Introduced | S::Conversing | S::Agreeing | S::Executing,
                P::Accept | P::Reject | P::Counter,
            ) => Some(Stays),
            _ => None,
        };
    }
    let leads = voice == Voice::Coordinator;
    let watches = voice == Voice::Observer;
    if watches && !matches!(said, P::Observe | P::Query) {
        return None;
    }
    match (state, said) {
        (S::Closed | S::Failed, _) => None,
        (_, P::Close) => leads.then_some(To(S::Closed)),
        (S::Idle, P::Propose) => leads.then_some(To(S::Invited)),
        (S::Invited, P::Propose) => leads.then_some(Stays),
        (S::Idle | S::Invited, _) => None,
        (S::Introduced, P::Propose | P::Inform | P::Query | P::Observe) => Some(To(S::Conversing)),
        (S::Introduced, _) => None,
        (S::Escalated, P::Inform | P::Query | P::Clarify | P::Observe) => Some(Stays),
        (S::Escalated, _) => None,
        (S::Conversing, P::Commit) => Some(To(S::Agreeing)),
        (_, P::Escalate) => Some(To(S::Escalated)),
        (S::Agreeing, P::Accept | P::Reject | P::Counter | P::Withdraw) => Some(Agreement),
        (S::Conversing | S::Agreeing | S::Executing, _) => Some(Stays),
    }
}

/// The performatives that a voice may use in a state.
pub fn allowed(state: State, voice: Voice) -> impl Iterator<Item = Performative> {
    Performative::ALL
        .into_iter()
        .filter(move |said| next(state, *said, voice).is_some())
}
