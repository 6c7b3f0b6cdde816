//! A verdict: what evidence proved, what it only claimed, and what no evidence of this kind can prove.

use crate::checkpoint::Checkpoint;
use crate::event_log::EventLog;
use crate::evidence::Evidence;
use crate::manifest::Image;
use crate::quote::{ClockInfo, Quote};
use crate::sha256::{Sha256, to_hex};
use crate::trust::{CertifiedKey, CertifiedMake};
use crate::verify::Policy;
use serde::Serialize;

/// The use of keys that the key holder did not release.
const FILE: &str = "tls-file";
/// What no quote can tell.
const NOT_PROVABLE: &[&str] = &[
    "that the firmware measured truthfully: firmware that lies, or was broken into, can measure what it likes",
    "what the management controller (BMC), the processor's management engine and other devices with memory access do",
    "that nobody listens on the bus between processor and TPM, or has opened the box",
    "that the measured program has no flaw through which somebody took it over after it was measured",
    "that the box still runs what it ran when it made this quote",
];

/// What happened since the previous bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Continuity {
    /// Resets of the TPM: boots of the box.
    pub resets: u32,
    /// Powered time that passed, in milliseconds; 0 when a power cut set the clock back.
    pub clock_ms: u64,
    /// The version of the TPM's firmware then.
    pub firmware_before: u64,
}

/// A key that the quote is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedKey {
    /// `signing`, `tls`, `audit` or `tls-file`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// Its fingerprint.
    pub sha256: Sha256,
}

/// Evidence that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The auditor's name for the box, from the enrolment.
    pub label: String,
    /// The release of the reference manifest.
    pub release: String,
    /// The name that the exchange gives itself.
    pub server_name: String,
    /// The image that was measured, where the manifest has images.
    pub image: Option<Image>,
    /// The program.
    pub binary: Sha256,
    /// The configuration without its secrets.
    pub configuration: Sha256,
    /// The keys that the quote is bound to.
    pub keys: Vec<NamedKey>,
    /// What the box's own keys are sealed to; evidence of before does not say.
    pub seal: Option<String>,
    /// The head of the audit log.
    pub audit: Option<Checkpoint>,
    /// Clock and counters of the TPM.
    pub clock: ClockInfo,
    /// The version of the TPM's firmware.
    pub tpm_firmware: u64,
    /// Which TPM it is, by its certificate.
    pub tpm: Option<CertifiedMake>,
    /// Digest of the endorsement key's certificate.
    pub ek_certificate: Sha256,
    /// The PCRs that were quoted.
    pub pcrs: Vec<u8>,
    /// Since the previous bundle, when there was one.
    pub since_previous: Option<Continuity>,
    /// What was proved, in sentences.
    pub proved: Vec<String>,
    /// What was only claimed, in sentences.
    pub claimed: Vec<String>,
    /// What cannot be proved, in sentences.
    pub not_provable: &'static [&'static str],
}

impl Verdict {
    #[expect(
        clippy::too_many_arguments,
        reason = "the results of the checks, each once, at one place"
    )]
    pub(crate) fn new(
        policy: &Policy<'_>,
        evidence: &Evidence,
        quote: &Quote<'_>,
        log: &EventLog<'_>,
        image: Option<&Image>,
        audit: Option<Checkpoint>,
        since_previous: Option<Continuity>,
        certified: &CertifiedKey,
    ) -> Self {
        let claims = &evidence.claims;
        let keys = claims.keys.iter().map(|key| NamedKey {
            usage: key.usage.word(),
            sha256: key.sha256,
        });
        let mut verdict = Self {
            label: policy.enrolment.label.clone(),
            release: policy.manifest.release.clone(),
            server_name: claims.server_name.clone(),
            image: image.cloned(),
            binary: claims.binary,
            configuration: claims.configuration,
            keys: keys.collect(),
            seal: claims.seal.clone(),
            audit,
            clock: quote.clock,
            tpm_firmware: quote.firmware,
            tpm: certified.make.clone(),
            ek_certificate: certified.certificate,
            pcrs: policy.manifest.pcrs.clone(),
            since_previous,
            proved: Vec::new(),
            claimed: Vec::new(),
            not_provable: NOT_PROVABLE,
        };
        verdict.proved = verdict.proofs(policy, log);
        verdict.claimed = verdict.claims(evidence);
        verdict
    }

    fn proofs(&self, policy: &Policy<'_>, log: &EventLog<'_>) -> Vec<String> {
        let pcrs: Vec<String> = self.pcrs.iter().map(u8::to_string).collect();
        let pcrs = pcrs.join(", ");
        let mut proved = vec![
            format!(
                "the quote was made for this nonce by the TPM of `{}`, whose endorsement key a trusted root certifies and \
                 whose attestation key was enrolled",
                self.label
            ),
            if log.absent {
                format!("PCR {pcrs} have values of the reference manifest; there is no event log to explain them")
            } else {
                let events = log.events.len();
                format!("the event log of {events} measured events leads to the quoted values of PCR {pcrs}")
            },
        ];
        if policy.manifest.secure_boot {
            proved.push("Secure Boot was on when the firmware handed over".into());
        }
        if let Some(image) = &self.image {
            proved.push(format!(
                "the firmware started the image {} of release {}, and PCR 11 is that of its parts",
                image.uki, self.release
            ));
            proved.push(format!("the program in that image is {}", self.binary));
            proved.extend(self.said());
        }
        if let Some(since) = &self.since_previous {
            proved.push(format!(
                "since the previous bundle: {} resets of the TPM, and no counter, clock or audit log went back",
                since.resets
            ));
        }
        proved
    }

    fn claims(&self, evidence: &Evidence) -> Vec<String> {
        let claims = &evidence.claims;
        let mut claimed = Vec::new();
        if self.image.is_none() {
            claimed.push(format!(
                "the program is {}: on this system no PCR covers it",
                self.binary
            ));
            claimed.extend(self.said());
        }
        if self.keys.iter().any(|key| key.usage == FILE) {
            claimed.push(format!(
                "it shows TLS keys from files of its operator's, which are not under the master key: {}",
                self.named(|usage| usage == FILE)
            ));
        }
        claimed.push(format!("the version calls itself {}", claims.version));
        claimed.push(format!(
            "the box's own clock said {} seconds since 1970",
            claims.issued_at
        ));
        if let Some(name) = &claims.null_key_name {
            claimed.push(format!("the kernel's key in the null hierarchy is {}", to_hex(name)));
        }
        claimed
    }

    /// Keys in words.
    fn named(&self, of: impl Fn(&str) -> bool) -> String {
        let keys = self.keys.iter().filter(|key| of(key.usage));
        let words: Vec<String> = keys.map(|key| format!("{} {}", key.usage, key.sha256)).collect();
        words.join(", ")
    }

    /// What the key holder says and the quote is bound to: proved as far as the program is.
    fn said(&self) -> Vec<String> {
        let mut said = vec![
            format!("the exchange is {}", self.server_name),
            format!("it holds these keys: {}", self.named(|usage| usage != FILE)),
            format!("its configuration without secrets is {}", self.configuration),
        ];
        if let Some(seal) = &self.seal {
            said.push(format!("its own keys are sealed like this: {seal}"));
        }
        if let Some(audit) = &self.audit {
            said.push(format!(
                "the audit log {} has {} entries and root {}",
                audit.origin, audit.size, audit.root
            ));
        }
        said
    }
}
