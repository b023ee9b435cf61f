"""Who stands where: stars around a machine `internet`, and networks behind clients.

Each topology is a lab of its own, with the same addresses: a server and a client for each of two
managers. The table of what is supported, in docs/hosts.md, is made from the same rows. Those of
firewalls are apart.
"""

from dataclasses import dataclass
from functools import cached_property

from netaddr import IPNetwork

from tests.lab.errors import LabError
from tests.lab.flavours import FLAVOURS
from tests.lab.machines import Address, Card, Machine, at_internet, last_of, mac, own_address


@dataclass(frozen=True)
class Uplink:
    """How a host is connected to the Internet."""

    dhcp: bool = False
    advertised: bool = False
    link_local_gateway: bool = False
    vlan: int | None = None
    bridged: bool = False
    separate: bool = False
    hotplug: bool = False
    predictable_names: bool = False
    translated: bool = False
    inside: str | None = None

    def __str__(self) -> str:
        words = [
            "IPv4 by DHCP" if self.dhcp else "",
            "IPv6 by router advertisement" if self.advertised else "",
            "IPv6 gateway fe80::1" if self.link_local_gateway else "",
            f"VLAN eth0.{self.vlan}" if self.vlan else "",
            "bridge" if self.bridged else "",
            "IPv4 and IPv6 on two uplinks" if self.separate else "",
            "`allow-hotplug`" if self.hotplug else "",
            "predictable interface names" if self.predictable_names else "",
            "behind 1:1 NAT" if self.translated else "",
        ]
        return ", ".join(word for word in words if word) or "static"


@dataclass(frozen=True)
class Row:
    """A manager on a release, and how its server and its client are connected and entered."""

    flavour: str
    suite: str
    server: Uplink = Uplink()
    client: Uplink = Uplink()

    @property
    def name(self) -> str:
        """How its machines are called, behind `server-` and `client-`."""
        return self.flavour if self.suite == "bookworm" else f"{self.flavour}-{self.suite}"


@dataclass(frozen=True)
class Topology:
    """The machines of one lab."""

    name: str
    rows: tuple[Row, ...]

    @cached_property
    def servers(self) -> tuple[Machine, ...]:
        """One for each row."""
        return tuple(_server(index, row) for index, row in enumerate(self.rows))

    @cached_property
    def clients(self) -> tuple[Machine, ...]:
        """One for each row."""
        count = len(self.rows)
        return tuple(_client(index, count, row) for index, row in enumerate(self.rows))

    @property
    def hosts(self) -> tuple[Machine, ...]:
        """What is deployed to."""
        return self.servers + self.clients

    @property
    def learners(self) -> tuple[str, ...]:
        """The servers whose IPv6 default route is learned from router advertisements."""
        return tuple(
            server.name for server in self.servers if any(card.advertised for card in server.cards)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What the hosts are called."""
        return tuple(host.name for host in self.hosts)

    @cached_property
    def internet(self) -> Machine:
        """Routes IPv4 between the hosts, and holds the IPv6 host on the far side."""
        cards = tuple(
            at_internet(card, self.routed_prefix(host.name) if card.addresses_of(6) else None)
            for host in self.hosts
            for card in host.cards
            if card.addresses
        )
        return Machine("internet", 0, "ifupdown", "bookworm", cards)

    def to_server(self, name: str) -> str:
        """What `internet` calls its end of the link to a server's IPv6."""
        link = next(card.link for card in self.machine(name).cards if card.addresses_of(6))
        links = [card.link for card in self.internet.cards]
        return self.internet.interface(links.index(link))

    @cached_property
    def lan_host(self) -> Machine | None:
        """A host in the network behind each client, which knows of IPv6 what it is told there."""
        inside = tuple(
            Card(card.link) for host in self.hosts for card in host.cards if not card.addresses
        )
        number = len(self.hosts) + 1
        return Machine("lan-host", number, "ifupdown", "bookworm", inside) if inside else None

    @property
    def machines(self) -> tuple[Machine, ...]:
        """In the order of their ports and of their start."""
        return (self.internet, *self.hosts, *([self.lan_host] if self.lan_host else []))

    def machine(self, name: str) -> Machine:
        """The machine of that name."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        names = ", ".join(machine.name for machine in self.machines)
        raise LabError(f"The lab {self.name} has no machine {name!r}: use {names}.")

    def prefix(self, server: str) -> str:
        """What a server gives tunnel addresses from: its own network's."""
        return f"2001:db8:{self.names.index(server) + 1}::/64"

    def routed_prefix(self, server: str) -> str:
        """What `internet` routes to a server, to delegate from."""
        return f"2001:db8:{self.names.index(server) + 1}00::/40"

    def listens(self, machine: Machine, link: str) -> bool:
        """Whether a machine holds the end of a link that listens: the one that starts first."""
        first = next(m for m in self.machines if link in {card.link for card in m.cards})
        return machine is first

    def ipv4_of(self, name: str, *, index: int = 0) -> Address:
        """The first or, with index 1, second IPv4 address of a host."""
        found = [a for card in self.machine(name).cards for a in card.addresses_of(4)]
        return found[index]


def _ipv4(network: str, index: int, last: int, number: int, uplink: Uplink) -> tuple[Address, ...]:
    """Two addresses, the second for a tunnel to move to, in the half of a network of that index.

    Behind NAT a host, by its number, has two of a private network instead.
    """
    base = 128 * index
    public = [f"{network}.{base + last + second}" for second in range(2)]
    if uplink.translated:
        private = IPNetwork(f"192.0.2.{64 * (number - 1)}/26")
        return (
            Address(f"{private[10]}/26", str(private[1]), public[0]),
            Address(f"{private[11]}/26", None, public[1]),
        )
    return Address(f"{public[0]}/25", f"{network}.{base + 1}"), Address(f"{public[1]}/25")


def _server(index: int, row: Row) -> Machine:
    uplink, name, number = row.server, f"server-{row.name}", index + 1
    network = f"2001:db8:{number}::/64"
    own = own_address(mac(number, 0), network) if uplink.advertised else IPNetwork(network)[1]
    ipv6 = Address(f"{own}/64", "fe80::1" if uplink.link_local_gateway else last_of(network))
    ipv4 = _ipv4("198.51.100", index, 10, number, uplink)
    if uplink.separate:
        return _machine(name, number, row, uplink, Card(name, ipv4), Card(f"{name}-6", (ipv6,)))
    return _machine(name, number, row, uplink, _card(name, (*ipv4, ipv6), uplink))


def _client(index: int, servers: int, row: Row) -> Machine:
    uplink, name, number = row.client, f"client-{row.name}", servers + index + 1
    cards = [_card(name, _ipv4("203.0.113", index, 20, number, uplink), uplink)]
    if uplink.inside:
        cards.append(Card(uplink.inside))
    return _machine(name, number, row, uplink, *cards)


def _card(link: str, addresses: tuple[Address, ...], uplink: Uplink) -> Card:
    return Card(
        link,
        addresses,
        dhcp=uplink.dhcp,
        advertised=uplink.advertised,
        vlan=uplink.vlan,
        bridged=uplink.bridged,
    )


def _machine(name: str, number: int, row: Row, uplink: Uplink, *cards: Card) -> Machine:
    return Machine(
        name,
        number,
        row.flavour,
        row.suite,
        cards,
        predictable_names=uplink.predictable_names,
        hotplug=uplink.hotplug,
    )


BROKER = Topology(
    "broker",
    (
        Row("ifupdown", "bookworm", client=Uplink(inside="lan-ifupdown")),
        Row("netplan", "bookworm", client=Uplink(inside="lan-netplan")),
    ),
)
"""Static addresses, and a network behind each client: where everything else is tried."""

MANAGED = {
    topology.name: topology
    for topology in (
        BROKER,
        Topology(
            "networkd",
            (
                Row(
                    *("networkd", "bookworm"),
                    server=Uplink(advertised=True),
                    client=Uplink(bridged=True),
                ),
                Row("networkd-dispatcher", "bookworm", client=Uplink(dhcp=True)),
            ),
        ),
        Topology(
            "networkmanager",
            (
                Row(
                    *("networkmanager", "bookworm"),
                    server=Uplink(separate=True),
                    client=Uplink(dhcp=True),
                ),
                Row("netplan-networkmanager", "trixie", server=Uplink(advertised=True)),
            ),
        ),
        Topology(
            "ifupdowns",
            (
                Row("ifupdown2", "bookworm", server=Uplink(vlan=100), client=Uplink(bridged=True)),
                Row("ifupdown-ng", "bookworm", server=Uplink(link_local_gateway=True)),
            ),
        ),
        Topology(
            "trixie",
            (
                Row(
                    *("ifupdown", "trixie"),
                    server=Uplink(advertised=True, hotplug=True, translated=True),
                    client=Uplink(dhcp=True, hotplug=True),
                ),
                Row(
                    *("netplan", "trixie"),
                    server=Uplink(link_local_gateway=True, translated=True),
                    client=Uplink(vlan=100, translated=True),
                ),
            ),
        ),
        Topology(
            "testing",
            (
                Row(
                    *("networkd", "testing"),
                    server=Uplink(vlan=100),
                    client=Uplink(predictable_names=True),
                ),
                Row("ifupdown", "testing"),
            ),
        ),
    )
}
"""Where each manager is led through what it must live through."""

FIREWALLED = {
    topology.name: topology
    for topology in (
        Topology("firewalls", (Row("firewalls", "bookworm"), Row("firewalls", "trixie"))),
        Topology("persistent", (Row("persistent", "bookworm"), Row("persistent", "trixie"))),
        Topology("docker", (Row("docker", "testing"),)),
    )
}
"""Where firewalls are installed, all of them off."""

TOPOLOGIES = MANAGED | FIREWALLED


def table() -> str:
    """What is supported, as docs/hosts.md has it: a line for each row, in Markdown."""
    lines = [
        "| manager | release | the server's uplink | the client's uplink |",
        "|---|---|---|---|",
    ]
    for topology in MANAGED.values():
        for row in topology.rows:
            release = RELEASES.get(row.suite, row.suite)
            cells = (FLAVOURS[row.flavour].title, release, str(row.server), str(row.client))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


RELEASES = {
    "bookworm": "Debian 12 (bookworm)",
    "trixie": "Debian 13 (trixie)",
    "testing": "Debian 14 to be (testing)",
    "noble": "Ubuntu 24.04 (noble)",
}
"""What people call a suite; any other stands in the table as it is."""
