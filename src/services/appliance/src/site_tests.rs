#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    assert_eq!(Site::load(&path).unwrap(), None);
    let mut site = Site::new("chat.example.org", parse_network("10.1.2.3/24 10.1.2.1").unwrap());
    site.pin = Some("$argon2id$x".to_owned());
    site.network.vlan = Some(7);
    site.network.bond = Some(Bond {
        mode: BondMode::Lacp,
        members: vec!["eth0".to_owned(), "eth1".to_owned()],
    });
    site.save(&path, &Zeros).unwrap();
    assert_eq!(Site::load(&path).unwrap(), Some(site.clone()));
    site.version = 2;
    site.save(&path, &Zeros).unwrap();
    assert_eq!(Site::load(&path).unwrap().unwrap().version, 2);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left over"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let head = "format = 1\nversion = 1\nserver_name = \"a\"\n";
    assert!(Site::parse(head).is_ok());
    for (tail, reason) in [
        ("typo = 1", "unknown field"),
        ("[network]\nmode = \"static\"", "at least one address"),
        ("[network]\nmode = \"dhcp\"\nvlan = 4095", "1 to 4094"),
        ("[network]\ninterface = \"../x\"", "interface"),
        ("[network]\naddresses = [\"10.0.0.1\"]", "10.1.2.3/24"),
        ("[network.bond]\nmode = \"lacp\"\nmembers = []", "1 to 8"),
    ] {
        let error = Site::parse(&format!("{head}{tail}")).unwrap_err().to_string();
        assert!(error.contains(reason), "{tail}: {error}");
    }
    assert!(Site::parse("format = 2\nversion = 1\nserver_name = \"a\"").is_err());
    assert!(Site::parse("\u{0}").is_err());
}

#[test]
fn networks_are_typed() {
    assert_eq!(parse_network("").unwrap().mode, Mode::None);
    assert_eq!(parse_network(" DHCP ").unwrap().mode, Mode::Dhcp);
    let network = parse_network("fd00::5/64 fd00::1").unwrap();
    assert_eq!(network.addresses.first().unwrap().to_string(), "fd00::5/64");
    for wrong in [
        "10.0.0.1",
        "10.0.0.1/33",
        "127.0.0.1/8",
        "10.0.0.1/24 fe80::1",
        "dhcp x",
        "0.0.0.0/0",
        "10.0.0.1/24 10.0.0.2 x",
    ] {
        assert!(parse_network(wrong).is_err(), "{wrong}");
    }
}
