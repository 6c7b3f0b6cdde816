//! How much the box needs when nothing happens, noted once in each run: memory, processes, open ports.

use super::log::Log;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

/// How long after the exchange came to answer.
pub const AFTER: Duration = Duration::from_secs(60);
/// Longest file of the kernel's that is read.
const BYTES_MAX: u64 = 1 << 20;
/// Sockets, and the state of those that take what comes: proc_net(5); include/net/tcp_states.h, TCP_LISTEN and, for
/// sockets without a connection, TCP_CLOSE.
const SOCKETS: [(&str, &str); 4] = [
    ("/proc/net/tcp", "0A"),
    ("/proc/net/tcp6", "0A"),
    ("/proc/net/udp", "07"),
    ("/proc/net/udp6", "07"),
];

/// Writes it into the log.
pub fn note(log: &Log) {
    match tell() {
        Ok(sentence) => log.note(&sentence),
        Err(error) => log.note(&format!("the kernel does not tell what the box needs: {error}")),
    }
}

fn tell() -> std::io::Result<String> {
    let memory = read("/proc/meminfo")?;
    let mut ports: Vec<String> = Vec::new();
    for (path, state) in SOCKETS {
        // Without IPv6 there is no such file.
        let text = read(path).unwrap_or_default();
        ports.extend(listening(&text, state).map(|port| port.to_string()));
    }
    ports.sort();
    ports.dedup();
    Ok(format!(
        "idle: {} of {} MB used, {} processes, ports {}",
        (megabytes(&memory, "MemTotal").saturating_sub(megabytes(&memory, "MemAvailable"))),
        megabytes(&memory, "MemTotal"),
        processes()?,
        ports.join(" ")
    ))
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A line of meminfo: proc_meminfo(5), in kB.
fn megabytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Processes with a command line: the kernel's own have none.
fn processes() -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            // One that has ended meanwhile counts no more.
            count += usize::from(read(&format!("/proc/{name}/cmdline")).is_ok_and(|line| !line.is_empty()));
        }
    }
    Ok(count)
}

/// The local ports in this state: the second and the fourth field are address and state, in hexadecimal.
fn listening<'a>(text: &'a str, state: &'a str) -> impl Iterator<Item = u16> + 'a {
    text.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, _, found) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, port) = address.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| found == state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_shows_is_counted() {
        assert_eq!(
            megabytes("MemTotal:  2048000 kB\nMemAvailable:  1 kB\n", "MemTotal"),
            2000
        );
        assert_eq!(megabytes("", "MemTotal"), 0);
        let sockets = "  sl  local_address rem_address st\n   \
                       0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0\n   \
                       1: 0100007F:1F48 0100007F:9999 01 0\n   2: nonsense\n";
        assert_eq!(listening(sockets, "0A").collect::<Vec<_>>(), [443]);
        assert!(processes().is_ok_and(|count| count > 0));
    }
}
