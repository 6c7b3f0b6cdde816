//! The software bill of materials: CycloneDX 1.5, from `Cargo.lock` and the pinned packages.
//!
//! `Cargo.lock` does not tell what is for tests and building alone, so what only they need is listed as well.

use crate::inputs::Package;
use crate::release::{PRODUCT, Release};
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
pub fn bill(release: &Release, lock: &str, packages: &[Package]) -> Result<String, SbomError> {
    let lock: Lock = toml::from_str(lock)?;
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
            let needs: Vec<String> = needs(found, &lock).map(Crate::purl).collect();
            json!({ "ref": found.purl(), "dependsOn": needs })
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
