//! Loading: finit_module(2), with the kernel checking each module's signature.

use super::busy::Busy;
use super::named::{Here, Named};
use super::{Aliases, Dependencies, normal_name};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Largest of the lists, in bytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// How deep folders below /sys/devices are looked through, and how many.
const SYSFS_DEPTH_MAX: usize = 32;
const SYSFS_FOLDERS_MAX: usize = 50_000;

/// Parameters of modules. Watchdog drivers: how long they wait, in seconds (kernel documentation,
/// watchdog/watchdog-parameters). Bonds: only those that are configured, and not one without links at every start
/// (networking/bonding).
const PARAMETERS: [(&str, &CStr); 9] = [
    ("bonding", c"max_bonds=0"),
    ("i6300esb", c"heartbeat=60"),
    ("iTCO_wdt", c"heartbeat=60"),
    ("sp5100_tco", c"heartbeat=60"),
    ("wdat_wdt", c"timeout=60"),
    ("ipmi_watchdog", c"timeout=60"),
    ("w83627hf_wdt", c"timeout=60"),
    ("it87_wdt", c"timeout=60"),
    // Stopped when a board's watchdog relieves it.
    ("softdog", c"soft_margin=60 nowayout=0"),
];

/// Why no module can be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A list of the image's cannot be read.
    #[error("{}: {source}", .path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Who takes modules.
trait Kernel: Debug + Send {
    /// finit_module(2).
    fn insert(&mut self, module: &File, parameters: &CStr) -> Result<(), Errno>;
}

/// This machine's.
#[derive(Debug)]
struct Real;

impl Kernel for Real {
    fn insert(&mut self, module: &File, parameters: &CStr) -> Result<(), Errno> {
        finit_module(module, parameters, ModuleInitFlags::empty())
    }
}

/// The image's modules.
#[derive(Debug)]
pub struct Loader {
    kernel: Box<dyn Kernel>,
    folder: PathBuf,
    aliases: Aliases,
    dependencies: Dependencies,
    wanted: Vec<String>,
    named: Named,
    /// Loaded, or tried in vain: neither is tried again.
    done: HashSet<String>,
    /// Whose hardware was held by somebody else.
    busy: Busy,
    /// Sentences about modules that could not be loaded.
    failures: Vec<String>,
}

impl Loader {
    /// Reads the lists of a folder: `modules.dep`, `modules.alias`, `modules.load`, `modules.named`.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let read = |name: &str| {
            let path = folder.join(name);
            read_list(&path).map_err(|source| OpenError::List { path, source })
        };
        Ok(Self {
            kernel: Box::new(Real),
            folder: folder.to_owned(),
            aliases: Aliases::parse(&read("modules.alias")?),
            dependencies: Dependencies::parse(&read("modules.dep")?),
            wanted: read("modules.load")?.split_whitespace().map(normal_name).collect(),
            named: Named::parse(&read("modules.named")?),
            done: HashSet::new(),
            busy: Busy::default(),
            failures: Vec::new(),
        })
    }

    /// Loads what the image wants in any case.
    pub fn load_wanted(&mut self) {
        for name in std::mem::take(&mut self.wanted) {
            self.load(&name);
        }
    }

    /// Loads what drives a device; answers whether anything was new.
    pub fn load_for(&mut self, device: &str) -> bool {
        let modules: Vec<String> = self.aliases.modules(device).into_iter().map(str::to_owned).collect();
        let mut new = false;
        for module in &modules {
            new |= self.load(module);
        }
        new
    }

    /// Loads what drives the devices that are there.
    pub fn load_for_all(&mut self) {
        let mut devices = Vec::new();
        collect(Path::new("/sys/devices"), &mut devices);
        for device in devices {
            self.load_for(&device);
        }
    }

    /// Loads what no device asks for and is due. Once the devices that are there have their drivers: what asks for a module
    /// of its own comes first, and the kernel's watchdog by software last of all.
    pub fn load_named(&mut self) {
        let mut named = std::mem::take(&mut self.named);
        named.load(&Here, |module| {
            self.load(module);
        });
        self.named = named;
    }

    /// Loads a module and what it needs; answers whether it is newly there.
    pub fn load(&mut self, name: &str) -> bool {
        if self.done.contains(name) || !self.dependencies.has(name) {
            return false;
        }
        let before = self.dependencies.before(name).to_vec();
        before
            .iter()
            .chain([&name.to_owned()])
            .fold(false, |_, name| self.insert(name))
    }

    /// Tries those again whose hardware was held by somebody else, if it is time; answers whether any is newly there.
    pub fn try_busy(&mut self, now: Instant) -> bool {
        let due = self.busy.due(now);
        due.iter().fold(false, |new, name| {
            self.done.remove(name);
            self.insert(name) || new
        })
    }

    /// What went wrong since the last call.
    pub fn take_failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failures)
    }

    fn insert(&mut self, name: &str) -> bool {
        if !self.done.insert(name.to_owned()) {
            return false;
        }
        let path = self.folder.join(format!("{name}.ko"));
        let parameters = PARAMETERS.iter().find(|(module, _)| *module == name);
        let parameters = parameters.map_or(CString::default(), |(_, text)| CString::from(*text));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                self.failures.push(format!("module {name}: {error}"));
                return false;
            }
        };
        match self.kernel.insert(&file, &parameters) {
            Ok(()) => {
                if self.busy.is_over(name) {
                    self.failures.push(format!("module {name}: loaded now"));
                }
                true
            }
            Err(Errno::EEXIST) => false,
            // A driver that finds nothing to drive.
            Err(Errno::ENODEV) => false,
            Err(Errno::EBUSY) => {
                self.failures.extend(self.busy.refused(name, Instant::now()));
                false
            }
            Err(error) => {
                self.failures.push(format!("module {name}: {}", error.desc()));
                false
            }
        }
    }
}

fn read_list(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LIST_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large"));
    }
    std::fs::read_to_string(path)
}

/// The names of all devices below a folder of sysfs.
fn collect(top: &Path, devices: &mut Vec<String>) {
    let mut folders = vec![(top.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        seen += 1;
        if seen > SYSFS_FOLDERS_MAX {
            return;
        }
        if let Ok(name) = std::fs::read_to_string(folder.join("modalias")) {
            devices.push(name.trim().to_owned());
        }
        // Folders come and go meanwhile; one that is gone has nothing to drive.
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            if depth < SYSFS_DEPTH_MAX && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::modules::busy::PAUSE;

    /// Answers so, then well.
    #[derive(Debug)]
    struct Scripted(Vec<Errno>);

    impl Kernel for Scripted {
        fn insert(&mut self, _: &File, _: &CStr) -> Result<(), Errno> {
            self.0.pop().map_or(Ok(()), Err)
        }
    }

    fn loader(answers: &[Errno]) -> (tempfile::TempDir, Loader) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("modules.alias", ""),
            ("modules.dep", "iTCO_wdt:\n"),
            ("modules.load", "iTCO_wdt\n"),
            ("modules.named", ""),
            ("iTCO_wdt.ko", ""),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut loader = Loader::open(folder.path()).unwrap();
        loader.kernel = Box::new(Scripted(answers.to_vec()));
        (folder, loader)
    }

    /// What is told at first and at each of the times after it, and whether the module came then.
    fn course(answers: &[Errno]) -> Vec<(Vec<String>, bool)> {
        let (_folder, mut loader) = loader(answers);
        loader.load_wanted();
        let mut told = vec![(loader.take_failures(), false)];
        let began = Instant::now();
        assert!(!loader.try_busy(began), "it is not time yet");
        for turn in 1..6 {
            let came = loader.try_busy(began + 2 * PAUSE * turn);
            told.push((loader.take_failures(), came));
        }
        told
    }

    #[test]
    fn a_module_whose_hardware_is_held_is_told_and_tried_again() {
        let told = course(&[Errno::EBUSY]);
        let lines: Vec<&str> = told.iter().flat_map(|(lines, _)| lines).map(String::as_str).collect();
        let [first, second] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(first.contains("iTCO_wdt") && first.contains("tried again"), "{first}");
        assert!(second.contains("loaded now"), "{second}");
        assert_eq!(told.iter().filter(|(_, came)| *came).count(), 1);
    }

    #[test]
    fn one_that_stays_held_is_given_up_and_said_to_be() {
        let told = course(&[Errno::EBUSY; 20]);
        let lines: Vec<&str> = told.iter().flat_map(|(lines, _)| lines).map(String::as_str).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.last().unwrap().contains("given up"), "{lines:?}");
        assert!(told.iter().all(|(_, came)| !came));
    }

    #[test]
    fn one_that_finds_nothing_to_drive_is_not_told() {
        assert!(
            course(&[Errno::ENODEV])
                .iter()
                .all(|(lines, came)| lines.is_empty() && !came)
        );
    }

    #[test]
    fn sysfs_is_walked() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b")).unwrap();
        std::fs::write(top.path().join("a/b/modalias"), "pci:v1\n").unwrap();
        std::os::unix::fs::symlink("..", top.path().join("a/b/loop")).unwrap();
        let mut devices = Vec::new();
        super::collect(top.path(), &mut devices);
        assert_eq!(devices, ["pci:v1"]);
    }

    #[test]
    fn a_folder_without_lists_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = super::Loader::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("modules.alias"), "{error}");
    }
}
