"""Runs of pyinfra as a user starts them: a process, an inventory file, nobody at the terminal."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PYINFRA = (str(Path(sys.executable).with_name("pyinfra")),)

# Python's, and how pyinfra announces one that it puts in a file.
_TRACEBACKS = ("Traceback", "An internal exception occurred")

Hosts = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Run:
    """How a run ended, and what it printed: diffs on `stdout`, the rest on `stderr`."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stderr + self.stdout

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


def run(
    folder: Path,
    hosts: Hosts | str,
    *arguments: str,
    program: Sequence[str] = PYINFRA,
    cwd: Path = REPOSITORY,
) -> Run:
    """One run on these hosts, with its inventory in the folder; no traceback may come of it.

    Hosts may also be the inventory's own text.
    """
    inventory = folder / "inventory.py"
    inventory.write_text(hosts if isinstance(hosts, str) else f"hosts = {hosts!r}\n")
    done = subprocess.run(
        [*program, str(inventory), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = Run(done.returncode, done.stdout, done.stderr)
    assert not any(told in found.output for told in _TRACEBACKS), found.output
    return found
