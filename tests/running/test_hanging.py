"""Hosts that are unkind in ways of their own cost nobody else anything, and the run their limit."""

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import runs
from tests.answers import Kind
from tests.running.slow_names import SECONDS
from tests.samples import bare, deployed, pair
from tests.ssh_hosts import At, How, SshHost, SshHosts

OLD, NEW = deployed("ifupdown", "client"), bare("ifupdown", "client")
WELL = "well.example.net"
LIMITS = {"ssh_connect_timeout": 4, "ssh_command_timeout": 4}
# Where a run waits for a host twice, it takes longer than this.
BUSY = 30


@dataclass
class Timed(SshHost):
    """A host that knows when it was asked for what."""

    times: list[float] = field(default_factory=list)

    def answer(self, name: str, script: str) -> tuple[Kind, int, str, str]:
        self.times.append(time.monotonic())
        return super().answer(name, script)

    def since(self, kind: At) -> float:
        """Seconds since it was first asked for something."""
        return time.monotonic() - self.times[self.asked.index(kind)]


def repeat(said: bytes, seconds: float) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        while True:
            connection.sendall(said)
            time.sleep(seconds)

    return act


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def version_alone(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-x\r\n")


SILENT = "it takes the TCP connection and says nothing in 4 s"
ENDED = "it takes the TCP connection and ends it"
SAYS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "a byte at a time": (repeat(b"S", 1), SILENT),
    "other lines": (repeat(b"hello\r\n", 1), SILENT),
    "a line without an end": (repeat(b"x" * 65536, 0), SILENT),
    "its version alone": (repeat(b"SSH-2.0-x\r\n", 60), "no end of the exchange of keys in 4 s"),
    "nothing, and goes": (reset, ENDED),
    "nothing, and goes in peace": (lambda _: None, ENDED),
    "its version, and goes": (version_alone, ENDED),
}


@contextmanager
def saying(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each who connects is told something."""

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=tell, args=(connection,), daemon=True).start()

    def tell(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            act(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("says", SAYS)
def test_what_no_sshd_would_say_ends_in_time(tmp_path: Path, says: str) -> None:
    act, why = SAYS[says]
    with saying(act) as port, SshHosts({WELL: SshHost(NEW, NEW)}) as listening:
        inventory = [
            listening.data(WELL, tunnel=[], **LIMITS),
            ("web1", {**listening.data(WELL, tunnel=[], **LIMITS)[1], "ssh_port": port}),
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    assert done.table[0] == [WELL, "nothing to do"]
    assert done.table[1][:2] == ["web1", "unreachable"]
    assert done.table[1][2].startswith(why)


def test_what_hangs_before_a_host_is_asked_is_told(tmp_path: Path) -> None:
    agent, config = tmp_path / "agent", tmp_path / "config"
    told = {
        "proxied": "its `ProxyCommand` says nothing in 4 s: ",
        "jumped": "no TCP connection in 4 s: ",
        "kept": "no answer of the SSH agent here in 4 s: ",
    }
    hosts = {name: SshHost(NEW, NEW) for name in (WELL, "kept")}
    with (
        saying(lambda _: time.sleep(60)) as port,
        socket.socket(socket.AF_UNIX) as asked,
        SshHosts(hosts) as listening,
    ):
        asked.bind(str(agent))
        asked.listen()
        config.write_text(
            "Host proxied\n  ProxyCommand sleep 60\n"
            f"Host jumped\n  ProxyJump 127.0.0.1:{port}\n"
            f"Host kept\n  HostName 127.0.0.1\n  IdentityAgent {agent}\n"
        )
        inventory = []
        for name in told:
            _, data = listening.data("kept", tunnel=[], **LIMITS)
            own = {"ssh_hostname": name, "ssh_config_file": str(config), "ssh_allow_agent": True}
            inventory.append((name, {**data, **own}))
        # The agent is one host's own.
        inventory.append(listening.data(WELL, tunnel=[], ssh_allow_agent=True))
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    assert [row[:2] for row in done.table] == [
        *([name, "unreachable"] for name in told),
        [WELL, "nothing to do"],
    ]
    for name, why in told.items():
        assert any(line.split("] ", 1)[-1].strip().startswith(why) for line in done.lines), name


def test_names_that_nobody_knows_keep_no_other_host_waiting(tmp_path: Path) -> None:
    program = (sys.executable, "-m", "tests.running.slow_names")
    with SshHosts({WELL: SshHost(NEW, NEW)}) as listening:
        _, data = listening.data(WELL, tunnel=[], **LIMITS)
        inventory = [(f"web{n}", {**data, "ssh_hostname": f"web{n}.invalid"}) for n in range(12)]
        inventory.append((WELL, data))
        start = time.monotonic()
        done = runs.run(tmp_path, inventory, "deploy.py", "-y", program=program)
    assert time.monotonic() - start < SECONDS
    assert [row[1] for row in done.table] == [*["unreachable"] * 12, "nothing to do"]
    assert done.table[0][2] == "no TCP connection in 4 s"


# Of one whose command alone hangs in its change, it is known that it has gone back.
WAYS: list[tuple[At, How, str]] = [
    ("read", "dribbles", "failed"),
    ("change", "lingers", "undone"),
    ("change", "sticks", "not confirmed yet"),
    ("change", "freezes", "not confirmed yet"),
    ("change", "drops", "not confirmed yet"),
]


@pytest.mark.parametrize(("at", "how", "word"), WAYS)
def test_however_a_host_hangs_the_run_waits_for_it_once(
    tmp_path: Path, at: At, how: How, word: str
) -> None:
    host = Timed(OLD, NEW, {at: how})
    with SshHosts({"web1": host, WELL: SshHost(OLD, NEW)}) as listening:
        inventory = [listening.data("web1", tunnel=[], **LIMITS), listening.data(WELL, tunnel=[])]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
        assert host.since(at) < BUSY
    assert done.status == 1
    assert [row[:2] for row in done.table] == [["web1", word], [WELL, "done"]]


AT: list[tuple[At, str, str]] = [
    ("read", "failed", "left alone"),
    ("change", "not confirmed yet", "left alone"),
    ("confirm", "not confirmed yet", "undone"),
]


@pytest.mark.parametrize(("at", "word", "of_client"), AT)
def test_the_clients_of_a_server_that_hangs_wait_for_it_once(
    tmp_path: Path, at: At, word: str, of_client: str
) -> None:
    of = pair(1)
    server, client = of
    hosts = {name: Timed(before, after) for name, (_, before, after) in of.items()}
    hosts[server].unkind = {at: "sticks"}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, **data) for name, (data, *_) in of.items()]
        inventory[0][1].update(LIMITS)
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
        assert hosts[server].since(at) < BUSY
    assert done.status == 1
    assert [row[:2] for row in done.table] == [[server, word], [client, of_client]]
    assert done.table[1][2].startswith(f"its tunnel server {server} ")
