"""Pure: what a person wrote of one host, checked by itself, as servers and tunnels."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from netaddr import IPAddress, IPNetwork
from pydantic import ValidationError

from tasks.declared import naming, numbering
from tasks.declared.mistakes import Mistakes, short
from tasks.declared.model import GROUPS, Lan, Server, Tunnel
from tasks.declared.written import (
    DEFAULT_MTU,
    Written,
    WrittenLan,
    WrittenServer,
    WrittenTunnel,
    is_seconds,
)

_AnyWritten = TypeVar("_AnyWritten", bound=Written)


# What a host's `firewall` may be.
OPEN, LEAVE = "open", "leave"
# How long a run waits for a host, or a host for it: what a person writes, what of `Limits` it is,
# and the least that is accepted; 0 where that turns it off.
LIMITS = {
    "ssh_connect_timeout": ("connect", 1),
    "ssh_command_timeout": ("command", 1),
    "confirm_within": ("confirm", 10),
}
_OFF = {"confirm_within": 0}


class Entry(NamedTuple):
    """A tunnel, and where in the inventory it was written."""

    host: str
    field: str
    written: WrittenTunnel
    tunnel: Tunnel


class Entries:
    """The servers and tunnels of an inventory, each as it was written.

    Mistakes are collected; what has one is left out.
    """

    def __init__(
        self,
        inventory: Mapping[str, Mapping[str, Any]],
        managers: tuple[str, ...],
        mistakes: Mistakes,
    ) -> None:
        self.inventory = inventory
        self.managers = managers
        self.mistakes = mistakes
        self.servers: dict[str, Server] = {}
        self.tunnels: list[Entry] = []
        self.chosen_managers: dict[str, str] = {}
        self.left_firewalls: set[str] = set()
        self.limits: dict[str, dict[str, int]] = {}
        for host, data in inventory.items():
            self._read_server(host, data.get("tunnel_server"))
            self._read_firewall(host, data)
            self.limits[host] = dict(self._limits(host, data))
            self._check_timeout(host, data.get("_timeout"))
        for host, data in inventory.items():
            for field, written in mappings("tunnel", data.get("tunnel")):
                self._read_tunnel(host, field, written)

    def servers_by_client(self) -> Mapping[str, set[str]]:
        """The servers of each client, by its name."""
        servers: dict[str, set[str]] = defaultdict(set)
        for entry in self.tunnels:
            servers[entry.host].add(entry.tunnel.server.host)
        return servers

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
            local_ipv4=written.local_ipv4 or written.ipv4,
            prefix=written.prefix,
            on_link=written.on_link,
            routed_prefixes=written.routed_prefixes,
            external_interface=written.external_interface,
            probe_address=written.probe_address,
            between_tunnels=written.between_tunnels,
        )

    def _read_firewall(self, host: str, data: Mapping[str, Any]) -> None:
        # The name may mean something else to other deploys, on hosts of theirs.
        if data.get("tunnel") is None and data.get("tunnel_server") is None:
            return
        written = data.get("firewall")
        if written == LEAVE:
            self.left_firewalls.add(host)
        elif written not in (OPEN, None):
            accepted = f"expected {OPEN!r}, to have it opened for the tunnels, or {LEAVE!r}"
            self.mistakes.add(host, "firewall", written, accepted)

    def _limits(self, host: str, data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        # Of every host: a run connects to those for which nothing is declared, too.
        for key, (limit, least) in LIMITS.items():
            written = data.get(key)
            if is_seconds(written, least) or (is_seconds(written, 0) and written == _OFF.get(key)):
                yield limit, written
            elif written is not None:
                accepted = f"expected a whole number of seconds from {least} to 3600"
                accepted += ", or 0 for never" if key in _OFF else ""
                self.mistakes.add(host, key, written, accepted)

    def _check_timeout(self, host: str, written: object) -> None:
        # pyinfra's own, and where it is no number, that ends a run for all hosts.
        match written:
            case None:
                return
            case int() | float() if not isinstance(written, bool) and written > 0:
                return
        self.mistakes.add(host, "_timeout", written, "expected a number of seconds, above 0")

    def _read_tunnel(self, host: str, field: str, data: object) -> None:
        written = self._check(host, field, WrittenTunnel, data)
        if written is None:
            return
        self._choose_manager(host, field, written.manager)
        lans = tuple(self._lans(host, field, written))
        is_closed = self._is_closed(host, field, written)
        server = self._server_of(host, field, written.server)
        if server is None:
            return
        addresses = self._addresses(host, field, written, server)
        if addresses is None:
            return
        if written.ipv4 in (server.ipv4, server.local_ipv4):
            self.mistakes.add(host, f"{field}.ipv4", written.ipv4, f"that is {server.host}'s own")
        tunnel = Tunnel(
            server=server,
            client=host,
            client_ipv4=written.ipv4,
            local_ipv4=written.local_ipv4 or written.ipv4,
            server_ipv6=addresses[0],
            client_ipv6=addresses[1],
            server_interface=written.server_interface or naming.server_interface(host),
            client_interface=written.interface,
            mtu=DEFAULT_MTU if written.mtu is None else written.mtu,
            is_mtu_written=written.mtu is not None,
            ttl=written.ttl,
            default_route=written.default_route,
            routed_prefixes=written.routed_prefixes,
            lans=lans,
            group=self._group(host, field, written, server),
            is_closed=is_closed,
            allow=written.allow,
        )
        self.tunnels.append(Entry(host, field, written, tunnel))

    def _server_of(self, host: str, field: str, name: str) -> Server | None:
        field = f"{field}.server"
        if name == host:
            self.mistakes.add(host, field, name, "a host can't be its own server")
        elif name in self.servers:
            return self.servers[name]
        elif name not in self.inventory:
            servers = [each for each, data in self.inventory.items() if data.get("tunnel_server")]
            close = difflib.get_close_matches(name, servers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self.mistakes.add(host, field, name, f"no host of the inventory has this name{hint}")
        elif self.inventory[name].get("tunnel_server") is None:
            self.mistakes.add(host, field, name, "that host has no `tunnel_server`")
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
                self.mistakes.add(
                    host, f"{field}.number", written.number, f"give either it or {keys}, not both"
                )
                return None
            return self._numbered(host, field, written.number, server)
        if len(named) < 2:
            self.mistakes.say(
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
            self.mistakes.add(host, field, number, f"{server.host} has no `prefix` to number from")
            return None
        highest = numbering.highest(server.prefix)
        if number > highest:
            self.mistakes.add(
                host, field, number, f"{server.prefix} of {server.host} holds 1 to {highest}"
            )
            return None
        return numbering.addresses(server.prefix, number)

    def _named(
        self, host: str, field: str, of_server: IPAddress, of_client: IPAddress, server: Server
    ) -> tuple[IPAddress, IPAddress] | None:
        if of_client != of_server ^ 1:
            self.mistakes.add(
                host,
                f"{field}.client_ipv6",
                of_client,
                f"with {of_server} on the server it must be {of_server ^ 1}: "
                "the two addresses of one /127",
            )
            return None
        if int(of_server) % 2:
            self.mistakes.add(
                host,
                f"{field}.server_ipv6",
                of_server,
                f"odd: the server takes the even address of the pair, here {of_client}",
            )
            return None
        if server.prefix is not None and of_server not in server.prefix:
            self.mistakes.add(
                host, f"{field}.server_ipv6", of_server, f"not in {server.prefix} of {server.host}"
            )
            return None
        # The all-zero interface identifier is every router's of that link (RFC 4291, 2.6.1).
        anycast = server.prefix.network if server.prefix else IPNetwork(f"{of_server}/64").network
        if of_server == anycast:
            self.mistakes.add(
                host,
                f"{field}.server_ipv6",
                of_server,
                "all-zero: the subnet-router anycast address; take another pair",
            )
            return None
        return of_server, of_client

    def _group(self, host: str, field: str, written: WrittenTunnel, server: Server) -> str | None:
        if written.group is not None and server.between_tunnels != GROUPS:
            self.mistakes.add(
                host,
                f"{field}.group",
                written.group,
                f"{server.host} has no groups: `between_tunnels` is {server.between_tunnels} there",
            )
        return written.group

    def _is_closed(self, host: str, field: str, written: WrittenTunnel) -> bool:
        is_closed = written.inbound == "established"
        if written.allow and not is_closed:
            self.mistakes.say(
                f"{host}: {field}.allow: everything is let in as it is: set `inbound` to "
                "'established' beside it"
            )
        return is_closed

    def _lans(self, host: str, field: str, written: WrittenTunnel) -> Iterator[Lan]:
        for lan_field, data in mappings(f"{field}.lan", written.lan):
            found = self._check(host, lan_field, WrittenLan, data)
            if found is None:
                continue
            if not any(found.address.cidr in prefix for prefix in written.routed_prefixes):
                prefixes = ", ".join(map(str, written.routed_prefixes))
                self.mistakes.add(
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
            self.mistakes.add(
                host, f"{field}.manager", manager, f"expected one of {', '.join(self.managers)}"
            )
            return
        other = self.chosen_managers.setdefault(host, manager)
        if other != manager:
            self.mistakes.add(
                host, f"{field}.manager", manager, f"this host has manager {other!r} elsewhere"
            )

    def _check(
        self, host: str, field: str, model: type[_AnyWritten], data: object
    ) -> _AnyWritten | None:
        if not isinstance(data, Mapping):
            self.mistakes.add(host, field, data, f"expected a mapping with {_keys(model)}")
            return None
        unknown = [key for key in data if key not in model.model_fields]
        try:
            found = model.model_validate({k: v for k, v in data.items() if k not in unknown})
        except ValidationError as error:
            found = None
            for each in error.errors():
                self._explain(host, field, model, each)
        for key in unknown:
            self._explain_key(host, field, model, key)
        return None if unknown else found

    def _explain(
        self, host: str, field: str, model: type[Written], found: Mapping[str, Any]
    ) -> None:
        key, *index = found["loc"]
        description = model.model_fields[key].description
        if found["type"] == "missing":
            self.mistakes.say(f"{host}: {field}.{key} is missing: expected {description}")
        else:
            place = f"{field}.{key}{''.join(f'[{i}]' for i in index)}"
            self.mistakes.add(host, place, found["input"], f"expected {description}")

    def _explain_key(self, host: str, field: str, model: type[Written], key: object) -> None:
        close = difflib.get_close_matches(str(key), model.model_fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = key if str(key).isidentifier() else short(repr(key))
        self.mistakes.say(
            f"{host}: {field}.{shown} is not a known key: {hint}accepted are {_keys(model)}"
        )


def mappings(field: str, data: object) -> Iterator[tuple[str, object]]:
    """One mapping, or each of a list of them, with the name of its place."""
    if data is None:
        return
    if isinstance(data, list | tuple):
        for index, written in enumerate(data):
            yield f"{field}[{index}]", written
    else:
        yield field, data


def _keys(model: type[Written]) -> str:
    return ", ".join(model.model_fields)
