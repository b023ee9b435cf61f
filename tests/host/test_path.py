"""What is measured of a path, by the program that a host runs, on this computer's own kernel."""

import pytest

from tasks.declared.model import Node
from tasks.host import asking
from tests import networks
from tests.samples import node

# A router between a client and a server, which passes packets up to a size and says nothing.
NARROW = """
make client router server
for host in client server; do
    ip -n $host link add eth0 type veth peer name $host netns router
    ip -n $host link set eth0 mtu {uplink} up
    ip -n router link set $host mtu 9000 up
done
ip -n client address add 203.0.113.20/25 dev eth0
ip -n router address add 203.0.113.1/25 dev client
ip -n client route add default via 203.0.113.1
ip -n server address add 198.51.100.10/25 dev eth0
ip -n router address add 198.51.100.1/25 dev server
ip -n server route add default via 198.51.100.1
ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip -n router route replace 203.0.113.0/25 dev client mtu lock {path}
ip -n router route replace 198.51.100.0/25 dev server mtu lock {path}
{more}
cat >/run/record <<'END'
{record}
END
ip netns exec client sh <<'END_OF_SCRIPT'
{script}
END_OF_SCRIPT
"""
CLIENT, SERVER = "203.0.113.20", "198.51.100.10"
SILENT = """
ip netns exec router nft 'add table ip f; add chain ip f o { type filter hook output priority 0; }'
ip netns exec router nft add rule ip f o icmp type destination-unreachable drop
"""
FILTER = """
ip netns exec server nft 'add table ip f; add chain ip f i { type filter hook input priority 0; }'
ip netns exec server nft 'add rule ip f i %s'
"""
DEAF = FILTER % "icmp type echo-request drop"
LOSSY = FILTER % "numgen random mod 10 < 2 drop"
BLIND = FILTER % "meta length > 1000 drop"


def measured(path: int, *, uplink: int = 1500, more: str = SILENT, record: str = "") -> list[str]:
    script = asking.measuring(node("client"), "/run/record")
    return networks.run(
        NARROW.format(path=path, uplink=uplink, more=more, record=record, script=script)
    )


@pytest.mark.parametrize("path", [1500, 1492, 1400, 1300])
def test_the_largest_packets_that_pass_are_found(path: int) -> None:
    if not networks.can_filter():
        pytest.skip("nft isn't installed here")
    assert measured(path) == ([f"{CLIENT} {SERVER} {path}"] if path < 1500 else [])


def test_what_a_router_says_of_it_makes_no_difference() -> None:
    assert measured(1400, more="") == [f"{CLIENT} {SERVER} 1400"]


def test_the_interface_counts_as_the_path_does() -> None:
    assert measured(1500, uplink=1450, more="") == [f"{CLIENT} {SERVER} 1450"]


def test_what_was_found_before_is_kept_where_it_passes() -> None:
    record = f"# Written by Culvert.\ntunnel local {CLIENT} remote {SERVER} mtu 1360"
    assert measured(1400, more="", record=record) == [f"{CLIENT} {SERVER} 1380"]
    assert measured(1370, more="", record=record) == [f"{CLIENT} {SERVER} 1370"]
    of_another = record.replace(SERVER, "198.51.100.11")
    assert measured(1400, more="", record=of_another) == [f"{CLIENT} {SERVER} 1400"]


@pytest.mark.parametrize(
    ("path", "more", "found"),
    [(1400, DEAF, None), (1500, LOSSY, None), (1400, LOSSY, 1400), (1500, BLIND, 1299)],
    ids=["no answer at all", "lossy and wide", "lossy and narrow", "no large answers"],
)
def test_what_is_no_sign_of_a_narrow_path_is_not_taken_for_one(
    path: int, more: str, found: int | None
) -> None:
    if not networks.can_filter():
        pytest.skip("nft isn't installed here")
    assert measured(path, more=SILENT + more) == ([f"{CLIENT} {SERVER} {found}"] if found else [])


def test_a_node_without_tunnels_measures_nothing() -> None:
    assert asking.measuring(Node("db1", None, None, ()), "/run/record") == ""
