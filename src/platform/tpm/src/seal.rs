//! Sealing a 32-byte secret under a policy, and opening it again.

use crate::blob::{ImageBinding, SealedBlob, policy};
use crate::bytes::Reader;
use crate::crypto::{hmac_sha256, sha256};
use crate::error::TpmError;
use crate::explain::Reason;
use crate::nv::{Counter, CounterError};
use crate::pcr::PcrValues;
use crate::policy::{Binding, OR_BRANCHES_MAX, Policy, SignedPolicy, Step, policy_ref};
use crate::session::{Auth, Session};
use crate::tpm::Tpm;
use crate::wire::{self, Handle, Kind, PublicArea};
use lamchat_base::{Secret, SecretBytes};
use zeroize::Zeroizing;

/// How often a policy is asserted whose conditions hold and which fails all the same.
const POLICY_ATTEMPTS: u32 = 12;

/// Why a secret was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A binding without a PCR would open everywhere on this TPM.
    #[error("a secret must be bound to one PCR at least")]
    NoPcrs,
    /// 1 to 8 epochs, ascending.
    #[error("a secret is bound to 1 to 8 security epochs in ascending order")]
    Epochs,
    /// The counter.
    #[error(transparent)]
    Counter(#[from] CounterError),
    /// The TPM refused.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

/// Why a secret did not open. The blob is unchanged and opens again when the reason is gone.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The conditions are not met; each reason on its own suffices.
    #[error("the TPM does not open the secret: {}", crate::explain::sentence(.0))]
    Refused(Vec<Reason>),
    /// The blob asks for a PIN and none was given.
    #[error("a PIN is needed")]
    PinNeeded,
    /// The PIN is wrong. The TPM counts wrong ones and goes into lockout after some.
    #[error("the PIN is wrong")]
    WrongPin,
    /// The blob contradicts itself: it was changed.
    #[error("the sealed blob was changed")]
    Damaged,
    /// The TPM failed, is busy, locked out or gone. Says nothing about the conditions.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl Tpm {
    /// Seals `secret` under `binding` and the present value of the counter at `counter_index`, which is made if it is
    /// not there; with `pin`, under that too. The caller keeps the blob, and should open it once before relying on it.
    pub fn seal(
        &mut self,
        secret: &Secret<32>,
        binding: &Binding,
        counter_index: u32,
        pin: Option<&SecretBytes>,
    ) -> Result<SealedBlob, SealError> {
        let counter = self.ensure_counter(counter_index)?;
        self.seal_at(secret, binding, &counter, pin)
    }

    /// Like [`Tpm::seal`], under a value of the counter that is still to come: to write the new blob before the
    /// increment that closes the old one.
    pub fn seal_at(
        &mut self,
        secret: &Secret<32>,
        binding: &Binding,
        counter: &Counter,
        pin: Option<&SecretBytes>,
    ) -> Result<SealedBlob, SealError> {
        let (fixed, image) = self.measure(binding)?;
        let wanted = policy(&fixed, image.as_ref(), counter.name, counter.value, pin.is_some())?;
        let public = PublicArea::sealed(&wanted.digest()?, pin.is_some())?;
        let auth = pin.map(pin_value);
        self.scope(|tpm| {
            let (root, root_public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &root_public)?;
            let value: &[u8] = auth.as_ref().map_or(&[], |value| value.as_slice());
            let request = wire::create(&root, value, secret.expose(), public.bytes())?;
            let auth = Auth {
                session: &mut session,
                value: &[],
                decrypt: true,
                encrypt: false,
            };
            let answer = tpm.run(&request, &mut [auth])?;
            let (private, public) = created(&answer.parameters)?;
            Ok(SealedBlob {
                root_name: root_public.name(),
                pin: pin.is_some(),
                counter_index: counter.index,
                counter_name: counter.name,
                counter_value: counter.value,
                fixed,
                image,
                private,
                public,
            })
        })
    }

    /// The PCRs of `binding` as they are.
    fn measure(&mut self, binding: &Binding) -> Result<(PcrValues, Option<ImageBinding>), SealError> {
        match binding {
            Binding::Pcrs { fixed } if fixed.is_empty() => Err(SealError::NoPcrs),
            Binding::Pcrs { fixed } => Ok((self.read_pcrs(fixed)?, None)),
            Binding::Image {
                release_key,
                signed,
                epochs,
                fixed,
            } => {
                if signed.is_empty() || fixed.is_empty() {
                    return Err(SealError::NoPcrs);
                }
                if !(1..=OR_BRANCHES_MAX).contains(&epochs.len()) || !epochs.is_sorted_by(|left, right| left < right) {
                    return Err(SealError::Epochs);
                }
                let image = ImageBinding {
                    release_key: *release_key,
                    epochs: epochs.clone(),
                    signed: self.read_pcrs(signed)?,
                };
                Ok((self.read_pcrs(fixed)?, Some(image)))
            }
        }
    }

    /// Opens `blob`. `signed`: the approvals that this release carries; none are needed for a blob that is bound to
    /// fixed PCRs alone.
    pub fn unseal(
        &mut self,
        blob: &SealedBlob,
        signed: &[SignedPolicy],
        pin: Option<&SecretBytes>,
    ) -> Result<Secret<32>, UnsealError> {
        let policy = blob.policy().map_err(|_| UnsealError::Damaged)?;
        let wanted = policy.digest().map_err(|_| UnsealError::Damaged)?;
        // The TPM binds the public part to the private one, and the public part carries the policy: so the parameters
        // beside them are checked too.
        if blob.public.auth_policy()? != wanted {
            return Err(UnsealError::Damaged);
        }
        if blob.pin && pin.is_none() {
            return Err(UnsealError::PinNeeded);
        }
        let auth = pin.filter(|_| blob.pin).map(pin_value);
        let value: &[u8] = auth.as_ref().map_or(&[], |value| value.as_slice());
        let (mut attempt, mut pause) = (1, self.patience.first_pause);
        loop {
            let error = match self.scope(|tpm| tpm.open_blob(blob, &policy, signed, value)) {
                Ok(secret) => return Ok(secret),
                // The policy was met up to the PIN.
                Err(TpmError::AuthFailed { .. }) if blob.pin => return Err(UnsealError::WrongPin),
                Err(
                    error @ (TpmError::PolicyFailed
                    | TpmError::Integrity
                    | TpmError::Missing
                    | TpmError::Signature
                    | TpmError::Nv(_)),
                ) => error,
                Err(error) => return Err(UnsealError::Tpm(error)),
            };
            let reasons = self.explain(blob, signed)?;
            if !reasons.is_empty() {
                return Err(UnsealError::Refused(reasons));
            }
            // TPM 2.0 Part 2, TPM_RC_PCR_CHANGED: "PCR have changed since checked", whichever it was. With Secure Boot
            // Linux's IMA measures each module that it loads into PCR 10, and a start loads many.
            if !matches!(error, TpmError::PolicyFailed) || attempt >= POLICY_ATTEMPTS {
                return Err(UnsealError::Tpm(error));
            }
            attempt += 1;
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(self.patience.longest_pause);
        }
    }

    fn open_blob(
        &mut self,
        blob: &SealedBlob,
        policy: &Policy,
        signed: &[SignedPolicy],
        pin: &[u8],
    ) -> Result<Secret<32>, TpmError> {
        let (root, root_public) = self.storage_root()?;
        if root_public.name() != blob.root_name {
            return Err(TpmError::Integrity);
        }
        let mut session = self.session(Kind::Hmac, &root, &root_public)?;
        let request = wire::load(&root, &blob.private, blob.public.bytes())?;
        let loaded = self.run(&request, &mut [Auth::plain(&mut session, &[])])?;
        let object = Handle {
            raw: loaded.handle.ok_or(TpmError::Malformed("Load"))?,
            name: blob.public.name().to_vec(),
        };
        let mut policy_session = self.session(Kind::Policy, &root, &root_public)?;
        if let Some(image) = &blob.image {
            let now = self.read_pcrs(&image.signed.selection())?;
            let approval = approval(image, signed, &now).ok_or(TpmError::PolicyFailed)?;
            self.assert_approved(&policy_session, image, approval)?;
        }
        for step in policy.steps() {
            self.assert_step(&mut policy_session, &mut session, step, blob.counter_index)?;
        }
        let auth = Auth {
            session: &mut policy_session,
            value: pin,
            decrypt: false,
            encrypt: true,
        };
        let answer = self.run(&wire::unseal(&object)?, &mut [auth])?;
        let malformed = TpmError::malformed("Unseal");
        let mut reader = Reader(&answer.parameters);
        let data = reader.sized().map_err(&malformed)?;
        reader.end().map_err(&malformed)?;
        let mut bytes = Zeroizing::new([0u8; 32]);
        if data.len() != bytes.len() {
            return Err(TpmError::Malformed("Unseal"));
        }
        bytes.copy_from_slice(data);
        Ok(Secret::new(*bytes))
    }

    /// PolicyPCR, then PolicyAuthorize with the release's signature over exactly this.
    pub(crate) fn assert_approved(
        &mut self,
        session: &Session,
        image: &ImageBinding,
        approval: &SignedPolicy,
    ) -> Result<(), TpmError> {
        self.run(&wire::policy_pcr(&session.handle, &approval.pcrs.selection())?, &mut [])?;
        let message = SignedPolicy::message(&approval.pcrs, approval.epoch)?;
        let approved = message.get(..32).unwrap_or_default();
        let public = PublicArea::verifier(&image.release_key)?;
        let loaded = self.run(&wire::load_external(public.bytes())?, &mut [])?;
        let key = Handle {
            raw: loaded.handle.ok_or(TpmError::Malformed("LoadExternal"))?,
            name: public.name().to_vec(),
        };
        let request = wire::verify_signature(&key, &sha256(&[&message]), &approval.signature)?;
        let ticket = wire::parse_ticket(&self.run(&request, &mut [])?.parameters)?;
        let reference = policy_ref(approval.epoch);
        let request = wire::policy_authorize(&session.handle, approved, &reference, &key.name, ticket)?;
        self.run(&request, &mut [])?;
        // Small TPMs hold three objects.
        self.flush(&key)
    }

    /// One assertion in the policy session; `session` authorizes reading the counter.
    pub(crate) fn assert_step(
        &mut self,
        policy_session: &mut Session,
        session: &mut Session,
        step: &Step,
        counter_index: u32,
    ) -> Result<(), TpmError> {
        let handle = policy_session.handle.clone();
        match step {
            Step::Pcr(values) => self.run(&wire::policy_pcr(&handle, &values.selection())?, &mut [])?,
            Step::Or(branches) => self.run(&wire::policy_or(&handle, branches)?, &mut [])?,
            Step::Counter { name, value } => {
                let index = Handle {
                    raw: counter_index,
                    name: name.to_vec(),
                };
                let request = wire::policy_nv(&handle, &index, *value)?;
                // A counter of another shape has another name, and then the HMAC does not fit.
                match self.run(&request, &mut [Auth::plain(session, &[])]) {
                    Err(TpmError::AuthFailed { .. }) => return Err(TpmError::PolicyFailed),
                    other => other?,
                }
            }
            Step::AuthValue => {
                let answer = self.run(&wire::policy_auth_value(&handle)?, &mut [])?;
                policy_session.proves_auth_value = true;
                answer
            }
            // Needs a signature: `assert_approved`.
            Step::Authorize { .. } => return Err(TpmError::Unencodable("PolicyAuthorize")),
        };
        Ok(())
    }
}

/// The approval for the PCRs as they are, of an epoch that the binding allows: one by the binding's release key, if there
/// is one. A release between two keys has an approval by each.
pub(crate) fn approval<'s>(
    image: &ImageBinding,
    signed: &'s [SignedPolicy],
    now: &PcrValues,
) -> Option<&'s SignedPolicy> {
    let fits = |approval: &&SignedPolicy| approval.pcrs == *now && image.epochs.contains(&approval.epoch);
    let by_key = |approval: &&SignedPolicy| approval.is_signed_by(&image.release_key);
    let mut fitting = signed.iter().filter(fits);
    fitting.clone().find(by_key).or_else(|| fitting.next())
}

/// Create's answer: the private and the public part; creation data, hash and ticket are of no use here.
pub(crate) fn created(answer: &[u8]) -> Result<(Vec<u8>, PublicArea), TpmError> {
    let malformed = TpmError::malformed("Create");
    let mut reader = Reader(answer);
    let private = reader.sized().map_err(&malformed)?.to_vec();
    let public = PublicArea::parse(reader.sized().map_err(&malformed)?)?;
    Ok((private, public))
}

/// A PIN of any length as an authorization value.
fn pin_value(pin: &SecretBytes) -> Zeroizing<[u8; 32]> {
    hmac_sha256(b"lamchat tpm pin 1", &[pin.expose()])
}
