"""One declaration, and hosts as they are before and after it is deployed."""

import base64
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from netaddr import IPAddress

from tasks.declared import declaration
from tasks.declared.model import Broker, Node
from tasks.host.state import File, HostState, Line, Link, Route, Unit
from tasks.parts import filtering, managers, sit
from tasks.parts.part import UNREACHABLE_METRIC
from tasks.planning.plan import plan

DISPATCHER = "networkd-dispatcher.service"

SERVER: dict[str, Any] = {"ipv4": "198.51.100.10", "prefix": "2001:db8:1::/64"}
CLIENT: dict[str, Any] = {"server": "fra1.example.net", "ipv4": "203.0.113.20", "number": 1}
INVENTORY: dict[str, dict[str, Any]] = {
    "fra1.example.net": {"tunnel_server": SERVER},
    "web1.example.net": {"tunnel": CLIENT},
}
HOSTS = {"server": "fra1.example.net", "client": "web1.example.net"}

# The same with a prefix routed to the client, and a network behind it.
LAN: dict[str, Any] = {"interface": "eth1", "address": "2001:db8:100:1::1/64"}
ROUTED: dict[str, dict[str, Any]] = {
    "fra1.example.net": {"tunnel_server": {**SERVER, "routed_prefixes": ["2001:db8:100::/40"]}},
    "web1.example.net": {
        "tunnel": {**CLIENT, "routed_prefixes": ["2001:db8:100::/48"], "lan": LAN}
    },
}
ROLES = ("server", "client", "delegating-server", "routing-client")


def rename(names: dict[str, str]) -> None:
    """Give the hosts other names, for a program that can't connect to these."""
    tunnel = {**CLIENT, "server": names[HOSTS["server"]]}
    server, client = INVENTORY
    INVENTORY[names[server]] = INVENTORY.pop(server)
    INVENTORY[names[client]] = {**INVENTORY.pop(client), "tunnel": tunnel}
    HOSTS.update({role: names[name] for role, name in HOSTS.items()})


def many(tunnels: int, *, is_routed: bool) -> dict[str, dict[str, Any]]:
    """An inventory of a server with so many tunnels, each with a prefix routed to it, or none."""
    pool = {"routed_prefixes": ["2001:db8:8000::/33"]} if is_routed else {}
    hosts: dict[str, dict[str, Any]] = {HOSTS["server"]: {"tunnel_server": {**SERVER, **pool}}}
    for number in range(1, tunnels + 1):
        tunnel = {**CLIENT, "ipv4": f"10.{number // 250}.{number % 250}.20", "number": number}
        if is_routed:
            tunnel["routed_prefixes"] = [f"2001:db8:{0x8000 + number:x}::/48"]
        hosts[f"web{number}.example.net"] = {"tunnel": tunnel}
    return hosts


def broker() -> Broker:
    return declaration.read(INVENTORY, managers.NAMES)


def node(role: str) -> Node:
    """What a host of that role is to carry."""
    inventory = ROUTED if "-" in role else INVENTORY
    host = HOSTS[role.rpartition("-")[2]]
    return declaration.read(inventory, managers.NAMES).nodes[host]


def bare(manager: str, role: str) -> HostState:
    """A host before the first run: an uplink that the manager holds, nothing of Culvert."""
    is_server = role.endswith("server")
    inside = ("eth1",) if role == "routing-client" else ()
    addresses = ("198.51.100.10/25", "2001:db8:1::1/64") if is_server else ("203.0.113.20/25",)
    sysctls = {
        f"net/ipv6/conf/{scope}/{key}": "0"
        for scope in ("all", "default", "eth0", *inside, "lo")
        for key in ("accept_ra", "disable_ipv6", "forwarding", "proxy_ndp")
    }
    sysctls["net/ipv6/neigh/eth0/proxy_delay"] = "80"
    sysctls["net/ipv6/conf/default/hop_limit"] = "64"
    state = HostState(
        links={
            "lo": Link("lo", None, True, 65536, ("127.0.0.1/8", "::1/128")),
            "eth0": Link("eth0", None, True, 1500, addresses),
            **{name: Link(name, None, True, 1500, ("fe80::1/64",)) for name in inside},
        },
        routes=(Route("default", "2001:db8:1::ffff", "eth0", "static", 1024),) if is_server else (),
        ipv4_devices={} if is_server else {IPAddress("198.51.100.10"): "eth0"},
        sysctls=sysctls,
        has_radvd=True,
    )
    has_dispatcher = manager in {"netplan", "networkd"}
    return replace(
        state,
        answers=answers(manager, "eth0", *inside),
        units={DISPATCHER: Unit(has_dispatcher, is_active=False, is_enabled=has_dispatcher)},
    )


def pair(number: int, prefix: str = "") -> dict[str, tuple[dict[str, Any], HostState, HostState]]:
    """A server and its client that need nobody else, by name: data, and states before and after.

    Each number, from 1, has addresses of its own. All names begin with the prefix.
    """
    server, client = f"{prefix}fra{number}.example.net", f"{prefix}web{number}.example.net"
    ipv4, network = f"10.1.{number // 250}.{number % 250}", f"2001:db8:{number:x}::"
    tunnel = {**CLIENT, "server": server, "ipv4": f"10.2.{number // 250}.{number % 250}"}
    data: dict[str, dict[str, Any]] = {
        server: {"tunnel_server": {"ipv4": ipv4, "prefix": f"{network}/64"}},
        client: {"tunnel": tunnel},
    }
    nodes = declaration.read(data, managers.NAMES).nodes
    uplinks = {server: (f"{ipv4}/25", f"{network}1/64"), client: (f"{tunnel['ipv4']}/25",)}
    found = {}
    for name, role in ((server, "server"), (client, "client")):
        state = bare("ifupdown", role)
        eth0 = replace(state.links["eth0"], addresses=uplinks[name])
        before = replace(
            state,
            links={**state.links, "eth0": eth0},
            routes=tuple(replace(route, gateway=f"{network}ffff") for route in state.routes),
            ipv4_devices={IPAddress(ipv4): "eth0"} if state.ipv4_devices else {},
        )
        found[name] = data[name], before, deployed("ifupdown", role, before, nodes[name])
    return found


def sysctl_files(texts: Mapping[str, str]) -> dict[str, tuple[Line, ...]]:
    """Files that set sysctls at boot, as they are read: without their comments."""
    return {
        path: tuple(
            Line(path, number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and line.strip()[0] not in "#;"
        )
        for path, text in texts.items()
    }


def answers(manager: str, *interfaces: str) -> dict[str, str]:
    """What a host answers whose manager holds these interfaces."""
    question = managers.by_name(manager).question.name
    return {question: _ANSWERS[manager](interfaces)}


def networkd(files: dict[str, str], status: str = "configured") -> str:
    """Networkd's answer for interfaces, each with its file."""
    lines = ["/sys/class/net/lo/ifindex:1", "/run/systemd/netif/links/1:ADMIN_STATE=unmanaged"]
    for index, (name, file) in enumerate(files.items(), 2):
        kept = f"/run/systemd/netif/links/{index}"
        lines.append(f"/sys/class/net/{name}/ifindex:{index}")
        lines += [f"{kept}:ADMIN_STATE={status}", f"{kept}:NETWORK_FILE={file}"]
    return "\n".join(lines)


def ifupdown(
    interfaces: Iterable[str],
    source: str = "source /etc/network/interfaces.d/*",
    program: str = "/usr/sbin/ifup",
    settings: Iterable[str] = (),
) -> str:
    """The answer of ifupdown for interfaces that are up, with a line of its main file."""
    up = "\n".join(f"{name}={name}" for name in ("lo", *interfaces))
    said = "\n".join([f"ifup: {program}", *_said(settings), source])
    return f"{said}\nrecord:\n{up}"


def _said(settings: Iterable[str]) -> list[str]:
    return [f"setting: {each}" for each in settings]


@dataclass
class _Stanza:
    """As ifupdown2 keeps one."""

    addr_family: list[str]
    name: str
    config: dict[str, list[str]]


def ifupdown2(
    interfaces: Iterable[str],
    source: str = "source /etc/network/interfaces.d/*",
    settings: Iterable[str] = ("addon_scripts_support=1",),
) -> str:
    """The answer of ifupdown2, whose record is made of pickles."""
    stanzas = [_Stanza(["inet"], name, {"name": ["x"]}) for name in ("lo", *interfaces)]
    record = base64.encodebytes(b"".join(pickle.dumps(each) for each in stanzas)).decode()
    said = "\n".join(["ifup: /usr/share/ifupdown2/__main__.py", *_said(settings), source])
    return f"{said}\nrecord:\n{record.strip()}"


def networkmanager(
    interfaces: Iterable[str],
    status: str = "connected",
    configuration: str = "[main]\nplugins=ifupdown,keyfile",
) -> str:
    """NetworkManager's answer for interfaces, each with a connection."""
    lines = [f"{name}:{status}:Wired\\: {name}" for name in interfaces]
    rest = ["lo:connected (externally):lo", "version: nmcli tool, version 1.42.4"]
    rest += ["dispatcher: enabled", "configuration:"]
    rest.append("# NetworkManager configuration: /etc/NetworkManager/NetworkManager.conf\n")
    return "\n".join([*lines, *rest, configuration])


_ANSWERS: dict[str, Callable[[Sequence[str]], str]] = {
    "netplan": lambda names: networkd(
        {name: f"/run/systemd/network/10-netplan-{name}.network" for name in names}
    ),
    "networkd": lambda names: networkd(
        {name: f"/etc/systemd/network/{name}.network" for name in names}
    ),
    "networkmanager": networkmanager,
    "ifupdown": ifupdown,
    "ifupdown2": ifupdown2,
    "ifupdown-ng": lambda names: ifupdown(
        names, "source-directory /etc/network/interfaces.d", "/usr/sbin/ifupdown"
    ),
}


def filter_answer(running: str, of_file: str | None = None) -> dict[str, str]:
    """What a host answers whose table is this, by a file that says the same or something else."""
    question, _ = filtering.QUESTIONS
    text = running if of_file is None else of_file
    return {question.name: f"{running}\n{filtering.OF_FILE}\n{text}"}


def _once_held(name: str, text: str, manager: str, own: Node) -> str:
    """What a host answers to the question of that name once its manager has the tunnels."""
    tunnels = [end.interface for end in own.ends]
    if name == managers.by_name("networkmanager").question.name:
        return "".join(f"{each}:connected:{each}\n" for each in tunnels) + text
    if name == managers.by_name("ifupdown").question.name and manager != "ifupdown2":
        return text + "".join(f"\n{each}={each}" for each in tunnels)
    if name != managers.by_name("networkd").question.name:
        return text
    lines = [text]
    for index, each in enumerate(tunnels, 100):
        file = f"/etc/systemd/network/60-culvert-{each}.network"
        if manager == "netplan":
            file = f"/run/systemd/network/10-netplan-{each}.network"
        kept = f"/run/systemd/netif/links/{index}"
        lines += [f"/sys/class/net/{each}/ifindex:{index}", f"{kept}:NETWORK_FILE={file}"]
        lines += [f"{kept}:ADMIN_STATE=configured", f"{file}:Name={each}"]
    return "\n".join(lines)


def deployed(
    manager: str, role: str, before: HostState | None = None, carried: Node | None = None
) -> HostState:
    """The same host after a run: as its plan says, in files and in the kernel.

    It carries what a host of that role does, or another node.
    """
    state, own = before or bare(manager, role), carried or node(role)
    found = plan(own, state)
    files: dict[str, File] = {c.path: c.after for c in found.changes.files if c.after is not None}
    links, routes, sysctls = dict(state.links), [*state.routes], dict(state.sysctls)
    for end in own.ends:
        addresses = (end.network, "fe80::c633:640a/64")
        ends = (end.local, end.remote, end.ttl)
        links[end.interface] = Link(end.interface, "sit", True, end.mtu, addresses, *ends)
        routes.append(Route(end.connected, None, end.interface, "kernel", 256))
        routes += [Route(d, str(end.peer), end.interface, "static", 1024) for d in end.destinations]
        conf = f"net/ipv6/conf/{end.interface}"
        sysctls |= sit.settings(end) | {f"{conf}/hop_limit": "64", f"{conf}/mtu": str(end.mtu)}
    routes += [
        Route(str(prefix), None, "lo", "boot", UNREACHABLE_METRIC, "unreachable")
        for prefix in own.routed_here
    ]
    units = {name: replace(unit, is_active=True) for name, unit in state.units.items()}
    for lan in own.lans:
        inside = links[lan.interface]
        links[lan.interface] = replace(inside, addresses=(*inside.addresses, str(lan.address)))
        units[f"60-culvert-radvd-{lan.interface}.service"] = Unit(True, True, True)
    units[filtering.SERVICE] = Unit(True, True, True)
    if own.forwards:
        for path in sysctls:
            if path.endswith("/forwarding"):
                sysctls[path] = "1"
    if own.proxied:
        sysctls["net/ipv6/conf/all/proxy_ndp"] = "1"
        sysctls["net/ipv6/neigh/eth0/proxy_delay"] = "0"
    return replace(
        state,
        files=files,
        answers={
            **{name: _once_held(name, text, manager, own) for name, text in state.answers.items()},
            **filter_answer(files[filtering.FILE].text),
        },
        links=links,
        routes=tuple(routes),
        sysctls=sysctls,
        proxies=frozenset((address, "eth0") for address in own.proxied),
        units=units,
    )
