//! How many connections there are, in all and by peer.

use crate::metrics::Metrics;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The seats of a server.
#[derive(Debug)]
pub(crate) struct Seats {
    total_max: usize,
    per_peer_max: usize,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A connection's seat, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    peer: Option<IpAddr>,
}

impl Seats {
    pub(crate) fn new(total_max: usize, per_peer_max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_peer_max,
            taken: Mutex::default(),
            metrics,
        })
    }

    /// A seat for a connection from `peer`, or `None` if there are too many. `None` as a peer is a Unix socket:
    /// it counts in no limit, so that an administrator gets in while the network is flooded.
    pub(crate) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Seat> {
        let peer = peer.map(network);
        if let Some(peer) = peer {
            let mut taken = self.taken.lock();
            let of_peer = taken.by_peer.get(&peer).copied().unwrap_or(0);
            if taken.total >= self.total_max || of_peer >= self.per_peer_max {
                self.metrics.refused.inc();
                return None;
            }
            taken.total += 1;
            taken.by_peer.insert(peer, of_peer + 1);
        }
        self.metrics.accepted.inc();
        self.metrics.connections.inc();
        Some(Seat {
            seats: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.metrics.connections.dec();
        if let Some(peer) = self.peer {
            let mut taken = self.seats.taken.lock();
            taken.total = taken.total.saturating_sub(1);
            match taken.by_peer.get_mut(&peer) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    taken.by_peer.remove(&peer);
                }
            }
        }
    }
}

/// What limits by address count: one person usually has a whole /64 network of IPv6 addresses.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::Seats;
    use crate::Metrics;
    use std::net::IpAddr;
    use std::sync::Arc;

    #[test]
    fn seats_are_limited_and_come_back() {
        let seats = Seats::new(4, 2, Arc::new(Metrics::default()));
        let v6 = |host: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]));
        let v4 = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let first = seats.take(v6(1));
        let second = seats.take(v6(2));
        assert!(first.is_some() && second.is_some());
        assert!(seats.take(v6(3)).is_none());
        drop(second);
        let again = seats.take(v6(3));
        assert!(again.is_some());
        let others = [seats.take(v4(1)), seats.take(v4(2))];
        assert!(others.iter().all(Option::is_some));
        assert!(seats.take(v4(3)).is_none());
        assert!(seats.take(None).is_some());
        drop((first, again, others));
        assert!(seats.taken.lock().by_peer.is_empty());
        assert_eq!(seats.taken.lock().total, 0);
    }
}
