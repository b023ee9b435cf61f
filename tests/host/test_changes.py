"""What the script of a run does where something fails on the way, in a folder instead of a host."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.host import changes as changing
from tasks.host.changes import Changes, FileChange, Step, refusals
from tasks.host.state import WARNINGS, File
from tests import networks
from tests.host.boxed import Box

NAMES = ("60-culvert-new", "60-culvert-edited", "60-culvert-gone")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def folder(box: Box) -> Path:
    found = box.root / "etc/network"
    found.mkdir()
    (found / "60-culvert-edited").write_text("old")
    (found / "60-culvert-gone").write_text("old")
    return found


def changes(folder: Path, *steps: Step, checks: tuple[str, ...] = ()) -> Changes:
    new, edited, gone = (str(folder / name) for name in NAMES)
    return Changes(
        host="web1",
        folders=(str(folder),),
        files=(
            FileChange(new, None, File("new")),
            FileChange(edited, File("old"), File("new")),
            FileChange(gone, File("old"), None),
        ),
        checks=checks,
        steps=steps,
    )


def left(box: Box) -> list[str]:
    """What a script has left beside the files that it is for."""
    return [path for path in box.tree() if not path.startswith("etc/network/")]


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_files_take_their_places_and_leave_nothing_beside_them(box: Box, folder: Path) -> None:
    done = box.run(changes(folder, Step((), ("true",), ("touch undone",))).script())
    assert done.returncode == 0, done.stderr
    assert texts(folder) == {"60-culvert-new": "new", "60-culvert-edited": "new"}
    copies = [f"files{folder}/60-culvert-{name}" for name in ("edited", "gone")]
    assert left(box) == [f"var/lib/culvert/confirmed/{n}" for n in (*copies, "holder", "record")]


def test_what_was_made_is_taken_back_where_a_later_step_fails(box: Box, folder: Path) -> None:
    log = folder.parent / "log"
    steps = [
        Step((), (f"echo make-{n} >>{log}",), (f"echo unmake-{n} >>{log}; false",)) for n in (1, 2)
    ]
    half = Step((), (f"echo half >>{log}", "false", "touch never"), (f"echo unhalf >>{log}",))
    never = Step((), (f"echo never >>{log}",), (f"echo never >>{log}",))
    done = box.run(changes(folder, *steps, half, never).script())
    assert done.returncode == 1
    assert done.stderr == "Culvert stopped at: false; what it made is taken back\n"
    # Also of the step that failed, and though one of them can't be taken back.
    said = ["make-1", "make-2", "half", "unhalf", "unmake-2", "unmake-1"]
    assert log.read_text().split() == said
    assert texts(folder) == {"60-culvert-edited": "old", "60-culvert-gone": "old"}


def test_of_commands_that_one_process_does_the_one_that_failed_is_told(
    box: Box, folder: Path
) -> None:
    steps = [
        Step((), (f"ip link set dev {name} mtu 1400",), (f"ip link set dev {name} mtu 1500",))
        for name in ("lo", "gone0", "gone1")
    ]
    # Of this machine's network nothing is changed.
    script = changes(folder, *steps).script().replace("set dev lo mtu 1400", "show lo")
    done = box.run(script.replace("set dev lo mtu 1500", "show lo"))
    assert done.stderr.endswith(
        "\nCulvert stopped at: ip link set dev gone0 mtu 1400; what it made is taken back\n"
    )
    assert texts(folder) == {"60-culvert-edited": "old", "60-culvert-gone": "old"}


def test_new_files_of_which_one_cannot_take_its_place_are_all_taken_back(
    box: Box, folder: Path
) -> None:
    found = changes(folder)
    more = tuple(
        FileChange(str(folder / f"60-culvert-{name}"), None, File("new")) for name in "abc"
    )
    # It comes when it has been looked whether it is there.
    appears = f"mkdir -p {folder}/60-culvert-b/mine"
    done = box.run(replace(found, files=(*more, *found.files), checks=(appears,)).script())
    assert f"{folder}/60-culvert-b: Is a directory\n" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        "60-culvert-b",
        "60-culvert-edited",
        "60-culvert-gone",
    ]
    # It is no file of Culvert's, and was never in its way before.
    report = (box.store / "report").read_text()
    assert report.endswith(f", of which this was left: {folder}/60-culvert-b;\n")


def test_a_folder_that_cannot_be_tidied_takes_nothing_back_of_what_is_done(
    box: Box, folder: Path
) -> None:
    done_but_for_that = replace(changes(folder), own_folders=("etc",))
    script = done_but_for_that.script().replace("rmdir --ignore-fail-on-non-empty", "false")
    assert box.run(script).returncode == 0
    assert texts(folder) == {"60-culvert-new": "new", "60-culvert-edited": "new"}


def test_a_check_that_fails_changes_nothing_and_takes_nothing_back(box: Box, folder: Path) -> None:
    done = box.run(changes(folder, checks=("echo no; false",)).script())
    assert done.returncode == 1
    assert done.stderr == "Culvert stopped at: echo no; false\n"
    assert texts(folder) == {"60-culvert-edited": "old", "60-culvert-gone": "old"}


def test_a_rehearsal_shows_the_new_files_to_the_checks_and_writes_elsewhere(
    box: Box, folder: Path
) -> None:
    staged = changes(folder).files[0].staged
    found = changes(folder, checks=(f"grep -x new {staged}",))
    done = box.run(found.rehearsal())
    assert refusals(done.stdout) == ()
    assert texts(folder) == {"60-culvert-edited": "old", "60-culvert-gone": "old"}
    assert left(box) == []


def test_a_rehearsal_tells_what_the_checks_say(box: Box, folder: Path) -> None:
    found = changes(folder, checks=("true", "echo 'line 3: no such key' >&2; false"))
    heading, said, stopped = refusals(box.run(found.rehearsal()).stdout)
    assert heading.startswith("the files as they would be were tried")
    assert said == "    line 3: no such key"
    assert stopped == "    Culvert stopped at: echo 'line 3: no such key' >&2; false"
    assert left(box) == []


def test_an_answer_that_is_cut_off_is_a_refusal() -> None:
    assert refusals("")


def test_hooks_that_fail_are_written_down_and_stop_nothing(box: Box, folder: Path) -> None:
    hook = "lenient sh -c 'echo run-parts: mine exited with 1; exit 1'"
    done = box.run(changes(folder, Step((), (hook,))).script())
    assert done.returncode == 0, done.stderr
    written = (box.root / WARNINGS[1:]).read_text()
    assert written.endswith(" ended with status 1: run-parts: mine exited with 1\n")


def test_ifupdown_is_left_alone_where_its_record_would_be_lost() -> None:
    said = networks.run(
        f"""mkdir /run/bin /run/small; mount -t tmpfs -o size=100k none /run/small
for each in ifup ifdown; do
    printf '#!/bin/sh\\necho "$0 $*" >>/run/log\\n' >/run/bin/$each; chmod +x /run/bin/$each
done
PATH=/run/bin:$PATH scratch=/run/small
{changing._TOOLS}
ifdown --force sit-a; lenient ifup --force sit-a
head -c 50k /dev/zero >/run/small/all
! ifdown --force sit-b; lenient ifup --force sit-b
rm /run/small/all
ifdown --force sit-c
cat /run/log {WARNINGS}"""
    )
    assert said == [
        "/run/bin/ifdown --force sit-a",
        "/run/bin/ifup --force sit-a",
        "/run/bin/ifdown --force sit-c",
        "ifup --force sit-b ended with status 1:",
    ]
