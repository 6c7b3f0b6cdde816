//! Sessions (Part 1, 19): salted to the storage root, every command and answer under an HMAC, the first parameter of
//! both directions encrypted with AES-128-CFB. What lies on the bus tells an interposer nothing, and what he changes is
//! noticed.

use crate::bytes::{Reader, put_sized, without_trailing_zeros};
use crate::crypto::{cfb_decrypt, cfb_encrypt, hmac_sha256, kdfa, same, sha256};
use crate::error::TpmError;
use crate::wire::{Handle, Request};
use lamchat_base::Entropy;
use zeroize::Zeroizing;

/// Bytes of the program's nonces, and of the TPM's with SHA-256.
pub(crate) const NONCE_BYTES: usize = 32;
/// TPMA_SESSION (Part 2, 8.4).
const CONTINUE: u8 = 0x01;
const DECRYPT: u8 = 0x20;
const ENCRYPT: u8 = 0x40;

/// A session that the TPM holds. Flushed by the scope that opened it.
pub(crate) struct Session {
    pub(crate) handle: Handle,
    /// sessionKey; empty for a session without salt.
    key: Zeroizing<Vec<u8>>,
    nonce_tpm: Vec<u8>,
    /// Whether the authorization value enters the HMAC: always but in a policy session without PolicyAuthValue.
    pub(crate) proves_auth_value: bool,
}

impl Session {
    /// After StartAuthSession: `salt` empty for none.
    pub(crate) fn new(raw: u32, salt: &[u8], nonce_caller: &[u8], nonce_tpm: &[u8], policy: bool) -> Self {
        let key = if salt.is_empty() {
            Zeroizing::new(Vec::new())
        } else {
            kdfa(salt, "ATH", nonce_tpm, nonce_caller, 256)
        };
        Self {
            handle: Handle::numbered(raw),
            key,
            nonce_tpm: nonce_tpm.to_vec(),
            proves_auth_value: !policy,
        }
    }

    fn hmac_key(&self, auth_value: &[u8]) -> Zeroizing<Vec<u8>> {
        let value = if self.proves_auth_value {
            without_trailing_zeros(auth_value)
        } else {
            &[]
        };
        joined(&self.key, value)
    }
}

fn joined(key: &[u8], value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(key.len() + value.len()));
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out
}

/// One session's part in one command. The n-th authorizes the n-th handle; one beyond only encrypts.
pub(crate) struct Auth<'a> {
    pub(crate) session: &'a mut Session,
    /// The authorization value of the handle.
    pub(crate) value: &'a [u8],
    /// The program encrypts the command's first parameter, and the TPM decrypts it.
    pub(crate) decrypt: bool,
    /// The TPM encrypts the answer's first parameter.
    pub(crate) encrypt: bool,
}

impl<'a> Auth<'a> {
    /// Authorization without encryption.
    pub(crate) fn plain(session: &'a mut Session, value: &'a [u8]) -> Self {
        Self {
            session,
            value,
            decrypt: false,
            encrypt: false,
        }
    }

    fn attributes(&self) -> u8 {
        CONTINUE | if self.decrypt { DECRYPT } else { 0 } | if self.encrypt { ENCRYPT } else { 0 }
    }

    /// Key and initialization vector for one direction (Part 1, 21.3): the authorization value is part of it even where
    /// the HMAC leaves it out.
    fn cipher(&self, newer: &[u8], older: &[u8]) -> Zeroizing<Vec<u8>> {
        let key = joined(&self.session.key, without_trailing_zeros(self.value));
        kdfa(&key, "CFB", newer, older, 256)
    }
}

/// A command ready to send, and what its answer is checked with.
pub(crate) struct Sent {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    nonces: Vec<[u8; NONCE_BYTES]>,
}

/// Encrypts, authenticates and frames `request`.
pub(crate) fn frame(request: &Request, auths: &[Auth<'_>], entropy: &dyn Entropy) -> Result<Sent, TpmError> {
    let unencodable = |_| TpmError::Unencodable(request.label);
    let mut parameters = request.parameters.clone();
    let mut nonces = Vec::with_capacity(auths.len());
    for _ in auths {
        let mut nonce = [0u8; NONCE_BYTES];
        entropy.fill(&mut nonce);
        nonces.push(nonce);
    }
    for (auth, nonce) in auths.iter().zip(&nonces) {
        if auth.decrypt {
            let cipher = auth.cipher(nonce, &auth.session.nonce_tpm);
            cfb_encrypt(&cipher, first_parameter(&mut parameters, request.label)?)?;
        }
    }
    let names: Vec<&[u8]> = request.handles.iter().map(|handle| handle.name.as_slice()).collect();
    let cp_hash = sha256(&[&request.code.to_be_bytes(), &names.concat(), &parameters]);

    let mut area = Vec::new();
    for (number, (auth, nonce)) in auths.iter().zip(&nonces).enumerate() {
        let extra = foreign_nonces(auths, number);
        let hmac = hmac_sha256(
            &auth.session.hmac_key(auth.value),
            &[&cp_hash, nonce, &auth.session.nonce_tpm, &extra, &[auth.attributes()]],
        );
        area.extend_from_slice(&auth.session.handle.raw.to_be_bytes());
        put_sized(&mut area, nonce).map_err(unencodable)?;
        area.push(auth.attributes());
        put_sized(&mut area, hmac.as_slice()).map_err(unencodable)?;
    }

    let area_size = if auths.is_empty() { 0 } else { 4 + area.len() };
    let size = crate::transport::HEADER_BYTES + 4 * request.handles.len() + area_size + parameters.len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    // TPM_ST_NO_SESSIONS, TPM_ST_SESSIONS
    bytes.extend_from_slice(if auths.is_empty() { &[0x80, 0x01] } else { &[0x80, 0x02] });
    let length = u32::try_from(size).map_err(|_| TpmError::Unencodable(request.label))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&request.code.to_be_bytes());
    for handle in &request.handles {
        bytes.extend_from_slice(&handle.raw.to_be_bytes());
    }
    if !auths.is_empty() {
        let length = u32::try_from(area.len()).map_err(|_| TpmError::Unencodable(request.label))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&area);
    }
    bytes.extend_from_slice(&parameters);
    Ok(Sent { bytes, nonces })
}

/// The first session's HMAC also covers the nonces of the other sessions that encrypt (Part 1, 19.6.5), so that nobody
/// takes those sessions out of the command.
fn foreign_nonces(auths: &[Auth<'_>], number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if number == 0 {
        let others = || auths.iter().skip(1);
        let decrypts = others().find(|auth| auth.decrypt);
        let encrypts = others().find(|auth| auth.encrypt && !auth.decrypt);
        for auth in [decrypts, encrypts].into_iter().flatten() {
            out.extend_from_slice(&auth.session.nonce_tpm);
        }
    }
    out
}

/// The bytes of the first parameter, which is a TPM2B, without its size.
fn first_parameter<'p>(parameters: &'p mut [u8], label: &'static str) -> Result<&'p mut [u8], TpmError> {
    let (size, rest) = parameters
        .split_first_chunk_mut::<2>()
        .ok_or(TpmError::Malformed(label))?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size)))
        .ok_or(TpmError::Malformed(label))
}

/// A successful answer.
pub(crate) struct Answer {
    /// The object or session that the command made.
    pub(crate) handle: Option<u32>,
    /// The parameters, decrypted.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

/// Checks and decrypts the successful `answer` (whole, with header), and moves the sessions' nonces on.
pub(crate) fn open(request: &Request, sent: &Sent, auths: &mut [Auth<'_>], answer: &[u8]) -> Result<Answer, TpmError> {
    let malformed = TpmError::malformed(request.label);
    let mut reader = Reader(answer);
    let tag = reader.u16().map_err(&malformed)?;
    let _size = reader.u32().map_err(&malformed)?;
    let code = reader.array::<4>().map_err(&malformed)?;
    let handle = if request.answers_handle {
        Some(reader.u32().map_err(&malformed)?)
    } else {
        None
    };
    if auths.is_empty() {
        return Ok(Answer {
            handle,
            parameters: Zeroizing::new(reader.0.to_vec()),
        });
    }
    if tag != 0x8002 {
        return Err(TpmError::Malformed(request.label));
    }
    let length = reader.u32().map_err(&malformed)?;
    let length = usize::try_from(length).map_err(|_| TpmError::Malformed(request.label))?;
    let parameters = reader.take(length).map_err(&malformed)?;
    let mut parameters = Zeroizing::new(parameters.to_vec());
    let rp_hash = sha256(&[&code, &request.code.to_be_bytes(), &parameters]);
    for (auth, nonce) in auths.iter_mut().zip(&sent.nonces) {
        let nonce_tpm = reader.sized().map_err(&malformed)?.to_vec();
        let attributes = reader.u8().map_err(&malformed)?;
        let hmac = reader.sized().map_err(&malformed)?;
        let wanted = hmac_sha256(
            &auth.session.hmac_key(auth.value),
            &[&rp_hash, &nonce_tpm, nonce, &[attributes]],
        );
        if !same(hmac, wanted.as_slice()) {
            return Err(TpmError::Forged);
        }
        auth.session.nonce_tpm = nonce_tpm;
    }
    reader.end().map_err(&malformed)?;
    for (auth, nonce) in auths.iter().zip(&sent.nonces) {
        if auth.encrypt {
            let cipher = auth.cipher(&auth.session.nonce_tpm, nonce);
            cfb_decrypt(&cipher, first_parameter(&mut parameters, request.label)?)?;
        }
    }
    Ok(Answer { handle, parameters })
}
