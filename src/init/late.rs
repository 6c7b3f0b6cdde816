//! Acts of operators' that the exchange could not note: kept on the disk before they are done, and handed over when it
//! answers again. So a box whose exchange does not come up can still be mended by whoever has the PIN or the recovery key,
//! and the audit log has it all the same.
//!
//! What must never happen here: an act that is done and in neither of the two. One may be in the log twice, if the power
//! goes between its entry and the end of its line here.

use super::exchange;
use super::state::{Shared, State};
use lamchat_machine::time;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Acts that wait at most. Whoever needs more lets the exchange answer first.
const ACTS_MAX: usize = 64;
/// Of these, wrong PINs: who knows none must not keep those out who do.
const WRONG_PINS_MAX: usize = 16;
/// Largest file: each act has a short name, a terminal and a version.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What somebody types who has neither PIN nor recovery key.
const WRONG_PIN: &str = "wrong-pin";
/// The one act that is done without being in the audit log, where the data can only be read.
const SAVING: &str = "usb-backup";
/// What the console shows while acts wait.
const WAITING: &str = "the exchange does not answer: what is done here comes into the audit log when it does";

/// An act as the exchange takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Its name without `box.`.
    pub act: String,
    /// The console.
    pub terminal: String,
    /// The version of a release that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was begun, if it is told late; milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What a later release has added, which was left again before it could tell the exchange.
    #[serde(flatten)]
    later: Map<String, Value>,
}

impl Act {
    /// One of now.
    pub fn new(act: &str, terminal: &str) -> Self {
        Self {
            act: act.to_owned(),
            terminal: terminal.to_owned(),
            version: None,
            at_ms: None,
            later: Map::new(),
        }
    }

    /// The same, begun now and told later.
    pub fn late(self) -> Self {
        Self {
            at_ms: Some(time::now_ms()),
            ..self
        }
    }

    /// The same about a release.
    pub fn about(self, version: &str) -> Self {
        Self {
            version: Some(version.to_owned()),
            ..self
        }
    }
}

/// Why an act is not kept, and so not done.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is nowhere to keep it.
    #[error("the data are not open")]
    Closed,
    /// Too many wait.
    #[error("{0} acts wait for the audit log already")]
    Full(usize),
    /// The file.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Its name.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The acts that wait.
#[derive(Debug)]
pub struct Late {
    path: PathBuf,
    /// Held by whoever changes the file.
    changing: Mutex<()>,
    /// Held by whoever hands over: each act once. An exchange that hangs must not keep others from keeping acts.
    handing: Mutex<()>,
}

impl Late {
    /// In the folder of the data.
    pub fn below(folder: &Path) -> Self {
        Self {
            path: folder.join("late-acts"),
            changing: Mutex::default(),
            handing: Mutex::default(),
        }
    }

    /// Keeps one more. Durable on return.
    pub fn keep(&self, act: Act) -> Result<(), KeepError> {
        let _changing = self.changing.lock();
        let mut acts = self.read()?;
        let same = acts.iter().filter(|known| known.act == act.act).count();
        if acts.len() >= ACTS_MAX || (act.act == WRONG_PIN && same >= WRONG_PINS_MAX) {
            return Err(KeepError::Full(acts.len()));
        }
        acts.push(act);
        self.write(&acts)
    }

    /// Keeps one of process 1's own, unless the same waits already: each start would add another.
    pub fn keep_once(&self, act: Act) -> Result<(), KeepError> {
        let waits = {
            let _changing = self.changing.lock();
            let acts = self.read()?;
            acts.iter()
                .any(|known| (&known.act, &known.version) == (&act.act, &act.version))
        };
        if waits { Ok(()) } else { self.keep(act) }
    }

    /// Hands over what waits, the oldest first, until `note` fails. Answers how many were noted; those are not kept on.
    fn hand_over(&self, mut note: impl FnMut(&Act) -> Result<(), String>) -> Result<usize, String> {
        let _handing = self.handing.lock();
        let mut noted = 0;
        while let Some(act) = self.first().map_err(|error| error.to_string())? {
            note(&act)?;
            self.forget_first().map_err(|error| error.to_string())?;
            noted += 1;
        }
        Ok(noted)
    }

    fn first(&self) -> Result<Option<Act>, KeepError> {
        let _changing = self.changing.lock();
        Ok(self.read()?.into_iter().next())
    }

    /// Others are only added behind it.
    fn forget_first(&self) -> Result<(), KeepError> {
        let _changing = self.changing.lock();
        let acts = self.read()?;
        self.write(acts.get(1..).unwrap_or_default())
    }

    fn read(&self) -> Result<Vec<Act>, KeepError> {
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
        }
        serde_json::from_slice(&bytes).map_err(|error| self.failed(error.into()))
    }

    /// The file is replaced as a whole: a power cut leaves the old one or the new one.
    fn write(&self, acts: &[Act]) -> Result<(), KeepError> {
        let written = || {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            if acts.is_empty() {
                std::fs::remove_file(&self.path)?;
            } else {
                let new = self.path.with_extension("new");
                let mut file = File::create(&new)?;
                file.write_all(&serde_json::to_vec(acts)?)?;
                file.sync_all()?;
                std::fs::rename(&new, &self.path)?;
            }
            File::open(folder)?.sync_all()
        };
        written().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: std::io::Error) -> KeepError {
        KeepError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Has an act noted before it is done: in the audit log, or where the exchange does not answer, here. An error means that
/// it is in neither.
pub fn note(shared: &Shared, act: Act) -> Result<(), String> {
    if shared.is_read_only() && act.act == SAVING {
        // Nothing is durable any more, and saving the data must be possible.
        shared
            .log
            .note(&format!("box.{SAVING} on {} cannot be in the audit log", act.terminal));
        return Ok(());
    }
    let noted = if matches!(shared.state(), State::Starting | State::Repairing | State::Degraded) {
        // One that hangs would hold the operator up for minutes; whoever watches it hands the act over.
        Err("the exchange does not answer".to_owned())
    } else {
        // What waits comes before it.
        hand_over(shared).and_then(|()| exchange::note_act(&act))
    };
    let Err(why) = noted else { return Ok(()) };
    // The configuration is read from the data.
    let kept = if shared.site.lock().is_none() {
        Err(KeepError::Closed)
    } else {
        shared.late.keep(act.clone().late())
    };
    kept.map_err(|error| format!("{why}. Nor can it be kept for later: {error}"))?;
    shared
        .log
        .note(&format!("box.{} on {} is noted later: {why}", act.act, act.terminal));
    shared.forget_notice(WAITING);
    shared.notice(WAITING);
    Ok(())
}

/// Hands over what waits, if anything does. The exchange answers.
pub fn hand_over(shared: &Shared) -> Result<(), String> {
    if shared.site.lock().is_none() {
        return Ok(());
    }
    let noted = shared.late.hand_over(exchange::note_act)?;
    if noted > 0 {
        shared.forget_notice(WAITING);
        shared
            .log
            .note(&format!("{noted} acts of before are in the audit log now"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(act: &str, at_ms: u64) -> Act {
        Act {
            at_ms: Some(at_ms),
            ..Act::new(act, "ttyS0")
        }
    }

    #[test]
    fn what_is_noted_at_each_start_waits_once() {
        let folder = tempfile::tempdir().unwrap();
        let late = Late::below(folder.path());
        for version in ["5 instead of 6", "5 instead of 6", "5 instead of 7"] {
            let act = Act::new("former-configuration", "process 1").about(version);
            late.keep_once(act.late()).unwrap();
        }
        assert_eq!(late.read().unwrap().len(), 2);
    }

    #[test]
    fn what_is_kept_is_handed_over_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let acts = [at("network", 1), at("usb-update", 2).about("0.2.0"), at("restart", 3)];
        for act in &acts {
            // As after a restart in between.
            Late::below(folder.path()).keep(act.clone()).unwrap();
        }
        let late = Late::below(folder.path());
        let mut noted = Vec::new();
        let stopped = late.hand_over(|act| {
            if noted.len() == 1 {
                return Err("it is gone again".to_owned());
            }
            noted.push(act.clone());
            Ok(())
        });
        assert_eq!(stopped.unwrap_err(), "it is gone again");
        let rest = Late::below(folder.path()).hand_over(|act| {
            noted.push(act.clone());
            Ok(())
        });
        assert_eq!((rest.unwrap(), noted.as_slice()), (2, &acts[..]));
        assert_eq!(late.hand_over(|_| Err("nothing is left".to_owned())), Ok(0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// By a release that was left again: with a member that this one does not know, and an act.
    #[test]
    fn acts_of_a_later_release_are_handed_over_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let kept = r#"[{"act":"network","terminal":"ttyS0","at_ms":1,"reason":"x"},{"act":"door","terminal":"tty1","at_ms":2,"floor":3}]"#;
        std::fs::write(folder.path().join("late-acts"), kept).unwrap();
        let late = Late::below(folder.path());
        late.keep(at("restart", 3)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("late-acts")).unwrap();
        assert!(text.starts_with(kept.trim_end_matches(']')), "{text}");
        let mut noted = Vec::new();
        let handed = late.hand_over(|act| {
            noted.push(serde_json::to_string(act).unwrap());
            Ok(())
        });
        assert_eq!(handed, Ok(3));
        assert_eq!(format!("[{}]", noted.get(..2).unwrap().join(",")), kept);
    }

    #[test]
    fn wrong_pins_keep_nobody_out_and_the_file_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let late = Late::below(folder.path());
        for number in 0..WRONG_PINS_MAX as u64 {
            late.keep(at(WRONG_PIN, number)).unwrap();
        }
        assert!(matches!(late.keep(at(WRONG_PIN, 99)), Err(KeepError::Full(_))));
        for number in WRONG_PINS_MAX..ACTS_MAX {
            late.keep(at("network", number as u64)).unwrap();
        }
        assert!(matches!(late.keep(at("network", 99)), Err(KeepError::Full(ACTS_MAX))));
        let bytes = std::fs::metadata(folder.path().join("late-acts")).unwrap().len();
        assert!(bytes * 3 < FILE_BYTES_MAX, "{bytes}");
        assert_eq!(late.hand_over(|_| Ok(())), Ok(ACTS_MAX));
    }

    #[test]
    fn an_exchange_that_hangs_keeps_nobody_from_keeping() {
        let folder = tempfile::tempdir().unwrap();
        let late = Late::below(folder.path());
        late.keep(at("network", 1)).unwrap();
        let mut noted = Vec::new();
        let handed = late.hand_over(|act| {
            noted.push(act.clone());
            if noted.len() == 1 {
                late.keep(at("restart", 2)).unwrap();
            }
            Ok(())
        });
        assert_eq!((handed, noted), (Ok(2), vec![at("network", 1), at("restart", 2)]));
    }

    #[test]
    fn what_cannot_be_kept_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let late = Late::below(&folder.path().join("nowhere"));
        assert!(matches!(late.keep(at("network", 1)), Err(KeepError::Io { .. })));
        std::fs::write(folder.path().join("late-acts"), "[{\"act\":").unwrap();
        let late = Late::below(folder.path());
        assert!(matches!(late.keep(at("network", 1)), Err(KeepError::Io { .. })));
        assert!(late.hand_over(|_| Ok(())).is_err());
    }
}
