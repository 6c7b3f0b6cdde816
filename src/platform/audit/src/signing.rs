//! Which key signs, which one is to follow, and the last change: kept as one sealed secret, so that it changes at once.

use crate::change::KeyChange;
use crate::keep::{Keep, failed};
use crate::key::Point;
use crate::notary::SignerError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamchat_base::SecretBytes;

/// The sealed secret. Lines: `current KEY`, `next KEY`, `change LINE`; a KEY is `software`, or `hardware`, its public
/// key and its blob in base64, and its kind to the end of the line.
pub(crate) const SIGNING: &str = "audit-signing";

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Which {
    /// The sealed one.
    #[default]
    Software,
    /// One in hardware.
    Hardware {
        /// Its public key.
        point: Point,
        /// What the hardware needs to use it.
        blob: Vec<u8>,
        /// For people.
        kind: String,
    },
}

/// The state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Signing {
    pub current: Which,
    /// Made, but not announced yet.
    pub next: Option<Which>,
    pub last_change: Option<KeyChange>,
}

impl Signing {
    /// The kept state. Where there is none, the software key signs.
    pub fn load(keep: &dyn Keep) -> Result<Option<Self>, SignerError> {
        let Some(kept) = keep.load(SIGNING)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(kept.expose()).map_err(failed)?;
        let state = Self::parse(text).ok_or_else(|| failed("what it keeps of its keys is malformed"))?;
        Ok(Some(state))
    }

    /// Durable on return.
    pub fn store(&self, keep: &dyn Keep) -> Result<(), SignerError> {
        keep.store(SIGNING, &SecretBytes::new(self.text().into_bytes()))
    }

    fn text(&self) -> String {
        let mut text = format!("current {}\n", self.current.text());
        if let Some(next) = &self.next {
            text.push_str(&format!("next {}\n", next.text()));
        }
        if let Some(change) = &self.last_change {
            text.push_str(&format!("change {}\n", change.line()));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut state = Self {
            current: Which::parse(lines.next()?.strip_prefix("current ")?)?,
            ..Self::default()
        };
        for line in lines {
            match line.split_once(' ')? {
                ("next", key) if state.next.is_none() && state.last_change.is_none() => {
                    state.next = Some(Which::parse(key)?);
                }
                ("change", change) if state.last_change.is_none() => {
                    state.last_change = Some(KeyChange::parse(change)?)
                }
                _ => return None,
            }
        }
        Some(state)
    }
}

impl Which {
    fn text(&self) -> String {
        match self {
            Self::Software => "software".to_owned(),
            Self::Hardware { point, blob, kind } => {
                let (point, blob) = (BASE64_STANDARD.encode(point), BASE64_STANDARD.encode(blob));
                format!("hardware {point} {blob} {kind}")
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "software" {
            return Some(Self::Software);
        }
        let mut words = text.strip_prefix("hardware ")?.splitn(3, ' ');
        Some(Self::Hardware {
            point: BASE64_STANDARD.decode(words.next()?).ok()?.try_into().ok()?,
            blob: BASE64_STANDARD.decode(words.next()?).ok()?,
            kind: words.next().filter(|kind| !kind.is_empty())?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Signing, Which};

    #[test]
    fn the_state_comes_back_and_nothing_else_is_one() {
        let hardware = Which::Hardware {
            point: [4; 65],
            blob: b"blob".to_vec(),
            kind: "TPM key".to_owned(),
        };
        for (current, next) in [
            (Which::Software, None),
            (Which::Software, Some(hardware.clone())),
            (hardware, Some(Which::Software)),
        ] {
            let state = Signing {
                current,
                next,
                last_change: None,
            };
            let text = state.text();
            assert_eq!(Signing::parse(&text).unwrap(), state);
            for end in 0..text.len() {
                let cut = Signing::parse(&text[..end]);
                assert!(cut.is_none_or(|cut| cut != state));
            }
        }
        for bad in [
            "",
            "current x\n",
            "current software\nnext software\nnext software\n",
            "next software\n",
        ] {
            assert!(Signing::parse(bad).is_none(), "{bad}");
        }
    }
}
