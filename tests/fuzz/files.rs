//! Parsers of files that somebody else may have written: a keyring, a backup, an export of an audit log.

use super::fuzz;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_audit::key::Point;
use lamchat_audit::notary::{HardwareKeys, Notary, SignerError};
use lamchat_audit::verify::{Trust, checkpoint_of, verify};
use lamchat_audit::{Actor, AuditLog, Entry, Note, VerifierKey, WitnessKey};
use lamchat_base::{Entropy, ManualClock, SecretBytes};
use lamchat_seal::{Keyring, PassphraseCost, RecoveryKey, Unlock};
use std::sync::{Arc, OnceLock};

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0x5A);
    }
}

fn good_keyring() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        Keyring::create(dir.path(), &Unlock::File, PassphraseCost::MINIMUM, Arc::new(Fixed)).unwrap();
        std::fs::read(dir.path().join("keyring")).unwrap()
    })
}

#[test]
fn a_changed_keyring_opens_to_the_same_keys_or_not_at_all() {
    fuzz("keyring", &[good_keyring()], |input| {
        let dir = tempfile::tempdir().unwrap();
        let original = Keyring::create(dir.path(), &Unlock::File, PassphraseCost::MINIMUM, Arc::new(Fixed)).unwrap();
        std::fs::write(dir.path().join("keyring"), input).unwrap();
        if let Ok(opened) = Keyring::open(dir.path(), &Unlock::File, Arc::new(Fixed)) {
            assert!(
                opened.release().unwrap() == original.release().unwrap(),
                "another key was slipped in"
            );
        }
    });
}

#[test]
fn a_made_up_backup_is_refused() {
    fuzz("backup", &[b"LamChat backup", &[0; 4096]], |input| {
        let dir = tempfile::tempdir().unwrap();
        for name in [lamchat_appliance::MANIFEST_FILE, "part-00001", "part-00000"] {
            std::fs::write(dir.path().join(name), input).unwrap();
        }
        let unlock = Unlock::Passphrase(SecretBytes::new(b"x".to_vec()));
        assert!(lamchat_appliance::verify(dir.path(), &unlock).is_err());
    });
}

#[test]
fn approvals_of_a_release_are_read_as_they_stand_or_not_at_all() {
    let digest = |byte: &str| byte.repeat(32);
    let value = lamchat_tpm::PcrValues::new([(11, [7; 32])]).unwrap();
    let message = lamchat_tpm::SignedPolicy::message(&value, 3).unwrap();
    let policy: String = message[..32].iter().map(|byte| format!("{byte:02x}")).collect();
    let file = format!(
        r#"{{"sha256":[{{"pcrs":[11],"epoch":3,"value":"{}","pkfp":"{}","pol":"{policy}","sig":"{}A=="}}]}}"#,
        digest("07"),
        digest("00"),
        "A".repeat(85)
    );
    assert_eq!(lamchat_tpm::parse_approvals(file.as_bytes()).unwrap().len(), 1);
    fuzz("approvals", &[file.as_bytes()], |input| {
        for approval in lamchat_tpm::parse_approvals(input).into_iter().flatten() {
            // The policy's digest in the file follows from the value: it stands there.
            let message = lamchat_tpm::SignedPolicy::message(&approval.pcrs, approval.epoch).unwrap();
            let policy: String = message[..32].iter().map(|byte| format!("{byte:02x}")).collect();
            let text = String::from_utf8_lossy(input).to_lowercase();
            assert!(text.contains(&policy) || text.contains("\\u"), "{text}");
        }
    });
}

#[test]
fn a_recovery_key_is_read_as_written_or_not_at_all() {
    let good = RecoveryKey::generate(&Fixed).text();
    fuzz("recovery key", &[good.as_bytes(), &[b'0'; 48]], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(key) = RecoveryKey::parse(text) {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            assert_eq!(digits(&key.text()), digits(text));
        }
    });
}

/// A key in hardware, as far as the notary can tell.
struct Chip;

impl HardwareKeys for Chip {
    fn kind(&self) -> &'static str {
        "TPM key"
    }

    fn create(&self) -> Result<Vec<u8>, SignerError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Ok(pair.to_pkcs8v1().unwrap().as_ref().to_vec())
    }

    fn public_key(&self, blob: &[u8]) -> Result<Point, SignerError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, blob).unwrap();
        Ok(pair.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, blob: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignerError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, blob).unwrap();
        let digest = Digest::import_less_safe(digest, &SHA256).unwrap();
        Ok(pair.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
}

/// An export with a change of the key and a witness's checkpoint, and who is trusted with it.
fn good_export() -> &'static (String, Trust) {
    static EXPORT: OnceLock<(String, Trust)> = OnceLock::new();
    EXPORT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::create(dir.path(), &Unlock::File, PassphraseCost::MINIMUM, Arc::new(Fixed));
        let keyring = Arc::new(keyring.unwrap());
        let mut notary = Notary::open(keyring, Some(Arc::new(Chip))).unwrap();
        notary.want_hardware(true);
        let store = lamchat_store::Store::in_memory(lamchat_audit::TABLES).unwrap();
        let clock = Arc::new(ManualClock::new(1_767_225_600_000));
        let log = AuditLog::open(
            store.clone(),
            Arc::new(parking_lot::Mutex::new(notary)),
            "example.org",
            clock,
            &Fixed,
        )
        .unwrap();
        let act = |number: u64| {
            let entry = Entry::new(number, Actor::Socket { uid: 0 }, "user.add").fact("admin", number);
            let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry));
            assert_eq!(appended.unwrap(), number);
        };
        (0..5).for_each(act);
        let witness = WitnessKey::generate("auditor", &Fixed).unwrap();
        let mut note = log.sign().unwrap();
        witness.cosign(&mut note, 1_700_000_000).unwrap();
        log.add_witness(note.clone(), Actor::Server).unwrap();
        // The key has changed meanwhile, which is entry number 6.
        log.sign().unwrap();
        (7..9).for_each(act);
        let mut file = String::new();
        let mut sink = |piece: String| {
            file.push_str(&piece);
            Ok(())
        };
        log.export(2, &mut sink).unwrap();
        let trust = Trust {
            key: Some(log.status().unwrap().key),
            witnesses: vec![witness.public().unwrap()],
            previous: vec![note],
            accept_fallback: false,
        };
        (file, trust)
    })
}

#[test]
fn a_changed_export_says_the_same_or_is_refused() {
    let (file, _) = good_export();
    fuzz("audit export", &[file.as_bytes()], |input| {
        let (file, trust) = good_export();
        let input = String::from_utf8_lossy(input);
        if let Ok(verdict) = verify(&input, trust) {
            let honest = verify(file, trust).unwrap();
            assert_eq!(verdict.entries, honest.entries, "entries were changed");
            assert_eq!(verdict.checkpoint, honest.checkpoint);
        }
        // Without a key of one's own the file is consistent in itself or not; nothing more can be said.
        let _ = verify(&input, &Trust::default());
    });
}

#[test]
fn a_checkpoint_that_parses_is_written_as_it_was_read() {
    let (file, trust) = good_export();
    let (note, key) = (
        checkpoint_of(file).unwrap().to_string(),
        trust.key.as_ref().unwrap().to_string(),
    );
    let witness = WitnessKey::generate("auditor", &Fixed).unwrap();
    let (cosigned, secret) = (trust.previous[0].to_string(), witness.to_text().unwrap());
    let seeds = [note.as_bytes(), cosigned.as_bytes(), key.as_bytes(), secret.as_bytes()];
    fuzz("audit checkpoint", &seeds, |input| {
        let Ok(input) = std::str::from_utf8(input) else { return };
        if let Ok(note) = Note::parse(input) {
            assert_eq!(note.to_string(), input);
        }
        if let Ok(checkpoint) = lamchat_audit::checkpoint::Checkpoint::parse(input) {
            assert_eq!(checkpoint.to_string(), input);
        }
        if let Ok(key) = VerifierKey::parse(input) {
            assert_eq!(key.to_string(), input);
        }
        if let Ok(key) = WitnessKey::parse(input) {
            assert_eq!(key.to_text().unwrap().trim_end(), input.trim_end_matches('\n'));
        }
        if let Ok(entry) = Entry::decode(input.as_bytes()) {
            assert_eq!(entry.encode(), input.as_bytes());
        }
    });
}

#[test]
fn a_message_to_or_from_the_key_holder_is_read_as_written_or_not_at_all() {
    use lamchat_holder::{
        Ack, Act, HolderStatus, ImageSeal, Notice, PinUse, Reason, Reply, Request, SlotSeal, State, TpmStatus, Typed,
    };
    let typed = || SecretBytes::new(b"000012 005157".to_vec());
    let origin = "example.org/audit/1";
    let checkpoint = lamchat_audit::checkpoint::Checkpoint {
        origin: origin.to_owned(),
        size: 3,
        root: [7; 32],
    };
    let key = lamchat_seal::ReleasedKey::Data {
        purpose: lamchat_seal::Purpose::Media,
        number: 1,
        key: lamchat_base::Secret::new([7; 32]),
    };
    let notice = Notice {
        act: Act::Rebind,
        state: State::Done,
        time_ms: 5,
        uid: 1000,
        slot: Some(2),
        kind: Some(lamchat_seal::SlotKind::Tpm),
        force: false,
        floor: Some(6),
    };
    let by = lamchat_seal::SlotKind::Tpm;
    let slot = lamchat_seal::SlotInfo {
        id: 1,
        kind: lamchat_seal::SlotKind::Recovery,
        verified_ms: Some(9),
    };
    let seal = SlotSeal {
        slot: 2,
        pin: true,
        pcrs: vec![7],
        image: Some(ImageSeal {
            release_key: [9; 32],
            epochs: vec![5, 6],
        }),
    };
    let status = HolderStatus {
        slots: vec![slot],
        seals: vec![seal],
        former_keys: true,
        tpm: TpmStatus {
            present: true,
            sentence: "there".to_owned(),
            secure_boot: Some(true),
            pcrs: vec![7],
            pin: PinUse::Kept,
            problem: Some("no file".to_owned()),
        },
        confinement: "apart".to_owned(),
        socket: "/run/s".to_owned(),
    };
    let (floor, bootable) = (6, vec![6, 7]);
    let seeds = [
        Reply::Status(Box::new(status)).encode(),
        Request::RaiseFloor {
            floor,
            bootable: bootable.clone(),
            force: true,
        }
        .encode(),
        Typed::RaiseFloorOnBox {
            floor,
            bootable: bootable.clone(),
        }
        .encode(),
        Typed::Seal {
            bootable: bootable.clone(),
        }
        .encode(),
        Typed::SetPin {
            bootable: bootable.clone(),
            pin: Some(typed()),
        }
        .encode(),
        Typed::SetPin {
            bootable: bootable.clone(),
            pin: None,
        }
        .encode(),
        Typed::Status.encode(),
        Request::ForgetFormer.encode(),
        Typed::Renew {
            slot: 1,
            keys: vec![(2, typed()), (3, typed())],
        }
        .encode(),
        Typed::RaiseFloor {
            floor,
            bootable,
            force: true,
            pin: typed(),
        }
        .encode(),
        Request::Open { create: true }.encode(),
        Request::LogIdentity(origin.to_owned()).encode(),
        Request::SignHead {
            checkpoint,
            proof: vec![[1; 32], [2; 32]],
        }
        .encode(),
        Request::Evidence {
            nonce: lamchat_attester::Nonce::new(&[1; 20]).unwrap(),
            origin: origin.to_owned(),
            statement: lamchat_attester::Statement {
                server_name: "example.org".to_owned(),
                configuration: lamchat_attestation::Sha256::ZERO,
                tls_files: vec![lamchat_attestation::Sha256::ZERO],
            },
            sealed: vec![lamchat_holder::Sealed {
                name: "signing-key".to_owned(),
                file: b"LAMSEAL1".to_vec(),
            }],
        }
        .encode(),
        Request::EkCertificates(vec![vec![0x30; 40], vec![0x30; 2]]).encode(),
        Reply::File(lamchat_attester::Made {
            file: b"{}".to_vec(),
            missing: vec!["nothing".to_owned()],
        })
        .encode(),
        Typed::Unlock(typed()).encode(),
        Typed::Rebind {
            slot: 3,
            force: false,
            pin: typed(),
        }
        .encode(),
        Reply::Keys { by, keys: vec![key] }.encode(),
        Reply::Locked {
            blame: lamchat_holder::Blame::Machine,
            reason: "no".to_owned(),
            slots: vec![slot],
        }
        .encode(),
        Reply::Refused(Reason::Disk, "full".to_owned()).encode(),
        notice.encode(),
        Ack::NotNoted.encode(),
    ];
    let seeds: Vec<&[u8]> = seeds.iter().map(|frame| frame.as_slice()).collect();
    fuzz("key holder", &seeds, |input| {
        if let Ok(request) = Request::parse(input) {
            assert_eq!(request.encode().as_slice(), input);
        }
        if let Ok(request) = Typed::parse(input) {
            assert_eq!(request.encode().as_slice(), input);
        }
        if let Ok(reply) = Reply::parse(input) {
            assert_eq!(reply.encode().as_slice(), input);
        }
        if let Ok(notice) = Notice::parse(input) {
            assert_eq!(notice.encode().as_slice(), input);
        }
        if let Ok(ack) = Ack::parse(input) {
            assert_eq!(ack.encode().as_slice(), input);
        }
    });
}
