//! Values that are typed on the command line of agents: JSON, roles, performatives, times gone by.

use std::io::Read;
use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::Failure;
use crate::asp::session::{Performative, Role, State};
use crate::asp::{InvalidTrustScore, TrustScore};
use crate::protocol::asp::JsonText;

/// Most bytes that are read of a payload: more than any broker takes.
const MAX_BYTES: u64 = 4 << 20;

/// JSON as it was typed: itself, `@FILE`, or `-` for stdin.
///
/// # Errors
/// When it cannot be read, or is not JSON.
pub(super) fn json(what: &str, typed: &str) -> Result<JsonText, Failure> {
    let text = text(typed)?;
    JsonText::parse(&text).map_err(|error| {
        Failure::usage(what, error.to_string())
            .hint("give JSON, @FILE or - for stdin; a text needs its quotes: '\"like this\"'")
    })
}

/// As [`json()`], where something was typed.
///
/// # Errors
/// As [`json()`].
pub(super) fn json_or_none(what: &str, typed: Option<&str>) -> Result<Option<JsonText>, Failure> {
    typed.map(|typed| json(what, typed)).transpose()
}

/// A text as it was typed: itself, `@FILE`, or `-` for stdin.
fn text(typed: &str) -> Result<String, Failure> {
    match typed.strip_prefix('@') {
        Some(file) => read(Path::new(file)),
        None if typed == "-" => {
            let mut text = String::new();
            let stdin = std::io::stdin().lock();
            let read = stdin.take(MAX_BYTES).read_to_string(&mut text);
            read.map_err(|error| Failure::new("reading stdin", &error))?;
            Ok(text)
        }
        None => Ok(typed.to_owned()),
    }
}

/// A text where something was typed: itself, `@FILE`, or `-` for stdin.
///
/// # Errors
/// When it cannot be read.
pub(super) fn text_or_none(typed: Option<String>) -> Result<Option<String>, Failure> {
    typed.map(|typed| text(&typed)).transpose()
}

fn read(file: &Path) -> Result<String, Failure> {
    let open = std::fs::File::open(file);
    let mut text = String::new();
    open.and_then(|open| open.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|error| Failure::new(format!("reading {}", file.display()), &error))?;
    Ok(text)
}

/// A JSON object as it was typed; see [`json()`].
///
/// # Errors
/// As [`json()`], and when it is no object.
pub(super) fn object(
    what: &str,
    typed: Option<&str>,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let Some(typed) = typed else {
        return Ok(serde_json::Map::new());
    };
    json(what, typed)?
        .read()
        .map_err(|_| Failure::usage(what, "it is not a JSON object"))
}

/// Reads a performative, in whatever case.
pub(super) fn performatives() -> impl TypedValueParser<Value = Performative> {
    PossibleValuesParser::new(Performative::ALL.map(Performative::name))
        .map(|name| named(&Performative::ALL, Performative::name, &name))
}

/// Reads a state, in whatever case.
pub(super) fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::name))
        .map(|name| named(&State::ALL, State::name, &name))
}

/// The one of that name, which clap has found among the names.
fn named<T: Copy>(all: &[T], name_of: impl Fn(T) -> &'static str, name: &str) -> T {
    let mut all = all.iter().copied();
    all.find(|one| name_of(*one).eq_ignore_ascii_case(name))
        .expect("it is one of the possible values")
}

/// Reads a role.
pub(super) fn role(text: &str) -> Result<Role, String> {
    match text {
        "coordinator" => Ok(Role::Coordinator),
        "specialist" => Ok(Role::Specialist),
        "observer" => Ok(Role::Observer),
        _ => Err(format!(
            "`{text}` is no role: coordinator, specialist or observer"
        )),
    }
}

/// A role's name.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Coordinator => "coordinator",
        Role::Specialist => "specialist",
        Role::Observer => "observer",
    }
}

/// Reads a score.
pub(super) fn trust_score(text: &str) -> Result<TrustScore, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    number
        .try_into()
        .map_err(|error: InvalidTrustScore| error.to_string())
}

/// A text of somebody else's as it may stand on a terminal.
pub(super) fn shown(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_itself_or_a_file() {
        assert_eq!(json("x", "[1, 2]").unwrap().text(), "[1, 2]");
        let failure = json("the payload", "hello").unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        assert!(text.starts_with("the payload: not JSON: "), "{text}");
        let failure = json("x", "@/nowhere/at all").unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.to_string().contains("/nowhere/at all"));
        assert_eq!(object("x", Some("[]")).unwrap_err().exit_code(), 2);
        assert!(object("x", None).unwrap().is_empty());
    }

    #[test]
    fn roles_and_scores_read_back() {
        for name in ["coordinator", "specialist", "observer"] {
            assert_eq!(role(name).map(role_name), Ok(name));
        }
        assert!(role("boss").is_err());
        assert_eq!(trust_score("0.25").map(f64::from), Ok(0.25));
        for bad in ["2", "-0.1", "much", "NaN"] {
            assert!(trust_score(bad).is_err(), "{bad}");
        }
    }
}
