"""What a kernel takes for very many tunnels: `python -m tests.bench.kernel`, as root.

In a network namespace of this machine: neighbour solicitations for addresses that it proxies, and
what `ip -batch` adds to it. Seconds are of CPU; what else runs has the rest. No bar: what is there
is Linux's, and docs/hosts.md says what follows from it.
"""

import random
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from itertools import pairwise

from tests.bench import here

ENTRIES = (0, 200, 2_000, 10_000, 20_000)
SOLICITATIONS = 400
TUNNELS = 1_000

# A link whose other end, r0, is a router's: nothing of this kernel's own answers there.
_LINK = """
ip link add up0 type veth peer name r0
echo 1 >/proc/sys/net/ipv6/conf/r0/disable_ipv6
ip link set up0 up
ip link set r0 up
ip address add 2001:db8:1::1/64 dev up0 nodad
for path in conf/all/forwarding conf/all/proxy_ndp; do echo 1 >/proc/sys/net/ipv6/$path; done
echo 0 >/proc/sys/net/ipv6/neigh/up0/proxy_delay
sleep 2
"""
_ROUTER = IPv6Address("2001:db8:1::ffff:ffff").packed
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ICMPV6 = 58
_ATTEMPTS = 10
# In a frame: of Ethernet 14 bytes, of IPv6 40, of ICMPv6 8.
_TYPE, _TARGET = 54, slice(62, 78)


def _address(number: int) -> IPv6Address:
    return IPv6Address("2001:db8:1::") + number


def _ip(lines: Iterable[str], *options: str) -> float:
    """Have one process add it; the seconds of CPU that it takes, the kernel's among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["ip", *options, "-batch", "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _sum(data: bytes) -> int:
    """As of RFC 1071."""
    found: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return ~found & 0xFFFF


def _frame(target: bytes, card: bytes) -> bytes:
    """A router's question who has an address, to its solicited-node group (RFC 4861, 4.3)."""
    aim = IPv6Address("ff02::1:ff00:0").packed[:13] + target[13:]
    text = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target + b"\1\1" + card
    pseudo = _ROUTER + aim + struct.pack("!II", len(text), _ICMPV6)
    text = text[:2] + struct.pack("!H", _sum(pseudo + text)) + text[4:]
    header = struct.pack("!IHBB", 6 << 28, len(text), _ICMPV6, 255) + _ROUTER + aim
    return b"\x33\x33" + aim[12:] + card + b"\x86\xdd" + header + text


def _answered(asking: socket.socket, number: int) -> None:
    target = _address(number).packed
    for _ in range(_ATTEMPTS):
        asking.send(_frame(target, asking.getsockname()[4]))
        with suppress(TimeoutError):
            while True:
                got = asking.recv(2048)
                is_answer = len(got) >= _TARGET.stop and got[_TYPE] == _ADVERTISEMENT
                if is_answer and got[_TARGET] == target:
                    return
    sys.exit(f"{_address(number)} isn't answered for")


def entries() -> None:
    """A line for each number of entries: what they take, and an answer among them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as asking:
        asking.bind(("r0", 0))
        asking.settimeout(2)
        taken = 0.0
        for before, count in pairwise(ENTRIES):
            taken += _ip(
                (
                    f"neighbour add proxy {_address(n)} dev up0"
                    for n in range(before + 2, count + 2)
                ),
                "-6",
            )
            asked = [random.randrange(2, count + 2) for _ in range(SOLICITATIONS)]
            # What is sent into a veth is answered before that returns, at the sender's cost.
            start = time.process_time()
            for number in asked:
                _answered(asking, number)
            each = (time.process_time() - start) / SOLICITATIONS * 1000
            print(
                f"{count:6,} proxy entries: added in {taken:.2f} s, a solicitation is answered in "
                f"{each:.3f} ms",
                flush=True,
            )


def links() -> None:
    """A line on as many devices, VXLAN's for tunnels, and their addresses and routes."""
    numbers = range(1, TUNNELS + 1)
    made = _ip(
        f"link add t{n} type vxlan id {n} dstport 4789 local 198.51.100.10 "
        f"remote 10.1.{n // 250}.{n % 250}"
        for n in numbers
    )
    raised = _ip(
        f"{verb} dev t{n}{more}"
        for n in numbers
        for verb, more in (("link set", " up"), (f"address add 2001:db8:2::{2 * n:x}/127", ""))
    )
    routed = _ip((f"route add 2001:db8:{0x8000 + n:x}::/48 dev t{n}" for n in numbers), "-6")
    gone = _ip(f"link delete t{n}" for n in numbers)
    print(
        f"{TUNNELS:,} links: made in {made:.2f} s, up with an address each in {raised:.2f} s, a "
        f"route each in {routed:.2f} s, deleted in {gone:.2f} s"
    )


def main() -> int:
    """Print all of it."""
    if "inside" not in sys.argv:
        program = [sys.executable, "-m", "tests.bench.kernel", "inside"]
        return subprocess.run(["unshare", "--net", *program], check=False).returncode
    here.tell()
    subprocess.run(["sh", "-e"], input=_LINK, text=True, check=True)
    entries()
    links()
    return 0


if __name__ == "__main__":
    sys.exit(main())
