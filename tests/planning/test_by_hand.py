"""A host where the article was followed by hand, and one where somebody only speaks of a tunnel."""

from dataclasses import replace

import pytest

from tasks.host.state import HostState, Line
from tasks.planning import by_hand
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import bare, deployed, node

INTERFACES = """\
auto sit-ipv6
iface sit-ipv6 inet6 v4tunnel
    local 203.0.113.20
    endpoint 198.51.100.10
    address 2001:DB8:1:0::3
    netmask 127
    gateway 2001:db8:1::2
"""
NETPLAN = """\
network:
  version: 2
  tunnels:
    "sit-web1":
      mode: sit
      addresses:
        - "2001:db8:1::2/127"
"""


def lines(path: str, text: str) -> tuple[Line, ...]:
    return tuple(Line(path, number, line) for number, line in enumerate(text.splitlines(), 1))


def found(role: str, *written: Line) -> list[str]:
    """What is said of them, without the heading."""
    state = replace(HostState(), lines=written)
    return [sentence.strip() for sentence in by_hand.obstacles(node(role), state)][1:]


def test_a_stanza_is_in_the_way_line_by_line() -> None:
    assert found("client", *lines("/etc/network/interfaces", INTERFACES)) == [
        "/etc/network/interfaces, line 1, is in the way: auto sit-ipv6",
        "/etc/network/interfaces, line 2, is in the way: iface sit-ipv6 inet6 v4tunnel",
        "/etc/network/interfaces, line 5, is in the way: address 2001:DB8:1:0::3",
    ]


def test_a_tunnel_of_netplan_is_in_the_way() -> None:
    assert found("server", *lines("/etc/netplan/50-mine.yaml", NETPLAN)) == [
        '/etc/netplan/50-mine.yaml, line 4, is in the way: "sit-web1":',
        '/etc/netplan/50-mine.yaml, line 7, is in the way: - "2001:db8:1::2/127"',
    ]


def test_a_connection_of_networkmanager_is_in_the_way() -> None:
    path = "/etc/NetworkManager/system-connections/tunnel.nmconnection"
    text = "[connection]\ninterface-name=sit-web1\n[ipv6]\naddress1=2001:db8:1::2/127\n"
    assert found("server", *lines(path, text)) == [
        f"{path}, line 2, is in the way: interface-name=sit-web1",
        f"{path}, line 4, is in the way: address1=2001:db8:1::2/127",
    ]


def test_what_goes_with_it_is_named_too() -> None:
    script = "#!/bin/sh\nip -6 neigh add proxy 2001:db8:1::3 dev eth0\n"
    sysctls = "# by hand\nnet.ipv6.conf.sit-web1.forwarding=1\nnet.ipv6.conf.eth0.proxy_ndp=1\n"
    assert found(
        "server",
        *lines("/etc/networkd-dispatcher/routable.d/50-proxy", script),
        *lines("/etc/sysctl.conf", sysctls),
    ) == [
        "/etc/networkd-dispatcher/routable.d/50-proxy, line 2, is in the way: "
        "ip -6 neigh add proxy 2001:db8:1::3 dev eth0",
        "/etc/sysctl.conf, line 2, seems to go with it: net.ipv6.conf.sit-web1.forwarding=1",
        "/etc/sysctl.conf, line 3, seems to go with it: net.ipv6.conf.eth0.proxy_ndp=1",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "# auto sit-ipv6",
        "auto sit-ipv6-of-mine",
        "iface eth0 inet6 manual",
        "iface sit-ipv6 inet6 manual",
        "post-up ip -6 neigh add proxy 2001:db8:1::33 dev eth0",
        '[ "$IFACE" = sit-ipv6 ] && ip -6 rule add from 2001:db8:1::3 lookup 100',
        "net.ipv6.conf.sit-ipv6.forwarding=1",
        "net.ipv6.conf.eth0.proxy_ndp=1",
        "    address ::::",
    ],
)
def test_a_line_that_only_speaks_of_it_is_not_in_the_way(line: str) -> None:
    assert found("client", Line("/etc/network/interfaces", 1, line)) == []


def test_a_file_that_nobody_reads_is_not_in_the_way() -> None:
    assert found("server", *lines("/etc/netplan/50-mine.yaml.gone", NETPLAN)) == []


@pytest.mark.parametrize(
    "line", ["ip tunnel add sit-ipv6 mode sit", "ip link add name sit-ipv6 type sit"]
)
def test_commands_that_make_the_tunnel_are_in_the_way(line: str) -> None:
    assert len(found("client", Line("/etc/rc.local", 1, line))) == 1


@pytest.mark.parametrize("line", ["iface sit-ipv6", "iface sit-ipv6 inet6 static"])
def test_a_stanza_that_makes_the_tunnel_is_in_the_way(line: str) -> None:
    assert len(found("client", Line("/etc/network/interfaces", 1, line))) == 1


def test_the_host_is_left_alone_with_all_sentences() -> None:
    state = replace(bare("ifupdown", "client"), lines=lines("/etc/network/interfaces", INTERFACES))
    with pytest.raises(ObstacleError) as caught:
        plan(node("client"), state)
    assert len(caught.value.sentences) == 4
    # A host that Culvert deployed to once is asked again: somebody may have gone back by hand.
    again = replace(deployed("ifupdown", "client"), lines=state.lines)
    with pytest.raises(ObstacleError):
        plan(node("client"), again)
