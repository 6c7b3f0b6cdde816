//! The source that is built: its commit, its time, and the program that cargo makes of it.

use crate::file::{self, FileError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source could not be read or compiled.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// git does not know the commit, and the environment does not tell.
    #[error("{0} is not known: build from a git repository, or set it in the environment")]
    Unknown(&'static str),
    /// A manifest is not one.
    #[error("{} is no manifest of a crate", .0.display())]
    Manifest(PathBuf),
    /// cargo could not be started or failed.
    #[error("the program cannot be compiled: {0}")]
    Compile(String),
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The workspace's own crates, each with the crates that it needs: those of its tests alone are left out.
pub type Needs = BTreeMap<String, BTreeSet<String>>;

/// Reads the manifests of the workspace.
pub fn needs() -> Result<Needs, SourceError> {
    let read = |folder: &Path| -> Result<toml::Table, SourceError> {
        let path = folder.join("Cargo.toml");
        let text = file::read(&path)?;
        let text = std::str::from_utf8(&text).map_err(|_| SourceError::Manifest(path.clone()))?;
        text.parse().map_err(|_| SourceError::Manifest(path.clone()))
    };
    let root = read(workspace())?;
    let members = root
        .get("workspace")
        .and_then(|table| table.get("members")?.as_array().cloned());
    let members = members.unwrap_or_default();
    let folders = members
        .iter()
        .filter_map(toml::Value::as_str)
        .map(|member| workspace().join(member));
    let mut needs = Needs::new();
    for folder in std::iter::once(workspace().to_owned()).chain(folders) {
        let manifest = read(&folder)?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name")?.as_str());
        let name = name.ok_or_else(|| SourceError::Manifest(folder.join("Cargo.toml")))?;
        needs.insert(name.to_owned(), needed(&manifest));
    }
    Ok(needs)
}

/// The names of a manifest's dependencies. No crate here renames another (`package = …`).
fn needed(manifest: &toml::Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |table: &toml::Table| {
        for kind in ["dependencies", "build-dependencies"] {
            let dependencies = table.get(kind).and_then(toml::Value::as_table);
            names.extend(dependencies.into_iter().flat_map(toml::Table::keys).cloned());
        }
    };
    add(manifest);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for target in targets
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table)
    {
        add(target);
    }
    names
}

/// The commit: `LAMCHAT_COMMIT`, else git's.
pub fn commit() -> Result<String, SourceError> {
    let named = std::env::var("LAMCHAT_COMMIT").ok().filter(|commit| !commit.is_empty());
    named
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .ok_or(SourceError::Unknown("LAMCHAT_COMMIT"))
}

/// The time of the commit in seconds since 1970: `SOURCE_DATE_EPOCH`, else git's.
pub fn built_at() -> Result<u64, SourceError> {
    let named = std::env::var("SOURCE_DATE_EPOCH").ok();
    named
        .or_else(|| git(&["log", "-1", "--format=%ct"]))
        .and_then(|text| text.parse().ok())
        .ok_or(SourceError::Unknown("SOURCE_DATE_EPOCH"))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(workspace())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Compiles the program of a source for a release and reads it. No path of the building machine gets into it.
pub fn compile(source: &Path, target: &Path) -> Result<Vec<u8>, SourceError> {
    let workspace = std::fs::canonicalize(source).map_err(FileError::at(source))?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let places = [
        (workspace.display().to_string(), "/lamchat"),
        (cargo_home.display().to_string(), "/cargo"),
        (target.display().to_string(), "/target"),
    ];
    // These replace the flags of .cargo/config.toml, so they repeat them.
    let mut rust = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "--cfg=getrandom_backend=\"linux_getrandom\"".to_owned(),
    ];
    let mut c = Vec::new();
    for (from, to) in places {
        // A compiler's flags come in one text, divided by spaces.
        if from.contains(char::is_whitespace) {
            return Err(SourceError::Compile(format!("there is a space in the path {from}")));
        }
        rust.push(format!("--remap-path-prefix={from}={to}"));
        c.push(format!("-ffile-prefix-map={from}={to}"));
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "lamchat",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(&workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env("CFLAGS", c.join(" "))
        .env("LAMCHAT_COMMIT", commit()?)
        .env("SOURCE_DATE_EPOCH", built_at()?.to_string())
        .status()
        .map_err(|error| SourceError::Compile(error.to_string()))?;
    if !status.success() {
        return Err(SourceError::Compile(status.to_string()));
    }
    Ok(file::read(&target.join("x86_64-unknown-linux-gnu/release/lamchat"))?)
}
