//! Where each command works: a table alone, because the tests of a booted box walk it as well.
//!
//! Every command has its place in it: whether it asks a server at all, and whether that may be far away.

/// Where a command works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It asks the server, from wherever.
    Anywhere,
    /// It asks nobody, so there is nothing far away for it.
    Nobody,
    /// It works on the server's machine only: why, and what to do.
    Here(&'static str),
}

/// What is typed must not pass through the exchange.
const TYPED: Reach = Reach::Here(
    "it takes or shows a key that must not pass through the exchange. Use the server's own console (on the box: the menu's lines for the recovery key and for unlocking), or run it on the server's machine without --server",
);
const START: Reach = Reach::Here("it runs the server itself. Run it on the server's machine without --server");

/// Each command by its words. One that is not here does not start.
pub const REACH: &[(&str, Reach)] = &[
    ("serve", START),
    ("init", START),
    ("key-holder", START),
    ("stick", START),
    ("rescue", START),
    ("restorer", START),
    ("updater", START),
    ("timekeeper", START),
    ("mirror status", Reach::Anywhere),
    ("mirror add", Reach::Anywhere),
    ("box show", Reach::Anywhere),
    ("box set", Reach::Anywhere),
    ("box set-clock", Reach::Anywhere),
    ("box confirm", Reach::Anywhere),
    ("box log", Reach::Anywhere),
    ("box restart", Reach::Anywhere),
    ("box power-off", Reach::Anywhere),
    ("update check", Reach::Anywhere),
    ("update show", Reach::Anywhere),
    ("update apply", Reach::Anywhere),
    ("update status", Reach::Anywhere),
    ("user add", Reach::Anywhere),
    ("user list", Reach::Anywhere),
    ("user passwd", Reach::Anywhere),
    ("user suspend", Reach::Anywhere),
    ("user unsuspend", Reach::Anywhere),
    ("user lock", Reach::Anywhere),
    ("user unlock", Reach::Anywhere),
    ("user deactivate", Reach::Anywhere),
    ("user reactivate", Reach::Anywhere),
    ("user admin", Reach::Anywhere),
    ("token create", Reach::Anywhere),
    ("token list", Reach::Anywhere),
    ("token revoke", Reach::Anywhere),
    ("media list", Reach::Anywhere),
    ("media delete", Reach::Anywhere),
    ("report list", Reach::Anywhere),
    ("report show", Reach::Anywhere),
    ("report close", Reach::Anywhere),
    ("backup create", Reach::Anywhere),
    ("backup verify", Reach::Nobody),
    (
        "restore",
        Reach::Here(
            "it fills an empty data folder before a server runs on it. Run it on that machine without --server",
        ),
    ),
    ("seal status", Reach::Anywhere),
    ("seal init", Reach::Anywhere),
    ("seal add-recovery", TYPED),
    ("seal verify-recovery", TYPED),
    ("seal add-passphrase", TYPED),
    ("seal add-file", Reach::Anywhere),
    ("seal rebind", Reach::Anywhere),
    ("seal raise-floor", Reach::Anywhere),
    ("seal remove", Reach::Anywhere),
    ("seal unlock", TYPED),
    ("audit show", Reach::Anywhere),
    ("audit export", Reach::Anywhere),
    ("audit verify", Reach::Nobody),
    ("audit prove", Reach::Nobody),
    ("audit witness-key", Reach::Nobody),
    ("audit witness", Reach::Nobody),
    ("audit add-witness", Reach::Anywhere),
    ("attest quote", Reach::Anywhere),
    ("attest verify", Reach::Nobody),
    ("attest ek-certificates", Reach::Anywhere),
    ("attest enrol public-key", Reach::Nobody),
    ("attest enrol request", Reach::Anywhere),
    ("attest enrol challenge", Reach::Nobody),
    ("attest enrol activate", Reach::Anywhere),
    ("attest enrol finish", Reach::Nobody),
    (
        "admin-credential create",
        Reach::Here(
            "credentials are made where the server is, so that a stolen one cannot make others. Use the box's console, or run it on the server's machine without --server",
        ),
    ),
    ("admin-credential list", Reach::Anywhere),
    ("admin-credential revoke", Reach::Anywhere),
    ("signing-key show", Reach::Anywhere),
    ("signing-key rotate", Reach::Anywhere),
    ("certificate show", Reach::Anywhere),
    ("certificate authority", Reach::Anywhere),
    ("certificate request", Reach::Anywhere),
    ("certificate install", Reach::Anywhere),
    ("certificate remove", Reach::Anywhere),
    ("config check", Reach::Nobody),
    ("config example", Reach::Nobody),
    ("config canonical", Reach::Nobody),
    ("health", Reach::Anywhere),
];
