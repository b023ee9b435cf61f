"""Pure: what a host's own firewall must let pass, and the firewalls that are told so.

Nothing is opened that passes already, and nothing but what the tunnels need.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from netaddr import IPNetwork

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.ruleset import PROTOCOL_41, Chain, Drop, Flow, Rule
from tasks.host.state import File, HostState, Question
from tasks.parts import firewalls
from tasks.parts.firewalls.firewall import Firewall, pasted
from tasks.parts.part import Site

FOLDERS = tuple(folder for each in firewalls.FIREWALLS for folder in each.folders)
OWN_FOLDERS = tuple(folder for each in firewalls.FIREWALLS for folder in each.own_folders)
QUESTIONS: tuple[Question, ...] = tuple(
    question for each in firewalls.FIREWALLS for question in each.questions
)

_ANYWHERE = IPNetwork("::/0")
# Of flows that end in the same place, how many are told.
_TOLD = 3


# --- What must pass --------------------------------------------------------------------------


def flows(site: Site, state: HostState) -> tuple[Flow, ...]:
    """All that must pass on a host for its tunnels to work."""
    found = [flow for end in site.ends for flow in _outer(end, state)]
    found += (flow for end in site.ends for flow in _forwarded(end, site))
    return tuple(dict.fromkeys(found))


def _outer(end: End, state: HostState) -> Iterator[Flow]:
    """What carries a tunnel: protocol 41, between two addresses."""
    here, there = IPNetwork(end.local), IPNetwork(end.remote)
    device = state.ipv4_devices.get(end.remote) or state.addresses.get(end.local, "")
    yield Flow("input", there, here, device, "", PROTOCOL_41)
    yield Flow("output", here, there, "", device, PROTOCOL_41)


def _forwarded(end: End, site: Site) -> Iterator[Flow]:
    """What comes out of a tunnel and goes on from this host, and what is to go into it."""
    if end.is_client:
        for lan in end.tunnel.lans:
            yield Flow("forward", _ANYWHERE, lan.prefix, end.interface, lan.interface)
            if end.default_route:
                yield Flow("forward", lan.prefix, _ANYWHERE, lan.interface, end.interface)
        return
    for prefix in (IPNetwork(end.peer), *end.tunnel.routed_prefixes):
        outward = _outward(site)
        yield Flow("forward", prefix, _ANYWHERE, end.interface, outward)
        for inward in dict.fromkeys([outward, *_upstream(prefix, site)]):
            yield Flow("forward", _ANYWHERE, prefix, inward, end.interface)


def _outward(site: Site) -> str:
    """Where a server's Internet is: out of a tunnel of its own, if that has the default route."""
    ways = (end.interface for end in site.node.upstreams if end.default_route)
    return next(ways, site.external_interface)


def _upstream(prefix: IPNetwork, site: Site) -> Iterator[str]:
    """The tunnels by which a server gets what is for one of its clients."""
    for end in site.node.upstreams:
        if any(prefix in each for each in end.tunnel.routed_prefixes):
            yield end.interface


# --- What doesn't ----------------------------------------------------------------------------


def is_own(rule: Rule, state: HostState) -> bool:
    """Whether a rule of the host's firewalls came by Culvert."""
    return any(each.is_own(rule, state) for each in firewalls.FIREWALLS)


def wanted(site: Site, state: HostState) -> tuple[Drop, ...]:
    """What would end, were there nothing of Culvert's in any firewall."""
    bare = state.ruleset.without(lambda rule: is_own(rule, state))
    return tuple(drop for flow in flows(site, state) for drop in bare.drops(flow))


def _of(firewall: Firewall, site: Site, state: HostState) -> list[Drop]:
    """What one firewall is to open."""
    if site.node.leaves_firewall:
        return []
    found = wanted(site, state)
    held = {chain for chain in {d.chain for d in found} if _holds(firewall, chain, state)}
    return [drop for drop in found if drop.chain in held]


def _holds(firewall: Firewall, chain: Chain, state: HostState) -> bool:
    return firewalls.holder(chain, state) is firewall


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """None that keeps the tunnels from being proven: see refusals()."""
    del site, state
    return ()


def refusals(site: Site, state: HostState) -> Iterable[str]:
    """What drops a flow, where no firewall may be told, or can be; and the rules to add by hand."""
    refused: dict[tuple[Chain, str, str], list[Drop]] = {}
    commands: dict[tuple[Chain, str, str], dict[str, None]] = {}
    for drop in wanted(site, state):
        firewall = firewalls.holder(drop.chain, state)
        if reason := _reason(drop, firewall, site, state):
            place = drop.chain, drop.by, reason
            refused.setdefault(place, []).append(drop)
            pastes = firewall.opening(drop, state) if firewall else [_pasted(drop, state)]
            commands.setdefault(place, {}).update(dict.fromkeys(pastes))
    for place, drops in refused.items():
        yield (
            f"{_where(drops[0])} {_listed(drops)}, and {place[2]}; run this, and keep it where "
            "that firewall's rules are kept:"
        )
        yield from (f"    {command}" for command in commands[place])


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


def _pasted(drop: Drop, state: HostState) -> str:
    return pasted(drop, is_of_iptables=state.ruleset.is_of_iptables(drop.chain))


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
    ended: dict[tuple[Chain, str], list[Drop]] = {}
    for flow in flows(site, state):
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
    for firewall in firewalls.FIREWALLS:
        yield from firewall.warnings(_of(firewall, site, state), state)


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """What a firewall would not bring back."""
    for firewall in firewalls.FIREWALLS:
        yield from firewall.lost_at_boot(_of(firewall, site, state), state)


def files(site: Site, state: HostState) -> dict[str, File]:
    """What each firewall reads."""
    found: dict[str, File] = {}
    for firewall in firewalls.FIREWALLS:
        found |= firewall.files(_of(firewall, site, state), state)
    return found


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """Each firewall's own look at its files."""
    del site
    for firewall in firewalls.FIREWALLS:
        yield from firewall.checks(staged)


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What a firewall takes back by itself, while it has its files."""
    for firewall in firewalls.FIREWALLS:
        yield from firewall.stopping(_of(firewall, site, state), state, changed)


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What is missing is opened, and what is needed no more is taken back."""
    for firewall in firewalls.FIREWALLS:
        yield from firewall.starting(_of(firewall, site, state), state, changed)
