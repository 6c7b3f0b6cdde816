//! What the exchange asks of the holder.

use crate::wire::{Body, MalformedError, assemble, floor, head, text};
use lamchat_attestation::Sha256;
use lamchat_attestation::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, KEYS_MAX};
use lamchat_attester::{Nonce, Statement};
use lamchat_audit::checkpoint::Checkpoint;
use lamchat_audit::tree::Hash;
use lamchat_seal::Purpose;
use lamchat_tpm::Anchor;
use zeroize::Zeroizing;

/// Most hashes of a consistency proof: two for each level of a tree of 2^64 entries.
const PROOF_HASHES_MAX: usize = 128;

/// Longest entry of the audit log that announces a change of its key.
const ENTRY_BYTES_MAX: usize = 4_096;
/// Most peaks of a tree: one for each bit of its size.
const PEAKS_MAX: usize = 64;

/// Most sealed secrets with evidence, and the longest.
const SEALED_MAX: usize = 4;
const SEALED_BYTES_MAX: usize = 64 << 10;

/// A sealed secret of the exchange's, as it is on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: Vec<u8>,
}

/// A request. Requests 16 to 23 are for anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To open the keyring by itself, and to release the data keys.
    Open {
        /// Whether to make a keyring where there is none.
        create: bool,
    },
    /// The same once somebody has unlocked the keys, however long that takes.
    AwaitUnlock,
    /// From now on the exchange takes notices.
    Ready,
    /// The slots, the TPM, the holder itself.
    Status,
    /// A new `tpm` slot.
    AddTpm {
        /// Even without Secure Boot.
        force: bool,
    },
    /// A new `file` slot: the keys open without anybody, and for whoever copies the folder.
    AddFile,
    /// To bind a `tpm` slot anew.
    Rebind {
        /// The slot.
        slot: u32,
        /// Even without Secure Boot.
        force: bool,
    },
    /// To remove a slot.
    Remove(u32),
    /// A new data key.
    Rotate(Purpose),
    /// The keyring for a backup.
    Export,
    /// The key of the backup with this salt.
    BackupKey([u8; 32]),
    /// Who signs the audit log with this origin.
    LogIdentity(String),
    /// Which make of TPM there is.
    TpmMake,
    /// To sign a head of the audit log.
    SignHead {
        /// The head.
        checkpoint: Checkpoint,
        /// That it continues the one that was signed last.
        proof: Vec<Hash>,
    },
    /// The change of the log's key that is due.
    PlanKey,
    /// To change the log's key as planned.
    ChangeKey {
        /// The head whose last entry announces it.
        checkpoint: Checkpoint,
        /// That it continues the one that was signed last.
        proof: Vec<Hash>,
        /// The entry.
        entry: Vec<u8>,
        /// The peaks of the tree before the entry.
        peaks: Vec<Hash>,
    },
    /// The last change of the key of the log with this origin.
    LastKeyChange(String),
    /// The anchor in the TPM.
    ReadAnchor,
    /// To write the anchor.
    WriteAnchor(Anchor),
    /// To answer once somebody has opened the keys by hand in this start.
    AwaitHand {
        /// Whether the database is to go on as a new epoch, with another audit log.
        another_log: bool,
    },
    /// Where what the signer of the audit log kept was, of what is missing.
    LogLost,
    /// To raise the security floor of the `tpm` slots under the image's policy.
    RaiseFloor {
        /// The lowest epoch that opens the keys from now on.
        floor: u64,
        /// The epochs of all images that this machine may start.
        bootable: Vec<u64>,
        /// Even without Secure Boot.
        force: bool,
    },
    /// To forget the former keys: the exchange has encrypted everything anew.
    ForgetFormer,
    /// Evidence of this box for a verifier's nonce.
    Evidence {
        /// The nonce: the one thing that comes from outside.
        nonce: Nonce,
        /// The audit log whose newest signed head is in it.
        origin: String,
        /// What the exchange says of itself.
        statement: Statement,
        /// Its sealed secrets whose fingerprints are in evidence.
        sealed: Vec<Sealed>,
    },
    /// From now on these certificates (DER) complete the endorsement key's chain.
    EkCertificates(Vec<Vec<u8>>),
    /// The first file of an auditor's enrolment.
    EnrolmentRequest,
    /// The third file of an auditor's enrolment, for the second: a challenge.
    Activate(Vec<u8>),
}

impl Request {
    /// Version, kind and body.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Open { create } => assemble(1, &[&[u8::from(*create)]]),
            Self::AwaitUnlock => assemble(2, &[]),
            Self::Ready => assemble(3, &[]),
            Self::Status => assemble(4, &[]),
            Self::AddTpm { force } => assemble(5, &[&[u8::from(*force)]]),
            Self::Rebind { slot, force } => assemble(6, &[&slot.to_be_bytes(), &[u8::from(*force)]]),
            Self::Remove(slot) => assemble(7, &[&slot.to_be_bytes()]),
            Self::Rotate(purpose) => assemble(8, &[&[purpose.code()]]),
            Self::Export => assemble(9, &[]),
            Self::BackupKey(salt) => assemble(10, &[salt]),
            Self::LogIdentity(origin) => assemble(11, &[origin.as_bytes()]),
            Self::TpmMake => assemble(27, &[]),
            Self::SignHead { checkpoint, proof } => assemble(12, &[&text(&checkpoint.to_string()), &hashes(proof)]),
            Self::PlanKey => assemble(13, &[]),
            Self::ChangeKey {
                checkpoint,
                proof,
                entry,
                peaks,
            } => assemble(
                14,
                &[&text(&checkpoint.to_string()), &hashes(proof), &hashes(peaks), entry],
            ),
            Self::LastKeyChange(origin) => assemble(15, &[origin.as_bytes()]),
            Self::ReadAnchor => assemble(16, &[]),
            Self::WriteAnchor(anchor) => assemble(17, &[&anchor.encode()]),
            Self::AwaitHand { another_log } => assemble(18, &[&[u8::from(*another_log)]]),
            Self::LogLost => assemble(32, &[]),
            Self::RaiseFloor {
                floor: lowest,
                bootable,
                force,
            } => assemble(28, &[&[u8::from(*force)], &floor(*lowest, bootable)]),
            Self::ForgetFormer => assemble(30, &[]),
            Self::AddFile => assemble(31, &[]),
            Self::Evidence {
                nonce,
                origin,
                statement,
                sealed,
            } => {
                let files: Vec<[u8; 32]> = statement.tls_files.iter().map(|sha256| sha256.0).collect();
                assemble(
                    24,
                    &[
                        &[nonce.bytes().len() as u8],
                        nonce.bytes(),
                        &statement.configuration.0,
                        &(files.len() as u16).to_be_bytes(),
                        &files.concat(),
                        &text(origin),
                        &text(&statement.server_name),
                        &sealed_secrets(sealed),
                    ],
                )
            }
            Self::EkCertificates(certificates) => assemble(29, &[&ek_certificates(certificates)]),
            Self::EnrolmentRequest => assemble(25, &[]),
            Self::Activate(challenge) => assemble(26, &[challenge]),
        }
    }

    /// Reads what [`Request::encode`] made.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedError> {
        let (kind, mut body) = head(frame)?;
        let request = match kind {
            1 => Self::Open { create: body.flag()? },
            2 => Self::AwaitUnlock,
            3 => Self::Ready,
            4 => Self::Status,
            5 => Self::AddTpm { force: body.flag()? },
            6 => Self::Rebind {
                slot: body.u32()?,
                force: body.flag()?,
            },
            7 => Self::Remove(body.u32()?),
            8 => Self::Rotate(Purpose::of(body.u8()?).ok_or(MalformedError)?),
            9 => Self::Export,
            10 => Self::BackupKey(body.take()?),
            11 => Self::LogIdentity(body.rest_text()?),
            12 => Self::SignHead {
                checkpoint: checkpoint(&mut body)?,
                proof: body.list(PROOF_HASHES_MAX, |body| body.take())?,
            },
            13 => Self::PlanKey,
            14 => Self::ChangeKey {
                checkpoint: checkpoint(&mut body)?,
                proof: body.list(PROOF_HASHES_MAX, |body| body.take())?,
                peaks: body.list(PEAKS_MAX, |body| body.take())?,
                entry: match body.rest() {
                    entry if entry.len() <= ENTRY_BYTES_MAX => entry.to_vec(),
                    _ => return Err(MalformedError),
                },
            },
            15 => Self::LastKeyChange(body.rest_text()?),
            16 => Self::ReadAnchor,
            17 => Self::WriteAnchor(Anchor::parse(body.rest()).map_err(|_| MalformedError)?),
            18 => Self::AwaitHand {
                another_log: body.flag()?,
            },
            32 => Self::LogLost,
            24 => evidence(&mut body)?,
            25 => Self::EnrolmentRequest,
            26 => Self::Activate(body.rest().to_vec()),
            27 => Self::TpmMake,
            29 => Self::EkCertificates(body.list(CERTIFICATES_MAX, |body| {
                let length = usize::from(body.u16()?);
                if length > CERTIFICATE_BYTES_MAX {
                    return Err(MalformedError);
                }
                Ok(body.bytes(length)?.to_vec())
            })?),
            30 => Self::ForgetFormer,
            31 => Self::AddFile,
            28 => {
                let force = body.flag()?;
                let (floor, bootable) = body.floor()?;
                Self::RaiseFloor { floor, bootable, force }
            }
            _ => return Err(MalformedError),
        };
        body.end(request)
    }
}

/// Hashes with their number.
fn hashes(hashes: &[Hash]) -> Vec<u8> {
    [&(hashes.len() as u16).to_be_bytes()[..], hashes.as_flattened()].concat()
}

fn checkpoint(body: &mut Body<'_>) -> Result<Checkpoint, MalformedError> {
    Checkpoint::parse(&body.text()?).map_err(|_| MalformedError)
}

fn evidence(body: &mut Body<'_>) -> Result<Request, MalformedError> {
    let length = usize::from(body.u8()?);
    let nonce = Nonce::new(body.bytes(length)?).map_err(|_| MalformedError)?;
    let configuration = Sha256(body.take()?);
    let tls_files = body.list(KEYS_MAX, |body| Ok(Sha256(body.take()?)))?;
    Ok(Request::Evidence {
        nonce,
        origin: body.text()?,
        statement: Statement {
            server_name: body.text()?,
            configuration,
            tls_files,
        },
        sealed: body.list(SEALED_MAX, |body| {
            let (name, length) = (body.text()?, body.u32()? as usize);
            if length > SEALED_BYTES_MAX {
                return Err(MalformedError);
            }
            let file = body.bytes(length)?.to_vec();
            Ok(Sealed { name, file })
        })?,
    })
}

/// Certificates with their number. Whoever sends them keeps to their limits.
fn ek_certificates(certificates: &[Vec<u8>]) -> Vec<u8> {
    let mut body = (certificates.len() as u16).to_be_bytes().to_vec();
    for der in certificates {
        body.extend((der.len() as u16).to_be_bytes());
        body.extend(der);
    }
    body
}

/// Sealed secrets with their number.
fn sealed_secrets(sealed: &[Sealed]) -> Vec<u8> {
    let mut body = (sealed.len() as u16).to_be_bytes().to_vec();
    for one in sealed {
        body.extend(text(&one.name));
        body.extend((one.file.len() as u32).to_be_bytes());
        body.extend(&one.file);
    }
    body
}
