"""What stops a host before anything is changed there, and the sentence that says so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host.state import HostState, Link, Route
from tasks.parts import managers
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import (
    INVENTORY,
    ROLES,
    ROUTED,
    answers,
    bare,
    deployed,
    filter_answer,
    ifupdown,
    ifupdown2,
    networkd,
    networkmanager,
    node,
)

Change = Callable[[HostState], HostState]

HELD_BY_NONE = (
    "no known network manager holds eth0; looked for: "
    f"{'; '.join(manager.looked_for for manager in managers.MANAGERS)}. "
    "`manager` in the inventory names one all the same"
)


def sit(name: str, **fields: object) -> Link:
    return Link(name, "sit", True, 1480, **fields)  # type: ignore[arg-type]


def with_links(*links: Link) -> Change:
    return lambda state: replace(
        state, links={**state.links, **{link.name: link for link in links}}
    )


def with_sysctl(path: str, value: str) -> Change:
    return lambda state: replace(state, sysctls={**state.sysctls, path: value})


OBSTACLES: list[tuple[str, str, Change, str]] = [
    (
        "ifupdown",
        "client",
        lambda state: replace(state, uid=1000),
        "the SSH user is not root (uid 1000): add `--sudo`, or connect as root",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(state, sysctls={}),
        "the kernel runs without IPv6 (ipv6.disable=1?): boot it with IPv6",
    ),
    (
        "ifupdown",
        "client",
        with_sysctl("net/ipv6/conf/default/disable_ipv6", "1"),
        "net.ipv6.conf.default.disable_ipv6 is 1: set it to 0, and where it is kept",
    ),
    (
        "ifupdown",
        "client",
        with_links(sit("sit-ipv6")),
        "interface sit-ipv6 is there already, and Culvert didn't make it: remove it, or give the "
        "tunnel another `interface`",
    ),
    (
        "netplan",
        "server",
        with_links(Link("sit-web1", "dummy", True, 1500)),
        "interface sit-web1 is there already, and Culvert didn't make it: remove it, or give the "
        "tunnel another `server_interface`",
    ),
    (
        "netplan",
        "server",
        with_links(sit("he-ipv6", addresses=("2001:db8:1::3/64",))),
        "address 2001:db8:1::3 is on he-ipv6 already, and Culvert didn't put it there: remove it, "
        "or give web1.example.net's tunnel another number: the next free number is 2",
    ),
    (
        "netplan",
        "server",
        lambda state: replace(
            state, routes=(Route("default", "2001:db8:1::3", "eth0", "static", 1024),)
        ),
        "address 2001:db8:1::3 is a router's (`default via 2001:db8:1::3 dev eth0`): give "
        "web1.example.net's tunnel another number: the next free number is 2",
    ),
    (
        "netplan",
        "client",
        with_links(
            sit("he-ipv6", local=IPAddress("203.0.113.20"), remote=IPAddress("198.51.100.10"))
        ),
        "interface he-ipv6 is a tunnel from 203.0.113.20 to 198.51.100.10 already, and the kernel "
        "allows one: remove it, with all that is on it (`ip link delete he-ipv6`)",
    ),
    (
        "ifupdown",
        "client",
        lambda state: with_links(replace(state.links["eth0"], addresses=("192.0.2.20/24",)))(state),
        "203.0.113.20 is on none of its interfaces (it has 192.0.2.20): where NAT hides the "
        "client, `local_ipv4` names its own address",
    ),
    (
        "netplan",
        "server",
        lambda state: with_links(
            replace(state.links["eth0"], addresses=("192.0.2.10/24", "2001:db8:1::1/64"))
        )(state),
        "198.51.100.10 is on none of its interfaces (it has 192.0.2.10): `tunnel_server.ipv4` must "
        "be the host's own; where NAT translates its address one to one, `local_ipv4` names its "
        "own",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(state, routes=(Route("default", "fe80::1", "eth0", "boot", 1024),)),
        "it has an IPv6 default route already, via fe80::1 on eth0: remove it, or set the "
        "tunnel's `default_route` to False",
    ),
    (
        "ifupdown",
        "server",
        lambda state: replace(state, routes=()),
        "it has no IPv6 default route, so it can't serve tunnels; if it has native IPv6 all the "
        "same, name its interface in `tunnel_server.external_interface`",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(state, ipv4_devices={}),
        "it has no route to its tunnel server's 198.51.100.10",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(state, answers=answers("ifupdown", "lo")),
        HELD_BY_NONE,
    ),
    (
        "netplan",
        "client",
        lambda state: replace(
            state,
            answers={"networkd": networkd({"eth0": "/x.network"}, "unmanaged")},
        ),
        HELD_BY_NONE,
    ),
    (
        "networkmanager",
        "client",
        lambda state: replace(
            state, answers={"networkmanager": networkmanager(["eth0"], "connected (externally)")}
        ),
        HELD_BY_NONE,
    ),
    (
        "networkmanager",
        "server",
        lambda state: replace(state, routes=(Route("default", "fe80::1", "eth0", "ra", 1024),)),
        "NetworkManager leaves the IPv6 of eth0 to the kernel, which it must not where the host "
        "forwards: have it learn that itself (`ipv6.method` auto, with netplan `dhcp6: true`)",
    ),
    (
        "networkmanager",
        "server",
        lambda state: replace(
            state,
            answers={"networkmanager": networkmanager(["eth0"]).replace(" enabled", " disabled")},
        ),
        "NetworkManager-dispatcher.service is not enabled, so nothing would keep forwarding on: "
        "run `systemctl enable NetworkManager-dispatcher.service`",
    ),
    (
        "networkmanager",
        "client",
        lambda state: replace(
            state, answers={"networkmanager": networkmanager(["eth0"]).replace("1.42.4", "1.30.6")}
        ),
        "NetworkManager 1.30 is too old, since nothing could look at a new connection before it is "
        "in its place: 1.38 or later is needed",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(
            state, answers={"ifupdown": ifupdown(["eth0"], "source /etc/network/extra/*")}
        ),
        "/etc/network/interfaces doesn't read /etc/network/interfaces.d, where Culvert's files "
        "go: add the line `source /etc/network/interfaces.d/*`",
    ),
    (
        "ifupdown",
        "delegating-server",
        with_links(Link("eth1", None, True, 1500, ("2001:db8:100:9::1/64",))),
        "2001:db8:100::/48 is to be routed to web1.example.net, and address 2001:db8:100:9::1 is "
        "on eth1 already, and Culvert didn't put it there: remove it, or give that tunnel another "
        "prefix: the next free /48 is 2001:db8:101::/48",
    ),
    (
        "netplan",
        "delegating-server",
        lambda state: replace(
            state,
            routes=(
                *state.routes,
                Route("2001:db8:100::/48", "2001:db8:1::9", "eth0", "static", 1024),
            ),
        ),
        "2001:db8:100::/48 is to be routed to web1.example.net, and route 2001:db8:100::/48 leads "
        "to eth0 already, and Culvert didn't put it there: remove it, or give that tunnel another "
        "prefix: the next free /48 is 2001:db8:101::/48",
    ),
    (
        "ifupdown",
        "routing-client",
        lambda state: replace(state, links={n: v for n, v in state.links.items() if n != "eth1"}),
        "`lan` eth1: there is no such interface (it has eth0, lo)",
    ),
    (
        "netplan",
        "routing-client",
        with_sysctl("net/ipv6/conf/eth1/disable_ipv6", "1"),
        "`lan` eth1: net.ipv6.conf.eth1.disable_ipv6 is 1: set it to 0, and where it is kept",
    ),
    (
        "ifupdown",
        "routing-client",
        with_links(Link("eth1", None, True, 1500, ("2001:db8:100:1::1/64",))),
        "`lan` eth1: address 2001:db8:100:1::1 is on eth1 already, and Culvert didn't put it "
        "there: remove it, or leave `lan` out",
    ),
    (
        "netplan",
        "routing-client",
        lambda state: replace(state, units={}),
        "there is no systemd to hold the packet filter of Culvert's tunnels",
    ),
    (
        "ifupdown",
        "client",
        lambda state: replace(state, answers={**state.answers, **filter_answer("table x {}", "")}),
        "a table `inet culvert` is there that Culvert's service doesn't hold: take it out "
        "(`nft delete table inet culvert`)",
    ),
    (
        "netplan",
        "routing-client",
        lambda state: replace(state, has_radvd=False),
        "`lan` eth1: radvd, which advertises 2001:db8:100:1::/64 there, isn't installed: install "
        "it, or set `advertise` to False",
    ),
    (
        "netplan",
        "routing-client",
        lambda state: replace(state, radvd_interfaces=frozenset({"eth1"})),
        "`lan` eth1: /etc/radvd.conf has advertisements for it already: take them out there, or "
        "set `advertise` to False",
    ),
    (
        "ifupdown",
        "routing-client",
        lambda state: replace(state, answers=answers("ifupdown", "eth0")),
        "`lan` eth1: ifupdown doesn't hold it, so nothing would keep 2001:db8:100:1::1/64 there; "
        "looked for: `ifquery --state` lists it (ifupdown)",
    ),
    (
        "ifupdown",
        "server",
        lambda state: replace(
            state,
            answers={"ifupdown": ifupdown(["eth0"]).replace("eth0=eth0", "eth0=home")},
        ),
        "eth0 is up by the stanza `iface home` (a logical interface), which would not bring back "
        "what Culvert adds to eth0: call the stanza so",
    ),
    (
        "netplan",
        "routing-client",
        lambda state: replace(
            state,
            answers={
                "networkd": networkd(
                    dict.fromkeys(
                        ("eth0", "eth1"), "/run/systemd/network/10-netplan-all-en.network"
                    )
                )
            },
        ),
        "`lan` eth1: /run/systemd/network/10-netplan-all-en.network is for eth0 too, which would "
        "get its address as well: give eth1 a file, or in netplan an entry, of its own",
    ),
    (
        "networkd",
        "server",
        lambda state: replace(
            state, answers={"networkd": networkd({"eth0": "/etc/systemd/network/my own.network"})}
        ),
        "/etc/systemd/network/my own.network is for eth0: rename it, without spaces or such marks",
    ),
]


@pytest.mark.parametrize(
    ("manager", "role", "change", "sentence"), OBSTACLES, ids=[o[3] for o in OBSTACLES]
)
def test_an_obstacle_stops_the_host(manager: str, role: str, change: Change, sentence: str) -> None:
    with pytest.raises(ObstacleError) as caught:
        plan(node(role), change(bare(manager, role)))
    assert caught.value.sentences == (sentence,)


@pytest.mark.parametrize(
    "source",
    [
        "source /etc/network/interfaces.d/*",
        "source interfaces.d/*",
        "source-directory /etc/network/interfaces.d",
        "  source-directory interfaces.d/",
        "source /etc/network/*.d/*",
    ],
)
@pytest.mark.parametrize("program", ["/usr/sbin/ifup", "/usr/sbin/ifupdown-ng"])
def test_every_way_to_read_the_folder_is_known(program: str, source: str) -> None:
    answer = ifupdown(["eth0"], source, program)
    assert plan(node("client"), replace(bare("ifupdown", "client"), answers={"ifupdown": answer}))


@pytest.mark.parametrize("interface", ["eth0", "eth1"])
def test_a_stanza_that_is_made_at_each_boot_would_not_be_made_any_more(interface: str) -> None:
    """As in Debian's images for clouds."""
    made = f"source-directory /run/network/interfaces.d\nmade at boot: {interface}"
    answer = ifupdown(["eth0"], f"source /etc/network/interfaces.d/*\n{made}")
    state = replace(bare("ifupdown", "server"), answers={"ifupdown": answer})
    if interface != "eth0":
        assert plan(node("server"), state).changes
        return
    with pytest.raises(ObstacleError) as caught:
        plan(node("server"), state)
    assert caught.value.sentences == (
        "the stanza of eth0 is made at each boot, as /run/network/interfaces.d/eth0, and would not "
        "be made any more once a file of Culvert's names eth0: keep it, with `mv "
        "/run/network/interfaces.d/eth0 /etc/network/interfaces.d/`",
    )


@pytest.mark.parametrize(
    ("source", "is_read"),
    [
        ("source /etc/network/interfaces.d/*", True),
        ("source /etc/network/*.d/* /etc/network/other", True),
        ("source /etc/network/other /etc/network/interfaces.d/*", False),
        ("source interfaces.d/*", False),
        ("source-directory /etc/network/interfaces.d", False),
        ("source", False),
    ],
)
def test_what_ifupdown2_reads(source: str, is_read: bool) -> None:
    answer = ifupdown2(["eth0"], source)
    state = replace(bare("ifupdown2", "client"), answers={"ifupdown": answer})
    if is_read:
        assert plan(node("client"), state).changes
        return
    with pytest.raises(ObstacleError, match="add the line `source /etc"):
        plan(node("client"), state)


def test_a_named_manager_that_is_not_installed_is_refused() -> None:
    named = replace(node("client"), manager="ifupdown2")
    with pytest.raises(ObstacleError) as caught:
        plan(named, bare("ifupdown", "client"))
    assert caught.value.sentences == (
        "`manager` is ifupdown2 in the inventory, and `ifup` is ifupdown's",
    )


@pytest.mark.parametrize(
    ("manager", "sentence"),
    [
        ("networkmanager", "NetworkManager doesn't run, so nothing would bring the tunnels up"),
        ("networkd", "systemd-networkd doesn't run, so nothing would bring the tunnels up"),
        ("netplan", "systemd-networkd doesn't run, so nothing would bring the tunnels up"),
        ("ifupdown", "`manager` is ifupdown in the inventory, and there is no `ifup`"),
    ],
)
def test_a_named_manager_must_be_there(manager: str, sentence: str) -> None:
    named = replace(node("client"), manager=manager)
    with pytest.raises(ObstacleError) as caught:
        plan(named, replace(bare("ifupdown", "client"), answers={}))
    (said,) = caught.value.sentences
    assert said.startswith(sentence)


def test_a_network_that_networkd_does_not_hold_is_told_of_once() -> None:
    state = replace(bare("networkd", "routing-client"), answers=answers("networkd", "eth0"))
    with pytest.raises(ObstacleError) as caught:
        plan(node("routing-client"), state)
    (said,) = caught.value.sentences
    assert said.startswith("`lan` eth1: networkd doesn't hold it")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("manager", managers.NAMES)
def test_what_culvert_made_is_no_obstacle(manager: str, role: str) -> None:
    assert not plan(node(role), deployed(manager, role)).changes


def chained(**server: Any) -> Node:
    """A client that is a server too."""
    inventory = {
        **ROUTED,
        "web1.example.net": {
            **ROUTED["web1.example.net"],
            "tunnel_server": {
                "ipv4": "203.0.113.20",
                "prefix": "2001:db8:100:5::/64",
                "on_link": False,
                **server,
            },
        },
    }
    inventory["web1.example.net"]["tunnel"] = {
        **inventory["web1.example.net"]["tunnel"],
        "routed_prefixes": ["2001:db8:100:1::/64"],
    }
    inventory["web2.example.net"] = {
        "tunnel": {"server": "web1.example.net", "ipv4": "203.0.113.21", "number": 1}
    }
    return declaration.read(inventory, managers.NAMES).nodes["web1.example.net"]


def test_a_client_that_is_a_server_has_its_ipv6_by_the_tunnel() -> None:
    state = bare("ifupdown", "routing-client")
    found = plan(chained(), state)
    assert found.site is not None
    assert found.site.external_interface == "eth0"
    assert "+route unreachable 2001:db8:100:5::/64" in found.changes.diff()
    with pytest.raises(ObstacleError, match="it has no IPv6 of its own, so nobody on its link"):
        plan(chained(on_link=True), state)


def test_an_interface_that_is_named_but_absent_is_an_obstacle() -> None:

    server = {**INVENTORY["fra1.example.net"]["tunnel_server"], "external_interface": "eth9"}
    inventory = {**INVENTORY, "fra1.example.net": {"tunnel_server": server}}
    broken = declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"]
    with pytest.raises(ObstacleError, match="there is no interface eth9"):
        plan(broken, bare("ifupdown", "server"))
