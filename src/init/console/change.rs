//! Changes of the configuration after the set-up: the network, the clock.

use super::screen::{Echo, Screen};
use crate::cli::time;
use crate::init::clock;
use crate::init::state::{Event, Shared};
use lamchat_appliance::site::{Site, TimeServer, parse_network};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long the main loop may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another network, for two minutes unless it is confirmed.
pub fn network(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(mut site) = shared.site.lock().clone() else {
        return Ok(());
    };
    let text = format!(
        "Now: {}\n\nThe new network is tried at once. Confirm it from the status screen within two minutes; otherwise the \
         old one comes back by itself. Behind the addresses may stand on=INTERFACE, vlan=NUMBER, \
         bond=active-backup:INTERFACE,… or bond=lacp:INTERFACE,…",
        site.network
    );
    screen.page("Network", &text)?;
    let Some(typed) = screen.ask("none, dhcp, or ADDRESS/LENGTH ROUTER", Echo::Shown)? else {
        return Ok(());
    };
    match parse_network(&typed) {
        Ok(network) => {
            site.network = network;
            site.version = site.next_version();
            hand_over(screen, shared, site).map(drop)
        }
        Err(error) => {
            screen.page("Not changed", &error)?;
            screen.pause()
        }
    }
}

/// Servers, or the time itself.
pub fn time(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(mut site) = shared.site.lock().clone() else {
        return Ok(());
    };
    let servers: Vec<String> = site.time.servers.iter().map(ToString::to_string).collect();
    let servers = if servers.is_empty() {
        "none".to_owned()
    } else {
        servers.join(" ")
    };
    screen.page("Time", &format!("Time servers: {servers}"))?;
    let question = "Addresses of NTP servers, NAME@ADDRESS for NTS, none, or YYYY-MM-DD HH:MM in UTC";
    let Some(typed) = screen.ask(question, Echo::Shown)? else {
        return Ok(());
    };
    let typed = typed.trim();
    if let Some(ms) = time::parse(typed) {
        return match clock::set_by_hand(shared, ms) {
            Ok(()) => Ok(()),
            Err(error) => {
                screen.page("Not changed", &error)?;
                screen.pause()
            }
        };
    }
    let words = typed.split_whitespace().filter(|word| *word != "none");
    match words.map(str::parse::<TimeServer>).collect::<Result<Vec<_>, _>>() {
        Ok(servers) => {
            site.time.servers = servers;
            site.version = site.next_version();
            hand_over(screen, shared, site).map(drop)
        }
        Err(error) => {
            screen.page("Not changed", &error)?;
            screen.pause()
        }
    }
}

/// Hands a configuration to the main loop; whether it was taken. Shows why not.
pub fn hand_over(screen: &mut Screen, shared: &Shared, site: Site) -> std::io::Result<bool> {
    let (sender, receiver) = sync_channel(1);
    shared.tell(Event::Configured(Box::new(site), sender));
    let answer = receiver.recv_timeout(PATIENCE).map_err(|error| error.to_string());
    match answer.and_then(|answer| answer) {
        Ok(()) => Ok(true),
        Err(error) => {
            screen.page("Not changed", &error)?;
            screen.pause()?;
            Ok(false)
        }
    }
}
