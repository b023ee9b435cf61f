"""A host in trouble fails alone, says why, and stays as it was."""

from pathlib import Path

import pytest

from tests import runs
from tests.lab.lab import Lab
from tests.runs import Run
from tests.scenarios.cases import PAIRINGS, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import assert_traffic, observe

IFUPDOWN, NETPLAN = PAIRINGS["straight"]


def deploy_around(lab: Lab, tmp_path: Path, troubled: str, prepare: str) -> Run:
    """A run in which a host was given trouble: it stays as it is, and all others are deployed."""
    machine = lab.machine(troubled)
    machine.run(prepare)
    before = observe(machine)
    done = runs.run(tmp_path, inventory("straight"), "deploy.py", "-y")
    assert done.status == 1
    assert observe(machine) == before
    return done


def test_an_unknown_manager_is_refused(lab: Lab, tmp_path: Path) -> None:
    done = deploy_around(lab, tmp_path, IFUPDOWN.client, "sed -i /^eth0/d /run/network/ifstate")
    assert "no known network manager holds eth0; looked for: `networkctl` shows" in done.stderr
    assert_traffic(lab, NETPLAN)
    # Its server's end is whole, and waits.
    server = observe(lab.machine(IFUPDOWN.server))
    assert f"{IFUPDOWN.client_ipv6} dev eth0" in server.proxies


def test_an_interface_made_by_hand_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    prepare = "ip link add sit-ipv6 type dummy"
    done = deploy_around(lab, tmp_path, NETPLAN.client, prepare)
    assert "interface sit-ipv6 is there already, and Culvert didn't make it" in done.stderr
    assert_traffic(lab, IFUPDOWN)


def test_an_address_given_by_hand_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    prepare = f"ip address add {NETPLAN.client_ipv6}/64 dev lo"
    done = deploy_around(lab, tmp_path, NETPLAN.client, prepare)
    assert f"address {NETPLAN.client_ipv6} is on lo already" in done.stderr


@pytest.mark.parametrize(
    ("client", "folder"),
    [(IFUPDOWN.client, "/etc/network/interfaces.d"), (NETPLAN.client, "/etc/netplan")],
)
def test_a_full_disk_changes_nothing(lab: Lab, tmp_path: Path, client: str, folder: str) -> None:
    prepare = (
        f"cp -a {folder} /tmp/kept; mount -t tmpfs -o size=16k,mode=755 full {folder}; "
        f"cp -a /tmp/kept/. {folder}/; head -c 1M /dev/zero >{folder}/filler.bak || true"
    )
    done = deploy_around(lab, tmp_path, client, prepare)
    assert "No space left on device" in done.stderr
    assert f"Culvert stopped at: writing {folder}/60-culvert-sit-ipv6" in done.stderr


def test_a_netplan_that_cannot_be_read_is_not_touched(lab: Lab, tmp_path: Path) -> None:
    broken = "echo 'network: {version: 2, ethernets: {eth0: {dhcp4: perhaps}}}'"
    prepare = f"{broken} >/etc/netplan/99-broken.yaml"
    done = deploy_around(lab, tmp_path, NETPLAN.client, prepare)
    assert "99-broken.yaml" in done.stderr
    assert "Culvert stopped at: netplan generate" in done.stderr


def test_an_unreachable_server_leaves_its_client_as_it_was(lab: Lab, tmp_path: Path) -> None:
    before = observe(lab.machine(IFUPDOWN.client))
    hosts = inventory("straight")
    # Port 1 of this computer: nobody listens there.
    dict(hosts)[IFUPDOWN.server]["ssh_port"] = 1
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 1
    assert f"left alone, because its tunnel server {IFUPDOWN.server} failed" in done.stderr
    assert observe(lab.machine(IFUPDOWN.client)) == before
    assert_traffic(lab, NETPLAN)


def test_a_dry_run_without_a_terminal_survives_an_unreachable_host(
    lab: Lab, tmp_path: Path
) -> None:
    del lab
    hosts = inventory("straight")
    dict(hosts)[IFUPDOWN.client]["ssh_port"] = 1
    done = runs.run(tmp_path, hosts, "deploy.py", "--dry", "--diff")
    assert done.status == 1
    assert f"+++ {IFUPDOWN.server}:/etc/sysctl.d/60-culvert.conf" in done.stdout
    assert f"+++ {IFUPDOWN.client}:" not in done.stdout


def test_a_broken_path_fails_verification_with_what_was_expected(
    running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("straight")
    working = runs.run(tmp_path, inventory("straight"), "tasks.verify.verify", "-y")
    assert working.status == 0, working.output
    assert "expected" not in working.stderr
    running_lab.machine("internet").run(
        "nft 'add table ip broken; add chain ip broken f { type filter hook forward priority 0; };"
        " add rule ip broken f ip protocol 41 ip saddr { 203.0.113.0/25 } drop'"
    )
    done = runs.run(tmp_path, inventory("straight"), "tasks.verify.verify", "-y")
    assert done.status == 1
    assert (
        f"expected: {IFUPDOWN.client} answers at {IFUPDOWN.client_ipv6} through sit-ifupdown; "
        "seen: 1 packets transmitted, 0 received, 100% packet loss" in done.stderr
    )
    assert f"verified: {NETPLAN.client} answers at {NETPLAN.client_ipv6}" in done.stderr
