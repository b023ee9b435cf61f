"""Pure: a checked inventory as tunnels, and what each host is to carry of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from netaddr import IPAddress, IPNetwork

# Two addresses and nothing else: no subnet-router anycast address on either (RFC 6164).
PREFIX_LENGTH = 127
GROUPS = "groups"
"""What `between_tunnels` is where those of a group speak with each other."""


@dataclass(frozen=True)
class Limits:
    """For how many seconds a run waits for a host, or a host for a run.

    A run waits for a connection, and for a command's end; a host that was changed waits for a word
    that all is well, unless that is 0.
    """

    # A login may wait for a directory server.
    connect: int = 20
    # A proof takes 20 seconds, measuring paths 4, for all tunnels at once, where nothing is slow.
    # Together with what has a host go back that came to no end in it, this is to be a minute.
    command: int = 50
    confirm: int = 60

    @staticmethod
    def of(tunnels: int, written: Mapping[str, int]) -> "Limits":
        """What is written, or what does for a host with so many tunnels.

        A manager may make them one after the other, each in less than a second.
        """
        return replace(Limits(command=Limits.command + tunnels), **written)


@dataclass(frozen=True)
class Allowed:
    """Ports of a protocol, `tcp` or `udp`, that are let in: the first and the last one."""

    protocol: str
    first: int
    last: int


@dataclass(frozen=True)
class Server:
    """A host with native IPv6 that tunnels end on.

    Clients connect to `ipv4`, which NAT may translate, one to one, to the host's own `local_ipv4`.
    """

    host: str
    ipv4: IPAddress
    local_ipv4: IPAddress
    prefix: IPNetwork | None
    on_link: bool
    routed_prefixes: tuple[IPNetwork, ...]
    external_interface: str | None
    probe_address: IPAddress
    # Which tunnels may speak with each other: none, all, or those of a group (`GROUPS`).
    between_tunnels: bool | str = False

    @property
    def prefixes(self) -> tuple[IPNetwork, ...]:
        """All that its tunnels get addresses and prefixes from."""
        return (*([self.prefix] if self.prefix is not None else []), *self.routed_prefixes)


@dataclass(frozen=True)
class Lan:
    """A network behind a client: `address` is the client's own there, with its prefix length."""

    interface: str
    address: IPNetwork
    advertise: bool

    @property
    def prefix(self) -> IPNetwork:
        return self.address.cidr


@dataclass(frozen=True)
class Tunnel:
    """One 6in4 tunnel (RFC 4213) between a server and a client.

    Where no `mtu` is written, it is what any path should pass until the hosts have been looked at.
    """

    server: Server
    client: str
    client_ipv4: IPAddress
    local_ipv4: IPAddress
    server_ipv6: IPAddress
    client_ipv6: IPAddress
    server_interface: str
    client_interface: str
    mtu: int
    is_mtu_written: bool
    ttl: int
    default_route: bool
    routed_prefixes: tuple[IPNetwork, ...]
    lans: tuple[Lan, ...]
    group: str | None = None
    # Whether what the client didn't ask for comes in through the tunnel by `allow` alone.
    is_closed: bool = False
    allow: tuple[Allowed, ...] = ()
    # What is the client's by its other tunnels, where this one takes all that it sends.
    beside: tuple[IPNetwork, ...] = ()

    @cached_property
    def inner(self) -> tuple[IPNetwork, ...]:
        """The IPv6 addresses that are the client's: its own, and what is routed to it."""
        return (IPNetwork(self.client_ipv6), *self.routed_prefixes)


@dataclass(frozen=True)
class End:
    """One host's side of a tunnel: `local` and `remote` are IPv4, `address` and `peer` IPv6."""

    tunnel: Tunnel
    host: str
    peer_host: str
    interface: str
    local: IPAddress
    remote: IPAddress
    address: IPAddress
    peer: IPAddress

    @property
    def is_client(self) -> bool:
        return self.host == self.tunnel.client

    @property
    def mtu(self) -> int:
        return self.tunnel.mtu

    @property
    def ttl(self) -> int:
        return self.tunnel.ttl

    @cached_property
    def network(self) -> str:
        """The address with its prefix length, as `ip address` prints it."""
        return f"{self.address}/{PREFIX_LENGTH}"

    @cached_property
    def pair(self) -> IPNetwork:
        """The prefix that holds both addresses and nothing else."""
        return IPNetwork((int(min(self.address, self.peer)), PREFIX_LENGTH), 6)

    @cached_property
    def connected(self) -> str:
        """The same, as `ip route` prints it."""
        return str(self.pair)

    @property
    def default_route(self) -> bool:
        """Whether this host's IPv6 default route leads into the tunnel."""
        return self.is_client and self.tunnel.default_route

    @cached_property
    def destinations(self) -> tuple[str, ...]:
        """What this host routes into the tunnel, as `ip route` names it."""
        if self.is_client:
            return ("default",) if self.default_route else ()
        return tuple(str(prefix) for prefix in self.tunnel.routed_prefixes)


@dataclass(frozen=True)
class Node:
    """What one host of the inventory is to carry: its ends, and a server's part if it is one.

    `is_cleared`: it is to carry nothing, and what it carries is taken off. Without that, a host
    that carries nothing is none of Culvert's business.
    """

    host: str
    manager: str | None
    server: Server | None
    ends: tuple[End, ...]
    numbered: frozenset[IPAddress] = frozenset()
    """The server's address of every tunnel of the inventory, so that a free number can be named."""
    is_cleared: bool = False
    # Whether its firewall is nobody's but its owner's to change.
    leaves_firewall: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def is_declared(self) -> bool:
        return self.server is not None or bool(self.ends)

    @property
    def is_told(self) -> bool:
        """Whether anything is said of this host, were it that it is to carry nothing."""
        return self.is_declared or self.is_cleared

    @cached_property
    def proxied(self) -> tuple[IPAddress, ...]:
        """The addresses to answer neighbour solicitations for.

        Both of each tunnel: the server's own tunnel address is on no interface of that link either.
        """
        if self.server is None or not self.server.on_link:
            return ()
        return tuple(sorted(a for e in self.ends if not e.is_client for a in (e.address, e.peer)))

    @cached_property
    def upstreams(self) -> tuple[End, ...]:
        """The ends on which this host is the client."""
        return tuple(end for end in self.ends if end.is_client)

    @cached_property
    def server_hosts(self) -> tuple[str, ...]:
        """The hosts whose client this one is: it is set up after them."""
        return tuple(dict.fromkeys(end.peer_host for end in self.upstreams))

    @cached_property
    def client_hosts(self) -> tuple[str, ...]:
        """The hosts whose server this one is: it is taken back after them."""
        return tuple(dict.fromkeys(end.peer_host for end in self.ends if not end.is_client))

    @cached_property
    def servers(self) -> tuple[Server, ...]:
        """This host as a server, and those of which it is a client."""
        own = [self.server] if self.server is not None else []
        return tuple(dict.fromkeys([*own, *(end.tunnel.server for end in self.upstreams)]))

    @cached_property
    def neighbours(self) -> Mapping[str, tuple[End, ...]]:
        """By name, the groups of ends on this server whose clients may speak with each other."""
        ends = tuple(end for end in self.ends if not end.is_client)
        between = self.server.between_tunnels if self.server else False
        if between != GROUPS:
            return {"": ends} if between else {}
        names = dict.fromkeys(end.tunnel.group for end in ends if end.tunnel.group)
        return {name: tuple(e for e in ends if e.tunnel.group == name) for name in names}

    @property
    def lans(self) -> tuple[Lan, ...]:
        """The networks behind this host, which is their router."""
        return tuple(lan for end in self.upstreams for lan in end.tunnel.lans)

    @cached_property
    def routed_here(self) -> tuple[IPNetwork, ...]:
        """The prefixes that somebody routes to this host, used or not."""
        prefixes = {prefix for end in self.upstreams for prefix in end.tunnel.routed_prefixes}
        if self.server is not None:
            prefixes |= {*self.server.routed_prefixes}
            if self.server.prefix is not None and not self.server.on_link:
                prefixes.add(self.server.prefix)
        return tuple(sorted(prefixes))

    @property
    def forwards(self) -> bool:
        """Whether packets of others pass through this host."""
        return self.server is not None or bool(self.routed_here)


@dataclass(frozen=True)
class Broker:
    """A whole inventory without mistakes: its tunnels, and a node for each of its hosts."""

    tunnels: tuple[Tunnel, ...]
    nodes: Mapping[str, Node]

    def emptied(self) -> "Broker":
        """The same hosts, each of them to carry nothing."""
        return Broker(
            (),
            {
                host: Node(host, None, None, (), is_cleared=True, limits=node.limits)
                for host, node in self.nodes.items()
            },
        )


def ends(tunnel: Tunnel) -> tuple[End, End]:
    """The server's end and the client's: each mirrors the other."""
    server = End(
        tunnel=tunnel,
        host=tunnel.server.host,
        peer_host=tunnel.client,
        interface=tunnel.server_interface,
        local=tunnel.server.local_ipv4,
        remote=tunnel.client_ipv4,
        address=tunnel.server_ipv6,
        peer=tunnel.client_ipv6,
    )
    client = End(
        tunnel=tunnel,
        host=tunnel.client,
        peer_host=tunnel.server.host,
        interface=tunnel.client_interface,
        local=tunnel.local_ipv4,
        remote=tunnel.server.ipv4,
        address=tunnel.client_ipv6,
        peer=tunnel.server_ipv6,
    )
    return server, client
