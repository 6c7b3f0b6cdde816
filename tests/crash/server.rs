//! The real binary on a free port of 127.0.0.1, with a data folder that outlives its kills.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    dir: tempfile::TempDir,
    pub address: SocketAddr,
    child: Option<Child>,
}

/// The program as it is shipped, if `tests/run` has built it; otherwise the one that cargo built for the tests.
fn program() -> std::ffi::OsString {
    std::env::var_os("LAMCHAT_RELEASE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_lamchat").into())
}

impl Server {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "server_name = \"localhost\"\ndata_dir = \"data\"\n\
             [[listeners]]\naddress = \"127.0.0.1\"\nport = {}\ntls_local_authority = false\nresources = [\"client\", \"media\"]\n\
             [registration]\nmode = \"open\"\npassword_hash = \"minimum\"\n[limits]\nenabled = false\n",
            address.port()
        );
        std::fs::write(dir.path().join("lamchat.toml"), config).unwrap();
        Self {
            dir,
            address,
            child: None,
        }
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let child = Command::new(program())
            .arg("serve")
            .arg("--config")
            .arg(self.dir.path().join("lamchat.toml"))
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "lamchat ended with {status}: {}",
                    std::fs::read_to_string(self.dir.path().join("log")).unwrap()
                );
            }
            assert!(Instant::now() < end, "lamchat did not open its port");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed by the process.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit code that it promises.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(status.success());
        assert!(
            child.wait().unwrap().success(),
            "SIGTERM ends the server with exit code 0"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
