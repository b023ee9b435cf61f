"""What is tied to a program ends with it, whoever ends that."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.ties import tied
from tests.lab.waiting import ask_until
from tests.runs import REPOSITORY

# What the tests do: one process starts another, and waits for something else.
PROGRAM = """
import subprocess
from tests.lab.ties import tied
command = ["sleep", "60"]
print(subprocess.Popen(COMMAND, start_new_session=True).pid, flush=True)
input()
"""


def runs(pid: int) -> bool:
    """Whether the process is there, and has not ended with nobody to ask how."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] not in "ZX"


def outlives(command: str, end: signal.Signals) -> bool:
    """Whether what a program starts is still there when the program was ended by a signal."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("COMMAND", command)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert runs(pid)
        program.send_signal(end)
    found = ask_until(lambda still: not still, lambda: runs(pid), 2)
    if found:
        subprocess.run(["kill", str(pid)], check=True)
    return found


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_that_is_tied_outlives_its_program(end: signal.Signals) -> None:
    assert not outlives("tied(command)", end)


def test_what_is_not_tied_does() -> None:
    assert outlives("command", signal.SIGKILL)


def test_nothing_starts_where_the_program_has_ended_already() -> None:
    # Another process than this one is its parent, as it would be then.
    between = f"{shlex.join(tied(['echo', 'started']))}; true"
    done = subprocess.run(["sh", "-c", between], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    here = subprocess.run(tied(["echo", "started"]), capture_output=True, text=True, check=True)
    assert here.stdout == "started\n"
