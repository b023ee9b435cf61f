"""Each room of the code knows those before it alone, and only the last one knows pyinfra."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs import REPOSITORY

TASKS = REPOSITORY / "tasks"
ROOMS = ("declared", "host", "parts", "planning", "running")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, by their whole names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_those_before_it_alone(room: str) -> None:
    known = ROOMS[: ROOMS.index(room) + 1]
    files = sorted((TASKS / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            top, _, rest = name.partition(".")
            if top == "tasks":
                assert rest.split(".")[0] in known, f"{path} imports {name}"
            # What carries the rest out.
            assert room == "running" or top not in {"pyinfra", "gevent", "paramiko"}, path


def test_there_are_no_other_rooms() -> None:
    folders = {path.name for path in TASKS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {*ROOMS}
