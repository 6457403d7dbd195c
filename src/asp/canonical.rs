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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785, appendix B; NaN and infinity have no form.
    const NUMBERS: [(u64, &str); 24] = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ];

    #[test]
    fn numbers_are_written_as_the_rfc_lists_them() {
        for (bits, text) in NUMBERS {
            let number = f64::from_bits(bits);
            assert_eq!(serde_jcs::to_string(&number).unwrap(), text, "{bits:x}");
            let read = Canonical::parse(text);
            match text.trim_start_matches('-').parse::<u128>() {
                Ok(integer) if integer > u128::from(MAX_INTEGER) => {
                    assert!(matches!(read, Err(NotCanonical::Integer { .. })), "{text}");
                }
                _ => assert_eq!(read.unwrap().as_str(), text),
            }
        }
    }

    #[test]
    fn the_last_digit_of_a_number_is_kept() {
        // A fast reader gives 31.245270191439437, one unit in the last place beside it.
        for text in ["31.245270191439438", "121.48791951161945", "5e-324"] {
            assert_eq!(Canonical::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn members_and_texts_are_written_as_the_rfc_does() {
        let given = r#"{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#;
        let form = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
        assert_eq!(Canonical::parse(given).unwrap().as_str(), form);
        let given =
            r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        let form = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
        assert_eq!(Canonical::parse(given).unwrap().as_str(), form);
    }

    #[test]
    fn what_has_no_canonical_form_is_refused_with_its_place() {
        let refused = |text| Canonical::parse(text).unwrap_err();
        let duplicate = |at: &str| NotCanonical::Duplicate { at: at.to_owned() };
        assert_eq!(refused(r#"{"a":1,"a":1}"#), duplicate("/a"));
        assert_eq!(
            refused(r#"{"a":[0,{"b/~":1,"c":2,"b\u002f~":3}]}"#),
            duplicate("/a/1/b~1~0")
        );
        for (text, place) in [
            ("9007199254740992", ""),
            ("[-9007199254740992]", "/0"),
            (r#"{"a":{"b":18446744073709551616}}"#, "/a/b"),
            ("[0,1e20]", "/1"),
        ] {
            match refused(text) {
                NotCanonical::Integer { at, .. } => assert_eq!(at, place, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
        for kept in ["9007199254740991", "-9007199254740991", "1e+21", "0.5"] {
            assert_eq!(Canonical::parse(kept).unwrap().as_str(), kept);
        }
        for text in ["", "{", "[1] 2", "1e999", r#""\ud800""#, "NaN"] {
            assert!(matches!(refused(text), NotCanonical::NotJson(_)), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(matches!(refused(&deep), NotCanonical::NotJson(_)));
    }
}
