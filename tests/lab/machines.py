"""Who stands where: a star around the machine `internet`, and networks behind clients."""

from dataclasses import dataclass

from netaddr import IPNetwork

FAR_ADDRESS = "2001:db8:ffff::8888"
"""The host on the far side of the IPv6 Internet, which a tunnel must reach."""


@dataclass(frozen=True)
class Address:
    """An address with its prefix length, and the gateway that is reached through it."""

    address: str
    gateway: str | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return int(IPNetwork(self.address).version)

    @property
    def at_gateway(self) -> "Address":
        """What the other end of the link is called."""
        return Address(f"{self.gateway}/{IPNetwork(self.address).prefixlen}")


@dataclass(frozen=True)
class Route:
    """A prefix that is reached through an address."""

    prefix: str
    gateway: str


@dataclass(frozen=True)
class Card:
    """A network card, the link that it is plugged into, its addresses and what it routes."""

    link: str
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Machine:
    """One machine: its cards become eth0, eth1, … and a last one carries SSH alone."""

    name: str
    number: int
    flavour: str
    cards: tuple[Card, ...]

    def mac(self, card: int) -> str:
        """The hardware address of the card of that number, counted from 0."""
        return f"52:54:00:00:{self.number:02x}:{card:02x}"

    @property
    def management_mac(self) -> str:
        """The hardware address of the card that carries SSH."""
        return self.mac(len(self.cards))


def _host(number: int, name: str, addresses: tuple[Address, ...], *inside: Card) -> Machine:
    return Machine(name, number, name.rpartition("-")[2], (Card(name, addresses), *inside))


HOSTS = (
    _host(
        1,
        "server-ifupdown",
        (
            Address("198.51.100.10/25", "198.51.100.1"),
            Address("198.51.100.11/25"),
            Address("2001:db8:1::1/64", "2001:db8:1:0:ffff:ffff:ffff:ffff"),
        ),
    ),
    _host(
        2,
        "server-netplan",
        (
            Address("198.51.100.138/25", "198.51.100.129"),
            Address("198.51.100.139/25"),
            Address("2001:db8:2::1/64", "2001:db8:2:0:ffff:ffff:ffff:ffff"),
        ),
    ),
    _host(
        3,
        "client-ifupdown",
        (Address("203.0.113.20/25", "203.0.113.1"), Address("203.0.113.21/25")),
        Card("lan-ifupdown"),
    ),
    _host(
        4,
        "client-netplan",
        (Address("203.0.113.148/25", "203.0.113.129"), Address("203.0.113.149/25")),
        Card("lan-netplan"),
    ),
)
"""What is deployed to. Each has a second IPv4 address, for a tunnel to move to."""

LAN_HOST = Machine("lan-host", 5, "ifupdown", (Card("lan-ifupdown"), Card("lan-netplan")))
"""A host in the network behind each client, which knows of IPv6 what it is told there."""

ROUTED_PREFIXES = {"server-ifupdown": "2001:db8:100::/40", "server-netplan": "2001:db8:200::/40"}
"""What `internet` routes to a server, to delegate from."""


def _at_internet(host: Machine) -> Card:
    card = host.cards[0]
    native = (a for a in card.addresses if a.version == 6)
    return Card(
        card.link,
        tuple(address.at_gateway for address in card.addresses if address.gateway),
        tuple(
            Route(ROUTED_PREFIXES[host.name], address.address.partition("/")[0])
            for address in native
        ),
    )


INTERNET = Machine("internet", 0, "ifupdown", tuple(_at_internet(host) for host in HOSTS))

MACHINES = (INTERNET, *HOSTS, LAN_HOST)
"""In the order of their ports and of their start."""


def listens(machine: Machine, link: str) -> bool:
    """Whether a machine holds the end of a link that listens: the one that starts first does."""
    return machine is next(m for m in MACHINES if link in {card.link for card in m.cards})


def ipv4_of(name: str, *, index: int = 0) -> str:
    """The first or, with index 1, second IPv4 address of a host, without its prefix length."""
    card = next(host for host in HOSTS if host.name == name).cards[0]
    return [a.address.partition("/")[0] for a in card.addresses if a.version == 4][index]
