"""Pure: what the IPv6 Internet reaches on a host as soon as that has a tunnel."""

from collections.abc import Iterable

from netaddr import IPAddress, IPNetwork

from tasks.declared.model import End, Node
from tasks.host.ruleset import Flow
from tasks.host.state import HostState, Listener
from tasks.parts.part import Site

_PROTOCOLS = {"tcp": 6, "udp": 17}
_ANY = IPAddress("::")
# As many as a person reads.
_TOLD = 20


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """Said before a host is on the IPv6 Internet, and not again once it is."""
    found = exposed(site.node, state)
    if not found:
        return
    names = [_name(each) for each in found[:_TOLD]]
    if len(found) > _TOLD:
        names.append(f"and {len(found) - _TOLD} more")
    yield (
        "from the IPv6 Internet, these answer as soon as the tunnel is up, and no rule of the "
        f"host's filters them: {', '.join(names)}: see docs/firewalls.md"
    )


def exposed(node: Node, state: HostState) -> list[Listener]:
    """Who will answer there and doesn't yet, in the order of programs and ports."""
    tunnels = {end.interface for end in node.ends}
    if any(route.device not in tunnels for route in state.default_routes()):
        return []
    found = {
        listener
        for end in node.upstreams
        if end.default_route and end.interface not in state.links
        for listener in state.listeners
        if _is_reached(listener, end, state)
    }
    return sorted(found, key=lambda each: (each.program, each.port, each.protocol))


def _is_reached(listener: Listener, end: End, state: HostState) -> bool:
    if listener.address not in {_ANY, end.address} or not _is_let_in(listener, end):
        return False
    from_somebody = Flow(
        "input",
        IPNetwork(end.tunnel.server.probe_address),
        IPNetwork(end.address),
        came_in=end.interface,
        protocol=_PROTOCOLS.get(listener.protocol),
        port=listener.port,
    )
    return state.ruleset.may_pass(from_somebody)


def _is_let_in(listener: Listener, end: End) -> bool:
    """By Culvert's own table."""
    return not end.tunnel.is_closed or any(
        each.protocol == listener.protocol and each.first <= listener.port <= each.last
        for each in end.tunnel.allow
    )


def _name(listener: Listener) -> str:
    port = f"{listener.protocol.upper()} {listener.port}"
    return f"{listener.program} ({port})" if listener.program else port
