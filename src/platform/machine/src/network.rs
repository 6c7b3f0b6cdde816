//! Interfaces, addresses and routes: rtnetlink(7).

mod address;
mod link;
mod stacked;

pub use address::{add_address, add_default_route, remove_address, remove_addresses};
pub use link::{Link, links, set_up};
pub use stacked::{BondMode, join, make_bond, make_vlan, remove};

/// One of an interface's settings: kernel documentation, networking/ip-sysctl.
pub fn set(version: u8, interface: &str, key: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/sys/net/ipv{version}/conf/{interface}/{key}"), value)
}
