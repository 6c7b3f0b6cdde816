//! The public view of one user, spliced once and kept.

use super::{quoted, splice};
use crate::cross_signing::{self, Kind};
use crate::row::malformed_row;
use crate::{device_keys, device_list};
use lamchat_base::{Position, UserNum};
use lamchat_store::{KeyRange, KeyReader, Order, Read, ReadError, ReadExt};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

/// The public view of a user.
pub(super) struct Entry {
    pub(super) user: UserNum,
    /// The newest change of anybody up to which the entry is known to be right.
    pub(super) checked_at: AtomicU64,
    /// The newest change of this user.
    pub(super) changed_at: Position,
    /// `{"DEVICE":{…},…}`
    pub(super) devices: String,
    /// Where the value of each device lies in `devices`.
    pub(super) places: BTreeMap<String, std::ops::Range<usize>>,
    pub(super) master: Option<String>,
    pub(super) self_signing: Option<String>,
}

impl Entry {
    pub(super) fn render(read: &dyn Read, user: UserNum, newest: Position) -> Result<Self, ReadError> {
        let rows = read.rows(
            device_keys::DEVICE,
            &KeyRange::prefix(&user.to_key()),
            Order::Ascending,
            usize::MAX,
        )?;
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        if !rows.is_empty() {
            for device in lamchat_accounts::device::all(read, user)? {
                if let Some(name) = device.display_name {
                    names.insert(device.id.as_str().to_owned(), name);
                }
            }
        }
        let mut devices = String::from("{");
        let mut places = BTreeMap::new();
        for (key, row) in &rows {
            let mut parts = KeyReader::new(key);
            parts.u32();
            let device_id = parts.str().ok_or_else(|| malformed_row(device_keys::DEVICE))?;
            let (_, canonical, signatures) = device_keys::split(row)?;
            let (Ok(canonical), Ok(signatures)) = (std::str::from_utf8(canonical), std::str::from_utf8(signatures))
            else {
                return Err(malformed_row(device_keys::DEVICE));
            };
            if devices.len() > 1 {
                devices.push(',');
            }
            devices.push_str(&quoted(&device_id));
            devices.push(':');
            let start = devices.len();
            splice(
                &mut devices,
                canonical,
                signatures,
                names.get(&device_id).map(String::as_str),
            );
            places.insert(device_id, start..devices.len());
        }
        devices.push('}');
        Ok(Self {
            user,
            checked_at: AtomicU64::new(newest.0),
            changed_at: device_list::newest_of(read, user)?,
            devices,
            places,
            master: cross_signing::load(read, user, Kind::Master)?.map(|key| key.json()),
            self_signing: cross_signing::load(read, user, Kind::SelfSigning)?.map(|key| key.json()),
        })
    }

    pub(super) fn write_devices(&self, asked: &[Cow<'_, str>], json: &mut String) {
        if asked.is_empty() {
            json.push_str(&self.devices);
            return;
        }
        json.push('{');
        let mut first = true;
        for device_id in asked.iter().collect::<BTreeSet<_>>() {
            let Some(keys) = self
                .places
                .get(device_id.as_ref())
                .and_then(|place| self.devices.get(place.clone()))
            else {
                continue;
            };
            if !first {
                json.push(',');
            }
            first = false;
            json.push_str(&quoted(device_id));
            json.push(':');
            json.push_str(keys);
        }
        json.push('}');
    }
}
