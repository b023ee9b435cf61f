"""What Culvert's table costs a server's throughput: `python -m tests.bench.filter`, as root.

One TCP connection goes through a server's tunnel, and the table goes to sleep and wakes, in pairs
of either order; what passes meanwhile is counted by the server. The bar is for the 95 % interval of
the median of all pairs, where a server does a server's work: the lab's, with real 6in4, an emulated
processor and cards without offloads. Beside it stands what the table costs where a packet costs
next to nothing else, which is nobody's server and no bar: see tests.bench.namespaces.
"""

import os
import platform
import shutil
import sys
from datetime import date

from tests.bench import paired
from tests.bench.broker import Broker
from tests.bench.namespaces import Namespaces
from tests.bench.paired import BAR
from tests.bench.tables import table

PAIRS = 40
TUNNELS = (1, 1000)
LOADED_SECONDS = 1.0
"""In which the table of the most tunnels must be loaded, by this machine's own processor."""


def through_a_broker() -> bool:
    """Print a line for each way and table; whether all bars are met."""
    is_met = True
    for is_download in (True, False):
        broker = Broker(is_download=is_download)
        with broker.up():
            for tunnels in TUNNELS:
                broker.load(table(tunnels))
                speed, cost = paired.compare(broker, PAIRS, 0.3, 1.0, broker.processor)
                is_met = is_met and speed.verdict == "met"
                print(
                    f"6in4, {'to' if is_download else 'from'} the client, {tunnels:4} tunnels: "
                    f"throughput with the table / without {speed}, bar {BAR}: {speed.verdict}; "
                    f"bytes for each second of the server's processor {cost}",
                    flush=True,
                )
    return is_met


def through_namespaces() -> bool:
    """Print a line for each kind of path and table; whether they are loaded in time."""
    is_met = True
    for is_by_itself in (False, True):
        network = Namespaces(is_by_itself=is_by_itself)
        with network.up():
            for tunnels in TUNNELS:
                loaded = network.load(table(tunnels, kind="ether"))
                is_met = is_met and loaded < LOADED_SECONDS
                speed, _ = paired.compare(network, PAIRS, 0.1, 0.7)
                print(
                    f"no encapsulation, segments {'one by one' if is_by_itself else 'together'}, "
                    f"{tunnels:4} tunnels: {speed}; loaded in {loaded:.2f} s, bar "
                    f"{LOADED_SECONDS:.0f} s",
                    flush=True,
                )
    return is_met


def main() -> int:
    """The status is 1 where a bar isn't met."""
    lacking = [each for each in ("nft", "iperf3", "ethtool", "ip") if not shutil.which(each)]
    if lacking or os.geteuid():
        sys.exit(f"this needs root, and {', '.join(lacking) or 'nothing more'}")
    print(f"{platform.node()}, {os.cpu_count()} cores, Linux {platform.release()}, {date.today()}")
    met = [through_a_broker(), through_namespaces()]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
