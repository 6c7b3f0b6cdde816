//! Quotes, signatures, credentials, clock and properties.

use super::{Handle, Request, ecdsa_signature, request, selection};
use crate::bytes::{Reader, put_sized};
use crate::error::TpmError;
use crate::pcr::PcrSelection;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::TpmUint32;
use tpm2_protocol::data::{
    Tpm2bData, Tpm2bDigest, Tpm2bEccParameter, TpmAlgId, TpmCap, TpmCc, TpmPt, TpmRh, TpmSt, TpmsSignatureEcc,
    TpmtSigScheme, TpmtSignature, TpmtTkHashcheck, TpmtTkVerified, TpmuSignature,
};
use tpm2_protocol::frame::{
    TpmGetCapabilityCommand, TpmQuoteCommand, TpmReadClockCommand, TpmSignCommand, TpmVerifySignatureCommand,
};
use zeroize::Zeroizing;

/// Properties of TPM_CAP_TPM_PROPERTIES that are read here (Part 2, 6.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Property {
    Family = TpmPt::FamilyIndicator as u32,
    Level = TpmPt::Level as u32,
    Revision = TpmPt::Revision as u32,
    Year = TpmPt::Year as u32,
    Manufacturer = TpmPt::Manufacturer as u32,
    Vendor1 = TpmPt::VendorString1 as u32,
    Vendor2 = TpmPt::VendorString2 as u32,
    Vendor3 = TpmPt::VendorString3 as u32,
    Vendor4 = TpmPt::VendorString4 as u32,
    Firmware1 = TpmPt::FirmwareVersion1 as u32,
    Firmware2 = TpmPt::FirmwareVersion2 as u32,
    NvBufferMax = TpmPt::NvBufferMax as u32,
    LockoutCounter = TpmPt::LockoutCounter as u32,
    MaxAuthFail = TpmPt::MaxAuthFail as u32,
    LockoutInterval = TpmPt::LockoutInterval as u32,
    TransientAvailable = TpmPt::HrTransientAvail as u32,
    SessionsLoaded = TpmPt::HrLoaded as u32,
}

/// Quote (Part 3, 18.4) with the key's own scheme.
pub(crate) fn quote(key: &Handle, qualifying_data: &[u8], pcrs: &PcrSelection) -> Result<Request, TpmError> {
    let command = TpmQuoteCommand {
        handles: [key.wire()],
        qualifying_data: Tpm2bData::try_from(qualifying_data).map_err(|_| TpmError::Unencodable("Quote"))?,
        in_scheme: TpmtSigScheme::default(),
        pcr_select: selection(pcrs)?,
    };
    request("Quote", &command, vec![key.clone()])
}

/// Sign (Part 3, 20.2) a SHA-256 digest that was made outside of the TPM, with the key's own scheme.
pub(crate) fn sign(key: &Handle, digest: &[u8; 32]) -> Result<Request, TpmError> {
    let command = TpmSignCommand {
        handles: [key.wire()],
        digest: Tpm2bDigest::try_from(digest.as_slice()).map_err(|_| TpmError::Unencodable("Sign"))?,
        in_scheme: TpmtSigScheme::default(),
        validation: TpmtTkHashcheck {
            tag: TpmSt::HashCheck,
            hierarchy: TpmRh::Null,
            digest: Tpm2bDigest::default(),
        },
    };
    request("Sign", &command, vec![key.clone()])
}

/// A TPMT_SIGNATURE: r and s, and whether anything follows is refused.
pub(crate) fn parse_signature(bytes: &[u8]) -> Result<[u8; 64], TpmError> {
    match TpmtSignature::unmarshal(bytes) {
        Ok((signature, [])) => ecdsa_signature(&signature),
        _ => Err(TpmError::Malformed("a signature")),
    }
}

/// VerifySignature (Part 3, 20.1) of an ECDSA signature with SHA-256.
pub(crate) fn verify_signature(key: &Handle, digest: &[u8; 32], signature: &[u8; 64]) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("VerifySignature");
    let (r, s) = signature.split_at(32);
    let command = TpmVerifySignatureCommand {
        handles: [key.wire()],
        digest: Tpm2bDigest::try_from(digest.as_slice()).map_err(wrong)?,
        signature: TpmtSignature {
            sig_alg: TpmAlgId::Ecdsa,
            signature: TpmuSignature::Ecdsa(TpmsSignatureEcc {
                hash: TpmAlgId::Sha256,
                signature_r: Tpm2bEccParameter::try_from(r).map_err(wrong)?,
                signature_s: Tpm2bEccParameter::try_from(s).map_err(wrong)?,
            }),
        },
    };
    request("VerifySignature", &command, vec![key.clone()])
}

/// VerifySignature's ticket.
pub(crate) fn parse_ticket(bytes: &[u8]) -> Result<TpmtTkVerified, TpmError> {
    match TpmtTkVerified::unmarshal(bytes) {
        Ok((ticket, [])) => Ok(ticket),
        _ => Err(TpmError::Malformed("VerifySignature")),
    }
}

/// ActivateCredential (Part 3, 12.5). `credential`, `secret`: TPM2B_ID_OBJECT's and TPM2B_ENCRYPTED_SECRET's contents.
pub(crate) fn activate_credential(
    key: &Handle,
    endorsement: &Handle,
    credential: &[u8],
    secret: &[u8],
) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("ActivateCredential");
    let mut parameters = Zeroizing::new(Vec::new());
    put_sized(&mut parameters, credential).map_err(wrong)?;
    put_sized(&mut parameters, secret).map_err(wrong)?;
    Ok(Request {
        label: "ActivateCredential",
        code: TpmCc::ActivateCredential.value(),
        handles: vec![key.clone(), endorsement.clone()],
        parameters,
        answers_handle: false,
    })
}

/// ReadClock (Part 3, 29.1).
pub(crate) fn read_clock() -> Result<Request, TpmError> {
    request("ReadClock", &TpmReadClockCommand { handles: [] }, Vec::new())
}

/// GetCapability (Part 3, 30.2) of one property.
pub(crate) fn get_capability(property: Property) -> Result<Request, TpmError> {
    let command = TpmGetCapabilityCommand {
        handles: [],
        cap: TpmCap::TpmProperties,
        property: TpmUint32::new(property as u32),
        property_count: TpmUint32::new(1),
    };
    request("GetCapability", &command, Vec::new())
}

/// GetCapability of the handles from `first` on (at most 64), for tests that look for leaks and for NV certificates.
pub(crate) fn get_handles(first: u32) -> Result<Request, TpmError> {
    let command = TpmGetCapabilityCommand {
        handles: [],
        cap: TpmCap::Handles,
        property: TpmUint32::new(first),
        property_count: TpmUint32::new(64),
    };
    request("GetCapability", &command, Vec::new())
}

/// The handles in GetCapability's answer: more-data flag, capability 1, a counted list.
pub(crate) fn parse_handles(answer: &[u8]) -> Result<Vec<u32>, TpmError> {
    let malformed = TpmError::malformed("GetCapability");
    let mut reader = Reader(answer);
    let (_more, capability) = (reader.u8().map_err(&malformed)?, reader.u32().map_err(&malformed)?);
    let count = reader.u32().map_err(&malformed)?;
    if capability != TpmCap::Handles.value() || count > 64 {
        return Err(TpmError::Malformed("GetCapability"));
    }
    let handles = (0..count)
        .map(|_| reader.u32())
        .collect::<Result<Vec<_>, _>>()
        .map_err(&malformed)?;
    reader.end().map_err(&malformed)?;
    Ok(handles)
}

/// The value of the one property asked for, `None` when the TPM does not have it.
pub(crate) fn parse_property(answer: &[u8], property: Property) -> Result<Option<u32>, TpmError> {
    let malformed = TpmError::malformed("GetCapability");
    let mut reader = Reader(answer);
    let (_more, capability) = (reader.u8().map_err(&malformed)?, reader.u32().map_err(&malformed)?);
    if capability != TpmCap::TpmProperties.value() {
        return Err(TpmError::Malformed("GetCapability"));
    }
    if reader.u32().map_err(&malformed)? == 0 {
        return Ok(None);
    }
    let (found, value) = (reader.u32().map_err(&malformed)?, reader.u32().map_err(&malformed)?);
    // A TPM that lacks it answers with the next one.
    Ok((found == property as u32).then_some(value))
}
