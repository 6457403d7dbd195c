//! Bodies that are JSON, and what is said of one that does not fit: the member, not the place in a
//! text that a program has made and nobody has seen.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::primitive::BodyError;

/// Longest body of which the member is looked for that does not fit.
const SEARCHED_BYTES: usize = 4096;
/// Members that are looked at for that.
const SEARCHED_MEMBERS: usize = 64;

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    serde_json::from_slice(body).map_err(|error| {
        let words = words(&error);
        // What is no JSON is told with its place, and a member that lacks names itself.
        let is_searched = error.is_data() && !words.starts_with("missing field");
        let member = is_searched.then(|| member::<T>(body, &words)).flatten();
        BodyError::Json(match member {
            Some(member) if !words.contains(&format!("`{member}`")) => {
                format!("`{member}`: {words}")
            }
            _ => words,
        })
    })
}

fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(words) if error.is_data() => words.to_owned(),
        _ => text,
    }
}

/// The one member that does not fit: without it the body is read, or something else is wrong.
fn member<T: DeserializeOwned>(body: &[u8], told: &str) -> Option<String> {
    if body.len() > SEARCHED_BYTES {
        return None;
    }
    let root: Value = serde_json::from_slice(body).ok()?;
    let is_told_of = |root: &Value| {
        let read = serde_json::from_str::<T>(&root.to_string());
        read.err().is_some_and(|error| words(&error) == told)
    };
    if !is_told_of(&root) {
        return None;
    }
    let (mut pointer, mut shown) = (String::new(), String::new());
    let mut left = SEARCHED_MEMBERS;
    while let Some(names) = root.pointer(&pointer).and_then(names) {
        let Some(still) = left.checked_sub(names.len()) else {
            break;
        };
        left = still;
        let mut blamed = names.iter().filter(|name| {
            let mut less = root.clone();
            remove(less.pointer_mut(&pointer), name);
            !is_told_of(&less)
        });
        let (Some(name), None) = (blamed.next(), blamed.next()) else {
            break;
        };
        match name {
            Name::Member(name) => {
                pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                let dot = if shown.is_empty() { "" } else { "." };
                shown = format!("{shown}{dot}{name}");
            }
            Name::Element(at) => {
                pointer = format!("{pointer}/{at}");
                shown = format!("{shown}[{at}]");
            }
        }
    }
    (!shown.is_empty()).then_some(shown)
}

enum Name {
    Member(String),
    Element(usize),
}

fn names(value: &Value) -> Option<Vec<Name>> {
    match value {
        Value::Object(members) => Some(members.keys().cloned().map(Name::Member).collect()),
        Value::Array(elements) => Some((0..elements.len()).map(Name::Element).collect()),
        _ => None,
    }
}

fn remove(from: Option<&mut Value>, name: &Name) {
    match (from, name) {
        (Some(Value::Object(members)), Name::Member(name)) => {
            members.remove(name);
        }
        (Some(Value::Array(elements)), Name::Element(at)) if *at < elements.len() => {
            elements.remove(*at);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether they are read matters")]
    struct Body {
        name: String,
        least_trust: Option<Share>,
        parties: Option<Vec<Party>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether they are read matters")]
    struct Party {
        role: Role,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Role {
        Coordinator,
        Observer,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "f64")]
    struct Share;

    impl TryFrom<f64> for Share {
        type Error = String;

        fn try_from(share: f64) -> Result<Self, String> {
            match (0.0..=1.0).contains(&share) {
                true => Ok(Self),
                false => Err(format!("{share} is outside 0..=1")),
            }
        }
    }

    fn told(body: &str) -> String {
        read::<Body>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_member_and_without_a_place_in_the_text() {
        for (body, expected) in [
            (
                r#"{"name":"a","leastTrust":5}"#,
                "`leastTrust`: 5 is outside 0..=1",
            ),
            (
                r#"{"leastTrust":5,"name":"a"}"#,
                "`leastTrust`: 5 is outside 0..=1",
            ),
            (
                r#"{"name":"a","parties":[{"role":"observer"},{"role":"boss"}]}"#,
                "`parties[1].role`: unknown variant `boss`, expected `coordinator` or `observer`",
            ),
            (
                r#"{"name":7}"#,
                "`name`: invalid type: integer `7`, expected a string",
            ),
            (r#"{"leastTrust":1}"#, "missing field `name`"),
            (
                r#"{"name":"a","nmae":1}"#,
                "unknown field `nmae`, expected one of `name`, `leastTrust`, `parties`",
            ),
        ] {
            assert_eq!(told(body), format!("the JSON body: {expected}"), "{body}");
        }
        // Two of one kind: both do not fit, and neither alone is to blame.
        let both = told(r#"{"name":"a","parties":[{"role":"boss"},{"role":"boss"}]}"#);
        assert!(both.contains("`parties`: unknown variant `boss`"), "{both}");
        // What is no JSON is told with its place.
        assert!(told(r#"{"name":"#).contains("column"), "a broken text");
    }

    #[test]
    fn a_long_body_is_not_searched() {
        let long = "x".repeat(SEARCHED_BYTES);
        let told = told(&format!(r#"{{"name":"{long}","leastTrust":5}}"#));
        assert_eq!(told, "the JSON body: 5 is outside 0..=1");
    }
}
