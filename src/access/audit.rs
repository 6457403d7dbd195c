//! What is recorded on the topic `__audit`: who did what to the broker, or was refused, each record
//! bound to all before it.
//!
//! ```text
//! payload 0          payload 1            payload 2
//! previous: 000…  ◀─ previous: SHA-256 ◀─ previous: SHA-256  ◀─ head: SHA-256 of the last payload
//!                    of payload 0         of payload 1
//! ```
//! The hash is that of the payload's bytes as they are stored, so `sha256sum` is all that an auditor
//! needs. Who changes a record changes its hash, and the next record no longer names it; who
//! changes all that follow arrives at another head than the one that somebody wrote down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::judge::Principal;
use crate::types::{KeyId, Offset, OrgName, PrincipalId, Timestamp};

/// Version of a record's JSON, its member `v`.
const VERSION: u16 = 1;

/// Type of the record that holds an [`AuditRecord`].
pub const AUDIT_TYPE: &str = "audit.act";

/// Longest address, act and target, and longest detail, in bytes.
const MAX_TEXT_BYTES: usize = 512;
const MAX_DETAIL_BYTES: usize = 1024;

/// SHA-256 of a record's payload; shown and parsed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AuditHash(pub [u8; 32]);

impl AuditHash {
    /// What the first record of a chain names as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha256::digest(payload).into())
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for AuditHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return Err(InvalidHash);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * at..2 * at + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidHash)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for AuditHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An act of somebody who administers the broker, or tries to. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAct {
    /// Who; nobody where no key was shown that is known.
    pub who: Option<Principal>,
    /// Address of the peer.
    pub from: String,
    /// What, in the words of the request: `key.create`.
    pub act: &'static str,
    /// To what, as the request names it: a channel, an organisation, a key, a grant.
    pub target: String,
    /// What else is worth knowing; empty where nothing is.
    pub detail: String,
    /// How it ended.
    pub outcome: AuditOutcome,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused, with this error.
    Refused {
        /// Name of the error, as clients get it.
        error: &'static str,
    },
}

/// Who acted, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditWho {
    /// The number that is stamped on what they write.
    pub principal: PrincipalId,
    /// The organisation they act in.
    pub org: OrgName,
    /// The key they showed; none on a broker that asks nobody for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
}

/// One record of the topic `__audit`, in the order of its JSON members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Version of the form, now 1.
    pub v: u16,
    /// Its number in the chain, which is its offset in the topic.
    pub seq: u64,
    /// When, by the broker's clock.
    pub at: Timestamp,
    /// Who; left out where nobody known asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<AuditWho>,
    /// Address of the peer; at most 512 bytes, as the next two.
    pub from: String,
    /// What.
    pub act: String,
    /// To what.
    pub target: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// Name of the error, of what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What else is worth knowing; at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Refused acts of the same organisation before this record that have none of their own,
    /// because there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// SHA-256 of the payload of the record before; zeros in the first.
    pub previous: AuditHash,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl AuditRecord {
    /// The record of an act behind `head`.
    ///
    /// - `org`: the name of the organisation of whoever acts.
    #[must_use]
    pub fn new(
        act: &AuditAct,
        org: Option<&OrgName>,
        suppressed: u64,
        head: &AuditHead,
        at: Timestamp,
    ) -> Self {
        let who = act.who.zip(org).map(|(who, org)| AuditWho {
            principal: who.id,
            org: org.clone(),
            key: who.key,
        });
        let (outcome, error) = match act.outcome {
            AuditOutcome::Done => ("done", None),
            AuditOutcome::Refused { error } => ("refused", Some(error.to_owned())),
        };
        Self {
            v: VERSION,
            seq: head.next,
            at,
            who,
            from: bounded(&act.from, MAX_TEXT_BYTES),
            act: bounded(act.act, MAX_TEXT_BYTES),
            target: bounded(&act.target, MAX_TEXT_BYTES),
            outcome: outcome.to_owned(),
            error,
            detail: Some(bounded(&act.detail, MAX_DETAIL_BYTES)).filter(|text| !text.is_empty()),
            suppressed,
            previous: head.hash,
        }
    }

    /// The payload of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain members have no fallible values")
    }

    /// The record with that payload; members that this version does not know are passed over.
    ///
    /// # Errors
    /// [`ChainFault::Unreadable`] when the payload is not a record's JSON, or of a newer version.
    pub fn decode(payload: &[u8]) -> Result<Self, ChainFault> {
        let record: Self = serde_json::from_slice(payload).map_err(|error| {
            let what = error.to_string();
            ChainFault::Unreadable { what }
        })?;
        if record.v != VERSION {
            let what = format!("unsupported version {}, this is {VERSION}", record.v);
            return Err(ChainFault::Unreadable { what });
        }
        Ok(record)
    }
}

/// The text, or its beginning with a sign that there was more.
fn bounded(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let mut end = max_bytes - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Where a chain ends: what the next record builds on, and what an auditor writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AuditHead {
    /// Number of the next record.
    pub next: u64,
    /// SHA-256 of the payload of the last record; zeros before the first.
    pub hash: AuditHash,
}

impl AuditHead {
    /// The head behind a record of this payload.
    #[must_use]
    pub fn behind(self, payload: &[u8]) -> Self {
        Self {
            next: self.next + 1,
            hash: AuditHash::of(payload),
        }
    }
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.next, self.hash)
    }
}

/// A text that names no place in a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a place in the chain is NEXT:SHA-256, a number and 64 lower-case hexadecimal digits")]
pub struct InvalidHead;

impl FromStr for AuditHead {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let (next, hash) = text.split_once(':').ok_or(InvalidHead)?;
        let is_number = !next.is_empty() && next.bytes().all(|byte| byte.is_ascii_digit());
        let next = next.parse().ok().filter(|_| is_number);
        Ok(Self {
            next: next.ok_or(InvalidHead)?,
            hash: hash.parse().map_err(|_| InvalidHead)?,
        })
    }
}

/// What is wrong with a record of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// Its payload is not a record.
    #[error("it cannot be read: {what}")]
    Unreadable {
        /// What the reader met.
        what: String,
    },
    /// It has another number than the one that comes next.
    #[error("it has the number {found}, the next is {expected}")]
    Number {
        /// The next one.
        expected: u64,
        /// Its own.
        found: u64,
    },
    /// It builds on another record than the one before it.
    #[error("it names {found} as the record before, which is {expected}")]
    Previous {
        /// SHA-256 of the record before.
        expected: AuditHash,
        /// What it names.
        found: AuditHash,
    },
}

/// A place where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit chain is broken at offset {offset}: {fault}")]
pub struct ChainBroken {
    /// Offset of the record that does not fit. Either it or the one before it was changed.
    pub offset: Offset,
    /// What is wrong with it.
    pub fault: ChainFault,
}

/// Checks a chain record by record.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainCheck {
    head: Option<AuditHead>,
}

impl ChainCheck {
    /// Takes the next record: its offset and its payload. The first of a trimmed topic is taken
    /// as it is; it names one that is gone.
    ///
    /// # Errors
    /// [`ChainBroken`]: the record does not follow.
    pub fn take(&mut self, offset: Offset, payload: &[u8]) -> Result<AuditRecord, ChainBroken> {
        let broken = |fault| ChainBroken { offset, fault };
        let record = AuditRecord::decode(payload).map_err(broken)?;
        let is_first = self.head.is_none() && offset.0 > 0;
        let expected = match self.head {
            Some(head) => head,
            None => AuditHead {
                next: offset.0,
                hash: if is_first {
                    record.previous
                } else {
                    AuditHash::NONE
                },
            },
        };
        if record.seq != expected.next {
            return Err(broken(ChainFault::Number {
                expected: expected.next,
                found: record.seq,
            }));
        }
        if record.previous != expected.hash {
            return Err(broken(ChainFault::Previous {
                expected: expected.hash,
                found: record.previous,
            }));
        }
        self.head = Some(expected.behind(payload));
        Ok(record)
    }

    /// Where the chain ends, as far as it was checked.
    #[must_use]
    pub fn head(&self) -> AuditHead {
        self.head.unwrap_or_default()
    }
}

/// Checks a whole chain: offset and payload of each record, in order.
///
/// # Errors
/// [`ChainBroken`] at the first record that does not follow.
pub fn verify<'a>(
    records: impl IntoIterator<Item = (Offset, &'a [u8])>,
) -> Result<AuditHead, ChainBroken> {
    let mut check = ChainCheck::default();
    for (offset, payload) in records {
        check.take(offset, payload)?;
    }
    Ok(check.head())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, previous: AuditHash) -> Vec<u8> {
        let act = AuditAct {
            who: Some(Principal::LOCAL),
            from: "127.0.0.1:1".to_owned(),
            act: "org.create",
            target: "acme".to_owned(),
            detail: String::new(),
            outcome: AuditOutcome::Done,
        };
        let org = OrgName::parse("default").unwrap();
        let head = AuditHead {
            next: seq,
            hash: previous,
        };
        AuditRecord::new(&act, Some(&org), 0, &head, Timestamp(7)).encode()
    }

    #[test]
    fn a_record_is_stable_json_and_its_hash_is_that_of_sha256sum() {
        let first = record(0, AuditHash::NONE);
        assert_eq!(
            String::from_utf8(first.clone()).unwrap(),
            r#"{"v":1,"seq":0,"at":7,"who":{"principal":0,"org":"default"},"from":"127.0.0.1:1","act":"org.create","target":"acme","outcome":"done","previous":"0000000000000000000000000000000000000000000000000000000000000000"}"#
        );
        assert_eq!(
            AuditHash::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let read = AuditRecord::decode(&first).unwrap();
        assert_eq!(read.encode(), first);
    }

    #[test]
    fn a_head_reads_back_and_nothing_else_does() {
        let head = AuditHead {
            next: 42,
            hash: AuditHash::of(b"x"),
        };
        let text = head.to_string();
        assert_eq!(text.parse(), Ok(head));
        for wrong in [
            "",
            "42",
            "42:",
            ":",
            "+42:",
            &text[1..],
            &text.to_uppercase(),
        ] {
            let wrong = format!("{wrong}0");
            assert_eq!(wrong.parse::<AuditHead>(), Err(InvalidHead), "{wrong}");
        }
    }

    #[test]
    fn a_chain_says_where_and_how_it_is_broken() {
        let first = record(0, AuditHash::NONE);
        let second = record(1, AuditHash::of(&first));
        let fault = |records: &[(u64, &[u8])]| {
            let records = records.iter();
            let broken = verify(records.map(|(at, payload)| (Offset(*at), *payload)));
            let broken = broken.unwrap_err();
            (broken.offset.0, broken.fault)
        };
        assert!(verify([(Offset(0), &first[..]), (Offset(1), &second[..])]).is_ok());
        assert!(matches!(
            fault(&[(0, &second)]),
            (
                0,
                ChainFault::Number {
                    expected: 0,
                    found: 1
                }
            )
        ));
        assert!(matches!(
            fault(&[(0, &record(0, AuditHash::of(b"x")))]),
            (0, ChainFault::Previous { .. })
        ));
        assert!(matches!(
            fault(&[(0, &first), (1, b"{}")]),
            (1, ChainFault::Unreadable { .. })
        ));
        let newer = String::from_utf8(second)
            .unwrap()
            .replace("\"v\":1", "\"v\":2");
        let (at, fault) = fault(&[(0, &first), (1, newer.as_bytes())]);
        assert_eq!(at, 1);
        assert!(fault.to_string().contains("unsupported version 2"));
    }
}
