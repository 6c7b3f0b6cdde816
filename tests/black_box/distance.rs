//! Commands from a distance: every command of the command line, over `--server` and through the socket, and who is let
//! in.

use crate::harness::{Server, Site, lamchat, program, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

/// The first listener takes credentials over TLS; the second makes accounts and takes them on this machine in the clear.
const CONFIG: &str = r#"
server_name = "localhost"
data_dir = "data"

[[listeners]]
port = 0
tls_local_authority = true
resources = ["client", "admin"]

[[listeners]]
port = 0
resources = ["client", "media", "admin"]

[registration]
shared_secret = "test secret"
password_hash = "minimum"

[limits]
enabled = false
"#;
const PASSPHRASE: &str = "a long enough passphrase\n";

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Well.
    Done,
    /// With this in its error: the test's server has no TPM, or is in no state for it.
    Fails(&'static str),
}
use End::{Done, Fails};

/// Where a command may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reach {
    Anywhere,
    /// It asks no server, or must be where the server is: with `--server` it is refused, and done without.
    Here,
}
use Reach::{Anywhere, Here};

/// Commands in an order in which each finds what it needs: words, further arguments, input, and what comes of it.
/// `{mxc}`, `{slot}` and `{recovery}` stand for what earlier ones made.
const CASES: &[(&str, &[&str], &str, Reach, End)] = &[
    ("health", &[], "", Anywhere, Done),
    ("user add", &["carol"], "a password\n", Anywhere, Done),
    ("user list", &[], "", Anywhere, Done),
    ("user passwd", &["carol"], "another one\n", Anywhere, Done),
    ("user suspend", &["carol"], "", Anywhere, Done),
    ("user unsuspend", &["carol"], "", Anywhere, Done),
    ("user lock", &["carol"], "", Anywhere, Done),
    ("user unlock", &["carol"], "", Anywhere, Done),
    ("user admin", &["carol"], "", Anywhere, Done),
    ("user deactivate", &["carol"], "", Anywhere, Done),
    ("user reactivate", &["carol"], "a third\n", Anywhere, Done),
    ("token create", &["--token", "abc"], "", Anywhere, Done),
    ("token list", &[], "", Anywhere, Done),
    ("token revoke", &["abc"], "", Anywhere, Done),
    ("media list", &[], "", Anywhere, Done),
    ("media delete", &["{mxc}"], "", Anywhere, Done),
    ("report list", &[], "", Anywhere, Done),
    ("report show", &["1"], "", Anywhere, Done),
    ("report close", &["1"], "", Anywhere, Done),
    ("seal status", &[], "", Anywhere, Done),
    ("seal init", &[], "", Anywhere, Fails("TPM")),
    ("seal add-file", &[], "yes\n", Anywhere, Fails("file slot")),
    ("seal rebind", &["1"], "", Anywhere, Fails("TPM")),
    ("seal raise-floor", &["1", "--bootable", "1"], "", Anywhere, Fails("")),
    ("seal add-passphrase", &[], PASSPHRASE, Here, Done),
    ("seal add-recovery", &["--json"], "", Here, Done),
    ("seal verify-recovery", &[], "{recovery}\n", Here, Done),
    ("seal unlock", &[], PASSPHRASE, Here, Fails("open")),
    ("backup create", &["backup"], "", Anywhere, Done),
    ("backup verify", &["backup"], PASSPHRASE, Here, Done),
    ("restore", &["backup", "--data-dir", "restored"], PASSPHRASE, Here, Done),
    ("seal remove", &["{slot}"], "", Anywhere, Done),
    ("audit show", &[], "", Anywhere, Done),
    ("audit export", &["log"], "", Anywhere, Done),
    ("audit verify", &["log"], "", Here, Done),
    ("audit prove", &["log", "0"], "", Here, Done),
    ("audit witness-key", &["w.key", "--name", "w.example"], "", Here, Done),
    ("audit witness", &["log", "--key", "w.key"], "", Here, Done),
    ("audit add-witness", &["log.cosigned"], "", Anywhere, Done),
    (
        "attest quote",
        &["--nonce", "00112233445566778899aabbccddeeff"],
        "",
        Anywhere,
        Fails("TPM"),
    ),
    (
        "attest verify",
        &[
            "none",
            "--nonce",
            "00112233445566778899aabbccddeeff",
            "--reference",
            "none",
            "--trust",
            "none",
            "--enrolment",
            "none",
        ],
        "",
        Here,
        Fails("none"),
    ),
    ("attest ek-certificates", &[], "", Anywhere, Done),
    ("attest enrol public-key", &["--key", "auditor.key"], "", Here, Done),
    ("attest enrol request", &[], "", Anywhere, Fails("TPM")),
    (
        "attest enrol challenge",
        &[
            "log",
            "--label",
            "x",
            "--trust",
            "none",
            "--key",
            "auditor.key",
            "--out",
            "c",
        ],
        "",
        Here,
        Fails("none"),
    ),
    ("attest enrol activate", &["log"], "", Anywhere, Fails("")),
    (
        "attest enrol finish",
        &["none", "none", "--key", "auditor.key", "--out", "e"],
        "",
        Here,
        Fails("none"),
    ),
    ("admin-credential create", &["bob"], "", Here, Done),
    ("admin-credential list", &[], "", Anywhere, Done),
    ("admin-credential revoke", &["bob"], "", Anywhere, Done),
    ("signing-key show", &[], "", Anywhere, Done),
    ("signing-key rotate", &[], "", Anywhere, Done),
    ("certificate show", &[], "", Anywhere, Done),
    ("certificate authority", &[], "", Anywhere, Done),
    ("certificate request", &[], "", Anywhere, Done),
    ("certificate install", &["log"], "", Anywhere, Fails("certificates")),
    ("certificate remove", &[], "", Anywhere, Done),
    ("config check", &["lamchat.toml"], "", Here, Done),
    ("config example", &[], "", Here, Done),
    ("config canonical", &[], "", Here, Done),
    ("mirror status", &[], "", Anywhere, Fails("not a box")),
    ("mirror add", &["sdb", "--yes"], "", Anywhere, Fails("not a box")),
    ("box show", &[], "", Anywhere, Fails("not a box")),
    ("box set", &["site.toml"], "", Anywhere, Fails("not a box")),
    ("box set-clock", &["2026-11-27 09:30"], "", Anywhere, Fails("not a box")),
    ("box confirm", &[], "", Anywhere, Fails("not a box")),
    ("box log", &[], "", Anywhere, Fails("not a box")),
    ("box restart", &["--yes"], "", Anywhere, Fails("not a box")),
    ("box power-off", &["--yes"], "", Anywhere, Fails("not a box")),
    ("update check", &["lamchat.toml"], "", Anywhere, Fails("not a box")),
    ("update show", &[], "", Anywhere, Fails("not a box")),
    ("update apply", &["--yes"], "", Anywhere, Fails("not a box")),
    ("update status", &[], "", Anywhere, Fails("not a box")),
    // It runs already, here.
    ("serve", &[], "", Here, Fails("")),
];

/// Every command that the help tells of.
fn commands(words: &str, found: &mut BTreeSet<String>) {
    let arguments: Vec<&str> = words
        .split(' ')
        .filter(|word| !word.is_empty())
        .chain(["--help"])
        .collect();
    let help = text(&lamchat(Path::new("/"), &arguments, "").stdout);
    let list = help.split_once("\nCommands:\n").map(|(_, rest)| rest);
    let Some(list) = list else {
        found.insert(words.to_owned());
        return;
    };
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
    {
        commands(format!("{words} {name}").trim_start(), found);
    }
}

#[test]
fn every_command_has_a_case() {
    let mut found = BTreeSet::new();
    commands("", &mut found);
    let listed: BTreeSet<String> = CASES.iter().map(|case| case.0.to_owned()).collect();
    assert_eq!(found, listed);
}

/// A server with a report, an upload and a credential.
struct Stage {
    site: Site,
    server: Server,
    mxc: String,
}

impl Stage {
    fn set() -> Self {
        let site = Site::with(CONFIG);
        let server = site.start();
        let mut alice = server.account("alice");
        let upload = alice.send("POST", "/_matrix/media/v3/upload", &[], b"bytes").unwrap();
        let mxc = upload.ok()["content_uri"].as_str().unwrap().to_owned();
        alice
            .post(
                "/_matrix/client/v3/users/@alice:localhost/report",
                &json!({"reason": "rude"}),
            )
            .ok();
        let made = site.command(&["admin-credential", "create", "alice", "--out", "alice"], "");
        assert!(made.status.success(), "{}", text(&made.stderr));
        Self { site, server, mxc }
    }

    fn url(&self, scheme: &str) -> &str {
        self.server.urls.iter().find(|url| url.starts_with(scheme)).unwrap()
    }

    /// Runs a command as somebody far away does: in another folder, without a configuration.
    fn far(&self, folder: &Path, arguments: &[&str], input: &str) -> Output {
        let credential = self.site.path("alice").display().to_string();
        let way = ["--server", self.url("https://"), "--credential", &credential];
        lamchat(folder, &[&way, arguments].concat(), input)
    }
}

fn check(what: &str, output: &Output, end: End) {
    let error = text(&output.stderr);
    match end {
        Done => assert!(output.status.success(), "{what}: {error}"),
        Fails(part) => assert!(!output.status.success() && error.contains(part), "{what}: {error}"),
    }
}

fn walk(is_far: bool) {
    let stage = Stage::set();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("lamchat.toml"), CONFIG).unwrap();
    for folder in [elsewhere.path(), &stage.site.path("")] {
        std::fs::write(folder.join("site.toml"), "version = 1\n").unwrap();
    }
    let mut values = BTreeMap::from([("{mxc}", stage.mxc.clone())]);
    for (words, rest, input, reach, end) in CASES {
        let fill = |text: &str| values.get(text.trim()).map_or_else(|| text.to_owned(), Clone::clone);
        let arguments: Vec<String> = words
            .split(' ')
            .map(str::to_owned)
            .chain(rest.iter().map(|text| fill(text)))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let input = fill(input);
        if is_far && *reach == Here {
            let refused = stage.far(elsewhere.path(), &arguments, &input);
            check(words, &refused, Fails("does not work from a distance"));
        }
        let output = match (is_far, reach) {
            (true, Anywhere) => stage.far(elsewhere.path(), &arguments, &input),
            (_, _) => stage.site.command(&arguments, &input),
        };
        check(words, &output, *end);
        if is_far {
            // What the one made, the other goes on with.
            for name in ["backup", "log"] {
                let (from, to) = (elsewhere.path().join(name), stage.site.path(name));
                if from.exists() && !to.exists() {
                    std::os::unix::fs::symlink(&from, &to).unwrap();
                }
            }
            let (from, to) = (stage.site.path("log.cosigned"), elsewhere.path().join("log.cosigned"));
            if from.exists() && !to.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        if *words == "seal add-recovery" {
            let made: Value = serde_json::from_slice(&output.stdout).unwrap();
            let slot = made["slots"].as_array().unwrap().last().unwrap()["id"].to_string();
            values.insert("{slot}", slot);
            values.insert("{recovery}", made["recovery_key"].as_str().unwrap().to_owned());
        }
    }
    assert!(!elsewhere.path().join("data").exists());
    stage.server.stop();
}

#[test]
fn every_command_works_through_the_socket() {
    walk(false);
}

#[test]
fn every_command_works_from_a_distance() {
    walk(true);
}

#[test]
fn only_a_known_server_gets_the_credential() {
    let stage = Stage::set();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| stage.site.path(name).display().to_string();
    let url = stage.url("https://").to_owned();
    let run = |arguments: &[&str]| lamchat(folder.path(), &[arguments, &["health"]].concat(), "");
    let credential = path("alice");
    let file = std::fs::read_to_string(&credential).unwrap();
    let pin = file.lines().find(|line| line.starts_with("sha256:")).unwrap();
    assert!(stage.server.greeting.contains(pin), "{}", stage.server.greeting);
    let secret = file.lines().find(|line| line.starts_with("lca.")).unwrap();

    // The file alone says where, who and whom to trust.
    check("file", &run(&["--credential", &credential]), Done);
    let other = format!("sha256:{}", "00".repeat(32));
    let strange = run(&["--server", &url, "--credential", &credential, "--pin", &other]);
    check(
        "another pin",
        &strange,
        Fails("another key than the one that was pinned"),
    );
    assert!(
        !text(&strange.stderr).contains(pin),
        "the key of whoever answers is not offered"
    );
    std::fs::write(folder.path().join("bare"), format!("{secret}\n")).unwrap();
    check(
        "permissions",
        &run(&["--server", &url, "--credential", "bare"]),
        Fails("chmod 600"),
    );
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("bare"), private).unwrap();
    check(
        "no pin",
        &run(&["--server", &url, "--credential", "bare"]),
        Fails("nothing says how to know"),
    );
    check(
        "pin",
        &run(&["--server", &url, "--credential", "bare", "--pin", pin]),
        Done,
    );
    let ca = path("data/tls/ca.pem");
    check(
        "authority",
        &run(&["--server", &url, "--credential", "bare", "--ca", &ca]),
        Done,
    );
    let stranger = Site::new();
    let stranger_server = stranger.start();
    let strange_ca = stranger.path("data/tls/ca.pem").display().to_string();
    let refused = run(&["--server", &url, "--credential", "bare", "--ca", &strange_ca]);
    check("another authority", &refused, Fails("certificate"));
    drop(stranger_server);
    check(
        "no credential",
        &run(&["--server", &url, "--pin", pin]),
        Fails("which credential?"),
    );
    let plain = run(&["--server", "http://192.0.2.1:80", "--credential", &credential]);
    check("plain", &plain, Fails("by https:// only"));
    let here = stage.url("http://").replace("localhost", "127.0.0.1");
    check(
        "plain on this machine",
        &run(&["--server", &here, "--credential", &credential]),
        Done,
    );
    let both = run(&["--server", &url, "--credential", &credential, "--socket", "x"]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));

    // The same from the environment, which says nothing to commands that ask no server.
    let environment = |arguments: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(arguments).current_dir(folder.path());
        command
            .env("LAMCHAT_SERVER", &url)
            .env("LAMCHAT_CREDENTIAL", "bare")
            .env("LAMCHAT_PIN", pin);
        command.output().unwrap()
    };
    check("environment", &environment(&["health"]), Done);
    check("environment", &environment(&["config", "example"]), Done);
    check(
        "environment",
        &environment(&["seal", "unlock"]),
        Fails("does not work from a distance"),
    );
}

#[test]
fn a_revoked_credential_is_refused_and_every_use_is_in_the_log() {
    let stage = Stage::set();
    let folder = tempfile::tempdir().unwrap();
    check("users", &stage.far(folder.path(), &["user", "list"], ""), Done);
    let added = stage.far(folder.path(), &["user", "add", "dora"], "a password\n");
    check("add", &added, Done);
    let log = stage.site.command_json(&["audit", "show"], "");
    let by_alice = |act: &str| {
        let entries = log["entries"].as_array().unwrap().iter();
        entries
            .filter(|entry| entry["actor"] == "credential alice" && entry["act"] == act)
            .count()
    };
    assert_eq!((by_alice("credential.use"), by_alice("user.add")), (2, 1), "{log}");
    stage.site.command_json(&["admin-credential", "revoke", "alice"], "");
    check(
        "revoked",
        &stage.far(folder.path(), &["user", "list"], ""),
        Fails("not valid"),
    );

    // Sessions of accounts are worth nothing here, not even an administrator's.
    let mut client = stage.server.client();
    client.token = stage.server.account("eve").token;
    let refused = client.get("/_lamchat/admin/v1/users").refusal();
    assert_eq!(refused, (401, "M_UNKNOWN_TOKEN".to_owned()));
}
