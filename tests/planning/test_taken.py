"""What a host uses, routes or answers for already: tables of hosts, and what is said of them."""

from dataclasses import replace

import pytest

from tasks.declared.model import Node
from tasks.host.state import File
from tasks.parts import additions
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.planning.hosts import with_lines
from tests.samples import bare, deployed, node

Row = tuple[str, str, list[str]]

UNREACHABLE = "route unreachable 2001:db8:100::/40 dev lo metric 4294967295"
VPN = """
    route default dev wg0 table 51820
    rule 32764: from all lookup main suppress_prefixlength 0
    rule 32765: not from all fwmark 0xca6c lookup 51820
"""


def number(clauses: str, free: int, whose: str = "web1.example.net's", them: str = "it") -> str:
    tunnel = f"{whose} tunnel".strip()
    return (
        f"{clauses} already, and Culvert didn't put {them} there: remove {them}, or give {tunnel} "
        f"another number: the next free number is {free}"
    )


def prefix(clauses: str, free: str) -> str:
    return (
        f"2001:db8:100::/48 is to be routed to web1.example.net, and {clauses} already, and "
        "Culvert didn't put it there: remove it, or give that tunnel another prefix: the next free "
        f"/48 is {free}"
    )


def policy(rule: str, what: str, exception: str) -> str:
    return (
        f"policy rule `{rule}` comes before the main table, and keeps packets for "
        f"web1.example.net from sit-web1: {what}. Have an exception made before it, `ip -6 rule "
        f"add to {exception}`, there where the rule is kept"
    )


# Whose host, what is there, and what is said of it; where that is nothing, the host is accepted.
ADDRESSES: list[Row] = [
    (
        "server",
        """
        route 2001:db8:1::3 dev wg0
        entry 2001:db8:1::3 dev eth0
        """,
        [
            number(
                "route 2001:db8:1::3 leads to wg0 and proxy entry 2001:db8:1::3 is on eth0",
                2,
                them="them",
            )
        ],
    ),
    # A bridge with a slice of the network, and its containers' entries: those beside it count too.
    (
        "server",
        """
        address 2001:db8:1::11/120 dev docker0
        entry 2001:db8:1::12 dev eth0
        entry 2001:db8:1::100 dev eth0
        address 2001:db8:1::102/128 dev lo
        """,
        [number("route 2001:db8:1::/120 leads to docker0", 130)],
    ),
    ("server", "route unreachable default dev lo metric 4294967295", []),
    ("server", "entry 2001:db8:1::4 dev eth0", []),
    ("server", "entry 2001:db8:1::3 dev br0", [number("proxy entry 2001:db8:1::3 is on br0", 2)]),
    ("server", "route 2001:db8:1::3 dev wg0", [number("route 2001:db8:1::3 leads to wg0", 2)]),
    (
        "server",
        "route 2001:db8:1::3 dev wg0 proto bird metric 32",
        [number("route 2001:db8:1::3 leads to wg0", 2)],
    ),
    # Several ways at once.
    (
        "server",
        """
        route 2001:db8:1::3 via fe80::1 dev wg0
        route 2001:db8:1::3 via fe80::1 dev wg1
        """,
        [
            number(
                "route 2001:db8:1::3 leads to wg0 and route 2001:db8:1::3 leads to wg1",
                2,
                them="them",
            )
        ],
    ),
    (
        "server",
        "route 2001:db8:1::2 via 2001:db8:1::9 dev eth0",
        [number("route 2001:db8:1::2 leads to eth0", 2)],
    ),
    (
        "server",
        "route 2001:db8:1::/124 dev wg0",
        [number("route 2001:db8:1::/124 leads to wg0", 8)],
    ),
    (
        "server",
        "route 2001:db8:1::/72 dev wg0",
        [number("route 2001:db8:1::/72 leads to wg0", 2**55)],
    ),
    # As wide as the prefix, or wider: the link's own, a VPN's, another uplink's.
    ("server", "address 2001:db8:1::9/64 dev eth1", []),
    ("server", "route 2001:db8::/32 dev wg0", []),
    ("server", "route 2001:db8:1::/80 dev eth0", []),
    # Sent to nobody, but for what is routed elsewhere; unless it is preferred.
    ("server", "route blackhole 2001:db8:1::/72 dev lo", []),
    ("server", "route 2001:db8:1::/72 dev lo", []),
    ("server", "route unreachable 2001:db8:1::2/127 dev lo metric 4294967295", []),
    (
        "server",
        "route prohibit 2001:db8:1::2/127 dev lo",
        [number("route prohibit 2001:db8:1::2/127 leads to lo", 2)],
    ),
    (
        "server",
        "route blackhole 2001:db8:1::3 dev lo metric 4294967295",
        [number("route blackhole 2001:db8:1::3 leads to lo", 2)],
    ),
    # The host's own, without an interface that has it.
    (
        "server",
        "route local 2001:db8:1::/112 dev lo table local",
        [number("route local 2001:db8:1::/112 leads to lo in table local", 2**15)],
    ),
    (
        "server",
        "route anycast 2001:db8:1::2 dev eth0 table local proto kernel",
        [number("route anycast 2001:db8:1::2 leads to eth0 in table local", 2)],
    ),
    (
        "server",
        "route 2001:db8:77::/48 via 2001:db8:1::3 dev eth0",
        [
            "address 2001:db8:1::3 is a router's (`2001:db8:77::/48 via 2001:db8:1::3 dev eth0`): "
            "give web1.example.net's tunnel another number: the next free number is 2"
        ],
    ),
    # A table that no rule leads to, only one for marked packets, and one for all of them.
    ("server", "route 2001:db8:1::3 dev wg0 table 100", []),
    ("server", "route 2001:db8:1::3 dev wg0 table 7\nrule 5: from all fwmark 0x1 lookup 7", []),
    (
        "server",
        "route 2001:db8:1::3 dev wg0 table 7\nrule 5: from all lookup 7",
        [number("route 2001:db8:1::3 leads to wg0 in table 7", 2)],
    ),
    # Narrower than the link's, though as wide as the tunnels'.
    (
        "server",
        "address 2001:db8:1::1/48 dev eth0\nroute 2001:db8:1::/56 dev wg0",
        [
            "route 2001:db8:1::/56 leads to wg0 already, and Culvert didn't put it there: remove "
            "it, or give web1.example.net's tunnel another number: 2001:db8:1::/64 has no free "
            "number"
        ],
    ),
    # All of the prefix on a bridge; where the link has it too, that may be a second uplink.
    ("server", "route 2001:db8:1::/64 dev docker0", []),
    (
        "server",
        "flush eth0\naddress 2001:db8:1::1/128 dev eth0\nroute 2001:db8:1::/64 dev docker0",
        [
            "route 2001:db8:1::/64 leads to docker0 already, and Culvert didn't put it there: "
            "remove it, or have the tunnels' addresses and prefixes from elsewhere"
        ],
    ),
    (
        "client",
        "address 2001:db8:1::3/128 dev wg0",
        [number("address 2001:db8:1::3 is on wg0", 2, whose="the")],
    ),
    (
        "client",
        "route 2001:db8:1::/72 dev wg0",
        [number("route 2001:db8:1::/72 leads to wg0", 2**55, whose="the")],
    ),
    ("client", "route 2001:db8:1::/64 dev wg0", []),
]

PREFIXES: list[Row] = [
    (
        "delegating-server",
        "route 2001:db8:100:5::/64 dev wg0",
        [prefix("route 2001:db8:100:5::/64 leads to wg0", "2001:db8:101::/48")],
    ),
    (
        "delegating-server",
        "route 2001:db8:100::/44 dev wg0",
        [prefix("route 2001:db8:100::/44 leads to wg0", "2001:db8:110::/48")],
    ),
    (
        "delegating-server",
        "entry 2001:db8:100::7 dev eth0",
        [prefix("proxy entry 2001:db8:100::7 is on eth0", "2001:db8:101::/48")],
    ),
    ("delegating-server", "route 2001:db8:105::/48 dev wg0", []),
    ("delegating-server", "route unreachable 2001:db8:100::/40 dev lo", []),
    ("delegating-server", "route 2001:db8:100::/40 dev lo", []),
    (
        "delegating-server",
        "route unreachable 2001:db8:100::/48 dev lo",
        [prefix("route unreachable 2001:db8:100::/48 leads to lo", "2001:db8:101::/48")],
    ),
    (
        "delegating-server",
        "route 2001:db8:100::/40 dev wg0",
        [
            "route 2001:db8:100::/40 leads to wg0 already, and Culvert didn't put it there: remove "
            "it, or have the tunnels' addresses and prefixes from elsewhere"
        ],
    ),
    (
        "delegating-server",
        UNREACHABLE,
        [
            f"{UNREACHABLE} is there already, and /var/lib/culvert/added doesn't say that Culvert "
            "added it: remove it (`ip -6 route delete unreachable 2001:db8:100::/40 dev lo metric "
            "4294967295`), and the next run adds it"
        ],
    ),
    ("delegating-server", f"{UNREACHABLE}\nadded {UNREACHABLE}", []),
    # What a client does with a prefix that is routed to it is its own affair, but for its networks.
    ("routing-client", "route 2001:db8:100:2::/64 dev docker0", []),
    ("routing-client", "route 2001:db8:100::/48 via fe80::9 dev eth1", []),
    ("routing-client", "address 2001:db8:100:1::9/64 dev eth1", []),
    (
        "routing-client",
        "address 2001:db8:100:1::9/80 dev docker0",
        [
            "`lan` eth1: address 2001:db8:100:1::9 is on docker0 and route 2001:db8:100:1::/80 "
            "leads to docker0 already, and Culvert didn't put them there: remove them, or give it "
            "another `address`"
        ],
    ),
]

RULES: list[Row] = [
    (
        "server",
        "route default via fe80::1 dev eth0 table 100\nrule 100: from all lookup 100",
        [
            policy(
                "100: from all lookup 100",
                "table 100 has `default via fe80::1 dev eth0`",
                "2001:db8:1::/64 lookup main priority 99",
            )
        ],
    ),
    (
        "server",
        "route default via fe80::1 dev eth0 table 100\nrule 5: from 2001:db8:1::/64 lookup 100",
        [
            policy(
                "5: from 2001:db8:1::/64 lookup 100",
                "table 100 has `default via fe80::1 dev eth0`",
                "2001:db8:1::/64 lookup main priority 4",
            )
        ],
    ),
    (
        "server",
        "route default dev wg0 table 7\nrule 5: from all iif eth0 lookup 7",
        [
            policy(
                "5: from all iif eth0 lookup 7",
                "table 7 has `default dev wg0`",
                "2001:db8:1::/64 lookup main priority 4",
            )
        ],
    ),
    (
        "server",
        "rule 9: from all to 2001:db8::/32 prohibit",
        [
            policy(
                "9: from all to 2001:db8::/32 prohibit",
                "it rejects them",
                "2001:db8:1::/64 lookup main priority 8",
            )
        ],
    ),
    (
        "delegating-server",
        "route default dev wg0 table 7\nrule 5: from all to 2001:db8:100::/40 lookup 7",
        [
            policy(
                "5: from all to 2001:db8:100::/40 lookup 7",
                "table 7 has `default dev wg0`",
                "2001:db8:100::/40 lookup main priority 4",
            )
        ],
    ),
    (
        "delegating-server",
        "route default dev wg0 table 7\nrule 5: from all lookup 7",
        [
            policy(
                "5: from all lookup 7",
                "table 7 has `default dev wg0`",
                "2001:db8:1::/64 lookup main priority 4` and "
                "`ip -6 rule add to 2001:db8:100::/40 lookup main priority 4",
            )
        ],
    ),
    # Not for these packets, without a route for them, or with the tunnel's own.
    ("server", "route default dev wg0 table 7\nrule 5: from 2001:db8:5::/64 lookup 7", []),
    ("server", "route 2001:db8:77::/48 dev wg0 table 7\nrule 5: from all lookup 7", []),
    ("server", "route throw default dev lo table 7\nrule 5: from all lookup 7", []),
    ("server", "route default dev wg0 table 7\nrule 40000: from all lookup 7", []),
    (
        "client",
        VPN,
        [
            "policy rule `32765: not from all fwmark 0xca6c lookup 51820` comes before the "
            "tunnel's default route: table 51820 has `default dev wg0`. Have whoever made it leave "
            "IPv6 out (a WireGuard VPN: `AllowedIPs` without ::/0), or set the tunnel's "
            "`default_route` to False"
        ],
    ),
]

DEFAULT_ROUTES: list[Row] = [
    ("client", "route unreachable default dev lo metric 4294967295", []),
    (
        "client",
        "route unreachable default dev lo",
        [
            "route `unreachable default dev lo` keeps 2001:4860:4860::8888 from being reached: "
            "remove it"
        ],
    ),
    (
        "client",
        "route 2000::/3 dev wg0",
        [
            "route 2000::/3 leads to wg0, so a default route would not lead 2001:4860:4860::8888 "
            "into the tunnel: remove it, or set the tunnel's `default_route` to False"
        ],
    ),
    (
        "client",
        "route default via fe80::1 dev eth0 proto static",
        [
            "it has an IPv6 default route already, via fe80::1 on eth0: remove it, or set the "
            "tunnel's `default_route` to False"
        ],
    ),
    (
        "client",
        "route default via fe80::1 dev eth0 proto ra\nset net.ipv6.conf.eth0.accept_ra = 1",
        [
            "it has an IPv6 default route already, via fe80::1 on eth0, which a router's next "
            "advertisement would bring back: end that (set net.ipv6.conf.eth0.accept_ra = 0, for "
            "good by `accept_ra 0` in its `inet6` stanza) and remove it, or set the tunnel's "
            "`default_route` to False"
        ],
    ),
    (
        "client",
        "route default via fe80::1 dev wg0 proto ra\nset net.ipv6.conf.wg0.accept_ra = 2",
        [
            "it has an IPv6 default route already, via fe80::1 on wg0, which a router's next "
            "advertisement would bring back: end that (set net.ipv6.conf.wg0.accept_ra = 0, for "
            "good by a line in /etc/sysctl.d) and remove it, or set the tunnel's `default_route` "
            "to False"
        ],
    ),
    ("server", "route default via fe80::1 dev eth1 proto ra metric 4096", []),
]

OUTER: list[Row] = [
    (
        "client",
        """
        get 198.51.100.10 dev wg0 table 51820
        rule4 32764: from all lookup main suppress_prefixlength 0
        rule4 32765: not from all fwmark 0xca6c lookup 51820
        """,
        [
            "the IPv4 route to fra1.example.net's 198.51.100.10 leads into wg0 by policy rule "
            "`32765: not from all fwmark 0xca6c lookup 51820`, and so would the tunnel to it, with "
            "203.0.113.20 of eth0 as its source: have it go past wg0 (`ip rule add to "
            "198.51.100.10 lookup main priority 32764`, there where wg0 is set up)"
        ],
    ),
    (
        "client",
        "get 198.51.100.10 dev tun0",
        [
            "the IPv4 route to fra1.example.net's 198.51.100.10 leads into tun0, and so would the "
            "tunnel to it, with 203.0.113.20 of eth0 as its source: have it go past tun0 (a route "
            "to 198.51.100.10 by eth0, there where tun0 is set up)"
        ],
    ),
    (
        "server",
        "get 203.0.113.20 dev wg0 table 7\nrule4 9: from all lookup 7",
        [
            "the IPv4 route to web1.example.net's 203.0.113.20 leads into wg0 by policy rule `9: "
            "from all lookup 7`, and so would the tunnel to it, with 198.51.100.10 of eth0 as its "
            "source: have it go past wg0 (`ip rule add from 198.51.100.10 lookup main priority 8`, "
            "there where wg0 is set up)"
        ],
    ),
    # A table for each of two uplinks.
    ("client", "get 198.51.100.10 dev eth0 table 7\nrule4 9: from 203.0.113.20 lookup 7", []),
]

BY_HAND: list[Row] = [
    (
        "client",
        """
        sit he-ipv6 local 203.0.113.20 remote 198.51.100.10
        address 2001:db8:1::3/127 dev he-ipv6
        route default via 2001:db8:1::2 dev he-ipv6
        """,
        [
            "interface he-ipv6 is a tunnel from 203.0.113.20 to 198.51.100.10 already, and "
            "the kernel allows one: remove it, with all that is on it (`ip link delete he-ipv6`)"
        ],
    ),
    (
        "server",
        """
        sit sit-web1 local 198.51.100.10 remote 203.0.113.20
        address 2001:db8:1::2/127 dev sit-web1
        entry 2001:db8:1::3 dev eth0
        file /etc/rc.local: ip link add sit-web1 type sit remote 203.0.113.20
        file /etc/rc.local: ip -6 neigh add proxy 2001:db8:1::3 dev eth0
        """,
        [
            "a tunnel was set up by hand here; take these lines out, and what they made "
            "(`ip link delete`, `ip -6 neighbour delete proxy`), or leave the host out:",
            "    /etc/rc.local, line 1, is in the way: ip link add sit-web1 type sit remote "
            "203.0.113.20",
            "    /etc/rc.local, line 2, is in the way: ip -6 neigh add proxy 2001:db8:1::3 dev "
            "eth0",
            "interface sit-web1 is a tunnel from 198.51.100.10 to 203.0.113.20 already, and "
            "the kernel allows one: remove it, with all that is on it (`ip link delete sit-web1`)",
        ],
    ),
]

TABLES = {
    "addresses": ADDRESSES,
    "prefixes": PREFIXES,
    "rules": RULES,
    "default routes": DEFAULT_ROUTES,
    "outer": OUTER,
    "by hand": BY_HAND,
}


@pytest.mark.parametrize(
    ("role", "host", "sentences"),
    [
        pytest.param(*row, id=f"{row[0]}: {' '.join(row[1].split())}")
        for rows in TABLES.values()
        for row in rows
    ],
)
def test_a_host_is_stopped_by_name_or_accepted(role: str, host: str, sentences: list[str]) -> None:
    assert said(role, host) == sentences


def said(role: str, host: str) -> list[str]:
    try:
        plan(node(role), with_lines(bare("ifupdown", role), host))
    except ObstacleError as error:
        return [*error.sentences]
    return []


def test_a_table_that_leads_into_the_tunnel_keeps_nothing_from_it() -> None:
    rule = "rule 5: from all lookup 7"
    state = with_lines(
        deployed("ifupdown", "server"), f"route 2001:db8:1::2/127 dev sit-web1 table 7\n{rule}"
    )
    assert not plan(node("server"), state).changes


WARNINGS: list[Row] = [
    ("client", "", []),
    ("server", "set net.ipv6.icmp.echo_ignore_all = 1", []),
    (
        "client",
        "set net.ipv6.icmp.echo_ignore_all = 1",
        [
            "net.ipv6.icmp.echo_ignore_all is 1, so it answers no echo request, by which the proof "
            "on fra1.example.net looks for it: set it to 0 for the time of a proof"
        ],
    ),
    (
        "server",
        VPN,
        [
            "policy rule `32765: not from all fwmark 0xca6c lookup 51820` leads what clients send "
            "past eth0, where the answers come in: table 51820 has `default dev wg0`"
        ],
    ),
]


@pytest.mark.parametrize(("role", "host", "sentences"), WARNINGS, ids=[w[1] for w in WARNINGS])
def test_a_host_is_accepted_with_a_warning(role: str, host: str, sentences: list[str]) -> None:
    state = with_lines(bare("ifupdown", role), host)
    assert [*plan(node(role), state).warnings] == sentences


# --- Whose it is -------------------------------------------------------------------------------

RECORD = "/var/lib/culvert/added, which would say whether Culvert put them there, is missing"


def without_record(role: str) -> dict[str, File]:
    files = deployed("ifupdown", role).files
    return {path: file for path, file in files.items() if path != additions.FILE}


def test_what_a_lost_record_does_not_speak_of_is_nobodys_to_take() -> None:
    state = replace(deployed("ifupdown", "server"), files=without_record("server"))
    with pytest.raises(ObstacleError) as caught:
        plan(node("server"), state)
    (sentence,) = caught.value.sentences
    assert RECORD in sentence
    # Once they are removed, the next run adds and records them.
    changes = plan(node("server"), replace(state, proxies=frozenset())).changes
    assert [change.path for change in changes.files] == [additions.FILE]
    added = [line for step in changes.steps for line in step.shown]
    assert added == [f"+proxy entry 2001:db8:1::{n} dev eth0" for n in (2, 3)]


def test_a_client_that_needs_no_record_has_lost_none() -> None:
    state = with_lines(deployed("ifupdown", "client"), "address 2001:db8:1::3/128 dev wg0")
    with pytest.raises(ObstacleError) as caught:
        plan(node("client"), state)
    assert [*caught.value.sentences] == [number("address 2001:db8:1::3 is on wg0", 2, whose="the")]


@pytest.mark.parametrize("role", ["server", "delegating-server", "routing-client"])
def test_removal_leaves_what_the_record_does_not_speak_of(role: str) -> None:
    nothing = Node(node(role).host, None, None, ())
    whole = plan(nothing, deployed("ifupdown", role)).changes
    assert (
        len([s for s in whole.removals if not any(line.startswith("-link") for line in s.shown)])
        > 0
    )
    state = replace(deployed("ifupdown", role), files=without_record(role))
    lost = plan(nothing, state).changes.removals
    lines = [line for step in lost for line in step.shown]
    assert not [line for line in lines if line.startswith(("-proxy", "-route", "-address"))]


def test_what_is_recorded_and_was_flushed_is_put_back() -> None:
    state = replace(deployed("ifupdown", "server"), proxies=frozenset())
    changes = plan(node("server"), state).changes
    assert [line for step in changes.steps for line in step.shown] == [
        "+proxy entry 2001:db8:1::2 dev eth0",
        "+proxy entry 2001:db8:1::3 dev eth0",
    ]


def test_the_record_is_there_before_what_it_tells_of() -> None:
    """A run that ends in between is mended by the next one: nothing is taken for a stranger's."""
    state = bare("ifupdown", "delegating-server")
    found = plan(node("delegating-server"), state)
    put, *_ = (n for n, each in enumerate(found.changes.actions) if additions.FILE in each.shown)
    before = "\n".join(c for each in found.changes.actions[:put] for c in each.commands)
    after = "\n".join(c for each in found.changes.actions[put:] for c in each.commands)
    for addition in additions.wanted(found.site):
        words = addition.add.removeprefix("ip -6 ")
        assert words in after and words not in before


def test_a_tunnel_that_moves_onto_an_entry_of_somebody_elses_is_stopped() -> None:
    state = with_lines(deployed("ifupdown", "server"), "entry 2001:db8:1::5 dev eth0")
    assert not plan(node("server"), state).changes
    end = node("server").ends[0]
    tunnel = replace(end.tunnel, server_ipv6=end.tunnel.server_ipv6 + 2)
    moved = replace(end, tunnel=tunnel, address=end.address + 2, peer=end.peer + 2)
    with pytest.raises(ObstacleError, match="proxy entry 2001:db8:1::5 is on eth0 already"):
        plan(replace(node("server"), ends=(moved,)), state)
