//! Programs that are made here, by the specification, and damaged in every way.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

use super::*;
use proptest::prelude::*;

/// Where the headers of the test's programs are.
const START: usize = 0x40;
const OPTIONAL: usize = START + 24;
/// PE32+ with 16 data directories.
const OPTIONAL_BYTES: usize = 240;
const HEADERS: usize = 1024;

/// A program with the sections `.text` and `.data` and place for more.
pub fn program() -> Vec<u8> {
    let mut bytes = vec![0; HEADERS];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    put(0x3C, &(START as u32).to_le_bytes());
    put(START, b"PE\0\0");
    put(START + 6, &2u16.to_le_bytes());
    put(START + 20, &(OPTIONAL_BYTES as u16).to_le_bytes());
    put(OPTIONAL, &0x20Bu16.to_le_bytes());
    put(OPTIONAL + 36, &512u32.to_le_bytes());
    put(OPTIONAL + SIZE_OF_HEADERS, &(HEADERS as u32).to_le_bytes());
    put(OPTIONAL + 108, &16u32.to_le_bytes());
    for (number, name) in [b".text\0\0\0", b".data\0\0\0"].into_iter().enumerate() {
        let header = OPTIONAL + OPTIONAL_BYTES + number * SECTION_HEADER;
        put(header, name);
        let fields = [300, PAGE * (number as u32 + 1), 512, (HEADERS + 512 * number) as u32];
        put(header + 8, &fields.map(u32::to_le_bytes).concat());
    }
    bytes.extend_from_slice(&[1; 512]);
    bytes.extend_from_slice(&[2; 512]);
    bytes
}

#[test]
fn sections_are_added_behind_the_others_and_read_back() {
    let first = with_sections(&program(), &[(".linux", &[3; 700]), (".osrel", b"x")]).unwrap();
    let second = with_sections(&first, &[(".pcrsig", b"approval")]).unwrap();
    for (name, content) in [
        (".linux", &[3; 700][..]),
        (".osrel", b"x"),
        (".pcrsig", b"approval"),
        (".text", &[1; 300]),
    ] {
        assert_eq!(section(&second, name).unwrap(), Some(content), "{name}");
    }
    assert_eq!(section(&second, ".initrd").unwrap(), None);
    assert!(section(&second, ".longer-than-8").is_err());
    let headers = Headers::of(&second).unwrap();
    let ends: Vec<u32> = headers
        .sections
        .iter()
        .map(|section| section.address + section.virtual_size)
        .collect();
    for (section, end) in headers.sections.iter().skip(1).zip(&ends) {
        assert!(
            section.address >= *end && section.address.is_multiple_of(PAGE),
            "sections overlap in memory"
        );
    }
    let image = u32_at(&second, headers.optional + SIZE_OF_IMAGE).unwrap();
    assert!(image >= *ends.last().unwrap() && image.is_multiple_of(PAGE));
    assert_eq!(
        section_at(&second, second.len() - 1).unwrap().as_deref(),
        Some(".pcrsig")
    );
    assert_eq!(section_at(&second, 0).unwrap(), None);
}

#[test]
fn the_table_of_sections_is_finite() {
    let many = vec![(".x", &b"y"[..]); 20];
    assert_eq!(
        with_sections(&program(), &many),
        Err(PeError("its headers have no place for more sections"))
    );
}

#[test]
fn a_signature_changes_no_digest_and_everything_else_does() {
    let program = program();
    let digest = authenticode(&program).unwrap();
    let signed = with_signature(&program, &[9; 77]).unwrap();
    assert_eq!(authenticode(&signed).unwrap(), digest);
    assert_eq!(unsigned(&signed).unwrap(), program);
    assert_eq!(with_signature(&signed, &[9; 77]).unwrap(), signed, "it is replaced");
    assert_eq!(signed.len() % 8, 0);
    let left_out = |offset: usize| {
        let checksum = OPTIONAL + CHECKSUM;
        let directory = OPTIONAL + CERTIFICATES;
        (checksum..checksum + 4).contains(&offset) || (directory..directory + 8).contains(&offset)
    };
    for offset in (0..program.len()).filter(|offset| !left_out(*offset)) {
        let mut changed = program.clone();
        changed[offset] ^= 1;
        assert_ne!(authenticode(&changed).ok(), Some(digest), "byte {offset}");
    }
}

/// Everything that reads a program; none may panic.
fn use_all(program: &[u8]) {
    let _ = with_sections(program, &[(".initrd", &[1; 100])]);
    let _ = section(program, ".text");
    let _ = section_at(program, 1500);
    let _ = unsigned(program);
    let _ = authenticode(program);
    let _ = with_signature(program, &[1; 10]);
}

#[test]
fn every_cut_is_an_error() {
    let program = program();
    for length in 0..program.len() {
        assert!(Headers::of(&program[..length]).is_err(), "cut at {length}");
        use_all(&program[..length]);
    }
}

proptest! {
    #[test]
    fn damaged_headers_are_answered(
        at in 0usize..HEADERS,
        value in any::<[u8; 4]>(),
        cut in 0usize..2048,
    ) {
        let mut program = program();
        let end = (at + 4).min(program.len());
        program[at..end].copy_from_slice(&value[..end - at]);
        use_all(&program);
        program.truncate(cut);
        use_all(&program);
    }

    #[test]
    fn strangers_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        use_all(&bytes);
    }
}
