//! `modules.named` of the image: modules that no device asks for, and when to load them by name.

use super::normal_name;
use std::path::Path;

/// Most lines.
const LINES_MAX: usize = 256;
/// A watchdog that the kernel drives. `/dev/watchdog0` is one of its watchdog core; `ipmi_watchdog` is none and has this
/// alone (Linux 6.1, drivers/char/ipmi/ipmi_watchdog.c).
const WATCHDOG: &str = "/dev/watchdog";
/// The board's controller.
const CONTROLLER: &str = "/dev/ipmi0";
/// A module that is loaded has a folder here.
const LOADED: &str = "/sys/module";
/// Disks behind the kernel's SCSI layer, of which ATA disks say so in `vendor` (SAT-3, 9.1.4: "ATA").
const DISKS: &str = "/sys/bus/scsi/devices";

/// When a module is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// In any case; a module that looks for its chips itself.
    Always,
    /// Where this module is loaded.
    With(String),
    /// Where there is an ATA disk, whatever it hangs on.
    AtaDisk,
    /// Where there is no watchdog.
    WithoutWatchdog,
    /// Where there is none, but a board's controller.
    IpmiWithoutWatchdog,
}

impl Condition {
    /// As the image spells it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "always" => Self::Always,
            "ata-disk" => Self::AtaDisk,
            "without-watchdog" => Self::WithoutWatchdog,
            "ipmi-without-watchdog" => Self::IpmiWithoutWatchdog,
            _ => Self::With(normal_name(text.strip_prefix("with:").filter(|name| !name.is_empty())?)),
        })
    }

    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::Always => true,
            Self::With(module) => facts.exists(&Path::new(LOADED).join(module)),
            Self::AtaDisk => facts.has_ata_disk(),
            Self::WithoutWatchdog => !facts.exists(Path::new(WATCHDOG)),
            Self::IpmiWithoutWatchdog => facts.exists(Path::new(CONTROLLER)) && Self::WithoutWatchdog.holds(facts),
        }
    }
}

/// What conditions ask about.
pub trait Facts {
    /// Whether something is there.
    fn exists(&self, path: &Path) -> bool;
    /// Whether there is an ATA disk.
    fn has_ata_disk(&self) -> bool;
}

/// This machine.
#[derive(Debug)]
pub(super) struct Here;

impl Facts for Here {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn has_ata_disk(&self) -> bool {
        let devices = std::fs::read_dir(DISKS).into_iter().flatten().flatten();
        let mut vendors = devices.map(|device| std::fs::read_to_string(device.path().join("vendor")));
        vendors.any(|vendor| vendor.is_ok_and(|vendor| vendor.trim() == "ATA"))
    }
}

/// The list, as far as nothing was tried yet.
#[derive(Debug, Default)]
pub struct Named {
    waiting: Vec<(Condition, String)>,
}

impl Named {
    /// Lines `CONDITION MODULE`. One with a condition of a later image's waits for ever.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().take(LINES_MAX);
        let waiting = lines.filter_map(|line| {
            let (condition, module) = line.split_once(' ')?;
            Some((Condition::parse(condition)?, normal_name(module.trim())))
        });
        Self {
            waiting: waiting.collect(),
        }
    }

    /// Loads what is due, in the order of the list; each condition is looked at after all before it were loaded. What was
    /// tried once is not tried again.
    pub fn load(&mut self, facts: &dyn Facts, mut load: impl FnMut(&str)) {
        for (condition, module) in std::mem::take(&mut self.waiting) {
            if condition.holds(facts) {
                load(&module);
            } else {
                self.waiting.push((condition, module));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A machine that is made up.
    #[derive(Debug, Default)]
    struct Fake {
        there: std::cell::RefCell<Vec<PathBuf>>,
        has_disk: bool,
    }

    impl Facts for Fake {
        fn exists(&self, path: &Path) -> bool {
            self.there.borrow().iter().any(|there| there == path)
        }

        fn has_ata_disk(&self) -> bool {
            self.has_disk
        }
    }

    const LIST: &str = "with:mlx4_core mlx4_en\nata-disk drivetemp\nalways nct6775\nalways it87\n\
        ipmi-without-watchdog ipmi_watchdog\nwithout-watchdog w83627hf_wdt\nwithout-watchdog softdog\nlater-one x\nbroken\n";

    /// What is loaded on a machine where these work, and these are there before.
    fn loaded(named: &mut Named, fake: &Fake, works: &[&str]) -> Vec<String> {
        let mut tried = Vec::new();
        named.load(fake, |module| {
            tried.push(module.to_owned());
            if works.contains(&module) {
                fake.there.borrow_mut().push(PathBuf::from(WATCHDOG));
            }
        });
        tried
    }

    #[test]
    fn softdog_is_the_last_resort() {
        let none = || Named::parse(LIST);
        let all = loaded(&mut none(), &Fake::default(), &[]);
        assert_eq!(all, ["nct6775", "it87", "w83627hf_wdt", "softdog"]);
        let found = loaded(&mut none(), &Fake::default(), &["w83627hf_wdt"]);
        assert_eq!(found, ["nct6775", "it87", "w83627hf_wdt"]);
        let controller = || Fake {
            there: vec![PathBuf::from(CONTROLLER)].into(),
            ..Fake::default()
        };
        let found = loaded(&mut none(), &controller(), &["ipmi_watchdog"]);
        assert_eq!(found, ["nct6775", "it87", "ipmi_watchdog"]);
        let found = loaded(&mut none(), &controller(), &[]);
        assert_eq!(found, ["nct6775", "it87", "ipmi_watchdog", "w83627hf_wdt", "softdog"]);
        let announced = Fake {
            there: vec![PathBuf::from(WATCHDOG), PathBuf::from(CONTROLLER)].into(),
            ..Fake::default()
        };
        assert_eq!(loaded(&mut none(), &announced, &[]), ["nct6775", "it87"]);
    }

    #[test]
    fn what_comes_later_is_looked_at_again_and_nothing_is_tried_twice() {
        let mut named = Named::parse(LIST);
        let mut fake = Fake {
            there: vec![PathBuf::from(WATCHDOG)].into(),
            ..Fake::default()
        };
        assert_eq!(loaded(&mut named, &fake, &[]), ["nct6775", "it87"]);
        fake.has_disk = true;
        fake.there.borrow_mut().push(Path::new(LOADED).join("mlx4_core"));
        assert_eq!(loaded(&mut named, &fake, &[]), ["mlx4_en", "drivetemp"]);
        assert!(loaded(&mut named, &fake, &[]).is_empty());
    }

    #[test]
    fn conditions_are_spelt_one_way() {
        assert_eq!(
            Condition::parse("with:i2c-i801"),
            Some(Condition::With("i2c_i801".to_owned()))
        );
        for none in ["", "with:", "With:x", "never"] {
            assert_eq!(Condition::parse(none), None, "{none}");
        }
    }
}
