//! Evidence of a running box, and its enrolment by an auditor: through files, against a TPM in software.

use crate::harness::{Server, Site, lamchat, program, text};
use crate::tpm::Swtpm;
use lamchat_attestation::simulation::{self, Boot};
use lamchat_attestation::{AttestationKey, Evidence, KeyUse, Sha256, public_key_info, to_hex};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What stands before the point of a P-256 key in a SubjectPublicKeyInfo (RFC 5480), behind its lengths.
const P256: [u8; 23] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42,
];

/// SHA-256 of the SubjectPublicKeyInfo in a certificate with a P-256 key.
fn key_of(certificate: &[u8]) -> Sha256 {
    let at = certificate
        .windows(P256.len())
        .position(|window| window == P256)
        .unwrap();
    Sha256::of(&certificate[at - 2..at - 2 + 91])
}

/// A TPM that measured the honest boot.
fn booted() -> Swtpm {
    let tpm = Swtpm::manufactured();
    let boot = Boot::honest();
    let specs = boot
        .measured()
        .map(|entry| format!("{}:sha256={}", entry.pcr, entry.digest));
    let arguments: Vec<String> = ["tpm2_pcrextend".to_owned()].into_iter().chain(specs).collect();
    tpm.tool(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tpm
}

fn config(tpm: &Swtpm, more: &str) -> String {
    let issuer = tpm.folder.path().join("ca/issuercert.pem");
    format!(
        "{}\n[attestation]\nevent_log = \"log\"\nuki = \"uki\"\nek_certificates = [\"{}\"]\n{more}",
        tpm.config(),
        issuer.display()
    )
}

/// A box with this TPM, whose firmware wrote the honest log.
fn boxed(tpm: &Swtpm, more: &str) -> Site {
    let site = Site::with(&config(tpm, more));
    std::fs::write(site.path("log"), Boot::honest().log()).unwrap();
    std::fs::write(site.path("uki"), b"uki").unwrap();
    site
}

/// An auditor's laptop.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(makers: &[&Swtpm]) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let roots = makers.iter().map(|tpm| {
            let root = tpm.folder.path().join("ca/swtpm-localca-rootca-cert.pem");
            std::fs::read_to_string(root).unwrap()
        });
        std::fs::write(desk.path("roots.pem"), roots.collect::<String>()).unwrap();
        let mut manifest = simulation::manifest();
        manifest.images[0].binary = Sha256::of(&std::fs::read(program()).unwrap());
        std::fs::write(desk.path("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        let public = desk.run(&["enrol", "public-key", "--key", "auditor.pem"]);
        let trust = std::fs::read_to_string(desk.path("roots.pem")).unwrap() + &public;
        std::fs::write(desk.path("trust.pem"), trust).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = lamchat(self.0.path(), &[&["attest"], arguments].concat(), "");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn challenge(&self, request: &Path) {
        let request = request.display().to_string();
        let ask = [
            "enrol",
            "challenge",
            &request,
            "--label",
            "rack 7",
            "--trust",
            "trust.pem",
        ];
        self.run(&[ask.as_slice(), &["--key", "auditor.pem", "--out", "challenge"]].concat());
    }

    fn finish(&self, answer: &Path) {
        let answer = answer.display().to_string();
        let finish = ["enrol", "finish", "challenge", &answer, "--key", "auditor.pem"];
        self.run(&[finish.as_slice(), &["--out", "enrolment"]].concat());
    }

    /// Both rounds with a box.
    fn enrol(&self, site: &Site) {
        done(site, &["attest", "enrol", "request", "--out", "request"]);
        self.challenge(&site.path("request"));
        let challenge = self.path("challenge").display().to_string();
        done(site, &["attest", "enrol", "activate", &challenge, "--out", "answer"]);
        self.finish(&site.path("answer"));
    }

    /// Exit code and verdict.
    fn verify(&self, bundle: &Path, nonce: &str, more: &[&str]) -> (i32, Value) {
        let (code, said, error) = self.attempt(bundle, nonce, more);
        let verdict = serde_json::from_str(&said);
        (code, verdict.unwrap_or_else(|_| panic!("{error}")))
    }

    /// Exit code, verdict, and what is said on standard error.
    fn attempt(&self, bundle: &Path, nonce: &str, more: &[&str]) -> (i32, String, String) {
        let bundle = bundle.display().to_string();
        let files = [
            "--reference",
            "manifest.json",
            "--trust",
            "trust.pem",
            "--enrolment",
            "enrolment",
            "--json",
        ];
        let arguments = [&["attest", "verify", &bundle, "--nonce", nonce], files.as_slice(), more].concat();
        let output = lamchat(self.0.path(), &arguments, "");
        let code = output.status.code().unwrap();
        (code, text(&output.stdout), text(&output.stderr))
    }

    fn rejects(&self, bundle: &Path, nonce: &str, more: &[&str]) -> String {
        let (code, verdict) = self.verify(bundle, nonce, more);
        assert_eq!(code, 1, "{verdict}");
        verdict["reason"].as_str().unwrap().to_owned()
    }
}

/// A command of the box that must succeed with nothing to complain about.
fn done(site: &Site, arguments: &[&str]) -> String {
    let output = site.command(arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
    text(&output.stdout)
}

fn fails(site: &Site, arguments: &[&str]) -> String {
    let output = site.command(arguments, "");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn nonce(byte: u8) -> String {
    to_hex(&[byte; 20])
}

/// A bundle in a file of the box, and what it says.
fn quote(site: &Site, nonce: &str, name: &str) -> (PathBuf, Evidence) {
    done(site, &["attest", "quote", "--nonce", nonce, "--out", name]);
    let path = site.path(name);
    let evidence = Evidence::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
    (path, evidence)
}

fn has_key(evidence: &Evidence, usage: KeyUse, sha256: Sha256) -> bool {
    let mut keys = evidence.claims.keys.iter();
    keys.any(|key| key.usage == usage && key.sha256 == sha256)
}

/// The public signing key, as the audit log has it.
fn signing_key(site: &Site) -> Sha256 {
    use base64::Engine;
    let log = done(site, &["audit", "show", "--json"]);
    let at = log.rfind("ed25519:").unwrap();
    let public = log[at..].split_whitespace().nth(1).unwrap();
    let public: String = public.chars().take(43).collect();
    Sha256::of(&base64::engine::general_purpose::STANDARD_NO_PAD.decode(public).unwrap())
}

/// An independent judge: tpm2-tools accept the quote, and not one for other qualifying data.
fn check_quote(tpm: &Swtpm, site: &Site, evidence: &Evidence) {
    let key = AttestationKey::parse(&evidence.tpm.ak_public).unwrap();
    let pem = simulation::pem("PUBLIC KEY", &public_key_info(&key.point));
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(site.path(name), bytes).unwrap();
        site.path(name).display().to_string()
    };
    let (key, message) = (write("ak.pem", pem.as_bytes()), write("message", &evidence.tpm.quote));
    let signature = write("signature", &evidence.tpm.signature);
    let check = |qualifying: Sha256| {
        let mut command = Command::new("tpm2_checkquote");
        command.args(["-u", &key, "-m", &message, "-s", &signature, "-g", "sha256", "-q"]);
        command.arg(to_hex(&qualifying.0)).output().unwrap().status.success()
    };
    let honest = evidence.claims.qualifying_data(&evidence.nonce);
    assert!(check(honest), "tpm2_checkquote refuses the bundle's quote");
    assert!(!check(Sha256::of(&honest.0)), "tpm2_checkquote accepts anything");
    let values = tpm.tool(&["tpm2_pcrread", "sha256:7"]);
    let seven = evidence.tpm.pcrs.iter().find(|value| value.pcr == 7).unwrap();
    assert!(values.to_lowercase().contains(&seven.sha256.to_string()), "{values}");
}

#[test]
fn a_box_is_enrolled_and_its_evidence_verified() {
    let tpm = booted();
    let site = boxed(&tpm, "");
    let server = site.start();
    let desk = Desk::new(&[&tpm]);
    desk.enrol(&site);
    let began = Instant::now();
    let (first, evidence) = quote(&site, &nonce(1), "first");
    println!("quote, with its command: {:?}", began.elapsed());
    let began = Instant::now();
    let (code, verdict) = desk.verify(&first, &nonce(1), &[]);
    println!("verify, with its command: {:?}", began.elapsed());
    assert_eq!(code, 0, "{verdict}");
    assert_eq!(verdict["facts"]["label"], "rack 7");
    assert_eq!(verdict["facts"]["server_name"], "localhost");
    check_quote(&tpm, &site, &evidence);

    // What the bundle says is what clients see and what the log has.
    assert!(has_key(
        &evidence,
        KeyUse::Tls,
        key_of(&server.client().server_certificate())
    ));
    assert!(has_key(&evidence, KeyUse::Signing, signing_key(&site)));
    assert_eq!(evidence.claims.configuration, canonical(&site));
    // How much a stolen disk is worth, as the key holder says.
    let seal = evidence.claims.seal.clone().unwrap();
    assert_eq!(seal, "not at all: a file beside the keys opens them");
    done(&site, &["audit", "export", "log.txt"]);
    let export = std::fs::read_to_string(site.path("log.txt")).unwrap();
    let head = String::from_utf8(evidence.claims.audit_checkpoint.clone().unwrap()).unwrap();
    assert!(export.contains(head.lines().next().unwrap()), "{head}");

    // A bundle of before, an exchanged key, and the same TPM after more acts.
    server.account("ada");
    let (second, _) = quote(&site, &nonce(2), "second");
    let first_path = first.display().to_string();
    let (code, verdict) = desk.verify(&second, &nonce(2), &["--previous", &first_path]);
    assert_eq!(code, 0, "{verdict}");
    for since in ["since_previous", "since_seen"] {
        assert_eq!(verdict["facts"][since]["audit"], "length-only", "{since}");
    }
    the_log_goes_on(&desk, &site, &second);
    assert_eq!(desk.rejects(&first, &nonce(2), &[]), "nonce-foreign");
    assert_eq!(
        desk.rejects(&first, &nonce(2), &["--previous", &first_path]),
        "nonce-stale"
    );
    let second_path = second.display().to_string();
    assert_eq!(
        desk.rejects(&first, &nonce(1), &["--previous", &second_path]),
        "clock-went-back"
    );
    let tls = evidence
        .claims
        .keys
        .iter()
        .find(|key| key.usage == KeyUse::Tls)
        .unwrap();
    let forged = std::fs::read_to_string(&first).unwrap();
    let forged = forged.replace(&tls.sha256.to_string(), &Sha256::of(b"mine").to_string());
    std::fs::write(site.path("forged"), forged).unwrap();
    assert_eq!(desk.rejects(&site.path("forged"), &nonce(1), &[]), "qualifying-data");

    // Files are never overwritten; a nonce is what it should be.
    let error = fails(&site, &["attest", "quote", "--nonce", &nonce(1), "--out", "first"]);
    assert!(error.contains("first"), "{error}");
    let error = fails(&site, &["attest", "quote", "--nonce", "00"]);
    assert!(error.contains("hexadecimal digits"), "{error}");
    // Without a file it is printed as it is.
    let printed = done(&site, &["attest", "quote", "--nonce", &nonce(3)]);
    Evidence::from_bytes(printed.as_bytes()).unwrap();
    assert!(done(&site, &["audit", "show"]).contains("attestation.activate"));
    server.stop();
}

/// An export shows that the audit log goes on; one of before, and one of another log, do not.
fn the_log_goes_on(desk: &Desk, site: &Site, second: &Path) {
    done(site, &["audit", "export", "later.txt"]);
    let path = |name: &str| site.path(name).display().to_string();
    let audit = |name: &str| desk.attempt(second, &nonce(2), &["--audit", &path(name)]);
    let (code, _, error) = audit("log.txt");
    assert!(
        code == 2 && error.contains("make the export after the bundle"),
        "{error}"
    );
    let other = Site::new();
    let server = other.start();
    server.account("eve");
    done(&other, &["audit", "export", "log.txt"]);
    server.stop();
    std::fs::copy(other.path("log.txt"), site.path("other.txt")).unwrap();
    let (code, said, _) = audit("other.txt");
    assert!(code == 1 && said.contains("audit-export-differs"), "{said}");
    let whole = std::fs::read_to_string(site.path("later.txt")).unwrap();
    // The last entry before the head, left out.
    let at = whole.rfind("\nentry ").unwrap();
    let end = at + 1 + whole[at + 1..].find('\n').unwrap();
    std::fs::write(site.path("cut.txt"), format!("{}{}", &whole[..at], &whole[end..])).unwrap();
    let (code, said, _) = audit("cut.txt");
    assert!(code == 1 && said.contains("audit-export-differs"), "{said}");
    let (code, verdict) = desk.verify(second, &nonce(2), &["--audit", &path("later.txt")]);
    assert_eq!(code, 0, "{verdict}");
    assert_eq!(verdict["facts"]["audit_exported"], true);
    let proved = verdict["facts"]["proved"].to_string();
    assert!(
        proved.contains("the audit log continues the one of the bundle that was accepted last"),
        "{proved}"
    );
}

#[test]
fn another_tpm_is_another_box_and_without_one_there_is_no_evidence() {
    let (mut tpm, other) = (booted(), booted());
    let site = boxed(&tpm, "");
    let server = site.start();
    let (maker, both) = (Desk::new(&[&tpm]), Desk::new(&[&tpm, &other]));
    maker.enrol(&site);
    std::fs::copy(maker.path("enrolment"), both.path("enrolment")).unwrap();
    std::fs::copy(maker.path("auditor.pem"), both.path("auditor.pem")).unwrap();
    let public = both.run(&["enrol", "public-key", "--key", "auditor.pem"]);
    let roots = std::fs::read_to_string(both.path("roots.pem")).unwrap();
    std::fs::write(both.path("trust.pem"), roots + &public).unwrap();
    server.stop();

    // The same disk beside another TPM.
    site.configure(&config(&other, ""));
    let server = site.start();
    let (bundle, _) = quote(&site, &nonce(1), "other");
    // Both makers go by the same name.
    assert_eq!(maker.rejects(&bundle, &nonce(1), &[]), "ek-chain-signature");
    assert_eq!(both.rejects(&bundle, &nonce(1), &[]), "ek-not-certified");
    let challenge = maker.path("challenge").display().to_string();
    let error = fails(&site, &["attest", "enrol", "activate", &challenge]);
    assert!(error.contains("another TPM"), "{error}");
    let error = fails(&site, &["attest", "enrol", "activate", "uki"]);
    assert!(error.contains("The challenge cannot be used"), "{error}");
    server.stop();

    site.configure(&config(&tpm, ""));
    let server = site.start();
    tpm.stop();
    for arguments in [
        ["attest", "quote", "--nonce", &nonce(1)].as_slice(),
        &["attest", "enrol", "request"],
        &["attest", "enrol", "activate", &challenge],
    ] {
        let error = fails(&site, arguments);
        assert!(
            error.to_lowercase().contains("there is no tpm at"),
            "{arguments:?}: {error}"
        );
    }
    // Everything else goes on.
    server.account("ada");
    server.stop();
    site.configure(&format!("{}\n[seal]\ntpm = \"none\"\n", crate::harness::CONFIG));
    let server = site.start();
    let error = fails(&site, &["attest", "quote", "--nonce", &nonce(1)]);
    assert!(error.contains("seal.tpm = \"none\""), "{error}");
    server.stop();
}

/// What `lamchat config canonical` hashes to.
fn canonical(site: &Site) -> Sha256 {
    Sha256::of(done(site, &["config", "canonical"]).as_bytes())
}

/// Asks the endpoint as anybody can.
fn ask(server: &Server, nonce: &str) -> crate::harness::Reply {
    server
        .plain_client()
        .get(&format!("/_lamchat/v1/attestation?nonce={nonce}"))
}

#[test]
fn the_endpoint_is_off_until_the_operator_wants_it_and_limited_then() {
    let tpm = booted();
    // A certificate of the operator's own, beside that of the local authority.
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let listener = "\n[[listeners]]\nport = 0\nresources = [\"client\"]\ntls_certificate = \"own.pem\"\n\
                    tls_private_key = \"own.key\"\n";
    let site = boxed(&tpm, listener);
    std::fs::write(site.path("own.pem"), own.cert.pem()).unwrap();
    std::fs::write(site.path("own.key"), own.signing_key.serialize_pem()).unwrap();
    let server = site.start();
    assert_eq!(ask(&server, &nonce(1)).refusal(), (404, "M_UNRECOGNIZED".to_owned()));
    let (_, before) = quote(&site, &nonce(1), "before");

    let on = "endpoint = true\nrate_by_address = \"1/h burst 2\"\n";
    site.configure(&config(&tpm, &format!("{on}{listener}")));
    server.signal("HUP");
    server.wait_for_log("the configuration was reloaded");
    assert_eq!(ask(&server, "00").refusal(), (400, "M_INVALID_PARAM".to_owned()));
    let reply = ask(&server, &nonce(2));
    assert_eq!(reply.status, 200, "{}", text(&reply.body));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let evidence = Evidence::from_bytes(&reply.body).unwrap();
    let desk = Desk::new(&[&tpm]);
    desk.enrol(&site);
    std::fs::write(site.path("bundle"), &reply.body).unwrap();
    let (code, verdict) = desk.verify(&site.path("bundle"), &nonce(2), &[]);
    assert_eq!(code, 0, "{verdict}");
    assert!(has_key(&evidence, KeyUse::TlsFile, key_of(own.cert.der())));
    assert_eq!(evidence.claims.configuration, canonical(&site));
    assert_ne!(evidence.claims.configuration, before.claims.configuration);

    assert_eq!(ask(&server, &nonce(3)).status, 200);
    let limited = ask(&server, &nonce(4));
    assert_eq!(limited.refusal(), (429, "M_LIMIT_EXCEEDED".to_owned()));
    assert!(limited.json()["retry_after_ms"].as_u64().unwrap() > 1_000);
    assert!(limited.header("retry-after").is_some());
    // This machine's own command is not limited.
    quote(&site, &nonce(5), "after");
    server.stop();
}

/// Where nothing measures, evidence is given and says what it lacks.
#[test]
fn what_is_missing_is_said_on_standard_error() {
    let tpm = Swtpm::manufactured();
    let site = Site::with(&tpm.config());
    let server = site.start();
    let output = site.command(&["attest", "quote", "--nonce", &nonce(1), "--out", "bundle"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(
        said.contains("no event log") && said.contains("attestation.event_log"),
        "{said}"
    );
    let made = site.command_json(&["attest", "quote", "--nonce", &nonce(1)], "");
    assert_eq!(made["missing"].as_array().unwrap().len(), 1, "{made}");
    server.stop();
    site.configure(&format!(
        "{}[attestation]\nek_certificates = [\"none.pem\"]\n",
        tpm.config()
    ));
    let refused = site.command(&[], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("none.pem"), "{}", text(&refused.stderr));
}

/// A TPM that keeps its certificate without the intermediate, and an operator who brings that.
#[test]
fn what_the_tpm_does_not_keep_of_its_chain_is_brought_and_kept() {
    let tpm = booted();
    let event_log = "\n[attestation]\nevent_log = \"log\"\nuki = \"uki\"\n";
    let site = Site::with(&format!("{}{event_log}", tpm.config()));
    std::fs::write(site.path("log"), Boot::honest().log()).unwrap();
    std::fs::write(site.path("uki"), b"uki").unwrap();
    let server = site.start();
    let issuer = tpm.folder.path().join("ca/issuercert.pem").display().to_string();
    let (request, whole) = (site.path("request"), site.path("whole"));
    let asked = |name: &str| {
        done(&site, &["attest", "enrol", "request", "--out", name]);
        let file = std::fs::read(site.path(name)).unwrap();
        lamchat_attestation::Request::from_bytes(&file).unwrap().ek_certificates
    };
    assert!(done(&site, &["attest", "ek-certificates"]).contains("No certificates are kept"));
    let alone = asked("request");
    assert_eq!(alone.len(), 1);

    // The auditor can bring it as well.
    let desk = Desk::new(&[&tpm]);
    let refused = |request: &Path| {
        let request = request.display().to_string();
        let ask = [
            "attest",
            "enrol",
            "challenge",
            &request,
            "--label",
            "x",
            "--trust",
            "trust.pem",
        ];
        let more = ["--key", "auditor.pem", "--out", "refused"];
        text(&lamchat(desk.0.path(), &[&ask[..], &more[..]].concat(), "").stderr)
    };
    let error = refused(&request);
    assert!(error.contains("leads to no root that is trusted"), "{error}");

    // Nothing is kept of what cannot be read.
    std::fs::write(
        site.path("torn"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let error = fails(&site, &["attest", "ek-certificates", &issuer, "torn"]);
    assert!(error.contains("Nothing was kept"), "{error}");
    assert!(done(&site, &["attest", "ek-certificates"]).contains("No certificates are kept"));
    let shown = done(&site, &["attest", "ek-certificates", &issuer]);
    assert!(shown.contains("SUBJECT"), "{shown}");
    assert!(done(&site, &["audit", "show"]).contains("attestation.ek-certificates"));
    server.stop();

    // They are told to the key holder at each start.
    let server = site.start();
    assert_eq!(done(&site, &["attest", "ek-certificates"]), shown);
    assert_eq!(asked("whole").len(), 2);
    desk.challenge(&whole);
    let challenge = desk.path("challenge").display().to_string();
    done(&site, &["attest", "enrol", "activate", &challenge, "--out", "answer"]);
    desk.finish(&site.path("answer"));
    let (bundle, _) = quote(&site, &nonce(1), "bundle");
    let (code, verdict) = desk.verify(&bundle, &nonce(1), &[]);
    assert_eq!(code, 0, "{verdict}");
    done(&site, &["attest", "ek-certificates", "--remove"]);
    assert_eq!(asked("again"), alone);
    server.stop();
}

/// On an ordinary distribution, with the file slot gone, the evidence says how little PCR 7 is.
#[test]
fn evidence_of_keys_that_hang_on_pcr_7_says_so() {
    let tpm = booted();
    let site = boxed(&tpm, "");
    let server = site.start();
    let recovery = site.command_json(&["seal", "add-recovery"], "");
    let key = recovery["recovery_key"].as_str().unwrap();
    let made = site.command_json(&["seal", "init", "--force"], "");
    let slots = made["slots"].as_array().unwrap();
    let file = slots.iter().find(|slot| slot["kind"] == "file").unwrap()["id"].to_string();
    let shown = text(&site.command(&["seal", "status"], "").stdout);
    assert!(
        shown.contains("PCR 7 is Secure Boot") && shown.contains("can be computed in advance: yes, from the variables"),
        "{shown}"
    );
    // As long as a file beside the keys opens them, the TPM's slot is worth nothing.
    let (_, before) = quote(&site, &nonce(1), "before");
    assert!(before.claims.seal.unwrap().starts_with("not at all"));
    let removed = site.command(&["seal", "remove", &file], &format!("{key}\n"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    server.stop();
    let server = site.start();
    let desk = Desk::new(&[&tpm]);
    desk.enrol(&site);
    let (bundle, evidence) = quote(&site, &nonce(2), "bundle");
    let seal = evidence.claims.seal.unwrap();
    assert!(seal.contains("PCR 7 only"), "{seal}");
    let (code, verdict) = desk.verify(&bundle, &nonce(2), &[]);
    assert_eq!(code, 0, "{verdict}");
    assert_eq!(verdict["facts"]["seal"], seal.as_str());
    assert!(
        verdict["facts"]["claimed"].to_string().contains("PCR 7 only"),
        "{verdict}"
    );
    server.stop();
}
