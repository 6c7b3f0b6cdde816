//! Whom users turn to: user ids, email addresses, pages.

use crate::reader::Reader;
use crate::value::{Value, quoted, read_text};
use ruma::{OwnedUserId, UserId};
use toml::Spanned;
use toml::de::DeValue;

/// Longest email address (RFC 5321, section 4.5.3.1.3: 256 with its brackets) and longest address of a page.
const EMAIL_BYTES_MAX: usize = 254;
const PAGE_BYTES_MAX: usize = 2_000;

impl Value for OwnedUserId {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a user id in quotes", value, key, reader, |text| {
            let wrong = || format!("{} is not a user id such as \"@admin:example.org\"", quoted(text));
            UserId::parse(text).map_err(|_| wrong())
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

/// An email address. Only its outline is checked: the rest is between it and its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for EmailAddress {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("an email address in quotes", value, key, reader, |text| {
            let is_right = text.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && !domain.is_empty() && text.len() <= EMAIL_BYTES_MAX && is_plain(text)
            });
            if is_right {
                Ok(Self(text.to_owned()))
            } else {
                Err(format!("{} is not an email address", quoted(text)))
            }
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// The `https://` or `http://` address of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageUrl(String);

impl PageUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for PageUrl {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("an address in quotes", value, key, reader, |text| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let is_right = rest.is_some_and(|rest| {
                !rest.is_empty() && !rest.starts_with('/') && text.len() <= PAGE_BYTES_MAX && is_plain(text)
            });
            if is_right {
                Ok(Self(text.to_owned()))
            } else {
                Err("expected an address such as \"https://example.org/help.html\"".to_owned())
            }
        })
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|char| char.is_whitespace() || char.is_control())
}
