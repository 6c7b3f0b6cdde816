//! The recovery key: 128 random bits that a person keeps on paper, as 48 digits in 8 blocks of 6.
//!
//! Digits are the same on every keyboard layout. A block has five digits for 16 bits, and a check digit by Damm's
//! quasigroup of order 10 (H. M. Damm, "Total anti-symmetrische Quasigruppen", 2004), which finds every single wrong
//! digit and every two neighbours that changed places. The calculation starts from the block's number, so blocks that
//! changed places are found as well. An error is therefore pointed at its block.

use crate::cipher;
use lamchat_base::{Entropy, Secret};
use zeroize::Zeroizing;

/// Blocks of a key.
pub const BLOCKS: usize = 8;
/// Digits of a block, with its check digit.
pub const BLOCK_DIGITS: usize = 6;
/// Longest text that is looked at: digits with some separators around each.
const TEXT_BYTES_MAX: usize = 512;
/// Fewer digits than this are no mistyped recovery key.
const DIGITS_LIKELY: usize = 40;

/// Damm's table: row is the interim digit, column the next digit. Zeros on the diagonal make the interim digit at the
/// end the check digit.
const DAMM: [[u8; 10]; 10] = [
    [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
    [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
    [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
    [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
    [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
    [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
    [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
    [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
    [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
    [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
];

/// A recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryKey(Secret<16>);

/// What is wrong with a typed recovery key. Names places, never digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// Something that is neither digit nor space nor dash.
    #[error("a recovery key has only digits, spaces and dashes, but there is something else in block {block}")]
    Character {
        /// The block, from 1.
        block: usize,
    },
    /// Too few or too many digits.
    #[error("a recovery key has 48 digits, but these are {digits}; the first block that does not fit is block {block}")]
    Length {
        /// How many there are.
        digits: usize,
        /// The first block, from 1, that is no correct block: the likely place of the error.
        block: usize,
    },
    /// A digit is wrong, or two changed places.
    #[error("block {block} of the recovery key has a typing error: compare its six digits with the paper")]
    Block {
        /// The first wrong block, from 1.
        block: usize,
    },
}

impl RecoveryKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0u8; 16]);
        entropy.fill(bytes.as_mut_slice());
        Self(Secret::new(*bytes))
    }

    /// The key as it is written down: `dddddd dddddd …`, 8 blocks.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(BLOCKS * (BLOCK_DIGITS + 1)));
        for (at, pair) in self.0.expose().chunks_exact(2).enumerate() {
            if at > 0 {
                text.push(' ');
            }
            let word = pair.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
            let mut interim = start(at);
            for power in [10_000, 1_000, 100, 10, 1] {
                let digit = (word / power % 10) as u8;
                interim = step(interim, digit);
                text.push(char::from(b'0' + digit));
            }
            text.push(char::from(b'0' + interim));
        }
        text
    }

    /// Reads what somebody typed; spaces and dashes may stand anywhere.
    pub fn parse(text: &str) -> Result<Self, RecoveryKeyError> {
        let mut digits = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX));
        for character in text.chars().take(TEXT_BYTES_MAX) {
            match character {
                '0'..='9' => digits.push(character as u8 - b'0'),
                ' ' | '-' | '\t' | '\r' | '\n' => {}
                _ => {
                    return Err(RecoveryKeyError::Character {
                        block: digits.len() / BLOCK_DIGITS + 1,
                    });
                }
            }
        }
        let mut key = Zeroizing::new([0u8; 16]);
        let mut wrong = None;
        let mut places = key.chunks_exact_mut(2);
        for (at, place) in (&mut places).enumerate() {
            let block = digits.get(at * BLOCK_DIGITS..(at + 1) * BLOCK_DIGITS);
            match block.and_then(|block| word(at, block)) {
                Some(word) => place.copy_from_slice(&word.to_be_bytes()),
                None => {
                    wrong = Some(at + 1);
                    break;
                }
            }
        }
        match wrong {
            _ if digits.len() != BLOCKS * BLOCK_DIGITS => Err(RecoveryKeyError::Length {
                digits: digits.len(),
                block: wrong.unwrap_or(BLOCKS),
            }),
            Some(block) => Err(RecoveryKeyError::Block { block }),
            None => Ok(Self(Secret::new(*key))),
        }
    }

    /// Whether `text` is meant as a recovery key rather than as a passphrase, typing errors or not.
    pub fn is_meant(text: &str) -> bool {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let all = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b" -\t\r\n".contains(&byte));
        all && digits >= DIGITS_LIKELY
    }

    /// The wrapping key of a slot. 128 random bits need no stretching.
    pub(crate) fn derive(&self, salt: &[u8; 32]) -> Secret<32> {
        cipher::derive(&self.0, salt, b"lamchat recovery slot")
    }
}

/// The interim digit that the block with this index starts from.
fn start(index: usize) -> u8 {
    (index + 1) as u8
}

fn step(interim: u8, digit: u8) -> u8 {
    let row = DAMM.get(usize::from(interim));
    row.and_then(|row| row.get(usize::from(digit)))
        .copied()
        .unwrap_or(u8::MAX)
}

/// The 16 bits of a block of six digits; `None` if its check digit does not fit or the number is too large.
fn word(index: usize, block: &[u8]) -> Option<u16> {
    if block.iter().fold(start(index), |interim, digit| step(interim, *digit)) != 0 {
        return None;
    }
    let data = block.iter().take(BLOCK_DIGITS - 1);
    let number = data.fold(0u32, |number, digit| number * 10 + u32::from(*digit));
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
    use super::{BLOCK_DIGITS, BLOCKS, RecoveryKey, RecoveryKeyError};
    use lamchat_base::Secret;

    fn keys() -> impl Iterator<Item = RecoveryKey> {
        let fixed = [[0u8; 16], [0xFF; 16], std::array::from_fn(|at| at as u8)];
        let mixed = (0..40u64).map(|seed| {
            std::array::from_fn(|at| ((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> ((at * 11) % 57)) as u8)
        });
        fixed
            .into_iter()
            .chain(mixed)
            .map(|bytes| RecoveryKey(Secret::new(bytes)))
    }

    /// The digits alone.
    fn digits(key: &RecoveryKey) -> Vec<u8> {
        key.text().bytes().filter(u8::is_ascii_digit).collect()
    }

    fn parse(digits: &[u8]) -> Result<RecoveryKey, RecoveryKeyError> {
        RecoveryKey::parse(std::str::from_utf8(digits).unwrap())
    }

    #[test]
    fn what_is_written_is_read_with_any_separators() {
        for key in keys() {
            let text = key.text();
            assert_eq!(text.len(), BLOCKS * (BLOCK_DIGITS + 1) - 1);
            assert_eq!(RecoveryKey::parse(&text).unwrap(), key);
            for separator in ["", "-", " - ", "\n"] {
                assert_eq!(RecoveryKey::parse(&text.replace(' ', separator)).unwrap(), key);
            }
            assert!(RecoveryKey::is_meant(&text));
            assert_eq!(format!("{key:?}"), "RecoveryKey(Secret(…))");
        }
        assert!(!RecoveryKey::is_meant("correct horse battery staple"));
        assert!(!RecoveryKey::is_meant("0123456789"));
    }

    #[test]
    fn every_wrong_digit_is_found_in_its_block() {
        for key in keys() {
            let right = digits(&key);
            for at in 0..right.len() {
                for digit in (b'0'..=b'9').filter(|digit| *digit != right[at]) {
                    let mut wrong = right.clone();
                    wrong[at] = digit;
                    let block = at / BLOCK_DIGITS + 1;
                    assert_eq!(parse(&wrong), Err(RecoveryKeyError::Block { block }));
                }
            }
        }
    }

    #[test]
    fn every_pair_of_neighbours_that_changed_places_is_found() {
        for key in keys() {
            let right = digits(&key);
            for at in 0..right.len() - 1 {
                let mut wrong = right.clone();
                wrong.swap(at, at + 1);
                let block = at / BLOCK_DIGITS + 1;
                if wrong != right {
                    assert_eq!(parse(&wrong), Err(RecoveryKeyError::Block { block }));
                }
            }
        }
    }

    #[test]
    fn blocks_that_changed_places_are_found() {
        for key in keys() {
            let right = digits(&key);
            for first in 0..BLOCKS {
                for second in first + 1..BLOCKS {
                    let mut blocks: Vec<&[u8]> = right.chunks(BLOCK_DIGITS).collect();
                    blocks.swap(first, second);
                    let block = first + 1;
                    // Equal data in two blocks still differs in the check digit.
                    assert_eq!(parse(&blocks.concat()), Err(RecoveryKeyError::Block { block }));
                }
            }
        }
    }

    #[test]
    fn missing_digits_and_other_characters_are_pointed_at() {
        let right = digits(&keys().nth(2).unwrap());
        for at in 0..right.len() {
            let mut short = right.clone();
            short.remove(at);
            let Err(RecoveryKeyError::Length { digits: 47, block }) = parse(&short) else {
                panic!("{at}");
            };
            // A block that happens to fit without its digit moves the place; it is never before the error.
            assert!(block > at / BLOCK_DIGITS);
        }
        let letters = RecoveryKey::parse("000017 0000l5");
        assert_eq!(letters, Err(RecoveryKeyError::Character { block: 2 }));
        assert!(matches!(
            RecoveryKey::parse(""),
            Err(RecoveryKeyError::Length { digits: 0, block: 1 })
        ));
        let long = "0".repeat(100_000);
        assert!(matches!(
            RecoveryKey::parse(&long),
            Err(RecoveryKeyError::Length { .. })
        ));
    }

    #[test]
    fn numbers_above_sixteen_bits_are_refused() {
        // 65536 with a check digit that fits.
        let check = [6, 5, 5, 3, 6].iter().fold(super::start(0), |i, d| super::step(i, *d));
        let mut wrong = digits(&keys().next().unwrap());
        wrong[..6].copy_from_slice(format!("65536{check}").as_bytes());
        assert_eq!(parse(&wrong), Err(RecoveryKeyError::Block { block: 1 }));
    }
}
