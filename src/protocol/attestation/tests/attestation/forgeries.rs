//! The forgeries. Those of `TPM` change what a real TPM gave; those of `SOFTWARE` have a TPM that signs anything, whose
//! key the auditor enrolled, so that they reach the checks behind the signature.

mod log;
mod software;
mod tpm;

pub use software::SOFTWARE;

use crate::forged::{Scene, World};
use lamchat_attestation::simulation::{self, Boot, CertificateForm, Draft, SoftwareBox, SoftwareTpm};

type OnTpm = (&'static str, &'static str, fn(&mut Scene, &World));
type OnSoftware = (&'static str, &'static str, fn(Draft) -> Scene);

const APPLICATION: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;
const AUTHORITY: u32 = 0x8000_00E0;
const CONFIG: u32 = 0x8000_0001;
const SEPARATOR: u32 = 4;

/// Those that change what a real TPM gave.
pub fn on_tpm() -> impl Iterator<Item = &'static OnTpm> {
    tpm::TPM.iter().chain(log::LOG)
}

fn select(scene: &mut Scene, world: &World, number: usize) {
    let (_, quote, signature) = world.selections[number].clone();
    scene.evidence.tpm.quote = quote;
    scene.evidence.tpm.signature = signature;
}

/// Another log for the quoted values.
fn relog(scene: &mut Scene, change: impl FnOnce(&mut Boot)) {
    let mut boot = Boot::honest();
    change(&mut boot);
    scene.evidence.tpm.event_log = boot.log();
}

/// Evidence of a software TPM in place of the real one's, for the real one's nonce.
fn impersonate(scene: &mut Scene, form: &CertificateForm) -> SoftwareBox {
    let other = SoftwareBox {
        tpm: SoftwareTpm::new(form),
        ..SoftwareBox::honest()
    };
    scene.evidence = other.evidence(&scene.nonce, simulation::claims());
    other
}

fn with_attributes(scene: &mut Scene, ak_attributes: u32) {
    let form = CertificateForm {
        ak_attributes,
        ..Default::default()
    };
    impersonate(scene, &form);
}
