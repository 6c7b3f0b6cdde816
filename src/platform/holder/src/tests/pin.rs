//! A box's PIN beside its TPM: on, kept by whatever is sealed anew, and off by process 1 alone.

use super::boxes::{FIRST, Swtpm, box_at, exchange};
use super::*;
use crate::peer::Administrator;
use crate::{Blame, PinUse, TpmStatus, Typed};
use lamchat_seal::Mark;

const PIN: &str = "246810";

fn set(pin: Option<&str>) -> Typed {
    Typed::SetPin {
        bootable: vec![1],
        pin: pin.map(typed),
    }
}

fn seal() -> Typed {
    Typed::Seal { bootable: vec![1] }
}

fn done(holder: &Holder, request: Typed) -> Reply {
    holder.act(request, FIRST).unwrap()
}

fn refused(holder: &Holder, request: Typed) -> (Reason, String) {
    match holder.act(request, FIRST) {
        Err(refusal) => (refusal.0, refusal.1),
        Ok(reply) => panic!("{reply:?}"),
    }
}

fn tpm(holder: &Holder) -> TpmStatus {
    match done(holder, Typed::Status) {
        Reply::Status(status) => status.tpm,
        other => panic!("{other:?}"),
    }
}

/// A box that is set up, sealed to this TPM; and its recovery key.
fn set_up(holder: &Holder) -> SecretBytes {
    let Reply::Recovery(_, key) = done(holder, Typed::Create) else {
        panic!("no keyring");
    };
    done(holder, seal());
    key
}

/// The box's next start, which asks for the PIN.
fn asks(folder: &Path, swtpm: &Swtpm, seed: u64) -> Arc<Holder> {
    let holder = box_at(folder, swtpm, seed);
    match done(&holder, Typed::DiskKey) {
        Reply::Locked { reason, blame, .. } => {
            assert!(reason.ends_with("the TPM asks for its PIN"), "{reason}");
            assert_eq!(blame, Blame::Pin);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(tpm(&holder).pin, PinUse::Unknown);
    holder
}

fn unlock(holder: &Holder, text: &str) -> SlotKind {
    match done(holder, Typed::Unlock(typed(text))) {
        Reply::Unlocked(by) => by,
        other => panic!("{other:?}"),
    }
}

fn opens_by_itself(folder: &Path, swtpm: &Swtpm, seed: u64) -> bool {
    matches!(done(&box_at(folder, swtpm, seed), Typed::DiskKey), Reply::Disk(_))
}

/// Where the `tpm` slot is.
fn slot(holder: &Holder) -> u32 {
    let slots = holder.keyring().unwrap().slots();
    slots.iter().find(|slot| slot.kind == SlotKind::Tpm).unwrap().id
}

#[test]
fn a_box_asks_for_its_pin_and_the_recovery_key_opens_it_without() {
    let (swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let first = box_at(folder, &swtpm, 1);
    let key = set_up(&first);
    let Reply::Disk(disk) = done(&first, Typed::DiskKey) else {
        panic!("no key");
    };
    assert_eq!(tpm(&first).pin, PinUse::None);
    // Nothing else is left to whoever forgets it.
    let (reason, why) = refused(&first, set(Some(PIN)));
    assert!(
        reason == Reason::NotAllowed && why.contains("type the recovery key back"),
        "{why}"
    );
    done(&first, Typed::VerifyRecovery(key.clone()));
    assert_eq!(refused(&first, set(Some("123"))).0, Reason::NotAllowed);
    let before = first.keyring().unwrap().blobs();
    done(&first, set(Some(PIN)));
    assert_eq!(tpm(&first).pin, PinUse::Kept);
    assert!(
        tpm(&first).sentence.contains("asks for a PIN"),
        "{}",
        tpm(&first).sentence
    );
    // A copy of the keyring from before opens nothing any more.
    assert!(lamchat_seal::Sealer::unseal(&swtpm.sealer(), &before[0].1).is_err());
    drop(first);

    let second = asks(folder, &swtpm, 2);
    let (reason, why) = refused(&second, Typed::Unlock(typed("999999")));
    assert!(
        reason == Reason::Tpm && why.contains("PIN is wrong") && why.contains("more wrong ones"),
        "{why}"
    );
    assert!(matches!(done(&second, Typed::DiskKey), Reply::Locked { .. }));
    assert_eq!(unlock(&second, PIN), SlotKind::Tpm);
    assert!(matches!(done(&second, Typed::DiskKey), Reply::Disk(key) if key == disk));
    drop(second);

    let third = asks(folder, &swtpm, 3);
    assert_eq!(
        unlock(&third, std::str::from_utf8(key.expose()).unwrap()),
        SlotKind::Recovery
    );
    // Nobody knows the PIN now, so that nothing is sealed but by whoever types one.
    let (reason, why) = refused(&third, seal());
    assert!(reason == Reason::NotAllowed && why.contains("console"), "{why}");
    done(&third, set(Some("1357911")));
    drop(third);

    let fourth = asks(folder, &swtpm, 4);
    assert!(refused(&fourth, Typed::Unlock(typed(PIN))).1.contains("PIN is wrong"));
    unlock(&fourth, "1357911");
    done(&fourth, set(None));
    assert_eq!(tpm(&fourth).pin, PinUse::None);
    drop(fourth);
    assert!(opens_by_itself(folder, &swtpm, 5));
}

#[test]
fn what_the_exchange_has_sealed_anew_keeps_the_pin() {
    let (swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let first = box_at(folder, &swtpm, 1);
    let key = set_up(&first);
    done(&first, Typed::VerifyRecovery(key.clone()));
    done(&first, set(Some(PIN)));
    drop(first);

    let second = asks(folder, &swtpm, 2);
    unlock(&second, PIN);
    let ours = exchange(&second, folder);
    assert!(matches!(ours.client.open(false).unwrap(), Opened::Keys { .. }));
    ours.client.ready().unwrap();
    ours.client.rebind(slot(&second), false).unwrap();
    assert!(ours.client.status().unwrap().seals[0].pin);
    ours.go(&second);
    drop(second);

    // Nor does it go with the slot.
    let third = asks(folder, &swtpm, 3);
    unlock(&third, PIN);
    let ours = exchange(&third, folder);
    assert!(matches!(ours.client.open(false).unwrap(), Opened::Keys { .. }));
    ours.client.ready().unwrap();
    ours.client.remove(slot(&third)).unwrap();
    assert_eq!(tpm(&third).pin, PinUse::Kept);
    done(&third, seal());
    ours.go(&third);
    drop(third);
    let fourth = asks(folder, &swtpm, 4);
    unlock(&fourth, PIN);

    // Without the slot, and without anybody who typed the PIN, there is nothing to seal with.
    fourth.remove(slot(&fourth)).unwrap();
    drop(fourth);
    let fifth = box_at(folder, &swtpm, 5);
    assert!(matches!(
        done(&fifth, Typed::DiskKey),
        Reply::Locked {
            blame: Blame::Nobody,
            ..
        }
    ));

    // Whoever deletes all that lies beside the keyring is not rid of it.
    drop(fifth);
    let secrets = folder.join("secrets");
    for entry in std::fs::read_dir(&secrets).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let sixth = box_at(folder, &swtpm, 6);
    assert!(matches!(done(&sixth, Typed::DiskKey), Reply::Locked { .. }));
    done(&sixth, Typed::Unlock(key.clone()));
    assert_eq!(tpm(&sixth).pin, PinUse::Unknown);
    let (_, sentence) = refused(&sixth, seal());
    assert!(sentence.contains("PIN"), "{sentence}");

    // The record that said so before the mark was there still counts, until the operator takes the PIN away.
    let keyring = sixth.keyring().unwrap();
    keyring.take_mark(Mark::Pin).unwrap();
    assert_eq!(tpm(&sixth).pin, PinUse::None);
    keyring.keep_own("pin", &SecretBytes::new(vec![1])).unwrap();
    assert_eq!(tpm(&sixth).pin, PinUse::Unknown);
    done(&sixth, set(None));
    assert_eq!(tpm(&sixth).pin, PinUse::None);
    drop(sixth);
    assert!(opens_by_itself(folder, &swtpm, 7));
}

#[test]
fn only_process_1_sets_the_pin_of_a_box() {
    let (swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let holder = box_at(folder.path(), &swtpm, 1);
    let key = set_up(&holder);
    done(&holder, Typed::VerifyRecovery(key));
    let stranger = Administrator {
        is_first: false,
        ..FIRST
    };
    for request in [set(Some(PIN)), set(None), Typed::Status] {
        assert!(matches!(holder.act(request, stranger), Err(refusal) if refusal.0 == Reason::NotAllowed));
    }
    let (slot, force) = (slot(&holder), false);
    let rebind = Typed::Rebind {
        slot,
        force,
        pin: typed(PIN),
    };
    assert_eq!(refused(&holder, rebind).0, Reason::NotAllowed);
    drop(holder);
    assert!(opens_by_itself(folder.path(), &swtpm, 2));
}
