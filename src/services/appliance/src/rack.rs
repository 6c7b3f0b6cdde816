//! Where the parts of a backup are read from: a folder of this machine's, or whatever else has files.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Has files, and gives them one after the other: what is read is the content of the one that was begun last.
pub trait Rack: Read {
    /// The length of a file in bytes; an error of the kind `NotFound` where there is none.
    fn length(&mut self, name: &str) -> io::Result<u64>;
    /// Begins a file, also one that was begun before; an error of the kind `NotFound` where there is none.
    fn begin(&mut self, name: &str) -> io::Result<()>;
}

/// A folder.
#[derive(Debug)]
pub(crate) struct FolderRack {
    dir: PathBuf,
    file: Option<BufReader<File>>,
}

impl FolderRack {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: None,
        }
    }
}

impl Rack for FolderRack {
    fn length(&mut self, name: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.dir.join(name))?.len())
    }

    fn begin(&mut self, name: &str) -> io::Result<()> {
        let file = File::open(self.dir.join(name))?;
        self.file = Some(BufReader::with_capacity(1 << 20, file));
        Ok(())
    }
}

impl Read for FolderRack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.read(buffer),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}
