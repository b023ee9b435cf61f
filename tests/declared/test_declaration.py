"""What an inventory may say, and what a person reads where it may not."""

from graphlib import TopologicalSorter
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from netaddr import IPAddress, IPNetwork, IPSet

from tasks.declared.declaration import read
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Limits, Tunnel, ends
from tests.declared.declarations import Inventory, broken_inventories, inventories
from tests.samples import CLIENT, INVENTORY, LAN, SERVER, broker

SERVER_HOST, CLIENT_HOST = INVENTORY


def mistakes(inventory: dict[str, dict[str, Any]]) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        read(inventory, ["ifupdown", "netplan"])
    return list(caught.value.mistakes)


def with_server(**changes: Any) -> dict[str, dict[str, Any]]:
    return {**INVENTORY, SERVER_HOST: {"tunnel_server": {**SERVER, **changes}}}


def with_tunnel(**changes: Any) -> dict[str, dict[str, Any]]:
    return {**INVENTORY, CLIENT_HOST: {"tunnel": {**CLIENT, **changes}}}


def routed(
    prefixes: list[Any], server: dict[str, Any] | None = None, **tunnel: Any
) -> dict[str, dict[str, Any]]:
    """Prefixes routed to the client, out of the server's."""
    pool = {"routed_prefixes": ["2001:db8:100::/40"], **(server or {})}
    return with_server(**pool) | {
        CLIENT_HOST: {"tunnel": {**CLIENT, "routed_prefixes": prefixes, **tunnel}}
    }


def without(key: str) -> dict[str, dict[str, Any]]:
    tunnel = {name: value for name, value in CLIENT.items() if name != key}
    return {**INVENTORY, CLIENT_HOST: {"tunnel": tunnel}}


def test_number_takes_an_even_and_an_odd_address() -> None:
    (tunnel,) = broker().tunnels
    assert (str(tunnel.server_ipv6), str(tunnel.client_ipv6)) == ("2001:db8:1::2", "2001:db8:1::3")


def test_defaults_are_the_documented_ones() -> None:
    (tunnel,) = broker().tunnels
    assert (tunnel.mtu, tunnel.ttl, tunnel.default_route) == (1480, 255, True)
    assert (tunnel.client_interface, tunnel.server_interface) == ("sit-ipv6", "sit-web1")
    assert tunnel.local_ipv4 == tunnel.client_ipv4 == IPAddress("203.0.113.20")
    assert tunnel.server.probe_address == IPAddress("2001:4860:4860::8888")


def test_both_ends_mirror_each_other() -> None:
    (tunnel,) = broker().tunnels
    server, client = ends(tunnel)
    assert (server.local, server.remote) == (client.remote, client.local)
    assert (server.address, server.peer) == (client.peer, client.address)
    assert (server.host, server.peer_host) == (client.peer_host, client.host)


def test_behind_nat_the_client_has_its_own_local_address() -> None:
    (tunnel,) = read(with_tunnel(local_ipv4="192.0.2.20"), []).tunnels
    server, client = ends(tunnel)
    assert str(client.local) == "192.0.2.20"
    assert str(server.remote) == "203.0.113.20"


def test_behind_one_to_one_nat_the_server_has_its_own_local_address() -> None:
    (tunnel,) = read(with_server(local_ipv4="192.0.2.10"), []).tunnels
    server, client = ends(tunnel)
    assert str(server.local) == "192.0.2.10"
    assert str(client.remote) == "198.51.100.10"


def test_hosts_behind_nats_of_their_own_may_have_the_same_local_address() -> None:
    own = {"local_ipv4": "192.0.2.10"}
    second = {**SERVER, **own, "ipv4": "198.51.100.20", "prefix": "2001:db8:2::/64"}
    inventory = {
        **with_server(**own),
        "fra2": {"tunnel_server": second},
        CLIENT_HOST: {"tunnel": {**CLIENT, **own}},
        "web2": {"tunnel": {**CLIENT, **own, "server": "fra2"}},
    }
    nodes = read(inventory, []).nodes
    assert {str(end.local) for node in nodes.values() for end in node.ends} == {"192.0.2.10"}


def test_named_addresses_stand_in_for_a_number() -> None:
    inventory = without("number")
    inventory[CLIENT_HOST]["tunnel"] |= {
        "server_ipv6": "2001:db8:1::20",
        "client_ipv6": "2001:db8:1::21",
    }
    (tunnel,) = read(inventory, []).tunnels
    assert (str(tunnel.server_ipv6), str(tunnel.client_ipv6)) == (
        "2001:db8:1::20",
        "2001:db8:1::21",
    )


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "prefix", "interface"),
    [
        (IPv4Address, IPv6Address, IPv6Network, IPv6Interface),
        (IPAddress, IPAddress, IPNetwork, IPNetwork),
    ],
)
def test_addresses_and_prefixes_may_be_objects(
    ipv4: type, ipv6: type, prefix: type, interface: type
) -> None:
    def tunnels(ipv4: type, ipv6: type, prefix: type, interface: type) -> tuple[Tunnel, ...]:
        inventory = routed(
            [prefix("2001:db8:100::/48")],
            server={
                "ipv4": ipv4("198.51.100.10"),
                "prefix": prefix("2001:db8:1::/64"),
                "routed_prefixes": (prefix("2001:db8:100::/40"),),
                "probe_address": ipv6("2001:db8:ffff::1"),
            },
            ipv4=ipv4("203.0.113.20"),
            local_ipv4=ipv4("192.0.2.20"),
            number=None,
            server_ipv6=ipv6("2001:db8:1::2"),
            client_ipv6=ipv6("2001:db8:1::3"),
            lan={**LAN, "address": interface(LAN["address"])},
        )
        return read(inventory, []).tunnels

    assert tunnels(ipv4, ipv6, prefix, interface) == tunnels(str, str, str, str)


@pytest.mark.parametrize("nothing", [[], ()])
def test_an_empty_list_of_tunnels_says_that_a_host_is_to_carry_nothing(nothing: object) -> None:
    nodes = read({**INVENTORY, CLIENT_HOST: {"tunnel": nothing}, "db1": {}}, []).nodes
    told = [(node.is_declared, node.is_cleared, node.is_told) for node in nodes.values()]
    assert told == [(True, False, True), (False, True, True), (False, False, False)]
    assert read({CLIENT_HOST: {"tunnel": nothing}}, []).tunnels == ()


def test_a_routed_prefix_is_not_proxied() -> None:
    node = read(with_server(on_link=False), []).nodes[SERVER_HOST]
    assert node.proxied == ()


def test_both_addresses_of_a_tunnel_are_proxied() -> None:
    assert [str(a) for a in broker().nodes[SERVER_HOST].proxied] == [
        "2001:db8:1::2",
        "2001:db8:1::3",
    ]


ONE_MISTAKE = [
    (
        with_tunnel(server="fra2.example.net"),
        "web1.example.net: tunnel.server = 'fra2.example.net': no host of the inventory has this "
        "name; did you mean 'fra1.example.net'?",
    ),
    (
        with_tunnel(server="web1.example.net"),
        "web1.example.net: tunnel.server = 'web1.example.net': a host can't be its own server",
    ),
    (
        {**INVENTORY, "db1": {"tunnel": {**CLIENT, "server": "web1.example.net"}}},
        "db1: tunnel.server = 'web1.example.net': that host has no `tunnel_server`",
    ),
    (
        without("server"),
        "web1.example.net: tunnel.server is missing: expected the inventory name of the tunnel's "
        "server",
    ),
    (
        without("ipv4"),
        "web1.example.net: tunnel.ipv4 is missing: expected the client's IPv4 address as the "
        "server sees it, like '203.0.113.20'",
    ),
    (
        without("number"),
        "web1.example.net: tunnel: the addresses are missing: give `number`, or both "
        "`server_ipv6` and `client_ipv6`",
    ),
    (
        with_tunnel(number=0),
        "web1.example.net: tunnel.number = 0: expected a whole number from 1",
    ),
    (
        with_tunnel(number=True),
        "web1.example.net: tunnel.number = True: expected a whole number from 1",
    ),
    (
        with_tunnel(number="1"),
        "web1.example.net: tunnel.number = '1': expected a whole number from 1",
    ),
    (
        with_tunnel(number=2**63),
        "web1.example.net: tunnel.number = 9223372036854775808: 2001:db8:1::/64 of "
        "fra1.example.net holds 1 to 9223372036854775807",
    ),
    (
        with_tunnel(server_ipv6="2001:db8:1::2"),
        "web1.example.net: tunnel.number = 1: give either it or `server_ipv6`, not both",
    ),
    (
        with_tunnel(number=None, server_ipv6="2001:db8:1::3", client_ipv6="2001:db8:1::2"),
        "web1.example.net: tunnel.server_ipv6 = '2001:db8:1::3': odd: the server takes the even "
        "address of the pair, here 2001:db8:1::2",
    ),
    (
        with_tunnel(number=None, server_ipv6="2001:db8:1::1", client_ipv6="2001:db8:1::2"),
        "web1.example.net: tunnel.client_ipv6 = '2001:db8:1::2': with 2001:db8:1::1 on the server "
        "it must be 2001:db8:1::: the two addresses of one /127",
    ),
    (
        with_tunnel(number=None, server_ipv6="2001:db8:1::", client_ipv6="2001:db8:1::1"),
        "web1.example.net: tunnel.server_ipv6 = '2001:db8:1::': all-zero: the subnet-router "
        "anycast address; take another pair",
    ),
    (
        with_tunnel(number=None, server_ipv6="2001:db8:7::2", client_ipv6="2001:db8:7::3"),
        "web1.example.net: tunnel.server_ipv6 = '2001:db8:7::2': not in 2001:db8:1::/64 of "
        "fra1.example.net",
    ),
    (
        with_tunnel(ipv4="203.0.113.300"),
        "web1.example.net: tunnel.ipv4 = '203.0.113.300': expected the client's IPv4 address as "
        "the server sees it, like '203.0.113.20'",
    ),
    (
        with_tunnel(ipv4="198.51.100.10"),
        "web1.example.net: tunnel.ipv4 = '198.51.100.10': that is fra1.example.net's own",
    ),
    (
        {
            **with_server(local_ipv4="192.0.2.10"),
            CLIENT_HOST: {"tunnel": {**CLIENT, "ipv4": "192.0.2.10"}},
        },
        "web1.example.net: tunnel.ipv4 = '192.0.2.10': that is fra1.example.net's own",
    ),
    (
        with_server(local_ipv4="10.1"),
        "fra1.example.net: tunnel_server.local_ipv4 = '10.1': expected the server's own IPv4 "
        "address behind 1:1 NAT, like '192.0.2.10'",
    ),
    (
        {
            **with_server(local_ipv4="192.0.2.10"),
            "fra2": {"tunnel_server": {**SERVER, "local_ipv4": "192.0.2.11"}},
        },
        "fra2: tunnel_server.ipv4 = '198.51.100.10': also in fra1.example.net: tunnel_server.ipv4",
    ),
    (
        with_server(prefix="2001:db8:1::1/64"),
        "fra1.example.net: tunnel_server.prefix = '2001:db8:1::1/64': expected an IPv6 prefix from "
        "/16 to /126 without host bits, like '2001:db8:1::/64'",
    ),
    (
        with_server(prefix="198.51.100.0/24"),
        "fra1.example.net: tunnel_server.prefix = '198.51.100.0/24': expected an IPv6 prefix from "
        "/16 to /126 without host bits, like '2001:db8:1::/64'",
    ),
    (
        with_server(prefix=None),
        "web1.example.net: tunnel.number = 1: fra1.example.net has no `prefix` to number from",
    ),
    (
        with_server(on_link="yes"),
        "fra1.example.net: tunnel_server.on_link = 'yes': expected True or False",
    ),
    (
        with_tunnel(interface="sixteen-is-a-lot"),
        "web1.example.net: tunnel.interface = 'sixteen-is-a-lot': expected an interface name of "
        "at most 15 letters, digits, '-' and '_', not digits alone, none of all, default, lo, sit0",
    ),
    (
        with_tunnel(interface="6"),
        "web1.example.net: tunnel.interface = '6': expected an interface name of at most 15 "
        "letters, digits, '-' and '_', not digits alone, none of all, default, lo, sit0",
    ),
    (
        with_tunnel(interface="sit/../0"),
        "web1.example.net: tunnel.interface = 'sit/../0': expected an interface name of at most "
        "15 letters, digits, '-' and '_', not digits alone, none of all, default, lo, sit0",
    ),
    (
        with_tunnel(nubmer=1),
        "web1.example.net: tunnel.nubmer is not a known key: did you mean 'number'? accepted are "
        "server, ipv4, number, server_ipv6, client_ipv6, local_ipv4, interface, "
        "server_interface, mtu, ttl, default_route, routed_prefixes, group, inbound, allow, lan, "
        "manager",
    ),
    (
        with_tunnel(group="office"),
        "web1.example.net: tunnel.group = 'office': fra1.example.net has no groups: "
        "`between_tunnels` is False there",
    ),
    (
        with_tunnel(group="the office"),
        "web1.example.net: tunnel.group = 'the office': expected a letter, and up to 31 letters, "
        "digits, '-' and '_' after it",
    ),
    (
        with_server(between_tunnels="some"),
        "fra1.example.net: tunnel_server.between_tunnels = 'some': expected False, True, or "
        "'groups' for those whose tunnels have the same `group`",
    ),
    (
        with_tunnel(inbound="none"),
        "web1.example.net: tunnel.inbound = 'none': expected 'any' or 'established'",
    ),
    (
        with_tunnel(inbound="established", allow=["tcp/22", "udp/70000"]),
        "web1.example.net: tunnel.allow[1] = 'udp/70000': expected a list of ports to let in, like "
        "'tcp/22' or 'udp/60000-61000'",
    ),
    (
        with_tunnel(allow=["tcp/22"]),
        "web1.example.net: tunnel.allow: everything is let in as it is: set `inbound` to "
        "'established' beside it",
    ),
    (
        with_tunnel(routed_prefixes=["2001:db8:2::/48"]),
        "web1.example.net: tunnel.routed_prefixes[0] = '2001:db8:2::/48': not in the "
        "`routed_prefixes` of fra1.example.net (it has none)",
    ),
    (
        with_tunnel(mtu=1279),
        "web1.example.net: tunnel.mtu = 1279: expected a whole number from 1280 to 65515",
    ),
    (
        with_tunnel(manager="wicked"),
        "web1.example.net: tunnel.manager = 'wicked': expected one of ifupdown, netplan",
    ),
    (
        {**INVENTORY, CLIENT_HOST: {"tunnel": "fra1.example.net"}},
        "web1.example.net: tunnel = 'fra1.example.net': expected a mapping with server, ipv4, "
        "number, server_ipv6, client_ipv6, local_ipv4, interface, server_interface, mtu, ttl, "
        "default_route, routed_prefixes, group, inbound, allow, lan, manager",
    ),
    (
        {**INVENTORY, "fra2": {"tunnel_server": SERVER}},
        "fra2: tunnel_server.ipv4 = '198.51.100.10': also in fra1.example.net: tunnel_server.ipv4",
    ),
    (
        {**INVENTORY, "db1": {"tunnel": {**CLIENT, "ipv4": "203.0.113.21"}}},
        "db1: tunnel.number = 1: also in web1.example.net: tunnel.number; the next free number "
        "is 2",
    ),
    (
        {**INVENTORY, "db1": {"tunnel": {**CLIENT, "number": 2}}},
        "db1: tunnel.ipv4 = '203.0.113.20': also in web1.example.net: tunnel.ipv4",
    ),
    (
        {
            **INVENTORY,
            "db1": {
                "tunnel": {
                    **CLIENT,
                    "ipv4": "203.0.113.21",
                    "number": 2,
                    "server_interface": "sit-web1",
                }
            },
        },
        "db1: tunnel.server_interface = 'sit-web1': also in web1.example.net: "
        "tunnel.server_interface",
    ),
    (
        {
            **INVENTORY,
            "web1.example.org": {"tunnel": {**CLIENT, "ipv4": "203.0.113.21", "number": 2}},
        },
        "web1.example.org: tunnel.server_interface = 'sit-web1': also in web1.example.net: "
        "tunnel.server_interface; made of the host's name: set another",
    ),
    (
        with_tunnel(ipv4=IPv4Interface("203.0.113.20/25")),
        "web1.example.net: tunnel.ipv4 = '203.0.113.20/25': expected the client's IPv4 address as "
        "the server sees it, like '203.0.113.20'",
    ),
    (
        with_server(prefix=IPv6Interface("2001:db8:1::1/64")),
        "fra1.example.net: tunnel_server.prefix = '2001:db8:1::1/64': expected an IPv6 prefix from "
        "/16 to /126 without host bits, like '2001:db8:1::/64'",
    ),
    (
        with_server(routed_prefixes="2001:db8:100::/40"),
        "fra1.example.net: tunnel_server.routed_prefixes = '2001:db8:100::/40': expected a list of "
        "IPv6 prefixes up to /64 without host bits",
    ),
    (
        with_server(routed_prefixes=["2001:db8:100::/40", "2001:db8:100::1/64"]),
        "fra1.example.net: tunnel_server.routed_prefixes[1] = '2001:db8:100::1/64': expected a "
        "list of IPv6 prefixes up to /64 without host bits",
    ),
    (
        with_server(routed_prefixes=["2001:db8:100::/40", "2001:db8:180::/48"]),
        "fra1.example.net: tunnel_server.routed_prefixes[1] = '2001:db8:180::/48': overlaps "
        "2001:db8:100::/40 in fra1.example.net: tunnel_server.routed_prefixes[0]",
    ),
    (
        routed(["2001:db8:200::/48"]),
        "web1.example.net: tunnel.routed_prefixes[0] = '2001:db8:200::/48': not in the "
        "`routed_prefixes` of fra1.example.net (2001:db8:100::/40); the next free /48 is "
        "2001:db8:100::/48",
    ),
    (
        routed(["2001:db8:100::/47"]),
        "web1.example.net: tunnel.routed_prefixes[0] = '2001:db8:100::/47': expected a list of "
        "IPv6 prefixes from /48 to /64 without host bits",
    ),
    (
        routed(["2001:db8:100::/48", "2001:db8:100:5::/64"]),
        "web1.example.net: tunnel.routed_prefixes[1] = '2001:db8:100:5::/64': overlaps "
        "2001:db8:100::/48 in web1.example.net: tunnel.routed_prefixes[0]; the next free /64 is "
        "2001:db8:101::/64",
    ),
    (
        routed(["2001:db8:100::/48"], server={"prefix": "2001:db8:100:1::/64", "on_link": False}),
        "web1.example.net: tunnel.routed_prefixes[0] = '2001:db8:100::/48': overlaps "
        "2001:db8:100:1::/64 in fra1.example.net: tunnel_server.prefix; the next free /48 is "
        "2001:db8:101::/48",
    ),
    (
        routed(["2001:db8:100::/64"], lan={**LAN, "address": "2001:db8:100:1::1/64"}),
        "web1.example.net: tunnel.lan.address = '2001:db8:100:1::1/64': not in this tunnel's "
        "`routed_prefixes` (2001:db8:100::/64)",
    ),
    (
        routed(["2001:db8:100::/48"], lan=[{**LAN, "address": "2001:db8:100:1::/64"}]),
        "web1.example.net: tunnel.lan[0].address = '2001:db8:100:1::/64': expected the client's "
        "own address there with /64, like '2001:db8:100::1/64'",
    ),
    (
        routed(["2001:db8:100::/48"], lan={**LAN, "interface": "sit-ipv6"}),
        "web1.example.net: tunnel.lan.interface = 'sit-ipv6': also in web1.example.net: "
        "tunnel.interface",
    ),
    (
        routed(["2001:db8:100::/48"], lan=[LAN, {**LAN, "interface": "eth2"}]),
        "web1.example.net: tunnel.lan[1].address = '2001:db8:100:1::/64': overlaps "
        "2001:db8:100:1::/64 in web1.example.net: tunnel.lan[0].address",
    ),
    (
        {
            **INVENTORY,
            CLIENT_HOST: {
                "tunnel": [
                    {**CLIENT, "local_ipv4": "192.0.2.20"},
                    {
                        **CLIENT,
                        "local_ipv4": "192.0.2.20",
                        "ipv4": "203.0.113.21",
                        "number": 2,
                        "interface": "six",
                        "server_interface": "six",
                        "default_route": False,
                    },
                ]
            },
        },
        "web1.example.net: tunnel[1].local_ipv4 = '192.0.2.20': also in web1.example.net: "
        "tunnel[0].local_ipv4",
    ),
    (
        {"a": {}, "b": {"tunnel": None}},
        "the inventory declares nothing: give a host `tunnel_server`, or `tunnel`, which may be [] "
        "to have it cleaned",
    ),
]


@pytest.mark.parametrize(("inventory", "line"), ONE_MISTAKE, ids=[m for _, m in ONE_MISTAKE])
def test_a_mistake_is_one_clear_line(inventory: dict[str, dict[str, Any]], line: str) -> None:
    assert mistakes(inventory) == [line]


def test_one_default_route_on_a_host() -> None:
    second = {**CLIENT, "server": "ams1", "interface": "sit-ams"}
    inventory = {
        **INVENTORY,
        "ams1": {"tunnel_server": {"ipv4": "198.51.100.20", "prefix": "2001:db8:2::/64"}},
        CLIENT_HOST: {"tunnel": [CLIENT, second]},
    }
    assert mistakes(inventory) == [
        "web1.example.net: tunnel[1].default_route = True: tunnel[0] has the default route; set "
        "this one to False"
    ]
    second["default_route"] = False
    node = read(inventory, []).nodes[CLIENT_HOST]
    assert [end.default_route for end in node.ends] == [True, False]


def test_all_mistakes_are_reported_together() -> None:
    inventory = with_tunnel(number=0, ipv4="x", interface="lo")
    inventory[SERVER_HOST] = {"tunnel_server": {"prefix": "x", "colour": 1}}
    fields = [line.split(" ")[1].rstrip(":") for line in mistakes(inventory)]
    assert fields == [
        "tunnel_server.ipv4",
        "tunnel_server.prefix",
        "tunnel_server.colour",
        "tunnel.ipv4",
        "tunnel.number",
        "tunnel.interface",
    ]


def test_what_needs_no_server_is_told_where_that_is_mistaken() -> None:
    lan = {"interface": "eth1", "address": "2001:db8:100::1/64"}
    inventory = with_tunnel(server="fra1.exmaple.net", lan=lan, allow=["tcp/22"])
    inventory[SERVER_HOST] = {"tunnel_server": {**SERVER, "prefix": "2001:db8:1::1/64"}}
    fields = [line.split(" ")[1].rstrip(":") for line in mistakes(inventory)]
    assert fields == [
        "tunnel_server.prefix",
        "tunnel.lan.address",
        "tunnel.allow",
        "tunnel.server",
    ]
    assert mistakes(inventory)[-1].endswith(f"did you mean {SERVER_HOST!r}?")


@pytest.mark.parametrize("value", [0, -1, "30", True])
def test_what_pyinfra_waits_is_a_number_of_seconds(value: object) -> None:
    assert mistakes(limited(_timeout=value)) == [
        f"{CLIENT_HOST}: _timeout = {value!r}: expected a number of seconds, above 0"
    ]
    assert read(limited(_timeout=2.5), []).nodes


def test_a_host_cannot_be_its_own_client_through_others() -> None:
    def host(number: int, server: int) -> dict[str, Any]:
        return {
            "tunnel_server": {"ipv4": f"192.0.2.{number}", "prefix": f"2001:db8:{number}::/64"},
            "tunnel": {"server": f"fra{server}", "ipv4": f"192.0.2.{number}", "number": 1},
        }

    circle = {"fra1": host(1, 2), "fra2": host(2, 3), "fra3": host(3, 1)}
    assert mistakes(circle) == [
        "fra1: tunnel.server = 'fra2': fra2 is, by its own tunnels, a client of fra1",
        "fra2: tunnel.server = 'fra3': fra3 is, by its own tunnels, a client of fra2",
        "fra3: tunnel.server = 'fra1': fra1 is, by its own tunnels, a client of fra3",
    ]
    del circle["fra3"]["tunnel"]
    nodes = read(circle, []).nodes
    assert {name: node.server_hosts for name, node in nodes.items()} == {
        "fra1": ("fra2",),
        "fra2": ("fra3",),
        "fra3": (),
    }


def chain(*, reverse: bool, middle: dict[str, Any], **last: Any) -> dict[str, dict[str, Any]]:
    """A client that serves another one, with a /48 that is routed to it, in either order."""
    hosts = routed(["2001:db8:100::/48"], lan=middle.pop("lan", None))
    hosts[CLIENT_HOST]["tunnel_server"] = {"ipv4": "203.0.113.20", "on_link": False, **middle}
    below = {"server": CLIENT_HOST, "ipv4": "203.0.113.21", "number": 1, **last}
    hosts["web2"] = {"tunnel": {key: value for key, value in below.items() if value is not None}}
    return dict([*hosts.items()][:: -1 if reverse else 1])


WHOLE = "2001:db8:100::/48"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("middle", "last"),
    [
        ({"prefix": WHOLE}, {}),
        (
            {"prefix": "2001:db8:9::/64", "routed_prefixes": [WHOLE]},
            {"routed_prefixes": [WHOLE]},
        ),
        (
            {},
            {
                "number": None,
                "server_ipv6": "2001:db8:100:1::2",
                "client_ipv6": "2001:db8:100:1::3",
            },
        ),
    ],
)
def test_a_client_may_give_on_all_of_it(
    reverse: bool, middle: dict[str, Any], last: dict[str, Any]
) -> None:
    assert len(read(chain(reverse=reverse, middle={**middle}, **last), []).tunnels) == 2


@pytest.mark.parametrize(
    ("middle", "last", "line"),
    [
        (
            {"prefix": "2001:db8:100:1::/64", "lan": LAN},
            {},
            "web1.example.net: tunnel.lan.address = '2001:db8:100:1::/64': overlaps "
            "2001:db8:100:1::/64 in web1.example.net: tunnel_server.prefix",
        ),
        (
            {"prefix": "2001:db8:9::/64", "routed_prefixes": [WHOLE], "lan": LAN},
            {"routed_prefixes": ["2001:db8:100::/56"]},
            "web1.example.net: tunnel.lan.address = '2001:db8:100:1::/64': overlaps "
            "2001:db8:100::/56 in web2: tunnel.routed_prefixes[0]",
        ),
    ],
)
def test_what_is_used_in_one_way_is_not_used_in_another(
    middle: dict[str, Any], last: dict[str, Any], line: str
) -> None:
    assert mistakes(chain(reverse=False, middle={**middle}, **last)) == [line]


def test_a_pair_in_what_is_routed_to_its_own_client_is_a_mistake() -> None:
    pair = {"server_ipv6": "2001:db8:100:1::2", "client_ipv6": "2001:db8:100:1::3", "number": None}
    tunnel = {**CLIENT, **pair, "routed_prefixes": [WHOLE]}
    del tunnel["number"]
    hosts = {
        SERVER_HOST: {
            "tunnel_server": {"ipv4": "198.51.100.10", "routed_prefixes": ["2001:db8:100::/40"]}
        },
        CLIENT_HOST: {"tunnel": tunnel},
    }
    assert mistakes(hosts) == [
        "web1.example.net: tunnel.routed_prefixes[0] = '2001:db8:100::/48': overlaps "
        "2001:db8:100:1::2/127 in web1.example.net: tunnel.server_ipv6; the next free /48 is "
        "2001:db8:101::/48"
    ]


def test_a_client_may_give_on_what_is_routed_to_it() -> None:
    hosts = routed(["2001:db8:100::/48"])
    hosts[CLIENT_HOST]["tunnel_server"] = {
        "ipv4": "203.0.113.20",
        "prefix": "2001:db8:100:1::/64",
        "on_link": False,
        "routed_prefixes": ["2001:db8:100:8000::/49"],
    }
    below = {"server": CLIENT_HOST, "ipv4": "203.0.113.21", "number": 1}
    hosts["web2"] = {"tunnel": {**below, "routed_prefixes": ["2001:db8:100:8000::/56"]}}
    nodes = read(hosts, []).nodes
    assert [*map(str, nodes[CLIENT_HOST].routed_here)] == [
        "2001:db8:100::/48",
        "2001:db8:100:1::/64",
        "2001:db8:100:8000::/49",
    ]
    assert nodes["web2"].ends[0].tunnel.server.host == CLIENT_HOST
    # Nobody else may.
    hosts["web3"] = {
        "tunnel": {
            **CLIENT,
            "ipv4": "203.0.113.22",
            "number": 3,
            "routed_prefixes": ["2001:db8:100:9000::/56"],
        }
    }
    assert mistakes(hosts) == [
        "web3: tunnel.routed_prefixes[0] = '2001:db8:100:9000::/56': overlaps 2001:db8:100::/48 in "
        "web1.example.net: tunnel.routed_prefixes[0]; the next free /56 is 2001:db8:101::/56"
    ]


@given(inventories())
def test_whatever_is_valid_makes_ends_that_mirror_each_other(inventory: Inventory) -> None:
    found = read(inventory, [])
    for tunnel in found.tunnels:
        server, client = ends(tunnel)
        assert (server.host, server.peer_host) == (client.peer_host, client.host)
        assert (server.address, server.peer) == (client.peer, client.address)
        assert (server.local, client.remote) == (tunnel.server.local_ipv4, tunnel.server.ipv4)
        assert (server.remote, client.local) == (tunnel.client_ipv4, tunnel.local_ipv4)
        assert server.connected == client.connected
        assert (server.mtu, server.ttl) == (client.mtu, client.ttl)
        assert server in found.nodes[server.host].ends
        assert client in found.nodes[client.host].ends
    assert sum(len(node.ends) for node in found.nodes.values()) == 2 * len(found.tunnels)
    for node in found.nodes.values():
        names = [end.interface for end in node.ends] + [lan.interface for lan in node.lans]
        assert len({*names}) == len(names)
        assert len({(end.local, end.remote) for end in node.ends}) == len(node.ends)


@given(inventories())
def test_whatever_is_valid_shares_no_address_and_has_each_where_it_may_be(
    inventory: Inventory,
) -> None:
    tunnels = read(inventory, []).tunnels
    addresses = [a for tunnel in tunnels for a in (tunnel.server_ipv6, tunnel.client_ipv6)]
    addresses += [lan.address.ip for tunnel in tunnels for lan in tunnel.lans]
    assert len({*addresses}) == len(addresses)
    delegated = [prefix for tunnel in tunnels for prefix in tunnel.routed_prefixes]
    assert sum(prefix.size for prefix in delegated) == IPSet(delegated).size
    for tunnel in tunnels:
        prefix = tunnel.server.prefix
        assert prefix is not None
        assert tunnel.server_ipv6 in prefix
        assert tunnel.server_ipv6 not in (prefix[0], prefix[1])
        assert tunnel.client_ipv6 == tunnel.server_ipv6 ^ 1
        assert int(tunnel.server_ipv6) % 2 == 0
        assert IPSet(tunnel.routed_prefixes) <= IPSet(tunnel.server.routed_prefixes)
        assert IPSet([prefix]).isdisjoint(IPSet(delegated))
        for lan in tunnel.lans:
            assert any(lan.prefix in each for each in tunnel.routed_prefixes)
            assert lan.address.ip != lan.prefix[0]


@given(inventories())
def test_no_host_waits_for_itself(inventory: Inventory) -> None:
    nodes = read(inventory, []).nodes
    # Else this raises CycleError.
    up = TopologicalSorter({name: node.server_hosts for name, node in nodes.items()})
    down = TopologicalSorter({name: node.client_hosts for name, node in nodes.items()})
    assert {*up.static_order()} == {*down.static_order()} == {*inventory}


@given(broken_inventories())
def test_whatever_is_written_there_is_a_message_and_no_other_exception(
    inventory: Inventory,
) -> None:
    try:
        read(inventory, ["ifupdown", "netplan"])
    except DeclarationError as error:
        assert error.mistakes
        for line in error.mistakes:
            assert "\n" not in line
            assert line.partition(": ")[0] in [*inventory, "the inventory declares nothing"]


@pytest.mark.parametrize(
    ("data", "is_left"),
    [({}, False), ({"firewall": "open"}, False), ({"firewall": "leave"}, True)],
)
def test_a_firewall_is_opened_or_left(data: dict[str, Any], is_left: bool) -> None:
    inventory = {**INVENTORY, CLIENT_HOST: {**INVENTORY[CLIENT_HOST], **data}}
    assert read(inventory, []).nodes[CLIENT_HOST].leaves_firewall == is_left


def test_anything_else_is_done_with_no_firewall() -> None:
    inventory = {**INVENTORY, CLIENT_HOST: {**INVENTORY[CLIENT_HOST], "firewall": True}}
    assert mistakes(inventory) == [
        f"{CLIENT_HOST}: firewall = True: expected 'open', to have it opened for the tunnels, "
        "or 'leave'"
    ]
    # The name may be somebody else's where nothing is Culvert's.
    assert read({**INVENTORY, "db1.example.net": {"firewall": True}}, []).nodes


def limited(**data: object) -> dict[str, dict[str, Any]]:
    return {**INVENTORY, CLIENT_HOST: {**INVENTORY[CLIENT_HOST], **data}}


def test_a_run_waits_as_long_as_is_written_or_as_the_tunnels_of_a_host_take() -> None:
    written = read(limited(ssh_connect_timeout=5, ssh_command_timeout=600), []).nodes
    assert written[CLIENT_HOST].limits == Limits(5, 600)
    assert written[SERVER_HOST].limits == Limits(20, 51)
    others = {f"web{n}.example.net": {"tunnel": _nth(n)} for n in range(2, 12)}
    assert read({**INVENTORY, **others}, []).nodes[SERVER_HOST].limits == Limits(20, 61)


def _nth(number: int) -> dict[str, Any]:
    return {**CLIENT, "ipv4": f"192.0.2.{number}", "number": number}


@pytest.mark.parametrize("value", [0, -1, 3601, 1.5, "10", True])
@pytest.mark.parametrize("key", ["ssh_connect_timeout", "ssh_command_timeout"])
def test_how_long_a_run_waits_is_a_number_of_seconds(key: str, value: object) -> None:
    assert mistakes(limited(**{key: value})) == [
        f"{CLIENT_HOST}: {key} = {value!r}: expected a whole number of seconds from 1 to 3600"
    ]
    # A run connects to hosts that declare nothing, too.
    assert len(mistakes({**INVENTORY, "db1.example.net": {key: value}})) == 1


@pytest.mark.parametrize("value", [1, 9, -1, True, False, "60", 60.0, 3601, 4000])
def test_how_long_a_host_waits_is_a_number_of_seconds_or_nothing(value: object) -> None:
    assert mistakes(limited(confirm_within=value)) == [
        f"{CLIENT_HOST}: confirm_within = {value!r}: expected a whole number of seconds from 10 to "
        "3600, or 0 for never"
    ]


@pytest.mark.parametrize(
    ("written", "seconds"), [({}, 60), *(({"confirm_within": n}, n) for n in (0, 10, 3600))]
)
def test_a_host_waits_as_long_as_is_written(written: dict[str, int], seconds: int) -> None:
    assert read(limited(**written), []).nodes[CLIENT_HOST].limits.confirm == seconds
