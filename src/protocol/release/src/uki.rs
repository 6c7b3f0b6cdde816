//! What a unified kernel image says of itself, read without starting it.

use serde::Deserialize;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};

/// The most sections that are looked at: what the firmware's own loader takes (Microsoft, PE format, "COFF File Header").
const SECTIONS_MAX: u16 = 96;
/// Longest section with approvals.
const APPROVALS_BYTES_MAX: u32 = 64 << 10;
/// The section with the release key's approvals (systemd-stub(7)).
const APPROVALS: &[u8; 8] = b".pcrsig\0";

#[derive(Deserialize)]
struct Approvals {
    sha256: Vec<Approval>,
}

#[derive(Deserialize)]
struct Approval {
    epoch: u64,
}

/// The lowest security epoch that the image's approvals are for. Nothing is checked: it serves whoever decides which
/// epochs must stay good for something, and the TPM believes signatures only. `None`: the image has no approvals.
///
/// # Errors
/// It is no such image, or cannot be read.
pub fn epoch(image: &mut (impl Read + Seek + ?Sized)) -> Result<Option<u64>, Error> {
    let other = |what: &'static str| Error::new(ErrorKind::InvalidData, what);
    let mut bytes = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        image.seek(SeekFrom::Start(at))?;
        image.read_exact(&mut bytes)?;
        Ok::<_, Error>(bytes)
    };
    let short = |bytes: &[u8], at: usize| {
        bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |two| u16::from_le_bytes(*two))
    };
    let long = |bytes: &[u8], at: usize| {
        bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |four| u32::from_le_bytes(*four))
    };
    let header_at = u64::from(long(&bytes(0x3c, 4)?, 0));
    let header = bytes(header_at, 24)?;
    if !header.starts_with(b"PE\0\0") {
        return Err(other("it is no program of the firmware's"));
    }
    let sections = short(&header, 6).min(SECTIONS_MAX);
    let table_at = header_at + 24 + u64::from(short(&header, 20));
    let table = bytes(table_at, 40 * usize::from(sections))?;
    let Some(section) = table.chunks_exact(40).find(|section| section.starts_with(APPROVALS)) else {
        return Ok(None);
    };
    let (length, at) = (long(section, 8), long(section, 20));
    if length > APPROVALS_BYTES_MAX {
        return Err(other("its approvals are too long"));
    }
    let json = bytes(u64::from(at), length as usize)?;
    let Approvals { sha256 } = serde_json::from_slice(&json)?;
    Ok(sha256.iter().map(|approval| approval.epoch).min())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::epoch;
    use std::io::Cursor;

    /// A header with a table of two sections behind an optional header of 16 bytes.
    fn image(json: &str) -> Vec<u8> {
        let mut image = vec![0; 0x200];
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 2;
        image[0x80 + 20] = 16;
        let table = 0x80 + 24 + 16;
        image[table..table + 5].copy_from_slice(b".text");
        image[table + 40..table + 47].copy_from_slice(b".pcrsig");
        image[table + 48..table + 52].copy_from_slice(&(json.len() as u32).to_le_bytes());
        image[table + 60..table + 64].copy_from_slice(&0x200u32.to_le_bytes());
        image.extend(json.bytes());
        image
    }

    #[test]
    fn the_lowest_epoch_of_the_approvals_counts() {
        let of = |json: &str| epoch(&mut Cursor::new(image(json)));
        assert_eq!(
            of(r#"{"sha256":[{"epoch":3,"sig":"x"},{"epoch":2}]}"#).unwrap(),
            Some(2)
        );
        assert_eq!(of(r#"{"sha256":[]}"#).unwrap(), None);
        assert!(of("{").is_err());
        let mut without = image("{}");
        without[0x86] = 1;
        assert_eq!(epoch(&mut Cursor::new(without)).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_an_error_at_most() {
        let whole = image(r#"{"sha256":[{"epoch":3}]}"#);
        for length in 0..whole.len() {
            assert!(epoch(&mut Cursor::new(&whole[..length])).is_err(), "{length}");
        }
        for at in 0..0x200 {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            // Only that it ends well is asked here.
            let _ = epoch(&mut Cursor::new(changed));
        }
    }
}
