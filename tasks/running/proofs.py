"""pyinfra: the proof of every host of a run, made at once: one end waits for what the other sends.

pyinfra itself takes so many hosts at a time as it is told, or as suit the workstation.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from gevent.lock import RLock
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_state

from tasks.planning import proof
from tasks.planning.proof import Check, Result
from tasks.running import facts
from tasks.running.survey import absent, on_each, survey


@dataclass(frozen=True)
class Proof:
    """What was to be proven on a host, and what its script printed, or why it printed nothing."""

    wanted: list[Check]
    output: str = ""
    error: str = ""


_proofs: WeakKeyDictionary[State, dict[str, Proof]] = WeakKeyDictionary()
_lock = RLock()


def results(host: Host) -> list[Result]:
    """What the checks on a host saw. The first caller has them made on all hosts; others wait.

    Raises PyinfraError where the host couldn't be asked.
    """
    state: State = ctx_state.get()
    with _lock:
        if state not in _proofs:
            _proofs[state] = _all_proofs(state)
    found = _proofs[state]
    own = found[host.name]
    if own.error:
        raise PyinfraError(own.error)
    lost = {name for name, each in found.items() if each.error}
    seen = proof.results(own.wanted, own.output)
    # Where nothing came of the other end's proof, it isn't this one that failed.
    return [result for result in seen if result.check.partner not in lost]


def _all_proofs(state: State) -> dict[str, Proof]:
    found: dict[str, Proof] = {}

    def prove(host: Host) -> None:
        site = survey().plans[host.name].site
        wanted = proof.checks(site, absent(site.node))
        try:
            found[host.name] = Proof(wanted, facts.run(host, proof.script(wanted)))
        except PyinfraError as error:
            found[host.name] = Proof(wanted, error=str(error))

    plans = survey().plans
    hosts = [
        host
        for host in state.inventory
        if host in state.active_hosts
        and host.name in plans
        and plans[host.name].site.node.is_declared
    ]
    on_each(hosts, prove, state, "proving")
    return found
