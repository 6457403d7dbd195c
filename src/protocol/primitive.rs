//! Reads and writes the fields that binary bodies are made of: integers, strings, blobs.
//! `docs/wire-protocol.md`, "Conventions".

use bytes::{Buf, BufMut, BytesMut};

use crate::types::{
    ChannelName, ConsumerName, Incarnation, InvalidName, KeyId, Offset, OrgName, RegionName,
};

/// Stands for "none" in an optional u64.
pub(super) const NONE: u64 = u64::MAX;

/// Why the bytes of a body are not what its kind demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A field reaches beyond the end of the body.
    #[error("`{field}` needs {needed} bytes, but only {left} are left")]
    Short {
        /// The field.
        field: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Bytes follow the last field.
    #[error("{bytes} bytes follow the last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A string is not UTF-8.
    #[error("`{field}` is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A number has none of the values that its field allows.
    #[error("`{field}` is {found}, allowed is {allowed}")]
    Field {
        /// The field.
        field: &'static str,
        /// The value found.
        found: u64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A count is over its limit.
    #[error("`{field}` has {found}, more than its limit of {limit}")]
    Limit {
        /// The field.
        field: &'static str,
        /// The count found.
        found: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// Something that is to name an agent is no identity, name or address of one.
    #[error(transparent)]
    Agent(InvalidName),
    /// A part of an atomic publish breaks a rule.
    #[error("part {part}: {source}")]
    Part {
        /// Its number, from 0.
        part: usize,
        /// What is wrong with it.
        source: Box<BodyError>,
    },
    /// A name breaks the rule for names.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A name that only the broker may write to.
    #[error("`{name}` is an internal topic: only the broker writes to it")]
    Internal {
        /// The name.
        name: String,
    },
    /// A JSON body is not the object that the kind demands.
    #[error("the JSON body: {0}")]
    Json(String),
}

/// Takes fields off the front of a body, without copying strings' or blobs' bytes.
pub(super) struct Reader {
    left: BytesMut,
}

impl Reader {
    pub(super) fn new(body: BytesMut) -> Self {
        Self { left: body }
    }

    fn need(&self, field: &'static str, needed: usize) -> Result<(), BodyError> {
        let left = self.left.len();
        if left < needed {
            return Err(BodyError::Short {
                field,
                needed,
                left,
            });
        }
        Ok(())
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, BodyError> {
        self.need(field, 1)?;
        Ok(self.left.get_u8())
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, BodyError> {
        self.need(field, 2)?;
        Ok(self.left.get_u16_le())
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, BodyError> {
        self.need(field, 4)?;
        Ok(self.left.get_u32_le())
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, BodyError> {
        self.need(field, 8)?;
        Ok(self.left.get_u64_le())
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, BodyError> {
        self.need(field, 8)?;
        Ok(self.left.get_i64_le())
    }

    pub(super) fn incarnation(&mut self, field: &'static str) -> Result<Incarnation, BodyError> {
        self.need(field, 16)?;
        Ok(Incarnation(self.left.get_u128_le()))
    }

    pub(super) fn optional_incarnation(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Incarnation>, BodyError> {
        let incarnation = self.incarnation(field)?;
        Ok((incarnation.0 != 0).then_some(incarnation))
    }

    pub(super) fn optional_offset(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Offset>, BodyError> {
        let offset = self.u64(field)?;
        Ok((offset != NONE).then_some(Offset(offset)))
    }

    fn string(&mut self, field: &'static str) -> Result<BytesMut, BodyError> {
        self.need(field, 2)?;
        let length = usize::from(self.left.get_u16_le());
        self.need(field, length)?;
        Ok(self.left.split_to(length))
    }

    /// A text of any kind.
    pub(super) fn text(&mut self, field: &'static str) -> Result<String, BodyError> {
        let bytes = self.string(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field })?;
        Ok(text.to_owned())
    }

    /// A channel that is read: any valid name.
    pub(super) fn channel(&mut self) -> Result<ChannelName, BodyError> {
        let bytes = self.string("channel")?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field: "channel" })?;
        Ok(ChannelName::parse_any(text)?)
    }

    /// A channel that is written to: not an internal topic.
    pub(super) fn writable_channel(&mut self) -> Result<ChannelName, BodyError> {
        writable(self.channel()?)
    }

    pub(super) fn consumer(&mut self) -> Result<ConsumerName, BodyError> {
        let bytes = self.string("consumer")?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field: "consumer" })?;
        Ok(ConsumerName::parse(text)?)
    }

    pub(super) fn region(&mut self, field: &'static str) -> Result<RegionName, BodyError> {
        let bytes = self.string(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field })?;
        Ok(RegionName::parse(text)?)
    }

    /// A region, or none where the text is empty.
    pub(super) fn optional_region(
        &mut self,
        field: &'static str,
    ) -> Result<Option<RegionName>, BodyError> {
        let bytes = self.string(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field })?;
        match text {
            "" => Ok(None),
            text => Ok(Some(RegionName::parse(text)?)),
        }
    }

    pub(super) fn org(&mut self, field: &'static str) -> Result<OrgName, BodyError> {
        let bytes = self.string(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field })?;
        Ok(OrgName::parse(text)?)
    }

    /// A key, or none where the text is empty.
    pub(super) fn optional_key(&mut self, field: &'static str) -> Result<Option<KeyId>, BodyError> {
        let bytes = self.string(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BodyError::NotUtf8 { field })?;
        match text {
            "" => Ok(None),
            text => Ok(Some(text.parse()?)),
        }
    }

    pub(super) fn blob(&mut self, field: &'static str) -> Result<BytesMut, BodyError> {
        let length = self.u32(field)?;
        let length = usize::try_from(length).expect("usize has at least 32 bits");
        self.need(field, length)?;
        Ok(self.left.split_to(length))
    }

    pub(super) fn rest(self) -> BytesMut {
        self.left
    }

    pub(super) fn end(self) -> Result<(), BodyError> {
        match self.left.len() {
            0 => Ok(()),
            bytes => Err(BodyError::Trailing { bytes }),
        }
    }
}

pub(super) fn writable(name: ChannelName) -> Result<ChannelName, BodyError> {
    if name.is_internal() {
        return Err(BodyError::Internal {
            name: name.to_string(),
        });
    }
    Ok(name)
}

pub(super) fn put_optional_offset(offset: Option<Offset>, dst: &mut BytesMut) {
    dst.put_u64_le(offset.map_or(NONE, |offset| offset.0));
}

pub(super) fn put_incarnation(incarnation: Option<Incarnation>, dst: &mut BytesMut) {
    dst.put_u128_le(incarnation.map_or(0, |incarnation| incarnation.0));
}

/// A name: never longer than its u16 length can say.
pub(super) fn put_name(name: &str, dst: &mut BytesMut) {
    dst.put_u16_le(u16::try_from(name.len()).expect("names are far shorter than 64 KiB"));
    dst.put_slice(name.as_bytes());
}

/// # Panics
/// When the blob has 4 GiB or more.
pub(super) fn put_blob(bytes: &[u8], dst: &mut BytesMut) {
    dst.put_u32_le(u32::try_from(bytes.len()).expect("blobs are bounded by the frame's limit"));
    dst.put_slice(bytes);
}
