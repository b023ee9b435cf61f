"""Many tunnels at once: three clients on one server, a server that is a client, networks behind."""

from pathlib import Path
from typing import Any

import pytest

from tasks.parts.filtering import SERVICE
from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.lab.machines import FAR_ADDRESS
from tests.lab.topologies import BROKER
from tests.runs import Hosts
from tests.scenarios.cases import LANS, NAMES, Lan, inventory, ipv4_of
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import (
    Observation,
    assert_all_flow,
    assert_lan,
    differences,
    observe,
    observe_all,
    pending,
)


def test_every_tunnel_and_every_network_behind_a_client_carries_ipv6(
    running_lab: Lab, deployed: Deploy
) -> None:
    deployed("broker")
    assert_all_flow(running_lab, inventory("broker"))
    for lan in LANS:
        assert_lan(running_lab, lan)
        # What fits through the tunnel, as the router says.
        route = running_lab.machine("lan-host").run(f"ip -6 route show default dev {lan.card}")
        assert " mtu 1480 " in route.stdout


@pytest.mark.parametrize("lan", LANS, ids=lambda lan: lan.client)
def test_a_network_behind_a_client_is_back_after_its_manager_went_over_it(
    running_lab: Lab, deployed: Deploy, lan: Lan
) -> None:
    deployed("broker")
    client = running_lab.machine(lan.client)
    if lan.client == "client-netplan":
        client.run("netplan apply")
    else:
        client.run("ifdown eth1; ifdown eth0; ifup eth0; ifup eth1")
    assert_lan(running_lab, lan)
    assert pending(running_lab, inventory("broker"), lan.client) == ""


PINGS = 5


def passages(machine: LabMachine, interface: str, target: str, lab: Lab) -> int:
    """How many packets an interface sends while the Internet host sends a few to an address."""
    count = f"cat /sys/class/net/{interface}/statistics/tx_packets"
    before = int(machine.run(count).stdout)
    lab.machine("internet").run(
        f"ping -6 -n -q -c {PINGS} -i 0.2 -W 1 -I {FAR_ADDRESS} {target}", check=False
    )
    return int(machine.run(count).stdout) - before


# What holds the route, an address that nobody uses, and where each passage of a packet shows.
UNUSED = [
    # In the client's /48, outside its network: into the tunnel.
    ("client-ifupdown", "2001:db8:101:8::1", ("server-ifupdown", "sit-ifupdown")),
    # Routed to the server, delegated to nobody: from the Internet.
    ("server-netplan", "2001:db8:2ff::1", ("internet", "eth1")),
]


@pytest.mark.parametrize(("name", "target", "way"), UNUSED)
def test_a_packet_to_an_address_that_nobody_uses_does_not_go_round(
    running_lab: Lab, deployed: Deploy, name: str, target: str, way: tuple[str, str]
) -> None:
    deployed("broker")
    machine, interface = running_lab.machine(way[0]), way[1]
    # Neighbours' questions and answers come on top; one packet that goes round passes 30 times.
    assert PINGS <= passages(machine, interface, target, running_lab) <= 3 * PINGS
    # Neither by the filter, which holds back what comes out of a tunnel to go into one.
    for each in ("server-ifupdown", "server-netplan", "client-ifupdown", "client-netplan"):
        running_lab.machine(each).run(f"systemctl stop {SERVICE}")
    running_lab.machine(name).run(
        "ip -6 route show type unreachable | while read route; do ip -6 route delete $route; done"
    )
    assert passages(machine, interface, target, running_lab) > 10 * PINGS


def test_a_reboot_loses_nothing_that_removal_then_takes_away(
    bare: dict[str, Observation], running_lab: Lab, deployed: Deploy, tmp_path: Path
) -> None:
    deployed("broker")
    running_lab.reboot(NAMES)
    assert_all_flow(running_lab, inventory("broker"))
    for lan in LANS:
        assert_lan(running_lab, lan)
    again = runs.run(tmp_path, inventory("broker"), "deploy.py", "-y")
    assert again.status == 0, again.output
    assert again.stderr.count("nothing to change") == len(NAMES)

    removed = runs.run(tmp_path, inventory("broker"), "tasks.remove.remove", "-y")
    assert removed.status == 0, removed.output
    assert differences(observe_all(running_lab), bare) == []
    # The last word of the advertisements: nobody is a router here any more.
    routes = running_lab.machine("lan-host").run("ip -6 route show default").stdout
    assert routes == ""
    nothing = runs.run(tmp_path, inventory("broker"), "tasks.remove.remove", "--dry")
    assert nothing.stderr.count("nothing to change") == len(NAMES)
    running_lab.reboot(NAMES)
    assert differences(observe_all(running_lab), bare) == []


def chain() -> Hosts:
    """A client that is the server of another one, with a prefix that is routed to it."""
    hosts = {name: {**data, "tunnel": None} for name, data in inventory("straight")}
    del hosts["server-netplan"]
    first, middle, last = hosts
    middle, last = "client-netplan", "client-ifupdown"
    prefix = BROKER.routed_prefix(first).replace("100::/40", "155::/48")
    far: dict[str, Any] = {"probe_address": FAR_ADDRESS}
    hosts[first]["tunnel_server"]["routed_prefixes"] = [BROKER.routed_prefix(first)]
    hosts[middle] |= {
        "tunnel": {
            "server": first,
            "ipv4": ipv4_of(middle),
            "number": 5,
            "server_interface": "sit-middle",
            "routed_prefixes": [prefix],
        },
        "tunnel_server": {
            "ipv4": ipv4_of(middle, index=1),
            "prefix": "2001:db8:155:1::/64",
            "on_link": False,
            **far,
        },
    }
    hosts[last]["tunnel"] = {
        "server": middle,
        "ipv4": ipv4_of(last),
        "number": 1,
        "server_interface": "sit-last",
    }
    return list(hosts.items())


def test_a_client_can_be_the_server_of_others(lab: Lab, tmp_path: Path) -> None:
    done = runs.run(tmp_path, chain(), "deploy.py", "-y")
    assert done.status == 0, done.output
    assert_all_flow(lab, chain())
    # Its prefix is routed to it: nobody asks who has its addresses.
    assert observe(lab.machine("client-netplan")).proxies == frozenset()
    again = runs.run(tmp_path, chain(), "deploy.py", "-y")
    assert again.stderr.count("nothing to change") == 3
