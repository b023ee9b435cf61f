"""pyinfra: what happens before any host is connected to."""

import logging
import sys
from typing import Any

from pyinfra.api.state import State
from pyinfra.context import ctx_state

from tasks.declared.mistakes import DeclarationError
from tasks.running.survey import declared


def connecting() -> None:
    """Have the inventory checked as soon as it is loaded, and failed hosts fail alone.

    pyinfra has no hook between the inventory and the connections; a host that can't be reached
    would otherwise hide the mistakes, and be asked about where nobody can answer.
    """
    # It prints tracebacks of its own where a host doesn't answer; pyinfra says that in a line.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    state = ctx_state.get()
    load = state.init

    def init(*args: Any, **kwargs: Any) -> None:
        load(*args, **kwargs)
        if not sys.stdin.isatty():
            state.should_raise_failed_hosts = _never
        try:
            declared(state.inventory)
        except DeclarationError as error:
            print(error, file=sys.stderr)
            sys.exit(1)

    state.init = init


def _never(state: State) -> bool:
    del state
    return False
