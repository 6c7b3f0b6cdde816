//! Where the parts of a backup are put: a folder of this machine's, or whatever else keeps files.

use lamchat_disk::{Disk, RealDisk, replace_file};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Takes files, one after the other.
pub trait Shelf {
    /// Begins a new file; an error where there is one of this name.
    fn begin(&mut self, name: &str) -> io::Result<()>;
    /// The next bytes of the file that was begun.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The end of that file: durable when this returns.
    fn end(&mut self) -> io::Result<()>;
    /// The last file, by which the others are found: all of them are durable before it is there.
    fn finish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Folder {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: None,
        }
    }
}

impl Shelf for Folder {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join(name))?;
        self.file = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        file.flush()?;
        file.get_ref().sync_all()
    }

    fn finish(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        RealDisk.sync_dir(&self.dir)?;
        replace_file(&RealDisk, &self.dir.join(name), bytes)
    }
}
