//! Programs of the firmware: PE/COFF (Microsoft's specification, "PE Format") as far as a unified kernel image needs it.

use lamchat_attestation::Sha256;

/// Bytes of a section's header.
const SECTION_HEADER: usize = 40;
/// Sections of ours start at multiples of a page in memory.
const PAGE: u32 = 4096;
/// Initialized data, readable.
const READABLE_DATA: u32 = 0x4000_0040;
/// Where the optional header (PE32+) has its fields.
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
/// The entry "certificate table" of the data directories.
const CERTIFICATES: usize = 112 + 4 * 8;

/// A program is not what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the program for the firmware cannot be used: {0}")]
pub struct PeError(&'static str);

/// A section: its name without the padding, where it is in memory and in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: [u8; 8],
    address: u32,
    virtual_size: u32,
    offset: u32,
    size: u32,
}

/// What a program's headers say.
struct Headers {
    coff: usize,
    optional: usize,
    table: usize,
    file_alignment: u32,
    sections: Vec<Section>,
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, PeError> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.copied().map(u16::from_le_bytes).ok_or(PeError("it is too short"))
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, PeError> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    field.copied().map(u32::from_le_bytes).ok_or(PeError("it is too short"))
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) -> Result<(), PeError> {
    let field = bytes.get_mut(offset..offset + value.len());
    field.ok_or(PeError("it is too short"))?.copy_from_slice(value);
    Ok(())
}

fn long(value: u32) -> Result<usize, PeError> {
    usize::try_from(value).map_err(|_| PeError("a number is too large"))
}

fn short(value: usize) -> Result<u32, PeError> {
    u32::try_from(value).map_err(|_| PeError("it is too long"))
}

impl Headers {
    /// Reads PE32+ whose sections lie one behind the other from the headers on, which is what makes its Authenticode
    /// digest a digest of the file.
    fn of(program: &[u8]) -> Result<Self, PeError> {
        let start = long(u32_at(program, 0x3C)?)?;
        if program.get(start..start + 4) != Some(b"PE\0\0") {
            return Err(PeError("it is not PE"));
        }
        let coff = start + 4;
        let optional = coff + 20;
        if u16_at(program, optional)? != 0x20B {
            return Err(PeError("it is not PE32+"));
        }
        if u32_at(program, optional + 108)? < 5 {
            return Err(PeError("it has no place for signatures"));
        }
        let table = optional + usize::from(u16_at(program, coff + 16)?);
        let mut sections = Vec::new();
        let mut end = u32_at(program, optional + SIZE_OF_HEADERS)?;
        for number in 0..usize::from(u16_at(program, coff + 2)?) {
            let header = table + number * SECTION_HEADER;
            let name = program.get(header..).and_then(|rest| rest.first_chunk());
            let section = Section {
                name: *name.ok_or(PeError("it is too short"))?,
                virtual_size: u32_at(program, header + 8)?,
                address: u32_at(program, header + 12)?,
                size: u32_at(program, header + 16)?,
                offset: u32_at(program, header + 20)?,
            };
            if section.offset != end {
                return Err(PeError("its sections do not lie one behind the other"));
            }
            end = end.checked_add(section.size).ok_or(PeError("a number is too large"))?;
            sections.push(section);
        }
        // "PE Format", file alignment: a power of 2 between 512 and 64 K; the stub of systemd has 512.
        let file_alignment = u32_at(program, optional + 36)?;
        if !file_alignment.is_power_of_two() || !(16..=65_536).contains(&file_alignment) {
            return Err(PeError("its file alignment is none"));
        }
        if program.len() < long(end)? {
            return Err(PeError("it is too short"));
        }
        Ok(Self {
            coff,
            optional,
            table,
            file_alignment,
            sections,
        })
    }

    fn end(&self) -> u32 {
        self.sections.last().map_or(0, |section| section.offset + section.size)
    }
}

/// Appends sections to systemd's stub. Its symbols, which nobody needs, go.
pub fn with_sections(stub: &[u8], added: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
    let headers = Headers::of(stub)?;
    let mut program = stub.get(..long(headers.end())?).unwrap_or(stub).to_vec();
    let mut count = headers.sections.len();
    let table_end = headers.table + (count + added.len()) * SECTION_HEADER;
    if table_end > long(u32_at(stub, headers.optional + SIZE_OF_HEADERS)?)? {
        return Err(PeError("its headers have no place for more sections"));
    }
    let mut address = 0;
    for section in &headers.sections {
        let end = section.address.checked_add(section.virtual_size);
        let end = end.and_then(|end| end.checked_next_multiple_of(PAGE));
        address = address.max(end.ok_or(PeError("a number is too large"))?);
    }
    for (name, content) in added {
        let size = short(content.len())?.next_multiple_of(headers.file_alignment);
        let mut header = Vec::with_capacity(SECTION_HEADER);
        header.extend_from_slice(name.as_bytes());
        header.resize(8, 0);
        for field in [
            short(content.len())?,
            address,
            size,
            short(program.len())?,
            0,
            0,
            0,
            READABLE_DATA,
        ] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        put(&mut program, headers.table + count * SECTION_HEADER, &header)?;
        program.extend_from_slice(content);
        program.resize(program.len().next_multiple_of(long(headers.file_alignment)?), 0);
        address = address
            .checked_add(short(content.len())?)
            .and_then(|end| end.checked_next_multiple_of(PAGE))
            .ok_or(PeError("it is too long"))?;
        count += 1;
    }
    let count = u16::try_from(count).map_err(|_| PeError("it has too many sections"))?;
    put(&mut program, headers.coff + 2, &count.to_le_bytes())?;
    // Where the symbols were, and how many.
    put(&mut program, headers.coff + 8, &[0; 8])?;
    put(&mut program, headers.optional + SIZE_OF_IMAGE, &address.to_le_bytes())?;
    // Firmware ignores the checksum.
    put(&mut program, headers.optional + CHECKSUM, &[0; 4])?;
    Ok(program)
}

/// The content of a section, without its padding; `None` when there is none of this name.
pub fn section<'a>(program: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, PeError> {
    let headers = Headers::of(program)?;
    let mut padded = [0; 8];
    put(&mut padded, 0, name.as_bytes())?;
    let Some(section) = headers.sections.iter().find(|section| section.name == padded) else {
        return Ok(None);
    };
    let start = long(section.offset)?;
    let end = start + long(section.virtual_size.min(section.size))?;
    Ok(program.get(start..end))
}

/// The name of the section that a byte of the file is in; `None` for headers and what is behind the sections.
pub fn section_at(program: &[u8], offset: usize) -> Result<Option<String>, PeError> {
    let offset = short(offset)?;
    let headers = Headers::of(program)?;
    let found = headers.sections.iter().find(|section| {
        let inside = offset.checked_sub(section.offset);
        inside.is_some_and(|inside| inside < section.size)
    });
    Ok(found.map(|section| {
        let name = section.name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }))
}

/// A program without signatures, padded as Authenticode wants it.
pub fn unsigned(program: &[u8]) -> Result<Vec<u8>, PeError> {
    let headers = Headers::of(program)?;
    let directory = headers.optional + CERTIFICATES;
    let signatures = long(u32_at(program, directory)?)?;
    let end = if signatures == 0 { program.len() } else { signatures };
    let mut bare = program.get(..end).ok_or(PeError("it is too short"))?.to_vec();
    put(&mut bare, directory, &[0; 8])?;
    bare.resize(bare.len().next_multiple_of(8), 0);
    Ok(bare)
}

/// The Authenticode digest (SHA-256): the file without its checksum, its entry for signatures and the signatures.
pub fn authenticode(program: &[u8]) -> Result<Sha256, PeError> {
    let bare = unsigned(program)?;
    let headers = Headers::of(&bare)?;
    let checksum = headers.optional + CHECKSUM;
    let directory = headers.optional + CERTIFICATES;
    let parts = [
        bare.get(..checksum),
        bare.get(checksum + 4..directory),
        bare.get(directory + 8..),
    ];
    match parts {
        [Some(first), Some(second), Some(third)] => Ok(Sha256::of_parts(&[first, second, third])),
        _ => Err(PeError("it is too short")),
    }
}

/// Appends a signature (PKCS #7, DER) to a program that has none.
pub fn with_signature(program: &[u8], signature: &[u8]) -> Result<Vec<u8>, PeError> {
    let mut signed = unsigned(program)?;
    let headers = Headers::of(&signed)?;
    let length = short(signature.len())? + 8;
    let padded = length.next_multiple_of(8);
    let entry = [short(signed.len())?.to_le_bytes(), padded.to_le_bytes()].concat();
    put(&mut signed, headers.optional + CERTIFICATES, &entry)?;
    // WIN_CERTIFICATE: length, revision 2.0, PKCS #7 signed data.
    signed.extend_from_slice(&length.to_le_bytes());
    signed.extend_from_slice(&[0x00, 0x02, 0x02, 0x00]);
    signed.extend_from_slice(signature);
    signed.resize(signed.len().next_multiple_of(8), 0);
    Ok(signed)
}

#[cfg(test)]
pub use tests::program as example;

#[cfg(test)]
mod tests;
