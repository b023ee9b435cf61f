"""Pure: policy rules that lead packets past what a tunnel needs in the main table (ip-rule(8))."""

from collections.abc import Iterable, Iterator

from netaddr import IPNetwork

from tasks.declared.model import End, Server
from tasks.host import rules
from tasks.host.rules import Packet, Rule
from tasks.host.state import LOCAL, MAIN, HostState, Route
from tasks.parts.part import Site
from tasks.planning.taken import frames, is_wide

# How long prefixes are where the main table has a default route alone.
_DEFAULT = 0


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """The rules that keep packets out of a tunnel, each with the table that decides instead."""
    # By rule, with what it finds: the prefixes that are to come to the main table.
    diverted: dict[tuple[Rule, Route | None], dict[IPNetwork, End]] = {}
    around = frames(site, state)
    for end in site.ends:
        for packet, prefix in _into(end, site):
            found = _before_main(packet, prefix.prefixlen, state)
            if found and not _is_told(found[1], end, around):
                diverted.setdefault(found, {}).setdefault(_of(prefix, end.tunnel.server), end)
        if end.default_route:
            yield from _of_default_route(end, state)
    for (rule, route), prefixes in diverted.items():
        end = next(iter(prefixes.values()))
        exceptions = " and ".join(
            f"`ip -6 rule add to {prefix} lookup main priority {_earlier(rule)}`"
            for prefix in prefixes
        )
        yield (
            f"policy rule `{rule}` comes before the main table, and keeps packets for "
            f"{end.peer_host} from {end.interface}: {_what(rule, route)}. Have an exception made "
            f"before it, {exceptions}, there where the rule is kept"
        )


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """The rules that lead what clients send out of another interface than answers come in by."""
    told = set()
    for end in site.ends:
        if end.is_client:
            continue
        probe = end.tunnel.server.probe_address
        found = _before_main(Packet(end.peer, probe, end.interface), _DEFAULT, state)
        if found is None or found in told:
            continue
        rule, route = found
        ways = {site.external_interface, *(each.interface for each in site.ends)}
        if route is None or route.device not in ways:
            told.add(found)
            yield (
                f"policy rule `{rule}` leads what clients send past {site.external_interface}, "
                f"where the answers come in: {_what(rule, route)}"
            )


def _into(end: End, site: Site) -> Iterator[tuple[Packet, IPNetwork]]:
    """Packets that are to go into a tunnel, each with the prefix that is to lead it there."""
    yield Packet(end.address, end.peer), end.pair
    if not end.is_client:
        internet = end.tunnel.server.probe_address
        yield Packet(internet, end.peer, site.external_interface), end.pair
        for prefix in end.tunnel.routed_prefixes:
            yield Packet(internet, prefix[1], site.external_interface), prefix


def _before_main(packet: Packet, length: int, state: HostState) -> tuple[Rule, Route | None] | None:
    """What decides about a packet before the main table does: a rule, and the route it leads to.

    `length` is that of the prefix by which the main table is to have a route for it. A rule that
    rejects leads to no route.
    """
    for rule in rules.met(packet, state.rules):
        if rule.is_rejection:
            return rule, None
        if rule.table == MAIN and length > rule.suppressed:
            return None
        # What the local table has is told as an address, or as a route there.
        if rule.table not in {None, MAIN, LOCAL}:
            routes = [
                route
                for route in state.tables.get(str(rule.table), ())
                if packet.destination in route.network and route.network.prefixlen > rule.suppressed
            ]
            best = min(routes, key=lambda r: (-r.network.prefixlen, r.metric), default=None)
            if best is not None and best.type != "throw":
                return rule, best
    return None


def _is_told(route: Route | None, end: End, around: Iterable[IPNetwork]) -> bool:
    """Whether a route leads into the tunnel, or is told of as what uses something of it."""
    return route is not None and (route.device == end.interface or not is_wide(route, around))


def _of(prefix: IPNetwork, server: Server) -> IPNetwork:
    """The server's prefix that one of a tunnel lies in, so that one exception does for all."""
    return next((each for each in server.prefixes if prefix in each), prefix)


def _of_default_route(end: End, state: HostState) -> Iterable[str]:
    """What leads the whole Internet elsewhere, as VPNs do."""
    probe = end.tunnel.server.probe_address
    senders = [Packet(end.address, probe)]
    senders += [Packet(lan.address.ip, probe, lan.interface) for lan in end.tunnel.lans]
    found = (_before_main(packet, _DEFAULT, state) for packet in senders)
    for rule, route in dict.fromkeys(each for each in found if each):
        if route is None or route.device != end.interface:
            yield (
                f"policy rule `{rule}` comes before the tunnel's default route: "
                f"{_what(rule, route)}. Have whoever made it leave IPv6 out (a WireGuard VPN: "
                "`AllowedIPs` without ::/0), or set the tunnel's `default_route` to False"
            )


def _what(rule: Rule, route: Route | None) -> str:
    if route is None:
        return "it rejects them"
    return f"table {rule.table} has `{route}`"


def _earlier(rule: Rule) -> int:
    return max(rule.priority - 1, 0)
