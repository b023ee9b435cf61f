"""pyinfra: what happens before any host is connected to."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from traceback import walk_stack
from types import FrameType
from typing import Any

import click
import gevent
from paramiko import Transport
from pyinfra import logger
from pyinfra.api import arguments, connectors, inventory, util
from pyinfra.api.exceptions import ConnectorDataTypeError, DeployError
from pyinfra.api.state import State
from pyinfra.context import ctx_inventory, ctx_state

from tasks.declared import numbering
from tasks.running import confirming, connection, deadlines, progress, report, terminal, turns
from tasks.running.asked import ADDRESSES, refusals
from tasks.running.inventory import Names, declared, mistyped, repeated

# What ends a run from outside, what is said of it there, and why hosts go back then.
_SIGNALS = {
    signal.SIGINT: ("interrupted", "the run was interrupted"),
    signal.SIGTERM: ("ended by SIGTERM", "the run was ended by SIGTERM"),
    signal.SIGHUP: ("ended by SIGHUP", "the run was ended by SIGHUP: its terminal is gone"),
}
_received: list[int] = []


def addresses() -> None:
    """Print the plan of addresses, for which no host is needed."""
    click.echo(terminal.lines(numbering.table(declared(ctx_inventory.get()))))


def connecting() -> None:
    """Have the inventory checked as soon as it is loaded, and failed hosts fail alone.

    pyinfra has no hook between the inventory and the connections; a host that can't be reached
    would otherwise hide the mistakes, and be asked about where nobody can answer.
    """
    # With this module, pyinfra's command line replaces Python's threads: not where tests import it.
    from pyinfra_cli import cli  # type: ignore[import-untyped]

    asked = click.get_current_context().params
    for sentence in refusals(asked):
        sys.exit(sentence)
    # It prints tracebacks of its own where a host doesn't answer; pyinfra says that in a line.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    terminal.plain_where_dumb()
    terminal.guard(logger)
    progress.show()
    _spare_work()
    connection.check_keys_as_ssh_does()
    connection.compress()
    connection.read_any_bytes()
    connection.end_proxies_once()
    connection.forget_hung_sessions()
    connection.look_seldom()
    connection.pause_at_greetings()
    connection.keep_agents_apart()
    cli.input = answered(
        _confirmed,
        "nobody answers here: add `-y` to go on without a question, or `--dry` to look only",
    )
    cli.getpass = answered(
        cli.getpass,
        "nobody answers here: give the password in the hosts' data, as `_sudo_password` or "
        "`ssh_password`",
    )
    state = ctx_state.get()
    # pyinfra's own way to end has status 0.
    for number in _SIGNALS:
        # nohup(1) has a run outlast its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupted)
    # Whichever way a run ends, it disconnects.
    cli.disconnect_all = _ending(cli.disconnect_all)
    _find_repeats()
    load = state.init

    def init(hosts: inventory.Inventory, *args: Any, **kwargs: Any) -> None:
        try:
            load(hosts, *args, **kwargs)
        except ConnectorDataTypeError:
            sys.exit(terminal.lines("\n".join(mistyped(hosts))))
        # A question would stop all of this program, and hosts that wait for a word would go back.
        state.should_raise_failed_hosts = _never
        try:
            broker = declared(state.inventory)
        except DeployError as error:
            sys.exit(str(error))
        if asked["operations"][0] in ADDRESSES:
            addresses()
            sys.exit()
        if state.limit_hosts == []:
            sys.exit("no host of the inventory is left by `--limit` and `--exclude`")
        state.add_callback_handler(report.Listener())
        connection.resolve_at_once(len(state.inventory))
        for host in state.inventory:
            deadlines.hold(host, broker.nodes[host.name].limits)

    state.init = init


def _find_repeats() -> None:
    """Have an inventory refused where a host's tunnel would vanish without a word."""
    make = inventory.Inventory.make_hosts_and_groups

    def checked(self: inventory.Inventory, names: Names, groups: Any) -> None:
        if found := [*repeated(names, groups)]:
            sys.exit(terminal.lines("\n".join(found)))
        make(self, names, groups)

    setattr(inventory.Inventory, "make_hosts_and_groups", checked)  # noqa: B010


def _spare_work() -> None:
    """Have pyinfra do once what it does for each operation of each host, or not at all.

    It finds the place of an operation by line numbers, and would read those lines as well; it works
    out the types of all arguments; it looks for every connector that is installed. That were three
    quarters of what it does for a host.
    """
    vars(util).update(stack=_frames, getframeinfo=_Place)
    vars(arguments)["all_global_arguments"] = cache(arguments.all_global_arguments)
    found = cache(connectors.get_all_connectors)
    for module in (connectors, inventory):
        vars(module)["get_all_connectors"] = found


class _Place:
    """Of a frame, what inspect.getframeinfo() tells without looking at its file."""

    def __init__(self, frame: FrameType) -> None:
        self.filename, self.lineno = frame.f_code.co_filename, frame.f_lineno


def _frames() -> list[tuple[FrameType, int]]:
    """The frames that inspect.stack() tells of, from the innermost."""
    return list(walk_stack(sys._getframe(1)))


def answered(ask: Callable[..., str], unanswered: str) -> Callable[..., str]:
    """A way to ask that ends the run with this sentence where standard input has ended."""

    def answer(*arguments: Any) -> str:
        try:
            return ask(*arguments)
        except (EOFError, RuntimeError):
            # The latter where it is closed.
            sys.exit(unanswered)

    return answer


def _confirmed() -> str:
    # Else pyinfra ends with status 0, as if all were as declared.
    if input():
        sys.exit("not confirmed: the run ends here")
    return ""


def _interrupted(number: int, frame: FrameType | None) -> None:
    del frame
    _received.append(number)
    with suppress(OSError):
        # Of a terminal that is gone.
        click.echo(_SIGNALS[signal.Signals(number)][0], err=True)
    # As shells have it.
    ending = SystemExit(128 + number)
    if not isinstance(threading.current_thread(), Transport):
        raise ending
    # There it would be lost, as in any thread.
    hub = gevent.get_hub()
    assert hub.parent is not None
    hub.loop.run_callback_threadsafe(hub.parent.throw, ending)


def _ending(disconnect_all: Callable[[State], None]) -> Callable[[State], None]:
    """A way to disconnect that tells what became of the hosts, and waits for none of them."""

    def end(state: State) -> None:
        is_cut_short = len(state.pool) > 0
        turns.stop(state)
        progress.stop()
        # Settling and disconnecting take places in the same pool.
        state.pool.kill()
        try:
            if _received:
                confirming.settle(state, _SIGNALS[signal.Signals(_received[0])][1])
            else:
                confirming.settle(state)
        finally:
            # Also where it is interrupted again.
            report.show(state)
            disconnect_all(state)
            if is_cut_short or _received:
                # What still reads at the end of the program has a traceback there.
                gevent.joinall(
                    [gevent.spawn(deadlines.close, h.connector) for h in state.inventory]
                )
                gevent.idle()

    return end


def _never(state: State) -> bool:
    del state
    return False
