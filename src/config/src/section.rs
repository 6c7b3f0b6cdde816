//! The macro that declares a section: struct, defaults, parsing, documentation and comparison in one place.

use crate::change::Change;
use crate::reader::{Reader, join};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A section of the file.
pub(crate) trait Section: Default {
    /// Every key, with `path` in front.
    fn keys(path: &str, out: &mut Vec<String>);
    /// Reads the section; what is wrong goes to `reader`, and the default takes its place.
    fn read(table: &DeTable<'_>, path: &str, reader: &mut Reader<'_>) -> Self;
    /// Appends each key with its sentence and value, as TOML.
    fn document(&self, out: &mut String);
    /// Appends each key with `path` in front and its value, secrets hidden; a key without value is left out.
    fn canonical(&self, path: &str, out: &mut String);
    /// Appends each key whose value differs in `other`.
    fn changes(&self, other: &Self, path: &str, out: &mut Vec<Change>);
}

/// Finds `key` in `table` and remembers where it stands.
pub(crate) fn find<'t, 'i>(
    table: &'t DeTable<'i>,
    path: &str,
    key: &str,
    reader: &mut Reader<'_>,
) -> Option<(&'t Spanned<DeValue<'i>>, String)> {
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    let full = join(path, key);
    reader.seen(&full, name.span());
    Some((value, full))
}

/// Reads the section `[key]`, or its default when the file has none.
pub(crate) fn read_section<S: Section>(table: &DeTable<'_>, key: &str, reader: &mut Reader<'_>) -> S {
    let Some((value, full)) = find(table, "", key, reader) else {
        return S::default();
    };
    match value.get_ref().as_table() {
        Some(inner) => S::read(inner, &full, reader),
        None => {
            reader.wrong(
                &full,
                value.span(),
                format!("this is a section: write [{key}] and its keys below"),
            );
            S::default()
        }
    }
}

/// Reads the sections `[[key]]`; the default is one with its defaults.
pub(crate) fn read_sections<S: Section>(table: &DeTable<'_>, key: &str, reader: &mut Reader<'_>) -> Vec<S> {
    let Some((value, full)) = find(table, "", key, reader) else {
        return vec![S::default()];
    };
    let mut sections = Vec::new();
    for (number, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
        let path = format!("{full}[{number}]");
        reader.seen(&path, item.span());
        match item.get_ref().as_table() {
            Some(inner) => sections.push(S::read(inner, &path, reader)),
            None => reader.wrong(&path, item.span(), format!("write [[{key}]] and its keys below")),
        }
    }
    if value.get_ref().as_array().is_none() {
        reader.wrong(
            &full,
            value.span(),
            format!("any number of these is allowed: write [[{key}]]"),
        );
        sections.push(S::default());
    }
    sections
}

/// Appends one key to the documentation: its sentence, and its value or, when it has none, a sample behind `#`.
pub(crate) fn document_key(
    out: &mut String,
    doc: &[&str],
    live: bool,
    key: &str,
    shown: Option<String>,
    sample: Option<&str>,
) {
    for (number, line) in doc.iter().enumerate() {
        let restart = if live || number + 1 < doc.len() {
            ""
        } else {
            " (Needs a restart.)"
        };
        out.push_str(&format!("#{line}{restart}\n"));
    }
    match (shown, sample) {
        (Some(value), _) => out.push_str(&format!("{key} = {value}\n")),
        (None, sample) => out.push_str(&format!("#{key} = {}\n", sample.unwrap_or("\"\""))),
    }
}

/// The sample of a key, if it has one.
macro_rules! sample {
    () => {
        None
    };
    ($sample:literal) => {
        Some($sample)
    };
}

/// Declares a section. Each key: its sentence (doc comment), `live` or `fixed` (does a reload change it?), name, type,
/// default, and for optional keys `=> SAMPLE` in TOML.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $when:ident $key:ident : $kind:ty = $default:expr $(=> $sample:literal)? ;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                pub $key: $kind,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::section::Section for $name {
            fn keys(path: &str, out: &mut Vec<String>) {
                $(out.push($crate::reader::join(path, stringify!($key)));)*
            }

            fn read(table: &toml::de::DeTable<'_>, path: &str, reader: &mut $crate::reader::Reader<'_>) -> Self {
                let mut section = Self::default();
                $(
                    if let Some((value, full)) = $crate::section::find(table, path, stringify!($key), reader) {
                        if let Some(value) = <$kind as $crate::value::Value>::read(value, &full, reader) {
                            section.$key = value;
                        }
                    }
                )*
                for (name, _) in table.iter() {
                    if ![$(stringify!($key)),*].contains(&name.get_ref().as_ref()) {
                        reader.unknown(path, name.get_ref(), name.span());
                    }
                }
                section
            }

            fn document(&self, out: &mut String) {
                $(
                    $crate::section::document_key(
                        out,
                        &[$($doc),+],
                        $crate::section::is_live(stringify!($when)),
                        stringify!($key),
                        $crate::value::Value::show(&self.$key),
                        sample!($($sample)?),
                    );
                )*
            }

            fn canonical(&self, path: &str, out: &mut String) {
                $(
                    if let Some(value) = $crate::value::Value::show(&self.$key) {
                        let key = $crate::reader::join(path, stringify!($key));
                        out.push_str(&format!("{key} = {value}\n"));
                    }
                )*
            }

            fn changes(&self, other: &Self, path: &str, out: &mut Vec<$crate::change::Change>) {
                $(
                    if self.$key != other.$key {
                        let live = $crate::section::is_live(stringify!($when));
                        out.push($crate::change::Change { key: $crate::reader::join(path, stringify!($key)), live });
                    }
                )*
            }
        }
    };
}

/// `live` keys change with a reload, `fixed` ones with a restart.
pub(crate) fn is_live(when: &str) -> bool {
    when == "live"
}
