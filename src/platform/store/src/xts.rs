//! The sectors of the database file: AES-256-XTS, 4,096 bytes each (FORMAT.md, "The database").
//!
//! Confidentiality only: whoever can write the file can garble sectors or put back old ones.

use aes::Aes256;
use aes::cipher::KeyInit;
use lamchat_base::Secret;
use xts_mode::{Xts128, get_tweak_default};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 4096;

/// Encrypts and decrypts sectors.
pub(crate) struct SectorCipher(Xts128<Aes256>);

impl SectorCipher {
    /// From both halves of the key: the first for the data, the second for the tweak.
    pub(crate) fn new(key: &Secret<64>) -> Self {
        let (data, tweak) = key.expose().split_at(32);
        let cipher = |half: &[u8]| {
            let mut own = aes::cipher::Key::<Aes256>::default();
            for (to, from) in own.iter_mut().zip(half) {
                *to = *from;
            }
            Aes256::new(&own)
        };
        Self(Xts128::new(cipher(data), cipher(tweak)))
    }

    /// Encrypts whole sectors in place, the first of which has number `first`.
    pub(crate) fn encrypt(&self, sectors: &mut [u8], first: u64) {
        for (sector, number) in sectors.chunks_exact_mut(SECTOR).zip(first..) {
            self.0.encrypt_sector(sector, get_tweak_default(u128::from(number)));
        }
    }

    /// Decrypts whole sectors in place. A sector of zeros was never written: it stays zeros.
    pub(crate) fn decrypt(&self, sectors: &mut [u8], first: u64) {
        for (sector, number) in sectors.chunks_exact_mut(SECTOR).zip(first..) {
            if sector.iter().any(|byte| *byte != 0) {
                self.0.decrypt_sector(sector, get_tweak_default(u128::from(number)));
            }
        }
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
