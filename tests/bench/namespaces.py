"""A far host, a server and a client in network namespaces of this machine: no encapsulation.

A veth stands for the tunnel, so that a packet costs two lookups of routes and both ends' TCP, and
nothing else: a table weighs more here than on any server.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.tables import switching

_NETWORK = """
set -e
for name in far server client; do
    ip netns add {prefix}-$name
    ip -n {prefix}-$name link set lo up
    ip netns exec {prefix}-$name sysctl -q -w net.ipv6.conf.all.accept_dad=0 \\
        net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1
done
ip -n {prefix}-server link add eth0 type veth peer name eth0 netns {prefix}-far
ip -n {prefix}-server link add sit-web1 mtu 1480 type veth \\
    peer name sit-ipv6 mtu 1480 netns {prefix}-client
for pair in far:eth0 server:eth0 server:sit-web1 client:sit-ipv6; do
    {offloads}
    ip -n {prefix}-${{pair%%:*}} link set ${{pair##*:}} up
done
ip -n {prefix}-far address add 2001:db8:1::ffff/64 dev eth0
ip -n {prefix}-far address add 2001:db8:ffff::8888/128 dev lo
ip -n {prefix}-far route add 2001:db8:1::2/127 via 2001:db8:1::1
ip -n {prefix}-server address add 2001:db8:1::1/64 dev eth0
ip -n {prefix}-server address add 2001:db8:1::2/127 dev sit-web1
ip -n {prefix}-server route add default via 2001:db8:1::ffff
ip -n {prefix}-client address add 2001:db8:1::3/127 dev sit-ipv6
ip -n {prefix}-client route add default via 2001:db8:1::2
"""
_PACKET_BY_PACKET = (
    "ip netns exec {prefix}-${{pair%%:*}} ethtool -K ${{pair##*:}} tso off gso off gro off "
    ">/dev/null"
)
_HOSTS = ("far", "server", "client")


class Namespaces:
    """The three hosts and a connection, as long as the object is used as a context.

    Segments go together, as cards and drivers have them by default, or each by itself.
    """

    def __init__(self, *, is_by_itself: bool) -> None:
        self._prefix = f"bench{os.getpid()}"
        offloads = _PACKET_BY_PACKET if is_by_itself else ":"
        self._network = _NETWORK.replace("{offloads}", offloads).format(prefix=self._prefix)

    @contextmanager
    def up(self) -> Iterator[None]:
        running = []
        try:
            subprocess.run(["sh", "-s"], input=self._network, text=True, check=True)
            running.append(self._start("client", "iperf3", "--server"))
            time.sleep(1)
            words = ("--bind", "2001:db8:ffff::8888", "--client", "2001:db8:1::3", "--time", "3600")
            running.append(self._start("far", "iperf3", *words))
            time.sleep(2)
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()
            for name in _HOSTS:
                subprocess.run(["ip", "netns", "delete", f"{self._prefix}-{name}"], check=False)

    def load(self, table: str) -> float:
        """Load a table; the seconds that it took."""
        start = time.monotonic()
        self._run("server", "nft", "-f", "-", told=table)
        return time.monotonic() - start

    def switch(self, *, is_on: bool) -> None:
        self._run("server", "nft", switching(is_on=is_on))

    def passed(self) -> tuple[float, int]:
        path = "/sys/class/net/sit-web1/statistics/tx_bytes"
        return time.monotonic(), int(self._run("server", "cat", path))

    def _command(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self._prefix}-{host}", *words]

    def _run(self, host: str, *words: str, told: str = "") -> str:
        command = self._command(host, *words)
        done = subprocess.run(command, input=told, check=True, capture_output=True, text=True)
        return done.stdout

    def _start(self, host: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command(host, *words), stdout=subprocess.DEVNULL)
