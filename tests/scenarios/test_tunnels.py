"""Tunnels between different managers, and what somebody does to a tunnel by hand."""

from pathlib import Path

import pytest

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import PAIRINGS, Case, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import (
    assert_tcp,
    assert_traffic,
    differences,
    observe_all,
    pending,
)


@pytest.mark.parametrize("case", PAIRINGS["crossed"], ids=lambda case: case.client)
def test_ends_with_different_managers_carry_ipv6_in_both_directions(
    running_lab: Lab, deployed: Deploy, case: Case
) -> None:
    deployed("crossed")
    assert_traffic(running_lab, case)
    assert_tcp(running_lab, case)


# The uplink is defined where a netboot leaves it, and in /etc it is spoken of; what has no renderer
# of its own is for NetworkManager, which doesn't run.
SCATTERED = """
mkdir /run/netplan
sed 's/renderer: networkd/renderer: NetworkManager/; s/^    eth.:$/&\\n      renderer: networkd/' \
    /etc/netplan/50-lab.yaml >/run/netplan/50-lab.yaml
rm /etc/netplan/50-lab.yaml
cat >/etc/netplan/70-vlan.yaml <<'END'
network: {vlans: {eth0.7: {id: 7, link: eth0, renderer: networkd}}}
END
chmod 0600 /run/netplan/* /etc/netplan/*
netplan generate
"""


def test_netplan_files_may_be_in_several_folders_and_for_several_renderers(
    lab: Lab, tmp_path: Path
) -> None:
    (case,) = [case for case in PAIRINGS["crossed"] if case.client == "client-netplan"]
    lab.machine(case.client).run(SCATTERED)
    hosts = [each for each in inventory("crossed") if each[0] in (case.server, case.client)]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    assert_traffic(lab, case)
    lab.machine(case.client).run("networkctl reload && networkctl reconfigure sit-ipv6")
    assert_traffic(lab, case)
    assert pending(lab, hosts, case.client) == ""


@pytest.mark.parametrize(
    ("host", "cycle"),
    [
        ("server-netplan", "ip link set eth0 down; sleep 1; ip link set eth0 up"),
        ("client-ifupdown", "ifdown sit-ipv6; ifup sit-ipv6"),
    ],
)
def test_a_host_is_back_after_somebody_went_over_an_interface_by_hand(
    running_lab: Lab, deployed: Deploy, host: str, cycle: str
) -> None:
    deployed("straight")
    running_lab.machine(host).run(cycle)
    (case,) = [case for case in PAIRINGS["straight"] if host in (case.server, case.client)]
    assert_traffic(running_lab, case)
    assert pending(running_lab, inventory("straight"), host) == ""


BROKEN = {
    "server-ifupdown": "ip link delete sit-ifupdown; ip -6 neighbour flush proxy; "
    "ip -6 neighbour delete proxy 2001:db8:1::3 dev eth0; rm /etc/sysctl.d/60-culvert.conf",
    "server-netplan": "ip link delete sit-netplan; sysctl -w net.ipv6.conf.all.forwarding=0; "
    "ip -6 neighbour delete proxy 2001:db8:2::3 dev eth0",
    "client-ifupdown": "ip -6 route flush dev sit-ipv6; ip link set sit-ipv6 mtu 1400; "
    "sysctl -w net.ipv6.conf.sit-ipv6.accept_ra=1 net.ipv6.conf.sit-ipv6.hop_limit=1",
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
