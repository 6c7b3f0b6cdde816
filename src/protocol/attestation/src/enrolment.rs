//! Enrolment: an auditor's key certifies that an attestation key lives in the TPM with a certain endorsement key. Two
//! offline rounds; all four files are documented in `FORMAT.md`.
//!
//! 1. The box writes a *request*: its endorsement key with certificates, its attestation key.
//! 2. The auditor verifies the certificates and writes a *challenge*: a secret wrapped so that only this TPM can open
//!    it, and only while it holds this attestation key. The auditor keeps nothing: the challenge is signed and has the
//!    digest of its secret.
//! 3. The box opens it (TPM2_ActivateCredential) and writes the secret as the *answer*.
//! 4. The auditor compares, and signs the *enrolment*.

use crate::credential::{CredentialError, SECRET_BYTES, make_credential};
use crate::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, CHALLENGE_SECONDS_MAX, NAME_BYTES_MAX, PUBLIC_BYTES_MAX};
use crate::public::{AttestationKey, EndorsementKey, KeyError, Point, name};
use crate::sha256::Sha256;
use crate::text::{Members, Reader, TextError, Writer};
use crate::trust::{CertifiedKey, ChainError, Trust};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use lamchat_base::Entropy;
use zeroize::{Zeroize, Zeroizing};

/// What stands before the secret when its digest is taken.
const EXPECTED_DOMAIN: &[u8] = b"lamchat enrolment: digest of the secret, version 1";

const REQUEST: &[&str] = &["format", "ek_certificates", "ek_public", "ak_public"];
const REQUEST_FORMAT: &str = "lamchat-enrolment-request-1";
const CHALLENGE: &[&str] = &[
    "format",
    "label",
    "issued_at",
    "ek_public",
    "ak_public",
    "credential_blob",
    "encrypted_secret",
    "secret_sha256",
    "auditor",
    "signature",
];
const CHALLENGE_FORMAT: &str = "lamchat-enrolment-challenge-1";
const ANSWER: &[&str] = &["format", "challenge_sha256", "secret"];
const ANSWER_FORMAT: &str = "lamchat-enrolment-answer-1";
const ENROLMENT: &[&str] = &[
    "format",
    "label",
    "issued_at",
    "ek_public",
    "ak_public",
    "auditor",
    "signature",
];
const ENROLMENT_FORMAT: &str = "lamchat-enrolment-1";

/// Why a step of an enrolment failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// A file is not one of this format.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The label is too long, empty, or has characters that the format does not have.
    #[error("a label has 1 to {NAME_BYTES_MAX} printable ASCII characters without quotes and backslashes")]
    Label,
    /// The attestation key is not one.
    #[error("the attestation key cannot be enrolled: {0}")]
    AttestationKey(KeyError),
    /// The endorsement key is not one.
    #[error("the endorsement key cannot be used: {0}")]
    EndorsementKey(KeyError),
    /// Its certificates are not believed, or certify another key.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The secret could not be wrapped.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The auditor's key could not sign.
    #[error("the auditor's key could not sign")]
    Sign,
    /// The challenge was not made with this auditor's key, or was changed.
    #[error("the challenge was not made with this key, or was changed")]
    ForeignChallenge,
    /// The challenge is too old, or of the future.
    #[error("the challenge is older than {} days, or of the future", CHALLENGE_SECONDS_MAX / 86400)]
    StaleChallenge,
    /// The answer is to another challenge.
    #[error("the answer is to another challenge")]
    OtherChallenge,
    /// The answer has another secret: the TPM did not open the challenge.
    #[error("the answer has a wrong secret: it does not come from this TPM with this attestation key")]
    WrongSecret,
}

/// Why an enrolment is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The auditor's key is not in the trust file.
    #[error("the enrolment was signed by a key that is not in the trust file")]
    UnknownAuditor,
    /// The signature is wrong.
    #[error("the signature of the enrolment is wrong")]
    Signature,
}

impl EnrolmentError {
    /// The name of this reason, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownAuditor => "enrolment-auditor-unknown",
            Self::Signature => "enrolment-signature",
        }
    }
}

/// An auditor's signing key, ECDSA on P-256. Signing draws random numbers, so it happens outside of this crate.
pub trait AuditorKey {
    /// The public key.
    fn public(&self) -> Point;
    /// Signs with SHA-256: r and s, 32 bytes each. `None` when the cryptographic library fails.
    fn sign(&self, message: &[u8]) -> Option<[u8; 64]>;
}

fn verify_signature(key: &Point, message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(message, signature)
        .is_ok()
}

fn digest_of_secret(secret: &[u8]) -> Sha256 {
    Sha256::of_parts(&[EXPECTED_DOMAIN, secret])
}

fn exact<const N: usize>(text: &mut Reader<'_>) -> Result<[u8; N], TextError> {
    text.base64(N)?.try_into().map_err(|_| text.wrong())
}

/// The first file: which keys the box has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The endorsement key's certificate (DER), then its intermediates.
    pub ek_certificates: Vec<Vec<u8>>,
    /// The endorsement key: TPMT_PUBLIC.
    pub ek_public: Vec<u8>,
    /// The attestation key: TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
}

impl Request {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.open();
        out.member("format");
        out.string(REQUEST_FORMAT);
        out.member("ek_certificates");
        out.list(&self.ek_certificates, |out, der| out.base64(der));
        out.member("ek_public");
        out.base64(&self.ek_public);
        out.member("ak_public");
        out.base64(&self.ak_public);
        out.close();
        out.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let mut members = text.open(REQUEST)?;
        text.member(&mut members, "format")?;
        text.constant(REQUEST_FORMAT)?;
        text.member(&mut members, "ek_certificates")?;
        let ek_certificates = text.list(CERTIFICATES_MAX, |text| text.base64(CERTIFICATE_BYTES_MAX))?;
        text.member(&mut members, "ek_public")?;
        let ek_public = text.base64(PUBLIC_BYTES_MAX)?;
        text.member(&mut members, "ak_public")?;
        let ak_public = text.base64(PUBLIC_BYTES_MAX)?;
        text.close(&members)?;
        text.end()?;
        Ok(Self {
            ek_certificates,
            ek_public,
            ak_public,
        })
    }
}

/// The second file: a secret for the box's TPM alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The auditor's name for the box.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub issued_at: u64,
    /// The endorsement key: TPMT_PUBLIC.
    pub ek_public: Vec<u8>,
    /// The attestation key: TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
    /// TPM2B_ID_OBJECT without its length.
    pub credential_blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET without its length.
    pub encrypted_secret: Vec<u8>,
    secret_sha256: Sha256,
    auditor: Point,
    signature: [u8; 64],
}

impl Challenge {
    /// Verifies a request, draws a secret and wraps it. `time` in seconds since 1970.
    ///
    /// # Errors
    /// See [`EnrolError`].
    pub fn new(
        request: &Request,
        label: &str,
        trust: &Trust,
        time: u64,
        entropy: &dyn Entropy,
        key: &dyn AuditorKey,
    ) -> Result<Self, EnrolError> {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if label.is_empty() || label.len() > NAME_BYTES_MAX || !label.bytes().all(plain) {
            return Err(EnrolError::Label);
        }
        let certified = CertifiedKey::verify(&request.ek_certificates, trust, time)?;
        let ek = EndorsementKey::parse(&request.ek_public).map_err(EnrolError::EndorsementKey)?;
        certified.check_key(&ek)?;
        let ak = AttestationKey::parse(&request.ak_public).map_err(EnrolError::AttestationKey)?;
        ak.check_attributes().map_err(EnrolError::AttestationKey)?;
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(&mut *secret);
        let credential = make_credential(&ek, &name(&request.ak_public), &secret, entropy)?;
        let mut challenge = Self {
            label: label.to_owned(),
            issued_at: time,
            ek_public: request.ek_public.clone(),
            ak_public: request.ak_public.clone(),
            credential_blob: credential.blob,
            encrypted_secret: credential.encrypted_secret,
            secret_sha256: digest_of_secret(&*secret),
            auditor: key.public(),
            signature: [0; 64],
        };
        challenge.signature = key.sign(&challenge.signed()).ok_or(EnrolError::Sign)?;
        Ok(challenge)
    }

    fn write(&self) -> Writer {
        let mut out = Writer::default();
        out.open();
        out.member("format");
        out.string(CHALLENGE_FORMAT);
        out.member("label");
        out.string(&self.label);
        out.member("issued_at");
        out.number(self.issued_at);
        out.member("ek_public");
        out.base64(&self.ek_public);
        out.member("ak_public");
        out.base64(&self.ak_public);
        out.member("credential_blob");
        out.base64(&self.credential_blob);
        out.member("encrypted_secret");
        out.base64(&self.encrypted_secret);
        out.member("secret_sha256");
        out.hex(&self.secret_sha256.0);
        out.member("auditor");
        out.base64(&self.auditor);
        out
    }

    /// What the signature is over: the file without its member `signature`.
    fn signed(&self) -> Vec<u8> {
        let mut out = self.write();
        out.close();
        out.finish()
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.write();
        sign_off(&mut out, &self.signature);
        out.finish()
    }

    /// Reads the file. Its signature is for the auditor, who checks it in [`Enrolment::new`].
    ///
    /// # Errors
    /// It is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let mut members = text.open(CHALLENGE)?;
        text.member(&mut members, "format")?;
        text.constant(CHALLENGE_FORMAT)?;
        let (label, issued_at, ek_public, ak_public) = read_subject(&mut text, &mut members)?;
        text.member(&mut members, "credential_blob")?;
        let credential_blob = text.base64(PUBLIC_BYTES_MAX)?;
        text.member(&mut members, "encrypted_secret")?;
        let encrypted_secret = text.base64(PUBLIC_BYTES_MAX)?;
        text.member(&mut members, "secret_sha256")?;
        let secret_sha256 = text.sha256()?;
        let (auditor, signature) = read_sign_off(&mut text, &mut members)?;
        text.end()?;
        Ok(Self {
            label,
            issued_at,
            ek_public,
            ak_public,
            credential_blob,
            encrypted_secret,
            secret_sha256,
            auditor,
            signature,
        })
    }
}

/// The third file: the secret, which the TPM opened.
pub struct Answer {
    /// The digest of the challenge's file.
    pub challenge: Sha256,
    /// The secret.
    pub secret: [u8; SECRET_BYTES],
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The answer to a challenge, whose secret the TPM gave.
    pub fn new(challenge: &Challenge, secret: [u8; SECRET_BYTES]) -> Self {
        let challenge = Sha256::of(&challenge.to_bytes());
        Self { challenge, secret }
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.open();
        out.member("format");
        out.string(ANSWER_FORMAT);
        out.member("challenge_sha256");
        out.hex(&self.challenge.0);
        out.member("secret");
        out.base64(&self.secret);
        out.close();
        out.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let mut members = text.open(ANSWER)?;
        text.member(&mut members, "format")?;
        text.constant(ANSWER_FORMAT)?;
        text.member(&mut members, "challenge_sha256")?;
        let challenge = text.sha256()?;
        text.member(&mut members, "secret")?;
        let secret = exact(&mut text)?;
        text.close(&members)?;
        text.end()?;
        Ok(Self { challenge, secret })
    }
}

/// The fourth file: an auditor's word that an attestation key lives in a certain TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The auditor's name for the box.
    pub label: String,
    /// When it was signed, in seconds since 1970.
    pub issued_at: u64,
    /// The endorsement key: TPMT_PUBLIC.
    pub ek_public: Vec<u8>,
    /// The attestation key: TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
    auditor: Point,
    signature: [u8; 64],
}

impl Enrolment {
    /// Compares an answer with its challenge, and signs. `time` in seconds since 1970.
    ///
    /// # Errors
    /// See [`EnrolError`].
    pub fn new(challenge: &Challenge, answer: &Answer, time: u64, key: &dyn AuditorKey) -> Result<Self, EnrolError> {
        let own = challenge.auditor == key.public();
        if !own || !verify_signature(&challenge.auditor, &challenge.signed(), &challenge.signature) {
            return Err(EnrolError::ForeignChallenge);
        }
        if time
            .checked_sub(challenge.issued_at)
            .is_none_or(|age| age > CHALLENGE_SECONDS_MAX)
        {
            return Err(EnrolError::StaleChallenge);
        }
        if answer.challenge != Sha256::of(&challenge.to_bytes()) {
            return Err(EnrolError::OtherChallenge);
        }
        // Digests of a random secret: comparing them tells nothing by its time.
        if digest_of_secret(&answer.secret) != challenge.secret_sha256 {
            return Err(EnrolError::WrongSecret);
        }
        let mut enrolment = Self {
            label: challenge.label.clone(),
            issued_at: time,
            ek_public: challenge.ek_public.clone(),
            ak_public: challenge.ak_public.clone(),
            auditor: key.public(),
            signature: [0; 64],
        };
        enrolment.signature = key.sign(&enrolment.signed()).ok_or(EnrolError::Sign)?;
        Ok(enrolment)
    }

    fn write(&self) -> Writer {
        let mut out = Writer::default();
        out.open();
        out.member("format");
        out.string(ENROLMENT_FORMAT);
        out.member("label");
        out.string(&self.label);
        out.member("issued_at");
        out.number(self.issued_at);
        out.member("ek_public");
        out.base64(&self.ek_public);
        out.member("ak_public");
        out.base64(&self.ak_public);
        out.member("auditor");
        out.base64(&self.auditor);
        out
    }

    fn signed(&self) -> Vec<u8> {
        let mut out = self.write();
        out.close();
        out.finish()
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.write();
        sign_off(&mut out, &self.signature);
        out.finish()
    }

    /// Reads the file. Whether it is believed is for [`Enrolment::check`].
    ///
    /// # Errors
    /// It is not of this format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let mut members = text.open(ENROLMENT)?;
        text.member(&mut members, "format")?;
        text.constant(ENROLMENT_FORMAT)?;
        let (label, issued_at, ek_public, ak_public) = read_subject(&mut text, &mut members)?;
        let (auditor, signature) = read_sign_off(&mut text, &mut members)?;
        text.end()?;
        Ok(Self {
            label,
            issued_at,
            ek_public,
            ak_public,
            auditor,
            signature,
        })
    }

    /// Checks that an auditor whom `trust` names signed it.
    ///
    /// # Errors
    /// See [`EnrolmentError`].
    pub fn check(&self, trust: &Trust) -> Result<(), EnrolmentError> {
        if !trust.has_auditor(&self.auditor) {
            return Err(EnrolmentError::UnknownAuditor);
        }
        if !verify_signature(&self.auditor, &self.signed(), &self.signature) {
            return Err(EnrolmentError::Signature);
        }
        Ok(())
    }
}

fn sign_off(out: &mut Writer, signature: &[u8; 64]) {
    out.member("signature");
    out.base64(signature);
    out.close();
}

type Subject = (String, u64, Vec<u8>, Vec<u8>);

fn read_subject(text: &mut Reader<'_>, members: &mut Members) -> Result<Subject, TextError> {
    text.member(members, "label")?;
    let label = text.string(NAME_BYTES_MAX)?.to_owned();
    text.member(members, "issued_at")?;
    let issued_at = text.number()?;
    text.member(members, "ek_public")?;
    let ek_public = text.base64(PUBLIC_BYTES_MAX)?;
    text.member(members, "ak_public")?;
    let ak_public = text.base64(PUBLIC_BYTES_MAX)?;
    Ok((label, issued_at, ek_public, ak_public))
}

fn read_sign_off(text: &mut Reader<'_>, members: &mut Members) -> Result<(Point, [u8; 64]), TextError> {
    text.member(members, "auditor")?;
    let auditor = exact(text)?;
    text.member(members, "signature")?;
    let signature = exact(text)?;
    text.close(members)?;
    Ok((auditor, signature))
}
