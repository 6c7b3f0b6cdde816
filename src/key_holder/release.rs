//! What the image of this machine was released with: the release key, and its approvals.

use lamchat_holder::Release;
use lamchat_tpm::{APPROVALS_BYTES_MAX, Point, parse_approvals};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest file of a key.
const KEY_BYTES_MAX: usize = 4 << 10;

/// Reads both files; or half a sentence about why not.
pub fn read(key: &Path, approvals: &Path) -> Result<Release, String> {
    let named =
        |setting: &str, file: &Path, why: &dyn std::fmt::Display| format!("seal.{setting} {}: {why}", file.display());
    let pem = bounded(key, KEY_BYTES_MAX).map_err(|error| named("release_key", key, &error))?;
    let info = SubjectPublicKeyInfoDer::from_pem_slice(&pem);
    let info = info.map_err(|error| named("release_key", key, &error))?;
    let point = Point::of_public_key_info(&info);
    let point = point.ok_or_else(|| named("release_key", key, &"it is no public key on P-256"))?;
    let file = bounded(approvals, APPROVALS_BYTES_MAX + 1);
    let file = file.map_err(|error| named("pcr_signature", approvals, &error))?;
    let read = parse_approvals(&file).map_err(|error| named("pcr_signature", approvals, &error))?;
    Ok(Release {
        key: point,
        approvals: read,
    })
}

/// At most so many bytes: what is longer does not parse.
fn bounded(file: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
