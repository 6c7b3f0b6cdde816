//! chrony on the loopback interface, with a certificate of the test's own. It leaves the clock alone.

use lamchat_machine::time;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(20);
pub const NAME: &str = "time.example.org";

/// A running server. Ended when dropped.
pub struct Chrony {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it tells the time.
    pub ntp: SocketAddr,
    /// Where it agrees on keys.
    pub keys: SocketAddr,
    /// Who vouches for its name, PEM.
    pub authority: String,
}

impl Drop for Chrony {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A certificate of an authority of its own, valid from and until these years.
pub fn certificate(years: (i32, i32)) -> (String, String, String) {
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
    child.unwrap_or_else(|error| panic!("chronyd, which tests/run unpacks: {error}"))
}

impl Chrony {
    /// One whose certificate is valid from and until these years, at ports that are free.
    pub fn start(years: (i32, i32)) -> Self {
        let ntp = UdpSocket::bind(local(0)).unwrap().local_addr().unwrap();
        let keys = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        Self::start_at(years, ntp.port(), keys.port())
    }

    /// The same at these ports: of NTP, and of the agreement on keys.
    pub fn start_at(years: (i32, i32), ntp: u16, keys: u16) -> Self {
        let (ntp, keys) = (local(ntp), local(keys));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (authority, own, key) = certificate(years);
        std::fs::write(file("own.pem"), own).unwrap();
        std::fs::write(file("key.pem"), key).unwrap();
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

    /// With new keys for its cookies, at the same ports.
    pub fn restart(&mut self) {
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
}
