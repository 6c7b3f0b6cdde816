//! What the holder answers. Never in an answer: the master key, a key that seals, a typed secret.

use crate::anchor::Anchored;
use crate::blame::Blame;
use crate::image::{ImageSeal, SlotSeal};
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
/// Most PCRs of an answer.
const PCRS_MAX: usize = 24;
/// Most security epochs of a slot.
const EPOCHS_MAX: usize = 8;
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

/// How the holder, the keyring and the TPM are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderStatus {
    /// All slots.
    pub slots: Vec<SlotInfo>,
    /// What the `tpm` slots are bound to.
    pub seals: Vec<SlotSeal>,
    /// Whether something may still be under keys of before: until the next start encrypts it anew.
    pub former_keys: bool,
    /// The TPM.
    pub tpm: TpmStatus,
    /// What the holder has given up: sentences without their last full stop.
    pub confinement: String,
    /// Where the holder takes what people type.
    pub socket: String,
}

/// The TPM that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmStatus {
    /// Whether there is one.
    pub present: bool,
    /// One sentence without its full stop: which TPM it is, or why there is none.
    pub sentence: String,
    /// Whether the firmware enforces Secure Boot; `None`: it does not say.
    pub secure_boot: Option<bool>,
    /// The PCRs whose values are sealed to.
    pub pcrs: Vec<u8>,
    /// Whether what is sealed from now on asks for a PIN, and where that comes from.
    pub pin: PinUse,
    /// Why nothing can be sealed although there is a TPM: the image's files, in a sentence without its full stop.
    pub problem: Option<String>,
}

/// Whether what is sealed from now on asks for a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinUse {
    /// It does not.
    None,
    /// The configuration says so: whoever seals types one.
    Typed,
    /// A box's operator says so, and the PIN was typed since the start: whatever is sealed anew keeps it.
    Kept,
    /// The same, and nobody has typed it since the start: whoever is at the console does.
    Unknown,
}

impl PinUse {
    const ALL: [(Self, u8); 4] = [(Self::None, 0), (Self::Typed, 1), (Self::Kept, 2), (Self::Unknown, 3)];

    /// Whether a PIN is asked for at the start.
    pub fn asks(self) -> bool {
        self != Self::None
    }

    fn code(self) -> u8 {
        let found = Self::ALL.iter().find(|(known, _)| *known == self);
        found.map_or(0, |(_, code)| *code)
    }

    fn of(code: u8) -> Result<Self, MalformedError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == code);
        found.map(|(known, _)| *known).ok_or(MalformedError)
    }
}

impl TpmStatus {
    /// Why nothing is sealed, if it is so. `pin`: somebody typed one.
    pub fn refusal(&self, force: Force, pin: bool) -> Option<(Reason, String)> {
        if !self.present {
            return Some((Reason::Tpm, format!("nothing can be sealed: {}", self.sentence)));
        }
        if let Some(problem) = &self.problem {
            return Some((Reason::Tpm, format!("nothing can be sealed: {problem}")));
        }
        let mismatch = match (self.pin, pin) {
            (PinUse::None, false) | (PinUse::Typed | PinUse::Unknown, true) | (PinUse::Kept, _) => None,
            (PinUse::None, true) => Some("seal.pin = false: no PIN is asked for"),
            (PinUse::Typed, false) => {
                Some("seal.pin = true: `lamchat seal init` and `lamchat seal rebind` ask for the PIN")
            }
            (PinUse::Unknown, false) => Some(
                "this box asks for a TPM PIN, and nobody has typed it since its start: the console's line \"TPM PIN\" takes \
                 it, and seals with it",
            ),
        };
        if let Some(sentence) = mismatch {
            return Some((Reason::NotAllowed, sentence.to_owned()));
        }
        let state = match self.secure_boot {
            Some(true) => return None,
            _ if force == Force::Yes => return None,
            Some(false) => "Secure Boot is off",
            None => "nothing says that Secure Boot is on",
        };
        let way_out = match force {
            Force::Never => "switch it on: a box is never sealed without it",
            Force::No | Force::Yes => "switch it on, or say --force",
        };
        let sentence = format!("{state}, so anything could boot here with the same PCRs and open the keys: {way_out}");
        Some((Reason::NotAllowed, sentence))
    }
}

/// Whether the keys are sealed without Secure Boot as well, which says little about what opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Whoever asks may not even say so: on the box.
    Never,
    /// Nobody has said so.
    No,
    /// An administrator has said so.
    Yes,
}

impl Force {
    /// What an administrator's `--force` means where the keys are a box's, or not.
    pub fn said(force: bool, on_box: bool) -> Self {
        match (on_box, force) {
            (true, _) => Self::Never,
            (false, false) => Self::No,
            (false, true) => Self::Yes,
        }
    }
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no such slot.
    UnknownSlot,
    /// It is not allowed, or not possible.
    NotAllowed,
    /// The wrong key.
    WrongKey,
    /// Wrong keys came before: wait.
    Slowed,
    /// The TPM.
    Tpm,
    /// The disk.
    Disk,
    /// The keyring cannot be used.
    Keyring,
    /// The keys are not open, or the exchange is not ready for it.
    NotNow,
    /// A head of the audit log that contradicts what was signed, or that nothing is known of what was.
    Fork,
    /// The exchange could not note it in the audit log.
    NotNoted,
    /// No backup can be made: there is no slot for it.
    NoPortableSlot,
}

impl Reason {
    const ALL: [(Self, u8); 11] = [
        (Self::UnknownSlot, 1),
        (Self::NotAllowed, 2),
        (Self::WrongKey, 3),
        (Self::Slowed, 4),
        (Self::Tpm, 5),
        (Self::Disk, 6),
        (Self::Keyring, 7),
        (Self::NotNow, 8),
        (Self::Fork, 9),
        (Self::NotNoted, 10),
        (Self::NoPortableSlot, 11),
    ];

    fn code(self) -> u8 {
        let found = Self::ALL.iter().find(|(reason, _)| *reason == self);
        found.map_or(0, |(_, code)| *code)
    }

    fn of(code: u8) -> Result<Self, MalformedError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == code);
        found.map(|(reason, _)| *reason).ok_or(MalformedError)
    }
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

impl HolderStatus {
    fn encode(&self) -> Vec<u8> {
        let secure_boot = match self.tpm.secure_boot {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let mut body = slots_bytes(&self.slots);
        body.extend([u8::from(self.tpm.present), secure_boot, self.tpm.pin.code()]);
        body.extend((self.tpm.pcrs.len() as u16).to_be_bytes());
        body.extend(&self.tpm.pcrs);
        let problem = self.tpm.problem.clone().unwrap_or_default();
        for sentence in [&self.tpm.sentence, &self.confinement, &self.socket, &problem] {
            body.extend(text(sentence));
        }
        body.extend((self.seals.len() as u16).to_be_bytes());
        self.seals.iter().for_each(|seal| put_seal(&mut body, seal));
        body.push(u8::from(self.former_keys));
        body
    }

    fn parse(body: &mut Body<'_>) -> Result<Self, MalformedError> {
        let slots = body.list(SLOTS_MAX, Body::slot)?;
        let present = body.flag()?;
        let secure_boot = match body.u8()? {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return Err(MalformedError),
        };
        let pin = PinUse::of(body.u8()?)?;
        let pcrs = body.list(PCRS_MAX, Body::u8)?;
        let (sentence, confinement, socket) = (body.text()?, body.text()?, body.text()?);
        let problem = Some(body.text()?).filter(|problem| !problem.is_empty());
        Ok(Self {
            slots,
            seals: body.list(SLOTS_MAX, seal)?,
            former_keys: body.flag()?,
            tpm: TpmStatus {
                present,
                sentence,
                secure_boot,
                pcrs,
                pin,
                problem,
            },
            confinement,
            socket,
        })
    }
}

fn put_seal(body: &mut Vec<u8>, seal: &SlotSeal) {
    body.extend(seal.slot.to_be_bytes());
    body.push(u8::from(seal.pin));
    body.extend((seal.pcrs.len() as u16).to_be_bytes());
    body.extend(&seal.pcrs);
    match &seal.image {
        None => body.push(0),
        Some(image) => {
            body.push(1);
            body.extend(image.release_key);
            body.extend((image.epochs.len() as u16).to_be_bytes());
            image.epochs.iter().for_each(|epoch| body.extend(epoch.to_be_bytes()));
        }
    }
}

fn seal(body: &mut Body<'_>) -> Result<SlotSeal, MalformedError> {
    Ok(SlotSeal {
        slot: body.u32()?,
        pin: body.flag()?,
        pcrs: body.list(PCRS_MAX, Body::u8)?,
        image: if body.flag()? {
            Some(ImageSeal {
                release_key: body.take()?,
                epochs: body.list(EPOCHS_MAX, Body::u64)?,
            })
        } else {
            None
        },
    })
}
