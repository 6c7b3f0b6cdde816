//! The box in QEMU: `lamchat` as process 1 on a real kernel, driven over its serial console.
//!
//! Runs by `tests/run appliance`, which builds an image and names its unified kernel image in `LAMCHAT_UKI`: kernel and
//! initrd are taken out of it and booted without firmware, with a copy of the image beside it as the disk; one test has firmware and a TPM. Everything is emulated (TCG): a start takes about 20 s of a processor.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attestation;
mod authority;
mod bundles;
mod cables;
#[path = "../../src/platform/nts/tests/chrony/server.rs"]
#[expect(dead_code, reason = "the tests of NTS itself use all of it")]
mod chrony;
mod client;
mod clock;
#[path = "../emulated/emulated.rs"]
mod emulated;
mod failing;
mod far;
mod firmware;
mod floor;
mod good;
mod hardware;
mod ipv6;
#[path = "../emulated/maker.rs"]
mod maker;
mod mended;
mod mirror;
mod mirror_restored;
mod mirror_update;
mod network;
mod nio;
mod opening;
mod power_cuts;
#[path = "../black_box/publisher.rs"]
mod publisher;
mod pulled;
mod rack;
mod read_only;
mod reset;
mod restart;
mod restored;
mod rotation;
mod schema;
mod secure_boot;
mod set_up;
mod settings;
mod slots;
mod stick;
mod story;
mod terminals;
mod time;
mod told;
mod tpm_pin;
mod update;
mod usb;
mod usb_certificate;
mod usb_configuration;
mod usb_enrolment;
mod virtual_machine;
mod walk;
mod wire;
