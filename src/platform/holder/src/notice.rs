//! What the holder tells the exchange: acts that were typed past it, for the audit log.

use crate::wire::{MalformedError, assemble, head, kind_code, kind_of};
use lamchat_seal::SlotKind;
use zeroize::Zeroizing;

/// An act on the holder's own socket. The exchange answers each notice once it is durable in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// What is done.
    pub act: Act,
    /// How far it is.
    pub state: State,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whose process asked.
    pub uid: u32,
    /// The slot, where it is known.
    pub slot: Option<u32>,
    /// Its kind, where it is known.
    pub kind: Option<SlotKind>,
    /// Whether it was asked for even without Secure Boot.
    pub force: bool,
    /// The security floor, where one is raised.
    pub floor: Option<u64>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The keys are opened by hand.
    Unlock,
    /// A slot is added.
    AddSlot,
    /// A recovery key is typed back.
    VerifyRecovery,
    /// A `tpm` slot is bound anew.
    Rebind,
    /// The security floor is raised.
    RaiseFloor,
    /// The file slot is removed, and new keys are made.
    RemoveSlot,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It begins once this notice is answered.
    Begun,
    /// It is done, durably.
    Done,
    /// It was not done.
    Failed,
}

const ACTS: [(Act, u8); 6] = [
    (Act::Unlock, 1),
    (Act::AddSlot, 2),
    (Act::VerifyRecovery, 3),
    (Act::Rebind, 4),
    (Act::RaiseFloor, 5),
    (Act::RemoveSlot, 6),
];
const STATES: [(State, u8); 3] = [(State::Begun, 1), (State::Done, 2), (State::Failed, 3)];

fn code<T: PartialEq>(all: &[(T, u8)], value: &T) -> u8 {
    let found = all.iter().find(|(known, _)| known == value);
    found.map_or(0, |(_, code)| *code)
}

fn of<T: Copy>(all: &[(T, u8)], code: u8) -> Result<T, MalformedError> {
    let found = all.iter().find(|(_, known)| *known == code);
    found.map(|(value, _)| *value).ok_or(MalformedError)
}

impl Notice {
    /// Version, kind and body.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let slot = self.slot.unwrap_or(0);
        let kind = self.kind.map_or(0, kind_code);
        let codes = [code(&ACTS, &self.act), code(&STATES, &self.state)];
        assemble(
            128,
            &[
                &codes,
                &self.time_ms.to_be_bytes(),
                &self.uid.to_be_bytes(),
                &slot.to_be_bytes(),
                &[kind, u8::from(self.force)],
                &self.floor.unwrap_or(0).to_be_bytes(),
            ],
        )
    }

    /// Reads what [`Notice::encode`] made.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedError> {
        let (kind, mut body) = head(frame)?;
        if kind != 128 {
            return Err(MalformedError);
        }
        let notice = Self {
            act: of(&ACTS, body.u8()?)?,
            state: of(&STATES, body.u8()?)?,
            time_ms: body.u64()?,
            uid: body.u32()?,
            slot: Some(body.u32()?).filter(|slot| *slot > 0),
            kind: match body.u8()? {
                0 => None,
                code => Some(kind_of(code)?),
            },
            force: body.flag()?,
            floor: Some(body.u64()?).filter(|floor| *floor > 0),
        };
        body.end(notice)
    }
}

/// The exchange's answer to a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// It is durable in the audit log.
    Noted,
    /// It could not be noted; nothing may be done.
    NotNoted,
}

impl Ack {
    /// Version, kind and body.
    pub fn encode(self) -> Zeroizing<Vec<u8>> {
        assemble(129, &[&[u8::from(self == Self::Noted)]])
    }

    /// Reads what [`Ack::encode`] made.
    pub fn parse(frame: &[u8]) -> Result<Self, MalformedError> {
        let (kind, mut body) = head(frame)?;
        if kind != 129 {
            return Err(MalformedError);
        }
        let noted = if body.flag()? { Self::Noted } else { Self::NotNoted };
        body.end(noted)
    }
}
