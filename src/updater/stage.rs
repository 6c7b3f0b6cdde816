//! The staged bundle: written while it is checked, and worth nothing unless all of it was right.

use super::Opened;
use crate::cli::Failure;
use lamchat_release::{BUNDLE_BYTES_MAX, Checked, check, sbom};
use lamchat_slots::Slots;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes of a changelog that are shown.
const CHANGELOG_BYTES_MAX: u64 = 64 << 10;
/// Changes that are shown.
const CHANGES_MAX: usize = 1_000;

/// Keeps what is read.
struct Keeping<'a> {
    from: &'a mut dyn Read,
    to: &'a File,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        let mut to = self.to;
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

/// Takes a bundle in. What is not right leaves nothing.
pub fn take(opened: &Opened, from: &mut dyn Read) -> Result<Checked, Failure> {
    opened.staged.set_len(0)?;
    (&opened.staged).seek(SeekFrom::Start(0))?;
    let mut from = from.take(BUNDLE_BYTES_MAX);
    let mut keeping = Keeping {
        from: &mut from,
        to: &opened.staged,
    };
    let checked = check(&mut keeping, &opened.key, &opened.floor(), &opened.approvers);
    let kept = checked.map_err(Failure::from).and_then(|checked| {
        opened.staged.sync_all()?;
        Ok(checked)
    });
    if kept.is_err() {
        opened.staged.set_len(0)?;
    }
    kept
}

/// Checks the staged bundle again, all of it; `None`: there is none.
pub fn again(opened: &Opened) -> Result<Option<Checked>, Failure> {
    if opened.staged.metadata()?.len() == 0 {
        return Ok(None);
    }
    (&opened.staged).seek(SeekFrom::Start(0))?;
    let mut bundle = BufReader::new(&opened.staged);
    Ok(Some(check(
        &mut bundle,
        &opened.key,
        &opened.floor(),
        &opened.approvers,
    )?))
}

/// A file of the checked bundle, as far as `bytes_max`.
fn file(opened: &Opened, checked: &Checked, name: &str, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let Some((at, file)) = checked.find(name) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; usize::try_from(file.bytes.min(bytes_max))?];
    opened.staged.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// By what an operator accepts what was shown: the digests of all files, in hexadecimal.
pub fn id(checked: &Checked) -> Result<String, Failure> {
    let header = checked.header.to_bytes()?;
    Ok(lamchat_attestation::Sha256::of(&header).to_string())
}

/// What the bundle is, and what it changes.
pub fn describe(opened: &mut Opened, checked: &Checked) -> Result<Value, Failure> {
    let header = &checked.header;
    let mut before = Vec::new();
    (&opened.bill).seek(SeekFrom::Start(0))?;
    (&opened.bill)
        .take(sbom::SBOM_BYTES_MAX as u64)
        .read_to_end(&mut before)?;
    let after = file(opened, checked, "sbom", sbom::SBOM_BYTES_MAX as u64)?;
    // A bundle may come without a bill.
    let known = !after.is_empty();
    let changes = if known {
        sbom::differences(&before, &after)?
    } else {
        Vec::new()
    };
    let shown = changes.iter().take(CHANGES_MAX);
    let shown: Vec<Value> = shown
        .map(|change| json!({"name": change.name, "from": change.from, "to": change.to}))
        .collect();
    let changelog = file(opened, checked, "changelog", CHANGELOG_BYTES_MAX)?;
    Ok(json!({
        "id": id(checked)?,
        "version": header.version.to_string(),
        "epoch": header.epoch,
        "commit": header.commit,
        "built_at": header.built_at,
        "bytes": header.total(),
        "running": opened.version.to_string(),
        "changelog": String::from_utf8_lossy(&changelog),
        "components_known": known,
        "components": shown,
        "components_left_out": changes.len().saturating_sub(CHANGES_MAX),
    }))
}

/// Writes the release of the checked bundle into the slot that does not run; answers the file's new name.
pub fn install(opened: &mut Opened, checked: &Checked) -> Result<String, Failure> {
    let (at, uki) = checked.find("uki").ok_or("the update has no release in it")?;
    (&opened.staged).seek(SeekFrom::Start(at))?;
    let mut slots = Slots::open(&mut opened.esp)?;
    let mut release = BufReader::new(&opened.staged);
    let name = slots.write(opened.running, &mut release, uki.bytes, &uki.sha256.0)?;
    opened.staged.set_len(0)?;
    Ok(name.to_string())
}
