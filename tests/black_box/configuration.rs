//! Configuration files as an operator writes them, wrong ones included.

use crate::harness::{Site, lamchat, text};

#[test]
fn mistakes_name_the_line_and_the_nearest_key() {
    let site = Site::with("server_name = \"a.example\"\n\n[limits]\nupload_byte_max = 5\nenabled = \"yes\"\n");
    let output = site.command(&["config", "check", "lamchat.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("lamchat.toml:4: `limits.upload_byte_max`"), "{errors}");
    assert!(errors.contains("`upload_bytes_max`"), "{errors}");
    assert!(
        errors.contains("lamchat.toml:5: `limits.enabled`: expected true or false"),
        "{errors}"
    );
    // Serving refuses with the same words.
    let output = site.command(&[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("lamchat.toml:4"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_example_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let example = lamchat(folder.path(), &["config", "example"], "");
    assert!(example.status.success());
    std::fs::write(folder.path().join("example.toml"), &example.stdout).unwrap();
    let check = lamchat(folder.path(), &["config", "check", "example.toml"], "");
    assert!(check.status.success(), "{}", text(&check.stderr));
}

#[test]
fn missing_and_unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        ["--config", "none.toml"].as_slice(),
        &["serve", "--config", "none.toml"],
        &["config", "check", "none.toml"],
    ] {
        let output = lamchat(folder.path(), arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains("none.toml"), "{}", text(&output.stderr));
    }
    std::fs::write(folder.path().join("binary.toml"), [0xFF, 0xFE]).unwrap();
    let output = lamchat(folder.path(), &["config", "check", "binary.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("UTF-8"));
}

#[test]
fn a_certificate_that_is_not_there_stops_the_start() {
    let listener = "[[listeners]]\nport = 0\ntls_certificate = \"none.pem\"\ntls_private_key = \"none.key\"\nresources = [\"client\"]";
    let site = Site::with(listener);
    let output = site.command(&[], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none.pem"), "{}", text(&output.stderr));
}
