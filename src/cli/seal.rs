//! `lamchat seal status|init|add-recovery|verify-recovery|add-passphrase|add-file|rebind|raise-floor|remove|unlock`

mod paper;

pub use paper::code as recovery_code;

use super::{Failure, Place, Server, distance, output, password, socket};
use lamchat_base::SecretBytes;
use lamchat_holder::{AskError, MalformedError, Reply, Typed};
use lamchat_seal::SlotKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use zeroize::Zeroizing;

const SEAL: &str = "/_lamchat/admin/v1/seal";
const KEYRING: &str = "/_lamchat/admin/v1/keyring";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Seal {
    /// Show the slots: the ways in which the keys can be unlocked, and how well they are protected.
    #[command(alias = "list")]
    Status {
        #[command(flatten)]
        server: Server,
    },
    /// Seal the keys to this machine's TPM, so that they open here only.
    Init {
        /// Even without Secure Boot, which makes the seal weak. A box is never sealed so.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Make a recovery key: 48 digits that open the keys and every backup. They are shown once: write them down.
    AddRecovery {
        #[command(flatten)]
        server: Server,
    },
    /// Type the recovery key back, to be sure that it was written down right.
    VerifyRecovery {
        #[command(flatten)]
        server: Server,
    },
    /// Add a passphrase that unlocks the keys and every backup. It is asked for, or read from standard input.
    AddPassphrase {
        #[command(flatten)]
        server: Server,
    },
    /// Put a key beside the data that opens it: the server starts without anybody, and whoever copies the folder has the
    /// keys as well. Asks before.
    AddFile {
        #[command(flatten)]
        server: Server,
    },
    /// Seal a TPM slot anew, to the present state of the machine: after a firmware update, or an unlock by hand.
    Rebind {
        /// The slot's number, as `lamchat seal status` shows it.
        slot: u32,
        /// Even without Secure Boot, which makes the seal weak. A box is never sealed so.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Raise the security floor: releases of lower epochs open the keys no more. On our image only.
    RaiseFloor {
        /// The lowest security epoch that opens the keys from now on.
        epoch: u64,
        /// The security epoch of an image that this machine may start: name each of them. None may be lower, and your word
        /// counts. A box looks itself which images it may start instead, and takes nobody's word.
        #[arg(long, value_name = "EPOCH")]
        bootable: Vec<u64>,
        /// Even without Secure Boot, which makes the seal weak. A box is never sealed so.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Remove a slot, by its number. With the file slot all keys are made anew, for which what opens the other slots is
    /// asked for, or read from standard input, a line each; the next start encrypts everything anew.
    Remove {
        /// The number, as `lamchat seal status` shows it.
        slot: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Open the keys of a server that waits for it, with the recovery key, a passphrase or the TPM's PIN. It is asked
    /// for, or read from standard input.
    Unlock {
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Seal) -> Result<(), Failure> {
    let call = |server: &Server, method: &str, target: &str, body: Option<Value>| {
        socket::call(place, server, method, target, body.as_ref())
    };
    let status = |server: &Server| call(server, "GET", SEAL, None);
    let is_far = place.distance.is_far();
    match command {
        Seal::Status { server } => show(&server, &status(&server)?),
        Seal::Init { force, server } => {
            let before = status(&server)?;
            let after = match pin(&before, is_far)? {
                Some(pin) => {
                    typed(&before, &Typed::AddTpm { force, pin })?;
                    status(&server)?
                }
                None => call(&server, "POST", &format!("{SEAL}/init"), Some(json!({"force": force})))?,
            };
            show(&server, &after);
            say_federation(&server, &before, &after);
        }
        Seal::AddRecovery { server } => {
            let Reply::Recovery(_, key) = typed(&status(&server)?, &Typed::AddRecovery)? else {
                return Err(MalformedError.into());
            };
            let key = Zeroizing::new(std::str::from_utf8(key.expose())?.to_owned());
            if server.json {
                let mut answer = status(&server)?;
                if let Value::Object(fields) = &mut answer {
                    fields.insert("recovery_key".to_owned(), json!(*key));
                }
                show(&server, &answer);
            } else {
                paper::print(&key)?;
            }
        }
        Seal::VerifyRecovery { server } => {
            let before = status(&server)?;
            let key = secret(&password::read_existing("Recovery key")?);
            typed(&before, &Typed::VerifyRecovery(key))?;
            let after = status(&server)?;
            show(&server, &after);
            say_federation(&server, &before, &after);
        }
        Seal::AddPassphrase { server } => {
            let now = status(&server)?;
            let passphrase = secret(&password::read_new("passphrase")?);
            typed(&now, &Typed::AddPassphrase(passphrase))?;
            show(&server, &status(&server)?);
        }
        Seal::AddFile { server } => {
            if !password::confirm("Whoever copies the data folder has its keys as well from then on. Go on?")? {
                return Err("nothing was changed".into());
            }
            show(&server, &call(&server, "POST", &format!("{SEAL}/file"), None)?);
        }
        Seal::Rebind { slot, force, server } => match pin(&status(&server)?, is_far)? {
            Some(pin) => {
                typed(&status(&server)?, &Typed::Rebind { slot, force, pin })?;
                show(&server, &status(&server)?);
            }
            None => {
                let target = format!("{SEAL}/slots/{slot}/rebind");
                show(&server, &call(&server, "POST", &target, Some(json!({"force": force})))?);
            }
        },
        Seal::RaiseFloor {
            epoch: floor,
            bootable,
            force,
            server,
        } => {
            match pin(&status(&server)?, is_far)? {
                Some(pin) => {
                    typed(
                        &status(&server)?,
                        &Typed::RaiseFloor {
                            floor,
                            bootable,
                            force,
                            pin,
                        },
                    )?;
                    show(&server, &status(&server)?);
                }
                None => {
                    let mut body = json!({"floor": floor, "force": force});
                    // A box looks itself, and takes nobody's word.
                    if !bootable.is_empty()
                        && let Value::Object(fields) = &mut body
                    {
                        fields.insert("bootable".to_owned(), json!(bootable));
                    }
                    show(&server, &call(&server, "POST", &format!("{SEAL}/floor"), Some(body))?);
                }
            }
        }
        Seal::Remove { slot, server } if is_file(&status(&server)?, slot) => {
            let keys = keys_of_others(&status(&server)?, slot)?;
            typed(&status(&server)?, &Typed::Renew { slot, keys })?;
            show(&server, &status(&server)?);
        }
        Seal::Remove { slot, server } => {
            let before = status(&server)?;
            let after = call(&server, "DELETE", &format!("{KEYRING}/slots/{slot}"), None)?;
            show(&server, &after);
            say_federation(&server, &before, &after);
        }
        Seal::Unlock { server } => unlock(&server, &status(&server)?)?,
    }
    Ok(())
}

fn slots(status: &Value) -> impl Iterator<Item = (u32, &Value)> {
    let slots = status.get("slots").and_then(Value::as_array).into_iter().flatten();
    slots.filter_map(|slot| Some((u32::try_from(slot.get("id")?.as_u64()?).ok()?, slot)))
}

fn is_file(status: &Value, slot: u32) -> bool {
    let kind = |slot: &Value| slot.get("kind").and_then(Value::as_str) == Some("file");
    slots(status).any(|(id, known)| id == slot && kind(known))
}

/// What opens all slots but this one, as far as it is typed.
fn keys_of_others(status: &Value, slot: u32) -> Result<Vec<(u32, SecretBytes)>, Failure> {
    let mut keys = Vec::new();
    for (id, other) in slots(status).filter(|(id, _)| *id != slot) {
        let what = match other.get("kind").and_then(Value::as_str) {
            Some("recovery") => format!("Recovery key (slot {id})"),
            Some("passphrase") => format!("Passphrase (slot {id})"),
            Some("tpm") if other.pointer("/seal/pin") == Some(&Value::Bool(true)) => format!("PIN (slot {id})"),
            _ => continue,
        };
        keys.push((id, secret(&password::read_existing(&what)?)));
    }
    Ok(keys)
}

/// Opens the keys of a locked server.
fn unlock(server: &Server, now: &Value) -> Result<(), Failure> {
    let what = if asks_for_pin(now) {
        "PIN, recovery key or passphrase"
    } else {
        "Recovery key or passphrase"
    };
    let Reply::Unlocked(by) = typed(now, &Typed::Unlock(secret(&password::read_existing(what)?)))? else {
        return Err(MalformedError.into());
    };
    if server.json {
        let by = match by {
            SlotKind::Recovery => "recovery key".to_owned(),
            SlotKind::Tpm => "pin".to_owned(),
            by => by.to_string(),
        };
        output::line(json!({"state": "starting", "by": by}).to_string());
        return Ok(());
    }
    output::line("The keys are open, and the server goes on starting; `lamchat health` says when it is well.");
    if by != SlotKind::Tpm {
        output::line(
            "If a TPM slot did not open by itself: `lamchat seal rebind` binds it to this machine as it is now.",
        );
    }
    Ok(())
}

/// Asks the key holder of the server whose status this is, past the server.
fn typed(status: &Value, request: &Typed) -> Result<Reply, Failure> {
    let holder = status.get("holder").and_then(|holder| holder.get("socket"));
    let socket = holder.and_then(Value::as_str).unwrap_or_default();
    match lamchat_holder::ask_typed(Path::new(socket), request) {
        Err(AskError::Frame(error)) => {
            Err(format!("the key holder at {socket}: {error}; it answers the server's own user, and root").into())
        }
        reply => Ok(reply?),
    }
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn asks_for_pin(status: &Value) -> bool {
    let is = |what: &str| status.pointer(what).and_then(Value::as_bool).unwrap_or_default();
    // A box keeps the one that was typed at its start.
    is("/tpm/pin") && !is("/tpm/pin_kept")
}

/// A new PIN, where the server's configuration asks for one. It never travels.
fn pin(status: &Value, is_far: bool) -> Result<Option<SecretBytes>, Failure> {
    if asks_for_pin(status) && is_far {
        return Err(distance::PIN.into());
    }
    if asks_for_pin(status) {
        Ok(Some(secret(&password::read_new("PIN")?)))
    } else {
        Ok(None)
    }
}

/// Slots as a table, then sentences; or the answer itself.
fn show(server: &Server, answer: &Value) {
    if server.json {
        output::line(answer.to_string());
        return;
    }
    let slots = answer.get("slots").and_then(Value::as_array).into_iter().flatten();
    let row = |slot: &Value| {
        let text = |key: &str| slot.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = slot.get("id").and_then(Value::as_u64).unwrap_or_default().to_string();
        let verified = match slot.get("verified_ms") {
            Some(time) => time.as_u64().map_or_else(|| "never".to_owned(), output::time),
            None => "-".to_owned(),
        };
        let bound = slot.pointer("/seal/sentence").and_then(Value::as_str).unwrap_or("-");
        vec![number, text("kind"), verified, bound.to_owned()]
    };
    output::table(
        &["SLOT", "KIND", "TYPED BACK (UTC)", "BOUND TO"],
        &slots.map(row).collect::<Vec<_>>(),
    );
    output::line(answer.get("sentence").and_then(Value::as_str).unwrap_or_default());
    for sentence in measured(answer) {
        output::line(sentence);
    }
    if answer.get("former_keys").and_then(Value::as_bool) == Some(true) {
        output::line(
            "There are new keys. Start the server again: it encrypts everything anew, and until then a copy of the folder \
             from before opens what is in it.",
        );
    }
    let tpm = answer.get("tpm").and_then(|tpm| tpm.get("sentence"));
    output::line(tpm.and_then(Value::as_str).unwrap_or_default());
    let known = answer.pointer("/tpm/known/sentences").and_then(Value::as_array);
    for sentence in known.into_iter().flatten().filter_map(Value::as_str) {
        output::line(sentence);
    }
    if let Some(federation) = answer.pointer("/federation/sentence").and_then(Value::as_str) {
        output::line(federation);
    }
    let holder = answer.get("holder").and_then(|holder| holder.get("sentence"));
    output::line(format!(
        "the key holder is {}",
        holder.and_then(Value::as_str).unwrap_or_default()
    ));
    if let Some(advice) = answer.get("advice").and_then(Value::as_str) {
        output::line(format!("to go on: {advice}"));
    }
}

/// What moves the PCRs that slots are bound to, and whether that can be known before it happens: a sentence each.
fn measured(answer: &Value) -> Vec<String> {
    let slots = answer.get("slots").and_then(Value::as_array).into_iter().flatten();
    let pcrs = slots
        .filter_map(|slot| slot.pointer("/seal/pcrs")?.as_array())
        .flatten();
    let pcrs: BTreeSet<u8> = pcrs.filter_map(|pcr| u8::try_from(pcr.as_u64()?).ok()).collect();
    let known = |pcr: u8| lamchat_hardware::catalogue().ok()?.pcr(pcr);
    let sentence = |pcr: u8| {
        let known = known(pcr)?;
        Some(format!(
            "PCR {pcr} is {}. {} Its next value can be computed in advance: {}.",
            known.contains, known.moved_by, known.predictable
        ))
    };
    pcrs.into_iter().filter_map(sentence).collect()
}

/// Says it plainly where an act has switched federation on or off, beside the sentence that says why.
fn say_federation(server: &Server, before: &Value, after: &Value) {
    let is_on = |status: &Value| status.pointer("/federation/on").and_then(Value::as_bool);
    let changed = match (is_on(before), is_on(after)) {
        (Some(true), Some(false)) => "THIS HAS SWITCHED FEDERATION OFF: other servers are turned away from now on.",
        (Some(false), Some(true)) => "This has switched federation on.",
        _ => return,
    };
    if !server.json {
        output::line(changed);
    }
}
