//! Disks: whether they answer, their errors, and whether what they keep for later is lost with the power.
//! (Their temperatures come from hwmon: the drivers `nvme` and `drivetemp`.)

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// The most disks.
const DISKS_MAX: usize = 256;

/// A reading for each disk that is hardware.
pub fn read(sys: &Root) -> Vec<Reading> {
    let controllers = sys.folders("class/nvme").into_iter().take(DISKS_MAX);
    let controllers = controllers.filter_map(|controller| nvme(&controller));
    let disks = sys.folders("class/block").into_iter().take(DISKS_MAX);
    controllers.chain(disks.filter_map(|disk| block(&disk))).collect()
}

/// Linux, drivers/nvme/host/core.c, nvme_sysfs_show_state: new, live, resetting, connecting, deleting, dead.
fn nvme(controller: &Root) -> Option<Reading> {
    let state = controller.text("state")?;
    let model = controller.text("model").unwrap_or_default();
    let reading = Reading::new(Part::Disk, controller.name(), model.clone());
    Some(match state.as_str() {
        "live" => reading,
        "dead" | "deleting" | "deleting (no IO)" => reading.worse(
            State::Failed,
            format!("{model}: the disk does not answer any more ({state})"),
        ),
        _ => reading.worse(State::Warning, format!("{model}: the disk is {state}")),
    })
}

/// A whole disk. Partitions, and what is made of other disks, have no device of their own.
fn block(disk: &Root) -> Option<Reading> {
    if disk.has("partition") || !disk.has("device") || disk.number::<u64>("size").unwrap_or(0) == 0 {
        return None;
    }
    let name = disk.name();
    if name.starts_with("sr") || name.starts_with("fd") {
        return None;
    }
    let model = disk.text("device/model").unwrap_or_default();
    // Linux, Documentation/ABI/stable/sysfs-block, queue/write_cache: "write back" says that the device has a cache that
    // has to be flushed.
    let cache = match disk.text("queue/write_cache").as_deref() {
        Some("write back") => "its write cache must be flushed",
        Some("write through") => "what it acknowledged is kept",
        _ => "it tells nothing of its write cache",
    };
    let sentence = if model.is_empty() {
        cache.to_owned()
    } else {
        format!("{model}: {cache}")
    };
    let mut reading = Reading::new(Part::Disk, name.clone(), sentence);
    // Linux, drivers/scsi/scsi_sysfs.c: states of a SCSI (and so of a SATA) device.
    if let Some(state) = disk.text("device/state").filter(|_| name.starts_with("sd")) {
        match state.as_str() {
            "running" | "created" => {}
            "offline" | "transport-offline" | "deleted" | "cancel" => {
                reading = reading.worse(
                    State::Failed,
                    format!("{model}: the disk does not answer any more ({state})"),
                );
            }
            _ => reading = reading.worse(State::Warning, format!("{model}: the disk is {state}")),
        }
    }
    // In hexadecimal: how many requests ended in an error.
    let errors = disk.text("device/ioerr_cnt");
    let errors = errors.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    if let Some(errors) = errors.filter(|_| name.starts_with("sd")) {
        reading = reading.value(errors as f64, Unit::Count);
    }
    Some(reading)
}

#[cfg(test)]
mod tests {
    use super::{State, read};
    use crate::health::testing::tree;

    #[test]
    fn disks_that_answer_and_that_do_not() {
        let folder = tree(&[
            ("class/nvme/nvme0/state", "live\n"),
            ("class/nvme/nvme0/model", "SAMSUNG MZ   \n"),
            ("class/nvme/nvme1/state", "dead\n"),
            ("class/nvme/nvme2/state", "resetting\n"),
            ("class/block/sda/size", "1000"),
            ("class/block/sda/device/state", "running"),
            ("class/block/sda/device/model", "ST4000"),
            ("class/block/sda/device/ioerr_cnt", "0x1f"),
            ("class/block/sda/queue/write_cache", "write back\n"),
            ("class/block/sda1/partition", "1"),
            ("class/block/sda1/size", "100"),
            ("class/block/sdb/size", "1000"),
            ("class/block/sdb/device/state", "offline"),
            ("class/block/loop0/size", "1000"),
            ("class/block/sr0/size", "1000"),
            ("class/block/sr0/device/state", "running"),
            ("class/block/sdc/size", "0"),
            ("class/block/sdc/device/state", "running"),
        ]);
        let said: Vec<_> = read(&folder.root)
            .iter()
            .map(|reading| (reading.to_string(), reading.state))
            .collect();
        let expected = [
            ("nvme0: SAMSUNG MZ", State::Well),
            ("nvme1: : the disk does not answer any more (dead)", State::Failed),
            ("nvme2: : the disk is resetting", State::Warning),
            ("sda: 31 : ST4000: its write cache must be flushed", State::Well),
            ("sdb: : the disk does not answer any more (offline)", State::Failed),
        ];
        assert_eq!(said, expected.map(|(line, state)| (line.to_owned(), state)));
    }
}
