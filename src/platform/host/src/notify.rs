//! Telling the service manager how the program is: systemd's notify protocol, sd_notify(3).
//! One datagram to the socket that `NOTIFY_SOCKET` names; without that variable nobody wants to know.

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Requests are answered from now on; also the end of a reload.
    Ready,
    /// The configuration is being reloaded.
    Reloading,
    /// The program is about to end.
    Stopping,
    /// It is alive (`WatchdogSec=`).
    Watchdog,
}

/// Why nothing could be told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The socket does not take it.
    #[error("the service manager's socket cannot be used: {0}")]
    Socket(#[from] std::io::Error),
    /// The monotonic clock, which a reload must tell, cannot be read.
    #[error("the monotonic clock cannot be read: {0}")]
    Clock(#[from] nix::errno::Errno),
}

/// Tells the service manager, if there is one that listens.
pub fn notify(notice: Notice) -> Result<(), NotifyError> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, &text(notice)?),
        _ => Ok(()),
    }
}

/// Longest line that [`notify_status`] tells, in characters.
const STATUS_CHARS_MAX: usize = 500;

/// Tells the service manager, if there is one, in a line for people how the program is; `systemctl status` shows it.
pub fn notify_status(line: &str) -> Result<(), NotifyError> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, &status_text(line)),
        _ => Ok(()),
    }
}

/// Within which time [`notify_progress`] must come again while a start works; the service manager ends one that is silent
/// for longer.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Tells the service manager, if there is one, that a start goes on, and what it does: sd_notify(3), `EXTEND_TIMEOUT_USEC=`.
pub fn notify_progress(line: &str) -> Result<(), NotifyError> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, &progress_text(line)),
        _ => Ok(()),
    }
}

fn progress_text(line: &str) -> String {
    format!(
        "{}\nEXTEND_TIMEOUT_USEC={}",
        status_text(line),
        PROGRESS_WITHIN.as_micros()
    )
}

/// Within which time [`Notice::Watchdog`] must come, again and again; `None`: nobody waits for it. sd_watchdog_enabled(3):
/// `WATCHDOG_USEC` is the time, `WATCHDOG_PID` the process that is meant.
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    interval(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id())
}

fn interval(microseconds: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    let microseconds: u64 = microseconds?.parse().ok()?;
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    (meant && microseconds > 0).then(|| Duration::from_micros(microseconds))
}

/// A line end would begin another message.
fn status_text(line: &str) -> String {
    let line: String = line.chars().take(STATUS_CHARS_MAX).collect();
    format!("STATUS={}", line.replace(char::is_control, " "))
}

fn text(notice: Notice) -> Result<String, NotifyError> {
    Ok(match notice {
        Notice::Ready => "READY=1".to_owned(),
        Notice::Reloading => {
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            let us = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={us}")
        }
        Notice::Stopping => "STOPPING=1".to_owned(),
        Notice::Watchdog => "WATCHDOG=1".to_owned(),
    })
}

fn send(socket: &OsStr, text: &str) -> Result<(), NotifyError> {
    // A leading @ stands for the NUL of Linux's abstract names.
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer.get(..length).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(status_text("locked:\nREADY=1"), "STATUS=locked: READY=1");
        assert_eq!(status_text(&"x".repeat(1000)).len(), 7 + STATUS_CHARS_MAX);
        let progress = "STATUS=copied: 7 %\nEXTEND_TIMEOUT_USEC=900000000";
        assert_eq!(progress_text("copied: 7 %"), progress);
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let text = |text: &str| Some(text.to_owned());
        let half_minute = Some(Duration::from_secs(30));
        assert_eq!(interval(text("30000000"), None, 7), half_minute);
        assert_eq!(interval(text("30000000"), text("7"), 7), half_minute);
        assert_eq!(interval(text("30000000"), text("8"), 7), None);
        assert_eq!(interval(text("30000000"), text("x"), 7), None);
        assert_eq!(interval(text("0"), None, 7), None);
        assert_eq!(interval(text("soon"), None, 7), None);
        assert_eq!(interval(None, text("7"), 7), None);
    }

    #[test]
    fn files_and_abstract_names_are_told() {
        let path = std::env::temp_dir().join(format!("lamchat-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), &text(Notice::Ready).unwrap()).unwrap();
        assert_eq!(received(&socket), "READY=1");
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "READY=1").is_err());

        let name = format!("lamchat-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), &text(Notice::Reloading).unwrap()).unwrap();
        assert!(received(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    }
}
