"""Processes that end with the program that starts them, however that ends."""

import os
from collections.abc import Sequence

# The program may have ended before the kernel was asked for the signal: then another process is
# the parent by now.
_WHILE_IT_RUNS = '[ $PPID = "$0" ] && exec "$@"'


def tied(command: Sequence[str]) -> list[str]:
    """A command line whose process the kernel kills at this program's end, be it by SIGKILL.

    To the kernel that is the end of the thread that starts it (PR_SET_PDEATHSIG(2const)); and what
    the process forks is not tied any more.
    """
    asking = ("setpriv", "--pdeathsig", "KILL")
    return [*asking, "sh", "-c", _WHILE_IT_RUNS, str(os.getpid()), *command]
