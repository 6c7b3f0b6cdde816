//! A server process.

use crate::Outcome;
use crate::client::Client;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A start that takes longer has failed.
const START_MAX: Duration = Duration::from_secs(120);

/// A running server.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

/// A server that has answered, and how long that took from the moment it was started.
pub struct Started {
    pub server: Server,
    pub took: Duration,
}

impl Server {
    /// Starts a server on `dir` and waits for its first answer.
    pub async fn start(binary: &Path, dir: &Path) -> Outcome<Started> {
        // A free port: nobody else takes it in the moment between.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = dir.join("config.toml");
        std::fs::write(&file, config(dir, address.port()))?;
        let log = File::create(dir.join("log"))?;
        let begin = Instant::now();
        let process = Command::new(binary)
            .arg("--config")
            .arg(&file)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self { process, address };
        loop {
            if let Ok(mut client) = Client::connect(address).await
                && client.get("/_matrix/client/versions").await.is_ok()
            {
                let took = begin.elapsed();
                return Ok(Started { server, took });
            }
            if begin.elapsed() > START_MAX || server.process.try_wait()?.is_some() {
                let log = std::fs::read_to_string(dir.join("log"))?;
                return Err(format!("the server did not start: {log}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends it as a service manager would.
    pub async fn stop(mut self) -> Outcome<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        while self.process.try_wait()?.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it as a power cut would, but for what the kernel still holds.
    pub fn kill(&mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Resident memory.
    pub fn memory_kb(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("no VmRSS")?.parse()?)
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // USER_HZ is 100 on every Linux.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn config(dir: &Path, port: u16) -> String {
    format!(
        r#"server_name = "bench.test"
public_baseurl = "http://127.0.0.1:{port}/"
data_dir = "{}"
[[listeners]]
address = "127.0.0.1"
port = {port}
tls_local_authority = false
resources = ["client"]
[registration]
mode = "open"
password_hash = "minimum"
[limits]
enabled = false
"#,
        dir.join("data").display()
    )
}
