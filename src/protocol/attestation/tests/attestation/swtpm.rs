//! A real software TPM: `swtpm` on a Unix socket in a folder that vanishes, driven by tpm2-tools.

use lamchat_attestation::simulation::{Boot, PCRS};
use lamchat_attestation::{Claims, Evidence, PcrValue, Request, Sha256, TpmEvidence, to_hex};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Swtpm {
    dir: tempfile::TempDir,
    process: Child,
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{:?}: {error}: install swtpm, swtpm-tools and tpm2-tools",
            command.get_program()
        )
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output.stdout
}

fn start(dir: &Path) -> Child {
    let socket = dir.join("sock");
    let control = dir.join("sock.ctrl");
    let _ = std::fs::remove_file(&socket);
    let process = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", dir.join("state").display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", socket.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", control.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < end, "swtpm did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

impl Swtpm {
    /// A new TPM with an endorsement key, its certificate from a local authority, and an attestation key.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for folder in ["state", "ca"] {
            std::fs::create_dir(path.join(folder)).unwrap();
        }
        let write = |name: &str, text: String| std::fs::write(path.join(name), text).unwrap();
        let ca = path.join("ca");
        let ca = ca.display();
        write(
            "ca.conf",
            format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\ncertserial = {ca}/certserial\n"
            ),
        );
        write(
            "ca.options",
            "--platform-manufacturer Test\n--platform-version 1\n--platform-model box\n".into(),
        );
        let here = path.display();
        write(
            "setup.conf",
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {here}/ca.conf\n\
                 create_certs_tool_options = {here}/ca.options\n"
            ),
        );
        run(Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha1,sha256"])
            .arg("--config")
            .arg(path.join("setup.conf"))
            .arg("--tpmstate")
            .arg(path.join("state"))
            .arg("--write-ek-cert-files")
            .arg(path));
        let process = start(path);
        let tpm = Self { dir, process };
        tpm.tool("createek", &["-G", "rsa", "-c", "ek.ctx", "-u", "ek.pub", "-f", "tss"]);
        tpm.tool(
            "createek",
            &["-G", "ecc", "-c", "ecc.ctx", "-u", "ecc.pub", "-f", "tss"],
        );
        let ak = [
            "-G", "ecc", "-g", "sha256", "-s", "ecdsa", "-c", "ak.ctx", "-u", "ak.pub", "-f", "tss",
        ];
        tpm.tool(
            "createak",
            &[&["-C", "ek.ctx"], ak.as_slice(), &["-r", "ak.priv"]].concat(),
        );
        tpm
    }

    /// Runs a tool in the TPM's folder. There is no resource manager, so what it leaves in the TPM is flushed.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Vec<u8> {
        let output = run(&mut self.command(name, arguments));
        run(&mut self.command("flushcontext", &["-t"]));
        output
    }

    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(format!("tpm2_{name}"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path("sock").display()));
        command
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// A power cycle: PCRs are zero, the TPM counts a reset.
    pub fn reset(&mut self) {
        self.stop();
        self.process = start(self.dir.path());
        // Contexts end with a reset.
        self.tool("createek", &["-G", "rsa", "-c", "ek.ctx"]);
        self.endorsed(
            "load",
            &["-C", "ek.ctx", "-u", "ak.pub", "-r", "ak.priv", "-c", "ak.ctx"],
        );
    }

    /// Runs a tool that uses the endorsement key, whose policy is the endorsement hierarchy's secret.
    pub fn endorsed(&self, name: &str, arguments: &[&str]) -> Vec<u8> {
        self.tool("startauthsession", &["--policy-session", "-S", "session.ctx"]);
        self.tool("policysecret", &["-S", "session.ctx", "-c", "e"]);
        let output = self.tool(name, &[arguments, &["-P", "session:session.ctx"]].concat());
        self.tool("flushcontext", &["session.ctx"]);
        output
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    /// Extends what a boot measures.
    pub fn boot(&self, boot: &Boot) {
        let specs: Vec<_> = boot
            .measured()
            .map(|entry| format!("{}:sha256={}", entry.pcr, entry.digest))
            .collect();
        self.tool("pcrextend", &specs.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// TPMT_PUBLIC from a TPM2B_PUBLIC.
    pub fn public(&self, name: &str) -> Vec<u8> {
        self.read(name)[2..].to_vec()
    }

    /// DER from PEM.
    pub fn root(&self) -> Vec<u8> {
        self.certificate("ca/swtpm-localca-rootca-cert.pem")
    }

    fn certificate(&self, name: &str) -> Vec<u8> {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject;
        CertificateDer::from_pem_slice(&self.read(name)).unwrap().to_vec()
    }

    pub fn request(&self) -> Request {
        Request {
            ek_certificates: vec![self.read("ek-rsa2048.crt"), self.certificate("ca/issuercert.pem")],
            ek_public: self.public("ek.pub"),
            ak_public: self.public("ak.pub"),
        }
    }

    /// A quote by the attestation key, over a selection in the tools' words.
    pub fn quote(&self, selection: &str, qualifying: &Sha256) -> (Vec<u8>, Vec<u8>) {
        let qualifying = to_hex(&qualifying.0);
        self.tool(
            "quote",
            &[
                "-c",
                "ak.ctx",
                "-l",
                selection,
                "-q",
                &qualifying,
                "-m",
                "quote",
                "-s",
                "signature",
                "-o",
                "pcrs",
            ],
        );
        (self.read("quote"), self.read("signature"))
    }

    /// The evidence of a boot that this TPM measured.
    pub fn evidence(&self, nonce: &[u8], claims: Claims, boot: &Boot) -> Evidence {
        let numbers = PCRS.map(|pcr| pcr.to_string()).join(",");
        let selection = format!("sha256:{numbers}");
        let qualifying = claims.qualifying_data(nonce);
        let (quote, signature) = self.quote(&selection, &qualifying);
        self.tool("pcrread", &[&selection, "-o", "values"]);
        let values = self.read("values");
        let pcrs = PCRS.iter().zip(values.chunks(32)).map(|(pcr, value)| PcrValue {
            pcr: *pcr,
            sha256: Sha256(value.try_into().unwrap()),
        });
        Evidence {
            nonce: nonce.to_vec(),
            claims,
            tpm: TpmEvidence {
                ek_certificates: self.request().ek_certificates,
                ak_public: self.public("ak.pub"),
                quote,
                signature,
                pcrs: pcrs.collect(),
                event_log: boot.log(),
            },
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}
