"""What is on a host already stays its own: seen by the plan, on real kernels with real iproute2."""

import re
from pathlib import Path

import pytest

from tasks.declared.model import Node
from tasks.parts import additions
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import PAIRINGS, inventory
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import forget_neighbours, pending, read_state

IFUPDOWN, NETPLAN = PAIRINGS["straight"]

NOTHING = "ip -6 route add unreachable default dev lo metric 4294967295"
# A VPN's peer, answered for on the link.
PEER = f"""
ip link add wg0 type dummy; ip link set wg0 up
ip -6 route add {IFUPDOWN.client_ipv6}/128 dev wg0
ip -6 neighbour add proxy {IFUPDOWN.client_ipv6} dev eth0
"""
# Containers with a slice of the network; a table of another uplink; several ways to one network.
CONTAINERS = """
ip link add docker0 type bridge; ip link set docker0 up
ip -6 address add 2001:db8:2::11/120 dev docker0 nodad
for last in 12 100 103; do ip -6 neighbour add proxy 2001:db8:2::$last dev eth0; done
ip -6 route add 2001:db8:2:0:8000::/80 nexthop via fe80::5 dev eth0 nexthop via fe80::6 dev docker0
ip -6 route add default dev docker0 table 100
ip -6 rule add from 2001:db8:2::/64 lookup 100 priority 1000
"""
# A VPN that takes by a policy rule what leads to the servers, and not what comes from outside.
VPN = """
ip link add wg0 type wireguard; ip link set wg0 up
ip -4 route add default dev wg0 table 51820
ip -4 rule add to 198.51.100.0/24 lookup 51820 priority 32765
"""


def test_what_others_use_stops_a_host_by_name_and_what_is_nobodys_does_not(lab: Lab) -> None:
    lab.machine(IFUPDOWN.server).run(f"{PEER}{NOTHING}")
    lab.machine(NETPLAN.server).run(f"{CONTAINERS}{NOTHING}")
    lab.machine(IFUPDOWN.client).run(NOTHING)
    lab.machine(NETPLAN.client).run(VPN)
    peer = IFUPDOWN.client_ipv6
    assert refusal(lab, IFUPDOWN.server) == (
        f"route {peer} leads to wg0 and proxy entry {peer} is on eth0 already, and Culvert didn't "
        "put them there: remove them, or give client-ifupdown's tunnel another number: the next "
        "free number is 2",
    )
    assert refusal(lab, NETPLAN.server) == (
        "route 2001:db8:2::/120 leads to docker0 already, and Culvert didn't put it there: remove "
        "it, or give client-netplan's tunnel another number: the next free number is 130",
        "policy rule `1000: from 2001:db8:2::/64 lookup 100` comes before the main table, and "
        "keeps packets for client-netplan from sit-netplan: table 100 has `default dev docker0`. "
        "Have an exception made before it, `ip -6 rule add to 2001:db8:2::/64 lookup main priority "
        "999`, there where the rule is kept",
    )
    assert "+route default via" in pending(lab, inventory("straight"), IFUPDOWN.client)
    (said,) = refusal(lab, NETPLAN.client)
    assert "leads into wg0 by policy rule `32765: from all to 198.51.100.0/24 lookup 51820`" in said


def refusal(lab: Lab, name: str) -> tuple[str, ...]:
    with pytest.raises(ObstacleError) as caught:
        pending(lab, inventory("straight"), name)
    return caught.value.sentences


def test_what_no_record_speaks_of_stays_and_is_asked_about(
    running_lab: Lab, deployed: Deploy
) -> None:
    deployed("straight")
    server = running_lab.machine(IFUPDOWN.server)
    server.run(f"rm {additions.FILE}")
    (said,) = refusal(running_lab, IFUPDOWN.server)
    assert f"{additions.FILE}, which would say whether Culvert put them there, is missing" in said
    found = read_state(running_lab, inventory("straight"), IFUPDOWN.server)
    removal = plan(Node(IFUPDOWN.server, None, None, ()), found).changes
    assert "-proxy entry" not in removal.diff()
    for address in (IFUPDOWN.server_ipv6, IFUPDOWN.client_ipv6):
        server.run(f"ip -6 neighbour delete proxy {address} dev eth0")
    changes = pending(running_lab, inventory("straight"), IFUPDOWN.server)
    assert changes.count("\n+proxy entry ") == 4  # of the record, and of the running system
    assert not re.search(r"^-[^-]", changes, re.MULTILINE)


# The provider's: on one server's link no advertisement from a link-local address passes.
PANEL = """
link=$(ip -6 route show 2001:db8:2::/64 | sed 's/.* dev \\([^ ]*\\).*/\\1/')
nft 'add table ip6 panel'
nft 'add chain ip6 panel in { type filter hook input priority 0; }'
nft "add rule ip6 panel in iifname $link ip6 saddr fe80::/10 icmpv6 type nd-neighbor-advert drop"
"""


def test_a_proof_says_what_was_seen(running_lab: Lab, deployed: Deploy, tmp_path: Path) -> None:
    deployed("straight")
    internet = running_lab.machine("internet")
    internet.run(PANEL)
    forget_neighbours(internet)
    ignoring = "sysctl -w net.ipv6.icmp.echo_ignore_all=1"
    running_lab.machine(IFUPDOWN.server).run(ignoring)
    done = runs.run(tmp_path, inventory("straight"), "tasks.verify.verify", "-y")
    assert done.status == 1
    seen = f"verified: {IFUPDOWN.server} answers at {IFUPDOWN.server_ipv6} through sit-ipv6"
    assert seen in done.stderr
    assert f"verified: the proxy entry for {NETPLAN.client_ipv6} is on eth0" in done.stderr
    assert re.search(
        rf"answers {NETPLAN.server_ipv6}; seen: .*; the host's own address is answered: "
        r"2001:db8:2::1; to eth0 came [1-9]\d* neighbour solicitations meanwhile, and [1-9]\d* adv",
        done.stderr,
    )
    assert "the provider's network doesn't deliver to these" in done.stderr
