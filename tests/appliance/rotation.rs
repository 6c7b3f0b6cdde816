//! The release key of a running box is rotated: at every moment the slot to fall back to opens the keys as well, and in the
//! end nothing counts that the former key alone approved.

use crate::bundles;
use crate::firmware::Board;
use crate::floor::refused;
use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::set_up::shut_down;
use crate::slots::{esp, mark_good, names, put_back, rename};
use crate::update::{far, start, tpm_slot};
use crate::virtual_machine::{Disk, VirtualMachine};
use lamchat_image::ReleaseKey;
use lamchat_slots::Slot;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A bundle of the rotation's: 0.2.0 and 0.3.0 are approved by both keys, 0.4.0 by the new one alone.
fn bundle(name: &str) -> String {
    let Some(folder) = std::env::var_os("LAMCHAT_ROTATED_BUNDLES") else {
        panic!("LAMCHAT_ROTATED_BUNDLES does not name the releases of a rotation: run `tests/run appliance`");
    };
    let (version, _) = name.split_once('-').unwrap_or((name, ""));
    let file = Path::new(&folder).join(version).join(format!("lamchat-{name}.bundle"));
    assert!(file.exists(), "{} is missing", file.display());
    file.display().to_string()
}

/// The number of the `tpm` slot, and the fingerprint of the release key that it is bound to.
fn bound_to(status: &Value) -> (String, String) {
    let slot = tpm_slot(status);
    let key = slot.pointer("/seal/release_key").and_then(Value::as_str).unwrap();
    (slot.get("id").unwrap().to_string(), key.to_owned())
}

/// A box on its way.
struct Rotation {
    disk: Disk,
    board: Board,
    known: (PathBuf, String),
    event: String,
}

impl Rotation {
    /// Starts it; this release has to open the keys by itself, with everything there.
    fn serves(&self, version: &str) -> (VirtualMachine, u16) {
        let (mut machine, clients, port) = start(&self.disk, &self.board);
        machine.expect("New administrator");
        println!("{version} serves by itself after {:?}", machine.age());
        is_there(clients, &self.event);
        let status = self.ask(port, &["update", "status"]);
        assert_eq!(status.get("running"), Some(&version.into()), "{status}");
        (machine, port)
    }

    fn ask(&self, port: u16, arguments: &[&str]) -> Value {
        far(port, &self.known, arguments)
    }

    /// Installs a release and waits until the machine would start with it.
    fn install(&self, mut machine: VirtualMachine, port: u16, name: &str) {
        self.ask(port, &["update", "apply", &bundle(name), "--yes", "--restart"]);
        machine.wait_off();
    }

    /// As if the release on trial had used up its attempts: the one before starts, and opens the keys, too.
    fn falls_back(&self, from: &str, to: &str) {
        let name = names(&self.disk).into_iter().find(|name| name.contains('+')).unwrap();
        let spent = format!("{}+0-3.efi", name.split_once('+').unwrap().0);
        rename(&self.disk, &name, &spent);
        let (mut machine, _) = self.serves(to);
        println!("{from} was left");
        shut_down(&mut machine);
        rename(&self.disk, &spent, &name);
    }

    /// Which bundles this box does not take: one of this key alone.
    fn refuses(&self, port: u16, key: &ReleaseKey, folder: &Path) {
        let file = folder.join("former.bundle");
        std::fs::write(&file, bundles::bundle(key, [0, 9, 0], "lamchat")).unwrap();
        let told = refused(port, &self.known, &["update", "check", file.to_str().unwrap()]);
        assert!(told.contains("not signed by this box's release key"), "{told}");
    }
}

#[test]
fn the_release_key_is_rotated_and_the_other_slot_opens_the_keys_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let keys = PathBuf::from(std::env::var_os("LAMCHAT_IMAGE_KEYS").unwrap());
    let former = ReleaseKey::read(&keys.join("release.key")).unwrap();
    let before = esp(&disk);
    let (mut machine, clients, port) = start(&disk, &board);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let rotation = Rotation {
        disk,
        board,
        known,
        event,
    };
    // A box of before does not know the new key.
    for name in ["0.3.0", "0.4.0"] {
        let told = refused(port, &rotation.known, &["update", "check", &bundle(name)]);
        assert!(told.contains("not signed by this box's release key"), "{told}");
    }
    let (_, old_key) = bound_to(&rotation.ask(port, &["seal", "status"]));
    rotation.install(machine, port, "0.2.0-former");
    rotation.falls_back("0.2.0", "0.1.0");

    // From the first release of the rotation on, a bundle of the former key alone is none.
    mark_good(&rotation.disk, Slot::B);
    let (machine, port) = rotation.serves("0.2.0");
    rotation.refuses(port, &former, folder.path());
    rotation.install(machine, port, "0.3.0");
    rotation.falls_back("0.3.0", "0.2.0");

    // Both slots are approved by both keys now.
    mark_good(&rotation.disk, Slot::A);
    let (machine, port) = rotation.serves("0.3.0");
    let (slot, key) = bound_to(&rotation.ask(port, &["seal", "status"]));
    assert_eq!(key, old_key);
    let (_, new_key) = bound_to(&rotation.ask(port, &["seal", "rebind", &slot]));
    assert_ne!(new_key, old_key);
    rotation.install(machine, port, "0.4.0");
    rotation.falls_back("0.4.0", "0.3.0");

    let (mut machine, port) = rotation.serves("0.4.0");
    assert_eq!(bound_to(&rotation.ask(port, &["seal", "status"])).1, new_key);
    rotation.refuses(port, &former, folder.path());
    shut_down(&mut machine);

    // What the former key alone approved opens nothing any more.
    put_back(&rotation.disk, &before);
    let (mut machine, _, _) = start(&rotation.disk, &rotation.board);
    let shown = machine.expect("Unlock with the recovery key");
    assert!(shown.contains("LOCKED") && !shown.contains("PCR 7 changed"), "{shown}");
}
