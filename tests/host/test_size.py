"""How much is carried, compressed as SSH does it: for each tunnel more, and for a change of one."""

import zlib

import pytest

from tasks import parts
from tasks.declared.model import Node
from tasks.host.rollback import Guard
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


# Of a script that changes one tunnel, at any number of them.
CHANGING = 20_000
GUARD = Guard(by="alice@laptop from 192.0.2.9", run="run-1", stamp="run-0")


def linked(node: Node) -> str:
    """Shell commands that make what the kernel holds of a server."""
    lines = [
        line.format(end=end, number=number)
        for number, end in enumerate(node.ends, 1)
        for line in (*TUNNEL, *(f"route add {net} dev {end.interface}" for net in end.destinations))
    ]
    return "\n".join([LINK, *lines, "END"])


def told(manager: str, tunnels: int) -> int:
    """The length of an answer: of a real kernel's tables, and the files that a run has written."""
    node = server(tunnels, is_routed=True)
    told = networks.run("\n".join([linked(node), "set +e", parts.script(node)]))
    assert sum("vxlan" in line for line in told)
    host, bare = starting(manager, "server")
    apply(plan(node, bare).changes, host)
    files = answers.of(read(host, bare, manager))["files"]
    return len(zlib.compress("\n".join([*told, files]).encode()))


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_tunnel_more_is_a_few_bytes_more(manager: str) -> None:
    assert told(manager, MANY) - told(manager, FEW) <= EACH * (MANY - FEW)


@pytest.mark.parametrize("tunnels", [1, 400])
@pytest.mark.parametrize("manager", managers.NAMES)
def test_one_tunnel_that_comes_or_goes_is_little_among_many(manager: str, tunnels: int) -> None:
    fewer, more = (server(count, is_routed=False) for count in (tunnels, tunnels + 1))
    host, bare = starting(manager, "server")
    apply(plan(fewer, bare).changes, host)
    for node in (more, fewer):
        changes = plan(node, read(host, bare, manager)).changes
        for script in (changes.script(GUARD), changes.rehearsal()):
            assert len(zlib.compress(script.encode())) <= CHANGING
        apply(changes, host)
