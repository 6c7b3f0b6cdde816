//! Where a client's sync stands.

use lamchat_base::Position;
use lamchat_store::Epoch;

/// `s{epoch}_{position}_{ephemeral}`, and `_{to_device}` while messages to the device are left for the next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The epoch that the position belongs to.
    pub epoch: Epoch,
    /// Everything up to here was given.
    pub position: Position,
    /// Every change of typing up to here was given.
    pub ephemeral: u64,
    /// Messages to the device were given up to here only.
    pub to_device: Option<Position>,
}

/// A text that is not a token: `M_INVALID_PARAM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of /sync")]
pub struct BadToken;

impl Token {
    /// From text.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.strip_prefix('s').ok_or(BadToken)?.split('_');
        let mut next = || match parts.next() {
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => {
                part.parse::<u64>().map(Some).map_err(|_| BadToken)
            }
            Some(_) => Err(BadToken),
            None => Ok(None),
        };
        let epoch = next()?.and_then(|epoch| u32::try_from(epoch).ok()).ok_or(BadToken)?;
        let position = next()?.ok_or(BadToken)?;
        let ephemeral = next()?.ok_or(BadToken)?;
        let to_device = next()?.map(Position);
        if parts.next().is_some() {
            return Err(BadToken);
        }
        Ok(Self {
            epoch: Epoch(epoch),
            position: Position(position),
            ephemeral,
            to_device,
        })
    }

    /// Up to where messages to the device were given.
    pub fn to_device(&self) -> Position {
        self.to_device.unwrap_or(self.position)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s{}_{}_{}", self.epoch.0, self.position, self.ephemeral)?;
        match self.to_device {
            Some(position) => write!(f, "_{position}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadToken, Epoch, Position, Token};

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        for to_device in [None, Some(Position(3))] {
            let token = Token {
                epoch: Epoch(2),
                position: Position(77),
                ephemeral: 1_700_000_000_000,
                to_device,
            };
            assert_eq!(Token::parse(&token.to_string()), Ok(token));
        }
        for text in [
            "",
            "s",
            "s1",
            "s1_2",
            "s1_2_3_4_5",
            "t1_2_3",
            "s1_+2_3",
            "s1__3",
            "s4294967296_1_1",
            "s1_99999999999999999999_1",
        ] {
            assert_eq!(Token::parse(text), Err(BadToken), "{text}");
        }
    }
}
