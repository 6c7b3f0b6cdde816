//! Secrets in memory: cleared when dropped, never printed, and kept where the program said they should be.
//!
//! Where that is, is the host's business: [`keep_secrets_in`] is told once, before the first secret. It is the one
//! thing in this crate that is the process's own, as its allocator is. Until then secrets are on the heap.

use std::sync::OnceLock;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of one room of [`SecretRooms`].
pub const ROOM_BYTES: usize = 64;

/// Memory that never goes to a swap device, in rooms of [`ROOM_BYTES`] bytes.
pub trait SecretRooms: Send + Sync {
    /// A free room, all zeros; `None` when all are taken.
    fn take(&self) -> Option<&'static mut [u8; ROOM_BYTES]>;

    /// Gives back what [`SecretRooms::take`] gave, cleared.
    fn give_back(&self, room: &'static mut [u8; ROOM_BYTES]);

    /// Locks the pages from this address on, for as long as the process runs. What cannot be locked is said in the log.
    fn lock(&self, from: *const u8, bytes: usize);
}

static ROOMS: OnceLock<&'static dyn SecretRooms> = OnceLock::new();

/// Keeps every [`Secret`] that is made from now on in `rooms`, as far as they have room. Answers whether it was the first
/// to say so; others change nothing.
pub fn keep_secrets_in(rooms: &'static dyn SecretRooms) -> bool {
    ROOMS.set(rooms).is_ok()
}

/// `N` secret bytes.
pub struct Secret<const N: usize>(Place<N>);

enum Place<const N: usize> {
    /// In locked memory; an `Option` only so that dropping can give it back.
    Room(Option<&'static mut [u8; ROOM_BYTES]>, &'static dyn SecretRooms),
    /// Too large for a room, no room free, or nobody said where.
    Heap(Box<[u8; N]>),
}

impl<const N: usize> Secret<N> {
    /// Takes over `bytes`, whose place on the stack is cleared; the caller clears other copies.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let place = Self::place(&bytes);
        bytes.zeroize();
        Self(place)
    }

    fn place(bytes: &[u8; N]) -> Place<N> {
        if N <= ROOM_BYTES
            && let Some(rooms) = ROOMS.get()
            && let Some(room) = rooms.take()
        {
            room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            return Place::Room(Some(room), *rooms);
        }
        Place::Heap(Box::new(*bytes))
    }

    /// The bytes, for the one who uses them in cryptography.
    pub fn expose(&self) -> &[u8; N] {
        const { assert!(N > 0, "a secret of no bytes") };
        match &self.0 {
            Place::Room(room, _) => first(room.as_deref()),
            Place::Heap(bytes) => bytes,
        }
    }
}

/// The first `N` bytes of a room.
#[expect(
    clippy::expect_used,
    reason = "only secrets that fit get a room, and only dropping takes it away"
)]
fn first<const N: usize>(room: Option<&[u8; ROOM_BYTES]>) -> &[u8; N] {
    room.and_then(|room| room.first_chunk()).expect("a room with a secret")
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        match &mut self.0 {
            Place::Room(room, rooms) => {
                if let Some(room) = room.take() {
                    room.zeroize();
                    rooms.give_back(room);
                }
            }
            Place::Heap(bytes) => bytes.zeroize(),
        }
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> Clone for Secret<N> {
    fn clone(&self) -> Self {
        Self(Self::place(self.expose()))
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        // Without an early end, so that the time tells nothing about how much is equal.
        let difference = self.expose().iter().zip(other.expose());
        difference.fold(0, |found, (one, other)| found | (one ^ other)) == 0
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> std::fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A value that is as secret as the key that it was made of, such as a cipher with its round keys: on pages of its own,
/// which are locked where the program keeps its secrets in locked memory, and cleared when it is dropped.
pub struct Locked<T: ZeroizeOnDrop>(Box<Page<T>>);

/// So that nothing else is on its pages.
#[repr(align(4096))]
struct Page<T>(T);

/// Bytes of the stack that are cleared.
const LEFT_BYTES: usize = 8 << 10;

impl<T: ZeroizeOnDrop> Locked<T> {
    /// Makes the value and moves it there.
    pub fn new(make: impl FnOnce() -> T) -> Self {
        let made = Self::place(make);
        clear_stack();
        made
    }

    /// Not inlined: what it leaves on the stack lies where [`clear_stack`] writes then.
    #[inline(never)]
    fn place(make: impl FnOnce() -> T) -> Self {
        let page = Box::new(Page(make()));
        if let Some(rooms) = ROOMS.get() {
            rooms.lock(std::ptr::from_ref(&*page).cast(), size_of::<Page<T>>());
        }
        Self(page)
    }
}

/// Writes zeros where the functions that were called just now had their variables: ciphers spread their keys there. 8 KiB,
/// some 0.1 µs.
#[inline(never)]
pub fn clear_stack() {
    let mut left = [0u8; LEFT_BYTES];
    // Not by a shared reference: of that the compiler would make a constant.
    std::hint::black_box(&mut left);
}

impl<T: ZeroizeOnDrop> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: ZeroizeOnDrop> std::fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Locked(…)")
    }
}

/// A secret of any length: a passphrase, a shared secret from the configuration.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who uses them in cryptography.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Locked, ROOM_BYTES, Secret, SecretBytes, SecretRooms, keep_secrets_in};
    use std::sync::Mutex;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(*b"hunter2!")), "Secret(…)");
    }

    struct TwoRooms(Mutex<Vec<&'static mut [u8; ROOM_BYTES]>>);

    impl SecretRooms for TwoRooms {
        fn take(&self) -> Option<&'static mut [u8; ROOM_BYTES]> {
            self.0.lock().unwrap().pop()
        }
        fn give_back(&self, room: &'static mut [u8; ROOM_BYTES]) {
            assert_eq!(*room, [0; ROOM_BYTES], "a room comes back cleared");
            self.0.lock().unwrap().push(room);
        }
        fn lock(&self, from: *const u8, bytes: usize) {
            assert_eq!((from as usize % 4096, bytes), (0, 4096), "a page of its own");
        }
    }

    #[test]
    fn secrets_live_in_rooms_while_there_are_some() {
        let rooms = (0..2).map(|_| &mut *Box::leak(Box::new([0; ROOM_BYTES])));
        let rooms: &'static TwoRooms = Box::leak(Box::new(TwoRooms(Mutex::new(rooms.collect()))));
        let free = || rooms.0.lock().unwrap().len();
        let early = Secret::new([1; 32]);
        assert!(keep_secrets_in(rooms));
        assert!(!keep_secrets_in(rooms));
        // The other test may hold a room for a moment.
        let first = Secret::new([2; 64]);
        let second = first.clone();
        let third = Secret::new([3; 16]);
        let large = Secret::new([4; 65]);
        let cipher = Locked::new(|| SecretBytes::new(vec![9; 9]));
        assert_eq!(cipher.expose(), [9; 9]);
        assert_eq!(format!("{cipher:?}"), "Locked(…)");
        assert_eq!((early.expose(), first.expose()), (&[1; 32], &[2; 64]));
        assert_eq!((third.expose(), large.expose()), (&[3; 16], &[4; 65]));
        assert!(first == second && first != Secret::new([5; 64]));
        drop((first, second, third, large, early));
        while free() < 2 {
            std::thread::yield_now();
        }
    }
}
