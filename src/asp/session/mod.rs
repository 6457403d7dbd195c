//! Sessions of agents: the transition table, and the state folded from the records of the topic
//! `__asp.sessions`. Specified by docs/asp.md, "Sessions" and "Messages".
mod body;
mod check;
mod error;
mod event;
mod fold;
mod link;
mod one;
mod record;
mod send;
mod sessions;
mod table;
mod tasks;
#[cfg(test)]
mod tests;
mod verifier;

pub use body::{BodyError, check_body, default_performative};
pub use check::{
    DEFAULT_INVITATION_MS, DEFAULT_TTL_MS, MAX_ID_AHEAD_MS, MAX_LIVE, MAX_METADATA_BYTES, MAX_OPEN,
    MAX_PARTICIPANTS, MAX_PAYLOAD_BYTES, MAX_TIME_MS, MAX_TOPIC_BYTES, MAX_TYPE_BYTES,
    OPEN_FOR_EACH, check_id_time,
};
pub use error::{CreateError, OutOfLimit, SendError};
pub use event::{
    Constraints, Created, Ended, EndedParticipant, EndedStanding, Expired, Filed, InvitationLapsed,
    Invitee, Limits, Message, MessageSent, ParticipantLeft, ResponseOverdue, Resumed, SessionEvent,
};
pub use fold::FoldRow;
pub use one::{Asked, Deadline, HELD_IDS, Offer, Participant, Paused, Session, Standing, Taken};
pub use record::{Place, SessionRecord};
pub use send::{Send, Sent};
pub use sessions::{FILED_AT_ONCE, MAX_ENDED, Sessions};
pub use table::{Next, Performative, Role, State, Voice, allowed, next};
pub use tasks::{Given, MAX_TASKS, Settled, TASK_ASSIGN, Task};
pub use verifier::{ChainFault, Misfit, Verifier};

pub(in crate::asp) use verifier::judge_alone;
