//! Response codes (Part 2, 6.6), sorted by what a caller can do about them.

use crate::error::{Exhausted, NvFault, TpmError};
use tpm2_protocol::data::{TpmRc, TpmRcBase as Base};

/// What a response code asks for.
pub(crate) enum Verdict {
    /// Success.
    Done,
    /// The same command again, after a pause.
    Again,
    /// It failed.
    Failed(TpmError),
}

/// Sorts `code`.
pub(crate) fn judge(code: u32) -> Verdict {
    let Ok(parsed) = TpmRc::try_from(code) else {
        return Verdict::Failed(TpmError::Refused {
            code,
            name: "unknown".to_owned(),
        });
    };
    let error = match parsed.base() {
        Base::Success => return Verdict::Done,
        Base::Retry | Base::Yielded | Base::Testing | Base::NvRate => return Verdict::Again,
        Base::Lockout => TpmError::Lockout,
        Base::ObjectMemory | Base::ObjectHandles | Base::Memory => TpmError::Exhausted(Exhausted::Object),
        Base::SessionMemory | Base::SessionHandles | Base::ContextGap | Base::TooManyContexts => {
            TpmError::Exhausted(Exhausted::Session)
        }
        Base::NvSpace => TpmError::Exhausted(Exhausted::NvIndex),
        Base::PolicyFail | Base::Policy | Base::PcrChanged | Base::PolicyCc => TpmError::PolicyFailed,
        Base::AuthFail => TpmError::AuthFailed { counted: true },
        Base::BadAuth => TpmError::AuthFailed { counted: false },
        Base::Integrity => TpmError::Integrity,
        Base::Handle
        | Base::ReferenceH0
        | Base::ReferenceH1
        | Base::ReferenceH2
        | Base::ReferenceH3
        | Base::ReferenceH4
        | Base::ReferenceH5
        | Base::ReferenceH6 => TpmError::Missing,
        Base::Signature => TpmError::Signature,
        Base::NvDefined => NvFault::Defined.into(),
        Base::NvUninitialized => NvFault::Unwritten.into(),
        Base::NvRange | Base::NvSize => NvFault::Range.into(),
        Base::NvLocked => NvFault::Locked.into(),
        Base::NvAuthorization => NvFault::Forbidden.into(),
        Base::NvUnavailable => NvFault::Unavailable.into(),
        Base::Initialize | Base::Failure | Base::NeedsTest | Base::Reboot => TpmError::OutOfOrder(code),
        _ => TpmError::Refused {
            code,
            name: parsed.to_string(),
        },
    };
    Verdict::Failed(error)
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};
    use crate::error::{Exhausted, TpmError};

    #[test]
    fn codes_are_sorted() {
        assert!(matches!(judge(0), Verdict::Done));
        for again in [0x922, 0x908, 0x90a, 0x920] {
            assert!(matches!(judge(again), Verdict::Again), "{again:#x}");
        }
        assert!(matches!(judge(0x921), Verdict::Failed(TpmError::Lockout)));
        // 2461: what Unseal answers after a PCR change.
        assert!(matches!(judge(2461), Verdict::Failed(TpmError::PolicyFailed)));
        assert!(matches!(
            judge(0x98e),
            Verdict::Failed(TpmError::AuthFailed { counted: true })
        ));
        assert!(matches!(judge(0x18b), Verdict::Failed(TpmError::Missing)));
        assert!(matches!(
            judge(0x902),
            Verdict::Failed(TpmError::Exhausted(Exhausted::Object))
        ));
        assert!(matches!(
            judge(0x903),
            Verdict::Failed(TpmError::Exhausted(Exhausted::Session))
        ));
        assert!(matches!(judge(0xffff_fffe), Verdict::Failed(TpmError::Refused { .. })));
    }
}
