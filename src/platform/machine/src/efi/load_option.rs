//! What the firmware's list of starts has for each of them: EFI_LOAD_OPTION (UEFI Specification 2.10, 3.1.3) with the
//! short form of a path to a file on a partition (10.3.5.1, 10.3.5.4). Bytes in, bytes out.

/// LOAD_OPTION_ACTIVE.
const ACTIVE: u32 = 1;
/// Bytes before the description: attributes, and the length of the path.
const HEADER_BYTES: usize = 6;
/// A media device path's node of a partition, and its length.
const PARTITION: [u8; 4] = [4, 1, 42, 0];
/// A media device path's node of a file, before its length.
const FILE: [u8; 2] = [4, 4];
/// The end of the path.
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// At the end of a partition's node: the table is a GPT, the signature a GUID.
const BY_GUID: [u8; 2] = [2, 2];
/// The one file name that every firmware starts (3.5.1.1), and the only one that the image has.
const PROGRAM: &str = "\\EFI\\BOOT\\BOOTX64.EFI";

/// A partition that the firmware is to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What the firmware's menu shows. Begins with [`Start::NAME`].
    pub description: String,
    /// The partition's number, from 1.
    pub number: u32,
    /// Its first block and how many there are, in blocks of the disk.
    pub first_block: u64,
    /// Blocks.
    pub blocks: u64,
    /// Its PARTUUID, as the bytes on the disk.
    pub id: [u8; 16],
}

impl Start {
    /// How every description of ours begins.
    pub const NAME: &str = "LamChat";

    /// The option that starts it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let program = utf16(PROGRAM);
        // The program's name has a fixed length, far below the field's limit.
        let file_bytes = u16::try_from(program.len() + 4).unwrap_or_default();
        let mut path = PARTITION.to_vec();
        path.extend(self.number.to_le_bytes());
        path.extend(self.first_block.to_le_bytes());
        path.extend(self.blocks.to_le_bytes());
        path.extend(self.id);
        path.extend(BY_GUID);
        path.extend(FILE);
        path.extend(file_bytes.to_le_bytes());
        path.extend(program);
        path.extend(END);
        let path_bytes = u16::try_from(path.len()).unwrap_or_default();
        let mut option = ACTIVE.to_le_bytes().to_vec();
        option.extend(path_bytes.to_le_bytes());
        option.extend(utf16(&self.description));
        option.extend(path);
        option
    }

    /// Whether an option starts from this partition. Some firmware puts the path to the disk before the short form, so the
    /// partition counts wherever it is named.
    pub(super) fn is_of(&self, option: &[u8]) -> bool {
        let wanted: Vec<u8> = self.id.into_iter().chain(BY_GUID).collect();
        option.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// Whether an option is one that [`Start::encode`] made, for whichever disk: by its description and its program.
pub(super) fn is_ours(option: &[u8]) -> bool {
    let name: Vec<u8> = Start::NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let program = utf16(PROGRAM);
    let described = option.get(HEADER_BYTES..).unwrap_or_default();
    described.starts_with(&name) && described.windows(program.len()).any(|window| window == program)
}

/// With a zero at its end.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    pub fn start(byte: u8) -> Start {
        Start {
            description: "LamChat".to_owned(),
            number: 1,
            first_block: 2048,
            blocks: 0x8_0000,
            id: [byte; 16],
        }
    }

    /// Written down by hand from the specification's tables.
    #[test]
    fn an_option_is_as_the_specification_has_it() {
        let option = start(0xAB).encode();
        let mut expected = vec![1, 0, 0, 0];
        let path_bytes = 42 + (4 + 2 * (21 + 1)) + 4;
        expected.extend([path_bytes, 0]);
        expected.extend(b"L\0a\0m\0C\0h\0a\0t\0\0\0");
        expected.extend([4, 1, 42, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0]);
        expected.extend([0xAB; 16]);
        expected.extend([2, 2, 4, 4, 48, 0]);
        expected.extend("\\EFI\\BOOT\\BOOTX64.EFI\0".bytes().flat_map(|letter| [letter, 0]));
        expected.extend([0x7f, 0xff, 4, 0]);
        assert_eq!(option, expected);
    }

    #[test]
    fn ours_are_known_by_name_and_program_and_their_partition_by_its_guid() {
        let option = start(7).encode();
        assert!(is_ours(&option) && start(7).is_of(&option) && !start(8).is_of(&option));
        // A firmware that puts the path to the disk before the partition.
        let mut long = option.clone();
        let at = HEADER_BYTES + 16;
        long.splice(at..at, [2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, 5]);
        assert!(is_ours(&long) && start(7).is_of(&long));
        let mut other = option.clone();
        *other.get_mut(HEADER_BYTES).unwrap() = b'K';
        assert!(!is_ours(&other));
        assert!((0..option.len() - 4).all(|end| !is_ours(option.get(..end).unwrap())));
    }
}
