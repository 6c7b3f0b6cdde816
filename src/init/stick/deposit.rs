//! Files that are put onto a stick, and read back from it by another process before anybody is told that they are there.

use crate::init::state::Shared;
use aws_lc_rs::digest::{Context, SHA256};
use lamchat_machine::usb::UsbDisk;
use lamchat_stick::{FILE_BYTES_MAX, Stick};
use std::io::Read;
use std::sync::Arc;

/// Bytes that are read back at once.
const CHUNK: usize = 64 << 10;
/// Names that are tried for a folder: a clock that was set back finds the first ones taken.
const FOLDERS_MAX: u32 = 20;

/// What was written, and has to be read back.
struct Written {
    path: String,
    bytes: u64,
    digest: Vec<u8>,
}

/// A new folder on a stick.
pub struct Deposit {
    shared: Arc<Shared>,
    disk: UsbDisk,
    stick: Stick,
    /// Its path.
    pub folder: String,
    written: Vec<Written>,
    open: Option<(String, u64, Context)>,
}

impl Deposit {
    /// Makes a folder on the stick whose name begins with `name`; the time follows.
    pub fn begin(shared: &Arc<Shared>, disk: &UsbDisk, name: &str) -> Result<Self, String> {
        let mut stick = super::open(shared, disk)?;
        let time = crate::cli::output::time(lamchat_machine::time::now_ms());
        let time: String = time.chars().filter(char::is_ascii_digit).collect();
        let taken = stick.list("").map_err(|error| error.to_string())?;
        for number in 1..=FOLDERS_MAX {
            let folder = match number {
                1 => format!("lamchat-{name}-{time}"),
                number => format!("lamchat-{name}-{time}-{number}"),
            };
            if taken.iter().any(|entry| entry.name.eq_ignore_ascii_case(&folder)) {
                continue;
            }
            stick.make_folder(&folder).map_err(|error| error.to_string())?;
            return Ok(Self {
                shared: Arc::clone(shared),
                disk: disk.clone(),
                stick,
                folder,
                written: Vec::new(),
                open: None,
            });
        }
        Err("the stick has folders of this minute already: try again in the next one".to_owned())
    }

    /// A folder in it.
    pub fn make_folder(&mut self, name: &str) -> Result<(), String> {
        let path = format!("{}/{name}", self.folder);
        self.stick.make_folder(&path).map_err(|error| error.to_string())
    }

    /// Begins a file.
    pub fn create(&mut self, name: &str) -> Result<(), String> {
        let path = format!("{}/{name}", self.folder);
        self.stick.create(&path).map_err(|error| error.to_string())?;
        self.open = Some((path, 0, Context::new(&SHA256)));
        Ok(())
    }

    /// The next bytes of the file that was begun.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some((_, count, digest)) = &mut self.open {
            *count += bytes.len() as u64;
            digest.update(bytes);
        }
        self.stick.push(bytes).map_err(|error| error.to_string())
    }

    /// The end of the file.
    pub fn end(&mut self) -> Result<(), String> {
        self.stick.end().map_err(|error| error.to_string())?;
        if let Some((path, bytes, digest)) = self.open.take() {
            let digest = digest.finish().as_ref().to_vec();
            self.written.push(Written { path, bytes, digest });
        }
        Ok(())
    }

    /// A whole file.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        self.create(name)?;
        self.push(content)?;
        self.end()
    }

    /// Leaves the stick clean, then reads everything back from it and compares. Nobody has the device open in between, so
    /// the kernel keeps nothing of what was written. `progress` hears the bytes. Answers how many files and bytes there are.
    pub fn finish(self, progress: &mut dyn FnMut(u64)) -> Result<(usize, u64), String> {
        let Self {
            shared,
            disk,
            stick,
            written,
            ..
        } = self;
        stick.close().map_err(|error| error.to_string())?;
        let mut stick = super::open(&shared, &disk)?;
        let mut total = 0;
        for file in &written {
            let mut reader = stick
                .read(&file.path, FILE_BYTES_MAX)
                .map_err(|error| error.to_string())?;
            let (mut digest, mut bytes, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK]);
            loop {
                let length = reader.read(&mut chunk).map_err(|error| error.to_string())?;
                let Some(part) = chunk.get(..length).filter(|part| !part.is_empty()) else {
                    break;
                };
                digest.update(part);
                bytes += length as u64;
                total += length as u64;
                progress(total);
            }
            if bytes != file.bytes || digest.finish().as_ref() != file.digest {
                return Err(format!(
                    "{} was read back from the stick and is not what was written: use another stick",
                    file.path
                ));
            }
        }
        stick.close().map_err(|error| error.to_string())?;
        Ok((written.len(), total))
    }
}
