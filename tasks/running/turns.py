"""pyinfra: whose turn it is: hosts are changed at the same time, each after those that it needs.

Waiting for all of them, host by host of a chain, would cost a run the limit of each that hangs.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import gevent
from gevent import Greenlet
from gevent.event import Event
from gevent.pool import Group
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_state

from tasks.running.survey import is_active, survey


@dataclass
class _Turns:
    """Of a run: the turns that have ended, by host, whose failed, and who waits for a turn."""

    ended: defaultdict[str, Event] = field(default_factory=lambda: defaultdict(Event))
    failed: set[str] = field(default_factory=set)
    waiting: Group = field(default_factory=Group)


_turns: WeakKeyDictionary[State, _Turns] = WeakKeyDictionary()


def take(host: Host, after: Iterable[str]) -> None:
    """Wait until the hosts `after` which this one comes are through with their change."""
    state: State = ctx_state.get()
    turns = _turns.setdefault(state, _Turns())
    own, name = gevent.getcurrent(), host.name
    assert isinstance(own, Greenlet)
    own.rawlink(lambda done: _end(turns, name, done))
    awaited = [turns.ended[e] for e in after if is_active(e) and survey().changes(e)]
    if all(event.is_set() for event in awaited):
        return
    # Those it waits for may need its place among as many as are worked on at a time.
    state.pool.discard(own)
    turns.waiting.add(own)
    for event in awaited:
        event.wait()
    state.pool.add(own)
    turns.waiting.discard(own)


def _end(turns: _Turns, name: str, done: "Greenlet[..., bool]") -> None:
    # What pyinfra returns of an operation; nothing where that was killed, or raised something.
    if not done.value:
        turns.failed.add(name)
    turns.ended[name].set()


def failed(state: State) -> set[str]:
    """The hosts that have failed by now: pyinfra tells only when a step is over on all."""
    of_turns = _turns[state].failed if state in _turns else set()
    return of_turns | {host.name for host in state.failed_hosts}


def stop(state: State) -> None:
    """Have nobody wait any more, and nobody's turn come."""
    if state in _turns:
        _turns[state].waiting.kill()
