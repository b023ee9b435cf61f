"""Pure: where a host's Internet is, and which network manager holds that interface now."""

from tasks.declared.model import Node
from tasks.host.state import PLAIN, HostState
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning.obstacles import ObstacleError


def find(node: Node, state: HostState) -> tuple[Site, str]:
    """The site of a node, and the evidence for it. Raises ObstacleError where there is none."""
    external = _external_interface(node, state)
    if not PLAIN.fullmatch(external):
        raise ObstacleError(
            [
                f"its external interface is called {external!r}, which no file or script could "
                "name: rename it"
            ]
        )
    manager, evidence = _manager(node, external, state)
    return Site(node, external, manager), f"{manager} holds {external}: {evidence}"


def _external_interface(node: Node, state: HostState) -> str:
    # One of Culvert's that is about to go is none either.
    tunnels = {end.interface for end in node.ends} | managers.owned_interfaces(state)
    if node.server is not None:
        declared = node.server.external_interface
        if declared is not None:
            if declared not in state.links:
                raise ObstacleError(
                    [f"tunnel_server.external_interface: there is no interface {declared}"]
                )
            return declared
        for route in state.default_routes():
            if route.device in state.links and route.device not in tunnels:
                return route.device
        if not any(end.default_route for end in node.ends):
            raise ObstacleError(
                [
                    "it has no IPv6 default route, so it can't serve tunnels; if it has native "
                    "IPv6 all the same, name its interface in `tunnel_server.external_interface`"
                ]
            )
        if node.proxied:
            raise ObstacleError(
                [
                    f"it has no IPv6 of its own, so nobody on its link looks for "
                    f"{node.server.prefix}: have that routed to it, and set "
                    "`tunnel_server.on_link` to False"
                ]
            )
        # IPv6 comes through a tunnel here, and IPv4 leads to that.
    remote = node.upstreams[0].remote
    if remote not in state.ipv4_devices:
        raise ObstacleError([f"it has no route to its tunnel server's {remote}"])
    return state.ipv4_devices[remote]


def _manager(node: Node, interface: str, state: HostState) -> tuple[str, str]:
    if node.manager is not None:
        return node.manager, "named in the inventory"
    for manager in managers.MANAGERS:
        if evidence := manager.evidence(state, interface):
            return manager.name, evidence
    looked_for = "; ".join(manager.looked_for for manager in managers.MANAGERS)
    raise ObstacleError(
        [
            f"no known network manager holds {interface}; looked for: {looked_for}. "
            "`manager` in the inventory names one all the same"
        ]
    )
