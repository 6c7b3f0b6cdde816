//! A change of the network from a distance that cuts the operator off: it goes back by itself within two minutes, also
//! when the power is cut in between; one that is confirmed stays.

use crate::client::forwarded;
use crate::set_up::{set_up, shut_down, unlock};
use crate::update::credential;
use crate::virtual_machine::{Disk, VirtualMachine};
use lamchat_appliance::site::{Editable, parse_network};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a change may take to be seen from outside.
const SEEN: Duration = Duration::from_secs(60);

struct Operator {
    folder: tempfile::TempDir,
    credential: PathBuf,
    pin: String,
    port: u16,
}

impl Operator {
    /// `lamchat box …` from outside of the machine.
    fn command(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_lamchat"))
            .args([
                "--server",
                &format!("https://127.0.0.1:{}", self.port),
                "--pin",
                &self.pin,
            ])
            .arg("--credential")
            .arg(&self.credential)
            .arg("box")
            .args(arguments)
            .arg("--json")
            .output()
            .unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn site(&self) -> Editable {
        let shown = self.command(&["show"]).unwrap();
        serde_json::from_value(shown.get("site").unwrap().clone()).unwrap()
    }

    fn change(&self, network: &str) -> Value {
        let mut site = self.site();
        site.network = parse_network(network).unwrap();
        let file: &Path = &self.folder.path().join("site.toml");
        std::fs::write(file, toml::to_string(&site).unwrap()).unwrap();
        self.command(&["set", file.to_str().unwrap()]).unwrap()
    }

    fn is_cut_off(&self) -> bool {
        let since = Instant::now();
        while since.elapsed() < SEEN {
            // QEMU takes the connection itself; the box says nothing, and the command gives up late. So it is not asked.
            if crate::client::get(self.port, "/", None).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        false
    }

    fn until_there(&self, longest: Duration) {
        let since = Instant::now();
        while crate::client::get(self.port, "/_lamchat/admin/v1/health", None).is_err() {
            assert!(since.elapsed() < longest, "the box does not answer");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn start(disk: &Disk) -> (VirtualMachine, u16) {
    let (network, port) = forwarded(8449);
    (VirtualMachine::start(disk, &["-nic", &network]), port)
}

#[test]
fn a_network_that_cuts_the_operator_off_goes_back_by_itself() {
    let disk = Disk::blank();
    let (mut machine, port) = start(&disk);
    let key = set_up(&mut machine, "dhcp");
    let folder = tempfile::tempdir().unwrap();
    let (credential, pin) = credential(&mut machine, folder.path());
    let mut operator = Operator {
        folder,
        credential,
        pin,
        port,
    };
    let version = operator.site().version;
    let nobody = operator.command(&["confirm"]).unwrap_err();
    assert!(nobody.contains("no change of the network waits"), "{nobody}");

    let answer = operator.change("10.9.9.9/24");
    let changed = Instant::now();
    assert!(
        answer.get("confirm_within_s").and_then(Value::as_u64).is_some(),
        "{answer}"
    );
    assert!(operator.is_cut_off(), "the old address answers");
    operator.until_there(Duration::from_secs(180));
    let back = changed.elapsed();
    println!("the old network is back after {back:?}");
    assert!(
        (Duration::from_secs(100)..Duration::from_secs(180)).contains(&back),
        "{back:?}"
    );
    assert_eq!(operator.site().version, version);

    // The power goes while the wrong network is tried.
    operator.change("10.9.9.9/24");
    assert!(operator.is_cut_off(), "the old address answers");
    drop(machine);
    (machine, operator.port) = start(&disk);
    unlock(&mut machine, &key);
    operator.until_there(SEEN);
    assert_eq!(operator.site().network.to_string(), "dhcp");
    assert_eq!(operator.site().version, version);

    // One that whoever changed it still reaches, and confirms.
    operator.change("10.0.2.15/24 10.0.2.2");
    std::thread::sleep(Duration::from_secs(5));
    operator.until_there(SEEN);
    operator.command(&["confirm"]).unwrap();
    drop(machine);
    (machine, operator.port) = start(&disk);
    unlock(&mut machine, &key);
    operator.until_there(SEEN);
    let site = operator.site();
    assert_eq!(
        (site.network.to_string().as_str(), site.version),
        ("10.0.2.15/24 10.0.2.2", version + 1)
    );
    shut_down(&mut machine);
}
