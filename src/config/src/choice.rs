//! Values that are one word out of a few.

use crate::reader::Reader;
use crate::value::{Value, quoted, type_name};
use toml::Spanned;
use toml::de::DeValue;

macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// The word that stands for it in the file.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Value for $name {
            fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
                match value.get_ref().as_str() {
                    $(Some($word) => Some(Self::$variant),)+
                    found => {
                        let found = found.map_or_else(|| type_name(value.get_ref()).to_owned(), quoted);
                        let words = [$(quoted($word)),+].join(", ");
                        reader.wrong(key, value.span(), format!("expected one of {words}, found {found}"));
                        None
                    }
                }
            }

            fn show(&self) -> Option<String> {
                Some(quoted(self.word()))
            }
        }
    };
}

choice! {
    /// Who may register an account.
    pub enum RegistrationMode {
        /// Nobody; accounts are made on the command line.
        Closed = "closed",
        /// Who has a registration token (`lamchat token create`).
        Token = "token",
        /// Everybody who reaches the server.
        Open = "open",
    }
}

choice! {
    /// How expensive a password hash is.
    pub enum PasswordCost {
        /// Argon2id with 19 MiB and two passes, about 20 ms.
        Default = "default",
        /// As little as the algorithm allows; for tests only.
        Minimum = "minimum",
    }
}

choice! {
    /// What a listener serves.
    pub enum Resource {
        /// The client-server API.
        Client = "client",
        /// The server-server API.
        Federation = "federation",
        /// Media, up and down.
        Media = "media",
        /// `/metrics`, `/_synapse/admin/v1/register`, and commands from a distance.
        Admin = "admin",
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// `text` on a terminal, `json` otherwise.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
