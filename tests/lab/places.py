"""Where the lab keeps its files, and on which ports it answers."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

PORT_VARIABLE = "CULVERT_LAB_PORT"
DEFAULT_PORT = 4200
PORTS = 6
"""One for each machine of the largest topology, counted from the lab's port."""

HIGHEST_PORT = 65000


def cache() -> Path:
    """The folder, outside the repository, of all that is built once and kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "culvert" / "lab"


@dataclass(frozen=True)
class Place:
    """The files of one running lab; several can run side by side, told apart by their ports."""

    port: int

    @classmethod
    def from_environment(cls) -> "Place":
        """The place that `CULVERT_LAB_PORT` chooses."""
        text = os.environ.get(PORT_VARIABLE, str(DEFAULT_PORT))
        if not text.isdecimal() or not 1024 <= int(text) <= HIGHEST_PORT:
            raise LabError(
                f"{PORT_VARIABLE} is {text!r}: "
                f"give the first of {PORTS} free ports, a number from 1024 to {HIGHEST_PORT}."
            )
        return cls(int(text))

    @property
    def disks(self) -> Path:
        """The folder of the running machines' disks and logs."""
        return cache() / "running" / str(self.port)

    @property
    def sockets(self) -> Path:
        """The folder of sockets and process ids: a short path, since a socket's has 107 bytes."""
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"culvert-lab-{os.getuid()}" / str(self.port)

    @property
    def known_hosts(self) -> Path:
        """The file that tells SSH clients which host key to expect."""
        return cache() / f"known_hosts-{self.port}"

    def create(self) -> None:
        """Make the folders, closed to other users: who reaches a monitor owns its machine."""
        self.disks.mkdir(parents=True, exist_ok=True)
        self.sockets.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.sockets.parent.stat().st_uid != os.getuid():
            raise LabError(f"{self.sockets.parent} belongs to another user: remove it.")
        self.sockets.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other programs from doing the same at the same time; they wait for their turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
