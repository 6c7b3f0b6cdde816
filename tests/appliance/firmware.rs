//! What the tests of the box make of a mainboard: whose it is, who made its TPM, how its firmware is set.

pub use crate::emulated::board::Board;

use crate::emulated::flash::Flash;
use crate::maker::manufacture;
use std::path::Path;

impl Board {
    /// One that belongs to nobody: its firmware is in set-up mode.
    pub fn new() -> Self {
        Self::with(&Flash::blank())
    }

    /// One whose firmware has the keys of the release in this folder, as if somebody had enrolled them.
    pub fn owned(release: &Path) -> Self {
        Self::with(&Flash::owned(release))
    }

    /// Puts another TPM into the board, which has never seen anything.
    pub fn exchange_tpm(&self) {
        std::fs::remove_dir_all(self.path("tpm")).unwrap();
        std::fs::create_dir(self.path("tpm")).unwrap();
    }

    /// Has the TPM made by a maker, who certifies its endorsement key; answers the maker's certificates, in PEM.
    pub fn manufacture_tpm(&self) -> String {
        self.exchange_tpm();
        manufacture(self.folder(), &self.path("tpm"), "sha256");
        // The box knows no intermediate of this maker, so an auditor trusts it itself.
        let (intermediate, root) = self.maker();
        intermediate + &root
    }

    /// The certificates of the TPM's maker, in PEM: the intermediate, which the TPM does not keep, and the root.
    pub fn maker(&self) -> (String, String) {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).unwrap();
        (read("ca/issuercert.pem"), read("ca/swtpm-localca-rootca-cert.pem"))
    }

    /// Changes the firmware's settings, while the machine is off.
    pub fn set(&self, change: impl FnOnce(&mut Flash)) {
        let mut flash = Flash(std::fs::read(self.path("variables")).unwrap());
        change(&mut flash);
        std::fs::write(self.path("variables"), flash.0).unwrap();
    }
}
