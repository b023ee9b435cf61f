"""How much more a host answers for each tunnel more, compressed as SSH does it."""

import zlib

import pytest

from tasks import parts
from tasks.parts import managers
from tasks.planning.plan import plan
from tests import answers, networks
from tests.planning.simulated import apply, read, starting
from tests.planning.test_growth import server

FEW, MANY = 1, 101
# Bytes.
EACH = 300
LINK = """ip link add up0 type veth peer name up1
ip link set up0 up
ip link set up1 up
ip -6 -batch - <<'END'
"""
# VXLAN's devices stand for tunnels, which not every kernel has: of these there is more to tell.
TUNNEL = (
    "link add {end.interface} type vxlan id {number} dstport 4789 "
    "local {end.local} remote {end.remote}",
    "link set {end.interface} up",
    "address add {end.network} dev {end.interface}",
    "neighbour add proxy {end.address} dev up0",
    "neighbour add proxy {end.peer} dev up0",
)


def told(manager: str, tunnels: int) -> int:
    """The length of an answer: of a real kernel's tables, and the files that a run has written."""
    node = server(tunnels, is_routed=True)
    lines = [
        line.format(end=end, number=number)
        for number, end in enumerate(node.ends, 1)
        for line in (*TUNNEL, *(f"route add {net} dev {end.interface}" for net in end.destinations))
    ]
    told = networks.run("\n".join([LINK, *lines, "END", "set +e", parts.script(node)]))
    assert sum("vxlan" in line for line in told)
    host, bare = starting(manager, "server")
    apply(plan(node, bare).changes, host)
    files = answers.of(read(host, bare, manager))["files"]
    return len(zlib.compress("\n".join([*told, files]).encode()))


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_tunnel_more_is_a_few_bytes_more(manager: str) -> None:
    assert told(manager, MANY) - told(manager, FEW) <= EACH * (MANY - FEW)
