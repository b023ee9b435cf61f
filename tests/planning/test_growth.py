"""What is worked out for a server takes as much more as it has more tunnels, and no more.

Calls of functions are counted: these are the same on every machine.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import pytest

from tasks import parts
from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import answer
from tasks.host.changes import Changes
from tasks.parts import managers
from tasks.planning import proof
from tasks.planning.fitting import fit
from tasks.planning.plan import plan
from tests import answers
from tests.planning.simulated import apply, read, starting
from tests.samples import HOSTS, deployed, many
from tests.ssh_hosts import EMPTY

FEW, MANY = 40, 400
# Ten times the tunnels; what sorts takes a little more than that.
MOST = 12


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those that are written in C too."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        del frame, argument
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def server(tunnels: int, *, is_routed: bool) -> Node:
    found = declaration.read(many(tunnels, is_routed=is_routed), managers.NAMES)
    return found.nodes[HOSTS["server"]]


def assert_grows(work: Callable[[int], Callable[[], object]]) -> None:
    """`work` prepares what is counted, for so many tunnels."""
    # What is done once alone, as templates are read.
    work(1)()
    of_few, of_many = calls(work(FEW)), calls(work(MANY))
    assert of_many <= MOST * of_few, (of_few, of_many)


@pytest.mark.parametrize("is_routed", [False, True])
def test_the_declaration(is_routed: bool) -> None:
    def work(tunnels: int) -> Callable[[], object]:
        written = many(tunnels, is_routed=is_routed)
        return lambda: declaration.read(written, managers.NAMES)

    assert_grows(work)


@pytest.mark.parametrize("is_routed", [False, True])
@pytest.mark.parametrize("manager", managers.NAMES)
def test_the_plan_of_a_first_run_and_of_one_with_nothing_to_change(
    manager: str, is_routed: bool
) -> None:
    def first(tunnels: int) -> Callable[[], object]:
        node = server(tunnels, is_routed=is_routed)
        _, state = starting(manager, "server")
        return lambda: plan(node, state)

    def unchanged(tunnels: int) -> Callable[[], object]:
        node = server(tunnels, is_routed=is_routed)
        host, bare = starting(manager, "server")
        apply(plan(node, bare).changes, host)
        state = read(host, bare, manager)

        def work() -> None:
            assert not plan(node, state).changes

        return work

    assert_grows(first)
    assert_grows(unchanged)


def _first_changes(tunnels: int) -> Changes:
    _, state = starting("networkd", "server")
    return plan(server(tunnels, is_routed=True), state).changes


def test_the_script_and_the_diff() -> None:
    def script(tunnels: int) -> Callable[[], object]:
        changes = _first_changes(tunnels)
        return lambda: (changes.script(), changes.diff())

    assert_grows(script)


def test_the_script_that_reads_a_host() -> None:
    def work(tunnels: int) -> Callable[[], object]:
        node = server(tunnels, is_routed=True)
        return lambda: parts.script(node, measures=True)

    assert_grows(work)


def test_the_answer() -> None:
    def work(tunnels: int) -> Callable[[], object]:
        state = deployed("networkd", "server", carried=server(tunnels, is_routed=True))
        said = answers.text({**EMPTY, **answers.of(state)})
        return lambda: answer.parse(said)

    assert_grows(work)


def test_paths_that_are_narrower_than_usual() -> None:
    def work(tunnels: int) -> Callable[[], object]:
        nodes = declaration.read(many(tunnels, is_routed=True), managers.NAMES).nodes
        node = nodes[HOSTS["server"]]
        fitting = replace(
            node, ends=tuple(replace(e, tunnel=replace(e.tunnel, mtu=1452)) for e in node.ends)
        )
        state = deployed("networkd", "server", carried=fitting)

        def fitted() -> None:
            found = fit(nodes, {node.host: state}, only_to_prove=False)
            assert {end.mtu for end in found.nodes[node.host].ends} == {1452}

        return fitted

    assert_grows(work)


def test_the_proof() -> None:
    def work(tunnels: int) -> Callable[[], object]:
        _, state = starting("networkd", "server")
        site = plan(server(tunnels, is_routed=True), state).site
        return lambda: proof.script(proof.checks(site))

    assert_grows(work)
