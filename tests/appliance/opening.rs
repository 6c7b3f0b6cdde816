//! How most tests of a box with firmware begin: a release that is marked good, a set-up in a network, a message that was
//! acknowledged, and an operator far away.

use crate::firmware::Board;
use crate::restart::send;
use crate::set_up::set_up;
use crate::slots::mark_good;
use crate::update::credential;
use crate::virtual_machine::{Disk, VirtualMachine, uki};
use lamchat_slots::Slot;
use std::path::{Path, PathBuf};

/// What whoever set a box up has of it.
pub struct Begun {
    /// The recovery key.
    pub key: String,
    /// Where the message is that was acknowledged.
    pub event: String,
    /// A credential's file and the server's fingerprint.
    pub known: (PathBuf, String),
}

/// A disk whose release has answered for ten minutes: the boot loader counts no start of it.
pub fn good_disk() -> Disk {
    let disk = Disk::blank();
    mark_good(&disk, Slot::A);
    disk
}

/// Such a disk and a board of the release's operator.
pub fn good_box() -> (Disk, Board) {
    (good_disk(), Board::owned(uki().parent().unwrap()))
}

/// Sets a box up in a network, sends a message on the port that leads to its clients' TLS, and makes a credential, whose
/// file lies in `folder`.
pub fn begin(machine: &mut VirtualMachine, clients: u16, folder: &Path) -> Begun {
    let key = set_up(machine, "dhcp");
    let event = send(clients);
    let known = credential(machine, folder);
    Begun { key, event, known }
}
