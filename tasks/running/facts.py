"""pyinfra: the state of a host, in one command."""

from typing import Any
from weakref import WeakKeyDictionary

from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import FactError
from pyinfra.api.host import Host

from tasks import parts
from tasks.declared.model import Node
from tasks.host import answer, failures
from tasks.host.changes import refusals
from tasks.host.state import HostState
from tasks.planning import confirming
from tasks.planning.confirming import Probes
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import Plan
from tasks.running import connection


def run(host: Host, script: str) -> str:
    """The output of a script that only reads, in one exec. Raises FactError where that failed.

    One of pyinfra's facts would keep what sudo says to itself.
    """
    connection.prepare(host)
    # As an argument the script would have to pass through the user's own shell, which may be csh,
    # and could not be longer than 128 KiB (MAX_ARG_STRLEN).
    succeeded, output = host.run_shell_command(
        StringCommand("sh", "-s"),
        print_output=host.state.print_fact_output,
        print_input=host.state.print_fact_input,
        **_connector_arguments(host),
        _stdin=script,
    )
    if not succeeded:
        raise FactError(failures.reason(output.stderr_lines))
    return "\n".join(output.stdout_lines)


def read(host: Host, node: Node, *, measures: bool = False, remembers: bool = False) -> HostState:
    """The state of a host that is to carry the node; where it `measures`, with what that tells.

    Where it `remembers`, also what the last confirmed run changed. Raises FactError and
    UnreadableStateError.
    """
    return answer.parse(run(host, parts.script(node, measures=measures, remembers=remembers)))


def rehearse(host: Host, found: Plan, probes: Probes) -> frozenset[str]:
    """Have the host's manager look at the files as they would be, in a folder of their own.

    What works on the host as it is, of what was tried. Raises ObstacleError where the manager can't
    read the files, and FactError.
    """
    said = run(host, confirming.looking(probes) + found.changes.rehearsal())
    if refused := refusals(confirming.said_beside(said)):
        raise ObstacleError(refused)
    return confirming.works(said)


# They take a millisecond to find.
_arguments: WeakKeyDictionary[Host, dict[str, Any]] = WeakKeyDictionary()


def _connector_arguments(host: Host) -> dict[str, Any]:
    if host not in _arguments:
        found, _ = pop_global_arguments(host.state, host, {})
        keys = {*CONNECTOR_ARGUMENT_KEYS} - {"_stdin"}
        _arguments[host] = {key: value for key, value in found.items() if key in keys}
    return _arguments[host]
