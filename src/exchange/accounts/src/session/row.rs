//! The binary row of a session; its form is described in the parent.

use crate::row::malformed;
use crate::tables::SESSION;
use crate::token::TokenHash;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_store::{Bytes, KeyReader, Read, ReadError, WriteTxn};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

const VERSION: u8 = 1;
const UNCONFIRMED: u8 = 1;

/// A session, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) is_unconfirmed: bool,
    pub(crate) user: UserNum,
    pub(crate) device: DeviceNum,
    pub(crate) expires_at_ms: u64,
    pub(crate) last_seen_ms: u64,
    pub(crate) user_id: OwnedUserId,
    pub(crate) device_id: OwnedDeviceId,
}

impl SessionRow {
    pub(crate) fn load(read: &dyn Read, token: &TokenHash) -> Result<Option<Self>, ReadError> {
        let Some(value) = read.get(SESSION, token.as_key())? else {
            return Ok(None);
        };
        Self::parse(&value)
            .map(Some)
            .ok_or_else(|| malformed(SESSION, "not a session row of version 1"))
    }

    pub(crate) fn store(&self, txn: &mut WriteTxn<'_>, token: &TokenHash) {
        txn.put(SESSION, token.as_key(), self.to_bytes());
    }

    fn to_bytes(&self) -> Bytes {
        let user_id = self.user_id.as_bytes();
        let mut row = Vec::with_capacity(28 + user_id.len() + self.device_id.as_str().len());
        row.push(VERSION);
        row.push(if self.is_unconfirmed { UNCONFIRMED } else { 0 });
        row.extend_from_slice(&self.user.to_key());
        row.extend_from_slice(&self.device.to_key());
        row.extend_from_slice(&self.expires_at_ms.to_be_bytes());
        row.extend_from_slice(&self.last_seen_ms.to_be_bytes());
        // A user id has at most 255 bytes.
        row.extend_from_slice(&u16::try_from(user_id.len()).unwrap_or(u16::MAX).to_be_bytes());
        row.extend_from_slice(user_id);
        row.extend_from_slice(self.device_id.as_bytes());
        row.into()
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let mut reader = KeyReader::new(value);
        if reader.u8()? != VERSION {
            return None;
        }
        let flags = reader.u8()?;
        let user = UserNum(reader.u32()?);
        let device = DeviceNum(reader.u32()?);
        let expires_at_ms = reader.u64()?;
        let last_seen_ms = reader.u64()?;
        let (length, rest) = reader.rest().split_first_chunk::<2>()?;
        let (user_id, device_id) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Self {
            is_unconfirmed: flags & UNCONFIRMED != 0,
            user,
            device,
            expires_at_ms,
            last_seen_ms,
            user_id: UserId::parse(std::str::from_utf8(user_id).ok()?).ok()?,
            device_id: OwnedDeviceId::from(std::str::from_utf8(device_id).ok()?),
        })
    }
}
