"""The golden files, as the managers themselves read them."""

import base64
from pathlib import Path

import pytest

from tests.lab.lab import Lab, LabMachine

GOLDEN = Path(__file__).parent.parent / "golden"
TUNNELS = {
    "server": ("sit-web1", "198.51.100.10", "203.0.113.20", "2001:db8:1::2"),
    "client": ("sit-ipv6", "203.0.113.20", "198.51.100.10", "2001:db8:1::3"),
}


def copy(machine: LabMachine, folder: str, to: str) -> None:
    for file in (GOLDEN / folder).rglob("*"):
        if file.is_file():
            path = f"{to}/{file.relative_to(GOLDEN / folder)}"
            text = base64.b64encode(file.read_bytes()).decode()
            machine.run(f"mkdir -p {path.rpartition('/')[0]}; echo {text} | base64 -d >{path}")


@pytest.mark.parametrize("role", TUNNELS)
def test_netplan_makes_the_tunnel_of_its_file(running_lab: Lab, role: str) -> None:
    machine = running_lab.machine("client-netplan")
    interface, local, remote, address = TUNNELS[role]
    copy(machine, f"netplan-{role}", root := f"/tmp/golden-{role}")
    machine.run(f"chmod 0600 {root}/etc/netplan/*")
    done = machine.run(f"netplan generate --root-dir {root}")
    assert done.stderr == ""
    folder = f"{root}/run/systemd/network/10-netplan-{interface}"
    netdev = machine.run(f"cat {folder}.netdev").stdout.splitlines()
    assert {"Kind=sit", f"Local={local}", f"Remote={remote}", "TTL=255", "MTUBytes=1480"} <= set(
        netdev
    )
    network = machine.run(f"cat {folder}.network").stdout
    assert f"Address={address}/127\n" in network
    assert "RequiredForOnline=no\n" in network
    route = "[Route]\nDestination=::/0\nGateway=2001:db8:1::2\n"
    assert (route in network) == (role == "client")


@pytest.mark.parametrize("role", TUNNELS)
def test_ifupdown_makes_the_tunnel_of_its_stanza(running_lab: Lab, role: str) -> None:
    machine = running_lab.machine("client-ifupdown")
    interface, local, remote, address = TUNNELS[role]
    copy(machine, f"ifupdown-{role}", root := f"/tmp/golden-{role}")
    file = f"{root}/etc/network/interfaces.d/60-culvert-{interface}"
    done = machine.run(f"ifup --no-act --force --verbose --interfaces={file} {interface} 2>&1")
    commands = [" ".join(line.split()) for line in done.stdout.splitlines()]
    ends = f"local {local} remote {remote} ttl 255"
    add = commands.index(f"ip link add {interface} mtu 1480 type sit {ends}")
    conf = f"/proc/sys/net/ipv6/conf/{interface}"
    unheard = [f"echo 0 >{conf}/{key}" for key in ("accept_ra", "accept_redirects", "autoconf")]
    assert commands[add + 1 : add + 4] == unheard
    up = next(index for index, each in enumerate(commands) if each.endswith(f"{interface} up"))
    assert up > add + 3
    assert f"ip -6 addr add {address}/127 dev {interface} nodad" in commands
    default = f"ip -6 route add default via 2001:db8:1::2 dev {interface}"
    assert (default in done.stdout) == (role == "client")


def test_ifupdown_adds_the_entries_to_the_external_interface(running_lab: Lab) -> None:
    machine = running_lab.machine("server-ifupdown")
    copy(machine, "ifupdown-server", "/tmp/golden")
    folder = "/tmp/golden/etc/network/interfaces.d"
    machine.run(
        f"(cat /etc/network/interfaces; cat {folder}/60-culvert-external-interface) >/tmp/all"
    )
    done = machine.run("ifup --no-act --force --verbose --interfaces=/tmp/all eth0 2>&1")
    for address in ("2001:db8:1::2", "2001:db8:1::3"):
        assert f"ip -6 neighbour replace proxy {address} dev eth0 || true" in done.stdout


def test_the_dispatcher_script_is_one_that_a_posix_shell_reads(running_lab: Lab) -> None:
    machine = running_lab.machine("server-netplan")
    copy(machine, "netplan-server", "/tmp/golden")
    machine.run("sh -n /tmp/golden/etc/networkd-dispatcher/routable.d/60-culvert")
