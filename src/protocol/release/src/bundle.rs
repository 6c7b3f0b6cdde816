//! Writing a bundle, and checking one from its first to its last byte.

use crate::approvals::{APPROVALS_BYTES_MAX, Approvals, ApprovalsError, Approvers};
use crate::header::{File, HEADER_BYTES_MAX, Header, HeaderError, TOTAL_BYTES_MAX};
use crate::version::Floor;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use lamchat_attestation::Sha256;
use std::io::{Read, Write};

const MAGIC: &[u8; 8] = b"LAMUPDT\x01";
/// What stands before a header in what is signed.
const DOMAIN: &[u8] = b"lamchat update bundle, version 1\0";
/// Bytes that are read at once.
const CHUNK: usize = 65_536;

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read or written.
    #[error("the update cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Its first bytes are not those of an update.
    #[error("this is no update of LamChat")]
    NotABundle,
    /// The header is longer than any honest one.
    #[error("the update's header has {0} bytes; at most {HEADER_BYTES_MAX} are read")]
    HeaderTooLong(usize),
    /// The release key did not sign it.
    #[error("the update is not signed by this box's release key")]
    Signature,
    /// The operator's approvers did not sign it, or not enough of them.
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
    /// The header is signed and cannot be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An older release than may be installed.
    #[error("the update is release {found}, and nothing below {floor} may be installed")]
    BelowVersion {
        /// Its version.
        found: crate::Version,
        /// The floor.
        floor: crate::Version,
    },
    /// A release of a security epoch that no longer opens the keys.
    #[error("the update has security epoch {found}, and nothing below {floor} may be installed")]
    BelowEpoch {
        /// Its epoch.
        found: u64,
        /// The floor.
        floor: u64,
    },
    /// It ends before its last file does.
    #[error("the update is cut off in the file {0}")]
    Truncated(String),
    /// There are bytes behind the last file.
    #[error("the update has bytes behind its last file")]
    Trailing,
    /// A file is not the one that was signed.
    #[error("the file {0} of the update is damaged")]
    Damaged(String),
}

/// A bundle that was read to its end and is what the release key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub header: Header,
    /// Where the first file starts, in bytes from the bundle's start.
    pub files_at: u64,
}

impl Checked {
    /// Where a file is: offset from the bundle's start, and what it is.
    pub fn find(&self, name: &str) -> Option<(u64, &File)> {
        let mut offset = self.files_at;
        for file in &self.header.files {
            if file.name == name {
                return Some((offset, file));
            }
            offset = offset.saturating_add(file.bytes);
        }
        None
    }
}

/// What the release key and an operator's approvers sign.
pub fn message(header: &[u8]) -> Vec<u8> {
    [DOMAIN, header].concat()
}

/// Writes a bundle that nobody has approved yet. `files` are those of the header, in its order.
///
/// # Errors
/// The header is too long, or `out` fails.
pub fn write(out: &mut dyn Write, header: &[u8], signature: &[u8; 64], files: &[&[u8]]) -> Result<(), BundleError> {
    let start = Start {
        header: header.to_vec(),
        signature: *signature,
        approvals: Approvals::default(),
    };
    start.write(out)?;
    for file in files {
        out.write_all(file)?;
    }
    Ok(())
}

/// What stands before the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The header, as it is signed.
    pub header: Vec<u8>,
    /// The release key's signature.
    pub signature: [u8; 64],
    /// The approvals.
    pub approvals: Approvals,
}

impl Start {
    /// Reads a bundle up to its files. Nothing of it is checked.
    ///
    /// # Errors
    /// It is no bundle, or cut off.
    pub fn read(bundle: &mut dyn Read) -> Result<Self, BundleError> {
        let mut start = [0; 12];
        bundle.read_exact(&mut start).map_err(|_| BundleError::NotABundle)?;
        let [magic @ .., a, b, c, d] = start;
        if magic != *MAGIC {
            return Err(BundleError::NotABundle);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > HEADER_BYTES_MAX {
            return Err(BundleError::HeaderTooLong(length));
        }
        let mut header = vec![0; length];
        let mut signature = [0; 64];
        let truncated = |_| BundleError::Truncated("header".to_owned());
        bundle.read_exact(&mut header).map_err(truncated)?;
        bundle.read_exact(&mut signature).map_err(truncated)?;
        let approvals = Approvals::read(bundle).map_err(truncated)?;
        Ok(Self {
            header,
            signature,
            approvals: approvals?,
        })
    }

    /// Writes it; the files come next.
    ///
    /// # Errors
    /// The header is too long, or `out` fails.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), BundleError> {
        let length = u32::try_from(self.header.len()).ok();
        let length = length.filter(|_| self.header.len() <= HEADER_BYTES_MAX);
        let length = length.ok_or(BundleError::HeaderTooLong(self.header.len()))?;
        out.write_all(MAGIC)?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(&self.header)?;
        out.write_all(&self.signature)?;
        Ok(self.approvals.write(out)?)
    }

    /// Where the files start, in bytes from the bundle's start.
    fn length(&self) -> u64 {
        // 12 bytes before the header, 64 of its signature behind it.
        (76 + self.header.len() + self.approvals.length()) as u64
    }
}

/// Bytes of a bundle, at most: 12 before the header, 64 of its signature behind it.
pub const BUNDLE_BYTES_MAX: u64 = 12 + 64 + (HEADER_BYTES_MAX + APPROVALS_BYTES_MAX) as u64 + TOTAL_BYTES_MAX;

/// Reads a bundle from its start to its end and checks all of it. `release_key` is the point of P-256, uncompressed
/// (65 bytes). Whoever reads the files afterwards reads them from where these bytes are kept unchanged, or compares
/// each digest again.
///
/// # Errors
/// The reason for which it must not be installed.
pub fn check(
    bundle: &mut dyn Read,
    release_key: &[u8; 65],
    floor: &Floor,
    approvers: &Approvers,
) -> Result<Checked, BundleError> {
    let start = Start::read(bundle)?;
    let signed = message(&start.header);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, release_key);
    key.verify(&signed, &start.signature)
        .map_err(|_| BundleError::Signature)?;
    let header = Header::from_bytes(&start.header)?;
    if header.version < floor.version {
        return Err(BundleError::BelowVersion {
            found: header.version,
            floor: floor.version,
        });
    }
    if header.epoch < floor.epoch {
        return Err(BundleError::BelowEpoch {
            found: header.epoch,
            floor: floor.epoch,
        });
    }
    approvers.check(&signed, &start.approvals)?;
    for file in &header.files {
        check_file(bundle, file)?;
    }
    if bundle.read(&mut [0])? != 0 {
        return Err(BundleError::Trailing);
    }
    Ok(Checked {
        files_at: start.length(),
        header,
    })
}

fn check_file(bundle: &mut dyn Read, file: &File) -> Result<(), BundleError> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = bundle.take(file.bytes);
    let mut chunk = vec![0; CHUNK];
    let mut left = file.bytes;
    while left > 0 {
        let read = part.read(&mut chunk)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Err(BundleError::Truncated(file.name.clone()));
        }
        context.update(bytes);
        left = left.saturating_sub(read as u64);
    }
    let found: Option<[u8; 32]> = context.finish().as_ref().try_into().ok();
    if found.map(Sha256) != Some(file.sha256) {
        return Err(BundleError::Damaged(file.name.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
