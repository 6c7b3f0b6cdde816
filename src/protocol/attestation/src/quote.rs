//! What the TPM signed: TPMS_ATTEST of type quote, and the signature over it.

use crate::limits::PCRS_MAX;
use crate::wire::Bytes;
use serde::Serialize;

/// TPM_GENERATED_VALUE (TCG Part 2, 6.2): only the TPM itself makes structures that begin with it, and a restricted
/// key signs no others.
const MAGIC: u32 = 0xFF54_4347;
/// TPM_ST_ATTEST_QUOTE.
const TYPE_QUOTE: u16 = 0x8018;
pub(crate) const ALG_SHA1: u16 = 0x0004;
pub(crate) const ALG_SHA256: u16 = 0x000B;
const ALG_ECDSA: u16 = 0x0018;
/// Bytes of a bit map of 24 PCRs, as every PC Client TPM has them.
const SELECT_BYTES: usize = 3;
/// Most banks in a selection that are read, to name what is wrong.
const BANKS_MAX: u32 = 16;
/// Largest TPM2B_NAME: an algorithm and SHA-512.
const NAME_MAX: usize = 2 + 64;

/// Why a quote is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// It does not begin with TPM_GENERATED: a key signed it that signs anything.
    #[error("the quote does not begin with TPM_GENERATED ({found:#010x}): no TPM made it")]
    Magic {
        /// What it begins with.
        found: u32,
    },
    /// The TPM made it, but it is something else than a quote.
    #[error("the TPM's structure is of type {found:#06x}, not a quote")]
    Type {
        /// TPM_ST_ATTEST.
        found: u16,
    },
    /// It ends early, has bytes behind its end, or a field that cannot be.
    #[error("the quote is not a TPMS_ATTEST: {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The quote is over another bank, or over several.
    #[error("the quote is over {found}, not over the SHA-256 bank alone")]
    Bank {
        /// The banks.
        found: String,
    },
    /// PCRs are missing in the selection.
    #[error("the quote leaves out PCR {missing:?}")]
    Subset {
        /// Their numbers.
        missing: Vec<u8>,
    },
    /// PCRs are in the selection that were not asked for.
    #[error("the quote has PCR {extra:?}, which were not asked for")]
    Superset {
        /// Their numbers.
        extra: Vec<u8>,
    },
    /// Some are missing and others are there instead.
    #[error("the quote leaves out PCR {missing:?} and has {extra:?} instead")]
    Selection {
        /// Missing.
        missing: Vec<u8>,
        /// There instead.
        extra: Vec<u8>,
    },
}

impl QuoteError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "quote-magic",
            Self::Type { .. } => "quote-type",
            Self::Malformed { .. } => "quote-malformed",
            Self::Bank { .. } => "pcr-bank",
            Self::Subset { .. } => "pcr-subset",
            Self::Superset { .. } => "pcr-superset",
            Self::Selection { .. } => "pcr-selection",
        }
    }
}

/// TPMS_CLOCK_INFO (TCG Part 2, 10.11.1) and the firmware's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered, over its whole life.
    pub clock_ms: u64,
    /// Resets since the TPM was last cleared.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no greater clock was reported before.
    pub safe: bool,
}

/// A quote, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote<'a> {
    /// The qualified name of the key that signed.
    pub signer: &'a [u8],
    /// The qualifying data.
    pub extra_data: &'a [u8],
    /// Clock and counters.
    pub clock: ClockInfo,
    /// The version of the TPM's firmware, as its maker counts.
    pub firmware: u64,
    /// Each bank of the selection with its PCRs in ascending order.
    pub selection: Vec<(u16, Vec<u8>)>,
    /// The digest over the selected values.
    pub pcr_digest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a TPMS_ATTEST; first its magic, then its type.
    ///
    /// # Errors
    /// It is not a quote.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        let malformed = |what| move || QuoteError::Malformed { what };
        let mut rest = Bytes(bytes);
        let magic = rest.u32().ok_or_else(malformed("the magic"))?;
        if magic != MAGIC {
            return Err(QuoteError::Magic { found: magic });
        }
        let kind = rest.u16().ok_or_else(malformed("the type"))?;
        if kind != TYPE_QUOTE {
            return Err(QuoteError::Type { found: kind });
        }
        let signer = rest.sized(NAME_MAX).ok_or_else(malformed("the signer's name"))?;
        let extra_data = rest.sized(NAME_MAX).ok_or_else(malformed("the qualifying data"))?;
        let clock = read_clock(&mut rest).ok_or_else(malformed("the clock"))?;
        let firmware = rest.u64().ok_or_else(malformed("the firmware's version"))?;
        let selection = read_selection(&mut rest).ok_or_else(malformed("the selection"))?;
        let pcr_digest = rest.sized(64).ok_or_else(malformed("the digest of the PCRs"))?;
        if !rest.is_empty() {
            return Err(QuoteError::Malformed {
                what: "bytes behind its end",
            });
        }
        Ok(Self {
            signer,
            extra_data,
            clock,
            firmware,
            selection,
            pcr_digest,
        })
    }

    /// Checks that the selection is the SHA-256 bank with exactly these PCRs, which are in ascending order.
    ///
    /// # Errors
    /// What is missing, what is there beside.
    pub fn check_selection(&self, expected: &[u8]) -> Result<(), QuoteError> {
        let [(ALG_SHA256, selected)] = self.selection.as_slice() else {
            let banks: Vec<_> = self.selection.iter().map(|(bank, _)| bank_name(*bank)).collect();
            let found = if banks.is_empty() {
                "no bank".to_owned()
            } else {
                banks.join(" and ")
            };
            return Err(QuoteError::Bank { found });
        };
        let without = |left: &[u8], right: &[u8]| -> Vec<u8> {
            left.iter().filter(|pcr| !right.contains(pcr)).copied().collect()
        };
        let (missing, extra) = (without(expected, selected), without(selected, expected));
        match (missing.is_empty(), extra.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => Err(QuoteError::Subset { missing }),
            (true, false) => Err(QuoteError::Superset { extra }),
            (false, false) => Err(QuoteError::Selection { missing, extra }),
        }
    }
}

fn bank_name(algorithm: u16) -> String {
    match algorithm {
        ALG_SHA1 => "the SHA-1 bank".to_owned(),
        ALG_SHA256 => "the SHA-256 bank".to_owned(),
        0x000C => "the SHA-384 bank".to_owned(),
        0x000D => "the SHA-512 bank".to_owned(),
        other => format!("the bank of algorithm {other:#06x}"),
    }
}

fn read_clock(rest: &mut Bytes<'_>) -> Option<ClockInfo> {
    Some(ClockInfo {
        clock_ms: rest.u64()?,
        reset_count: rest.u32()?,
        restart_count: rest.u32()?,
        // TPMI_YES_NO: nothing but 0 and 1.
        safe: match rest.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        },
    })
}

fn read_selection(rest: &mut Bytes<'_>) -> Option<Vec<(u16, Vec<u8>)>> {
    let count = rest.u32().filter(|count| *count <= BANKS_MAX)?;
    let mut banks = Vec::new();
    for _ in 0..count {
        let bank = rest.u16()?;
        let length = usize::from(rest.u8()?);
        if length != SELECT_BYTES {
            return None;
        }
        let map = rest.take(length)?;
        let selected = (0u8..)
            .zip(map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)))
            .filter_map(|(pcr, selected)| selected.then_some(pcr));
        banks.push((bank, selected.collect()));
    }
    Some(banks)
}

/// Reads a TPMT_SIGNATURE of ECDSA with SHA-256 as r and s, 32 bytes each; `None` for anything else.
pub(crate) fn parse_signature(bytes: &[u8]) -> Option<[u8; 64]> {
    let mut rest = Bytes(bytes);
    if rest.u16()? != ALG_ECDSA || rest.u16()? != ALG_SHA256 {
        return None;
    }
    let mut both = [0; 64];
    for half in both.as_chunks_mut::<32>().0 {
        let number = rest.sized(32)?;
        // A TPM may leave out leading zeros.
        let from = 32 - number.len();
        half.get_mut(from..)?.copy_from_slice(number);
    }
    rest.is_empty().then_some(both)
}

/// A selection of the SHA-256 bank as TPML_PCR_SELECTION, for whoever asks a TPM.
pub fn selection_bytes(pcrs: &[u8]) -> Vec<u8> {
    let map = pcrs
        .iter()
        .filter(|pcr| usize::from(**pcr) < PCRS_MAX)
        .fold(0u32, |map, pcr| map | 1 << pcr);
    let mut out = vec![0, 0, 0, 1];
    out.extend_from_slice(&ALG_SHA256.to_be_bytes());
    out.push(SELECT_BYTES as u8);
    out.extend_from_slice(map.to_le_bytes().get(..SELECT_BYTES).unwrap_or_default());
    out
}
