//! The software bill of materials: CycloneDX 1.5, from `Cargo.lock` and the pinned packages.
//!
//! `Cargo.lock` does not tell what is for tests alone. It lists such needs of the workspace's own crates only, so their
//! manifests tell the rest ([`crate::source::Needs`]). What other systems than Linux would need is listed as well.

use crate::inputs::Package;
use crate::release::{PRODUCT, Release};
use crate::source::Needs;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The program whose needs are followed.
const ROOT: &str = "lamchat";

/// The bill could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// `Cargo.lock` is not readable.
    #[error("Cargo.lock: {0}")]
    Lock(#[from] toml::de::Error),
    /// JSON could not be written.
    #[error("JSON cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Crate>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Crate {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The bill of a release, JSON.
pub fn bill(release: &Release, lock: &str, needs: &Needs, packages: &[Package]) -> Result<String, SbomError> {
    let mut lock: Lock = toml::from_str(lock)?;
    leave_out_tests(&mut lock, needs);
    let crates = reached(&lock);
    let mut components: Vec<Value> = Vec::new();
    for found in &crates {
        let mut component = json!({
            "type": "library",
            "bom-ref": found.purl(),
            "name": found.name,
            "version": found.version,
            "purl": found.purl(),
        });
        if let (Some(checksum), Some(members)) = (&found.checksum, component.as_object_mut()) {
            members.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
        components.push(component);
    }
    for package in packages {
        let purl = format!("pkg:deb/debian/{}@{}?arch=amd64", package.name, package.version);
        components.push(json!({
            "type": "operating-system",
            "bom-ref": purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
            "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
        }));
    }
    let dependencies: Vec<Value> = crates
        .iter()
        .map(|found| {
            let needed: Vec<String> = self::needs(found, &lock).map(Crate::purl).collect();
            json!({ "ref": found.purl(), "dependsOn": needed })
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "name": PRODUCT,
                "version": release.version,
                "properties": [{ "name": "commit", "value": release.commit }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&bill)?))
}

/// Removes from the workspace's own crates what only their tests need.
fn leave_out_tests(lock: &mut Lock, needs: &Needs) {
    for found in &mut lock.package {
        if let (Some(needed), None) = (needs.get(&found.name), &found.checksum) {
            found
                .dependencies
                .retain(|need| need.split(' ').next().is_some_and(|name| needed.contains(name)));
        }
    }
}

/// The program and everything that it needs, by name and version.
fn reached(lock: &Lock) -> BTreeSet<&Crate> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Crate> = lock.package.iter().filter(|found| found.name == ROOT).collect();
    while let Some(found) = next.pop() {
        if reached.insert(found) {
            next.extend(needs(found, lock));
        }
    }
    reached
}

/// What a crate needs. A need is a name, with its version where there are several.
fn needs<'a>(found: &'a Crate, lock: &'a Lock) -> impl Iterator<Item = &'a Crate> {
    let mut by_name: BTreeMap<&str, Vec<&Crate>> = BTreeMap::new();
    for other in &lock.package {
        by_name.entry(&other.name).or_default().push(other);
    }
    found.dependencies.iter().filter_map(move |need| {
        let mut words = need.split(' ');
        let (name, version) = (words.next()?, words.next());
        let named = by_name.get(name)?;
        named
            .iter()
            .find(|other| version.is_none_or(|version| other.version == version))
            .copied()
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use std::collections::BTreeSet;

    const LOCK: &str = r#"
        version = 4
        [[package]]
        name = "lamchat"
        version = "1.0.0"
        dependencies = ["both 2.0.0", "own", "tester"]
        [[package]]
        name = "own"
        version = "1.0.0"
        dependencies = ["both 1.0.0"]
        [[package]]
        name = "both"
        version = "1.0.0"
        checksum = "aa"
        [[package]]
        name = "both"
        version = "2.0.0"
        checksum = "bb"
        dependencies = ["tester2"]
        [[package]]
        name = "tester"
        version = "1.0.0"
        checksum = "cc"
        [[package]]
        name = "tester2"
        version = "1.0.0"
        checksum = "dd"
    "#;

    fn names(bill: &str) -> Vec<String> {
        let bill: Value = serde_json::from_str(bill).unwrap();
        let components = bill.get("components").unwrap().as_array().unwrap().clone();
        let purl = |component: &Value| component.get("purl").unwrap().as_str().unwrap().to_owned();
        components.iter().map(purl).collect()
    }

    fn release() -> Release {
        Release {
            version: "1.0.0".into(),
            epoch: 1,
            commit: "abc".into(),
            built_at: 1,
        }
    }

    #[test]
    fn what_only_tests_need_is_left_out() {
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<String>>()
        };
        // A foreign crate of the name of an own one keeps its needs: `both` is not in the workspace.
        let needs = Needs::from([
            ("lamchat".to_owned(), set(&["both", "own"])),
            ("own".to_owned(), set(&["both"])),
            ("both".to_owned(), set(&[])),
        ]);
        let package = Package {
            name: "libc6".into(),
            version: "2.36".into(),
            sha256: "ee".into(),
        };
        let found = names(&bill(&release(), LOCK, &needs, &[package]).unwrap());
        let expected = [
            "pkg:cargo/both@1.0.0",
            "pkg:cargo/both@2.0.0",
            "pkg:cargo/lamchat@1.0.0",
            "pkg:cargo/own@1.0.0",
            "pkg:cargo/tester2@1.0.0",
            "pkg:deb/debian/libc6@2.36?arch=amd64",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_bill_of_this_workspace_has_no_tools_of_tests() {
        let lock = std::fs::read_to_string(crate::workspace().join("Cargo.lock")).unwrap();
        let needs = crate::needs().unwrap();
        let found = names(&bill(&release(), &lock, &needs, &[]).unwrap());
        let has = |name: &str| found.iter().any(|purl| purl.starts_with(&format!("pkg:cargo/{name}@")));
        for there in ["lamchat", "lamchat-store", "redb", "rustls"] {
            assert!(has(there), "{there}");
        }
        for absent in ["proptest", "tempfile", "lamchat-image"] {
            assert!(!has(absent), "{absent}");
        }
    }

    #[test]
    fn a_damaged_lock_is_an_error() {
        for text in ["[", "package = 3", "[[package]]\nname = 1"] {
            assert!(
                matches!(bill(&release(), text, &Needs::new(), &[]), Err(SbomError::Lock(_))),
                "{text}"
            );
        }
    }
}
