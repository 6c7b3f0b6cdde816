//! A recovery key for people: digits, and a QR code.

use crate::cli::qr::{self, COLOURS, EcLevel};
use crate::cli::{Failure, output};
use std::io::IsTerminal;
use zeroize::Zeroizing;

/// Blocks of a key on a line.
const BLOCKS_A_LINE: usize = 4;

/// Prints the key, once.
pub fn print(key: &str) -> Result<(), Failure> {
    output::line("The recovery key. It is shown this once: write it down, and keep it where the server is not.\n");
    let blocks: Vec<&str> = key.split(' ').collect();
    for line in blocks.chunks(BLOCKS_A_LINE) {
        output::line(format!("    {}", line.join("   ")));
    }
    output::line("");
    let (begin, end) = if std::io::stdout().is_terminal() {
        COLOURS
    } else {
        ("", "")
    };
    for line in code(key)?.lines() {
        output::line(format!("    {begin}{line}{end}"));
    }
    output::line("\nThen type it back: lamchat seal verify-recovery");
    Ok(())
}

/// The 48 digits alone, which QR codes have a mode of their own for.
pub fn code(key: &str) -> Result<Zeroizing<String>, Failure> {
    let digits = Zeroizing::new(key.replace(' ', ""));
    qr::picture(&digits, EcLevel::M)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[test]
    fn a_key_is_a_small_square() {
        let code = super::code("000012 005157 010293 015432 020572 025710 030853 035993").unwrap();
        let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        // Version 2 (25 modules) and the quiet zone of 4 around it; two rows of modules a line.
        assert_eq!((widths.len(), widths.iter().max()), (17, Some(&33)));
        assert!(widths.iter().all(|width| *width == 33));
    }
}
