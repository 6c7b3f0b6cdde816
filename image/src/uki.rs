//! The unified kernel image: systemd's stub with kernel, initrd and command line, and the release key's approval of what
//! they will be measured as.

use crate::cpio::{Cpio, TooLong};
use crate::keys::{KeyError, ReleaseKey};
use crate::modules::ModuleSet;
use crate::pe::{self, PeError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamchat_attestation::Sha256;
use lamchat_tpm::{PcrValues, Policy, SignedPolicy, Step, TpmError};
use serde_json::json;

/// The kernel's command line; `--` separates what process 1 gets as arguments.
///
/// The kernel takes modules of Debian's signature alone and is locked against changes from outside; a panic or an oops
/// ends in a reboot, so that boot attempts count; the console stays free of messages.
const COMMAND_LINE: &str = "module.sig_enforce=1 lockdown=integrity oops=panic panic=10 init_on_alloc=1 slab_nomerge \
    randomize_kstack_offset=on vsyscall=none debugfs=off efi_pstore.pstore_disable=0 console=ttyS0,115200 console=tty0 \
    quiet loglevel=3 rdinit=/lamchat -- init";
/// What process 1 of the installer gets in addition.
const INSTALL: &str = " --install";
/// Mount points and folders of the initrd, those above first.
const FOLDERS: [&str; 12] = [
    "data",
    "dev",
    "esp",
    "etc",
    "etc/lamchat",
    "lib",
    "lib/modules",
    "proc",
    "run",
    "sys",
    "tmp",
    "var",
];
/// The kernel reads every level equally fast; higher ones cost far more time than they save space.
const COMPRESSION: i32 = 12;

/// A unified kernel image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// The initrd could not be written.
    #[error(transparent)]
    Initrd(#[from] TooLong),
    /// The initrd could not be compressed.
    #[error("the initrd cannot be compressed: {0}")]
    Compression(std::io::Error),
    /// The stub is not what is expected.
    #[error(transparent)]
    Stub(#[from] PeError),
    /// A key refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The policy could not be computed.
    #[error("the policy cannot be computed: {0}")]
    Policy(#[from] TpmError),
}

/// Which image it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one that runs from a disk and may open the keys.
    Disk,
    /// The one that installs. No release key approves what it measures.
    Installer,
}

impl Kind {
    /// The word of `release.json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Installer => "installer",
        }
    }
}

/// What a unified kernel image is made of.
pub struct Parts<'a> {
    /// Which image it is.
    pub kind: Kind,
    /// systemd's stub.
    pub stub: &'a [u8],
    /// The kernel.
    pub kernel: &'a [u8],
    /// `os-release`.
    pub os_release: &'a str,
    /// The initrd, compressed.
    pub initrd: &'a [u8],
    /// The release key's public half, SubjectPublicKeyInfo in PEM.
    pub public_key: &'a str,
}

/// What goes into the initrd.
pub struct InitrdParts<'a> {
    /// The only program.
    pub program: &'a [u8],
    /// The kernel's modules.
    pub modules: &'a ModuleSet,
    /// Files below `etc`, by name, in this order.
    pub etc: &'a [(&'a str, &'a [u8])],
}

/// The initrd, compressed.
pub fn initrd(parts: &InitrdParts<'_>) -> Result<Vec<u8>, UkiError> {
    let mut archive = Cpio::default();
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    // Before process 1 mounts devtmpfs it already has a console to complain on.
    archive.character_device("dev/console", (5, 1))?;
    archive.character_device("dev/null", (1, 3))?;
    archive.file("lamchat", 0o755, parts.program)?;
    let mut last_folder = "etc/lamchat".to_owned();
    for (name, content) in parts.etc {
        let path = format!("etc/{name}");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        if folder != "etc" && folder != "etc/lamchat" && folder != last_folder {
            archive.folder(&folder)?;
            last_folder = folder;
        }
        archive.file(&path, 0o644, content)?;
    }
    let lists = [
        ("dep", &parts.modules.dependencies),
        ("alias", &parts.modules.aliases),
        ("load", &parts.modules.load),
        ("named", &parts.modules.named),
    ];
    for (name, list) in lists {
        archive.file(&format!("lib/modules/modules.{name}"), 0o644, list.as_bytes())?;
    }
    for (name, module) in &parts.modules.files {
        archive.file(&format!("lib/modules/{name}.ko"), 0o644, module)?;
    }
    let archive = archive.finish()?;
    zstd::bulk::compress(&archive, COMPRESSION).map_err(UkiError::Compression)
}

/// The image without approval and signature.
pub fn bare(parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let command_line = match parts.kind {
        Kind::Disk => COMMAND_LINE.to_owned(),
        Kind::Installer => format!("{COMMAND_LINE}{INSTALL}"),
    };
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", command_line.as_bytes()),
        (".pcrpkey", parts.public_key.as_bytes()),
        (".linux", parts.kernel),
        (".initrd", parts.initrd),
    ];
    Ok(pe::with_sections(parts.stub, &sections)?)
}

/// The image with the release key's approval in `.pcrsig`, which the stub hands to the initrd as
/// `/.extra/tpm2-pcr-signature.json`. It is not measured.
pub fn approved(image: &[u8], approval: &str) -> Result<Vec<u8>, UkiError> {
    Ok(pe::with_sections(image, &[(".pcrsig", approval.as_bytes())])?)
}

/// The approvals: systemd's JSON, with the value and the epoch beside each. The signatures are ECDSA over
/// [`SignedPolicy::message`], where systemd has RSA.
pub fn approvals(value: Sha256, epoch: u64, keys: &[&ReleaseKey]) -> Result<String, UkiError> {
    let message = SignedPolicy::message(&values(value)?, epoch)?;
    let mut signed = Vec::new();
    for key in keys {
        signed.push((key.public_der()?, key.sign(&message).to_vec()));
    }
    approvals_with(value, epoch, &signed)
}

fn values(value: Sha256) -> Result<PcrValues, UkiError> {
    Ok(PcrValues::new([(11, value.0)]).map_err(|_| TpmError::Unencodable("PCR 11"))?)
}

/// The approvals with signatures (r and s) that are there already, each with the public half of its key, DER.
pub fn approvals_with(value: Sha256, epoch: u64, signed: &[(Vec<u8>, Vec<u8>)]) -> Result<String, UkiError> {
    let policy = Sha256(Policy::new(vec![Step::Pcr(values(value)?)]).digest()?);
    let approvals: Vec<serde_json::Value> = signed
        .iter()
        .map(|(key, signature)| {
            json!({
                "pcrs": [11],
                "epoch": epoch,
                "value": value.to_string(),
                "pkfp": Sha256::of(key).to_string(),
                "pol": policy.to_string(),
                "sig": STANDARD.encode(signature),
            })
        })
        .collect();
    Ok(format!("{}\n", json!({ "sha256": approvals })))
}
