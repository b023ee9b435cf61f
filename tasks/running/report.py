"""pyinfra: the table at the end of a run, however that ends."""

from collections import defaultdict
from weakref import WeakKeyDictionary

import click
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State, StateStage

from tasks.planning import outcomes
from tasks.planning.outcomes import Course, Word
from tasks.running import confirming, survey, terminal
from tasks.running.survey import Survey

_unreachable: WeakKeyDictionary[State, dict[str, str]] = WeakKeyDictionary()
_COLOURS = defaultdict(lambda: "red", {Word.DONE: "green", Word.NOTHING: "cyan"})
_COLOURS |= {Word.WOULD: "yellow", Word.LEFT: "yellow"}


class Listener(BaseStateCallback):
    """Of what pyinfra tells, why a host isn't connected to."""

    @staticmethod
    def host_connect_error(state: State, host: Host, error: ConnectError) -> None:
        _unreachable.setdefault(state, {})[host.name] = str(error)


def show(state: State) -> None:
    """What became of each host, where the run has come as far as to connect to any."""
    if not state.initialised or state.current_stage < StateStage.Connect:
        return
    found = survey.known(state)
    applies = state.current_stage >= StateStage.Execute and not (found and found.only_looks)
    only_proves = found is not None and found.aim.only_proves
    rows = {
        host.name: outcomes.outcome(_course(state, host, found), applies, only_proves)
        for host in state.inventory
        if state.is_host_in_limit(host)
    }
    logger.info("--> Hosts:")
    for line, (word, _) in zip(outcomes.table(rows), rows.values(), strict=True):
        logger.info(click.style(terminal.line(line), _COLOURS[word]))


def _course(state: State, host: Host, found: Survey | None) -> Course:
    if unreachable := _unreachable.get(state, {}).get(host.name):
        return Course(unreachable=unreachable)
    if found is None:
        return Course()
    name = host.name
    left = found.left.get(name, "")
    plan, after = found.plans.get(name), found.after.get(name)
    changes = plan.changes.summary if plan is not None and plan.changes else ""
    if not changes and found.changes(name):
        changes = "a run that was cut off there is undone first"
    is_declared = plan is not None and plan.site.node.is_declared
    return Course(
        refused=found.refusals.get(name, ()),
        failed=found.failures.get(name) or (() if left else tuple(confirming.said(host))),
        undone=found.undone.get(name, ""),
        unconfirmed=found.unconfirmed.get(name, ""),
        left=left,
        changes=None if plan is None else changes,
        is_applied=name in found.applied,
        is_changed=after is not None and not after.changes,
        is_proven=name in found.proven if is_declared else None,
    )
