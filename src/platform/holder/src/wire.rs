//! The bytes of messages: written in one piece, read strictly. What is not exactly as documented is malformed.

use lamchat_base::SecretBytes;
use lamchat_seal::{SLOTS_MAX, SlotInfo, SlotKind};
use zeroize::Zeroizing;

/// The version of the protocol.
const VERSION: u8 = 5;
/// Longest passphrase, PIN or typed recovery key.
const TYPED_BYTES_MAX: usize = 1_024;
/// Most images that a machine may start.
pub const BOOTABLE_MAX: usize = 64;
/// Longest sentence.
pub(crate) const SENTENCE_BYTES_MAX: usize = 4_096;

/// A frame that is not as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame is not as the protocol says; both ends must be the same version")]
pub struct MalformedError;

/// One allocation of the exact size, so that no part of a secret is left behind in a smaller one.
pub(crate) fn assemble(kind: u8, body: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = body.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Zeroizing::new(Vec::with_capacity(2 + length));
    frame.extend_from_slice(&[VERSION, kind]);
    body.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// A sentence as it is sent: cut at a character where it is too long.
pub(crate) fn cut(sentence: &str) -> &str {
    let mut end = sentence.len().min(SENTENCE_BYTES_MAX);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    sentence.get(..end).unwrap_or_default()
}

/// A text with its length in two bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let text = cut(text);
    // A sentence is far below 65,535 bytes.
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A security floor, and the epochs of what may be started with their number.
pub(crate) fn floor(floor: u64, bootable: &[u64]) -> Vec<u8> {
    [&floor.to_be_bytes()[..], &epochs(bootable)].concat()
}

/// Security epochs with their number.
pub(crate) fn epochs(epochs: &[u64]) -> Vec<u8> {
    let mut body = (epochs.len() as u16).to_be_bytes().to_vec();
    epochs.iter().for_each(|epoch| body.extend(epoch.to_be_bytes()));
    body
}

/// Secrets that somebody typed, each for a slot, with their number. Each has at most so many bytes as can be read again.
pub(crate) fn typed_for_slots(typed: &[(u32, SecretBytes)]) -> Zeroizing<Vec<u8>> {
    let length = typed.iter().map(|(_, text)| 6 + text.expose().len()).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(2 + length));
    body.extend((typed.len() as u16).to_be_bytes());
    for (slot, text) in typed {
        body.extend(slot.to_be_bytes());
        body.extend((text.expose().len() as u16).to_be_bytes());
        body.extend(text.expose());
    }
    body
}

/// Slots with their number.
pub(crate) fn slots(slots: &[SlotInfo]) -> Vec<u8> {
    let mut body = (slots.len() as u16).to_be_bytes().to_vec();
    slots.iter().for_each(|one| body.extend(slot(one)));
    body
}

/// A slot.
pub(crate) fn slot(slot: &SlotInfo) -> Vec<u8> {
    let mut body = slot.id.to_be_bytes().to_vec();
    body.push(kind_code(slot.kind));
    body.extend(slot.verified_ms.unwrap_or(0).to_be_bytes());
    body
}

const KINDS: [(SlotKind, u8); 4] = [
    (SlotKind::File, 1),
    (SlotKind::Passphrase, 2),
    (SlotKind::Recovery, 3),
    (SlotKind::Tpm, 4),
];

/// As in the keyring's format.
pub(crate) fn kind_code(kind: SlotKind) -> u8 {
    let found = KINDS.iter().find(|(known, _)| *known == kind);
    found.map_or(0, |(_, code)| *code)
}

pub(crate) fn kind_of(code: u8) -> Result<SlotKind, MalformedError> {
    let found = KINDS.iter().find(|(_, known)| *known == code);
    found.map(|(kind, _)| *kind).ok_or(MalformedError)
}

/// Kind and body of a frame.
pub(crate) fn head(frame: &[u8]) -> Result<(u8, Body<'_>), MalformedError> {
    match frame {
        [VERSION, kind, body @ ..] => Ok((*kind, Body(body))),
        _ => Err(MalformedError),
    }
}

/// What is left of a body.
pub(crate) struct Body<'f>(&'f [u8]);

impl<'f> Body<'f> {
    pub fn bytes(&mut self, length: usize) -> Result<&'f [u8], MalformedError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(MalformedError)?;
        self.0 = rest;
        Ok(head)
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], MalformedError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(MalformedError)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, MalformedError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub fn u16(&mut self) -> Result<u16, MalformedError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Result<u32, MalformedError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub fn u64(&mut self) -> Result<u64, MalformedError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    /// 0 or 1, nothing else.
    pub fn flag(&mut self) -> Result<bool, MalformedError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MalformedError),
        }
    }

    pub fn rest(&mut self) -> &'f [u8] {
        std::mem::take(&mut self.0)
    }

    /// The rest, as a text.
    pub fn rest_text(&mut self) -> Result<String, MalformedError> {
        let text = std::str::from_utf8(self.rest()).map_err(|_| MalformedError)?;
        if text.len() > SENTENCE_BYTES_MAX {
            return Err(MalformedError);
        }
        Ok(text.to_owned())
    }

    /// A text with its length.
    pub fn text(&mut self) -> Result<String, MalformedError> {
        let length = usize::from(self.u16()?);
        Body(self.bytes(length)?).rest_text()
    }

    /// Secrets that somebody typed, each for a slot.
    pub fn typed_for_slots(&mut self) -> Result<Vec<(u32, SecretBytes)>, MalformedError> {
        self.list(SLOTS_MAX, |body| {
            let slot = body.u32()?;
            let length = usize::from(body.u16()?);
            Ok((slot, Body(body.bytes(length)?).typed()?))
        })
    }

    /// The rest, as something secret that somebody typed.
    pub fn typed(&mut self) -> Result<SecretBytes, MalformedError> {
        match self.rest() {
            bytes if (1..=TYPED_BYTES_MAX).contains(&bytes.len()) => Ok(SecretBytes::new(bytes.to_vec())),
            _ => Err(MalformedError),
        }
    }

    pub fn list<T>(
        &mut self,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, MalformedError>,
    ) -> Result<Vec<T>, MalformedError> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(MalformedError);
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// A security floor, and the epochs of what may be started.
    pub fn floor(&mut self) -> Result<(u64, Vec<u64>), MalformedError> {
        Ok((self.u64()?, self.epochs()?))
    }

    /// The epochs of what may be started.
    pub fn epochs(&mut self) -> Result<Vec<u64>, MalformedError> {
        self.list(BOOTABLE_MAX, Self::u64)
    }

    pub fn slot(&mut self) -> Result<SlotInfo, MalformedError> {
        let (id, kind) = (self.u32()?, kind_of(self.u8()?)?);
        let verified = self.u64()?;
        Ok(SlotInfo {
            id,
            kind,
            verified_ms: (verified > 0).then_some(verified),
        })
    }

    /// `value`, if nothing is left.
    pub fn end<T>(self, value: T) -> Result<T, MalformedError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(MalformedError)
        }
    }
}

/// Sentences for people begin with a capital.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next();
    first.map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
