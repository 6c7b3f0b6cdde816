//! The holder's folder: one of before, one holder at a time, and what a confined process reaches besides.

use super::*;

#[test]
fn a_folder_of_before_is_moved_and_kept_by_one_holder() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name);
    let keyring = Keyring::create(data.path(), &Unlock::File, PassphraseCost::MINIMUM, entropy(1)).unwrap();
    let keys = keyring.data_keys(data.path()).unwrap();
    for name in ["audit-key", "audit-heads", "signing-key"] {
        keys.seal_secret(name, &typed(name)).unwrap();
    }
    // Cut off in the middle: the keyring still is where it was.
    std::fs::create_dir(at("keys")).unwrap();
    std::fs::rename(at("keyring.key"), at("keys/keyring.key")).unwrap();
    let dir = at("keys");
    files::prepare(data.path(), &dir).unwrap();
    assert!(!at("keyring").exists() && !at("secrets/audit-key.sealed").exists());
    assert!(at("secrets/signing-key.sealed").exists());
    let moved = Keyring::open(&dir, &Unlock::File, entropy(9)).unwrap();
    assert_eq!(moved.release().unwrap(), keyring.release().unwrap());
    assert_eq!(moved.own("audit-heads").unwrap().unwrap().expose(), b"audit-heads");
    files::prepare(data.path(), &dir).unwrap();

    let lock = files::lock(&dir).unwrap();
    assert!(matches!(files::lock(&dir), Err(FolderError::Busy(_))));
    drop(lock);
    let _lock = files::lock(&dir).unwrap();
    let mode = |listener: UnixListener| {
        drop(listener);
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.join(crate::SOCKET)).unwrap().permissions())
    };
    assert_eq!(mode(files::socket(&dir).unwrap()) & 0o777, 0o600);
    assert_eq!(mode(files::socket(&dir).unwrap()) & 0o777, 0o600, "one that was left");
}

/// Everything that a holder does happens in the sandbox, on threads that are made there.
#[test]
fn a_confined_thread_does_its_work_and_reaches_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let (dir, secrets) = (folder.path().join("keys"), folder.path().join("secrets"));
    for dir in [&dir, &secrets] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(secrets.join("key.sealed"), b"sealed").unwrap();
    let thread = std::thread::spawn(move || {
        let network = leave_network();
        let files = confine(&dir, TpmPlace::Nowhere).unwrap();
        // What the exchange sealed is none of the holder's.
        assert_eq!(std::fs::read(secrets.join("key.sealed")).is_ok(), files == Files::Open);
        let foreign = std::fs::read("/etc/passwd").is_ok();
        let reached = TcpStream::connect(address).is_ok();
        let shell = std::process::Command::new("/bin/true").status().is_ok();
        let worked = std::thread::spawn(move || work(&dir)).join().unwrap();
        (network, files, foreign, reached, shell, worked)
    });
    let (network, files, foreign, reached, shell, worked) = thread.join().unwrap();
    println!("{network:?} {files:?}");
    worked.unwrap();
    assert!(!reached && !shell);
    assert_eq!(foreign, files == Files::Open);
}

fn work(dir: &Path) -> Result<(), OpenError> {
    let keyring = Keyring::create(dir, &Unlock::File, PassphraseCost::MINIMUM, entropy(1)).unwrap();
    let passphrase = Unlock::Passphrase(typed("long enough now"));
    keyring.add_slot(&passphrase, PassphraseCost::DEFAULT).unwrap();
    keyring.keep_own("heads", &typed("x")).unwrap();
    keyring.remove_slot(1).unwrap();
    Keyring::open(dir, &passphrase, entropy(2)).map(drop)
}
