"""A server whose IPv6 default route is learned: forwarding must not cost it that route."""

import re
import time
from pathlib import Path

import pytest

from tests import runs
from tests.lab.internet import ADVERTISED_SECONDS
from tests.lab.lab import LabMachine
from tests.lab.machines import FAR_ADDRESS
from tests.lab.topologies import TOPOLOGIES, Topology
from tests.scenarios.cases import Case, connected, straight, tunnels
from tests.scenarios.conftest import Labs

LEARNED = [
    pytest.param(topology, case, id=case.server)
    for topology in TOPOLOGIES.values()
    for case in straight(topology)
    if any(card.advertised for card in topology.machine(case.server).cards)
]


class Pings:
    """Five a second from a machine to the Internet host, of which none may be lost."""

    def __init__(self, machine: LabMachine) -> None:
        self._running = machine.start(f"exec ping -6 -n -i 0.2 {FAR_ADDRESS}")

    def assert_answered(self, seconds: float) -> None:
        output = self._running.stop("INT").stdout
        answered = [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)]
        (sent,) = re.findall(r"(\d+) packets transmitted", output)
        assert answered == list(range(1, len(answered) + 1)), output
        # One may have been on its way at the end; an emulated machine may not keep time.
        assert seconds < int(sent) <= len(answered) + 1, output


@pytest.mark.parametrize(("topology", "case"), LEARNED)
def test_a_learned_default_route_is_kept(
    labs: Labs, tmp_path: Path, topology: Topology, case: Case
) -> None:
    lab = labs.up(topology)
    lab.reset()
    machine = lab.machine(case.server)
    hosts = connected(topology, tunnels([case]))
    look = "ip -6 route show default; cat /proc/sys/net/ipv6/conf/all/forwarding"
    assert " proto ra " in machine.run(look).stdout

    pings = Pings(machine)
    for _ in range(2):
        done = runs.run(tmp_path, hosts, "deploy.py", "-y")
        assert done.status == 0, done.output
    time.sleep(2 * ADVERTISED_SECONDS)
    pings.assert_answered(2 * ADVERTISED_SECONDS)
    assert machine.run(look).stdout.endswith("\n1\n")

    machine.reboot()
    machine.wait_for(f"ping -6 -n -c 1 -W 1 {FAR_ADDRESS}", 60)
    pings = Pings(machine)
    time.sleep(2 * ADVERTISED_SECONDS)
    pings.assert_answered(2 * ADVERTISED_SECONDS)
    assert " proto ra " in machine.run(look).stdout
    assert machine.run(look).stdout.endswith("\n1\n")
