//! Names of new users.

use lamchat_base::Entropy;
use lamchat_base::limits::ID_BYTES_MAX;
use ruma::{OwnedUserId, ServerName, UserId};

/// The sender of the server's own notices. Nobody can take the name.
pub const NOTICES: &str = "_notices";
/// Letters of a name that the exchange makes up.
const MADE_UP_CHARS: usize = 12;

/// Why a name cannot be taken: `M_INVALID_USERNAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocalpartError {
    /// Nothing there.
    #[error("a user name cannot be empty")]
    Empty,
    /// A character outside of the grammar.
    #[error("a user name consists of a-z, 0-9, '.', '_', '=', '-', '/' and '+'")]
    Character,
    /// With `@`, `:` and the server's name it has more than 255 bytes.
    #[error("the user name is too long")]
    TooLong,
    /// It is the server's own.
    #[error("the user name is the server's own")]
    Reserved,
}

/// The id of a new user who wants to be called `name`. Capitals become small letters, as ids are compared by byte
/// and two people should not differ by them.
///
/// "The localpart of a user ID is an opaque identifier … `user_id_char = DIGIT / %x61-7A / "-" / "." / "=" / "_" /
/// "/" / "+"` … The length of a user ID, including the @ sigil and the domain, MUST NOT exceed 255 bytes." (Matrix 1.16)
pub fn user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, LocalpartError> {
    let localpart = name.to_ascii_lowercase();
    if localpart.is_empty() {
        return Err(LocalpartError::Empty);
    }
    if !localpart
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte))
    {
        return Err(LocalpartError::Character);
    }
    if localpart == NOTICES {
        return Err(LocalpartError::Reserved);
    }
    let id = format!("@{localpart}:{server_name}");
    if id.len() > ID_BYTES_MAX {
        return Err(LocalpartError::TooLong);
    }
    UserId::parse(&id).map_err(|_| LocalpartError::Character)
}

/// A name for somebody who asked for none.
pub fn made_up(entropy: &dyn Entropy) -> String {
    entropy.alphanumeric(MADE_UP_CHARS).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{LocalpartError, user_id};
    use ruma::server_name;

    #[test]
    fn hostile_names_are_refused() {
        let server = server_name!("example.org");
        for name in [
            "",
            " ",
            "a b",
            "alice:example.org",
            "@alice",
            "@alice:example.org",
            "al\0ice",
            "älice",
            "alice\n",
            "a,b",
            "<script>",
            "a\u{202e}b",
            "\u{feff}alice",
            "ａlice",
            "a%2fb",
            "a\\b",
            "a#b",
            "a?b",
            "a!b",
            "a*b",
            "a'b",
        ] {
            assert!(
                matches!(
                    user_id(name, server),
                    Err(LocalpartError::Empty | LocalpartError::Character)
                ),
                "{name:?}"
            );
        }
    }

    #[test]
    fn good_names_become_ids() {
        let server = server_name!("example.org:8448");
        for (name, id) in [
            ("alice", "@alice:example.org:8448"),
            ("Alice", "@alice:example.org:8448"),
            ("a.b_c=d-e/f+9", "@a.b_c=d-e/f+9:example.org:8448"),
            ("0", "@0:example.org:8448"),
        ] {
            assert_eq!(user_id(name, server).unwrap(), id);
        }
    }

    #[test]
    fn the_whole_id_has_at_most_255_bytes() {
        let server = server_name!("example.org");
        assert_eq!(user_id(&"a".repeat(242), server).unwrap().as_str().len(), 255);
        assert_eq!(user_id(&"a".repeat(243), server), Err(LocalpartError::TooLong));
        assert_eq!(user_id(&"a".repeat(1 << 20), server), Err(LocalpartError::TooLong));
    }
}
