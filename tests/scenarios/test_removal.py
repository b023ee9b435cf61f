"""What goes when it is no longer declared, and what stays."""

from pathlib import Path

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import PAIRINGS, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import assert_traffic, observe, pending, without_journal

IFUPDOWN, NETPLAN = PAIRINGS["straight"]


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
    # The host keeps what it takes the run back by.
    left = without_journal(after).files
    assert not any(NETPLAN.server_interface in line for line in left)
    assert pending(running_lab, hosts, NETPLAN.server) == ""
    assert observe(running_lab.machine(IFUPDOWN.server)) == other
    assert_traffic(running_lab, IFUPDOWN)


def test_a_container_keeps_its_tunnels_when_those_of_its_host_are_removed(
    running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("straight")
    container, other = running_lab.machine(IFUPDOWN.client), running_lab.machine(NETPLAN.client)
    container.run(
        "ip netns add container; ip -n container link add he-ipv6 type sit remote 192.0.2.1"
    )
    done = runs.run(tmp_path, inventory("straight"), "tasks.remove.remove", "-y")
    assert done.status == 0, done.output
    assert container.run("ip -n container link show he-ipv6").stdout
    assert "sit-ipv6" not in observe(container).links
    # Where nobody else has one, the kernel's module goes, as it came.
    assert other.run("ls /sys/module").stdout.split().count("sit") == 0
