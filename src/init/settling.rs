//! When the devices have settled: some time after the last one showed up.

use std::time::{Duration, Instant};

/// How long nothing new has to come.
const QUIET: Duration = Duration::from_secs(3);
/// After which time it counts as quiet although devices come and come.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// News of devices since the last time that they had settled.
#[derive(Debug)]
pub struct Settling {
    /// The first and the last of them.
    news: Option<(Instant, Instant)>,
}

impl Settling {
    /// Devices are looked for.
    pub fn begun(now: Instant) -> Self {
        Self { news: Some((now, now)) }
    }

    /// A device has shown up.
    pub fn news(&mut self, now: Instant) {
        let first = self.news.map_or(now, |(first, _)| first);
        self.news = Some((first, now));
    }

    /// Whether they have settled just now: true once for each time.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let over = self.news.take_if(|(first, last)| {
            now.saturating_duration_since(*last) >= QUIET || now.saturating_duration_since(*first) >= QUIET_MAX
        });
        over.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn it_is_over_once_after_the_last_news() {
        let began = Instant::now();
        let at = |seconds| began.checked_add(Duration::from_secs(seconds)).unwrap();
        let mut settling = Settling::begun(began);
        settling.news(at(2));
        assert!(!settling.is_over(at(4)));
        assert!(settling.is_over(at(5)));
        assert!(!settling.is_over(at(500)));
        for second in 600..630 {
            settling.news(at(second));
            assert!(!settling.is_over(at(second)), "{second}");
        }
        settling.news(at(630));
        assert!(settling.is_over(at(630)), "they come without an end");
    }
}
