//! Sealing and opening: what opens, what does not, what is said then, and that no secret is seen on the wire.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::testing::{Release, Swtpm, open_handles};
use crate::{
    BLOB_BYTES_MAX, Binding, PcrSelection, Reason, SealError, SealedBlob, SignedPolicy, Tpm, TpmError, UnsealError,
};
use lamchat_base::{Secret, SecretBytes};
use proptest::prelude::*;

const COUNTER: u32 = 0x0180_1111;

fn secret() -> Secret<32> {
    let mut bytes = [0u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    Secret::new(bytes)
}

fn pin(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn pcrs(list: &[u8]) -> PcrSelection {
    PcrSelection::new(list).unwrap()
}

fn pcr_seven() -> Binding {
    Binding::Pcrs { fixed: pcrs(&[7]) }
}

fn reasons(result: Result<Secret<32>, UnsealError>) -> Vec<Reason> {
    match result {
        Err(UnsealError::Refused(reasons)) => reasons,
        other => panic!("{other:?}"),
    }
}

/// As after a restart of the program: nothing but the blob's bytes.
fn reread(blob: &SealedBlob) -> SealedBlob {
    let read = SealedBlob::parse(&blob.encode()).unwrap();
    assert_eq!(&read, blob);
    read
}

/// TPM_RC_PCR_CHANGED, as where the kernel measures a module into PCR 10 between PolicyPCR and Unseal.
#[test]
fn a_pcr_that_is_extended_meanwhile_is_no_refusal() {
    const UNSEAL: u32 = 0x15E;
    const PCR_CHANGED: u32 = 0x128;
    let swtpm = Swtpm::start();
    let secret = secret();
    let blob = swtpm.tpm().seal(&secret, &pcr_seven(), COUNTER, None).unwrap();
    let mut left = 3;
    let mut tpm = swtpm.disturbed(move |_, code| {
        let changed = code == UNSEAL && left > 0;
        left -= i32::from(changed);
        changed.then_some(PCR_CHANGED)
    });
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
    assert!(open_handles(&mut tpm).is_empty());
    drop(tpm);
    let mut tpm = swtpm.disturbed(|_, code| (code == UNSEAL).then_some(PCR_CHANGED));
    let error = tpm.unseal(&blob, &[], None).unwrap_err();
    assert!(matches!(error, UnsealError::Tpm(TpmError::PolicyFailed)), "{error:?}");
}

#[test]
fn opens_again_after_a_restart_and_a_reset() {
    let mut swtpm = Swtpm::start();
    let secret = secret();
    let blob = reread(&swtpm.tpm().seal(&secret, &pcr_seven(), COUNTER, None).unwrap());
    assert_eq!(swtpm.tpm().unseal(&blob, &[], None).unwrap(), secret);
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
    // A PIN that nobody asked for is no obstacle.
    assert_eq!(tpm.unseal(&blob, &[], Some(&pin("1"))).unwrap(), secret);
    tpm.keep_storage_root().unwrap();
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
    assert!(open_handles(&mut tpm).is_empty());
}

#[test]
fn a_changed_pcr_is_named_with_both_values() {
    let mut swtpm = Swtpm::start();
    let secret = secret();
    let mut tpm = swtpm.tpm();
    tpm.extend_pcr(7, &[1; 32]).unwrap();
    let blob = tpm
        .seal(&secret, &Binding::Pcrs { fixed: pcrs(&[4, 7]) }, COUNTER, None)
        .unwrap();
    let sealed = *tpm.read_pcrs(&pcrs(&[7])).unwrap().value(7).unwrap();
    tpm.extend_pcr(7, &[2; 32]).unwrap();
    let now = *tpm.read_pcrs(&pcrs(&[7])).unwrap().value(7).unwrap();
    let found = reasons(tpm.unseal(&blob, &[], None));
    assert_eq!(found, [Reason::PcrChanged { pcr: 7, sealed, now }]);
    let text = UnsealError::Refused(found).to_string();
    assert!(text.contains("PCR 7") && text.contains("Secure Boot"), "{text}");
    assert!(open_handles(&mut tpm).is_empty());
    // Booted as before, it opens: nothing was lost.
    drop(tpm);
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    tpm.extend_pcr(7, &[1; 32]).unwrap();
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
}

#[test]
fn the_image_opens_for_approved_releases_of_allowed_epochs_alone() {
    let mut swtpm = Swtpm::start();
    let (release, stranger) = (Release::new(), Release::new());
    let secret = secret();
    let eleven = pcrs(&[11]);
    let boot = |swtpm: &mut Swtpm, image: u8| -> Tpm {
        swtpm.power_cycle();
        let mut tpm = swtpm.tpm();
        tpm.extend_pcr(11, &[image; 32]).unwrap();
        tpm
    };
    let binding = Binding::Image {
        release_key: release.point(),
        signed: eleven,
        epochs: vec![5, 6],
        fixed: pcrs(&[7]),
    };
    let blob = reread(&boot(&mut swtpm, 1).seal(&secret, &binding, COUNTER, None).unwrap());
    // Another release, another PCR 11: its own approval opens it.
    for (image, epoch) in [(1, 5), (2, 5), (3, 6)] {
        let mut tpm = boot(&mut swtpm, image);
        let approval = release.approve(&tpm.read_pcrs(&eleven).unwrap(), epoch);
        assert_eq!(tpm.unseal(&blob, &[approval], None).unwrap(), secret);
    }
    let mut tpm = boot(&mut swtpm, 4);
    let now = tpm.read_pcrs(&eleven).unwrap();
    // Not approved at all; an epoch below the floor and one above; an approval of another image.
    let unfit = [
        vec![],
        vec![release.approve(&now, 4)],
        vec![release.approve(&now, 7)],
        vec![release.approve(&crate::PcrValues::new([(11, [1; 32])]).unwrap(), 5)],
    ];
    for approvals in unfit {
        let found = reasons(tpm.unseal(&blob, &approvals, None));
        assert!(matches!(found.as_slice(), [Reason::NotApproved { .. }]), "{found:?}");
    }
    // Signed by somebody else, or for another epoch than it says.
    let forged = [
        stranger.approve(&now, 5),
        SignedPolicy {
            epoch: 6,
            ..release.approve(&now, 5)
        },
    ];
    for approval in forged {
        assert_eq!(reasons(tpm.unseal(&blob, &[approval], None)), [Reason::BadApproval]);
    }
    // The firmware's side still counts.
    tpm.extend_pcr(7, &[1; 32]).unwrap();
    let found = reasons(tpm.unseal(&blob, &[release.approve(&now, 5)], None));
    assert!(
        matches!(found.as_slice(), [Reason::PcrChanged { pcr: 7, .. }]),
        "{found:?}"
    );
    assert!(open_handles(&mut tpm).is_empty());
}

#[test]
fn an_old_blob_stays_closed_after_the_counter_moved() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    // The TPM had other counters before: a fresh one starts above them.
    let former = {
        tpm.ensure_counter(0x0180_2222).unwrap();
        (0..9)
            .map(|_| tpm.increment_counter(0x0180_2222).unwrap().value)
            .last()
            .unwrap()
    };
    tpm.delete_index(0x0180_2222).unwrap();
    let secret = secret();
    let old = tpm.seal(&secret, &pcr_seven(), COUNTER, None).unwrap();
    assert!(old.counter_value > former);
    // The next blob is written before the increment that closes the old one.
    let mut next = tpm.counter(COUNTER).unwrap().unwrap();
    next.value += 1;
    let new = tpm.seal_at(&secret, &pcr_seven(), &next, None).unwrap();
    assert_eq!(tpm.unseal(&old, &[], None).unwrap(), secret);
    assert!(tpm.unseal(&new, &[], None).is_err());
    assert_eq!(tpm.increment_counter(COUNTER).unwrap(), next);
    assert_eq!(tpm.unseal(&new, &[], None).unwrap(), secret);
    let moved = Reason::CounterMoved {
        sealed: old.counter_value,
        now: next.value,
    };
    assert_eq!(reasons(tpm.unseal(&old, &[], None)), [moved]);
    // Deleted and made anew, it stands higher still: neither opens.
    tpm.delete_index(COUNTER).unwrap();
    assert_eq!(
        reasons(tpm.unseal(&new, &[], None)),
        [Reason::CounterGone { index: COUNTER }]
    );
    assert!(tpm.ensure_counter(COUNTER).unwrap().value > next.value);
    assert!(matches!(
        reasons(tpm.unseal(&new, &[], None)).as_slice(),
        [Reason::CounterMoved { .. }]
    ));
    assert!(matches!(
        reasons(tpm.unseal(&old, &[], None)).as_slice(),
        [Reason::CounterMoved { .. }]
    ));
}

#[test]
fn another_or_a_cleared_tpm_is_recognised() {
    let (here, there) = (Swtpm::start(), Swtpm::start());
    let blob = here.tpm().seal(&secret(), &pcr_seven(), COUNTER, None).unwrap();
    let found = reasons(there.tpm().unseal(&blob, &[], None));
    assert_eq!(found, [Reason::AnotherTpm, Reason::CounterGone { index: COUNTER }]);
    // With a counter at the same place, too.
    there.tpm().ensure_counter(COUNTER).unwrap();
    assert!(reasons(there.tpm().unseal(&blob, &[], None)).contains(&Reason::AnotherTpm));
    assert!(here.tool("tpm2_clear").status().unwrap().success());
    assert!(reasons(here.tpm().unseal(&blob, &[], None)).contains(&Reason::AnotherTpm));
}

#[test]
fn a_pin_is_needed_and_guessing_ends_in_lockout() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let secret = secret();
    let blob = reread(&tpm.seal(&secret, &pcr_seven(), COUNTER, Some(&pin("4711"))).unwrap());
    assert_eq!(tpm.unseal(&blob, &[], Some(&pin("4711"))).unwrap(), secret);
    assert!(matches!(tpm.unseal(&blob, &[], None), Err(UnsealError::PinNeeded)));
    let before = tpm.lockout().unwrap();
    assert!(matches!(
        tpm.unseal(&blob, &[], Some(&pin("4712"))),
        Err(UnsealError::WrongPin)
    ));
    assert_eq!(tpm.lockout().unwrap().failures, before.failures + 1);
    let locked = (0..before.failures_max + 2).find(|_| {
        matches!(
            tpm.unseal(&blob, &[], Some(&pin("0000"))),
            Err(UnsealError::Tpm(TpmError::Lockout))
        )
    });
    assert!(locked.is_some());
    // Even the right one, and it is not called wrong.
    let right = tpm.unseal(&blob, &[], Some(&pin("4711")));
    assert!(matches!(right, Err(UnsealError::Tpm(TpmError::Lockout))), "{right:?}");
    drop(tpm);
    assert!(
        swtpm
            .tool("tpm2_dictionarylockout")
            .arg("-c")
            .status()
            .unwrap()
            .success()
    );
    let mut tpm = swtpm.tpm();
    assert_eq!(tpm.unseal(&blob, &[], Some(&pin("4711"))).unwrap(), secret);
    // A changed PCR is named, PIN or not.
    tpm.extend_pcr(7, &[2; 32]).unwrap();
    let found = reasons(tpm.unseal(&blob, &[], Some(&pin("4711"))));
    assert!(matches!(found.as_slice(), [Reason::PcrChanged { pcr: 7, .. }]));
}

#[test]
fn no_secret_and_no_pin_is_on_the_wire() {
    let swtpm = Swtpm::start();
    let (mut tpm, wire) = swtpm.recorded();
    let secret = secret();
    let blob = tpm
        .seal(&secret, &pcr_seven(), COUNTER, Some(&pin("hunter2hunter2")))
        .unwrap();
    assert_eq!(tpm.unseal(&blob, &[], Some(&pin("hunter2hunter2"))).unwrap(), secret);
    let wire = wire.lock().unwrap();
    assert!(wire.len() > 1000);
    let seen = |bytes: &[u8]| wire.windows(bytes.len()).any(|window| window == bytes);
    // What must be seen is seen: the recorder works.
    assert!(seen(&blob.private) && seen(&blob.public.bytes()[..16]));
    assert!(!seen(&secret.expose()[..8]) && !seen(&secret.expose()[24..]));
    assert!(!seen(b"hunter2"));
    assert!(!seen(
        &crate::crypto::hmac_sha256(b"lamchat tpm pin 1", &[b"hunter2hunter2"])[..8]
    ));
    assert!(!format!("{blob:?} {tpm:?}").contains("hunter2"));
}

#[test]
fn errors_of_the_tpm_are_not_taken_for_a_refusal() {
    let swtpm = Swtpm::start();
    let secret = secret();
    let blob = swtpm.tpm().seal(&secret, &pcr_seven(), COUNTER, None).unwrap();
    let mut commands = 0;
    for (rc, spared) in [
        (0x921, [0x165, 0x17a]),
        (0x902, [0x165, 0x17a]),
        (0x903, [0x165, 0x17a]),
        (0x101, [0x165, 0x17a]),
    ] {
        for failing in 1..40 {
            let mut tpm =
                swtpm.disturbed(move |number, code| (number == failing && !spared.contains(&code)).then_some(rc));
            match tpm.unseal(&blob, &[], None) {
                Ok(opened) => assert_eq!(opened, secret),
                Err(UnsealError::Tpm(_)) => commands = commands.max(failing),
                Err(other) => panic!("{rc:#x} at command {failing}: {other:?}"),
            }
            assert!(open_handles(&mut tpm).is_empty(), "{rc:#x} at command {failing}");
        }
    }
    assert!((5..39).contains(&commands), "{commands}");
    // "Later" at every command, twice.
    let mut tpm = swtpm.disturbed(|number, _| (number % 3 != 0).then_some(0x922));
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
}

#[test]
fn a_changed_answer_is_noticed() {
    use crate::transport::{Transport, TransportError};
    struct Meddler(Box<dyn Transport>);
    impl Transport for Meddler {
        fn exchange(&mut self, command: &[u8], timeout: std::time::Duration) -> Result<Vec<u8>, TransportError> {
            let mut answer = self.0.exchange(command, timeout)?;
            // Unseal: one bit of the encrypted secret.
            if command[6..10] == [0, 0, 1, 0x5e] && answer.len() > 40 {
                answer[20] ^= 1;
            }
            Ok(answer)
        }
    }
    let swtpm = Swtpm::start();
    let blob = swtpm.tpm().seal(&secret(), &pcr_seven(), COUNTER, None).unwrap();
    let meddler = Meddler(swtpm.address.open().unwrap());
    let mut tpm = Tpm::new(Box::new(meddler), std::sync::Arc::new(crate::testing::SystemEntropy));
    assert!(matches!(
        tpm.unseal(&blob, &[], None),
        Err(UnsealError::Tpm(TpmError::Forged))
    ));
}

#[test]
fn bindings_that_bind_nothing_are_refused() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let nothing = Binding::Pcrs { fixed: pcrs(&[]) };
    assert!(matches!(
        tpm.seal(&secret(), &nothing, COUNTER, None),
        Err(SealError::NoPcrs)
    ));
    for epochs in [vec![], vec![2, 1], vec![1, 1], (0..9).collect()] {
        let binding = Binding::Image {
            release_key: Release::new().point(),
            signed: pcrs(&[11]),
            epochs,
            fixed: pcrs(&[7]),
        };
        assert!(matches!(
            tpm.seal(&secret(), &binding, COUNTER, None),
            Err(SealError::Epochs)
        ));
    }
}

#[test]
fn every_changed_byte_of_a_blob_is_noticed() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let secret = secret();
    let blob = tpm.seal(&secret, &pcr_seven(), COUNTER, None).unwrap();
    let bytes = blob.encode();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        if let Ok(blob) = SealedBlob::parse(&changed) {
            match tpm.unseal(&blob, &[], None) {
                Err(_) => {}
                Ok(_) => panic!("byte {place} does not matter"),
            }
        }
        assert!(SealedBlob::parse(&bytes[..place]).is_err());
    }
    assert!(SealedBlob::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
    assert!(SealedBlob::parse(&vec![0; BLOB_BYTES_MAX + 1]).is_err());
    assert_eq!(tpm.unseal(&blob, &[], None).unwrap(), secret);
    assert!(open_handles(&mut tpm).is_empty());
}

proptest! {
    #[test]
    fn a_parsed_blob_is_written_the_same_way(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = [b"LAMTPM\0\x01".as_slice(), &noise].concat();
        if let Ok(blob) = SealedBlob::parse(&bytes) {
            prop_assert_eq!(blob.encode(), bytes);
        }
    }
}
