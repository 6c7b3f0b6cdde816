//! The file's grammar, its errors, and that the example cannot drift.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::{example, parse};
use crate::{Change, Config, ConfigError, Problem, RegistrationMode, Resource, sections};
use std::path::Path;
use std::time::Duration;

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Path::new("x/lamchat.toml")) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

fn only(text: &str) -> Problem {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(parse(&example(), Path::new("")).unwrap(), Config::default());
    assert_eq!(parse("", Path::new("")).unwrap(), Config::default());
}

#[test]
fn the_example_has_every_key_with_a_sentence() {
    let (mut section, mut documented, mut before) = (String::new(), Vec::new(), "".to_owned());
    for line in example().lines() {
        let key = line
            .strip_prefix('#')
            .unwrap_or(line)
            .split_once(" = ")
            .map(|(key, _)| key);
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            documented.push(section.clone());
        } else if let Some(key) = key.filter(|key| !key.contains(' ')) {
            assert!(
                before.starts_with("# ") && before.ends_with(['.', ')']),
                "{key} has no sentence"
            );
            documented.push(crate::reader::join(&section, key));
        }
        line.clone_into(&mut before);
    }
    let mut known = sections::known_keys();
    known.sort();
    documented.sort();
    assert_eq!(documented, known);
}

#[test]
fn the_samples_parse() {
    // Every sample that stands behind `#key = ` must be accepted by its own key.
    let text = example();
    for (number, line) in text.lines().enumerate() {
        let Some(sample) = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with(' ') && rest.contains(" = "))
        else {
            continue;
        };
        let uncommented: Vec<&str> = text
            .lines()
            .enumerate()
            .map(|(other, line)| if other == number { sample } else { line })
            .collect();
        let result = parse(&uncommented.join("\n"), Path::new(""));
        let Err(error) = result else { continue };
        let lone = sample.starts_with("tls_") || sample.starts_with("shared_secret");
        assert!(lone && !error.to_string().contains("expected"), "{error}");
    }
}

#[test]
fn the_issue_file_is_understood() {
    let text = r#"
        server_name = "example.org"
        public_baseurl = "https://chat.example.org/"
        data_dir = "/var/lib/lamchat"
        [[listeners]]
        address = "0.0.0.0"
        port = 8448
        tls_certificate = "cert.pem"
        tls_private_key = "key.pem"
        resources = ["client", "federation", "media", "admin"]
        [[listeners]]
        address = "127.0.0.1"
        port = 8008
        resources = ["client"]
        [outbound]
        extra_ca_certificates = ["ca.pem"]
        deny_private_addresses = true
        [registration]
        mode = "open"
        shared_secret = "s3cret"
        guests = false
        password_hash = "minimum"
        [limits]
        enabled = true
        upload_bytes_max = 104857600
        [rooms]
        default_version = "12"
        public_list_without_auth = false
    "#;
    let config = parse(text, Path::new("/etc/lamchat/lamchat.toml")).unwrap();
    assert_eq!(
        config.listeners[0].tls_certificate.as_deref(),
        Some(Path::new("/etc/lamchat/cert.pem"))
    );
    assert!(!config.listeners[0].tls_local_authority);
    assert!(!config.listeners[1].tls_local_authority, "no TLS keys: plain HTTP");
    assert_eq!(config.listeners[1].resources, [Resource::Client]);
    assert_eq!(
        config.outbound.extra_ca_certificates,
        [Path::new("/etc/lamchat/ca.pem")]
    );
    assert_eq!(config.registration.mode, RegistrationMode::Open);
    assert_eq!(config.data_dir, Path::new("/var/lib/lamchat"));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!config.document().contains("s3cret"));
}

#[test]
fn unknown_keys_name_the_nearest_and_the_line() {
    let problem = only("server_name = \"a.b\"\n\n[limits]\nupload_byte_max = 5\n");
    assert_eq!((problem.line, problem.key.as_str()), (4, "limits.upload_byte_max"));
    assert!(problem.message.contains("`upload_bytes_max`"), "{}", problem.message);
    let problem = only("sever_name = \"a.b\"");
    assert!(problem.message.contains("`server_name`"), "{}", problem.message);
    let problem = only("[limts]\nenabled = true");
    assert!(problem.message.contains("`limits`"), "{}", problem.message);
    let problem = only("[[listeners]]\nport = 1\nadress = \"::\"");
    assert_eq!((problem.line, problem.key.as_str()), (3, "listeners[0].adress"));
    assert!(problem.message.contains("`address`"), "{}", problem.message);
    let problem = only("upload_bytes_max = 1");
    assert!(problem.message.contains("[limits]"), "{}", problem.message);
}

#[test]
fn wrong_types_name_the_line() {
    let problem = only("server_name = \"a.b\"\n[limits]\nenabled = \"yes\"");
    assert_eq!(problem.line, 3);
    assert_eq!(problem.message, "expected true or false, found a string");
    assert!(only("[[listeners]]\nport = 70000").message.contains("65535"));
    assert!(only("[[listeners]]\nport = -1").message.contains("65535"));
    assert!(
        only("[[listeners]]\nresources = [\"client\", \"cleint\"]")
            .message
            .contains("\"cleint\"")
    );
    assert!(only("limits = 3").message.contains("[limits]"));
    assert!(only("[listeners]\nport = 3").message.contains("[[listeners]]"));
    assert_eq!(only("server_name = \"a.b\"\nx = [").line, 2);
}

#[test]
fn every_problem_is_told_at_once() {
    let found = problems("server_name = \"https://a.b\"\n[limits]\nenabled = 1\nfoo = 2\n");
    assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn server_names() {
    for good in [
        "example.org",
        "example.org:8448",
        "1.2.3.4:8448",
        "[::1]:8448",
        "localhost",
    ] {
        parse(&format!("server_name = {good:?}"), Path::new("")).unwrap();
    }
    for bad in ["", "https://a.b", "a b", "@u:a.b", "a.b:", "a.b:99999", "a.b:0", "a/b"] {
        assert_eq!(only(&format!("server_name = {bad:?}")).line, 1, "{bad}");
    }
}

#[test]
fn base_urls() {
    let url =
        |text: &str| parse(&format!("public_baseurl = {text:?}"), Path::new("")).map(|c| c.public_baseurl.unwrap());
    assert_eq!(url("https://a.b").unwrap().as_str(), "https://a.b/");
    assert_eq!(url("https://a.b:8/x/").unwrap().authority(), "a.b:8");
    assert!(url("http://localhost:8008").is_ok());
    for bad in ["http://a.b", "a.b", "ftp://a.b", "https://", "https://a.b/?x"] {
        assert!(url(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_belongs_together() {
    assert!(
        only("[[listeners]]\ntls_certificate = \"c\"")
            .message
            .contains("tls_private_key")
    );
    assert!(
        only("[[listeners]]\ntls_private_key = \"c\"")
            .message
            .contains("tls_certificate")
    );
    assert!(only("[rooms]\ndefault_version = \"5\"").message.contains("\"12\""));
    assert!(only("[registration]\nshared_secret = \"x\"").message.contains("admin"));
    assert!(only("[limits]\nupload_bytes_max = 0").message.contains("greater"));
    let twice = "[[listeners]]\nport = 1\n[[listeners]]\nport = 1";
    assert_eq!(only(twice).line, 4);
}

#[test]
fn the_seal_section() {
    let config = parse(
        "[seal]\ntpm = \"tcp:127.0.0.1:2321\"\npcrs = [0, 7, 23]\npin = true\nholder = \"/run/holder\"",
        Path::new(""),
    )
    .unwrap();
    assert_eq!(config.seal.tpm.to_string(), "tcp:127.0.0.1:2321");
    assert_eq!((config.seal.pcrs, config.seal.pin), (vec![0, 7, 23], true));
    assert!(
        only("[seal]\ntpm = \"/dev/tpmrm0\"")
            .message
            .contains("device:/dev/tpmrm0")
    );
    for (pcrs, part) in [
        ("[]", "at least one"),
        ("[24]", "no PCR 24"),
        ("[7, 1, 7]", "twice"),
        ("[-1]", "whole"),
    ] {
        let problem = only(&format!("[seal]\npcrs = {pcrs}"));
        assert!(problem.message.contains(part) && problem.line == 2, "{problem:?}");
    }
}

#[test]
fn durations() {
    let config = parse(
        "[http]\nheader_timeout = \"1500ms\"\nstop_timeout = \"2m\"",
        Path::new(""),
    )
    .unwrap();
    assert_eq!(config.http.header_timeout, Duration::from_millis(1500));
    assert_eq!(config.http.stop_timeout, Duration::from_secs(120));
    for bad in ["\"5\"", "\"s\"", "\"5 s\"", "\"99999999999999999d\"", "5"] {
        assert_eq!(only(&format!("[http]\nheader_timeout = {bad}")).line, 2);
    }
}

#[test]
fn changes_say_what_a_reload_can_do() {
    let old = Config::default();
    let mut new = Config::default();
    new.limits.enabled = false;
    new.listeners[0].port = 1;
    new.data_dir = "elsewhere".into();
    let change = |key: &str, live| Change {
        key: key.to_owned(),
        live,
    };
    assert_eq!(
        old.changes(&new),
        [
            change("data_dir", false),
            change("listeners[0].port", false),
            change("limits.enabled", true)
        ]
    );
}

#[test]
fn the_attestation_section() {
    let text = "[attestation]\nendpoint = true\npcrs = [7, 4]\nek_certificates = [\"a.pem\"]";
    let config = parse(text, Path::new("")).unwrap();
    assert!(config.attestation.endpoint && config.attestation.pcrs == [7, 4]);
    for (pcrs, word) in [("[]", "at least one"), ("[16]", "from 0 to 15"), ("[7, 7]", "twice")] {
        let problem = only(&format!("[attestation]\npcrs = {pcrs}"));
        assert!(problem.message.contains(word), "{}", problem.message);
    }
}

#[test]
fn the_canonical_form_has_every_value_once_and_no_secret() {
    let text = "[[listeners]]\nport = 1\nresources = [\"admin\"]\n[registration]\nshared_secret = \"hidden\"";
    let mut config = parse(text, Path::new("")).unwrap();
    let canonical = config.canonical();
    assert!(
        canonical.contains("listeners[0].port = 1\n") && canonical.contains("registration.shared_secret = \"…\"\n")
    );
    assert!(canonical.starts_with("server_name = \"localhost\"\n") && !canonical.contains("hidden"));
    let mut keys: Vec<&str> = canonical
        .lines()
        .map(|line| line.split_once(" = ").unwrap().0)
        .collect();
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
    // With their values, of secrets too.
    let values = config.values();
    assert_eq!(values.len(), count);
    let value = |key: &str| {
        let mut values = values.iter();
        values.find(|(name, _)| name == key).map(|(_, value)| value.expose())
    };
    assert_eq!(value("registration.shared_secret"), Some(&b"hidden"[..]));
    assert_eq!(value("listeners[0].port"), Some(&b"1"[..]));
    assert!(values.iter().all(|(_, value)| value.expose() != "\"…\"".as_bytes()));
    config.rooms.public_list_without_auth = true;
    assert_ne!(config.canonical(), canonical);
}

#[test]
fn whom_users_turn_to_is_checked() {
    let text = "[support]\nmatrix_id = \"@admin:example.org\"\nemail_address = \"admin@example.org\"\npage = \"https://example.org/help\"";
    let support = parse(text, Path::new("")).unwrap().support;
    assert_eq!(support.matrix_id.unwrap(), "@admin:example.org");
    assert_eq!(support.email_address.unwrap().as_str(), "admin@example.org");
    assert_eq!(support.page.unwrap().as_str(), "https://example.org/help");
    for wrong in [
        "matrix_id = \"admin\"",
        "matrix_id = 7",
        "email_address = \"admin\"",
        "email_address = \"a b@example.org\"",
        "page = \"javascript:alert(1)\"",
        "page = \"https://\"",
        "page = \"https://example.org/a b\"",
    ] {
        let problem = only(&format!("[support]\n{wrong}"));
        assert_eq!(problem.line, 2, "{wrong}");
    }
}
