"""Pure: the state of a host, parsed from what the script printed there."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from netaddr import AddrFormatError, IPAddress, IPNetwork

from tasks.host import asking, iptables_listing, nft_listing, rollback, rules, ruleset
from tasks.host.ruleset import LEGACY, NFT, Ruleset
from tasks.host.state import (
    MAIN,
    File,
    HostState,
    Line,
    Link,
    Listener,
    Room,
    Route,
    Unit,
    UnreadableStateError,
)

_VISIBLE = re.compile(r"\S")
_OPEN = re.compile(r"\[\s*(?:\[\s*[\]{]|$)")
# What reading an answer of another form may end in, however little it resembles one.
_UNEXPECTED = (
    AddrFormatError,
    AttributeError,
    EOFError,
    LookupError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


def parse(output: str) -> HostState:
    """The state that the script's output tells of.

    Raises UnreadableStateError where the output is cut off or a command printed something else.
    """
    sections = _sections(output)
    if asking.WITHOUT_PERL in sections:
        raise UnreadableStateError("`perl` isn't there, by which a host is read: install perl-base")
    if "end" not in sections:
        raise UnreadableStateError("the script that reads the host didn't run to its end")
    try:
        by, _, record = sections["record"].partition("\n")
        addresses = _json_documents(sections["addresses"])
        links = [_link(entry) for entry in addresses if entry.get("ifname")]
        outer = _outer_routes(addresses)
        routes = _told_apart(sections["routes"])
        return HostState(
            uid=int(sections["uid"]),
            machine=_machine(sections["machine"]),
            unreadable=tuple(sections["unreadable"].splitlines()),
            files=_files(sections["files"]),
            links={link.name: link for link in links},
            routes=tuple(_routes(routes)),
            tables=_tables(routes["around"]),
            rules=rules.of(routes["rules"]),
            # Whoever names no version of IP is told of IPv4's.
            ipv4_rules=rules.of(entry for entry in addresses if "priority" in entry),
            proxies=frozenset(
                (IPAddress(entry["dst"]), _device(entry["dev"])) for entry in routes["proxies"]
            ),
            ipv4_devices={dst: _device(route["dev"]) for dst, route in outer.items()},
            ipv4_tables={
                destination: str(route["table"])
                for destination, route in outer.items()
                if route.get("table", MAIN) != MAIN
            },
            listeners=tuple(_listeners(sections.get("listeners", ""))),
            ruleset=_ruleset(sections),
            sysctls=_sysctls(sections["sysctls"]),
            sysctl_files=_sysctl_files(sections["sysctl-files"], sections["sysctl-lines"]),
            ufw_sysctls=_ufw_sysctls(sections["ufw"]),
            answers={
                name.removeprefix(asking.ANSWER): text
                for name, text in sections.items()
                if name.startswith(asking.ANSWER)
            },
            units=_units(sections["units"]),
            has_radvd=sections["radvd"].startswith("installed"),
            radvd_interfaces=frozenset(sections["radvd"].splitlines()[1:]),
            sit_is_module=bool(sections["sit"]),
            sit_loading=tuple(sections["sit-loading"].splitlines()),
            missing_programs=tuple(sections["programs"].split()),
            room=_room(sections.get("room", "")),
            stamp=sections["stamp"],
            holder="" if sections["holder"] == rollback.CUT_OFF else sections["holder"],
            is_cut_off=sections["holder"] == rollback.CUT_OFF,
            report=sections["report"],
            record=record,
            recorded_by=by.removeprefix("by").strip(),
            copies=_copies(sections.get("copies", "")),
            warnings=tuple(sections["warnings"].splitlines()),
            paths=_paths(sections.get("paths", "")),
            lines=tuple(_lines(sections["lines"])),
        )
    except _UNEXPECTED as error:
        raise UnreadableStateError(f"an answer has an unexpected form: {error}") from error


def _sections(output: str) -> dict[str, str]:
    # What a shell's start-up files print comes before the first mark.
    parts = re.split(rf"^{asking.MARK}(.+)$", output, flags=re.MULTILINE)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _machine(text: str) -> str:
    lines = text.splitlines()
    return ", ".join(lines) if len(lines) == 2 else ""


def _json_documents(text: str) -> list[Any]:
    """The elements of all JSON arrays in a text, one array after another."""
    return [element for document in _documents(text) for element in document]


def _documents(text: str) -> Iterable[Any]:
    # Before 7.0, an alias may have any character.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_first_of_each)
    at = 0
    while start := _VISIBLE.search(text, at):
        at = start.end()
        # iproute2 leaves an array open where it is told of nothing, as of rules without IPv6.
        if not _OPEN.match(text, start.start()):
            document, at = decoder.raw_decode(text, start.start())
            yield document


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Before iproute2 6.3, where a route is encapsulated comes as a second `dst`."""
    return dict(reversed(dict(reversed(pairs)).items()))


def _told_apart(text: str) -> dict[str, list[Any]]:
    """Rules, routes and proxy entries by what was asked for: a link is between any two answers."""
    found: list[list[Any]] = [[]]
    for document in _documents(text):
        if any("ifname" in element for element in document):
            found.append([])
        else:
            found[-1] += document
    return dict(zip(asking.TOLD, found, strict=True))


def _files(text: str) -> dict[str, File]:
    """A line for each: its mode, its path and its text."""
    found = {}
    for line in text.splitlines():
        mode, _, rest = line.partition(" ")
        path, content = (base64.b64decode(e, validate=True) for e in rest.partition(" ")[::2])
        found[path.decode(errors="replace")] = File(content.decode(errors="replace"), int(mode, 8))
    return found


def _copies(text: str) -> dict[str, File]:
    return {path.removeprefix(rollback.COPIES): file for path, file in _files(text).items()}


def _link(entry: Mapping[str, Any]) -> Link:
    info = entry.get("linkinfo", {})
    kind = info.get("info_kind")
    tunnel = info.get("info_data", {}) if kind == "sit" else {}
    return Link(
        name=_device(entry["ifname"]),
        kind=kind,
        is_up="UP" in entry["flags"],
        mtu=int(entry["mtu"]),
        addresses=tuple(
            _network(f"{a['local']}/{a['prefixlen']}") for a in entry.get("addr_info", ())
        ),
        local=_endpoint(tunnel.get("local")),
        remote=_endpoint(tunnel.get("remote")),
        ttl=int(tunnel.get("ttl", 0)),
        is_advertised_to=any("mngtmpaddr" in a for a in entry.get("addr_info", ())),
    )


def _device(name: object) -> str:
    """The name of an interface, as the kernel lets one be called (dev_valid_name)."""
    if not isinstance(name, str) or not name or "/" in name or any(map(str.isspace, name)):
        raise ValueError(f"{name!r} is no name of an interface")
    return name


def _network(text: object) -> str:
    """A prefix, or an address, as it is written."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no prefix")
    IPNetwork(text)
    return text


def _endpoint(value: str | None) -> IPAddress | None:
    return None if value in (None, "any", "0.0.0.0") else IPAddress(value)


def _routes(told: Mapping[str, list[Any]]) -> Iterable[Route]:
    """Each route of the main table once: some were asked for twice."""
    # What iproute2 leaves out is `boot`, and the protocol that it was asked for.
    found = [*_routes_of(told["default"], "boot")]
    for protocol in asking.PROTOCOLS:
        found += _routes_of(told[protocol], protocol)
    found += _routes_of(told["around"], "boot")
    return dict.fromkeys(route for table, route in found if table == MAIN)


def _tables(around: list[Any]) -> dict[str, tuple[Route, ...]]:
    """The routes of the other tables."""
    found: dict[str, dict[Route, None]] = {}
    for table, route in _routes_of(around, "boot"):
        if table != MAIN:
            found.setdefault(table, {})[route] = None
    return {table: tuple(routes) for table, routes in found.items()}


def _routes_of(told: list[Any], protocol: str) -> Iterable[tuple[str, Route]]:
    """Routes, each with the table that it is in."""
    for entry in told:
        # For some senders alone; where these are a tunnel's, its proof tells.
        if entry.get("from", "all") != "all":
            continue
        # A multipath route has its devices in `nexthops`.
        for hop in entry.get("nexthops", [entry]):
            yield (
                str(entry.get("table", MAIN)),
                Route(
                    destination=dst if (dst := entry["dst"]) == "default" else _network(dst),
                    gateway=_network(via) if (via := hop.get("gateway")) else None,
                    device=_device(hop["dev"]) if "dev" in hop else "",
                    protocol=str(entry.get("protocol", protocol)),
                    metric=int(entry.get("metric", 0)),
                    type=str(entry.get("type", "unicast")),
                ),
            )


def _outer_routes(told: list[Any]) -> dict[IPAddress, Any]:
    """By destination, the route of what carries a tunnel's packets: the first one that is told."""
    found: dict[IPAddress, Any] = {}
    for route in told:
        if "dst" in route and "dev" in route:
            found.setdefault(IPAddress(route["dst"]), route)
    return found


def _listeners(text: str) -> Iterable[Listener]:
    """Of IPv6 alone, and not of those that listen on one interface only."""
    found: dict[Listener, None] = {}
    for line in text.splitlines():
        words = line.split(maxsplit=6)
        if re.match(r"\w+ +\d+: ", line):
            protocol, _, local, _, state, *_ = words
            # TCP_LISTEN, TCP_CLOSE.
            if state == {"tcp": "0A", "udp": "07"}[protocol]:
                address, _, port = local.partition(":")
                found[Listener(protocol, _of_proc(address), int(port, 16))] = None
        elif len(words) > 4:
            protocol, (address, _, port) = words[0], words[4].rpartition(":")
            if address == "*" or (address.startswith("[") and address.endswith("]")):
                held = IPAddress("::" if address == "*" else address.strip("[]"))
                found[Listener(protocol, held, int(port), _program(words[6:]))] = None
    return found


def _of_proc(text: str) -> IPAddress:
    """An address as /proc has it: four words, each in the order of a little-endian host's bytes."""
    parts = (bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, 32, 8))
    return IPAddress(int.from_bytes(b"".join(parts)), 6)


def _program(words: list[str]) -> str:
    """Who holds a socket: systemd holds many of others, and is named where nobody else does."""
    names = re.findall(r'\("(.*?)",pid=', " ".join(words))
    others = [name for name in names if name != "systemd"]
    return next(iter([*others, *names]), "")


def _ruleset(sections: Mapping[str, str]) -> Ruleset:
    form, _, listing = sections["ruleset"].partition("\n")
    told = [
        iptables_listing.parse(sections[f"{family} {tables}"], backend, family)
        for family in ("ip", "ip6")
        for tables, backend in (("tables of nft", NFT), ("legacy tables", LEGACY))
    ]
    return ruleset.merged(nft_listing.parse(listing, is_terse=form == "terse"), told)


def _sysctls(text: str) -> dict[str, str]:
    pairs = (line.removeprefix("/proc/sys/").partition(":") for line in text.splitlines())
    return {_setting(path): value for path, _, value in pairs}


def _setting(path: str) -> str:
    """Of IPv6, and one of those that are asked for: of an interface, a neighbour, or all."""
    match path.split("/"):
        case ["net", "ipv6", "conf" | "neigh", name, _]:
            _device(name)
        case ["net", "ipv6", "icmp", _]:
            pass
        case _:
            raise ValueError(f"{path!r} is no setting that was asked for")
    return path


def _sysctl_files(paths: str, lines: str) -> dict[str, tuple[Line, ...]]:
    # A pattern that fits no file stays as it is.
    found: dict[str, list[Line]] = {p: [] for p in paths.splitlines() if not p.endswith("/*.conf")}
    for line in _lines(lines):
        found.setdefault(line.path, []).append(line)
    return {path: tuple(each) for path, each in found.items()}


def _ufw_sysctls(text: str) -> str | None:
    """IPT_SYSCTL where ENABLED says yes: the shell reads /etc/default/ufw, then ufw.conf."""
    pairs = (line.strip().partition("=") for line in text.splitlines())
    settings = {name: value.strip("\"' ") for name, _, value in pairs}
    if settings.get("ENABLED") not in {"yes", "YES"}:
        return None
    return settings.get("IPT_SYSCTL") or None


def _units(text: str) -> dict[str, Unit]:
    # A block of lines for each, with an empty line between.
    blocks = [dict(line.split("=", 1) for line in b.splitlines()) for b in text.split("\n\n") if b]
    return {
        block["Id"]: Unit(
            is_loaded=block["LoadState"] == "loaded",
            is_active=block["ActiveState"] == "active",
            is_enabled=block["UnitFileState"] == "enabled",
            is_masked=block["UnitFileState"] == "masked",
            is_off_at_boot=block["UnitFileState"] == "masked"
            or (block["UnitFileState"] == "disabled" and not any(map(block.get, asking.ASKING))),
            start_limit=_seconds(block.get("TimeoutStartUSec", "infinity")),
        )
        for block in blocks
    }


def _seconds(span: str) -> float | None:
    """A span of time as systemctl prints it, `1min 30s`; None for `infinity` (systemd.time(7))."""
    if span == "infinity":
        return None
    words = (re.fullmatch(r"([\d.]+)([a-z]+)", word) for word in span.split())
    return sum(float(word[1]) * _UNITS_OF_TIME[word[2]] for word in words if word)


_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
_UNITS_OF_TIME |= {"w": 604800, "month": 2629800, "y": 31557600}


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


def _paths(text: str) -> dict[tuple[IPAddress, IPAddress], int]:
    found = (line.split() for line in text.splitlines())
    return {(IPAddress(local), IPAddress(remote)): int(size) for local, remote, size in found}


def _lines(text: str) -> Iterable[Line]:
    for found in text.split("\n"):
        path, _, rest = found.partition(":")
        number, _, line = rest.partition(":")
        if number.isdecimal():
            yield Line(path, int(number), line)
