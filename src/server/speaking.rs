//! For which agents a caller speaks.

use super::access::{Caller, denied};
use super::clock;
use crate::access::{Ask, Denied};
use crate::broker::Broker;
use crate::protocol::{ErrorCode, WireError};
use crate::types::{AgentName, OrgId};

/// Whether the caller speaks for an agent: one of their own organisation, which a scope of their
/// key names. Whoever shows no key where none is asked for speaks for all of the default one.
///
/// - `org`: the agent's organisation.
///
/// # Errors
/// `NOT_YOUR_AGENT` with detail `agent`, or that the key has ended.
pub(super) fn check_speaks_for(
    broker: &Broker,
    caller: &Caller,
    org: OrgId,
    name: &AgentName,
) -> Result<(), WireError> {
    let ask = Ask::Agent {
        name: name.as_str(),
    };
    if caller.principal.org != org {
        return Err(not_yours(name, "it belongs to another organisation"));
    }
    let judged = broker
        .access()
        .authorize(&caller.principal, &ask, clock::now());
    judged.map_err(|refused| match refused {
        Denied::Ended(_) => denied(&refused),
        _ => not_yours(name, "no scope of the key names it"),
    })
}

fn not_yours(name: &AgentName, why: &str) -> WireError {
    let text = format!("the key does not speak for agent `{name}`: {why}");
    WireError::new(ErrorCode::NotYourAgent, text).with("agent", name.as_str())
}
