"""A run's way back: from wherever it came to, the host is what it was."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from netaddr import IPAddress

from tasks.declared import declaration
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Node
from tasks.host.changes import Changes, Step
from tasks.host.state import HostState
from tasks.parts import managers
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.planning import simulated
from tests.planning.simulated import Host
from tests.samples import ROLES

FRA, WEB = "fra1.example.net", "web1.example.net"
MANAGERS_AND_ROLES = [(manager, role) for manager in managers.NAMES for role in ROLES]
each_manager_and_role = pytest.mark.parametrize(("manager", "role"), MANAGERS_AND_ROLES)

# One server, and one more of which web1 is a client.
SERVERS = {
    FRA: {"ipv4": "198.51.100.10", "prefix": "2001:db8:1::/64"},
    "ams1": {"ipv4": "198.51.100.20", "prefix": "2001:db8:2::/64"},
}


@st.composite
def tunnels(draw: st.DrawFn, server: str, client: int) -> dict[str, Any]:
    number = draw(st.sampled_from([client, client + 4]))
    tunnel: dict[str, Any] = {
        "server": server,
        "ipv4": "203.0.113.20" if client == 1 else f"203.0.113.2{draw(st.integers(1, 2))}",
        "number": number,
        "mtu": draw(st.sampled_from([1280, 1400, 1480])),
        "ttl": draw(st.sampled_from([64, 255])),
    }
    if draw(st.booleans()):
        tunnel["interface"] = draw(st.sampled_from([f"six{client}", f"tun{client}"]))
    if draw(st.booleans()):
        tunnel["routed_prefixes"] = [f"2001:db8:{100 + draw(st.integers(0, 1))}{client}::/48"]
        if client == 1 and draw(st.booleans()):
            prefix = tunnel["routed_prefixes"][0].removesuffix("::/48")
            tunnel["lan"] = {
                "interface": "eth1",
                "address": f"{prefix}:1::1/64",
                "advertise": draw(st.booleans()),
            }
    return tunnel


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Up to two servers, with one client or two."""
    hosts: dict[str, dict[str, Any]] = {
        FRA: {
            "tunnel_server": {
                **SERVERS[FRA],
                "on_link": draw(st.booleans()),
                "routed_prefixes": ["2001:db8:1000::/36"],
            }
        }
    }
    found = [draw(tunnels(FRA, 1))]
    if draw(st.booleans()):
        hosts["ams1"] = {"tunnel_server": SERVERS["ams1"]}
        second = draw(tunnels("ams1", 1))
        second.pop("lan", None), second.pop("routed_prefixes", None)
        found = draw(st.permutations([found[0], second]))
        found[0]["default_route"] = draw(st.booleans())
        found[1]["default_route"] = False
    hosts[WEB] = {"tunnel": found}
    if draw(st.booleans()):
        hosts["web2.example.net"] = {"tunnel": draw(tunnels(FRA, 2))}
    return hosts


def nodes(inventory: dict[str, dict[str, Any]]) -> dict[str, Node]:
    try:
        return dict(declaration.read(inventory, managers.NAMES).nodes)
    except DeclarationError:
        assume(False)
        raise


def planned(wanted: Node, host: Host, of: HostState, manager: str) -> Changes:
    try:
        return plan(wanted, simulated.read(host, of, manager)).changes
    except ObstacleError:
        assume(False)
        raise


def check(changes: Changes, before: Host, after: Host) -> None:
    """The way back of a run, from its end and from everywhere on its way."""
    host = after.copied()
    simulated.apply_reversed(changes, host)
    assert host.told() == before.told()
    for number, action in enumerate(simulated.actions(changes), 1):
        # From where nothing is done of the last action to where all of it is.
        count = len(action.commands) if isinstance(action, Step) else 1
        for commands in range(count + 1):
            host = before.copied()
            simulated.begin(changes, host, number, commands)
            simulated.take_back(changes, host, number)
            assert host.told() == before.told(), (number, commands, action)


@pytest.mark.parametrize("name", [FRA, WEB])
@pytest.mark.parametrize("manager", managers.NAMES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_after_the_way_back_a_host_is_what_it_was(
    manager: str, name: str, data: st.DataObject
) -> None:
    host, state = simulated.starting(manager, "server" if name == FRA else "routing-client")
    devices = dict.fromkeys((IPAddress(each["ipv4"]) for each in SERVERS.values()), "eth0")
    state = replace(state, ipv4_devices=devices if name == WEB else {})
    for _ in range(data.draw(st.integers(1, 3))):
        inventory = data.draw(st.none() | inventories())
        wanted = Node(name, None, None, (), is_cleared=True)
        if inventory:
            wanted = nodes(inventory)[name]
        held_by = data.draw(st.sampled_from([manager, manager, manager, *managers.NAMES]))
        before = host.copied()
        changes = planned(wanted, host, state, held_by)
        simulated.apply(changes, host)
        assert not planned(wanted, host, state, held_by), "a second run would change something"
        check(changes, before, host)
