"""pyinfra: no host keeps a run waiting for ever.

pyinfra bounds the wait for a TCP connection, and paramiko some of what follows; neither bounds a
login with many keys, the opening of a session, or the status of a command.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import gevent
from paramiko import ChannelException, ProxyCommand, SSHException
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from tasks.declared.model import Limits
from tasks.host import failures
from tasks.running import connection

# Paramiko's own limits only follow: it goes on to the next key after one of them, and says less.
_LATER = 10


_hung: WeakSet[Host] = WeakSet()

# Seconds between questions to who is at work, whether anybody is there.
_ASKED_EVERY = 5


class _SilentError(Exception):
    """A connection by which nothing comes any more, whatever is at work there."""


class UnansweredError(TimeoutError):
    """A connection that came to nothing, with the sentence about it."""


def hold(host: Host, limits: Limits) -> None:
    """Have whatever is asked of a host end within its limits, and fail that host alone."""
    hold_connector(host.connector, limits)


def hold_connector(connector: BaseConnector, limits: Limits) -> None:
    """The same, of what is asked by one of its connections."""
    if isinstance(connector, SSHConnector):
        later = limits.connect + _LATER
        timeouts = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), later)
        own = connector.data["ssh_paramiko_connect_kwargs"] or {}
        connector.data["ssh_paramiko_connect_kwargs"] = {**timeouts, **own}
        # One attempt: pyinfra may make several (`ssh_connect_retries`).
        vars(connector)["_connect"] = _attempt(connector, connector._connect, limits.connect)
    vars(connector)["connect"] = _connect(connector.connect)
    run = _run(connector, connector.run_shell_command, limits)
    vars(connector)["run_shell_command"] = run


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError here when as many seconds have passed.

    A question to a person stops this whole program; not gevent.Timeout, by which every host would
    be too late afterwards, but a tick a second: of such a pause it counts one.
    """
    expired, waiting, left = gevent.Timeout(), gevent.getcurrent(), iter(range(seconds - 1))
    timer = gevent.get_hub().loop.timer(1, 1)

    def tick() -> None:
        if next(left, None) is None:
            timer.stop()
            waiting.throw(expired)
        else:
            # From now on, else it catches up on what was missed.
            timer.again(tick)

    timer.start(tick)
    try:
        yield
    except gevent.Timeout as error:
        if error is not expired:
            raise
        raise TimeoutError from None
    finally:
        timer.close()


def _attempt(
    connector: SSHConnector, attempt: Callable[[], None], seconds: int
) -> Callable[[], None]:
    def limited() -> None:
        try:
            with within(seconds):
                attempt()
        except TimeoutError as error:
            if error.errno is not None:
                # The kernel's.
                raise
            sentence = failures.unconnected(_phase(connector), seconds)
            close(connector)
            raise UnansweredError(sentence) from None
        except (OSError, EOFError, SSHException) as error:
            if not _is_ended(error):
                raise
            raise UnansweredError(failures.ENDED) from error

    return limited


def _is_ended(error: Exception) -> bool:
    """Whether that is of a peer which ended the connection.

    By when it did so, it is the kernel's error, the end of what is read, or either within
    paramiko's, which may say nothing at all.
    """
    if isinstance(error, SSHException):
        inner = error.__context__
        return not str(error) or (isinstance(inner, Exception) and _is_ended(inner))
    return isinstance(error, EOFError | ConnectionResetError | BrokenPipeError)


def _phase(connector: BaseConnector) -> failures.Phase:
    transport = connection.transport_of(connector)
    if transport is None:
        return failures.Phase.TCP
    if not transport.remote_version:
        is_proxied = isinstance(transport.sock, ProxyCommand)
        return failures.Phase.PROXY if is_proxied else failures.Phase.BANNER
    if not transport.initial_kex_done:
        return failures.Phase.KEYS
    # It begins with the first key that there is.
    return failures.Phase.LOGIN if transport.auth_handler else failures.Phase.AGENT


def _connect(connect: Callable[[], None]) -> Callable[[], None]:
    # Anything but a ConnectError would end the run for all hosts: a key that isn't there, or what
    # paramiko makes of a peer that doesn't speak SSH.
    def alone() -> None:
        try:
            connect()
        except ConnectError as error:
            if isinstance(error.__context__, UnansweredError):
                raise ConnectError(str(error.__context__)) from error
            raise
        except PyinfraError as error:
            raise ConnectError(str(error)) from error
        except Exception as error:
            raise ConnectError(f"Could not connect ({type(error).__name__}: {error})") from error

    return alone


Answer = tuple[bool, CommandOutput]


def _run(
    connector: BaseConnector, run: Callable[..., Answer], limits: Limits
) -> Callable[..., Answer]:
    # What ends a command before its time is what it said last, as if by ssh(1): that is shown where
    # pyinfra shows it, and anything raised here might end the run for all hosts.
    def limited(*arguments: Any, **keywords: Any) -> Answer:
        said: list[OutputLine] = []
        try:
            with within(limits.command), _listening(connector, limits.connect):
                succeeded, output = run(*arguments, **keywords)
            if succeeded or connection.is_open(connector):
                return succeeded, output
            said, why = output.combined_lines, failures.BROKEN
        except TimeoutError as error:
            # Without a number it isn't the kernel's, but this one or pyinfra's `_timeout`.
            if error.errno is None:
                why = failures.no_end(
                    min(limits.command, keywords.get("_timeout") or limits.command)
                )
            else:
                why = failures.broken(error)
        except _SilentError:
            why = failures.silent(limits.connect)
        except EOFError:
            # From pyinfra's own question, or paramiko's.
            why = failures.UNANSWERED if connection.is_open(connector) else failures.BROKEN
        except ChannelException:
            why = failures.NO_SESSION
        except (OSError, SSHException) as error:
            why = failures.broken(error)
        except PyinfraError as error:
            why = str(error)
        if why.startswith(failures.NO_END):
            # The next command would wait as long.
            close(connector)
        if failures.is_hung(why):
            _hung.add(connector.host)
        return False, CommandOutput([*said, OutputLine("stderr", why)])

    return limited


@contextmanager
def _listening(connector: BaseConnector, seconds: int) -> Iterator[None]:
    """Raise _SilentError where a connection is dead, however long a command may take.

    Whoever is at the other end answers what it doesn't know, too (RFC 4254, 4).
    """
    if (transport := connection.transport_of(connector)) is None:
        yield
        return

    def ask() -> bool:
        while transport.is_active():
            gevent.sleep(_ASKED_EVERY)
            try:
                with within(seconds):
                    transport.global_request("keepalive@openssh.com", wait=True)
            except TimeoutError:
                # By which whoever waits for the command ends.
                close(connector)
                return True
        return False

    asking = gevent.spawn(ask)
    try:
        yield
    finally:
        if asking.value:
            raise _SilentError
        asking.kill(block=False)


def was_hung(host: Host) -> bool:
    """Whether something that was asked of a host came to no end."""
    return host in _hung


def close(connector: BaseConnector) -> None:
    """Have nobody wait any more for what comes by a connection."""
    if (transport := connection.transport_of(connector)) is not None:
        with suppress(OSError, EOFError):
            transport.close()
