"""Hosts described in lines, so that the next case of a table is one more line."""

from collections.abc import Iterable
from dataclasses import replace

from netaddr import IPAddress, IPNetwork

from tasks.host.rules import Rule
from tasks.host.state import MAIN, File, HostState, Line, Link, Route, sysctl_path
from tasks.parts import additions

_KINDS = {"wg": "wireguard", "tun": "tun", "docker": "bridge", "dummy": "dummy"}
_TYPES = {"unreachable", "blackhole", "prohibit", "throw", "local", "anycast"}
_MAIN_RULES = (Rule(0, "from all lookup local"), Rule(32766, "from all lookup main"))


def with_lines(state: HostState, text: str) -> HostState:
    """The host with more on it, a line for each thing, in iproute2's words:

    link NAME [mtu BYTES]
    flush NAME                       (its IPv6 addresses, and what came with them)
    sit NAME local IPV4 remote IPV4
    address NETWORK dev NAME
    route [TYPE] DESTINATION [via ROUTER] dev NAME [table TABLE] [proto PROTOCOL] [metric NUMBER]
    rule PRIORITY: WORDS             rule4 PRIORITY: WORDS
    get IPV4 dev NAME [table TABLE]  (what `ip route get` says)
    entry ADDRESS dev NAME
    added LINE                       (of Culvert's own record)
    set KEY = VALUE                  (a sysctl)
    file PATH: LINE
    """
    for name in [link.name for link in state.links.values()]:
        for network in state.links[name].addresses:
            state = _with_kernels_routes(state, network, name)
    state = replace(state, rules=_MAIN_RULES, ipv4_rules=_MAIN_RULES)
    for line in filter(None, map(str.strip, text.splitlines())):
        kind, _, rest = line.partition(" ")
        state = _MEANINGS[kind](state, rest)
    return state


def _words(rest: str, *plain: str) -> dict[str, str]:
    """Words without a keyword under the names that are given, all others by their keyword."""
    words = rest.split()
    named = dict(zip(plain, words, strict=False))
    return named | dict(zip(words[len(plain) :: 2], words[len(plain) + 1 :: 2], strict=True))


def _link(state: HostState, rest: str) -> HostState:
    words = _words(rest, "name")
    name = words["name"]
    kind = next((kind for prefix, kind in _KINDS.items() if name.startswith(prefix)), None)
    known = state.links.get(name, Link(name, kind, True, 1500))
    link = replace(known, mtu=int(words.get("mtu", known.mtu)))
    return replace(state, links={**state.links, name: link})


def _flush(state: HostState, rest: str) -> HostState:
    link = state.links[rest]
    ipv4 = tuple(network for network in link.addresses if ":" not in network)

    def kept(routes: Iterable[Route]) -> tuple[Route, ...]:
        return tuple(r for r in routes if (r.device, r.protocol) != (rest, "kernel"))

    return replace(
        state,
        links={**state.links, rest: replace(link, addresses=ipv4)},
        routes=kept(state.routes),
        tables={table: kept(routes) for table, routes in state.tables.items()},
    )


def _sit(state: HostState, rest: str) -> HostState:
    words = _words(rest, "name")
    ends = IPAddress(words["local"]), IPAddress(words["remote"])
    link = Link(words["name"], "sit", True, 1480, (), *ends, 255)
    return replace(state, links={**state.links, link.name: link})


def _address(state: HostState, rest: str) -> HostState:
    words = _words(rest, "network")
    name = words["dev"]
    state = _link(state, name)
    link = state.links[name]
    link = replace(link, addresses=(*link.addresses, words["network"]))
    state = replace(state, links={**state.links, name: link})
    return _with_kernels_routes(state, words["network"], name)


def _with_kernels_routes(state: HostState, network: str, name: str) -> HostState:
    """What the kernel adds for an IPv6 address."""
    found = IPNetwork(network)
    if found.version == 4:
        return state
    state = _route(state, f"local {found.ip} dev {name} table local proto kernel metric 0")
    if found.prefixlen < 127:
        anycast = f"anycast {found.network} dev {name} table local proto kernel metric 0"
        state = _route(state, anycast)
    if found.prefixlen < 128:
        state = _route(state, f"{found.cidr} dev {name} proto kernel metric 256")
    return state


def _route(state: HostState, rest: str) -> HostState:
    first, _, others = rest.partition(" ")
    kind, rest = (first, others) if first in _TYPES else ("unicast", rest)
    words = _words(rest, "destination")
    state = _link(state, words["dev"])
    route = Route(
        words["destination"],
        words.get("via"),
        words["dev"],
        words.get("proto", "boot"),
        int(words.get("metric", 1024)),
        kind,
    )
    table = words.get("table", MAIN)
    if table == MAIN:
        return replace(state, routes=(*state.routes, route))
    return replace(state, tables={**state.tables, table: (*state.tables.get(table, ()), route)})


def _rules(rules: Iterable[Rule], rest: str) -> tuple[Rule, ...]:
    priority, _, text = rest.partition(": ")
    return tuple(sorted([*rules, Rule(int(priority), text)], key=lambda rule: rule.priority))


def _get(state: HostState, rest: str) -> HostState:
    words = _words(rest, "remote")
    remote = IPAddress(words["remote"])
    state = replace(state, ipv4_devices={**state.ipv4_devices, remote: words["dev"]})
    tables = {remote: words["table"]} if "table" in words else {}
    return _link(replace(state, ipv4_tables={**state.ipv4_tables, **tables}), words["dev"])


def _entry(state: HostState, rest: str) -> HostState:
    words = _words(rest, "address")
    entry = IPAddress(words["address"]), words["dev"]
    return _link(replace(state, proxies=state.proxies | {entry}), words["dev"])


def _added(state: HostState, rest: str) -> HostState:
    known = state.files.get(additions.FILE, File("# Written by Culvert.\n"))
    record = replace(known, text=f"{known.text}{rest}\n")
    return replace(state, files={**state.files, additions.FILE: record})


def _set(state: HostState, rest: str) -> HostState:
    key, _, value = rest.partition(" = ")
    return replace(state, sysctls={**state.sysctls, sysctl_path(key): value})


def _file(state: HostState, rest: str) -> HostState:
    path, _, text = rest.partition(": ")
    return replace(state, lines=(*state.lines, Line(path, len(state.lines) + 1, text)))


_MEANINGS = {
    "link": _link,
    "flush": _flush,
    "sit": _sit,
    "address": _address,
    "route": _route,
    "rule": lambda state, rest: replace(state, rules=_rules(state.rules, rest)),
    "rule4": lambda state, rest: replace(state, ipv4_rules=_rules(state.ipv4_rules, rest)),
    "get": _get,
    "entry": _entry,
    "added": _added,
    "set": _set,
    "file": _file,
}
