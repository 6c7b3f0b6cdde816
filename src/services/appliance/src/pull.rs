//! Looking for a newer release at an address that the operator names. What is found is kept as it came; whoever installs
//! it checks all of it, so nothing here decides over anything but what is downloaded.
//!
//! The file at the address is a bundle. Its header comes first, so an older release costs one answer's beginning. A
//! download that was cut off goes on where it ended, if the server tells versions apart by tags.

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;
use lamchat_http::client::{Address, DialError, Trust};
use lamchat_http::fetch::{Content, FetchError, Fetched, Wanted, fetch};
use lamchat_release::{BUNDLE_BYTES_MAX, BundleError, Header, HeaderError, Start, Version};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long one look may take; what arrived until then is kept.
const LOOK_MAX: Duration = Duration::from_secs(2 * 3600);
const CHUNK_BYTES: usize = 64 << 10;
/// Longest note about a file.
const NOTE_BYTES_MAX: u64 = 4096;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Source {
    /// The bundle's address.
    pub url: Uri,
    /// Where its server is, if nobody is to be asked.
    pub at: Option<IpAddr>,
    /// By what the server is known.
    pub trust: Trust,
    /// Whether a name may lead to loopback, private and link-local addresses. An address that the operator wrote down may
    /// be one.
    pub may_be_private: bool,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The file that was judged already.
    Same,
    /// Another file, with a release that is not above the one that runs.
    NotNewer,
    /// A newer release.
    Newer(Pulled),
}

/// A newer release, complete and unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What its header says.
    pub version: Version,
    /// The bundle.
    pub path: PathBuf,
    header: String,
    tag: Option<String>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The address.
    #[error("{0:?} is not the address of a bundle")]
    Address(String),
    /// The connection.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The answer.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The file is no bundle.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// Its header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// It is longer than any bundle.
    #[error("the file has {0} bytes, more than a bundle may have")]
    TooLong(u64),
    /// It takes too long.
    #[error("the download takes too long; it goes on next time")]
    Late,
    /// The disk here, or the connection while it is read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The folder of what was found, of which nobody else may use anything.
#[derive(Debug)]
pub struct Puller {
    folder: PathBuf,
}

impl Puller {
    /// In this folder, which is made.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn part(&self) -> PathBuf {
        self.folder.join("part")
    }

    /// Looks for a release above `running` that was not judged yet. Blocks.
    ///
    /// # Errors
    /// The server does not answer as it should. What was downloaded is kept for the next look.
    pub fn look(&self, source: &Source, running: Version) -> Result<Look, PullError> {
        let url = source.url.to_string();
        let address = source.url.authority().map(|authority| format!("https://{authority}"));
        let address: Address = address.ok_or_else(|| PullError::Address(url.clone()))?.parse()?;
        let may = |ip: &IpAddr| source.may_be_private || !is_private(ip);
        let stream = address.dial_where(Some(&source.trust), SILENCE_MAX, source.at, may)?;
        let mut part = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.part())?;
        let there = part.metadata()?.len();
        let begun = Note::read(&self.folder.join("part.note"), &url).and_then(|note| note.tag);
        let seen = Note::read(&self.folder.join("seen.note"), &url);
        let wanted = match (&begun, seen.as_ref().and_then(|seen| seen.tag.as_deref())) {
            (Some(tag), _) if there > 0 => Wanted::Behind(there, tag),
            (_, Some(tag)) => Wanted::Unless(tag),
            _ => Wanted::Whole,
        };
        let content = match fetch(stream, &source.url, wanted) {
            Ok(Fetched::Same) => return Ok(Look::Same),
            Ok(Fetched::Rest(content)) => {
                part.seek(SeekFrom::End(0))?;
                content
            }
            Ok(Fetched::Whole(content)) => {
                part.set_len(0)?;
                part.seek(SeekFrom::Start(0))?;
                content
            }
            Err(error) => {
                // Whatever is there, the server does not go on with it.
                if matches!(error, FetchError::Status(_) | FetchError::Malformed(_)) {
                    part.set_len(0)?;
                }
                return Err(error.into());
            }
        };
        let whole = part.stream_position()?.saturating_add(content.bytes);
        if whole > BUNDLE_BYTES_MAX {
            part.set_len(0)?;
            return Err(PullError::TooLong(whole));
        }
        self.receive(&url, part, content, running, seen.as_ref())
    }

    fn receive(
        &self,
        url: &str,
        mut part: File,
        mut content: Content,
        running: Version,
        seen: Option<&Note>,
    ) -> Result<Look, PullError> {
        let start = if part.stream_position()? == 0 {
            let mut keeping = Keeping {
                from: &mut content.body,
                to: &mut part,
            };
            Start::read(&mut keeping)?
        } else {
            let end = part.stream_position()?;
            part.seek(SeekFrom::Start(0))?;
            let start = Start::read(&mut part)?;
            part.seek(SeekFrom::Start(end))?;
            start
        };
        let found = Pulled {
            version: Header::from_bytes(&start.header)?.version,
            path: self.part(),
            header: hex(digest(&SHA256, &start.header).as_ref()),
            tag: content.tag.clone(),
        };
        let is_seen = seen.is_some_and(|seen| seen.header == found.header);
        if found.version <= running || is_seen {
            self.judged(url, &found)?;
            return Ok(if is_seen { Look::Same } else { Look::NotNewer });
        }
        Note::of(url, &found).write(&self.folder.join("part.note"))?;
        let end = Instant::now() + LOOK_MAX;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = content.body.read(&mut chunk)?;
            if length == 0 {
                part.sync_all()?;
                return Ok(Look::Newer(found));
            }
            part.write_all(chunk.get(..length).unwrap_or_default())?;
            if Instant::now() > end {
                return Err(PullError::Late);
            }
        }
    }

    /// What was found has been taken, or refused: it is not downloaded again.
    ///
    /// # Errors
    /// The disk fails.
    pub fn judged(&self, url: &str, pulled: &Pulled) -> std::io::Result<()> {
        Note::of(url, pulled).write(&self.folder.join("seen.note"))?;
        File::options().write(true).open(self.part())?.set_len(0)
    }
}

/// What is known of a file: three lines.
struct Note {
    url: String,
    header: String,
    tag: Option<String>,
}

impl Note {
    fn of(url: &str, pulled: &Pulled) -> Self {
        Self {
            url: url.to_owned(),
            header: pulled.header.clone(),
            tag: pulled.tag.clone(),
        }
    }

    /// One that cannot be read is none: then the file is fetched from its beginning.
    fn read(path: &Path, url: &str) -> Option<Self> {
        let mut text = String::new();
        File::open(path)
            .ok()?
            .take(NOTE_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        let mut lines = text.lines();
        let note = Self {
            url: lines.next()?.to_owned(),
            header: lines.next()?.to_owned(),
            tag: lines.next().map(str::to_owned).filter(|tag| !tag.is_empty()),
        };
        (note.url == url).then_some(note)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let tag = self.tag.as_deref().unwrap_or_default();
        std::fs::write(path, format!("{}\n{}\n{tag}\n", self.url, self.header))
    }
}

/// Keeps what is read.
struct Keeping<'a> {
    from: &'a mut dyn Read,
    to: &'a mut File,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Loopback, private and link-local addresses, also those of IPv4 within IPv6.
fn is_private(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::is_private;

    #[test]
    fn private_addresses_are_known() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(&private.parse().unwrap()), "{private}");
        }
        for public in ["192.0.2.1", "2001:db8::1", "8.8.8.8"] {
            assert!(!is_private(&public.parse().unwrap()), "{public}");
        }
    }
}
