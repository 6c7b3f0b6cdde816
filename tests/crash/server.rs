//! The real binary on a free port of 127.0.0.1, with a data folder that outlives its kills.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    dir: tempfile::TempDir,
    pub address: SocketAddr,
    child: Option<Child>,
    volume: Option<Volume>,
}

/// A small file system of its own under the data folder, in a mount namespace that a sleeping process keeps.
struct Volume {
    keeper: Child,
    namespaces: &'static [&'static str],
}

impl Volume {
    fn new(at: &std::path::Path, mebibytes: u32) -> Self {
        let is_root = nix::unistd::Uid::effective().is_root();
        let namespaces: &[_] = if is_root {
            &["--mount"]
        } else {
            &["--user", "--map-root-user", "--mount"]
        };
        let script = "mount -t tmpfs -o size=\"$1m\",mode=0700 tmpfs \"$2\" && echo ready && exec sleep 3600";
        let mut keeper = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", script, "sh"])
            .arg(mebibytes.to_string())
            .arg(at)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(keeper.stdout.as_mut().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n", "a small file system could not be mounted");
        let namespaces = if is_root {
            &["--mount"][..]
        } else {
            &["--user", "--preserve-credentials", "--mount"]
        };
        Self { keeper, namespaces }
    }

    /// `program`, to be run where the file system is mounted.
    fn command(&self, program: std::ffi::OsString) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.keeper.id().to_string())
            .args(self.namespaces)
            .arg("--")
            .arg(program);
        command
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
    }
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
            volume: None,
        }
    }

    /// A server whose data folder is a file system of this size.
    pub fn on_volume(mebibytes: u32) -> Self {
        let mut server = Self::new();
        let data = server.dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        server.volume = Some(Volume::new(&data, mebibytes));
        server
    }

    /// The data folder.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Writes or removes a file that takes room in the data folder's file system.
    pub fn ballast(&self, mebibytes: u32) {
        let volume = self.volume.as_ref().unwrap();
        let path = self.dir.path().join("data/ballast");
        let mut command = if mebibytes == 0 {
            volume.command("rm".into())
        } else {
            volume.command("fallocate".into())
        };
        if mebibytes > 0 {
            command.arg("--length").arg(format!("{mebibytes}MiB"));
        }
        assert!(command.arg(path).status().unwrap().success());
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = match &self.volume {
            Some(volume) => volume.command(program()),
            None => Command::new(program()),
        };
        let child = command
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
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(
            child.wait().unwrap().success(),
            "SIGTERM ends the server with exit code 0"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            println!("the end of the server's log, newest first:\n{}", tail.join("\n"));
        }
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
