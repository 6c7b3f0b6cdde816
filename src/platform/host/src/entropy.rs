//! The operating system's random generator, through aws-lc's.

use lamchat_base::Entropy;

/// Cryptographically strong randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if aws_lc_rs::rand::fill(buffer).is_err() {
            // Whatever would be made now (keys, tokens) could be guessed. No caller can do anything sensible about it.
            eprintln!("lamchat: the operating system gives no randomness; stopping");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OsEntropy;
    use lamchat_base::Entropy;

    #[test]
    fn fills_differ() {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        OsEntropy.fill(&mut first);
        OsEntropy.fill(&mut second);
        assert_ne!(first, second);
        assert_ne!(first, [0; 32]);
    }
}
