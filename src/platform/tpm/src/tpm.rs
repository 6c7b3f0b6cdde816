//! One TPM: sends commands, waits when it is busy, and flushes whatever an operation opened, however it ended.

use crate::bytes::{Reader, without_trailing_zeros};
use crate::crypto::agree;
use crate::error::TpmError;
use crate::session::{Answer, Auth, NONCE_BYTES, Session, frame, open};
use crate::transport::{Address, Transport};
use crate::wire::{self, Handle, Kind, PublicArea, Request, Template, Verdict};
use lamchat_base::{Entropy, SecretBytes};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Where TCG's provisioning guidance keeps the storage root.
pub const STORAGE_ROOT: u32 = 0x8100_0001;

/// How long a busy TPM is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The most that one command may take. Making an RSA key takes some TPMs half a minute.
    pub command: Duration,
    /// How often a command is sent at most.
    pub attempts: u32,
    /// The pause after the first "later"; it doubles from time to time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(120),
            attempts: 16,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// A TPM 2.0 behind a transport. It has no state of its own beyond what an operation holds open, so that several
/// processes can use one TPM through the kernel's resource manager.
pub struct Tpm {
    transport: Box<dyn Transport>,
    entropy: Arc<dyn Entropy>,
    pub(crate) patience: Patience,
    owner_auth: SecretBytes,
    /// Objects and sessions that the running operation opened, in order.
    opened: Vec<u32>,
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tpm")
            .field("opened", &self.opened.len())
            .finish_non_exhaustive()
    }
}

impl Tpm {
    /// A TPM behind `transport`, with empty owner and endorsement authorization as it comes from the factory.
    pub fn new(transport: Box<dyn Transport>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            transport,
            entropy,
            patience: Patience::default(),
            owner_auth: SecretBytes::new(Vec::new()),
            opened: Vec::new(),
        }
    }

    /// Opens the TPM at `address`.
    pub fn open(address: &Address, entropy: Arc<dyn Entropy>) -> Result<Self, TpmError> {
        Ok(Self::new(address.open()?, entropy))
    }

    /// Waits differently.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// For a TPM whose owner hierarchy has an authorization value.
    #[must_use]
    pub fn with_owner_auth(mut self, owner_auth: SecretBytes) -> Self {
        self.owner_auth = owner_auth;
        self
    }

    /// Runs `operation`; whatever it opened is flushed afterwards, on success and on failure.
    ///
    /// A failed flush after a success is reported: a leaking TPM must not go unnoticed. After a failure the failure
    /// counts, and the flush is tried.
    pub(crate) fn scope<T, E: From<TpmError>>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let mark = self.opened.len();
        let result = operation(self);
        let flushed = self.flush_to(mark);
        let value = result?;
        flushed?;
        Ok(value)
    }

    fn flush_to(&mut self, mark: usize) -> Result<(), TpmError> {
        let mut first = Ok(());
        while self.opened.len() > mark {
            let Some(raw) = self.opened.pop() else { break };
            let flushed = wire::flush_context(raw).and_then(|request| self.run(&request, &mut []));
            if let Err(error) = flushed
                && first.is_ok()
            {
                first = Err(error);
            }
        }
        first
    }

    /// Flushes one thing now, where room in the TPM is scarce.
    pub(crate) fn flush(&mut self, handle: &Handle) -> Result<(), TpmError> {
        if let Some(place) = self.opened.iter().rposition(|raw| *raw == handle.raw) {
            self.opened.remove(place);
            self.run(&wire::flush_context(handle.raw)?, &mut [])?;
        }
        Ok(())
    }

    /// Sends `request` with its sessions and answers what came back.
    pub(crate) fn run(&mut self, request: &Request, auths: &mut [Auth<'_>]) -> Result<Answer, TpmError> {
        let sent = frame(request, auths, &*self.entropy)?;
        let mut pause = self.patience.first_pause;
        for _ in 0..self.patience.attempts {
            // A warning leaves the sessions as they were, so the same bytes may go again (Part 1, 19.6.3).
            let answer = Zeroizing::new(self.transport.exchange(&sent.bytes, self.patience.command)?);
            let code = Reader(&answer)
                .take(6)
                .and_then(|_| Reader(answer.get(6..).unwrap_or_default()).u32())
                .map_err(TpmError::malformed(request.label))?;
            match wire::judge(code) {
                Verdict::Done => {
                    let opened = open(request, &sent, auths, &answer)?;
                    self.opened.extend(opened.handle);
                    return Ok(opened);
                }
                Verdict::Failed(error) => return Err(error),
                Verdict::Again => {
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2).min(self.patience.longest_pause);
                }
            }
        }
        Err(TpmError::Busy(self.patience.attempts))
    }

    /// The persistent ECC storage root if there is one, else a fresh one from the same seed: the same key.
    pub(crate) fn storage_root(&mut self) -> Result<(Handle, PublicArea), TpmError> {
        match self.persistent(STORAGE_ROOT)? {
            Some((handle, public)) if public.follows(Template::StorageRoot) => Ok((handle, public)),
            // Nothing there, or the RSA storage root of another system: not ours to touch.
            _ => self.primary(wire::OWNER, Template::StorageRoot),
        }
    }

    /// Keeps the storage root in the TPM, which saves making it anew at every operation (up to a second on some TPMs).
    /// Answers whether it is there now: a foreign key under this handle stays.
    pub fn keep_storage_root(&mut self) -> Result<bool, TpmError> {
        if let Some((_, public)) = self.persistent(STORAGE_ROOT)? {
            return Ok(public.follows(Template::StorageRoot));
        }
        self.scope(|tpm| {
            let (root, public) = tpm.primary(wire::OWNER, Template::StorageRoot)?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            tpm.run_as_owner(&wire::evict_control(&root, STORAGE_ROOT)?, &mut session, false)?;
            Ok(true)
        })
    }

    /// The object under a persistent handle. Its name is computed from the public area, not believed.
    pub(crate) fn persistent(&mut self, raw: u32) -> Result<Option<(Handle, PublicArea)>, TpmError> {
        let answer = match self.run(&wire::read_public(raw)?, &mut []) {
            Ok(answer) => answer,
            Err(TpmError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = Reader(&answer.parameters)
            .sized()
            .map_err(TpmError::malformed("ReadPublic"))?;
        // A key with another name algorithm is not one of ours.
        let Ok(public) = PublicArea::parse(bytes) else {
            return Ok(None);
        };
        let name = public.name().to_vec();
        Ok(Some((Handle { raw, name }, public)))
    }

    /// Makes a primary key from `template`.
    pub(crate) fn primary(&mut self, hierarchy: u32, template: Template) -> Result<(Handle, PublicArea), TpmError> {
        let request = wire::create_primary(hierarchy, template.public()?.bytes())?;
        // Without salt: there is no key yet to salt with, and the command carries no secret. The owner's authorization
        // value is proved by the HMAC, not sent.
        let mut session = self.start(Kind::Hmac, None)?;
        let value = self.hierarchy_auth(hierarchy);
        let answer = self.run(&request, &mut [Auth::plain(&mut session, &value)])?;
        self.flush(&session.handle)?;
        let malformed = TpmError::malformed("CreatePrimary");
        let public = PublicArea::parse(Reader(&answer.parameters).sized().map_err(malformed)?)?;
        if !public.follows(template) {
            return Err(TpmError::Malformed("CreatePrimary"));
        }
        let raw = answer.handle.ok_or(TpmError::Malformed("CreatePrimary"))?;
        let name = public.name().to_vec();
        Ok((Handle { raw, name }, public))
    }

    pub(crate) fn hierarchy_auth(&self, hierarchy: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(if hierarchy == wire::OWNER {
            without_trailing_zeros(self.owner_auth.expose()).to_vec()
        } else {
            Vec::new()
        })
    }

    /// Runs a command that the owner authorizes. `secret`: its first parameter is encrypted.
    pub(crate) fn run_as_owner(
        &mut self,
        request: &Request,
        session: &mut Session,
        secret: bool,
    ) -> Result<Answer, TpmError> {
        let value = self.hierarchy_auth(wire::OWNER);
        let auth = Auth {
            session,
            value: &value,
            decrypt: secret,
            encrypt: false,
        };
        self.run(request, &mut [auth])
    }

    /// A session salted to the storage root.
    pub(crate) fn session(&mut self, kind: Kind, root: &Handle, public: &PublicArea) -> Result<Session, TpmError> {
        self.start(kind, Some((root, public)))
    }

    fn start(&mut self, kind: Kind, root: Option<(&Handle, &PublicArea)>) -> Result<Session, TpmError> {
        let mut nonce = [0u8; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let agreed = match root {
            None => None,
            Some((handle, public)) => {
                let point = public.point().ok_or(TpmError::Malformed("a storage root"))?;
                Some((handle, agree(&point, "SECRET")?))
            }
        };
        let salt = agreed.as_ref().map(|(handle, (point, _))| (*handle, point));
        let answer = self.run(&wire::start_auth_session(kind, &nonce, salt)?, &mut [])?;
        let malformed = TpmError::malformed("StartAuthSession");
        let nonce_tpm = Reader(&answer.parameters).sized().map_err(malformed)?;
        let raw = answer.handle.ok_or(TpmError::Malformed("StartAuthSession"))?;
        let secret: &[u8] = agreed.as_ref().map_or(&[], |(_, (_, secret))| secret);
        Ok(Session::new(raw, secret, &nonce, nonce_tpm, kind != Kind::Hmac))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Only a panic in the middle of an operation leaves something here. The kernel's resource manager flushes for
        // a process that ends; a bare socket does not. There is nobody left to report a failure to.
        let _flushed = self.flush_to(0);
    }
}
