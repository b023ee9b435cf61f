"""What a machine is: its manager and release, its cards, and how each card gets its addresses."""

from dataclasses import dataclass

from netaddr import EUI, IPAddress, IPNetwork

FAR_ADDRESS = "2001:db8:ffff::8888"
"""The host on the far side of the IPv6 Internet, which a tunnel must reach."""

FIRST_SLOT = 0x10
"""The PCI slot of a machine's first card, after which predictable names are called."""


@dataclass(frozen=True)
class Address:
    """An address with its prefix length, and the gateway that is reached through it.

    `translated` is what others know it by where NAT translates it, one to one.
    """

    address: str
    gateway: str | None = None
    translated: str | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return int(IPNetwork(self.address).version)

    @property
    def host(self) -> str:
        """The address alone."""
        return self.address.partition("/")[0]

    @property
    def public(self) -> str:
        """What others know it by."""
        return self.translated or self.host

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
    """A network card, the link that it is plugged into, and how its addresses get there.

    With `dhcp` the first IPv4 address comes by DHCP, with `advertised` the IPv6 address and default
    route by router advertisement. `vlan` tags the card's packets; with `bridged` the addresses are
    on a bridge of which the card is the only port. `leased` is what DHCP gives to the other end,
    `translated` are the other end's addresses that others know by another one.
    """

    link: str
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dhcp: bool = False
    advertised: bool = False
    vlan: int | None = None
    bridged: bool = False
    leased: str | None = None
    translated: tuple[Address, ...] = ()

    def addresses_of(self, version: int) -> tuple[Address, ...]:
        """Those of version 4 or 6."""
        return tuple(address for address in self.addresses if address.version == version)


@dataclass(frozen=True)
class Machine:
    """One machine; a last card, `mgmt`, carries SSH alone."""

    name: str
    number: int
    flavour: str
    suite: str
    cards: tuple[Card, ...]
    predictable_names: bool = False
    hotplug: bool = False

    def mac(self, card: int) -> str:
        """The hardware address of the card of that number, counted from 0."""
        return mac(self.number, card)

    @property
    def management_mac(self) -> str:
        """The hardware address of the card that carries SSH."""
        return self.mac(len(self.cards))

    @property
    def uplinks(self) -> tuple[int, ...]:
        """The numbers of the cards that lead to the Internet."""
        return tuple(number for number, card in enumerate(self.cards) if card.addresses)

    def card_name(self, number: int) -> str:
        """What the kernel, or udev, calls the card of that number."""
        return f"ens{FIRST_SLOT + number}" if self.predictable_names else f"eth{number}"

    def interface(self, number: int = 0) -> str:
        """The interface that holds the addresses of the card of that number."""
        card, name = self.cards[number], self.card_name(number)
        if card.bridged:
            return f"br{number}"
        return name if card.vlan is None else f"{name}.{card.vlan}"


def mac(machine: int, card: int) -> str:
    """The hardware address of a machine's card, each by its number."""
    return f"52:54:00:00:{machine:02x}:{card:02x}"


def own_address(hardware: str, prefix: str) -> IPAddress:
    """The address that a card makes of an advertised prefix (EUI-64)."""
    return EUI(hardware).ipv6(int(IPNetwork(prefix).network))


def at_internet(card: Card, prefix: str | None) -> Card:
    """The other end of an uplink: its gateways' addresses, and a prefix that is routed to the host.

    A gateway with a link-local address has one of the network's too, as routers do.
    """
    addresses = [address.at_gateway for address in card.addresses if address.gateway]
    hosts = card.addresses_of(6)
    if any(IPAddress(address.host).is_link_local() for address in addresses):
        addresses += [Address(f"{last_of(address.address)}/64") for address in hosts]
    routes = tuple(Route(prefix, address.host) for address in hosts[:1] if prefix)
    leased = card.addresses_of(4)[0].host if card.dhcp else None
    return Card(
        card.link,
        tuple(addresses),
        routes,
        advertised=card.advertised,
        vlan=card.vlan,
        leased=leased,
        translated=tuple(address for address in card.addresses if address.translated),
    )


def last_of(network: str) -> str:
    """The last address of a network, where its router is."""
    return str(IPNetwork(network)[-1])
