//! A box with firmware and a TPM that lives through power cuts.

use super::checks;
use super::drive::{Drive, Trigger};
use super::file_system;
use super::work::{self, Said, Work};
use crate::client::request;
use crate::firmware::Board;
use crate::mirror::{DISKS, expect_alarm};
use crate::opening::good_disk;
use crate::restart::{log_in, text};
use crate::set_up::{PIN, set_up, shut_down};
use crate::slots::mark_good;
use crate::update::{credential, network, try_far};
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use lamchat_disk::simulation::Dice;
use lamchat_slots::Slot;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the box works before the power is cut if nothing else cuts it.
const WORK_MAX: Duration = Duration::from_secs(40);
/// A start makes about this many flushes; a cut during one comes before.
const FLUSHES_OF_START: u64 = 60;
/// How long firmware and kernel may take to the first screen, and how often that is tried: on a machine with too much to do
/// the emulator's timers come too late for the kernel, which gives up or hangs. What the disk has would be there each time.
const FIRST_SCREEN_MAX: Duration = Duration::from_secs(180);
const FIRST_SCREENS: usize = 3;
/// On every screen of the box's.
const RULE: &str = "----------";
/// How often an export of the audit log is verified, in starts.
const AUDIT_EVERY: u64 = 8;

/// The box and all that it has acknowledged.
pub struct Life {
    pub drive: Drive,
    /// The other half of a mirror.
    pub other: Option<Drive>,
    pub board: Board,
    pub token: String,
    pub room: String,
    /// The credential's file, and the server's fingerprint.
    pub known: (PathBuf, String),
    /// The recovery key that was typed back last.
    pub recovery: String,
    pub said: Said,
    /// Accounts that were made for sure.
    pub accounts: Vec<String>,
    /// How many exports of the audit log were begun, and the last that was verified.
    pub exports: u64,
    pub exported: Option<PathBuf>,
    pub cuts: u64,
    pub starts: u64,
    /// Whether the second slot was acknowledged to have the next release.
    pub updated: bool,
    pub folder: tempfile::TempDir,
}

/// A box that is switched on, and this machine's ports that lead to it.
pub struct On {
    pub machine: VirtualMachine,
    pub clients: u16,
    pub administration: u16,
}

impl Life {
    /// Sets a box up and lets it make what the checks need.
    pub fn begin(dice: &mut Dice) -> Self {
        Self::begin_on(Drive::new(good_disk(), dice.roll()), None)
    }

    /// The same on two disks.
    pub fn begin_as_mirror(dice: &mut Dice) -> Self {
        let [first, second] = DISKS.map(Disk::grown);
        for disk in [&first, &second] {
            mark_good(disk, Slot::A);
        }
        let drive = Drive::new(first, dice.roll());
        let other = drive.beside(second, dice.roll());
        Self::begin_on(drive, Some(other))
    }

    fn begin_on(drive: Drive, other: Option<Drive>) -> Self {
        let board = Board::owned(uki().parent().unwrap());
        let mut on = switch_on_with(&drive, other.as_ref(), &board);
        let recovery = set_up(&mut on.machine, "dhcp");
        println!("set up after {:?}: {:?}", on.machine.age(), drive.counts());
        let folder = tempfile::tempdir().unwrap();
        let known = credential(&mut on.machine, folder.path());
        let token = log_in(on.clients);
        let wanted = json!({"preset": "private_chat"});
        let made = request(
            on.clients,
            "POST",
            "/_matrix/client/v3/createRoom",
            Some(&token),
            Some(&wanted),
        );
        let room = text(&made.unwrap().1, "room_id");
        println!("ready after {:?}: {:?}", on.machine.age(), drive.counts());
        let life = Self {
            drive,
            other,
            board,
            token,
            room,
            known,
            recovery,
            said: Said::default(),
            accounts: vec!["alice".to_owned()],
            exports: 0,
            exported: None,
            cuts: 0,
            starts: 0,
            updated: false,
            folder,
        };
        life.drive.cut();
        drop(on);
        life
    }

    /// One start, its checks, some work, and a cut somewhere in all of that.
    pub fn round(&mut self, dice: &mut Dice) {
        let during_start = dice.below(5) == 0;
        self.round_of(dice, during_start, None);
    }

    /// One start, its checks, messages, and a cut while they come.
    pub fn round_of_messages(&mut self, dice: &mut Dice) {
        self.round_of(dice, false, Some(Work::Talk));
    }

    fn round_of(&mut self, dice: &mut Dice, during_start: bool, work: Option<Work>) {
        if during_start {
            self.armed(dice).arm(trigger(dice, FLUSHES_OF_START));
        }
        let Some(mut on) = self.start() else {
            return self.after_cut("the start");
        };
        let Some(status) = self.check(&mut on) else {
            drop(on);
            return self.after_cut("the checks");
        };
        let (flushes, writes) = self.drive.counts();
        // The disks of a mirror follow each other after an update, which is a test of its own (`mirror_update`).
        let may_update = status.get("running") == Some(&Value::from("0.1.0")) && self.other.is_none();
        let work = work.unwrap_or_else(|| Work::choose(dice, may_update));
        if !during_start {
            self.armed(dice).arm(trigger(dice, work.flushes()));
        }
        let was_off = work::run(self, &mut on, work, WORK_MAX.max(work.time()));
        let (flushes, writes) = (self.drive.counts().0 - flushes, self.drive.counts().1 - writes);
        let name = format!("{work:?} ({flushes} flushes, {writes} writes)");
        if was_off && !self.drive.is_cut() {
            // The update restarts the machine; the cut comes during the start that follows, or a later one.
            println!("restarted: {name}");
            return;
        }
        println!("{}", self.drive.cut());
        drop(on);
        self.after_cut(&name);
    }

    /// The disk whose flushes are counted.
    fn armed(&self, dice: &mut Dice) -> &Drive {
        match &self.other {
            Some(other) if dice.below(2) == 0 => other,
            _ => &self.drive,
        }
    }

    /// All of its disks.
    pub fn drives(&self) -> impl Iterator<Item = &Drive> {
        [&self.drive].into_iter().chain(&self.other)
    }

    /// Switches the box on; `None`: the power was cut before it served.
    pub fn start(&mut self) -> Option<On> {
        self.starts += 1;
        let mut on = switch_on_with(&self.drive, self.other.as_ref(), &self.board);
        let drive = self.drive.clone();
        let states = ["New administrator", "Unlock with the recovery key", "Set up this box"];
        match on.machine.expect_any(&states, &|| drive.is_cut()) {
            Some(0) => {}
            None if drive.is_cut() => {
                println!("{}", drive.cut());
                return None;
            }
            other => panic!("the box does not serve ({other:?}):\n{}", on.machine.shown()),
        }
        println!("start {}: serving after {:?}", self.starts, on.machine.age());
        Some(on)
    }

    /// Everything acknowledged is there; `None`: the power was cut meanwhile.
    pub fn check(&mut self, on: &mut On) -> Option<Value> {
        let mut result = checks::all(self, on);
        if result.is_ok() && self.starts.is_multiple_of(AUDIT_EVERY) {
            result = checks::audit(self, on).and(result);
        }
        match result {
            Ok(status) => {
                self.said.seen();
                Some(status)
            }
            Err(_) if self.drive.is_cut() => {
                println!("{}", self.drive.cut());
                None
            }
            Err(error) => panic!("{error}\n{}", on.machine.shown()),
        }
    }

    pub fn after_cut(&mut self, during: &str) {
        for drive in self.drives() {
            drive.disarm();
        }
        if let Some(other) = &self.other {
            println!("the other disk: {}", other.cut());
        }
        self.cuts += 1;
        println!("cut {} during {during}", self.cuts);
        checks::disk(self);
    }

    /// The last start of the machine as it was: everything is there, and the end is a clean one.
    fn shut_down_with_everything(&mut self) {
        file_system::check(self);
        let mut on = self.start().unwrap();
        self.said.check_everything();
        self.check(&mut on).unwrap();
        checks::audit(self, &on).unwrap();
        shut_down(&mut on.machine);
    }

    /// The last start: everything is there, and the disk opens elsewhere by the recovery key that was acknowledged last.
    pub fn end(mut self) {
        self.shut_down_with_everything();
        self.board.exchange_tpm();
        let mut on = switch_on(&self.drive, &self.board);
        on.machine.choose("Unlock with the recovery key", "1", None);
        on.machine.answer("Recovery key: ", &self.recovery);
        on.machine.answer("type yes", "yes");
        on.machine.answer("Press Enter", "");
        on.machine.expect("New administrator");
        self.said.check_everything();
        checks::all(&self, &mut on).unwrap();
        println!("{} cuts in {} starts; {}", self.cuts, self.starts, self.said);
    }

    /// The last start of a mirror: everything is there on both of its disks, and on the second one alone.
    pub fn end_as_mirror(mut self) {
        self.shut_down_with_everything();
        for drive in self.drives() {
            drive.settle();
        }
        let second = self.other.take().unwrap();
        let differ = file_system::different_sectors(&self.drive, &second);
        println!("after a clean stop {differ} sectors of the halves differ");
        assert_eq!(differ, 0, "what was read of one half is not on the other");
        let mut on = switch_on(&second, &self.board);
        expect_alarm(&mut on.machine, "the second alone, after the cuts");
        self.said.check_everything();
        checks::messages(&self, &on).unwrap();
        println!(
            "{} cuts of a mirror in {} starts; {}",
            self.cuts, self.starts, self.said
        );
    }

    /// A command from outside the box; why it did nothing.
    pub fn far(&self, on: &On, arguments: &[&str]) -> Result<Value, String> {
        let output = try_far(on.administration, &self.known, arguments);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // Not every command has something to tell.
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Chooses from the console's menu with the PIN; `None`: the power was cut.
    pub fn choose(&self, on: &mut On, key: &str) -> Option<()> {
        // Draws the status anew, so that what is expected was not there before.
        on.machine.type_text(key);
        self.answer(on, "PIN: ", PIN).map(drop)
    }

    /// Answers a question of the console's; what it showed before.
    pub fn answer(&self, on: &mut On, question: &str, answer: &str) -> Option<()> {
        on.machine.expect_any(&[question], &|| self.drive.is_cut())?;
        on.machine.type_text(&format!("{answer}\r"));
        Some(())
    }
}

/// A cut after some of `flushes`: as a flush comes and everything since the one before is in question, close behind a
/// flush, or anywhere.
pub fn trigger(dice: &mut Dice, flushes: u64) -> Trigger {
    let after = dice.below(flushes);
    let writes = match dice.below(4) {
        0 | 1 => u64::MAX,
        2 => dice.below(4),
        _ => dice.below(200),
    };
    Trigger { flushes: after, writes }
}

/// Switches a box on, with firmware and TPM, until it shows something or the power is cut.
pub fn switch_on(drive: &Drive, board: &Board) -> On {
    switch_on_with(drive, None, board)
}

/// The same with the other half of a mirror, if there is one.
pub fn switch_on_with(drive: &Drive, other: Option<&Drive>, board: &Board) -> On {
    for _ in 0..FIRST_SCREENS {
        let mut on = start(drive, other, board);
        let until = Instant::now() + FIRST_SCREEN_MAX;
        while Instant::now() < until && !on.machine.is_off() && !drive.is_cut() {
            on.machine.read();
            if on.machine.shown().contains(RULE) {
                return on;
            }
        }
        if drive.is_cut() {
            return on;
        }
        println!("no screen, and no cut:\n{}", on.machine.shown());
    }
    panic!("the box does not come to its first screen");
}

fn start(drive: &Drive, other: Option<&Drive>, board: &Board) -> On {
    let (network, clients, administration) = network();
    let machine = match other {
        None => VirtualMachine::start_from(board, &drive.plug(), &["-nic", &network]),
        Some(other) => {
            let [first, second] = drive.plug_both(other);
            VirtualMachine::start_from(board, &first, &["-drive", &second, "-nic", &network])
        }
    };
    On {
        machine,
        clients,
        administration,
    }
}
