//! Commands and structures on the wire: the only module that knows the types of `tpm2-protocol`, so that the crates of
//! the tpm2-rs project can take its place. What goes out of here is bytes and this crate's own types.
//!
//! Two things are written by hand: what carries a secret (the library's owned buffers are not cleared when dropped), and
//! LoadExternal without a private part, which the library cannot express.

mod attest;
mod code;
mod nv;
mod object;
mod policy;
mod public;

pub(crate) use attest::{
    Property, activate_credential, get_capability, get_handles, parse_handles, parse_property, parse_signature,
    parse_ticket, quote, read_clock, sign, verify_signature,
};
pub(crate) use code::{Verdict, judge};
pub(crate) use nv::{NvPublic, nv_define, nv_increment, nv_read, nv_read_public, nv_undefine, nv_write};
pub(crate) use object::{
    Kind, create, create_primary, evict_control, flush_context, load, load_external, pcr_extend, pcr_read, read_public,
    start_auth_session, unseal,
};
pub(crate) use policy::{
    PolicyCode, operand_equal, policy_auth_value, policy_authorize, policy_get_digest, policy_nv, policy_or,
    policy_pcr, policy_secret,
};
pub use public::{PublicArea, Template};

use crate::error::TpmError;
use crate::pcr::PcrSelection;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::constant::TPM_MAX_COMMAND_SIZE;
use tpm2_protocol::data::{
    TpmAlgId, TpmRh, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection, TpmtSignature, TpmuSignature,
};
use tpm2_protocol::frame::{TpmFrame, TpmHeader};
use tpm2_protocol::{TpmMarshal, TpmWriter};
use zeroize::Zeroizing;

/// The owner hierarchy (TPM_RH_OWNER).
pub(crate) const OWNER: u32 = TpmRh::Owner as u32;
/// The endorsement hierarchy (TPM_RH_ENDORSEMENT).
pub(crate) const ENDORSEMENT: u32 = TpmRh::Endorsement as u32;
/// No hierarchy, no object (TPM_RH_NULL).
pub(crate) const NULL: u32 = TpmRh::Null as u32;

/// A handle with the name that an HMAC covers (Part 1, 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) raw: u32,
    pub(crate) name: Vec<u8>,
}

impl Handle {
    /// A hierarchy, a PCR or a session: its name is its number.
    pub(crate) fn numbered(raw: u32) -> Self {
        Self {
            raw,
            name: raw.to_be_bytes().to_vec(),
        }
    }

    fn wire(&self) -> TpmHandle {
        TpmHandle::new(self.raw)
    }
}

/// A command without its sessions.
pub(crate) struct Request {
    /// The command's name in errors.
    pub(crate) label: &'static str,
    /// TPM_CC.
    pub(crate) code: u32,
    /// The handle area.
    pub(crate) handles: Vec<Handle>,
    /// The parameter area, which a session may encrypt.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Whether the answer begins with a handle.
    pub(crate) answers_handle: bool,
}

/// Turns the library's command into a [`Request`].
fn request<C: TpmFrame + TpmHeader>(
    label: &'static str,
    command: &C,
    handles: Vec<Handle>,
) -> Result<Request, TpmError> {
    let mut buffer = Zeroizing::new(vec![0u8; TPM_MAX_COMMAND_SIZE]);
    let length = {
        let mut writer = TpmWriter::new(&mut buffer);
        command
            .marshal_parameters(&mut writer)
            .map_err(|_| TpmError::Unencodable(label))?;
        writer.len()
    };
    buffer.truncate(length);
    Ok(Request {
        label,
        code: C::CC.value(),
        handles,
        parameters: buffer,
        answers_handle: false,
    })
}

/// Any of the library's structures as bytes.
fn marshal(structure: &impl TpmMarshal, label: &'static str) -> Result<Vec<u8>, TpmError> {
    let mut buffer = vec![0u8; TPM_MAX_COMMAND_SIZE];
    let length = {
        let mut writer = TpmWriter::new(&mut buffer);
        structure
            .marshal(&mut writer)
            .map_err(|_| TpmError::Unencodable(label))?;
        writer.len()
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// A TPML_PCR_SELECTION of the SHA-256 bank alone.
fn selection(pcrs: &PcrSelection) -> Result<TpmlPcrSelection, TpmError> {
    let mut list = TpmlPcrSelection::new();
    let pcr_select =
        TpmsPcrSelect::try_from(pcrs.bitmap().as_slice()).map_err(|_| TpmError::Unencodable("PCR selection"))?;
    list.try_push(TpmsPcrSelection {
        hash: TpmAlgId::Sha256,
        pcr_select,
    })
    .map_err(|_| TpmError::Unencodable("PCR selection"))?;
    Ok(list)
}

/// The bytes of a TPML_PCR_SELECTION, as policies hash it.
pub(crate) fn selection_bytes(pcrs: &PcrSelection) -> Result<Vec<u8>, TpmError> {
    marshal(&selection(pcrs)?, "PCR selection")
}

/// An ECDSA signature on P-256: r and s, each 32 bytes big-endian.
pub(crate) fn ecdsa_signature(signature: &TpmtSignature) -> Result<[u8; 64], TpmError> {
    let TpmuSignature::Ecdsa(ecdsa) = &signature.signature else {
        return Err(TpmError::Malformed("a signature"));
    };
    let mut out = [0u8; 64];
    let (r, s) = out.split_at_mut(32);
    right_aligned(r, &ecdsa.signature_r)?;
    right_aligned(s, &ecdsa.signature_s)?;
    Ok(out)
}

/// A big number that may come without its leading zeros.
fn right_aligned(into: &mut [u8], number: &[u8]) -> Result<(), TpmError> {
    let start = into
        .len()
        .checked_sub(number.len())
        .ok_or(TpmError::Malformed("a number"))?;
    into.get_mut(start..)
        .ok_or(TpmError::Malformed("a number"))?
        .copy_from_slice(number);
    Ok(())
}
