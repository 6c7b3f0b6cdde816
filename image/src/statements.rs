//! What is said about a release beside its images: bill of materials, manifest, the auditor's reference, and the update
//! bundle that has them.

use crate::assemble::{AssembleError, Sources};
use crate::file;
use crate::guid::Guid;
use crate::manifest::{self, Component, Lists, Manifest, PredictedEvent, Predictions};
use crate::release::PRODUCT;
use crate::secure_boot::{DATABASE, GLOBAL, LIST_HEADER};
use crate::signer::{Signer, SignerError};
use crate::unpack::Unpacked;
use crate::{pcr11, pe};
use lamchat_attestation::{Image, Sha256};
use lamchat_release::{File, Header, HeaderError, Version};
use std::path::Path;

/// The files of the statements.
pub const MANIFEST: &str = "manifest.json";
/// The release key's signature over the manifest, 64 bytes.
pub const MANIFEST_SIGNATURE: &str = "manifest.json.sig";
/// What `lamchat attest verify` reads.
pub const REFERENCE: &str = "reference.json";
/// The bill of materials; the disk's image carries it as well.
pub const SBOM: &str = "sbom.cdx.json";

/// The signed programs.
pub struct Written<'a> {
    /// systemd-boot.
    pub loader: &'a [u8],
    /// The unified kernel image.
    pub uki: &'a [u8],
}

/// Writes the statements about the images that are in `out`, and the update bundle.
pub fn write(
    sources: &Sources<'_>,
    unpacked: &Unpacked,
    bill: &str,
    written: &Written<'_>,
    signer: &mut Signer,
    out: &Path,
) -> Result<(), AssembleError> {
    let release = &sources.release;
    file::write(&out.join(SBOM), bill.as_bytes())?;
    let predictions = predict(written, signer)?;
    let image = Image {
        uki: Sha256::of(written.uki),
        authenticode: pe::authenticode(written.uki)?,
        binary: Sha256::of(sources.program),
        pcr11: predictions.pcr11.clone(),
    };
    let loader = pe::authenticode(written.loader)?;
    let reference = manifest::reference(release, image, loader, predictions.pcr12.clone())?;
    file::write(&out.join(REFERENCE), reference.as_bytes())?;

    let version = &release.version;
    let names = [
        format!("lamchat-{version}.efi"),
        format!("lamchat-{version}.img"),
        format!("lamchat-{version}-installer.img"),
        "systemd-bootx64.efi".to_owned(),
        SBOM.to_owned(),
        REFERENCE.to_owned(),
    ];
    let mut files = Vec::new();
    for name in names {
        let content = file::read(&out.join(&name))?;
        files.push(Component::of(name, &content));
    }
    let manifest = Manifest::new(
        release,
        Lists {
            kernel: unpacked.kernel_version.clone(),
            inputs: inputs(sources, unpacked)?,
            components: components(sources, unpacked, written)?,
            files,
            predictions,
        },
    )
    .to_json()?;
    let signature = signer.release("manifest", manifest.as_bytes())?;
    file::write(&out.join(MANIFEST), manifest.as_bytes())?;
    file::write(&out.join(MANIFEST_SIGNATURE), &signature)?;
    let files: [(&str, &[u8]); 6] = [
        ("uki", written.uki),
        ("boot-loader", written.loader),
        ("manifest", manifest.as_bytes()),
        ("manifest.sig", &signature),
        ("sbom", bill.as_bytes()),
        ("changelog", sources.changelog.as_bytes()),
    ];
    bundle(sources, &files, signer, out)
}

fn inputs(sources: &Sources<'_>, unpacked: &Unpacked) -> Result<Vec<Component>, AssembleError> {
    let mut inputs = Vec::new();
    for package in &unpacked.packages {
        let content = file::read(&sources.inputs.join(package.file()))?;
        inputs.push(Component::of(package.file(), &content));
    }
    Ok(inputs)
}

/// What the image is made of: the program, the kernel and its modules, and each measured section.
fn components(
    sources: &Sources<'_>,
    unpacked: &Unpacked,
    written: &Written<'_>,
) -> Result<Vec<Component>, AssembleError> {
    let mut components = vec![
        Component::of("lamchat", sources.program),
        Component::of("data.ext4.blocks", &unpacked.template),
        Component::of("systemd-boot, unsigned", &unpacked.loader),
        Component::of("systemd-stub", &unpacked.stub),
    ];
    for name in pcr11::MEASURED {
        if let Some(content) = pe::section(written.uki, name)? {
            components.push(Component::of(format!("section {name}"), content));
        }
    }
    for (name, module) in &unpacked.modules.files {
        components.push(Component::of(format!("module {name}"), module));
    }
    Ok(components)
}

fn predict(written: &Written<'_>, signer: &mut Signer) -> Result<Predictions, AssembleError> {
    signer.enrolments()?;
    let list = |name: &str| signer.found(&format!("{name}.esl"));
    let variable = |what, vendor: Guid, name: &str| -> Result<PredictedEvent, SignerError> {
        Ok(PredictedEvent {
            what,
            sha256: manifest::variable_event(vendor, name, list(name)?),
        })
    };
    // What accepts a program is an entry of the list: the owner and the certificate.
    let entry = list("db")?.get(LIST_HEADER..).unwrap_or_default();
    let pcr7_events = vec![
        variable("variable PK", GLOBAL, "PK")?,
        variable("variable KEK", GLOBAL, "KEK")?,
        variable("variable db", DATABASE, "db")?,
        PredictedEvent {
            what: "programs are accepted by the certificate in db",
            sha256: manifest::variable_event(DATABASE, "db", entry),
        },
    ];
    let command_line = pe::section(written.uki, ".cmdline")?.unwrap_or_default();
    // The boot loader measures it as UTF-16 with a zero at its end.
    let wide: Vec<u8> = command_line.iter().chain(&[0]).flat_map(|byte| [*byte, 0]).collect();
    let command_line = Sha256::of(&wide);
    Ok(Predictions {
        pcr11: vec![pcr11::predict(written.uki)?],
        pcr4_events: vec![
            PredictedEvent {
                what: "systemd-boot",
                sha256: pe::authenticode(written.loader)?,
            },
            PredictedEvent {
                what: "unified kernel image",
                sha256: pe::authenticode(written.uki)?,
            },
        ],
        pcr7_events,
        pcr12_events: vec![PredictedEvent {
            what: "command line",
            sha256: command_line,
        }],
        pcr12: vec![Sha256::ZERO.extended(&command_line)],
    })
}

fn bundle(
    sources: &Sources<'_>,
    files: &[(&str, &[u8])],
    signer: &mut Signer,
    out: &Path,
) -> Result<(), AssembleError> {
    let release = &sources.release;
    let header = Header {
        product: PRODUCT.to_owned(),
        version: Version::try_from(release.version.clone())?,
        epoch: release.epoch,
        commit: release.commit.clone(),
        built_at: release.built_at,
        files: files
            .iter()
            .map(|(name, content)| File {
                name: (*name).to_owned(),
                bytes: content.len() as u64,
                sha256: Sha256::of(content),
            })
            .collect(),
    };
    let wrong = |error: HeaderError| AssembleError::Bundle(error.into());
    let header = header.to_bytes().map_err(wrong)?;
    let message = lamchat_release::message(&header);
    let mut signatures = vec![("", signer.release("bundle", &message)?)];
    // Boxes of before a rotation know the former key alone.
    signatures.extend(
        signer
            .former("bundle", &message)?
            .map(|signature| ("-former", signature)),
    );
    let contents: Vec<&[u8]> = files.iter().map(|(_, content)| *content).collect();
    for (kind, signature) in signatures {
        let mut bytes = Vec::new();
        lamchat_release::write(&mut bytes, &header, &signature, &contents)?;
        file::write(&out.join(format!("lamchat-{}{kind}.bundle", release.version)), &bytes)?;
    }
    Ok(())
}
