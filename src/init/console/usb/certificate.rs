//! The certificate of the box's own authority onto a stick, for clients. And a certificate for the box's TLS from the operator's own authority: the request onto a stick, the answer from it. The key
//! stays in the exchange, which checks the answer against it and against its names before it is used.

use super::{choose, tell};
use crate::init::console::authority::ask as own;
use crate::init::console::screen::Screen;
use crate::init::exchange;
use crate::init::state::Shared;
use crate::init::stick::{self, Deposit};
use serde_json::{Value, json};
use std::sync::Arc;

/// The request, in the folder that is made for it.
const REQUEST: &str = "lamchat-request.pem";
/// The answer, in the stick's first folder: the certificate, then those that lead to the authority.
const ANSWER: &str = "certificate.pem";
/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The box's own authority, in the folder that is made for it.
const AUTHORITY: &str = "lamchat-ca.pem";

/// Writes the certificate of the box's own authority.
pub fn authority(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let made = own().and_then(|authority| {
        let mut deposit = Deposit::begin(shared, &disk, "authority")?;
        deposit.add(AUTHORITY, authority.pem.as_bytes())?;
        let folder = deposit.folder.clone();
        deposit.finish(&mut |_| {})?;
        Ok(format!(
            "{folder}/{AUTHORITY} was written and read back right. The stick may be pulled. Before a machine trusts the \
             file, compare its SHA-256 fingerprint with what this console shows at \"Certificate authority\": sticks can be \
             exchanged."
        ))
    });
    tell(screen, made)
}

/// Writes the request.
pub fn request(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let asked = exchange::call("POST", "/_lamchat/admin/v1/tls/request", Some(&json!({})));
    let made = asked.map_err(|error| error.0).and_then(|answer| {
        let request = answer.get("request").and_then(Value::as_str).unwrap_or_default();
        if request.is_empty() {
            return Err("the exchange gave no request".to_owned());
        }
        let mut deposit = Deposit::begin(shared, &disk, "certificate")?;
        deposit.add(REQUEST, request.as_bytes())?;
        let folder = deposit.folder.clone();
        deposit.finish(&mut |_| {})?;
        Ok(format!(
            "{folder}/{REQUEST} was written and read back right. Have your authority sign it, put its answer into the stick's \
             first folder as {ANSWER} (PEM: the certificate, then those in between), and choose \"TLS certificate from the \
             stick\". The stick may be pulled."
        ))
    });
    tell(screen, made)
}

/// Takes the answer.
pub fn install(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let installed = stick::open(shared, &disk).and_then(|mut stick| {
        let bytes = stick
            .read_small(ANSWER, ANSWER_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        let chain = String::from_utf8(bytes).map_err(|_| format!("{ANSWER} is not in PEM form"))?;
        let body = json!({"chain": chain});
        let answer = exchange::call("POST", "/_lamchat/admin/v1/tls/certificate", Some(&body));
        answer.map_err(|error| error.0)
    });
    tell(screen, installed.map(|answer| sentence(&answer)))
}

fn sentence(answer: &Value) -> String {
    let names = answer.get("names").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let end = answer.get("not_after").and_then(Value::as_u64).unwrap_or_default();
    let fingerprint = answer.get("fingerprint").and_then(Value::as_str).unwrap_or_default();
    format!(
        "The certificate is used from now on.\n\nNames: {}\nUntil: {} (UTC)\n{fingerprint}",
        names.join(", "),
        crate::cli::output::time(end)
    )
}
