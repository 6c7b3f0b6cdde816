//! What a later release has written into the configuration's file and this one does not know. It does nothing here, and is
//! there again when the file is written anew: whoever falls back to this release starts with the file as it is, and whoever
//! goes on to the later one finds what was configured.
//!
//! What must never come this way: a member that an operator typed. What is typed is read strictly.

use super::{Bond, Network, Site, Time, Updates};
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

/// Members of a table that are not known, and those of the known tables in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Later {
    members: Table,
    tables: Vec<(&'static str, Self)>,
}

impl Later {
    /// Takes what is not known out of the file's table.
    pub fn take(table: &mut Table) -> Self {
        Self::of::<Site>(table)
            .within(table, "network", |network| {
                Self::of::<Network>(network).within(network, "bond", Self::of::<Bond>)
            })
            .within(table, "time", Self::of::<Time>)
            .within(table, "updates", Self::of::<Updates>)
    }

    /// What is not a member of this struct.
    fn of<T: for<'de> Deserialize<'de>>(table: &mut Table) -> Self {
        let known = words::<T>();
        let (kept, members) = std::mem::take(table)
            .into_iter()
            .partition(|(name, _)| known.contains(&name.as_str()));
        *table = kept;
        Self {
            members,
            tables: Vec::new(),
        }
    }

    fn within(mut self, table: &mut Table, name: &'static str, take: impl FnOnce(&mut Table) -> Self) -> Self {
        if let Some(Value::Table(inner)) = table.get_mut(name) {
            let later = take(inner);
            if later != Self::default() {
                self.tables.push((name, later));
            }
        }
        self
    }

    /// Puts it back. What belongs to a table that an operator has removed goes with it.
    pub fn put_back(&self, table: &mut Table) {
        for (name, value) in &self.members {
            table.insert(name.clone(), value.clone());
        }
        for (name, later) in &self.tables {
            if let Some(Value::Table(inner)) = table.get_mut(*name) {
                later.put_back(inner);
            }
        }
    }

    /// The names, as `network.mtu`.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.members.keys().cloned().collect();
        for (table, later) in &self.tables {
            names.extend(later.names().into_iter().map(|name| format!("{table}.{name}")));
        }
        names
    }
}

/// The names of a struct's members or an enum's words, as serde derives them.
pub(super) fn words<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut words: &[&str] = &[];
    // It ends with an error always: there is nothing to read.
    let _nothing = T::deserialize(Probe(&mut words));
    words
}

/// Tells what is asked for, and has nothing.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}
