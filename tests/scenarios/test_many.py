"""A server of a hundred tunnels: its first run, the next boot, one tunnel more, and removal.

Its clients are nowhere: what counts is what becomes of the server. `CULVERT_LAB_TUNNELS` is another
number of them.
"""

import os
import time
from pathlib import Path

import pytest
from netaddr import IPAddress

from tests import runs
from tests.lab.lab import Lab
from tests.lab.topologies import MANAGED, Topology
from tests.scenarios.cases import connected, straight, tunnels
from tests.scenarios.conftest import Labs
from tests.scenarios.observation import carried, differences, settled

TUNNELS = int(os.environ.get("CULVERT_LAB_TUNNELS", "100"))
# Seconds that a boot may take, and what the managers still make after it.
BOOT = max(600, 2 * TUNNELS)
NOWHERE = IPAddress("10.0.0.0")
HAS_DEFAULT = "ip -6 route show default | grep ."
SERVERS = [
    pytest.param(topology, server.name, id=server.name)
    for topology in MANAGED.values()
    for server in topology.servers
]


def inventory(topology: Topology, server: str, count: int) -> runs.Hosts:
    """A server, and so many clients that aren't in the run."""
    declared = dict(tunnels(straight(topology)))[server]
    clients = [
        (
            f"web{number}.example.net",
            {"tunnel": {"server": server, "ipv4": str(NOWHERE + number), "number": number}},
        )
        for number in range(1, count + 1)
    ]
    return [*connected(topology, [(server, declared)]), *clients]


def deploy(folder: Path, hosts: runs.Hosts, *more: str) -> runs.Run:
    return runs.run(folder, hosts, "deploy.py", "-y", "--limit", hosts[0][0], *more)


def assert_whole(lab: Lab, server: str, count: int) -> None:
    """All are there, with their proxy entries, and nothing has failed.

    The system has booted before networkd and NetworkManager have made all of them, and learned the
    default route.
    """
    machine = lab.machine(server)
    addresses = "$(ip -6 -oneline address show up | grep -c ': sit-web.* scope global')"
    entries = "$(ip -6 neighbour show proxy | grep -c .)"
    counted = f'echo "{addresses} {entries}" | grep -x "{count} {2 * count}"'
    machine.wait_for(f"{counted} && {HAS_DEFAULT}", BOOT)
    assert machine.run("systemctl --failed --no-legend").stdout == ""


@pytest.mark.campaign
@pytest.mark.parametrize(("topology", "server"), SERVERS)
def test_a_server_carries_very_many(
    labs: Labs, topology: Topology, server: str, tmp_path: Path
) -> None:
    lab = labs.up(topology)
    lab.reset()
    bare = carried(lab, [server])
    began = time.monotonic()
    done = deploy(tmp_path, inventory(topology, server, TUNNELS))
    print(f"{server}: {time.monotonic() - began:.0f} s for the first run")
    assert done.status == 0, done.output
    assert_whole(lab, server, TUNNELS)
    began = time.monotonic()
    lab.machine(server).reboot(BOOT)
    assert_whole(lab, server, TUNNELS)
    print(f"{server}: {time.monotonic() - began:.0f} s for a boot, until all are there")
    done = deploy(tmp_path, inventory(topology, server, TUNNELS))
    assert [row[:2] for row in done.table] == [[server, "nothing to do"]], done.output
    done = deploy(tmp_path, inventory(topology, server, TUNNELS + 1))
    assert done.status == 0, done.output
    assert len(done.lines) <= 40
    assert_whole(lab, server, TUNNELS + 1)
    done = runs.run(
        tmp_path, inventory(topology, server, 0), "tasks.remove.remove", "-y", "--limit", server
    )
    assert done.status == 0, done.output
    assert differences(carried(lab, [server]), bare) == []


@pytest.mark.campaign
@pytest.mark.parametrize(("topology", "server"), SERVERS)
def test_a_server_that_loses_its_power_among_very_many_is_the_old_one(
    labs: Labs, topology: Topology, server: str, tmp_path: Path
) -> None:
    lab = labs.up(topology)
    lab.reset()
    bare = carried(lab, [server])
    hosts = inventory(topology, server, TUNNELS)
    process = runs.start(tmp_path, hosts, "deploy.py", "-y", "--limit", server)
    machine = lab.machine(server)
    machine.wait_for(f"[ -e /sys/class/net/sit-web{TUNNELS // 2} ]", BOOT)
    machine.cut_power(BOOT)
    assert runs.end(process).status != 0
    # The host goes back before its network comes up; what routers tell it comes after that.
    machine.wait_for(HAS_DEFAULT, 60)
    assert differences(settled(lab, [server]), bare) == []
    done = deploy(tmp_path, hosts)
    assert done.status == 0, done.output
    assert_whole(lab, server, TUNNELS)
