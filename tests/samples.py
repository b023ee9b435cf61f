"""One declaration, and hosts as they are before and after it is deployed."""

from dataclasses import replace
from typing import Any

from netaddr import IPAddress

from tasks import declaration, managers
from tasks.model import Broker, Node
from tasks.plan import plan
from tasks.state import File, HostState, Link, NetworkdLink, Route

SERVER: dict[str, Any] = {"ipv4": "198.51.100.10", "prefix": "2001:db8:1::/64"}
CLIENT: dict[str, Any] = {"server": "fra1.example.net", "ipv4": "203.0.113.20", "number": 1}
INVENTORY: dict[str, dict[str, Any]] = {
    "fra1.example.net": {"tunnel_server": SERVER},
    "web1.example.net": {"tunnel": CLIENT},
}
ROLES = {"server": "fra1.example.net", "client": "web1.example.net"}


def rename(names: dict[str, str]) -> None:
    """Give the hosts other names, for a program that can't connect to these."""
    tunnel = {**CLIENT, "server": names[ROLES["server"]], "server_interface": "sit-web1"}
    server, client = INVENTORY
    INVENTORY[names[server]] = INVENTORY.pop(server)
    INVENTORY[names[client]] = {**INVENTORY.pop(client), "tunnel": tunnel}
    ROLES.update({role: names[name] for role, name in ROLES.items()})


def broker() -> Broker:
    return declaration.read(INVENTORY, managers.NAMES)


def node(role: str) -> Node:
    return broker().nodes[ROLES[role]]


def bare(manager: str, role: str) -> HostState:
    """A host before the first run: an uplink that the manager holds, nothing of Culvert."""
    is_server = role == "server"
    addresses = ("198.51.100.10/25", "2001:db8:1::1/64") if is_server else ("203.0.113.20/25",)
    sysctls = {
        f"net/ipv6/conf/{scope}/{key}": "0"
        for scope in ("all", "default", "eth0", "lo")
        for key in ("accept_ra", "disable_ipv6", "forwarding", "proxy_ndp")
    }
    sysctls["net/ipv6/neigh/eth0/proxy_delay"] = "80"
    state = HostState(
        links={
            "lo": Link("lo", None, True, 65536, ("127.0.0.1/8", "::1/128")),
            "eth0": Link("eth0", None, True, 1500, addresses),
        },
        routes=(Route("default", "2001:db8:1::ffff", "eth0", "static", 1024),) if is_server else (),
        ipv4_devices={} if is_server else {IPAddress("198.51.100.10"): "eth0"},
        sysctls=sysctls,
    )
    if manager == "netplan":
        file = "/run/systemd/network/10-netplan-eth0.network"
        return replace(
            state, networkd={"eth0": NetworkdLink("configured", file)}, dispatcher_is_loaded=True
        )
    return replace(
        state,
        ifupdown=frozenset({"lo", "eth0"}),
        ifupdown_sources=("source /etc/network/interfaces.d/*",),
    )


def deployed(manager: str, role: str, before: HostState | None = None) -> HostState:
    """The same host after a run: as its plan says, in files and in the kernel."""
    state = before or bare(manager, role)
    found = plan(node(role), state)
    (end,) = node(role).ends
    files: dict[str, File] = {c.path: c.after for c in found.changes.files if c.after is not None}
    link = Link(
        end.interface,
        "sit",
        True,
        end.mtu,
        (end.network, "fe80::c633:640a/64"),
        end.local,
        end.remote,
        end.ttl,
    )
    routes = [*state.routes, Route(end.connected, None, end.interface, "kernel", 256)]
    sysctls = dict(state.sysctls)
    if role == "server":
        for path in sysctls:
            if path.endswith("/forwarding") or path.endswith("eth0/proxy_ndp"):
                sysctls[path] = "1"
        sysctls["net/ipv6/neigh/eth0/proxy_delay"] = "0"
    if end.default_route:
        routes.append(Route("default", str(end.peer), end.interface, "static", 1024))
    return replace(
        state,
        files=files,
        links={**state.links, end.interface: link},
        routes=tuple(routes),
        sysctls=sysctls,
        proxies=frozenset((address, "eth0") for address in node(role).proxied),
        dispatcher_is_active=manager == "netplan",
    )
