"""A tunnel for each server with each client: it carries traffic, and goes on doing so."""

from pathlib import Path

import pytest

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import NAMES, PAIRINGS, Case, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import (
    assert_tcp,
    assert_traffic,
    differences,
    observe_all,
    pending,
)

CASES = [
    pytest.param(pairing, case, id=f"{case.server}-{case.client}")
    for pairing, cases in PAIRINGS.items()
    for case in cases
]


@pytest.mark.parametrize(("pairing", "case"), CASES)
def test_the_tunnel_carries_ipv6_in_both_directions(
    running_lab: Lab, deployed: Deploy, pairing: str, case: Case
) -> None:
    deployed(pairing)
    assert_traffic(running_lab, case)
    assert_tcp(running_lab, case)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_a_second_run_changes_nothing_and_says_so(
    deployed: Deploy, pairing: str, tmp_path: Path
) -> None:
    deployed(pairing)
    again = runs.run(tmp_path, inventory(pairing), "deploy.py", "-y", "--diff")
    assert again.status == 0, again.output
    assert again.stdout == ""
    for name in NAMES:
        assert f"[{name}]" in again.stderr
    assert again.stderr.count("nothing to change") == len(NAMES)


STRAIGHT = {case.server: case for case in PAIRINGS["straight"]}
PULLED = "the cable pulled and plugged in"
CYCLES = [
    ("server-ifupdown", PULLED),
    ("server-ifupdown", "ifdown eth0; ifup eth0"),
    ("server-ifupdown", "systemctl restart networking"),
    ("server-netplan", PULLED),
    ("server-netplan", "ip link set eth0 down; sleep 1; ip link set eth0 up"),
    ("server-netplan", "netplan apply"),
    ("server-netplan", "networkctl reload"),
    ("server-netplan", "networkctl reconfigure eth0"),
    ("server-netplan", "systemctl restart systemd-networkd"),
]


@pytest.mark.parametrize(("server", "cycle"), CYCLES)
def test_proxying_works_again_without_a_run(
    running_lab: Lab, deployed: Deploy, server: str, cycle: str
) -> None:
    deployed("straight")
    machine = running_lab.machine(server)
    if cycle == PULLED:
        machine.qemu.plug(0, is_plugged=False)
        machine.wait_for("ip link show eth0 | grep NO-CARRIER", 10)
        machine.qemu.plug(0, is_plugged=True)
    else:
        machine.run(cycle)
    assert_traffic(running_lab, STRAIGHT[server])
    assert pending(running_lab, inventory("straight"), server) == ""


@pytest.mark.parametrize(
    ("client", "cycle"),
    [
        ("client-ifupdown", "ifdown sit-ipv6; ifup sit-ipv6"),
        ("client-ifupdown", "ifdown eth0; ifup eth0"),
        ("client-ifupdown", "systemctl restart networking"),
        ("client-netplan", "netplan apply"),
        ("client-netplan", "systemctl restart systemd-networkd"),
    ],
)
def test_a_client_is_back_after_its_manager_went_over_it(
    running_lab: Lab, deployed: Deploy, client: str, cycle: str
) -> None:
    deployed("straight")
    running_lab.machine(client).run(cycle)
    (case,) = [case for case in PAIRINGS["straight"] if case.client == client]
    assert_traffic(running_lab, case)
    assert pending(running_lab, inventory("straight"), client) == ""


BROKEN = {
    "server-ifupdown": "ip link delete sit-ifupdown; ip -6 neighbour flush proxy; "
    "ip -6 neighbour delete proxy 2001:db8:1::3 dev eth0; rm /etc/sysctl.d/60-culvert.conf",
    "server-netplan": "ip link delete sit-netplan; sysctl -w net.ipv6.conf.all.forwarding=0; "
    "ip -6 neighbour delete proxy 2001:db8:2::3 dev eth0",
    "client-ifupdown": "ip -6 route flush dev sit-ipv6; ip link set sit-ipv6 mtu 1400",
    "client-netplan": "ip tunnel change sit-ipv6 mode sit remote 192.0.2.1; "
    "ip address flush dev sit-ipv6; ip link set sit-ipv6 down",
}


def test_drift_is_told_and_a_run_mends_it(
    running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("straight")
    for name, command in BROKEN.items():
        running_lab.machine(name).run(command, check=False)
    before = observe_all(running_lab)
    drifted = runs.run(tmp_path, inventory("straight"), "tasks.drift.drift", "-y")
    assert drifted.status == 1
    assert differences(observe_all(running_lab), before) == []

    mended = runs.run(tmp_path, inventory("straight"), "deploy.py", "-y", "--diff")
    assert mended.status == 0, mended.output
    assert mended.stdout == drifted.stdout
    assert mended.stderr.count("to change: ") == len(BROKEN)
    for case in PAIRINGS["straight"]:
        assert_traffic(running_lab, case)
    as_declared = runs.run(tmp_path, inventory("straight"), "tasks.drift.drift", "-y")
    assert as_declared.status == 0, as_declared.output
