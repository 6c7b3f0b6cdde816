//! The sectors of the database file: AES-256-XTS, 4,096 bytes each (FORMAT.md, "The database").
//!
//! Confidentiality only: whoever can write the file can garble sectors or put back old ones.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use aes::{Aes256, cipher};
use lamchat_base::{Locked, Secret, clear_stack};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 4096;

type Block = Array<u8, U16>;

/// So many blocks go through the cipher at once: a whole sector, as each call of it first spreads the round keys. A sector
/// takes 0.7 µs so, and 1 µs by quarters.
const BLOCKS_AT_ONCE: usize = SECTOR / 16;

/// Encrypts and decrypts sectors, many blocks at once: block after block, as the `xts-mode` crate does it, takes several
/// times as long.
pub(crate) struct SectorCipher(Locked<Ciphers>);

/// Both keys, expanded: their first half is the key itself.
struct Ciphers {
    data: Aes256,
    tweak: Aes256,
}

// Both clear themselves.
impl ZeroizeOnDrop for Ciphers {}

impl SectorCipher {
    /// From both halves of the key: the first for the data, the second for the tweak.
    pub(crate) fn new(key: &Secret<64>) -> Self {
        let (data, tweak) = key.expose().split_at(32);
        let cipher = |half: &[u8]| {
            let mut own = cipher::Key::<Aes256>::default();
            for (to, from) in own.iter_mut().zip(half) {
                *to = *from;
            }
            let cipher = Aes256::new(&own);
            own.as_mut_slice().zeroize();
            cipher
        };
        Self(Locked::new(|| Ciphers {
            data: cipher(data),
            tweak: cipher(tweak),
        }))
    }

    /// Encrypts whole sectors in place, the first of which has number `first`.
    pub(crate) fn encrypt(&self, sectors: &mut [u8], first: u64) {
        for (sector, number) in sectors.chunks_exact_mut(SECTOR).zip(first..) {
            self.through(sector, number, |blocks| self.0.data.encrypt_blocks(blocks));
        }
        clear_stack();
    }

    /// Decrypts whole sectors in place. A sector of zeros was never written: it stays zeros.
    pub(crate) fn decrypt(&self, sectors: &mut [u8], first: u64) {
        for (sector, number) in sectors.chunks_exact_mut(SECTOR).zip(first..) {
            if sector.iter().any(|byte| *byte != 0) {
                self.through(sector, number, |blocks| self.0.data.decrypt_blocks(blocks));
            }
        }
        clear_stack();
    }

    /// Not inlined, so that what it leaves on the stack lies where [`clear_stack`] writes.
    ///
    /// Exclusive-or with the tweak of each block, the cipher, and the same exclusive-or again (IEEE Std 1619-2018, 5.3).
    #[inline(never)]
    fn through(&self, sector: &mut [u8], number: u64, cipher: impl Fn(&mut [Block])) {
        // The tweak of the first block is the sector's number, encrypted; each next one is doubled in GF(2^128).
        let mut first = Block::from(u128::from(number).to_le_bytes());
        self.0.tweak.encrypt_block(&mut first);
        let mut next = u128::from_le_bytes(first.into());
        let (blocks, _) = Block::slice_as_chunks_mut(sector);
        for blocks in blocks.chunks_mut(BLOCKS_AT_ONCE) {
            let mut tweaks = [0; BLOCKS_AT_ONCE];
            for tweak in &mut tweaks {
                *tweak = next;
                next = (next << 1) ^ ((next >> 127) * 0x87);
            }
            mix(blocks, &tweaks);
            cipher(blocks);
            mix(blocks, &tweaks);
        }
    }
}

fn mix(blocks: &mut [Block], tweaks: &[u128]) {
    for (block, tweak) in blocks.iter_mut().zip(tweaks) {
        let mixed = u128::from_le_bytes((*block).into()) ^ tweak;
        *block = mixed.to_le_bytes().into();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::{SECTOR, SectorCipher};
    use lamchat_base::Secret;

    fn cipher() -> SectorCipher {
        let mut key = [0; 64];
        for (byte, number) in key.iter_mut().zip(0..) {
            *byte = number;
        }
        SectorCipher::new(&Secret::new(key))
    }

    #[test]
    fn sectors_come_back_and_differ_by_number() {
        let plain: Vec<u8> = (0..2 * SECTOR).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
        let mut sealed = plain.clone();
        cipher().encrypt(&mut sealed, 7);
        assert_ne!(sealed, plain);
        let mut elsewhere = plain.clone();
        cipher().encrypt(&mut elsewhere, 8);
        assert_ne!(sealed, elsewhere);
        cipher().decrypt(&mut sealed, 7);
        assert_eq!(sealed, plain);
    }

    #[test]
    fn another_implementation_agrees() {
        use aes::cipher::{Array, KeyInit};
        let half = |first: u8| aes::Aes256::new(&Array(std::array::from_fn(|i| first + u8::try_from(i).unwrap_or(0))));
        let other = xts_mode::Xts128::new(half(0), half(32));
        for number in [0, 1, 0xFF, u64::from(u32::MAX) + 5, u64::MAX - 1] {
            let mut theirs: Vec<u8> = (0..SECTOR).map(|i| u8::try_from((i * 7) % 253).unwrap_or(0)).collect();
            let mut ours = theirs.clone();
            cipher().encrypt(&mut ours, number);
            other.encrypt_sector(&mut theirs, xts_mode::get_tweak_default(u128::from(number)));
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn only_the_changed_blocks_change() {
        let mut old = vec![5; SECTOR];
        let mut new = vec![5; SECTOR];
        new[40] = 6;
        cipher().encrypt(&mut old, 0);
        cipher().encrypt(&mut new, 0);
        assert_eq!(old[..32], new[..32]);
        assert_ne!(old[32..48], new[32..48]);
        assert_eq!(old[48..], new[48..]);
    }

    #[test]
    fn holes_read_as_zeros() {
        let mut hole = vec![0; SECTOR];
        cipher().decrypt(&mut hole, 3);
        assert!(hole.iter().all(|byte| *byte == 0));
    }

    /// IEEE Std 1619-2018, XTS-AES-256 vector 10: 512 bytes, data unit 0xff. The sector size differs, the cipher not:
    /// the first block of a data unit depends only on key, tweak and plaintext.
    #[test]
    fn a_published_vector() {
        let mut key = [0; 64];
        key[..32].copy_from_slice(&hex("2718281828459045235360287471352662497757247093699959574966967627"));
        key[32..].copy_from_slice(&hex("3141592653589793238462643383279502884197169399375105820974944592"));
        let mut sector: Vec<u8> = (0..SECTOR).map(|i| u8::try_from(i % 256).unwrap_or(0)).collect();
        SectorCipher::new(&Secret::new(key)).encrypt(&mut sector, 0xFF);
        assert_eq!(sector[..16], hex("1c3b3a102f770386e4836c99e370cf9b"));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap_or(0))
            .collect()
    }
}
