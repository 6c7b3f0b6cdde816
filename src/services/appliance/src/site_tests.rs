#![expect(clippy::unwrap_used, reason = "tests")]
use super::later::words;
use super::*;
use lamchat_base::Entropy;
use toml::{Table, Value};

/// What the first release writes, with every member.
const FIRST: &str = include_str!("site/fixtures/first.toml");
/// What a later one may write while it is on trial.
const NEXT: &str = include_str!("site/fixtures/next.toml");

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
        2,
        "the file and the former ones"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let head = "format = 1\nversion = 1\nserver_name = \"a\"\n";
    assert!(Site::parse(head).is_ok());
    for (tail, reason) in [
        ("[network]\nmode = \"static\"", "at least one address"),
        ("[network]\nmode = \"dhcp\"\nvlan = 4095", "1 to 4094"),
        ("[network]\ninterface = \"../x\"", "interface"),
        ("[network]\naddresses = [\"10.0.0.1\"]", "10.1.2.3/24"),
        ("[network.bond]\nmode = \"lacp\"\nmembers = []", "1 to 8"),
        ("[time]\nservers = [\"a.example\"]", "no time server"),
        ("[time]\nservers = [\"a.example@10.0.0.1\"]", "authorities"),
        ("[time]\nservers = [\"a b@10.0.0.1\"]", "no time server"),
        ("[updates]\nurl = \"http://a/b\"\naddress = \"10.0.0.1\"", "https://"),
        (
            "[updates]\nurl = \"https://a/b\"\naddress = \"10.0.0.1\"",
            "one of them",
        ),
        (
            "[updates]\nurl = \"https://a/b\"\naddress = \"10.0.0.1\"\npin = \"sha256:0\"",
            "64 hexadecimal",
        ),
    ] {
        let error = Site::parse(&format!("{head}{tail}")).unwrap_err().to_string();
        assert!(error.contains(reason), "{tail}: {error}");
    }
    let later = Site::parse("format = 2\nversion = 1\nserver_name = \"a\"").unwrap_err();
    assert!(later.to_string().contains("a newer release wrote it"), "{later}");
    assert!(Site::parse("\u{0}").is_err());
}

#[test]
fn networks_are_typed() {
    assert_eq!(parse_network("").unwrap().mode, Mode::None);
    assert_eq!(parse_network(" DHCP ").unwrap().mode, Mode::Dhcp);
    let network = parse_network("fd00::5/64 fd00::1").unwrap();
    assert_eq!(network.addresses.first().unwrap().to_string(), "fd00::5/64");
    for text in [
        "none",
        "dhcp on=eth1 vlan=7",
        "10.1.2.3/24 fd00::5/64 10.1.2.1 fd00::1 vlan=7 bond=lacp:eth0,eth1",
        "10.1.2.3/24 on=eth0",
        "dhcp bond=active-backup:eth0,eth1",
    ] {
        assert_eq!(parse_network(text).unwrap().to_string(), text);
    }
    for wrong in [
        "none on=eth0",
        "dhcp vlan=1 vlan=2",
        "dhcp vlan=x",
        "dhcp mtu=9000",
        "dhcp bond=eth0",
        "10.1.2.3/24 10.1.2.1 10.1.2.2",
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

#[test]
fn time_servers_are_typed() {
    for text in [
        "10.0.0.1",
        "fd00::1",
        "time.example.org@10.0.0.1",
        "time.example.org@[fd00::1]:4461",
    ] {
        assert_eq!(text.parse::<TimeServer>().unwrap().to_string(), text);
    }
    for wrong in [
        "",
        "a",
        "a@",
        "@10.0.0.1",
        "a@b",
        "a@10.0.0.1:0",
        "a_b@10.0.0.1",
        "a@10.0.0.1:99999",
    ] {
        assert!(wrong.parse::<TimeServer>().is_err(), "{wrong}");
    }
}

#[test]
fn a_change_from_a_distance_leaves_name_and_pin_and_is_of_the_newest_version() {
    let mut site = Site::new("chat.example.org", Network::default());
    site.pin = Some("$argon2id$x".to_owned());
    let mut wanted = site.editable();
    wanted.network = parse_network("dhcp").unwrap();
    let changed = site.changed(wanted.clone()).unwrap();
    assert_eq!((changed.version, changed.network.mode), (2, Mode::Dhcp));
    assert_eq!((&changed.server_name, &changed.pin), (&site.server_name, &site.pin));
    assert!(
        changed
            .changed(wanted.clone())
            .unwrap_err()
            .to_string()
            .contains("version 2")
    );
    wanted.network.vlan = Some(5000);
    assert!(site.changed(wanted).is_err());
}

#[test]
fn updates_have_a_port() {
    let port = |url: &str| {
        let updates = Updates {
            url: url.to_owned(),
            address: "10.0.0.1".parse().unwrap(),
            pin: Some(format!("sha256:{}", "0".repeat(64))),
            authorities: None,
            hours: 24,
            automatic: false,
        };
        updates.check().ok().and(updates.port())
    };
    assert_eq!(port("https://a/b"), Some(443));
    assert_eq!(port("https://a:8443/b"), Some(8443));
    assert_eq!(port("https://[fd00::1]/b"), Some(443));
    assert_eq!(port("https://[fd00::1]:8443"), Some(8443));
    for wrong in [
        "https://a:x/",
        "https://a:0/",
        "ftp://a/",
        "https://a\"/",
        "https://u@a/",
    ] {
        assert_eq!(port(wrong), None, "{wrong}");
    }
}

/// A release before this one has to start with what this one writes until it is marked good (ARCHITECTURE.md, "What is
/// kept"): whoever adds a word here, or a member without which nothing is read, makes another format of the file.
#[test]
fn the_first_release_reads_what_this_one_writes() {
    assert_eq!(words::<Mode>(), ["none", "dhcp", "static"]);
    assert_eq!(words::<BondMode>(), ["active-backup", "lacp"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    std::fs::write(&path, FIRST).unwrap();
    let site = Site::load(&path).unwrap().unwrap();
    assert!(site.later().is_empty());
    site.save(&path, &Zeros).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), FIRST);
    // All of what serde requires is in the least that the first release took.
    let least = "format = 1\nversion = 1\nserver_name = \"a\"\n[network.bond]\nmode = \"lacp\"\nmembers = [\"a\"]\n\
                 [time]\n[updates]\nurl = \"https://a/b\"\naddress = \"10.0.0.1\"\npin = \"sha256:";
    Site::parse(&format!("{least}{}\"", "0".repeat(64))).unwrap();
}

#[test]
fn what_a_later_release_has_added_is_passed_over_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    std::fs::write(&path, NEXT).unwrap();
    let site = Site::load(&path).unwrap().unwrap();
    let mut first = Site::parse(FIRST).unwrap();
    first.version = 8;
    assert_eq!(site.editable(), first.editable());
    let names = site.later().join(" ");
    assert_eq!(
        names,
        "door language network.mtu network.second network.bond.hash time.poll updates.window"
    );
    site.save(&path, &Zeros).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), NEXT);

    // A change takes nothing of it away but what was about something that is not there any more.
    let mut wanted = site.editable();
    wanted.network.bond = None;
    wanted.updates = None;
    site.changed(wanted).unwrap().save(&path, &Zeros).unwrap();
    let changed = Site::load(&path).unwrap().unwrap();
    assert_eq!((changed.version, &changed.updates), (9, &None));
    assert_eq!(
        changed.later().join(" "),
        "door language network.mtu network.second time.poll"
    );
}

/// So is what is added to any table of the file; what somebody types is read strictly in each of them.
#[test]
fn every_table_takes_more_from_the_file_and_from_nobody_else() {
    let first: Table = toml::from_str(FIRST).unwrap();
    // The fixture leaves no table and no member out.
    let keys = |table: &Table| table.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    let sorted = |words: &[&str]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words.join(" ")
    };
    let table = |path: &[&str]| {
        let inner = path
            .iter()
            .fold(&Value::Table(first.clone()), |value, name| value.get(*name).unwrap())
            .clone();
        inner.as_table().unwrap().clone()
    };
    assert_eq!(keys(&first), sorted(words::<Site>()));
    assert_eq!(keys(&table(&["network"])), sorted(words::<Network>()));
    assert_eq!(keys(&table(&["network", "bond"])), sorted(words::<Bond>()));
    assert_eq!(keys(&table(&["time"])), sorted(words::<Time>()));
    let mut updates = table(&["updates"]);
    // A server is known by this or by its pin.
    updates.insert("authorities".to_owned(), "".into());
    assert_eq!(keys(&updates), sorted(words::<Updates>()));

    let mut stored = Vec::new();
    add_everywhere(&mut Vec::new(), &first, &mut |path| stored.push(path.to_vec()));
    assert_eq!(stored.len(), 5, "{stored:?}");
    for path in stored {
        let mut text = Value::Table(first.clone());
        let inner = path
            .iter()
            .fold(&mut text, |value, name| value.get_mut(name.as_str()).unwrap());
        inner.as_table_mut().unwrap().insert("typo".to_owned(), 1.into());
        let site = Site::parse(&toml::to_string(&text).unwrap()).unwrap();
        assert_eq!(
            site.later(),
            [[path.as_slice(), &["typo".to_owned()]].concat().join(".")]
        );
        let table = text.as_table_mut().unwrap();
        for only_stored in ["format", "server_name", "pin"] {
            table.remove(only_stored);
        }
        let refused = toml::from_str::<Editable>(&toml::to_string(&text).unwrap())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("unknown field `typo`"), "{path:?}: {refused}");
    }
}

/// Goes through all tables of a file.
fn add_everywhere(path: &mut Vec<String>, table: &Table, visit: &mut dyn FnMut(&[String])) {
    visit(path);
    for (name, value) in table {
        if let Value::Table(inner) = value {
            path.push(name.clone());
            add_everywhere(path, inner, visit);
            path.pop();
        }
    }
}
