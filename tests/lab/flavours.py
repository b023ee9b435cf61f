"""One entry for each network manager that the lab's machines run: its packages and its files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.lab.cpio import File
from tests.lab.machines import Card, Machine

BASE_PACKAGES = [
    "systemd-sysv",
    "udev",
    "dbus",
    "linux-image-cloud-amd64",
    "kmod",
    "procps",
    "netbase",
    "sudo",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "nftables",
    "tcpdump",
    "socat",
    "busybox-static",
    "radvd",
]


@dataclass(frozen=True)
class Flavour:
    """A Debian suite with one network manager, and how that manager is told a machine's cards."""

    name: str
    suite: str
    packages: tuple[str, ...]
    network_files: Callable[[Machine], Mapping[str, File]]


def _ifupdown_files(machine: Machine) -> Mapping[str, File]:
    stanzas = "".join(
        f"\nauto eth{number}\n" + "".join(_stanzas(number, card))
        for number, card in enumerate(machine.cards)
    )
    head = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n"
    return {"etc/network/interfaces": File.of(head + stanzas)}


def _stanzas(number: int, card: Card) -> Iterator[str]:
    for address in card.addresses:
        yield f"iface eth{number} inet{'6' if address.version == 6 else ''} static\n"
        yield f"    address {address.address}\n"
        if address.gateway:
            yield f"    gateway {address.gateway}\n"
    if not card.addresses:
        yield f"iface eth{number} inet manual\n    up ip link set dev eth{number} up\n"
    for route in card.routes:
        yield f"    up ip -6 route add {route.prefix} via {route.gateway}\n"


IFUPDOWN_IN_CHARGE = "/etc/network/in-charge"
"""The file with which a machine of the flavour netplan starts ifupdown, too, when it boots."""


def _netplan_files(machine: Machine) -> Mapping[str, File]:
    cards = "".join(
        f"    eth{number}:\n" + "".join(_settings(card))
        for number, card in enumerate(machine.cards)
    )
    yaml = f"network:\n  version: 2\n  renderer: networkd\n  ethernets:\n{cards}"
    return {
        # Waits for all of udev at every boot, for nothing unless a test puts it in charge.
        **{
            f"etc/systemd/system/{unit}.service.d/lab.conf": File.of(
                f"[Unit]\nConditionPathExists={IFUPDOWN_IN_CHARGE}\n"
            )
            for unit in ("networking", "ifupdown-pre")
        },
        "etc/netplan/50-lab.yaml": File.of(yaml, 0o600),
        "etc/systemd/network/10-management.network": File.of(
            "[Match]\nName=mgmt\n\n[Link]\nUnmanaged=yes\n"
        ),
    }


def _settings(card: Card) -> Iterator[str]:
    yield "      accept-ra: false\n"
    if not card.addresses:
        return
    yield "      addresses:\n"
    for address in card.addresses:
        yield f'        - "{address.address}"\n'
    yield "      routes:\n"
    for address in card.addresses:
        if address.gateway:
            yield f'        - to: default\n          via: "{address.gateway}"\n'


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour("ifupdown", "bookworm", ("ifupdown",), _ifupdown_files),
        # With ifupdown installed and in charge of nothing: evidence is what counts.
        Flavour(
            "netplan",
            "bookworm",
            ("netplan.io", "networkd-dispatcher", "ifupdown"),
            _netplan_files,
        ),
    )
}
