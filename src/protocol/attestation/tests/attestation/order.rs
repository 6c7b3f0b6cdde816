//! The order of the checks is part of the interface: of several faults at once, the first one's reason is the verdict.

use crate::forged::{FIRST_NONCE, Scene, scene};
use lamchat_attestation::Sha256;
use lamchat_attestation::simulation::{self, Boot, Draft, SoftwareAuditor, SoftwareBox};

/// A fault: its reason, what is wrong before the box makes its evidence, and what is changed afterwards.
struct Fault {
    reason: &'static str,
    before: fn(&mut Draft),
    after: fn(&mut Scene),
}

fn nothing<T>(_: &mut T) {}

fn in_scene(reason: &'static str, after: fn(&mut Scene)) -> Fault {
    let before = nothing;
    Fault { reason, before, after }
}

fn in_draft(reason: &'static str, before: fn(&mut Draft)) -> Fault {
    let after = nothing;
    Fault { reason, before, after }
}

/// Another attestation key, which the auditor enrolled with this endorsement key.
fn enrol_another(draft: &mut Draft) {
    let (made, other) = (&draft.made, SoftwareBox::honest());
    let tpm = &made.tpm;
    draft.made.enrolment = simulation::enrol(
        &tpm.ek_certificates,
        &tpm.ek_public,
        &other.tpm.ak_public,
        &made.trust,
        &made.auditor,
    );
}

/// One of each check, in the order of FORMAT.md.
fn faults() -> Vec<Fault> {
    vec![
        in_scene("bundle-trailing-bytes", |s| {
            s.file = Some([s.evidence.to_bytes(), b"\n".to_vec()].concat());
        }),
        in_scene("quote-magic", |s| s.evidence.tpm.quote[0] ^= 1),
        in_scene("pcr-superset", |s| {
            s.manifest.pcrs.pop();
        }),
        in_scene("nonce-foreign", |s| s.nonce = vec![0x77; 20]),
        in_scene("qualifying-data", |s| s.evidence.claims.version.push('0')),
        in_scene("signature", |s| *s.evidence.tpm.signature.last_mut().unwrap() ^= 1),
        in_scene("ek-chain-foreign", |s| s.evidence.tpm.ek_certificates.truncate(1)),
        in_draft("enrolment-auditor-unknown", |d| {
            d.made.trust = simulation::trust(&[&d.made.tpm.root], &[&SoftwareAuditor::new()]);
        }),
        in_draft("ak-not-enrolled", enrol_another),
        in_scene("pcr-values", |s| s.evidence.tpm.pcrs[9].sha256.0[0] ^= 1),
        in_scene("log-replay", |s| {
            let mut boot = Boot::honest();
            boot.hashed(2, 0x8000_0007, b"more");
            s.evidence.tpm.event_log = boot.log();
        }),
        in_draft("pcr-value-unknown", |d| {
            d.manifest.values[0].sha256 = vec![Sha256([1; 32])]
        }),
        // The scene's previous bundle has the honest counters.
        in_draft("reset-count-went-back", |d| d.made.clock.reset_count -= 1),
        in_draft("audit-went-back", |d| {
            d.claims.audit_checkpoint = Some(simulation::checkpoint(41, 7));
        }),
        in_draft("uki-unknown", |d| d.claims.uki = Some(Sha256::ZERO)),
        in_draft("binary-unknown", |d| d.claims.binary = Sha256::ZERO),
    ]
}

fn judge(faults: &[&Fault]) -> &'static str {
    let mut draft = Draft::honest();
    let previous = draft.made.evidence(&FIRST_NONCE, simulation::claims());
    // From the last to the first: an earlier one works on what the later ones left, the file's form on all of it; and
    // the enrolment is made before its auditor is no longer trusted.
    for fault in faults.iter().rev() {
        (fault.before)(&mut draft);
    }
    let mut scene = scene(draft);
    scene.previous = Some(previous);
    for fault in faults.iter().rev() {
        (fault.after)(&mut scene);
    }
    match scene.verify() {
        Ok(_) => "accepted",
        Err(rejection) => rejection.reason(),
    }
}

#[test]
fn of_several_faults_the_first_check_tells() {
    let faults = faults();
    assert_eq!(judge(&[]), "accepted");
    for fault in &faults {
        assert_eq!(judge(&[fault]), fault.reason);
    }
    for pair in faults.windows(2) {
        let [first, second] = pair else { unreachable!() };
        assert_eq!(judge(&[first, second]), first.reason, "with {}", second.reason);
    }
    // And all that follow at once.
    for at in 0..faults.len() {
        let rest: Vec<&Fault> = faults.iter().skip(at).collect();
        assert_eq!(judge(&rest), faults[at].reason);
    }
}
