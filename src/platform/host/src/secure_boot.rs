//! Whether the firmware enforces Secure Boot.

use std::path::Path;

/// UEFI Specification 2.10, section 3.3, table "Globally defined variables": "SecureBoot: whether the platform firmware is
/// operating in Secure boot mode (1) or not (0)". The kernel puts four bytes of attributes before the value.
const VARIABLE: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// `None` when the machine has no UEFI firmware, or this process may not read its variables.
pub fn secure_boot() -> Option<bool> {
    read(Path::new(VARIABLE))
}

fn read(variable: &Path) -> Option<bool> {
    match std::fs::read(variable).ok()?.as_slice() {
        [_, _, _, _, value] => Some(*value == 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[test]
    fn the_variable_is_read_behind_its_attributes() {
        let path = std::env::temp_dir().join(format!("lamchat-secure-boot-{}", std::process::id()));
        for (bytes, expected) in [
            (&[6u8, 0, 0, 0, 1][..], Some(true)),
            (&[6, 0, 0, 0, 0], Some(false)),
            (&[1], None),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(super::read(&path), expected);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(super::read(&path), None);
    }
}
