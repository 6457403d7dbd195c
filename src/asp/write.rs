//! Writes our records straight in canonical form: members in the order of their names, nothing
//! between them. What a library makes of the same record must be the same bytes; a test compares.

use crate::types::{
    AgentId, CommitmentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

use super::TrustScore;
use super::thread::Knot;

/// Something with a canonical form.
pub(super) trait Write {
    /// Writes it.
    fn write(&self, to: &mut Vec<u8>);
}

/// An object that is being written.
pub(super) struct Object<'a> {
    to: &'a mut Vec<u8>,
    last: &'static str,
}

impl<'a> Object<'a> {
    /// Begins one.
    pub(super) fn begin(to: &'a mut Vec<u8>) -> Self {
        to.push(b'{');
        Self { to, last: "" }
    }

    /// Begins the next member; what is written next is its value.
    pub(super) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        debug_assert!(self.last < name, "{name} after {}", self.last);
        if !self.last.is_empty() {
            self.to.push(b',');
        }
        self.last = name;
        self.to.push(b'"');
        self.to.extend_from_slice(name.as_bytes());
        self.to.extend_from_slice(b"\":");
        self.to
    }

    /// Writes a member.
    pub(super) fn put(&mut self, name: &'static str, value: &(impl Write + ?Sized)) -> &mut Self {
        value.write(self.member(name));
        self
    }

    /// Writes a member where there is a value.
    pub(super) fn maybe(&mut self, name: &'static str, value: Option<&impl Write>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    /// Writes the end.
    pub(super) fn end(self) {
        self.to.push(b'}');
    }
}

/// Writes an array.
pub(super) fn array<T: Write>(values: impl Iterator<Item = T>, to: &mut Vec<u8>) {
    to.push(b'[');
    for (index, value) in values.enumerate() {
        if index > 0 {
            to.push(b',');
        }
        value.write(to);
    }
    to.push(b']');
}

/// Writes what serde writes in canonical form: texts, integers.
fn plain(value: &(impl serde::Serialize + ?Sized), to: &mut Vec<u8>) {
    serde_json::to_writer(to, value).expect("memory takes it");
}

macro_rules! write_plain {
    ($($name:ty),*) => {$(
        impl Write for $name {
            fn write(&self, to: &mut Vec<u8>) {
                plain(self, to);
            }
        }
    )*};
}

write_plain!(
    str,
    String,
    u64,
    u16,
    Offset,
    OrgId,
    PrincipalId,
    Timestamp,
    Knot,
    super::session::State,
    super::session::Role,
    super::session::Performative
);

impl<T: Write + ?Sized> Write for &T {
    fn write(&self, to: &mut Vec<u8>) {
        (**self).write(to);
    }
}

macro_rules! write_id {
    ($($name:ty, $prefix:literal;)*) => {$(
        impl Write for $name {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(concat!("\"", $prefix).as_bytes());
                let mut digits = uuid::Uuid::encode_buffer();
                let uuid = uuid::Uuid::from_u128(self.0).hyphenated();
                to.extend_from_slice(uuid.encode_lower(&mut digits).as_bytes());
                to.push(b'"');
            }
        }
    )*};
}

write_id!(AgentId, "agt_"; CommitmentId, "cmt_"; SessionId, "ses_"; MessageId, "msg_";);

impl Write for TrustScore {
    fn write(&self, to: &mut Vec<u8>) {
        let text = match self.thousandths() {
            1000 => "1".to_owned(),
            0 => "0".to_owned(),
            thousandths => format!("0.{thousandths:03}")
                .trim_end_matches('0')
                .to_owned(),
        };
        to.extend_from_slice(text.as_bytes());
    }
}
