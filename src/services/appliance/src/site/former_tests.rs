//! A box whose newest configuration cannot be read.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::{Mode, Network, parse_network};
use super::*;
use lamchat_base::Entropy;

struct Ones;

impl Entropy for Ones {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(1);
    }
}

/// A folder in which versions 1 to `count` were written one after the other, each with an address of its own.
fn written(count: u8) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    let mut site = Site::new("chat.example.org", Network::default());
    for number in 1..=count {
        site.network = parse_network(&format!("10.0.0.{number}/24")).unwrap();
        site.save(&path, &Ones).unwrap();
        site.version = site.next_version();
    }
    (folder, path)
}

fn address(site: &Site) -> String {
    site.network.addresses.first().unwrap().to_string()
}

fn names(path: &Path) -> Vec<String> {
    let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files(path).unwrap().iter().map(name).collect();
    names.sort();
    names
}

/// What a later release, or a disk that lies, may have left as version 4.
fn unreadable() -> [(&'static str, Vec<u8>, Option<u64>); 7] {
    let head = "format = 1\nversion = 4\nserver_name = \"chat.example.org\"\n";
    let of = |rest: &str| format!("{head}{rest}").into_bytes();
    [
        ("an unknown word", of("[network]\nmode = \"bgp\"\n"), Some(4)),
        (
            "an unknown word in a table of a table",
            of("[network]\nmode = \"dhcp\"\n[network.bond]\nmode = \"balance\"\nmembers = [\"eth0\", \"eth1\"]\n"),
            Some(4),
        ),
        (
            "another format",
            b"format = 2\nversion = 4\nserver_name = \"chat.example.org\"\n".to_vec(),
            Some(4),
        ),
        ("a torn file", of("[network]\nmode = \"dh"), Some(4)),
        ("no text at all", vec![0xff; 100], None),
        ("an empty file", Vec::new(), None),
        (
            "a number without a next one",
            b"format = 1\nversion = 9223372036854775807\nserver_name = 7\n".to_vec(),
            None,
        ),
    ]
}

#[test]
fn the_newest_that_can_be_read_is_in_effect_and_nothing_is_overwritten() {
    for (what, bytes, version) in unreadable() {
        let (_folder, path) = written(3);
        // As every release replaces the file: the one before is kept first.
        keep(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert!(Site::load(&path).is_err(), "{what}");
        let InEffect { site, instead } = Site::in_effect(&path).unwrap().unwrap();
        assert_eq!((site.version, address(&site).as_str()), (3, "10.0.0.3/24"), "{what}");
        assert_eq!(instead.unwrap().version, version, "{what}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: looking changes nothing");

        // An operator's change is made from what is in effect, has a number of its own, and the other is kept.
        let mut wanted = site.editable();
        assert_eq!(wanted.version, 3, "{what}");
        wanted.network.vlan = Some(7);
        let changed = site.changed(wanted).unwrap();
        assert_eq!(changed.version, version.unwrap_or(3) + 1, "{what}");
        changed.save(&path, &Ones).unwrap();
        let InEffect { site, instead } = Site::in_effect(&path).unwrap().unwrap();
        assert!(instead.is_none(), "{what}");
        assert_eq!(
            (address(&site).as_str(), site.network.vlan),
            ("10.0.0.3/24", Some(7)),
            "{what}"
        );
        let kept = names(&path);
        let name = if version.is_some() { "4.toml" } else { "unread-1.toml" };
        assert!(kept.iter().any(|kept| kept == name), "{what}: {kept:?}");
        assert_eq!(
            std::fs::read(path.with_file_name(FOLDER).join(name)).unwrap(),
            bytes,
            "{what}"
        );
    }
}

#[test]
fn a_former_version_that_cannot_be_read_either_is_passed_over() {
    let (_folder, path) = written(4);
    let former = path.with_file_name(FOLDER);
    assert_eq!(names(&path), ["1.toml", "2.toml", "3.toml"]);
    std::fs::write(&path, "format = 2\nversion = 4\n").unwrap();
    std::fs::write(former.join("3.toml"), "format = 1\nversion = 3\nserver_name = 7\n").unwrap();
    let site = Site::in_effect(&path).unwrap().unwrap().site;
    assert_eq!((site.version, site.next_version()), (2, 5));
}

#[test]
fn where_no_version_can_be_read_the_newest_ones_error_stands() {
    let (_folder, path) = written(3);
    let newest = "format = 1\nversion = 3\nserver_name = \"a\"\n[network]\nmode = \"bgp\"\n";
    std::fs::write(&path, newest).unwrap();
    for file in files(&path).unwrap() {
        std::fs::write(file, "torn").unwrap();
    }
    let error = Site::in_effect(&path).unwrap_err().to_string();
    assert!(error.contains("bgp"), "{error}");
    assert_eq!(names(&path).len(), 2, "nothing is deleted");
    // The same where nothing was kept, as a release before this one left it.
    std::fs::remove_dir_all(path.with_file_name(FOLDER)).unwrap();
    assert!(Site::in_effect(&path).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(Site::in_effect(&path).unwrap().is_none(), "no file is no configuration");
}

#[test]
fn a_change_of_the_network_that_was_not_confirmed_is_in_no_version() {
    let (_folder, path) = written(2);
    // It was tried, and never saved.
    let before = Site::load(&path).unwrap().unwrap();
    let mut wanted = before.editable();
    wanted.network = parse_network("dhcp").unwrap();
    let tried = before.changed(wanted).unwrap();
    assert_eq!((tried.version, tried.network.mode), (3, Mode::Dhcp));
    // Another change was saved instead, and then came what cannot be read.
    let mut other = before.editable();
    other.network.vlan = Some(9);
    before.changed(other).unwrap().save(&path, &Ones).unwrap();
    keep(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "format = 2\nversion = 4\n").unwrap();
    let site = Site::in_effect(&path).unwrap().unwrap().site;
    assert_eq!(
        (site.version, site.network.mode, site.network.vlan),
        (3, Mode::Static, Some(9))
    );
}

#[test]
fn sixteen_versions_are_kept() {
    let (_folder, path) = written(30);
    let mut kept: Vec<u64> = names(&path)
        .iter()
        .map(|name| name.trim_end_matches(SUFFIX).parse().unwrap())
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, (14..=29).collect::<Vec<u64>>());
    // A power cut after the link: it is there already, and is not kept twice.
    keep(&path).unwrap();
    keep(&path).unwrap();
    assert_eq!(names(&path).len(), FORMER_MAX);
    assert!(names(&path).contains(&"30.toml".to_owned()));
}
