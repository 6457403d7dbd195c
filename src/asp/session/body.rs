//! What the payload of a message has to say, by its performative. docs/asp.md, "Types without a
//! performative".

use serde_json::{Map, Value};

use super::table::Performative;
use crate::asp::Canonical;

/// A payload that is not the body of its performative.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is no object.
    #[error("the payload of {said} without a type is an object, and {found} was found")]
    NotAnObject {
        /// What is said.
        said: Performative,
        /// What the payload is.
        found: &'static str,
    },
    /// A member is missing.
    #[error("the payload of {said} without a type needs the member `{member}`")]
    Missing {
        /// What is said.
        said: Performative,
        /// The member, or those of which one is needed.
        member: &'static str,
    },
    /// A member is of another kind.
    #[error("member `{member}` of the payload of {said} is {wanted}, and {found} was found")]
    WrongKind {
        /// What is said.
        said: Performative,
        /// The member.
        member: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
}

/// What a member of a body may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Object,
    TextOrInteger,
    Any,
}

use Kind::{Any, Object, Text, TextOrInteger};

type Members = &'static [(&'static str, Kind)];

/// The members that a body must have, and those that it may have.
fn schema(said: Performative) -> (Members, Members) {
    match said {
        Performative::Propose => (
            &[
                ("proposalId", Text),
                ("type", Text),
                ("subject", Any),
                ("terms", Object),
            ],
            &[("validUntil", TextOrInteger)],
        ),
        Performative::Accept => (&[], &[("proposalId", Text), ("commitmentId", Text)]),
        Performative::Reject => (
            &[("code", Text)],
            &[
                ("reason", Text),
                ("proposalId", Text),
                ("commitmentId", Text),
            ],
        ),
        Performative::Counter => (
            &[("terms", Object)],
            &[("proposalId", Text), ("reason", Text)],
        ),
        Performative::Inform => (&[], &[("informType", Text)]),
        Performative::Query => (
            &[("queryType", Text)],
            &[("queryId", Text), ("subject", Any), ("parameters", Object)],
        ),
        // One of `question` and `answer`, which `check` sees to.
        Performative::Clarify => (
            &[],
            &[("question", Any), ("answer", Any), ("proposalId", Text)],
        ),
        Performative::Commit => (
            &[("terms", Object), ("deadline", TextOrInteger)],
            &[("commitmentId", Text), ("escrow", Any)],
        ),
        Performative::Delegate => (
            &[("targetAgent", Text), ("scope", Any)],
            &[("role", Text), ("authority", Text), ("protocol", Text)],
        ),
        Performative::Escalate => (&[("reason", Text)], &[("to", Any)]),
        Performative::Withdraw => (&[], &[("reason", Text)]),
        Performative::Observe => (&[("observation", Any)], &[]),
        Performative::Close => (&[], &[("reason", Text), ("outcome", Any)]),
    }
}

/// Checks the payload of a message that has no application type. No payload is an empty body.
///
/// # Errors
/// [`BodyError`] naming the performative and the first member that is wrong.
pub fn check_body(said: Performative, payload: Option<&Canonical>) -> Result<(), BodyError> {
    let body = payload.map_or(Value::Null, Canonical::value);
    let body = match body {
        Value::Null => Map::new(),
        Value::Object(body) => body,
        other => {
            let found = kind(&other);
            return Err(BodyError::NotAnObject { said, found });
        }
    };
    let (must, may) = schema(said);
    for (member, _) in must {
        if !body.contains_key(*member) {
            return Err(BodyError::Missing { said, member });
        }
    }
    if said == Performative::Clarify
        && !["question", "answer"].iter().any(|m| body.contains_key(*m))
    {
        let member = "question` or `answer";
        return Err(BodyError::Missing { said, member });
    }
    for (member, wanted) in must.iter().chain(may) {
        let Some(value) = body.get(*member) else {
            continue;
        };
        let wanted = match wanted {
            Text if !value.is_string() => "a text",
            Object if !value.is_object() => "an object",
            TextOrInteger if !value.is_string() && !value.is_u64() => "a text or ms since 1970",
            _ => continue,
        };
        let found = kind(value);
        return Err(BodyError::WrongKind {
            said,
            member,
            wanted,
            found,
        });
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The performative of a message of that application type whose sender gave none; INFORM for one
/// without a type.
#[must_use]
pub fn default_performative(message_type: Option<&str>) -> Performative {
    match message_type {
        Some("task.assign") => Performative::Propose,
        Some("task.accept") => Performative::Accept,
        Some("task.reject") => Performative::Reject,
        Some("task.cancel") => Performative::Withdraw,
        _ => Performative::Inform,
    }
}
