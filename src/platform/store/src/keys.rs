//! The keys of the log, derived from the one key that the store is opened with, and the check of that key.

use crate::{OpenError, codec::Cut};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use lamchat_base::Secret;
use lamchat_disk::{Disk, read_file, replace_file};
use std::io;
use std::path::Path;

/// Random bytes in a segment's header and in the key check; each gives a key of its own.
pub(crate) const SALT: usize = 32;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;

/// From which the keys of segments are derived.
#[derive(Clone)]
pub(crate) struct LogKey(Secret<64>);

impl LogKey {
    /// From the key that the store is opened with.
    pub(crate) fn new(key: &Secret<64>) -> Self {
        Self(key.clone())
    }

    /// The key for `salt`, for one purpose.
    fn derive(&self, salt: &[u8; SALT], purpose: &[u8]) -> Result<FrameKey, aws_lc_rs::error::Unspecified> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.0.expose());
        let info = [b"lamchat store 1 ".as_slice(), purpose];
        let expanded = extracted.expand(&info, &AES_256_GCM)?;
        Ok(FrameKey(LessSafeKey::new(UnboundKey::from(expanded))))
    }

    /// The key of a segment of the log.
    pub(crate) fn segment(&self, salt: &[u8; SALT]) -> io::Result<FrameKey> {
        self.derive(salt, b"log segment")
            .map_err(|_| io::Error::other("no key could be derived"))
    }
}

/// Random bytes of the operating system, as the cryptographic library gives them.
pub(crate) fn random_salt() -> io::Result<[u8; SALT]> {
    let mut salt = [0; SALT];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(salt)
}

/// Seals frames. A number must not be used twice with the same key.
pub(crate) struct FrameKey(LessSafeKey);

impl FrameKey {
    fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        if let Some(end) = nonce.last_chunk_mut() {
            *end = number.to_be_bytes();
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `text` in place; answers the tag over it and `header`.
    pub(crate) fn seal(&self, number: u64, header: &[u8], text: &mut [u8]) -> io::Result<[u8; TAG]> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Self::nonce(number), Aad::from(header), text)
            .map_err(|_| io::Error::other("the frame could not be encrypted"))?;
        tag.as_ref().try_into().map_err(io::Error::other)
    }

    /// Decrypts `sealed` (text and tag) in place; `None` if header, text and tag do not belong together.
    pub(crate) fn open<'b>(&self, number: u64, header: &[u8], sealed: &'b mut [u8]) -> Option<&'b [u8]> {
        self.0
            .open_in_place(Self::nonce(number), Aad::from(header), sealed)
            .ok()
            .map(|text| &*text)
    }
}

/// Opens the file of the key check.
const CHECK_MAGIC: &[u8; 8] = b"LAMCHKEY";
/// The number under which the key check is sealed.
const CHECK_NUMBER: u64 = 0;

/// Whether `path` was written with this key; `None` if it is not there.
pub(crate) fn check_key(disk: &dyn Disk, path: &Path, key: &LogKey) -> Result<Option<()>, OpenError> {
    let contents = match read_file(disk, path, 4096) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(OpenError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut cut = Cut(&contents);
    let (Some(magic), Some(salt), Some(mut tag)) = (cut.array::<8>(), cut.array::<SALT>(), cut.array::<TAG>()) else {
        return Err(OpenError::Damaged(format!("{} is too short", path.display())));
    };
    if &magic != CHECK_MAGIC {
        return Err(OpenError::Damaged(format!("{} is of another kind", path.display())));
    }
    let check = key.derive(&salt, b"key check").map_err(|_| OpenError::WrongKey)?;
    check
        .open(CHECK_NUMBER, CHECK_MAGIC, &mut tag)
        .map(|_| Some(()))
        .ok_or(OpenError::WrongKey)
}

/// Writes the key check.
pub(crate) fn write_key_check(disk: &dyn Disk, path: &Path, key: &LogKey) -> io::Result<()> {
    let salt = random_salt()?;
    let check = key
        .derive(&salt, b"key check")
        .map_err(|_| io::Error::other("no key could be derived"))?;
    let tag = check.seal(CHECK_NUMBER, CHECK_MAGIC, &mut [])?;
    replace_file(disk, path, &[CHECK_MAGIC.as_slice(), &salt, &tag].concat())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{LogKey, check_key, write_key_check};
    use crate::OpenError;
    use lamchat_base::Secret;
    use lamchat_disk::simulation::SimulatedDisk;
    use std::path::Path;

    #[test]
    fn another_key_is_noticed() {
        let (disk, path) = (SimulatedDisk::new(0), Path::new("/d/key-check"));
        let key = LogKey::new(&Secret::new([1; 64]));
        assert!(check_key(&disk, path, &key).unwrap().is_none());
        write_key_check(&disk, path, &key).unwrap();
        assert!(check_key(&disk, path, &key).unwrap().is_some());
        let other = LogKey::new(&Secret::new([2; 64]));
        assert!(matches!(check_key(&disk, path, &other), Err(OpenError::WrongKey)));
    }

    #[test]
    fn a_frame_opens_only_as_it_was_sealed() {
        let key = LogKey::new(&Secret::new([1; 64])).segment(&[9; 32]).unwrap();
        let mut sealed = b"text".to_vec();
        let tag = key.seal(5, b"header", &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        assert_eq!(key.open(5, b"header", &mut sealed.clone()), Some(b"text".as_slice()));
        assert_eq!(key.open(6, b"header", &mut sealed.clone()), None);
        assert_eq!(key.open(5, b"Header", &mut sealed.clone()), None);
        let other = LogKey::new(&Secret::new([1; 64])).segment(&[8; 32]).unwrap();
        assert_eq!(other.open(5, b"header", &mut sealed), None);
    }
}
