//! Who is there: kept in memory only, so a restart forgets it, and nothing about it is ever written to disk.

use lamchat_base::UserNum;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Most users whose presence is kept; the one that was active longest ago makes room.
pub const USERS_MAX: usize = 100_000;
/// Longest status message.
pub const STATUS_BYTES_MAX: usize = 1024;
/// Who was active so recently is *currently active* while online.
pub const ACTIVE_MS: u64 = 60_000;

/// Matrix's three states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// There.
    Online,
    /// There, but idle.
    Unavailable,
    /// Not there.
    #[default]
    Offline,
}

/// What somebody says about being there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// Whether they are there.
    pub state: State,
    /// What they say about it.
    pub status_msg: Option<String>,
    /// When they last said so, ms.
    pub last_active_ms: u64,
}

impl Presence {
    /// Whether they are online and did something in the last minute.
    pub fn is_currently_active(&self, now_ms: u64) -> bool {
        self.state == State::Online && now_ms < self.last_active_ms.saturating_add(ACTIVE_MS)
    }
}

/// The message is longer than [`STATUS_BYTES_MAX`]: `M_TOO_LARGE`.
#[derive(Debug, thiserror::Error)]
#[error("a status message has at most {STATUS_BYTES_MAX} bytes")]
pub struct StatusTooLong;

/// The presence of all users. Made once.
#[derive(Debug, Default)]
pub struct Presences(Mutex<HashMap<UserNum, Presence>>);

impl Presences {
    /// What is known of `user`; `None` if they have said nothing since the start.
    pub fn of(&self, user: UserNum) -> Option<Presence> {
        self.0.lock().get(&user).cloned()
    }

    /// Notes what `user` says.
    pub fn set(
        &self,
        user: UserNum,
        state: State,
        status_msg: Option<String>,
        now_ms: u64,
    ) -> Result<(), StatusTooLong> {
        if status_msg.as_ref().is_some_and(|text| text.len() > STATUS_BYTES_MAX) {
            return Err(StatusTooLong);
        }
        let mut all = self.0.lock();
        if all.len() >= USERS_MAX && !all.contains_key(&user) {
            // Half goes at once, so that the search is paid for seldom.
            let mut times: Vec<u64> = all.values().map(|presence| presence.last_active_ms).collect();
            let (_, median, _) = times.select_nth_unstable(USERS_MAX / 2);
            let median = *median;
            all.retain(|_, presence| presence.last_active_ms > median);
        }
        all.insert(
            user,
            Presence {
                state,
                status_msg,
                last_active_ms: now_ms,
            },
        );
        Ok(())
    }

    /// Forgets a user whose account was deactivated.
    pub fn forget(&self, user: UserNum) {
        self.0.lock().remove(&user);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{ACTIVE_MS, Presences, STATUS_BYTES_MAX, State, USERS_MAX};
    use lamchat_base::UserNum;

    #[test]
    fn what_somebody_says_is_kept_until_they_say_otherwise() {
        let all = Presences::default();
        assert_eq!(all.of(UserNum(1)), None);
        all.set(UserNum(1), State::Online, Some("here".to_owned()), 10).unwrap();
        let presence = all.of(UserNum(1)).unwrap();
        assert!(presence.is_currently_active(10 + ACTIVE_MS - 1));
        assert!(!presence.is_currently_active(10 + ACTIVE_MS));
        all.set(UserNum(1), State::Unavailable, None, 20).unwrap();
        let presence = all.of(UserNum(1)).unwrap();
        assert_eq!(
            (presence.status_msg.as_deref(), presence.is_currently_active(20)),
            (None, false)
        );
        assert!(
            all.set(UserNum(1), State::Online, Some("x".repeat(STATUS_BYTES_MAX + 1)), 30)
                .is_err()
        );
        all.forget(UserNum(1));
        assert_eq!(all.of(UserNum(1)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let all = Presences::default();
        for number in 0..USERS_MAX as u32 + 10 {
            all.set(UserNum(number), State::Online, None, u64::from(number))
                .unwrap();
        }
        assert!(all.0.lock().len() <= USERS_MAX);
        assert!(all.of(UserNum(0)).is_none());
        assert!(all.of(UserNum(USERS_MAX as u32 + 9)).is_some());
    }
}
