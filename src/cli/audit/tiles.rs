//! The log in the formats of C2SP, for readers that nobody here wrote: `audit export --tiles` and `audit prove`. Both are
//! made here of an export that is verified first.

use super::super::{Failure, Place, Server, output, socket};
use super::{AUDIT, create, read_text};
use lamchat_audit::export::EXPORT_BYTES_MAX;
use lamchat_audit::tree::leaf_hash;
use lamchat_audit::verify::{self, Trust, Verdict};
use lamchat_audit::{proof, tiles};
use serde_json::json;
use std::io::{Read, Write};
use std::path::Path;

/// Writes the running server's log into a new folder, as C2SP tlog-tiles names its files.
pub fn export(place: &Place, server: &Server, folder: &Path) -> Result<(), Failure> {
    let mut stream = socket::send(place, server, "GET", &format!("{AUDIT}/export?since=0"), None)?.stream()?;
    let mut file = String::new();
    let limit = u64::try_from(EXPORT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = stream.by_ref().take(limit).read_to_string(&mut file);
    read.map_err(|error| format!("the export broke off: {error}. Nothing was written"))?;
    let verdict = verify::verify(&file, &Trust::default())?;
    let entries: Vec<Vec<u8>> = verdict.entries.iter().map(lamchat_audit::Entry::encode).collect();
    std::fs::create_dir(folder).map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    let mut count = 1u64;
    let mut write = |path: String, bytes: Vec<u8>| {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        count += 1;
        let mut file = create(&path, 0o644)?;
        file.write_all(&bytes)?;
        Ok::<_, Failure>(file.sync_all()?)
    };
    tiles::all(&entries, &mut write)?;
    // Last: a folder without it is not finished.
    write(
        tiles::CHECKPOINT_PATH.to_owned(),
        verify::checkpoint_of(&file)?.to_string().into_bytes(),
    )?;
    output::line(if server.json {
        json!({"files": count - 1, "size": verdict.checkpoint.size}).to_string()
    } else {
        format!(
            "{}: {} entries, as C2SP tlog-tiles",
            folder.display(),
            verdict.checkpoint.size
        )
    });
    Ok(())
}

/// Prints the proof that one entry is in the log, as C2SP tlog-proof.
pub fn prove(path: &Path, number: u64, trust: &Trust) -> Result<(), Failure> {
    let file = read_text(path, EXPORT_BYTES_MAX)?;
    let Verdict { start, entries, .. } = verify::verify(&file, trust)?;
    if start > 0 {
        return Err("the export begins later: make it without --since".into());
    }
    let none = || {
        Failure(format!(
            "the export has no entry {number}: its entries are 0 to {}",
            entries.len().saturating_sub(1)
        ))
    };
    let entry = usize::try_from(number).ok().and_then(|at| entries.get(at));
    let entry = entry.ok_or_else(none)?;
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(&entry.encode())).collect();
    let checkpoint = verify::checkpoint_of(&file)?;
    let proof = proof::text(number, entry, &leaves, &checkpoint).ok_or_else(none)?;
    output::text(&proof);
    Ok(())
}
