//! Evidence and enrolment, composed.

use crate::certificates::{self, Chain};
use crate::error::AttestError;
use crate::machine::Machine;
use crate::nonce::Nonce;
use lamchat_attestation::{
    Answer, BoundKey, Challenge, Claims, Evidence, KeyUse, PcrValue, Request, Sha256, TpmEvidence,
};
use lamchat_tpm::{Credential, PcrSelection, Tpm};
use parking_lot::Mutex;

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What is quoted, of 0 to 15. A verifier asks for exactly these.
    pub pcrs: Vec<u8>,
    /// Certificates (DER): intermediates that the TPM does not keep, and the endorsement key's own if it keeps none.
    pub ek_certificates: Vec<Vec<u8>>,
}

/// What the exchange says of itself. It runs in another process than the attester: all of it is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The name of the exchange.
    pub server_name: String,
    /// Digest of the configuration without its secrets.
    pub configuration: Sha256,
    /// Fingerprints of TLS keys in files of the operator's, SHA-256 of the SubjectPublicKeyInfo.
    pub tls_files: Vec<Sha256>,
}

/// What the key holder knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The keys that it released, and the one that signs the audit log.
    pub keys: Vec<BoundKey>,
    /// The newest signed head of the audit log.
    pub audit_checkpoint: Option<Vec<u8>>,
    /// What the box's keys are sealed to, in at most 255 printable characters.
    pub seal: String,
}

/// Something that was made, and what could not be put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The file.
    pub file: Vec<u8>,
    /// Sentences without full stop, for the operator: what is missing, and why.
    pub missing: Vec<String>,
}

/// The attester of one box. The TPM is handed in for each operation.
#[derive(Debug)]
pub struct Attester {
    machine: Machine,
    settings: Settings,
    version: String,
    /// Certificates that the exchange keeps (DER), beside those of the settings.
    brought: Mutex<Vec<Vec<u8>>>,
    /// It never changes while TPM and certificates are the same.
    chain: Mutex<Option<Chain>>,
}

impl Attester {
    /// `version` is that of the running program.
    pub fn new(machine: Machine, settings: Settings, version: &str) -> Self {
        Self {
            machine,
            settings,
            version: version.to_owned(),
            brought: Mutex::default(),
            chain: Mutex::default(),
        }
    }

    /// From now on these certificates (DER) complete the chain as well, in place of those that were said before. They are
    /// no secret and nothing trusts them: a verifier follows the chain to a root of its own.
    pub fn complete(&self, certificates: Vec<Vec<u8>>) {
        *self.brought.lock() = certificates;
        *self.chain.lock() = None;
    }

    /// The evidence for a verifier's nonce; `issued_at` in seconds since 1970.
    pub fn evidence(
        &self,
        tpm: &mut Tpm,
        nonce: &Nonce,
        known: Known,
        statement: &Statement,
        issued_at: u64,
    ) -> Result<Made, AttestError> {
        let mut missing = Vec::new();
        let selection =
            PcrSelection::new(&self.settings.pcrs).map_err(|error| AttestError::Selection(error.to_string()))?;
        let untold = |what| move |why| AttestError::Missing { what, why };
        let claims = Claims {
            issued_at,
            version: self.version.clone(),
            server_name: statement.server_name.clone(),
            keys: bound(&known.keys, statement),
            binary: self.machine.program().map_err(untold("the digest of the program"))?,
            uki: self.machine.uki().map_err(untold("the digest of the image"))?,
            configuration: statement.configuration,
            audit_checkpoint: known.audit_checkpoint,
            seal: Some(known.seal),
            null_key_name: self.machine.null_key_name().unwrap_or_else(|why| {
                missing.push(format!(
                    "the evidence does not name the kernel's key in the null hierarchy: {why}"
                ));
                None
            }),
        };
        let event_log = self.machine.event_log().unwrap_or_else(|why| {
            missing.push(format!("the evidence has no event log of the firmware: {why}"));
            Vec::new()
        });
        let ek_certificates = match self.chain(tpm) {
            Ok(chain) => chain.certificates,
            Err(error @ AttestError::NoCertificate) => {
                missing.push(error.to_string());
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        // Here, and nowhere else, is decided what the TPM signs.
        let quote = tpm.quote(&claims.qualifying_data(nonce.bytes()).0, &selection)?;
        let pcrs = quote.pcrs.iter().map(|(pcr, value)| PcrValue {
            pcr,
            sha256: Sha256(*value),
        });
        let evidence = Evidence {
            nonce: nonce.bytes().to_vec(),
            claims,
            tpm: TpmEvidence {
                ek_certificates,
                ak_public: quote.key.bytes().to_vec(),
                pcrs: pcrs.collect(),
                quote: quote.attest,
                signature: quote.signature,
                event_log,
            },
        };
        let file = evidence.to_bytes();
        // What a verifier would read otherwise is no evidence: too many keys, a name with a quotation mark.
        if Evidence::from_bytes(&file).map_err(AttestError::Format)? != evidence {
            return Err(AttestError::Unspelled);
        }
        Ok(Made { file, missing })
    }

    /// The first file of an enrolment: the box's keys and the chain of the endorsement key.
    pub fn request(&self, tpm: &mut Tpm) -> Result<Made, AttestError> {
        let chain = self.chain(tpm)?;
        let request = Request {
            ek_certificates: chain.certificates,
            ek_public: tpm.endorsement(chain.kind)?.public.bytes().to_vec(),
            ak_public: tpm.attestation_key()?.bytes().to_vec(),
        };
        let file = request.to_bytes();
        Request::from_bytes(&file).map_err(AttestError::Format)?;
        Ok(Made {
            file,
            missing: Vec::new(),
        })
    }

    /// The third file of an enrolment: the secret of a challenge, which this TPM alone opens.
    pub fn activate(&self, tpm: &mut Tpm, challenge: &[u8]) -> Result<Answer, AttestError> {
        let challenge = Challenge::from_bytes(challenge)?;
        let kind = self.chain(tpm)?.kind;
        // Before the TPM is asked: it cannot tell another box from a damaged file.
        if challenge.ak_public != tpm.attestation_key()?.bytes()
            || challenge.ek_public != tpm.endorsement(kind)?.public.bytes()
        {
            return Err(AttestError::OtherBox);
        }
        let credential = Credential {
            blob: challenge.credential_blob.clone(),
            secret: challenge.encrypted_secret.clone(),
        };
        let secret = tpm.activate_credential(kind, &credential)?;
        Ok(Answer::new(&challenge, *secret.expose()))
    }

    fn chain(&self, tpm: &mut Tpm) -> Result<Chain, AttestError> {
        let mut known = self.chain.lock();
        if let Some(chain) = &*known {
            return Ok(chain.clone());
        }
        let files = [self.settings.ek_certificates.as_slice(), &self.brought.lock()].concat();
        let found = certificates::find(tpm, &files)?;
        Ok(known.insert(found).clone())
    }
}

/// All keys in the order of the format, each once.
fn bound(own: &[BoundKey], statement: &Statement) -> Vec<BoundKey> {
    let files = statement.tls_files.iter().map(|sha256| BoundKey {
        usage: KeyUse::TlsFile,
        sha256: *sha256,
    });
    let mut keys: Vec<BoundKey> = own.iter().copied().chain(files).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
