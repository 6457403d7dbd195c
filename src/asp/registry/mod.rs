//! The agents of an organisation: the state folded from the events of the topic
//! `__asp.registry`, and the search over it. Specified by docs/asp.md, "Agents".
mod agents;
mod card;
mod chunk;
mod event;
mod index;
mod profile;
mod reference;
mod search;
#[cfg(test)]
mod tests;

pub use agents::{Agent, AgentRow, AgentStanding, Agents, MAX_AGENTS, MAX_KEYS, RegistryError};
pub use card::{A2A_VERSION, AgentCard};
pub use event::{AgentEvent, AvailabilityChanged, Fact, KeyFact, Placeheld, Registered};
pub use index::Listing;
pub use profile::{
    Amount, Availability, InvalidProfile, InvalidPublicKey, Profile, PublicKey, Status,
};
pub use reference::AgentRef;
pub use search::{
    CapabilityPattern, Cursor, MAX_PAGE, MAX_PATTERNS, MAX_TEXT_BYTES, Match, Page, Query,
    SearchError,
};
