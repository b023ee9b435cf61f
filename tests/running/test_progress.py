"""How far a run is, on a terminal, and nothing of it anywhere else."""

import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import pytest

from tests import runs
from tests.samples import pair
from tests.ssh_hosts import SshHost, SshHosts

COLUMNS = 70
CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def on_terminal(folder: Path, hosts: runs.Hosts, *arguments: str, name: str = "xterm") -> str:
    """What a run writes to a terminal of that name."""
    (folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
    person, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, COLUMNS))
    process = subprocess.Popen(
        [*runs.PYINFRA, str(folder / "inventory.py"), *arguments],
        cwd=runs.REPOSITORY,
        env={**os.environ, "TERM": name},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            written += os.read(person, 65536)
        except OSError:
            # As Linux says that nobody has it open any more.
            break
    process.wait()
    os.close(person)
    # What the terminal itself makes of the end of a line.
    return written.decode().replace("\r\n", "\n")


def seen(written: str) -> list[str]:
    """The lines that stand on a terminal in the end."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            for index, text in enumerate(re.split(r"\x1b\[K", part)):
                # Here always at the beginning of a line, all of which goes.
                shown = text if index else text + shown[len(text) :]
        lines.append(CODE.sub("", shown))
    return lines


def started(folder: Path, *arguments: str, name: str = "") -> str:
    """A run on hosts of which one takes its time, in a pipe or on a terminal of that name."""
    of = {**pair(1), **pair(2)}
    hosts = {each: SshHost(before, after) for each, (_, before, after) in of.items()}
    slow = {"read": 1.5, "rehearse": 1.5, "change": 1.5, "confirm": 1.5, "verify": 1.5}
    hosts["web2.example.net"].takes = slow  # type: ignore[assignment]
    with SshHosts(hosts) as listening:
        inventory = [listening.data(each, **data) for each, (data, *_) in of.items()]
        if name:
            return on_terminal(folder, inventory, *arguments, name=name)
        return runs.run(folder, inventory, *arguments).output


RUN = ("deploy.py", "-y", "--diff")


def test_a_terminal_shows_how_far_a_run_is_and_no_line_is_lost(tmp_path: Path) -> None:
    piped = started(tmp_path, *RUN)
    written = started(tmp_path, *RUN, name="xterm")
    for doing in ("reading", "trying what would change", "confirming", "proving"):
        assert re.search(rf"{doing}: 3 of 4 hosts; waiting for web2\.exam", written), written
    drawn = [CODE.sub("", each) for each in re.findall(r"\x1b\[K([^\n\r]*)\r", written)]
    assert max(map(len, drawn)) < COLUMNS
    assert not any("waiting for" in line for line in [*piped.splitlines(), *seen(written)])
    # Of what hosts say at the same time, one comes before the other or after; ports differ.
    told = [re.sub(r"\[127\.0\.0\.1\]:\d+", "", each) for each in (piped, "\n".join(seen(written)))]
    lines = [sorted(filter(None, each.splitlines())) for each in told]
    assert lines[1] == lines[0]


@pytest.mark.parametrize("name", ["", "dumb"])
def test_no_pipe_and_no_terminal_without_codes_gets_any(tmp_path: Path, name: str) -> None:
    written = started(tmp_path, *RUN, name=name)
    assert "--> Hosts:" in written
    assert "\x1b" not in written
    assert "\r" not in written
    assert "waiting for" not in written
