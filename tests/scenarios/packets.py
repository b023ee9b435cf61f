"""Packets as anybody can write them, with whatever source, and how a machine sends them."""

import shlex
import struct

from netaddr import IPAddress

from tests.lab.lab import LabMachine

ECHO_REQUEST, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION = 128, 134, 135
_ICMPV6, _IPV6_IN_IPV4 = 58, 41

# Of perl's, every Debian system has this much. 255 is IPPROTO_RAW: the packets bring their own
# headers, of which the kernel fills in IPv4's lengths and checksums.
_SENDER = """
my $seconds = shift;
my @packets = map { pack "H*", $_ } @ARGV;
socket(my $four, AF_INET, SOCK_RAW, 255) or die $!;
socket(my $six, AF_INET6, SOCK_RAW, 255) or die $!;
do {
    for (@packets) {
        if (ord($_) >> 4 == 4) {
            send($four, $_, 0, pack_sockaddr_in(0, unpack("x16 a4", $_))) or warn $!;
        } else {
            send($six, $_, 0, pack_sockaddr_in6(0, unpack("x24 a16", $_))) or warn $!;
        }
    }
    select(undef, undef, undef, $seconds);
} while ($seconds);
"""


def sending(packets: list[bytes], every: float = 0) -> str:
    """A command that sends some packets, again and again if `every` so many seconds."""
    words = ["perl", "-MSocket", "-e", _SENDER, str(every), *(each.hex() for each in packets)]
    return shlex.join(words)


def send(sender: LabMachine, packets: list[bytes]) -> None:
    """Send some packets, once."""
    done = sender.run(sending(packets))
    assert not done.stderr, done


def in_ipv4(source: IPAddress | str, destination: IPAddress | str, inner: bytes) -> bytes:
    """A packet of 6in4 (RFC 4213)."""
    ends = IPAddress(source).packed, IPAddress(destination).packed
    length = 20 + len(inner)
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, _IPV6_IN_IPV4, 0, *ends) + inner


def icmpv6(
    source: IPAddress | str, destination: IPAddress | str, message: bytes, hop_limit: int = 64
) -> bytes:
    """An IPv6 packet with a message of ICMPv6, whose checksum is filled in (RFC 4443, 2.3)."""
    ends = IPAddress(source, 6).packed + IPAddress(destination, 6).packed
    pseudo = ends + struct.pack("!II", len(message), _ICMPV6)
    body = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, hop_limit) + ends + body


def echo_request(source: IPAddress | str, destination: IPAddress | str, payload: bytes) -> bytes:
    """A ping."""
    return icmpv6(source, destination, struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 1, 1) + payload)


def solicitation(source: IPAddress | str, destination: IPAddress | str) -> bytes:
    """A question for the link-layer address of who gets it (RFC 4861, 4.3)."""
    target = IPAddress(destination, 6).packed
    message = struct.pack("!BBHI", NEIGHBOUR_SOLICITATION, 0, 0, 0) + target
    return icmpv6(source, destination, message, hop_limit=255)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
