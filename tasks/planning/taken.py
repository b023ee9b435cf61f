"""Pure: what a host uses, routes or answers for already, of all that a tunnel is to have.

It is nobody's to take over: at removal it would go, with whatever stands on it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain

from netaddr import IPAddress, IPNetwork

from tasks.declared import numbering
from tasks.declared.model import PREFIX_LENGTH, End, Lan, Node, Server
from tasks.host.state import LOCAL, MAIN, HostState, Route, sysctl_key
from tasks.parts import additions
from tasks.parts.managers import MANAGERS, owned_interfaces
from tasks.parts.part import Site
from tasks.planning.obstacles import foreign, in_place

# The kernel's for a route that is set without one, as a tunnel's are (IP6_RT_PRIO_USER).
_COMMON_METRIC = 1024


@dataclass(frozen=True)
class Use:
    """Something on a host that Culvert didn't put there; `clause` tells of it.

    `router` is the route by which a router's address is known, `rejection` one that leads nowhere.
    An entry is a proxy entry, of which the record alone tells whether Culvert made it.
    """

    clause: str
    network: IPNetwork
    device: str
    is_entry: bool = False
    router: Route | None = None
    rejection: Route | None = None

    def takes(self, target: IPNetwork) -> bool:
        """Whether a tunnel can't have a prefix that overlaps with it."""
        if self.rejection is None or target not in self.network:
            return True
        # What is said of all that is routed nowhere else stands in nobody's way.
        return target == self.network and self.rejection.metric <= _COMMON_METRIC

    @cached_property
    def span(self) -> tuple[int, int]:
        """Its first and its last address, for there may be very many of them."""
        return self.network.first, self.network.last

    @property
    def has_numbers(self) -> bool:
        """Whether what lies in it is free for no tunnel."""
        return self.rejection is None or self.network.prefixlen >= PREFIX_LENGTH


def obstacles(site: Site, state: HostState, *, entries_are_told: bool = False) -> Iterable[str]:
    """What is in use already, by name, and what is free instead.

    `entries_are_told`: where proxy entries come from was said before.
    """
    node = site.node
    # What stands where a tunnel is to be is told by itself; what is on it only follows from that.
    others = foreign(state)
    told = {link.name for end in node.ends for link in in_place(end, others)}
    uses = [use for use in _uses(site, state) if use.device not in told]
    if not entries_are_told:
        uses += _entries(state)

    @cache
    def free_number(server: Server) -> str:
        if server.prefix is None:
            return "other addresses"
        blocked = (use.network for use in uses if use.has_numbers)
        free = numbering.next_free(server.prefix, chain(node.numbered, blocked))
        return f"another number: {free}"

    yield from _of_pools(site, state)
    for end in node.ends:
        yield from _of_pair(end, uses, state, free_number)
        if end.default_route:
            yield from _of_default_route(end, state, told)
        if not end.is_client:
            yield from _of_routed_prefixes(end, node, uses, state)
        for lan in end.tunnel.lans if end.is_client else ():
            yield from _of_lan(lan, end, uses, state)


# --- What a host uses ------------------------------------------------------------------------


def _uses(site: Site, state: HostState) -> Iterator[Use]:
    """Addresses, routes and their routers, but for those that are as wide as a server's prefix."""
    own, recorded = owned_interfaces(state), additions.recorded(state)
    for link in state.links.values():
        for network in link.addresses if link.name not in own else ():
            address = IPAddress(network.partition("/")[0])
            if address.version == 6 and additions.address(network, link.name) not in recorded:
                yield Use(f"address {address} is on {link.name}", IPNetwork(address), link.name)
    around = frames(site, state)
    for table, route in _reached(state):
        if route.device in own or route.type in {"throw", "multicast"}:
            continue
        if route.is_rejection and additions.unreachable(route.destination) in recorded:
            continue
        if route.gateway:
            router = IPNetwork(route.gateway)
            yield Use(f"address {route.gateway} is a router's", router, route.device, router=route)
        is_plain = route.type == "unicast" and not route.is_rejection
        is_links_own = route.device == site.external_interface and route.network in around
        if not (is_plain and (is_links_own or is_wide(route, around))):
            where = "" if table == MAIN else f" in table {table}"
            kind = "" if route.type == "unicast" else f"{route.type} "
            clause = f"route {kind}{route.destination} leads to {route.device}{where}"
            rejection = route if route.is_rejection else None
            yield Use(clause, route.network, route.device, rejection=rejection)


def frames(site: Site, state: HostState) -> set[IPNetwork]:
    """What tunnels' addresses and prefixes are parts of: of a server's, and of the link's."""
    own = {prefix for server in site.node.servers for prefix in server.prefixes}
    return own | {*_on_link(site.external_interface, state)}


def is_wide(route: Route, around: Iterable[IPNetwork]) -> bool:
    """Whether a route is for a whole frame, so that it is for no part of one in particular."""
    there = [each for each in around if each in route.network or route.network in each]
    return not route.network.prefixlen or (
        bool(there) and all(each in route.network for each in there)
    )


def _entries(state: HostState) -> Iterator[Use]:
    """Proxy entries."""
    recorded = additions.recorded(state)
    others = {each for each in state.proxies if additions.proxy(*each) not in recorded}
    for address, device in sorted(others):
        clause = f"proxy entry {address} is on {device}"
        yield Use(clause, IPNetwork(address), device, is_entry=True)


def _reached(state: HostState) -> Iterator[tuple[str, Route]]:
    """The routes of every table that a packet of no special kind comes to, each with the table."""
    for route in state.routes:
        yield MAIN, route
    named = {rule.table for rule in state.rules if rule.table and rule.is_common}
    others = sorted(named & state.tables.keys())
    networks = {(r.device, r.network.ip) for r in state.routes} if others else set()
    for table in others:
        for route in state.tables[table]:
            # What comes with an address, and with its network, is told with that.
            is_told = route.type == "local" or (route.device, route.network.ip) in networks
            if not (table == LOCAL and route.protocol == "kernel" and is_told):
                yield table, route


def _on_link(interface: str, state: HostState) -> Iterator[IPNetwork]:
    """The prefixes whose addresses an interface looks for on its link."""
    for route in state.routes:
        is_direct = route.gateway is None and route.type == "unicast"
        if is_direct and route.device == interface and 0 < route.network.prefixlen < PREFIX_LENGTH:
            yield route.network


def _taking(uses: Iterable[Use], target: IPNetwork) -> list[Use]:
    """The uses that a tunnel can't have that prefix beside."""
    first, last = target.first, target.last
    near = (use for use in uses if use.span[0] <= last and first <= use.span[1])
    return [use for use in near if use.takes(target)]


# --- What a site is to have ------------------------------------------------------------------


def _of_pools(site: Site, state: HostState) -> Iterable[str]:
    """A server's own prefixes, where somebody else has all of one."""
    prefixes = site.node.server.prefixes if site.node.server is not None else ()
    own = owned_interfaces(state) | {site.external_interface}
    on_link = {*_on_link(site.external_interface, state)}
    for route in state.routes:
        is_elsewhere = route.device not in own and route.type == "unicast"
        if route.is_rejection or not is_elsewhere or route.network in on_link:
            continue
        if route.network in prefixes:
            clause = f"route {route.destination} leads to {route.device}"
            use = Use(clause, route.network, route.device)
            yield _already([use], state, "have the tunnels' addresses and prefixes from elsewhere")


def _of_pair(
    end: End, uses: Iterable[Use], state: HostState, free_number: Callable[[Server], str]
) -> Iterable[str]:
    """A tunnel's two addresses."""
    taking = _taking(uses, end.pair)
    whose = "the tunnel" if end.is_client else f"{end.peer_host}'s tunnel"
    for use in taking:
        if use.router is not None:
            free = free_number(end.tunnel.server)
            yield f"address {use.network.ip} is a router's (`{use.router}`): give {whose} {free}"
    if others := [use for use in taking if use.router is None]:
        yield _already(others, state, f"give {whose} {free_number(end.tunnel.server)}")


def _of_routed_prefixes(
    end: End, node: Node, uses: Collection[Use], state: HostState
) -> Iterable[str]:
    """The prefixes that a server routes to a client."""
    for prefix in end.tunnel.routed_prefixes:
        if taking := _taking(uses, prefix):
            given = [each for other in node.ends for each in other.tunnel.routed_prefixes]
            server, taken = end.tunnel.server, [use.network for use in uses]
            own = [server.prefix] if server.prefix is not None else []
            length, pools = prefix.prefixlen, server.routed_prefixes
            free = numbering.free_prefix(length, pools, [*given, *own, *taken])
            which = f": the next free /{length} is {free}" if free else ""
            yield (
                f"{prefix} is to be routed to {end.peer_host}, and "
                f"{_already(taking, state, f'give that tunnel another prefix{which}')}"
            )


def _of_lan(lan: Lan, end: End, uses: Iterable[Use], state: HostState) -> Iterable[str]:
    """A network behind a client, where another interface has something of it.

    All else that was routed to the client is its own affair.
    """
    taking = [
        use
        for use in _taking(uses, lan.prefix)
        if use.device != lan.interface
        and not (use.router or use.network.ip == lan.address.ip)
        and not any(prefix in use.network for prefix in end.tunnel.routed_prefixes)
    ]
    if taking:
        yield f"`lan` {lan.interface}: {_already(taking, state, 'give it another `address`')}"


def _already(uses: Collection[Use], state: HostState, way_out: str) -> str:
    clauses = " and ".join(use.clause for use in uses)
    them = "it" if len(uses) == 1 else "them"
    is_lost = state.files and additions.FILE not in state.files
    if is_lost and any(use.is_entry for use in uses):
        return (
            f"{clauses} already, and {additions.FILE}, which would say whether Culvert put {them} "
            f"there, is missing: remove {them}, or {way_out}"
        )
    return f"{clauses} already, and Culvert didn't put {them} there: remove {them}, or {way_out}"


# --- The default route -----------------------------------------------------------------------


def _of_default_route(end: End, state: HostState, told: Collection[str]) -> Iterable[str]:
    """Where a client's IPv6 leads already."""
    probe = end.tunnel.server.probe_address
    own = owned_interfaces(state) | {*told}
    for route in state.routes:
        if route.device in own or probe not in route.network:
            continue
        is_default = route.destination == "default"
        if route.is_rejection:
            if not is_default or route.metric <= _COMMON_METRIC:
                yield f"route `{route}` keeps {probe} from being reached: remove it"
        elif is_default:
            via = f" via {route.gateway}" if route.gateway else ""
            yield (
                f"it has an IPv6 default route already,{via} on {route.device}"
                f"{_remedy(route, state)}, or set the tunnel's `default_route` to False"
            )
        elif route.type == "unicast":
            yield (
                f"route {route.destination} leads to {route.device}, so a default route would not "
                f"lead {probe} into the tunnel: remove it, or set the tunnel's `default_route` to "
                "False"
            )


def _remedy(route: Route, state: HostState) -> str:
    if route.protocol != "ra":
        return ": remove it"
    path = f"net/ipv6/conf/{route.device}/accept_ra"
    managers = (manager for manager in MANAGERS if manager.evidence(state, route.device))
    manager = next(managers, None)
    for_good = manager.ignoring_routers if manager else "a line in /etc/sysctl.d"
    # A manager that listens to routers itself has the kernel not listen.
    is_kernels = state.sysctls.get(path, "0") != "0"
    at_once = f"set {sysctl_key(path)} = 0, for good " if is_kernels else ""
    return (
        ", which a router's next advertisement would bring back: end that "
        f"({at_once}by {for_good}) and remove it"
    )
