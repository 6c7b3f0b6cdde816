//! What a TPM signs that signs anything, whose key the auditor enrolled.

use super::{ACTION, APPLICATION, CONFIG, OnSoftware, SEPARATOR};
use crate::forged::{FIRST_NONCE, Scene, scene};
use lamchat_attestation::simulation::{
    self, Boot, CertificateForm, Draft, SoftwareAuditor, SoftwareBox, SoftwareTpm, variable,
};
use lamchat_attestation::{Image, KeyUse, Sha256};

/// The scene of a boot with one more or other event.
fn booted(mut draft: Draft, change: impl FnOnce(&mut Boot)) -> Scene {
    change(&mut draft.made.boot);
    scene(draft)
}

fn certified(years: (i32, i32), usage: Option<Vec<u64>>) -> Scene {
    // The keys are enrolled while all was well; the box then shows another certificate of the same key.
    let form = CertificateForm {
        years,
        usage,
        ..Default::default()
    };
    let mut draft = Draft::honest();
    let tpm = SoftwareTpm::new(&form);
    draft.made.trust = simulation::trust(&[&tpm.root], &[&draft.made.auditor]);
    draft.made.tpm = tpm;
    scene(draft)
}

/// Evidence after a previous one, whose clock, counters and audit log `before` sets.
fn after(mut draft: Draft, before: impl FnOnce(&mut Draft), now: impl FnOnce(&mut Draft)) -> Scene {
    before(&mut draft);
    let previous = draft.made.evidence(&FIRST_NONCE, draft.claims.clone());
    draft.claims = simulation::claims();
    now(&mut draft);
    Scene {
        previous: Some(previous),
        ..scene(draft)
    }
}

fn evil() -> (Sha256, Vec<u8>) {
    let program = b"MZ an evil program, of which the Authenticode digest is that of all its bytes".to_vec();
    (Sha256::of(&program), program)
}

pub const SOFTWARE: &[OnSoftware] = &[
    ("no signing key", "signing-key-missing", |mut d| {
        d.claims.keys.retain(|key| key.usage != KeyUse::Signing);
        scene(d)
    }),
    ("expired certificate", "ek-chain-expired", |_| {
        certified((2020, 2022), Some(vec![2, 23, 133, 8, 1]))
    }),
    ("certificate of the future", "ek-chain-not-yet-valid", |_| {
        certified((2040, 2050), Some(vec![2, 23, 133, 8, 1]))
    }),
    ("certificate for nothing special", "ek-certificate-usage", |_| {
        certified((2020, 2050), None)
    }),
    ("certificate of a web server", "ek-certificate-usage", |_| {
        certified((2020, 2050), Some(vec![1, 3, 6, 1, 5, 5, 7, 3, 1]))
    }),
    ("enrolled by a stranger", "enrolment-auditor-unknown", |mut d| {
        d.made.trust = simulation::trust(&[&d.made.tpm.root], &[&SoftwareAuditor::new()]);
        scene(d)
    }),
    ("enrolment changed", "enrolment-signature", |d| {
        let mut scene = scene(d);
        scene.enrolment.label = "another box".into();
        scene
    }),
    (
        "enrolment of another key under this signature",
        "enrolment-signature",
        |d| {
            let mut scene = scene(d);
            let mut other = SoftwareBox::honest();
            scene.enrolment.ak_public.clone_from(&other.tpm.ak_public);
            other
                .tpm
                .ek_certificates
                .clone_from(&scene.evidence.tpm.ek_certificates);
            scene.evidence = other.evidence(&scene.nonce, simulation::claims());
            scene
        },
    ),
    ("enrolment of another box", "ek-not-certified", |d| {
        let mut scene = scene(d);
        let other = SoftwareBox::honest();
        let auditor = SoftwareAuditor::new();
        let roots = simulation::trust(&[&other.tpm.root], &[&auditor]);
        let tpm = &other.tpm;
        scene.enrolment = simulation::enrol(&tpm.ek_certificates, &tpm.ek_public, &tpm.ak_public, &roots, &auditor);
        let this = SoftwareBox::honest();
        scene.trust = simulation::trust(&[&this.tpm.root], &[&auditor]);
        scene.evidence = this.evidence(&scene.nonce, simulation::claims());
        scene
    }),
    ("unknown program", "event-unknown", |d| {
        booted(d, |b| b.known(4, APPLICATION, evil().0, b"path"))
    }),
    ("unknown program as an action", "event-not-what-it-says", |d| {
        booted(d, |b| {
            b.known(4, ACTION, evil().0, b"Calling EFI Application from Boot Option")
        })
    }),
    (
        "unknown program as an action, its bytes as data",
        "event-not-what-it-says",
        |d| booted(d, |b| b.known(4, ACTION, evil().0, &evil().1)),
    ),
    ("unknown program as a separator", "event-not-what-it-says", |d| {
        booted(d, |b| b.known(4, SEPARATOR, evil().0, &[0; 4]))
    }),
    ("unknown program under an unknown type", "event-type-unknown", |d| {
        booted(d, |b| b.known(4, 0xD, evil().0, b""))
    }),
    ("program before the separator", "event-out-of-place", |d| {
        booted(d, |b| {
            let entry = b.entries.remove(b.place(4, 2));
            b.entries.insert(b.place(4, 0), entry);
        })
    }),
    ("Secure Boot off", "secure-boot-off", |d| {
        booted(d, |b| {
            let place = b.place(7, 0);
            b.entries[place].data = variable("SecureBoot", &[0]);
            b.entries[place].digest = Sha256::of(&b.entries[place].data);
        })
    }),
    ("Secure Boot off, the log says on", "event-not-what-it-says", |d| {
        booted(d, |b| {
            let place = b.place(7, 0);
            b.entries[place].digest = Sha256::of(&variable("SecureBoot", &[0]));
        })
    }),
    ("Secure Boot not measured", "secure-boot-off", |d| {
        booted(d, |b| {
            b.entries.remove(b.place(7, 0));
        })
    }),
    ("Secure Boot off, then said to be on", "secure-boot-off", |d| {
        booted(d, |b| {
            let place = b.place(7, 0);
            b.entries[place].data = variable("SecureBoot", &[0]);
            b.entries[place].digest = Sha256::of(&b.entries[place].data);
            b.hashed(7, CONFIG, &variable("SecureBoot", &[1]));
        })
    }),
    ("policy changed after the separator", "event-out-of-place", |d| {
        booted(d, |b| b.hashed(7, CONFIG, &variable("db", b"more")))
    }),
    ("protection from DMA off", "event-unknown", |d| {
        booted(d, |b| {
            b.hashed(7, ACTION, b"DMA Protection Disabled");
        })
    }),
    ("another policy than the manifest's", "event-unknown", |mut d| {
        d.manifest.pcr7_events = vec![Sha256::of(&variable("SecureBoot", &[1]))];
        scene(d)
    }),
    ("second separator", "log-separators", |d| {
        booted(d, |b| b.hashed(3, SEPARATOR, &[0; 4]))
    }),
    ("no separator", "log-separators", |d| {
        booted(d, |b| {
            b.entries.remove(b.place(6, 0));
        })
    }),
    ("firmware with an error", "log-firmware-error", |d| {
        booted(d, |b| b.hashed(1, SEPARATOR, &[1, 0, 0, 0]))
    }),
    ("command line added (PCR 12)", "pcr-value-unknown", |d| {
        booted(d, |b| b.hashed(12, 0xD, b"init=/bin/sh"))
    }),
    ("no image started", "image-not-measured", |d| {
        booted(d, |b| {
            b.entries.remove(b.place(4, 3));
        })
    }),
    ("restarts going back", "restart-count-went-back", |d| {
        after(d, |_| {}, |d| d.made.clock.restart_count -= 1)
    }),
    ("clock going back", "clock-went-back", |d| {
        after(d, |_| {}, |d| d.made.clock.clock_ms -= 1)
    }),
    (
        "clock going back over a boot, and said to be safe",
        "clock-went-back",
        |d| {
            after(
                d,
                |_| {},
                |d| {
                    d.made.clock.clock_ms -= 1;
                    d.made.clock.reset_count += 1;
                },
            )
        },
    ),
    ("audit log shorter", "audit-went-back", |d| {
        after(
            d,
            |d| d.claims.audit_checkpoint = Some(simulation::checkpoint(43, 7)),
            |_| {},
        )
    }),
    ("audit log forked", "audit-went-back", |d| {
        after(
            d,
            |d| d.claims.audit_checkpoint = Some(simulation::checkpoint(42, 8)),
            |_| {},
        )
    }),
    ("audit log gone", "audit-went-back", |d| {
        after(d, |_| {}, |d| d.claims.audit_checkpoint = None)
    }),
    ("another audit log", "audit-is-another", |d| {
        after(
            d,
            |_| {},
            |d| {
                let note = String::from_utf8(simulation::checkpoint(50, 7)).unwrap();
                d.claims.audit_checkpoint = Some(note.replace("/audit", "/audit/2").into_bytes());
            },
        )
    }),
    ("memory of another box", "memory-unusable", |d| {
        let mut scene = scene(d);
        let other = Draft::honest();
        scene.seen = Some(other.verify(&other.evidence().to_bytes()).unwrap().mark);
        scene
    }),
    ("checkpoint that is none", "audit-checkpoint-malformed", |mut d| {
        d.claims.audit_checkpoint = Some(b"forty-two".to_vec());
        scene(d)
    }),
    ("no image named", "uki-missing", |mut d| {
        d.claims.uki = None;
        scene(d)
    }),
    ("unknown image named", "uki-unknown", |mut d| {
        d.claims.uki = Some(Sha256::ZERO);
        scene(d)
    }),
    ("image named where the manifest has none", "uki-unknown", |mut d| {
        d.manifest.images.clear();
        d.manifest.pcr4_events.clear();
        d.manifest.binaries = vec![d.claims.binary];
        scene(d)
    }),
    ("another image of the manifest named", "uki-not-measured", |mut d| {
        let other = Image {
            uki: Sha256::of(b"newer uki"),
            authenticode: Sha256::of(b"authenticode of the newer uki"),
            ..d.manifest.images[0].clone()
        };
        d.manifest.images.push(other);
        d.claims.uki = Some(Sha256::of(b"newer uki"));
        scene(d)
    }),
    ("other parts in the image (PCR 11)", "pcr11-unknown", |d| {
        booted(d, |b| b.hashed(11, 0xD, b"another initrd"))
    }),
    ("unknown program named", "binary-unknown", |mut d| {
        d.claims.binary = Sha256::ZERO;
        scene(d)
    }),
    ("unknown program on a distribution", "binary-unknown", |mut d| {
        d.claims.uki = None;
        d.manifest.images.clear();
        d.manifest.pcr4_events.clear();
        d.manifest.binaries = vec![Sha256::ZERO];
        scene(d)
    }),
];
