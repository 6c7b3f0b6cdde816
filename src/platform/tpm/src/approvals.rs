//! What comes with a release of the image: the file of its approvals, which systemd's stub hands over from the section
//! `.pcrsig` as `/.extra/tpm2-pcr-signature.json`, and the release key that made them.
//!
//! The file has no secret and no authority of its own: the TPM checks each signature. It is read as if by a stranger's
//! hand all the same.

use crate::crypto::Point;
use crate::pcr::PcrValues;
use crate::policy::{Policy, SignedPolicy, Step};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Longest file of approvals.
pub const APPROVALS_BYTES_MAX: usize = 64 << 10;
/// Most approvals of one file: one for each release key that a release stands under.
pub const APPROVALS_MAX: usize = 16;
/// A P-256 key in SubjectPublicKeyInfo (RFC 5480, section 2), up to its point.
const P256_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why a file of approvals cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalsError {
    /// Longer than any honest one.
    #[error("it has more than {APPROVALS_BYTES_MAX} bytes")]
    TooLong,
    /// Not the JSON that is documented.
    #[error("it is not the JSON of a release: {0}")]
    Json(#[from] serde_json::Error),
    /// More approvals than a release has.
    #[error("it has more than {APPROVALS_MAX} approvals")]
    TooMany,
    /// An approval contradicts itself or is malformed.
    #[error("its approval {number} is malformed: {what}")]
    Entry {
        /// From 1.
        number: usize,
        /// The field.
        what: &'static str,
    },
}

/// `{"sha256": [approval, …]}`; other banks are not used.
#[derive(Deserialize)]
struct File {
    sha256: Vec<Entry>,
}

/// As systemd writes it (`pcrs`, `pkfp`, `pol`, `sig`), with the approved value and the epoch beside it. The key's
/// fingerprint is for people: the signature says whose it is.
#[derive(Deserialize)]
struct Entry {
    pcrs: Vec<u8>,
    epoch: u64,
    value: String,
    pol: String,
    sig: String,
}

/// The approvals of a release. An approval says which value of one PCR it is for; that of the policy must follow from it.
pub fn parse_approvals(file: &[u8]) -> Result<Vec<SignedPolicy>, ApprovalsError> {
    if file.len() > APPROVALS_BYTES_MAX {
        return Err(ApprovalsError::TooLong);
    }
    let File { sha256 } = serde_json::from_slice(file)?;
    if sha256.len() > APPROVALS_MAX {
        return Err(ApprovalsError::TooMany);
    }
    let approvals = sha256.iter().enumerate().map(|(at, entry)| {
        let number = at + 1;
        entry.read().map_err(|what| ApprovalsError::Entry { number, what })
    });
    approvals.collect()
}

impl Entry {
    fn read(&self) -> Result<SignedPolicy, &'static str> {
        let [pcr] = self.pcrs.as_slice() else {
            return Err("pcrs");
        };
        let value = digest(&self.value).ok_or("value")?;
        let pcrs = PcrValues::new([(*pcr, value)]).map_err(|_| "pcrs")?;
        let policy = Policy::new(vec![Step::Pcr(pcrs.clone())]).digest();
        if policy.ok() != digest(&self.pol) {
            return Err("pol");
        }
        let signature = STANDARD.decode(&self.sig).ok();
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        Ok(SignedPolicy {
            pcrs,
            epoch: self.epoch,
            signature: signature.ok_or("sig")?,
        })
    }
}

/// 32 bytes in hexadecimal.
fn digest(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl Point {
    /// The point of a P-256 key in SubjectPublicKeyInfo (DER); `None` if it is anything else, or not on the curve.
    pub fn of_public_key_info(info: &[u8]) -> Option<Self> {
        let point = Self::from_uncompressed(info.strip_prefix(P256_INFO)?).ok()?;
        point.is_on_curve().then_some(point)
    }

    /// SHA-256 of the key in SubjectPublicKeyInfo: how people compare release keys, and what `pkfp` says.
    pub fn fingerprint(&self) -> [u8; 32] {
        crate::crypto::sha256(&[P256_INFO, &self.uncompressed()])
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{APPROVALS_BYTES_MAX, ApprovalsError, P256_INFO, parse_approvals};
    use crate::testing::Release;
    use crate::{PcrValues, Point, SignedPolicy};

    fn approval(release: &Release, epoch: u64) -> SignedPolicy {
        release.approve(&PcrValues::new([(11, [7; 32])]).unwrap(), epoch)
    }

    #[test]
    fn what_a_release_brings_is_read() {
        let release = Release::new();
        let made = [approval(&release, 3), approval(&release, 4)];
        let file = crate::testing::approvals_file(&made);
        assert_eq!(parse_approvals(file.as_bytes()).unwrap(), made);
        assert_eq!(parse_approvals(b"{\"sha256\":[]}").unwrap(), []);
        // What systemd adds, and other banks, are not ours to judge.
        let more = file.replacen('{', "{\"sha1\":[1],", 1);
        assert_eq!(parse_approvals(more.as_bytes()).unwrap(), made);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let file = crate::testing::approvals_file(&[approval(&Release::new(), 3)]);
        let wrong = |from: &str, to: &str| match parse_approvals(file.replacen(from, to, 1).as_bytes()) {
            Err(ApprovalsError::Entry { number: 1, what }) => what,
            Err(ApprovalsError::Json(_)) => "json",
            other => unreachable!("{from} {to}: {other:?}"),
        };
        assert_eq!(wrong("[11]", "[11,12]"), "pcrs");
        assert_eq!(wrong("[11]", "[24]"), "pcrs");
        assert_eq!(wrong("[11]", "[12]"), "pol");
        assert_eq!(wrong("\"value\":\"07", "\"value\":\"08"), "pol");
        assert_eq!(wrong("\"value\":\"07", "\"value\":\"+7"), "value");
        assert_eq!(wrong("\"value\":\"07", "\"value\":\""), "value");
        assert_eq!(wrong("\"sig\":\"", "\"sig\":\"AAAA"), "sig");
        assert_eq!(wrong("\"epoch\":3", "\"epoch\":-3"), "json");
        assert_eq!(wrong("\"epoch\":3,", ""), "json");
        assert_eq!(wrong("[{", "[1,{"), "json");
        let many = format!("{{\"sha256\":[{}]}}", vec![&file[11..file.len() - 2]; 17].join(","));
        assert!(matches!(parse_approvals(many.as_bytes()), Err(ApprovalsError::TooMany)));
        let long = vec![b' '; APPROVALS_BYTES_MAX + 1];
        assert!(matches!(parse_approvals(&long), Err(ApprovalsError::TooLong)));
        let deep = "[".repeat(APPROVALS_BYTES_MAX);
        assert!(matches!(parse_approvals(deep.as_bytes()), Err(ApprovalsError::Json(_))));
    }

    #[test]
    fn a_release_key_is_a_point_of_its_curve() {
        let point = Release::new().point();
        let info = [P256_INFO, &point.uncompressed()].concat();
        assert_eq!(Point::of_public_key_info(&info), Some(point));
        for (at, _) in info.iter().enumerate() {
            let mut changed = info.clone();
            changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            assert_eq!(Point::of_public_key_info(&changed), None, "{at}");
        }
        assert_eq!(Point::of_public_key_info(&[info, vec![0]].concat()), None);
    }
}
