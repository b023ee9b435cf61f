"""Pure: what is right by itself, and can't be with what else an inventory declares."""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from netaddr import IPNetwork

from tasks.declared import numbering
from tasks.declared.entries import Entries
from tasks.declared.mistakes import Mistakes


class _Use(NamedTuple):
    """A value that only one field of an inventory may have; `key` is what must be unique."""

    key: Hashable
    host: str
    field: str
    value: object
    numbered_from: IPNetwork | None = None
    way_out: str = ""


def find(entries: Entries, mistakes: Mistakes) -> None:
    """Add a mistake for each value that only one field may have, and for what goes in circles."""
    first: dict[Hashable, _Use] = {}
    for use in _uses(entries):
        other = first.setdefault(use.key, use)
        if other is not use:
            accepted = f"also in {other.host}: {other.field}{use.way_out}"
            if use.numbered_from is not None:
                taken = (entry.tunnel.server_ipv6 for entry in entries.tunnels)
                accepted += f"; {numbering.next_free(use.numbered_from, taken)}"
            mistakes.add(use.host, use.field, use.value, accepted)
    _check_default_routes(entries, mistakes)
    _check_circles(entries, mistakes)


def _uses(entries: Entries) -> Iterator[_Use]:
    for host, server in entries.servers.items():
        # Two servers may well have the same `local_ipv4`, in networks of their own.
        yield _Use(("server", server.ipv4), host, "tunnel_server.ipv4", server.ipv4)
    for host, field, written, tunnel in entries.tunnels:
        # One use a tunnel: the two addresses are a pair, so they clash together or not at all.
        pair = ("pair", tunnel.server_ipv6)
        if written.number is None:
            yield _Use(pair, host, f"{field}.server_ipv6", tunnel.server_ipv6)
        else:
            prefix = tunnel.server.prefix
            yield _Use(pair, host, f"{field}.number", written.number, prefix)
        # The kernel refuses a second sit tunnel with the same local and remote address, so two
        # clients behind one public address can't both use one server address.
        ends = ("ends", tunnel.server.host, tunnel.client_ipv4)
        yield _Use(ends, host, f"{field}.ipv4", tunnel.client_ipv4)
        if written.local_ipv4 is not None:
            inner = ("inner ends", host, tunnel.local_ipv4, tunnel.server.ipv4)
            yield _Use(inner, host, f"{field}.local_ipv4", tunnel.local_ipv4)
        by_default = "" if written.server_interface else "; made of the host's name: set another"
        for carrier, key, name, way_out in (
            (tunnel.server.host, "server_interface", tunnel.server_interface, by_default),
            (host, "interface", tunnel.client_interface, ""),
            *((host, "lan.interface", lan.interface, "") for lan in tunnel.lans),
        ):
            key_of_use = ("interface", carrier, name)
            yield _Use(key_of_use, host, f"{field}.{key}", name, way_out=way_out)


def _check_default_routes(entries: Entries, mistakes: Mistakes) -> None:
    fields: dict[str, list[str]] = defaultdict(list)
    for entry in entries.tunnels:
        if entry.tunnel.default_route:
            fields[entry.host].append(entry.field)
    for host, named in fields.items():
        for field in named[1:]:
            mistakes.add(
                host,
                f"{field}.default_route",
                True,
                f"{named[0]} has the default route; set this one to False",
            )


def _check_circles(entries: Entries, mistakes: Mistakes) -> None:
    """No host may be its own client through others: which would be set up first?"""
    servers = entries.servers_by_client()
    for entry in entries.tunnels:
        above, seen = [entry.tunnel.server.host], set[str]()
        while above:
            host = above.pop()
            if host not in seen:
                seen.add(host)
                above += servers.get(host, ())
        if entry.host in seen:
            server = entry.tunnel.server.host
            mistakes.add(
                entry.host,
                f"{entry.field}.server",
                server,
                f"{server} is, by its own tunnels, a client of {entry.host}",
            )
