"""Pure: what a run is for, by which its hosts are read and planned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tasks.declared.model import Node
from tasks.host.state import HostState
from tasks.planning import undo
from tasks.planning.plan import Plan, plan


@dataclass(frozen=True)
class Aim:
    """How a run comes to what it does to a host.

    `plan` makes the plan for a host that is to carry a node, and `rest` tells what is left of one
    that has been applied, as the host is then; both raise ObstacleError. What `only_proves` changes
    nothing. Where it `remembers`, hosts tell what their last confirmed run changed.
    """

    plan: Callable[[Node, HostState], Plan]
    rest: Callable[[Plan, HostState], Plan]
    only_proves: bool = False
    remembers: bool = False


def _once_more(applied: Plan, state: HostState) -> Plan:
    return plan(applied.site.node, state)


CONVERGE = Aim(plan, _once_more)
PROVE = Aim(partial(plan, only_to_prove=True), _once_more, only_proves=True)
UNDO = Aim(undo.plan, undo.rest, remembers=True)
