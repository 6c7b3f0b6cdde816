//! Unpacks Debian's packages (deb(5)): an `ar` archive with a `data.tar.xz` in it.

use std::collections::BTreeMap;
use std::io::Read;

/// A single file in a package is never longer.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// Damage in one of the archives.
    #[error("the package is damaged: {0}")]
    Archive(#[from] std::io::Error),
    /// It has no `data.tar.xz`.
    #[error("the package has no data.tar.xz")]
    NoData,
    /// A file is longer than any honest one.
    #[error("{0} in the package is too long")]
    TooLong(String),
}

/// The regular files of a package that `wanted` picks by their path, which has no leading `./`.
pub fn files(package: &[u8], wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<u8>>, DebError> {
    let mut outer = ar::Archive::new(package);
    while let Some(member) = outer.next_entry() {
        let member = member?;
        if member.header().identifier() != b"data.tar.xz" {
            continue;
        }
        let mut found = BTreeMap::new();
        let data = std::io::BufReader::new(member);
        let mut inner = tar::Archive::new(lzma_rust2::XzReader::new(data, true));
        for file in inner.entries()? {
            let mut file = file?;
            let path = String::from_utf8_lossy(&file.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").to_owned();
            if !file.header().entry_type().is_file() || !wanted(&path) {
                continue;
            }
            if file.size() > FILE_BYTES_MAX {
                return Err(DebError::TooLong(path));
            }
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            found.insert(path, content);
        }
        return Ok(found);
    }
    Err(DebError::NoData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            bytes.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    100_644,
                    content.len()
                )
                .bytes(),
            );
            bytes.extend_from_slice(content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn what_is_no_package_is_an_error() {
        let none = files(&archive(&[("debian-binary", b"2.0\n")]), |_| true);
        assert!(matches!(none, Err(DebError::NoData)));
        let damaged = files(&archive(&[("data.tar.xz", b"no xz")]), |_| true);
        assert!(matches!(damaged, Err(DebError::Archive(_))));
    }

    proptest! {
        #[test]
        fn strangers_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = files(&bytes, |_| true);
            let start = b"\xFD7zXZ\0".as_slice();
            let _ = files(&archive(&[("data.tar.xz", &[start, &bytes].concat())]), |_| true);
        }
    }
}
