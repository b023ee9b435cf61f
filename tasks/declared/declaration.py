"""Pure: what a person wrote in an inventory, checked as a whole.

Every tunnel is declared once, on its client; both ends are derived from that one declaration. All
mistakes of an inventory are collected and reported together, a line each.
"""

import difflib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from netaddr import IPAddress, IPNetwork
from pydantic import ValidationError

from tasks.declared import numbering
from tasks.declared.model import Broker, Lan, Node, Server, Tunnel, ends
from tasks.declared.written import (
    INTERFACE_RULE,
    Written,
    WrittenLan,
    WrittenServer,
    WrittenTunnel,
    tunnel_interface,
)

_AnyWritten = TypeVar("_AnyWritten", bound=Written)


class DeclarationError(Exception):
    """An inventory with mistakes: `mistakes` holds one line for each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        heading = f"{count} mistake{'s' if count > 1 else ''} in the inventory; no host was touched"
        super().__init__("\n".join([f"{heading}:", *(f"    {line}" for line in self.mistakes)]))


class _Entry(NamedTuple):
    """A tunnel, and where in the inventory it was written."""

    host: str
    field: str
    written: WrittenTunnel
    tunnel: Tunnel


class _Use(NamedTuple):
    """A value that only one field of an inventory may have; `key` is what must be unique."""

    key: Hashable
    host: str
    field: str
    value: object
    numbered_from: IPNetwork | None = None


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


def read(inventory: Mapping[str, Mapping[str, Any]], managers: Iterable[str]) -> Broker:
    """The tunnels and nodes that an inventory declares, from each host's data by its name.

    `managers` are the names accepted for `manager`. Raises DeclarationError with every mistake.
    """
    return _Reader(inventory, tuple(managers)).read()


class _Reader:
    """One pass over an inventory that collects mistakes instead of stopping at the first."""

    def __init__(
        self, inventory: Mapping[str, Mapping[str, Any]], managers: tuple[str, ...]
    ) -> None:
        self.inventory = inventory
        self.managers = managers
        self.mistakes: list[str] = []
        self.servers: dict[str, Server] = {}
        self.entries: list[_Entry] = []
        self.chosen_managers: dict[str, str] = {}

    def read(self) -> Broker:
        for host, data in self.inventory.items():
            self._read_server(host, data.get("tunnel_server"))
        for host, data in self.inventory.items():
            for field, written in _mappings("tunnel", data.get("tunnel")):
                self._read_tunnel(host, field, written)
        self._check_addresses()
        self._check_prefixes()
        self._check_interfaces()
        self._check_default_routes()
        self._check_circles()
        if not self.mistakes and not self.servers and not self.entries:
            self.mistakes.append(
                "the inventory declares nothing: give a host `tunnel_server` or `tunnel`"
            )
        if self.mistakes:
            raise DeclarationError(self.mistakes)
        tunnels = tuple(entry.tunnel for entry in self.entries)
        sides = [end for tunnel in tunnels for end in ends(tunnel)]
        numbered = frozenset(tunnel.server_ipv6 for tunnel in tunnels)
        return Broker(
            tunnels=tunnels,
            nodes={
                host: Node(
                    host=host,
                    manager=self.chosen_managers.get(host),
                    server=self.servers.get(host),
                    ends=tuple(end for end in sides if end.host == host),
                    numbered=numbered,
                )
                for host in self.inventory
            },
        )

    # --- One host's data ---

    def _read_server(self, host: str, data: object) -> None:
        if data is None:
            return
        written = self._check(host, "tunnel_server", WrittenServer, data)
        if written is None:
            return
        self._choose_manager(host, "tunnel_server", written.manager)
        self.servers[host] = Server(
            host=host,
            ipv4=written.ipv4,
            prefix=written.prefix,
            on_link=written.on_link,
            routed_prefixes=written.routed_prefixes,
            external_interface=written.external_interface,
            probe_address=written.probe_address,
        )

    def _read_tunnel(self, host: str, field: str, data: object) -> None:
        written = self._check(host, field, WrittenTunnel, data)
        if written is None:
            return
        self._choose_manager(host, field, written.manager)
        server = self._server_of(host, field, written.server)
        if server is None:
            return
        addresses = self._addresses(host, field, written, server)
        if addresses is None:
            return
        if written.ipv4 == server.ipv4:
            self._mistake(host, f"{field}.ipv4", written.ipv4, f"that is {server.host}'s own")
        server_interface = written.server_interface or f"sit-{host.partition('.')[0]}"
        try:
            tunnel_interface(server_interface)
        except ValueError:
            self._mistake(
                host,
                f"{field}.server_interface",
                server_interface,
                f"the default, made of the host's name, can't be used; set it to {INTERFACE_RULE}",
            )
        tunnel = Tunnel(
            server=server,
            client=host,
            client_ipv4=written.ipv4,
            local_ipv4=written.local_ipv4 or written.ipv4,
            server_ipv6=addresses[0],
            client_ipv6=addresses[1],
            server_interface=server_interface,
            client_interface=written.interface,
            mtu=written.mtu,
            ttl=written.ttl,
            default_route=written.default_route,
            routed_prefixes=written.routed_prefixes,
            lans=tuple(self._lans(host, field, written)),
        )
        self.entries.append(_Entry(host, field, written, tunnel))

    def _server_of(self, host: str, field: str, name: str) -> Server | None:
        field = f"{field}.server"
        if name == host:
            self._mistake(host, field, name, "a host can't be its own server")
        elif name in self.servers:
            return self.servers[name]
        elif name not in self.inventory:
            close = difflib.get_close_matches(name, self.servers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self._mistake(host, field, name, f"no host of the inventory has this name{hint}")
        elif self.inventory[name].get("tunnel_server") is None:
            self._mistake(host, field, name, "that host has no `tunnel_server`")
        # Else its `tunnel_server` has mistakes of its own, which are reported already.
        return None

    def _addresses(
        self, host: str, field: str, written: WrittenTunnel, server: Server
    ) -> tuple[IPAddress, IPAddress] | None:
        """The tunnel's two IPv6 addresses, server's first: numbered or named."""
        named = {
            key: address
            for key in ("server_ipv6", "client_ipv6")
            if (address := getattr(written, key)) is not None
        }
        if written.number is not None:
            if named:
                keys = " and ".join(f"`{key}`" for key in named)
                self._mistake(
                    host, f"{field}.number", written.number, f"give either it or {keys}, not both"
                )
                return None
            return self._numbered(host, field, written.number, server)
        if len(named) < 2:
            self.mistakes.append(
                f"{host}: {field}: the addresses are missing: give `number`, or both "
                "`server_ipv6` and `client_ipv6`"
            )
            return None
        return self._named(host, field, named["server_ipv6"], named["client_ipv6"], server)

    def _numbered(
        self, host: str, field: str, number: int, server: Server
    ) -> tuple[IPAddress, IPAddress] | None:
        field = f"{field}.number"
        if server.prefix is None:
            self._mistake(host, field, number, f"{server.host} has no `prefix` to number from")
            return None
        highest = numbering.highest(server.prefix)
        if number > highest:
            self._mistake(
                host, field, number, f"{server.prefix} of {server.host} holds 1 to {highest}"
            )
            return None
        return numbering.addresses(server.prefix, number)

    def _named(
        self, host: str, field: str, of_server: IPAddress, of_client: IPAddress, server: Server
    ) -> tuple[IPAddress, IPAddress] | None:
        if of_client != of_server ^ 1:
            self._mistake(
                host,
                f"{field}.client_ipv6",
                of_client,
                f"with {of_server} on the server it must be {of_server ^ 1}: "
                "the two addresses of one /127",
            )
            return None
        if int(of_server) % 2:
            self._mistake(
                host,
                f"{field}.server_ipv6",
                of_server,
                f"odd: the server takes the even address of the pair, here {of_client}",
            )
            return None
        if server.prefix is not None and of_server not in server.prefix:
            self._mistake(
                host, f"{field}.server_ipv6", of_server, f"not in {server.prefix} of {server.host}"
            )
            return None
        # The all-zero interface identifier is every router's of that link (RFC 4291, 2.6.1).
        anycast = server.prefix.network if server.prefix else IPNetwork(f"{of_server}/64").network
        if of_server == anycast:
            self._mistake(
                host,
                f"{field}.server_ipv6",
                of_server,
                "all-zero: the subnet-router anycast address; take another pair",
            )
            return None
        return of_server, of_client

    def _lans(self, host: str, field: str, written: WrittenTunnel) -> Iterator[Lan]:
        for lan_field, data in _mappings(f"{field}.lan", written.lan):
            found = self._check(host, lan_field, WrittenLan, data)
            if found is None:
                continue
            if not any(found.address.cidr in prefix for prefix in written.routed_prefixes):
                prefixes = ", ".join(map(str, written.routed_prefixes))
                self._mistake(
                    host,
                    f"{lan_field}.address",
                    found.address,
                    f"not in this tunnel's `routed_prefixes` ({prefixes or 'it has none'})",
                )
                continue
            yield Lan(found.interface, found.address, found.advertise)

    def _choose_manager(self, host: str, field: str, manager: str | None) -> None:
        if manager is None:
            return
        if manager not in self.managers:
            self._mistake(
                host, f"{field}.manager", manager, f"expected one of {', '.join(self.managers)}"
            )
            return
        other = self.chosen_managers.setdefault(host, manager)
        if other != manager:
            self._mistake(
                host, f"{field}.manager", manager, f"this host has manager {other!r} elsewhere"
            )

    def _check(
        self, host: str, field: str, model: type[_AnyWritten], data: object
    ) -> _AnyWritten | None:
        if not isinstance(data, Mapping):
            self._mistake(host, field, data, f"expected a mapping with {_keys(model)}")
            return None
        try:
            return model.model_validate(dict(data))
        except ValidationError as error:
            for found in error.errors():
                self._explain(host, field, model, found)
        return None

    def _explain(
        self, host: str, field: str, model: type[Written], found: Mapping[str, Any]
    ) -> None:
        key, *index = found["loc"]
        if key not in model.model_fields:
            close = difflib.get_close_matches(str(key), model.model_fields, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            shown = key if str(key).isidentifier() else _short(repr(key))
            self.mistakes.append(
                f"{host}: {field}.{shown} is not a known key: {hint}accepted are {_keys(model)}"
            )
            return
        description = model.model_fields[key].description
        if found["type"] == "missing":
            self.mistakes.append(f"{host}: {field}.{key} is missing: expected {description}")
        else:
            place = f"{field}.{key}{''.join(f'[{i}]' for i in index)}"
            self._mistake(host, place, found["input"], f"expected {description}")

    def _mistake(self, host: str, field: str, value: object, accepted: str) -> None:
        shown = repr(str(value) if isinstance(value, IPAddress | IPNetwork) else value)
        self.mistakes.append(f"{host}: {field} = {_short(shown)}: {accepted}")

    # --- All hosts together ---

    def _taken_twice(self, uses: Iterable[_Use]) -> None:
        """A mistake for each use of a key that was used before."""
        first: dict[Hashable, _Use] = {}
        for use in uses:
            if use.key in first:
                other = first[use.key]
                accepted = f"also in {other.host}: {other.field}"
                if use.numbered_from is not None:
                    accepted += f"; {self._next_free(use.numbered_from)}"
                self._mistake(use.host, use.field, use.value, accepted)
            else:
                first[use.key] = use

    def _next_free(self, prefix: IPNetwork) -> str:
        return numbering.next_free(prefix, (entry.tunnel.server_ipv6 for entry in self.entries))

    def _check_addresses(self) -> None:
        self._taken_twice(
            _Use(server.ipv4, host, "tunnel_server.ipv4", server.ipv4)
            for host, server in self.servers.items()
        )
        # One use a tunnel: the two addresses are a pair, so they clash together or not at all.
        self._taken_twice(
            _Use(tunnel.server_ipv6, host, f"{field}.server_ipv6", tunnel.server_ipv6)
            if written.number is None
            else _Use(
                tunnel.server_ipv6,
                host,
                f"{field}.number",
                written.number,
                tunnel.server.prefix,
            )
            for host, field, written, tunnel in self.entries
        )
        # The kernel refuses a second sit tunnel with the same local and remote address, so two
        # clients behind one public address can't both use one server address.
        self._taken_twice(
            _Use(
                (tunnel.server.host, tunnel.client_ipv4), host, f"{field}.ipv4", tunnel.client_ipv4
            )
            for host, field, _, tunnel in self.entries
        )
        self._taken_twice(
            _Use(
                (host, tunnel.local_ipv4, tunnel.server.ipv4),
                host,
                f"{field}.local_ipv4",
                tunnel.local_ipv4,
            )
            for host, field, written, tunnel in self.entries
            if written.local_ipv4 is not None
        )

    def _check_prefixes(self) -> None:
        depths = self._depths()
        pools = [
            _Block(prefix, host, f"tunnel_server.routed_prefixes[{index}]", host, depths[host])
            for host, server in self.servers.items()
            for index, prefix in enumerate(server.routed_prefixes)
        ]
        for block, other in _overlaps(pools):
            # A server may delegate from what is routed to it by a tunnel.
            if not any(block.prefix in prefix for prefix in self._routed_to(block.host)):
                self._overlap(block, other)
        delegated, lans = [*self._delegated(depths)], [*self._lan_blocks(depths)]
        addresses = [*self._tunnel_addresses(depths)]
        for inner, outer in _overlaps([*delegated, *addresses, *lans]):
            # Two servers may have one `prefix`, on one link; pairs were compared already.
            if outer.may_hold(inner) or (inner in addresses and outer in addresses):
                continue
            if inner in addresses:
                self._overlap(outer, inner)
            else:
                self._overlap(inner, outer)

    def _depths(self) -> dict[str, int]:
        """How many tunnels lie between each host and the Internet, at most."""
        above = self._servers_by_client()
        depths = dict.fromkeys(self.inventory, 0)
        # No deeper than there are servers, unless they go round in a circle.
        for _ in self.servers:
            for host, servers in above.items():
                depths[host] = 1 + max(depths[server] for server in servers)
        return depths

    def _servers_by_client(self) -> Mapping[str, set[str]]:
        servers: dict[str, set[str]] = defaultdict(set)
        for entry in self.entries:
            servers[entry.host].add(entry.tunnel.server.host)
        return servers

    def _routed_to(self, host: str) -> list[IPNetwork]:
        entries = (entry for entry in self.entries if entry.host == host)
        return [prefix for entry in entries for prefix in entry.tunnel.routed_prefixes]

    def _delegated(self, depths: Mapping[str, int]) -> Iterator[_Block]:
        for host, field, _, tunnel in self.entries:
            server = tunnel.server
            for index, prefix in enumerate(tunnel.routed_prefixes):
                place = f"{field}.routed_prefixes[{index}]"
                block = _Block(prefix, host, place, server.host, depths[server.host], host)
                if any(prefix in pool for pool in server.routed_prefixes):
                    yield block
                    continue
                pools = ", ".join(map(str, server.routed_prefixes)) or "it has none"
                self._mistake(
                    host,
                    block.field,
                    prefix,
                    f"not in the `routed_prefixes` of {server.host} ({pools})"
                    + self._free_prefix(block),
                )

    def _lan_blocks(self, depths: Mapping[str, int]) -> Iterator[_Block]:
        for host, field, written, tunnel in self.entries:
            places = [place for place, _ in _mappings(f"{field}.lan", written.lan)]
            for place, lan in zip(places, tunnel.lans, strict=False):
                yield _Block(lan.prefix, host, f"{place}.address", host, depths[host])

    def _tunnel_addresses(self, depths: Mapping[str, int]) -> Iterator[_Block]:
        for host, server in self.servers.items():
            if server.prefix is not None:
                yield _Block(server.prefix, host, "tunnel_server.prefix", host, depths[host])
        for host, field, _, tunnel in self.entries:
            if tunnel.server.prefix is None:
                pair = IPNetwork(f"{tunnel.server_ipv6}/127")
                giver = tunnel.server.host
                yield _Block(pair, host, f"{field}.server_ipv6", giver, depths[giver])

    def _overlap(self, block: _Block, other: _Block) -> None:
        self._mistake(
            block.host,
            block.field,
            block.prefix,
            f"overlaps {other.prefix} in {other.host}: {other.field}{self._free_prefix(block)}",
        )

    def _free_prefix(self, block: _Block) -> str:
        """The end of a sentence, with a prefix that a tunnel could have instead of this one."""
        if block.receiver is None or not self.servers[block.giver].routed_prefixes:
            return ""
        given = [e.tunnel for e in self.entries if e.tunnel.server.host == block.giver]
        taken = [prefix for tunnel in given for prefix in tunnel.routed_prefixes]
        taken += [
            lan.prefix for e in self.entries if e.host == block.giver for lan in e.tunnel.lans
        ]
        taken += [server.prefix for server in self.servers.values() if server.prefix is not None]
        length = block.prefix.prefixlen
        found = numbering.free_prefix(length, self.servers[block.giver].routed_prefixes, taken)
        return f"; the next free /{length} is {found}" if found else f"; no /{length} is free"

    def _check_interfaces(self) -> None:
        self._taken_twice(
            _Use((carrier, name), host, f"{field}.{key}", name)
            for host, field, _, tunnel in self.entries
            for carrier, key, name in (
                (tunnel.server.host, "server_interface", tunnel.server_interface),
                (host, "interface", tunnel.client_interface),
                *((host, "lan.interface", lan.interface) for lan in tunnel.lans),
            )
        )

    def _check_default_routes(self) -> None:
        fields: dict[str, list[str]] = defaultdict(list)
        for entry in self.entries:
            if entry.tunnel.default_route:
                fields[entry.host].append(entry.field)
        for host, named in fields.items():
            for field in named[1:]:
                self._mistake(
                    host,
                    f"{field}.default_route",
                    True,
                    f"{named[0]} has the default route; set this one to False",
                )

    def _check_circles(self) -> None:
        """No host may be its own client through others: which would be set up first?"""
        servers = self._servers_by_client()
        for entry in self.entries:
            above, seen = [entry.tunnel.server.host], set[str]()
            while above:
                host = above.pop()
                if host not in seen:
                    seen.add(host)
                    above += servers.get(host, ())
            if entry.host in seen:
                server = entry.tunnel.server.host
                self._mistake(
                    entry.host,
                    f"{entry.field}.server",
                    server,
                    f"{server} is, by its own tunnels, a client of {entry.host}",
                )


def _mappings(field: str, data: object) -> Iterator[tuple[str, object]]:
    """One mapping, or each of a list of them, with the name of its place."""
    if data is None:
        return
    if isinstance(data, list | tuple):
        for index, written in enumerate(data):
            yield f"{field}[{index}]", written
    else:
        yield field, data


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


def _keys(model: type[Written]) -> str:
    return ", ".join(model.model_fields)


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
