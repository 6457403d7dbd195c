//! Calls of tools: what agents called, when, with what and to what end, folded from the records
//! of the topic `__asp.tools`. Specified by docs/asp.md, "Tool calls".
//!
//! Memory holds the open calls, the last ones that ended, and for each agent, each tool and each
//! pair of them the end of a thread through the topic. So "every call of this agent on that tool"
//! reads exactly the records that it asks for, however many there are of others.
mod check;
mod content;
mod durations;
mod error;
mod fold;
mod record;
#[cfg(test)]
mod tests;
mod threads;
mod tools;
mod walk;

pub use check::{
    Checked, DEFAULT_TIMEOUT_MS, Fail, Filed, Finish, MAX_ERROR_TYPE_BYTES, MAX_MESSAGE_BYTES,
    MAX_OPEN, MAX_OPEN_ARGUMENT_BYTES, MAX_PAIRS, MAX_TIMEOUT_MS, MAX_TOOLS, Report, Start,
    ToolEvent,
};
pub use content::{Content, InvalidProgress, MAX_CONTENT_BYTES, Plain, Progress};
pub use durations::{Durations, ToolStats};
pub use error::ToolError;
pub use fold::{MAX_HELD, ToolPart, ToolRow};
pub use record::{
    CallEnded, CallError, CallProgressed, CallStarted, CallsFiled, Kind, Outcome, ToolRecord,
};
pub use threads::{EndedLinks, Which};
pub use tools::{Call, EndedCall, LastProgress, OpenCall, Tools};
pub use walk::{Filter, Walk};
