//! Parsers of files that somebody else may have written: a keyring, a backup.

use super::fuzz;
use lamchat_base::{Entropy, SecretBytes};
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
                opened.database_key().unwrap() == original.database_key().unwrap(),
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
