"""pyinfra: hosts that were changed and wait for a word that all is well, and what they are told.

That is done for all hosts of a run at once, at its end: while one end of a tunnel is changed and
the other isn't, it is down by design. Until then they are told that the run is still there.
"""

import getpass
import os
import socket
import time
from collections.abc import Iterable
from uuid import uuid4
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from gevent.lock import RLock
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_state

from tasks.host import failures, rollback
from tasks.host.rollback import Guard
from tasks.planning import confirming
from tasks.planning.confirming import Probes, Verdict
from tasks.running import deadlines, facts
from tasks.running.survey import Survey, known, on_each, say, survey

# How often within the time that a host waits, it is told to wait on.
_OFTEN = 3
# In which it does what it is told, or is left to itself; then where it came to no end before.
_SECONDS, _SECONDS_AGAIN = 35, 8
_NONE = Probes((), ())
_ENDS = "the run ended before it was confirmed"
_judged: WeakKeyDictionary[State, bool] = WeakKeyDictionary()
_lock = RLock()
_keepers: WeakKeyDictionary[State, "gevent.Greenlet[..., None]"] = WeakKeyDictionary()


def guard(host: Host) -> Guard:
    """How a host is to be guarded while it is changed."""
    found = survey()
    limits = found.broker.nodes[host.name].limits
    return Guard(
        by=f"{_user()}@{socket.gethostname()}",
        within=limits.confirm,
        limit=limits.command,
        run=str(uuid4()),
        stamp=found.states[host.name].stamp,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # As in a container, where nobody has that number.
        return str(os.getuid())


def wait(host: Host) -> None:
    """Have a host that has been changed wait for as long as this run lasts."""
    found, state = survey(), ctx_state.get()
    if host.name in found.waiting:
        found.heard[host.name] = time.monotonic()
        if state not in _keepers:
            _keepers[state] = gevent.spawn(_keep_waiting, found, state)


def _keep_waiting(found: Survey, state: State) -> None:
    while True:
        gevent.sleep(1)
        for name, heard in [*found.heard.items()]:
            guard = found.waiting.get(name)
            if guard is not None and time.monotonic() - heard > guard.within / _OFTEN:
                found.heard[name] = time.monotonic()
                gevent.spawn(_tell, state.inventory.get_host(name), rollback.extending(guard))


def _tell(host: Host, script: str, *, renews: bool = False) -> str:
    """The answer of a host, by the connection there is, or by a new one where it `renews`."""
    # If this comes to nothing, it goes back by itself.
    try:
        with deadlines.within(_patience(host)):
            answer = _answer(host, script)
            if not answer and renews:
                _renew(host)
                answer = _answer(host, script)
            return answer
    except TimeoutError:
        deadlines.close(host.connector)
    except ConnectError:
        pass
    return ""


def _patience(host: Host) -> int:
    least = _SECONDS_AGAIN if deadlines.was_hung(host) else _SECONDS
    # Of a host that may be slow.
    return max(least, survey().broker.nodes[host.name].limits.command // 6)


def _answer(host: Host, script: str) -> str:
    try:
        return facts.run(host, script)
    except PyinfraError:
        return ""


def judge() -> None:
    """Have every host that waits judged. The first caller does it; others wait."""
    state: State = ctx_state.get()
    with _lock:
        if state not in _judged:
            _judged[state] = True
            _judge_all(survey(), state)


def _judge_all(found: Survey, state: State) -> None:
    active = {host.name for host in state.active_hosts}
    waiting = [host for host in state.inventory if host.name in found.waiting]
    judged = {host.name: Event() for host in waiting}

    def judge(host: Host) -> None:
        # What becomes of a client hangs on its servers.
        for name in judged.keys() & {*found.broker.nodes[host.name].server_hosts}:
            judged[name].wait()
        _judge(found, host, is_active=host.name in active)
        judged[host.name].set()

    on_each(waiting, judge, state, "confirming")
    for host in waiting:
        # Nothing else is done any more with those that failed.
        if host.name not in active and (sentence := became(found, host.name)):
            say(host, sentence, "red")


def became(found: Survey, name: str) -> str:
    """The sentence about a host that wasn't confirmed."""
    if why := found.undone.get(name):
        return f"undone: {why}"
    if why := found.unconfirmed.get(name):
        return f"not confirmed, so the host goes back by itself: {why}"
    return ""


def seen(found: Survey, name: str) -> str:
    """The sentence about a host that was."""
    _, probes = found.probes.get(name, (_NONE, _NONE))
    return confirming.confirmed(found.worked.get(name, ()), probes)


def _judge(found: Survey, host: Host, *, is_active: bool) -> None:
    name, guard = host.name, found.waiting[host.name]
    if _is_over(host):
        found.waiting.pop(name)
        return
    found.heard.pop(name, None)
    if not is_active:
        _recall(found, host, _failure(found, host) or _ENDS)
        return
    for server in found.broker.nodes[name].server_hosts:
        if server in {**found.undone, **found.unconfirmed}:
            became = "was undone" if server in found.undone else "goes back, too"
            _recall(found, host, f"its tunnel server {server} {became}")
            return
    try:
        _renew(host)
    except ConnectError as error:
        _recall(found, host, f"no new SSH connection to it: {error}", connects=False)
        return
    _, probes = found.probes.get(name, (_NONE, _NONE))
    worked = found.worked.get(name, ())
    script = confirming.script(guard, probes, worked)
    try:
        verdict = confirming.verdict(facts.run(host, script))
    except PyinfraError as error:
        _recall(found, host, f"no answer whether all still works: {failures.cause(str(error))}")
    else:
        _note(found, host, verdict)


def _note(found: Survey, host: Host, verdict: Verdict) -> None:
    name = host.name
    why = f"lost by the change: {'; '.join(verdict.lost)}" if verdict.lost else _BEFORE
    match verdict.ended:
        case "confirmed":
            found.confirmed.add(name)
        case "undone":
            found.undone[name] = why
        case "undoing":
            found.unconfirmed[name] = why
        case _:
            _recall(found, host, "no answer whether all still works")
    found.waiting.pop(name, None)


_BEFORE = "it was going back by itself before it was asked"


def _failure(found: Survey, host: Host) -> str:
    """What failed first on a host, if anything did."""
    return next((failures.cause(each) for each in found.failures.get(host.name) or said(host)), "")


def _renew(host: Host) -> None:
    """Have all that follows go over a new connection. Raises ConnectError, and keeps the old."""
    fresh = type(host.connector)(host.state, host)
    deadlines.hold_connector(fresh, survey().broker.nodes[host.name].limits)
    try:
        fresh.connect()
    except gevent.Timeout:
        # Of one that began before.
        deadlines.close(fresh)
        raise
    deadlines.close(host.connector)
    host.connector = fresh


def _recall(found: Survey, host: Host, why: str, *, connects: bool = True) -> None:
    """Have a host go back now, by the connection there is, or by a new one where it `connects`."""
    name = host.name
    script = rollback.recalling(found.waiting[name], why)
    # Whatever becomes of what follows.
    found.unconfirmed[name] = why
    found.waiting.pop(name)
    answer = _tell(host, script, renews=connects)
    match answer.split()[-1:]:
        case ["undone"]:
            found.undone[name] = found.unconfirmed.pop(name)
        case ["kept"]:
            # The word that all is well had come there, and its answer hadn't come back.
            found.confirmed.add(name)
            del found.unconfirmed[name]


def settle(state: State, why: str = _ENDS) -> None:
    """At the end of a run, whatever ended it: have those go back that nobody confirmed."""
    found = known(state)
    if found is None:
        return
    if state in _keepers:
        _keepers[state].kill()
    for host in state.inventory:
        if host.name in found.waiting and _is_over(host):
            found.waiting.pop(host.name)
    hosts = [host for host in state.inventory if host.name in found.waiting]

    def recall(host: Host) -> None:
        _recall(found, host, _failure(found, host) or why)

    on_each(hosts, recall, state, "undoing")
    for host in hosts:
        if sentence := became(found, host.name):
            say(host, sentence, "red")


def _is_over(host: Host) -> bool:
    """Whether what changes it has ended early there, and said what it did."""
    return any(failures.has_stopped(line) for line in said(host))


def said(host: Host) -> Iterable[str]:
    """Why commands of an operation failed, which pyinfra has shown."""
    for data in host.state.ops[host].values():
        meta = data.operation_meta
        if meta.is_complete() and meta.did_error():
            yield failures.reason(meta.stderr_lines)
