//! Evidence and enrolment: what the TPM signs is composed here, of what the holder knows itself and of what the exchange
//! says of itself. Nobody else decides a byte of it but the nonce.

use crate::audit;
use crate::image::{self, SlotSeal};
use crate::reply::{Reason, Reply};
use crate::request::Sealed;
use crate::state::{Holder, Refusal, refused_key};
use lamchat_attestation::{BoundKey, KeyUse, Sha256, public_key_info};
use lamchat_attester::{AttestError, Attester, Known, Made, Nonce, Statement, fingerprints};
use lamchat_disk::RealDisk;
use lamchat_seal::DataKeys;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one operation may take: some TPMs make an RSA key in half a minute.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

impl Holder {
    /// The evidence for a nonce.
    pub(crate) fn evidence(
        &self,
        nonce: &Nonce,
        origin: &str,
        statement: &Statement,
        sealed: &[Sealed],
    ) -> Result<Reply, Refusal> {
        let began = Instant::now();
        let mut keys = self.released(sealed)?;
        let (key, audit_checkpoint) = self.head(origin)?;
        keys.extend(key);
        let known = Known {
            keys,
            audit_checkpoint,
            seal: self.sealed_like()?,
        };
        let now = self.setup.clock.now_ms() / 1_000;
        let made = self.with_attester(|attester, tpm| attester.evidence(tpm, nonce, known, statement, now))?;
        tracing::info!(milliseconds = began.elapsed().as_millis(), "evidence was given");
        Ok(Reply::File(made))
    }

    /// Certificates that the exchange keeps complete the chain. Without an attester there is nothing to complete.
    pub(crate) fn complete_chain(&self, certificates: Vec<Vec<u8>>) -> Result<Reply, Refusal> {
        if let Ok(attester) = self.setup.attester.as_ref() {
            attester.complete(certificates);
        }
        Ok(Reply::Done)
    }

    /// The first file of an enrolment.
    pub(crate) fn enrolment_request(&self) -> Result<Reply, Refusal> {
        self.with_attester(|attester, tpm| attester.request(tpm))
            .map(Reply::File)
    }

    /// The third file of an enrolment.
    pub(crate) fn activate(&self, challenge: &[u8]) -> Result<Reply, Refusal> {
        let answer = self.with_attester(|attester, tpm| attester.activate(tpm, challenge))?;
        Ok(Reply::File(Made {
            file: answer.to_bytes(),
            missing: Vec::new(),
        }))
    }

    fn with_attester<T>(
        &self,
        operation: impl FnOnce(&Attester, &mut lamchat_tpm::Tpm) -> Result<T, AttestError>,
    ) -> Result<T, Refusal> {
        let attester = self.setup.attester.as_ref();
        let attester = attester.map_err(|why| Refusal(Reason::Disk, why.clone()))?;
        let done = self.setup.tpm.with(OPERATION_TIMEOUT, |tpm| operation(attester, tpm));
        let done = done.ok_or_else(|| Refusal(Reason::Tpm, self.setup.tpm.status.sentence.clone()))?;
        done.map_err(|error| {
            let reason = match error {
                AttestError::Challenge(_) | AttestError::OtherBox => Reason::NotAllowed,
                AttestError::Missing { .. } => Reason::Disk,
                _ => Reason::Tpm,
            };
            Refusal(reason, error.to_string())
        })
    }

    /// What the keys are sealed to.
    fn sealed_like(&self) -> Result<String, Refusal> {
        let keyring = self.keyring()?;
        let blobs = keyring.blobs();
        let seals: Vec<SlotSeal> = blobs
            .iter()
            .filter_map(|(slot, blob)| SlotSeal::of(*slot, blob))
            .collect();
        Ok(image::sealed_like(&keyring.slots(), &seals))
    }

    /// The keys whose secrets the exchange opens by what it was released, from the sealed secrets themselves: the exchange
    /// hands them over, and what it did not seal under a released key does not open.
    fn released(&self, sealed: &[Sealed]) -> Result<Vec<BoundKey>, Refusal> {
        let keys = self.keyring()?.release().map_err(refused_key)?;
        let entropy = Arc::clone(&self.setup.entropy);
        let keys = DataKeys::new(RealDisk::shared(), &self.setup.exchange_dir, entropy, keys);
        let open = |name: &str| {
            let found = sealed.iter().find(|sealed| sealed.name == name);
            found.map(|sealed| keys.open_sealed(name, &sealed.file)).transpose()
        };
        fingerprints(open).map_err(|error| Refusal(Reason::Disk, error.to_string()))
    }

    /// The key of the audit log, and the head that was signed last, signed again. Refused where the exchange's log is not
    /// the one that is signed here.
    fn head(&self, origin: &str) -> Result<(Option<BoundKey>, Option<Vec<u8>>), Refusal> {
        let mut found = (None, None);
        self.with_notary(|notary| {
            let head = audit::head_of(notary, origin)?;
            if let Reply::LogIdentity { key, .. } = audit::identity(notary, origin)? {
                found.0 = key.point().map(|point| BoundKey {
                    usage: KeyUse::Audit,
                    sha256: Sha256::of(&public_key_info(point)),
                });
            }
            if let Some(head) = head
                && let Reply::Note(note) = audit::sign(notary, &head, &[])?
            {
                found.1 = Some(note.to_string().into_bytes());
            }
            Ok(Reply::Done)
        })?;
        Ok(found)
    }
}
