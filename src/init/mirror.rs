//! Looks after the two disks that hold the same, in a thread of its own: what fails or goes is told within seconds, and
//! written down, so that a later start does not take it for whole.

use super::boot_order;
use super::disk::{self, DiskError, Found, Member};
use super::record::Stage;
use super::state::{Shared, State};
use lamchat_hardware::{Part, Reading, State as Condition, Unit};
use lamchat_installer::{Disk, Refusal};
use lamchat_machine::mirror::{HalfState, MirrorStatus};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a disk may owe a few bytes. Drivers try again for about as long before they give it up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Looks in a row at which dm-raid says that a half has everything. It says so also for a moment before it begins.
const SETTLED: u32 = 3;
/// Bytes that a disk is asked for.
const PROBE_BYTES: usize = 4096;

/// A question to a disk that may never be answered.
struct Probe {
    answer: Receiver<Result<(), String>>,
    since: Instant,
}

/// Never ends.
pub fn watch(shared: &Arc<Shared>) {
    let (mut probes, mut told, mut settled) = (HashMap::new(), String::new(), 0);
    loop {
        std::thread::sleep(INTERVAL);
        // Not while a disk is added, which changes what is looked at.
        let Some(_work) = shared.mirror_work.try_lock() else {
            continue;
        };
        let Some(mut found) = shared.disk.lock().clone().filter(|found| found.mirror.is_some()) else {
            continue;
        };
        // It is not open yet, or closed already.
        let Ok(status) = disk::array() else { continue };
        if shared.state() == State::Stopping {
            continue;
        }
        if let Err(error) = keep_up(&mut found, &status, &mut settled) {
            shared.log.note(&format!("the mirror: {error}"));
        }
        let silent = found.members.iter().find_map(|member| ask(member, &mut probes));
        let reading = describe(&found, &status, silent.as_deref());
        shared.status.lock().is_mirror = true;
        tell(shared, &reading, &mut told);
        publish(shared, reading);
        // After everything was told: this waits for what the lost half still owes.
        if found.members.len() == 1
            && !status.halves.contains(&HalfState::Absent)
            && let Err(error) = found.let_go()
        {
            shared.log.note(&format!("the mirror keeps the lost half: {error}"));
        }
        *shared.disk.lock() = Some(found);
    }
}

/// Whoever shows it elsewhere is woken when it changes for better or worse.
fn publish(shared: &Shared, reading: Reading) {
    let mut known = shared.mirror.lock();
    let is_news = known.as_ref().map(|known| known.state) != Some(reading.state);
    *known = Some(reading);
    if is_news {
        shared.mirror_changed.notify_all();
    }
}

/// Shows what is not well, and takes it back when it is.
fn tell(shared: &Shared, reading: &Reading, told: &mut String) {
    let sentence = match reading.state {
        Condition::Well => String::new(),
        // The hundredths change; the notice does not.
        Condition::Warning => "the mirror is being filled".to_owned(),
        Condition::Failed => format!("MIRROR DEGRADED: {}", reading.sentence),
    };
    if sentence != *told {
        shared.forget_notice(told);
        if sentence.is_empty() {
            shared.log.note(&format!("the mirror is whole: {}", reading.sentence));
        } else {
            shared.notice(&sentence);
        }
        *told = sentence;
    }
}

/// Writes down what dm-raid and the kernel know.
fn keep_up(found: &mut Found, status: &MirrorStatus, settled: &mut u32) -> Result<(), DiskError> {
    let Some(mirror) = found.mirror.clone() else {
        return Ok(());
    };
    for (position, (ids, state)) in mirror.members.iter().zip(&status.halves).enumerate() {
        let Some(member) = found.members.iter().find(|member| member.ids == *ids) else {
            continue;
        };
        match state {
            _ if !member.is_there() => found.lose(position)?,
            HalfState::Failed | HalfState::Absent => found.lose(position)?,
            HalfState::Whole if member.stage == Stage::Filling => {
                let is_settled = status.is_idle && status.alike.0 == status.alike.1;
                *settled = if is_settled { *settled + 1 } else { 0 };
                if *settled >= SETTLED {
                    found.mark(position, Stage::Done)?;
                }
            }
            HalfState::Whole => {}
            // One that was away for a moment: dm-raid gives it what it missed.
            HalfState::Filling => {
                *settled = 0;
                found.mark(position, Stage::Filling)?;
            }
        }
    }
    found.follow_keyring()
}

/// Asks a disk for a few bytes; why it is not well.
fn ask(member: &Member, probes: &mut HashMap<PathBuf, Probe>) -> Option<String> {
    let why = match probes
        .get(&member.keyring)
        .map(|probe| (probe.answer.try_recv(), probe.since))
    {
        Some((Err(TryRecvError::Empty), since)) if since.elapsed() > SILENCE_MAX => {
            return Some(format!("{} does not answer", member.name()));
        }
        Some((Err(TryRecvError::Empty), _)) => return None,
        Some((Ok(Err(error)), _)) => Some(format!("{}: {error}", member.name())),
        Some((Ok(Ok(())) | Err(TryRecvError::Disconnected), _)) | None => None,
    };
    let (sender, answer) = channel();
    let device = member.keyring.clone();
    // Of its own: what a dead disk owes may take minutes.
    let started = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // Nobody may wait for it any more.
        drop(sender.send(probe(&device).map_err(|error| error.to_string())));
    });
    match started {
        Ok(_) => {
            let since = Instant::now();
            probes.insert(member.keyring.clone(), Probe { answer, since });
            why
        }
        Err(error) => Some(error.to_string()),
    }
}

fn probe(device: &Path) -> std::io::Result<()> {
    let file = File::open(device)?;
    // From the disk and not from memory.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    file.read_exact_at(&mut [0; PROBE_BYTES], 0)
}

/// The mirror for people, for `lamchat health` and for metrics.
fn describe(found: &Found, status: &MirrorStatus, silent: Option<&str>) -> Reading {
    let missing = 2usize.saturating_sub(found.members.len());
    let reading = Reading::new(Part::Mirror, "disks", format!("{} hold the same", found.names()));
    let mut reading = reading.value(missing as f64, Unit::Count);
    if let Some(filling) = found.members.iter().find(|member| member.stage == Stage::Filling) {
        let (done, all) = status.alike;
        let done = done.saturating_mul(100).checked_div(all).unwrap_or(0);
        reading = reading.worse(
            Condition::Warning,
            format!("{} is being filled, {done} %", filling.name()),
        );
    }
    if missing > 0 {
        let mut sentence = format!("{} is alone; a further failure loses everything", found.names());
        for left in &found.left {
            sentence.push_str(&format!(
                "; {} misses something and is not used until it is added again",
                left.name()
            ));
        }
        reading = reading.worse(Condition::Failed, sentence);
    } else if let Some(silent) = silent {
        reading = reading.worse(Condition::Failed, silent.to_owned());
    }
    reading
}

/// How it is, for whoever asks from a distance.
pub fn tell_far(shared: &Shared) -> Value {
    let found = shared.disk.lock().clone();
    let Some(found) = found.filter(|found| found.mirror.is_some()) else {
        return json!({"mirror": null});
    };
    let disks: Vec<&str> = found.members.iter().map(Member::name).collect();
    let others: Vec<Value> = candidates(&found)
        .into_iter()
        .map(|disk| {
            let why = disk.refusal.map(|refusal| refusal.to_string());
            json!({"name": disk.name, "model": disk.model, "bytes": disk.bytes, "content": disk.content, "refused": why})
        })
        .collect();
    let reading = shared.mirror.lock().clone();
    json!({"mirror": {"reading": reading, "disks": disks, "others": others}})
}

/// Makes a disk the other half; `progress` is told hundredths.
pub fn add(shared: &Shared, name: &str, progress: &mut dyn FnMut(u64)) -> Result<(), String> {
    let Some(_work) = shared.mirror_work.try_lock_for(INTERVAL) else {
        return Err("a disk is being added already".to_owned());
    };
    let found = shared.disk.lock().clone();
    let mut found = found.ok_or_else(|| DiskError::Absent.to_string())?;
    let candidates = candidates(&found);
    let disk = candidates.iter().find(|disk| disk.name == name);
    let disk = disk.ok_or_else(|| format!("there is no disk {name} that could be added"))?;
    if let Some(refusal) = disk.refusal {
        return Err(format!("{name} cannot be taken: {refusal}"));
    }
    shared.log.note(&format!("{name} is added to the mirror"));
    let added = found.add(&disk.path, progress).map_err(|error| error.to_string());
    found.left.retain(|left| left.disk != disk.path);
    boot_order::keep(shared, &found);
    *shared.disk.lock() = Some(found);
    added
}

/// The disks that could become a half: none of the box's own.
pub fn candidates(found: &Found) -> Vec<Disk> {
    let mut all = lamchat_machine::gpt::disks();
    all.retain(|disk| !found.members.iter().any(|member| member.disk == *disk));
    let mut all = lamchat_installer::list(&all, Path::new("/sys/block"), None);
    for disk in &mut all {
        // Small is what is smaller than the other half, and that is looked at when it is added.
        disk.refusal = disk.refusal.filter(|refusal| *refusal != Refusal::Small);
    }
    all
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn member(name: &str, stage: Stage) -> Member {
        Member::named(Path::new(name), stage)
    }

    #[test]
    fn what_is_not_whole_is_told() {
        let status = MirrorStatus {
            halves: [HalfState::Whole, HalfState::Filling],
            alike: (1, 4),
            is_idle: false,
        };
        let said = |members: Vec<Member>, left: &[&str], silent: Option<&str>| {
            let left = left.iter().map(|name| member(name, Stage::Done)).collect();
            let found = Found::of_test(members, left);
            let reading = describe(&found, &status, silent);
            (reading.state, reading.sentence)
        };
        let (a, b) = (member("/dev/sda", Stage::Done), member("/dev/sdb", Stage::Done));
        let both = || vec![a.clone(), b.clone()];
        assert_eq!(
            said(both(), &[], None),
            (Condition::Well, "sda and sdb hold the same".to_owned())
        );
        assert_eq!(said(both(), &[], Some("sdb: Input/output error")).0, Condition::Failed);
        let filling = vec![a.clone(), member("/dev/sdc", Stage::Filling)];
        assert_eq!(
            said(filling, &[], None),
            (Condition::Warning, "sdc is being filled, 25 %".to_owned())
        );
        let (state, sentence) = said(vec![a], &["/dev/sdb"], None);
        assert_eq!(state, Condition::Failed);
        assert!(
            sentence.starts_with("sda is alone") && sentence.contains("sdb misses something"),
            "{sentence}"
        );
    }

    #[test]
    fn a_disk_that_does_not_answer_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = member("/dev/sdx", Stage::Done);
        disk.keyring = folder.path().join("keyring");
        std::fs::write(&disk.keyring, vec![0; PROBE_BYTES]).unwrap();
        let mut probes = HashMap::new();
        let answered = |disk: &Member, probes: &mut HashMap<PathBuf, Probe>| {
            let before = ask(disk, probes);
            std::thread::sleep(Duration::from_millis(200));
            before
        };
        assert_eq!(answered(&disk, &mut probes), None);
        std::fs::remove_file(&disk.keyring).unwrap();
        assert_eq!(answered(&disk, &mut probes), None, "the answer of before");
        assert!(ask(&disk, &mut probes).unwrap().starts_with("sdx: "));
        // One that owes an answer.
        let (_sender, answer) = channel();
        let since = Instant::now().checked_sub(SILENCE_MAX * 2).unwrap();
        probes.insert(disk.keyring.clone(), Probe { answer, since });
        assert_eq!(ask(&disk, &mut probes).unwrap(), "sdx does not answer");
    }
}
