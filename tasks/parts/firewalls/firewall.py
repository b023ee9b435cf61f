"""Pure: what a host's own firewall must be able to say, for Culvert to have it let tunnels pass."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from netaddr import IPNetwork

from tasks.host.changes import Step
from tasks.host.ruleset import LEGACY, MARK, PROTOCOL_41, Chain, Drop, Rule
from tasks.host.state import File, HostState, Question, Search


class Firewall(Protocol):
    """One program that keeps a host's rules, and how it is told of some more.

    To be derived from: what has a body here is what most of them do. `drops` are those that it is
    to open: in chains that it holds, as if nothing of Culvert's were in any firewall. Where there
    are none, all that Culvert ever told it is taken back.
    """

    name: str
    folders: tuple[str, ...] = ()
    """Where files of Culvert may lie when it is told something."""
    own_folders: tuple[str, ...] = ()
    """Patterns of those, as of Path.match(), that go with the last file in them."""
    questions: tuple[Question | Search, ...] = ()
    """What to ask on a host, beyond its rules."""

    def holds(self, chain: Chain, state: HostState) -> bool:
        """Whether it made that base chain, will make it again, and is the one to be told."""

    def is_own(self, rule: Rule, state: HostState) -> bool:
        """Whether a rule of the host's came by Culvert, through this firewall."""
        del state
        return rule.comment == MARK

    def returning(self, state: HostState) -> Iterable[Chain]:
        """Base chains that were opened, and let all pass now, by a policy that comes and goes."""
        del state
        return ()

    def unfit(self, state: HostState) -> str:
        """Why it can't be told anything, as a clause; empty where it can."""
        del state
        return ""

    def precedes(self, drop: Drop, state: HostState) -> bool:
        """Whether what drops a flow comes before the place where this firewall takes rules."""
        del drop, state
        return False

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        """Shell commands that a person may paste, each of which lets a flow pass, for good."""

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        """Every file that this takes, by its path."""

    def lost_at_boot(self, drops: Collection[Drop], state: HostState) -> Iterable[str]:
        """Sentences on what would be open until the next boot, and not after it."""
        del drops, state
        return ()

    def warnings(self, drops: Collection[Drop], state: HostState) -> Iterable[str]:
        """Sentences on what stops nothing, and is better known."""
        del drops, state
        return ()

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        """Shell commands that fail where it can't read a new file; see Part.checks()."""
        del staged
        return ()

    def stopping(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """What must go while the old files are still there."""
        del drops, state, changed
        return ()

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """What is to be added, and taken back, once the new files are there."""


def compared(
    wanted: Collection[Rule], there: Collection[Rule], drops: Collection[Drop], state: HostState
) -> tuple[list[Rule], list[Rule]]:
    """The rules that are missing, and those that are to go.

    All of both, where a rule of somebody's came before Culvert's since.
    """
    left: dict[object, list[Rule]] = {}
    for rule in there:
        left.setdefault(rule.effect, []).append(rule)
    missing = []
    for rule in wanted:
        if alike := left.get(rule.effect):
            alike.pop()
        else:
            missing.append(rule)
    ended = {each for drop in drops for each in state.ruleset.drops(drop.flow)}
    if not missing and ended & {*drops}:
        return [*wanted], [*there]
    return missing, [rule for rules in left.values() for rule in rules]


def not_enabled(unit: str, state: HostState) -> str:
    """Why a firewall whose service brings its rules back can't be told any, if that is so."""
    if state.units[unit].is_enabled:
        return ""
    return f"{unit}, which would bring a rule back, isn't enabled"


def nft_matches(drop: Drop) -> str:
    """What a rule of nft's says of a flow where it ends, all of which it is to let pass."""
    flow = drop.flow
    if flow.protocol == PROTOCOL_41:
        return f"ip saddr {flow.source.ip} ip daddr {flow.destination.ip} meta l4proto 41"
    words = [f'{"iifname" if is_in else "oifname"} "{name}"' for is_in, name in interfaces(drop)]
    words += [f"ip6 {'saddr' if is_in else 'daddr'} {net}" for is_in, net in networks(drop)]
    # A table of one version's refuses to be asked.
    words += [f"meta nfproto ipv{flow.version}"] if drop.chain.family == "inet" else []
    return " ".join(words)


def iptables_words(drop: Drop) -> list[str]:
    """A program of iptables', and what it says of a flow where that ends: chain and matches."""
    flow, chain = drop.flow, drop.chain
    program = "iptables" if flow.version == 4 else "ip6tables"
    if chain.backend == LEGACY:
        program = program.replace("tables", "tables-legacy")
    table = [] if chain.table == "filter" else ["-t", chain.table]
    if flow.protocol == PROTOCOL_41:
        matches = ["-s", str(flow.source.ip), "-d", str(flow.destination.ip), "-p", "41"]
    else:
        pairs = [("-i" if is_in else "-o", name) for is_in, name in interfaces(drop)]
        pairs += [("-s" if is_in else "-d", str(net)) for is_in, net in networks(drop)]
        matches = [word for pair in pairs for word in pair]
    return [program, *table, "-I", chain.name, *matches]


def pasted(drop: Drop, *, is_of_iptables: bool) -> str:
    """A shell command that lets a flow pass now, in whatever chain it ends."""
    if is_of_iptables:
        return shlex.join([*iptables_words(drop), "-j", "ACCEPT"])
    return shlex.join(["nft", f"insert rule {drop.chain} {nft_matches(drop)} accept"])


def interfaces(drop: Drop) -> Iterable[tuple[bool, str]]:
    """Those that are known in the hook where a flow ends, each with whether it came in there."""
    if drop.chain.hook in {"prerouting", "forward"}:
        yield True, drop.flow.came_in
    if drop.chain.hook in {"forward", "postrouting"}:
        yield False, drop.flow.goes_out


def networks(drop: Drop) -> Iterable[tuple[bool, IPNetwork]]:
    """Where one interface alone says too little: those that are known, the source first."""
    if drop.chain.hook != "forward":
        yield from ((True, each) for each in [drop.flow.source] if each.prefixlen)
        yield from ((False, each) for each in [drop.flow.destination] if each.prefixlen)
