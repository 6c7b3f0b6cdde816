//! Every forgery is rejected for its own reason, and the honest evidence is accepted.

use crate::forgeries::{SOFTWARE, on_tpm};
use crate::swtpm::Swtpm;
use lamchat_attestation::simulation::{self, Boot, Draft, SoftwareAuditor};
use lamchat_attestation::{
    ClaimsBy, Enrolment, Evidence, Manifest, Mark, Policy, Rejection, Trust, Verdict, to_hex, verify,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const FIRST_NONCE: [u8; 20] = [1; 20];
pub const SECOND_NONCE: [u8; 20] = [2; 20];

/// One verification.
pub struct Scene {
    pub evidence: Evidence,
    /// The file, when it is not that of the evidence.
    pub file: Option<Vec<u8>>,
    pub nonce: Vec<u8>,
    pub manifest: Manifest,
    pub trust: Trust,
    pub enrolment: Enrolment,
    pub previous: Option<Evidence>,
    pub seen: Option<Mark>,
    pub accept_new_log: bool,
    pub time: u64,
}

impl Scene {
    pub fn verify(&self) -> Result<Verdict, Rejection> {
        let file = self.file.clone().unwrap_or_else(|| self.evidence.to_bytes());
        let policy = Policy {
            nonce: &self.nonce,
            manifest: &self.manifest,
            trust: &self.trust,
            enrolment: &self.enrolment,
            previous: self.previous.as_ref(),
            seen: self.seen.as_ref(),
            accept_new_log: self.accept_new_log,
            time: self.time,
        };
        verify(&file, &policy)
    }

    /// Changes the file's text in one place.
    pub fn replace(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.evidence.to_bytes()).unwrap();
        assert!(text.contains(from), "{from} is not in the bundle");
        self.file = Some(text.replacen(from, to, 1).into_bytes());
    }
}

/// A real TPM's evidence of two boots, and quotes of it over other selections.
pub struct World {
    pub first: Evidence,
    pub second: Evidence,
    /// Quote and signature over the named selection, bound as the second evidence is.
    pub selections: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
    /// The certificate of another endorsement key of the same maker.
    pub other_certificate: Vec<u8>,
    root: Vec<u8>,
    auditor: SoftwareAuditor,
    enrolment: Enrolment,
    now: u64,
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut tpm = Swtpm::new();
        let boot = Boot::honest();
        let auditor = SoftwareAuditor::new();
        let enrolment = crate::enrolment::enrol(&tpm, &auditor);
        tpm.boot(&boot);
        let first = tpm.evidence(&FIRST_NONCE, simulation::claims(), &boot);
        tpm.reset();
        tpm.boot(&boot);
        let second = tpm.evidence(&SECOND_NONCE, simulation::claims(), &boot);
        checkquote(&tpm, &second);
        let qualifying = second.claims.qualifying_data(&SECOND_NONCE);
        let names = [
            "sha256:0,1,2,3,4,5,6,7,9,11,12",
            "sha256:0,1,2,3,4,5,6,7,9,11,12,13,14",
            "sha256:0,1,2,3,4,5,6,7,9,11,12,14",
            "sha1:0,1,2,3,4,5,6,7,9,11,12,13",
            "sha1:0+sha256:0,1,2,3,4,5,6,7,9,11,12,13",
        ];
        let selections = names.map(|name| {
            let (quote, signature) = tpm.quote(name, &qualifying);
            (name, quote, signature)
        });
        World {
            first,
            second,
            selections: selections.to_vec(),
            other_certificate: tpm.read("ek-secp384r1.crt"),
            root: tpm.root(),
            auditor,
            enrolment,
            now: now(),
        }
    })
}

/// The independent judge: tpm2-tools accept the quote that the bundle has.
fn checkquote(tpm: &Swtpm, evidence: &Evidence) {
    tpm.tool("readpublic", &["-c", "ak.ctx", "-f", "pem", "-o", "ak.pem"]);
    std::fs::write(tpm.path("bundle.quote"), &evidence.tpm.quote).unwrap();
    std::fs::write(tpm.path("bundle.signature"), &evidence.tpm.signature).unwrap();
    let qualifying = to_hex(&evidence.claims.qualifying_data(&evidence.nonce).0);
    let check = |qualifying: &str| {
        let files = [
            "-u",
            "ak.pem",
            "-m",
            "bundle.quote",
            "-s",
            "bundle.signature",
            "-f",
            "pcrs",
        ];
        let mut command = tpm.command("checkquote", &files);
        command
            .args(["-g", "sha256", "-q", qualifying])
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(check(&qualifying), "tpm2_checkquote refuses the bundle's quote");
    assert!(
        !check(&qualifying.replace(['0', '1'], "2")),
        "tpm2_checkquote accepts anything"
    );
}

pub fn tpm_scene() -> Scene {
    let world = world();
    Scene {
        evidence: world.second.clone(),
        file: None,
        nonce: SECOND_NONCE.to_vec(),
        manifest: simulation::manifest(),
        trust: simulation::trust(&[&world.root], &[&world.auditor]),
        enrolment: world.enrolment.clone(),
        previous: Some(world.first.clone()),
        seen: None,
        accept_new_log: false,
        time: world.now,
    }
}

/// What a software box gives, and what is expected of it.
pub fn scene(draft: Draft) -> Scene {
    Scene {
        evidence: draft.evidence(),
        file: None,
        nonce: simulation::NONCE.to_vec(),
        manifest: draft.manifest,
        trust: draft.made.trust,
        enrolment: draft.made.enrolment,
        previous: None,
        seen: None,
        accept_new_log: false,
        time: simulation::TIME,
    }
}

#[test]
fn honest_evidence_of_a_real_tpm_is_accepted() {
    let scene = tpm_scene();
    let verdict = scene.verify().unwrap();
    let make = verdict.tpm.unwrap();
    // IBM's number among PCI vendors: what swtpm_localca writes when it is not told another.
    assert_eq!((make.manufacturer, make.model.as_str()), (0x1014, "swtpm"));
    let since = verdict.since_previous.unwrap();
    assert!(since.resets >= 1, "{since:?}");
    assert_eq!(verdict.image.unwrap(), scene.manifest.images[0]);
    assert!(verdict.proved.iter().any(|line| line.contains("Secure Boot was on")));
    assert!(verdict.not_provable.iter().any(|line| line.contains("BMC")));
    assert_eq!(
        Evidence::from_bytes(&scene.evidence.to_bytes()).unwrap(),
        scene.evidence
    );
}

#[test]
fn honest_evidence_of_a_software_tpm_is_accepted() {
    let make = scene(Draft::honest()).verify().unwrap().tpm.unwrap();
    assert_eq!((make.letters().as_str(), make.model.as_str()), ("IFX", "SLB9670"));
    // Started from locality 3, as processors with a measured start do.
    let mut draft = Draft::honest();
    draft.made.boot.locality = 3;
    *draft.made.boot.entries[0].data.last_mut().unwrap() = 3;
    scene(draft).verify().unwrap();
}

/// What no PCR covers, in the words of the verdict.
const CLAIMS: [&str; 6] = [
    "the exchange is example.org",
    "its configuration without secrets is ",
    "its own keys are sealed like this: ",
    "the audit log example.org/audit has 42 entries",
    "the version calls itself 1.2.3",
    "the box's own clock said ",
];
const KEYS: &str = "the program holds these keys: ";

pub fn has(list: &[String], start: &str) -> bool {
    list.iter().any(|line| line.starts_with(start))
}

#[test]
fn with_an_image_program_and_keys_are_proved_and_its_words_are_claimed() {
    let verdict = scene(Draft::honest()).verify().unwrap();
    assert_eq!(verdict.claims_by, ClaimsBy::ProvedProgram);
    assert!(has(&verdict.proved, "the program in that image is ") && has(&verdict.proved, KEYS));
    for claim in CLAIMS {
        assert!(has(&verdict.claimed, claim) && !has(&verdict.proved, claim), "{claim}");
    }
    assert!(!has(&verdict.claimed, KEYS) && !has(&verdict.claimed, "the program is "));
}

#[test]
fn without_an_image_program_and_keys_are_claimed_as_well() {
    let mut draft = Draft::honest();
    draft.claims.uki = None;
    draft.manifest.images.clear();
    draft.manifest.pcr4_events.clear();
    draft.manifest.binaries = vec![draft.claims.binary];
    let mut scene = scene(draft);
    scene.previous = Some(scene.evidence.clone());
    let verdict = scene.verify().unwrap();
    assert_eq!((verdict.image, verdict.claims_by), (None, ClaimsBy::UnprovedProgram));
    for claim in CLAIMS
        .iter()
        .chain(&[KEYS, "the program is ", "the audit log has the same head"])
    {
        assert!(has(&verdict.claimed, claim) && !has(&verdict.proved, claim), "{claim}");
    }
    assert!(!verdict.proved.iter().any(|line| line.contains("program")));
    // The TPM itself signs its counters.
    assert!(has(&verdict.proved, "since the previous bundle: 0 resets"));
}

#[test]
fn the_seal_is_told_and_evidence_of_before_is_accepted_without_it() {
    let verdict = scene(Draft::honest()).verify().unwrap();
    let said = |verdict: &Verdict| {
        verdict
            .claimed
            .iter()
            .any(|line| line.contains("sealed like this: PCR 7 only"))
    };
    assert!(said(&verdict));
    let mut draft = Draft::honest();
    draft.claims.seal = None;
    let before = scene(draft);
    let file = String::from_utf8(before.evidence.to_bytes()).unwrap();
    assert!(file.starts_with("{\"eat_profile\":\"urn:x-lamchat:evidence:1\"") && !file.contains("\"seal\""));
    let verdict = before.verify().unwrap();
    assert!(verdict.seal.is_none() && !said(&verdict));
}

#[test]
fn every_forgery_is_rejected_for_its_own_reason() {
    let mut reasons = BTreeSet::new();
    let mut judge = |name: &str, expected: &str, scene: &Scene| {
        let rejection = match scene.verify() {
            Ok(_) => panic!("{name} was accepted"),
            Err(rejection) => rejection,
        };
        assert_eq!(rejection.reason(), expected, "{name}: {rejection}");
        assert!(!rejection.to_string().is_empty());
        reasons.insert(rejection.reason());
    };
    for (name, reason, forge) in on_tpm() {
        let mut scene = tpm_scene();
        forge(&mut scene, world());
        judge(name, reason, &scene);
    }
    for (name, reason, forge) in SOFTWARE {
        judge(name, reason, &forge(Draft::honest()));
    }
    let count = on_tpm().count() + SOFTWARE.len();
    println!("{count} forgeries, {} reasons", reasons.len());
    assert!(count >= 40 && reasons.len() >= 40);
}

#[test]
fn each_flipped_byte_of_a_real_bundle_is_noticed() {
    let mut scene = tpm_scene();
    let file = scene.evidence.to_bytes();
    let mut unnoticed = Vec::new();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        scene.file = Some(changed);
        if scene.verify().is_ok() {
            unnoticed.push(at);
        }
    }
    // What nothing vouches for is in the log alone: digests of other banks, and data that is in no digest.
    let text = String::from_utf8(file).unwrap();
    let log = text.find("\"event_log\":").unwrap();
    assert!(unnoticed.iter().all(|at| *at > log), "{:?}", unnoticed.first());
    println!("{} of {} bytes unnoticed, all in the log", unnoticed.len(), text.len());
}

#[test]
fn a_verdict_takes_less_than_a_second() {
    let usual = tpm_scene();
    let mut large = Draft::honest();
    // A log at its limits: 8,000 events.
    for number in 1000..8900u32 {
        large.made.boot.hashed(5, 0x8000_0007, &number.to_le_bytes());
    }
    let large = scene(large);
    for (name, scene) in [("usual log", &usual), ("log of 8,000 events", &large)] {
        let began = Instant::now();
        scene.verify().unwrap();
        let took = began.elapsed();
        println!("{name}, {} bytes: {took:?}", scene.evidence.to_bytes().len());
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
    }
}
