"""What Culvert says that it needs, what is installed to develop it, and what its code imports."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.runs import REPOSITORY

NEEDED = {
    canonicalize_name(found.name): found
    for found in map(
        Requirement,
        tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"],
    )
}
PINS = {
    canonicalize_name(name): version
    for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
    for name, is_pinned, version in [line.partition("==")]
    if is_pinned
}


@pytest.mark.parametrize("needed", NEEDED.values(), ids=str)
def test_what_is_needed_has_a_range_and_is_pinned_within_it(needed: Requirement) -> None:
    assert sorted(each.operator for each in needed.specifier) == ["<", ">="]
    assert needed.specifier.contains(PINS[canonicalize_name(needed.name)])


def test_what_is_imported_is_needed() -> None:
    distributions = packages_distributions()
    outside = imported() - sys.stdlib_module_names - {"tasks", "tests"}
    found = {canonicalize_name(each) for name in outside for each in distributions[name]}
    assert found <= NEEDED.keys()


def imported() -> set[str]:
    """The packages that Culvert itself imports, by the names that it imports them by."""
    files = [*REPOSITORY.glob("*.py"), *(REPOSITORY / "tasks").rglob("*.py")]
    return {name.partition(".")[0] for file in files for name in _imports(file.read_text())}


def _imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
