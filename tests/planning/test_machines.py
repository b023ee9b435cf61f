"""Which hosts are left alone because of what leads to them, or what is said of them."""

from dataclasses import replace

import pytest

from tasks.declared.model import Node
from tasks.host.state import HostState
from tasks.planning import machines
from tests.samples import bare, deployed, node

BOOT = "5d1bb7d0-2f5c-4e0e-9b7e-52c0a1f4ad6e"
SERVER, CLIENT = node("server"), node("client")
CLEARED, SILENT = Node("x", None, None, (), is_cleared=True), Node("x", None, None, ())
BARE, CARRYING = bare("ifupdown", "client"), deployed("ifupdown", "client")

MISTAKEN = (
    f"a and b are one machine (boot ID and network namespace {BOOT}): declare it under one of "
    "these names, and take the others out; should they be several, one runs from a copy of "
    "another's memory: reboot it"
)
UNASKED = (
    "CULVERT IS ON THIS HOST (sit-ipv6; files: 5), and nothing is declared under this name: left "
    'alone; `"tunnel": []` in its data has it cleaned'
)
ALIAS = "the same machine as a, and declares nothing itself"


@pytest.mark.parametrize(
    ("nodes", "mistaken", "left"),
    [
        ([SERVER, CLIENT], {"a": MISTAKEN, "b": MISTAKEN}, {}),
        ([CLEARED, CLIENT], {"a": MISTAKEN, "b": MISTAKEN}, {}),
        ([CLEARED, CLEARED], {}, {"b": "the same machine as a"}),
        ([CLIENT, SILENT], {}, {"b": ALIAS}),
        ([CLEARED, SILENT], {}, {"b": ALIAS}),
        ([SILENT, SILENT], {}, {"a": UNASKED, "b": UNASKED}),
        ([SERVER, CLIENT, SILENT], {"a": MISTAKEN, "b": MISTAKEN}, {"c": ALIAS}),
    ],
)
def test_one_machine_under_several_names(
    nodes: list[Node], mistaken: dict[str, str], left: dict[str, str]
) -> None:
    state = replace(CARRYING, machine=BOOT)
    found = machines.judge(
        dict(zip("abc", nodes, strict=False)), dict.fromkeys("abc"[: len(nodes)], state)
    )
    assert found.mistaken == mistaken
    assert found.unasked | found.idle == left


@pytest.mark.parametrize("other", ["", "another"])
def test_machines_that_may_be_several_are_several(other: str) -> None:
    states = {name: replace(BARE, machine=other if name == "b" else "") for name in "ab"}
    assert machines.judge({"a": SERVER, "b": CLIENT}, states) == machines.Judgement()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (BARE, machines.Judgement(idle={"x": "nothing is declared for it"})),
        (CARRYING, machines.Judgement(unasked={"x": UNASKED})),
        (
            replace(BARE, unreadable=("/etc/netplan/60-culvert-sit-ipv6.yaml",)),
            machines.Judgement(
                unasked={"x": UNASKED.replace("sit-ipv6; files: 5", "no tunnel; files: 1")}
            ),
        ),
    ],
)
def test_a_host_that_nothing_is_said_of_is_left_alone(
    found: HostState, expected: machines.Judgement
) -> None:
    assert machines.judge({"x": SILENT}, {"x": found}) == expected
