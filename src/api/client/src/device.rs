//! Devices: listing, renaming and removing them.

use crate::{ApiError, App, Routes, Session, uia};
use http::StatusCode;
use lamchat_accounts::device::{self, Device, RemovedDevice, RenameDeviceError};
use lamchat_base::UserNum;
use lamchat_store::{ReadError, Topic, WriteTxn};
use ruma::api::client::device::{
    self as ruma_device, delete_device, delete_devices, get_device, get_devices, update_device,
};
use ruma::{DeviceId, MilliSecondsSinceUnixEpoch, UInt};
use std::sync::Arc;

/// Most devices in one request to remove them.
const REMOVED_AT_ONCE_MAX: usize = 1_000;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<get_devices::v3::Request>(list);
    r.session::<get_device::v3::Request>(show);
    r.session::<update_device::v3::Request>(rename);
    r.session::<delete_device::v3::Request>(delete_one);
    r.session::<delete_devices::v3::Request>(delete_many);
}

async fn list(
    app: Arc<App>,
    session: Session,
    _: get_devices::v3::Request,
) -> Result<get_devices::v3::Response, ApiError> {
    let devices = device::all(&app.store.read(), session.user)?;
    Ok(get_devices::v3::Response::new(devices.into_iter().map(shown).collect()))
}

async fn show(
    app: Arc<App>,
    session: Session,
    request: get_device::v3::Request,
) -> Result<get_device::v3::Response, ApiError> {
    let device = device::one(&app.store.read(), session.user, &request.device_id)?.ok_or(RenameDeviceError::Unknown)?;
    Ok(get_device::v3::Response::new(shown(device)))
}

fn shown(device: Device) -> ruma_device::Device {
    let mut shown = ruma_device::Device::new(device.id);
    shown.display_name = device.display_name;
    // No address is ever kept, so `last_seen_ip` stays empty. It and others are told as `null`: matrix-nio refuses the whole
    // list where a member is missing.
    shown.last_seen_ts = device.last_seen_ms.and_then(UInt::new).map(MilliSecondsSinceUnixEpoch);
    shown
}

async fn rename(
    app: Arc<App>,
    session: Session,
    request: update_device::v3::Request,
) -> Result<update_device::v3::Response, ApiError> {
    let renamed = move |txn: &mut WriteTxn<'_>| -> Result<(), ApiError> {
        match request.display_name {
            // "If not given, the display name is unchanged."
            None => {
                device::one(txn, session.user, &request.device_id)?.ok_or(RenameDeviceError::Unknown)?;
            }
            Some(name) => {
                device::rename(txn, session.user, &request.device_id, Some(name))?;
                if lamchat_keys::device_keys::renamed(txn, session.user, &request.device_id)? {
                    wake_rooms(txn, session.user)?;
                }
            }
        }
        Ok(())
    };
    app.store.write(renamed).await?;
    Ok(update_device::v3::Response::new())
}

async fn delete_one(
    app: Arc<App>,
    session: Session,
    request: delete_device::v3::Request,
) -> Result<delete_device::v3::Response, ApiError> {
    let operation = format!("DELETE /devices/{}", request.device_id);
    uia::confirm(&app, &session, &operation, request.auth).await?;
    app.store
        .write(move |txn| remove(txn, session.user, &request.device_id))
        .await?;
    Ok(delete_device::v3::Response::new())
}

async fn delete_many(
    app: Arc<App>,
    session: Session,
    mut request: delete_devices::v3::Request,
) -> Result<delete_devices::v3::Response, ApiError> {
    request.devices.sort();
    request.devices.dedup();
    if request.devices.len() > REMOVED_AT_ONCE_MAX {
        return Err(ApiError::too_large(format!(
            "At most {REMOVED_AT_ONCE_MAX} devices can be removed at once"
        )));
    }
    let names: Vec<&str> = request.devices.iter().map(|id| id.as_str()).collect();
    // JSON keeps the names apart, whatever they consist of.
    let operation = format!("POST /delete_devices {}", serde_json::json!(names));
    uia::confirm(&app, &session, &operation, request.auth).await?;
    let removed = move |txn: &mut WriteTxn<'_>| -> Result<(), ReadError> {
        for device_id in &request.devices {
            remove(txn, session.user, device_id)?;
        }
        Ok(())
    };
    app.store.write(removed).await?;
    Ok(delete_devices::v3::Response::new())
}

/// Removes a device with all that anybody keeps under it: session, keys, messages to it, pushers.
/// Nothing happens if there is no such device.
pub(crate) fn remove(txn: &mut WriteTxn<'_>, user: UserNum, device_id: &DeviceId) -> Result<(), ReadError> {
    match device::remove(txn, user, device_id)? {
        Some(device) => forget(txn, user, &[device]),
        None => Ok(()),
    }
}

/// Removes all devices of a user, except `keep`.
pub(crate) fn remove_all(txn: &mut WriteTxn<'_>, user: UserNum, keep: Option<&DeviceId>) -> Result<(), ReadError> {
    let removed = lamchat_accounts::session::close_all(txn, user, keep)?;
    forget(txn, user, &removed)
}

/// Removes what others keep under devices that are gone.
pub fn forget(txn: &mut WriteTxn<'_>, user: UserNum, devices: &[RemovedDevice]) -> Result<(), ReadError> {
    let mut was_seen = false;
    for device in devices {
        was_seen |= lamchat_keys::device_keys::forget(txn, user, device.num, &device.id)?;
        lamchat_push::pushers::forget_device(txn, user, device.num)?;
    }
    if was_seen {
        wake_rooms(txn, user)?;
    }
    // A long poll on a device that is gone ends.
    txn.touch(Topic::user(user));
    Ok(())
}

/// Wakes who shares a room with a user whose device list changed.
pub(crate) fn wake_rooms(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ReadError> {
    for room in lamchat_rooms::membership::joined_rooms(txn, user)? {
        txn.touch(Topic::room(room));
    }
    Ok(())
}

impl From<RenameDeviceError> for ApiError {
    fn from(error: RenameDeviceError) -> Self {
        match error {
            RenameDeviceError::Unknown => Self::not_found(error.to_string()),
            RenameDeviceError::TooLong => Self::new(StatusCode::BAD_REQUEST, "M_TOO_LARGE", error.to_string()),
            RenameDeviceError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
