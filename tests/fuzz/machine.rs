//! What the box itself reads: the image's lists, the kernel's messages, answers from the network, disks, its configuration.

use crate::fuzz;
use lamchat_appliance::site::{self, Site};
use lamchat_machine::dhcp::Packet;
use lamchat_machine::modules::{Aliases, Dependencies};
use lamchat_machine::{netlink, uevent};

#[test]
fn lists_of_modules() {
    let alias = b"alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\nalias usb:v*[0-9a-f]p?d* usb-storage\n";
    fuzz("modules.alias", &[alias], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let aliases = Aliases::parse(&text);
        for line in text.lines().take(20) {
            let found = aliases.modules(line);
            assert!(found.len() <= text.lines().count());
        }
    });
    fuzz(
        "modules.dep",
        &[b"ext4: crc16 mbcache jbd2\ndm-crypt: dm_mod\n"],
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let dependencies = Dependencies::parse(&text);
            for (name, _) in text.lines().filter_map(|line| line.split_once(':')) {
                assert!(dependencies.before(name).len() <= 256);
            }
        },
    );
}

#[test]
fn messages_of_the_kernel() {
    let event = b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0";
    fuzz("uevent", &[event], |bytes| {
        let event = uevent::parse(bytes);
        assert!(event.path.len() + event.action.len() <= bytes.len());
    });
    let message = netlink::Message::new(16, 0, &[0; 16])
        .with_text(3, "eth0")
        .with_nest(18, |nest| nest.with(1, &[7]));
    let message = message.finish(1);
    fuzz("netlink", &[&message], |bytes| {
        for (_, answer) in netlink::messages(bytes).unwrap_or_default() {
            let total: usize = netlink::attributes(&answer.body)
                .map(|(_, payload)| payload.len())
                .sum();
            assert!(total <= bytes.len());
        }
    });
}

#[test]
fn answers_of_dhcp_servers() {
    let mut offer = Packet::discover([2, 0, 0, 0, 0, 1], 7).write();
    offer.truncate(240);
    offer[0] = 2;
    offer[16..20].copy_from_slice(&[10, 0, 2, 15]);
    offer.extend([
        53, 1, 2, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 51, 4, 0, 0, 1, 0, 54, 4, 10, 0, 2, 2, 255,
    ]);
    fuzz("dhcp", &[&offer], |bytes| {
        if let Some(packet) = Packet::parse(bytes) {
            assert!((1..=32).contains(&packet.network_length()));
        }
    });
}

#[test]
fn configurations_of_a_box() {
    let text = "format = 1\nversion = 3\nserver_name = \"chat.example.org\"\n[network]\nmode = \"static\"\n\
                addresses = [\"10.1.2.3/24\"]\nrouters = [\"10.1.2.1\"]\nvlan = 7\n[network.bond]\nmode = \"lacp\"\n\
                members = [\"eth0\", \"eth1\"]\n[time]\nservers = [\"10.1.2.1\"]\n";
    fuzz("site.toml", &[text.as_bytes()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(site) = Site::parse(&text) {
            assert!(site.network.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan)));
        }
    });
    fuzz("network", &[b"10.1.2.3/24 10.1.2.1", b"fd00::5/64", b"dhcp"], |bytes| {
        if let Ok(network) = site::parse_network(&String::from_utf8_lossy(bytes)) {
            assert!(network.addresses.iter().all(|cidr| cidr.length > 0));
        }
    });
}
