//! What the parts of process 1 know in common.

use super::DATA;
use super::disk::Found;
use super::former::Former;
use super::late::Late;
use super::log::Log;
use super::release::Release;
use super::trouble::Trouble;
use super::update::Booted;
use lamchat_appliance::site::Site;
use lamchat_hardware::Reading;
use lamchat_machine::power::End;
use lamchat_machine::signals::Ended;
use lamchat_machine::uevent::Uevent;
use nix::sys::signal::Signal;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Events that may wait for the main loop.
const EVENTS_MAX: usize = 1024;
/// How long the exchange may take to its first answer before operators are let to what may mend it.
const FIRST_ANSWER: Duration = Duration::from_secs(60);

/// Where the box is. Each state has its own deadline for the watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Devices are found and the exchange starts.
    Starting,
    /// The exchange works on the whole database before it can answer, and tells how far it has got.
    Repairing,
    /// It waits for somebody to choose the disk that it is installed on.
    Install,
    /// It waits for somebody to set it up.
    SetUp,
    /// It waits for the recovery key, or for the TPM's PIN.
    Locked,
    /// The exchange answers.
    Serving,
    /// The exchange is to answer and does not.
    Degraded,
    /// The data can only be read, and nothing is served: it waits for somebody to save them.
    ReadOnly,
    /// It is being switched off.
    Stopping,
}

impl State {
    /// In a line.
    fn sentence(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Repairing => "repairing: the data are worked on before the exchange answers",
            Self::Install => "the installer: nothing is on a disk yet",
            Self::SetUp => "not set up yet",
            Self::Locked => "LOCKED: the recovery key is needed",
            Self::Serving => "serving",
            Self::Degraded => "NOT SERVING: the exchange does not answer",
            Self::ReadOnly => "READ-ONLY: the disk had errors, nothing is served",
            Self::Stopping => "stopping",
        }
    }
}

/// What the main loop hears.
#[derive(Debug)]
pub enum Event {
    /// A signal came.
    Signal(Signal),
    /// A device came or went; `None`: some such news were lost.
    Device(Option<Uevent>),
    /// The power button was pressed.
    PowerButton,
    /// The exchange says something: lines of sd_notify(3).
    Notice(String),
    /// The exchange was asked how it is.
    Health(Health),
    /// The operator set the box up or changed it.
    Configured(Box<Site>, SyncSender<Result<(), String>>),
    /// The key holder is to run, with the keyring on these partitions: of each disk one.
    Keys(Vec<PathBuf>),
    /// The key holder is to end; told when it has.
    StopKeys(SyncSender<()>),
    /// The exchange is to end, for its data can only be read; told when it has.
    StopExchange(SyncSender<()>),
    /// The data are there.
    Opened,
    /// The operator still reaches the box after a change of the network.
    Confirmed,
    /// The operator ends the run.
    End(End),
}

/// How the exchange is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers; a sentence about its keys.
    Running {
        /// How the keys are kept.
        keys: String,
        /// More lines for the screen.
        more: More,
    },
    /// It waits for the recovery key, or for the TPM's PIN.
    Locked {
        /// Why.
        why: String,
        /// Whether the TPM's PIN would do.
        pin: bool,
    },
    /// It does not answer, and why.
    Silent(String),
}

/// What the exchange tells besides, as the screen shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// Peers.
    pub peers: String,
    /// The certificates, as far as they end: the first that does.
    pub certificate: String,
    /// The last backup.
    pub backup: String,
    /// Whether the release is not marked good yet.
    pub on_trial: bool,
    /// What is not well, the worst first; the hardware, which has a line of its own, left out.
    pub alarms: Vec<Trouble>,
}

/// What the status screen shows.
#[derive(Debug, Clone)]
pub struct Status {
    /// Where the box is.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Since when the exchange is to answer: the data are there.
    pub exchange_since: Option<Instant>,
    /// What it said last that it does, while it repairs.
    pub work: Option<String>,
    /// How the exchange is, as far as it was asked.
    pub health: Option<Health>,
    /// The interfaces and their addresses.
    pub addresses: Vec<String>,
    /// What somebody should look after.
    pub notices: Vec<String>,
    /// What of the hardware is not well, the worst first; `None` before it was asked.
    pub hardware: Option<Vec<Trouble>>,
    /// Why the network is not as configured.
    pub network: Option<String>,
    /// Until when a change of the network must be confirmed.
    pub trial: Option<Instant>,
    /// Whether there is no disk that could be started from; a notice says why.
    pub has_no_disk: bool,
    /// Whether the data can only be read; a notice says why.
    pub is_read_only: bool,
    /// Whether the disk's record is not what this box wrote.
    pub is_foreign: bool,
    /// Whether the data are on two disks that hold the same.
    pub is_mirror: bool,
    /// What the hardware watchdog is called.
    pub watchdog: Option<String>,
    /// From whom the time is, where servers are configured.
    pub time: Option<String>,
}

impl Status {
    /// Where the box is, in a line.
    pub fn sentence(&self) -> &'static str {
        if self.asks_for_pin() {
            "WAITING FOR ITS TPM PIN: nothing is open before"
        } else {
            self.state.sentence()
        }
    }

    /// Whether the start waits for the TPM's PIN.
    pub fn asks_for_pin(&self) -> bool {
        self.state == State::Locked && matches!(self.health, Some(Health::Locked { pin: true, .. }))
    }

    /// Whether operators reach the configuration: the exchange answers, or it does not and what is done now may mend it.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Serving | State::Degraded => true,
            State::Starting | State::Repairing => {
                self.exchange_since.is_some_and(|since| since.elapsed() >= FIRST_ANSWER)
            }
            State::Install | State::SetUp | State::Locked | State::ReadOnly | State::Stopping => false,
        }
    }
}

/// What all threads share.
pub struct Shared {
    /// The image.
    pub release: Release,
    /// Recent lines.
    pub log: std::sync::Arc<Log>,
    /// What is shown.
    pub status: Mutex<Status>,
    /// The disk, once it was found.
    pub disk: Mutex<Option<Found>>,
    /// Held by whoever changes which disks mirror each other.
    pub mirror_work: Mutex<()>,
    /// How they are, once it is known.
    pub mirror: Mutex<Option<Reading>>,
    /// It is in another state than before.
    pub mirror_changed: Condvar,
    /// Whether the key holder was started.
    pub has_keys: AtomicBool,
    /// The box's configuration, once it is there and readable.
    pub site: Mutex<Option<Site>>,
    /// Which version of it is in effect, where that is not the newest.
    pub former: Mutex<Option<Former>>,
    /// Held by the console that sets the box up or unlocks it: one at a time.
    pub operator: Mutex<()>,
    /// Wrong PINs, over all consoles.
    pub guesses: Mutex<super::console::Guesses>,
    /// What operators did while the exchange could not note it.
    pub late: Late,
    /// The processes that work on updates.
    pub updaters: Mutex<HashSet<i32>>,
    /// The process that asks for the time.
    pub timekeeper: Mutex<Option<i32>>,
    /// The process that marks the release as good, and who waits for its exit code.
    pub marking: Mutex<Option<(i32, SyncSender<i32>)>>,
    /// Whether the release was marked good since the start.
    pub is_good: AtomicBool,
    /// Whether time servers have told the time since the start.
    pub knows_time: AtomicBool,
    /// The processes that work for a console, and what they are called.
    helpers: Mutex<HashMap<i32, &'static str>>,
    /// Where the release that runs came from, once somebody asked.
    pub booted: OnceLock<Booted>,
    events: SyncSender<Event>,
    receiver: Mutex<Option<Receiver<Event>>>,
}

impl Shared {
    /// Of a machine that has just started.
    pub fn new(release: Release) -> Self {
        let (events, receiver) = sync_channel(EVENTS_MAX);
        Self {
            release,
            log: std::sync::Arc::default(),
            status: Mutex::new(Status {
                state: State::Starting,
                since: Instant::now(),
                exchange_since: None,
                work: None,
                health: None,
                addresses: Vec::new(),
                notices: Vec::new(),
                hardware: None,
                network: None,
                trial: None,
                has_no_disk: false,
                is_read_only: false,
                is_foreign: false,
                is_mirror: false,
                watchdog: None,
                time: None,
            }),
            disk: Mutex::new(None),
            mirror_work: Mutex::new(()),
            mirror: Mutex::new(None),
            mirror_changed: Condvar::new(),
            has_keys: AtomicBool::new(false),
            site: Mutex::new(None),
            former: Mutex::new(None),
            operator: Mutex::new(()),
            guesses: Mutex::default(),
            late: Late::below(Path::new(DATA)),
            updaters: Mutex::default(),
            timekeeper: Mutex::default(),
            marking: Mutex::default(),
            is_good: AtomicBool::new(false),
            knows_time: AtomicBool::new(false),
            helpers: Mutex::default(),
            booted: OnceLock::new(),
            events,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Tells the main loop. It ends only with the machine, so nobody can be left behind.
    pub fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            self.log.keep("init", "the main loop has ended");
        }
    }

    /// The main loop's end of the channel, once.
    pub fn take_receiver(&self) -> Option<Receiver<Event>> {
        self.receiver.lock().take()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.status.lock().state
    }

    /// Changes the state, and says so in the log.
    pub fn enter(&self, state: State) {
        let mut status = self.status.lock();
        if status.state != state {
            status.state = state;
            status.since = Instant::now();
            let sentence = status.sentence();
            drop(status);
            self.log.note(&format!("state: {sentence}"));
        }
    }

    /// Shows something that somebody should look after, and logs it.
    pub fn notice(&self, text: &str) {
        self.status.lock().notices.push(text.to_owned());
        self.log.note(text);
    }

    /// It is as it should be again.
    pub fn forget_notice(&self, text: &str) {
        self.status.lock().notices.retain(|known| known != text);
    }

    /// The data can only be read from here on, and why.
    pub fn only_read(&self, why: &str) {
        self.status.lock().is_read_only = true;
        self.notice(why);
    }

    /// Whether that is so.
    pub fn is_read_only(&self) -> bool {
        self.status.lock().is_read_only
    }

    /// Starts a process that works for a console.
    pub fn start_helper(&self, name: &'static str, command: &mut Command) -> std::io::Result<Child> {
        // Under the lock, so that the main loop does not reap it before it is known.
        let mut helpers = self.helpers.lock();
        let child = command.spawn()?;
        helpers.insert(i32::try_from(child.id()).map_err(std::io::Error::other)?, name);
        Ok(child)
    }

    /// The name of such a process that has ended.
    pub fn helper_ended(&self, pid: i32) -> Option<&'static str> {
        self.helpers.lock().remove(&pid)
    }

    /// Whether such a process is still there.
    pub fn helper_runs(&self, child: &Child) -> bool {
        i32::try_from(child.id()).is_ok_and(|pid| self.helpers.lock().contains_key(&pid))
    }

    /// Tells how a process ended.
    pub fn note_end(&self, what: &str, ended: Ended) {
        self.log.note(&format!("{what} (process {}) {ended}", ended.pid));
    }
}
