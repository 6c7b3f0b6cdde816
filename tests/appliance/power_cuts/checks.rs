//! What has to hold after a cut: on the disk as it is, and at the box that was started from it.

use super::life::{Life, On};
use crate::client::get;
use crate::update::slot;
use lamchat_machine::gpt::{self, Partition};
use lamchat_machine::two_copies::{self, KEYRING, RECORD};
use lamchat_slots::{FileDevice, Slot, Slots};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// Messages that are asked for at once.
const PAGE: usize = 100;
/// What no log of a box may have that lost its power.
const ALARMS: [&str; 5] = [
    "EXT4-fs error",
    "I/O error",
    "older than",
    "another one than",
    "panicked",
];

/// A partition as a file of its own.
fn partition(disk: &File, of: &Partition) -> File {
    let mut bytes = vec![0; usize::try_from(of.length).unwrap()];
    disk.read_exact_at(&mut bytes, of.offset).unwrap();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file
}

/// The disks without the box: what is started is whole, and so are the keyring and the record of the set-up.
pub fn disk(life: &Life) {
    for drive in life.drives() {
        let path = drive.disk().path();
        let (file, partitions) = (File::open(path).unwrap(), gpt::read(path).unwrap());
        let of = |label: &str| partitions.iter().find(|partition| partition.label == label).unwrap();
        let keyring = partition(&file, of("lamchat-keyring"));
        for thing in [&KEYRING, &RECORD] {
            assert!(
                two_copies::read(&keyring, thing).unwrap().is_some(),
                "{thing:?} is gone"
            );
        }
        let mut slots = Slots::open(FileDevice::new(partition(&file, of("lamchat-esp"))).unwrap()).unwrap();
        let entries = slots.list().unwrap();
        let mut first = entries.iter().filter(|entry| entry.name.slot == Slot::A);
        assert!(
            first.next().is_some_and(|entry| entry.name.tries.is_none()),
            "the fallback is gone: {entries:?}"
        );
        let second = entries.iter().filter(|entry| entry.name.slot == Slot::B).count();
        assert!(second <= 1 && (second == 1 || !life.updated), "{entries:?}");
    }
}

/// The box: answers its status of updates.
pub fn all(life: &Life, on: &mut On) -> Result<Value, String> {
    messages(life, on)?;
    let status = life.far(on, &["update", "status"])?;
    let good = slot(&status, "a").get("good") == Some(&Value::Bool(true));
    assert!(good, "{status}");
    let users = life.far(on, &["user", "list"])?.to_string();
    for account in &life.accounts {
        assert!(users.contains(&format!("@{account}:")), "{account} is gone: {users}");
    }
    log(life, on)?;
    // Neither disk was away: nothing that both had may make one of them less than the other.
    assert!(
        !on.machine.shown().contains("MIRROR DEGRADED"),
        "a disk was left behind:\n{}",
        on.machine.shown()
    );
    Ok(status)
}

/// Each acknowledged message is there once, in the order of its sender, and says what was sent.
pub fn messages(life: &Life, on: &On) -> Result<(), String> {
    let wanted: HashMap<&str, &str> = life.said.wanted().iter().map(|(id, body)| (&**id, &**body)).collect();
    let (mut missing, mut from) = (wanted.len(), None::<String>);
    let mut found: Vec<(String, String)> = Vec::new();
    while missing > 0 || found.is_empty() {
        let from_here = from.as_ref().map_or(String::new(), |from| format!("&from={from}"));
        let target = format!(
            "/_matrix/client/v3/rooms/{}/messages?dir=b&limit={PAGE}{from_here}",
            life.room
        );
        let (status, page) = get(on.clients, &target, Some(&life.token)).map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("/messages: {status} {page}"));
        }
        let chunk = page.get("chunk").and_then(Value::as_array).unwrap();
        for event in chunk {
            let of = |pointer: &str| {
                event
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (id, body) = (of("/event_id"), of("/content/body"));
            if let Some(said) = wanted.get(id.as_str()) {
                assert_eq!(body, *said, "{id} says something else");
                missing -= 1;
            }
            if body.starts_with("message ") {
                found.push((id, body));
            }
        }
        from = page.get("end").and_then(Value::as_str).map(str::to_owned);
        if from.is_none() {
            break;
        }
    }
    assert_eq!(missing, 0, "acknowledged messages are gone; found {found:?}");
    // From the newest to the oldest: each sender's numbers fall, so none is there twice.
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (_, body) in &found {
        let mut words = body.split(' ').skip(1);
        let number: u64 = words.next().unwrap().parse().unwrap();
        let talker = words.last().unwrap();
        if let Some(later) = last.insert(talker, number) {
            assert!(number < later, "{body} comes after number {later}");
        }
    }
    Ok(())
}

/// Neither the box nor the kernel complains.
fn log(life: &Life, on: &mut On) -> Result<(), String> {
    for key in ["7", "8"] {
        let before = on.machine.shown().len();
        let cut = || "the power was cut".to_owned();
        life.choose(on, key).ok_or_else(cut)?;
        life.answer(on, "Press Enter", "").ok_or_else(cut)?;
        let shown = on.machine.shown().get(before..).unwrap().to_owned();
        for alarm in ALARMS {
            assert!(!shown.contains(alarm), "{shown}");
        }
    }
    Ok(())
}

/// An export of the audit log verifies, and goes on from the one before.
pub fn audit(life: &mut Life, on: &On) -> Result<(), String> {
    life.exports += 1;
    let file = life.folder.path().join(format!("audit-{}", life.exports));
    life.far(on, &["audit", "export", file.to_str().unwrap()])?;
    let mut verify = Command::new(env!("CARGO_BIN_EXE_lamchat"));
    verify.args(["audit", "verify"]).arg(&file);
    if let Some(before) = &life.exported {
        verify.arg("--previous").arg(before);
    }
    let output = verify.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    life.exported = Some(file);
    Ok(())
}
