//! Where the TPM is.

use crate::reader::Reader;
use crate::value::{Value, quoted, read_text};
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeValue;

/// `seal.tpm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmAddress {
    /// The machine's TPM at `/dev/tpmrm0`, if there is one.
    Auto,
    /// None, even if there is one.
    None,
    /// A TPM's device.
    Device(PathBuf),
    /// The command socket of a software TPM.
    Tcp {
        /// Host or IP address, an IPv6 address without its brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

impl TpmAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is no TPM: write \"auto\", \"none\", \"device:/dev/tpmrm0\" or \"tcp:127.0.0.1:2321\"",
                quoted(text)
            )
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "none" => Ok(Self::None),
            Some(("device", path)) if path.starts_with('/') => Ok(Self::Device(path.into())),
            Some(("device", _)) => Err("the path of a TPM's device begins with /".to_owned()),
            Some(("tcp", address)) => {
                let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
                let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                let host = bracketed.unwrap_or(host);
                let fits = !host.is_empty() && (bracketed.is_some() || !host.contains([':', '[', ']']));
                if fits && !host.contains(char::is_whitespace) {
                    Ok(Self::Tcp {
                        host: host.to_owned(),
                        port,
                    })
                } else {
                    Err(wrong())
                }
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl Value for TpmAddress {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, reader: &mut Reader<'_>) -> Option<Self> {
        read_text("a string", value, key, reader, Self::parse)
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::TpmAddress;

    #[test]
    fn addresses_are_read_as_shown() {
        for text in [
            "auto",
            "none",
            "device:/dev/tpmrm0",
            "tcp:127.0.0.1:2321",
            "tcp:[::1]:2321",
            "tcp:localhost:1",
        ] {
            assert_eq!(TpmAddress::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "yes",
            "device:",
            "device:tpm0",
            "tcp:localhost",
            "tcp:localhost:0",
            "tcp::2321",
            "tcp:::1:2321",
            "tcp:a:99999",
            "tcp:a b:1",
            "usb:/dev/tpm",
        ] {
            assert!(TpmAddress::parse(text).is_err(), "{text}");
        }
    }
}
