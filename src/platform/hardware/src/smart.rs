//! What disks tell of their own wear and faults. Pure: whoever may send commands to disks hands in what they answered.

use crate::health::{Part, Reading, State, Unit};

/// Bytes of NVMe's log page 02h.
pub const NVME_LOG_BYTES: usize = 512;

/// "SMART / Health Information" (NVM Express Base Specification 2.0, log page 02h). Multi-byte numbers are little-endian.
pub fn nvme(name: &str, log: &[u8; NVME_LOG_BYTES]) -> Vec<Reading> {
    let [warnings, _, _, spare, spare_threshold, used, ..] = *log;
    // "Percentage Used … may exceed 100"; at 100 the disk's estimated endurance is used up.
    let mut wear = Reading::new(Part::Disk, format!("{name} wear"), "of its endurance is used")
        .value(f64::from(used), Unit::Percent);
    wear.limit = Some(100.0);
    if used >= 100 {
        wear = wear.worse(State::Warning, "its estimated endurance is used up: replace it");
    }
    // "Critical Warning", bit by bit.
    for (bit, state, sentence) in [
        (0, State::Warning, "its spare blocks run out: replace it"),
        (1, State::Warning, "its temperature is outside of its limits"),
        (2, State::Failed, "it says that it is not reliable any more: replace it"),
        (3, State::Failed, "it has made itself read-only: replace it"),
        (
            4,
            State::Failed,
            "the backup of its volatile memory has failed: a power cut loses what it acknowledged",
        ),
        (
            5,
            State::Failed,
            "its persistent memory region is not reliable any more",
        ),
    ] {
        if warnings & 1 << bit != 0 {
            wear = wear.worse(state, sentence);
        }
    }
    let mut spare =
        Reading::new(Part::Disk, format!("{name} spare blocks"), "are left").value(f64::from(spare), Unit::Percent);
    spare.limit = Some(f64::from(spare_threshold));
    let count = |place: usize| {
        log.get(place..)
            .and_then(<[u8]>::first_chunk::<16>)
            .map_or(0, |bytes| u128::from_le_bytes(*bytes))
    };
    let mut errors = Reading::new(Part::Disk, format!("{name} media errors"), "").value(count(160) as f64, Unit::Count);
    if count(160) > 0 {
        errors = errors.worse(State::Warning, "data could not be read back as they were written");
    }
    vec![wear, spare, errors]
}

/// "SMART RETURN STATUS" of an ATA disk (ATA8-ACS 7.52.9): its middle and upper bytes of the block address are 4Fh and C2h,
/// or F4h and 2Ch once a threshold was passed. `None`: it answers neither, so it tells nothing.
pub fn ata(name: &str, middle: u8, upper: u8) -> Option<Reading> {
    let reading = Reading::new(Part::Disk, format!("{name} self-assessment"), "it passes");
    match (middle, upper) {
        (0x4f, 0xc2) => Some(reading),
        (0xf4, 0x2c) => Some(reading.worse(State::Failed, "it expects to fail soon: replace it")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::{NVME_LOG_BYTES, ata, nvme};

    fn lines(log: &[u8; NVME_LOG_BYTES]) -> Vec<String> {
        let readings = nvme("nvme0", log);
        readings
            .iter()
            .map(|reading| format!("{} {reading}", reading.state.word()))
            .collect()
    }

    #[test]
    fn an_nvme_disk_tells_its_wear() {
        let mut log = [0; NVME_LOG_BYTES];
        (log[3], log[4], log[5]) = (100, 10, 3);
        assert_eq!(
            lines(&log),
            [
                "well nvme0 wear: 3 % (limit 100): of its endurance is used",
                "well nvme0 spare blocks: 100 % (limit 10): are left",
                "well nvme0 media errors: 0 ",
            ]
        );
        log[5] = 120;
        assert_eq!(
            lines(&log)[0],
            "warning nvme0 wear: 120 % (limit 100): its estimated endurance is used up: replace it"
        );
        (log[0], log[160]) = (0b1001, 2);
        assert_eq!(
            lines(&log)[0],
            "failed nvme0 wear: 120 % (limit 100): it has made itself read-only: replace it"
        );
        assert_eq!(
            lines(&log)[2],
            "warning nvme0 media errors: 2 : data could not be read back as they were written"
        );
    }

    #[test]
    fn an_ata_disk_says_whether_it_fails() {
        let line =
            |middle, upper| ata("sda", middle, upper).map(|reading| format!("{} {reading}", reading.state.word()));
        assert_eq!(line(0x4f, 0xc2).as_deref(), Some("well sda self-assessment: it passes"));
        assert_eq!(
            line(0xf4, 0x2c).as_deref(),
            Some("failed sda self-assessment: it expects to fail soon: replace it")
        );
        assert_eq!(line(0, 0), None);
    }
}
