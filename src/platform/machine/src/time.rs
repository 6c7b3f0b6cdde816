//! The time from servers, and setting the clock: SNTP, RFC 5905 section 14 and RFC 4330.

use nix::errno::Errno;
use nix::time::{ClockId, clock_settime};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// RFC 5905, section 7.2.
pub const PORT: u16 = 123;
/// A packet without extension fields: RFC 5905, figure 8.
pub const PACKET_BYTES: usize = 48;
/// Seconds from 1900 to 1970: RFC 5905, figure 4.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// An era of NTP's 32-bit seconds: RFC 5905, section 6.
const ERA_S: u64 = 1 << 32;
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer that was on its way longer says little.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// Why a server's time is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TimeError {
    /// The socket, or silence.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The answer is malformed, or not to our question.
    #[error("the answer is not one to our question")]
    Malformed,
    /// The server says that it does not know the time.
    #[error("the server does not know the time itself")]
    Unsynchronized,
    /// The answer took too long.
    #[error("the answer took longer than {} s", ROUND_TRIP_MAX.as_secs())]
    Late,
}

/// The time that a server tells, in milliseconds since 1970, as of now. `nonce` is random: an answer must repeat it.
pub fn ask(server: SocketAddr, nonce: u64) -> Result<u64, TimeError> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let asked = Instant::now();
    socket.send(&question(nonce))?;
    let mut buffer = [0; PACKET_BYTES];
    let length = socket.recv(&mut buffer)?;
    let round_trip = asked.elapsed();
    if round_trip > ROUND_TRIP_MAX {
        return Err(TimeError::Late);
    }
    let told = answer(buffer.get(..length).unwrap_or_default(), nonce)?;
    Ok(told + u64::try_from(round_trip.as_millis() / 2).unwrap_or_default())
}

/// RFC 4330, section 5: version 4, mode 3 (client). The transmit timestamp is a nonce: it says nothing about our clock.
pub fn question(nonce: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    if let Some((first, rest)) = packet.split_first_mut() {
        *first = 4 << 3 | 3;
        if let Some(transmit) = rest.last_chunk_mut::<8>() {
            *transmit = nonce.to_be_bytes();
        }
    }
    packet
}

/// The transmit timestamp of an answer, in milliseconds since 1970.
pub fn answer(packet: &[u8], nonce: u64) -> Result<u64, TimeError> {
    let packet: &[u8; PACKET_BYTES] = packet.try_into().map_err(|_| TimeError::Malformed)?;
    let eight = |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk::<8>()).copied();
    let [first, stratum, ..] = *packet;
    let (leap, mode) = (first >> 6, first & 7);
    if mode != 4 || eight(24) != Some(nonce.to_be_bytes()) {
        return Err(TimeError::Malformed);
    }
    let transmit = u64::from_be_bytes(eight(40).ok_or(TimeError::Malformed)?);
    // RFC 4330, section 5: leap 3 "clock not synchronized"; stratum 0 "kiss-o'-death", 16 and above reserved.
    if leap == 3 || !(1..16).contains(&stratum) || transmit == 0 {
        return Err(TimeError::Unsynchronized);
    }
    let (seconds, fraction) = (transmit >> 32, transmit & 0xffff_ffff);
    // Seconds below 1970 belong to the era that begins in 2036.
    let seconds = if seconds < NTP_TO_UNIX_S {
        seconds + ERA_S
    } else {
        seconds
    };
    Ok((seconds - NTP_TO_UNIX_S) * 1000 + ((fraction * 1000) >> 32))
}

/// The clock, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sets the clock.
pub fn set(ms: u64) -> Result<(), Errno> {
    clock_settime(ClockId::CLOCK_REALTIME, Duration::from_millis(ms).into())
}

/// What several servers say together: the middle one, so that one liar among three moves nothing.
pub fn middle(mut told: Vec<u64>) -> Option<u64> {
    told.sort_unstable();
    told.get(told.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn packet(first: u8, stratum: u8, nonce: u64, seconds: u32) -> Vec<u8> {
        let mut packet = vec![0; PACKET_BYTES];
        packet.get_mut(..2).unwrap().copy_from_slice(&[first, stratum]);
        packet.get_mut(24..32).unwrap().copy_from_slice(&nonce.to_be_bytes());
        packet.get_mut(40..44).unwrap().copy_from_slice(&seconds.to_be_bytes());
        packet.get_mut(44).map(|byte| *byte = 0x80).unwrap();
        packet
    }

    #[test]
    fn answers_are_read_and_checked() {
        let right = packet(4 << 3 | 4, 2, 7, 4_000_000_000);
        assert_eq!(answer(&right, 7).unwrap(), (4_000_000_000 - NTP_TO_UNIX_S) * 1000 + 500);
        assert!(matches!(answer(&right, 8), Err(TimeError::Malformed)));
        assert!(matches!(answer(&packet(3, 2, 7, 1), 7), Err(TimeError::Malformed)));
        assert!(matches!(
            answer(&packet(0xe4, 2, 7, 1), 7),
            Err(TimeError::Unsynchronized)
        ));
        assert!(matches!(
            answer(&packet(0x24, 0, 7, 1), 7),
            Err(TimeError::Unsynchronized)
        ));
        // 2036 and later.
        assert!(answer(&packet(0x24, 1, 7, 5), 7).unwrap() > 2_080_000_000_000);
        assert_eq!(question(1).last(), Some(&1));
    }

    #[test]
    fn the_middle_counts() {
        assert_eq!(middle(vec![]), None);
        assert_eq!(middle(vec![5]), Some(5));
        assert_eq!(middle(vec![u64::MAX, 5, 6]), Some(6));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..60), nonce: u64) {
            let _ = answer(&bytes, nonce);
        }
    }
}
