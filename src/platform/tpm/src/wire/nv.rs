//! Non-volatile indices.

use super::{Handle, Request, marshal, request};
use crate::bytes::{Reader, put_sized, without_trailing_zeros};
use crate::crypto::sha256;
use crate::error::TpmError;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{Tpm2bDigest, TpmAlgId, TpmCc, TpmaNv, TpmsNvPublic};
use tpm2_protocol::frame::{
    TpmNvIncrementCommand, TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvUndefineSpaceCommand,
};
use zeroize::Zeroizing;

/// What is public about an index (TPMS_NV_PUBLIC, Part 2, 13.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NvPublic {
    bytes: Vec<u8>,
    pub(crate) index: u32,
    pub(crate) data_bytes: u16,
    attributes: TpmaNv,
    name_is_sha256: bool,
}

impl NvPublic {
    /// A counter that everybody may read and the owner may increment.
    pub(crate) fn counter(index: u32) -> Result<Self, TpmError> {
        // TPM_NT_COUNTER is 1 in the four bits of the type.
        let attributes = TpmaNv::COUNTER | TpmaNv::OWNERWRITE | TpmaNv::OWNERREAD | TpmaNv::AUTHREAD | TpmaNv::NO_DA;
        Self::build(index, attributes, 8)
    }

    /// Ordinary data that whoever knows the index's authorization value reads and writes, nobody else.
    pub(crate) fn data(index: u32, data_bytes: u16) -> Result<Self, TpmError> {
        Self::build(index, TpmaNv::AUTHWRITE | TpmaNv::AUTHREAD | TpmaNv::NO_DA, data_bytes)
    }

    fn build(index: u32, attributes: TpmaNv, data_bytes: u16) -> Result<Self, TpmError> {
        let public = TpmsNvPublic {
            nv_index: index.into(),
            name_alg: TpmAlgId::Sha256,
            attributes,
            auth_policy: Tpm2bDigest::default(),
            data_size: TpmUint16::new(data_bytes),
        };
        Ok(Self {
            bytes: marshal(&public, "NV index")?,
            index,
            data_bytes,
            attributes,
            name_is_sha256: true,
        })
    }

    /// Parses NV_ReadPublic's answer: TPM2B_NV_PUBLIC, then the name, which is computed here instead of believed.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, TpmError> {
        let bytes = Reader(answer).sized().map_err(TpmError::malformed("NV_ReadPublic"))?;
        match TpmsNvPublic::unmarshal(bytes) {
            Ok((public, [])) => Ok(Self {
                bytes: bytes.to_vec(),
                index: public.nv_index.value(),
                data_bytes: public.data_size.value(),
                attributes: public.attributes,
                name_is_sha256: public.name_alg == TpmAlgId::Sha256,
            }),
            _ => Err(TpmError::Malformed("NV_ReadPublic")),
        }
    }

    /// The name after the first write, which every later use has (TPMA_NV_WRITTEN is part of it).
    pub(crate) fn written_name(&self) -> Result<[u8; 34], TpmError> {
        let mut public = match TpmsNvPublic::unmarshal(&self.bytes) {
            Ok((public, [])) => public,
            _ => return Err(TpmError::Malformed("NV_ReadPublic")),
        };
        public.attributes |= TpmaNv::WRITTEN;
        Ok(name_of(&marshal(&public, "NV index")?))
    }

    pub(crate) fn is_written(&self) -> bool {
        self.attributes.contains(TpmaNv::WRITTEN)
    }

    pub(crate) fn is_counter(&self) -> bool {
        // The type field has four bits; a counter has exactly this one.
        self.attributes.bits() & 0xf0 == TpmaNv::COUNTER.bits()
    }

    pub(crate) fn reads_by_auth(&self) -> bool {
        self.attributes.contains(TpmaNv::AUTHREAD)
    }

    /// Whether it was defined as `wanted`, in everything that does not change by itself.
    pub(crate) fn is_like(&self, wanted: &Self) -> bool {
        let passing = TpmaNv::WRITTEN | TpmaNv::READLOCKED | TpmaNv::WRITELOCKED;
        self.attributes & !passing == wanted.attributes & !passing && self.data_bytes == wanted.data_bytes
    }

    /// Whether every byte of it is as `wanted`, but for what changes by itself: nobody else happens to define it so.
    pub(crate) fn is_exactly(&self, wanted: &Self) -> bool {
        let passing = TpmaNv::WRITTEN | TpmaNv::READLOCKED | TpmaNv::WRITELOCKED;
        match TpmsNvPublic::unmarshal(&self.bytes) {
            Ok((mut public, [])) => {
                public.attributes &= !passing;
                marshal(&public, "NV index").is_ok_and(|bytes| bytes == wanted.bytes)
            }
            _ => false,
        }
    }

    /// The handle with its present name.
    pub(crate) fn handle(&self) -> Result<Handle, TpmError> {
        if self.name_is_sha256 {
            Ok(Handle {
                raw: self.index,
                name: name_of(&self.bytes).to_vec(),
            })
        } else {
            Err(TpmError::Malformed("NV_ReadPublic: a name that is not SHA-256"))
        }
    }
}

fn name_of(public: &[u8]) -> [u8; 34] {
    let mut name = [0u8; 34];
    for (into, from) in name.iter_mut().zip([0x00, 0x0b].iter().chain(&sha256(&[public]))) {
        *into = *from;
    }
    name
}

/// NV_ReadPublic (Part 3, 31.6).
pub(crate) fn nv_read_public(index: u32) -> Result<Request, TpmError> {
    let handle = Handle::numbered(index);
    request(
        "NV_ReadPublic",
        &TpmNvReadPublicCommand {
            handles: [handle.wire()],
        },
        vec![handle],
    )
}

/// NV_DefineSpace (Part 3, 31.3) by the owner; `auth` becomes the index's authorization value. By hand: it is secret.
pub(crate) fn nv_define(public: &NvPublic, auth: &[u8]) -> Result<Request, TpmError> {
    let wrong = |_| TpmError::Unencodable("NV_DefineSpace");
    let mut parameters = Zeroizing::new(Vec::with_capacity(auth.len() + public.bytes.len() + 4));
    put_sized(&mut parameters, without_trailing_zeros(auth)).map_err(wrong)?;
    put_sized(&mut parameters, &public.bytes).map_err(wrong)?;
    Ok(Request {
        label: "NV_DefineSpace",
        code: TpmCc::NvDefineSpace.value(),
        handles: vec![Handle::numbered(super::OWNER)],
        parameters,
        answers_handle: false,
    })
}

/// NV_UndefineSpace (Part 3, 31.4) by the owner.
pub(crate) fn nv_undefine(index: &Handle) -> Result<Request, TpmError> {
    let owner = Handle::numbered(super::OWNER);
    let command = TpmNvUndefineSpaceCommand {
        handles: [owner.wire(), index.wire()],
    };
    request("NV_UndefineSpace", &command, vec![owner, index.clone()])
}

/// NV_Increment (Part 3, 31.8).
pub(crate) fn nv_increment(authority: &Handle, index: &Handle) -> Result<Request, TpmError> {
    let command = TpmNvIncrementCommand {
        handles: [authority.wire(), index.wire()],
    };
    request("NV_Increment", &command, vec![authority.clone(), index.clone()])
}

/// NV_Read (Part 3, 31.13).
pub(crate) fn nv_read(authority: &Handle, index: &Handle, bytes: u16, offset: u16) -> Result<Request, TpmError> {
    let command = TpmNvReadCommand {
        handles: [authority.wire(), index.wire()],
        size: bytes.into(),
        offset: offset.into(),
    };
    request("NV_Read", &command, vec![authority.clone(), index.clone()])
}

/// NV_Write (Part 3, 31.7) from the start.
pub(crate) fn nv_write(authority: &Handle, index: &Handle, data: &[u8]) -> Result<Request, TpmError> {
    let mut parameters = Zeroizing::new(Vec::with_capacity(data.len() + 4));
    put_sized(&mut parameters, data).map_err(|_| TpmError::Unencodable("NV_Write"))?;
    parameters.extend_from_slice(&[0, 0]);
    Ok(Request {
        label: "NV_Write",
        code: TpmCc::NvWrite.value(),
        handles: vec![authority.clone(), index.clone()],
        parameters,
        answers_handle: false,
    })
}
