//! How the holder, the keyring and the TPM are, and whether the TPM may seal. Nothing in it is secret.

use super::Reason;
use crate::image::{ImageSeal, SlotSeal};
use crate::wire::{Body, MalformedError, slots as slots_bytes, text};
use lamchat_seal::{SLOTS_MAX, SlotInfo};

/// Most PCRs of an answer.
const PCRS_MAX: usize = 24;
/// Most security epochs of a slot.
const EPOCHS_MAX: usize = 8;
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

impl HolderStatus {
    pub(super) fn encode(&self) -> Vec<u8> {
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

    pub(super) fn parse(body: &mut Body<'_>) -> Result<Self, MalformedError> {
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
