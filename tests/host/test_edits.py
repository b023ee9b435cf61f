"""Files that are written by what a script says, by real programs: as edits of the old ones, too."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.host import changes, edits, rollback
from tasks.host.changes import Changes, FileChange
from tasks.host.state import File
from tests.host.boxed import Box
from tests.planning.test_growth import assert_grows

# Of those that a shell might take for its own, in which lines come again, and without an end.
LINES = st.sampled_from(
    ["a\n", "b\n", "END\n", "\n", "\\\n", "\\0\n", "\0\n", "\\\0\\0\\\n", "'\n", "$(x)\n", "\r\n"]
)
ENDS = st.sampled_from(["", "", "a", "\\", "\0", "ЁÁÂ\x81\u2028"])
TEXTS = st.builds(
    lambda lines, end: "".join(lines) + end, st.lists(LINES | st.text(), max_size=12), ENDS
)


def written(files: Sequence[tuple[str | None, str]], shell: str = "sh") -> list[str]:
    """What there is of files that were of one text, or not there, and are to be of another."""
    with TemporaryDirectory() as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        old.mkdir()
        new.mkdir()
        lines: list[str] = []
        for number, (before, after) in enumerate(files):
            lines.append(f"> 0644 /{number}")
            if before is None:
                lines += edits.whole(after)
            else:
                (old / str(number)).write_bytes(before.encode())
                lines += [f"< /{number}", *edits.of(before, after)]
        writing = changes._input("files", lines)
        # Of a function, as all of a script is.
        script = rollback.program(
            "export LC_ALL=C", rollback.FILING, f"root={new} copies={old}", writing
        )
        subprocess.run([shell, "-s"], input=script.encode(), check=True)
        return [(new / str(number)).read_bytes().decode() for number in range(len(files))]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@settings(max_examples=30, deadline=None)
@given(files=st.lists(st.tuples(st.none() | TEXTS, TEXTS), min_size=1, max_size=20))
def test_any_text_becomes_any_other(shell: str, files: list[tuple[str | None, str]]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed here")
    assert written(files, shell) == [after for _, after in files]


def test_a_line_more_is_a_few_lines_of_edits_wherever_it_is() -> None:
    old = [f"{{\n  {number}\n}}\n" for number in range(1000)]
    for at in (0, 500, 1000):
        new = "".join([*old[:at], "{\n  new\n}\n", *old[at:]])
        assert len(edits.of("".join(old), new)) <= 6
        assert written([("".join(old), new)]) == [new]


def test_lines_that_change_their_places_are_kept_as_far_as_they_are_in_order() -> None:
    assert edits.of("a\nb\nc\nd\ne\n", "a\nc\nd\nb\ne\n") == [
        *("= 1", "- 1", "= 2", "- 0", "+b"),
        "= 1",
    ]


def test_edits_are_found_in_a_time_that_grows_with_the_text() -> None:
    """Where every other line changes."""

    def work(tunnels: int) -> Callable[[], object]:
        old = "".join(f"{line}\n" for line in range(10 * tunnels))
        new = "".join(f"{line}{'x' * (line % 2)}\n" for line in range(10 * tunnels))
        return lambda: edits.of(old, new)

    assert_grows(work)


LONG = "".join(f"{number}\n" for number in range(100))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    found = Box(tmp_path)
    (found.root / "etc/network").mkdir()
    return found


def of_file(box: Box, before: str, after: str) -> Changes:
    path = box.root / "etc/network/60-culvert-x"
    path.write_text(before)
    files = (FileChange(str(path), File(before), File(after, 0o600)),)
    return Changes("web1", (str(path.parent),), files=files)


def test_a_file_is_edited_where_that_is_less(box: Box) -> None:
    found = of_file(box, LONG, f"{LONG}more\n")
    assert "\n+more\n" in found.script() and "\n+50\n" not in found.script()
    assert box.run(found.script()).returncode == 0
    (file,) = found.files
    assert Path(file.path).read_text() == f"{LONG}more\n"
    assert Path(file.path).stat().st_mode & 0o7777 == 0o600
    assert "\n< " not in of_file(box, LONG, "other\n").script()


def test_what_was_no_utf8_is_written_as_a_whole(box: Box) -> None:
    found = of_file(box, f"{LONG}\N{REPLACEMENT CHARACTER}\n", LONG)
    Path(found.files[0].path).write_bytes(LONG.encode() + b"\xff\n")
    assert box.run(found.script()).returncode == 0
    assert Path(found.files[0].path).read_text() == LONG


@pytest.mark.parametrize("is_rehearsed", [False, True])
def test_a_file_that_was_changed_meanwhile_stops_the_run(box: Box, is_rehearsed: bool) -> None:
    found = of_file(box, LONG, f"{LONG}more\n")
    path = Path(found.files[0].path)
    # Of the same length.
    path.write_text(LONG.replace("50", "05"))
    done = box.run(found.rehearsal() if is_rehearsed else found.script())
    said = f"Culvert stopped at: {path} has been changed since this run looked at it: run again\n"
    assert said in (done.stdout if is_rehearsed else done.stderr)
    assert path.read_text() == LONG.replace("50", "05")
    assert [*box.tree()] == ["etc/network/60-culvert-x"]


def test_a_file_is_edited_as_it_was_when_it_was_copied(box: Box) -> None:
    found = of_file(box, LONG, f"{LONG}more\n")
    path = found.files[0].path
    script = found.script().replace("\nstep='writing", f"\n: >{path}\nstep='writing")
    assert box.run(script).returncode == 0
    assert Path(path).read_text() == f"{LONG}more\n"


def test_what_is_refused_a_place_is_told_and_changes_nothing(box: Box) -> None:
    found = of_file(box, LONG, f"{LONG}more\n")
    (box.root / "etc/network/.60-culvert-x.new/mine").mkdir(parents=True)
    done = box.run(found.script())
    assert f"{box.root}/etc/network/.60-culvert-x.new: Is a directory\n" in done.stderr
    assert done.stderr.endswith("\nCulvert stopped at: writing the new files\n")
    assert Path(found.files[0].path).read_text() == LONG
