"""Runs of pyinfra as a user starts them: a process, an inventory file, nobody at the terminal."""

import re
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

    @property
    def table(self) -> list[list[str]]:
        """The rows at its end: a host, a word for it, and why."""
        told = self.stderr.partition("--> Hosts:\n")[2].splitlines()
        return [re.split(r"  +", line.strip()) for line in told if line.startswith("    ")]


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
    return end(start(folder, hosts, *arguments, program=program, cwd=cwd))


def start(
    folder: Path,
    hosts: Hosts | str,
    *arguments: str,
    program: Sequence[str] = PYINFRA,
    cwd: Path = REPOSITORY,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """The same, and not waited for."""
    inventory = folder / "inventory.py"
    inventory.write_text(hosts if isinstance(hosts, str) else f"hosts = {hosts!r}\n")
    return subprocess.Popen(
        [*program, str(inventory), *arguments],
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Run:
    """How a run that was started ends."""
    stdout, stderr = process.communicate()
    found = Run(process.returncode, stdout, stderr)
    assert not any(told in found.output for told in _TRACEBACKS), found.output
    return found
