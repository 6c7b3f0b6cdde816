//! The client against a server that nobody here wrote: chrony's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod server;

use lamchat_host::OsEntropy;
use lamchat_machine::time;
use lamchat_nts::{AgreeError, AskError, Authorities, Server, agree};
use server::{Chrony, NAME, certificate, local};

/// How far two looks at one clock may be apart on a busy machine.
const APART_MS: u64 = 500;

fn keys_of(chrony: &Chrony) -> Result<lamchat_nts::Session, AgreeError> {
    let server = Server {
        name: NAME.to_owned(),
        address: chrony.keys,
    };
    agree(&server, &Authorities::from_pem(chrony.authority.as_bytes()).unwrap())
}

#[test]
fn time_is_told_in_the_clear_and_authenticated() {
    let chrony = Chrony::start((2020, 2100));
    let plain = time::ask(chrony.ntp, 7).unwrap();
    assert!(plain.abs_diff(time::now_ms()) < APART_MS, "{plain}");

    let mut session = keys_of(&chrony).unwrap();
    assert_eq!(session.address(), chrony.ntp, "the port that the server names");
    let given = session.cookies();
    assert_eq!(given, 8);
    // More questions than cookies were given: each answer brings one back.
    for _ in 0..12 {
        let told = session.ask(&OsEntropy).unwrap();
        assert!(told.abs_diff(time::now_ms()) < APART_MS, "{told}");
        assert_eq!(session.cookies(), given);
    }
}

#[test]
fn a_stranger_is_refused() {
    let chrony = Chrony::start((2020, 2100));
    let other = Authorities::from_pem(certificate((2020, 2100)).0.as_bytes()).unwrap();
    let server = |name: &str| Server {
        name: name.to_owned(),
        address: chrony.keys,
    };
    let refused = agree(&server(NAME), &other).err().unwrap();
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
    let right = Authorities::from_pem(chrony.authority.as_bytes()).unwrap();
    let refused = agree(&server("other.example.org"), &right).err().unwrap();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    // Nobody is there.
    let nobody = Server {
        name: NAME.to_owned(),
        address: local(1),
    };
    assert!(matches!(agree(&nobody, &right), Err(AgreeError::Io(_))));
}

#[test]
fn a_server_with_new_keys_makes_us_agree_again() {
    let mut chrony = Chrony::start((2020, 2100));
    let mut session = keys_of(&chrony).unwrap();
    session.ask(&OsEntropy).unwrap();
    // Without a folder for its keys it makes new ones at every start.
    chrony.restart();
    let refused = session.ask(&OsEntropy).unwrap_err();
    assert!(refused.needs_keys(), "{refused}");
    keys_of(&chrony).unwrap().ask(&OsEntropy).unwrap();
}

/// The clock of this machine is right: to it a certificate from the future looks as one of today looks to a clock that
/// was never set. Its keys are agreed on, and its time, which is ours, is outside of the certificate's.
#[test]
fn a_certificate_counts_at_the_time_that_is_told() {
    let future = Chrony::start((2150, 2190));
    let mut session = keys_of(&future).unwrap();
    let refused = session.ask(&OsEntropy).unwrap_err();
    assert!(matches!(refused, AskError::Outside), "{refused}");
    assert!(refused.needs_keys());
    let past = Chrony::start((2020, 2021));
    let refused = keys_of(&past).err().unwrap();
    assert!(refused.to_string().contains("expired"), "{refused}");
}
