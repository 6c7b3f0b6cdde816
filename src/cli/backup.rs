//! `lamchat backup create|verify`

use super::{Failure, Place, Server, output, password, socket};
use lamchat_appliance::{PART_BYTES_MAX, PartWriter};
use lamchat_seal::Unlock;
use serde_json::json;
use std::io::Read;
use std::path::PathBuf;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Backup {
    /// Write a backup of the running server into an empty or new folder, in parts of at most 1 GiB. It opens only
    /// with a recovery key or a passphrase: add one first with `lamchat seal add-recovery` or `add-passphrase`.
    Create {
        /// The folder.
        dir: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// Check a backup from its first byte to its last, with its recovery key or passphrase. Needs no server.
    Verify {
        /// The folder.
        dir: PathBuf,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Backup) -> Result<(), Failure> {
    match command {
        Backup::Create { dir, server } => create(place, &dir, &server),
        Backup::Verify { dir, json } => {
            let unlock = ask_key()?;
            let found = lamchat_appliance::verify(&dir, &unlock)?;
            print(json, &dir.display().to_string(), &found, "is complete and opens");
            Ok(())
        }
    }
}

/// What opens a backup.
pub fn ask_key() -> Result<Unlock, Failure> {
    let typed = password::read_existing("Recovery key or passphrase of the backup")?;
    Ok(Unlock::typed(&typed)?)
}

/// What was found in a backup.
pub fn print(json: bool, what: &str, found: &lamchat_appliance::Restored, done: &str) {
    if json {
        output::line(
            json!({
                "server_name": found.server_name,
                "created_ms": found.created_ms,
                "rows": found.counts.rows,
                "media_bytes": found.counts.media_bytes,
                "media_missing": found.counts.media_missing,
                "devices_without_keys": found.devices_without_keys,
            })
            .to_string(),
        );
        return;
    }
    output::line(format!(
        "{what} {done}: {} at {} (UTC)",
        found.server_name,
        output::time(found.created_ms)
    ));
    output::line(format!(
        "{} rows, {} bytes of media",
        found.counts.rows, found.counts.media_bytes
    ));
    if found.counts.media_missing > 0 {
        output::line(format!(
            "{} files of media are not in it: they were removed while it was made, or could not be read",
            found.counts.media_missing
        ));
    }
}

fn create(place: &Place, dir: &std::path::Path, server: &Server) -> Result<(), Failure> {
    // The server refuses before anything is written, and so does a folder that is not empty.
    let mut stream = socket::send(place, server, "POST", "/_lamchat/admin/v1/backup", None)?.stream()?;
    let mut writer = PartWriter::create(dir, PART_BYTES_MAX)?;
    let incomplete = |error: String| {
        Failure(format!(
            "{error}. What is in {} is incomplete: delete it and try again",
            dir.display()
        ))
    };
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let length = stream
            .read(&mut buffer)
            .map_err(|error| incomplete(format!("the backup broke off: {error}")))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        writer.push(bytes).map_err(|error| incomplete(error.to_string()))?;
    }
    let manifest = writer.finish().map_err(|error| incomplete(error.to_string()))?;
    let bytes: u64 = manifest.parts.iter().map(|part| part.bytes).sum();
    output::line(if server.json {
        json!({"parts": manifest.parts.len(), "bytes": bytes}).to_string()
    } else {
        format!(
            "{}: {bytes} bytes in {} parts. Check it with `lamchat backup verify`",
            dir.display(),
            manifest.parts.len()
        )
    });
    Ok(())
}
