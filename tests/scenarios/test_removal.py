"""What goes when it is no longer declared, and what stays."""

from pathlib import Path

import pytest

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import NAMES, PAIRINGS, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import (
    assert_traffic,
    observe,
    observe_all,
    pending,
)

IFUPDOWN, NETPLAN = PAIRINGS["straight"]


@pytest.fixture(scope="module")
def bare(running_lab: Lab) -> dict[str, object]:
    """The machines before any run."""
    running_lab.reset()
    return dict(observe_all(running_lab))


@pytest.mark.parametrize("is_rebooted", [False, True], ids=["at once", "after a reboot"])
def test_removal_leaves_the_hosts_as_they_were(
    bare: dict[str, object],
    running_lab: Lab,
    deployed: Deploy,
    tmp_path: Path,
    is_rebooted: bool,
) -> None:
    deployed("straight")
    if is_rebooted:
        running_lab.reboot(NAMES)
    done = runs.run(tmp_path, inventory("straight"), "tasks.remove.remove", "-y", "--diff")
    assert done.status == 0, done.output
    assert dict(observe_all(running_lab)) == bare
    again = runs.run(tmp_path, inventory("straight"), "tasks.remove.remove", "-y")
    assert again.stderr.count("nothing to change") == len(NAMES)


def test_a_client_taken_out_of_the_inventory_disappears_from_its_server(
    running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("straight")
    other = observe(running_lab.machine(IFUPDOWN.server))
    hosts = [(name, data) for name, data in inventory("straight") if name != NETPLAN.client]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    after = observe(running_lab.machine(NETPLAN.server))
    assert NETPLAN.server_interface not in after.links
    assert after.proxies == frozenset()
    assert not any(NETPLAN.server_interface in line for line in after.files)
    assert pending(running_lab, hosts, NETPLAN.server) == ""
    assert observe(running_lab.machine(IFUPDOWN.server)) == other
    assert_traffic(running_lab, IFUPDOWN)


def test_drift_fails_until_a_run_mends_it(
    running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("straight")
    clean = runs.run(tmp_path, inventory("straight"), "tasks.drift.drift", "-y")
    assert clean.status == 0, clean.output
    machine = running_lab.machine(NETPLAN.client)
    machine.run("ip -6 route flush default")
    before = observe(machine)
    drifted = runs.run(tmp_path, inventory("straight"), "tasks.drift.drift", "-y")
    assert drifted.status == 1
    assert f"+route default via {NETPLAN.server_ipv6} dev sit-ipv6" in drifted.stdout
    assert observe(machine) == before
