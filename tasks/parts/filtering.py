"""Pure: Culvert's own nftables table: what may come out of a tunnel, and what may go into one.

6in4 asks nobody who he is, so the inner addresses are all that can be held to. A process owns the
table, whose rules neither a flush nor another program takes away (NFT_TABLE_F_OWNER, Linux 5.12).
"""

import base64
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netaddr import IPAddress, IPNetwork, cidr_merge

from tasks.declared.model import GROUPS, End, Node
from tasks.host.changes import Step, once_back
from tasks.host.render import render
from tasks.host.state import FOLDER, OWNED, File, HostState, Question, Search
from tasks.parts.part import Site

FILE = f"/etc/{FOLDER}/filter.nft"
HOLDER = f"/etc/{FOLDER}/filter"
SERVICE = f"{OWNED}-filter.service"
_UNIT_FILE = f"/etc/systemd/system/{SERVICE}"

TABLE = "inet culvert"
ADDRESS = 128
"""The length of a prefix that is one address."""

FOLDERS = (f"/etc/{FOLDER}", "/etc/systemd/system")
OWN_FOLDERS = (FOLDER,)

# A file in the way that the kernel has it: as `nft` lists it in a network of its own. It keeps a
# history otherwise, and speaks of a terminal that it doesn't know, as sudo calls none.
_LISTED = f"""HOME=/nonexistent TERM=dumb unshare --net nft --stateless --interactive 2>&1 <<END
include "{{}}"
list table {TABLE}
END
"""
OF_FILE = "of the file:"
_COPIES = "filter-copies"
QUESTIONS = (
    Question(
        "filter",
        f"""if has nft; then
    ! has_table '{TABLE}' || nft --stateless list table {TABLE} 2>/dev/null
    echo {OF_FILE}
    [ ! -e {FILE} ] || {_LISTED.format(FILE)}fi""",
    ),
    Search(
        _COPIES,
        rf"^\s*table {TABLE}\s",
        ("/etc/nftables.conf", "/etc/nftables/*", "/etc/nftables.d/*"),
        "path",
        program="nft",
    ),
)


@dataclass(frozen=True)
class _Set:
    """A set of nftables', of which each element has a line."""

    name: str
    type: str
    elements: tuple[str, ...]
    told: str = ""
    is_interval: bool = False


@dataclass(frozen=True)
class _OwnIpv4:
    """An IPv4 address of the host's in the forms that lead to a tunnel by themselves."""

    address: IPAddress

    @property
    def in_6to4(self) -> IPNetwork:
        """RFC 3056, 2."""
        return IPNetwork((0x2002 << 112 | int(self.address) << 80, 48), version=6)

    @property
    def in_isatap(self) -> IPAddress:
        """RFC 5214, 6.1, whatever the network."""
        return IPAddress(0x5EFE << 32 | int(self.address), version=6)


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """What keeps the table from being held."""
    if not site.node.is_declared:
        return
    if not state.units:
        yield "there is no systemd to hold the packet filter of Culvert's tunnels"
    elif _running(state) and not _is_active(state):
        yield (
            f"a table `{TABLE}` is there that Culvert's service doesn't hold: take it out "
            f"(`nft delete table {TABLE}`)"
        )


def warnings(state: HostState) -> Iterable[str]:
    """Files of others' that hold a copy of the table, as `nft list ruleset` saved it."""
    for path in state.answers.get(_COPIES, "").split():
        yield (
            f"{path} has a copy of Culvert's table `{TABLE}`, which nobody but its owner may load, "
            "so the whole file is refused while the tunnels are filtered: take that table out there"
        )


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """None: a run enables the service."""
    del site, state
    return ()


def files(site: Site, state: HostState) -> dict[str, File]:
    """The table, what holds it, and the service that has it held."""
    if not site.node.is_declared:
        return {}
    return {
        FILE: File(_table(site, state)),
        HOLDER: File(render("filter/filter"), 0o755),
        _UNIT_FILE: File(render("filter/filter.service")),
    }


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """The kernel's own look at the table, in a network of its own."""
    del site
    if waiting := staged.get(FILE):
        yield f'listed=$({_LISTED.format(waiting)}) || {{ echo "$listed"; false; }}'
        yield f"case $listed in 'table {TABLE} {{'*) ;; *) echo \"$listed\"; false ;; esac"


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """The table goes when nothing needs it any more."""
    is_active = _is_active(state)
    if site.node.is_declared:
        if is_active and (undo := _as_it_ran(state, changed)):
            yield once_back(*undo)
    elif _UNIT_FILE in state.files:
        unit = state.units.get(SERVICE)
        enable = (f"systemctl --quiet enable {SERVICE}",) if unit and unit.is_enabled else ()
        yield Step((), (f"systemctl --quiet disable {SERVICE}",), enable, outlasts=True)
        forget = f"systemctl reset-failed {SERVICE} 2>/dev/null || true"
        start = (f"systemctl start {SERVICE}", *_running_again(state)) if is_active else ()
        yield Step((f"-table {TABLE}",), (f"systemctl stop {SERVICE}", forget), start)
    if _UNIT_FILE in changed:
        yield once_back("systemctl daemon-reload")


def _as_it_ran(state: HostState, changed: Collection[str]) -> tuple[str, ...]:
    """What has the table held as it was, with the old files there."""
    if {HOLDER, _UNIT_FILE} & {*changed}:
        return (f"systemctl restart {SERVICE}", *_running_again(state))
    if again := _running_again(state):
        return again
    return (f"systemctl reload {SERVICE}",) if FILE in changed else ()


def _running_again(state: HostState) -> tuple[str, ...]:
    """What loads the table as it was where that isn't what its file says."""
    running, of_file = _answer(state)
    if not running or (of_file and not [*_differences(state)]):
        return ()
    text = f"table {TABLE} {{ flags owner; }}\ndelete table {TABLE}\n{running}\n"
    # Whatever the host says that it is.
    content = base64.b64encode(text.encode()).decode()
    before = "$scratch/before.nft"
    return (f'echo {content} | base64 -d >"{before}"', f'{HOLDER} load "{before}"')


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Loaded before there is a tunnel, changed without a moment of nothing."""
    if not site.node.is_declared:
        if _UNIT_FILE in changed:
            yield Step((), ("systemctl daemon-reload",))
        return
    unit = state.units.get(SERVICE)
    if unit is None or not unit.is_enabled:
        # After which systemd reads its units anew.
        enable = f"systemctl --quiet enable {SERVICE}"
        disable = f"systemctl --quiet disable {SERVICE}"
        yield Step((f" run: {enable}",), (enable,), (disable,), outlasts=True)
    elif _UNIT_FILE in changed:
        yield Step((" run: systemctl daemon-reload",), ("systemctl daemon-reload",))
    if not _is_active(state):
        yield Step(
            (f"+table {TABLE}",),
            (f"systemctl start {SERVICE}",),
            (f"systemctl stop {SERVICE}",),
            f"{FILE}, held by {SERVICE}",
        )
    elif HOLDER in changed or _UNIT_FILE in changed:
        yield Step(
            (f" run: systemctl restart {SERVICE}",),
            (f"systemctl restart {SERVICE}",),
            reason="the process that holds the table is another one",
        )
    else:
        yield from _reloading(site, state, changed)


def _reloading(site: Site, state: HostState, changed: Collection[str]) -> Iterator[Step]:
    """What the table has that it shouldn't, and lacks."""
    lines = [*_differences(state)]
    if lines:
        # Where the file changes, too, its diff says what is to be.
        shown = [f" run: systemctl reload {SERVICE}"] if FILE in changed else lines
        yield Step(tuple(shown), (f"systemctl reload {SERVICE}",))
    elif FILE in changed:
        yield from _changing(state.files[FILE].text, files(site, state)[FILE].text)


def _changing(before: str, after: str) -> Iterator[Step]:
    """From one text of the table to another: by its elements alone, where nothing else differs."""
    (rules, elements), (other_rules, other_elements) = _parsed(before), _parsed(after)
    if rules != other_rules:
        yield Step((f" run: systemctl reload {SERVICE}",), (f"systemctl reload {SERVICE}",))
        return
    going, coming = elements - other_elements, other_elements - elements
    lines = [
        *(f"delete element {TABLE} {name} {{ {element} }}" for name, element in sorted(going)),
        *(f"add element {TABLE} {name} {{ {element} }}" for name, element in sorted(coming)),
    ]
    if not lines:
        return
    change = "$scratch/change.nft"
    # Words of nftables' alone: each was checked when the inventory was read.
    text = "\n".join(lines)
    yield Step(
        (
            *(f"-element of {name}: {element}" for name, element in sorted(going)),
            *(f"+element of {name}: {element}" for name, element in sorted(coming)),
        ),
        (
            f"cat >{change} <<'END'\n{text}\nEND",
            f"{HOLDER} load {change}",
        ),
    )


# --- What is there ---------------------------------------------------------------------------


def _is_active(state: HostState) -> bool:
    return SERVICE in state.units and state.units[SERVICE].is_active


def _answer(state: HostState) -> tuple[str, str]:
    """The table as it is, and as it would be by its file."""
    running, _, of_file = state.answers.get(QUESTIONS[0].name, "").partition(OF_FILE)
    return running.strip(), of_file.strip()


def _running(state: HostState) -> str:
    return _answer(state)[0]


_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")


def _parsed(text: str) -> tuple[tuple[str, ...], frozenset[tuple[str, str]]]:
    """What is in a table's text: its lines, each with the chain or set that it is in, and elements.

    The kernel has the elements of a set in an order of its own.
    """
    elements: set[tuple[str, str]] = set()
    lines: list[str] = []
    block = ""
    # Elements have lines of their own, up to a brace.
    for line in re.sub(_ELEMENTS, lambda found: " ".join(found[0].split()), text).splitlines():
        words = line.partition(" # ")[0].strip()
        if found := re.fullmatch(r"(set|chain) (\S+) \{", words):
            block = f"{found[1]} {found[2]}"
        elif found := _ELEMENTS.fullmatch(words):
            name = block.partition(" ")[2]
            elements |= {(name, each.strip()) for each in found[1].split(",") if each.strip()}
        elif words and not words.startswith("#") and words != "}":
            lines.append(f"{block}: {words}" if block else words)
    return tuple(lines), frozenset(elements)


def _differences(state: HostState) -> Iterator[str]:
    """Lines on what the table has that its file doesn't say, and what it lacks."""
    running, of_file = _answer(state)
    if FILE not in state.files or running == of_file:
        return
    (lines, elements), (wanted_lines, wanted_elements) = _parsed(running), _parsed(of_file)
    if lines != wanted_lines:
        yield from (f"-{each}" for each in lines if each not in wanted_lines)
        missing = [each for each in wanted_lines if each not in lines]
        yield from (f"+{each}" for each in missing)
        if not missing:
            yield f"+table {TABLE}: its rules in their order"
    yield from (f"-element of {name}: {each}" for name, each in sorted(elements - wanted_elements))
    yield from (f"+element of {name}: {each}" for name, each in sorted(wanted_elements - elements))


# --- What is to be ---------------------------------------------------------------------------


def _table(site: Site, state: HostState) -> str:
    node = site.node
    servers_ends = [end for end in site.ends if not end.is_client]
    upstreams = [*node.upstreams]
    between = node.server.between_tunnels if node.server else False
    groups = node.neighbours if between == GROUPS else {}
    mtus = sorted({end.mtu for end in site.ends})
    on_link = _on_link(site, state)
    sets = [
        *_sets_of_server(servers_ends),
        *(
            _Set(f"group_{name}", "ifname", tuple(_name(end) for end in ends))
            for name, ends in groups.items()
        ),
        *_sets_of_client(upstreams),
        *_sets_of_link(on_link, site, state),
        *(
            _Set(f"mtu_{mtu}", "ifname", tuple(_name(e) for e in site.ends if e.mtu == mtu))
            for mtu in mtus
        ),
    ]
    return render(
        "filter/filter.nft",
        sets=sets,
        servers_ends=servers_ends,
        upstreams=upstreams,
        lengths_of_sources=_lengths(_sources(servers_ends)),
        areas=_areas(node, servers_ends),
        lengths_of_clients=_lengths(_inner(servers_ends)),
        lengths_of_own=_lengths(_inner(upstreams)),
        closed=[end for end in upstreams if end.tunnel.is_closed],
        between=between,
        groups=groups,
        own_ipv4=[_OwnIpv4(address) for address in _own_ipv4(site)],
        on_link=on_link,
        mtus=mtus,
        external_interface=site.external_interface,
    )


def _name(end: End) -> str:
    return f'"{end.interface}"'


def _sets_of_server(ends: list[End]) -> Iterator[_Set]:
    if ends:
        told = "Those of which this host is the server."
        yield _Set("tunnels", "ifname", tuple(map(_name, ends)), told)
        told = "Whose addresses may come out of which."
        yield from _by_length("sources", _sources(ends), told)
        yield from _by_length("clients", [("", net) for _, net in _inner(ends)], "")


def _areas(node: Node, ends: list[End]) -> list[str]:
    """A few networks that hold all addresses of a server's clients: nobody else's is looked up."""
    given = node.server.prefixes if node.server else ()
    others = [net for _, net in _inner(ends) if not any(net in prefix for prefix in given)]
    # With its neighbours, so that one address more in the same network is no other rule.
    wide = [IPNetwork(f"{net.ip}/64").cidr for net in others]
    return [_of(network) for network in cidr_merge([*given, *wide])]


def _sets_of_client(ends: list[End]) -> Iterator[_Set]:
    if ends:
        told = "Those of which this host is the client."
        yield _Set("upstreams", "ifname", tuple(map(_name, ends)), told)
        told = "What is this host's own, by the tunnel that it comes in by."
        yield from _by_length("own", _inner(ends), told)
        yield from _by_length("own_sources", [("", net) for _, net in _inner(ends)], "")


_Owned = tuple[str, IPNetwork]
"""The name of an interface, or none, and what is behind it."""


def _inner(ends: Iterable[End]) -> list[_Owned]:
    return [(_name(end), each) for end in ends for each in end.tunnel.inner]


def _sources(ends: Iterable[End]) -> list[_Owned]:
    """Also those of the client's other tunnels: where this one takes all, answers, too."""
    return [(_name(end), each) for end in ends for each in (*end.tunnel.inner, *end.tunnel.beside)]


def _by_length(name: str, owned: list[_Owned], told: str) -> Iterator[_Set]:
    """Sets of addresses and prefixes, one for each length of these.

    An address, cut to that length, is looked up at once, however many there are.
    """
    for each in _lengths(owned):
        found = [
            f"{interface} . {network.network}" if interface else str(network.network)
            for interface, network in owned
            if network.prefixlen == each.length
        ]
        kind = "ifname . ipv6_addr" if owned[0][0] else "ipv6_addr"
        yield _Set(f"{name}_{each.length}", kind, tuple(dict.fromkeys(found)), told)
        told = ""


@dataclass(frozen=True)
class _Length:
    """The length of a prefix, and how an address is cut to it."""

    length: int

    @property
    def mask(self) -> str:
        return "" if self.length == ADDRESS else f" & {IPNetwork(f'::/{self.length}').netmask}"


def _lengths(owned: Iterable[_Owned]) -> list[_Length]:
    found = {network.prefixlen for _, network in owned}
    return [_Length(length) for length in sorted(found, reverse=True)]


def _sets_of_link(on_link: list[IPNetwork], site: Site, state: HostState) -> Iterator[_Set]:
    if not on_link:
        return
    external = site.external_interface
    yield _Set(
        "on_link",
        "ipv6_addr",
        tuple(map(_of, on_link)),
        f"What neighbours of {external} have, who are asked for, and the routers among them.",
        is_interval=True,
    )
    found = {
        IPAddress(route.gateway)
        for route in state.routes
        if route.device == external and route.gateway
    }
    gateways = sorted(each for each in found if any(each in network for network in on_link))
    yield _Set("gateways", "ipv6_addr", tuple(map(str, gateways)))


def _of(network: IPNetwork) -> str:
    """As nftables lists it: an address of its own has no length."""
    return str(network.ip) if network.prefixlen == ADDRESS else str(network)


def _own_ipv4(site: Site) -> list[IPAddress]:
    """What the host's tunnels start from, and what NAT translates to it."""
    found = {end.local for end in site.ends}
    for end in site.ends:
        found.add(end.tunnel.client_ipv4 if end.is_client else end.tunnel.server.ipv4)
    return sorted(found)


def _on_link(site: Site, state: HostState) -> list[IPNetwork]:
    """The networks whose addresses the host looks for on its external link."""
    server = site.node.server
    link = state.links.get(site.external_interface)
    if server is None or link is None or not any(not end.is_client for end in site.ends):
        return []
    if any(end.default_route for end in site.ends):
        # It has IPv6 by a tunnel of its own, and there at most a network of its own making.
        return []
    found = {IPNetwork(each).cidr for each in link.addresses if ":" in each}
    # What a router says of the link, where an address came alone (DHCPv6).
    found |= {
        route.network
        for route in state.routes
        if route.device == site.external_interface
        and (route.protocol, route.type, route.gateway) == ("kernel", "unicast", None)
        and route.destination != "default"
    }
    if server.prefix is not None and server.on_link:
        found.add(server.prefix)
    wide = {each for each in found if each.prefixlen < ADDRESS and not each.ip.is_link_local()}
    return [each for each in sorted(wide) if not any(each != o and each in o for o in wide)]
