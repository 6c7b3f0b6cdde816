//! The kernel's log: kept away from the consoles, readable for the operator.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Longest record that the kernel hands out; kernel: `CONSOLE_EXT_LOG_MAX` of include/linux/console.h.
const RECORD_BYTES_MAX: usize = 8192;
/// Longest message that is written, in characters.
const MESSAGE_CHARS_MAX: usize = 900;

/// From now on only emergencies reach the consoles: proc_sys_kernel(5), `printk`, the first of its four numbers.
pub fn silence() -> std::io::Result<()> {
    std::fs::write("/proc/sys/kernel/printk", "1 4 1 7\n")
}

/// Writes a line of our own into the kernel's log, where it survives a crash if the machine has a pstore.
pub fn write(line: &str) -> std::io::Result<()> {
    let line: String = line.chars().take(MESSAGE_CHARS_MAX).collect();
    let line = line.replace(|letter: char| letter.is_control(), " ");
    // Priority 6 of facility 3 (system daemons): syslog(3).
    OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")?
        .write_all(format!("<30>lamchat: {line}").as_bytes())
}

/// The last `lines_max` messages, oldest first, each as `seconds.milliseconds text`.
pub fn read(lines_max: usize) -> std::io::Result<Vec<String>> {
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open("/dev/kmsg")?;
    let mut lines = std::collections::VecDeque::new();
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    while let Some(record) = next(&mut file, &mut buffer)? {
        if lines.len() == lines_max {
            lines.pop_front();
        }
        lines.push_back(parse(&record));
    }
    Ok(lines.into())
}

/// One record; `None` at the end of the log.
fn next(file: &mut File, buffer: &mut [u8]) -> std::io::Result<Option<String>> {
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                let record = buffer.get(..length).unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(record).into_owned()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            // The record was overwritten while we were reading (EPIPE); the next one is whole.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Kernel documentation, ABI/testing/dev-kmsg: `priority,sequence,microseconds,flags;text`, then lines of a dictionary.
fn parse(record: &str) -> String {
    let (head, text) = record.split_once(';').unwrap_or(("", record));
    let us: u64 = head.split(',').nth(2).and_then(|us| us.parse().ok()).unwrap_or(0);
    let text = text.lines().next().unwrap_or_default();
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    format!("{}.{:03} {text}", us / 1_000_000, us / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn records_lose_their_dictionary_and_control_characters() {
        assert_eq!(
            super::parse("6,339,5140900,-;NET: Registered\x1b[2J\n SUBSYSTEM=x\n"),
            "5.140 NET: Registered[2J"
        );
        assert_eq!(super::parse("nothing"), "0.000 nothing");
        assert_eq!(super::parse(""), "0.000 ");
    }
}
