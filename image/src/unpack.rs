//! What is taken out of the pinned packages.

use crate::assemble::AssembleError;
use crate::file::FileError;
use crate::inputs::{self, Package};
use crate::modules::{self, ModuleSet};
use crate::{deb, ext4};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the packages have what we take.
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const KERNEL: &str = "boot/vmlinuz-";

/// What the packages give.
pub struct Unpacked {
    /// The packages.
    pub packages: Vec<Package>,
    /// The kernel.
    pub kernel: Vec<u8>,
    /// Its version, which names the folder of its modules.
    pub kernel_version: String,
    /// The modules and their lists.
    pub modules: ModuleSet,
    /// systemd's stub.
    pub stub: Vec<u8>,
    /// systemd-boot, unsigned.
    pub loader: Vec<u8>,
    /// The template of the data partition.
    pub template: Vec<u8>,
}

/// Reads the packages of a folder; `work` is a folder that may be made and is gone afterwards.
pub fn unpack(folder: &Path, work: &Path) -> Result<Unpacked, AssembleError> {
    let mut files = BTreeMap::new();
    let mut kernel_version = String::new();
    let packages = inputs::pinned()?;
    for package in &packages {
        let bytes = inputs::read(folder, package)?;
        if let Some(version) = package.name.strip_prefix("linux-image-") {
            kernel_version = version.to_owned();
        }
        let wanted = |path: &str| {
            path == STUB
                || path == LOADER
                || path.starts_with(KERNEL)
                || modules::is_candidate(path)
                || ext4::is_wanted(path)
        };
        let unpacked = deb::files(&bytes, wanted).map_err(|error| AssembleError::Package(package.file(), error))?;
        files.extend(unpacked);
    }
    let modules = modules::pick(&files)?;
    let template = ext4::template(files.iter(), work)?;
    std::fs::remove_dir_all(work).map_err(FileError::at(work))?;
    let mut take = |path: &str, name| files.remove(path).ok_or(AssembleError::Missing(name));
    Ok(Unpacked {
        packages,
        kernel: take(&format!("{KERNEL}{kernel_version}"), "kernel")?,
        stub: take(STUB, "stub")?,
        loader: take(LOADER, "boot loader")?,
        kernel_version,
        modules,
        template,
    })
}
