"""What Culvert's table costs a server's throughput: `python -m tests.bench.filter`, as root.

One TCP connection goes from a far host through a server to a client, each a network namespace of
this machine, with every packet by itself (no segmentation offload). The server's table goes on and
off, in pairs of either order; what passes meanwhile is counted by the server. A veth stands for the
tunnel: what encapsulation costs on top, both have to pay, so a real server's ratio is nearer to 1.
The bar is 0.97, for the 95 % interval of the median of all pairs.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.declared import declaration
from tasks.parts import filtering, managers
from tasks.planning import detection
from tests.samples import CLIENT, SERVER, bare

BAR = 0.97
PAIRS = 60
SETTLED = 0.15
MEASURED = 0.7
"""Seconds after a change of the table, and of what is counted then."""
CONFIDENCE = 0.95
TUNNELS = (1, 1000)
LOADED_SECONDS = 1.0
"""In which the table of the most tunnels must be loaded."""

NETWORK = """
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
    ip netns exec {prefix}-${{pair%%:*}} ethtool -K ${{pair##*:}} tso off gso off gro off >/dev/null
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


@dataclass(frozen=True)
class Outcome:
    """A median of paired ratios, with the interval that holds the true one."""

    median: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low >= BAR:
            return "met"
        return "MISSED" if self.high < BAR else "UNDECIDED"


def outcome(ratios: list[float]) -> Outcome:
    """By order statistics: as many lie below the true median as heads in so many tosses."""
    ordered, count = sorted(ratios), len(ratios)
    left, outside = 0, 0.0
    while outside + 2 * comb(count, left) / 2**count < 1 - CONFIDENCE:
        outside += 2 * comb(count, left) / 2**count
        left += 1
    edge = max(left - 1, 0)
    return Outcome(statistics.median(ordered), ordered[edge], ordered[-1 - edge])


def table(tunnels: int) -> str:
    """A server's, of so many, each with a prefix routed to it; owned by nobody here."""
    hosts = {
        "fra1.example.net": {"tunnel_server": {**SERVER, "routed_prefixes": ["2001:db8:8000::/33"]}}
    }
    for number in range(1, tunnels + 1):
        tunnel = {
            **CLIENT,
            "ipv4": f"10.{number // 250}.{number % 250}.20",
            "number": number,
            "routed_prefixes": [f"2001:db8:{0x8000 + number:x}::/48"],
        }
        hosts[f"web{number}.example.net"] = {"tunnel": tunnel}
    node = declaration.read(hosts, managers.NAMES).nodes["fra1.example.net"]
    state = bare("ifupdown", "server")
    site, _ = detection.find(node, state)
    text = filtering.files(site, state)[filtering.FILE].text
    return text.replace("{ flags owner; }", "").replace("    flags owner\n", "")


class Network:
    """The three hosts, as long as the object is used as a context."""

    def __init__(self) -> None:
        self.prefix = f"bench{os.getpid()}"

    @contextmanager
    def up(self) -> Iterator[None]:
        try:
            subprocess.run(
                ["sh", "-s"], input=NETWORK.format(prefix=self.prefix), text=True, check=True
            )
            yield
        finally:
            for name in ("far", "server", "client"):
                subprocess.run(["ip", "netns", "delete", f"{self.prefix}-{name}"], check=False)

    def command(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}-{host}", *words]

    def run(self, host: str, *words: str) -> str:
        done = subprocess.run(
            self.command(host, *words), check=True, capture_output=True, text=True
        )
        return done.stdout

    def start(self, host: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(host, *words), stdout=subprocess.DEVNULL)

    def passed(self) -> int:
        """Bytes that the server has sent into the tunnel so far."""
        path = "/sys/class/net/sit-web1/statistics/tx_bytes"
        return int(self.run("server", "cat", path))


def ratios(network: Network, file: Path) -> list[float]:
    """Of what passes with the table to what passes without, pair by pair."""

    def measure(*, is_on: bool) -> float:
        if is_on:
            network.run("server", "nft", "-f", str(file))
        else:
            network.run("server", "nft", "flush", "ruleset")
        time.sleep(SETTLED)
        start, before = time.monotonic(), network.passed()
        time.sleep(MEASURED)
        return (network.passed() - before) / (time.monotonic() - start)

    found = []
    for number in range(PAIRS):
        first = number % 2 == 0
        speeds = {is_on: measure(is_on=is_on) for is_on in (first, not first)}
        found.append(speeds[True] / speeds[False])
    return found


def main() -> int:
    """Print a line for each number of tunnels; the status is 1 where a bar isn't met."""
    lacking = [each for each in ("nft", "iperf3", "ethtool", "ip") if not shutil.which(each)]
    if lacking or os.geteuid():
        sys.exit(f"this needs root, and {', '.join(lacking) or 'nothing more'}")
    print(f"{platform.node()}, {os.cpu_count()} cores, Linux {platform.release()}, {date.today()}")
    network, is_met = Network(), True
    with network.up(), TemporaryDirectory() as folder:
        listener = network.start("client", "iperf3", "--server")
        time.sleep(1)
        seconds = str(int(len(TUNNELS) * PAIRS * 2 * (SETTLED + MEASURED + 1)) + 30)
        sender = network.start(
            "far",
            *("iperf3", "--bind", "2001:db8:ffff::8888", "--client", "2001:db8:1::3"),
            *("--time", seconds),
        )
        time.sleep(2)
        for tunnels in TUNNELS:
            file = Path(folder) / f"{tunnels}.nft"
            file.write_text(table(tunnels))
            start = time.monotonic()
            network.run("server", "nft", "-f", str(file))
            loaded = time.monotonic() - start
            found = outcome(ratios(network, file))
            is_met = is_met and found.verdict == "met" and loaded < LOADED_SECONDS
            print(
                f"{tunnels:5} tunnels: with the table / without {found.median:.3f} "
                f"({CONFIDENCE:.0%}: {found.low:.3f} to {found.high:.3f}), bar {BAR}: "
                f"{found.verdict}; loaded in {loaded:.2f} s, bar {LOADED_SECONDS:.0f} s"
            )
        for process in (sender, listener):
            process.terminate()
            process.wait()
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
