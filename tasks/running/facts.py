"""pyinfra: the state of a host, in one command."""

import socket
from contextlib import suppress

from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from typing_extensions import override

from tasks import parts
from tasks.declared.model import Node
from tasks.host import state as host_state
from tasks.host.changes import refusals
from tasks.host.state import HostState, UnreadableStateError
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import Plan


class ScriptOutput(FactBase[str]):
    """What a shell script prints that comes on standard input; None where it failed."""

    @override
    def command(self) -> str:
        # As an argument it would have to pass through the user's own shell, which may be csh, and
        # could not be longer than 128 KiB (MAX_ARG_STRLEN).
        return "sh -s"


def run(host: Host, script: str) -> str | None:
    """The output of a script that only reads, in one exec; None where that failed.

    pyinfra has then said why, and counts the host as failed.
    """
    _send_at_once(host)
    output: str | None = host.get_fact(ScriptOutput, _stdin=script)
    return output


def read(host: Host, node: Node) -> HostState:
    """The state of a host that is to carry the node. Raises UnreadableStateError."""
    output = run(host, parts.script(node))
    if output is None:
        raise UnreadableStateError("the command that reads the host failed")
    return host_state.parse(output)


def rehearse(host: Host, found: Plan) -> None:
    """Have the host's manager look at the files as they would be, in a folder of their own.

    Raises ObstacleError where it can't read them.
    """
    if found.changes.checks:
        output = run(host, found.changes.rehearsal())
        if output is None:
            raise UnreadableStateError("the command that tries the new files out failed")
        if refused := refusals(output):
            raise ObstacleError(refused)


def _send_at_once(host: Host) -> None:
    # paramiko leaves Nagle's algorithm on, which costs every command a delayed ACK: 43 ms.
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if transport is not None and isinstance(transport.sock, socket.socket):
        # Of a connection that is gone, the command that follows tells.
        with suppress(OSError):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
