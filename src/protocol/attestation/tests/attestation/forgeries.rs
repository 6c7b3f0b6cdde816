//! The forgeries. Those of `TPM` change what a real TPM gave; those of `SOFTWARE` have a TPM that signs anything, whose
//! key the auditor enrolled, so that they reach the checks behind the signature.

use crate::forged::{FIRST_NONCE, Scene, World, scene};
use lamchat_attestation::simulation::{
    self, Boot, CertificateForm, Draft, LogEntry, SoftwareAuditor, SoftwareBox, SoftwareTpm, log_bytes,
    log_with_algorithms, variable,
};
use lamchat_attestation::{Image, KeyUse, Sha256, limits};

type OnTpm = (&'static str, &'static str, fn(&mut Scene, &World));
type OnSoftware = (&'static str, &'static str, fn(Draft) -> Scene);

const APPLICATION: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;
const AUTHORITY: u32 = 0x8000_00E0;
const CONFIG: u32 = 0x8000_0001;
const SEPARATOR: u32 = 4;

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

pub const TPM: &[OnTpm] = &[
    // The file.
    ("cut off", "bundle-truncated", |s, _| {
        let mut file = s.evidence.to_bytes();
        file.truncate(file.len() - 7);
        s.file = Some(file);
    }),
    ("a byte behind the end", "bundle-trailing-bytes", |s, _| {
        s.file = Some([s.evidence.to_bytes(), b"\n".to_vec()].concat());
    }),
    ("two bundles", "bundle-trailing-bytes", |s, w| {
        s.file = Some([s.evidence.to_bytes(), w.first.to_bytes()].concat());
    }),
    ("oversized file", "bundle-too-long", |s, _| {
        s.file = Some(vec![b'{'; limits::FILE_BYTES_MAX + 1]);
    }),
    ("oversized log", "bundle-member-oversized", |s, _| {
        s.evidence.tpm.event_log = vec![0; limits::EVENT_LOG_BYTES_MAX + 1];
    }),
    ("too many certificates", "bundle-member-oversized", |s, _| {
        let leaf = s.evidence.tpm.ek_certificates[0].clone();
        s.evidence.tpm.ek_certificates = vec![leaf; limits::CERTIFICATES_MAX + 1];
    }),
    ("unknown member", "bundle-unknown-member", |s, _| {
        s.replace("\"iat\"", "\"proved\"")
    }),
    ("unknown member at the end", "bundle-unknown-member", |s, _| {
        s.replace("\"}}", "\",\"more\":1}}");
    }),
    ("member twice", "bundle-duplicate-member", |s, _| {
        s.replace("\"iat\":", "\"eat_nonce\":\"00\",\"iat\":");
    }),
    ("members exchanged", "bundle-member-out-of-order", |s, _| {
        s.replace("\"quote\"", "\"signature\"");
    }),
    ("member left out", "bundle-member-out-of-order", |s, _| {
        s.replace("\"swname\":\"lamchat\",", "")
    }),
    ("white space", "bundle-syntax", |s, _| {
        s.replace(",\"iat\"", ", \"iat\"")
    }),
    ("escape in a string", "bundle-syntax", |s, _| {
        s.replace("example.org", "example\\u002eorg")
    }),
    ("another version of the format", "bundle-bad-value", |s, _| {
        s.replace("evidence:2", "evidence:3")
    }),
    ("capital digits", "bundle-bad-value", |s, _| {
        s.replace("\"eat_nonce\":\"02", "\"eat_nonce\":\"0A")
    }),
    ("short nonce", "bundle-bad-value", |s, _| s.evidence.nonce = vec![2; 15]),
    ("keys reordered", "bundle-unsorted", |s, _| {
        s.evidence.claims.keys.reverse()
    }),
    ("PCRs reordered", "bundle-unsorted", |s, _| {
        s.evidence.tpm.pcrs.swap(0, 1)
    }),
    ("PCR twice", "bundle-unsorted", |s, _| {
        s.evidence.tpm.pcrs[1] = s.evidence.tpm.pcrs[0]
    }),
    // The quote.
    ("no TPM_GENERATED", "quote-magic", |s, _| s.evidence.tpm.quote[0] ^= 1),
    ("a certification instead of a quote", "quote-type", |s, _| {
        s.evidence.tpm.quote[5] = 0x17
    }),
    ("quote cut off", "quote-malformed", |s, _| {
        s.evidence.tpm.quote.truncate(60)
    }),
    ("byte behind the quote", "quote-malformed", |s, _| {
        s.evidence.tpm.quote.push(0)
    }),
    ("subset of the PCRs", "pcr-subset", |s, w| select(s, w, 0)),
    ("superset of the PCRs", "pcr-superset", |s, w| select(s, w, 1)),
    ("one PCR for another", "pcr-selection", |s, w| select(s, w, 2)),
    ("SHA-1 bank", "pcr-bank", |s, w| select(s, w, 3)),
    ("two banks", "pcr-bank", |s, w| select(s, w, 4)),
    // Nonce and qualifying data.
    ("stale bundle", "nonce-stale", |s, w| s.evidence = w.first.clone()),
    ("bundle for somebody else", "nonce-foreign", |s, _| {
        s.nonce = vec![9; 20]
    }),
    ("stale quote under a fresh nonce", "qualifying-data", |s, w| {
        s.evidence = w.first.clone();
        s.evidence.nonce.clone_from(&s.nonce);
    }),
    ("fingerprints exchanged", "qualifying-data", |s, _| {
        let keys = &mut s.evidence.claims.keys;
        (keys[0].sha256, keys[1].sha256) = (keys[1].sha256, keys[0].sha256);
    }),
    ("fingerprint of another TLS key", "qualifying-data", |s, _| {
        let key = s.evidence.claims.keys.iter_mut().find(|key| key.usage == KeyUse::Tls);
        key.unwrap().sha256 = Sha256::of(b"the key of somebody in between");
    }),
    ("another configuration", "qualifying-data", |s, _| {
        s.evidence.claims.configuration = Sha256::ZERO
    }),
    ("another program", "qualifying-data", |s, _| {
        s.evidence.claims.binary = Sha256::ZERO
    }),
    ("another seal", "qualifying-data", |s, _| {
        s.evidence.claims.seal = Some("image policy".to_owned());
    }),
    (
        "no word of the seal, as in the version before",
        "qualifying-data",
        |s, _| {
            s.evidence.claims.seal = None;
        },
    ),
    ("a longer audit log", "qualifying-data", |s, _| {
        s.evidence.claims.audit_checkpoint = Some(simulation::checkpoint(43, 7));
    }),
    // Signature and attestation key.
    ("signature of another quote", "signature", |s, w| {
        s.evidence.tpm.signature.clone_from(&w.first.tpm.signature);
    }),
    ("clock changed", "signature", |s, _| {
        let at = s.evidence.tpm.quote.len() - 62;
        s.evidence.tpm.quote[at] ^= 1;
    }),
    ("attestation key swapped, quote kept", "signature", |s, _| {
        s.evidence.tpm.ak_public = SoftwareBox::honest().tpm.ak_public;
    }),
    ("another scheme", "signature-form", |s, _| {
        s.evidence.tpm.signature[1] = 0x14
    }),
    ("byte behind the signature", "signature-form", |s, _| {
        s.evidence.tpm.signature.push(0)
    }),
    ("key that signs anything", "ak-not-restricted", |s, _| {
        with_attributes(s, 0x0004_0072)
    }),
    ("key that does not sign", "ak-not-signing", |s, _| {
        with_attributes(s, 0x0001_0072)
    }),
    ("key that decrypts", "ak-decrypts", |s, _| {
        with_attributes(s, 0x0007_0072)
    }),
    ("key that can leave the TPM", "ak-not-fixed-tpm", |s, _| {
        with_attributes(s, 0x0005_0070)
    }),
    ("key that can leave its parent", "ak-not-fixed-parent", |s, _| {
        with_attributes(s, 0x0005_0062)
    }),
    ("key from outside", "ak-imported", |s, _| {
        with_attributes(s, 0x0005_0052)
    }),
    ("key of another hash", "ak-algorithm", |s, _| {
        s.evidence.tpm.ak_public[3] = 0x0C
    }),
    ("byte behind the key", "ak-malformed", |s, _| {
        s.evidence.tpm.ak_public.push(0)
    }),
    // Endorsement key and enrolment.
    ("another box altogether", "ek-chain-foreign", |s, _| {
        impersonate(s, &CertificateForm::default());
    }),
    (
        "attestation key swapped, quote signed anew",
        "ak-not-enrolled",
        |s, w| {
            impersonate(s, &CertificateForm::default());
            s.evidence.tpm.ek_certificates.clone_from(&w.second.tpm.ek_certificates);
        },
    ),
    ("no certificate", "ek-certificate-missing", |s, _| {
        s.evidence.tpm.ek_certificates.clear()
    }),
    ("intermediate left out", "ek-chain-foreign", |s, _| {
        s.evidence.tpm.ek_certificates.truncate(1)
    }),
    ("certificate changed", "ek-chain-signature", |s, _| {
        *s.evidence.tpm.ek_certificates[0].last_mut().unwrap() ^= 1;
    }),
    ("certificate that is none", "ek-certificate-malformed", |s, _| {
        s.evidence.tpm.ek_certificates[0] = b"certificate".to_vec();
    }),
    ("an authority's certificate", "ek-chain-path", |s, _| {
        s.evidence.tpm.ek_certificates.remove(0);
    }),
    (
        "certificate of another key of this maker",
        "ek-not-certified",
        |s, w| {
            s.evidence.tpm.ek_certificates[0].clone_from(&w.other_certificate);
        },
    ),
    ("before the certificate", "ek-chain-not-yet-valid", |s, _| {
        s.time = 946_684_800
    }),
    ("long after the certificate", "ek-chain-expired", |s, _| {
        s.time = 1 << 38
    }),
    // The values and the log.
    ("PCR not listed", "pcr-list", |s, _| {
        s.evidence.tpm.pcrs.pop();
    }),
    ("other value listed", "pcr-values", |s, _| {
        s.evidence.tpm.pcrs[9].sha256.0[0] ^= 1
    }),
    ("log cut off", "log-truncated", |s, _| {
        s.evidence.tpm.event_log.pop();
    }),
    ("log with a byte at its end", "log-truncated", |s, _| {
        s.evidence.tpm.event_log.push(0)
    }),
    ("log without header", "log-header", |s, _| {
        s.evidence.tpm.event_log.drain(..20);
    }),
    ("no log", "log-absent", |s, _| s.evidence.tpm.event_log.clear()),
    ("log of SHA-1 only", "log-bank", |s, _| {
        s.evidence.tpm.event_log = log_with_algorithms(&Boot::honest().entries, &[(4, 20)]);
    }),
    ("log of too many events", "log-oversized", |s, _| {
        let entry = |_| LogEntry {
            pcr: 5,
            declared: ACTION,
            digest: Sha256::ZERO,
            data: Vec::new(),
        };
        let entries: Vec<_> = (0..=limits::EVENTS_MAX).map(entry).collect();
        s.evidence.tpm.event_log = log_bytes(&entries);
    }),
    ("event of a PCR that is none", "log-pcr", |s, _| {
        relog(s, |b| b.entries[3].pcr = 24)
    }),
    ("event without its SHA-256 digest", "log-digests", |s, _| {
        let log = &mut s.evidence.tpm.event_log;
        let at = log.len() - b"Exit Boot Services Invocation".len() - 4 - 34;
        assert_eq!(log[at..at + 2], [0xB, 0]);
        log[at] = 0xC;
    }),
    ("event relabelled as not measured", "log-no-action-measured", |s, _| {
        relog(s, |b| b.entries[3].declared = 3)
    }),
    ("event removed", "log-replay", |s, _| {
        relog(s, |b| {
            b.entries.remove(b.place(4, 2));
        });
    }),
    ("event added", "log-replay", |s, _| {
        relog(s, |b| b.hashed(2, ACTION, b"more"))
    }),
    ("events reordered", "log-replay", |s, _| {
        relog(s, |b| {
            let (one, other) = (b.place(7, 0), b.place(7, 1));
            b.entries.swap(one, other);
        });
    }),
    ("event moved to another PCR", "log-replay", |s, _| {
        relog(s, |b| {
            let place = b.place(4, 2);
            b.entries[place].pcr = 5;
        });
    }),
    ("digest changed", "log-replay", |s, _| {
        relog(s, |b| {
            let place = b.place(11, 2);
            b.entries[place].digest = Sha256::ZERO;
        });
    }),
    ("unmeasured event relabelled as measured", "log-replay", |s, _| {
        relog(s, |b| b.entries[0].declared = 8)
    }),
    ("another locality", "log-replay", |s, _| {
        relog(s, |b| *b.entries[0].data.last_mut().unwrap() = 3)
    }),
    ("impossible locality", "log-startup-locality", |s, _| {
        relog(s, |b| *b.entries[0].data.last_mut().unwrap() = 1);
    }),
    ("locality twice", "log-startup-locality", |s, _| {
        relog(s, |b| b.entries.insert(0, b.entries[0].clone()))
    }),
    ("image relabelled as an action", "event-not-what-it-says", |s, _| {
        relog(s, |b| {
            let place = b.place(4, 3);
            b.entries[place].declared = ACTION;
        });
    }),
    ("action relabelled as a program", "event-not-what-it-says", |s, _| {
        relog(s, |b| {
            let place = b.place(4, 0);
            b.entries[place].declared = APPLICATION;
        });
    }),
    ("separator relabelled", "event-not-what-it-says", |s, _| {
        relog(s, |b| {
            let place = b.place(2, 0);
            b.entries[place].declared = 5;
        });
    }),
    ("Secure Boot's variable relabelled", "event-not-what-it-says", |s, _| {
        relog(s, |b| {
            let place = b.place(7, 0);
            b.entries[place].declared = AUTHORITY;
        });
    }),
    ("policy under an unknown type", "event-type-unknown", |s, _| {
        relog(s, |b| {
            let place = b.place(7, 3);
            b.entries[place].declared = 0x1234;
        });
    }),
    // Continuity.
    ("counters going back", "reset-count-went-back", |s, w| {
        s.evidence = w.first.clone();
        s.nonce = FIRST_NONCE.to_vec();
        s.previous = Some(w.second.clone());
    }),
    ("previous bundle of another box", "previous-unusable", |s, _| {
        s.previous = Some(SoftwareBox::honest().evidence(&FIRST_NONCE, simulation::claims()));
    }),
    ("previous bundle changed", "previous-unusable", |s, w| {
        let mut previous = w.first.clone();
        previous.claims.audit_checkpoint = None;
        s.previous = Some(previous);
    }),
];

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
