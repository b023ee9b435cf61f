"""Pure: what a server gives to its tunnels, who has what of it, and what is free.

Number n stands for the addresses `prefix[2n]` and `prefix[2n + 1]`; 0 would hold the all-zero one.
Routed prefixes are delegated whole.
"""

from collections.abc import Iterable, Iterator, Sequence

from netaddr import IPAddress, IPNetwork, IPSet

from tasks.declared.model import Broker, Server, Tunnel


def highest(prefix: IPNetwork) -> int:
    """The last number that the prefix has addresses for."""
    return int(prefix.size) // 2 - 1


def addresses(prefix: IPNetwork, number: int) -> tuple[IPAddress, IPAddress]:
    """The server's and the client's address of that number."""
    return prefix[2 * number], prefix[2 * number + 1]


def number_of(address: IPAddress, prefix: IPNetwork) -> int | None:
    """The number that an address belongs to; None outside the prefix."""
    return (int(address) - int(prefix.first)) // 2 if address in prefix else None


def gaps(prefix: IPNetwork, taken: Iterable[IPAddress | IPNetwork]) -> Iterator[tuple[int, int]]:
    """The ranges of free numbers, first and last of each, where all of these are taken."""
    start = 1
    for first, last in sorted(_numbers_of(prefix, taken)):
        if first > start:
            yield start, first - 1
        start = max(start, last + 1)
    if start <= highest(prefix):
        yield start, highest(prefix)


def _numbers_of(
    prefix: IPNetwork, taken: Iterable[IPAddress | IPNetwork]
) -> Iterator[tuple[int, int]]:
    """The numbers whose addresses are taken, first and last of each range."""
    for each in map(IPNetwork, taken):
        first, last = max(each.first, prefix.first), min(each.last, prefix.last)
        if first <= last:
            yield (first - prefix.first) // 2, (last - prefix.first) // 2


def next_free(prefix: IPNetwork, taken: Iterable[IPAddress | IPNetwork]) -> str:
    """Half a sentence with the lowest free number."""
    first = next(gaps(prefix, taken), None)
    return f"the next free number is {first[0]}" if first else f"{prefix} has no free number"


def free_prefix(
    length: int, pools: Iterable[IPNetwork], taken: Iterable[IPNetwork]
) -> IPNetwork | None:
    """The first prefix of that length that is in the pools and free; None where there is none."""
    free = IPSet(pools) - IPSet(taken)
    found = next((block for block in free.iter_cidrs() if block.prefixlen <= length), None)
    return next(found.subnet(length)) if found is not None else None


def table(broker: Broker) -> str:
    """Who has which addresses on every server, for a person."""
    return "\n".join(
        line
        for node in broker.nodes.values()
        if node.server is not None
        for line in _of_server(node.server, broker.tunnels)
    )


_HEADINGS = (
    "number",
    "client",
    "on the server",
    "on the client",
    "interfaces",
    "routed prefixes",
)
_COMMON_LENGTHS = (48, 56, 64)


def _of_server(server: Server, tunnels: Sequence[Tunnel]) -> Iterable[str]:
    how = "on-link" if server.on_link else "routed"
    yield f"{server.host}: {f'{server.prefix}, {how}' if server.prefix else 'no prefix'}"
    rows = [
        (
            str(number_of(tunnel.server_ipv6, server.prefix) or "-") if server.prefix else "-",
            tunnel.client,
            str(tunnel.server_ipv6),
            str(tunnel.client_ipv6),
            f"{tunnel.server_interface}, {tunnel.client_interface}",
            ", ".join(map(str, tunnel.routed_prefixes)) or "-",
        )
        for tunnel in sorted(tunnels, key=lambda tunnel: tunnel.server_ipv6)
        if tunnel.server == server
    ]
    if rows:
        yield from _aligned([_HEADINGS, *rows])
    if server.prefix is not None:
        free = ", ".join(
            str(first) if first == last else f"{first} to {last}"
            for first, last in gaps(server.prefix, (tunnel.server_ipv6 for tunnel in tunnels))
        )
        yield f"    free numbers: {free or 'none'}"
    if server.routed_prefixes:
        pools = ", ".join(map(str, server.routed_prefixes))
        taken = [*_not_to_delegate(server, tunnels)]
        found = (free_prefix(length, server.routed_prefixes, taken) for length in _COMMON_LENGTHS)
        free = ", ".join(str(prefix) for prefix in found if prefix)
        yield f"    routed here: {pools}; next free: {free or 'none'}"


def _not_to_delegate(server: Server, tunnels: Iterable[Tunnel]) -> Iterator[IPNetwork]:
    if server.prefix is not None:
        yield server.prefix
    for tunnel in tunnels:
        if tunnel.server == server:
            yield from tunnel.routed_prefixes
        if tunnel.client == server.host:
            yield from (lan.prefix for lan in tunnel.lans)


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()
