"""A host in trouble fails alone, says why, and stays as it was."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.host import rollback
from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import PAIRINGS, Case, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import assert_traffic, carried, differences, observe

IFUPDOWN, NETPLAN = PAIRINGS["straight"]


UNKNOWN_MANAGER = (
    "sed -i /^eth0/d /run/network/ifstate",
    "no known network manager holds eth0; looked for: `networkctl` shows",
)
INTERFACE_BY_HAND = (
    "ip link add sit-ipv6 type dummy",
    "interface sit-ipv6 is there already, and Culvert didn't make it",
)
ADDRESS_BY_HAND = (
    f"ip address add {NETPLAN.client_ipv6}/64 dev lo",
    f"address {NETPLAN.client_ipv6} is on lo already",
)
UNREADABLE_NETPLAN = (
    "echo 'network: {version: 2, ethernets: {eth0: {dhcp4: perhaps}}}' "
    ">/etc/netplan/99-broken.yaml",
    "99-broken.yaml",
    "Culvert stopped at: netplan generate",
)


def full_disk(folder: str) -> tuple[str, ...]:
    return (
        f"cp -a {folder} /tmp/kept; mount -t tmpfs -o size=16k,mode=755 full {folder}; "
        f"cp -a /tmp/kept/. {folder}/; head -c 1M /dev/zero >{folder}/filler.bak || true",
        f"{folder} has 0 KiB free, and 4 KiB are needed: make room there",
    )


BLOCKED_DRIVER = (
    "echo 'install sit /bin/false' >/etc/modprobe.d/hardening.conf",
    "the kernel is told not to load its sit driver: "
    "/etc/modprobe.d/hardening.conf: install sit /bin/false: take that out",
)
NO_MKFIFO = ("mv /bin/mkfifo /bin/mkfifo.away", "`mkfifo` isn't there: install coreutils")
READ_ONLY = ("mount -o bind,ro /etc/netplan /etc/netplan", "/etc/netplan is read-only: mount it")
# A hook of the host's own that is in the way of every tunnel.
VANISHING = (
    r"""printf '#!/bin/sh
[ "$IFACE" != sit-ipv6 ] || ip link delete sit-ipv6
' """
    ">/etc/network/if-up.d/mine; chmod 755 /etc/network/if-up.d/mine",
    "Culvert stopped at: bringing up sit-ipv6 with 2001:",
    "; what it made is taken back",
)


# Of each client in trouble: the command that makes it, and what the run says of it.
TROUBLES = [
    {IFUPDOWN: UNKNOWN_MANAGER, NETPLAN: INTERFACE_BY_HAND},
    {IFUPDOWN: full_disk("/etc/network/interfaces.d"), NETPLAN: ADDRESS_BY_HAND},
    {IFUPDOWN: BLOCKED_DRIVER, NETPLAN: full_disk("/etc/netplan")},
    {IFUPDOWN: VANISHING, NETPLAN: UNREADABLE_NETPLAN},
    {IFUPDOWN: NO_MKFIFO},
    {NETPLAN: READ_ONLY},
]


@pytest.mark.parametrize("troubles", TROUBLES, ids=lambda t: "; ".join(v[1] for v in t.values()))
def test_a_client_in_trouble_fails_alone_and_stays_as_it_was(
    lab: Lab, tmp_path: Path, troubles: dict[Case, tuple[str, ...]]
) -> None:
    for case, (command, *_) in troubles.items():
        lab.machine(case.client).run(command)
    clients = [case.client for case in troubles]
    before = carried(lab, clients)

    done = runs.run(tmp_path, inventory("straight"), "deploy.py", "-y")

    assert done.status == 1
    for _, *sentences in troubles.values():
        for sentence in sentences:
            assert sentence in done.stderr
    assert differences(carried(lab, clients), before) == []
    for case in PAIRINGS["straight"]:
        if case in troubles:
            # Its server's end is whole, and waits.
            server = observe(lab.machine(case.server))
            assert f"{case.client_ipv6} dev eth0" in server.proxies
        else:
            assert_traffic(lab, case)


def test_a_hook_that_fails_for_a_tunnel_is_named_and_the_tunnel_is_up(
    lab: Lab, tmp_path: Path
) -> None:
    lab.machine(IFUPDOWN.client).run(
        r"""printf '#!/bin/sh\n[ "$IFACE" = eth0 ]\n' >/etc/network/if-up.d/mine; """
        "chmod 755 /etc/network/if-up.d/mine"
    )
    done = runs.run(tmp_path, inventory("straight"), "deploy.py", "-y")
    assert done.status == 0, done.output
    assert (
        f"[{IFUPDOWN.client}] warning: ifup --force sit-ipv6 ended with status 1: "
        "run-parts: /etc/network/if-up.d/mine exited with return code 1" in done.stderr
    )
    assert_traffic(lab, IFUPDOWN)


def test_a_manager_that_the_inventory_names_is_believed(lab: Lab, tmp_path: Path) -> None:
    lab.machine(IFUPDOWN.client).run(UNKNOWN_MANAGER[0])
    hosts = inventory("straight")
    dict(hosts)[IFUPDOWN.client]["tunnel"]["manager"] = "ifupdown"
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    assert "(ifupdown holds eth0: named in the inventory)" in done.stderr
    assert_traffic(lab, IFUPDOWN)


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


def test_a_server_that_is_lost_on_the_way_fails_alone(lab: Lab, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        run = pool.submit(runs.run, tmp_path, inventory("straight"), "deploy.py", "-y")
        # Once it is confirmed all that is left is its proof, of which a part is a program in Perl.
        lab.machine(IFUPDOWN.server).run(
            f"timeout 300 sh -c 'until [ -e {rollback.CONFIRMED} ] && pgrep -x perl; do "
            "sleep 0.1; done' >/dev/null && pkill -KILL -f 'sshd: root@notty'",
            check=False,
            timeout=360,
        )
    done = run.result()
    assert done.status == 1
    failed = f"[{IFUPDOWN.server}] nothing is known of the tunnels: "
    assert failed in done.stderr
    for case in PAIRINGS["straight"]:
        proven = rf"\[{case.client}\] +verified: {case.server} answers at {case.server_ipv6} "
        assert re.search(proven, done.stderr)
    assert_traffic(lab, IFUPDOWN)


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
    assert "(ifupdown holds eth0: `ifquery --state` lists it)" in working.stderr
    assert "(netplan holds eth0: networkd has it configured from /run/systemd" in working.stderr
    running_lab.machine("internet").run(
        "nft 'add table ip broken; add chain ip broken f { type filter hook forward priority 0; };"
        " add rule ip broken f ip protocol 41 ip saddr { 203.0.113.0/25 } drop'"
    )
    done = runs.run(tmp_path, inventory("straight"), "tasks.verify.verify", "-y")
    assert done.status == 1
    assert (
        f"expected: {IFUPDOWN.client} answers at {IFUPDOWN.client_ipv6} through sit-ifupdown; "
        "seen: 10 packets transmitted, 0 received, 100% packet loss" in done.stderr
    )
    assert f"verified: {NETPLAN.client} answers at {NETPLAN.client_ipv6}" in done.stderr
