//! Maps by ids that the broker made: nobody chooses which of them collide, so they are hashed in a
//! few instructions. A replay looks one up four times for each record.

use std::hash::{BuildHasherDefault, Hasher};

/// How these maps hash.
pub(super) type ById = BuildHasherDefault<IdHasher>;

/// Multiplies and rotates, as FxHash does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0.rotate_left(5) ^ id).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_u128(&mut self, id: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
        let (low, high) = (id as u64, (id >> 64) as u64);
        self.write_u64(high);
        self.write_u64(low);
        // The table looks at the highest bits and the lowest.
        self.0 ^= self.0 >> 32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::ById;
    use crate::types::{AgentId, OrgId};

    #[test]
    fn ids_of_one_moment_and_numbers_in_a_row_are_spread() {
        let hash = |id: u64| ById::default().hash_one(OrgId(u32::try_from(id).unwrap()));
        let of_agent = |id: u64| {
            let id = 0x0199_0000_0000_7000_8000 << 48 | u128::from(id);
            ById::default().hash_one(AgentId(id))
        };
        for spread in [&hash as &dyn Fn(u64) -> u64, &of_agent] {
            let all: Vec<u64> = (0..4_096).map(spread).collect();
            let places: BTreeSet<u64> = all.iter().map(|hash| hash & 0xfff).collect();
            let tags: BTreeSet<u64> = all.iter().map(|hash| hash >> 57).collect();
            assert!(places.len() > 2_000, "{} places", places.len());
            assert!(tags.len() > 100, "{} tags", tags.len());
        }
    }
}
