"""Pure: the MTU of each tunnel, once all hosts have been looked at: the same at both ends.

Where the inventory names one, it must fit. Where it names none, the tunnel gets what fits, and
keeps that: a path that has room for more later on changes nothing, one that has room for less does.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.declared.model import End, Node, Tunnel
from tasks.declared.written import DEFAULT_MTU, IPV6_MINIMUM_MTU, OUTER_HEADER
from tasks.host.state import HostState, Link
from tasks.parts import fitted
from tasks.parts.managers import owned_interfaces


@dataclass(frozen=True)
class Fitting:
    """The nodes with the MTU of each of their tunnels; by host, what is said of that."""

    nodes: Mapping[str, Node]
    refusals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Limit:
    """The largest MTU that a tunnel can have by what one host says, and why."""

    mtu: int
    why: str
    # Echo requests were answered, and none of the size that IPv6 needs at least.
    is_doubtful: bool = False


@dataclass(frozen=True)
class _Decision:
    """A tunnel's MTU, and what is said of it.

    A remark has its client's name, or those of many clients, between its two halves.
    """

    mtu: int
    refusal: str = ""
    remark: tuple[str, str] | None = None


# One end of a tunnel, on a host that was looked at.
_Side = tuple[End, HostState]
# A client has no two interfaces of one name.
_Key = tuple[str, str]


def fit(
    nodes: Mapping[str, Node], states: Mapping[str, HostState], *, only_to_prove: bool = False
) -> Fitting:
    """The MTU of every tunnel that has an end on one of the hosts whose state is known.

    Where it is `only_to_prove` what is there, the paths don't matter: a tunnel has what it has.
    """
    sides: dict[_Key, list[_Side]] = defaultdict(list)
    for host, state in states.items():
        for end in nodes[host].ends:
            sides[_key(end.tunnel)].append((end, state))
    decide = _kept if only_to_prove else _decide
    decisions = {key: decide(found) for key, found in sides.items()}
    refusals: dict[str, dict[str, None]] = defaultdict(dict)
    remarks: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, found in sides.items():
        for end, _ in found:
            if refusal := decisions[key].refusal:
                refusals[end.host][refusal] = None
            if remark := decisions[key].remark:
                remarks[end.host][remark].append(end.tunnel.client)
    return Fitting(
        {host: _fitted(node, decisions) for host, node in nodes.items()},
        {host: tuple(each) for host, each in refusals.items()},
        {
            host: tuple(f"{a} {' and '.join(of)}{b}" for (a, b), of in each.items())
            for host, each in remarks.items()
        },
    )


def _key(tunnel: Tunnel) -> _Key:
    return tunnel.client, tunnel.client_interface


def _fitted(node: Node, decisions: Mapping[_Key, _Decision]) -> Node:
    def with_mtu(end: End) -> End:
        decision = decisions.get(_key(end.tunnel))
        if decision is None or decision.mtu == end.mtu:
            return end
        return replace(end, tunnel=replace(end.tunnel, mtu=decision.mtu))

    return replace(node, ends=tuple(map(with_mtu, node.ends)))


def _kept(sides: Sequence[_Side]) -> _Decision:
    """What a tunnel has by the inventory, or by what was found in an earlier run."""
    tunnel = sides[0][0].tunnel
    if tunnel.is_mtu_written:
        return _Decision(tunnel.mtu)
    found = (fitted.recorded(state).get((end.local, end.remote)) for end, state in sides)
    return _Decision(min((mtu for mtu in found if mtu), default=DEFAULT_MTU))


def _decide(sides: Sequence[_Side]) -> _Decision:
    kept = _kept(sides)
    limits = [limit for side in sides for limit in _limits(*side)]
    least = min(limits, key=lambda limit: limit.mtu, default=None)
    if least is None or least.mtu >= kept.mtu:
        return kept
    end, state = sides[0]
    written, client = end.tunnel.is_mtu_written, end.tunnel.client
    if least.is_doubtful and written:
        return replace(kept, remark=(f"{least.why}: {_DOUBT}. The proof tells for", ""))
    if least.mtu < IPV6_MINIMUM_MTU:
        way_out = (
            f"{_DOUBT}, and then `mtu` can say what fits"
            if least.is_doubtful
            else f"IPv6 needs {IPV6_MINIMUM_MTU}, so have it carry more, or take the tunnel out"
        )
        return replace(
            kept, refusal=f"{least.why}, too little for the tunnel of {client}: {way_out}"
        )
    if written:
        way_out = f'write `"mtu": {least.mtu}` there, or no `mtu`'
        return replace(
            kept,
            refusal=f"{least.why}, so {kept.mtu} is too much for the tunnel of {client}: {way_out}",
        )
    is_alone = len(sides) == 1
    if is_alone and _is_there(end, state):
        beginning = f"{least.why}, so {kept.mtu} is too much for the tunnel of"
        return replace(kept, remark=(beginning, f": a run of both ends makes it {least.mtu}"))
    where = f" at this end; {end.peer_host} isn't in this run" if is_alone else ", at both ends"
    beginning = f"{least.why}, so an MTU of {least.mtu} goes to the tunnel of"
    return _Decision(least.mtu, remark=(beginning, where))


_DOUBT = (
    "either the path is too narrow for IPv6, or somebody on it drops large echo requests and "
    "nothing else"
)


def _limits(end: End, state: HostState) -> Iterable[_Limit]:
    carrier = _carrier(end, state)
    if carrier is not None:
        yield _Limit(
            carrier.mtu - OUTER_HEADER,
            f"{carrier.name} of {end.host} carries packets of {carrier.mtu} bytes",
        )
    passing = state.paths.get((end.local, end.remote))
    if passing is not None:
        mtu = passing - OUTER_HEADER
        if mtu < IPV6_MINIMUM_MTU:
            needed = IPV6_MINIMUM_MTU + OUTER_HEADER
            why = (
                f"{end.peer_host} ({end.remote}) answers echo requests of {end.host}, but none of "
                f"{needed} bytes"
            )
            yield _Limit(mtu, why, is_doubtful=True)
        else:
            why = (
                f"packets of up to {passing} bytes pass from {end.host} to {end.peer_host} "
                f"({end.remote})"
            )
            yield _Limit(mtu, why)


def _carrier(end: End, state: HostState) -> Link | None:
    """The interface by which a tunnel's packets leave."""
    name = state.ipv4_devices.get(end.remote) or state.addresses.get(end.local)
    return state.links.get(name) if name else None


def _is_there(end: End, state: HostState) -> bool:
    """Whether the tunnel is made, so that its other end has what it was made with."""
    link = state.links.get(end.interface)
    return (
        link is not None
        and end.interface in owned_interfaces(state)
        and (link.local, link.remote) == (end.local, end.remote)
    )
