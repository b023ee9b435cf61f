"""Pure: the keys that a person may write in an inventory, and the values that each may have.

The description of a field is what an error says is accepted there.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, TypeGuard

from netaddr import AddrFormatError, IPAddress, IPNetwork
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tasks.declared.model import GROUPS, Allowed

# IFNAMSIZ is 16 with the terminating NUL (linux/if.h).
INTERFACE_NAME_MAX = 15
IPV6_MINIMUM_MTU = 1280
# What goes around each packet: an IPv4 header without options.
OUTER_HEADER = 20
# On a path of 1500 bytes (RFC 4213, section 3.2).
DEFAULT_MTU = 1500 - OUTER_HEADER
MAXIMUM_MTU = 65515
# Google Public DNS: answers pings from everywhere.
DEFAULT_PROBE_ADDRESS = "2001:4860:4860::8888"
# Names with a meaning of their own: sit0 is the kernel's fallback device that accepts anyone's
# protocol 41; "all" and "default" are sysctl folders.
RESERVED_INTERFACES = frozenset({"sit0", "lo", "all", "default"})
# What a client lets in of its tunnel that it didn't ask for.
INBOUND = ("any", "established")


# What a person may write instead of its text; an interface of `ipaddress` is one of its addresses.
_OBJECTS = (IPAddress, IPNetwork, IPv4Address, IPv4Network, IPv6Address, IPv6Network)


def text(value: object) -> object:
    """An address or prefix of netaddr or `ipaddress` in text; anything else as it is."""
    return str(value) if isinstance(value, _OBJECTS) else value


def _ipv4(value: object) -> IPAddress:
    value = text(value)
    # netaddr, like inet_aton, would read "10.1" and "010.0.0.1" as addresses.
    if not isinstance(value, str) or not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){3}", value):
        raise ValueError
    try:
        address = IPAddress(value, version=4)
    except AddrFormatError as error:
        raise ValueError from error
    if (
        address.is_multicast()
        or address.is_loopback()
        or address.is_link_local()
        or address in IPNetwork("0.0.0.0/8")
        or address in IPNetwork("240.0.0.0/4")
    ):
        raise ValueError
    return address


def _ipv6(value: object) -> IPAddress:
    value = text(value)
    if not isinstance(value, str) or "/" in value or "%" in value:
        raise ValueError
    try:
        address = IPAddress(value, version=6)
    except AddrFormatError as error:
        raise ValueError from error
    if not _is_ipv6_unicast(address):
        raise ValueError
    return address


def _is_ipv6_unicast(address: IPAddress) -> bool:
    return not (
        address == IPAddress("::")
        or address.is_multicast()
        or address.is_loopback()
        or address.is_link_local()
        or address.is_ipv4_mapped()
    )


def _ipv6_network(value: object) -> IPNetwork:
    """An address with its prefix length."""
    value = text(value)
    if not isinstance(value, str) or "/" not in value or "%" in value:
        raise ValueError
    try:
        network = IPNetwork(value, version=6)
    except AddrFormatError as error:
        raise ValueError from error
    if not _is_ipv6_unicast(network.network):
        raise ValueError
    return network


def _prefix(shortest: int, longest: int) -> BeforeValidator:
    def check(value: object) -> IPNetwork:
        network = _ipv6_network(value)
        if network.ip != network.network or not shortest <= network.prefixlen <= longest:
            raise ValueError
        return network

    return BeforeValidator(check)


def _lan_address(value: object) -> IPNetwork:
    network = _ipv6_network(value)
    # 64: what hosts need to make addresses of their own (RFC 4862). The all-zero one is every
    # router's (RFC 4291, 2.6.1).
    if network.prefixlen != 64 or network.ip == network.network:
        raise ValueError
    return network


def _any_interface(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError
    if len(value) > INTERFACE_NAME_MAX or value in RESERVED_INTERFACES:
        raise ValueError
    # systemd refuses a number, which would be an interface's index.
    if value.isdecimal():
        raise ValueError
    return value


def tunnel_interface(value: object) -> str:
    # No dots: the name becomes part of file names, and readers of folders skip those with dots.
    if "." in (name := _any_interface(value)):
        raise ValueError
    return name


def _integer(low: int, high: int) -> BeforeValidator:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return BeforeValidator(check)


def is_seconds(value: object, least: int = 1) -> TypeGuard[int]:
    """Whether it is a time that somebody may wait: at most an hour."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 3600


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _between(value: object) -> bool | str:
    if not isinstance(value, bool) and value != GROUPS:
        raise ValueError
    return value if isinstance(value, bool) else GROUPS


def _group(value: object) -> str:
    # It becomes part of a set's name in nftables.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", value):
        raise ValueError
    return value


def _inbound(value: object) -> str:
    if value not in INBOUND:
        raise ValueError
    return str(value)


def _allowed(value: object) -> Allowed:
    match = re.fullmatch(r"(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?", value) if _is_text(value) else None
    if match is None:
        raise ValueError
    first, last = int(match[2]), int(match[3] or match[2])
    if not 1 <= first <= last <= 65535:
        raise ValueError
    return Allowed(match[1], first, last)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _list(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


INTERFACE_RULE = (
    f"an interface name of at most {INTERFACE_NAME_MAX} letters, digits, '-' and '_', "
    f"not digits alone, none of {', '.join(sorted(RESERVED_INTERFACES))}"
)

_ANY_INTERFACE_RULE = INTERFACE_RULE.replace("'-' and '_'", "'-', '_' and '.'")

Ipv4 = Annotated[IPAddress, BeforeValidator(_ipv4)]
Ipv6 = Annotated[IPAddress, BeforeValidator(_ipv6)]
# Number 1 takes the third and fourth address: a /126 is the smallest that holds a tunnel.
Prefix = Annotated[IPNetwork, _prefix(16, 126)]
Pools = Annotated[tuple[Annotated[IPNetwork, _prefix(16, 64)], ...], BeforeValidator(_list)]
Delegated = Annotated[tuple[Annotated[IPNetwork, _prefix(48, 64)], ...], BeforeValidator(_list)]
LanAddress = Annotated[IPNetwork, BeforeValidator(_lan_address)]
AnyInterface = Annotated[str, BeforeValidator(_any_interface)]
TunnelInterface = Annotated[str, BeforeValidator(tunnel_interface)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Name = Annotated[str, BeforeValidator(_name)]
Between = Annotated[bool | str, BeforeValidator(_between)]
Group = Annotated[str, BeforeValidator(_group)]
Inbound = Annotated[str, BeforeValidator(_inbound)]
AllowedPorts = Annotated[
    tuple[Annotated[Allowed, BeforeValidator(_allowed)], ...], BeforeValidator(_list)
]


class Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class WrittenServer(Written):
    """What a person writes under `tunnel_server`."""

    ipv4: Ipv4 = Field(description="the IPv4 address that clients connect to, like '198.51.100.10'")
    local_ipv4: Ipv4 | None = Field(
        None, description="the server's own IPv4 address behind 1:1 NAT, like '192.0.2.10'"
    )
    prefix: Prefix | None = Field(
        None,
        description="an IPv6 prefix from /16 to /126 without host bits, like '2001:db8:1::/64'",
    )
    on_link: Boolean = Field(True, description="True or False")
    routed_prefixes: Pools = Field(
        (), description="a list of IPv6 prefixes up to /64 without host bits"
    )
    external_interface: AnyInterface | None = Field(None, description=_ANY_INTERFACE_RULE)
    between_tunnels: Between = Field(
        False,
        description=f"False, True, or '{GROUPS}' for those whose tunnels have the same `group`",
    )
    probe_address: Ipv6 = Field(
        IPAddress(DEFAULT_PROBE_ADDRESS),
        description=f"a global IPv6 address, like '{DEFAULT_PROBE_ADDRESS}'",
    )
    manager: Name | None = Field(None, description="the name of a network manager")


class WrittenTunnel(Written):
    """What a person writes under `tunnel`."""

    server: Name = Field(description="the inventory name of the tunnel's server")
    ipv4: Ipv4 = Field(
        description="the client's IPv4 address as the server sees it, like '203.0.113.20'"
    )
    number: Annotated[int, _integer(1, 2**127)] | None = Field(
        None, description="a whole number from 1"
    )
    server_ipv6: Ipv6 | None = Field(
        None, description="a global IPv6 address, like '2001:db8:1::2'"
    )
    client_ipv6: Ipv6 | None = Field(
        None, description="a global IPv6 address, like '2001:db8:1::3'"
    )
    local_ipv4: Ipv4 | None = Field(
        None, description="the client's own IPv4 address behind NAT, like '192.0.2.20'"
    )
    interface: TunnelInterface = Field("sit-ipv6", description=INTERFACE_RULE)
    server_interface: TunnelInterface | None = Field(None, description=INTERFACE_RULE)
    mtu: Annotated[int, _integer(IPV6_MINIMUM_MTU, MAXIMUM_MTU)] | None = Field(
        None, description=f"a whole number from {IPV6_MINIMUM_MTU} to {MAXIMUM_MTU}"
    )
    ttl: Annotated[int, _integer(1, 255)] = Field(255, description="a whole number from 1 to 255")
    default_route: Boolean = Field(True, description="True or False")
    routed_prefixes: Delegated = Field(
        (), description="a list of IPv6 prefixes from /48 to /64 without host bits"
    )
    group: Group | None = Field(
        None, description="a letter, and up to 31 letters, digits, '-' and '_' after it"
    )
    inbound: Inbound = Field("any", description=" or ".join(map(repr, INBOUND)))
    allow: AllowedPorts = Field(
        (), description="a list of ports to let in, like 'tcp/22' or 'udp/60000-61000'"
    )
    # Checked by itself: a mapping as below, or a list of them.
    lan: object = None
    manager: Name | None = Field(None, description="the name of a network manager")


class WrittenLan(Written):
    """What a person writes under `lan` of a tunnel."""

    interface: AnyInterface = Field(description=_ANY_INTERFACE_RULE)
    address: LanAddress = Field(
        description="the client's own address there with /64, like '2001:db8:100::1/64'"
    )
    advertise: Boolean = Field(True, description="True or False")
