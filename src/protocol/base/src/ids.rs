//! Short numbers that stand for long Matrix identifiers inside the store.

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// Big-endian bytes: their order is the order of the numbers.
            pub fn to_key(self) -> [u8; size_of::<$inner>()] {
                self.0.to_be_bytes()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

short_id! {
    /// Stands for a user id, local or remote; never reused.
    UserNum(u32)
}
short_id! {
    /// Stands for a room id; never reused.
    RoomNum(u32)
}
short_id! {
    /// Stands for one device of one local user; never reused, even when a device id is.
    DeviceNum(u32)
}
short_id! {
    /// A place in the store's one ordered log. 0 is before everything. Opaque, with gaps.
    #[derive(Default)]
    Position(u64)
}
