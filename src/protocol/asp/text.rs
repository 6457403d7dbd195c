//! JSON as somebody wrote it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Any JSON value in the spelling of whoever wrote it: it is checked to be JSON, and passed on byte
/// by byte.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

/// A text that is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not JSON: {0}")]
pub struct InvalidJson(pub String);

impl JsonText {
    /// Takes a text.
    ///
    /// # Errors
    /// [`InvalidJson`] when it is not exactly one JSON value.
    pub fn parse(text: &str) -> Result<Self, InvalidJson> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| InvalidJson(error.to_string()))
    }

    /// What serde makes of a value.
    ///
    /// # Errors
    /// [`InvalidJson`] when the value cannot be written as JSON: a map whose keys are not texts.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidJson> {
        serde_json::value::to_raw_value(value)
            .map(Self)
            .map_err(|error| InvalidJson(error.to_string()))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a value of a type.
    ///
    /// # Errors
    /// [`InvalidJson`] when the type is another one.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, InvalidJson> {
        serde_json::from_str(self.text()).map_err(|error| InvalidJson(error.to_string()))
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl PartialEq for JsonText {
    /// Whether both have the same spelling.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for JsonText {}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
