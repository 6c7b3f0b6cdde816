//! What an auditor needs of a box that no network reaches: both rounds of an enrolment, the certificates that the TPM does
//! not keep of its chain, and the checkpoint of the audit log that a witness signed. Exchange and key holder judge all of
//! it; here bytes are carried.

use super::{choose, pick, tell};
use crate::init::console::screen::Screen;
use crate::init::exchange;
use crate::init::state::Shared;
use crate::init::stick::{self, Deposit};
use lamchat_attestation::limits::CERTIFICATES_MAX;
use lamchat_audit::note::NOTE_BYTES_MAX;
use lamchat_machine::usb::UsbDisk;
use lamchat_stick::Stick;
use serde_json::{Value, json};
use std::sync::Arc;

const ENROLMENT: &str = "/_lamchat/admin/v1/attestation/enrolment";
/// What the box writes, in the folder that is made for it.
const REQUEST: &str = "request.json";
const ANSWER: &str = "answer.json";
/// The auditor's challenge, in the stick's first folder.
const CHALLENGE: &str = "challenge.json";
/// Bytes of it: two public keys, two blobs and a signature are far fewer.
const CHALLENGE_BYTES_MAX: u64 = 64 << 10;
/// The folder with certificates, and the bytes of each file.
const CERTIFICATES: &str = "ek";
const CERTIFICATE_BYTES_MAX: u64 = 64 << 10;
/// How the file of a witness ends: `lamchat audit witness` names it so.
const COSIGNED: &str = ".cosigned";

/// The round that is due: the answer where the stick has a challenge, the request otherwise.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let challenge = stick::open(shared, &disk).and_then(|mut stick| challenge(&mut stick));
    let done = challenge.and_then(|challenge| match challenge {
        Some(challenge) => answer(shared, &disk, &challenge),
        None => request(shared, &disk),
    });
    tell(screen, done)
}

/// The challenge on the stick, if there is one.
fn challenge(stick: &mut Stick) -> Result<Option<String>, String> {
    let entries = stick.list("").map_err(|error| error.to_string())?;
    if !entries.iter().any(|entry| entry.name.eq_ignore_ascii_case(CHALLENGE)) {
        return Ok(None);
    }
    let bytes = stick.read_small(CHALLENGE, CHALLENGE_BYTES_MAX);
    let text = String::from_utf8(bytes.map_err(|error| error.to_string())?);
    text.map(Some).map_err(|_| format!("{CHALLENGE} is not text"))
}

fn request(shared: &Arc<Shared>, disk: &UsbDisk) -> Result<String, String> {
    let folder = write(
        shared,
        disk,
        ("request", REQUEST),
        exchange::call("GET", ENROLMENT, None),
    )?;
    Ok(format!(
        "{folder}/{REQUEST} was written and read back right. Bring it to the auditor, who makes a challenge of it \
         (`lamchat attest enrol challenge`). Put that into the stick's first folder as {CHALLENGE}, and choose this line \
         again. The stick may be pulled."
    ))
}

fn answer(shared: &Arc<Shared>, disk: &UsbDisk, challenge: &str) -> Result<String, String> {
    let body = json!({"challenge": challenge});
    let asked = exchange::call("POST", ENROLMENT, Some(&body));
    let folder = write(shared, disk, ("answer", ANSWER), asked).map_err(|error| {
        format!(
            "{error}\n\n{CHALLENGE} on the stick was taken for an auditor's challenge. Without it a request is written."
        )
    })?;
    Ok(format!(
        "The TPM opened the challenge. {folder}/{ANSWER} was written and read back right. Bring it to the auditor \
         (`lamchat attest enrol finish`). The stick may be pulled."
    ))
}

/// Puts a file that the exchange answered with onto the stick, `name` being its member and its file; answers its folder.
fn write(
    shared: &Arc<Shared>,
    disk: &UsbDisk,
    (member, name): (&str, &str),
    answer: Result<Value, crate::cli::Failure>,
) -> Result<String, String> {
    let answer = answer.map_err(|error| error.0)?;
    let file = answer.get(member).and_then(Value::as_str).unwrap_or_default();
    if file.is_empty() {
        return Err(format!("the exchange gave no {member}"));
    }
    let mut deposit = Deposit::begin(shared, disk, &format!("enrolment-{member}"))?;
    deposit.add(name, file.as_bytes())?;
    let folder = deposit.folder.clone();
    deposit.finish(&mut |_| {})?;
    Ok(folder)
}

/// Takes the certificates of the TPM's chain from the stick.
pub fn certificates(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let kept = stick::open(shared, &disk).and_then(|mut stick| {
        let body = json!({"pem": pem(&mut stick)?});
        let target = "/_lamchat/admin/v1/attestation/ek-certificates";
        exchange::call("POST", target, Some(&body)).map_err(|error| error.0)
    });
    tell(screen, kept.map(|answer| sentence(&answer)))
}

/// The PEM files of the folder, one after the other.
fn pem(stick: &mut Stick) -> Result<String, String> {
    let missing = |error: String| {
        format!(
            "{error}\n\nPut the certificates of the TPM's maker that lead from this TPM to the maker's root into a folder \
             {CERTIFICATES} of the stick, as files in PEM form that end in .pem."
        )
    };
    let entries = stick.list(CERTIFICATES).map_err(|error| missing(error.to_string()))?;
    let mut names: Vec<String> = entries
        .into_iter()
        .filter(|entry| !entry.is_folder)
        .map(|entry| entry.name)
        .collect();
    names.retain(|name| name.to_ascii_lowercase().ends_with(".pem") && lamchat_stick::check_path(name));
    names.sort();
    if names.is_empty() {
        return Err(missing(format!("There is no such file in {CERTIFICATES}.")));
    }
    if names.len() > CERTIFICATES_MAX {
        return Err(format!(
            "{CERTIFICATES} has {} files, and a chain has {CERTIFICATES_MAX} certificates at most: leave out those that are \
             not this TPM's.",
            names.len()
        ));
    }
    let mut pem = String::new();
    for name in names {
        let path = format!("{CERTIFICATES}/{name}");
        let bytes = stick.read_small(&path, CERTIFICATE_BYTES_MAX);
        let bytes = bytes.map_err(|error| format!("{path}: {error}"))?;
        pem += &String::from_utf8(bytes).map_err(|_| format!("{path} is not in PEM form"))?;
        pem.push('\n');
    }
    Ok(pem)
}

fn sentence(answer: &Value) -> String {
    let certificates = answer
        .get("certificates")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let subjects: Vec<&str> = certificates
        .filter_map(|certificate| certificate.get("subject").and_then(Value::as_str))
        .collect();
    format!(
        "Kept, and shown to auditors from now on, instead of those before: {}. The stick may be pulled.",
        subjects.join("; ")
    )
}

/// Takes the checkpoint that a witness signed from the stick.
pub fn witnessed(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let names = stick::open(shared, &disk).and_then(|mut stick| cosigned(&mut stick));
    let names = match names {
        Ok(names) => names,
        Err(error) => return tell(screen, Err(error)),
    };
    if names.len() > 1 {
        screen.page("Which checkpoint?", "")?;
    }
    let Some(name) = pick(screen, &names)?.and_then(|at| names.get(at)) else {
        return Ok(());
    };
    let brought = stick::open(shared, &disk).and_then(|mut stick| {
        let bytes = stick.read_small(name, NOTE_BYTES_MAX as u64);
        let note = String::from_utf8(bytes.map_err(|error| error.to_string())?);
        let body = json!({"checkpoint": note.map_err(|_| format!("{name} is not text"))?});
        exchange::call("POST", "/_lamchat/admin/v1/audit/witness", Some(&body)).map_err(|error| error.0)
    });
    tell(
        screen,
        brought.map(|_| format!("{name} is kept and goes into later exports. The stick may be pulled.")),
    )
}

/// The files of witnesses in the stick's first folder.
fn cosigned(stick: &mut Stick) -> Result<Vec<String>, String> {
    let entries = stick.list("").map_err(|error| error.to_string())?;
    let mut names: Vec<String> = entries
        .into_iter()
        .filter(|entry| !entry.is_folder)
        .map(|entry| entry.name)
        .collect();
    names.retain(|name| name.to_ascii_lowercase().ends_with(COSIGNED) && lamchat_stick::check_path(name));
    names.sort();
    if names.is_empty() {
        return Err(format!(
            "There is no file that ends in {COSIGNED} in the stick's first folder: `lamchat audit witness` makes it of an \
             exported audit log."
        ));
    }
    Ok(names)
}
