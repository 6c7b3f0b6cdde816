//! What an auditor and whoever looks for a fault want to have: evidence, the audit log, the logs of the machine.

use super::{choose, tell};
use crate::cli::socket::escape;
use crate::init::console::screen::{Echo, Screen};
use crate::init::state::{Shared, State};
use crate::init::stick::Deposit;
use crate::init::{exchange, stick};
use lamchat_machine::kernel_log;
use lamchat_machine::usb::UsbDisk;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The auditor's nonce on the stick.
const NONCE: &str = "nonce.txt";
/// Bytes of that file: 64 digits, and what editors put around them.
const NONCE_BYTES_MAX: u64 = 200;
/// Lines of the kernel's log: more than its buffer holds.
const KERNEL_LINES_MAX: usize = 100_000;
/// What the kernel kept of an earlier run, and where it is moved once the data are open.
const PSTORE: &str = "/sys/fs/pstore";
const CRASHES: &str = "/data/crashes";
/// Files of them, and bytes of each.
const CRASH_FILES_MAX: usize = 64;
const CRASH_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are taken at once.
const CHUNK: usize = 256 << 10;

/// Writes everything that can be had; what cannot is named.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let nonce = match nonce(screen, shared, &disk)? {
        Ok(nonce) => nonce,
        Err(error) => return tell(screen, Err(error)),
    };
    screen.page("Export", "Writing. Do not pull the stick.")?;
    let made = Deposit::begin(shared, &disk, "export").and_then(|deposit| make(shared, deposit, nonce.as_deref()));
    tell(screen, made)
}

/// The auditor's nonce: of the stick, or typed. Without one there is no evidence: the box's own would show nothing about
/// when it was made.
fn nonce(screen: &mut Screen, shared: &Arc<Shared>, disk: &UsbDisk) -> std::io::Result<Result<Option<String>, String>> {
    if shared.state() != State::Serving {
        return Ok(Ok(None));
    }
    let mut stick = match stick::open(shared, disk) {
        Ok(stick) => stick,
        Err(error) => return Ok(Err(error)),
    };
    let entries = match stick.list("") {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(NONCE)) {
        let read = stick.read_small(NONCE, NONCE_BYTES_MAX);
        let text = read.map(|bytes| {
            String::from_utf8_lossy(&bytes)
                .trim_matches(['\u{feff}', ' ', '\r', '\n'])
                .to_owned()
        });
        return Ok(text.map(Some).map_err(|error| error.to_string()));
    }
    drop(stick);
    let text = format!(
        "Evidence answers an auditor's nonce, 32 to 64 hexadecimal digits: type it, or put it onto the stick as {NONCE}. \
         Without one no evidence is written, only the logs."
    );
    screen.page("Export", &text)?;
    let typed = screen.ask("Nonce, or nothing", Echo::Shown)?;
    Ok(match typed {
        None => Err("Nothing was written.".to_owned()),
        Some(typed) if typed.trim().is_empty() => Ok(None),
        Some(typed) => Ok(Some(typed.trim().to_owned())),
    })
}

fn make(shared: &Arc<Shared>, mut deposit: Deposit, nonce: Option<&str>) -> Result<String, String> {
    let (mut written, mut missing) = (Vec::new(), Vec::new());
    if let Some(nonce) = nonce {
        let target = format!("/_lamchat/admin/v1/attestation?nonce={}", escape(nonce));
        match exchange::call("GET", &target, None) {
            Ok(answer) => {
                let evidence = answer.get("evidence").and_then(Value::as_str).unwrap_or_default();
                deposit.add("evidence.json", evidence.as_bytes())?;
                written.push("evidence.json".to_owned());
                let lacks = answer.get("missing").and_then(Value::as_array).into_iter().flatten();
                missing.extend(
                    lacks
                        .filter_map(Value::as_str)
                        .map(|what| format!("in the evidence: {what}")),
                );
            }
            Err(error) => missing.push(format!("evidence: {}", error.0)),
        }
    }
    if shared.state() == State::Serving {
        match exchange::stream("GET", "/_lamchat/admin/v1/audit/export") {
            Ok(stream) => {
                copy(&mut deposit, "audit.log", stream)?;
                written.push("audit.log".to_owned());
            }
            Err(error) => missing.push(format!("audit log: {}", error.0)),
        }
    } else {
        missing.push("audit log and evidence: the exchange does not answer".to_owned());
    }
    deposit.add("box.log", lines(shared.log.last(usize::MAX)).as_bytes())?;
    written.push("box.log".to_owned());
    match kernel_log::read(KERNEL_LINES_MAX) {
        Ok(log) => {
            deposit.add("kernel.log", lines(log).as_bytes())?;
            written.push("kernel.log".to_owned());
        }
        Err(error) => missing.push(format!("kernel log: {error}")),
    }
    for folder in [PSTORE, CRASHES] {
        for (name, content) in crashes(Path::new(folder)) {
            deposit.add(&name, &content)?;
            written.push(name);
        }
    }
    let folder = deposit.folder.clone();
    deposit.finish(&mut |_| {})?;
    let mut text = format!(
        "Written into {folder} and read back right: {}. The stick may be pulled.",
        written.join(", ")
    );
    if !missing.is_empty() {
        text += &format!("\n\nNot there: {}", missing.join("; "));
    }
    Ok(text)
}

fn lines(lines: Vec<String>) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn copy(deposit: &mut Deposit, name: &str, mut from: Box<dyn Read>) -> Result<(), String> {
    deposit.create(name)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from
            .read(&mut buffer)
            .map_err(|error| format!("{name} broke off: {error}"))?;
        match buffer.get(..length).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => deposit.push(bytes)?,
            None => return deposit.end(),
        }
    }
}

/// What the kernel kept of runs that crashed, with names that a stick takes.
fn crashes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = Vec::new();
    for entry in entries.take(CRASH_FILES_MAX) {
        let mut content = Vec::new();
        let read =
            std::fs::File::open(entry.path()).and_then(|file| file.take(CRASH_BYTES_MAX).read_to_end(&mut content));
        let name: String = entry
            .file_name()
            .to_string_lossy()
            .chars()
            .filter(char::is_ascii)
            .take(60)
            .collect();
        let name = format!(
            "crash-{}",
            name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
        );
        if read.is_ok() && lamchat_stick::check_path(&name) {
            files.push((name, content));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[test]
    fn what_a_crash_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dmesg-efi_pstore-17500"), "Oops").unwrap();
        let found = super::crashes(folder.path());
        assert_eq!(found, [("crash-dmesg-efi-pstore-17500".to_owned(), b"Oops".to_vec())]);
        assert!(super::crashes(&folder.path().join("none")).is_empty());
    }
}
