"""One entry for each network manager that the lab's machines run: its packages and its files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tests.lab.cpio import File
from tests.lab.machines import Address, Card, Machine

Files = Mapping[str, File]

DEBIAN_KERNEL = "linux-image-cloud-amd64"
KERNELS = {"noble": "linux-image-virtual"}
"""Of suites that call theirs otherwise: Ubuntu's."""

BASE_PACKAGES = [
    "systemd-sysv",
    "udev",
    "dbus",
    DEBIAN_KERNEL,
    "kmod",
    "procps",
    "netbase",
    "sudo",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "nftables",
    "wireguard-tools",
    "tcpdump",
    "socat",
    "busybox-static",
    "radvd",
    "locales",
    "tcsh",
]

TOGETHER = ("ifupdown", "netplan.io", "networkd-dispatcher", "network-manager", "udhcpc")
"""Managers that are installed side by side, on one image: what is in charge is what counts."""

SERVICES = ("networking", "ifupdown-pre", "networkd-dispatcher", "NetworkManager")
"""Of those managers; on a machine where one isn't in charge, its services are masked."""


@dataclass(frozen=True)
class Flavour:
    """One network manager in charge, and how it is told a machine's cards.

    `manager` is what Culvert takes it for. `apply` are the commands by which people have it go over
    an interface again, `restart` restarts it; `{interface}` stands for the external one. `off` are
    units of what else is installed that wait for a test to switch them on.
    """

    name: str
    title: str
    manager: str
    packages: tuple[str, ...]
    services: tuple[str, ...]
    files: Callable[[Machine], Files]
    apply: tuple[str, ...]
    restart: str
    off: tuple[str, ...] = ()

    def network_files(self, machine: Machine) -> Files:
        """All that makes the manager hold the machine's cards, by path."""
        masked = [f"{each}.service" for each in SERVICES if each not in self.services]
        masked += self.off
        return {
            **{f"etc/systemd/system/{each}": File.link("/dev/null") for each in masked},
            **_UNMANAGED,
            **self.files(machine),
        }


# The card that carries SSH belongs to no manager, so that no test can cut it off.
_UNMANAGED = {
    "etc/systemd/network/10-management.network": File.of(
        "[Match]\nName=mgmt\n\n[Link]\nUnmanaged=yes\n"
    ),
    "etc/NetworkManager/conf.d/management.conf": File.of(
        "[keyfile]\nunmanaged-devices=interface-name:mgmt\n"
    ),
}


# --- ifupdown and its kin --------------------------------------------------------------------

SOURCE = "source /etc/network/interfaces.d/*"


def _interfaces(machine: Machine) -> Files:
    is_ng = machine.flavour == "ifupdown-ng"
    source = "source-directory /etc/network/interfaces.d" if is_ng else SOURCE
    head = f"{source}\n\nauto lo\niface lo inet loopback\n"
    text = head + "".join(
        f"\n{line}\n" if index == 0 else f"{line}\n"
        for number in range(len(machine.cards))
        for index, line in enumerate(_stanzas(machine, number))
    )
    # So that the folder is there, which ifupdown-ng's package doesn't bring.
    folder = {"etc/network/interfaces.d/lab": File.of("")}
    return {"etc/network/interfaces": File.of(text), **folder, **_PATIENCE}


# Stopping takes longer than the units' 30 s where every process that is started takes a tenth.
_PATIENCE = {
    "etc/systemd/system/networking.service.d/lab.conf": File.of(
        "[Service]\nTimeoutStopSec=300\nTimeoutStartSec=600\n"
    )
}


def _stanzas(machine: Machine, number: int) -> Iterator[str]:
    card, interface = machine.cards[number], machine.interface(number)
    yield f"{'allow-hotplug' if machine.hotplug else 'auto'} {interface}"
    first = True
    for family, lines in _families(card):
        yield f"iface {interface} {family}"
        if first:
            yield from _below(machine, number)
        first = False
        yield from lines
    if not card.addresses:
        yield f"iface {interface} inet manual"
        yield f"    up ip link set dev {interface} up"
    for address in card.addresses_of(4)[1:] if card.dhcp else ():
        yield f"    up ip address replace {address.address} dev {interface}"
    for route in card.routes:
        yield f"    up ip -6 route replace {route.prefix} via {route.gateway}"


def _families(card: Card) -> Iterator[tuple[str, list[str]]]:
    """Each stanza's family and method, and its lines."""
    for address in card.addresses:
        if address.version == 6 and card.advertised and address.gateway:
            yield "inet6 auto", []
        elif not card.dhcp or address.version == 6:
            lines = [f"    address {address.address}"]
            lines += [f"    gateway {address.gateway}"] if address.gateway else []
            yield f"inet{'6' if address.version == 6 else ''} static", lines
    if card.dhcp and card.addresses_of(4):
        yield "inet dhcp", []


def _below(machine: Machine, number: int) -> Iterator[str]:
    """What makes the interface out of the card, where it isn't the card itself."""
    card, name = machine.cards[number], machine.card_name(number)
    if card.bridged:
        yield f"    bridge-ports {name}"
    elif card.vlan is not None and machine.flavour == "ifupdown":
        # As without Debian's package vlan.
        interface = machine.interface(number)
        yield f"    pre-up ip link set dev {name} up"
        tagged = f"link {name} name {interface} type vlan id {card.vlan}"
        yield f"    pre-up ip link add {tagged} || true"
    elif card.vlan is not None:
        yield f"    vlan-raw-device {name}"


# --- netplan ---------------------------------------------------------------------------------


def _netplan(renderer: str) -> Callable[[Machine], Files]:
    def files(machine: Machine) -> Files:
        ethernets, others = "", {"bridges": "", "vlans": ""}
        for number, card in enumerate(machine.cards):
            name, interface = machine.card_name(number), machine.interface(number)
            settings = "".join(f"      {line}\n" for line in _settings(card, renderer))
            if interface == name:
                ethernets += f"    {name}:\n{settings}"
                continue
            ethernets += f"    {name}: {{accept-ra: false}}\n"
            below = (
                f"      interfaces: [{name}]\n"
                if card.bridged
                else f"      id: {card.vlan}\n      link: {name}\n"
            )
            others["bridges" if card.bridged else "vlans"] += f"    {interface}:\n{below}{settings}"
        yaml = f"network:\n  version: 2\n  renderer: {renderer}\n  ethernets:\n{ethernets}"
        yaml += "".join(f"  {kind}:\n{text}" for kind, text in others.items() if text)
        return {"etc/netplan/50-lab.yaml": File.of(yaml, 0o600)}

    return files


def _settings(card: Card, renderer: str) -> Iterator[str]:
    if card.advertised and renderer == "NetworkManager":
        # `accept-ra` would leave it to the kernel. EUI-64, so that the address can be foretold.
        yield "dhcp6: true"
        yield "ipv6-address-generation: eui64"
    else:
        yield f"accept-ra: {'true' if card.advertised else 'false'}"
    if card.dhcp:
        yield "dhcp4: true"
    static = _static(card)
    if static:
        yield "addresses:"
        yield from (f'  - "{address.address}"' for address in static)
    gateways = [address for address in static if address.gateway]
    if gateways:
        yield "routes:"
        for address in gateways:
            yield f'  - to: "{"0.0.0.0/0" if address.version == 4 else "::/0"}"'
            yield f'    via: "{address.gateway}"'


def _static(card: Card) -> list[Address]:
    """The addresses that are written down."""
    return [
        *card.addresses_of(4)[1 if card.dhcp else 0 :],
        *(() if card.advertised else card.addresses_of(6)),
    ]


# --- systemd-networkd ------------------------------------------------------------------------


def _networkd(machine: Machine) -> Files:
    folder = "etc/systemd/network"
    unit = File.link("/lib/systemd/system/systemd-networkd.service")
    # As `systemctl enable` does.
    enabled = ("dbus-org.freedesktop.network1", "multi-user.target.wants/systemd-networkd")
    files = {f"etc/systemd/system/{link}.service": unit for link in enabled}
    for number, card in enumerate(machine.cards):
        name, interface = machine.card_name(number), machine.interface(number)
        settings = "".join(f"{line}\n" for line in _network_section(card))
        files[f"{folder}/20-{interface}.network"] = File.of(
            f"[Match]\nName={interface}\n\n[Network]\n{settings}"
        )
        if interface == name:
            continue
        kind = "bridge" if card.bridged else f"vlan\n\n[VLAN]\nId={card.vlan}"
        files[f"{folder}/20-{interface}.netdev"] = File.of(
            f"[NetDev]\nName={interface}\nKind={kind}\n"
        )
        files[f"{folder}/20-{name}.network"] = File.of(
            f"[Match]\nName={name}\n\n[Network]\nLinkLocalAddressing=no\n"
            f"{'Bridge' if card.bridged else 'VLAN'}={interface}\n"
        )
    return files


def _network_section(card: Card) -> Iterator[str]:
    yield f"IPv6AcceptRA={'yes' if card.advertised else 'no'}"
    # The default, which a host's own file may say all the same.
    yield "IPv6ProxyNDP=no"
    if card.dhcp:
        yield "DHCP=ipv4"
    for address in _static(card):
        yield f"Address={address.address}"
        if address.gateway:
            yield f"Gateway={address.gateway}"


# --- NetworkManager --------------------------------------------------------------------------


def _networkmanager(machine: Machine) -> Files:
    folder = "etc/NetworkManager/system-connections"
    files = {}
    for number, card in enumerate(machine.cards):
        name, interface = machine.card_name(number), machine.interface(number)
        kind = "bridge" if card.bridged else "ethernet" if card.vlan is None else "vlan"
        text = f"[connection]\nid={interface}\ntype={kind}\ninterface-name={interface}\n"
        if card.vlan is not None:
            text += f"\n[vlan]\nparent={name}\nid={card.vlan}\n"
        text += "".join(f"\n[ipv{version}]\n{_keys(card, version)}" for version in (4, 6))
        files[f"{folder}/{interface}.nmconnection"] = File.of(text, 0o600)
        if interface != name:
            port = f"master={interface}\nslave-type=bridge\n" if card.bridged else ""
            rest = "" if card.bridged else "\n[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=disabled\n"
            files[f"{folder}/{name}.nmconnection"] = File.of(
                f"[connection]\nid={name}\ntype=ethernet\ninterface-name={name}\n{port}{rest}",
                0o600,
            )
    return files


def _keys(card: Card, version: int) -> str:
    is_automatic = card.dhcp if version == 4 else card.advertised
    static = [address for address in _static(card) if address.version == version]
    method = "auto" if is_automatic else "manual" if static else "disabled"
    if version == 6 and method == "disabled":
        method = "link-local"
    text = f"method={method}\n"
    if version == 6:
        # EUI-64, so that the address can be foretold.
        text += "addr-gen-mode=0\n"
    for index, address in enumerate(static, 1):
        gateway = f",{address.gateway}" if address.gateway else ""
        text += f"address{index}={address.address}{gateway}\n"
    return text


_CYCLE = "ifdown {interface}; ifup {interface}"
_RESTART_IFUPDOWN = "systemctl restart networking"
_RECONFIGURE = ("networkctl reload", "networkctl reconfigure {interface}")
_RESTART_NETWORKD = "systemctl restart systemd-networkd"
_REAPPLY = ("nmcli connection reload", "nmcli device reapply {interface}")
_UNTIL_IT_RUNS = "timeout 60 sh -c 'until nmcli general; do sleep 1; done' >/dev/null 2>&1"
_RESTART_NETWORKMANAGER = "systemctl restart NetworkManager"

FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            name="ifupdown",
            title="ifupdown",
            manager="ifupdown",
            packages=TOGETHER,
            services=("networking", "ifupdown-pre"),
            files=_interfaces,
            apply=(_CYCLE,),
            restart=_RESTART_IFUPDOWN,
        ),
        Flavour(
            name="netplan",
            title="netplan, with networkd and networkd-dispatcher",
            manager="netplan",
            packages=TOGETHER,
            services=("networkd-dispatcher",),
            files=_netplan("networkd"),
            apply=("netplan apply", *_RECONFIGURE),
            restart=_RESTART_NETWORKD,
        ),
        Flavour(
            name="networkd",
            title="systemd-networkd",
            manager="networkd",
            packages=TOGETHER,
            services=(),
            files=_networkd,
            apply=_RECONFIGURE,
            restart=_RESTART_NETWORKD,
        ),
        Flavour(
            name="networkd-dispatcher",
            title="systemd-networkd, with networkd-dispatcher",
            manager="networkd",
            packages=TOGETHER,
            services=("networkd-dispatcher",),
            files=_networkd,
            apply=_RECONFIGURE,
            restart=_RESTART_NETWORKD,
        ),
        Flavour(
            name="networkmanager",
            title="NetworkManager",
            manager="networkmanager",
            packages=TOGETHER,
            services=("NetworkManager",),
            files=_networkmanager,
            apply=_REAPPLY,
            restart=_RESTART_NETWORKMANAGER,
        ),
        Flavour(
            name="netplan-networkmanager",
            title="NetworkManager under netplan",
            manager="networkmanager",
            packages=TOGETHER,
            services=("NetworkManager",),
            files=_netplan("NetworkManager"),
            # Which restarts NetworkManager, and doesn't wait for it.
            apply=(f"netplan apply; {_UNTIL_IT_RUNS}", *_REAPPLY),
            restart=_RESTART_NETWORKMANAGER,
        ),
        Flavour(
            name="ifupdown2",
            title="ifupdown2",
            manager="ifupdown2",
            packages=("ifupdown2",),
            services=("networking",),
            files=_interfaces,
            apply=(_CYCLE, "ifreload --all"),
            restart=_RESTART_IFUPDOWN,
        ),
        Flavour(
            name="ifupdown-ng",
            title="ifupdown-ng",
            manager="ifupdown-ng",
            packages=("ifupdown-ng",),
            services=("networking",),
            files=_interfaces,
            apply=(_CYCLE,),
            restart=_RESTART_IFUPDOWN,
        ),
    )
}

# Of ifupdown's hosts, those with a firewall. ufw and iptables-persistent exclude each other; Docker
# is large.
FLAVOURS |= {
    name: replace(FLAVOURS["ifupdown"], name=name, packages=(*firewalls, "ifupdown"), off=off)
    for name, firewalls, off in (
        ("firewalls", ("ufw", "firewalld"), ("firewalld.service",)),
        ("persistent", ("iptables-persistent",), ()),
        (
            "docker",
            ("docker.io", "docker-cli"),
            ("docker.service", "docker.socket", "containerd.service"),
        ),
    )
}


# --- What is installed -----------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """A Debian suite and what is installed of it: what one image is built from."""

    suite: str
    packages: tuple[str, ...]

    @property
    def all_packages(self) -> list[str]:
        """With those that every machine has."""
        kernel = KERNELS.get(self.suite, DEBIAN_KERNEL)
        base = [kernel if each == DEBIAN_KERNEL else each for each in BASE_PACKAGES]
        return [*base, *self.packages]

    @property
    def name(self) -> str:
        """Short, for a folder and for a person who waits."""
        return self.suite if self.packages == TOGETHER else f"{self.suite}-{self.packages[0]}"


def recipe(machine: Machine) -> Recipe:
    """What a machine's image is built from."""
    return Recipe(machine.suite, FLAVOURS[machine.flavour].packages)


def recipes(machines: Iterable[Machine]) -> list[Recipe]:
    """Each once."""
    return list(dict.fromkeys(recipe(machine) for machine in machines))
