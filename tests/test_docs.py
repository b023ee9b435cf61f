"""What the pages at the top and in docs/ say, as far as the code and they themselves can tell."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.declared import declaration
from tasks.declared.entries import LIMITS
from tasks.declared.model import Limits
from tasks.declared.written import WrittenLan, WrittenServer, WrittenTunnel
from tasks.parts import managers
from tests.lab.topologies import table
from tests.runs import REPOSITORY

DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
AT_THE_TOP = (README, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md")
PAGES = (*AT_THE_TOP, *sorted(DOCS.glob("*.md")))

README_LINES_MAX = 200
# Shorter ones, "A run brings it back.", may stand twice.
SENTENCE_LENGTH_MIN = 60

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def by_name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What a link may have behind its `#`: headings as GitHub calls them."""
    found: Counter[str] = Counter()
    names = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = {
        (REPOSITORY / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(README))
    }
    assert {page.resolve() for page in PAGES} - {README.resolve()} <= linked


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= README_LINES_MAX


@pytest.mark.parametrize(
    "keys",
    [*(model.model_fields for model in (WrittenServer, WrittenTunnel, WrittenLan)), LIMITS],
)
def test_every_key_of_the_inventory_has_its_row(keys: Iterable[str]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "inventory.md").read_text(), re.MULTILINE)
    described = set(re.findall(r"`(\w+)`", "".join(rows)))
    assert set(keys) <= described


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("ssh_connect_timeout", f"default: {Limits().connect}. "),
        ("ssh_command_timeout", f"default: {Limits().command}, and one more for each "),
        (
            "confirm_within",
            f"default: {Limits().confirm}, from {LIMITS['confirm_within'][1]}, and 0 ",
        ),
    ],
)
def test_what_is_waited_by_default_is_what_is_said(key: str, said: str) -> None:
    (row,) = re.findall(rf"^\| `{key}` .*$", (DOCS / "inventory.md").read_text(), re.M)
    assert said in row


def test_the_table_of_what_is_supported_is_that_of_the_tests() -> None:
    assert f"\n{table()}\n" in (DOCS / "hosts.md").read_text()


def shown_inventories() -> Iterable[tuple[str, str]]:
    """Python that stands for a whole inventory, in a page or as an example, and its place."""
    for page in PAGES:
        for block in re.findall(r"^```python\n(hosts = .*?)^```$", page.read_text(), re.M | re.S):
            yield by_name(page), block
    for name in ("prod", "home"):
        path = REPOSITORY / "inventories" / f"{name}.py"
        yield by_name(path), path.read_text()


@pytest.mark.parametrize(("place", "text"), [*shown_inventories()])
def test_an_inventory_that_is_shown_has_no_mistakes(place: str, text: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(text, place, "exec"), names)
    hosts: list[tuple[str, Mapping[str, Any]]] = names["hosts"]
    assert declaration.read(dict(hosts), managers.NAMES).tunnels


def test_no_sentence_stands_twice() -> None:
    found = Counter(
        sentence
        for page in PAGES
        for sentence in sentences(prose(page))
        if len(sentence) > SENTENCE_LENGTH_MIN
    )
    assert [sentence for sentence, times in found.items() if times > 1] == []


def sentences(text: str) -> Iterable[str]:
    for paragraph in re.split(r"\n\s*\n|^\s*[-*\d]+\.? |^#+ |\|", text, flags=re.MULTILINE):
        yield from re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split()))


def test_headings_of_troubleshooting_are_what_the_code_says() -> None:
    """Those that are set as code; `…` in one stands for whatever the code fills in."""
    said = [
        " ".join(text.split())
        for path in sorted((REPOSITORY / "tasks").rglob("*.py"))
        for text in literals(ast.parse(path.read_text()))
    ]
    # What a host says by itself.
    said += [path.read_text() for path in sorted((REPOSITORY / "tasks").rglob("*.[sp][hl]"))]
    headings = re.findall(r"^### `(.*)`$", (DOCS / "troubleshooting.md").read_text(), re.M)
    assert headings
    unsaid = [heading for heading in headings if not any(said_by(heading, text) for text in said)]
    assert unsaid == []


def said_by(heading: str, text: str) -> bool:
    # At its ends a heading may leave out more than one filled place.
    return heading.strip("… ") in text


def literals(tree: ast.AST) -> Iterable[str]:
    """Every string of a module, with `…` for each place that is filled."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
