//! Who arbitrates: drawn from the log and from a secret that was sealed before the dispute was
//! filed, so that neither the parties nor the broker choose. docs/asp.md, "Drawing arbitrators".

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::asp::chain::Digest;
use crate::asp::commitment::Party;
use crate::asp::hex;
use crate::types::{DisputeId, OrgId};

/// Stands before the bytes of a secret that are hashed.
pub const SEAL_DOMAIN: &[u8] = b"npayload/asp/seal/1\n";
/// Stands before the bytes that a candidate's lot is made of.
pub const LOT_DOMAIN: &[u8] = b"npayload/asp/lot/1\n";
/// Arbitrators of a dispute.
pub const ARBITRATORS: usize = 3;
/// Most candidates that one drawing is made among.
pub const MAX_CANDIDATES: usize = 256;

/// At most [`MAX_CANDIDATES`] of those who could arbitrate, by id: of each organisation the one of the
/// least id, then of each the next, so that one with many agents does not crowd the others out.
#[must_use]
pub fn in_turn(able: &[Party]) -> Vec<Party> {
    let mut of_orgs: BTreeMap<OrgId, Vec<Party>> = BTreeMap::new();
    for party in able {
        of_orgs.entry(party.org).or_default().push(*party);
    }
    for of_org in of_orgs.values_mut() {
        of_org.sort_unstable();
        of_org.dedup();
    }
    let most = of_orgs.values().map(Vec::len).max().unwrap_or_default();
    let turns = (0..most).flat_map(|turn| {
        let mut of_turn: Vec<_> = of_orgs.values().filter_map(|of| of.get(turn)).collect();
        of_turn.sort_unstable();
        of_turn
    });
    let mut candidates: Vec<_> = turns.take(MAX_CANDIDATES).copied().collect();
    candidates.sort_unstable();
    candidates
}

/// What the broker knows and nobody else until the dispute is ruled on: 32 random bytes. In JSON
/// 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

/// Text that is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revealed secret is 64 hexadecimal digits in lower case")]
pub struct InvalidSecret;

impl Secret {
    /// Its digest, which is recorded before it is used.
    #[must_use]
    pub fn seal(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(SEAL_DOMAIN);
        hasher.update(self.0);
        Digest(hasher.finalize().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(sealed as {})", self.seal())
    }
}

impl std::str::FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        hex::decode(text).map(Self).ok_or(InvalidSecret)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut digits = Vec::with_capacity(64);
        hex::encode(&self.0, &mut digits);
        to.serialize_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::types::from_text(from)
    }
}

/// The order in which candidates are asked: the first three get the seats, the next ones replace
/// who is silent. One of each organisation, so that many agents of one owner have no more chances
/// than one; each organisation's lot is drawn first, and then which of its agents it is.
///
/// - `log`: hash of the session's last record when the dispute was filed.
/// - `candidates`: in any order; the order drawn does not depend on theirs.
#[must_use]
pub fn draw(log: &Digest, secret: &Secret, dispute: DisputeId, candidates: &[Party]) -> Vec<Party> {
    let lot = |org: OrgId, agent: &[u8]| -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(LOT_DOMAIN);
        hasher.update(log.0);
        hasher.update(secret.0);
        hasher.update(dispute.0.to_le_bytes());
        hasher.update(org.0.to_le_bytes());
        hasher.update(agent);
        hasher.finalize().into()
    };
    let mut of_orgs: BTreeMap<OrgId, ([u8; 32], Party)> = BTreeMap::new();
    for candidate in candidates {
        let drawn = (
            lot(candidate.org, &candidate.agent.0.to_le_bytes()),
            *candidate,
        );
        of_orgs
            .entry(candidate.org)
            .and_modify(|least| *least = (*least).min(drawn))
            .or_insert(drawn);
    }
    let mut order: Vec<_> = of_orgs
        .into_iter()
        .map(|(org, (_, party))| (lot(org, b""), party))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, party)| party).collect()
}
