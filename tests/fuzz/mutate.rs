//! Makes hostile input out of good input.

/// What parsers stumble over.
const DICTIONARY: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"1.5",
    b"9007199254740992",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"\"\"",
    b"{}",
    b"[]",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"%00",
    b"%zz",
    b"%2F",
    b"*",
    b"**********************",
    b"_",
    b":",
    b"$",
    b"!",
    b"@",
    b"#",
    b"..",
    b"\"signatures\":{}",
    b"\"m.relates_to\"",
    b"\r\n",
];

/// Longest input.
const BYTES_MAX: usize = 64 << 10;

pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, seeds: &[&[u8]]) -> Self {
        Self {
            state: seed | 1,
            corpus: seeds.iter().map(|seed| seed.to_vec()).collect(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % limit.max(1) as u64) as usize
    }

    /// One input: a good one, changed in one to six places.
    pub fn next_input(&mut self) -> Vec<u8> {
        let pick = self.below(self.corpus.len());
        let mut input = self.corpus[pick].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(8) {
                0 if !input.is_empty() => {
                    let at = at.min(input.len() - 1);
                    input[at] ^= 1 << self.below(8);
                }
                1 if !input.is_empty() => {
                    let at = at.min(input.len() - 1);
                    input[at] = self.below(256) as u8;
                }
                2 => input.truncate(at),
                3 => {
                    let until = (at + self.below(16)).min(input.len());
                    input.drain(at..until);
                }
                4 => {
                    let word = DICTIONARY[self.below(DICTIONARY.len())];
                    input.splice(at..at, word.iter().copied());
                }
                5 => {
                    let other = self.below(self.corpus.len());
                    let tail = self.corpus[other].clone();
                    let from = self.below(tail.len() + 1);
                    input.splice(at.., tail[from..].iter().copied());
                }
                6 => {
                    let depth = self.below(400);
                    let bracket = [b'[', b'{', b'"', b'\\'][self.below(4)];
                    input.splice(at..at, std::iter::repeat_n(bracket, depth));
                }
                _ => {
                    let until = (at + self.below(64)).min(input.len());
                    let part = input[at..until].to_vec();
                    input.splice(at..at, part);
                }
            }
        }
        input.truncate(BYTES_MAX);
        input
    }
}
