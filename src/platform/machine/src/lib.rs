//! What process 1 of the box asks of the kernel: mounts, modules, devices that appear, signals, the watchdog, consoles,
//! the power button, switching off.
//!
//! Mechanisms only: what the box mounts, loads and shows is decided by `lamchat init`. An ordinary distribution's
//! service manager does all of this; there `lamchat health --here` uses [`ipmi`], [`disk_health`] and [`hid`], and nothing else is.

pub mod button;
pub mod console;
pub mod crash_log;
pub mod crypt;
pub mod device_mapper;
pub mod dhcp;
pub mod disk_health;
pub mod efi;
pub mod ext4;
pub mod firewall;
pub mod gpt;
pub mod hid;
mod ioctl;
pub mod ipmi;
pub mod kernel_log;
pub mod mirror;
pub mod modules;
pub mod mounts;
pub mod netlink;
pub mod network;
pub mod power;
pub mod signals;
pub mod time;
pub mod two_copies;
pub mod uevent;
pub mod usb;
pub mod watchdog;
