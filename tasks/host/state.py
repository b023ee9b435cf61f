"""Pure: what a host is now."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from netaddr import IPAddress, IPNetwork

from tasks.host.rules import REJECTIONS, Rule
from tasks.host.ruleset import Ruleset

# How every file of Culvert is called, and no other, except in folders of its own.
OWNED = "60-culvert"
FOLDER = "culvert"
# What a run leaves of others' complaints, until the next one or the next boot.
WARNINGS = "/run/culvert-warnings"

# Where people set up a tunnel by hand, whatever their network manager.
PLACES = ("/etc/sysctl.conf", "/etc/rc.local")

# The kernel's fallback device, which comes with its sit module: up, it takes protocol 41 from
# anybody.
FALLBACK = "sit0"

# A path or the name of an interface that says nothing else to a shell, or to a file that names it.
PLAIN = re.compile(r"[\w/.:@%+-]+")

MAIN, LOCAL = "main", "local"
SET_PROTOCOLS = ("boot", "static")
"""What a route has that a person or a network manager set."""


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
    """A shell command that asks a network manager what it holds.

    `has PROGRAM` tests for one, `is_active UNIT` and `is_enabled UNIT` for units of systemd's.
    """

    name: str
    script: str


@dataclass(frozen=True)
class Search:
    """A question that files answer: their lines that fit a pattern, as read.pl finds them.

    `places` are files, folders and patterns of either; the `form` is `line`, `path`, or
    `path:number:line`. Where there is no such `program`, nothing is looked for. Lines that fit
    `includes` name more files.
    """

    name: str
    pattern: str
    places: tuple[str, ...]
    form: str = "path:number:line"
    left_out: str = ""
    program: str = ""
    includes: str = ""


@dataclass(frozen=True)
class Unit:
    """What systemd says of a service: whether it is there, runs now, and starts at boot."""

    is_loaded: bool
    is_active: bool
    is_enabled: bool
    is_masked: bool = False
    # Masked, or disabled and asked for by no other unit.
    is_off_at_boot: bool = False
    # After how many seconds its start is ended; None where it never is, or that isn't told.
    start_limit: float | None = None


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens on IPv6, or a UDP one that is connected to nobody.

    `address` is `::` for all. `program` is empty where that isn't told, to others than root.
    """

    protocol: str
    address: IPAddress
    port: int
    program: str = ""


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
    # Who answers on IPv6.
    listeners: tuple[Listener, ...] = ()
    # Netfilter's.
    ruleset: Ruleset = field(default_factory=Ruleset)
    # The largest packets that pass from an IPv4 address to another, where larger ones that were
    # tried don't.
    paths: Mapping[tuple[IPAddress, IPAddress], int] = field(default_factory=dict)
    # By the path below /proc/sys: net/ipv6/conf/eth0.100/proxy_ndp.
    sysctls: Mapping[str, str] = field(default_factory=dict)
    # What sets sysctls at boot, by path: the lines that are no comments. A mask has none.
    sysctl_files: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    # Where ufw has sysctls of its own, if it is switched on.
    ufw_sysctls: str | None = None
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
    # Of each folder where files of Culvert may lie: whether root may write, and KiB that are free.
    room: Mapping[str, Room] = field(default_factory=dict)
    # Which run was the last one that changed it, or was undone there, since it was started.
    stamp: str = ""
    # Who is changing it now: a sentence, or nothing.
    holder: str = ""
    # Whether a run that nobody watches any more is still to be taken back.
    is_cut_off: bool = False
    # What it wrote down of a run that was undone.
    report: str = ""
    # What the last confirmed run changed, and whose that was since when, where that was asked.
    record: str = ""
    recorded_by: str = ""
    # By their paths, the files that it replaced or removed, as they were.
    copies: Mapping[str, File] = field(default_factory=dict)
    # What others' hooks had to say of the last run.
    warnings: tuple[str, ...] = ()
    # Lines of other people's files that may speak of one of the host's tunnels.
    lines: tuple[Line, ...] = ()

    @cached_property
    def routes_of(self) -> Mapping[str, tuple[Route, ...]]:
        """The routes of the main table by their device: a server may have thousands."""
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            found.setdefault(route.device, []).append(route)
        return {device: tuple(routes) for device, routes in found.items()}

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


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a key as sysctl.d(5) reads it: the first separator decides."""
    separator = re.search(r"[./]", key)
    if separator is not None and separator.group() == ".":
        key = key.translate(str.maketrans("./", "/."))
    # sysctl_normalize() goes on with path_simplify().
    return "/".join(part for part in key.split("/") if part not in {"", "."})


def sysctl_key(path: str) -> str:
    """A path below /proc/sys as people write it, and as both sysctl and sysctl.d(5) read it."""
    # With a dot in an interface's name, only the form with slashes says what is meant.
    return path if "." in path else path.replace("/", ".")
