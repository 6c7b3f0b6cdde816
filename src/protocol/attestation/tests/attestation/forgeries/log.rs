//! What is changed of the measured values, of the log, and of the evidence before.

use super::{ACTION, APPLICATION, AUTHORITY, OnTpm, relog};
use crate::forged::FIRST_NONCE;
use lamchat_attestation::simulation::{self, Boot, LogEntry, SoftwareBox, log_bytes, log_with_algorithms};
use lamchat_attestation::{Sha256, limits};

pub const LOG: &[OnTpm] = &[
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
