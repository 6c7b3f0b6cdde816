//! The rows of one-time keys, in bytes. Pure: no store here.
//!
//! Keys of one upload lie together in a *chunk*; claiming takes them in order by moving a counter in the small state
//! row of the device, so that neither an upload nor a claim writes a row per key.

use lamchat_base::Position;

const VERSION: u8 = 1;

/// Whether a fallback key is there, and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    Absent,
    Unused,
    Used,
}

/// What is known of one algorithm on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlgorithmState {
    /// Such as `signed_curve25519`.
    pub algorithm: String,
    /// One-time keys that are left.
    pub count: u32,
    /// How many of the oldest chunk have been claimed.
    pub taken: u16,
    pub fallback: Fallback,
}

/// The state row of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub changed_at: Position,
    pub algorithms: Vec<AlgorithmState>,
}

impl State {
    /// version u8, position u64, number u8, then each: length u8, algorithm, count u32, taken u16, fallback u8.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend_from_slice(&self.changed_at.0.to_be_bytes());
        row.push(u8::try_from(self.algorithms.len()).unwrap_or(u8::MAX));
        for of in self.algorithms.iter().take(usize::from(u8::MAX)) {
            row.push(u8::try_from(of.algorithm.len()).unwrap_or(u8::MAX));
            row.extend(of.algorithm.bytes().take(usize::from(u8::MAX)));
            row.extend_from_slice(&of.count.to_be_bytes());
            row.extend_from_slice(&of.taken.to_be_bytes());
            row.push(match of.fallback {
                Fallback::Absent => 0,
                Fallback::Unused => 1,
                Fallback::Used => 2,
            });
        }
        row
    }

    pub fn decode(row: &[u8]) -> Option<Self> {
        let mut parts = Parts(row);
        if parts.u8()? != VERSION {
            return None;
        }
        let changed_at = Position(u64::from_be_bytes(parts.array()?));
        let mut algorithms = Vec::new();
        for _ in 0..parts.u8()? {
            let length = usize::from(parts.u8()?);
            let algorithm = std::str::from_utf8(parts.bytes(length)?).ok()?.to_owned();
            let count = u32::from_be_bytes(parts.array()?);
            let taken = u16::from_be_bytes(parts.array()?);
            let fallback = match parts.u8()? {
                0 => Fallback::Absent,
                1 => Fallback::Unused,
                2 => Fallback::Used,
                _ => return None,
            };
            algorithms.push(AlgorithmState {
                algorithm,
                count,
                taken,
                fallback,
            });
        }
        Some(Self { changed_at, algorithms })
    }

    pub fn find(&mut self, algorithm: &str) -> Option<&mut AlgorithmState> {
        self.algorithms.iter_mut().find(|of| of.algorithm == algorithm)
    }

    /// The state of `algorithm`, begun if it is new.
    pub fn entry(&mut self, algorithm: &str) -> &mut AlgorithmState {
        let index = match self.algorithms.iter().position(|of| of.algorithm == algorithm) {
            Some(index) => index,
            None => {
                self.algorithms.push(AlgorithmState {
                    algorithm: algorithm.to_owned(),
                    count: 0,
                    taken: 0,
                    fallback: Fallback::Absent,
                });
                self.algorithms.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the index was found, or pushed, just above")]
        &mut self.algorithms[index]
    }
}

/// Encodes keys (id, JSON): version u8, number u16, then each: length u16, id, length u32, JSON.
pub(crate) fn encode_chunk<'k>(keys: impl ExactSizeIterator<Item = (&'k str, &'k str)>) -> Vec<u8> {
    let mut row = vec![VERSION];
    row.extend_from_slice(&u16::try_from(keys.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (id, json) in keys {
        row.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes());
        row.extend_from_slice(id.as_bytes());
        row.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
        row.extend_from_slice(json.as_bytes());
    }
    row
}

/// The keys of a chunk, in order: id and JSON.
pub(crate) fn decode_chunk(row: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut parts = Parts(row);
    if parts.u8()? != VERSION {
        return None;
    }
    let number = u16::from_be_bytes(parts.array()?);
    let mut keys = Vec::with_capacity(usize::from(number));
    for _ in 0..number {
        let length = usize::from(u16::from_be_bytes(parts.array()?));
        let id = std::str::from_utf8(parts.bytes(length)?).ok()?;
        let length = usize::try_from(u32::from_be_bytes(parts.array()?)).ok()?;
        keys.push((id, std::str::from_utf8(parts.bytes(length)?).ok()?));
    }
    Some(keys)
}

/// Takes a row apart from its start.
struct Parts<'r>(&'r [u8]);

impl<'r> Parts<'r> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, length: usize) -> Option<&'r [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{Fallback, Position, State, decode_chunk, encode_chunk};

    #[test]
    fn rows_come_back() {
        let mut state = State {
            changed_at: Position(7),
            algorithms: Vec::new(),
        };
        state.entry("signed_curve25519").count = 50;
        state.entry("curve25519").fallback = Fallback::Used;
        assert_eq!(State::decode(&state.encode()).unwrap(), state);
        let keys = [("AAAA", r#"{"key":"x"}"#), ("BBBB", "\"y\"")];
        let row = encode_chunk(keys.into_iter());
        assert_eq!(decode_chunk(&row).unwrap(), keys);
    }

    #[test]
    fn cut_rows_are_refused() {
        let row = encode_chunk([("AAAA", "{}")].into_iter());
        for length in 0..row.len() {
            assert!(decode_chunk(row.get(..length).unwrap()).is_none());
        }
    }
}
