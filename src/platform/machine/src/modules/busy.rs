//! Modules that the kernel refused with EBUSY: what they drive is held by somebody else.
//!
//! Some of it passes: another driver has a Super-I/O chip's ports for the time of a probe, or a module of the same name is
//! just going (Linux, kernel/module/main.c). The rest stays: the firmware keeps ports to itself (ACPI,
//! `acpi_check_resource_conflict`), another driver has the device or its number (`request_region`, `misc_register`,
//! `driver_register`), another one reports memory errors already (`edac_get_owner`). So each is tried a few times and then
//! given up, and both are told: it may be the watchdog or a sensor that the operator counts on.

use std::time::{Duration, Instant};

/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// Tries beside the first.
const AGAIN_MAX: u32 = 3;

/// One that is tried again.
#[derive(Debug)]
struct Refused {
    name: String,
    /// How often it was tried again.
    again: u32,
    due: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Busy(Vec<Refused>);

impl Busy {
    /// Which are to be tried now.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for one in self.0.iter_mut().filter(|one| one.again < AGAIN_MAX && one.due <= now) {
            one.again += 1;
            one.due = now + PAUSE;
            due.push(one.name.clone());
        }
        due
    }

    /// Takes note of a refusal; what is to be told of it, if anything is.
    pub fn refused(&mut self, name: &str, now: Instant) -> Option<String> {
        match self.0.iter().find(|one| one.name == name) {
            None => {
                self.0.push(Refused {
                    name: name.to_owned(),
                    again: 0,
                    due: now + PAUSE,
                });
                Some(format!(
                    "module {name}: another driver or the firmware holds what it drives (EBUSY). It is tried again"
                ))
            }
            Some(one) if one.again >= AGAIN_MAX => Some(format!(
                "module {name}: what it drives is still held after {AGAIN_MAX} more tries (EBUSY). It is given up until the \
                 next start"
            )),
            Some(_) => None,
        }
    }

    /// It is loaded; whether it had been refused.
    pub fn is_over(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|one| one.name != name);
        before != self.0.len()
    }
}
