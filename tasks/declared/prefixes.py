"""Pure: prefixes that overlap where they mustn't: pools, what is delegated, networks, addresses."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netaddr import IPNetwork

from tasks.declared import numbering
from tasks.declared.entries import Entries, mappings
from tasks.declared.mistakes import Mistakes


class _Block(NamedTuple):
    """A prefix that a field of an inventory claims.

    The host `giver` uses it, or gives it to the client `receiver`, who may use and give what lies
    in it. `depth` is how many tunnels lie above the giver.
    """

    prefix: IPNetwork
    host: str
    field: str
    giver: str
    depth: int
    receiver: str | None = None

    def may_hold(self, inner: "_Block") -> bool:
        return self.receiver is not None and self.receiver == inner.giver


def find(entries: Entries, mistakes: Mistakes) -> None:
    """Add a mistake for each prefix that overlaps another one, or isn't its server's to give."""
    depths = _depths(entries)
    pools = [
        _Block(prefix, host, f"tunnel_server.routed_prefixes[{index}]", host, depths[host])
        for host, server in entries.servers.items()
        for index, prefix in enumerate(server.routed_prefixes)
    ]
    for block, other in _overlaps(pools):
        # A server may delegate from what is routed to it by a tunnel.
        if not any(block.prefix in prefix for prefix in _routed_to(entries, block.host)):
            _overlap(entries, mistakes, block, other)
    delegated, lans = [*_delegated(entries, mistakes, depths)], [*_lan_blocks(entries, depths)]
    addresses = [*_tunnel_addresses(entries, depths)]
    for inner, outer in _overlaps([*delegated, *addresses, *lans]):
        # Two servers may have one `prefix`, on one link; pairs were compared already.
        if outer.may_hold(inner) or (inner in addresses and outer in addresses):
            continue
        if inner in addresses:
            _overlap(entries, mistakes, outer, inner)
        else:
            _overlap(entries, mistakes, inner, outer)


def _depths(entries: Entries) -> dict[str, int]:
    """How many tunnels lie between each host and the Internet, at most."""
    above = entries.servers_by_client()
    depths = dict.fromkeys(entries.inventory, 0)
    # No deeper than there are servers, unless they go round in a circle.
    for _ in entries.servers:
        for host, servers in above.items():
            depths[host] = 1 + max(depths[server] for server in servers)
    return depths


def _routed_to(entries: Entries, host: str) -> list[IPNetwork]:
    tunnels = (entry.tunnel for entry in entries.tunnels if entry.host == host)
    return [prefix for tunnel in tunnels for prefix in tunnel.routed_prefixes]


def _delegated(entries: Entries, mistakes: Mistakes, depths: Mapping[str, int]) -> Iterator[_Block]:
    for host, field, _, tunnel in entries.tunnels:
        server = tunnel.server
        for index, prefix in enumerate(tunnel.routed_prefixes):
            place = f"{field}.routed_prefixes[{index}]"
            block = _Block(prefix, host, place, server.host, depths[server.host], host)
            if any(prefix in pool for pool in server.routed_prefixes):
                yield block
                continue
            pools = ", ".join(map(str, server.routed_prefixes)) or "it has none"
            mistakes.add(
                host,
                block.field,
                prefix,
                f"not in the `routed_prefixes` of {server.host} ({pools})"
                + _free_prefix(entries, block),
            )


def _lan_blocks(entries: Entries, depths: Mapping[str, int]) -> Iterator[_Block]:
    for host, field, written, tunnel in entries.tunnels:
        places = [place for place, _ in mappings(f"{field}.lan", written.lan)]
        for place, lan in zip(places, tunnel.lans, strict=False):
            yield _Block(lan.prefix, host, f"{place}.address", host, depths[host])


def _tunnel_addresses(entries: Entries, depths: Mapping[str, int]) -> Iterator[_Block]:
    for host, server in entries.servers.items():
        if server.prefix is not None:
            yield _Block(server.prefix, host, "tunnel_server.prefix", host, depths[host])
    for host, field, _, tunnel in entries.tunnels:
        if tunnel.server.prefix is None:
            pair = IPNetwork(f"{tunnel.server_ipv6}/127")
            giver = tunnel.server.host
            yield _Block(pair, host, f"{field}.server_ipv6", giver, depths[giver])


def _overlap(entries: Entries, mistakes: Mistakes, block: _Block, other: _Block) -> None:
    mistakes.add(
        block.host,
        block.field,
        block.prefix,
        f"overlaps {other.prefix} in {other.host}: {other.field}{_free_prefix(entries, block)}",
    )


def _free_prefix(entries: Entries, block: _Block) -> str:
    """The end of a sentence, with a prefix that a tunnel could have instead of this one."""
    if block.receiver is None or not entries.servers[block.giver].routed_prefixes:
        return ""
    given = [e.tunnel for e in entries.tunnels if e.tunnel.server.host == block.giver]
    taken = [prefix for tunnel in given for prefix in tunnel.routed_prefixes]
    taken += [lan.prefix for e in entries.tunnels if e.host == block.giver for lan in e.tunnel.lans]
    taken += [server.prefix for server in entries.servers.values() if server.prefix is not None]
    length = block.prefix.prefixlen
    found = numbering.free_prefix(length, entries.servers[block.giver].routed_prefixes, taken)
    return f"; the next free /{length} is {found}" if found else f"; no /{length} is free"


def _overlaps(blocks: Iterable[_Block]) -> Iterator[tuple[_Block, _Block]]:
    """Every block that lies in another one, with the nearest that it lies in."""
    around: list[_Block] = []

    def order(block: _Block) -> tuple[int, int, int, bool]:
        prefix = block.prefix
        return prefix.first, prefix.prefixlen, block.depth, block.receiver is None

    for block in sorted(blocks, key=order):
        while around and block.prefix not in around[-1].prefix:
            around.pop()
        if around:
            yield block, around[-1]
        around.append(block)
