//! The client against a server that nobody here wrote: chrony's, on the loopback interface, which leaves the clock alone.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use lamchat_host::OsEntropy;
use lamchat_machine::time;
use lamchat_nts::{AgreeError, AskError, Authorities, Server, agree};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(20);
/// How far two looks at one clock may be apart on a busy machine.
const APART_MS: u64 = 500;
const NAME: &str = "time.example.org";

struct Chrony {
    child: Child,
    folder: tempfile::TempDir,
    ntp: SocketAddr,
    keys: SocketAddr,
    authority: String,
}

impl Drop for Chrony {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A certificate of an authority of its own, valid from and until these years.
fn certificate(years: (i32, i32)) -> (String, String, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.not_before = rcgen::date_time_ymd(2020, 1, 1);
    authority.not_after = rcgen::date_time_ymd(2200, 1, 1);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    own.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    own.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let own = own.signed_by(&key, &authority).unwrap();
    (authority.pem(), own.pem(), key.serialize_pem())
}

fn run(folder: &Path) -> Child {
    let file = |name: &str| folder.join(name).display().to_string();
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let path = std::env::var("PATH").unwrap();
    let program = std::env::var("LAMCHAT_CHRONYD").unwrap_or_else(|_| "chronyd".to_owned());
    let child = Command::new(program)
        .env("PATH", format!("{path}:/usr/sbin"))
        // Also without root, in the foreground, without setting the clock.
        .args(["-U", "-d", "-x", "-u", user.trim(), "-f", &file("chrony.conf")])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(file("log")).unwrap())
        .stdout(Stdio::null())
        .spawn();
    child.expect("chrony is installed by tests/run")
}

impl Chrony {
    fn start(years: (i32, i32)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (authority, own, key) = certificate(years);
        std::fs::write(file("own.pem"), own).unwrap();
        std::fs::write(file("key.pem"), key).unwrap();
        let ntp = UdpSocket::bind(local(0)).unwrap().local_addr().unwrap();
        let keys = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        let config = format!(
            "port {}\nntsport {}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 3\ncmdport 0\nbindcmdaddress /\n\
             pidfile {}\nntsservercert {}\nntsserverkey {}\n",
            ntp.port(),
            keys.port(),
            file("pid"),
            file("own.pem"),
            file("key.pem"),
        );
        std::fs::write(file("chrony.conf"), config).unwrap();
        let mut started = Self {
            child: run(folder.path()),
            ntp,
            keys,
            authority,
            folder,
        };
        started.wait();
        started
    }

    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(self.folder.path());
        self.wait();
    }

    fn wait(&mut self) {
        let since = Instant::now();
        while TcpStream::connect(self.keys).is_err() || time::ask(self.ntp, 1).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(since.elapsed() < START_MAX, "chrony does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn agree(&self) -> Result<lamchat_nts::Session, AgreeError> {
        let server = Server {
            name: NAME.to_owned(),
            address: self.keys,
        };
        agree(&server, &Authorities::from_pem(self.authority.as_bytes()).unwrap())
    }
}

#[test]
fn time_is_told_in_the_clear_and_authenticated() {
    let chrony = Chrony::start((2020, 2100));
    let plain = time::ask(chrony.ntp, 7).unwrap();
    assert!(plain.abs_diff(time::now_ms()) < APART_MS, "{plain}");

    let mut session = chrony.agree().unwrap();
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
    let mut session = chrony.agree().unwrap();
    session.ask(&OsEntropy).unwrap();
    // Without a folder for its keys it makes new ones at every start.
    chrony.restart();
    let refused = session.ask(&OsEntropy).unwrap_err();
    assert!(refused.needs_keys(), "{refused}");
    chrony.agree().unwrap().ask(&OsEntropy).unwrap();
}

/// The clock of this machine is right: to it a certificate from the future looks as one of today looks to a clock that
/// was never set. Its keys are agreed on, and its time, which is ours, is outside of the certificate's.
#[test]
fn a_certificate_counts_at_the_time_that_is_told() {
    let future = Chrony::start((2150, 2190));
    let mut session = future.agree().unwrap();
    let refused = session.ask(&OsEntropy).unwrap_err();
    assert!(matches!(refused, AskError::Outside), "{refused}");
    assert!(refused.needs_keys());
    let past = Chrony::start((2020, 2021));
    let refused = past.agree().err().unwrap();
    assert!(refused.to_string().contains("expired"), "{refused}");
}
