"""pyinfra: the inventory and every host of a run, read and planned once before anything changes.

What becomes of a client hangs on its server, so the hosts are looked at together.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import click
import gevent
from gevent.lock import RLock
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_host, ctx_state

from tasks.declared.model import Broker, Node
from tasks.host.rollback import Guard
from tasks.host.state import HostState, UnreadableStateError
from tasks.planning import aims, confirming, machines
from tasks.planning.aims import Aim
from tasks.planning.confirming import Probes
from tasks.planning.fitting import fit
from tasks.planning.machines import Judgement
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import Plan
from tasks.planning.proof import SEVERAL
from tasks.running import facts, progress, terminal
from tasks.running.inventory import declared


@dataclass
class Survey:
    """What was found on the hosts of one run: a plan for each, or why there is none.

    `refusals`, `failures` and `orphans` fail their hosts; what `judgement` and `unread` say of
    others doesn't. `applied` are those that the run has begun to change, `after` has what would be
    left to do there, as it was read then, and `proven` are those that passed their proof.

    `probes` are what is tried on a host that changes, before and after, and `worked` what did
    before. Those `waiting` for a word that all is well were `heard` of at a time of the monotonic
    clock; in the end they are `confirmed`, `undone` or `unconfirmed`, these two with a reason.
    """

    broker: Broker
    aim: Aim = aims.CONVERGE
    # Whether it changes nothing, whatever pyinfra is told.
    only_looks: bool = False
    plans: dict[str, Plan] = field(default_factory=dict)
    applied: set[str] = field(default_factory=set)
    after: dict[str, Plan] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    refusals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    orphans: dict[str, str] = field(default_factory=dict)
    judgement: Judgement = field(default_factory=Judgement)
    unread: dict[str, str] = field(default_factory=dict)
    states: dict[str, HostState] = field(default_factory=dict)
    probes: dict[str, tuple[Probes, Probes]] = field(default_factory=dict)
    worked: dict[str, frozenset[str]] = field(default_factory=dict)
    waiting: dict[str, Guard] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    undone: dict[str, str] = field(default_factory=dict)
    unconfirmed: dict[str, str] = field(default_factory=dict)

    def changes(self, name: str) -> bool:
        """Whether anything is done on a host."""
        # Of one that was cut off, it is seen once that is taken back whether anything changes.
        plan = self.plans.get(name)
        return plan is not None and (bool(plan.changes) or self.states[name].is_cut_off)

    @property
    def left(self) -> Mapping[str, str]:
        """Why hosts are left alone, by name."""
        return {**self.judgement.unasked, **self.judgement.idle, **self.unread, **self.orphans}

    @property
    def stopped(self) -> Mapping[str, tuple[str, ...]]:
        """What is said of those that fail, by name."""
        orphans = {name: (sentence,) for name, sentence in self.orphans.items()}
        return {**orphans, **self.failures, **self.refusals}


_surveys: WeakKeyDictionary[State, Survey] = WeakKeyDictionary()
_lock = RLock()


def survey(wanted: Broker | None = None, aim: Aim = aims.CONVERGE) -> Survey:
    """The survey of this run. The first caller makes it, for all hosts at once; others wait.

    `wanted` is what the hosts are to carry; by default, what the inventory declares. Where the aim
    is only to prove, no manager looks at the files as they would be. Raises PyinfraError where no
    host is left.
    """
    state: State = ctx_state.get()
    with _lock:
        if state not in _surveys:
            found = Survey(wanted or declared(state.inventory), aim)
            _surveys[state] = found
            found.states = _look_at_all(found, state)
            _plan_all(found, found.states)
            if not aim.only_proves:
                _rehearse_all(found, state)
            _leave_orphans(found, state)
            _report(found, state)
    return _surveys[state]


def known(state: State) -> Survey | None:
    """The survey of a run, as far as it has come."""
    return _surveys.get(state)


def _look_at_all(found: Survey, state: State) -> dict[str, HostState]:
    """The state of each host that can be read, also of those for which nothing is declared.

    Where a run may change something, they send packets to each other, too, all at the same time.
    """
    states: dict[str, HostState] = {}
    measures, remembers = not found.aim.only_proves, found.aim.remembers

    def look(host: Host) -> None:
        node = found.broker.nodes[host.name]
        try:
            states[host.name] = facts.read(host, node, measures=measures, remembers=remembers)
        except (UnreadableStateError, PyinfraError) as error:
            if node.is_told:
                found.failures[host.name] = (str(error),)
            else:
                found.unread[host.name] = (
                    f"nothing is declared for it, and it can't be read: {error}"
                )
                say(host, found.unread[host.name])

    on_each(state.inventory.get_active_hosts(), look, state, "reading")
    # In the order of the inventory, not of the answers.
    return {host.name: states[host.name] for host in state.inventory if host.name in states}


def _plan_all(found: Survey, states: Mapping[str, HostState]) -> None:
    found.judgement = judged = machines.judge(found.broker.nodes, states)
    found.refusals.update({name: (sentence,) for name, sentence in judged.mistaken.items()})
    fitting = fit(found.broker.nodes, states, only_to_prove=found.aim.only_proves)
    for name in states.keys() - judged.mistaken.keys() - judged.unasked.keys() - judged.idle.keys():
        if states[name].holder and not found.aim.only_proves:
            found.refusals[name] = (states[name].holder,)
            continue
        try:
            planned = found.aim.plan(fitting.nodes[name], states[name])
            obstacles: tuple[str, ...] = ()
        except ObstacleError as error:
            obstacles = error.sentences
        except UnreadableStateError as error:
            # A manager's own answer is read by who knows that manager.
            obstacles = (str(error),)
        if refused := (*obstacles, *fitting.refusals.get(name, ())):
            found.refusals[name] = refused
        else:
            said = (*fitting.remarks.get(name, ()), *planned.warnings)
            found.plans[name] = replace(planned, warnings=said)


def _rehearse_all(found: Survey, state: State) -> None:
    nodes = declared(state.inventory).nodes

    def rehearse(host: Host) -> None:
        name = host.name
        node, host_state = nodes[name], found.states[name]
        after = confirming.after(node, host_state, found.plans[name].tunnels)
        found.probes[name] = confirming.before(node, host_state), after
        try:
            found.worked[name] = facts.rehearse(host, found.plans[name], found.probes[name][0])
        except ObstacleError as error:
            found.refusals[host.name] = error.sentences
        except PyinfraError as error:
            found.failures[host.name] = (str(error),)

    hosts = [host for host in state.inventory if found.changes(host.name)]
    on_each(hosts, rehearse, state, "trying what would change")


def on_each(hosts: Collection[Host], act: Callable[[Host], None], state: State, doing: str) -> None:
    """At the same time on all; a terminal shows how far that is."""

    def in_context(host: Host) -> None:
        with ctx_config.use(state.config.copy()), ctx_host.use(host):
            act(host)
        done(host.name)

    with progress.of([host.name for host in hosts], doing) as done:
        acting = [gevent.spawn(in_context, host) for host in hosts]
        try:
            gevent.joinall(acting, raise_error=True)
        finally:
            # Where the run is ended meanwhile, nobody acts on after it.
            gevent.killall(acting)


def _leave_orphans(found: Survey, state: State) -> None:
    """Refuse the clients of hosts that failed: a default route into nothing is worse than none."""
    lost = {host.name for host in state.failed_hosts} | set(found.stopped)
    while True:
        orphans = {
            name: end.peer_host
            for name in found.plans
            for end in found.broker.nodes[name].upstreams
            if name not in lost and end.peer_host in lost
        }
        if not orphans:
            return
        for name, server in orphans.items():
            found.orphans[name] = orphaned_by(server)
        lost |= set(orphans)


def orphaned_by(server: str) -> str:
    return f"left alone, because its tunnel server {server} failed"


def _report(found: Survey, state: State) -> None:
    stopped = found.stopped
    for host in state.inventory:
        if host.name in found.states and (report := found.states[host.name].report):
            say(host, report, "red")
        if host.name in found.states and found.states[host.name].is_cut_off:
            say(host, "a run was cut off there, and is undone before anything else is done", "red")
    for host in state.inventory:
        if host.name in stopped:
            say_all(host, stopped[host.name], "red")
        elif host.name in found.judgement.unasked:
            say(host, found.judgement.unasked[host.name], color="yellow")
        elif host.name in found.judgement.idle:
            say(host, found.judgement.idle[host.name])
        elif host.name in found.plans:
            _report_plan(host, found.plans[host.name], with_diff=state.config.DIFF)
    for name in stopped:
        found.plans.pop(name, None)
    failed = {host for host in state.inventory if host.name in stopped}
    # May raise PyinfraError, with all that was to be said printed above.
    state.fail_hosts(failed & state.active_hosts)


def _report_plan(host: Host, found: Plan, *, with_diff: bool) -> None:
    say_all(host, found.warnings, "yellow")
    if not found.changes:
        say(host, f"nothing to change ({found.grounds})", color="cyan")
        return
    if found.changes.to_nothing:
        say(host, "CULVERT IS TAKEN OFF THIS HOST, with every tunnel of it", color="red")
    say(host, f"to change: {found.changes.summary} ({found.grounds})", color="yellow")
    if not found.site.node.limits.confirm:
        say(host, "nothing is undone by itself: `confirm_within` is 0", "yellow")
    if with_diff:
        progress.clear()
        # Standard output is pyinfra's alone where it prints JSON there.
        click.echo(terminal.lines(found.changes.diff()), err="--json" in sys.argv)


def say_absent(host: Host, node: Node) -> None:
    """Tell of the hosts at the other ends of a node's tunnels that are not in this run."""
    found = absent(node)
    # What pyinfra's own -v sets.
    if len(found) > SEVERAL and not host.state.print_noop_info:
        say(host, f"{len(found):,} other ends are not in this run, and left alone (-v lists them)")
        return
    for peer, interface in found.items():
        say(host, f"{peer}, the other end of {interface}, is not in this run, and is left alone")


def absent(node: Node) -> dict[str, str]:
    """The hosts at the other ends of a node's tunnels that are not in this run, each with one."""
    return {end.peer_host: end.interface for end in node.ends if not is_active(end.peer_host)}


def is_active(name: str) -> bool:
    """Whether a host is in this run, and hasn't failed."""
    state: State = ctx_state.get()
    return state.inventory.get_host(name) in state.active_hosts


def say(host: Host, text: str, color: str | None = None) -> None:
    """One line about a host, where pyinfra's own lines go."""
    say_all(host, [text], color)


def say_all(host: Host, lines: Iterable[str], color: str | None = None) -> None:
    """Lines about a host, written at once."""
    prefix = host.print_prefix
    if said := [f"{prefix}{click.style(terminal.line(text), color)}" for text in lines]:
        # As pyinfra begins each of its own.
        logger.info("\n    ".join(said))
