//! Disks on the USB bus, as the kernel's tree of devices shows them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Bytes of a block in /sys: Documentation/ABI/stable/sysfs-block, `size`: "in units of 512 bytes".
const BLOCK: u64 = 512;
/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 40;

/// A disk on the USB bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbDisk {
    /// Its device, such as /dev/sdb.
    pub device: PathBuf,
    /// What its maker calls it.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// The disks on the USB bus with something in them that nothing of this machine uses: not mounted by another device that is
/// made of them (dm-crypt, a mirror). `sys` is /sys.
pub fn disks(sys: &Path) -> Vec<UsbDisk> {
    let names = std::fs::read_dir(sys.join("block")).into_iter().flatten().flatten();
    let mut found: Vec<UsbDisk> = names.filter_map(|entry| look(&entry.path())).collect();
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

fn look(block: &Path) -> Option<UsbDisk> {
    // /sys/block/sdb leads to /sys/devices/pci…/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb.
    let at = std::fs::canonicalize(block).ok()?;
    let is_usb = at.ancestors().skip(1).any(|folder| {
        let bus = std::fs::read_link(folder.join("subsystem"));
        bus.is_ok_and(|bus| bus.file_name() == Some(OsStr::new("usb")))
    });
    if !is_usb || is_held(&at) {
        return None;
    }
    let bytes = text(&at.join("size")).parse::<u64>().ok()?.checked_mul(BLOCK)?;
    let name = at.file_name()?;
    let words = [text(&at.join("device/vendor")), text(&at.join("device/model"))];
    (bytes > 0).then(|| UsbDisk {
        device: Path::new("/dev").join(name),
        name: words.join(" ").trim().chars().take(NAME_CHARS_MAX).collect(),
        bytes,
    })
}

/// Whether another device is made of it or of one of its partitions: `holders` is not empty.
fn is_held(block: &Path) -> bool {
    let own = std::fs::read_dir(block).into_iter().flatten().flatten();
    let partitions = own
        .map(|entry| entry.path())
        .filter(|path| path.join("partition").exists());
    std::iter::once(block.to_owned()).chain(partitions).any(|path| {
        let holders = std::fs::read_dir(path.join("holders"));
        holders.is_ok_and(|mut holders| holders.next().is_some())
    })
}

fn text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::symlink;

    /// A disk at a bus, as the kernel lays it out.
    fn add(sys: &Path, name: &str, bus: &str, size: &str) -> PathBuf {
        let bridge = sys.join(format!("devices/pci0/{bus}-{name}"));
        let block = bridge.join("host/target/block").join(name);
        std::fs::create_dir_all(block.join("holders")).unwrap();
        std::fs::create_dir_all(block.join(format!("{name}1/holders"))).unwrap();
        std::fs::create_dir_all(sys.join("bus").join(bus)).unwrap();
        symlink(sys.join("bus").join(bus), bridge.join("subsystem")).unwrap();
        std::fs::create_dir_all(block.join("device")).unwrap();
        std::fs::write(block.join(format!("{name}1/partition")), "1\n").unwrap();
        std::fs::write(block.join("size"), size).unwrap();
        std::fs::write(block.join("device/vendor"), "Maker   \n").unwrap();
        std::fs::write(block.join("device/model"), "Stick\x1b[2J 3.0\n").unwrap();
        std::fs::create_dir_all(sys.join("block")).unwrap();
        symlink(&block, sys.join("block").join(name)).unwrap();
        block
    }

    #[test]
    fn only_free_disks_on_the_usb_bus_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        assert_eq!(disks(sys), []);
        add(sys, "sda", "pci", "1000\n");
        add(sys, "sdb", "usb", "2048\n");
        add(sys, "sdc", "usb", "0\n");
        let held = add(sys, "sdd", "usb", "2048\n");
        std::fs::create_dir(held.join("sdd1/holders/dm-0")).unwrap();
        let held = add(sys, "sde", "usb", "2048\n");
        std::fs::create_dir(held.join("holders/dm-1")).unwrap();
        let found = disks(sys);
        let expected = UsbDisk {
            device: PathBuf::from("/dev/sdb"),
            name: "Maker Stick[2J 3.0".to_owned(),
            bytes: 1 << 20,
        };
        assert_eq!(found, [expected]);
    }
}
