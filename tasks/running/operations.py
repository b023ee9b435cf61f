"""pyinfra: the operations of a run. Each decides nothing: the survey has."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State, StateStage
from pyinfra.context import host, state

from tasks.host import failures, rollback
from tasks.host.state import UnreadableStateError
from tasks.planning import confirming as judging
from tasks.planning import proof
from tasks.planning.obstacles import ObstacleError
from tasks.running import confirming, facts, proofs, turns
from tasks.running.survey import orphaned_by, say_absent, say_all, survey

Commands = Generator[PyinfraCommand, None, None]

OWN: dict[str, Any] = {
    "_serial": False,
    "_run_once": False,
    "_ignore_errors": False,
    "_continue_on_error": False,
    "_retries": 0,
}
"""What a run decides itself, whatever a host's data say: who waits for whom, and what fails."""


def change(name: str, after: Sequence[str]) -> None:
    """Have a host changed that isn't as planned, and `after` these hosts, and have it confirmed."""
    if survey().changes(host.name):
        # All at once: of so many by turns, each turn would wait for the host in it that hangs.
        converge(after=after, name=name, _parallel=0, **OWN)
        confirm(name="Confirm what was changed", _parallel=0, **OWN)


@operation()
def converge(after: Sequence[str]) -> Commands:
    """Make a host what its plan says, when it is its turn, and see that nothing is left to do."""
    if state.current_stage == StateStage.Execute:
        turns.take(host, after)
    yield from _converge()


def _converge() -> Commands:
    found = survey().plans[host.name]
    node = found.site.node
    if survey().states[host.name].is_cut_off and state.current_stage == StateStage.Execute:
        yield StringCommand("sh", "-s", _stdin=rollback.clearing(confirming.guard(host)))
        try:
            survey().states[host.name] = facts.read(host, node)
            found = survey().plans[host.name] = survey().aim.plan(node, survey().states[host.name])
            # Tunnels that answered were that run's; the routes out of the host are its own.
            worked = survey().worked.get(host.name, frozenset())
            survey().worked[host.name] = judging.without_tunnels(worked)
        except ObstacleError as error:
            yield _failure(error.sentences)
        except (UnreadableStateError, PyinfraError) as error:
            yield _failure([str(error)])
    if not found.changes:
        host.noop("the host is as declared")
        return
    if lost := next((name for name in node.server_hosts if name in turns.failed(state)), None):
        yield FunctionCommand(_leave, (orphaned_by(lost),), {})
        return
    guard = confirming.guard(host)
    if state.current_stage == StateStage.Execute:
        survey().applied.add(host.name)
        if guard.within:
            survey().waiting[host.name] = guard
    yield StringCommand("sh", "-s", _stdin=found.changes.script(guard))
    confirming.wait(host)
    try:
        state_after = facts.read(host, node)
        say_all(host, (f"warning: {line}" for line in state_after.warnings), "yellow")
        if state_after.stamp != guard.run:
            yield _failure(["it had gone back by itself before it was looked at again"])
            return
        after = survey().aim.rest(found, state_after)
    except ObstacleError as error:
        yield _failure(error.sentences)
    except (UnreadableStateError, PyinfraError) as error:
        yield _failure([str(error)])
    else:
        survey().after[host.name] = after
        if after.changes:
            yield _failure(
                [
                    "all was applied, and this is not as it should be:",
                    *after.changes.diff().split("\n"),
                ]
            )


@operation()
def confirm() -> Commands:
    """Have the change of a host stay where all that worked before still does, else go back."""
    if state.current_stage != StateStage.Execute or host.name not in survey().applied:
        return
    confirming.judge()
    found = survey()
    if host.name in found.confirmed:
        say_all(host, [confirming.seen(found, host.name)], "green")
    elif sentence := confirming.became(found, host.name):
        yield _failure([sentence])


@operation()
def verify() -> Commands:
    """Prove that packets flow through every tunnel of a host."""
    if state.current_stage != StateStage.Execute:
        return
    found = survey()
    # What a firewall lets pass, and what a boot would take away, may be another since the change.
    planned = found.after.get(host.name, found.plans[host.name])
    site = planned.site
    if not site.node.is_declared:
        return
    say_absent(host, site.node)
    try:
        results = proofs.results(host)
    except PyinfraError as error:
        yield _failure([f"nothing is known of the tunnels: {failures.cause(str(error))}"])
        return
    # What pyinfra's own -v sets.
    say_all(host, proof.verified(site, results, in_full=state.print_noop_info), "green")
    unmet = [result.sentence for result in results if not result.is_met]
    if unmet:
        unmet += proof.explanations(site, results)
    lost = planned.lost_at_boot
    if found.states[host.name].is_cut_off:
        lost = (*lost, "a run was cut off here, and a boot undoes it; so does the next deploy.py")
    unmet += [*planned.dropped, *proof.losses(lost)]
    if unmet:
        yield _failure(unmet)
    else:
        found.proven.add(host.name)


def _failure(sentences: Iterable[str]) -> FunctionCommand:
    # An exception here would end the run for all hosts.
    return FunctionCommand(_fail, (tuple(sentences),), {})


def _fail(state: State, host: Host, sentences: tuple[str, ...]) -> bool:
    del state
    survey().failures[host.name] = sentences
    say_all(host, sentences, "red")
    return False


def _leave(state: State, host: Host, why: str) -> bool:
    del state
    survey().orphans[host.name] = why
    say_all(host, survey().stopped[host.name], "red")
    return False
