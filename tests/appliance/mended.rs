//! A box whose exchange never answers, though its release was marked good, so that nothing leaves it for another: whoever
//! has the PIN mends it with a stick.

use crate::floor;
use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::slots::mark_good;
use crate::stick::UsbStick;
use crate::update::{far, start_with};
use crate::usb;
use crate::virtual_machine::PATIENCE;
use lamchat_slots::Slot;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn a_box_whose_exchange_never_answers_is_mended_from_a_stick() {
    let silent = PathBuf::from(std::env::var_os("LAMCHAT_FAULTY_BUNDLES").unwrap()).join("silent.bundle");
    let (folder, stick) = (tempfile::tempdir().unwrap(), UsbStick::new(true));
    let (disk, board) = good_box();
    stick.put(Path::new(&floor::bundle("0.3.0")));

    let (mut machine, clients, port) = start_with(&disk, &board, &stick.arguments());
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let silent = silent.to_str().unwrap();
    far(port, &known, &["update", "apply", silent, "--yes", "--restart"]);
    machine.wait_off();
    mark_good(&disk, Slot::B);

    let (mut machine, _, _) = start_with(&disk, &board, &stick.arguments());
    // The real program is unpacked first.
    let shown = machine.expect_within("USB stick", PATIENCE * 2);
    assert!(shown.contains("the exchange does not answer yet"), "{shown}");
    assert!(!shown.contains("New administrator"), "{shown}");
    println!("nothing answers after {:?}", machine.age());
    machine.type_text("\r");
    usb::update(&mut machine, "0.3.0");
    println!("mended after {:?}", machine.age());

    let (mut machine, clients, port) = start_with(&disk, &board, &stick.arguments());
    machine.expect("New administrator");
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&Value::from("0.3.0")), "{status}");
    let log = far(port, &known, &["audit", "show", "--limit", "50"]).to_string();
    assert!(log.contains("box.usb-update") && log.contains("noted_late_ms"), "{log}");
}
