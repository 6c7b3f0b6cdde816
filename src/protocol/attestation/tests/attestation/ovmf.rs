//! Event logs that a real firmware wrote (OVMF; `ovmf/README.md` says how), against the values that the PCRs really had.
//! The keys are a software TPM's; log and values are not made up.

use lamchat_attestation::simulation::{Draft, NONCE};
use lamchat_attestation::{
    Enrolment, Event, EventLog, Evidence, Image, Manifest, PcrReference, PcrValue, Policy, Rejection, Sha256,
    TpmEvidence, Trust, Verdict, from_hex, verify,
};

/// A boot: its log, and the number and value of each PCR.
struct Recorded {
    log: &'static [u8],
    values: &'static str,
}

macro_rules! recorded {
    ($name:literal) => {
        Recorded {
            log: include_bytes!(concat!("ovmf/", $name, ".log")),
            values: include_str!(concat!("ovmf/", $name, ".pcrs")),
        }
    };
}

static UKI: Recorded = recorded!("uki");
static SDBOOT: Recorded = recorded!("sdboot");
static RETURNED: Recorded = recorded!("returned");
static SHIM: Recorded = recorded!("shim");
static INSECURE: Recorded = recorded!("insecure");
static ALL: [&Recorded; 5] = [&UKI, &SDBOOT, &RETURNED, &SHIM, &INSECURE];

/// What is quoted: all that the firmware and the loaders measure.
const QUOTED: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13];
const LINUX: &str = "6b1bf35c";
/// EV_EFI_BOOT_SERVICES_APPLICATION.
const APPLICATION: u32 = 0x8000_0003;
const NO_ACTION: u32 = 3;

fn digest(hex: &str) -> Sha256 {
    Sha256(from_hex(hex).unwrap().try_into().unwrap())
}

impl Recorded {
    fn pcrs(&self) -> Vec<PcrValue> {
        let lines = self.values.lines().map(|line| line.split_once(' ').unwrap());
        lines
            .map(|(pcr, value)| PcrValue {
                pcr: pcr.parse().unwrap(),
                sha256: digest(value),
            })
            .collect()
    }

    fn quoted(&self) -> Vec<PcrValue> {
        let mut pcrs = self.pcrs();
        pcrs.retain(|value| QUOTED.contains(&value.pcr));
        pcrs
    }

    fn programs(&self) -> Vec<Sha256> {
        let log = EventLog::parse(self.log).unwrap();
        let programs = log.of(4).filter(|event| event.declared == APPLICATION);
        programs.map(|event| event.digest).collect()
    }

    fn policy(&self) -> Vec<Sha256> {
        let log = EventLog::parse(self.log).unwrap();
        log.of(7).map(|event| event.digest).collect()
    }
}

/// The image's values, computed from its file.
fn image() -> Image {
    Image {
        uki: digest("aa8d041c49e4c5dbd43e971311ac19018a517db49aefa0d078b2bcfbe946f616"),
        authenticode: digest("6f7f03a1c886ca24b0fbb7dcba8318fc54e52eb8c2552c92e86892b6130b0fff"),
        binary: Sha256::of(b"binary"),
        pcr11: vec![digest(
            "18aee1e2cf027ed97b21d18065869d37280e82b0142ae5cf3f142de69fbe4c29",
        )],
    }
}

/// An auditor who expects the image, and a box that quotes this boot.
struct Case {
    draft: Draft,
    evidence: Evidence,
}

impl Case {
    fn of(boot: &Recorded) -> Self {
        let mut draft = Draft::honest();
        draft.claims.uki = Some(image().uki);
        draft.manifest.images = vec![image()];
        draft.manifest.pcr4_events.clear();
        let mut case = Self {
            evidence: draft.evidence(),
            draft,
        };
        case.quote(boot);
        case
    }

    /// Signs the boot's values, as the TPM did not refuse to.
    fn quote(&mut self, boot: &Recorded) {
        let tpm = &self.draft.made.tpm;
        let pcrs = boot.quoted();
        let claims = self.draft.claims.clone();
        let quote = tpm.attest(&claims.qualifying_data(&NONCE).0, &self.draft.made.clock, &pcrs);
        self.evidence = Evidence {
            nonce: NONCE.to_vec(),
            claims,
            tpm: TpmEvidence {
                signature: tpm.sign(&quote),
                quote,
                pcrs,
                event_log: boot.log.to_vec(),
                ..self.evidence.tpm.clone()
            },
        };
    }

    fn manifest(&mut self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.draft.manifest);
        let text = serde_json::to_vec(&self.draft.manifest).unwrap();
        Manifest::from_bytes(&text).unwrap();
    }

    fn verify(&self) -> Result<Verdict, Rejection> {
        self.draft.verify(&self.evidence.to_bytes())
    }

    fn reason(&self) -> &'static str {
        self.verify().map(drop).unwrap_err().reason()
    }
}

#[test]
fn every_log_leads_to_what_the_tpm_held() {
    for (number, boot) in ALL.into_iter().enumerate() {
        let log = EventLog::parse(boot.log).unwrap();
        for PcrValue { pcr, sha256 } in boot.pcrs() {
            // PCR 10 is the kernel's (IMA): the firmware's log has nothing of it.
            assert_eq!(log.replay(pcr) == sha256, pcr != 10, "PCR {pcr} of boot {number}");
        }
        log.check_replay(&boot.quoted()).unwrap();
    }
}

#[test]
fn an_image_that_the_firmware_starts_is_proved() {
    let case = Case::of(&UKI);
    let verdict = case.verify().unwrap();
    assert_eq!(verdict.image, Some(image()));
    assert!(verdict.proved.iter().any(|line| line.contains("Secure Boot was on")));
    assert_eq!(UKI.programs(), [image().authenticode]);
}

#[test]
fn a_boot_loader_before_the_image_must_be_in_the_manifest() {
    let mut case = Case::of(&SDBOOT);
    assert_eq!(case.reason(), "event-unknown");
    let loader = SDBOOT.programs()[0];
    case.manifest(|manifest| manifest.pcr4_events = vec![loader]);
    // systemd-boot hands the command line over, which the stub measures again.
    assert_eq!(case.reason(), "pcr-value-unknown");
    let handed = SDBOOT.quoted().into_iter().find(|value| value.pcr == 12).unwrap();
    case.manifest(|manifest| {
        manifest.values = vec![PcrReference {
            pcr: 12,
            sha256: vec![handed.sha256],
        }];
    });
    assert_eq!(case.verify().unwrap().image, Some(image()));
}

#[test]
fn a_program_that_returned_is_a_program_that_ran() {
    let mut case = Case::of(&RETURNED);
    assert_eq!(case.reason(), "event-unknown");
    let [stub, started] = RETURNED.programs()[..] else {
        panic!()
    };
    assert_eq!(started, image().authenticode);
    case.manifest(|manifest| manifest.pcr4_events = vec![stub]);
    assert_eq!(case.verify().unwrap().image, Some(image()));
}

/// Shim and GRUB measure on the firmware's behalf: further authorities into PCR 7, the kernel twice into PCR 4.
#[test]
fn a_distribution_is_appraised_by_its_programs_and_its_policy() {
    let mut case = Case::of(&SHIM);
    assert_eq!(case.reason(), "event-unknown");
    let programs = SHIM.programs();
    assert_eq!(programs.len(), 4);
    assert!(programs[2] == programs[3] && programs[2].to_string().starts_with(LINUX));
    case.manifest(|manifest| {
        manifest.images.clear();
        manifest.binaries = vec![Sha256::of(b"binary")];
        manifest.pcr4_events = programs.clone();
        manifest.pcr7_events = SHIM.policy();
    });
    // It claims an image where there can be none.
    assert_eq!(case.reason(), "uki-unknown");
    case.draft.claims.uki = None;
    case.quote(&SHIM);
    let verdict = case.verify().unwrap();
    assert_eq!(verdict.image, None);
    assert!(verdict.claimed.iter().any(|line| line.starts_with("the program is")));
    for missing in 0..SHIM.policy().len() {
        let mut policy = SHIM.policy();
        let left_out = policy.remove(missing);
        // The separator is known without a manifest.
        if left_out == Sha256::of(&[0; 4]) {
            continue;
        }
        case.manifest(|manifest| manifest.pcr7_events = policy);
        assert_eq!(case.reason(), "event-unknown", "event {missing} of PCR 7");
    }
}

#[test]
fn without_secure_boot_the_log_says_so() {
    let mut case = Case::of(&INSECURE);
    // Where Secure Boot is off, the stub starts its kernel as a program of its own.
    assert_eq!(case.reason(), "event-unknown");
    let kernel = INSECURE.programs()[1];
    assert!(kernel.to_string().starts_with(LINUX));
    case.manifest(|manifest| manifest.pcr4_events = vec![kernel]);
    assert_eq!(case.reason(), "secure-boot-off");
    case.manifest(|manifest| manifest.secure_boot = false);
    assert!(
        case.verify()
            .unwrap()
            .proved
            .iter()
            .all(|line| !line.contains("Secure Boot"))
    );
}

/// What an event says to be changes nothing, but for refusing it.
#[test]
fn no_relabelled_event_of_an_appraised_pcr_is_accepted() {
    let honest = Case::of(&UKI);
    let log = EventLog::parse(UKI.log).unwrap();
    let mut types: Vec<u32> = log.events.iter().map(|event| event.declared).collect();
    types.extend([
        0,
        NO_ACTION,
        5,
        0xC,
        0x12,
        0x8000_0004,
        0x8000_0009,
        0x8000_0010,
        u32::MAX,
    ]);
    types.sort_unstable();
    types.dedup();
    let mut relabelled = 0;
    for event in log.events.iter().filter(|event| matches!(event.pcr, 4 | 7)) {
        let at = place(UKI.log, event) + 4;
        for kind in types.iter().filter(|kind| **kind != event.declared) {
            let mut evidence = honest.evidence.clone();
            evidence.tpm.event_log[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            // Two pairs of types have one rule: their events are told apart by what was measured alone.
            if let Ok(verdict) = honest.draft.verify(&evidence.to_bytes()) {
                let pair = if event.pcr == 7 {
                    [0x8000_0001, 0x8000_00E0]
                } else {
                    [5, 0x8000_0007]
                };
                let same = [event.declared, *kind].iter().all(|kind| pair.contains(kind));
                assert!(
                    same && verdict.image == Some(image()),
                    "event {} as {kind:#x}",
                    event.number
                );
            }
            relabelled += 1;
        }
    }
    assert!(relabelled > 100, "{relabelled}");
}

/// Where an event begins.
fn place(log: &[u8], event: &Event<'_>) -> usize {
    let data = event.data.as_ptr() as usize - log.as_ptr() as usize;
    // PCR, type, count; SHA-1 and SHA-256; length of the data.
    data - 4 - (2 + 20) - (2 + 32) - 12
}

#[test]
fn no_event_can_be_left_out_doubled_or_exchanged() {
    let honest = Case::of(&UKI);
    let log = EventLog::parse(UKI.log).unwrap();
    let places: Vec<usize> = log.events.iter().map(|event| place(UKI.log, event)).collect();
    let ends: Vec<usize> = places.iter().copied().skip(1).chain([UKI.log.len()]).collect();
    let verify = |event_log: Vec<u8>| {
        let mut evidence = honest.evidence.clone();
        evidence.tpm.event_log = event_log;
        honest
            .draft
            .verify(&evidence.to_bytes())
            .map(drop)
            .unwrap_err()
            .reason()
    };
    for (number, event) in log.events.iter().enumerate() {
        let (start, end) = (places[number], ends[number]);
        let without = [&UKI.log[..start], &UKI.log[end..]].concat();
        assert_eq!(verify(without), "log-replay", "event {} left out", event.number);
        let twice = [&UKI.log[..end], &UKI.log[start..]].concat();
        assert_eq!(verify(twice), "log-replay", "event {} doubled", event.number);
        let next = log.events[number + 1..].iter().position(|other| other.pcr == event.pcr);
        let Some(next) = next.map(|next| next + number + 1) else {
            continue;
        };
        if log.events[next].digest != event.digest {
            let exchanged = [
                &UKI.log[..start],
                &UKI.log[places[next]..ends[next]],
                &UKI.log[end..places[next]],
                &UKI.log[start..end],
                &UKI.log[ends[next]..],
            ];
            assert_eq!(verify(exchanged.concat()), "log-replay", "event {} later", event.number);
        }
    }
}

#[test]
fn a_flipped_bit_changes_no_verdict() {
    let honest = Case::of(&UKI);
    let verdict = honest.verify().unwrap();
    let mut accepted = 0;
    for at in 0..UKI.log.len() {
        let mut evidence = honest.evidence.clone();
        evidence.tpm.event_log[at] ^= 1 << (at % 8);
        if let Ok(other) = honest.draft.verify(&evidence.to_bytes()) {
            assert_eq!(other, verdict);
            accepted += 1;
        }
    }
    // SHA-1 digests, and data and types of PCRs whose events are taken as they are.
    assert!(accepted < UKI.log.len() / 3, "{accepted} of {}", UKI.log.len());
}

/// Evidence that a real box gave in that firmware, through `/dev/tpmrm0`, after an enrolment in two rounds.
#[test]
fn the_evidence_of_a_box_in_that_firmware_is_verified() {
    let trust = Trust::from_pem(include_bytes!("ovmf/box/trust.pem")).unwrap();
    let enrolment = Enrolment::from_bytes(include_bytes!("ovmf/box/enrolment")).unwrap();
    let honest = Manifest::from_bytes(include_bytes!("ovmf/box/manifest.json")).unwrap();
    let judge = |bundle: &[u8], manifest: &Manifest| {
        let policy = Policy {
            nonce: &from_hex("00112233445566778899aabbccddeeff00112233").unwrap(),
            manifest,
            trust: &trust,
            enrolment: &enrolment,
            previous: None,
            seen: None,
            accept_new_log: false,
            time: 1_795_774_700,
        };
        verify(bundle, &policy)
    };
    let bundle = include_bytes!("ovmf/box/bundle");
    let verdict = judge(bundle, &honest).unwrap();
    assert_eq!(
        (verdict.label.as_str(), verdict.server_name.as_str()),
        ("box in QEMU", "box.test")
    );
    assert!(verdict.proved.iter().any(|line| line.contains("Secure Boot was on")));
    let uses: Vec<&str> = verdict.keys.iter().map(|key| key.usage).collect();
    assert_eq!(uses, ["signing", "tls", "audit"]);
    type Change = (fn(&mut Manifest), &'static str);
    let changes: [Change; 4] = [
        (|m| m.pcr4_events = vec![Sha256::ZERO], "event-unknown"),
        (|m| m.values[0].sha256 = vec![Sha256::ZERO], "pcr-value-unknown"),
        (|m| m.binaries = vec![Sha256::ZERO], "binary-unknown"),
        (|m| m.pcr7_events = vec![Sha256::ZERO], "event-unknown"),
    ];
    for (change, reason) in changes {
        let mut manifest = honest.clone();
        change(&mut manifest);
        assert_eq!(judge(bundle, &manifest).unwrap_err().reason(), reason);
    }
    let mut evidence = Evidence::from_bytes(bundle).unwrap();
    evidence.tpm.event_log.pop();
    assert_eq!(
        judge(&evidence.to_bytes(), &honest).unwrap_err().reason(),
        "log-truncated"
    );
}
