//! What stands in for the rest of the server: an exchange without rooms, a TPM that only quotes, a key holder on
//! threads of the test.

use crate::certificate::{Authority, CertificateFailure, Installed, Shown};
use crate::{Attest, AttestFailure, Endpoint, Exchange};
use lamchat_accounts::device::RemovedDevice;
use lamchat_attester::{Made, Nonce};
use lamchat_base::{Clock, Entropy, UserNum};
use lamchat_holder::{Client, Holder, Notices, Opened, Setup, Tpm};
use lamchat_http::{BoxFuture, Rate};
use lamchat_seal::{DataKeys, PassphraseCost};
use lamchat_store::{ReadError, Store, WriteTxn};
use ruma::OwnedUserId;
use serde_json::json;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(17);
            chunk
                .iter_mut()
                .zip(number.to_le_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

/// When these tests happen.
pub(super) const NOW_MS: u64 = 1_767_225_600_000;

pub(super) struct Alone;
impl crate::SigningKeys for Alone {
    fn current(&self) -> (String, String) {
        ("ed25519:1".to_owned(), "AAAA".to_owned())
    }

    fn old(&self) -> Result<Vec<lamchat_rules::OldKey>, String> {
        Ok(Vec::new())
    }

    fn rotate(&self) -> Result<(), String> {
        Err("the disk is gone".to_owned())
    }
}

impl crate::Certificates for Alone {
    fn shown(&self) -> Vec<Shown> {
        vec![Shown {
            from: "the server's own authority".to_owned(),
            not_after_ms: NOW_MS + 100 * 86_400_000,
            pin: "sha256:00".to_owned(),
        }]
    }

    fn authority(&self) -> Result<Option<Authority>, CertificateFailure> {
        Ok(None)
    }

    fn request(&self) -> Result<String, CertificateFailure> {
        Ok("a request".to_owned())
    }

    fn install(&self, _: &str) -> Result<Installed, CertificateFailure> {
        Err(CertificateFailure::Invalid("this is no chain".to_owned()))
    }

    fn remove(&self) -> Result<(), CertificateFailure> {
        Ok(())
    }
}

impl Exchange for Alone {
    fn forget_devices(&self, _: &mut WriteTxn<'_>, _: UserNum, _: &[RemovedDevice]) -> Result<(), ReadError> {
        Ok(())
    }
    fn pending_registrations(&self, _token: &str) -> u32 {
        0
    }
    fn leave_rooms(&self, _user: UserNum, _user_id: OwnedUserId) -> BoxFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// A TPM that quotes a nonce, unless it is all zeros.
#[derive(Default)]
pub(super) struct Mute(parking_lot::Mutex<Vec<Vec<u8>>>);
impl Attest for Mute {
    fn evidence(&self, nonce: &Nonce) -> Result<Made, AttestFailure> {
        if nonce.bytes().iter().all(|byte| *byte == 0) {
            return Err(AttestFailure::Unavailable(
                "there is no TPM at tcp:127.0.0.1:1".to_owned(),
            ));
        }
        let file = json!({"eat_nonce": nonce.bytes()}).to_string().into_bytes();
        let missing = vec!["the evidence has no event log".to_owned()];
        Ok(Made { file, missing })
    }
    fn request(&self) -> Result<Made, AttestFailure> {
        Err(AttestFailure::Unavailable("the TPM has no certificate".to_owned()))
    }
    fn activate(&self, _challenge: &[u8]) -> Result<Made, AttestFailure> {
        Err(AttestFailure::Invalid("the challenge is for another TPM".to_owned()))
    }
    fn complete(&self, certificates: Vec<Vec<u8>>) -> Result<(), AttestFailure> {
        *self.0.lock() = certificates;
        Ok(())
    }
}

/// A certificate of some maker of TPMs, in PEM.
pub(super) fn intermediate() -> String {
    use lamchat_attestation::simulation::{SoftwareBox, pem};
    pem("CERTIFICATE", &SoftwareBox::honest().tpm.ek_certificates[1])
}

/// An auditor's challenge for some box.
pub(super) fn challenge() -> String {
    use lamchat_attestation::simulation::{Fixed, SoftwareBox, TIME};
    use lamchat_attestation::{Challenge, Request};
    let made = SoftwareBox::honest();
    let request = Request {
        ek_certificates: made.tpm.ek_certificates.clone(),
        ek_public: made.tpm.ek_public.clone(),
        ak_public: made.tpm.ak_public.clone(),
    };
    let challenge = Challenge::new(&request, "box 1", &made.trust, TIME, &Fixed(1), &made.auditor).unwrap();
    String::from_utf8(challenge.to_bytes()).unwrap()
}

pub(super) fn endpoint(enabled: bool) -> Endpoint {
    let rate = |burst| Rate { per_second: 0.1, burst };
    Endpoint {
        enabled,
        rate_by_address: rate(2),
        rate: rate(10),
    }
}

/// A key holder on threads of this process, with a new keyring in `dir`, and the exchange's way to it.
pub(super) fn holder(
    dir: &Path,
    clock: Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    store: &Store,
) -> (Arc<Client>, Arc<DataKeys>) {
    let ((ours, theirs), (notices, told)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let setup = Setup {
        disk: lamchat_disk::RealDisk::shared(),
        on_box: false,
        dir: dir.to_owned(),
        passphrase: None,
        tpm: Tpm::none("this is a test", &[7], None),
        attester: Err("this is a test".to_owned()),
        exchange_dir: dir.to_owned(),
        cost: PassphraseCost::MINIMUM,
        clock,
        entropy: Arc::clone(entropy),
    };
    let (notices, acks) = Notices::new(notices).unwrap();
    let holder = Arc::new(Holder::new(setup, notices, "on threads of a test".to_owned()));
    // Another process than this one, which types.
    let init = nix::unistd::Pid::from_raw(1);
    let typed = UnixListener::bind(dir.join(lamchat_holder::SOCKET)).unwrap();
    let shared = Arc::clone(&holder);
    std::thread::spawn(move || lamchat_holder::serve(theirs, &shared, &AtomicBool::new(false)));
    std::thread::spawn(move || lamchat_holder::serve_typed(&typed, &holder, lamchat_holder::Network::Open, Some(init)));
    std::thread::spawn(move || acks.run());
    let store = store.clone();
    std::thread::spawn(move || {
        lamchat_holder::listen(told, |notice| {
            let entry = crate::audit::entry_of(notice);
            let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry));
            appended.map(drop).map_err(|error| format!("{error:?}"))
        })
    });
    let client = Arc::new(Client::new(ours).unwrap());
    let Opened::Keys { keys, .. } = client.open(true).unwrap() else {
        unreachable!("a new keyring is open")
    };
    client.ready().unwrap();
    let keys = DataKeys::new(lamchat_disk::RealDisk::shared(), dir, Arc::clone(entropy), keys);
    (client, Arc::new(keys))
}
