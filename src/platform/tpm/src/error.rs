//! What can go wrong with one TPM command, in the terms that a caller decides by.

use crate::bytes::MalformedError;
use crate::crypto::KeyError;
use crate::transport::TransportError;

/// Why a TPM command failed. No variant carries a byte of a command or an answer.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer does not follow the specification.
    #[error("the TPM's answer to {0} does not follow the specification")]
    Malformed(&'static str),
    /// The answer's HMAC is wrong: somebody changed bytes between the TPM and the program, or it is another TPM.
    #[error("the answer does not come from the TPM that the session was opened with")]
    Forged,
    /// The TPM said "later" (TPM_RC_RETRY, YIELDED, TESTING, NV_RATE) until patience ended.
    #[error("the TPM stayed busy through {0} attempts")]
    Busy(u32),
    /// The dictionary-attack protection refuses every guess for now.
    #[error("the TPM is in dictionary-attack lockout; it opens again by itself after a while")]
    Lockout,
    /// No room in the TPM.
    #[error("the TPM has no room for another {0}")]
    Exhausted(Exhausted),
    /// The session's policy is not the one that the object demands, or a policy assertion failed.
    #[error("the policy is not met")]
    PolicyFailed,
    /// A wrong authorization value. `counted`: the attempt counts towards the lockout.
    #[error("the authorization value is wrong")]
    AuthFailed {
        /// Whether the TPM counts the attempt.
        counted: bool,
    },
    /// A blob that this TPM did not make, or that was changed.
    #[error("the object was made by another TPM, before this one was cleared, or was changed")]
    Integrity,
    /// The handle or NV index is not there.
    #[error("the TPM has no object or index under this handle")]
    Missing,
    /// A signature does not verify.
    #[error("the TPM refuses the signature")]
    Signature,
    /// Non-volatile memory.
    #[error(transparent)]
    Nv(#[from] NvFault),
    /// The TPM was not started, or its self-test failed: nothing works until a reset.
    #[error("the TPM is in failure mode or was not started (code {0:#x})")]
    OutOfOrder(u32),
    /// Any other refusal.
    #[error("the TPM refuses the command: {name} (code {code:#x})")]
    Refused {
        /// The response code (Part 2, 6.6).
        code: u32,
        /// Its name in the specification.
        name: String,
    },
    /// The command cannot be expressed: a value longer than its field.
    #[error("the command {0} cannot be expressed")]
    Unencodable(&'static str),
    /// A public key of the TPM is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What a TPM has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Loaded objects.
    Object,
    /// Loaded or saved sessions.
    Session,
    /// Non-volatile memory.
    NvIndex,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Session => "session",
            Self::NvIndex => "NV index",
        })
    }
}

/// Refusals of non-volatile memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NvFault {
    /// The index exists already.
    #[error("the NV index exists already")]
    Defined,
    /// The index exists and was never written.
    #[error("the NV index was never written")]
    Unwritten,
    /// Outside of the index.
    #[error("the access goes beyond the NV index")]
    Range,
    /// Locked until the next reset.
    #[error("the NV index is locked until the next reset")]
    Locked,
    /// The index does not allow this access to anybody who asks this way.
    #[error("the NV index does not allow this access")]
    Forbidden,
    /// NV memory does not work at the moment.
    #[error("the TPM's NV memory is not available")]
    Unavailable,
}

impl TpmError {
    pub(crate) fn malformed(command: &'static str) -> impl Fn(MalformedError) -> Self {
        move |_| Self::Malformed(command)
    }
}
