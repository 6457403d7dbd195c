/// Why bytes are not the structure they were taken for.
///
/// Every variant names the structure (`what`) and the two values that disagree. Where in which file
/// the bytes lay is added by whoever read them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the structure does.
    #[error("{what}: needs {needed} bytes, found {found}")]
    Short {
        /// The structure.
        what: &'static str,
        /// Bytes it takes.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The first bytes are not those that mark the structure.
    #[error("{what}: begins with {found:02x?}, which is not its magic number")]
    Magic {
        /// The structure.
        what: &'static str,
        /// The bytes in place of the magic number.
        found: Vec<u8>,
    },
    /// Intact, but written by a newer npayload.
    #[error("{what}: unsupported version {found}, this npayload reads version {supported}")]
    UnsupportedVersion {
        /// The structure.
        what: &'static str,
        /// Version in the bytes.
        found: u16,
        /// Highest version this code reads.
        supported: u16,
    },
    /// The bytes changed after they were written.
    #[error("{what}: stored checksum {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// The structure.
        what: &'static str,
        /// Checksum in the bytes.
        stored: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// A length or count is above what is allowed, or not what the rest says.
    #[error("{what}: {found} where {limit} is the limit")]
    Length {
        /// The length or count.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The highest value allowed here.
        limit: u64,
    },
    /// A byte that must be zero is not.
    #[error("{what}: byte {position} must be zero")]
    Reserved {
        /// The structure.
        what: &'static str,
        /// Position of the first such byte, from the start of the structure.
        position: u64,
    },
    /// A field breaks its rule.
    #[error("{what} is {value}, {rule}")]
    Field {
        /// The field.
        what: &'static str,
        /// Its value; signed values as two's complement.
        value: u64,
        /// The rule, reading on from the value.
        rule: &'static str,
    },
    /// Compressed records that do not decompress.
    #[error("compressed records: {what}")]
    Compression {
        /// What the decompressor found.
        what: String,
    },
    /// Records that can't be read without the key that encrypts them.
    #[error("the records of the batch are encrypted with key {key_id}")]
    Encrypted {
        /// The data key of the log.
        key_id: u32,
    },
    /// What was encrypted, or what it was bound to, is not what it was; or the key is another one.
    #[error("{what}: the authentication tag does not match under key {key_id}")]
    NotAuthentic {
        /// The structure.
        what: &'static str,
        /// The data key of the log.
        key_id: u32,
    },
    /// A text that is not UTF-8.
    #[error("{what}: not UTF-8 after {valid_up_to} of {found} bytes")]
    Text {
        /// The text.
        what: &'static str,
        /// Bytes that are UTF-8.
        valid_up_to: u64,
        /// Bytes of the text.
        found: u64,
    },
}

impl DecodeError {
    #[cold]
    pub(crate) fn field(what: &'static str, value: impl Into<u64>, rule: &'static str) -> Self {
        Self::Field {
            what,
            value: value.into(),
            rule,
        }
    }

    #[cold]
    pub(super) fn length(what: &'static str, found: u64, limit: u64) -> Self {
        Self::Length { what, found, limit }
    }
}
