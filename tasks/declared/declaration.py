"""Pure: what a person wrote in an inventory, checked as a whole.

Every tunnel is declared once, on its client; both ends are derived from that one declaration. All
mistakes of an inventory are collected and reported together, a line each.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.declared import conflicts, prefixes
from tasks.declared.entries import Entries
from tasks.declared.mistakes import Mistakes
from tasks.declared.model import Broker, Node, ends


def read(inventory: Mapping[str, Mapping[str, Any]], managers: Iterable[str]) -> Broker:
    """The tunnels and nodes that an inventory declares, from each host's data by its name.

    `managers` are the names accepted for `manager`. Raises DeclarationError with every mistake.
    """
    mistakes = Mistakes()
    entries = Entries(inventory, tuple(managers), mistakes)
    conflicts.find(entries, mistakes)
    prefixes.find(entries, mistakes)
    mistakes.stop()
    tunnels = tuple(entry.tunnel for entry in entries.tunnels)
    numbered = frozenset(tunnel.server_ipv6 for tunnel in tunnels)
    sides = [end for tunnel in tunnels for end in ends(tunnel)]
    nodes = {
        host: Node(
            host=host,
            manager=entries.chosen_managers.get(host),
            server=entries.servers.get(host),
            ends=tuple(end for end in sides if end.host == host),
            numbered=numbered,
            is_cleared=_is_empty_list(data.get("tunnel")),
            leaves_firewall=host in entries.left_firewalls,
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


def _is_empty_list(data: object) -> bool:
    return isinstance(data, list | tuple) and not data
