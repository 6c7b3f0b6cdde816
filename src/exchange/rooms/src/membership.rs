//! Who is, was or may come into a room: an index of the membership events in the current state.
//!
//! The rules never ask here; they read the events. Sync, pushes and access checks do.

use crate::head::Head;
use crate::state;
use crate::table::{MEMBER, MEMBER_OF, member_key};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Key, KeyRange, KeyReader, Order, Read, ReadError, WriteTxn};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

const FORGOTTEN: u8 = 1;

/// A membership, by the byte that stands for it in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Membership {
    /// Asked to come.
    Invite = 1,
    /// In the room.
    Join = 2,
    /// Asking to come.
    Knock = 3,
    /// Was there, was kicked, or refused.
    Leave = 4,
    /// Must not come back.
    Ban = 5,
}

impl Membership {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Invite, Self::Join, Self::Knock, Self::Leave, Self::Ban];

    /// From the word in `content.membership`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|membership| membership.as_str() == word)
    }

    /// The word in `content.membership`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Knock => "knock",
            Self::Leave => "leave",
            Self::Ban => "ban",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|membership| *membership as u8 == byte)
    }
}

/// What is known of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The current membership.
    pub membership: Membership,
    /// The position of the event that says so.
    pub position: Position,
    /// Whether the user has forgotten the room (only after leaving).
    pub forgotten: bool,
}

/// `user` in `room`; `None` if they never had a membership there.
pub fn of(read: &dyn Read, user: UserNum, room: RoomNum) -> Result<Option<Member>, ReadError> {
    match read.get(MEMBER, &member_key(user, room))? {
        Some(bytes) => decode(&bytes).map(Some),
        None => Ok(None),
    }
}

/// Whether `user` has joined `room`.
pub fn is_joined(read: &dyn Read, user: UserNum, room: RoomNum) -> Result<bool, ReadError> {
    Ok(of(read, user, room)?.is_some_and(|member| member.membership == Membership::Join))
}

/// Every room in which `user` has a membership, whatever it is, forgotten ones included; by room number.
pub fn rooms_of(read: &dyn Read, user: UserNum) -> Result<Vec<(RoomNum, Member)>, ReadError> {
    let mut rooms = Vec::new();
    let mut damage = None;
    read.scan(
        MEMBER,
        &KeyRange::prefix(&user.to_key()),
        Order::Ascending,
        &mut |key, value| {
            let mut parts = KeyReader::new(key);
            match (parts.u32().and_then(|_| parts.u32()), decode(value)) {
                (Some(room), Ok(member)) => rooms.push((RoomNum(room), member)),
                (_, Err(error)) => damage = Some(error),
                (None, Ok(_)) => damage = Some(malformed()),
            }
            if damage.is_none() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    damage.map_or(Ok(rooms), Err)
}

/// The rooms that `user` has joined, by room number.
pub fn joined_rooms(read: &dyn Read, user: UserNum) -> Result<Vec<RoomNum>, ReadError> {
    let rooms = rooms_of(read, user)?;
    Ok(rooms
        .into_iter()
        .filter(|(_, member)| member.membership == Membership::Join)
        .map(|(room, _)| room)
        .collect())
}

/// The users with `membership` in `room`, by user number, at most `limit`.
pub fn members(
    read: &dyn Read,
    room: RoomNum,
    membership: Membership,
    limit: usize,
) -> Result<Vec<UserNum>, ReadError> {
    let mut users = Vec::new();
    if limit == 0 {
        return Ok(users);
    }
    let prefix = Key::new().u32(room.0).u8(membership as u8);
    read.scan(
        MEMBER_OF,
        &KeyRange::prefix(&prefix),
        Order::Ascending,
        &mut |key, _| {
            if let Some(number) = key.last_chunk::<4>() {
                users.push(UserNum(u32::from_be_bytes(*number)));
            }
            if users.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(users)
}

/// Everybody who is joined to a room that `user` is joined to, `user` included if they are in any.
pub fn users_sharing_room(read: &dyn Read, user: UserNum) -> Result<BTreeSet<UserNum>, ReadError> {
    let mut users = BTreeSet::new();
    for room in joined_rooms(read, user)? {
        users.extend(members(read, room, Membership::Join, usize::MAX)?);
    }
    Ok(users)
}

/// Whether there is a room that both have joined.
pub fn share_room(read: &dyn Read, one: UserNum, other: UserNum) -> Result<bool, ReadError> {
    for room in joined_rooms(read, one)? {
        if is_joined(read, other, room)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is an encrypted room that both have joined.
pub fn share_encrypted_room(read: &dyn Read, one: UserNum, other: UserNum) -> Result<bool, ReadError> {
    for room in joined_rooms(read, one)? {
        if is_joined(read, other, room)? && state::is_encrypted(read, room)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Enters a new membership event into the index and the head's counts.
pub(crate) fn put(
    txn: &mut WriteTxn<'_>,
    head: &mut Head,
    room: RoomNum,
    user: UserNum,
    membership: Membership,
    position: Position,
) -> Result<(), ReadError> {
    let before = of(txn, user, room)?.map(|member| member.membership);
    if before != Some(membership) {
        if let Some(before) = before {
            txn.delete(MEMBER_OF, &member_of_key(room, before, user));
        }
        txn.put(MEMBER_OF, &member_of_key(room, membership, user), Vec::new());
    }
    let one_if = |is: bool| u32::from(is);
    head.joined =
        (head.joined + one_if(membership == Membership::Join)).saturating_sub(one_if(before == Some(Membership::Join)));
    head.invited = (head.invited + one_if(membership == Membership::Invite))
        .saturating_sub(one_if(before == Some(Membership::Invite)));
    txn.put(
        MEMBER,
        &member_key(user, room),
        encode(Member {
            membership,
            position,
            forgotten: false,
        }),
    );
    Ok(())
}

/// Marks a left room as forgotten.
pub(crate) fn put_forgotten(txn: &mut WriteTxn<'_>, user: UserNum, room: RoomNum, member: Member) {
    txn.put(
        MEMBER,
        &member_key(user, room),
        encode(Member {
            forgotten: true,
            ..member
        }),
    );
}

fn member_of_key(room: RoomNum, membership: Membership, user: UserNum) -> Key {
    Key::new().u32(room.0).u8(membership as u8).u32(user.0)
}

fn encode(member: Member) -> Vec<u8> {
    let mut bytes = vec![member.membership as u8];
    bytes.extend_from_slice(&member.position.to_key());
    bytes.push(if member.forgotten { FORGOTTEN } else { 0 });
    bytes
}

fn decode(bytes: &[u8]) -> Result<Member, ReadError> {
    let [membership, p0, p1, p2, p3, p4, p5, p6, p7, flags] = bytes else {
        return Err(malformed());
    };
    Ok(Member {
        membership: Membership::from_byte(*membership).ok_or_else(malformed)?,
        position: Position(u64::from_be_bytes([*p0, *p1, *p2, *p3, *p4, *p5, *p6, *p7])),
        forgotten: flags & FORGOTTEN != 0,
    })
}

fn malformed() -> ReadError {
    ReadError::Malformed {
        table: MEMBER.name,
        detail: "not a membership row".to_owned(),
    }
}
