//! Canonical JSON: the one form of RFC 8785 (JCS), so that everybody hashes the same bytes.
//!
//! Only I-JSON (RFC 7493) has such a form. What is not is refused, with the place of what is wrong
//! as a JSON pointer (RFC 6901): readers would not agree on which of two members of one name holds,
//! or on the last digits of a large integer.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::write::Write;

/// The largest integer that every reader of JSON keeps exactly: 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A JSON value in its canonical form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Canonical(Box<str>);

/// JSON without a canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCanonical {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// An object has two members of one name.
    #[error("member `{at}` stands in its object twice")]
    Duplicate {
        /// The member, as a JSON pointer.
        at: String,
    },
    /// A number that would be written as an integer too large to be kept exactly.
    #[error("`{at}` is {number}, and integers are within ±9007199254740991; write it as a text")]
    Integer {
        /// The number's place, as a JSON pointer.
        at: String,
        /// The number.
        number: String,
    },
}

impl Canonical {
    /// The canonical form of a JSON text.
    ///
    /// # Errors
    /// [`NotCanonical`] for what is not I-JSON.
    pub fn parse(text: &str) -> Result<Self, NotCanonical> {
        Self::of(&parse(text)?)
    }

    /// The canonical form of a value.
    ///
    /// # Errors
    /// [`NotCanonical::Integer`] for an integer beyond ±(2^53 - 1).
    pub fn of(value: &Value) -> Result<Self, NotCanonical> {
        check(value, &mut String::new())?;
        let text = serde_jcs::to_string(value);
        let text = text.map_err(|error| NotCanonical::NotJson(error.to_string()))?;
        Ok(Self(text.into_boxed_str()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    ///
    /// # Panics
    /// Never: the text was read before.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("a canonical text is JSON")
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Write for Canonical {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.0.as_bytes());
    }
}

/// The value of a JSON text that is I-JSON.
///
/// # Errors
/// [`NotCanonical`] for what is not.
pub(super) fn parse(text: &str) -> Result<Value, NotCanonical> {
    let mut place = Place::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict(&mut place).deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| match place.duplicate {
        Some(at) => NotCanonical::Duplicate { at },
        None => NotCanonical::NotJson(error.to_string()),
    })
}

fn check(value: &Value, at: &mut String) -> Result<(), NotCanonical> {
    let len = at.len();
    match value {
        Value::Number(number) if !is_kept(number) => {
            return Err(NotCanonical::Integer {
                at: at.clone(),
                number: number.to_string(),
            });
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                check(value, at)?;
                at.truncate(len);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                step(at, name);
                check(value, at)?;
                at.truncate(len);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether every reader keeps it. From 10^21 on the form has an exponent, and nobody takes it for
/// an exact integer.
fn is_kept(number: &Number) -> bool {
    if let Some(integer) = number.as_i64() {
        return integer.unsigned_abs() <= MAX_INTEGER;
    }
    if number.is_u64() {
        return false;
    }
    number.as_f64().is_some_and(|float| {
        float.fract() != 0.0 || float.abs() >= 1e21 || float.abs() <= 9_007_199_254_740_991.0
    })
}

/// Adds a member's name to a JSON pointer.
fn step(at: &mut String, name: &str) {
    at.push('/');
    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Where the reader is, and the first member found twice.
#[derive(Default)]
struct Place {
    at: String,
    duplicate: Option<String>,
}

/// Reads a value and refuses two members of one name.
struct Strict<'a>(&'a mut Place);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let len = self.0.at.len();
        loop {
            self.0.at.push('/');
            self.0.at.push_str(&values.len().to_string());
            let value = from.next_element_seed(Strict(self.0))?;
            self.0.at.truncate(len);
            match value {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let mut names = BTreeSet::new();
        let len = self.0.at.len();
        while let Some(name) = from.next_key::<String>()? {
            step(&mut self.0.at, &name);
            if !names.insert(name.clone()) {
                self.0.duplicate = Some(self.0.at.clone());
                return Err(A::Error::custom("a member stands in its object twice"));
            }
            members.insert(name, from.next_value_seed(Strict(self.0))?);
            self.0.at.truncate(len);
        }
        Ok(Value::Object(members))
    }
}
