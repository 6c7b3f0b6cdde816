//! A TPM in software.

use crate::Outcome;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running swtpm; ends when it is dropped.
pub struct Swtpm {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Swtpm {
    pub fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--tpmstate"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            return Err("swtpm_setup failed (Debian: swtpm-tools)".into());
        }
        let [port, control] = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()));
        let (port, control) = (port?.port(), control?.port());
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--server", &format!("type=tcp,bindaddr=127.0.0.1,port={port}")])
            .args(["--ctrl", &format!("type=tcp,bindaddr=127.0.0.1,port={control}")])
            .args(["--tpmstate", &format!("dir={}", folder.path().display())])
            .stdout(Stdio::null())
            .spawn()?;
        let software = Self {
            child,
            port,
            _folder: folder,
        };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", control)).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return Err("swtpm does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(software)
    }

    /// As the configuration names it.
    pub fn address(&self) -> String {
        format!("tcp:127.0.0.1:{}", self.port)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended by itself; nobody waits for what that says.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
