"""Pure: what stands in the way on a host, found before anything is changed there."""

import re
from collections import defaultdict
from collections.abc import Iterable

from netaddr import IPNetwork

from tasks.declared.model import End, Node
from tasks.host import rollback, rules
from tasks.host.changes import Changes
from tasks.host.rules import Packet
from tasks.host.state import MAIN, PLAIN, File, HostState, Link
from tasks.parts import additions
from tasks.parts.managers import owned_interfaces


class ObstacleError(Exception):
    """Why a host is left alone: one sentence each."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__("\n".join(self.sentences))


def stop(sentences: Iterable[str]) -> None:
    """Raise ObstacleError where there is any."""
    if found := tuple(sentences):
        raise ObstacleError(found)


def of_user(state: HostState) -> Iterable[str]:
    """Whether the SSH user may change anything."""
    if state.uid != 0:
        yield f"the SSH user is not root (uid {state.uid}): add `--sudo`, or connect as root"


def of_names(state: HostState) -> Iterable[str]:
    """Files that are called like Culvert's, and that it can't have written."""
    for path in (*state.files, *state.unreadable):
        if not PLAIN.fullmatch(path):
            yield (
                f"{path!r} is called like a file of Culvert's, by which it takes what is its own "
                "away, and isn't one: rename it"
            )


def of_programs(state: HostState) -> Iterable[str]:
    """What a run and its proof start on the host, and isn't there."""
    for program in state.missing_programs:
        package = _PACKAGES.get(program, program)
        yield f"`{program}` isn't there: install {package}"


_PACKAGES = {
    "ip": "iproute2",
    "cmp": "diffutils",
    "base64": "coreutils",
    "sha256sum": "coreutils",
    "mktemp": "coreutils",
    "mkfifo": "coreutils",
    "nft": "nftables",
    "unshare": "util-linux",
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
        needed[_place(change.path, state)] += _size(change.after)
        if change.before:
            # Of which a copy is kept.
            needed[_place(rollback.PENDING, state)] += _size(change.before)
    for folder, size in needed.items():
        room = state.room.get(folder)
        if room and not room.is_writable:
            yield f"{folder} is read-only: mount it read-write, or keep the host out of the run"
        elif room and room.free < size:
            yield f"{folder} has {room.free} KiB free, and {size} KiB are needed: make room there"


def _place(path: str, state: HostState) -> str:
    """The folder, of those whose room is known, that the path is in."""
    return max((f for f in state.room if _is_below(path, f)), key=len, default="")


def _size(file: File | None) -> int:
    """In KiB."""
    size = len(file.text) // 1024 if file else 0
    return (1 + size // _BLOCK) * _BLOCK


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


def foreign(state: HostState) -> list[Link]:
    """The interfaces that Culvert didn't make."""
    owned = owned_interfaces(state)
    return [link for link in state.links.values() if link.name not in owned]


def in_place(end: End, links: Iterable[Link]) -> list[Link]:
    """Those of some interfaces that stand where a tunnel is to be."""
    return [each for each in links if each.name == end.interface or _has_endpoints(each, end)]


def _of_ends(node: Node, state: HostState) -> Iterable[str]:
    """What keeps a tunnel from being made."""
    owned = owned_interfaces(state)
    held, others = state.addresses, foreign(state)
    diverted: dict[str, None] = {}
    for end in node.ends:
        if end.local not in held:
            yield _missing_local(end, state)
        else:
            diverted.update(dict.fromkeys(_diverted(end, held[end.local], state)))
        if end.interface in owned and state.links.get(end.interface, _SIT).kind != "sit":
            yield f"interface {end.interface} is no sit tunnel any more: remove it"
        for link in in_place(end, others):
            if _has_endpoints(link, end):
                yield (
                    f"interface {link.name} is a tunnel from {end.local} to {end.remote} already, "
                    "and the kernel allows one: remove it, with all that is on it "
                    f"(`ip link delete {link.name}`)"
                )
            else:
                yield (
                    f"interface {end.interface} is there already, and Culvert didn't make it: "
                    f"remove it, or give the tunnel another `{_field(end)}`"
                )
    yield from diverted


def _has_endpoints(link: Link, end: End) -> bool:
    return link.kind == "sit" and (link.local, link.remote) == (end.local, end.remote)


def _diverted(end: End, holder: str, state: HostState) -> Iterable[str]:
    """Where a VPN takes what carries the tunnel: it would leave there with another's source."""
    device = state.ipv4_devices.get(end.remote, holder)
    if device == holder or device not in state.links or state.links[device].kind not in _VPNS:
        return
    table = state.ipv4_tables.get(end.remote, MAIN)
    packet = Packet(end.local, end.remote)
    rule = next((r for r in rules.met(packet, state.ipv4_rules) if r.table == table), None)
    if table == MAIN or rule is None:
        # As OpenVPN does it, with two routes to half of the Internet each.
        by, way_out = "", f"a route to {end.remote} by {holder}"
    else:
        by = f" by policy rule `{rule}`"
        # One exception does for all clients of a server.
        selector = f"to {end.remote}" if end.is_client else f"from {end.local}"
        before = max(rule.priority - 1, 0)
        way_out = f"`ip rule add {selector} lookup main priority {before}`"
    yield (
        f"the IPv4 route to {end.peer_host}'s {end.remote} leads into {device}{by}, and so would "
        f"the tunnel to it, with {end.local} of {holder} as its source: have it go past {device} "
        f"({way_out}, there where {device} is set up)"
    )


# Kinds of interfaces that put packets into others.
_VPNS = {"wireguard", "tun", "ovpn", "ovpn-dco", "ppp", "xfrm", "vti", "gre", "ipip"}
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


def _of_lans(node: Node, state: HostState) -> Iterable[str]:
    """Networks behind a client: an interface that isn't there, an address that somebody gave it."""
    added = additions.recorded(state)
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
        if holder and additions.address(str(lan.address), holder) not in added:
            yield (
                f"`lan` {lan.interface}: address {lan.address.ip} is on {holder} already, and "
                "Culvert didn't put it there: remove it, or leave `lan` out"
            )
