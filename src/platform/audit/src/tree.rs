//! The Merkle tree of RFC 6962, section 2.1, as C2SP tlog-tiles uses it. Pure: it is handed hashes and gives hashes.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

/// Bytes of a [`Hash`].
pub const HASH_BYTES: usize = 32;

/// Largest tree that is spoken of. At one entry a millisecond it would be full after 8,900 years.
pub const SIZE_MAX: u64 = 1 << 48;

/// "MTH({}) = SHA-256()" (RFC 6962, section 2.1).
pub fn empty_root() -> Hash {
    hash(&[])
}

/// "MTH({d(0)}) = SHA-256(0x00 || d(0))" (RFC 6962, section 2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    hash(&[&[0], entry])
}

/// "SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))" (RFC 6962, section 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; HASH_BYTES];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// A tree of which only its complete subtrees are known, the peaks: enough to add leaves and to tell the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The largest and leftmost first; one for each bit that is set in `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree of `size` leaves with these peaks, the largest first; `None` if their number does not fit the size.
    pub fn with_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = size <= SIZE_MAX && u32::try_from(peaks.len()) == Ok(size.count_ones());
        fits.then_some(Self { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each bit at the end of the size is a complete subtree as large as the one that was just completed.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// Where the peaks of a tree of `size` leaves are: level (0: leaves) and number in that level, the largest first.
pub fn peaks_of(size: u64) -> Vec<(u8, u64)> {
    let mut offset = 0u64;
    let mut peaks = Vec::new();
    for level in (0..=48u8).rev() {
        if size >> level & 1 == 1 {
            peaks.push((level, offset >> level));
            offset += 1 << level;
        }
    }
    peaks
}

/// The proof that the tree of `first` leaves is the beginning of the tree of `second`: PROOF(m, D[n]) of RFC 6962,
/// section 2.1.2. `node` answers the root of a complete subtree by its level and number. Empty when there is nothing to
/// prove: `first` is 0 or `second`.
pub fn consistency_proof<E>(
    first: u64,
    second: u64,
    node: &mut dyn FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut proof = Vec::new();
    if first == 0 || first >= second {
        return Ok(proof);
    }
    // SUBPROOF goes down to where the smaller tree ends; its steps come out in the reverse order.
    let (mut m, mut start, mut n, mut is_old_root) = (first, 0, second, true);
    while m != n {
        let k = split(n);
        if m <= k {
            proof.push(range_root(start + k, n - k, node)?);
            n = k;
        } else {
            proof.push(range_root(start, k, node)?);
            (m, start, n, is_old_root) = (m - k, start + k, n - k, false);
        }
    }
    if !is_old_root {
        proof.push(range_root(start, n, node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the leaf `number` is in the tree of `size` leaves, from its sibling up: PATH(m, D[n]) of RFC 6962,
/// section 2.1.1. `None` if there is no such leaf. `node`: see [`consistency_proof`].
pub fn inclusion_proof<E>(
    number: u64,
    size: u64,
    node: &mut dyn FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if number >= size {
        return Ok(None);
    }
    let mut proof = Vec::new();
    let (mut m, mut start, mut n) = (number, 0, size);
    while n > 1 {
        let k = split(n);
        if m < k {
            proof.push(range_root(start + k, n - k, node)?);
            n = k;
        } else {
            proof.push(range_root(start, k, node)?);
            (m, start, n) = (m - k, start + k, n - k);
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Whether `proof` shows that `leaf` is number `number` of the tree of `size` leaves with this root: the algorithm of
/// RFC 9162, section 2.1.3.2.
pub fn is_included(number: u64, leaf: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if number >= size {
        return false;
    }
    let (mut fn_, mut sn, mut r) = (number, size - 1, *leaf);
    for p in proof {
        // "If sn is 0, then stop the iteration and fail the proof verification."
        if sn == 0 {
            return false;
        }
        // "If LSB(fn) is set, or if fn is equal to sn …"
        if fn_ & 1 == 1 || fn_ == sn {
            r = node_hash(p, &r);
            // "If LSB(fn) is not set, then right-shift both fn and sn equally until either LSB(fn) is set or fn is 0."
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            r = node_hash(&r, p);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && r == *root
}

/// "Let k be the largest power of two smaller than n" (RFC 6962, section 2.1). `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (n.saturating_sub(1)).checked_ilog2().unwrap_or(0)
}

/// The root over `count` leaves from `start` on, which is a multiple of every power of two up to the largest in `count`.
fn range_root<E>(start: u64, count: u64, node: &mut dyn FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut peaks = Vec::new();
    for (level, index) in peaks_of(count) {
        peaks.push(node(level, (start >> level) + index)?);
    }
    Ok(Frontier { size: count, peaks }.root())
}

/// Whether `proof` shows that the tree of `first` leaves with `first_root` is the beginning of the tree of `second`
/// leaves with `second_root`: the algorithm of RFC 9162, section 2.1.4.2.
pub fn is_consistent(first: u64, first_root: &Hash, second: u64, second_root: &Hash, proof: &[Hash]) -> bool {
    if first > second {
        return false;
    }
    if first == second {
        return proof.is_empty() && first_root == second_root;
    }
    if first == 0 {
        return proof.is_empty() && *first_root == empty_root();
    }
    // "If first is an exact power of 2, then prepend first_hash to the consistency_path array."
    let (start, path) = if first.is_power_of_two() {
        (*first_root, proof)
    } else {
        let Some((start, path)) = proof.split_first() else {
            return false;
        };
        (*start, path)
    };
    // "Set fn to first - 1 and sn to second - 1. If LSB(fn) is set, then right-shift both fn and sn equally until
    // LSB(fn) is not set."
    let shift = (first - 1).trailing_ones();
    let (mut fn_, mut sn) = ((first - 1) >> shift, (second - 1) >> shift);
    let (mut fr, mut sr) = (start, start);
    for c in path {
        // "If sn is 0, then stop the iteration and fail the proof verification."
        if sn == 0 {
            return false;
        }
        // "If LSB(fn) is set, or if fn is equal to sn …"
        if fn_ & 1 == 1 || fn_ == sn {
            fr = node_hash(c, &fr);
            sr = node_hash(c, &sr);
            // "If LSB(fn) is not set, then right-shift both fn and sn equally until either LSB(fn) is set or fn is 0."
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            sr = node_hash(&sr, c);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    fr == *first_root && sr == *second_root && sn == 0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
    use super::{
        Frontier, Hash, consistency_proof, empty_root, inclusion_proof, is_consistent, is_included, leaf_hash,
        node_hash, peaks_of,
    };
    use std::convert::Infallible;

    /// The definition of RFC 6962, without any cleverness.
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let mut k = 1;
                while k * 2 < many.len() {
                    k *= 2;
                }
                node_hash(&root(&many[..k]), &root(&many[k..]))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn node(leaves: &[Hash]) -> impl FnMut(u8, u64) -> Result<Hash, Infallible> + '_ {
        |level, index| {
            let (start, count) = ((index << level) as usize, 1 << level);
            Ok(root(&leaves[start..start + count]))
        }
    }

    #[test]
    fn the_frontier_has_the_root_of_the_definition() {
        // RFC 6962 implementations agree on these.
        assert_eq!(empty_root()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(leaf_hash(b"")[..4], [0x6e, 0x34, 0x0b, 0x9c]);
        let all = leaves(70);
        let mut frontier = Frontier::default();
        for size in 0..70 {
            assert_eq!(frontier.root(), root(&all[..size]), "{size}");
            let mut read = node(&all);
            let peaks = peaks_of(size as u64)
                .into_iter()
                .map(|(l, i)| read(l, i).unwrap())
                .collect();
            assert_eq!(Frontier::with_peaks(size as u64, peaks).as_ref(), Some(&frontier));
            frontier.push(all[size]);
        }
        assert!(Frontier::with_peaks(3, vec![all[0]]).is_none());
    }

    #[test]
    fn every_leaf_is_proved_and_nothing_else() {
        let all = leaves(35);
        for size in 0..=35u64 {
            let of_tree = root(&all[..size as usize]);
            assert_eq!(inclusion_proof(size, size, &mut node(&all)).unwrap(), None);
            for number in 0..size {
                let leaf = all[number as usize];
                let proof = inclusion_proof(number, size, &mut node(&all)).unwrap().unwrap();
                let is = |number, leaf: &Hash, proof: &[Hash]| is_included(number, leaf, size, &of_tree, proof);
                assert!(is(number, &leaf, &proof), "{number} {size}");
                assert!((0..=size).all(|other| other == number || !is(other, &leaf, &proof)));
                assert!(!is(number, &leaf_hash(b"other"), &proof));
                for at in 0..proof.len() {
                    let mut bad = proof.clone();
                    bad[at][9] ^= 1;
                    assert!(!is(number, &leaf, &bad));
                    bad.remove(at);
                    assert!(!is(number, &leaf, &bad));
                }
                assert!(!is(number, &leaf, &[&proof[..], &[leaf]].concat()));
            }
        }
    }

    #[test]
    fn every_prefix_is_proved_and_nothing_else() {
        let all = leaves(40);
        for second in 0..=40u64 {
            for first in 0..=second {
                let (old, new) = (root(&all[..first as usize]), root(&all[..second as usize]));
                let proof = consistency_proof(first, second, &mut node(&all)).unwrap();
                assert!(is_consistent(first, &old, second, &new, &proof), "{first} {second}");
                let mut other = old;
                other[31] ^= 1;
                assert!(!is_consistent(first, &other, second, &new, &proof), "{first} {second}");
                if first > 0 && first < second {
                    let mut other = new;
                    other[0] ^= 1;
                    assert!(!is_consistent(first, &old, second, &other, &proof));
                    assert!(!is_consistent(first + 1, &old, second, &new, &proof) || first + 1 == second);
                    for at in 0..proof.len() {
                        let mut bad = proof.clone();
                        bad[at][7] ^= 4;
                        assert!(!is_consistent(first, &old, second, &new, &bad));
                        bad.remove(at);
                        assert!(!is_consistent(first, &old, second, &new, &bad));
                    }
                    let mut long = proof.clone();
                    long.push(old);
                    assert!(!is_consistent(first, &old, second, &new, &long));
                }
            }
        }
    }
}
