//! Login tokens: somebody who is logged in lets another client of theirs in (Matrix 1.16, "Token-based login").
//!
//! In memory, bounded in number and time. A restart forgets them, and the client asks for another.

use lamchat_base::{Entropy, UserNum};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// How long a token is good, in milliseconds. "`120000` (2 minutes) is recommended as a default."
pub const LIFETIME_MS: u64 = 120_000;
/// Most tokens at once; the oldest makes room.
pub const TOKENS_MAX: usize = 1_000;
/// Most tokens of one user at once; their oldest makes room.
pub const TOKENS_OF_USER_MAX: usize = 5;
/// Random characters behind the prefix: 190 bits.
const TOKEN_CHARS: usize = 32;

struct Issued {
    token: String,
    user: UserNum,
    ends_at_ms: u64,
}

/// All tokens that are good, oldest first. Made once.
#[derive(Default)]
pub struct LoginTokens(Mutex<VecDeque<Issued>>);

impl std::fmt::Debug for LoginTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginTokens(…)")
    }
}

impl LoginTokens {
    /// No token yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new token for `user`, `lcl_…`.
    pub fn issue(&self, user: UserNum, entropy: &dyn Entropy, now_ms: u64) -> String {
        let token = format!("lcl_{}", entropy.alphanumeric(TOKEN_CHARS));
        let mut issued = self.0.lock();
        issued.retain(|other| now_ms < other.ends_at_ms);
        let theirs = issued.iter().filter(|other| other.user == user).count();
        if theirs >= TOKENS_OF_USER_MAX
            && let Some(oldest) = issued.iter().position(|other| other.user == user)
        {
            issued.remove(oldest);
        } else if issued.len() >= TOKENS_MAX {
            issued.pop_front();
        }
        issued.push_back(Issued {
            token: token.clone(),
            user,
            ends_at_ms: now_ms.saturating_add(LIFETIME_MS),
        });
        token
    }

    /// Whom a token lets in; it is used up with that. `None` for unknown, used and expired ones.
    pub fn redeem(&self, token: &str, now_ms: u64) -> Option<UserNum> {
        let mut issued = self.0.lock();
        // Guessing gains nothing: who sees how long a comparison takes learns of 190 bits none that help.
        let at = issued.iter().position(|known| known.token == token)?;
        let known = issued.remove(at)?;
        (now_ms < known.ends_at_ms).then_some(known.user)
    }

    /// Takes back all tokens of a user: their password has changed, or their account is closed.
    pub fn revoke(&self, user: UserNum) {
        self.0.lock().retain(|known| known.user != user);
    }
}

#[cfg(test)]
mod tests {
    use super::{LIFETIME_MS, LoginTokens, TOKENS_MAX, TOKENS_OF_USER_MAX};
    use lamchat_base::{Entropy, UserNum};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Entropy for Counted {
        fn fill(&self, buffer: &mut [u8]) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            buffer
                .iter_mut()
                .zip(next.iter().cycle())
                .for_each(|(to, from)| *to = *from);
        }
    }

    #[test]
    fn a_token_lets_its_user_in_once_and_not_for_long() {
        let (tokens, entropy, alice) = (LoginTokens::new(), Counted::default(), UserNum(1));
        let token = tokens.issue(alice, &entropy, 0);
        assert!(token.starts_with("lcl_"));
        assert_eq!(tokens.redeem("lcl_other", 0), None);
        assert_eq!(tokens.redeem(&token, LIFETIME_MS - 1), Some(alice));
        assert_eq!(tokens.redeem(&token, 0), None);
        let late = tokens.issue(alice, &entropy, 0);
        assert_eq!(tokens.redeem(&late, LIFETIME_MS), None);
        let revoked = tokens.issue(alice, &entropy, 0);
        tokens.revoke(alice);
        assert_eq!(tokens.redeem(&revoked, 0), None);
    }

    #[test]
    fn there_are_only_so_many() {
        let (tokens, entropy) = (LoginTokens::new(), Counted::default());
        let first = tokens.issue(UserNum(1), &entropy, 0);
        for _ in 0..TOKENS_OF_USER_MAX {
            tokens.issue(UserNum(1), &entropy, 0);
        }
        assert_eq!(tokens.redeem(&first, 0), None);
        let last: Vec<String> = (0..TOKENS_MAX as u32)
            .map(|user| tokens.issue(UserNum(user + 2), &entropy, 0))
            .collect();
        assert_eq!(tokens.0.lock().len(), TOKENS_MAX);
        assert!(last.iter().all(|token| tokens.redeem(token, 0).is_some()));
    }
}
