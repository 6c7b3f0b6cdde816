//! What the keyring's `tpm` slots are sealed by: the values of PCRs, or on our image what its release key approves; and an
//! NV counter of each blob's own.

use crate::deadline::Deadline;
use crate::image::{self, Release};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_seal::{Sealer, SealerError, SealerReason};
use lamchat_tpm::{
    Address, Counter, CounterError, Exhausted, Identity, PcrSelection, Reason, SealError, SealedBlob, SignedPolicy,
    Tpm, TpmError, UnsealError,
};
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where counters are made, one for each blob. TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.2.2: the
/// owner's indices are 0x01800000 to 0x01BFFFFF.
const COUNTERS: RangeInclusive<u32> = 0x0180_4C00..=0x0180_4C1F;
/// The most that sealing, opening or retiring may take. A slow TPM needs a second or two.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
/// The most that asking the TPM who it is may take: somebody waits for it at a terminal.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the firmware measures whether and by what it checks what it starts: TCG PC Client Platform Firmware Profile 1.06, 3.3.4.8.
const SECURE_BOOT_PCR: u8 = 7;
/// What helps after a refusal.
const REBIND: &str = "once the keys are unlocked, `lamchat seal rebind` binds the slot to this machine as it is now";
/// What helps when the TPM gave no answer that counts.
const RETRY: &str = "the sealed key is unchanged: start again when the TPM answers";

/// A TPM, opened anew for each operation: it may come and go, and others use it too.
#[derive(Clone)]
pub struct TpmSealer {
    address: Address,
    pcrs: PcrSelection,
    entropy: Arc<dyn Entropy>,
    timeout: Duration,
    /// What a blob is sealed with and opened by beside its policy.
    pin: Option<SecretBytes>,
    /// What the image of this machine was released with; or why that cannot be used.
    release: Option<Arc<Result<Release, String>>>,
    /// The lowest security epoch that opens what is sealed from now on; without it, the one that runs.
    floor: Option<u64>,
    /// Counters of blobs of before, as index and value: a TPM whose memory was put back gives them again.
    former: Vec<(u32, u64)>,
    /// Whether every counter like ours belongs to this machine's keyring, or to one that is given up.
    owns_tpm: bool,
    /// A software TPM talks to one client at a time.
    busy: Arc<Mutex<()>>,
}

impl std::fmt::Debug for TpmSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TpmSealer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl TpmSealer {
    /// Seals to the values that `pcrs` have at the time.
    pub fn new(address: Address, pcrs: PcrSelection, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            address,
            pcrs,
            entropy,
            timeout: OPERATION_TIMEOUT,
            pin: None,
            release: None,
            floor: None,
            former: Vec::new(),
            owns_tpm: false,
            busy: Arc::default(),
        }
    }

    /// Seals to what the release key approves, on the image, and opens by the release's approvals.
    #[must_use]
    pub fn with_release(self, release: Result<Release, String>) -> Self {
        Self {
            release: Some(Arc::new(release)),
            ..self
        }
    }

    /// The same, so that nothing is sealed under the counter of one of these blobs of before.
    #[must_use]
    pub fn with_former(self, blobs: &[(u32, Vec<u8>)]) -> Self {
        let parsed = blobs.iter().filter_map(|(_, blob)| SealedBlob::parse(blob).ok());
        let former = parsed.map(|blob| (blob.counter_index, blob.counter_value)).collect();
        Self { former, ..self }
    }

    /// The same on a machine that has one installation: what earlier ones have left in the TPM goes when there is no room.
    #[must_use]
    pub fn owning(self, owns_tpm: bool) -> Self {
        Self { owns_tpm, ..self }
    }

    /// A counter for a new blob. On our image counters of set-ups that were given up make room where there is none: they
    /// are defined as ours, byte for byte, and no slot of the keyring has them. Elsewhere they may be another installation's.
    fn new_counter(&self, tpm: &mut Tpm) -> Result<Counter, CounterError> {
        match tpm.new_counter(COUNTERS) {
            Err(CounterError::Full(..) | CounterError::Tpm(TpmError::Exhausted(Exhausted::NvIndex)))
                if self.owns_tpm =>
            {
                let kept: Vec<u32> = self.former.iter().map(|(index, _)| *index).collect();
                let count = tpm.reclaim_counters(COUNTERS, &kept)?;
                tracing::info!(count, "counters of keyrings that are given up went out of the TPM");
                tpm.new_counter(COUNTERS)
            }
            other => other,
        }
    }

    /// The same with this security epoch as the lowest that opens what is sealed.
    #[must_use]
    pub fn with_floor(self, floor: Option<u64>) -> Self {
        Self { floor, ..self }
    }

    /// What the image of this machine was released with; or why that cannot be used. `None` without an image.
    pub(crate) fn release(&self) -> Option<&Result<Release, String>> {
        self.release.as_deref()
    }

    fn approvals(&self) -> &[SignedPolicy] {
        match self.release() {
            Some(Ok(release)) => &release.approvals,
            _ => &[],
        }
    }

    /// The same with a PIN that somebody typed.
    pub fn with_pin(&self, pin: SecretBytes) -> Self {
        Self {
            pin: Some(pin),
            ..self.clone()
        }
    }

    /// Who the TPM is.
    pub fn identity(&self) -> Result<Identity, SealerError> {
        let impatient = Self {
            timeout: IDENTITY_TIMEOUT,
            ..self.clone()
        };
        impatient.with_tpm(|tpm| tpm.identity().map_err(|error| unavailable(&error)))
    }

    fn with_tpm<T>(&self, operation: impl FnOnce(&mut Tpm) -> Result<T, SealerError>) -> Result<T, SealerError> {
        let done = self.in_tpm(|tpm| Ok::<_, TpmError>(operation(tpm)));
        done.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    /// Does something with the TPM, within the time that one operation may take.
    pub(crate) fn in_tpm<T, E: From<TpmError>>(
        &self,
        operation: impl FnOnce(&mut Tpm) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_tpm_for(self.timeout, operation)
    }

    /// Opens the TPM for an operation whose commands may take so long in all.
    pub(crate) fn with_tpm_for<T, E: From<TpmError>>(
        &self,
        limit: Duration,
        operation: impl FnOnce(&mut Tpm) -> Result<T, E>,
    ) -> Result<T, E> {
        let busy = self.busy.lock();
        let transport = self.address.open().map_err(TpmError::from)?;
        let transport = Box::new(Deadline::new(transport, limit));
        let result = operation(&mut Tpm::new(transport, Arc::clone(&self.entropy)));
        drop(busy);
        result
    }

    /// Seals under `counter`, and opens the blob once: nobody should rely on one that never opened.
    fn seal_under(&self, tpm: &mut Tpm, secret: &Secret<32>, counter: &Counter) -> Result<SealedBlob, SealerError> {
        let binding = image::binding(tpm, self.release(), self.pcrs, self.floor)?;
        let blob = tpm.seal_at(secret, &binding, counter, self.pin.as_ref());
        let blob = blob.map_err(|error| match error {
            SealError::Tpm(error) => unavailable(&error),
            error => failure(SealerReason::Unavailable, error.to_string()),
        })?;
        let opened = tpm.unseal(&blob, self.approvals(), self.pin.as_ref());
        let opened = opened.map_err(|error| refusal(tpm, error, self.pin.is_some()))?;
        verify_slices_are_equal(opened.expose(), secret.expose()).map_err(|_| {
            let explanation = "the TPM gave back something else than what was sealed";
            failure(SealerReason::Malformed, explanation.to_owned())
        })?;
        Ok(blob)
    }
}

impl Sealer for TpmSealer {
    fn seal(&self, secret: &Secret<32>) -> Result<Vec<u8>, SealerError> {
        self.with_tpm(|tpm| {
            let counter = self.new_counter(tpm).map_err(|error| match error {
                CounterError::Tpm(error) => unavailable(&error),
                error => failure(SealerReason::Unavailable, error.to_string()),
            })?;
            let counter = if self.former.contains(&(counter.index, counter.value)) {
                tpm.increment_counter(counter.index).map_err(|error| match error {
                    CounterError::Tpm(error) => unavailable(&error),
                    error => failure(SealerReason::Unavailable, error.to_string()),
                })?
            } else {
                counter
            };
            let sealed = self.seal_under(tpm, secret, &counter);
            if sealed.is_err()
                && let Err(error) = tpm.delete_index(counter.index)
            {
                tracing::warn!(index = counter.index, %error, "a counter that nothing uses is left in the TPM");
            }
            Ok(sealed?.encode())
        })
    }

    fn unseal(&self, blob: &[u8]) -> Result<Secret<32>, SealerError> {
        let blob = parse(blob)?;
        let began = Instant::now();
        self.with_tpm(|tpm| {
            let opened = match tpm.unseal(&blob, self.approvals(), self.pin.as_ref()) {
                Err(UnsealError::PinNeeded) => Err(self.without_pin(tpm, &blob)),
                opened => opened,
            };
            let opened = opened.map_err(|error| self.told(&blob, refusal(tpm, error, blob.pin)));
            let (microseconds, opens) = (began.elapsed().as_micros() as u64, opened.is_ok());
            tracing::info!(microseconds, opens, "the TPM was asked to open the keys");
            opened
        })
    }

    /// Deletes the counter, if it still is this blob's: after a change of the board or in a copied data folder, the same
    /// index is somebody else's.
    fn retire(&self, blob: &[u8]) -> Result<(), SealerError> {
        let blob = parse(blob)?;
        self.with_tpm(|tpm| {
            let reasons = tpm.explain(&blob, &[]).map_err(|error| unavailable(&error))?;
            let foreign = |reason: &Reason| {
                matches!(
                    reason,
                    Reason::AnotherTpm | Reason::CounterMoved { .. } | Reason::CounterGone { .. }
                )
            };
            if reasons.iter().any(foreign) {
                return Ok(());
            }
            tpm.delete_index(blob.counter_index)
                .map_err(|error| unavailable(&error))
        })
    }
}

impl TpmSealer {
    /// Nobody is asked for a PIN that would open nothing: what else is against opening is told at once.
    fn without_pin(&self, tpm: &mut Tpm, blob: &SealedBlob) -> UnsealError {
        match tpm.explain(blob, self.approvals()) {
            Ok(reasons) if !reasons.is_empty() => UnsealError::Refused(reasons),
            Ok(_) => UnsealError::PinNeeded,
            Err(error) => {
                tracing::warn!(%error, "whether anything but the PIN is missing, the TPM does not say");
                UnsealError::PinNeeded
            }
        }
    }

    /// A blob of the image needs the release's approvals: that they could not be read is part of why it did not open.
    fn told(&self, blob: &SealedBlob, error: SealerError) -> SealerError {
        let why = match (self.release(), &blob.image) {
            (Some(Err(why)), Some(_)) => why.as_str(),
            (None, Some(_)) => {
                "the keys were sealed under the image's policy, and `seal.release_key` names no release key"
            }
            _ => return error,
        };
        SealerError {
            explanation: format!("{}; {why}", error.explanation),
            ..error
        }
    }
}

pub(crate) fn parse(blob: &[u8]) -> Result<SealedBlob, SealerError> {
    SealedBlob::parse(blob).map_err(|_| failure(SealerReason::Malformed, "the sealed key is damaged".to_owned()))
}

/// Why a blob did not open, for the operator. `pin`: whether it asks for one.
fn refusal(tpm: &mut Tpm, error: UnsealError, pin: bool) -> SealerError {
    let sentence = error.to_string();
    match error {
        UnsealError::Refused(reasons) => {
            let reason = if reasons.contains(&Reason::AnotherTpm) {
                SealerReason::Foreign
            } else if reasons.iter().any(is_firmware) {
                SealerReason::Firmware
            } else {
                SealerReason::Refused
            };
            failure(reason, format!("{sentence}; {REBIND}"))
        }
        UnsealError::PinNeeded => failure(SealerReason::PinNeeded, "the TPM asks for its PIN".to_owned()),
        UnsealError::WrongPin => failure(SealerReason::WrongPin, format!("{sentence}; {}", tries_left(tpm))),
        UnsealError::Tpm(TpmError::Lockout) => failure(SealerReason::Unavailable, lockout(tpm, pin)),
        UnsealError::Damaged => failure(SealerReason::Malformed, format!("{sentence}; {REBIND}")),
        UnsealError::Tpm(TpmError::Integrity) => failure(
            SealerReason::Malformed,
            format!("the sealed blob was changed; {REBIND}"),
        ),
        UnsealError::Tpm(error) => unavailable(&error),
    }
}

/// Whether Secure Boot's settings moved.
fn is_firmware(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::PcrChanged {
            pcr: SECURE_BOOT_PCR,
            ..
        }
    )
}

/// How many wrong PINs the TPM takes before it refuses all of them for a while.
fn tries_left(tpm: &mut Tpm) -> String {
    match tpm.lockout() {
        Ok(state) => {
            let left = state.failures_max.saturating_sub(state.failures);
            let forgets = state.forgets_after_s;
            format!(
                "the TPM takes {left} more wrong ones before it refuses every PIN for a while, and forgets one in {forgets} s"
            )
        }
        Err(error) => format!("how many tries are left, the TPM does not say: {error}"),
    }
}

/// What a locked-out TPM says about its end. Without a PIN the wrong tries were not at these keys.
fn lockout(tpm: &mut Tpm, pin: bool) -> String {
    let forgets = match tpm.lockout() {
        Ok(state) => format!("in at most {} s", state.forgets_after_s),
        Err(_) => "by itself after a while".to_owned(),
    };
    if pin {
        return format!(
            "after too many wrong PINs the TPM refuses all of them: it takes the next one {forgets}; the recovery key opens \
             the keys now"
        );
    }
    format!(
        "the TPM is locked out and ends that {forgets}: something else on this machine tried wrong passwords at it, or the \
         power went too often (these keys have no PIN); the recovery key opens them now"
    )
}

pub(crate) fn unavailable(error: &TpmError) -> SealerError {
    failure(SealerReason::Unavailable, format!("{error}; {RETRY}"))
}

pub(crate) fn failure(reason: SealerReason, explanation: String) -> SealerError {
    SealerError { reason, explanation }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{SealerReason, TpmSealer};
    use lamchat_base::Secret;
    use lamchat_host::OsEntropy;
    use lamchat_seal::Sealer;
    use lamchat_tpm::{Address, PcrSelection};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn a_tpm_that_never_answers_costs_a_bounded_time() {
        // The system completes connections that nobody accepts.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(silent.local_addr().unwrap());
        let mut sealer = TpmSealer::new(address, PcrSelection::new(&[7]).unwrap(), Arc::new(OsEntropy));
        sealer.timeout = Duration::from_millis(50);
        let began = Instant::now();
        let error = sealer.seal(&Secret::new([1; 32])).unwrap_err();
        assert_eq!(error.reason, SealerReason::Unavailable);
        assert!(error.explanation.contains("did not answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_is_no_blob_never_reaches_the_tpm() {
        let nowhere = Address::Unix("/nonexistent/tpm".into());
        let sealer = TpmSealer::new(nowhere, PcrSelection::new(&[7]).unwrap(), Arc::new(OsEntropy));
        for blob in [&b""[..], b"LAMTPM\0\x01", &[0; 8192]] {
            assert_eq!(sealer.unseal(blob).unwrap_err().reason, SealerReason::Malformed);
            assert_eq!(sealer.retire(blob).unwrap_err().reason, SealerReason::Malformed);
        }
        let error = sealer.seal(&Secret::new([1; 32])).unwrap_err();
        assert_eq!(error.reason, SealerReason::Unavailable);
        assert!(error.explanation.contains("there is no TPM at"), "{error}");
    }
}
