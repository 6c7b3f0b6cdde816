//! A disk whose power can be cut: what was not flushed is kept in parts, in no order.

mod cache;
mod tests;

pub use cache::{Loss, Trigger};

use super::nbd::{self, Device};
use crate::virtual_machine::Disk;
use cache::{CACHE_BYTES_LEFT, CACHE_BYTES_MAX, Cache, SECTOR, Write, sectors};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

impl Device for Drive {
    fn length(&self) -> u64 {
        self.state().length
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let state = self.state();
        state.medium.read_exact_at(buffer, offset)?;
        // Disks count in sectors, and so does the kernel.
        if !offset.is_multiple_of(SECTOR as u64) || !buffer.len().is_multiple_of(SECTOR) {
            return Err(ErrorKind::InvalidInput.into());
        }
        for (sector, place) in (offset / SECTOR as u64..).zip(buffer.chunks_mut(SECTOR)) {
            if let Some(write) = state.newest.get(&sector).and_then(|number| state.waiting.get(*number)) {
                let start = usize::try_from(sector * SECTOR as u64 - write.offset).unwrap();
                place.copy_from_slice(write.bytes.get(start..start + SECTOR).unwrap());
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> Result<()> {
        if !offset.is_multiple_of(SECTOR as u64) || !bytes.len().is_multiple_of(SECTOR) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut state = self.state();
        let at = Instant::now();
        let (number, write) = (state.waiting.len(), Write { offset, bytes, at });
        for sector in sectors(&write) {
            state.newest.insert(sector, number);
        }
        state.waiting_bytes += write.bytes.len();
        state.waiting.push(write);
        state.writes += 1;
        if state.count(false) {
            self.power.switch(true);
            return Ok(());
        }
        if state.waiting_bytes > CACHE_BYTES_MAX {
            let (mut end, mut bytes) = (0, state.waiting_bytes);
            while bytes > CACHE_BYTES_LEFT {
                bytes -= state.waiting.get(end).unwrap().bytes.len();
                end += 1;
            }
            return state.settle(end);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut state = self.state();
        state.flushes += 1;
        if state.count(true) {
            self.power.switch(true);
            return Ok(());
        }
        state.flush()
    }

    fn is_dead(&self) -> bool {
        // The other disk of a mirror may have taken the power with it.
        if self.power.is_off() {
            self.state().cut();
        }
        self.state().loss.is_some()
    }
}

/// What disks have in common that are in one machine.
#[derive(Default)]
struct Power {
    is_off: Mutex<bool>,
    changed: Condvar,
}

impl Power {
    fn is_off(&self) -> bool {
        *self.is_off.lock().unwrap()
    }

    fn switch(&self, is_off: bool) {
        *self.is_off.lock().unwrap() = is_off;
        self.changed.notify_all();
    }
}

/// The disk.
#[derive(Clone)]
pub struct Drive {
    state: Arc<Mutex<Cache>>,
    power: Arc<Power>,
    folder: Arc<tempfile::TempDir>,
    disk: Arc<Disk>,
}

impl Drive {
    /// One with these contents.
    pub fn new(disk: Disk, seed: u64) -> Self {
        Self::with(disk, seed, Arc::default())
    }

    /// Another one for the same machine: the power is cut for both at the same moment, and each loses its own part.
    pub fn beside(&self, disk: Disk, seed: u64) -> Self {
        Self::with(disk, seed, Arc::clone(&self.power))
    }

    fn with(disk: Disk, seed: u64, power: Arc<Power>) -> Self {
        Self {
            state: Arc::new(Mutex::new(Cache::new(&disk, seed))),
            power,
            folder: Arc::new(tempfile::tempdir().unwrap()),
            disk: Arc::new(disk),
        }
    }

    /// From now on it says that it has flushed, and keeps in its memory what came within this time.
    pub fn lie(&self, age: Duration) {
        self.state().lies = Some(age);
    }

    fn state(&self) -> MutexGuard<'_, Cache> {
        self.state.lock().unwrap()
    }

    /// What is on it for good.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Gives it power, for one machine; QEMU's argument for it.
    pub fn plug(&self) -> String {
        let argument = self.insert();
        self.power.switch(false);
        argument
    }

    /// The same for both disks of a machine.
    pub fn plug_both(&self, other: &Self) -> [String; 2] {
        let arguments = [self.insert(), other.insert()];
        self.power.switch(false);
        arguments
    }

    fn insert(&self) -> String {
        let machine = {
            let mut state = self.state();
            if self.power.is_off() {
                state.cut();
            }
            state.loss = None;
            state.machines += 1;
            state.machines
        };
        let path = self.folder.path().join("disk");
        // Left from an earlier start.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let mut device = self.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            match nbd::serve(&mut stream, &mut device) {
                Ok(()) => {}
                // A machine that was killed.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {}
                Err(error) => panic!("the disk's server: {error}"),
            }
            // A restart of the machine leaves the disk its power.
            let is_off = device.power.is_off();
            let mut state = device.state();
            if state.machines != machine {
                return;
            }
            if is_off {
                state.cut();
            } else if state.loss.is_none() {
                state.settle_all().unwrap();
            }
        });
        format!(
            "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={},cache.direct=on,if=virtio",
            path.display()
        )
    }

    /// A machine that went off by itself has left everything on the medium.
    pub fn settle(&self) {
        self.state().settle_all().unwrap();
    }

    /// Cuts the power by itself then.
    pub fn arm(&self, trigger: Trigger) {
        self.state().trigger = Some(trigger);
    }

    /// The power stays, if it is still there.
    pub fn disarm(&self) {
        self.state().trigger = None;
    }

    /// Flushes and writes so far.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.flushes, state.writes)
    }

    /// Whether the power is off.
    pub fn is_cut(&self) -> bool {
        self.power.is_off()
    }

    /// Waits for the power to be off; whether it is.
    pub fn wait_cut(&self, patience: Duration) -> bool {
        let is_off = self.power.is_off.lock().unwrap();
        *self
            .power
            .changed
            .wait_timeout_while(is_off, patience, |is_off| !*is_off)
            .unwrap()
            .0
    }

    /// Cuts the power, unless it is off already; what that did.
    pub fn cut(&self) -> Loss {
        self.power.switch(true);
        let mut state = self.state();
        state.cut();
        state.loss.unwrap()
    }
}
