"""Pure: the texts of files as files.pl reads them, as edits of the old ones where that is less."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from io import StringIO


def whole(text: str) -> list[str]:
    """A text by itself."""
    return [*_added([*StringIO(text)])]


def of(old: str, new: str) -> list[str]:
    """What makes the new text out of the old one, in order: linear in both, but for sorting."""
    return [*_edits([*StringIO(old)], [*StringIO(new)])]


def _edits(old: Sequence[str], new: Sequence[str]) -> Iterable[str]:
    kept = at_old = at_new = 0
    for i, j in [*_anchors(old, new), (len(old), len(new))]:
        before, after = old[at_old:i], new[at_new:j]
        first = _common(before, after)
        last = _common(before[first:][::-1], after[first:][::-1])
        kept += first
        dropped, added = before[first : len(before) - last], after[first : len(after) - last]
        if dropped or added:
            yield f"= {kept}"
            yield f"- {len(dropped)}"
            yield from _added(added)
            kept = 0
        # With the anchor itself.
        kept += last + 1
        at_old, at_new = i + 1, j + 1
    # There is no line behind the last one.
    yield f"= {kept - 1}"


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Where lines that each text has once are in both: as many as are in the same order."""
    counts = Counter(old)
    places = {line: i for i, line in enumerate(old) if counts[line] == 1}
    counts = Counter(new)
    # The longest run that rises, by the least end of those of each length.
    ends: list[int] = []
    runs: list[tuple[int, int]] = []
    before: dict[tuple[int, int], tuple[int, int] | None] = {}
    for j, line in enumerate(new):
        if counts[line] == 1 and line in places:
            pair = places[line], j
            length = bisect_left(ends, pair[0])
            before[pair] = runs[length - 1] if length else None
            ends[length : length + 1] = [pair[0]]
            runs[length : length + 1] = [pair]
    found = []
    last = runs[-1] if runs else None
    while last:
        found.append(last)
        last = before[last]
    return found[::-1]


def _common(some: Sequence[str], others: Sequence[str]) -> int:
    """How many lines are the same from the beginning on."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(some), len(others)))


def _added(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        text = line.removesuffix("\n")
        if "\0" in text:
            yield "*" + text.replace("\\", r"\\").replace("\0", r"\0")
        else:
            yield f"+{text}"
        if text == line:
            yield "!"
