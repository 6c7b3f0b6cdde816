//! A software TPM of its own for every test (Debian's swtpm), and transports that record or disturb.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use crate::transport::{Address, Transport, TransportError};
use crate::{Patience, PcrValues, Point, SignedPolicy, Tpm};
use lamchat_base::Entropy;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The operating system's randomness; the one of `lamchat-host` is a floor-mate that this crate does not use.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

/// A running swtpm with its state in a folder of its own; ended and removed on drop.
pub(crate) struct Swtpm {
    folder: tempfile::TempDir,
    child: Child,
    pub(crate) address: Address,
}

impl Swtpm {
    /// A factory-fresh TPM behind a Unix socket.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, address) = spawn(folder.path());
        Self { folder, child, address }
    }

    /// A TPM with endorsement keys and certificates as a manufacturer leaves them.
    pub(crate) fn manufactured() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        std::fs::create_dir(folder.path().join("ca")).unwrap();
        std::fs::write(
            folder.path().join("setup.conf"),
            format!(
                "create_certs_tool=/usr/bin/swtpm_localca\n\
                 create_certs_tool_config={path}/localca.conf\n\
                 create_certs_tool_options={path}/options.conf\n\
                 active_pcr_banks=sha256\n"
            ),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("localca.conf"),
            format!(
                "statedir={path}/ca\nsigningkey={path}/ca/signkey.pem\nissuercert={path}/ca/issuercert.pem\n\
                 certserial={path}/ca/certserial\n"
            ),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("options.conf"),
            "--platform-manufacturer LamChat\n--platform-version 1\n--platform-model test\n",
        )
        .unwrap();
        let output = Command::new("swtpm_setup")
            .args([
                "--tpm2",
                "--create-ek-cert",
                "--pcr-banks",
                "sha256",
                "--overwrite",
                "--tpmstate",
            ])
            .arg(folder.path())
            .arg("--config")
            .arg(folder.path().join("setup.conf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let (child, address) = spawn(folder.path());
        Self { folder, child, address }
    }

    /// Behind a TCP port that the system chose.
    pub(crate) fn start_tcp() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // swtpm cannot choose a port itself, so another process may be faster; then again.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = swtpm(folder.path(), &format!("type=tcp,port={port},bindaddr=127.0.0.1"));
            let address = Address::Tcp(([127, 0, 0, 1], port).into());
            if answers(&address, &mut child) {
                return Self { folder, child, address };
            }
        }
        panic!("swtpm found no free port");
    }

    /// Power off and on: PCRs are zero again, sessions and objects are gone, NV memory stays.
    pub(crate) fn power_cycle(&mut self) {
        self.stop();
        let (child, address) = spawn(self.folder.path());
        self.child = child;
        self.address = address;
    }

    pub(crate) fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        self.child.wait().unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn tpm(&self) -> Tpm {
        Tpm::open(&self.address, Arc::new(SystemEntropy)).unwrap()
    }

    /// With everything that goes over the wire written down.
    pub(crate) fn recorded(&self) -> (Tpm, Arc<Mutex<Vec<u8>>>) {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let transport = Recorder {
            inner: self.address.open().unwrap(),
            bytes: bytes.clone(),
        };
        (Tpm::new(Box::new(transport), Arc::new(SystemEntropy)), bytes)
    }

    /// With `disturb` between program and TPM: it sees every command's number and code and may answer in the TPM's place.
    pub(crate) fn disturbed(&self, disturb: impl FnMut(usize, u32) -> Option<u32> + Send + 'static) -> Tpm {
        let transport = Disturber {
            inner: self.address.open().unwrap(),
            disturb: Box::new(disturb),
            number: 0,
        };
        Tpm::new(Box::new(transport), Arc::new(SystemEntropy)).with_patience(Patience {
            first_pause: Duration::from_micros(10),
            attempts: 5,
            ..Patience::default()
        })
    }

    /// A tool of tpm2-tools on this TPM, which has one client at a time: close ours first.
    pub(crate) fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let Address::Unix(path) = &self.address else {
            panic!("a Unix socket")
        };
        command
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", path.display()))
            .current_dir(self.folder.path());
        command
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn swtpm(folder: &Path, server: &str) -> Child {
    Command::new("swtpm")
        .args([
            "socket",
            "--tpm2",
            "--flags",
            "not-need-init,startup-clear",
            "--seccomp",
            "action=none",
            "--server",
        ])
        .arg(server)
        .arg("--tpmstate")
        .arg(format!("dir={}", folder.display()))
        // tpm2-tools set the locality through the control socket, which they look for beside the command socket.
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", folder.join("socket.ctrl").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed (Debian: swtpm)")
}

fn spawn(folder: &Path) -> (Child, Address) {
    let socket = folder.join("socket");
    let _absent = std::fs::remove_file(&socket);
    let mut child = swtpm(folder, &format!("type=unixio,path={}", socket.display()));
    let address = Address::Unix(socket);
    assert!(answers(&address, &mut child), "swtpm does not start");
    (child, address)
}

/// Waits for the TPM's first answer.
fn answers(address: &Address, child: &mut Child) -> bool {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(transport) = address.open() {
            let mut tpm = Tpm::new(transport, Arc::new(SystemEntropy));
            return tpm.read_pcrs(&crate::PcrSelection::new(&[0]).unwrap()).is_ok();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

struct Recorder {
    inner: Box<dyn Transport>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Recorder {
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let answer = self.inner.exchange(command, timeout)?;
        let mut bytes = self.bytes.lock().unwrap();
        bytes.extend_from_slice(command);
        bytes.extend_from_slice(&answer);
        Ok(answer)
    }
}

type Disturb = Box<dyn FnMut(usize, u32) -> Option<u32> + Send>;

struct Disturber {
    inner: Box<dyn Transport>,
    disturb: Disturb,
    number: usize,
}

impl Transport for Disturber {
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        self.number += 1;
        match (self.disturb)(self.number, code) {
            None => self.inner.exchange(command, timeout),
            Some(rc) => Ok([&[0x80, 0x01, 0, 0, 0, 10], rc.to_be_bytes().as_slice()].concat()),
        }
    }
}

/// The transient objects and the loaded sessions that the TPM holds.
pub(crate) fn open_handles(tpm: &mut Tpm) -> Vec<u32> {
    let mut found = Vec::new();
    for first in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
        let answer = tpm.run(&crate::wire::get_handles(first).unwrap(), &mut []).unwrap();
        found.extend(crate::wire::parse_handles(&answer.parameters).unwrap());
    }
    found
}

/// An operator's release key, made in software.
pub(crate) struct Release(aws_lc_rs::signature::EcdsaKeyPair);

impl Release {
    pub(crate) fn new() -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn point(&self) -> Point {
        use aws_lc_rs::signature::KeyPair;
        let bytes = self.0.public_key().as_ref();
        Point {
            x: bytes[1..33].try_into().unwrap(),
            y: bytes[33..].try_into().unwrap(),
        }
    }

    pub(crate) fn approve(&self, pcrs: &PcrValues, epoch: u64) -> SignedPolicy {
        let message = SignedPolicy::message(pcrs, epoch).unwrap();
        let rng = aws_lc_rs::rand::SystemRandom::new();
        SignedPolicy {
            pcrs: pcrs.clone(),
            epoch,
            signature: self.0.sign(&rng, &message).unwrap().as_ref().try_into().unwrap(),
        }
    }
}

/// The file of these approvals, as `image` writes it.
pub(crate) fn approvals_file(approvals: &[SignedPolicy]) -> String {
    use base64::Engine;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let entries: Vec<String> = approvals
        .iter()
        .map(|approval| {
            let (pcr, value) = approval.pcrs.iter().next().unwrap();
            let message = SignedPolicy::message(&approval.pcrs, approval.epoch).unwrap();
            format!(
                r#"{{"pcrs":[{pcr}],"epoch":{},"value":"{}","pkfp":"00","pol":"{}","sig":"{}"}}"#,
                approval.epoch,
                hex(value),
                hex(&message[..32]),
                base64::engine::general_purpose::STANDARD.encode(approval.signature)
            )
        })
        .collect();
    format!("{{\"sha256\":[{}]}}", entries.join(","))
}
