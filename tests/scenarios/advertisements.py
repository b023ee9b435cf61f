"""Router advertisements that come out of tunnels, from somebody who is at neither end.

6in4 has nothing but the outer source address that tells a tunnel's other end from anybody else.
"""

import shlex
import struct
from collections.abc import Iterable

from netaddr import IPAddress

from tests.lab.lab import LabMachine
from tests.lab.machines import Address
from tests.scenarios.cases import Case

PREFIX = "2001:db8:bad::"
"""Out of which a host that listens takes an address."""
ROUTER = "fe80::bad"
"""Through which it then has a default route."""
HOP_LIMIT = 1
MTU = 1280

EVERY_SECONDS = 0.2

# Of perl's, every Debian system has this much. 255 is IPPROTO_RAW: the packets bring their own IPv4
# headers, of which the kernel fills in lengths and checksums.
_SENDER = """
socket(my $raw, AF_INET, SOCK_RAW, 255) or die $!;
my $seconds = shift;
my @packets = map { pack "H*", $_ } @ARGV;
my @receivers = map { pack_sockaddr_in(0, unpack("x16 a4", $_)) } @packets;
while (1) {
    send($raw, $packets[$_], 0, $receivers[$_]) for 0 .. $#packets;
    select(undef, undef, undef, $seconds);
}
"""


def advertise(sender: LabMachine, cases: Iterable[Case]) -> None:
    """From now on, send one into each end of each tunnel again and again.

    Into tunnels between the first IPv4 addresses of the hosts, and between the second ones.
    """
    packets = [
        _out_of_tunnel(
            case.topology.ipv4_of(end, index=index), case.topology.ipv4_of(to, index=index)
        )
        for case in cases
        for end, to in ((case.server, case.client), (case.client, case.server))
        for index in (0, 1)
    ]
    words = ["perl", "-MSocket", "-e", _SENDER, str(EVERY_SECONDS), *(p.hex() for p in packets)]
    # A service, so that it goes on whatever becomes of this connection.
    sender.run(f"systemd-run --quiet --unit=advertise {shlex.join(words)}")


def _out_of_tunnel(source: Address, destination: Address) -> bytes:
    inner = _advertisement()
    # Behind its NAT.
    ends = IPAddress(source.public).packed, IPAddress(destination.host).packed
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(inner), 0, 0, 64, 41, 0, *ends)
    return header + inner


def _advertisement() -> bytes:
    """RFC 4861, 4.2, 4.6.2 and 4.6.4; of high preference as in RFC 4191, 2.2."""
    source, destination = IPAddress(ROUTER).packed, IPAddress("ff02::1").packed
    prefix = struct.pack(
        "!BBBBIII16s", 3, 4, 64, 0b11000000, 3600, 3600, 0, IPAddress(PREFIX).packed
    )
    options = prefix + struct.pack("!BBHI", 5, 1, 0, MTU)
    kind, preference, lifetime = 134, 0b00001000, 1800

    def message(checksum: int) -> bytes:
        fields = (kind, 0, checksum, HOP_LIMIT, preference, lifetime, 0, 0)
        return struct.pack("!BBHBBHII", *fields) + options

    pseudo = source + destination + struct.pack("!II", len(message(0)), 58)
    body = message(_checksum(pseudo + message(0)))
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), 58, 255, source, destination) + body


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
