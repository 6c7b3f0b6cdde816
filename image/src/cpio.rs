//! The initrd: a cpio archive in the format `newc` (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Owner 0, time 0, inode numbers in the order of adding: nothing of the building machine gets in.

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

/// A file is longer than 32 bits can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is too long for the initrd")]
pub struct TooLong(String);

/// An archive that is being written.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl Cpio {
    /// A folder with mode 0755. Those above it must have been added before.
    pub fn folder(&mut self, name: &str) -> Result<(), TooLong> {
        self.push(Entry {
            name,
            mode: FOLDER | 0o755,
            device: (0, 0),
            content: &[],
        })
    }

    /// A file with the permission bits of `mode`.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), TooLong> {
        self.push(Entry {
            name,
            mode: REGULAR | mode,
            device: (0, 0),
            content,
        })
    }

    /// A character device of root alone, with its major and minor number.
    pub fn character_device(&mut self, name: &str, device: (u32, u32)) -> Result<(), TooLong> {
        self.push(Entry {
            name,
            mode: CHARACTER | 0o600,
            device,
            content: &[],
        })
    }

    /// The archive with its end.
    pub fn finish(mut self) -> Result<Vec<u8>, TooLong> {
        self.entries = 0;
        self.push(Entry {
            name: TRAILER,
            mode: 0,
            device: (0, 0),
            content: &[],
        })?;
        Ok(self.bytes)
    }

    fn push(&mut self, entry: Entry<'_>) -> Result<(), TooLong> {
        let too_long = || TooLong(entry.name.to_owned());
        let length = u32::try_from(entry.content.len()).map_err(|_| too_long())?;
        let name_length = u32::try_from(entry.name.len() + 1).map_err(|_| too_long())?;
        let links = if entry.mode & FOLDER == FOLDER { 2 } else { 1 };
        let fields = [
            self.entries,
            entry.mode,
            0,
            0,
            links,
            0,
            length,
            0,
            0,
            entry.device.0,
            entry.device.1,
            name_length,
            0,
        ];
        self.entries += 1;
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::Cpio;

    /// What the kernel reads: mode, length and device of each entry.
    fn entries(mut rest: &[u8]) -> Vec<(String, u32, Vec<u8>, u32)> {
        let mut found = Vec::new();
        loop {
            let (header, tail) = rest.split_at_checked(110).unwrap();
            assert!(header.starts_with(b"070701"));
            let field = |number: usize| {
                let text = header.get(6 + 8 * number..14 + 8 * number).unwrap();
                u32::from_str_radix(std::str::from_utf8(text).unwrap(), 16).unwrap()
            };
            // Owner, group and time.
            assert_eq!([field(2), field(3), field(5)], [0; 3]);
            let (length, name_length) = (field(6) as usize, field(11) as usize);
            let padding = |length: usize| length.next_multiple_of(4) - length;
            let (name, tail) = tail.split_at_checked(name_length).unwrap();
            let tail = tail.get(padding(110 + name_length)..).unwrap();
            let (content, tail) = tail.split_at_checked(length).unwrap();
            rest = tail.get(padding(length)..).unwrap();
            let (zero, name) = name.split_last().unwrap();
            assert_eq!(*zero, 0);
            let name = String::from_utf8(name.to_vec()).unwrap();
            if name == "TRAILER!!!" {
                assert!(rest.is_empty());
                return found;
            }
            found.push((name, field(1), content.to_vec(), field(9) << 8 | field(10)));
        }
    }

    #[test]
    fn the_archive_is_read_back() {
        let make = || {
            let mut archive = Cpio::default();
            archive.folder("etc").unwrap();
            archive.file("etc/a", 0o644, b"12345").unwrap();
            archive.file("lamchat", 0o755, &[]).unwrap();
            archive.character_device("dev/console", (5, 1)).unwrap();
            archive.finish().unwrap()
        };
        let expected: [(&str, u32, &[u8], u32); 4] = [
            ("etc", 0o040_755, b"", 0),
            ("etc/a", 0o100_644, b"12345", 0),
            ("lamchat", 0o100_755, b"", 0),
            ("dev/console", 0o020_600, b"", 0x501),
        ];
        let expected = expected.map(|(name, mode, content, device)| (name.to_owned(), mode, content.to_vec(), device));
        assert_eq!(entries(&make()), expected);
        assert_eq!(make(), make());
        assert_eq!(make().len() % 4, 0);
    }
}
