"""Pure: what a person wrote in an inventory, checked as a whole.

Every tunnel is declared once, on its client; both ends are derived from that one declaration. All
mistakes of an inventory are collected and reported together, a line each.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.declared import conflicts, prefixes
from tasks.declared.entries import Entries
from tasks.declared.mistakes import Mistakes, short
from tasks.declared.model import Broker, End, Limits, Node, Tunnel, ends


def read(inventory: Mapping[str, Mapping[str, Any]], managers: Iterable[str]) -> Broker:
    """The tunnels and nodes that an inventory declares, from each host's data by its name.

    `managers` are the names accepted for `manager`. Raises DeclarationError with every mistake.
    """
    mistakes = Mistakes()
    for host in inventory:
        if not host.isprintable():
            mistakes.say(
                f"the host name {short(repr(host))} holds what can't be printed, such as the end "
                "of a line: it stands in files and in what is said of the host"
            )
    mistakes.stop()
    entries = Entries(inventory, tuple(managers), mistakes)
    conflicts.find(entries, mistakes)
    prefixes.find(entries, mistakes)
    mistakes.stop()
    tunnels = tuple(_beside_others([entry.tunnel for entry in entries.tunnels]))
    numbered = frozenset(tunnel.server_ipv6 for tunnel in tunnels)
    sides: dict[str, list[End]] = defaultdict(list)
    for tunnel in tunnels:
        for end in ends(tunnel):
            sides[end.host].append(end)
    nodes = {
        host: Node(
            host=host,
            manager=entries.chosen_managers.get(host),
            server=entries.servers.get(host),
            ends=tuple(sides[host]),
            numbered=numbered,
            is_cleared=_is_empty_list(data.get("tunnel")),
            leaves_firewall=host in entries.left_firewalls,
            limits=Limits.of(len(sides[host]), entries.limits[host]),
        )
        for host, data in inventory.items()
    }
    if not any(node.is_told for node in nodes.values()):
        mistakes.say(
            "the inventory declares nothing: give a host `tunnel_server`, or `tunnel`, "
            "which may be [] to have it cleaned"
        )
    mistakes.stop()
    return Broker(tunnels, nodes)


def _beside_others(tunnels: Sequence[Tunnel]) -> Iterator[Tunnel]:
    """Each with what is the same client's by another one: answers take the default route."""
    of_client: dict[str, list[Tunnel]] = defaultdict(list)
    for tunnel in tunnels:
        of_client[tunnel.client].append(tunnel)
    for tunnel in tunnels:
        others = [each for each in of_client[tunnel.client] if each is not tunnel]
        beside = tuple(each for other in others for each in other.inner)
        yield replace(tunnel, beside=beside) if tunnel.default_route else tunnel


def _is_empty_list(data: object) -> bool:
    return isinstance(data, list | tuple) and not data
