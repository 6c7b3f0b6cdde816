//! Puts a release together: a function of the inputs, the program and the signatures.

use crate::deb::DebError;
use crate::disk::{self, Content};
use crate::ext4::Ext4Error;
use crate::file::{self, FileError};
use crate::inputs::InputError;
use crate::modules::ModuleError;
use crate::pe::PeError;
use crate::release::Release;
use crate::sbom::SbomError;
use crate::signer::{Signer, SignerError};
use crate::source::Needs;
use crate::statements::{self, Written};
use crate::uki::{self, InitrdParts, Kind, Parts, UkiError};
use crate::unpack::{Unpacked, unpack};
use crate::{esp, pcr11, sbom};
use lamchat_attestation::Sha256;
use lamchat_release::{BundleError, VersionError};
use std::path::Path;

/// Bytes of the EFI system partition: two slots of more than 100 MB.
const ESP_BYTES: u64 = 256 << 20;
/// Bytes of the keyring's partition.
const KEYRING_BYTES: u64 = 4 << 20;
/// Bytes of the data partition in the image; set-up grows it to the disk's end.
const DATA_BYTES: u64 = 64 << 20;
/// A release could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An input is missing or not the pinned one.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A package is damaged.
    #[error("{0}: {1}")]
    Package(String, DebError),
    /// A package lacks a file.
    #[error("the pinned packages have no {0}")]
    Missing(&'static str),
    /// The modules do not fit.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// The template of the data partition.
    #[error(transparent)]
    Template(#[from] Ext4Error),
    /// The unified kernel image.
    #[error(transparent)]
    Uki(#[from] UkiError),
    /// The EFI system partition.
    #[error("the EFI system partition cannot be made: {0}")]
    Esp(std::io::Error),
    /// A signature.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A program for the firmware.
    #[error(transparent)]
    Program(#[from] PeError),
    /// JSON could not be written.
    #[error("JSON cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The software bill of materials.
    #[error(transparent)]
    Sbom(#[from] SbomError),
    /// The update bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The release's version is not three numbers.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// What a release is made of.
pub struct Sources<'a> {
    /// The release.
    pub release: Release,
    /// The static program.
    pub program: &'a [u8],
    /// The folder of the pinned packages.
    pub inputs: &'a Path,
    /// `Cargo.lock`.
    pub lock: &'a str,
    /// What each of the workspace's crates needs.
    pub needs: &'a Needs,
    /// What changed, for whoever accepts an update.
    pub changelog: &'a str,
}

/// Writes a release into a folder, which is there and empty.
pub fn assemble(sources: &Sources<'_>, signer: &mut Signer, out: &Path) -> Result<(), AssembleError> {
    let unpacked = unpack(sources.inputs, &out.join("work"))?;
    let version = &sources.release.version;
    let seed = format!("lamchat {version} {}", sources.release.commit);
    let loader = signer.program("systemd-boot", &unpacked.loader)?;
    let bill = bill(sources, &unpacked)?;
    let uki = make_uki(sources, &unpacked, Kind::Disk, &[carried(&bill)], signer)?;
    let name = |suffix: &str| out.join(format!("lamchat-{version}{suffix}"));
    file::write(&name(".efi"), &uki)?;
    file::write(&out.join("systemd-bootx64.efi"), &loader)?;

    let volume = esp::make(ESP_BYTES, disk::serial(&seed), &loader, &[(esp::SLOT_A, &uki)]);
    let volume = volume.map_err(AssembleError::Esp)?;
    let image = name(".img");
    disk::write(
        &image,
        &seed,
        &[
            content("lamchat-esp", disk::ESP, ESP_BYTES, &volume),
            content("lamchat-keyring", disk::KEYRING, KEYRING_BYTES, &[]),
            content("lamchat-data", disk::DATA, DATA_BYTES, &[]),
        ],
    )?;

    let payload = file::read(&image)?;
    let described = serde_json::json!({ "bytes": payload.len(), "sha256": Sha256::of(&payload).to_string() });
    let mut extra = vec![("lamchat/payload.json".to_owned(), format!("{described}\n").into_bytes())];
    for (file, update) in signer.enrolments()? {
        extra.push((format!("lamchat/secureboot/{file}"), update));
    }
    let installer = make_uki(sources, &unpacked, Kind::Installer, &extra, signer)?;
    let seed = format!("{seed} installer");
    let volume = esp::make(ESP_BYTES, disk::serial(&seed), &loader, &[(esp::INSTALLER, &installer)]);
    let volume = volume.map_err(AssembleError::Esp)?;
    disk::write(
        &name("-installer.img"),
        &seed,
        &[
            content("lamchat-esp", disk::ESP, ESP_BYTES, &volume),
            content("lamchat-payload", disk::PAYLOAD, payload.len() as u64, &payload),
        ],
    )?;

    let written = Written {
        loader: &loader,
        uki: &uki,
    };
    statements::write(sources, &unpacked, &bill, &written, signer, out)?;

    let folder = out.join(crate::signer::FOLDER);
    file::make_folder(&folder)?;
    for (file, bytes) in signer.files() {
        file::write(&folder.join(file), bytes)?;
    }
    Ok(())
}

/// Kernel and initrd of the disk's image, for a virtual machine that starts them without firmware.
pub struct BootFiles {
    /// The kernel.
    pub kernel: Vec<u8>,
    /// The initrd, with `release_public` (PEM) as the release key.
    pub initrd: Vec<u8>,
}

/// Makes kernel and initrd alone. `work` is a folder that may be made and is gone afterwards.
pub fn boot_files(sources: &Sources<'_>, release_public: &str, work: &Path) -> Result<BootFiles, AssembleError> {
    let unpacked = unpack(sources.inputs, work)?;
    let bill = bill(sources, &unpacked)?;
    let initrd = make_initrd(sources, &unpacked, Kind::Disk, release_public, &[carried(&bill)])?;
    Ok(BootFiles {
        kernel: unpacked.kernel,
        initrd,
    })
}

fn content<'a>(name: &'static str, kind: crate::guid::Guid, bytes: u64, content: &'a [u8]) -> Content<'a> {
    Content {
        name,
        kind,
        bytes,
        content,
    }
}

/// The bill of materials: of the sources alone, so that the image, which carries it, is not in it.
fn bill(sources: &Sources<'_>, unpacked: &Unpacked) -> Result<String, SbomError> {
    sbom::bill(&sources.release, sources.lock, sources.needs, &unpacked.packages)
}

/// The bill in the initrd: a box compares an update with what it runs, by what was measured with it.
fn carried(bill: &str) -> (String, Vec<u8>) {
    (format!("lamchat/{}", statements::SBOM), bill.as_bytes().to_vec())
}

/// Initrd, image, approval where the image may have one, signature.
fn make_uki(
    sources: &Sources<'_>,
    unpacked: &Unpacked,
    kind: Kind,
    extra: &[(String, Vec<u8>)],
    signer: &mut Signer,
) -> Result<Vec<u8>, AssembleError> {
    let public = signer.release_public()?;
    let mut extra = extra.to_vec();
    if let Some(approvers) = signer.approvers()?.filter(|_| kind == Kind::Disk) {
        extra.push((format!("lamchat/{}", crate::signer::APPROVERS), approvers.to_vec()));
    }
    let initrd = make_initrd(sources, unpacked, kind, &public, &extra)?;
    let mut image = uki::bare(&Parts {
        kind,
        stub: &unpacked.stub,
        kernel: &unpacked.kernel,
        os_release: &sources.release.os_release(),
        initrd: &initrd,
        public_key: &public,
    })?;
    if kind == Kind::Disk {
        let approval = signer.approval(pcr11::predict(&image)?, sources.release.epoch)?;
        image = uki::approved(&image, &approval)?;
    }
    Ok(signer.program(kind.word(), &image)?)
}

fn make_initrd(
    sources: &Sources<'_>,
    unpacked: &Unpacked,
    kind: Kind,
    public: &str,
    extra: &[(String, Vec<u8>)],
) -> Result<Vec<u8>, AssembleError> {
    let os_release = sources.release.os_release();
    let json = sources.release.to_json(kind.word(), &unpacked.kernel_version)?;
    let mut etc: Vec<(&str, &[u8])> = vec![
        ("os-release", os_release.as_bytes()),
        ("lamchat/data.ext4.blocks", &unpacked.template),
        ("lamchat/release.json", json.as_bytes()),
        ("lamchat/release.pub", public.as_bytes()),
    ];
    etc.extend(extra.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    Ok(uki::initrd(&InitrdParts {
        program: sources.program,
        modules: &unpacked.modules,
        etc: &etc,
    })?)
}
