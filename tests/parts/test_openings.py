"""What a host's own firewall must let pass, and what is said where it doesn't."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from tasks.declared import declaration
from tasks.host import iptables_listing, nft_listing
from tasks.host.ruleset import LEGACY, NFT, Ruleset, merged
from tasks.host.state import HostState
from tasks.parts import managers, openings
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests import namespaces
from tests.samples import CLIENT, INVENTORY, SERVER, bare, node


def listing(*lines: str) -> Ruleset:
    """A ruleset in a few words: `FAMILY TABLE CHAIN HOOK POLICY`, or an expression of a rule."""
    entries: list[dict[str, Any]] = []
    place: dict[str, str] = {}
    for line in lines:
        if line.startswith("["):
            entries.append({"rule": {**place, "expr": json.loads(line)}})
            continue
        family, table, name, hook, policy = line.split()
        place = {"family": family, "table": table, "chain": name}
        chain = {"family": family, "table": table, "name": name, "hook": hook, "policy": policy}
        entries.append({"chain": chain})
    return nft_listing.parse(json.dumps({"nftables": entries}))


def with_rules(state: HostState, ruleset: Ruleset) -> HostState:
    return replace(state, ruleset=ruleset)


def refusal(role: str, state: HostState) -> list[str]:
    with pytest.raises(ObstacleError) as caught:
        plan(node(role), state)
    return [*caught.value.sentences]


def flows_of(role: str, state: HostState) -> list[str]:
    site = plan(node(role), state).site
    return [f"{flow.hook}: {flow}" for flow in openings.flows(site, state)]


def test_tunnels_that_may_speak_with_each_other_are_let_through_both_ways() -> None:
    inventory = {
        **INVENTORY,
        "fra1.example.net": {"tunnel_server": {**SERVER, "between_tunnels": True}},
        "web2.example.net": {"tunnel": {**CLIENT, "ipv4": "203.0.113.21", "number": 2}},
    }
    wanted = declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"]
    state = bare("ifupdown", "server")
    found = [f"{flow.hook}: {flow}" for flow in openings.flows(plan(wanted, state).site, state)]
    assert found[-2:] == [
        "forward: IPv6 from sit-web1 (2001:db8:1::3) to sit-web2 (2001:db8:1::5)",
        "forward: IPv6 from sit-web2 (2001:db8:1::5) to sit-web1 (2001:db8:1::3)",
    ]


def test_a_server_forwards_what_is_routed_to_its_clients() -> None:
    state = bare("ifupdown", "delegating-server")
    assert flows_of("delegating-server", state) == [
        "input: protocol 41 from 203.0.113.20",
        "output: protocol 41 to 203.0.113.20",
        "forward: IPv6 from sit-web1 (2001:db8:1::3) to eth0",
        "forward: IPv6 from eth0 to sit-web1 (2001:db8:1::3)",
        "forward: IPv6 from sit-web1 (2001:db8:100::/48) to eth0",
        "forward: IPv6 from eth0 to sit-web1 (2001:db8:100::/48)",
    ]


def test_a_client_forwards_for_the_networks_behind_it() -> None:
    assert flows_of("client", bare("ifupdown", "client")) == [
        "input: protocol 41 from 198.51.100.10",
        "output: protocol 41 to 198.51.100.10",
    ]
    assert flows_of("routing-client", bare("ifupdown", "routing-client"))[2:] == [
        "forward: IPv6 from sit-ipv6 to eth1 (2001:db8:100:1::/64)",
        "forward: IPv6 from eth1 (2001:db8:100:1::/64) to sit-ipv6",
    ]


def test_a_server_that_is_a_client_leads_on_through_its_own_tunnel() -> None:
    upstream = {"server": "fra1.example.net", "ipv4": "203.0.113.20", "number": 7}
    inventory = {
        "fra1.example.net": {
            "tunnel_server": {
                **INVENTORY["fra1.example.net"]["tunnel_server"],
                "routed_prefixes": ["2001:db8:200::/40"],
            }
        },
        "ams1.example.net": {
            "tunnel_server": {
                "ipv4": "203.0.113.20",
                "prefix": "2001:db8:200::/64",
                "on_link": False,
            },
            "tunnel": {**upstream, "routed_prefixes": ["2001:db8:200::/48"]},
        },
        "web1.example.net": {
            "tunnel": {"server": "ams1.example.net", "ipv4": "192.0.2.20", "number": 1}
        },
    }
    broker = declaration.read(inventory, managers.NAMES)
    state = bare("ifupdown", "client")
    state = replace(state, ipv4_devices={IPAddress("198.51.100.10"): "eth0"})
    site = plan(broker.nodes["ams1.example.net"], state).site
    assert [str(f) for f in openings.flows(site, state) if f.hook == "forward"] == [
        "IPv6 from sit-web1 (2001:db8:200::3) to sit-ipv6",
        "IPv6 from sit-ipv6 to sit-web1 (2001:db8:200::3)",
    ]


DROPPING = ("inet mine in input drop", "inet mine through forward drop")


def test_what_drops_and_is_kept_by_nobody_known_refuses_the_host() -> None:
    state = with_rules(bare("ifupdown", "server"), listing(*DROPPING))
    assert refusal("server", state) == [
        "chain inet mine in by its policy drops protocol 41 from 203.0.113.20, and no firewall "
        "that Culvert knows keeps that chain; run this, and keep it where that firewall's rules "
        "are kept:",
        "    nft 'insert rule inet mine in ip saddr 203.0.113.20 ip daddr 198.51.100.10 meta "
        "l4proto 41 accept'",
        "chain inet mine through by its policy drops IPv6 from sit-web1 (2001:db8:1::3) to eth0 "
        "and IPv6 from eth0 to sit-web1 (2001:db8:1::3), and no firewall that Culvert knows keeps "
        "that chain; run this, and keep it where that firewall's rules are kept:",
        '    nft \'insert rule inet mine through iifname "sit-web1" oifname "eth0" meta nfproto '
        "ipv6 accept'",
        '    nft \'insert rule inet mine through iifname "eth0" oifname "sit-web1" meta nfproto '
        "ipv6 accept'",
    ]


def test_what_iptables_drops_is_opened_in_its_own_words() -> None:
    text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i eth0 -j DROP\nCOMMIT\n"
    state = bare("ifupdown", "server")
    said = refusal("server", with_rules(state, iptables_listing.parse(text, LEGACY, "ip")))
    assert said[0].startswith(
        "chain iptables (legacy) filter INPUT by `-A INPUT -i eth0 -j DROP` drops protocol 41"
    )
    assert said[1:] == [
        "    iptables-legacy -I INPUT -s 203.0.113.20 -d 198.51.100.10 -p 41 -j ACCEPT"
    ]
    said = refusal("server", with_rules(state, iptables_listing.parse(text, NFT, "ip6")))
    assert said[1:] == [
        "    ip6tables -I FORWARD -i sit-web1 -o eth0 -j ACCEPT",
        "    ip6tables -I FORWARD -i eth0 -o sit-web1 -j ACCEPT",
    ]


def test_what_passes_needs_nothing() -> None:
    accepting = '[{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, %s]'
    state = bare("ifupdown", "server")
    opened = listing(DROPPING[0], accepting % '{"accept": null}')
    assert plan(node("server"), with_rules(state, opened)).changes


LOADED = {
    "nft": [
        "nft 'table inet mine { chain in { type filter hook input priority 0; policy drop; }; "
        "chain through { type filter hook forward priority 0; policy drop; }; "
        "chain pre { type filter hook prerouting priority 0; policy drop; }; "
        "chain post { type filter hook postrouting priority 0; policy drop; }; }'"
    ],
    "iptables": [
        "iptables-nft -P INPUT DROP",
        "iptables-nft -P OUTPUT DROP",
        "ip6tables-nft -P FORWARD DROP",
        "ip6tables-nft -A FORWARD -j REJECT",
        "ip6tables-nft -t mangle -P PREROUTING DROP",
    ],
}


@namespaces.needed
@pytest.mark.parametrize("loaded", LOADED.values(), ids=LOADED)
def test_what_is_to_be_pasted_lets_all_pass(loaded: Iterable[str]) -> None:
    """As nft and iptables take it, and tell of it."""
    state = bare("ifupdown", "delegating-server")

    def seen(commands: Iterable[str]) -> HostState:
        separator = "echo @@@"
        asked = ["nft -j list ruleset", "iptables-nft-save", "ip6tables-nft-save"]
        told = namespaces.run([*commands, *(c for ask in asked for c in (separator, ask))])
        _, nft, ip, ip6 = told.split("@@@\n")
        own = [iptables_listing.parse(ip, NFT, "ip"), iptables_listing.parse(ip6, NFT, "ip6")]
        return with_rules(state, merged(nft_listing.parse(nft), own))

    said = refusal("delegating-server", seen(loaded))
    commands = [line.strip() for line in said if line.startswith("    ")]
    assert commands
    commands = [c.replace("tables ", "tables-nft ", 1) for c in commands]
    assert plan(node("delegating-server"), seen([*loaded, *commands])).changes


def test_a_firewall_that_is_left_alone_is_told_of_nonetheless() -> None:
    inventory = {
        **INVENTORY,
        "fra1.example.net": {**INVENTORY["fra1.example.net"], "firewall": "leave"},
    }
    left = declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"]
    assert left.leaves_firewall
    with pytest.raises(ObstacleError, match="leave this host's firewall alone"):
        plan(left, with_rules(bare("ifupdown", "server"), listing(*DROPPING)))
    assert plan(left, bare("ifupdown", "server")).changes


def test_a_table_that_nft_cant_tell_of_refuses_the_host_and_fails_the_proof() -> None:
    state = with_rules(bare("ifupdown", "server"), nft_listing.parse("table inet mine\n{"))
    sentence = (
        "what table inet mine drops isn't known: `nft -j list table inet mine` printed no JSON "
        "that can be read, or a chain in braces (`jump { … }`), whose rules it doesn't tell; once "
        "it does, or the chain has a name, run again"
    )
    assert refusal("server", state) == [sentence]
    assert plan(node("server"), state, only_to_prove=True).dropped == (sentence,)


def test_a_proof_fails_on_what_would_be_dropped() -> None:
    state = with_rules(bare("ifupdown", "server"), listing(*DROPPING))
    found = plan(node("server"), state, only_to_prove=True)
    assert found.dropped == (
        "expected: protocol 41 from 203.0.113.20 is let in; "
        "seen: chain inet mine in drops it (policy)",
        "expected: IPv6 from sit-web1 (2001:db8:1::3) to eth0 and IPv6 from eth0 to "
        "sit-web1 (2001:db8:1::3) are let through; "
        "seen: chain inet mine through drops it (policy)",
    )
    assert not plan(node("server"), bare("ifupdown", "server"), only_to_prove=True).dropped
