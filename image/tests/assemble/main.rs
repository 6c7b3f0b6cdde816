//! A release is a function of its inputs: builds elsewhere, by somebody else, at another time, give the same bytes, and
//! verification notices every change and says what it is.
//!
//! `tests/run image` runs it. It needs a static program in `LAMCHAT_RELEASE_BINARY`, and apt for the pinned packages unless
//! `LAMCHAT_IMAGE_INPUTS` names their folder.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod builder;

use builder::{Release, Surroundings};
use std::os::unix::fs::FileExt;
use std::path::Path;

#[test]
fn two_builds_are_equal_and_verification_names_what_was_changed() {
    let keys = builder::new_keys();
    let here = Release::build(&keys, &Surroundings::usual());
    let elsewhere = Release::build(&keys, &Surroundings::other());
    assert_eq!(here.files(), elsewhere.files());
    for name in here.files() {
        let [left, right] = [&here, &elsewhere].map(|built| std::fs::read(built.file(&name)).unwrap());
        assert!(left == right, "{name} differs");
    }
    drop(elsewhere);

    // What a box compares an update with is in what was signed and measured, and is the published bill.
    let efi = format!("lamchat-{}.efi", env!("CARGO_PKG_VERSION"));
    let initrd = initrd(&std::fs::read(here.file(&efi)).unwrap());
    let bill = std::fs::read(here.file("sbom.cdx.json")).unwrap();
    let carried = [b"etc/lamchat/sbom.cdx.json\0".as_slice(), &bill].concat();
    assert!(
        initrd.windows(carried.len()).any(|bytes| bytes == carried),
        "the image carries another bill of materials, or none"
    );

    // Without a key, with the published signatures.
    let said = here.verify(&builder::program()).unwrap();
    let manifest = std::fs::read_to_string(here.file("manifest.json")).unwrap();
    let (_, value) = said.split_once("PCR 11: ").unwrap();
    let value = value.lines().next().unwrap();
    assert!(manifest.contains(value), "the manifest has another PCR 11 than {value}");

    // One byte of the source's outcome: what would be measured is not what was published.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("lamchat");
    std::fs::copy(builder::program(), &program).unwrap();
    flip(&program, 1000);
    let refused = here.verify(&program).unwrap_err();
    assert!(refused.contains("PCR 11") && refused.contains(value), "{refused}");

    // One byte of a signed statement.
    for (name, offset, reason) in [
        ("manifest.json", 500, "the manifest is not signed"),
        ("manifest.json.sig", 5, "the manifest is not signed"),
        ("signatures/approval.json", 60, "the approval"),
    ] {
        flip(&here.file(name), offset);
        let refused = here.verify(&builder::program()).unwrap_err();
        assert!(refused.contains(reason), "{name}: {refused}");
        flip(&here.file(name), offset);
    }

    // One byte of a signature, whoever checks it later: the firmware, or a box that is updated. A file that nobody needs.
    for (name, offset, reason) in [
        (
            "signatures/bundle.sig",
            7,
            "bundle.sig is no signature of release.pub's",
        ),
        (
            "signatures/systemd-boot.p7s",
            200,
            "systemd-boot.p7s is no signature of db.crt's",
        ),
        ("signatures/disk.p7s", 900, "disk.p7s is no signature of db.crt's"),
        (
            "signatures/installer.p7s",
            901,
            "installer.p7s is no signature of db.crt's",
        ),
        (
            "signatures/db.auth",
            300,
            "db.esl and db.auth do not give a firmware db.crt",
        ),
    ] {
        flip(&here.file(name), offset);
        let refused = here.verify(&builder::program()).unwrap_err();
        assert!(refused.contains(reason), "{name}: {refused}");
        flip(&here.file(name), offset);
    }
    let stray = here.file("signatures/more.sig");
    std::fs::write(&stray, b"x").unwrap();
    let refused = here.verify(&builder::program()).unwrap_err();
    assert!(refused.contains("more.sig belongs to nothing"), "{refused}");
    std::fs::remove_file(stray).unwrap();

    // One byte of what is not signed by itself; a file more. All of it is told at once.
    let length = std::fs::metadata(here.file(&efi)).unwrap().len();
    flip(&here.file(&efi), length - 100_000);
    flip(&here.file("sbom.cdx.json"), 500);
    std::fs::write(here.file("more.bin"), b"x").unwrap();
    let refused = here.verify(&builder::program()).unwrap_err();
    let place = format!(
        "{efi} differs, first at byte {}, in the section .initrd",
        length - 100_000
    );
    for reason in [
        place.as_str(),
        "sbom.cdx.json differs, first at byte 500",
        "only one of the two has more.bin",
    ] {
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
    assert_eq!(refused.lines().count(), 4, "{refused}");
}

/// The archive in the section `.initrd` of a unified kernel image (Microsoft's "PE Format", section table: name, bytes in
/// memory, address, bytes in the file, offset).
fn initrd(uki: &[u8]) -> Vec<u8> {
    let at = uki.windows(8).position(|name| name == b".initrd\0").unwrap();
    let field = |offset: usize| {
        let bytes = uki.get(at + offset..).and_then(|rest| rest.first_chunk());
        usize::try_from(u32::from_le_bytes(*bytes.unwrap())).unwrap()
    };
    let (length, offset) = (field(8), field(20));
    zstd::decode_all(uki.get(offset..offset + length).unwrap()).unwrap()
}

/// Flips a bit, or flips it back.
fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&byte.map(|byte| byte ^ 1), offset).unwrap();
}
