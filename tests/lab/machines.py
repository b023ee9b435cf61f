"""Who stands where: a star, with the machine `internet` between servers and clients."""

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
class Card:
    """A network card, the link that it is plugged into, and its addresses."""

    link: str
    addresses: tuple[Address, ...]


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


def _host(number: int, name: str, *addresses: Address) -> Machine:
    return Machine(name, number, name.rpartition("-")[2], (Card(name, addresses),))


HOSTS = (
    _host(
        1,
        "server-ifupdown",
        Address("198.51.100.10/25", "198.51.100.1"),
        Address("2001:db8:1::1/64", "2001:db8:1:0:ffff:ffff:ffff:ffff"),
    ),
    _host(
        2,
        "server-netplan",
        Address("198.51.100.138/25", "198.51.100.129"),
        Address("2001:db8:2::1/64", "2001:db8:2:0:ffff:ffff:ffff:ffff"),
    ),
    _host(3, "client-ifupdown", Address("203.0.113.20/25", "203.0.113.1")),
    _host(4, "client-netplan", Address("203.0.113.148/25", "203.0.113.129")),
)

INTERNET = Machine(
    "internet",
    0,
    "ifupdown",
    tuple(
        Card(card.link, tuple(address.at_gateway for address in card.addresses))
        for host in HOSTS
        for card in host.cards
    ),
)

MACHINES = (INTERNET, *HOSTS)
"""In the order of their ports and of their start: `internet` holds the end that listens."""


def ipv4_of(name: str) -> str:
    """The IPv4 address of a host, without its prefix length."""
    (card,) = next(host for host in HOSTS if host.name == name).cards
    return next(a.address.partition("/")[0] for a in card.addresses if a.version == 4)
