"""Pure: what stands in the way on a host, found before anything is changed there."""

import re
from collections import defaultdict
from collections.abc import Iterable

from netaddr import IPAddress, IPNetwork

from tasks.declared import numbering
from tasks.declared.model import End, Node
from tasks.host.changes import Changes
from tasks.host.state import HostState, Link
from tasks.parts import additions
from tasks.parts.managers import owned_interfaces


class ObstacleError(Exception):
    """Why a host is left alone: one sentence each."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__("\n".join(self.sentences))


def of_user(state: HostState) -> Iterable[str]:
    """Whether the SSH user may change anything."""
    if state.uid != 0:
        yield f"the SSH user is not root (uid {state.uid}): add `--sudo`, or connect as root"


def of_programs(state: HostState) -> Iterable[str]:
    """What a run and its proof start on the host, and isn't there."""
    for program in state.missing_programs:
        package = _PACKAGES.get(program, program)
        yield f"`{program}` isn't there: install {package}"
    if state.ping and "iputils" not in state.ping:
        yield (
            "`ping` is another one than the proof needs, it says of itself "
            f"{state.ping!r}: install iputils-ping"
        )


_PACKAGES = {
    "ip": "iproute2",
    "ping": "iputils-ping",
    "find": "findutils",
    "base64": "coreutils",
    "mktemp": "coreutils",
}


def of_module(node: Node, state: HostState) -> Iterable[str]:
    """Whether the kernel's sit driver is there, or would be loaded when a tunnel is made."""
    if not node.ends or not state.sit_loading:
        return
    disabled, *said = state.sit_loading
    files = [line.replace(":", ": ", 1) for line in said if line.startswith("/")]
    commands = [line.strip() for line in said if re.match(r"(?:insmod|install) ", line)]
    blocks = [line for line in commands if re.fullmatch(r"install \S*\b(?:false|true)", line)]
    if disabled == "1":
        yield (
            "the kernel has no sit driver loaded, and loads no module any more "
            "(kernel.modules_disabled is 1): name `sit` in /etc/modules-load.d, and reboot"
        )
    elif blocks or (files and not commands):
        named = "; ".join(files or blocks)
        yield f"the kernel is told not to load its sit driver: {named}: take that out"
    elif not commands:
        why = said[0].removeprefix("modprobe: ") if said else "modprobe says nothing"
        yield (
            f"the kernel has no sit driver, which every tunnel needs ({why}): in a container, load "
            "it on its host; after an upgrade of the kernel, reboot; else boot Debian's own kernel"
        )


def of_room(changes: Changes, state: HostState) -> Iterable[str]:
    """Whether what is to be written can be."""
    needed: dict[str, int] = defaultdict(int)
    for change in changes.files:
        place = max((f for f in state.room if _is_below(change.path, f)), key=len, default="")
        size = len(change.after.text) // 1024 if change.after else 0
        needed[place] += (1 + size // _BLOCK) * _BLOCK
    for folder, size in needed.items():
        room = state.room.get(folder)
        if room and not room.is_writable:
            yield f"{folder} is read-only: mount it read-write, or keep the host out of the run"
        elif room and room.free < size:
            yield f"{folder} has {room.free} KiB free, and {size} KiB are needed: make room there"


_BLOCK = 4
"""In KiB, what a file takes at least."""


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def of_kernel(state: HostState) -> Iterable[str]:
    """Whether the kernel allows for a tunnel at all."""
    disabled = state.sysctls.get("net/ipv6/conf/all/disable_ipv6")
    if disabled is None:
        yield "the kernel runs without IPv6 (ipv6.disable=1?): boot it with IPv6"
        return
    for scope in ("all", "default"):
        if state.sysctls.get(f"net/ipv6/conf/{scope}/disable_ipv6") == "1":
            yield f"net.ipv6.conf.{scope}.disable_ipv6 is 1: set it to 0, and where it is kept"


def of_node(node: Node, state: HostState) -> Iterable[str]:
    """What is there already where something of the node's is to be."""
    yield from _of_ends(node, state)
    yield from _of_lans(node, state)


def _of_ends(node: Node, state: HostState) -> Iterable[str]:
    """Interfaces, addresses and routes that Culvert didn't make, where a tunnel should be."""
    owned = owned_interfaces(state)
    foreign = {name: link for name, link in state.links.items() if name not in owned}
    held = state.addresses
    for end in node.ends:
        if end.local not in held:
            yield _missing_local(end, state)
        if end.interface in foreign:
            yield (
                f"interface {end.interface} is there already, and Culvert didn't make it: "
                f"remove it, or give the tunnel another `{_field(end)}`"
            )
        elif end.interface in owned and state.links.get(end.interface, _SIT).kind != "sit":
            yield f"interface {end.interface} is no sit tunnel any more: remove it"
        yield from _same_endpoints(end, foreign)
        yield from _taken_addresses(node, end, state, foreign)
        yield from _taken_prefixes(end, state, foreign)
        if end.default_route:
            for route in state.default_routes():
                if route.device in foreign and route.device != end.interface:
                    via = f" via {route.gateway}" if route.gateway else ""
                    yield (
                        f"it has an IPv6 default route already,{via} on {route.device}: remove "
                        "it, or set the tunnel's `default_route` to False"
                    )


_SIT = Link(name="", kind="sit", is_up=False, mtu=0)
_LOOPBACK = IPNetwork("127.0.0.0/8")


def _field(end: End) -> str:
    return "interface" if end.is_client else "server_interface"


def _missing_local(end: End, state: HostState) -> str:
    found = ", ".join(
        sorted(str(a) for a in state.addresses if a.version == 4 and a not in _LOOPBACK)
    )
    if end.is_client:
        way_out = "where NAT hides the client, `local_ipv4` names its own address"
    else:
        way_out = (
            "`tunnel_server.ipv4` must be the host's own; where NAT translates its address one to "
            "one, `local_ipv4` names its own"
        )
    return f"{end.local} is on none of its interfaces (it has {found or 'no IPv4'}): {way_out}"


def _taken_addresses(
    node: Node, end: End, state: HostState, foreign: dict[str, Link]
) -> Iterable[str]:
    """The pair's addresses where the host or its router has them already."""
    held = {a: name for a, name in state.addresses.items() if name in foreign}
    gateways = {route.gateway for route in state.default_routes() if route.device in foreign}
    prefix = end.tunnel.server.prefix
    way_out = "give the tunnel another number"
    if prefix is not None and not end.is_client:
        # The server alone knows of all its tunnels.
        taken = [
            *(other.address for other in node.ends),
            *held,
            *(IPAddress(gateway) for gateway in gateways if gateway),
        ]
        way_out += f": {numbering.next_free(prefix, taken)}"
    for address in (end.address, end.peer):
        if held.get(address, end.interface) != end.interface:
            yield (
                f"address {address} is on {held[address]} already, and Culvert didn't put it "
                f"there: remove it, or {way_out}"
            )
        if str(address) in gateways:
            yield f"address {address} is its router's own: {way_out}"


def _taken_prefixes(end: End, state: HostState, foreign: dict[str, Link]) -> Iterable[str]:
    """The client's prefixes where the server has routes or addresses of its own in them."""
    if end.is_client:
        return
    for prefix in end.tunnel.routed_prefixes:
        for address, name in state.addresses.items():
            if name in foreign and address in prefix:
                yield (
                    f"address {address} on {name} lies in {prefix}, which is routed to "
                    f"{end.peer_host}: remove it, or give the tunnel another prefix"
                )
        for route in state.routes:
            if route.destination == str(prefix) and route.device in foreign.keys() - {"lo"}:
                yield (
                    f"{prefix}, which is to be routed to {end.peer_host}, is routed to "
                    f"{route.device} already: remove that route, or give the tunnel another prefix"
                )


def _of_lans(node: Node, state: HostState) -> Iterable[str]:
    """Networks behind a client: an interface that isn't there, an address that somebody gave it."""
    added = {addition.line for addition in additions.remembered(state)}
    for lan in node.lans:
        if lan.interface not in state.links:
            there = ", ".join(sorted(state.links.keys() - owned_interfaces(state)))
            yield f"`lan` {lan.interface}: there is no such interface (it has {there})"
            continue
        if state.sysctls.get(f"net/ipv6/conf/{lan.interface}/disable_ipv6") == "1":
            yield (
                f"`lan` {lan.interface}: net.ipv6.conf.{lan.interface}.disable_ipv6 is 1: "
                "set it to 0, and where it is kept"
            )
        holder = state.addresses.get(lan.address.ip)
        if holder and additions.address(str(lan.address), holder).line not in added:
            yield (
                f"`lan` {lan.interface}: address {lan.address.ip} is on {holder} already, and "
                "Culvert didn't put it there: remove it, or leave `lan` out"
            )


def _same_endpoints(end: End, foreign: dict[str, Link]) -> Iterable[str]:
    for link in foreign.values():
        if link.name != end.interface and (link.local, link.remote) == (end.local, end.remote):
            yield (
                f"interface {link.name} is a tunnel from {end.local} to {end.remote} already, "
                "and the kernel allows one: remove it"
            )
