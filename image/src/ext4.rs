//! The template of the data partition: an ext4 file system that the pinned mke2fs makes, as the list of its blocks.
//!
//! mke2fs and its libraries come from Debian's packages; they are started by their own dynamic loader from a folder of
//! their own, so nothing of the building machine gets in. Options, UUID, hash seed and time are fixed. Each box encrypts
//! its data partition with a key of its own, so equal file systems look different on every disk.

use crate::file::{self, FileError};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a template starts with; then the number of blocks in the file system, then a record for each block that is not
/// zero: its number, its 4,096 bytes. Numbers have 64 bits and are little-endian.
const MAGIC: &[u8; 8] = b"LAMEXT4T";
/// Bytes of a block.
const BLOCK: usize = 4096;
/// The template's size. The box writes it in full, zeros too, and grows it to the partition's end.
const BYTES: u64 = 256 << 20;
/// UUID and seed for the hashes of names.
const UUID: &str = "1f2b6c0e-6a35-4d0c-9f0e-6c616d636861";
/// The programs and libraries of the packages, by the ends of their paths.
const LOADER: &str = "ld-linux-x86-64.so.2";
const PROGRAM: &str = "mke2fs";
/// libraries that mke2fs needs.
const LIBRARIES: [&str; 6] = [
    "libext2fs.so.2",
    "libcom_err.so.2",
    "libblkid.so.1",
    "libuuid.so.1",
    "libe2p.so.2",
    "libc.so.6",
];

/// The template could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The packages lack a program or library.
    #[error("the pinned packages have no {0}")]
    Missing(&'static str),
    /// mke2fs failed.
    #[error("mke2fs failed: {0}")]
    Failed(String),
}

/// Whether a file of a package is needed here.
pub fn is_wanted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == PROGRAM || name == LOADER || LIBRARIES.iter().any(|library| name.starts_with(library))
}

/// Makes the template with the files of the packages, in a folder that is empty and stays behind with them.
pub fn template<'a>(
    files: impl Iterator<Item = (&'a String, &'a Vec<u8>)>,
    folder: &Path,
) -> Result<Vec<u8>, Ext4Error> {
    file::make_folder(folder)?;
    let mut there = Vec::new();
    for (path, content) in files.filter(|(path, _)| is_wanted(path)) {
        let name = path.rsplit('/').next().unwrap_or(path);
        // A library has its full version in its name; what needs it asks for the short one.
        let name = LIBRARIES
            .into_iter()
            .find(|library| name.starts_with(library))
            .unwrap_or(name);
        file::write_new(&folder.join(name), 0o755, content)?;
        there.push(name.to_owned());
    }
    for needed in LIBRARIES.into_iter().chain([LOADER, PROGRAM]) {
        if !there.iter().any(|name| name == needed) {
            return Err(Ext4Error::Missing(needed));
        }
    }
    let image = folder.join("data.ext4");
    let output = Command::new(folder.join(LOADER))
        .arg("--library-path")
        .arg(folder)
        .arg(folder.join(PROGRAM))
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-I",
            "256",
            "-m",
            "1",
            "-L",
            "lamchat-data",
            "-U",
            UUID,
        ])
        .args([
            "-O",
            "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file",
        ])
        .args(["-O", "huge_file,dir_nlink,extra_isize,metadata_csum,meta_bg"])
        .args(["-J", "size=64"])
        .args([
            "-E",
            &format!("hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard"),
        ])
        .arg(&image)
        // In blocks, because `-b` says how large they are.
        .arg((BYTES / BLOCK as u64).to_string())
        .env_clear()
        // An empty configuration: the options above are all. The time is 1 January 2026.
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("E2FSPROGS_FAKE_TIME", "1767225600")
        .env("LC_ALL", "C")
        .env("TZ", "UTC0")
        .stdin(Stdio::null())
        .output()
        .map_err(FileError::at(&folder.join(PROGRAM)))?;
    if !output.status.success() {
        return Err(Ext4Error::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let made = file::read(&image)?;
    if made.len() as u64 != BYTES {
        return Err(Ext4Error::Failed(format!("{} bytes instead of {BYTES}", made.len())));
    }
    Ok(blocks(&made))
}

fn blocks(image: &[u8]) -> Vec<u8> {
    let (blocks, _) = image.as_chunks::<BLOCK>();
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(blocks.len() as u64).to_le_bytes());
    for (number, block) in (0u64..).zip(blocks) {
        if block.iter().any(|byte| *byte != 0) {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(block);
        }
    }
    out
}
