//! A box in software, for tests here and in the crates above: a boot with its log, a TPM's keys with a certificate
//! chain of their own, an auditor. Its TPM signs whatever a test wants, which no TPM does: so forgeries are made.

mod boot;
mod keys;

pub use boot::{Boot, LogEntry, log_bytes, log_with_algorithms, variable};
pub use keys::{CertificateForm, SoftwareAuditor, SoftwareTpm, public_area};

use crate::claims::{BoundKey, Claims, KeyUse};
use crate::enrolment::{Answer, Challenge, Enrolment, Request};
use crate::evidence::{Evidence, PcrValue, TpmEvidence};
use crate::manifest::{FORMAT, Image, Manifest};
use crate::quote::ClockInfo;
use crate::sha256::Sha256;
use crate::trust::Trust;
use lamchat_base::Entropy;

/// The PCRs that the honest manifest asks for.
pub const PCRS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13];
/// When all of it happens, in seconds since 1970.
pub const TIME: u64 = 1_795_000_000;
/// The honest nonce.
pub const NONCE: [u8; 32] = [0xA5; 32];

/// Entropy that is none: every byte is the same, so that a test knows the secret.
pub struct Fixed(pub u8);

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}

/// Honest claims about the boot of [`Boot::honest`].
pub fn claims() -> Claims {
    let key = |usage, name: &str| BoundKey {
        usage,
        sha256: Sha256::of(name.as_bytes()),
    };
    let mut keys = vec![
        key(KeyUse::Signing, "signing key"),
        key(KeyUse::Tls, "TLS key"),
        key(KeyUse::Audit, "audit key"),
    ];
    keys.sort();
    Claims {
        issued_at: TIME,
        version: "1.2.3".into(),
        server_name: "example.org".into(),
        keys,
        binary: Sha256::of(b"binary"),
        uki: Some(Sha256::of(b"uki")),
        configuration: Sha256::of(b"configuration"),
        audit_checkpoint: Some(checkpoint(42, 7)),
        null_key_name: None,
        seal: Some("PCR 7 only".to_owned()),
    }
}

/// A checkpoint of an audit log with so many entries and a root of such bytes.
pub fn checkpoint(size: u64, root: u8) -> Vec<u8> {
    use base64::Engine;
    let root = base64::engine::general_purpose::STANDARD.encode([root; 32]);
    format!("example.org/audit\n{size}\n{root}\n\n\u{2014} example.org/audit c2lnbmF0dXJl\n").into_bytes()
}

/// The reference manifest of [`Boot::honest`].
pub fn manifest() -> Manifest {
    Manifest {
        format: FORMAT.into(),
        product: "lamchat".into(),
        release: "1.2.3".into(),
        pcrs: PCRS.to_vec(),
        secure_boot: true,
        images: vec![Image {
            uki: Sha256::of(b"uki"),
            authenticode: Sha256::of(b"authenticode of the uki"),
            binary: Sha256::of(b"binary"),
            pcr11: vec![Boot::honest().pcr(11)],
        }],
        binaries: Vec::new(),
        pcr4_events: vec![Sha256::of(b"authenticode of the boot loader")],
        pcr7_events: Vec::new(),
        values: vec![crate::PcrReference {
            pcr: 12,
            sha256: vec![Sha256::ZERO],
        }],
    }
}

/// A box whose TPM is software, with everything that an auditor has about it.
pub struct SoftwareBox {
    /// The TPM.
    pub tpm: SoftwareTpm,
    /// What was measured.
    pub boot: Boot,
    /// The TPM's clock.
    pub clock: ClockInfo,
    /// The auditor.
    pub auditor: SoftwareAuditor,
    /// Whom the auditor trusts.
    pub trust: Trust,
    /// The box's enrolment.
    pub enrolment: Enrolment,
}

impl SoftwareBox {
    /// An honest box.
    pub fn honest() -> Self {
        Self::with(SoftwareTpm::new(&CertificateForm::default()))
    }

    /// A box with this TPM, enrolled whatever its keys are.
    pub fn with(tpm: SoftwareTpm) -> Self {
        let auditor = SoftwareAuditor::new();
        let trust = trust(&[&tpm.root], &[&auditor]);
        let enrolment = enrol(&tpm.ek_certificates, &tpm.ek_public, &tpm.ak_public, &trust, &auditor);
        Self {
            tpm,
            boot: Boot::honest(),
            clock: ClockInfo {
                clock_ms: 5_000_000,
                reset_count: 12,
                restart_count: 3,
                safe: true,
            },
            auditor,
            trust,
            enrolment,
        }
    }

    /// The evidence of this boot with these claims.
    pub fn evidence(&self, nonce: &[u8], claims: Claims) -> Evidence {
        let pcrs: Vec<_> = PCRS
            .iter()
            .map(|pcr| PcrValue {
                pcr: *pcr,
                sha256: self.boot.pcr(*pcr),
            })
            .collect();
        let qualifying = claims.qualifying_data(nonce);
        let quote = self.tpm.attest(&qualifying.0, &self.clock, &pcrs);
        Evidence {
            nonce: nonce.to_vec(),
            claims,
            tpm: TpmEvidence {
                ek_certificates: self.tpm.ek_certificates.clone(),
                ak_public: self.tpm.ak_public.clone(),
                signature: self.tpm.sign(&quote),
                quote,
                pcrs,
                event_log: self.boot.log(),
            },
        }
    }
}

/// A software box and what is expected of it, before it makes its evidence.
pub struct Draft {
    /// The box.
    pub made: SoftwareBox,
    /// What it will claim.
    pub claims: Claims,
    /// What the auditor expects.
    pub manifest: Manifest,
}

impl Draft {
    /// All of it honest.
    pub fn honest() -> Self {
        Self {
            made: SoftwareBox::honest(),
            claims: claims(),
            manifest: manifest(),
        }
    }

    /// The evidence for [`NONCE`]. Each has a signature of its own.
    pub fn evidence(&self) -> Evidence {
        self.made.evidence(&NONCE, self.claims.clone())
    }

    /// Verifies a bundle against what is expected.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn verify(&self, bundle: &[u8]) -> Result<crate::Verdict, crate::Rejection> {
        let policy = crate::Policy {
            nonce: &NONCE,
            manifest: &self.manifest,
            trust: &self.made.trust,
            enrolment: &self.made.enrolment,
            previous: None,
            seen: None,
            accept_new_log: false,
            time: TIME,
        };
        crate::verify(bundle, &policy)
    }
}

/// Trust in these roots (DER) and auditors.
///
/// # Panics
/// They are not what they should be.
pub fn trust(roots: &[&[u8]], auditors: &[&SoftwareAuditor]) -> Trust {
    Trust::from_pem(trust_pem(roots, auditors).as_bytes()).unwrap()
}

/// The file of [`trust`].
pub fn trust_pem(roots: &[&[u8]], auditors: &[&SoftwareAuditor]) -> String {
    use crate::enrolment::AuditorKey;
    let roots = roots.iter().map(|der| pem("CERTIFICATE", der));
    let keys = auditors
        .iter()
        .map(|key| pem("PUBLIC KEY", &crate::trust::public_key_info(&key.public())));
    roots.chain(keys).collect()
}

/// A PEM section.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Enrols keys without a TPM that opens the challenge: the secret is known in advance.
///
/// # Panics
/// The keys cannot be enrolled.
pub fn enrol(
    certificates: &[Vec<u8>],
    ek_public: &[u8],
    ak_public: &[u8],
    trust: &Trust,
    auditor: &SoftwareAuditor,
) -> Enrolment {
    let request = Request {
        ek_certificates: certificates.to_vec(),
        ek_public: ek_public.to_vec(),
        ak_public: ak_public.to_vec(),
    };
    let challenge = Challenge::new(&request, "box 1", trust, TIME, &Fixed(0x5A), auditor).unwrap();
    let answer = Answer::new(&challenge, [0x5A; 32]);
    Enrolment::new(&challenge, &answer, TIME, auditor).unwrap()
}
