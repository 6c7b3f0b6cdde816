//! The program that is shipped: one file that needs nothing.

use crate::harness::text;
use std::path::PathBuf;
use std::process::Command;

/// The release build when there is one (tests/run makes it), else the one under test.
fn shipped() -> PathBuf {
    let release = std::env::var_os("LAMCHAT_RELEASE_BINARY")
        .map(PathBuf::from)
        .filter(|path| path.exists());
    release.unwrap_or_else(crate::harness::program)
}

#[test]
fn it_is_linked_statically() {
    let program = shipped();
    let ldd = Command::new("ldd").arg(&program).output().unwrap();
    let ldd = text(&ldd.stdout) + &text(&ldd.stderr);
    assert!(
        ldd.contains("statically linked") || ldd.contains("not a dynamic executable"),
        "{ldd}"
    );
    if let Ok(file) = Command::new("file").args(["-b", "-L"]).arg(&program).output() {
        let file = text(&file.stdout);
        assert!(file.contains("static-pie linked"), "{file}");
    }
    let bytes = std::fs::metadata(&program).unwrap().len();
    println!("{}: {bytes} bytes, statically linked", program.display());
}
