//! What the command line asks of the holder, past the exchange: whatever has something secret in it that somebody types.

use crate::wire::{MalformedError, assemble, epochs, floor, head, typed_for_slots};
use lamchat_base::SecretBytes;
use zeroize::Zeroizing;

/// A request on the holder's own socket, which takes one on each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// To open the keys by a recovery key, a passphrase or the TPM's PIN.
    Unlock(SecretBytes),
    /// A new recovery slot; the answer shows its key.
    AddRecovery,
    /// To note that somebody typed this recovery key back.
    VerifyRecovery(SecretBytes),
    /// A new passphrase slot.
    AddPassphrase(SecretBytes),
    /// A new `tpm` slot that asks for this PIN.
    AddTpm {
        /// Even without Secure Boot.
        force: bool,
        /// The PIN.
        pin: SecretBytes,
    },
    /// To bind a `tpm` slot anew, with this PIN.
    Rebind {
        /// The slot.
        slot: u32,
        /// Even without Secure Boot.
        force: bool,
        /// The PIN.
        pin: SecretBytes,
    },
    /// To remove the file slot, and to make new keys.
    Renew {
        /// The file slot.
        slot: u32,
        /// What opens the other slots, by their numbers.
        keys: Vec<(u32, SecretBytes)>,
    },
    /// To raise the security floor of the `tpm` slots under the image's policy, with this PIN.
    RaiseFloor {
        /// The lowest epoch that opens the keys from now on.
        floor: u64,
        /// The epochs of all images that this machine may start.
        bootable: Vec<u64>,
        /// Even without Secure Boot.
        force: bool,
        /// The PIN.
        pin: SecretBytes,
    },
    /// A new keyring with a recovery slot; the answer shows its key. From process 1 of the box alone, as what follows.
    Create,
    /// The keyring of a backup, as [`lamchat_seal::Keyring::export_for_backup`] gave it, opened by what was typed; the
    /// answer tells by which kind of slot.
    CreateFrom {
        /// The keyring, which nothing has authenticated.
        exported: Vec<u8>,
        /// A recovery key or passphrase of it.
        key: SecretBytes,
    },
    /// The key of the disk, once the keyring is open; this opens it where it opens by itself.
    DiskKey,
    /// To seal the keys to the TPM: a new slot, or the one that is there bound anew.
    Seal {
        /// The epochs of all images that the box may start: a new slot admits the lowest of them. None where there are no
        /// slots for images.
        bootable: Vec<u64>,
    },
    /// [`Typed::RaiseFloor`] on the box, where process 1 has looked what it may start.
    RaiseFloorOnBox {
        /// The lowest epoch that opens the keys from now on.
        floor: u64,
        /// The epochs of all images that the box may start.
        bootable: Vec<u64>,
    },
    /// To take everything that belongs to the keyring out of the TPM, and to give no key any more.
    Erase,
    /// To seal the keys of the box to the TPM with this PIN from now on, or with none any more.
    SetPin {
        /// As in [`Typed::Seal`].
        bootable: Vec<u64>,
        /// The PIN; `None`: the box is to open by itself again.
        pin: Option<SecretBytes>,
    },
    /// How everything is, as the exchange is told it.
    Status,
}

impl Typed {
    /// Version, kind and body.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Unlock(key) => assemble(64, &[key.expose()]),
            Self::AddRecovery => assemble(65, &[]),
            Self::VerifyRecovery(key) => assemble(66, &[key.expose()]),
            Self::AddPassphrase(passphrase) => assemble(67, &[passphrase.expose()]),
            Self::AddTpm { force, pin } => assemble(68, &[&[u8::from(*force)], pin.expose()]),
            Self::Rebind { slot, force, pin } => {
                assemble(69, &[&slot.to_be_bytes(), &[u8::from(*force)], pin.expose()])
            }
            Self::Renew { slot, keys } => assemble(81, &[&slot.to_be_bytes(), &typed_for_slots(keys)]),
            Self::RaiseFloor {
                floor: lowest,
                bootable,
                force,
                pin,
            } => assemble(80, &[&[u8::from(*force)], &floor(*lowest, bootable), pin.expose()]),
            Self::Create => assemble(70, &[]),
            Self::CreateFrom { exported, key } => {
                let length = (exported.len() as u32).to_be_bytes();
                assemble(77, &[&length, exported, key.expose()])
            }
            Self::DiskKey => assemble(71, &[]),
            Self::Seal { bootable } => assemble(72, &[&epochs(bootable)]),
            Self::RaiseFloorOnBox {
                floor: lowest,
                bootable,
            } => assemble(73, &[&floor(*lowest, bootable)]),
            Self::Erase => assemble(74, &[]),
            Self::SetPin { bootable, pin } => {
                let typed = pin.as_ref().map_or(&[][..], SecretBytes::expose);
                assemble(75, &[&epochs(bootable), &[u8::from(pin.is_some())], typed])
            }
            Self::Status => assemble(76, &[]),
        }
    }

    /// Reads what [`Typed::encode`] made.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedError> {
        let (kind, mut body) = head(frame)?;
        let request = match kind {
            64 => Self::Unlock(body.typed()?),
            65 => Self::AddRecovery,
            66 => Self::VerifyRecovery(body.typed()?),
            67 => Self::AddPassphrase(body.typed()?),
            68 => Self::AddTpm {
                force: body.flag()?,
                pin: body.typed()?,
            },
            69 => Self::Rebind {
                slot: body.u32()?,
                force: body.flag()?,
                pin: body.typed()?,
            },
            81 => Self::Renew {
                slot: body.u32()?,
                keys: body.typed_for_slots()?,
            },
            80 => {
                let force = body.flag()?;
                let (floor, bootable) = body.floor()?;
                Self::RaiseFloor {
                    floor,
                    bootable,
                    force,
                    pin: body.typed()?,
                }
            }
            70 => Self::Create,
            77 => {
                let length = body.u32()? as usize;
                Self::CreateFrom {
                    exported: body.bytes(length)?.to_vec(),
                    key: body.typed()?,
                }
            }
            71 => Self::DiskKey,
            72 => Self::Seal {
                bootable: body.epochs()?,
            },
            73 => {
                let (floor, bootable) = body.floor()?;
                Self::RaiseFloorOnBox { floor, bootable }
            }
            74 => Self::Erase,
            75 => Self::SetPin {
                bootable: body.epochs()?,
                pin: match body.flag()? {
                    true => Some(body.typed()?),
                    false => None,
                },
            },
            76 => Self::Status,
            _ => return Err(MalformedError),
        };
        body.end(request)
    }
}
