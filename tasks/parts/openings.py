"""Pure: what a host's own firewall must let pass, and the firewalls that are told so.

Nothing is opened that passes already, and nothing but what the tunnels need.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import permutations

from netaddr import IPNetwork

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.ruleset import PROTOCOL_41, Chain, Drop, Flow, Rule
from tasks.host.state import File, HostState, Question, Search
from tasks.parts import firewalls
from tasks.parts.firewalls.firewall import Firewall, pasted
from tasks.parts.part import Site

FOLDERS = tuple(folder for each in firewalls.FIREWALLS for folder in each.folders)
OWN_FOLDERS = tuple(folder for each in firewalls.FIREWALLS for folder in each.own_folders)
QUESTIONS: tuple[Question | Search, ...] = tuple(
    question for each in firewalls.FIREWALLS for question in each.questions
)

_ANYWHERE = IPNetwork("::/0")
# Of flows that end in the same place, how many are told.
_TOLD = 3


# --- What must pass --------------------------------------------------------------------------


def flows(site: Site, state: HostState) -> tuple[Flow, ...]:
    """All that must pass on a host for its tunnels to work."""
    upstreams, outward = site.node.upstreams, _outward(site)
    found = [flow for end in site.ends for flow in _outer(end, state)]
    for end in site.ends:
        found += _to_lans(end) if end.is_client else _to_client(end, outward, upstreams)
    found += (flow for ends in site.node.neighbours.values() for flow in _between(ends))
    return tuple(dict.fromkeys(found))


def _outer(end: End, state: HostState) -> Iterator[Flow]:
    """What carries a tunnel: protocol 41, between two addresses."""
    here, there = IPNetwork(end.local), IPNetwork(end.remote)
    device = state.ipv4_devices.get(end.remote) or state.addresses.get(end.local, "")
    yield Flow("input", there, here, device, "", PROTOCOL_41)
    yield Flow("output", here, there, "", device, PROTOCOL_41)


def _to_lans(end: End) -> Iterator[Flow]:
    """Between a client's tunnel and the networks behind it."""
    for lan in end.tunnel.lans:
        yield Flow("forward", _ANYWHERE, lan.prefix, end.interface, lan.interface)
        if end.default_route:
            yield Flow("forward", lan.prefix, _ANYWHERE, lan.interface, end.interface)


def _to_client(end: End, outward: str, upstreams: Collection[End]) -> Iterator[Flow]:
    """Between a server's end and the Internet."""
    for prefix in (IPNetwork(end.peer), *end.tunnel.routed_prefixes):
        yield Flow("forward", prefix, _ANYWHERE, end.interface, outward)
        for inward in dict.fromkeys([outward, *_upstream(prefix, upstreams)]):
            yield Flow("forward", _ANYWHERE, prefix, inward, end.interface)


def _between(ends: Iterable[End]) -> Iterator[Flow]:
    """What comes out of one tunnel and goes into another."""
    for one, other in permutations(ends, 2):
        for source in one.tunnel.inner:
            for aim in other.tunnel.inner:
                yield Flow("forward", source, aim, one.interface, other.interface)


def _outward(site: Site) -> str:
    """Where a server's Internet is: out of a tunnel of its own, if that has the default route."""
    ways = (end.interface for end in site.node.upstreams if end.default_route)
    return next(ways, site.external_interface)


def _upstream(prefix: IPNetwork, upstreams: Iterable[End]) -> Iterator[str]:
    """The tunnels by which a server gets what is for one of its clients."""
    for end in upstreams:
        if any(prefix in each for each in end.tunnel.routed_prefixes):
            yield end.interface


# --- What doesn't ----------------------------------------------------------------------------


def is_own(rule: Rule, state: HostState) -> bool:
    """Whether a rule of the host's firewalls came by Culvert."""
    return any(each.is_own(rule, state) for each in firewalls.FIREWALLS)


def wanted(site: Site, state: HostState) -> tuple[Drop, ...]:
    """What would end, were there nothing of Culvert's in any firewall."""
    returning = {chain for each in firewalls.FIREWALLS for chain in each.returning(state)}
    if not state.ruleset.may_drop and not returning:
        return ()
    bare = state.ruleset.without(lambda rule: is_own(rule, state), dropping=returning)
    return tuple(drop for flow in flows(site, state) for drop in bare.drops(flow))


def _told(site: Site, state: HostState) -> list[tuple[Firewall, list[Drop]]]:
    """What each firewall is to open."""
    found: dict[int, list[Drop]] = {}
    holders: dict[Chain, int] = {}
    for drop in () if site.node.leaves_firewall else wanted(site, state):
        if drop.chain not in holders:
            holders[drop.chain] = id(firewalls.holder(drop.chain, state))
        found.setdefault(holders[drop.chain], []).append(drop)
    return [(each, found.get(id(each), [])) for each in firewalls.FIREWALLS]


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """None that keeps the tunnels from being proven: see refusals()."""
    del site, state
    return ()


def refusals(site: Site, state: HostState) -> Iterable[str]:
    """What drops a flow, where no firewall may be told, or can be; and the rules to add by hand."""
    yield from _unread(site, state)
    refused: dict[tuple[Chain, str, str], list[Drop]] = {}
    commands: dict[tuple[Chain, str, str], dict[str, None]] = {}
    for drop in wanted(site, state):
        firewall = firewalls.holder(drop.chain, state)
        if reason := _reason(drop, firewall, site, state):
            place = drop.chain, drop.by, reason
            refused.setdefault(place, []).append(drop)
            commands.setdefault(place, {}).update(dict.fromkeys(_pastes(drop, firewall, state)))
    for place, drops in refused.items():
        yield (
            f"{_where(drops[0])} {_listed(drops)}, and {place[2]}; run this, and keep it where "
            "that firewall's rules are kept:"
        )
        yield from (f"    {command}" for command in commands[place])


def _unread(site: Site, state: HostState) -> Iterable[str]:
    """What may drop anything, for all that is known of it."""
    for table in state.ruleset.unread if site.ends else ():
        yield (
            f"what table {table} drops isn't known: `nft -j list table {table}` printed no JSON "
            "that can be read, or a chain in braces (`jump { … }`), whose rules it doesn't tell; "
            "once it does, or the chain has a name, run again"
        )


def _reason(drop: Drop, firewall: Firewall | None, site: Site, state: HostState) -> str:
    """Why Culvert doesn't have a firewall let a flow pass; nothing where it does."""
    if site.node.leaves_firewall:
        return "the inventory has Culvert leave this host's firewall alone (`firewall`)"
    if firewall is None:
        return "no firewall that Culvert knows keeps that chain"
    if unfit := firewall.unfit(state):
        return unfit
    if firewall.precedes(drop, state):
        return f"that comes before the rules that {firewall.name} lets be added"
    return ""


def _pastes(drop: Drop, firewall: Firewall | None, state: HostState) -> Iterable[str]:
    """In a firewall's own words, where what it makes of them comes early enough."""
    if firewall and not firewall.precedes(drop, state):
        return firewall.opening(drop, state)
    return [pasted(drop, is_of_iptables=state.ruleset.is_of_iptables(drop.chain))]


def _where(drop: Drop) -> str:
    if drop.rule is None:
        return f"chain {drop.chain} by its policy drops"
    inside = f", in {drop.rule.chain}," if drop.rule.chain != drop.chain.name else ""
    return f"chain {drop.chain}{inside} by `{drop.by}` drops"


def _listed(drops: Collection[Drop]) -> str:
    told = [str(drop.flow) for drop in drops]
    more = [f"{len(told) - _TOLD} flows more"] if len(told) > _TOLD else []
    return " and ".join([*told[:_TOLD], *more])


def dropped(site: Site, state: HostState) -> Iterable[str]:
    """Sentences on what ends in the host's firewall as it is now."""
    yield from _unread(site, state)
    ended: dict[tuple[Chain, str], list[Drop]] = {}
    for flow in flows(site, state) if state.ruleset.may_drop else ():
        for drop in state.ruleset.drops(flow):
            ended.setdefault((drop.chain, drop.by), []).append(drop)
    for drops in ended.values():
        passes = {"input": "let in", "output": "let out", "forward": "let through"}
        hook = drops[0].flow.hook
        word = "is" if len(drops) == 1 else "are"
        yield f"expected: {_listed(drops)} {word} {passes[hook]}; seen: {drops[0]}"


# --- What is told to firewalls ---------------------------------------------------------------


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """What stops nothing, and is better known."""
    for firewall, drops in _told(site, state):
        yield from firewall.warnings(drops, state)


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """What a firewall would not bring back."""
    for firewall, drops in _told(site, state):
        yield from firewall.lost_at_boot(drops, state)


def files(site: Site, state: HostState) -> dict[str, File]:
    """What each firewall reads."""
    found: dict[str, File] = {}
    for firewall, drops in _told(site, state):
        found |= firewall.files(drops, state)
    return found


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """Each firewall's own look at its files."""
    del site
    for firewall in firewalls.FIREWALLS:
        yield from firewall.checks(staged)


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What a firewall takes back by itself, while it has its files."""
    for firewall, drops in _told(site, state):
        yield from firewall.stopping(drops, state, changed)


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What is missing is opened, and what is needed no more is taken back."""
    for firewall, drops in _told(site, state):
        yield from firewall.starting(drops, state, changed)
