//! A TPM in software: what it remembers lies in a folder.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(30);

/// Ended when dropped.
pub struct Tpm(Child);

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended with its machine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tpm {
    /// Switches it on; QEMU connects to the socket.
    pub fn start(state: &Path, socket: &Path) -> Self {
        // Left from an earlier start.
        let _ = std::fs::remove_file(socket);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .args(["--ctrl", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .spawn();
        let tpm = Self(child.unwrap());
        let since = Instant::now();
        while !socket.exists() {
            assert!(since.elapsed() < START_MAX, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        tpm
    }
}
