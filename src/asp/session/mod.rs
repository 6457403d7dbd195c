//! Sessions of agents: the transition table, and the state folded from the events of the topic
//! `__asp.sessions`. Specified by docs/asp.md, "Sessions" and "Messages".
mod error;
mod event;
mod one;
mod sessions;
mod table;
#[cfg(test)]
mod tests;

pub use error::{OutOfLimit, SendError};
pub use event::{
    AgentFact, Constraints, Created, Digest, Expired, InvalidDigest, Invitee, Message, MessageSent,
    ResponseOverdue, Resumed, SessionEvent,
};
pub use one::{Asked, Deadline, HELD_IDS, Offer, Participant, Paused, Session, Standing, Taken};
pub use sessions::{
    DEFAULT_INVITATION_MS, DEFAULT_TTL_MS, MAX_ENDED, MAX_METADATA_BYTES, MAX_OPEN,
    MAX_PARTICIPANTS, MAX_PAYLOAD_BYTES, MAX_TIME_MS, MAX_TOPIC_BYTES, MAX_TYPE_BYTES, Send, Sent,
    SessionRow, Sessions,
};
pub use table::{Next, Performative, Role, State, Voice, allowed, next};
