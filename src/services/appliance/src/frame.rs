//! Frames: a length, and bytes that are authenticated by their place in the stream.

use aws_lc_rs::digest;
use lamchat_base::Secret;
use lamchat_seal::{Aead, TamperedError};

/// Records are gathered to frames of about this size.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;
/// Largest frame that is read.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;
const MAGIC: &[u8; 8] = b"LAMBACK1";

/// The first frame, in the clear: what one needs to derive the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub salt: [u8; 32],
    /// The keyring with the slots that a person can open.
    pub keyring: Vec<u8>,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &self.salt, &self.keyring].concat()
    }

    pub fn decode(frame: &[u8]) -> Option<Self> {
        let rest = frame.strip_prefix(MAGIC)?;
        let (salt, keyring) = rest.split_first_chunk::<32>()?;
        Some(Self {
            salt: *salt,
            keyring: keyring.to_vec(),
        })
    }
}

/// Encrypts and decrypts the frames after the first one, in their order.
#[derive(Debug)]
pub(crate) struct FrameCipher {
    aead: Aead,
    /// Binds every frame to the header.
    header: [u8; 32],
    next: u64,
}

impl FrameCipher {
    pub fn new(key: &Secret<32>, header_frame: &[u8]) -> Self {
        let mut header = [0u8; 32];
        header.copy_from_slice(digest::digest(&digest::SHA256, header_frame).as_ref());
        Self {
            aead: Aead::new(key),
            header,
            next: 1,
        }
    }

    /// Encrypts the next frame in place. After the last one there is no other.
    pub fn seal(&mut self, frame: &mut Vec<u8>, last: bool) {
        self.aead.seal(nonce(self.next, last), &self.header, frame);
        self.next += 1;
    }

    /// Decrypts the next frame in place, whose place and mark must be the same as when it was sealed.
    pub fn open<'f>(&mut self, frame: &'f mut [u8], last: bool) -> Result<&'f [u8], TamperedError> {
        let length = self.aead.open(nonce(self.next, last), &self.header, frame)?;
        self.next += 1;
        frame.get(..length).ok_or(TamperedError)
    }
}

fn nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0u8; 12];
    let (head, tail) = nonce.split_at_mut(4);
    if let Some(flag) = head.first_mut() {
        *flag = u8::from(last);
    }
    tail.copy_from_slice(&number.to_be_bytes());
    nonce
}
