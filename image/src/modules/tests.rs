//! Modules that are made here: ELF with a section `.modinfo` alone.
#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

use super::*;
use proptest::prelude::*;

/// ELF64, little-endian, relocatable, of x86-64, with the sections that a reader asks for.
fn module(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut bytes = b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3E\0\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&[0; 16]);
    let table = (64 + info.len() + names.len()) as u64;
    bytes.extend_from_slice(&table.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for field in [64u16, 0, 0, 64, 3, 2] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(info);
    bytes.extend_from_slice(names);
    let sections = [
        (0u32, 0u32, 0u64, 0u64),
        (1, 1, 64, info.len() as u64),
        (10, 3, 64 + info.len() as u64, names.len() as u64),
    ];
    for (name, kind, offset, length) in sections {
        bytes.extend_from_slice(&name.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&1u64.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes
}

fn package(modules: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let path = |name: &str| format!("lib/modules/6.1/kernel/drivers/{name}.ko");
    modules.iter().map(|(name, info)| (path(name), module(info))).collect()
}

fn chosen(load: &[&str], devices: &[&str]) -> Chosen {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Chosen {
        load: list(load),
        devices: BTreeMap::from([("x".to_owned(), list(devices))]),
        named: Vec::new(),
    }
}

#[test]
fn needs_come_before_what_needs_them_and_only_what_is_needed_is_taken() {
    let package = package(&[
        (
            "top",
            b"alias=pci:v1*\0alias=has a space\0depends=mid-dle,low\0vermagic=6.1\0",
        ),
        ("mid-dle", b"depends=low\0alias=usb:v2*\0"),
        ("low", b"depends=\0"),
        ("unused", b"depends=\0"),
    ]);
    let set = pick_chosen(&chosen(&["low"], &["top"]), &package).unwrap();
    assert_eq!(set.dependencies, "low:\nmid_dle: low\ntop: low mid_dle\n");
    assert_eq!(set.aliases, "alias usb:v2* mid_dle\nalias pci:v1* top\n");
    assert_eq!(set.load, "low\n");
    assert_eq!(set.files.keys().collect::<Vec<_>>(), ["low", "mid_dle", "top"]);
}

#[test]
fn a_module_that_nothing_loads_is_refused() {
    let package = package(&[("dog", b"depends=\0"), ("card", b"alias=pci:v1*\0depends=\0")]);
    let error = pick_chosen(&chosen(&[], &["dog", "card"]), &package).err().unwrap();
    assert!(matches!(&error, ModuleError::Dead(name) if name == "dog"), "{error}");
    assert!(pick_chosen(&chosen(&["dog"], &["dog", "card"]), &package).is_ok());
    let named = |when: &str| Chosen {
        named: vec![NamedModules {
            when: when.to_owned(),
            modules: vec!["dog".to_owned()],
        }],
        ..chosen(&[], &["card"])
    };
    let set = pick_chosen(&named("without-watchdog"), &package).unwrap();
    assert_eq!(set.named, "without-watchdog dog\n");
    assert!(set.files.contains_key("dog"));
    let error = pick_chosen(&named("sometimes"), &package).err().unwrap();
    assert_eq!(error.to_string(), "modules.toml: \"sometimes\" is no condition");
}

#[test]
fn every_module_is_in_one_list_of_the_images() {
    let chosen: Chosen = toml::from_str(CHOSEN).unwrap();
    assert!(chosen.named.iter().all(|named| Condition::parse(&named.when).is_some()));
    let last = chosen.named.last().and_then(|named| named.modules.last());
    assert_eq!(
        last.map(String::as_str),
        Some("softdog"),
        "every other watchdog is better"
    );
    let devices: Vec<&String> = chosen.devices.values().flatten().collect();
    for named in &chosen.named {
        for name in &named.modules {
            assert!(
                !devices.contains(&name) && !chosen.load.contains(name),
                "{name} is there twice"
            );
        }
    }
}

#[test]
fn what_is_missing_damaged_or_a_circle_is_named() {
    let circle = package(&[("a", b"depends=b\0"), ("b", b"depends=a\0")]);
    assert!(matches!(
        pick_chosen(&chosen(&["a"], &[]), &circle),
        Err(ModuleError::Circle(_))
    ));
    let missing = package(&[("a", b"depends=gone\0")]);
    let error = pick_chosen(&chosen(&["a"], &[]), &missing).err().unwrap();
    assert_eq!(error.to_string(), "the kernel has no module gone");
    for damaged in [&b""[..], b"\x7FELF", b"depends=\xFF\xFE\0"] {
        let file = if damaged.starts_with(b"depends") {
            module(damaged)
        } else {
            damaged.to_vec()
        };
        let files = BTreeMap::from([("lib/modules/6.1/a.ko".to_owned(), file)]);
        let error = pick_chosen(&chosen(&["a"], &[]), &files).err().unwrap();
        assert!(matches!(error, ModuleError::Damaged(name) if name == "a"));
    }
}

#[test]
fn sounds_and_screens_are_no_candidates() {
    assert!(is_candidate("lib/modules/6.1/kernel/drivers/net/e1000.ko"));
    for path in [
        "lib/modules/6.1/kernel/sound/x.ko",
        "usr/lib/x.ko",
        "lib/modules/6.1/modules.dep",
    ] {
        assert!(!is_candidate(path), "{path}");
    }
}

proptest! {
    #[test]
    fn damaged_modules_are_answered(at in 0usize..300, value in any::<u8>(), cut in 0usize..400) {
        let mut bytes = module(b"depends=a,b\0alias=x\0");
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = read("x", &bytes);
        bytes.truncate(cut);
        let _ = read("x", &bytes);
    }
}
