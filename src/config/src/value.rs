//! The types that a value can have: how each is read, and how it is shown.

use crate::reader::Reader;
use lamchat_base::SecretBytes;
use ruma::{OwnedServerName, RoomVersionId, ServerName};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// A value of the file.
pub(crate) trait Value: Sized {
    /// Reads the value; `None` after telling the reader what is wrong.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self>;
    /// The value as TOML; `None` when there is none.
    fn show(&self) -> Option<String>;
}

/// `text` as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What kind of value this is, for error messages.
pub(crate) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn expected<T>(what: &str, value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<T> {
    reader.wrong(
        key,
        value.span(),
        format!("expected {what}, found {}", type_name(value.get_ref())),
    );
    None
}

/// Reads a string and lets `parse` make something of it; its error is the message.
pub(crate) fn read_text<T>(
    what: &str,
    value: &Spanned<DeValue<'_>>,
    key: &str,
    reader: &mut Reader<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else {
        return expected(what, value, key, reader);
    };
    match parse(text) {
        Ok(parsed) => Some(parsed),
        Err(message) => {
            reader.wrong(key, value.span(), message);
            None
        }
    }
}

impl Value for bool {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        value
            .get_ref()
            .as_bool()
            .or_else(|| expected("true or false", value, key, reader))
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! whole_number {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
                let Some(number) = value.get_ref().as_integer() else {
                    return expected("a whole number", value, key, reader);
                };
                match <$kind>::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Some(number),
                    Err(_) => {
                        reader.wrong(key, value.span(), format!("expected a whole number from 0 to {}", <$kind>::MAX));
                        None
                    }
                }
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

impl Value for String {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a string", value, key, reader, |text| Ok(text.to_owned()))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for IpAddr {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("an IP address in quotes", value, key, reader, |text| {
            text.parse().map_err(|_| {
                format!(
                    "{} is not an IP address; use \"0.0.0.0\" or \"::\" for every one",
                    quoted(text)
                )
            })
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for PathBuf {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let folder = reader.folder.to_owned();
        read_text("a path in quotes", value, key, reader, |text| match text {
            "" => Err("a path must not be empty".to_owned()),
            text => Ok(folder.join(text)),
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Value for Duration {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a time such as \"30s\"", value, key, reader, |text| {
            parse_duration(text).ok_or_else(|| {
                format!(
                    "{} is not a time: write a whole number and a unit: ms, s, m, h or d, such as \"30s\"",
                    quoted(text)
                )
            })
        })
    }
    fn show(&self) -> Option<String> {
        let ms = self.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let unit = units.iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
        Some(unit.map_or_else(
            || quoted(&format!("{ms}ms")),
            |(size, name)| quoted(&format!("{}{name}", ms / size)),
        ))
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

impl Value for OwnedServerName {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a server name in quotes", value, key, reader, |text| {
            // Matrix 1.16, appendices 4.1: "hostname [ ":" port ]"; a URL or a user id is a likely mistake.
            let name = ServerName::parse(text).map_err(|_| {
                format!(
                    "{} is not a server name: write a host, host:port or an IP literal, such as \"example.org\"",
                    quoted(text)
                )
            })?;
            match name.port() {
                Some(0) => Err("port 0 cannot be reached".to_owned()),
                _ => Ok(name),
            }
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

impl Value for RoomVersionId {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a room version in quotes, such as \"12\"", value, key, reader, |text| {
            let known = matches!(text, "6" | "7" | "8" | "9" | "10" | "11" | "12");
            let version = RoomVersionId::try_from(text).ok().filter(|_| known);
            version.ok_or_else(|| format!("room version {} is not supported; use \"6\" to \"12\"", quoted(text)))
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

/// An `https://` address, ended by a slash. Plain `http://` is accepted for this machine itself only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address, with a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and, if there is one, port.
    pub fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("expected an address such as \"https://chat.example.org/\"")?;
        let authority = rest.split('/').next().unwrap_or_default();
        let name = ServerName::parse(authority).map_err(|_| format!("{} is not a host", quoted(authority)))?;
        let own = name.host() == "localhost" || name.host().starts_with("127.") || name.host() == "[::1]";
        match scheme {
            "https" => {}
            "http" if own => {}
            "http" => return Err("clients need https:// here (http:// only for localhost)".to_owned()),
            _ => return Err(format!("expected https://, found {scheme}://")),
        }
        if rest.contains(['?', '#', ' ']) {
            return Err("an address without ? and # is needed here".to_owned());
        }
        let slash = if text.ends_with('/') { "" } else { "/" };
        Ok(Self(format!("{text}{slash}")))
    }
}

impl Value for BaseUrl {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("an address in quotes", value, key, reader, Self::parse)
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// A secret that is written in the file. Never printed, not even by `config example`.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretText(SecretBytes);

impl SecretText {
    /// The secret, for the one who uses it in cryptography.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl Value for SecretText {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a string", value, key, reader, |text| match text {
            "" => Err("a secret must not be empty".to_owned()),
            text => Ok(Self(SecretBytes::new(text.as_bytes().to_vec()))),
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted("…"))
    }
}

impl<T: Value> Value for Option<T> {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(value, key, reader).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            return expected("a list", value, key, reader);
        };
        items.iter().map(|item| T::read(item, key, reader)).collect()
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}
