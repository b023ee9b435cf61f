"""pyinfra: what happens before any host is connected to."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import click
from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_inventory, ctx_state

from tasks.declared import declaration, numbering
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Broker
from tasks.parts import managers
from tasks.running import connection, deadlines, terminal
from tasks.running.asked import ADDRESSES, refusals


def declared(inventory: Inventory) -> Broker:
    """The tunnels that an inventory declares. Raises DeployError with every mistake."""
    try:
        return declaration.read(
            {host.name: host.data.dict() for host in inventory}, managers=managers.NAMES
        )
    except DeclarationError as error:
        raise DeployError(terminal.lines(str(error))) from error


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
    terminal.guard(logger)
    connection.check_keys_as_ssh_does()
    connection.read_any_bytes()
    cli.input = answered(
        input, "nobody answers here: add `-y` to go on without a question, or `--dry` to look only"
    )
    cli.getpass = answered(
        cli.getpass,
        "nobody answers here: give the password in the hosts' data, as `_sudo_password` or "
        "`ssh_password`",
    )
    state = ctx_state.get()
    load = state.init

    def init(*args: Any, **kwargs: Any) -> None:
        load(*args, **kwargs)
        if not sys.stdin or not sys.stdin.isatty():
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
        for host in state.inventory:
            deadlines.hold(host, broker.nodes[host.name].limits)

    state.init = init


def answered(ask: Callable[..., str], unanswered: str) -> Callable[..., str]:
    """A way to ask that ends the run with this sentence where standard input has ended."""

    def answer(*arguments: Any) -> str:
        try:
            return ask(*arguments)
        except (EOFError, RuntimeError):
            # The latter where it is closed.
            sys.exit(unanswered)

    return answer


def _never(state: State) -> bool:
    del state
    return False
