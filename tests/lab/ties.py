"""Processes that end with the program that starts them, however that ends; and whether one has."""

import os
from collections.abc import Sequence
from pathlib import Path

# The program may have ended before the kernel was asked for the signal: then another process is
# the parent by now.
_WHILE_IT_RUNS = '[ $PPID = "$0" ] && exec "$@"'

_THREADS = 17
"""Which of the words after a process's name in its `stat` counts its threads (proc_pid_stat(5))."""


def tied(command: Sequence[str]) -> list[str]:
    """A command line whose process the kernel kills at this program's end, be it by SIGKILL.

    To the kernel that is the end of the thread that starts it (PR_SET_PDEATHSIG(2const)); and what
    the process forks is not tied any more.
    """
    asking = ("setpriv", "--pdeathsig", "KILL")
    return [*asking, "sh", "-c", _WHILE_IT_RUNS, str(os.getpid()), *command]


def has_ended(pid: int) -> bool:
    """Whether a process holds nothing any more, neither a file nor a port.

    Of one that ends, its command line goes first, then its first thread; what it holds goes with
    its last one, which gives the memory back.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    state, threads = fields[0], int(fields[_THREADS])
    return state in "ZX" and threads <= 1
