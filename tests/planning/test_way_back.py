"""A run's way back: from wherever it came to, the host is what it was."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from netaddr import IPAddress

from tasks.declared import declaration
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Node
from tasks.host.changes import Changes
from tasks.host.state import File, HostState, Route
from tasks.parts import managers
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.planning import simulated
from tests.planning.simulated import Host
from tests.planning.test_growth import server
from tests.samples import ROLES, bare, deployed, node

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
        "ipv4": f"203.0.113.{client}{draw(st.integers(1, 2))}" if client > 1 else "203.0.113.20",
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
    """Up to two servers, with up to three clients."""
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
    for client in range(2, draw(st.integers(1, 3)) + 1):
        hosts[f"web{client}.example.net"] = {"tunnel": draw(tunnels(FRA, client))}
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
    simulated.apply(changes.reversed(), host)
    assert host.told() == before.told()
    for number, action in enumerate(changes.actions, 1):
        # From where nothing is done of the last action to where all of it is.
        for parts in range(len(simulated.parts_of(action)) + 1):
            host = before.copied()
            simulated.begin(changes, host, number, parts)
            simulated.take_back(changes, host, number)
            assert host.told() == before.told(), (number, parts, action)


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


def break_tunnel(host: Host, kind: str) -> None:
    """What somebody did by hand to the one tunnel that there is."""
    (name,) = (n for n, link in host.links.items() if link.kind == "sit" and n != "sit0")
    link = host.links[name]
    if kind == "endpoint":
        host.links[name] = replace(link, remote=IPAddress("203.0.113.99"), ttl=0)
    if kind == "mtu":
        host.links[name] = replace(host.links[name], mtu=1300)
        host.sysctls[f"net/ipv6/conf/{name}/mtu"] = "1290"
    if kind == "settings":
        for path in (f"conf/{name}/accept_ra", f"conf/{name}/hop_limit", "conf/eth0/forwarding"):
            host.sysctls[f"net/ipv6/{path}"] = {"1": "0", "0": "1"}.get(
                host.sysctls[f"net/ipv6/{path}"], "30"
            )
    if kind == "address":
        own = next(each for each in link.addresses if not each.startswith("fe80"))
        addresses = tuple(each for each in link.addresses if each != own)
        host.links[name] = replace(host.links[name], addresses=("2001:db8:77::1/64", *addresses))
        host.routes = [
            each
            for each in host.routes
            if each.device != name or each.destination.startswith("fe80")
        ]
        # As NetworkManager would have it.
        host.routes.append(Route("2001:db8:77::/64", None, name, "kernel", 675))
        host.routes.append(Route("default", "2001:db8:77::2", name, "static", 512))
    if kind == "down":
        host.links[name] = replace(host.links[name], is_up=False, addresses=())
        host.routes = [each for each in host.routes if each.device != name]
    if kind == "absent":
        del host.links[name]
        host.routes = [each for each in host.routes if each.device != name]
        host.sysctls = {p: v for p, v in host.sysctls.items() if p.split("/")[3] != name}
        host.connections.clear()


def break_rest(host: Host, kind: str) -> None:
    """What somebody did by hand beside it."""
    if kind == "services":
        for service in host.services.values():
            service.is_active = service.is_enabled = False
            service.runs = ()
        host.table = None
    if kind == "table":
        host.table = (host.table or "").replace("iifname @", "iifname != @", 1)
    if kind == "added":
        host.proxies.clear()
    if kind == "unit":
        for path, file in host.files.items():
            if "-radvd-" in path and path.endswith(".service"):
                host.files[path] = File(f"{file.text}# by hand\n")
                name = path.rpartition("/")[2]
                shell = simulated.Shell(host)
                shell.run("systemctl daemon-reload")
                shell.run(f"systemctl restart {name}")
    if kind == "files":
        host.files = {p: File(f"{f.text}# by hand\n", f.mode) for p, f in host.files.items()}
        # And whoever reads them has done so.
        host.connections = {path: host.files[path].text for path in host.connections}
        host.generated = {path: f"{text}# by hand\n" for path, text in host.generated.items()}
        shell = simulated.Shell(host)
        shell.run("systemctl daemon-reload")
        for name in [name for name, each in host.services.items() if each.is_active]:
            shell.run(f"systemctl restart {name}")


def untouched(host: Host) -> None:
    """Nobody did anything."""


def swapped(host: Host) -> None:
    """Two tunnels have each other's peers."""
    one, other = host.links["sit-web1"], host.links["sit-web2"]
    host.links["sit-web1"] = replace(one, remote=other.remote)
    host.links["sit-web2"] = replace(other, remote=one.remote)


def gone(host: Host) -> None:
    """One isn't there."""
    simulated.Shell(host).run("delete_links sit-web2")
    host.connections = {p: text for p, text in host.connections.items() if "sit-web2" not in p}


@pytest.mark.parametrize("touch", [untouched, swapped, gone])
@pytest.mark.parametrize("manager", managers.NAMES)
def test_several_tunnels_come_and_go_at_once(manager: str, touch: Callable[[Host], None]) -> None:
    bare_host, state = simulated.starting(manager, "server")
    several = server(4, is_routed=True)
    nothing = Node(several.host, None, None, (), is_cleared=True)
    host = bare_host.copied()
    first = plan(several, simulated.read(host, state, manager)).changes
    simulated.apply(first, host)
    # And from wherever it came to.
    check(first, bare_host, host)
    touch(host)
    before = host.copied()
    for wanted in (several, server(2, is_routed=False), nothing):
        host = before.copied()
        changes = plan(wanted, simulated.read(host, state, manager)).changes
        simulated.apply(changes, host)
        assert not plan(wanted, simulated.read(host, state, manager)).changes
        check(changes, before, host)


KINDS = (
    "endpoint",
    "mtu",
    "settings",
    "address",
    "down",
    "absent",
    "services",
    "table",
    "added",
    "unit",
    "files",
)


@pytest.mark.parametrize("kind", KINDS)
@each_manager_and_role
def test_what_was_changed_by_hand_comes_back_too(manager: str, role: str, kind: str) -> None:
    host, state = simulated.starting(manager, role)
    wanted = node(role)
    simulated.apply(plan(wanted, simulated.read(host, state, manager)).changes, host)
    break_tunnel(host, kind)
    break_rest(host, kind)
    before = host.copied()
    for aim in (wanted, Node(wanted.host, None, None, (), is_cleared=True)):
        host = before.copied()
        changes = plan(aim, simulated.read(host, state, manager)).changes
        simulated.apply(changes, host)
        check(changes, before, host)


# What has one on the way back that is another step's, after the old files are there, or changes
# nothing of its own.
WITHOUT_UNDO = re.compile(
    r"systemctl daemon-reload|systemctl reload \S+|systemctl restart \S+"
    r"|tries=0; until failed=1; refused=\$\(nmcli connection load .*|cat >\$scratch/change.nft.*"
    r"|/etc/culvert/filter load \S+",
    re.DOTALL,
)


@each_manager_and_role
def test_no_step_lacks_what_takes_it_back(manager: str, role: str) -> None:
    nothing = Node(node(role).host, None, None, (), is_cleared=True)
    after = deployed(manager, role)
    edited = {path: replace(file, text=f"{file.text}#\n") for path, file in after.files.items()}
    for wanted, state in (
        (node(role), bare(manager, role)),
        (nothing, after),
        (node(role), replace(after, files=edited)),
        (node(role.rpartition("-")[2]), after),
    ):
        changes = plan(wanted, state).changes
        for step in (*changes.removals, *changes.steps):
            bare_of_it = [c for c in step.commands if not WITHOUT_UNDO.fullmatch(c)]
            assert step.undo or not bare_of_it, step
