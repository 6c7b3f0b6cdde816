//! What process 1 and its children said last: in memory for the console, and in the kernel's log, which survives a crash
//! where the machine has a pstore.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Lines that are kept.
const LINES_MAX: usize = 2000;
/// Longest line, in characters.
const CHARS_MAX: usize = 1000;

/// The lines.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<VecDeque<String>>,
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
        lines.push_back(format!("{seconds:>6} {who}: {line}"));
    }

    /// The last lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
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
}
