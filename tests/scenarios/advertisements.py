"""Router advertisements that come out of tunnels, from somebody who is at neither end.

6in4 has nothing but the outer source address that tells a tunnel's other end from anybody else.
"""

import struct
from collections.abc import Iterable

from netaddr import IPAddress

from tests.lab.lab import LabMachine
from tests.lab.machines import Address
from tests.scenarios.cases import Case
from tests.scenarios.packets import ROUTER_ADVERTISEMENT, icmpv6, in_ipv4, sending

PREFIX = "2001:db8:bad::"
"""Out of which a host that listens takes an address."""
ROUTER = "fe80::bad"
"""Through which it then has a default route."""
HOP_LIMIT = 1
MTU = 1280

EVERY_SECONDS = 0.2


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
    # A service, so that it goes on whatever becomes of this connection.
    command = sending(packets, EVERY_SECONDS)
    sender.run(f"systemd-run --quiet --unit=advertise {command}")


def _out_of_tunnel(source: Address, destination: Address) -> bytes:
    # Behind its NAT.
    return in_ipv4(source.public, destination.host, advertisement())


def advertisement() -> bytes:
    """RFC 4861, 4.2, 4.6.2 and 4.6.4; of high preference as in RFC 4191, 2.2."""
    prefix = struct.pack(
        "!BBBBIII16s", 3, 4, 64, 0b11000000, 3600, 3600, 0, IPAddress(PREFIX).packed
    )
    options = prefix + struct.pack("!BBHI", 5, 1, 0, MTU)
    preference, lifetime = 0b00001000, 1800
    fields = (ROUTER_ADVERTISEMENT, 0, 0, HOP_LIMIT, preference, lifetime, 0, 0)
    message = struct.pack("!BBHBBHII", *fields) + options
    return icmpv6(ROUTER, "ff02::1", message, hop_limit=255)
