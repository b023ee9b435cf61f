"""What hosts that hang cost a run: `python -m tests.bench.hanging [POINT …]`.

Servers and clients are deployed for the first time, and of the clients some hang, at one point of
the run after the other. How each does is what its name tells:

- *mute*: takes the TCP connection and says nothing; later on, stands still as a whole, as a machine
  that is frozen, whose kernel takes new connections all the same. Its SSH server, one of
  paramiko's, neither reads nor writes any more.
- *dropped*: its packets go nowhere. The same, and who asks for a new connection is dropped by a
  listening socket whose queue is full. Unlike on a line that is cut, what is sent to it by the old
  connection is acknowledged, by this machine's kernel: nothing that pyinfra could see.
- *stuck*: its SSH server lives, and answers what it is asked itself; it takes commands as well, of
  which from that point on none comes to an end.
- *stopped*: a real sshd that gets SIGSTOP, with all its children; as root, else one that is mute.

The time without them is that of the same run over all others.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import runs
from tests.bench import here, sshd
from tests.samples import pair
from tests.ssh_hosts import At, How, SshHost, SshHosts

HOSTS, HUNG = 50, 5
BAR = 60
"""In seconds beside the time of a run without those that hang."""

POINTS: dict[str, At] = {
    "connecting": "banner",
    "authenticating": "login",
    "reading": "read",
    "changing": "change",
    "proving": "verify",
}
# Before a login is over there is no session to be stuck in; and here sshd's own login is quick.
WAYS: dict[At, tuple[str, ...]] = {
    "banner": ("mute", "mute", "dropped", "dropped", "stopped"),
    "login": ("mute", "mute", "mute", "dropped", "dropped"),
    **dict.fromkeys(("read", "change", "verify"), ("mute", "dropped", "stuck", "stuck", "stopped")),
}
CAN_STOP = sshd.PROGRAM is not None and os.geteuid() == 0
DOES: dict[str, How] = {
    "mute": "freezes",
    "dropped": "drops",
    "stuck": "sticks",
    "stopped": "freezes",
}

# What sshd runs for each command: it has the host in this process answer.
_ANSWER = f"""#!{sys.executable} -S
import json, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect("@FOLDER@/socket")
    asking.sendall(sys.stdin.buffer.read())
    asking.shutdown(socket.SHUT_WR)
    status, output, errors = json.loads(asking.makefile("rb").read())
sys.stdout.write(output)
sys.stderr.write(errors)
sys.exit(status)
"""


class Stopping:
    """A host behind a real sshd, which stops at a point."""

    def __init__(self, name: str, host: SshHost, at: At, folder: Path) -> None:
        self.name, self.host, self.at, self.folder = name, host, at, folder

    @contextmanager
    def listening(self) -> Iterator[dict[str, Any]]:
        """Its data, as long as the context lasts."""
        path = self.folder / "socket"
        answer = self.folder / "answer"
        answer.write_text(_ANSWER.replace("@FOLDER@", str(self.folder)))
        answer.chmod(0o755)
        with (
            socket.socket(socket.AF_UNIX) as asked,
            sshd.running(self.folder, [self.name], f"exec {answer}") as (self.process, data),
        ):
            asked.bind(str(path))
            asked.listen()
            threading.Thread(target=self._answer, args=(asked,), daemon=True).start()
            if self.at == "banner":
                self._signal(signal.SIGSTOP)
            try:
                yield data[self.name]
            finally:
                self._signal(signal.SIGCONT)
                asked.shutdown(socket.SHUT_RDWR)

    def _answer(self, asked: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asking, _ = asked.accept()
                with asking:
                    script = asking.makefile("rb").read().decode()
                    kind, *said = self.host.answer(self.name, script)
                    if kind == self.at:
                        self._signal(signal.SIGSTOP)
                    asking.sendall(json.dumps(said).encode())

    def _signal(self, number: int) -> None:
        for each in _family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(each, number)


def _family(pid: int) -> list[int]:
    """A process, and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


@dataclass(frozen=True)
class Told:
    """How a run ended, and after how many seconds."""

    run: runs.Run
    seconds: float


CLIENTS = [f"web{number}.example.net" for number in range(3, 3 + HUNG)]
"""Those that hang."""


def deploy(folder: Path, at: At | None = None) -> Told:
    """A first deploy, where these clients hang at a point, or are left out."""
    of = {name: each for n in range(1, HOSTS // 2 + 1) for name, each in pair(n).items()}
    hosts = {name: SshHost(before, after) for name, (_, before, after) in of.items()}
    left_out, stopping = [], {}
    with ExitStack() as stack:
        if at is None:
            left_out = [word for name in CLIENTS for word in ("--exclude", name)]
        else:
            for name, way in zip(CLIENTS, WAYS[at], strict=True):
                if way == "stopped" and CAN_STOP:
                    (folder / name).mkdir()
                    each = Stopping(name, hosts[name], at, folder / name)
                    stopping[name] = stack.enter_context(each.listening())
                else:
                    hosts[name].unkind = {at: DOES[way]}
        listening = stack.enter_context(SshHosts(hosts))
        inventory = [listening.data(name, **data) for name, (data, *_) in of.items()]
        inventory = [(name, {**data, **stopping.get(name, {})}) for name, data in inventory]
        start = time.monotonic()
        done = runs.run(folder, inventory, "deploy.py", "-y", *left_out)
        return Told(done, time.monotonic() - start)


def hang(point: str, without: float) -> bool:
    """Print what became of those that hang, and a line with the bar; whether it is met."""
    at = POINTS[point]
    # An sshd that goes on again has something to log there, whoever else has left.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        told = deploy(Path(folder), at)
    rows = {name: (word, why) for name, word, why in told.run.table}
    named = [name for name in CLIENTS if rows[name][0] != "done"]
    done = sum(word == "done" for word, _ in rows.values())
    for name, way in zip(CLIENTS, WAYS[at], strict=True):
        print(f"    {way:8} {': '.join(rows[name])}")
    is_met = (told.run.status, done, len(named)) == (1, HOSTS - HUNG, HUNG)
    is_met = is_met and told.seconds <= without + BAR
    print(
        f"{HUNG} of {HOSTS} hosts that hang at {point}: {told.seconds:.0f} s, without them "
        f"{without:.0f} s, bar {BAR} s more; {done} done, {len(named)} named, status "
        f"{told.run.status}: {'met' if is_met else 'MISSED'}",
        flush=True,
    )
    return is_met


def main() -> int:
    """The status is 1 where a bar isn't met."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    here.tell()
    with TemporaryDirectory() as folder:
        without = deploy(Path(folder))
    assert without.run.status == 0, without.run.output
    met = [hang(point, without.seconds) for point in sys.argv[1:] or POINTS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
