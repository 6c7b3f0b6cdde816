//! Tells the program which commit and profile it was built from.

use std::process::Command;

fn main() {
    println!("cargo::rustc-env=LAMCHAT_COMMIT={}", commit());
    println!(
        "cargo::rustc-env=LAMCHAT_PROFILE={}",
        std::env::var("PROFILE").unwrap_or_default()
    );
    println!("cargo::rerun-if-env-changed=LAMCHAT_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    // HEAD names the branch; the branch's own file, or the packed ones, change with each commit.
    // A file that is not there would count as changed each time.
    for file in ["HEAD", "packed-refs"]
        .into_iter()
        .filter(|file| std::path::Path::new(".git").join(file).exists())
    {
        println!("cargo::rerun-if-changed=.git/{file}");
    }
    if let Some(branch) = git(&["symbolic-ref", "-q", "HEAD"]) {
        println!("cargo::rerun-if-changed=.git/{branch}");
    }
}

/// The commit from the environment (packagers without a repository), else from git, else `unknown`.
fn commit() -> String {
    let named = std::env::var("LAMCHAT_COMMIT").ok().filter(|commit| !commit.is_empty());
    named
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
