"""What is tied to a program ends with it, whoever ends that."""

import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.ties import has_ended, tied
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

# Its first thread ends, as the kernel may have it when a program is killed; the port stays open.
WITHOUT_ITS_FIRST_THREAD = """
import ctypes, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=sys.stdin.readline).start()
print(listener.getsockname()[1], flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


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
        assert not has_ended(pid)
        program.send_signal(end)
    ended = ask_until(bool, lambda: has_ended(pid), 2)
    if not ended:
        subprocess.run(["kill", str(pid)], check=True)
    return not ended


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


def test_one_that_still_holds_a_port_has_not_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_ITS_FIRST_THREAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        assert ask_until(lambda state: state == "Z", lambda: state(program.pid), 5) == "Z"
        assert not has_ended(program.pid)
        socket.create_connection(("127.0.0.1", port)).close()
        program.kill()
        assert ask_until(bool, lambda: has_ended(program.pid), 5)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
