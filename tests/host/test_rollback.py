"""What a host does with a run that nobody confirms, in a folder instead of a host."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.host import answer, asking, rollback
from tasks.host.changes import Changes, FileChange, Step, recorded
from tasks.host.rollback import Guard
from tasks.host.state import File
from tests import answers
from tests.host.boxed import Box

GUARD = Guard(by="alice@laptop", within=60, limit=60, run="run-1")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    found = Box(tmp_path)
    (found.root / "etc/network").mkdir()
    (found.root / "etc/network/60-culvert-edited").write_text("old\n")
    return found


def changes(box: Box, *steps: Step) -> Changes:
    folder = box.root / "etc/network"
    files = (
        FileChange(f"{folder}/60-culvert-edited", File("old\n"), File("new\n")),
        FileChange(f"{folder}/culvert/new", None, File("new\n")),
    )
    return Changes("web1", (str(folder),), ("culvert",), files, steps=steps)


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def files(box: Box) -> dict[str, str]:
    return {
        path: text
        for path, text in box.tree().items()
        if path.startswith("etc/network") and "/." not in path
    }


OLD = {"etc/network/60-culvert-edited": "old\n"}
NEW = {"etc/network/60-culvert-edited": "new\n", "etc/network/culvert/new": "new\n"}


def put_back(box: Box) -> None:
    """By hand."""
    (box.root / "etc/network/60-culvert-edited").write_text("old\n")
    (box.root / "etc/network/culvert/new").unlink()


def waiter(box: Box) -> int:
    """The process that waits there for a word."""
    pid, _ = (box.hold / "waiter").read_text().split()
    return int(pid)


def boot(box: Box, at_work: subprocess.Popen[str] | None = None) -> str:
    """The power is lost, so that nobody is left and /run is empty; what the boot unit prints."""
    box.run(f"kill -KILL {waiter(box)} {at_work.pid if at_work else ''}")
    shutil.rmtree(box.root / "run")
    (box.root / "run").mkdir()
    unit = box.root / "etc/systemd/system/60-culvert-undo.service"
    if not unit.exists():
        return ""
    command = unit.read_text().partition("ExecStart=")[2].replace("\\\n", "").strip()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def has_gone_back(box: Box) -> bool:
    return (box.store / "report").exists() and not box.hold.exists()


def report(box: Box) -> str:
    return (box.store / "report").read_text()


def confirmation(guard: Guard = GUARD) -> str:
    lines = [rollback.opening(guard), rollback.FILING, "mine || exit 3", "set -e"]
    return rollback.program(*lines, rollback.DISARMING)


def deadline(box: Box, seconds: int) -> None:
    up = float(Path("/proc/uptime").read_text().split()[0])
    (box.hold / "deadline").write_text(f"{int(up) + seconds}\n")


def test_a_change_that_is_confirmed_stays_and_leaves_its_record(box: Box) -> None:
    found = changes(box, Step(("+x",), (f"touch {box.root}/made",), (f"rm {box.root}/made",)))
    assert box.run(found.script(GUARD)).returncode == 0
    assert files(box) == NEW
    assert (box.root / "etc/systemd/system/60-culvert-undo.service").exists()
    assert (box.store / "pending/undo").exists()
    done = box.run(confirmation())
    assert done.returncode == 0, done.stderr
    assert files(box) == NEW
    record = recorded((box.store / "confirmed/record").read_text())
    assert record.changes(copies(box), {c.path: c.after for c in found.files if c.after}) == found
    # The process that waited goes by itself.
    until(lambda: not box.hold.exists())
    assert sorted(path.name for path in box.store.iterdir()) == ["confirmed"]
    assert not [*(box.root / "etc/systemd").rglob("*60-culvert*")]


def copies(box: Box) -> Mapping[str, File]:
    """As a run reads them that asks for what the host remembers."""
    told = box.run(f"tables= sysctls=\n{asking.searching([asking._COPIES])}\n").stdout
    found = answer._files(answers.sections(told)["copies"])
    return {path.removeprefix(f"{box.root}{rollback.COPIES}"): f for path, f in found.items()}


def test_nothing_is_left_where_nothing_of_culvert_stays(box: Box) -> None:
    found = replace(changes(box), to_nothing=True)
    assert box.run(found.script(GUARD)).returncode == 0
    assert box.run(confirmation()).returncode == 0
    assert not box.store.exists()


SOFT_REBOOT = "/usr/lib/systemd/system/soft-reboot.target"
# It starts nothing with what a file beside it names.
SYSTEMD_RUN = """#!/bin/sh
echo "$*" >>"$0.told"
for property in $(cat "$0.unknown"); do case "$*" in *"$property"*) exit 1 ;; esac; done
while [ "$1" != sh ]; do shift; done
exec setsid --fork "$@"
"""


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        ("", ["SurviveFinalKillSignal=yes"]),
        ("SurviveFinalKillSignal", ["SurviveFinalKillSignal=yes", "--unit=60-culvert-waiting"]),
        ("--unit", ["SurviveFinalKillSignal=yes", "--unit=60-culvert-waiting"]),
    ],
    ids=["systemd 255", "systemd 254", "systemd starts nothing"],
)
def test_what_waits_outlives_all_but_the_kernel_where_systemd_can_have_it_so(
    box: Box, unknown: str, told: list[str]
) -> None:
    program = box.root / "bin/systemd-run"
    target = box.root / SOFT_REBOOT[1:]
    for path in (program, target):
        path.parent.mkdir(parents=True)
    target.touch()
    program.write_text(SYSTEMD_RUN)
    program.chmod(0o755)
    (box.root / "run/systemd/system").mkdir(parents=True)
    program.with_name("systemd-run.unknown").write_text(unknown)
    script = changes(box).script(GUARD).replace(SOFT_REBOOT, f"{box.root}{SOFT_REBOOT}")
    done = box.run(script.replace('PATH="', f'PATH="{program.parent}:', 1))
    assert done.returncode == 0, done.stderr
    lines = program.with_name("systemd-run.told").read_text().splitlines()
    assert len(lines) == len(told)
    assert all(word in line for word, line in zip(told, lines, strict=True))
    # Whoever it was by, it waits.
    assert Path(f"/proc/{waiter(box)}").exists()
    box.run(rollback.recalling(GUARD, "it is tried"))
    until(lambda: has_gone_back(box))


def test_what_waits_goes_on_where_its_disk_is_away_for_a_moment(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    box.store.rename(box.root / "away")
    deadline(box, 0)
    time.sleep(3)
    assert box.hold.exists()
    (box.root / "away").rename(box.store)
    until(lambda: has_gone_back(box))
    assert files(box) == OLD


def test_a_change_that_nobody_confirms_is_undone_and_told(box: Box) -> None:
    found = changes(box, Step(("+x",), (f"touch {box.root}/made",), (f"rm {box.root}/made",)))
    assert box.run(found.script(GUARD)).returncode == 0
    time.sleep(2)
    assert files(box) == NEW
    deadline(box, -1)
    until(lambda: has_gone_back(box))
    assert files(box) == OLD
    assert not (box.root / "made").exists()
    assert "undone, because nobody confirmed it in time: the run of alice@laptop" in report(box)
    assert box.run(confirmation()).returncode == 3
    assert [path.name for path in box.store.iterdir()] == ["report"]


def test_what_is_extended_waits_on(box: Box) -> None:
    guard = replace(GUARD, within=5)
    assert box.run(changes(box).script(guard)).returncode == 0
    for _ in range(8):
        time.sleep(1)
        assert box.run(rollback.extending(guard)).returncode == 0
    assert files(box) == NEW
    until(lambda: has_gone_back(box))
    assert files(box) == OLD


def test_it_goes_back_at_once_where_it_is_told_to(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    done = box.run(rollback.recalling(GUARD, "its server is gone"))
    assert done.stdout == "undone\n"
    assert files(box) == OLD
    assert "undone, because its server is gone: the run of alice@laptop" in report(box)
    until(lambda: not box.hold.exists())
    # Another run's is nobody else's to take back.
    assert box.run(changes(box).script(replace(GUARD, stamp=stamp(box)))).returncode == 0
    box.run(rollback.recalling(replace(GUARD, run="run-2"), "no reason"))
    assert files(box) == NEW


def stamp(box: Box) -> str:
    return (box.root / "run/culvert-stamp").read_text().strip()


@pytest.mark.parametrize("when", ["in a step", "between them"])
def test_a_script_that_is_killed_is_undone_at_once(box: Box, when: str) -> None:
    made = f"{box.root}/made"
    steps = [
        Step(("+x",), (f"touch {made}",), (f"rm {made}",)),
        Step(
            ("+y",), ("sleep 60" if when == "in a step" else "kill -STOP $$",), (f"touch {made}2",)
        ),
        Step(("+z",), (f"touch {made}3",), (f"touch {made}4",)),
    ]
    process = box.start(changes(box, *steps).script(GUARD))
    until((box.root / "made").exists)
    until(lambda: (box.hold / "begun").read_text() == "4\n")
    process.kill()
    process.wait()
    until(lambda: has_gone_back(box))
    assert files(box) == OLD
    assert not (box.root / "made").exists()
    assert (box.root / "made2").exists()
    assert not (box.root / "made3").exists() and not (box.root / "made4").exists()
    assert "because what changed the host was ended before its end" in report(box)


def test_a_script_that_comes_to_no_end_is_ended_and_undone(box: Box) -> None:
    hangs = Step(("+y",), (f"sleep 60; touch {box.root}/late",), ())
    process = box.start(changes(box, hangs).script(replace(GUARD, limit=3)))
    until(lambda: has_gone_back(box))
    assert process.wait(5) != 0
    assert files(box) == OLD
    assert "because the change came to no end in time" in report(box)


def test_a_boot_puts_the_files_back_and_what_outlasts_it(box: Box) -> None:
    log = box.root / "log"
    steps = [
        Step(("+x",), ("true",), (f"echo kept >>{log}",), outlasts=True),
        Step(("+y",), ("true",), (f"echo gone >>{log}",)),
    ]
    process = box.start(changes(box, *steps, Step((), ("sleep 60",), ())).script(GUARD))
    until(lambda: (box.hold / "begun").exists() and (box.hold / "begun").read_text() == "5\n")
    said = boot(box, process)
    process.wait()
    assert files(box) == OLD
    assert log.read_text() == "kept\n"
    assert "because the host was started anew before the run was confirmed" in report(box)
    assert "systemctl daemon-reload" in said
    assert not [*(box.root / "etc/systemd").rglob("*60-culvert*")]


def test_a_second_run_is_told_who_is_at_work_and_changes_nothing(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    done = box.run(changes(box).script(replace(GUARD, by="bob@desk", run="run-2")))
    assert done.returncode == 1
    assert done.stderr.startswith("Culvert stopped at: alice@laptop, since 20")
    assert "is at work on this host, and that ends by itself in " in done.stderr
    assert files(box) == NEW
    assert box.run(confirmation()).returncode == 0


def test_a_run_stops_where_another_has_changed_the_host_since_it_was_read(box: Box) -> None:
    found = changes(box)
    assert box.run(found.script(GUARD)).returncode == 0
    assert box.run(confirmation()).returncode == 0
    done = box.run(found.script(replace(GUARD, run="run-2", stamp="run-0")))
    assert done.returncode == 1
    assert "another run has changed this host since this one looked at it" in done.stderr
    put_back(box)
    assert box.run(found.script(replace(GUARD, run="run-2", stamp="run-1"))).returncode == 0


def test_a_hold_whose_owner_is_gone_is_taken_over(box: Box) -> None:
    box.hold.mkdir()
    (box.hold / "pid").write_text("999999 1\n")
    (box.hold / "holder").write_text("alice@laptop, since then\n")
    assert box.run(changes(box).script(GUARD)).returncode == 0


def test_a_run_that_was_cut_off_and_that_nobody_took_back_is_undone_first(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    box.run(f"kill -KILL {waiter(box)}")
    done = box.run(changes(box).script(replace(GUARD, run="run-2", stamp="run-1")))
    assert done.returncode == 1
    assert "had to be undone first: run again" in done.stderr
    assert files(box) == OLD
    assert box.run(changes(box).script(replace(GUARD, stamp=stamp(box)))).returncode == 0


def test_what_cannot_be_taken_back_is_told(box: Box) -> None:
    steps = [Step(("+x",), ("true",), ("rm /nonexistent/x",)), Step(("+y",), ("true",), ("false",))]
    assert box.run(changes(box, *steps).script(GUARD)).returncode == 0
    box.run(rollback.recalling(GUARD, "it is tried"))
    # The last one may never have been made.
    assert report(box).rstrip().endswith(", of which this was left: rm /nonexistent/x;")


def test_without_a_wait_it_stays_at_once_and_is_taken_back_where_it_fails(box: Box) -> None:
    assert box.run(changes(box).script(replace(GUARD, within=0))).returncode == 0
    assert files(box) == NEW
    assert not box.hold.exists() and (box.store / "confirmed").exists()
    put_back(box)
    failing = changes(box, Step((), ("false",)))
    done = box.run(failing.script(replace(GUARD, within=0, stamp="run-1")))
    assert "; what it made is taken back" in done.stderr
    assert files(box)["etc/network/60-culvert-edited"] == "old\n"
    assert not (box.store / "pending").exists()


def test_a_run_that_was_confirmed_cannot_be_called_back(box: Box) -> None:
    found = changes(box)
    assert box.run(found.script(GUARD)).returncode == 0
    assert box.run(confirmation()).returncode == 0
    assert box.run(rollback.recalling(GUARD, "its answer was lost")).stdout == "kept\n"
    assert files(box) == NEW


@pytest.mark.parametrize("fails", ["a check", "having the host wait"])
def test_a_run_that_changed_nothing_leaves_nothing_to_take_back(box: Box, fails: str) -> None:
    found = changes(box)
    script = found.script(GUARD).replace("\nwait 60-", "\nrename /nowhere 60-")
    if fails == "a check":
        script = replace(found, checks=("false",)).script(GUARD)
    done = box.run(script)
    assert done.returncode == 1
    assert "taken back" not in done.stderr
    assert files(box) == OLD
    assert not box.hold.exists() and not (box.store / "pending").exists()
    assert not [*(box.root / "etc/systemd").rglob("*60-culvert*")]
    # Who hadn't heard of it is told so, and the next run may follow.
    assert box.run(rollback.recalling(GUARD, "nothing was heard")).stdout == "undone\n"
    assert box.run(found.script(replace(GUARD, run="run-2", stamp=stamp(box)))).returncode == 0


STAYS = "do /var/lib/culvert/confirmed.new/stay\n"


def is_settled(box: Box) -> bool:
    """Whether nothing is left but the record."""
    units = [*(box.root / "etc/systemd").rglob("*60-culvert*")]
    old = [*(box.root / "etc/network").rglob(".*")]
    assert [path.name for path in box.store.iterdir()] == ["confirmed"]
    return (box.store / "confirmed/record").exists() and not units and not old


@pytest.mark.parametrize("forgets", [False, True])
def test_a_confirmation_is_cut_off_by_the_power_after_any_line(
    tmp_path: Path, *, forgets: bool
) -> None:
    box = Box(tmp_path / "whole")
    lines = replace(changes(box), to_nothing=forgets).kept().stay
    for number in range(len(lines)):
        box = Box(tmp_path / str(number))
        (box.root / "etc/network").mkdir()
        (box.root / "etc/network/60-culvert-edited").write_text("old\n")
        found = replace(changes(box), to_nothing=forgets)
        assert box.run(found.script(GUARD)).returncode == 0
        first, rest = confirmation().split(STAYS)
        head = "".join(f"{line}\n" for line in found.kept().stay[:number])
        assert box.run(f"{first}{head}end\nEND\nkill -KILL $$\n{rest}").returncode != 0
        boot(box)
        assert files(box) == NEW, lines[:number]
        assert not box.store.exists() if forgets else is_settled(box), lines[:number]


def test_who_is_at_confirming_has_the_host(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    go_on = box.root / "go-on"
    waits = f"until [ -e {go_on} ]; do sleep 0.1; done"
    slow = box.start(confirmation().replace(STAYS, f"end\nEND\n{waits}\nfiles <<'END'\n{STAYS}"))
    until((box.store / "confirmed.new").exists)
    deadline(box, -1)
    until(lambda: not alive(box))
    done = box.run(changes(box).script(replace(GUARD, by="bob", run="run-2", stamp="run-1")))
    assert "is at work on this host" in done.stderr
    go_on.touch()
    assert slow.wait() == 0
    assert files(box) == NEW and is_settled(box)


def test_what_never_began_is_not_taken_back_by_who_comes_later(box: Box) -> None:
    log = box.root / "log"
    steps = [
        Step(("+x",), ("sleep 60",), ("true",)),
        Step(("+y",), ("true",), (f"echo unmade >>{log}; false",)),
        Step(("+z",), ("true",), ("true",)),
    ]
    process = box.start(changes(box, *steps).script(GUARD))
    begun = box.hold / "begun"
    until(lambda: begun.exists() and begun.read_text() == "3\n")
    box.run(f"kill -KILL {waiter(box)} {process.pid}")
    process.wait()
    assert box.run(rollback.clearing(replace(GUARD, run="run-2"))).returncode == 0
    assert not log.exists()
    assert "this was left" not in report(box)
    assert files(box) == OLD


@pytest.mark.parametrize("what", ["rewritten", "removed", "new"])
def test_what_has_become_another_file_since_it_was_read_stops_a_run(box: Box, what: str) -> None:
    folder = box.root / "etc/network"
    after = {"rewritten": File("new\n"), "removed": None}.get(what)
    path, before = folder / "60-culvert-edited", File("old\n") if what != "new" else None
    if what == "new":
        path, after = folder / "60-culvert-new", File("new\n")
    path.write_text("somebody's\n")
    found = Changes("web1", (str(folder),), (), (FileChange(str(path), before, after),))
    done = box.run(found.script(GUARD))
    changed = "has been changed since this run looked at it: run again"
    assert done.stderr == f"Culvert stopped at: {path} {changed}\n"
    assert path.read_text() == "somebody's\n"
    assert not (box.store / "pending").exists() and not box.hold.exists()


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_a_confirmation_that_was_cut_off_is_in_nobodys_way(
    box: Box, *, is_waited_for: bool
) -> None:
    found = changes(box)
    assert box.run(found.script(GUARD)).returncode == 0
    cut = f"end\nEND\nkill -KILL $$\nfiles <<'END'\n{STAYS}"
    assert box.run(confirmation().replace(STAYS, cut)).returncode != 0
    assert (box.store / "confirmed.new").exists()
    # It had been confirmed, and its host doesn't wait for anybody any more.
    assert box.run(rollback.recalling(GUARD, "its answer was lost")).stdout == "kept\n"
    if is_waited_for:
        # By which what waited has nothing to take back, and clears up.
        deadline(box, -1)
        until(lambda: not box.hold.exists())
        assert is_settled(box)
    else:
        box.run(f"kill -KILL {waiter(box)}")
        until(lambda: not alive(box))
    assert files(box) == NEW
    put_back(box)
    guard = replace(GUARD, run="run-2", stamp="run-1")
    done = box.run(found.script(guard))
    assert done.returncode == 0, done.stderr
    done = box.run(confirmation(guard))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in box.store.iterdir()) == ["confirmed"]


def alive(box: Box) -> bool:
    return Path(f"/proc/{waiter(box)}").exists()


def test_a_script_that_is_killed_while_it_takes_back_is_followed_by_the_host(box: Box) -> None:
    steps = [
        Step(
            ("+x",),
            ("true",),
            (f"[ -e {box.root}/going ] || {{ : >{box.root}/going; sleep 60; }}",),
        ),
        Step(("+y",), ("false",)),
    ]
    process = box.start(changes(box, *steps).script(GUARD))
    until((box.root / "going").exists)
    process.kill()
    process.wait()
    until(lambda: has_gone_back(box))
    assert files(box) == OLD


def test_of_what_had_not_begun_nothing_is_taken_back(box: Box) -> None:
    log = box.root / "log"
    found = changes(box, Step(("+x",), ("true",), (f"echo unmade >>{log}; false",)))
    process = box.start(found.script(GUARD).replace("begun=1;", "kill -KILL $$; begun=1;"))
    process.wait()
    until(lambda: has_gone_back(box))
    assert not log.exists()
    assert "this was left" not in report(box)
    assert files(box) == OLD


def test_who_cannot_be_told_that_it_was_undone_is_not_told_that_it_stays(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    undo = box.store / "pending/undo"
    undo.write_text(undo.read_text().replace(f"put {box.root}/run/culvert-stamp", "false"))
    assert box.run(rollback.recalling(GUARD, "it is tried")).stdout == "undone\n"


def test_what_waits_does_not_go_on_with_the_next_run(box: Box) -> None:
    found = changes(box)
    assert box.run(found.script(GUARD)).returncode == 0
    first = waiter(box)
    assert box.run(confirmation()).returncode == 0
    put_back(box)
    assert box.run(found.script(replace(GUARD, run="run-2", stamp="run-1"))).returncode == 0
    until(lambda: not Path(f"/proc/{first}").exists())
    assert alive(box)


def test_what_was_cut_off_is_taken_back_by_one_at_a_time(box: Box) -> None:
    log = box.root / "log"
    slow = Step(("+x",), ("true",), (f"echo begins >>{log}; sleep 2; echo ends >>{log}",))
    assert box.run(changes(box, slow).script(GUARD)).returncode == 0
    box.run(f"kill -KILL {waiter(box)}")
    first, second = (box.start(rollback.clearing(GUARD)) for _ in range(2))
    time.sleep(0.5)
    done = box.run(changes(box).script(replace(GUARD, run="run-2", stamp="run-1")))
    assert done.returncode == 1 and "is at work on this host" in done.stderr
    first.wait()
    second.wait()
    assert log.read_text().split() == ["begins", "ends"]
    assert files(box) == OLD
    assert not box.hold.exists()


def test_what_is_taken_back_again_is_no_trouble_where_it_was_taken_back(box: Box) -> None:
    mark = box.root / "mark"
    steps = [
        Step(("+x",), (f"touch {mark}",), (f"rm {mark}",)),
        Step(("+y",), ("true",), ("false",)),
        Step(("+z",), ("true",), ("true",)),
    ]
    assert box.run(changes(box, *steps).script(GUARD)).returncode == 0
    box.run(rollback.recalling(GUARD, "it is tried"))
    until(lambda: has_gone_back(box))
    assert report(box).rstrip().endswith(", of which this was left: false;")
    # Once more would find no other.
    assert not (box.store / "undoing").exists()


def test_what_hangs_while_it_is_taken_back_does_not_keep_the_rest(
    box: Box,
) -> None:
    steps = [
        Step(("+x",), (f"touch {box.root}/made",), (f"rm {box.root}/made",)),
        Step(("+y",), ("true",), ("sleep 300",)),
        Step(("+z",), ("true",), ("true",)),
    ]
    assert box.run(changes(box, *steps).script(GUARD)).returncode == 0
    undo = box.store / "pending/undo"
    undo.write_text(undo.read_text().replace("patience=60", "patience=2"))
    box.run(rollback.recalling(GUARD, "it is tried"))
    until(lambda: has_gone_back(box))
    assert not (box.root / "made").exists()
    assert report(box).rstrip().endswith(", of which this was left: sleep 300;")


def test_nobody_has_to_listen_while_it_is_taken_back(box: Box) -> None:
    said = Step(("+x",), ("true",), (f"seq 100000 && touch {box.root}/undone",))
    found = changes(box, said, Step(("+y",), ("sleep 1; false",)))
    process = subprocess.Popen(
        ["sh", "-s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(box.inside(found.script(GUARD)))
    process.stdin.close()
    process.wait()
    until(lambda: has_gone_back(box))
    assert (box.root / "undone").exists()
    assert files(box) == OLD


def test_who_runs_next_goes_on_with_what_was_being_taken_back(box: Box) -> None:
    assert box.run(changes(box).script(GUARD)).returncode == 0
    box.run(f"kill -KILL {waiter(box)}")
    (box.store / "pending").rename(box.store / "undoing")
    done = box.run(changes(box).script(replace(GUARD, run="run-2", stamp="run-1")))
    assert "had to be undone first: run again" in done.stderr
    assert files(box) == OLD
    assert not (box.store / "undoing").exists()


@pytest.mark.parametrize(
    ("mounted", "after", "is_early"),
    [
        ("/var", "network.target", False),
        ("/var/lib", "local-fs-pre.target", True),
        ("/home", "network.target", True),
    ],
)
def test_a_boot_is_not_held_up_where_var_comes_over_the_network(
    box: Box, mounted: str, after: str, *, is_early: bool
) -> None:
    (box.root / "mounts").write_text(f"/dev/vda1 / ext4 rw 0 0\nserver:/x {mounted} nfs rw 0 0\n")
    script = box.inside(changes(box).script(GUARD))
    # Which only tells what it would be asked.
    script = script.replace("qw(echo systemctl show --property=After", f"qw(echo -- {after}")
    script = script.replace("/proc/self/mounts", f"{box.root}/mounts")
    done = subprocess.run(["sh", "-s"], input=script, text=True, check=False)
    assert done.returncode == 0
    assert (box.store / "pending/undo").exists()
    assert bool([*(box.root / "etc/systemd").rglob("*60-culvert*")]) == is_early
    assert box.run(confirmation()).returncode == 0


def test_what_a_run_starts_reads_nothing_of_what_is_to_be_done(tmp_path: Path) -> None:
    # As a program does that somebody has put in front of one of the system's.
    starting = "$main::verbs{start} = sub { system 'cat' };"
    # More than Perl takes at once.
    lines = ["start", *["at another"] * 20_000, f"put {tmp_path}/file text", "end"]
    told = "".join(f"{each}\n" for each in lines)
    subprocess.run(["perl", "-e", starting + rollback.FILES], input=told, text=True, check=True)
    assert (tmp_path / "file").read_text() == "text\n"


def test_the_boot_unit_is_one_that_systemd_reads(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / rollback.BOOT_UNIT
    unit.write_text(rollback._BOOT)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert rollback.BOOT_UNIT not in done.stderr, done.stderr


def test_what_stays_is_not_told_to_be_taken_back(box: Box) -> None:
    script = changes(box).script(replace(GUARD, within=0))
    done = box.run(script.replace(STAYS, "rename /nowhere /there\n"))
    assert done.stderr.endswith("; what it made stays\n")
    assert files(box) == NEW and is_settled(box)
    assert not box.hold.exists()


@pytest.mark.parametrize("told_to", ["sh -s", "env -u SSH_CONNECTION sh -s; true"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_whoever_is_at_work_is_told_with_where_from(box: Box, shell: str, told_to: str) -> None:
    """Also where sudo told it to nobody."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed here")
    subprocess.run(
        ["sh", "-c", told_to.replace("sh -s", f"{shell} -s")],
        input=box.inside(changes(box).script(GUARD)),
        env={"PATH": os.environ["PATH"], "SSH_CONNECTION": "192.0.2.9 50000 198.51.100.10 22"},
        text=True,
        check=True,
    )
    holder = (box.store / "pending/holder").read_text()
    assert re.fullmatch(r"alice@laptop from 192\.0\.2\.9, since [\d: -]+ UTC\n", holder)


def test_an_old_file_comes_back_from_its_copy_byte_by_byte_and_with_its_mode(box: Box) -> None:
    edited = box.root / "etc/network/60-culvert-edited"
    old = b"old\xff\0\n"
    edited.write_bytes(old)
    edited.chmod(0o640)
    found = changes(box)
    read = replace(found.files[0], before=File(old.decode(errors="replace"), 0o640))
    found = replace(found, files=(read, *found.files[1:]))
    assert box.run(found.script(GUARD)).returncode == 0
    # As on a disk that lost it.
    edited.with_name(".60-culvert-edited.old").unlink()
    assert box.run(rollback.recalling(GUARD, "it is tried")).stdout == "undone\n"
    assert edited.read_bytes() == old
    assert edited.stat().st_mode & 0o7777 == 0o640
    assert report(box).endswith(" UTC\n")


def test_a_run_that_cannot_keep_old_files_changes_nothing(box: Box) -> None:
    script = changes(box).script(GUARD).replace("exec cp -p --parents", "exec false")
    done = box.run(script)
    assert done.stderr == "Culvert stopped at: keeping what puts the host back\n"
    assert files(box) == OLD
    assert not box.hold.exists() and not (box.store / "pending").exists()
