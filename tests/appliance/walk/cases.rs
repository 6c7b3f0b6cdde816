//! What each command that may be far away does on a booted box: its words, further arguments, what is typed, and how it
//! ends. In an order in which each finds what it needs; words in braces stand for what the test or an earlier one made.

/// How a command ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// Well: its answer has this (a JSON pointer), and the audit log has this act afterwards, if it names one.
    Done(&'static str, &'static str),
    /// With this in its error: it must not be done, or there is nothing that it could be done to.
    Refused(&'static str),
}
use End::{Done, Refused};

/// The nonce of an auditor.
const NONCE: &str = "00112233445566778899aabbccddeeff";

pub type Case = (&'static str, &'static [&'static str], &'static str, End);

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    ("health", &[], "", Done("/state", "")),
    ("user add", &["carol"], "a long password\n", Done("/user_id", "user.add")),
    ("user list", &[], "", Done("/users", "")),
    ("user passwd", &["carol"], "another long one\n", Done("", "user.password")),
    ("user suspend", &["carol"], "", Done("", "user.suspend")),
    ("user unsuspend", &["carol"], "", Done("", "user.suspend")),
    ("user lock", &["carol"], "", Done("", "user.lock")),
    ("user unlock", &["carol"], "", Done("", "user.lock")),
    ("user admin", &["carol"], "", Done("", "user.admin")),
    ("user deactivate", &["carol"], "", Done("", "user.deactivate")),
    ("user reactivate", &["carol"], "a third long one\n", Done("", "user.reactivate")),
    ("token create", &["--token", "door"], "", Done("/token", "token.create")),
    ("token list", &[], "", Done("/tokens", "")),
    ("token revoke", &["door"], "", Done("", "token.revoke")),
    ("media list", &[], "", Done("/uploads/0", "")),
    ("media delete", &["{mxc}"], "", Done("/deleted/0", "media.delete")),
    ("report list", &[], "", Done("/reports/0", "")),
    ("report show", &["1"], "", Done("", "")),
    ("report close", &["1"], "", Done("", "report.close")),
    ("backup create", &["backup"], "", Done("/parts", "backup.create")),
    ("audit show", &[], "", Done("/entries", "")),
    ("audit export", &["log"], "", Done("", "")),
    ("audit add-witness", &["log.cosigned"], "", Done("", "audit.witness")),
    ("attest quote", &["--nonce", NONCE], "", Done("/evidence", "")),
    ("attest ek-certificates", &[], "", Done("/certificates", "")),
    ("attest enrol request", &[], "", Done("/request", "")),
    ("attest enrol activate", &["log"], "", Refused("challenge cannot be used")),
    ("seal status", &[], "", Done("/hardware_sealed", "")),
    ("seal rebind", &["{tpm}"], "", Done("/slots", "keyring.rebind")),
    ("seal raise-floor", &["2"], "", Refused("has security epoch 1")),
    ("seal add-file", &[], "yes\n", Refused("keys lie in no folder")),
    ("seal remove", &["{tpm}"], "", Done("/slots", "keyring.remove-slot")),
    ("seal init", &[], "", Done("/slots", "keyring.add-slot")),
    ("admin-credential list", &[], "", Done("/credentials/1", "")),
    ("admin-credential revoke", &["spare"], "", Done("", "credential.revoke")),
    ("signing-key show", &[], "", Done("/id", "")),
    ("signing-key rotate", &[], "", Done("/id", "key.rotate")),
    ("certificate show", &[], "", Done("/certificates/0/pin", "")),
    ("certificate authority", &[], "", Done("/fingerprint", "")),
    ("certificate request", &[], "", Done("/request", "certificate.request")),
    ("certificate install", &["chain.pem"], "", Done("/fingerprint", "certificate.install")),
    ("certificate remove", &[], "", Done("/certificates/0/pin", "certificate.remove")),
    ("mirror status", &[], "", Done("", "")),
    ("mirror add", &["vdz", "--yes"], "", Refused("there is no disk vdz")),
    ("box show", &[], "", Done("/site", "")),
    ("box set", &["site.toml"], "", Done("/site", "box.configure")),
    ("box confirm", &[], "", Refused("no change of the network waits")),
    ("box log", &["--of", "kernel"], "", Done("/lines/0", "")),
    ("box set-clock", &["{now}"], "", Done("/clock_ms", "box.time")),
    ("update status", &[], "", Done("/slots", "")),
    ("update check", &["{next}"], "", Done("", "")),
    ("update show", &[], "", Done("", "")),
    ("update apply", &["--yes"], "", Done("/file", "update.apply")),
    // The machine starts again, and is switched off: the test waits for both.
    ("box restart", &["--yes"], "", Done("", "box.restart")),
    ("box power-off", &["--yes"], "", Done("", "")),
];
