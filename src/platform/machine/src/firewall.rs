//! The packet filter, nf_tables by netlink: what is not named does not come in, and does not go out.
//!
//! Numbers are those of include/uapi/linux/netfilter/nf_tables.h. The whole table is replaced in one transaction, so there
//! is no moment without a filter.

mod expression;

use crate::netlink::{Message, NLM_F_APPEND, NLM_F_CREATE, Netlink, NetlinkError};
use expression::{Expressions, Port};
use std::net::SocketAddr;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFPROTO_INET: u8 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NF_DROP: u32 = 0;

const TABLE: &str = "lamchat";
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// RFC 792: echo request. Its answer belongs to it.
const ECHO: u8 = 8;
/// RFC 4443 and RFC 4861: echo request, router advertisement, neighbour solicitation and advertisement.
const ICMPV6_IN: [u8; 4] = [128, 134, 135, 136];
/// RFC 4861: router solicitation, neighbour solicitation and advertisement. Reports of multicast groups stay here.
const ICMPV6_OUT: [u8; 3] = [133, 135, 136];
/// RFC 2131, section 4.1: "DHCP messages from a client to a server are sent to the 'DHCP server' port (67)".
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
/// What may pass, beside answers and what stays on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Ports that anybody may connect to.
    pub tcp_ports: Vec<u16>,
    /// Whether addresses come from DHCP.
    pub dhcp: bool,
    /// Whom the machine asks by itself.
    pub outgoing: Vec<Outgoing>,
}

/// A service elsewhere that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// By datagrams.
    Udp(SocketAddr),
    /// By connections.
    Tcp(SocketAddr),
    /// By datagrams to wherever the process of this user was sent on, at whatever port.
    UdpOf(u32),
}

/// Makes the filter what the policy says.
pub fn apply(netlink: &mut Netlink, policy: &Policy) -> Result<(), NetlinkError> {
    netlink.ask_all(batch(policy))
}

fn message(kind: u16, flags: u16) -> Message {
    // Family, version, and a resource that only batches name.
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, &[NFPROTO_INET, 0, 0, 0])
}

fn bracket(kind: u16) -> Message {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low]).without_answer()
}

fn batch(policy: &Policy) -> Vec<Message> {
    let table = |kind, flags| message(kind, flags).with_text(NFTA_TABLE_NAME, TABLE);
    let mut batch = vec![
        bracket(NFNL_MSG_BATCH_BEGIN),
        // Made if it is not there, so that removing it cannot fail; then made anew.
        table(NFT_MSG_NEWTABLE, NLM_F_CREATE),
        table(NFT_MSG_DELTABLE, 0),
        table(NFT_MSG_NEWTABLE, NLM_F_CREATE),
        chain("in", 1),
        chain("forward", 2),
        chain("out", 3),
    ];
    batch.extend(incoming(policy).iter().map(|accepted| rule("in", accepted)));
    batch.extend(outgoing(policy).iter().map(|accepted| rule("out", accepted)));
    batch.push(bracket(NFNL_MSG_BATCH_END));
    batch
}

/// A chain on a hook (enum nf_inet_hooks) that drops what no rule accepts.
fn chain(name: &str, hook: u32) -> Message {
    message(NFT_MSG_NEWCHAIN, NLM_F_CREATE)
        .with_text(NFTA_CHAIN_TABLE, TABLE)
        .with_text(NFTA_CHAIN_NAME, name)
        .with_nest(NFTA_CHAIN_HOOK, |place| {
            place
                .with(NFTA_HOOK_HOOKNUM, &hook.to_be_bytes())
                .with(NFTA_HOOK_PRIORITY, &0u32.to_be_bytes())
        })
        .with(NFTA_CHAIN_POLICY, &NF_DROP.to_be_bytes())
        .with_text(NFTA_CHAIN_TYPE, "filter")
}

fn rule(chain: &str, expressions: &Expressions) -> Message {
    message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)
        .with_text(NFTA_RULE_TABLE, TABLE)
        .with_text(NFTA_RULE_CHAIN, chain)
        .with_nest(NFTA_RULE_EXPRESSIONS, |list| expressions.write(list))
}

fn incoming(policy: &Policy) -> Vec<Expressions> {
    let mut rules = vec![
        Expressions::new().comes_by_loopback().accept(),
        Expressions::new().belongs_to_known().accept(),
        Expressions::new().protocol(ICMP).icmp_type(ECHO).accept(),
    ];
    rules.extend(ICMPV6_IN.map(|kind| Expressions::new().protocol(ICMPV6).icmp_type(kind).accept()));
    if policy.dhcp {
        let answer = Expressions::new().protocol(UDP);
        rules.push(
            answer
                .port(Port::Source, DHCP_SERVER)
                .port(Port::Destination, DHCP_CLIENT)
                .accept(),
        );
    }
    rules.extend(
        policy
            .tcp_ports
            .iter()
            .map(|port| Expressions::new().protocol(TCP).port(Port::Destination, *port).accept()),
    );
    rules
}

fn outgoing(policy: &Policy) -> Vec<Expressions> {
    let mut rules = vec![
        Expressions::new().leaves_by_loopback().accept(),
        Expressions::new().belongs_to_known().accept(),
    ];
    rules.extend(ICMPV6_OUT.map(|kind| Expressions::new().protocol(ICMPV6).icmp_type(kind).accept()));
    if policy.dhcp {
        let question = Expressions::new().protocol(UDP);
        rules.push(
            question
                .port(Port::Source, DHCP_CLIENT)
                .port(Port::Destination, DHCP_SERVER)
                .accept(),
        );
    }
    rules.extend(policy.outgoing.iter().map(|outgoing| {
        let (protocol, server) = match outgoing {
            Outgoing::Udp(server) => (UDP, server),
            Outgoing::Tcp(server) => (TCP, server),
            Outgoing::UdpOf(user) => return Expressions::new().protocol(UDP).comes_from(*user).accept(),
        };
        let to = Expressions::new().has_destination(server.ip()).protocol(protocol);
        to.port(Port::Destination, server.port()).accept()
    }));
    rules
}

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::netlink::messages;

    #[test]
    fn every_port_is_a_rule() {
        let count = |policy: &Policy| {
            let bytes: Vec<u8> = batch(policy)
                .into_iter()
                .flat_map(|message| message.finish(1))
                .collect();
            let found = messages(&bytes).unwrap();
            let rules = found.iter().filter(|(_, message)| message.kind == (10 << 8 | 6));
            rules.count()
        };
        let none = count(&Policy::default());
        let policy = Policy {
            tcp_ports: vec![443, 8448],
            dhcp: true,
            outgoing: vec![
                Outgoing::Udp("10.0.0.1:123".parse().unwrap()),
                Outgoing::Tcp("[fd00::1]:4460".parse().unwrap()),
                Outgoing::UdpOf(994),
            ],
        };
        assert_eq!(count(&policy), none + 2 + 2 + 3);
    }
}
