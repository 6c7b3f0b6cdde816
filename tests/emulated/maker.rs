//! A maker of TPMs in software, who certifies their endorsement keys by an authority of its own. Shared by the tests of the
//! program and those of the box.

use std::path::Path;
use std::process::Command;

/// Makes a TPM whose memory lies in `state`, with these PCR banks. The maker's files lie in `folder`, its certificates in
/// `ca` there.
pub fn manufacture(folder: &Path, state: &Path, banks: &str) {
    let ca = folder.join("ca");
    std::fs::create_dir(&ca).unwrap();
    let (here, ca) = (folder.display(), ca.display());
    for (name, content) in [
        (
            "ca.conf",
            format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
                 certserial = {ca}/certserial\n"
            ),
        ),
        (
            "ca.options",
            "--platform-manufacturer Test\n--platform-version 1\n--platform-model box\n".to_owned(),
        ),
        (
            "setup.conf",
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {here}/ca.conf\n\
                 create_certs_tool_options = {here}/ca.options\n"
            ),
        ),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let output = Command::new("swtpm_setup")
        .args(["--tpm2", "--create-ek-cert", "--pcr-banks", banks, "--config"])
        .arg(folder.join("setup.conf"))
        .arg("--tpmstate")
        .arg(state)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
