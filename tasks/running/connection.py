"""pyinfra: what it and paramiko leave undone on the connection to a host."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.local import local
from paramiko import (
    Channel,
    ChannelException,
    MissingHostKeyPolicy,
    ProxyCommand,
    SSHClient,
    SSHException,
    Transport,
    agent,
)
from paramiko.file import BufferedFile
from paramiko.packet import Packetizer
from pyinfra.api.host import Host
from pyinfra.connectors import ssh, util
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.sshuserclient import client

from tasks.running import terminal

# How often, and how long after each other, a session is asked for.
ATTEMPTS = 10
PAUSE = 0.1
# Bytes that are taken of what a host says.
_AT_A_TIME = 1 << 16


def transport_of(connector: BaseConnector) -> Transport | None:
    """Of a connector by SSH that has come so far."""
    client: SSHClient | None = getattr(connector, "client", None)
    return client.get_transport() if client is not None else None


def is_open(connector: BaseConnector) -> bool:
    """Whether nothing is known of a connection that broke."""
    transport = transport_of(connector)
    return transport is None or transport.is_active()


def prepare(host: Host) -> None:
    """Send commands at once, and ask again for a session that sshd doesn't give.

    Doing it twice does no harm.
    """
    transport = transport_of(host.connector)
    if transport is None:
        return
    if isinstance(transport.sock, socket.socket):
        # Nagle's algorithm costs every command a delayed ACK: 43 ms. Of a connection that is gone,
        # the command that follows tells.
        with suppress(OSError):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if "open_channel" not in vars(transport):
        vars(transport)["open_channel"] = _patient(transport.open_channel)


def _patient(open_channel: Callable[..., Channel]) -> Callable[..., Channel]:
    # A command is over when its status is there, and the next one's session may be asked for before
    # sshd has seen the end of the last: too many for `MaxSessions 1`.
    def opened(*arguments: Any, **keywords: Any) -> Channel:
        for _ in range(ATTEMPTS - 1):
            try:
                return open_channel(*arguments, **keywords)
            except ChannelException:
                time.sleep(PAUSE)
        return open_channel(*arguments, **keywords)

    return opened


def check_keys_as_ssh_does() -> None:
    """Have `StrictHostKeyChecking` of ~/.ssh/config hold, where a host's data says nothing.

    pyinfra has a default of its own, `accept-new`, that goes before it; here it comes after.
    """
    ssh.connector_data_meta["ssh_strict_host_key_checking"].default = None
    chosen: Callable[[str | None], MissingHostKeyPolicy] = client.get_missing_host_key_policy

    def policy(setting: str | None) -> MissingHostKeyPolicy:
        return chosen(setting or "accept-new")

    client.get_missing_host_key_policy = policy
    vars(client)["input"] = _ask_of_key


def _ask_of_key(question: str) -> str:
    try:
        return input(question)
    except (EOFError, RuntimeError) as error:
        raise SSHException(
            "its host key is unknown, ~/.ssh/config says to ask, and nobody answers here: connect "
            "to it once with `ssh`"
        ) from error


def compress() -> None:
    """Have scripts and answers go compressed, where sshd allows it and no host data say else."""
    ssh.connector_data_meta["ssh_paramiko_connect_kwargs"].default = {"compress": True}


def look_seldom() -> None:
    """Have each connection at which nothing comes looked at once a second, not ten times.

    paramiko looks whether it was closed, and with gevent that ends the waiting itself. Of 500 that
    is half a processor.
    """
    setattr(Transport, "_active_check_timeout", 1.0)  # noqa: B010


def resolve_at_once(names: int) -> None:
    """Have no name wait for so many others, which a server of DNS may be slow to answer.

    gevent asks for ten at a time, each in a thread that nothing ends before its answer.
    """
    hub = gevent.get_hub()
    hub.threadpool.maxsize = max(hub.threadpool.maxsize, names)
    # What is no name at all is told in a line, as what has no address is.
    hub.NOT_ERROR = (*hub.NOT_ERROR, UnicodeError)


def keep_agents_apart() -> None:
    """Have an `IdentityAgent` of ~/.ssh/config asked for the keys of its own hosts alone.

    pyinfra names it in the environment while it connects to one of them, and so to others: where
    that agent hangs, they would.
    """
    parse: Callable[..., tuple[Any, ...]] = client.SSHClient.parse_config
    connect: Callable[[], socket.socket | None] = agent.get_agent_connection
    own = local()

    def parse_config(self: client.SSHClient, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        # What jumps to the host has been connected to by then, with its own.
        *found, path = parse(self, *arguments, **keywords)
        own.path = path
        return (*found, None)

    def get_agent_connection() -> socket.socket | None:
        path = getattr(own, "path", None)
        if path is None:
            return connect()
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(path)
        except OSError:
            connected.close()
            return None
        return connected

    setattr(client.SSHClient, "parse_config", parse_config)  # noqa: B010
    vars(agent)["get_agent_connection"] = get_agent_connection


def pause_at_greetings() -> None:
    """Have others go on while a host greets, were it without an end, and without one of a line.

    What is there already is read without a pause, and in one no limit would end it.
    """
    read: Callable[[Packetizer, float], bytes] = vars(Packetizer)["_read_timeout"]

    def read_timeout(self: Packetizer, timeout: float) -> bytes:
        gevent.sleep(0)
        return read(self, timeout)

    setattr(Packetizer, "_read_timeout", read_timeout)  # noqa: B010


def end_proxies_once() -> None:
    """Have no traceback come of a `ProxyCommand` that has ended by itself."""
    close: Callable[[ProxyCommand], None] = ProxyCommand.close

    def ended(self: ProxyCommand) -> None:
        with suppress(ProcessLookupError):
            close(self)

    setattr(ProxyCommand, "close", ended)  # noqa: B010


def forget_hung_sessions() -> None:
    """Have no traceback come of a session that was given up.

    At the end of the program its buffers may be gone before the files that they are of.
    """
    close: Callable[[Any], None] = BufferedFile.__del__

    def forgotten(self: Any) -> None:
        with suppress(OSError, EOFError, ValueError):
            close(self)

    setattr(BufferedFile, "__del__", forgotten)  # noqa: B010


def read_any_bytes() -> None:
    """Have lines that are no UTF-8 read all the same, and what pyinfra shows of any be harmless.

    pyinfra would lose all that comes after such a line, and print a traceback.
    """
    read = util.read_buffer

    def read_buffer(
        name: str,
        io: Iterable[str | bytes],
        output_queue: Any,
        print_output: bool = False,
        print_func: Callable[[str], str] = str,
    ) -> None:
        def shown(line: str) -> str:
            return print_func(terminal.line(line))

        read(name, _decoded(io), output_queue, print_output, shown)

    util.read_buffer = read_buffer


def _decoded(io: Iterable[str | bytes]) -> Iterator[str]:
    for line in _lines(io) if isinstance(io, BufferedFile) else io:
        yield line.decode(errors="replace") if isinstance(line, bytes) else line


def _lines(file: Any) -> Iterator[bytes]:
    # What there is at a time: paramiko would decode it, in the strict way alone, and look for the
    # end of each line in Python, which of a host's answer takes as long as all that is made of it.
    rest = b""
    while part := file._read(_AT_A_TIME):
        *lines, rest = (rest + part).split(b"\n")
        yield from lines
    if rest:
        yield rest
