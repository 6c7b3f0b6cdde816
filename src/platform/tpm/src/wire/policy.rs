//! Policy commands (Part 3, 23). What they hash is computed in `policy.rs`; the command codes come from here.

use super::{Handle, Request, request, selection};
use crate::error::TpmError;
use crate::pcr::PcrSelection;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bDigest, Tpm2bMaxBuffer, Tpm2bName, Tpm2bNonce, TpmCc, TpmEo, TpmlDigest, TpmtTkVerified,
};
use tpm2_protocol::frame::{
    TpmPolicyAuthValueCommand, TpmPolicyAuthorizeCommand, TpmPolicyGetDigestCommand, TpmPolicyNvCommand,
    TpmPolicyOrCommand, TpmPolicyPcrCommand, TpmPolicySecretCommand,
};

/// The command codes that enter a policy's digest.
pub(crate) struct PolicyCode;

impl PolicyCode {
    pub(crate) const PCR: [u8; 4] = TpmCc::PolicyPcr.value().to_be_bytes();
    pub(crate) const AUTHORIZE: [u8; 4] = TpmCc::PolicyAuthorize.value().to_be_bytes();
    pub(crate) const OR: [u8; 4] = TpmCc::PolicyOr.value().to_be_bytes();
    pub(crate) const NV: [u8; 4] = TpmCc::PolicyNv.value().to_be_bytes();
    pub(crate) const AUTH_VALUE: [u8; 4] = TpmCc::PolicyAuthValue.value().to_be_bytes();
}

/// What PolicyNV hashes besides the name: the operand, the offset 0 and the operation "equal".
pub(crate) fn operand_equal(value: u64) -> [u8; 12] {
    let mut bytes = [0u8; 12];
    let tail = [[0, 0], TpmEo::Eq.value().to_be_bytes()].concat();
    for (into, from) in bytes.iter_mut().zip(value.to_be_bytes().iter().chain(&tail)) {
        *into = *from;
    }
    bytes
}

/// PolicyPCR without an expected digest: the TPM takes the present values.
pub(crate) fn policy_pcr(session: &Handle, pcrs: &PcrSelection) -> Result<Request, TpmError> {
    let command = TpmPolicyPcrCommand {
        handles: [session.wire()],
        pcr_digest: Tpm2bDigest::default(),
        pcrs: selection(pcrs)?,
    };
    request("PolicyPCR", &command, vec![session.clone()])
}

/// PolicyOR.
pub(crate) fn policy_or(session: &Handle, branches: &[[u8; 32]]) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("PolicyOR");
    let mut p_hash_list = TpmlDigest::new();
    for branch in branches {
        let digest = Tpm2bDigest::try_from(branch.as_slice()).map_err(wrong)?;
        p_hash_list.try_push(digest).map_err(wrong)?;
    }
    let command = TpmPolicyOrCommand {
        handles: [session.wire()],
        p_hash_list,
    };
    request("PolicyOR", &command, vec![session.clone()])
}

/// PolicyAuthorize. `ticket`: VerifySignature's answer.
pub(crate) fn policy_authorize(
    session: &Handle,
    approved: &[u8],
    policy_ref: &[u8],
    key_name: &[u8],
    ticket: TpmtTkVerified,
) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("PolicyAuthorize");
    let command = TpmPolicyAuthorizeCommand {
        handles: [session.wire()],
        approved_policy: Tpm2bDigest::try_from(approved).map_err(wrong)?,
        policy_ref: Tpm2bNonce::try_from(policy_ref).map_err(wrong)?,
        key_sign: Tpm2bName::try_from(key_name).map_err(wrong)?,
        check_ticket: ticket,
    };
    request("PolicyAuthorize", &command, vec![session.clone()])
}

/// PolicyNV: the eight bytes of `index` equal `value`. Read with the authorization of `index` itself.
pub(crate) fn policy_nv(session: &Handle, index: &Handle, value: u64) -> Result<Request, TpmError> {
    let operand = value.to_be_bytes();
    let command = TpmPolicyNvCommand {
        handles: [index.wire(), index.wire(), session.wire()],
        operand_b: Tpm2bMaxBuffer::try_from(operand.as_slice()).map_err(|_| TpmError::Unencodable("PolicyNV"))?,
        offset: TpmUint16::new(0),
        operation: TpmEo::Eq,
    };
    request(
        "PolicyNV",
        &command,
        vec![index.clone(), index.clone(), session.clone()],
    )
}

/// PolicyAuthValue.
pub(crate) fn policy_auth_value(session: &Handle) -> Result<Request, TpmError> {
    let command = TpmPolicyAuthValueCommand {
        handles: [session.wire()],
    };
    request("PolicyAuthValue", &command, vec![session.clone()])
}

/// PolicySecret of a hierarchy, without expiry.
pub(crate) fn policy_secret(session: &Handle, hierarchy: u32) -> Result<Request, TpmError> {
    let authority = Handle::numbered(hierarchy);
    let command = TpmPolicySecretCommand {
        handles: [authority.wire(), session.wire()],
        nonce_tpm: Tpm2bNonce::default(),
        cp_hash_a: Tpm2bDigest::default(),
        policy_ref: Tpm2bNonce::default(),
        expiration: 0.into(),
    };
    request("PolicySecret", &command, vec![authority, session.clone()])
}

/// PolicyGetDigest.
pub(crate) fn policy_get_digest(session: &Handle) -> Result<Request, TpmError> {
    let command = TpmPolicyGetDigestCommand {
        handles: [session.wire()],
    };
    request("PolicyGetDigest", &command, vec![session.clone()])
}
