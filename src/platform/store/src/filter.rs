//! Which keys a run or a shelf may have: most others are known without a search.

/// Bits for each row: four probes of ten bits pass one foreign key in 85.
const FILTER_BITS: usize = 10;

/// The hash of a key for a [`Filter`]. It need not withstand anybody: a filter that passes too much costs a search.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    let mut hash = 0x51_7C_C1_B7_27_22_0A_95u64;
    for part in key.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(part) {
            *to = *from;
        }
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    hash ^ (hash >> 32)
}

/// A Bloom filter (Communications of the ACM 13, 1970, page 422).
#[derive(Default, Clone)]
pub(crate) struct Filter(Vec<u64>);

impl Filter {
    /// With room for this many rows.
    pub(crate) fn of_size(rows: usize) -> Self {
        Self(vec![0; (rows * FILTER_BITS).div_ceil(64)])
    }

    /// Word and bit of each probe.
    fn probes(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let words = self.0.len() as u64;
        (0..4u32).map(move |probe| {
            let mixed = hash.rotate_left(probe * 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let word = (u128::from(mixed) * u128::from(words)) >> 64;
            (usize::try_from(word).unwrap_or(0), 1 << (mixed & 63))
        })
    }

    /// Adds a key by its hash.
    pub(crate) fn add(&mut self, hash: u64) {
        for (word, bit) in self.probes(hash) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// `false`: the key was not added.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        self.probes(hash)
            .all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
    /// Its words, little-endian, as redb has them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From its words; `None` if the last one is not whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        rest.is_empty().then(|| Self(words.collect()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Filter, key_hash};

    fn key(number: u128) -> [u8; 16] {
        (number * 0x1234_5678_9ABC_DEF1).to_be_bytes()
    }

    #[test]
    fn filters_pass_few_foreign_keys() {
        let mut filter = Filter::of_size(4000);
        (0..4000).for_each(|number| filter.add(key_hash(&key(number))));
        let filter = Filter::read(&filter.bytes()).unwrap();
        assert!((0..4000).all(|number| filter.may_have(key_hash(&key(number)))));
        let foreign = 5000..15_000;
        let passed = foreign
            .filter(|number| filter.may_have(key_hash(&key(*number))))
            .count();
        assert!(passed < 500, "{passed} of 10000");
        assert!(Filter::read(&[0; 9]).is_none());
        assert!(!Filter::default().may_have(7));
    }
}
