//! What an account may do, in the first byte of its row, so that authentication need not parse the rest.

const ADMIN: u8 = 1;
const DEACTIVATED: u8 = 2;
const LOCKED: u8 = 4;
const SUSPENDED: u8 = 8;
const GUEST: u8 = 16;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing(u8);

impl Standing {
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    pub(crate) fn to_byte(self) -> u8 {
        self.0
    }

    /// May administer the exchange.
    pub fn is_admin(self) -> bool {
        self.0 & ADMIN != 0
    }

    /// Is closed for good, unless an administrator reactivates it.
    pub fn is_deactivated(self) -> bool {
        self.0 & DEACTIVATED != 0
    }

    /// Is closed for now; its sessions stay.
    pub fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// Can read and leave, neither send nor join.
    pub fn is_suspended(self) -> bool {
        self.0 & SUSPENDED != 0
    }

    /// Belongs to a guest: it has no password and may do little.
    pub fn is_guest(self) -> bool {
        self.0 & GUEST != 0
    }

    pub(crate) fn with_guest(self, on: bool) -> Self {
        self.with(GUEST, on)
    }

    pub(crate) fn with_admin(self, on: bool) -> Self {
        self.with(ADMIN, on)
    }

    pub(crate) fn with_deactivated(self, on: bool) -> Self {
        self.with(DEACTIVATED, on)
    }

    pub(crate) fn with_locked(self, on: bool) -> Self {
        self.with(LOCKED, on)
    }

    pub(crate) fn with_suspended(self, on: bool) -> Self {
        self.with(SUSPENDED, on)
    }

    fn with(self, flag: u8, on: bool) -> Self {
        Self(if on { self.0 | flag } else { self.0 & !flag })
    }
}
