//! What the keys mean together.

use crate::choice::Resource;
use crate::reader::Reader;
use crate::sections::{Config, Listener};

/// How many PCRs a TPM has.
const PCRS: u32 = 24;
/// The PCR with the image.
const IMAGE_PCR: u32 = 11;
/// Those that only a reset clears come first; the others say nothing about how the machine was started.
const QUOTED_PCRS: u32 = 16;

/// Checks everything that one value alone cannot tell, and settles defaults that depend on other keys.
pub(crate) fn check(config: &mut Config, reader: &mut Reader<'_>) {
    let mut seen: Vec<(std::net::IpAddr, u16)> = Vec::new();
    for (number, listener) in config.listeners.iter_mut().enumerate() {
        let path = format!("listeners[{number}]");
        check_listener(listener, &path, reader);
        let place = (listener.address, listener.port);
        if listener.port != 0 && seen.contains(&place) {
            reader.wrong_key(
                &format!("{path}.port"),
                "another listener has the same address and port",
            );
        }
        seen.push(place);
    }
    if config.listeners.is_empty() {
        reader.wrong_key("listeners", "at least one listener is needed");
    }
    let admin = config
        .listeners
        .iter()
        .any(|listener| listener.resources.contains(&Resource::Admin));
    if config.registration.shared_secret.is_some() && !admin {
        let message =
            "no listener has the resource \"admin\", so nobody could use it: add it to a listener's `resources`";
        reader.wrong_key("registration.shared_secret", message);
    }
    check_pcrs("seal.pcrs", &config.seal.pcrs, PCRS, reader);
    if config.seal.release_key.is_some() && config.seal.pcrs.contains(&IMAGE_PCR) {
        let message = "PCR 11 is what the release key approves: bound to its value as well, the next release could not open the keys";
        reader.wrong_key("seal.pcrs", message);
    }
    check_pcrs("attestation.pcrs", &config.attestation.pcrs, QUOTED_PCRS, reader);
    if let Some(url) = &config.updates.url
        && !url.starts_with("https://")
    {
        reader.wrong_key("updates.url", "updates come from an address that begins with https://");
    }
    if config.updates.pin.is_some() && config.updates.authorities.is_some() {
        reader.wrong_key(
            "updates.pin",
            "the server is known by a pin or by authorities, not by both",
        );
    }
    check_positive(config, reader);
}

/// TPM 2.0 PC Client Platform TPM Profile, section 4.6: "24 PCRs"; and each may be named once.
fn check_pcrs(key: &str, pcrs: &[u32], count: u32, reader: &mut Reader<'_>) {
    if pcrs.is_empty() {
        reader.wrong_key(key, "name at least one: [7] is the state of Secure Boot");
    }
    if let Some(pcr) = pcrs.iter().find(|pcr| **pcr >= count) {
        let last = count - 1;
        reader.wrong_key(key, format!("there is no PCR {pcr} here; they go from 0 to {last}"));
    }
    let twice = pcrs
        .iter()
        .enumerate()
        .find(|(at, pcr)| pcrs.iter().take(*at).any(|other| other == *pcr));
    if let Some((_, pcr)) = twice {
        reader.wrong_key(key, format!("PCR {pcr} is named twice"));
    }
}

/// Certificate and key belong together, and exclude the local authority.
fn check_listener(listener: &mut Listener, path: &str, reader: &mut Reader<'_>) {
    let (certificate, key) = (format!("{path}.tls_certificate"), format!("{path}.tls_private_key"));
    match (&listener.tls_certificate, &listener.tls_private_key) {
        (Some(_), None) => reader.wrong_key(
            &certificate,
            "`tls_private_key` is missing: a certificate needs its key",
        ),
        (None, Some(_)) => reader.wrong_key(&key, "`tls_certificate` is missing: a key needs its certificate"),
        _ => {}
    }
    let files = listener.tls_certificate.is_some() || listener.tls_private_key.is_some();
    let local = format!("{path}.tls_local_authority");
    if files && listener.tls_local_authority && reader.has(&local) {
        reader.wrong_key(
            &local,
            "either this or `tls_certificate` and `tls_private_key`, not both",
        );
    }
    // A listener that is written down without any TLS key is plain HTTP; only the embedded one is HTTPS by default.
    if !reader.has(&local) && reader.has(path) {
        listener.tls_local_authority = false;
    }
    if listener.resources.is_empty() {
        reader.wrong_key(
            &format!("{path}.resources"),
            "name at least one: \"client\", \"federation\", \"media\", \"admin\"",
        );
    }
}

/// Numbers that would stop everything if they were zero.
fn check_positive(config: &Config, reader: &mut Reader<'_>) {
    let numbers = [
        ("limits.upload_bytes_max", config.limits.upload_bytes_max == 0),
        ("http.connections_max", config.http.connections_max == 0),
        (
            "http.connections_per_address_max",
            config.http.connections_per_address_max == 0,
        ),
        ("updates.interval", config.updates.interval.is_zero()),
        ("http.header_timeout", config.http.header_timeout.is_zero()),
        ("http.idle_timeout", config.http.idle_timeout.is_zero()),
        ("http.handshake_timeout", config.http.handshake_timeout.is_zero()),
        ("http.body_timeout", config.http.body_timeout.is_zero()),
        ("http.write_timeout", config.http.write_timeout.is_zero()),
        (
            "media.thumbnails_concurrent_max",
            config.media.thumbnails_concurrent_max == 0,
        ),
    ];
    for (key, zero) in numbers {
        if zero {
            reader.wrong_key(key, "must be greater than 0");
        }
    }
    if config.http.header_bytes_max < 8192 {
        reader.wrong_key("http.header_bytes_max", "at least 8192 is needed");
    }
}
