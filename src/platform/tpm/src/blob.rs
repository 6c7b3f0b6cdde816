//! The sealed blob: what the TPM gave for a secret, and all that is needed to open it again or to explain why it does
//! not open. `FORMAT.md` documents every byte.

use crate::bytes::{MalformedError, Reader, put_sized};
use crate::crypto::Point;
use crate::error::TpmError;
use crate::pcr::{PCRS, PcrValues};
use crate::policy::{OR_BRANCHES_MAX, Policy, Step, epoch_branches};
use crate::wire::PublicArea;

const MAGIC: &[u8; 8] = b"LAMTPM\0\x01";
const KIND_PCRS: u8 = 1;
const KIND_IMAGE: u8 = 2;
const FLAG_PIN: u8 = 1;
/// Largest private part (TPM2B_PRIVATE) that any TPM makes for 32 bytes of data.
const PRIVATE_BYTES_MAX: usize = 512;
/// Largest public part.
const PUBLIC_BYTES_MAX: usize = 256;
/// Largest blob.
pub const BLOB_BYTES_MAX: usize = 4096;

/// A sealed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBlob {
    /// The name of the storage root: tells another or a cleared TPM from a changed boot.
    pub root_name: [u8; 34],
    /// Whether a PIN is needed.
    pub pin: bool,
    /// The NV index of the counter.
    pub counter_index: u32,
    /// The counter's name.
    pub counter_name: [u8; 34],
    /// The counter's value at sealing, and the only one under which this blob opens.
    pub counter_value: u64,
    /// The PCRs that must not change, with their values at sealing.
    pub fixed: PcrValues,
    /// What a release signs, on the image.
    pub image: Option<ImageBinding>,
    /// TPM2B_PRIVATE's contents.
    pub private: Vec<u8>,
    /// TPMT_PUBLIC.
    pub public: PublicArea,
}

/// The part of a binding that a signed policy meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBinding {
    /// The operator's release key.
    pub release_key: Point,
    /// The allowed epochs, ascending.
    pub epochs: Vec<u64>,
    /// The PCRs that a release approves, with their values at sealing, which are for explanations alone.
    pub signed: PcrValues,
}

impl SealedBlob {
    /// The policy that the blob was sealed under.
    pub fn policy(&self) -> Result<Policy, TpmError> {
        policy(
            &self.fixed,
            self.image.as_ref(),
            self.counter_name,
            self.counter_value,
            self.pin,
        )
    }

    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(if self.image.is_some() { KIND_IMAGE } else { KIND_PCRS });
        out.push(if self.pin { FLAG_PIN } else { 0 });
        out.extend_from_slice(&self.root_name);
        out.extend_from_slice(&self.counter_index.to_be_bytes());
        out.extend_from_slice(&self.counter_name);
        out.extend_from_slice(&self.counter_value.to_be_bytes());
        put_values(&mut out, &self.fixed);
        if let Some(image) = &self.image {
            out.extend_from_slice(&image.release_key.x);
            out.extend_from_slice(&image.release_key.y);
            put_values(&mut out, &image.signed);
            // At most eight, which sealing and parsing check.
            out.push(u8::try_from(image.epochs.len()).unwrap_or(u8::MAX));
            for epoch in &image.epochs {
                out.extend_from_slice(&epoch.to_be_bytes());
            }
        }
        // Both are far below 65,535 bytes, which sealing and parsing check.
        let _private = put_sized(&mut out, &self.private);
        let _public = put_sized(&mut out, self.public.bytes());
        out
    }

    /// Takes apart what [`SealedBlob::encode`] made; nothing else is accepted, and nothing may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedError> {
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(MalformedError);
        }
        let mut reader = Reader(bytes);
        if reader.array::<8>()? != *MAGIC {
            return Err(MalformedError);
        }
        let kind = reader.u8()?;
        let pin = match reader.u8()? {
            0 => false,
            FLAG_PIN => true,
            _ => return Err(MalformedError),
        };
        let root_name = reader.array()?;
        let counter_index = reader.u32()?;
        let counter_name = reader.array()?;
        let counter_value = reader.u64()?;
        let fixed = values(&mut reader)?;
        let image = match kind {
            KIND_PCRS => None,
            KIND_IMAGE => Some(image(&mut reader)?),
            _ => return Err(MalformedError),
        };
        let private = reader.sized()?;
        let public = reader.sized()?;
        reader.end()?;
        if private.len() > PRIVATE_BYTES_MAX || public.len() > PUBLIC_BYTES_MAX {
            return Err(MalformedError);
        }
        Ok(Self {
            root_name,
            pin,
            counter_index,
            counter_name,
            counter_value,
            fixed,
            image,
            private: private.to_vec(),
            public: PublicArea::parse(public).map_err(|_| MalformedError)?,
        })
    }
}

/// The order of the issue: what a release signs, over the epochs; the fixed PCRs; the counter; the PIN.
pub(crate) fn policy(
    fixed: &PcrValues,
    image: Option<&ImageBinding>,
    counter_name: [u8; 34],
    counter_value: u64,
    pin: bool,
) -> Result<Policy, TpmError> {
    let mut steps = Vec::new();
    if let Some(image) = image {
        // Whichever epoch was met: PolicyOR replaces the digest by one that contains all of them.
        steps.push(Step::Or(epoch_branches(&image.release_key, &image.epochs)?));
    }
    steps.push(Step::Pcr(fixed.clone()));
    steps.push(Step::Counter {
        name: counter_name,
        value: counter_value,
    });
    if pin {
        steps.push(Step::AuthValue);
    }
    Ok(Policy::new(steps))
}

fn put_values(out: &mut Vec<u8>, values: &PcrValues) {
    // At most 24.
    out.push(u8::try_from(values.iter().count()).unwrap_or(u8::MAX));
    for (pcr, value) in values.iter() {
        out.push(pcr);
        out.extend_from_slice(value);
    }
}

/// Ascending without duplicates, so that a set of values has one encoding.
fn values(reader: &mut Reader<'_>) -> Result<PcrValues, MalformedError> {
    let count = reader.u8()?;
    if count > PCRS {
        return Err(MalformedError);
    }
    let mut list: Vec<(u8, [u8; 32])> = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let entry = (reader.u8()?, reader.array()?);
        if list.last().is_some_and(|(before, _)| *before >= entry.0) {
            return Err(MalformedError);
        }
        list.push(entry);
    }
    PcrValues::new(list).map_err(|_| MalformedError)
}

fn image(reader: &mut Reader<'_>) -> Result<ImageBinding, MalformedError> {
    let release_key = Point {
        x: reader.array()?,
        y: reader.array()?,
    };
    let signed = values(reader)?;
    let count = usize::from(reader.u8()?);
    if !(1..=OR_BRANCHES_MAX).contains(&count) {
        return Err(MalformedError);
    }
    let mut epochs: Vec<u64> = Vec::with_capacity(count);
    for _ in 0..count {
        let epoch = reader.u64()?;
        if epochs.last().is_some_and(|before| *before >= epoch) {
            return Err(MalformedError);
        }
        epochs.push(epoch);
    }
    Ok(ImageBinding {
        release_key,
        epochs,
        signed,
    })
}
