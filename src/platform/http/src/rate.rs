//! Rate limits: a token bucket for each key, in a table of bounded size.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

/// Tables are split so that requests of different keys seldom wait for each other.
const SHARDS: usize = 16;
/// Keys of one shard. The buckets that are nearest to full make room.
const KEYS_PER_SHARD_MAX: usize = 4096;

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: f64,
    /// Tokens of a full bucket.
    pub burst: u32,
}

/// Buckets by key. 65,536 keys at most, 16 bytes each.
#[derive(Debug)]
pub struct RateLimit {
    hasher: RandomState,
    /// For each key's hash the moment in µs at which its bucket is full again. The hash is keyed and 64 bits wide:
    /// nobody can choose a key that shares a bucket with another.
    full_at_us: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            full_at_us: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl RateLimit {
    /// Takes one token of `key`, or tells in how many milliseconds there will be one.
    pub fn check(&self, key: impl Hash, rate: Rate, now_ms: u64) -> Result<(), u64> {
        if rate.per_second <= 0.0 || rate.burst == 0 {
            return Err(60_000);
        }
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.full_at_us.get(hash as usize % SHARDS) else {
            return Ok(());
        };
        let now_us = now_ms.saturating_mul(1000);
        let token_us = (1_000_000.0 / rate.per_second).max(1.0) as u64;
        let bucket_us = token_us.saturating_mul(u64::from(rate.burst));

        let mut buckets = shard.lock();
        let full_at_us = buckets
            .get(&hash)
            .copied()
            .unwrap_or(0)
            .max(now_us)
            .saturating_add(token_us);
        let missing_us = (full_at_us - now_us).saturating_sub(bucket_us);
        if missing_us > 0 {
            return Err(missing_us.div_ceil(1000));
        }
        if buckets.len() >= KEYS_PER_SHARD_MAX && !buckets.contains_key(&hash) {
            make_room(&mut buckets, now_us);
        }
        buckets.insert(hash, full_at_us);
        Ok(())
    }

    /// Puts a token back that [`RateLimit::check`] took: the request turned out to be one that does not count.
    pub fn give_back(&self, key: impl Hash, rate: Rate) {
        if rate.per_second <= 0.0 || rate.burst == 0 {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.full_at_us.get(hash as usize % SHARDS) else {
            return;
        };
        let token_us = (1_000_000.0 / rate.per_second).max(1.0) as u64;
        if let Some(full_at_us) = shard.lock().get_mut(&hash) {
            *full_at_us = full_at_us.saturating_sub(token_us);
        }
    }
}

fn make_room(buckets: &mut HashMap<u64, u64>, now_us: u64) {
    // A full bucket is as good as none.
    buckets.retain(|_, full_at_us| *full_at_us > now_us);
    if buckets.len() >= KEYS_PER_SHARD_MAX {
        let mut times: Vec<u64> = buckets.values().copied().collect();
        let (_, median, _) = times.select_nth_unstable(KEYS_PER_SHARD_MAX / 2);
        let median = *median;
        buckets.retain(|_, full_at_us| *full_at_us > median);
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS_PER_SHARD_MAX, Rate, RateLimit, SHARDS};

    const RATE: Rate = Rate {
        per_second: 2.0,
        burst: 3,
    };

    #[test]
    fn a_bucket_empties_and_refills() {
        let limit = RateLimit::default();
        for _ in 0..3 {
            assert_eq!(limit.check("alice", RATE, 1000), Ok(()));
        }
        assert_eq!(limit.check("alice", RATE, 1000), Err(500));
        assert_eq!(limit.check("bob", RATE, 1000), Ok(()));
        assert_eq!(limit.check("alice", RATE, 1499), Err(1));
        assert_eq!(limit.check("alice", RATE, 1500), Ok(()));
        assert_eq!(limit.check("alice", RATE, 1500), Err(500));
        for _ in 0..3 {
            assert_eq!(limit.check("alice", RATE, 100_000), Ok(()));
        }
        assert!(limit.check("alice", RATE, 100_000).is_err());
    }

    #[test]
    fn a_token_that_is_given_back_can_be_taken_again() {
        let limit = RateLimit::default();
        for _ in 0..10 {
            assert_eq!(limit.check("alice", RATE, 1000), Ok(()));
            limit.give_back("alice", RATE);
        }
        for _ in 0..3 {
            assert_eq!(limit.check("alice", RATE, 1000), Ok(()));
        }
        assert_eq!(limit.check("alice", RATE, 1000), Err(500));
        limit.give_back("nobody", RATE);
    }

    #[test]
    fn nothing_is_allowed_at_rate_zero() {
        let limit = RateLimit::default();
        assert!(
            limit
                .check(
                    1,
                    Rate {
                        per_second: 0.0,
                        burst: 3
                    },
                    0
                )
                .is_err()
        );
        assert!(
            limit
                .check(
                    1,
                    Rate {
                        per_second: 1.0,
                        burst: 0
                    },
                    0
                )
                .is_err()
        );
    }

    #[test]
    fn many_keys_take_bounded_memory() {
        let limit = RateLimit::default();
        for key in 0..300_000u32 {
            assert_eq!(limit.check(key, RATE, u64::from(key)), Ok(()));
        }
        let kept: usize = limit.full_at_us.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= SHARDS * KEYS_PER_SHARD_MAX);
    }
}
