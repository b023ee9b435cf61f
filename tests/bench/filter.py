"""What Culvert's table costs a server's throughput: `python -m tests.bench.filter`, as root.

A TCP connection goes through a server's tunnel, and the table goes to sleep and wakes, in pairs of
either order; what passes meanwhile is counted by the server. Then comes another connection. The bar
is for the 95 % interval of the median of all pairs, on this machine's own processor, with a tunnel
in IPv4 and segments that go together as cards and drivers have them by default. Beside it, without
a bar, stand two more: each packet by itself, where a table weighs most; and the lab's own server,
whose processor is emulated, with real 6in4.
"""

import os
import shutil
import sys

from tests.bench import here, paired
from tests.bench.broker import Broker
from tests.bench.namespaces import SIT, Namespaces
from tests.bench.paired import BAR
from tests.bench.tables import table

# Connections differ by more than the pairs of one of them tell.
CONNECTIONS = 5
PAIRS = 60
PAIRS_BESIDE = 40
TUNNELS = (1, 1000)
LOADED_SECONDS = 1.0
"""In which the table of the most tunnels must be loaded, by this machine's own processor."""


def _way(*, is_download: bool) -> str:
    return f"{'to' if is_download else 'from'} the client"


def in_namespaces(*, is_by_itself: bool) -> bool:
    """Print a line for each way and table; whether all bars are met."""
    connections, pairs = (1, PAIRS_BESIDE) if is_by_itself else (CONNECTIONS, PAIRS)
    is_met = True
    for is_download in (True, False):
        ratios: dict[int, list[float]] = {tunnels: [] for tunnels in TUNNELS}
        loaded = dict.fromkeys(TUNNELS, 0.0)
        for _ in range(connections):
            network = Namespaces(is_download=is_download, is_by_itself=is_by_itself)
            with network.up():
                device = network.device()
                for tunnels in TUNNELS:
                    seconds = network.load(table(tunnels, device))
                    loaded[tunnels] = max(loaded[tunnels], seconds)
                    compared = paired.compare(network, pairs, 0.1, 0.3)
                    ratios[tunnels] += [speed for speed, _ in compared]
        for tunnels, found in ratios.items():
            speed = paired.outcome(found)
            is_met = is_met and loaded[tunnels] < LOADED_SECONDS
            is_met = is_met and (is_by_itself or speed.verdict == "met")
            print(
                f"{'6in4' if device == SIT else 'VXLAN'}, segments "
                f"{'one by one' if is_by_itself else 'together'}, {_way(is_download=is_download)}, "
                f"{tunnels:4} tunnels: with the table / without {speed}"
                f"{'' if is_by_itself else f', bar {BAR}: {speed.verdict}'}; loaded in "
                f"{loaded[tunnels]:.2f} s, bar {LOADED_SECONDS:.0f} s",
                flush=True,
            )
    return is_met


def through_a_broker() -> None:
    """Print a line for each way and table."""
    for is_download in (True, False):
        broker = Broker(is_download=is_download)
        with broker.up():
            for tunnels in TUNNELS:
                broker.load(table(tunnels))
                found = [*paired.compare(broker, PAIRS_BESIDE, 0.3, 1.0, broker.processor)]
                speed, cost = map(paired.outcome, map(list, zip(*found, strict=True)))
                print(
                    f"6in4, emulated, {_way(is_download=is_download)}, {tunnels:4} tunnels: with "
                    f"the table / without {speed}; bytes for each second of the server's "
                    f"processor {cost}",
                    flush=True,
                )


def main() -> int:
    """The status is 1 where a bar isn't met."""
    lacking = [each for each in ("nft", "iperf3", "ethtool", "ip") if not shutil.which(each)]
    if lacking or os.geteuid():
        sys.exit(f"this needs root, and {', '.join(lacking) or 'nothing more'}")
    here.tell()
    met = [in_namespaces(is_by_itself=each) for each in (False, True)]
    through_a_broker()
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
