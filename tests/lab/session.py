"""Commands on a machine, over an SSH connection that is kept for the next one."""

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn

import paramiko

from tests.lab.access import port, user_key
from tests.lab.errors import LabError
from tests.lab.machines import Machine
from tests.lab.places import Place

# paramiko would print a traceback for every attempt that fails.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

ATTEMPT_SECONDS = 10.0
BANNER_SECONDS = 15.0
"""QEMU accepts a connection even where the machine will never answer."""
CONNECT_SECONDS = 180.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Result:
    """What a command left behind; the status is -1 when a signal ended it."""

    command: str
    status: int
    stdout: str
    stderr: str


class Background:
    """A command that goes on running on a machine until it ends or is stopped."""

    def __init__(self, session: "Session", command: str) -> None:
        self.command = command
        self._session = session
        self._channel = session.channel()
        # sshd makes this shell the leader of a process group, which `stop` ends.
        self._channel.exec_command(f"echo $$; {command}")
        stdout = self._channel.makefile("rb")
        self._group = int(stdout.readline())
        readers = ThreadPoolExecutor(2)
        self._stdout = readers.submit(stdout.read)
        self._stderr = readers.submit(self._channel.makefile_stderr("rb").read)
        readers.shutdown(wait=False)

    def wait(self, timeout: float = 60) -> Result:
        """What the command left behind once it has ended; an error after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        try:
            stdout = self._stdout.result(timeout)
            stderr = self._stderr.result(max(0, deadline - time.monotonic()))
        except TimeoutError:
            self._signal("KILL")
            self._channel.close()
            _fail(self._session.machine, f"not done after {timeout:.0f} s: {self.command}")
        status = self._channel.recv_exit_status()
        return Result(self.command, status, stdout.decode(), stderr.decode(errors="replace"))

    def stop(self, signal: str = "TERM") -> Result:
        """End the command and all that it started, and take what it has printed."""
        self._signal(signal)
        return self.wait()

    def _signal(self, signal: str) -> None:
        self._session.channel().exec_command(f"kill -{signal} -- -{self._group}")


class Session:
    """One user's connection to one machine, opened when it is first needed."""

    def __init__(self, machine: Machine, place: Place, user: str = "root") -> None:
        self.machine = machine
        self._place = place
        self._user = user
        self._client: paramiko.SSHClient | None = None

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> Result:
        """Run a shell command to its end; an error if it fails, unless `check` is false."""
        result = self.start(command).wait(timeout)
        if check and result.status != 0:
            _fail(
                self.machine,
                f"status {result.status} from: {command}\n{result.stdout}{result.stderr}",
            )
        return result

    def start(self, command: str) -> Background:
        """Start a shell command and leave it running."""
        return Background(self, command)

    def channel(self) -> paramiko.Channel:
        """A new channel, on a new connection where the old one is gone."""
        if self._client is not None:
            transport = self._client.get_transport()
            if transport is not None and transport.is_active():
                return transport.open_session(timeout=ATTEMPT_SECONDS)
        self.connect()
        return self.channel()

    def connect(self) -> None:
        """Open a new connection."""
        self.close()
        deadline = time.monotonic() + CONNECT_SECONDS
        where = ("127.0.0.1", port(self._place, self.machine))
        while True:
            client = paramiko.SSHClient()
            client.load_host_keys(str(self._place.known_hosts))
            try:
                wire = socket.create_connection(where, ATTEMPT_SECONDS)
                # Without it every command waits 40 ms for a delayed acknowledgement.
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.connect(
                    *where,
                    self._user,
                    sock=wire,
                    key_filename=str(user_key()),
                    banner_timeout=BANNER_SECONDS,
                    auth_timeout=CONNECT_SECONDS,
                    allow_agent=False,
                    look_for_keys=False,
                )
            except (OSError, EOFError, paramiko.SSHException) as error:
                client.close()
                if time.monotonic() > deadline:
                    _fail(self.machine, f"no SSH connection for {CONNECT_SECONDS:.0f} s: {error}")
                time.sleep(RETRY_SECONDS)
                continue
            self._client = client
            return

    def close(self) -> None:
        """Drop the connection: after a snapshot is loaded, the machine knows nothing of it."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _fail(machine: Machine, text: str) -> NoReturn:
    raise LabError(f"{machine.name}: {text}")
