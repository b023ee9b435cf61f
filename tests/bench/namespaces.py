"""A far host, a server and a client in network namespaces of this machine, at its own speed.

Packets go in 6in4 where this machine's kernel has it, else in VXLAN without Ethernet headers, which
is the nearest to it: IPv6 in a datagram of IPv4, one tunnel device that is no Ethernet card.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.tables import INTERFACE, switching
from tests.lab.ties import tied

SIT = 776
"""The kind of a device of 6in4's, by if_arp.h."""

_NETWORK = """
set -e
for name in far server client; do
    ip netns add {prefix}-$name
    ip -n {prefix}-$name link set lo up
    ip netns exec {prefix}-$name sysctl -q -w net.ipv6.conf.all.accept_dad=0 \\
        net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1
done
ip -n {prefix}-server link add eth0 type veth peer name eth0 netns {prefix}-far
ip -n {prefix}-server link add eth1 mtu 1600 type veth peer name eth0 mtu 1600 netns {prefix}-client
for pair in far:eth0 server:eth0 server:eth1 client:eth0; do
    {offloads}
    ip -n {prefix}-${{pair%%:*}} link set ${{pair##*:}} up
done
ip -n {prefix}-server address add 198.51.100.10/24 dev eth1
ip -n {prefix}-client address add 198.51.100.20/24 dev eth0
to_client="encap ip id 1 src 198.51.100.10 dst 198.51.100.20"
to_server="encap ip id 1 src 198.51.100.20 dst 198.51.100.10"
if ip -n {prefix}-server link add {interface} mtu 1480 type sit \\
    local 198.51.100.10 remote 198.51.100.20 2>/dev/null
then
    ip -n {prefix}-client link add sit-ipv6 mtu 1480 type sit \\
        local 198.51.100.20 remote 198.51.100.10
    to_client= to_server=
else
    for end in server:{interface} client:sit-ipv6; do
        ip -n {prefix}-${{end%%:*}} link add ${{end##*:}} mtu 1480 type vxlan \\
            dstport 4790 gpe external noudpcsum
    done
fi
ip -n {prefix}-server link set {interface} up
ip -n {prefix}-client link set sit-ipv6 up
ip -n {prefix}-far address add 2001:db8:1::ffff/64 dev eth0
ip -n {prefix}-far address add 2001:db8:ffff::8888/128 dev lo
ip -n {prefix}-far route add 2001:db8:1::2/127 via 2001:db8:1::1
ip -n {prefix}-server address add 2001:db8:1::1/64 dev eth0
ip -n {prefix}-server address add 2001:db8:1::2/128 dev {interface}
ip -n {prefix}-server -6 route add 2001:db8:1::3/128 $to_client dev {interface}
ip -n {prefix}-server route add default via 2001:db8:1::ffff
ip -n {prefix}-client address add 2001:db8:1::3/128 dev sit-ipv6
ip -n {prefix}-client -6 route add default $to_server dev sit-ipv6
"""
_PACKET_BY_PACKET = (
    "ip netns exec {prefix}-${{pair%%:*}} ethtool -K ${{pair##*:}} tso off gso off gro off "
    ">/dev/null"
)
_PREFIX = "culvert-bench"


class Namespaces:
    """The three hosts and a connection, as long as the object is used as a context.

    It goes from the client, or to it; its segments go together, as cards and drivers have them by
    default, or each by itself.
    """

    def __init__(self, *, is_download: bool, is_by_itself: bool) -> None:
        self._is_download = is_download
        offloads = _PACKET_BY_PACKET if is_by_itself else ":"
        self._network = _NETWORK.replace("{offloads}", offloads).format(
            prefix=_PREFIX, interface=INTERFACE
        )

    @contextmanager
    def up(self) -> Iterator[None]:
        running = []
        # Of one that was killed.
        _delete()
        try:
            subprocess.run(["sh", "-s"], input=self._network, text=True, check=True)
            running.append(self._start("client", "iperf3", "--server"))
            time.sleep(1)
            words = ["--bind", "2001:db8:ffff::8888", "--client", "2001:db8:1::3", "--time", "3600"]
            words += [] if self._is_download else ["--reverse"]
            running.append(self._start("far", "iperf3", *words))
            time.sleep(2)
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()
            _delete()

    def device(self) -> int:
        """The kind of device that stands for a tunnel."""
        return int(self._run("server", "cat", f"/sys/class/net/{INTERFACE}/type"))

    def load(self, table: str) -> float:
        """Load a table; the seconds that it took."""
        start = time.monotonic()
        self._run("server", "nft", "-f", "-", told=table)
        return time.monotonic() - start

    def switch(self, *, is_on: bool) -> None:
        self._run("server", "nft", switching(is_on=is_on))

    def passed(self) -> tuple[float, int]:
        way = "tx" if self._is_download else "rx"
        path = f"/sys/class/net/{INTERFACE}/statistics/{way}_bytes"
        return time.monotonic(), int(self._run("server", "cat", path))

    def _command(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{_PREFIX}-{host}", *words]

    def _run(self, host: str, *words: str, told: str = "") -> str:
        command = self._command(host, *words)
        done = subprocess.run(command, input=told, check=True, capture_output=True, text=True)
        return done.stdout

    def _start(self, host: str, *words: str) -> subprocess.Popen[bytes]:
        silent = subprocess.DEVNULL
        command = tied(self._command(host, *words))
        return subprocess.Popen(command, stdout=silent, stderr=silent)


def _delete() -> None:
    for path in Path("/run/netns").glob(f"{_PREFIX}-*"):
        subprocess.run(["ip", "netns", "delete", path.name], check=True)
