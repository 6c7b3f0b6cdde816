//! A data folder, its server, and commands to it.

use crate::Outcome;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(60);

pub struct Site {
    binary: PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

/// A server that has answered, and how long that took from the moment it was started.
pub struct Started {
    child: Child,
    pub took: Duration,
}

impl Started {
    pub fn stop(mut self) -> Outcome<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("the server ended with {status}").into()),
        }
    }
}

impl Site {
    pub fn new(binary: &Path, tpm: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "server_name = \"bench.example\"\ndata_dir = \"data\"\n[[listeners]]\nport = {}\n\
             resources = [\"client\"]\n[seal]\ntpm = \"{tpm}\"\n[log]\nlevel = \"info\"\n",
            address.port()
        );
        std::fs::write(folder.path().join("lamchat.toml"), config)?;
        Ok(Self {
            binary: binary.to_owned(),
            folder,
            address,
        })
    }

    fn lamchat(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["--config", "lamchat.toml"])
            .current_dir(self.folder.path());
        command
    }

    pub fn start(&self) -> Outcome<Started> {
        let log = File::create(self.folder.path().join("log"))?;
        let began = Instant::now();
        let child = self
            .lamchat()
            .arg("serve")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut started = Started {
            child,
            took: Duration::ZERO,
        };
        while !self.answers() {
            if began.elapsed() > START_MAX || started.child.try_wait()?.is_some() {
                return Err(format!("the server did not start: {}", self.log()?).into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        started.took = began.elapsed();
        Ok(started)
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(
                b"GET /_matrix/client/versions HTTP/1.1\r\nhost: bench.example\r\nconnection: close\r\n\r\n",
            )?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }

    fn log(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// How long something took that the log of this start tells.
    pub fn logged(&self, message: &str) -> Outcome<Duration> {
        let log = self.log()?;
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = lines.rfind(|line| line["message"] == message);
        let found = found.ok_or_else(|| format!("the log does not say that {message}: {log}"))?;
        let number = |name: &str| found[name].as_u64().or_else(|| found[name].as_str()?.parse().ok());
        Ok(Duration::from_micros(
            number("microseconds").ok_or("no time in the log")?,
        ))
    }

    /// The number of the first slot of a kind.
    pub fn slot(&self, kind: &str) -> Outcome<String> {
        let status = self.command(&["seal", "status"], "")?;
        let slots = status["slots"].as_array().ok_or("no slots")?;
        let slot = slots.iter().find(|slot| slot["kind"] == kind).ok_or("no such slot")?;
        Ok(slot["id"].to_string())
    }

    /// A command's JSON.
    pub fn command(&self, arguments: &[&str], input: &str) -> Outcome<Value> {
        let mut child = self
            .lamchat()
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
        let output = succeeded(arguments, child.wait_with_output()?)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command that prints nothing of interest.
    pub fn plain_command(&self, arguments: &[&str]) -> Outcome<()> {
        succeeded(arguments, self.run(arguments)?).map(drop)
    }

    /// A command, whatever its exit code.
    pub fn run(&self, arguments: &[&str]) -> Outcome<Output> {
        Ok(self.lamchat().args(arguments).output()?)
    }
}

fn succeeded(arguments: &[&str], output: Output) -> Outcome<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
