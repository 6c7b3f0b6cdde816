//! What a release says of itself: in `os-release` and in `/etc/lamchat/release.json` of the initrd.

use serde::Serialize;

/// The name of the product in every signed statement.
pub const PRODUCT: &str = "lamchat";

/// The security epoch of releases from this source. It is raised when a flaw was found that a box must not run again.
pub const EPOCH: u64 = 1;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// Its security epoch: a box that allows a later one alone does not open its keys for this release.
    pub epoch: u64,
    /// The commit that it was built from.
    pub commit: String,
    /// The time of that commit, in seconds since 1970: the box's clock never starts below.
    pub built_at: u64,
}

#[derive(Serialize)]
struct File<'a> {
    product: &'a str,
    version: &'a str,
    epoch: u64,
    commit: &'a str,
    built_at: u64,
    kind: &'a str,
    kernel: &'a str,
}

impl Release {
    /// `release.json`; `kind` is the image's, `kernel` the kernel's version.
    pub fn to_json(&self, kind: &str, kernel: &str) -> Result<String, serde_json::Error> {
        serde_json::to_string(&File {
            product: PRODUCT,
            version: &self.version,
            epoch: self.epoch,
            commit: &self.commit,
            built_at: self.built_at,
            kind,
            kernel,
        })
    }

    /// `os-release`, from which systemd-boot takes title and version: of two slots the newer version comes first.
    pub fn os_release(&self) -> String {
        let version = &self.version;
        format!(
            "NAME=LamChat\nID={PRODUCT}\nPRETTY_NAME=\"LamChat {version}\"\nVERSION_ID={version}\nIMAGE_ID={PRODUCT}\n\
             IMAGE_VERSION={version}\nBUILD_ID={}\n",
            self.commit
        )
    }
}
