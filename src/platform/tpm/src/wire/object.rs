//! Objects, sessions and PCRs.

use super::{Handle, Request, marshal, request, selection};
use crate::bytes::{put_sized, without_trailing_zeros};
use crate::crypto::Point;
use crate::error::TpmError;
use crate::pcr::PcrSelection;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bEccParameter, Tpm2bEncryptedSecret, Tpm2bNonce, TpmAlgId, TpmCc, TpmSe, TpmlDigestValues, TpmsEccPoint,
    TpmtHa, TpmtSymDef, TpmuHa, TpmuSymKeyBits, TpmuSymMode,
};
use tpm2_protocol::frame::{
    TpmEvictControlCommand, TpmFlushContextCommand, TpmPcrExtendCommand, TpmPcrReadCommand, TpmReadPublicCommand,
    TpmStartAuthSessionCommand, TpmUnsealCommand,
};
use zeroize::Zeroizing;

/// The kinds of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hmac,
    Policy,
    Trial,
}

/// StartAuthSession (Part 3, 11.1) with AES-128-CFB and SHA-256. `salt`: the key that the salt is agreed with, and the
/// public half of the ephemeral key.
pub(crate) fn start_auth_session(
    kind: Kind,
    nonce: &[u8],
    salt: Option<(&Handle, &Point)>,
) -> Result<Request, TpmError> {
    const LABEL: &str = "StartAuthSession";
    let wrong = |_| TpmError::Unencodable(LABEL);
    let null = Handle::numbered(super::NULL);
    let key = salt.map_or(&null, |(key, _)| key).clone();
    let encrypted_salt = match salt {
        None => Vec::new(),
        Some((_, point)) => marshal(
            &TpmsEccPoint {
                x: Tpm2bEccParameter::try_from(point.x.as_slice()).map_err(wrong)?,
                y: Tpm2bEccParameter::try_from(point.y.as_slice()).map_err(wrong)?,
            },
            LABEL,
        )?,
    };
    let command = TpmStartAuthSessionCommand {
        handles: [key.wire(), null.wire()],
        nonce_caller: Tpm2bNonce::try_from(nonce).map_err(wrong)?,
        encrypted_salt: Tpm2bEncryptedSecret::try_from(encrypted_salt.as_slice()).map_err(wrong)?,
        session_type: match kind {
            Kind::Hmac => TpmSe::Hmac,
            Kind::Policy => TpmSe::Policy,
            Kind::Trial => TpmSe::Trial,
        },
        symmetric: TpmtSymDef {
            algorithm: TpmAlgId::Aes,
            key_bits: TpmuSymKeyBits::Aes(TpmUint16::new(128)),
            mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
        },
        auth_hash: TpmAlgId::Sha256,
    };
    Ok(Request {
        answers_handle: true,
        ..request(LABEL, &command, vec![key, null])?
    })
}

/// CreatePrimary (Part 3, 24.1) in `hierarchy`, by a TPMT_PUBLIC; without authorization value.
pub(crate) fn create_primary(hierarchy: u32, public: &[u8]) -> Result<Request, TpmError> {
    Ok(Request {
        answers_handle: true,
        ..create_as(
            "CreatePrimary",
            TpmCc::CreatePrimary,
            Handle::numbered(hierarchy),
            &[],
            &[],
            public,
        )?
    })
}

/// Create (Part 3, 12.1) below `parent`: an object by the TPMT_PUBLIC, which holds `data` when it is a sealed one.
pub(crate) fn create(parent: &Handle, auth: &[u8], data: &[u8], public: &[u8]) -> Result<Request, TpmError> {
    create_as("Create", TpmCc::Create, parent.clone(), auth, data, public)
}

/// By hand, because the library would leave copies of `auth` and `data` in memory.
fn create_as(
    label: &'static str,
    code: TpmCc,
    parent: Handle,
    auth: &[u8],
    data: &[u8],
    public: &[u8],
) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable(label);
    // Large enough that it never moves: a move would leave a copy.
    let mut sensitive = Zeroizing::new(Vec::with_capacity(auth.len() + data.len() + 4));
    put_sized(&mut sensitive, without_trailing_zeros(auth)).map_err(wrong)?;
    put_sized(&mut sensitive, data).map_err(wrong)?;
    let mut parameters = Zeroizing::new(Vec::with_capacity(sensitive.len() + public.len() + 16));
    put_sized(&mut parameters, &sensitive).map_err(wrong)?;
    put_sized(&mut parameters, public).map_err(wrong)?;
    // outsideInfo empty, creationPCR without entries.
    parameters.extend_from_slice(&[0; 6]);
    Ok(Request {
        label,
        code: code.value(),
        handles: vec![parent],
        parameters,
        answers_handle: false,
    })
}

/// Load (Part 3, 12.2): TPM2B_PRIVATE's and TPMT_PUBLIC's bytes, without their sizes.
pub(crate) fn load(parent: &Handle, private: &[u8], public: &[u8]) -> Result<Request, TpmError> {
    let mut parameters = Zeroizing::new(Vec::new());
    put_sized(&mut parameters, private).map_err(|_| TpmError::Unencodable("Load"))?;
    put_sized(&mut parameters, public).map_err(|_| TpmError::Unencodable("Load"))?;
    Ok(Request {
        label: "Load",
        code: TpmCc::Load.value(),
        handles: vec![parent.clone()],
        parameters,
        answers_handle: true,
    })
}

/// LoadExternal (Part 3, 12.3) of a public key alone, in the owner hierarchy: tickets of the null hierarchy are empty,
/// and PolicyAuthorize needs a real one.
pub(crate) fn load_external(public: &[u8]) -> Result<Request, TpmError> {
    let mut parameters = Zeroizing::new(vec![0, 0]);
    put_sized(&mut parameters, public).map_err(|_| TpmError::Unencodable("LoadExternal"))?;
    parameters.extend_from_slice(&super::OWNER.to_be_bytes());
    Ok(Request {
        label: "LoadExternal",
        code: TpmCc::LoadExternal.value(),
        handles: Vec::new(),
        parameters,
        answers_handle: true,
    })
}

/// Unseal (Part 3, 12.7). The answer is a TPM2B_SENSITIVE_DATA.
pub(crate) fn unseal(object: &Handle) -> Result<Request, TpmError> {
    let command = TpmUnsealCommand {
        handles: [object.wire()],
    };
    request("Unseal", &command, vec![object.clone()])
}

/// ReadPublic (Part 3, 12.4).
pub(crate) fn read_public(raw: u32) -> Result<Request, TpmError> {
    let handle = Handle::numbered(raw);
    request(
        "ReadPublic",
        &TpmReadPublicCommand {
            handles: [handle.wire()],
        },
        vec![handle],
    )
}

/// FlushContext (Part 3, 28.4).
pub(crate) fn flush_context(raw: u32) -> Result<Request, TpmError> {
    let command = TpmFlushContextCommand {
        handles: [],
        flush_handle: raw.into(),
    };
    request("FlushContext", &command, Vec::new())
}

/// EvictControl (Part 3, 28.5): makes `object` persistent under `persistent`.
pub(crate) fn evict_control(object: &Handle, persistent: u32) -> Result<Request, TpmError> {
    let owner = Handle::numbered(super::OWNER);
    let command = TpmEvictControlCommand {
        handles: [owner.wire(), object.wire()],
        persistent_handle: persistent.into(),
    };
    request("EvictControl", &command, vec![owner, object.clone()])
}

/// PCR_Read (Part 3, 22.4) of the SHA-256 bank.
pub(crate) fn pcr_read(pcrs: &PcrSelection) -> Result<Request, TpmError> {
    let command = TpmPcrReadCommand {
        handles: [],
        pcr_selection_in: selection(pcrs)?,
    };
    request("PCR_Read", &command, Vec::new())
}

/// PCR_Extend (Part 3, 22.2) of the SHA-256 bank.
pub(crate) fn pcr_extend(pcr: u8, digest: &[u8; 32]) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("PCR_Extend");
    let handle = Handle::numbered(u32::from(pcr));
    let mut digests = TpmlDigestValues::new();
    digests
        .try_push(TpmtHa {
            hash_alg: TpmAlgId::Sha256,
            digest: TpmuHa::Digest(digest.as_slice().try_into().map_err(wrong)?),
        })
        .map_err(wrong)?;
    let command = TpmPcrExtendCommand {
        handles: [handle.wire()],
        digests,
    };
    request("PCR_Extend", &command, vec![handle])
}
