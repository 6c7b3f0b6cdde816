//! The mirror of a box from a distance: `lamchat mirror`. Process 1 looks after it.

use crate::route::parse;
use crate::site::{act, ask};
use crate::{Admin, AdminError};
use lamchat_http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    /// What the kernel calls the disk.
    disk: String,
}

/// How it is, and which disks could be added.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    ask(&admin, &json!({"act": "mirror"})).await
}

/// Makes a disk the other half, whatever is on it.
pub async fn add(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Add { disk } = parse(&request)?;
    let question = json!({"act": "mirror-add", "disk": disk});
    act(&admin, &request, "box.mirror-add", question).await
}
