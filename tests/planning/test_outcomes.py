"""The word for each host at the end of a run, and why."""

from dataclasses import replace

import pytest

from tasks.planning.outcomes import WHY_MAX, Course, Word, outcome, short, table

CHANGES = "2 files, 3 lines of the running system"
APPLIED = Course(changes=CHANGES, is_applied=True)
DONE = Course(changes=CHANGES, is_applied=True, is_changed=True)


@pytest.mark.parametrize(
    ("course", "applies", "word", "why"),
    [
        (Course(unreachable="no TCP connection"), True, Word.UNREACHABLE, "no TCP connection"),
        (Course(refused=("no root",)), True, Word.REFUSED, "no root"),
        (
            Course(refused=("no root", "no ip", "no room")),
            True,
            Word.REFUSED,
            "no root (and 2 more)",
        ),
        (Course(failed=("it broke",)), False, Word.FAILED, "it broke"),
        (Course(failed=("not proven",), changes=""), True, Word.FAILED, "not proven"),
        (Course(left="nothing is declared"), True, Word.LEFT, "nothing is declared"),
        (Course(left="left alone, because it rains"), True, Word.LEFT, "it rains"),
        (Course(), True, Word.LEFT, "the run ended before it was looked at"),
        (Course(changes=""), True, Word.NOTHING, ""),
        (Course(changes="", is_proven=True), True, Word.NOTHING, ""),
        (Course(changes="", is_proven=False), True, Word.NOTHING, "not proven"),
        (Course(changes="", is_proven=False), False, Word.NOTHING, ""),
        (DONE, True, Word.DONE, CHANGES),
        (
            Course(changes=CHANGES, is_applied=True, is_changed=True, is_proven=False),
            True,
            Word.DONE,
            f"{CHANGES}; not proven",
        ),
        (Course(changes=CHANGES), False, Word.WOULD, CHANGES),
        (Course(changes=CHANGES), True, Word.LEFT, "the run ended before its turn"),
        (
            replace(APPLIED, failed=("Culvert stopped at: x; what it made is taken back",)),
            True,
            Word.UNDONE,
            "Culvert stopped at: x; what it made is taken back",
        ),
        (
            replace(APPLIED, failed=("Culvert stopped at: x",)),
            True,
            Word.FAILED,
            "Culvert stopped at: x",
        ),
        (
            replace(DONE, failed=("it broke",), undone="no way out"),
            True,
            Word.UNDONE,
            "no way out",
        ),
        (
            replace(DONE, failed=("it broke",), unconfirmed="it broke"),
            True,
            Word.UNCONFIRMED,
            "it goes back by itself: it broke",
        ),
        (
            APPLIED,
            True,
            Word.FAILED,
            "the run ended while it was changed: it may still be at work, run again",
        ),
    ],
)
def test_a_host_gets_a_word_and_why(course: Course, applies: bool, word: Word, why: str) -> None:
    assert outcome(course, applies) == (word, why)


def test_a_proof_alone_is_of_hosts_that_pass_or_fail() -> None:
    proven, unproven = (Course(changes="", is_proven=each) for each in (True, False))
    assert outcome(proven, applies=True, only_proves=True) == (Word.DONE, "proven")
    word, why = outcome(unproven, applies=True, only_proves=True)
    assert (word, why) == (Word.LEFT, "the run ended before its proof")
    nothing = Course(changes="", is_proven=None)
    assert outcome(nothing, applies=True, only_proves=True) == (Word.NOTHING, "")


def test_a_line_holds_what_was_said_first() -> None:
    assert short("it broke:\nbadly") == "it broke"
    told = f"{'no route ' * 9}to it: {'do this ' * 9}"
    assert short(told) == f"{'no route ' * 9}to it"
    # As much as there is room for.
    assert short(f"unknown: {'no route ' * 9}to it: do this") == f"unknown: {'no route ' * 9}to it"
    assert short("word " * 40) == f"{'word ' * 19}word…"
    assert short("x" * 200) == f"{'x' * (WHY_MAX - 1)}…"


def test_the_columns_are_as_wide_as_what_is_in_them() -> None:
    rows = {"a": (Word.DONE, CHANGES), "web1.example.net": (Word.NOTHING, "")}
    assert table(rows) == [
        f"a                 done               {CHANGES}",
        "web1.example.net  nothing to do",
    ]
    assert table({}) == []
