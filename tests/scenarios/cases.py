"""Which server with which client, and the inventories for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from netaddr import IPAddress, IPNetwork

from tests.lab.access import ssh_data
from tests.lab.machines import FAR_ADDRESS, own_address
from tests.lab.places import Place
from tests.lab.topologies import BROKER, Topology
from tests.runs import Hosts


@dataclass(frozen=True)
class Case:
    """One tunnel between two machines of the lab."""

    server: str
    client: str
    topology: Topology = BROKER

    @property
    def server_ipv6(self) -> IPAddress:
        return IPNetwork(self.topology.prefix(self.server))[2]

    @property
    def client_ipv6(self) -> IPAddress:
        return IPNetwork(self.topology.prefix(self.server))[3]

    @property
    def server_interface(self) -> str:
        return f"sit-{self.client.removeprefix('client-')}"[:15]


def straight(topology: Topology) -> tuple[Case, ...]:
    """Each server with the client of the same manager."""
    pairs = zip(topology.servers, topology.clients, strict=True)
    return tuple(Case(server.name, client.name, topology) for server, client in pairs)


# Two tunnels at once for each, so that two deployments cover all four cases.
PAIRINGS = {
    "straight": straight(BROKER),
    "crossed": (
        Case("server-ifupdown", "client-netplan"),
        Case("server-netplan", "client-ifupdown"),
    ),
}
NAMES = BROKER.names


def ipv4_of(name: str, *, index: int = 0) -> str:
    """The first or, with index 1, second IPv4 address of a host of the broker's lab."""
    return BROKER.ipv4_of(name, index=index).public


def inventory(name: str, user: str = "root") -> Hosts:
    """The hosts of a pairing, or of one of the others, as they would stand in an inventory file."""
    hosts = _OTHERS[name]() if name in _OTHERS else tunnels(PAIRINGS[name])
    return connected(BROKER, hosts, user)


def connected(topology: Topology, hosts: Hosts, user: str = "root") -> Hosts:
    """The same with what pyinfra needs to reach the lab's machines."""
    place = Place.from_environment()
    return [
        (name, {**ssh_data(topology.machine(name), place, user), **data}) for name, data in hosts
    ]


def tunnels(cases: Iterable[Case], index: int = 0) -> Hosts:
    """A declaration of a tunnel each, between the IPv4 addresses of that index of each host."""
    hosts: Hosts = []
    for case in cases:
        tunnel = {
            "server": case.server,
            **_ipv4(case.client, case.topology, index),
            "number": 1,
            "server_interface": case.server_interface,
        }
        server = _server(case.server, case.topology, index)
        hosts.append((case.server, {"tunnel_server": server}))
        hosts.append((case.client, {"tunnel": tunnel}))
    return hosts


@dataclass(frozen=True)
class Lan:
    """A network behind a client: the client's address there, and the card of `lan-host` in it."""

    client: str
    address: str
    card: str

    @property
    def host_ipv6(self) -> IPAddress:
        """The address that `lan-host` makes of the prefix and its card's hardware address."""
        host = BROKER.lan_host
        assert host is not None
        return own_address(host.mac(int(self.card.removeprefix("eth"))), self.address)


LANS = (
    Lan("client-ifupdown", "2001:db8:101:7::1/64", "eth0"),
    Lan("client-netplan", "2001:db8:200:1::1/64", "eth1"),
)


def _broker() -> Hosts:
    """Every client and the second server on the first, every client on the second server too.

    Each client has a prefix routed to it by the server that is its way to the Internet.
    """

    def tunnel(server: str, client: str, number: int, **more: Any) -> dict[str, Any]:
        short = client.replace("client-", "").replace("server-", "up-")
        ipv4 = ipv4_of(client)
        name = f"sit-{short}"
        return {"server": server, "ipv4": ipv4, "number": number, "server_interface": name, **more}

    def lan(client: str) -> dict[str, Any]:
        address = next(lan.address for lan in LANS if lan.client == client)
        return {"interface": "eth1", "address": address}

    first, second = (server.name for server in BROKER.servers)
    second_way = {"default_route": False, "interface": "sit-second"}
    return [
        (
            first,
            {"tunnel_server": {**_server(first), "routed_prefixes": [BROKER.routed_prefix(first)]}},
        ),
        (
            second,
            {
                "tunnel_server": {
                    **_server(second),
                    "routed_prefixes": [BROKER.routed_prefix(second)],
                },
                "tunnel": tunnel(first, second, 3, default_route=False),
            },
        ),
        (
            "client-ifupdown",
            {
                "tunnel": [
                    tunnel(
                        *(first, "client-ifupdown", 1),
                        routed_prefixes=["2001:db8:101::/48"],
                        lan=lan("client-ifupdown"),
                    ),
                    tunnel(second, "client-ifupdown", 2, **second_way),
                ]
            },
        ),
        (
            "client-netplan",
            {
                "tunnel": [
                    tunnel(
                        *(second, "client-netplan", 1),
                        routed_prefixes=["2001:db8:200:1::/64"],
                        lan=lan("client-netplan"),
                    ),
                    tunnel(first, "client-netplan", 2, **second_way),
                ]
            },
        ),
    ]


DEMO_SERVER = "server-ifupdown"
DEMO_LAN = Lan("client-netplan", "2001:db8:101:1::1/64", "eth1")


def _demo() -> Hosts:
    """One server, a client with each manager, and a network behind one of them."""
    ifupdown, netplan = (
        {"server": DEMO_SERVER, "ipv4": ipv4_of(client), "number": number}
        for number, client in ((1, "client-ifupdown"), (2, "client-netplan"))
    )
    ifupdown["server_interface"] = "sit-ifupdown"
    netplan |= {
        "server_interface": "sit-netplan",
        "routed_prefixes": ["2001:db8:101::/48"],
        "lan": {"interface": "eth1", "address": DEMO_LAN.address},
    }
    server = {**_server(DEMO_SERVER), "routed_prefixes": [BROKER.routed_prefix(DEMO_SERVER)]}
    return [
        (DEMO_SERVER, {"tunnel_server": server}),
        ("client-ifupdown", {"tunnel": ifupdown}),
        ("client-netplan", {"tunnel": netplan}),
    ]


@dataclass(frozen=True)
class Neighbours:
    """Two clients of one server: one that forwards for what is routed to it, and a plain one."""

    server: str
    forwarding: str
    plain: str

    @property
    def network(self) -> IPNetwork:
        """What the tunnels' addresses are of."""
        return IPNetwork(BROKER.prefix(self.server))

    @property
    def routed(self) -> IPNetwork:
        """What is routed to the client that forwards."""
        return list(IPNetwork(BROKER.routed_prefix(self.server)).subnet(48, 2))[1]

    @property
    def lan(self) -> Lan:
        """The network behind that one."""
        card = "eth0" if self.forwarding == "client-ifupdown" else "eth1"
        return Lan(self.forwarding, f"{self.routed[1 << 64 | 1]}/64", card)

    def hosts(self, server: dict[str, Any] | None = None, **of_plain: Any) -> Hosts:
        """Their inventory, with more of the server's data and of the plain client's tunnel."""
        forwarding, plain = (
            {"server": self.server, "ipv4": ipv4_of(client), "number": number}
            for number, client in ((1, self.forwarding), (2, self.plain))
        )
        forwarding |= {
            "server_interface": "sit-forwarding",
            "routed_prefixes": [str(self.routed)],
            "lan": {"interface": "eth1", "address": self.lan.address},
        }
        pool = {"routed_prefixes": [BROKER.routed_prefix(self.server)]}
        of_server = {**_server(self.server), **pool, **(server or {})}
        hosts: Hosts = [
            (self.server, {"tunnel_server": of_server}),
            (self.forwarding, {"tunnel": forwarding}),
            (self.plain, {"tunnel": {**plain, "server_interface": "sit-plain", **of_plain}}),
        ]
        return connected(BROKER, hosts)


NEIGHBOURS = (
    Neighbours("server-ifupdown", "client-ifupdown", "client-netplan"),
    Neighbours("server-netplan", "client-netplan", "client-ifupdown"),
)

_OTHERS = {"broker": _broker, "demo": _demo}


def _ipv4(name: str, topology: Topology, index: int) -> dict[str, str]:
    """What others connect to, and the host's own address where NAT translates that."""
    address = topology.ipv4_of(name, index=index)
    return {"ipv4": address.public} | ({"local_ipv4": address.host} if address.translated else {})


def _server(name: str, topology: Topology = BROKER, index: int = 0) -> dict[str, Any]:
    return {
        **_ipv4(name, topology, index),
        "prefix": topology.prefix(name),
        "probe_address": FAR_ADDRESS,
    }
