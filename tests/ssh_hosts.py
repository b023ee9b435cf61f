"""Hosts on loopback that speak SSH: what a real pyinfra meets, the unkind ones among them.

Each is an SSH server of paramiko's in this process. It answers a script that reads it as
`tests.samples` has it, is as another state when a script has changed it, and passes every check.
"""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal

from paramiko import Channel, PKey, RSAKey, ServerInterface, Transport
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from tasks.host.state import HostState
from tests import answers
from tests.host.test_answer import ANSWER

# When a host does something else than answer: with one of these kinds of scripts, or before.
At = Literal[
    "banner",
    "login",
    "exec",
    "read",
    "rehearse",
    "clear",
    "change",
    "extend",
    "recall",
    "confirm",
    "verify",
]
# What it does. With that alone it comes to no end: in the middle of its answer (hangs), after all
# of it (lingers), or giving a byte a second (dribbles); or from then on with anything (sticks). It
# stands still as a whole, as a machine that is frozen (freezes), or that no packet reaches (drops).
# Its connection ends, it fails with a sentence, or takes no new connection from then on (shuts).
How = Literal[
    "hangs", "lingers", "dribbles", "sticks", "freezes", "drops", "breaks", "fails", "shuts"
]

# The sections of an answer, of which a state tells some.
EMPTY = {
    name: "" for name in answers.sections(ANSWER) if name != "end" and not name.startswith("answer")
}


@dataclass
class SshHost:
    """A host, before and after it is changed, and where it is `unkind`.

    `takes` are the seconds that an answer takes, `says` what it is where it isn't the usual one.
    """

    before: HostState
    after: HostState
    unkind: Mapping[At, How] = field(default_factory=dict)
    takes: Mapping[At, float] = field(default_factory=dict)
    says: Mapping[At, str] = field(default_factory=dict)
    # What was asked of it, in its order, and by which of its connections.
    asked: list[str] = field(default_factory=list)
    asked_by: list[int] = field(default_factory=list)
    connections: int = 0
    compression: str = ""
    stamp: str = ""
    # Whether it comes to no end with anything any more, or nothing comes from it or gets there.
    is_stuck: bool = False
    is_silent: bool = False

    def answer(self, name: str, script: str) -> tuple[answers.Kind, int, str, str]:
        """What kind of a script it is, its status, output and errors."""
        kind = answers.kind(script)
        self.asked.append(kind)
        if kind == "change":
            self.stamp = answers.run_of(script)
        if self.unkind.get(kind) == "fails":
            return kind, 1, "", "Culvert stopped at: mv -f x y; what it made is taken back\n"
        if kind == "read":
            state = self.after if "change" in self.asked else self.before
            state = replace(state, stamp=self.stamp)
            told = {**EMPTY, **answers.of(state), "machine": f"{name}\nnet:[4026531840]"}
            said = answers.text(told)
        else:
            checks = "".join(f"@@ check {index} 0 what was seen\n" for index in range(20))
            said = {
                "rehearse": "@@ rehearsed: 0\n",
                "confirm": "@@ ended: confirmed\n",
                "recall": "undone\n",
                "verify": checks,
            }.get(kind, "")
            said = self.says.get(kind, said)
        return kind, 0, said, ""


class SshHosts:
    """Has hosts listen, each on a port of its own, for as long as the context lasts."""

    def __init__(self, hosts: Mapping[str, SshHost]) -> None:
        self.hosts = hosts
        self.key: PKey = RSAKey.generate(2048)
        self.over = threading.Event()
        self.listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in hosts}
        self.connections: list[socket.socket] = []

    def data(self, name: str, **more: Any) -> tuple[str, dict[str, Any]]:
        """A host of an inventory that connects there, and to nothing of this machine's user."""
        ssh = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.listeners[name].getsockname()[1],
            "ssh_user": "root",
            "ssh_password": "secret",
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
            "ssh_config_file": "/dev/null",
            "ssh_known_hosts_file": "/dev/null",
            "ssh_strict_host_key_checking": "no",
        }
        return name, {**ssh, **more}

    def __enter__(self) -> "SshHosts":
        for name in self.hosts:
            threading.Thread(target=self._listen, args=(name,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        for name in self.listeners:
            self.close(name)
        for each in self.connections:
            each.close()

    def close(self, name: str) -> None:
        """Have a host's port take no connection any more."""
        with suppress(OSError):
            # Without it, the one who waits there would go on.
            self.listeners[name].shutdown(socket.SHUT_RDWR)
        self.listeners[name].close()

    def silence(self, name: str, *, drops: bool) -> None:
        """Have nothing come from a host any more; where it `drops`, no new connection either."""
        self.hosts[name].is_silent = True
        if not drops:
            return
        listener = self.listeners[name]
        listener.listen(0)
        # Where its queue is full, the kernel drops what asks for one more.
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            self.connections.append(waiting)

    def _listen(self, name: str) -> None:
        host = self.hosts[name]
        if host.unkind.get("banner") == "drops":
            self.silence(name, drops=True)
        with suppress(OSError):
            while not (host.is_silent and "drops" in host.unkind.values()):
                connection, _ = self.listeners[name].accept()
                connection = _Line(connection, host, self.over)
                self.connections.append(connection)
                host.connections += 1
                if "banner" in host.unkind:
                    host.asked.append("banner")
                    continue
                transport = Transport(connection)
                transport.add_server_key(self.key)
                # As OpenSSH's sshd does by default, once somebody has logged in.
                transport.use_compression()
                transport.start_server(threading.Event(), _Session(self, name, transport))


class _Line(socket.socket):
    """A host's side of a connection, by which nothing comes or goes while the host is silent."""

    def __init__(self, accepted: socket.socket, host: SshHost, over: threading.Event) -> None:
        super().__init__(fileno=accepted.detach())
        self.host, self.over = host, over

    def recv(self, *arguments: int) -> bytes:
        found = super().recv(*arguments)
        self._hold()
        return found

    def send(self, *arguments: Any) -> int:
        self._hold()
        return super().send(*arguments)

    def _hold(self) -> None:
        if self.host.is_silent:
            self.over.wait()


class _Session(ServerInterface):
    def __init__(self, hosts: SshHosts, name: str, transport: Transport) -> None:
        self.hosts, self.name, self.transport = hosts, name, transport
        self.host = hosts.hosts[name]
        self.number = self.host.connections

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        del username, password
        if how := self.host.unkind.get("login"):
            self.host.asked.append("login")
            self.hosts.silence(self.name, drops=how == "drops")
            self.hosts.over.wait()
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        self.host.compression = vars(self.transport)["remote_compression"]
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Channel, command: bytes) -> bool:
        del command
        if "exec" in self.host.unkind:
            # Its whole connection stands still, as that of an sshd or a machine that is stopped.
            self.host.asked.append("exec")
            self.hosts.over.wait()
        threading.Thread(target=self._run, args=(channel,), daemon=True).start()
        return True

    def _run(self, channel: Channel) -> None:
        with suppress(OSError, EOFError):
            script = channel.makefile("rb").read().decode()
            if not script:
                # Of a client that has closed its connection.
                return
            if self.host.is_stuck:
                self.hosts.over.wait()
            kind, status, output, errors = self.host.answer(self.name, script)
            self.host.asked_by.append(self.number)
            self.hosts.over.wait(self.host.takes.get(kind, 0))
            match how := self.host.unkind.get(kind):
                case "freezes" | "drops":
                    self.hosts.silence(self.name, drops=how == "drops")
                case "hangs" | "sticks":
                    self.host.is_stuck = how == "sticks"
                    channel.sendall(output[: len(output) // 2].encode())
                    self.hosts.over.wait()
                case "lingers":
                    channel.sendall(output.encode())
                    self.hosts.over.wait()
                case "dribbles":
                    for byte in output.encode():
                        channel.sendall(bytes([byte]))
                        self.hosts.over.wait(1)
                case "breaks":
                    self.transport.close()
                case "shuts":
                    self.hosts.close(self.name)
            channel.sendall(output.encode())
            channel.sendall_stderr(errors.encode())
            channel.send_exit_status(status)
            channel.close()
