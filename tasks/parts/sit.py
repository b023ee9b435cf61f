"""Pure: a tunnel as the kernel holds it: lines that tell of it, commands that make it so."""

import shlex
from collections.abc import Collection, Iterable

from netaddr import IPAddress, IPNetwork

from tasks.declared.model import End
from tasks.host.changes import Step, sysctl_command, sysctl_lines
from tasks.host.state import (
    FALLBACK,
    LOCAL,
    MAIN,
    SET_PROTOCOLS,
    HostState,
    Link,
    Route,
    sysctl_key,
)

# The kernel's metric for the route that comes with an address (IP6_RT_PRIO_ADDRCONF), and for one
# that is added without any (IP6_RT_PRIO_USER).
_CONNECTED_METRIC = 256
_ADDED_METRIC = 1024

# Nothing that leads a host elsewhere comes out of a tunnel in good faith, and anybody can send it
# who can write the other end's IPv4 address as a source: one router advertisement was seen to give
# a client another default route, an MTU of 1280 and a hop limit of 1 (ndisc_router_discovery).
UNHEARD = ("accept_ra", "accept_redirects", "autoconf")
# Those of one interface that are read of a host.
_READ = (*UNHEARD, "forwarding", "hop_limit", "mtu", "proxy_ndp", "disable_ipv6")


def settings(end: End) -> dict[str, str]:
    """The kernel's settings of the tunnel alone, to be written before it is up."""
    return {f"net/ipv6/conf/{end.interface}/{key}": "0" for key in UNHEARD}


def link_line(link: Link) -> str:
    return (
        f"link {link.name}: sit {_endpoints(link)} "
        f"{_ttl(link)} mtu {link.mtu} {'up' if link.is_up else 'down'}"
    )


def creation_lines(end: End) -> Iterable[str]:
    """What a new tunnel brings."""
    yield f"+{link_line(_wanted(end))}"
    for path, value in settings(end).items():
        yield f"+sysctl {sysctl_key(path)} = {value}"
    yield f"+{_address(end.network, end)}"
    for destination in end.destinations:
        yield f"+route {_route(destination, end)}"


def creation(ends: Collection[End]) -> Iterable[str]:
    """Commands that make new tunnels: of one kind after those of another, for few processes."""
    for end in ends:
        # Not `ip tunnel`, which needs the kernel's own sit0 to be there.
        yield (
            f"ip link add {end.interface} mtu {end.mtu} type sit "
            f"local {end.local} remote {end.remote} ttl {end.ttl}"
        )
    for end in ends:
        for path, value in settings(end).items():
            yield sysctl_command(path, value)
    for end in ends:
        yield f"ip link set dev {end.interface} up"
        yield f"ip address add {end.network} dev {end.interface}"
    for end in ends:
        for destination in end.destinations:
            yield f"ip -6 route add {_route(destination, end)}"


def making_again(interfaces: Collection[str], state: HostState) -> Iterable[str]:
    """Commands that make those that were there what they were, whatever there is of them by now."""
    links = [state.links[name] for name in interfaces if name in state.links]
    for link in links:
        # What is there by now, by whomever, is no failure: nor are addresses and routes.
        made = f"{link.name} mtu {link.mtu} type sit {_endpoints(link)} {_ttl(link)}"
        yield f"ip link add {made} || true"
    for link in links:
        # Where its manager has made it, that was by its file.
        yield f"ip tunnel change {link.name} mode sit {_endpoints(link)} {_ttl(link)}"
        yield f"ip link set dev {link.name} mtu {link.mtu}"
    for link in links:
        yield from _settings_again(link.name, state)
    for link in links:
        yield f"ip link set dev {link.name} {'up' if link.is_up else 'down'}"
    for link in links:
        yield from _addresses_again(link, state)
    for link in links:
        yield from map(_route_again, filter(_is_to_stay, state.routes_of.get(link.name, ())))
    names = {link.name for link in links}
    for table, routes in state.tables.items():
        for route in routes:
            if route.device in names and table != LOCAL and _is_to_stay(route):
                yield _route_again(route, table)


def _settings_again(interface: str, state: HostState) -> Iterable[str]:
    paths = [f"net/ipv6/conf/{interface}/{key}" for key in _READ]
    for path in (*paths, f"net/ipv6/neigh/{interface}/proxy_delay"):
        if path in state.sysctls:
            yield sysctl_command(path, state.sysctls[path])


def _addresses_again(link: Link, state: HostState) -> Iterable[str]:
    for network in link.addresses:
        # The kernel makes those by itself.
        if not IPAddress(network.partition("/")[0]).is_link_local():
            yield _address_again(network, link.name, state)


def _address_again(network: str, interface: str, state: HostState) -> str:
    """What adds an address, with the route that came with it and no other one."""
    metrics = {
        route.metric
        for route in state.routes_of.get(interface, ())
        if route.protocol == "kernel" and route.network == IPNetwork(network).cidr
    }
    # NetworkManager gives it a metric of its own.
    flag = " noprefixroute" if metrics and _CONNECTED_METRIC not in metrics else ""
    return f"ip address add {shlex.quote(network)} dev {interface}{flag} || true"


def _route_again(route: Route, table: str = MAIN) -> str:
    """What adds a route as it was; one in its place stays."""
    via = f"via {shlex.quote(route.gateway)} " if route.gateway else ""
    kind = "" if route.type == "unicast" else f"{shlex.quote(route.type)} "
    words = f"{kind}{shlex.quote(route.destination)} {via}dev {shlex.quote(route.device)}"
    in_table = "" if table == MAIN else f" table {shlex.quote(table)}"
    protocol = shlex.quote(route.protocol)
    return f"ip -6 route add {words} proto {protocol} metric {route.metric}{in_table} || true"


def _is_to_stay(route: Route) -> bool:
    """Whether nobody else brings a route of a tunnel's back: no routing daemon, nor the kernel."""
    is_set = route.protocol in (*SET_PROTOCOLS, "kernel")
    return is_set and not route.network.ip.is_link_local()


def _endpoints(link: Link) -> str:
    return f"local {link.local or 'any'} remote {link.remote or 'any'}"


def _ttl(link: Link) -> str:
    return f"ttl {link.ttl or 'inherit'}"


def are_made(ends: Iterable[End]) -> str:
    """A command that fails where new tunnels aren't up with their addresses, and tells of those."""
    return " ".join(["are_up", *(f"{end.interface} {end.network}" for end in ends)])


def deletion(interfaces: Iterable[str]) -> str:
    """A command after which none of these links is there."""
    return " ".join(["delete_links", *interfaces])


def wrong_settings(end: End, state: HostState) -> Iterable[Step]:
    """Those of a running tunnel, and what it took from a router while they were wrong."""
    conf = f"net/ipv6/conf/{end.interface}"
    wanted = settings(end)
    if default := state.sysctls.get("net/ipv6/conf/default/hop_limit"):
        wanted[f"{conf}/hop_limit"] = default
    if state.links[end.interface].mtu == end.mtu:
        # With the link's it follows by itself.
        wanted[f"{conf}/mtu"] = str(end.mtu)
    for path, value in wanted.items():
        if state.sysctls.get(path, value) != value:
            yield Step(
                tuple(sysctl_lines(path, value, state)),
                (sysctl_command(path, value),),
                (sysctl_command(path, state.sysctls[path]),),
            )


def mending(end: End, state: HostState) -> Iterable[Step]:
    """What a running tunnel lacks, changed in place: no packet is lost. Stale routes go before."""
    link = state.links[end.interface]
    yield from _mend_link(link, _wanted(end), state)
    yield from _mend_addresses(end, link, state)
    if end.network in link.addresses:
        yield from _mend_connected_route(end, state)
    there = {route.destination for route in _routes_of(end, state) if _is_wanted(route, end)}
    for destination in end.destinations:
        if destination not in there:
            words = _route(destination, end)
            # No other that leads there, of a routing daemon.
            undo = f"ip -6 route delete {words} proto boot metric {_ADDED_METRIC}"
            yield Step((f"+route {words}",), (f"ip -6 route add {words}",), (undo,))


def stale_routes(end: End, state: HostState) -> Iterable[Step]:
    """Routes into a tunnel that are not declared, which another tunnel may be about to get."""
    for route in _routes_of(end, state):
        # Where else a client goes through its tunnel is its own affair.
        is_ours = not end.is_client or route.destination == "default"
        if is_ours and not _is_wanted(route, end):
            via = f"via {route.gateway} " if route.gateway else ""
            words = f"{route.destination} {via}dev {end.interface}"
            delete = f"ip -6 route delete {words} metric {route.metric}"
            yield Step((f"-route {words}",), (delete,), (_route_again(route),))
    for route in state.routes_of.get(end.interface, ()):
        if _is_left_behind(route, end):
            words = f"{route.destination} dev {end.interface} metric {route.metric}"
            delete = f"ip -6 route delete {words}"
            yield Step((f"-route {words}",), (delete,), (_route_again(route),))


def _is_left_behind(route: Route, end: End) -> bool:
    """Whether a route came with an address that the end no longer has.

    The kernel takes back what it made itself, NetworkManager doesn't.
    """
    return (
        route.protocol == "kernel"
        and route.metric != _CONNECTED_METRIC
        and route.destination not in {end.connected, "fe80::/64"}
    )


def _routes_of(end: End, state: HostState) -> Iterable[Route]:
    for route in state.routes_of.get(end.interface, ()):
        # What a routing daemon learned through the tunnel is its own.
        if route.protocol in SET_PROTOCOLS or route.destination == "default":
            yield route


def _is_wanted(route: Route, end: End) -> bool:
    return route.destination in end.destinations and route.gateway == str(end.peer)


# It would take the tunnels of other network namespaces along: those of containers.
UNLOAD = r"""{ for process in $(lsns -t net -n -o PID); do
    nsenter -t "$process" -n ip -o link show type sit || true
done; ip -all netns exec ip -o link show type sit || true; } 2>/dev/null |
    grep '^[0-9]' | grep -qv '^[0-9]*: sit0[@:]' || modprobe -r sit"""


def unloading(leaving: Collection[str], state: HostState) -> Iterable[Step]:
    """The module goes with the last tunnel, and takes its sit0 along, as before the first run."""
    others = {n for n, link in state.links.items() if link.kind == "sit"} - {*leaving, FALLBACK}
    fallback = state.links.get(FALLBACK)
    if leaving and not others and fallback and not fallback.is_up and state.sit_is_module:
        yield Step(
            ("-link sit0: down",),
            (UNLOAD,),
            ("modprobe sit",),
            reason="the kernel's fallback device: goes with its sit module if no container has "
            "tunnels",
        )


def _wanted(end: End) -> Link:
    return Link(end.interface, "sit", True, end.mtu, (), end.local, end.remote, end.ttl)


def _address(network: str, end: End) -> str:
    return f"address {network} dev {end.interface}"


def _route(destination: str, end: End) -> str:
    return f"{destination} via {end.peer} dev {end.interface}"


def _mend_link(link: Link, wanted: Link, state: HostState) -> Iterable[Step]:
    commands, undo = [], []
    if (link.local, link.remote, link.ttl) != (wanted.local, wanted.remote, wanted.ttl):
        change = f"ip tunnel change {link.name} mode sit"
        commands.append(f"{change} {_endpoints(wanted)} {_ttl(wanted)}")
        undo.append(f"{change} {_endpoints(link)} {_ttl(link)}")
    if link.mtu != wanted.mtu:
        commands.append(f"ip link set dev {link.name} mtu {wanted.mtu}")
        undo.append(f"ip link set dev {link.name} mtu {link.mtu}")
        # With the link's it follows by itself, and need not have been the same.
        path = f"net/ipv6/conf/{link.name}/mtu"
        if path in state.sysctls:
            undo.append(sysctl_command(path, state.sysctls[path]))
    if not link.is_up:
        commands.append(f"ip link set dev {link.name} up")
        # Which takes all addresses away.
        undo += [f"ip link set dev {link.name} down", *_addresses_again(link, state)]
    if commands:
        shown = (f"-{link_line(link)}", f"+{link_line(wanted)}")
        yield Step(shown, tuple(commands), tuple(undo))


def _mend_addresses(end: End, link: Link, state: HostState) -> Iterable[Step]:
    for network in link.addresses:
        if network != end.network and not IPAddress(network.partition("/")[0]).is_link_local():
            yield Step(
                (f"-{_address(network, end)}",),
                (_ip_address("delete", network, end),),
                (_address_again(network, end.interface, state),),
            )
    if end.network not in link.addresses:
        yield Step(
            (f"+{_address(end.network, end)}",),
            (_ip_address("add", end.network, end),),
            (_ip_address("delete", end.network, end),),
        )


def _ip_address(action: str, network: str, end: End) -> str:
    return f"ip address {action} {network} dev {end.interface}"


def _mend_connected_route(end: End, state: HostState) -> Iterable[Step]:
    """The route that comes with the address, where somebody flushed it alone."""
    held = {route.destination for route in state.routes_of.get(end.interface, ())}
    if end.connected not in held:
        words = f"{end.connected} dev {end.interface}"
        as_kernels = f"{words} proto kernel metric {_CONNECTED_METRIC}"
        yield Step(
            (f"+route {words}",),
            (f"ip -6 route add {as_kernels}",),
            (f"ip -6 route delete {as_kernels}",),
        )
