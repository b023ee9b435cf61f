"""Pure: what became of each host of a run, in a word and why, as the table at its end has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tasks.host import failures

# What a line has room for beside a host's name and a word.
WHY_MAX = 100


class Word(StrEnum):
    """What became of a host."""

    DONE = "done"
    NOTHING = "nothing to do"
    WOULD = "would change"
    REFUSED = "refused"
    FAILED = "failed"
    UNDONE = "undone"
    UNCONFIRMED = "not confirmed yet"
    UNREACHABLE = "unreachable"
    LEFT = "left alone"


@dataclass(frozen=True)
class Course:
    """How far a run came with a host, and what it met there: sentences, or nothing.

    `changes` is what it had to change, in a few words, and None where it made no plan. That was
    begun where it `is_applied`, and seen to be as declared where it `is_changed`. `is_proven` is
    None where nothing was to be proven. `undone` and `unconfirmed` say why it went back, or will.
    """

    unreachable: str = ""
    refused: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    undone: str = ""
    unconfirmed: str = ""
    left: str = ""
    changes: str | None = None
    is_applied: bool = False
    is_changed: bool = False
    is_proven: bool | None = None


def outcome(course: Course, applies: bool, only_proves: bool = False) -> tuple[Word, str]:
    """The word for a host, and why; `applies` where the run has begun to change hosts."""
    if stopped := _stopped(course):
        return stopped
    if course.left:
        return Word.LEFT, short(course.left.removeprefix(f"{Word.LEFT}, because "))
    if course.changes is None:
        return Word.LEFT, "the run ended before it was looked at"
    if only_proves and course.is_proven is not None:
        ended = "the run ended before its proof"
        return (Word.DONE, "proven") if course.is_proven else (Word.LEFT, ended)
    unproven = "not proven" if applies and course.is_proven is False else ""
    if not course.changes:
        return Word.NOTHING, unproven
    if course.is_changed:
        return Word.DONE, "; ".join(filter(None, (course.changes, unproven)))
    if course.is_applied:
        return Word.FAILED, "the run ended while it was changed: it may still be at work, run again"
    if applies:
        return Word.LEFT, "the run ended before its turn"
    return Word.WOULD, course.changes


def _stopped(course: Course) -> tuple[Word, str] | None:
    """What ended the run for a host, if anything did."""
    if course.unreachable:
        return Word.UNREACHABLE, short(course.unreachable)
    if course.refused:
        return Word.REFUSED, _first(course.refused)
    if course.undone:
        return Word.UNDONE, short(course.undone)
    if course.unconfirmed:
        return Word.UNCONFIRMED, f"it goes back by itself: {short(course.unconfirmed)}"
    if course.failed:
        is_undone = failures.is_taken_back(course.failed[0])
        return Word.UNDONE if is_undone else Word.FAILED, _first(course.failed)
    return None


def table(rows: Mapping[str, tuple[Word, str]]) -> list[str]:
    """A line for each host, by its name: that, the word, and why."""
    width, word_width = max(map(len, rows), default=0), max(map(len, Word))
    return [
        f"{name:{width}}  {word:{word_width}}  {why}".rstrip() for name, (word, why) in rows.items()
    ]


def _first(sentences: tuple[str, ...]) -> str:
    more = len(sentences) - 1
    return short(sentences[0]) + (f" (and {more} more)" if more else "")


def short(text: str) -> str:
    """The first line, up to a word that a line of the table has room for."""
    line = text.partition("\n")[0].strip().removesuffix(":")
    # What to do stands above, in full.
    said = line[:WHY_MAX].rpartition(": ")[0] or line if len(line) > WHY_MAX else line
    if len(said) <= WHY_MAX:
        return said
    return f"{said[:WHY_MAX].rpartition(' ')[0] or said[: WHY_MAX - 1]}…"
