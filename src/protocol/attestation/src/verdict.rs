//! A verdict: what evidence proved, what it only claimed, what was not checked, and what no evidence of this kind can
//! prove.
//!
//! *Proved* is what the TPM signed and the reference explains: the quoted PCRs, its counters and clock, image and program;
//! and of what a proved program says, the fingerprints of the keys that its key holder has, because that part composes
//! the qualifying data from the sealed keys themselves. Everything else is *claimed*, however well the program is known:
//! a name, a configuration and the like come from processes that strangers talk to.

use crate::checkpoint::Checkpoint;
use crate::continuity::{AuditContinuity, Continuity, Mark};
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

/// What was compared with bundles of before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// With the previous bundle.
    pub bundle: Option<Continuity>,
    /// With what the auditor remembers.
    pub memory: Option<Continuity>,
}

/// Whose words the claims are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimsBy {
    /// The program was proved to be the one of the reference; it may still be told wrong, or have been taken over.
    ProvedProgram,
    /// No PCR covers the program.
    UnprovedProgram,
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
    /// Since the bundle that the auditor accepted last, when it is remembered.
    pub since_seen: Option<Continuity>,
    /// Whether an export of the audit log was verified that has the head which the bundle names.
    pub audit_exported: bool,
    /// What this bundle leaves for the next one.
    #[serde(skip)]
    pub mark: Mark,
    /// What was proved, in sentences.
    pub proved: Vec<String>,
    /// Whose words the claims are.
    pub claims_by: ClaimsBy,
    /// What was only claimed, in sentences.
    pub claimed: Vec<String>,
    /// What this verification left out, in sentences: how to have it is in them.
    pub not_checked: Vec<String>,
    /// What cannot be proved, in sentences.
    pub not_provable: &'static [&'static str],
    /// How many sentences of `proved`, `claimed` and `not_checked` are not about continuity.
    #[serde(skip)]
    without_continuity: [usize; 3],
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
        since: Since,
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
            since_previous: since.bundle,
            since_seen: since.memory,
            audit_exported: false,
            mark: mark(policy, evidence, quote, since.memory),
            proved: Vec::new(),
            claims_by: if image.is_some() {
                ClaimsBy::ProvedProgram
            } else {
                ClaimsBy::UnprovedProgram
            },
            claimed: Vec::new(),
            not_checked: Vec::new(),
            not_provable: NOT_PROVABLE,
            without_continuity: [0; 3],
        };
        verdict.proved = verdict.proofs(policy, log);
        verdict.claimed = verdict.claims(evidence);
        verdict.without_continuity = [verdict.proved.len(), verdict.claimed.len(), verdict.not_checked.len()];
        verdict.tell_continuity();
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
            proved.push(self.held());
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
            claimed.push(self.held());
        }
        claimed.extend(self.said());
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

    /// The keys that the key holder has.
    fn held(&self) -> String {
        format!("the program holds these keys: {}", self.named(|usage| usage != FILE))
    }

    /// What the program says of itself and the quote is bound to.
    fn said(&self) -> Vec<String> {
        let mut said = vec![
            format!("the exchange is {}", self.server_name),
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

    /// An export of the audit log was verified, signed by the key that the quote names, and has this bundle's head and
    /// those of before: where the log was not replaced it goes on.
    pub fn audit_is_consistent(&mut self) {
        let [proved, claimed, not_checked] = self.without_continuity;
        self.proved.truncate(proved);
        self.claimed.truncate(claimed);
        self.not_checked.truncate(not_checked);
        self.audit_exported = true;
        self.mark.audit_unproved_since = None;
        for since in [&mut self.since_previous, &mut self.since_seen].into_iter().flatten() {
            if matches!(since.audit, AuditContinuity::SameHead | AuditContinuity::LengthOnly) {
                since.audit = AuditContinuity::Consistent;
            }
        }
        self.tell_continuity();
    }

    fn tell_continuity(&mut self) {
        if self.audit_exported {
            self.proved.push(
                "the export has the head of the audit log, signed by the key that the quote is bound to".to_owned(),
            );
        }
        let compared = [
            (self.since_previous, "the previous bundle"),
            (self.since_seen, "the bundle that was accepted last"),
        ];
        if compared.iter().all(|(since, _)| since.is_none()) {
            self.not_checked.push(
                "whether the TPM's counters, its clock or the audit log went back: there was no bundle of before to compare \
                 with"
                    .to_owned(),
            );
        }
        for (since, before) in compared {
            if let Some(since) = since {
                // The TPM's own signature is over counters and clock, whatever the program is.
                self.proved.push(format!(
                    "since {before}: {} resets of the TPM, and neither its counters nor its clock went back",
                    since.resets
                ));
                self.tell_audit(since.audit, before);
            }
        }
    }

    fn tell_audit(&mut self, audit: AuditContinuity, before: &str) {
        match audit {
            AuditContinuity::NotBefore => self
                .not_checked
                .push(format!("whether the audit log went back: {before} named no head of it")),
            AuditContinuity::SameHead => self
                .claimed
                .push(format!("the audit log has the same head as in {before}")),
            AuditContinuity::LengthOnly => {
                self.claimed
                    .push(format!("the audit log has more entries than in {before}"));
                self.not_checked.push(format!(
                    "whether the audit log continues the one of {before}, or was forked: its length alone was compared. An \
                     export of the log shows it (--audit)"
                ));
            }
            AuditContinuity::Consistent => self.proved.push(format!(
                "the audit log continues the one of {before}: the export has that head as well"
            )),
            AuditContinuity::NewLog => self.claimed.push(format!(
                "the audit log is another one than in {before}, as was accepted: this one begins anew"
            )),
        }
    }
}

/// What is left for the next bundle: with a head of before, as long as no export has shown that it was continued.
fn mark(policy: &Policy<'_>, evidence: &Evidence, quote: &Quote<'_>, since: Option<Continuity>) -> Mark {
    let mut mark = Mark::of(evidence, quote);
    if let (Some(seen), Some(since)) = (policy.seen, since) {
        let open = seen.audit_unproved_since.clone();
        mark.audit_unproved_since = match since.audit {
            AuditContinuity::LengthOnly => open.or_else(|| seen.audit_checkpoint.clone()),
            AuditContinuity::SameHead => open,
            AuditContinuity::NotBefore | AuditContinuity::Consistent | AuditContinuity::NewLog => None,
        };
    }
    mark
}
