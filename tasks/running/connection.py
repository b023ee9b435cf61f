"""pyinfra: what paramiko leaves undone on the connection to a host."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paramiko import Channel, ChannelException
from pyinfra.api.host import Host

# How often, and how long after each other, a session is asked for.
ATTEMPTS = 10
PAUSE = 0.1


def prepare(host: Host) -> None:
    """Send commands at once, and ask again for a session that sshd doesn't give.

    Doing it twice does no harm.
    """
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if transport is None:
        return
    if isinstance(transport.sock, socket.socket):
        # Nagle's algorithm costs every command a delayed ACK: 43 ms. Of a connection that is gone,
        # the command that follows tells.
        with suppress(OSError):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if "open_channel" not in vars(transport):
        transport.open_channel = _patient(transport.open_channel)


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
