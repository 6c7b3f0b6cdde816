//! Variables of the firmware, as the kernel shows them: Documentation/filesystems/efivarfs.rst. A file's first four
//! bytes are the attributes.

pub mod boot_order;
mod load_option;

pub use load_option::Start;

use rustix::fs::IFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Where they are mounted.
const FOLDER: &str = "/sys/firmware/efi/efivars";
/// Longest variable that is read: dbx has some tens of kilobytes.
const BYTES_MAX: u64 = 1 << 20;
/// EFI_GLOBAL_VARIABLE, UEFI 2.10, 3.3: PK, KEK, SecureBoot, SetupMode.
pub const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// EFI_IMAGE_SECURITY_DATABASE_GUID, UEFI 2.10, 32.6.1: db, dbx.
pub const DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

/// The boot loader's own: systemd's Boot Loader Interface, LoaderEntrySelected, LoaderDevicePartUUID.
pub const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A variable could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the firmware's variable {name}: {source}")]
pub struct VariableError {
    /// Its name.
    pub name: String,
    /// What the system said. For a refused signature the kernel says "permission denied".
    pub source: std::io::Error,
}

/// The firmware's variables.
#[derive(Debug, Clone)]
pub struct Variables {
    folder: PathBuf,
}

impl Variables {
    /// Those of this machine.
    pub fn of_machine() -> Self {
        Self::in_folder(FOLDER)
    }

    /// Those in a folder that looks like the kernel's.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Whether this machine has any: not without UEFI.
    pub fn are_there(&self) -> bool {
        std::fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// A variable's content, without its attributes; `None` if there is none of this name.
    pub fn read(&self, name: &str, vendor: &str) -> Result<Option<Vec<u8>>, VariableError> {
        let read = || -> std::io::Result<Option<Vec<u8>>> {
            let file = match File::open(self.path(name, vendor)) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut bytes = Vec::new();
            file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > BYTES_MAX || bytes.len() < 4 {
                return Err(ErrorKind::InvalidData.into());
            }
            Ok(Some(bytes.split_off(4)))
        };
        read().map_err(|source| VariableError {
            name: name.to_owned(),
            source,
        })
    }

    /// Whether a variable is one byte that is 1, as SecureBoot and SetupMode are.
    pub fn is_set(&self, name: &str, vendor: &str) -> Result<bool, VariableError> {
        Ok(self.read(name, vendor)?.as_deref() == Some(&[1]))
    }

    /// A variable with text: UTF-16 up to a zero.
    pub fn text(&self, name: &str, vendor: &str) -> Result<Option<String>, VariableError> {
        let Some(bytes) = self.read(name, vendor)? else {
            return Ok(None);
        };
        let text = decode(&bytes).ok_or_else(|| VariableError {
            name: name.to_owned(),
            source: ErrorKind::InvalidData.into(),
        });
        text.map(Some)
    }

    /// Writes a variable; the firmware decides whether it takes it.
    pub fn write(&self, name: &str, vendor: &str, attributes: u32, content: &[u8]) -> Result<(), VariableError> {
        let path = self.path(name, vendor);
        let write = || -> std::io::Result<()> {
            allow_writing(&path)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            // The firmware gets what comes in one call.
            let bytes = [attributes.to_le_bytes().as_slice(), content].concat();
            if file.write(&bytes)? != bytes.len() {
                return Err(ErrorKind::WriteZero.into());
            }
            Ok(())
        };
        write().map_err(|source| VariableError {
            name: name.to_owned(),
            source,
        })
    }

    /// The names of a vendor's variables.
    pub fn names(&self, vendor: &str) -> Result<Vec<String>, VariableError> {
        let names = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&self.folder)? {
                let file = entry?.file_name();
                // What is not text is nobody's variable that is asked for here.
                let name = file
                    .to_str()
                    .and_then(|file| file.strip_suffix(vendor)?.strip_suffix('-'));
                names.extend(name.map(str::to_owned));
            }
            Ok(names)
        };
        names().map_err(|source| VariableError {
            name: "list".to_owned(),
            source,
        })
    }

    /// Takes a variable away; one that is not there already is.
    pub fn remove(&self, name: &str, vendor: &str) -> Result<(), VariableError> {
        let path = self.path(name, vendor);
        let remove = || match allow_writing(&path).and_then(|()| std::fs::remove_file(&path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        };
        remove().map_err(|source| VariableError {
            name: name.to_owned(),
            source,
        })
    }

    fn path(&self, name: &str, vendor: &str) -> PathBuf {
        self.folder.join(format!("{name}-{vendor}"))
    }
}

fn decode(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .take_while(|unit| *unit != 0)
        .collect();
    if rest.is_empty() {
        String::from_utf16(&units).ok()
    } else {
        None
    }
}

/// The kernel protects variables against `rm -rf` by marking their files as unchangeable.
fn allow_writing(path: &Path) -> std::io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let flags = match rustix::fs::ioctl_getflags(&file) {
        Ok(flags) => flags,
        // A file system without such marks: a test's.
        Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if flags.contains(IFlags::IMMUTABLE) {
        rustix::fs::ioctl_setflags(&file, flags.difference(IFlags::IMMUTABLE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn variables_are_written_with_attributes_and_read_without() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        assert!(!variables.are_there());
        assert_eq!(variables.read("PK", GLOBAL).unwrap(), None);
        variables.write("SetupMode", GLOBAL, 6, &[1]).unwrap();
        assert!(variables.are_there());
        assert_eq!(variables.read("SetupMode", GLOBAL).unwrap(), Some(vec![1]));
        assert!(variables.is_set("SetupMode", GLOBAL).unwrap());
        assert!(!variables.is_set("SecureBoot", GLOBAL).unwrap());
        let file = folder.path().join(format!("SetupMode-{GLOBAL}"));
        assert_eq!(std::fs::read(&file).unwrap(), [6, 0, 0, 0, 1]);
        std::fs::write(&file, [6, 0]).unwrap();
        assert!(variables.read("SetupMode", GLOBAL).is_err(), "too short for attributes");
        std::fs::write(&file, vec![0; 1 + (1 << 20)]).unwrap();
        assert!(variables.read("SetupMode", GLOBAL).is_err(), "too long");
    }

    #[test]
    fn text_is_utf_16_with_a_zero_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        assert_eq!(variables.text("x", LOADER).unwrap(), None);
        for (content, expected) in [
            (&b"a\0-\0b\0\0\0"[..], Some("a-b")),
            (b"a\0", Some("a")),
            (b"", Some("")),
            (b"a", None),
            (b"\x00\xd8", None),
        ] {
            let file = folder.path().join(format!("x-{LOADER}"));
            std::fs::write(&file, [&[6, 0, 0, 0], content].concat()).unwrap();
            let text = variables.text("x", LOADER).ok().flatten();
            assert_eq!(text.as_deref(), expected, "{content:?}");
        }
    }
}
