"""Pure: the state of a host, parsed from what one shell script printed there."""

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from netaddr import IPAddress, IPNetwork, cidr_merge

from tasks.declared.model import Node
from tasks.host import rules
from tasks.host.rules import REJECTIONS, Rule

# How every file of Culvert is called, and no other, except in folders of its own.
OWNED = "60-culvert"
FOLDER = "culvert"
# What a run leaves of others' complaints, until the next one or the next boot.
WARNINGS = "/run/culvert-warnings"

# Where people set up a tunnel by hand, whatever their network manager.
PLACES = ("/etc/sysctl.conf", "/etc/rc.local")

# Culvert's own, what is waiting to be one, and what nobody reads.
_UNREAD = (f"{OWNED}*", ".*", "*~", "*.bak", "*.old", "*.orig", "*.disabled", "*.dpkg-*")

MAIN, LOCAL = "main", "local"
SET_PROTOCOLS = ("boot", "static")
"""What a route has that a person or a network manager set."""

_PROTOCOLS = ("kernel", *SET_PROTOCOLS)
# Whoever uses an address of it may use any other one.
_NEIGHBOURHOOD = 64

_MARK = "@@ culvert "
_ANSWER = "answer of "


class UnreadableStateError(Exception):
    """The host's answer is not what the script prints; says what is missing."""


@dataclass(frozen=True)
class File:
    """A text file with its permission bits."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A network interface; `local`, `remote` and `ttl` are a tunnel's (0: inherited).

    `is_advertised_to`: the kernel made an address of a prefix that a router advertises there.
    """

    name: str
    kind: str | None
    is_up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    local: IPAddress | None = None
    remote: IPAddress | None = None
    ttl: int = 0
    is_advertised_to: bool = False


@dataclass(frozen=True)
class Route:
    """An IPv6 route; `destination` is `default` or a prefix."""

    destination: str
    gateway: str | None
    device: str
    protocol: str
    metric: int
    type: str = "unicast"

    def __str__(self) -> str:
        kind = "" if self.type == "unicast" else f"{self.type} "
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{kind}{self.destination}{via} dev {self.device}"

    @cached_property
    def network(self) -> IPNetwork:
        return IPNetwork("::/0" if self.destination == "default" else self.destination)

    @property
    def is_rejection(self) -> bool:
        """Whether it leads nowhere, as does one to `lo` (ip6_route_info_create)."""
        return self.type in REJECTIONS or (self.type, self.device) == ("unicast", "lo")


@dataclass(frozen=True)
class Question:
    """A shell command that asks a network manager what it holds; `has PROGRAM` tests for one."""

    name: str
    script: str


@dataclass(frozen=True)
class Unit:
    """What systemd says of a service: whether it is there, runs now, and starts at boot."""

    is_loaded: bool
    is_active: bool
    is_enabled: bool


@dataclass(frozen=True)
class Line:
    """A line of a file that Culvert didn't write, counted from 1."""

    path: str
    number: int
    text: str


@dataclass(frozen=True)
class Room:
    """What a folder, or the one where it would be made, has room for: `free` is in KiB."""

    is_writable: bool
    free: int


@dataclass(frozen=True)
class HostState:
    """What Culvert reads of a host before it decides anything."""

    uid: int = 0
    # What no other running system has; empty where it couldn't be read.
    machine: str = ""
    # Files of Culvert's that the SSH user can't read, by path.
    unreadable: tuple[str, ...] = ()
    files: Mapping[str, File] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
    # Of the main table; of the others, by their names, what has to do with a node's prefixes.
    routes: tuple[Route, ...] = ()
    tables: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    ipv4_rules: tuple[Rule, ...] = ()
    proxies: frozenset[tuple[IPAddress, str]] = frozenset()
    # Device of the route to an IPv4 address, and its table where that isn't the main one.
    ipv4_devices: Mapping[IPAddress, str] = field(default_factory=dict)
    ipv4_tables: Mapping[IPAddress, str] = field(default_factory=dict)
    # By the path below /proc/sys: net/ipv6/conf/eth0.100/proxy_ndp.
    sysctls: Mapping[str, str] = field(default_factory=dict)
    # Lines of other files in /etc/sysctl.d and its siblings, by path: (key, value), in order.
    sysctl_files: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    # What network managers say, by the name of the question that was asked of them.
    answers: Mapping[str, str] = field(default_factory=dict)
    # By name: networkd-dispatcher's, radvd's own, and Culvert's.
    units: Mapping[str, Unit] = field(default_factory=dict)
    # Whether radvd is installed, and the interfaces that its own configuration names.
    has_radvd: bool = False
    radvd_interfaces: frozenset[str] = frozenset()
    # The kernel's sit driver can be unloaded.
    sit_is_module: bool = False
    # What loading it would do where it isn't loaded, in the words of modprobe and its files.
    sit_loading: tuple[str, ...] = ()
    # Programs that a run needs and that aren't there.
    missing_programs: tuple[str, ...] = ()
    # Which `ping` it is, in its own words.
    ping: str = ""
    # Of each folder where files of Culvert may lie: whether root may write, and KiB that are free.
    room: Mapping[str, Room] = field(default_factory=dict)
    # What others' hooks had to say of the last run.
    warnings: tuple[str, ...] = ()
    # Lines of other people's files that may speak of one of the host's tunnels.
    lines: tuple[Line, ...] = ()

    @cached_property
    def addresses(self) -> dict[IPAddress, str]:
        """Every address of the host with the interface that holds it."""
        return {
            IPAddress(network.partition("/")[0]): link.name
            for link in self.links.values()
            for network in link.addresses
        }

    def default_routes(self) -> list[Route]:
        """IPv6 default routes that lead somewhere, the preferred first."""
        routes = [r for r in self.routes if r.destination == "default" and not r.is_rejection]
        return sorted(routes, key=lambda route: route.metric)


# --- Asking ----------------------------------------------------------------------------------

_SCRIPT = r"""
section() { printf '\n%s%s\n' '@@ culvert ' "$1"; }
has() { command -v "$1" >/dev/null 2>&1; }
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
section uid; id -u
# A copied disk brings its machine ID and SSH keys along. Each boot has another ID, which all
# containers of a kernel share, but not their network.
section machine; cat /proc/sys/kernel/random/boot_id && readlink /proc/self/ns/net
ours() {
    find @FOLDERS@ -type f \( -name '@OWNED@*' -o -path '*/@FOLDER@/*' ! -name '.*' \) "$@" \
        2>/dev/null
}
section unreadable; ours ! -readable
section files
ours -print0 |
    tar --create --file=- --null --no-recursion --absolute-names --files-from=- 2>/dev/null | base64
section addresses; ip -json -details address show
section default-routes; ip -6 -json route show default
# Not all of a routing daemon's, of which there may be very many.
for protocol in @PROTOCOLS@; do
    section "routes $protocol"; ip -6 -json route show proto "$protocol"
done
section routes; ip -6 -json -force -batch - 2>/dev/null <<'END'
@AROUND@
END
section rules; ip -6 rule show 2>/dev/null
section ipv4-rules; ip -4 rule show 2>/dev/null
section proxies; ip -6 -json neighbour show proxy
section devices; ip -4 -json -force -batch - 2>/dev/null <<'END'
@REMOTES@
END
section sysctls
grep -H '' /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv6/conf/*/accept_redirects \
    /proc/sys/net/ipv6/conf/*/autoconf /proc/sys/net/ipv6/conf/*/forwarding \
    /proc/sys/net/ipv6/conf/*/hop_limit /proc/sys/net/ipv6/conf/*/mtu \
    /proc/sys/net/ipv6/conf/*/proxy_ndp /proc/sys/net/ipv6/conf/*/disable_ipv6 \
    /proc/sys/net/ipv6/neigh/*/proxy_delay \
    /proc/sys/net/ipv6/icmp/echo_ignore_all 2>/dev/null
section sysctl-files
grep -HE '^[[:space:]]*-?net[./]ipv6[./]' /etc/sysctl.d/*.conf /run/sysctl.d/*.conf \
    /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf 2>/dev/null
@QUESTIONS@
section units
if has systemctl; then
    systemctl show --property=Id,LoadState,ActiveState,UnitFileState networkd-dispatcher.service \
        radvd.service $(cd /etc/systemd/system && ls @OWNED@*.service 2>/dev/null) 2>/dev/null
fi
section radvd
if has radvd; then
    echo installed; sed -n 's/^[[:space:]]*interface[[:space:]]*\([^[:space:]{]*\).*/\1/p' \
        /etc/radvd.conf 2>/dev/null
fi
section sit; cat /sys/module/sit/refcnt 2>/dev/null
section sit-loading
# By the alias that the kernel asks for, to which `blacklist` applies; without loading anything.
if [ ! -e /sys/module/sit ]; then
    cat /proc/sys/kernel/modules_disabled
    modprobe --dry-run --verbose rtnl-link-sit 2>&1
    grep -rHE '^[[:space:]]*(install|blacklist)[[:space:]]+(sit|tunnel4|ip_tunnel)([[:space:]]|$)' \
        /etc/modprobe.d /run/modprobe.d /usr/lib/modprobe.d 2>/dev/null
fi
section programs
for program in ip ping find tar base64 sed mktemp; do has $program || echo $program; done
section ping; ping -V 2>&1
section room
there=
for folder in @FOLDERS@; do
    found=$folder
    while [ ! -d "$found" ]; do found=${found%/*}; found=${found:-/}; done
    if [ -w "$found" ]; then echo "$folder writable"; else echo "$folder read-only"; fi
    there="$there $found"
done
df -Pk $there
section warnings; cat @WARNINGS@ 2>/dev/null
section lines
grep -rnHIE @UNREAD@ @PATTERNS@ @PLACES@ 2>/dev/null
section end
"""


def script(
    node: Node, questions: Iterable[Question], folders: Iterable[str], places: Iterable[str]
) -> str:
    """The shell script that reads all of a host that matters to what it is to carry.

    `folders` are all those where files of Culvert may lie, `places` those where people set up a
    tunnel by hand.
    """
    asked = (f"section '{_ANSWER}{question.name}'\n{question.script}" for question in questions)
    return (
        _SCRIPT.replace("@FOLDERS@", " ".join(folders))
        .replace("@QUESTIONS@", "\n".join(asked))
        .replace("@PLACES@", " ".join(places))
        .replace("@PROTOCOLS@", " ".join(_PROTOCOLS))
        .replace("@AROUND@", "\n".join(_around(node)))
        .replace("@UNREAD@", " ".join(f"--exclude='{name}'" for name in _UNREAD))
        .replace("@PATTERNS@", " ".join(f"-e '{pattern}'" for pattern in _telling(node)))
        .replace("@OWNED@", OWNED)
        .replace("@FOLDER@", FOLDER)
        .replace("@WARNINGS@", WARNINGS)
        .replace("@REMOTES@", "\n".join(_outer(node)))
    )


def _around(node: Node) -> Iterable[str]:
    """Words of iproute2 for the routes that are in, are or cover a prefix of the node's."""
    prefixes = [prefix for server in node.servers for prefix in server.prefixes]
    for end in node.ends:
        prefixes += end.tunnel.routed_prefixes
        if not any(end.address in prefix for prefix in end.tunnel.server.prefixes):
            prefixes.append(IPNetwork(f"{end.address}/{_NEIGHBOURHOOD}").cidr)
    # Each is one more look through all routes.
    for prefix in cidr_merge(prefixes):
        yield f"route show table all root {prefix}"
        yield f"route show table all match {prefix}"
    for probe in sorted({server.probe_address for server in node.servers}):
        yield f"route show table all match {probe}"


def _outer(node: Node) -> Iterable[str]:
    """Words of iproute2 for the routes of what carries the tunnels' packets."""
    for end in node.ends:
        # A policy rule may be for what has this source.
        yield f"route get {end.remote} from {end.local}"
    for remote in sorted({end.remote for end in node.upstreams}):
        # Where the host doesn't have it.
        yield f"route get {remote}"


def _telling(node: Node) -> Iterable[str]:
    """Patterns of lines that may be about one of these tunnels: IPv6 addresses have two colons."""
    if node.ends:
        yield from ("proxy_ndp", ":.*:")
        yield from (end.interface for end in node.ends)
    else:
        # None: without a pattern, grep would take the first place for one.
        yield "^$^"


# --- Understanding the answer ----------------------------------------------------------------


def parse(output: str) -> HostState:
    """The state that the script's output tells of.

    Raises UnreadableStateError where the output is cut off or a command printed something else.
    """
    sections = _sections(output)
    if "end" not in sections:
        raise UnreadableStateError("the script that reads the host didn't run to its end")
    try:
        links = _links(sections["addresses"])
        outer = _outer_routes(sections["devices"])
        return HostState(
            uid=int(sections["uid"]),
            machine=_machine(sections["machine"]),
            unreadable=tuple(sections["unreadable"].splitlines()),
            files=_files(sections["files"]),
            links={link.name: link for link in links},
            routes=tuple(_routes(sections)),
            tables=_tables(sections),
            rules=rules.parse(sections["rules"]),
            ipv4_rules=rules.parse(sections["ipv4-rules"]),
            proxies=frozenset(
                (IPAddress(entry["dst"]), entry["dev"])
                for entry in _json_documents(sections["proxies"])
            ),
            ipv4_devices={destination: route["dev"] for destination, route in outer.items()},
            ipv4_tables={
                destination: route["table"]
                for destination, route in outer.items()
                if "table" in route
            },
            sysctls=_sysctls(sections["sysctls"]),
            sysctl_files=_sysctl_files(sections["sysctl-files"]),
            answers={
                name.removeprefix(_ANSWER): text
                for name, text in sections.items()
                if name.startswith(_ANSWER)
            },
            units=_units(sections["units"]),
            has_radvd=sections["radvd"].startswith("installed"),
            radvd_interfaces=frozenset(sections["radvd"].splitlines()[1:]),
            sit_is_module=bool(sections["sit"]),
            sit_loading=tuple(sections["sit-loading"].splitlines()),
            missing_programs=tuple(sections["programs"].split()),
            ping=sections["ping"].partition("\n")[0],
            room=_room(sections["room"]),
            warnings=tuple(sections["warnings"].splitlines()),
            lines=tuple(_lines(sections["lines"])),
        )
    except (KeyError, ValueError, TypeError, tarfile.TarError) as error:
        raise UnreadableStateError(f"an answer has an unexpected form: {error}") from error


def _sections(output: str) -> dict[str, str]:
    # What a shell's start-up files print comes before the first mark.
    parts = re.split(rf"^{_MARK}(.+)$", output, flags=re.MULTILINE)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _machine(text: str) -> str:
    lines = text.splitlines()
    return ", ".join(lines) if len(lines) == 2 else ""


def _json_documents(text: str) -> list[Any]:
    """The elements of all JSON arrays in a text, one array after another."""
    decoder = json.JSONDecoder()
    elements: list[Any] = []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        elements += document
        text = text[end:]
    return elements


def _files(text: str) -> dict[str, File]:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                found["/" + member.name.lstrip("/")] = File(
                    content.read().decode(errors="replace"), member.mode
                )
        return found


def _links(text: str) -> list[Link]:
    return [_link(entry) for entry in _json_documents(text) if entry.get("ifname")]


def _link(entry: Mapping[str, Any]) -> Link:
    info = entry.get("linkinfo", {})
    kind = info.get("info_kind")
    tunnel = info.get("info_data", {}) if kind == "sit" else {}
    return Link(
        name=entry["ifname"],
        kind=kind,
        is_up="UP" in entry["flags"],
        mtu=entry["mtu"],
        addresses=tuple(f"{a['local']}/{a['prefixlen']}" for a in entry.get("addr_info", ())),
        local=_endpoint(tunnel.get("local")),
        remote=_endpoint(tunnel.get("remote")),
        ttl=tunnel.get("ttl", 0),
        is_advertised_to=any("mngtmpaddr" in a for a in entry.get("addr_info", ())),
    )


def _endpoint(value: str | None) -> IPAddress | None:
    return None if value in (None, "any", "0.0.0.0") else IPAddress(value)


def _routes(sections: Mapping[str, str]) -> Iterable[Route]:
    """Each route of the main table once: some were asked for twice."""
    # What iproute2 leaves out is `boot`, and the protocol that it was asked for.
    found = [*_routes_of(sections["default-routes"], "boot")]
    for protocol in _PROTOCOLS:
        found += _routes_of(sections[f"routes {protocol}"], protocol)
    found += _routes_of(sections["routes"], "boot")
    return dict.fromkeys(route for table, route in found if table == MAIN)


def _tables(sections: Mapping[str, str]) -> dict[str, tuple[Route, ...]]:
    """The routes of the other tables."""
    found: dict[str, dict[Route, None]] = {}
    for table, route in _routes_of(sections["routes"], "boot"):
        if table != MAIN:
            found.setdefault(table, {})[route] = None
    return {table: tuple(routes) for table, routes in found.items()}


def _routes_of(text: str, protocol: str) -> Iterable[tuple[str, Route]]:
    """Routes, each with the table that it is in."""
    for entry in _json_documents(text):
        # A multipath route has its devices in `nexthops`.
        for hop in entry.get("nexthops", [entry]):
            yield (
                entry.get("table", MAIN),
                Route(
                    destination=entry["dst"],
                    gateway=hop.get("gateway"),
                    device=hop.get("dev", ""),
                    protocol=entry.get("protocol", protocol),
                    metric=entry.get("metric", 0),
                    type=entry.get("type", "unicast"),
                ),
            )


def _outer_routes(text: str) -> dict[IPAddress, Any]:
    """By destination, the route of what carries a tunnel's packets: the first one that is told."""
    found: dict[IPAddress, Any] = {}
    for route in _json_documents(text):
        if "dev" in route:
            found.setdefault(IPAddress(route["dst"]), route)
    return found


def _sysctls(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {path.removeprefix("/proc/sys/"): value for path, _, value in pairs}


def _sysctl_files(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for line in text.splitlines():
        path, _, setting = line.partition(":")
        key, _, value = setting.partition("=")
        found.setdefault(path, []).append((sysctl_path(key.strip().lstrip("-")), value.strip()))
    return {path: tuple(settings) for path, settings in found.items()}


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a key as sysctl.d(5) reads it: the first separator decides."""
    separator = re.search(r"[./]", key)
    if separator is None or separator.group() == "/":
        return key
    return key.translate(str.maketrans("./", "/."))


def sysctl_key(path: str) -> str:
    """A path below /proc/sys as people write it, and as both sysctl and sysctl.d(5) read it."""
    # With a dot in an interface's name, only the form with slashes says what is meant.
    return path if "." in path else path.replace("/", ".")


def _units(text: str) -> dict[str, Unit]:
    # A block of lines for each, with an empty line between.
    blocks = [dict(line.split("=", 1) for line in b.splitlines()) for b in text.split("\n\n") if b]
    return {
        block["Id"]: Unit(
            is_loaded=block["LoadState"] == "loaded",
            is_active=block["ActiveState"] == "active",
            is_enabled=block["UnitFileState"] == "enabled",
        )
        for block in blocks
    }


def _room(text: str) -> dict[str, Room]:
    """A line for each folder, and then `df` of where it is or would be made, in the same order."""
    folders, _, sizes = text.partition("\nFilesystem")
    accesses = [line.split() for line in folders.splitlines()]
    free = [int(line.split()[3]) for line in sizes.splitlines()[1:]]
    if len(free) != len(accesses):
        # `df` has nothing to say of some; that a disk is full is then found while files are staged.
        free = [_UNKNOWN] * len(accesses)
    return {
        folder: Room(access == "writable", size)
        for (folder, access), size in zip(accesses, free, strict=True)
    }


_UNKNOWN = 2**63


def _lines(text: str) -> Iterable[Line]:
    for found in text.split("\n"):
        path, _, rest = found.partition(":")
        number, _, line = rest.partition(":")
        if number.isdecimal():
            yield Line(path, int(number), line)
