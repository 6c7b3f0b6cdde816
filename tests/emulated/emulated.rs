//! The machines that tests emulate: QEMU with a serial console, the firmware OVMF, a TPM of swtpm. Shared by the tests of the
//! image and those of the box, by `#[path = "…/tests/emulated/emulated.rs"] mod emulated;`. The maker of TPMs beside it
//! (`maker.rs`) goes by itself: the tests of the program need one and no machine.

pub mod board;
pub mod flash;
pub mod running;
pub mod swtpm;
