//! Updates that a box must not take: refused before a byte of its EFI system partition changes.

use crate::slots::esp;
use crate::update::{far, try_far};
use crate::virtual_machine::Disk;
use lamchat_attestation::Sha256;
use lamchat_image::ReleaseKey;
use lamchat_release::{File, Header, Version};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A small bundle, signed. `product` is as long as ours.
pub fn bundle(key: &ReleaseKey, version: [u32; 3], product: &str) -> Vec<u8> {
    let content = b"not read any further";
    let header = Header {
        product: "lamchat".to_owned(),
        version: Version(version),
        epoch: 1,
        commit: "abc".to_owned(),
        built_at: 1_767_225_600,
        files: ["uki", "boot-loader"]
            .map(|name| File {
                name: name.to_owned(),
                bytes: content.len() as u64,
                sha256: Sha256::of(content),
            })
            .to_vec(),
    };
    // Nothing of ours writes a header of another product.
    let header = String::from_utf8(header.to_bytes().unwrap()).unwrap();
    let header = header.replacen("lamchat", product, 1).into_bytes();
    let signature = key.sign(&lamchat_release::message(&header));
    let mut bytes = Vec::new();
    lamchat_release::write(&mut bytes, &header, &signature, &[content, content]).unwrap();
    bytes
}

/// Hands each to the box; `next` is a good one.
pub fn are_refused(disk: &Disk, port: u16, known: &(PathBuf, String), next: &Path, folder: &Path) {
    let keys = PathBuf::from(std::env::var_os("LAMCHAT_IMAGE_KEYS").unwrap());
    let key = ReleaseKey::read(&keys.join("release.key")).unwrap();
    ReleaseKey::make(folder, "stranger").unwrap();
    let stranger = ReleaseKey::read(&folder.join("stranger.key")).unwrap();
    let good = std::fs::read(next).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let cases = [
        ("truncated", good.get(..good.len() / 2).unwrap().to_vec(), "cut off"),
        ("damaged", damaged, "is damaged"),
        (
            "foreign",
            bundle(&stranger, [0, 2, 0], "lamchat"),
            "not signed by this box's release key",
        ),
        ("older", bundle(&key, [0, 0, 9], "lamchat"), "nothing below"),
        ("other", bundle(&key, [0, 2, 0], "toaster"), "another product"),
    ];
    let (before, _) = esp(disk);
    for (name, bytes, reason) in cases {
        let file = folder.join(format!("{name}.bundle"));
        std::fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        for arguments in [vec!["update", "check", file], vec!["update", "apply", file, "--yes"]] {
            let refused = try_far(port, known, &arguments);
            let said = String::from_utf8_lossy(&refused.stderr) + String::from_utf8_lossy(&refused.stdout);
            assert!(!refused.status.success() && said.contains(reason), "{name}: {said}");
        }
        assert!(esp(disk).0 == before, "{name}: the partition has changed");
        let status = far(port, known, &["update", "status"]);
        assert_eq!(status.get("staged"), Some(&Value::Null), "{name}: {status}");
    }
}
