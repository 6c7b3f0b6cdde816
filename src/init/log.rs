//! What process 1 and its children said last: in memory for the console, and in the kernel's log, which survives a crash
//! where the machine has a pstore.
//!
//! While the PIN cannot be read the console shows it to whoever stands there, so what those say who know people's names and
//! addresses is left out then.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Lines that are kept.
const LINES_MAX: usize = 2000;
/// Longest line, in characters.
const CHARS_MAX: usize = 1000;

/// A line.
#[derive(Debug)]
struct Line {
    text: String,
    is_public: bool,
}

/// The lines.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<VecDeque<Line>>,
}

/// Process 1, the key holder and the measured values know of nobody: their configuration is what the PIN is read from, and
/// their log is what says why that cannot be.
fn is_public(who: &str) -> bool {
    matches!(who, "init" | "key holder") || who.starts_with("pcr")
}

impl Log {
    /// A line of process 1's own.
    pub fn note(&self, line: &str) {
        self.keep("init", line);
        // Where even the kernel's log takes nothing, the ring has the line.
        if let Err(error) = lamchat_machine::kernel_log::write(line) {
            self.keep("init", &format!("the kernel's log: {error}"));
        }
    }

    /// A line of a child's.
    pub fn keep(&self, who: &str, line: &str) {
        let seconds = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec());
        let line: String = line
            .chars()
            .filter(|letter| !letter.is_control())
            .take(CHARS_MAX)
            .collect();
        let mut lines = self.lines.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Line {
            text: format!("{seconds:>6} {who}: {line}"),
            is_public: is_public(who),
        });
    }

    /// The last lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock();
        let last = lines.iter().skip(lines.len().saturating_sub(count));
        last.map(|line| line.text.clone()).collect()
    }

    /// The same without what those said who know people's names.
    pub fn last_public(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock();
        let public = lines.iter().filter(|line| line.is_public);
        let count = public.clone().count().saturating_sub(count);
        public.skip(count).map(|line| line.text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn old_lines_go_and_control_characters_never_come() {
        let log = super::Log::default();
        for number in 0..super::LINES_MAX + 5 {
            log.keep("x", &format!("{number}\x1b"));
        }
        let last = log.last(usize::MAX);
        assert_eq!(last.len(), super::LINES_MAX);
        assert!(last.first().is_some_and(|line| line.ends_with("x: 5")));
        assert_eq!(log.last(1).len(), 1);
    }

    #[test]
    fn what_everybody_may_read_is_of_those_who_know_nobody() {
        let log = super::Log::default();
        for who in [
            "init",
            "exchange",
            "pcr11",
            "rescue",
            "key holder",
            "stick",
            "a later one",
        ] {
            log.keep(who, "a line");
        }
        let public = log.last_public(10);
        let named = |who: &str| public.iter().any(|line| line.contains(who));
        assert_eq!(public.len(), 3);
        assert!(["init", "pcr11", "key holder"].into_iter().all(named), "{public:?}");
        assert!(
            log.last_public(1)
                .first()
                .is_some_and(|line| line.contains("key holder"))
        );
        assert_eq!(log.last(10).len(), 7);
    }
}
