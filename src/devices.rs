//! What disks, management controllers and power supplies tell to commands, for which it takes root: on the box process 1 asks, elsewhere
//! `lamchat health --here`.

use lamchat_hardware::{BmcSurveyor, Part, Reading, ReportKind, State};
use lamchat_machine::disk_health;
use lamchat_machine::hid::{self, Hid};
use lamchat_machine::ipmi::{self, Controller};
use std::collections::BTreeMap;
use std::io;

/// Remembers what need not be asked twice.
#[derive(Debug, Default)]
pub struct Devices {
    controllers: BTreeMap<String, (Controller, BmcSurveyor)>,
}

impl Devices {
    /// Asks all that are there. Blocks: a controller has six seconds for an answer, and is left after the first it owes.
    pub fn survey(&mut self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (name, path) in ipmi::find() {
            match self.controller(&name, &path) {
                Ok((controller, surveyor)) => {
                    let mut ask = |function: u8, command: u8, data: &[u8]| controller.ask(function, command, data);
                    readings.extend(surveyor.survey(&mut ask));
                }
                Err(error) => readings.push(trouble(Part::Controller, &name, &error)),
            }
        }
        for (name, path) in disk_health::nvme_disks() {
            match disk_health::nvme_log(&path) {
                Ok(log) => readings.extend(lamchat_hardware::nvme(&name, &log)),
                Err(error) => readings.push(trouble(Part::Disk, &name, &error)),
            }
        }
        for (name, path) in disk_health::scsi_disks() {
            // What is no ATA disk refuses, or does not understand: a USB stick, a disk behind a RAID controller.
            if let Ok(Some((middle, upper))) = disk_health::ata_status(&path) {
                readings.extend(lamchat_hardware::ata(&name, middle, upper));
            }
        }
        for device in hid::find() {
            if lamchat_hardware::is_ups(&device.descriptor) {
                match supply(&device) {
                    Ok(reading) => readings.extend(reading),
                    Err(error) => readings.push(trouble(Part::Power, &format!("UPS {}", device.name), &error)),
                }
            }
        }
        readings
    }

    fn controller(&mut self, name: &str, path: &std::path::Path) -> io::Result<&mut (Controller, BmcSurveyor)> {
        if !self.controllers.contains_key(name) {
            let opened = (Controller::open(path)?, BmcSurveyor::new(name));
            self.controllers.insert(name.to_owned(), opened);
        }
        self.controllers
            .get_mut(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// How an uninterruptible supply is.
fn supply(device: &Hid) -> io::Result<Option<Reading>> {
    let file = hid::open(&device.path)?;
    let mut ask = |kind, number, bytes| {
        let kind = match kind {
            ReportKind::Feature => hid::Report::Feature,
            ReportKind::Input => hid::Report::Input,
        };
        hid::report(&file, kind, number, bytes)
    };
    lamchat_hardware::ups(&device.name, &device.descriptor, &mut ask)
}

fn trouble(part: Part, name: &str, error: &io::Error) -> Reading {
    let sentence = match error.kind() {
        io::ErrorKind::PermissionDenied => "it takes root to ask it".to_owned(),
        _ => format!("it could not be asked: {error}"),
    };
    Reading::new(part, format!("{name} health"), "").worse(State::Warning, sentence)
}
