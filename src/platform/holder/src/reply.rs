//! What the holder answers. Never in an answer: the master key, a key that seals, a typed secret.

mod reason;
mod status;

pub use reason::Reason;
pub use status::{Force, HolderStatus, PinUse, TpmStatus};

use crate::anchor::Anchored;
use crate::blame::Blame;
use crate::wire::{
    Body, MalformedError, assemble, cut, head, kind_code, kind_of, slot as slot_bytes, slots as slots_bytes, text,
};
use lamchat_attester::Made;
use lamchat_audit::VerifierKey;
use lamchat_audit::note::Note;
use lamchat_base::{Secret, SecretBytes};
use lamchat_hardware::{TpmMake, Version};
use lamchat_seal::{Purpose, ReleasedKey, SLOTS_MAX, SlotInfo, SlotKind};
use lamchat_tpm::Anchor;
use zeroize::Zeroizing;

/// Most data keys of an answer.
const KEYS_MAX: usize = 1_024;
/// Most sentences about what is missing in a file.
const MISSING_MAX: usize = 16;
/// The purpose number of the database key in the keyring's format.
const DATABASE: u8 = 1;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The keys are open.
    Keys {
        /// The slot that opened them.
        by: SlotKind,
        /// The data keys.
        keys: Vec<ReleasedKey>,
    },
    /// The keys did not open by themselves.
    Locked {
        /// Why: a sentence without its full stop.
        reason: String,
        /// Whose doing it is.
        blame: Blame,
        /// The slots, from the file, which nothing has authenticated.
        slots: Vec<SlotInfo>,
    },
    /// How everything is.
    Status(Box<HolderStatus>),
    /// It is done, durably.
    Done,
    /// A slot, which is durable.
    Slot(SlotInfo),
    /// A new data key, which is durable.
    Key(ReleasedKey),
    /// Bytes that are no secret.
    Bytes(Vec<u8>),
    /// The key of a backup.
    Secret(Secret<32>),
    /// Who signs the log.
    LogIdentity {
        /// For whoever verifies.
        key: VerifierKey,
        /// What sort of key it is.
        kind: String,
        /// The size of the last head that was signed.
        signed: u64,
    },
    /// A signed head.
    Note(Note),
    /// Which make of TPM there is.
    TpmMake(TpmMake),
    /// A new recovery slot and its key: 48 digits. On the holder's own socket only.
    Recovery(SlotInfo, SecretBytes),
    /// The keys were opened by hand. On the holder's own socket only.
    Unlocked(SlotKind),
    /// The key of the disk. On the holder's own socket only, to process 1 of the box.
    Disk(Secret<64>),
    /// The anchor in the TPM.
    Anchored(Anchored),
    /// A file for an auditor, and what could not be put into it.
    File(Made),
    /// It was not done.
    Refused(Reason, String),
}

impl Reply {
    /// Version, kind and body.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Keys { by, keys } => {
                let mut body = Zeroizing::new(Vec::with_capacity(keys.len() * KEY_BYTES_MAX));
                keys.iter().for_each(|key| put_key(&mut body, key));
                assemble(1, &[&[kind_code(*by)], &(keys.len() as u16).to_be_bytes(), &body])
            }
            Self::Locked { reason, blame, slots } => {
                assemble(2, &[&[blame.code()], &text(reason), &slots_bytes(slots)])
            }
            Self::Status(status) => assemble(3, &[&status.encode()]),
            Self::Done => assemble(4, &[]),
            Self::Slot(slot) => assemble(5, &[&slot_bytes(slot)]),
            Self::Key(key) => {
                let mut body = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX));
                put_key(&mut body, key);
                assemble(6, &[&body])
            }
            Self::Bytes(bytes) => assemble(7, &[bytes]),
            Self::Secret(secret) => assemble(8, &[secret.expose()]),
            Self::LogIdentity { key, kind, signed } => {
                assemble(9, &[&signed.to_be_bytes(), &text(kind), key.to_string().as_bytes()])
            }
            Self::Note(note) => assemble(10, &[note.to_string().as_bytes()]),
            Self::TpmMake(make) => assemble(
                25,
                &[
                    &make.firmware.0.to_be_bytes(),
                    &text(&make.manufacturer),
                    &text(&make.model),
                ],
            ),
            Self::Recovery(slot, key) => assemble(11, &[&slot_bytes(slot), key.expose()]),
            Self::Unlocked(by) => assemble(12, &[&[kind_code(*by)]]),
            Self::Disk(key) => assemble(26, &[key.expose()]),
            Self::Anchored(anchored) => {
                let (code, body) = match anchored {
                    Anchored::Never => (0, Vec::new()),
                    Anchored::At { anchor, put_back } => (1, [&[u8::from(*put_back)][..], &anchor.encode()].concat()),
                    Anchored::Gone(why) => (2, cut(why).as_bytes().to_vec()),
                    Anchored::Unknown(why) => (3, cut(why).as_bytes().to_vec()),
                };
                assemble(16, &[&[code], &body])
            }
            Self::File(Made { file, missing }) => {
                let missing = missing.get(..MISSING_MAX).unwrap_or(missing);
                let texts: Vec<u8> = missing.iter().flat_map(|sentence| text(sentence)).collect();
                assemble(24, &[&(missing.len() as u16).to_be_bytes(), &texts, file])
            }
            Self::Refused(reason, sentence) => assemble(255, &[&[reason.code()], cut(sentence).as_bytes()]),
        }
    }

    /// Reads what [`Reply::encode`] made.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedError> {
        let (kind, mut body) = head(frame)?;
        let reply = match kind {
            1 => Self::Keys {
                by: kind_of(body.u8()?)?,
                keys: body.list(KEYS_MAX, key)?,
            },
            2 => Self::Locked {
                blame: Blame::of_code(body.u8()?).ok_or(MalformedError)?,
                reason: body.text()?,
                slots: body.list(SLOTS_MAX, Body::slot)?,
            },
            3 => Self::Status(Box::new(HolderStatus::parse(&mut body)?)),
            4 => Self::Done,
            5 => Self::Slot(body.slot()?),
            6 => Self::Key(key(&mut body)?),
            7 => Self::Bytes(body.rest().to_vec()),
            8 => Self::Secret(Secret::new(body.take()?)),
            9 => {
                let (signed, kind) = (body.u64()?, body.text()?);
                let key = VerifierKey::parse(&body.rest_text()?).map_err(|_| MalformedError)?;
                Self::LogIdentity { key, kind, signed }
            }
            10 => Self::Note(Note::parse(&body.rest_text()?).map_err(|_| MalformedError)?),
            11 => Self::Recovery(body.slot()?, body.typed()?),
            12 => Self::Unlocked(kind_of(body.u8()?)?),
            16 => Self::Anchored(match body.u8()? {
                0 => Anchored::Never,
                1 => Anchored::At {
                    put_back: body.flag()?,
                    anchor: Anchor::parse(body.rest()).map_err(|_| MalformedError)?,
                },
                2 => Anchored::Gone(body.rest_text()?),
                3 => Anchored::Unknown(body.rest_text()?),
                _ => return Err(MalformedError),
            }),
            24 => Self::File(Made {
                missing: body.list(MISSING_MAX, Body::text)?,
                file: body.rest().to_vec(),
            }),
            25 => Self::TpmMake(TpmMake {
                firmware: Version(body.u64()?),
                manufacturer: body.text()?,
                model: body.text()?,
            }),
            26 => Self::Disk(Secret::new(body.take()?)),
            255 => Self::Refused(Reason::of(body.u8()?)?, body.rest_text()?),
            _ => return Err(MalformedError),
        };
        body.end(reply)
    }
}

/// Purpose, number, and the longest key.
const KEY_BYTES_MAX: usize = 5 + 64;

fn put_key(body: &mut Vec<u8>, key: &ReleasedKey) {
    let (purpose, number, bytes): (u8, u32, &[u8]) = match key {
        ReleasedKey::Database { number, key } => (DATABASE, *number, key.expose()),
        ReleasedKey::Data { purpose, number, key } => (purpose.code(), *number, key.expose()),
    };
    body.push(purpose);
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(bytes);
}

fn key(body: &mut Body<'_>) -> Result<ReleasedKey, MalformedError> {
    let (purpose, number) = (body.u8()?, body.u32()?);
    if purpose == DATABASE {
        let key = Secret::new(body.take()?);
        return Ok(ReleasedKey::Database { number, key });
    }
    let purpose = Purpose::of(purpose).ok_or(MalformedError)?;
    let key = Secret::new(body.take()?);
    Ok(ReleasedKey::Data { purpose, number, key })
}
