"""What a run breaks on a host goes back by itself within the time, and the next run says so."""

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.host import rollback
from tests import runs
from tests.lab.access import user_key
from tests.lab.lab import Lab
from tests.lab.topologies import MANAGED, Topology
from tests.scenarios import cutting
from tests.scenarios.cases import PAIRINGS, connected, straight, tunnels
from tests.scenarios.conftest import Labs
from tests.scenarios.cutting import STANDS_STILL
from tests.scenarios.observation import assert_traffic, carried, differences, settled

pytestmark = pytest.mark.lab
IFUPDOWN, NETPLAN = PAIRINGS["straight"]
SERVERS = (IFUPDOWN.server, NETPLAN.server)
LIMITS = [word for name in SERVERS for word in ("--limit", name)]
DATA: dict[str, Any] = {
    "confirm_within": 20,
    "ssh_command_timeout": 90,
    "ssh_connect_timeout": 30,
}
RULES = "/etc/udev/rules.d/99-stranger.rules"


def inventory(lab: Lab, **numbers: int) -> runs.Hosts:
    hosts = connected(lab.topology, tunnels([IFUPDOWN, NETPLAN]))
    for name, data in hosts:
        data.update(DATA)
        if name in numbers:
            data["tunnel"]["number"] = numbers[name]
    return hosts


def hook(lab: Lab, name: str, added: str, removed: str = ":") -> None:
    """Have a stranger's program run on a host whenever a tunnel comes, and when it goes."""
    lab.machine(name).run(
        f"cat >/root/added <<'END'\n#!/bin/sh\n{added}\nEND\n"
        f"cat >/root/removed <<'END'\n#!/bin/sh\n{removed}\nEND\n"
        "chmod 755 /root/added /root/removed\n"
        f"cat >{RULES} <<'END'\n"
        'SUBSYSTEM=="net", KERNEL=="sit-*", ACTION=="add", RUN+="/root/added"\n'
        'SUBSYSTEM=="net", KERNEL=="sit-*", ACTION=="remove", RUN+="/root/removed"\nEND\n'
        "udevadm control --reload"
    )


def unhook(lab: Lab, name: str) -> None:
    lab.machine(name).run(f"rm -f {RULES} /root/added /root/removed; udevadm control --reload")


DROPPING = (
    "nft 'table inet stranger {{ chain input {{ type filter hook input priority 0; "
    "tcp dport 22 {} drop; }}; }}'"
)
ALLOWING = "nft delete table inet stranger"


@pytest.mark.parametrize(
    ("added", "removed", "lost"),
    [
        pytest.param(
            "ip -6 route delete default",
            ":",
            "it has no IPv6 default route",
            id="its default route",
        ),
        pytest.param(
            "ip address flush dev eth0",
            ":",
            "198.51.100",
            id="its external addresses",
            marks=pytest.mark.campaign,
        ),
        pytest.param(
            DROPPING.format("ct state new"),
            ALLOWING,
            "no new SSH connection to it|it was going back by itself",
            id="its SSH",
            marks=pytest.mark.campaign,
        ),
    ],
)
def test_what_a_server_loses_by_the_change_undoes_it(
    lab: Lab, tmp_path: Path, added: str, removed: str, lost: str
) -> None:
    for name in SERVERS:
        hook(lab, name, added, removed)
    before = carried(lab, SERVERS)
    done = runs.run(tmp_path, inventory(lab), "deploy.py", "-y", *LIMITS)
    assert done.status == 1
    assert [row[:2] for row in done.table] == [[name, "undone"] for name in SERVERS]
    for _, _, why in done.table:
        assert re.match(lost, why), done.output
    assert differences(settled(lab, SERVERS), before) == []
    # The next one says so first, also where it only looks.
    looked = runs.run(tmp_path, inventory(lab), "deploy.py", "--dry", *LIMITS)
    told = [line for line in looked.lines if " UTC: undone, because " in line]
    assert len(told) == len(SERVERS), looked.output
    assert looked.lines.index(told[-1]) < min(
        looked.lines.index(line) for line in looked.lines if " to change: " in line
    )
    for name in SERVERS:
        unhook(lab, name)
    again = runs.run(tmp_path, inventory(lab), "deploy.py", "-y", *LIMITS)
    assert again.status == 0, again.output
    assert " UTC: undone" not in runs.run(tmp_path, inventory(lab), "tasks.drift.drift").output


@pytest.mark.campaign
def test_a_host_that_nobody_reaches_any_more_goes_back_by_itself(lab: Lab, tmp_path: Path) -> None:
    server = lab.machine(IFUPDOWN.server)
    hook(lab, IFUPDOWN.server, DROPPING.format(""), ALLOWING)
    before = carried(lab, [IFUPDOWN.server])
    hosts = [(n, {**d, "ssh_connect_timeout": 5}) for n, d in inventory(lab)]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y", "--limit", IFUPDOWN.server)
    assert done.status == 1
    # Which of them hangs on whether the host had come back before the run gave up.
    assert done.table[0][1] in {"not confirmed yet", "undone"}, done.output
    server.close()
    server.wait_for(f"[ ! -e {rollback.HOLD} ]", 60)
    assert differences(settled(lab, [IFUPDOWN.server]), before) == []
    assert "because " in server.run(f"cat {rollback.REPORT}").stdout


def test_a_client_that_is_managed_over_the_tunnel_that_changes_keeps_it(
    lab: Lab, tmp_path: Path
) -> None:
    done = runs.run(tmp_path, inventory(lab), "deploy.py", "-y")
    assert done.status == 0, done.output
    case = IFUPDOWN
    config = tmp_path / "ssh_config"
    internet = lab.machine("internet").ssh_port
    config.write_text(
        f"Host over-the-tunnel\n  HostName {case.client_ipv6}\n  Port 22\n"
        f"  ProxyCommand ssh -i {user_key()} -o StrictHostKeyChecking=no -o BatchMode=yes "
        f"-o UserKnownHostsFile=/dev/null -p {internet} root@127.0.0.1 -W [%h]:%p\n"
    )
    hosts = inventory(lab, **{case.client: 7})
    hosts = [each for each in hosts if each[0] in {case.server, case.client}]
    over = {
        "ssh_hostname": "over-the-tunnel",
        "ssh_config_file": str(config),
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": "/dev/null",
        "ssh_command_timeout": 45,
    }
    (client,) = (data for name, data in hosts if name == case.client)
    client |= over
    del client["ssh_port"]
    names = (case.server, case.client)
    before = carried(lab, names)
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 1
    words = {row[0]: row[1] for row in done.table}
    assert words[case.server] == "undone", done.output
    assert f"tunnel {case.server_interface} answers" in done.output
    for name in names:
        lab.machine(name).wait_for(f"[ ! -e {rollback.HOLD} ]", 90)
    assert differences(settled(lab, names), before) == []
    assert_traffic(lab, case)
    # And it is reached over it, as before.
    looked = runs.run(tmp_path, hosts, "deploy.py", "--dry", "--limit", case.client)
    assert looked.status == 0, looked.output


@pytest.mark.campaign
@pytest.mark.parametrize("topology", [MANAGED["trixie"], MANAGED["testing"]], ids=lambda t: t.name)
def test_a_host_goes_back_whose_programs_are_all_started_anew(
    labs: Labs, topology: Topology, tmp_path: Path
) -> None:
    """By `systemctl soft-reboot`, after which the kernel, and what is in /run, are the same."""
    lab = labs.up(topology)
    lab.reset()
    names = [server.name for server in topology.servers]
    before = carried(lab, names)
    hosts = [
        (name, {**data, **DATA, "confirm_within": 60})
        for name, data in connected(topology, tunnels(straight(topology)))
        if name in names
    ]
    cuts = dict.fromkeys(names, ("confirm", 0.0))
    process = cutting.start(tmp_path, hosts, cuts, "deploy.py", "-y")
    machines = [lab.machine(name) for name in names]
    for machine in machines:
        machine.wait_for(f"[ -e {STANDS_STILL} ]", 180)
    process.kill()
    process.communicate()
    for machine in machines:
        machine.run("systemctl --no-block soft-reboot", check=False)
        machine.close()
    for machine in machines:
        machine.wait_for(f"[ ! -e {rollback.HOLD} ]", 180)
        assert machine.run("systemctl show --property=SoftRebootsCount --value").stdout == "1\n"
        assert "nobody confirmed it in time" in machine.run(f"cat {rollback.REPORT}").stdout
        assert machine.run("systemctl --failed --no-legend").stdout == ""
    assert differences(settled(lab, names), before) == []
