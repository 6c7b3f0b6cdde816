//! The encryption of a blob: chunks of 64 KiB under a key of the blob's own. `FORMAT.md` has the bytes.

use crate::row::{Blob, Place};
use lamchat_base::{Entropy, Secret};
use lamchat_seal::{Aead, DataKeys, KeyringError, Purpose, TamperedError};

/// Bytes in the clear of every chunk but the last.
pub(crate) const CHUNK: usize = 65_536;
/// Bytes that the tag adds to a chunk.
pub(crate) const TAG: usize = 16;

/// How many bytes a blob of `size` bytes has on disk. There is always a last chunk, be it empty.
pub(crate) fn stored_length(size: u64) -> u64 {
    size + TAG as u64 * size.div_ceil(CHUNK as u64).max(1)
}

/// The key of a new blob, in the clear and wrapped.
pub(crate) struct NewKey {
    pub id: [u8; 16],
    pub cipher: Cipher,
    key_number: u32,
    nonce: [u8; 12],
    wrapped_key: [u8; 48],
}

impl NewKey {
    pub fn new(keys: &DataKeys, entropy: &dyn Entropy) -> Result<Self, KeyringError> {
        let mut id = [0u8; 16];
        entropy.fill(&mut id);
        let mut key = [0u8; 32];
        entropy.fill(&mut key);
        let key = Secret::new(key);
        let mut nonce = [0u8; 12];
        entropy.fill(&mut nonce);
        let data_key = keys.data_key(Purpose::Media)?;
        let mut wrapped_key = [0u8; 48];
        let (clear, tag) = wrapped_key.split_at_mut(32);
        clear.copy_from_slice(key.expose());
        tag.copy_from_slice(&Aead::new(&data_key.key).seal_part(nonce, &wrap_aad(&id), clear));
        Ok(Self {
            id,
            cipher: Cipher::new(&key, id),
            key_number: data_key.number,
            nonce,
            wrapped_key,
        })
    }

    pub fn to_blob(&self, size: u64, place: Place) -> Blob {
        let Self {
            id,
            key_number,
            nonce,
            wrapped_key,
            ..
        } = *self;
        Blob {
            id,
            size,
            place,
            key_number,
            nonce,
            wrapped_key,
        }
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey(…)")
    }
}

/// Why the key of a blob is not available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Tampered(#[from] TamperedError),
}

/// Encrypts and decrypts the chunks of one blob.
#[derive(Debug)]
pub(crate) struct Cipher {
    aead: Aead,
    id: [u8; 16],
}

impl Cipher {
    fn new(key: &Secret<32>, id: [u8; 16]) -> Self {
        Self {
            aead: Aead::new(key),
            id,
        }
    }

    /// The cipher of a stored blob.
    pub fn of(keys: &DataKeys, blob: &Blob) -> Result<Self, KeyError> {
        let data_key = keys.data_key_numbered(Purpose::Media, blob.key_number)?;
        let mut wrapped = blob.wrapped_key;
        Aead::new(&data_key).open(blob.nonce, &wrap_aad(&blob.id), &mut wrapped)?;
        let (key, _) = wrapped.split_first_chunk::<32>().ok_or(TamperedError)?;
        Ok(Self::new(&Secret::new(*key), blob.id))
    }

    /// Encrypts chunks that lie in a row in `buffer`, each followed by room for its tag. The first one has the number
    /// `first`; `last` says whether the last one ends the blob.
    pub fn seal(&self, buffer: &mut [u8], first: u64, last: bool) {
        let count = buffer.len().div_ceil(CHUNK + TAG) as u64;
        for (number, chunk) in (first..).zip(buffer.chunks_mut(CHUNK + TAG)) {
            let (clear, tag) = chunk.split_at_mut(chunk.len().saturating_sub(TAG));
            let nonce = nonce(number, last && number + 1 == first + count);
            tag.copy_from_slice(&self.aead.seal_part(nonce, &self.id, clear));
        }
    }

    /// Decrypts one chunk with its tag in place.
    pub fn open(&self, chunk: &mut [u8], number: u64, last: bool) -> Result<usize, TamperedError> {
        self.aead.open(nonce(number, last), &self.id, chunk)
    }
}

/// Chunks cannot change places, and a blob cut off at a chunk's end lacks the mark of the last one.
fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0u8; 12];
    let (head, tail) = nonce.split_at_mut(4);
    if let Some(flag) = head.first_mut() {
        *flag = u8::from(last);
    }
    tail.copy_from_slice(&number.to_be_bytes());
    nonce
}

fn wrap_aad(id: &[u8; 16]) -> [u8; 33] {
    let mut aad = *b"lamchat media key................";
    let (_, tail) = aad.split_at_mut(17);
    tail.copy_from_slice(id);
    aad
}

/// Clear bytes on their way into chunks: grows by chunks that each leave room for their tag.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    clear: usize,
}

impl Batch {
    /// Most clear bytes of a batch: eight chunks.
    pub const CLEAR_MAX: usize = 8 * CHUNK;

    /// An empty batch with room for `clear` bytes.
    pub fn with_room(clear: usize) -> Self {
        let clear = clear.min(Self::CLEAR_MAX);
        Self {
            buffer: Vec::with_capacity(stored_length(clear as u64) as usize),
            clear: 0,
        }
    }

    /// An empty batch in the memory of a used one.
    pub fn reuse(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { buffer, clear: 0 }
    }

    pub fn clear_bytes(&self) -> usize {
        self.clear
    }

    pub fn is_full(&self) -> bool {
        self.clear == Self::CLEAR_MAX
    }

    /// Takes as much of `input` as fits; answers what is left.
    pub fn push<'i>(&mut self, mut input: &'i [u8]) -> &'i [u8] {
        while !input.is_empty() && !self.is_full() {
            let filled = self.clear % CHUNK;
            if filled == 0 && self.clear > 0 {
                self.buffer.extend_from_slice(&[0; TAG]);
            }
            let (taken, rest) = input.split_at(input.len().min(CHUNK - filled));
            self.buffer.extend_from_slice(taken);
            self.clear += taken.len();
            input = rest;
        }
        input
    }

    /// The buffer as [`Cipher::seal`] takes it.
    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.extend_from_slice(&[0; TAG]);
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{Batch, CHUNK, Cipher, TAG, stored_length};
    use lamchat_base::Secret;

    #[test]
    fn chunks_open_only_in_their_place() {
        let cipher = Cipher::new(&Secret::new([1; 32]), [2; 16]);
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, Batch::CLEAR_MAX] {
            let clear: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut batch = Batch::with_room(size);
            for piece in clear.chunks(1000) {
                assert!(batch.push(piece).is_empty());
            }
            let mut stored = batch.finish();
            assert_eq!(stored.len() as u64, stored_length(size as u64));
            cipher.seal(&mut stored, 5, true);
            let count = stored.chunks(CHUNK + TAG).len();
            let mut opened = Vec::new();
            for (at, chunk) in stored.chunks(CHUNK + TAG).enumerate() {
                let last = at + 1 == count;
                let number = 5 + at as u64;
                assert!(cipher.open(&mut chunk.to_vec(), number + 1, last).is_err());
                assert!(cipher.open(&mut chunk.to_vec(), number, !last).is_err());
                let mut chunk = chunk.to_vec();
                let length = cipher.open(&mut chunk, number, last).unwrap();
                opened.extend_from_slice(&chunk[..length]);
            }
            assert_eq!(opened, clear);
        }
        assert_eq!(Batch::with_room(0).push(&vec![0; Batch::CLEAR_MAX + 3]).len(), 3);
    }
}
