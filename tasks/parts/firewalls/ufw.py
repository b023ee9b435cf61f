"""Pure: ufw, which is told by its own command, once for each rule, and keeps the rules itself.

Its user.rules has each rule as a tuple, which identifies it (src/backend_iptables.py of ufw), with
its comment in hexadecimal, and below it the lines that go to iptables-restore.
"""

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from tasks.host import iptables_listing
from tasks.host.changes import Step
from tasks.host.ruleset import MARK, NFT, PROTOCOL_41, Chain, Drop, Rule
from tasks.host.state import File, HostState, Search
from tasks.parts.firewalls.firewall import Firewall

_ANSWER = "ufw"
_RULES = {"ip": "/etc/ufw/user.rules", "ip6": "/etc/ufw/user6.rules"}
_PREFIXES = {"ip": "ufw", "ip6": "ufw6"}
_TUPLE = "### tuple ### "
_OF_USER = ("-user-input", "-user-output", "-user-forward")
_ANY = {"0.0.0.0/0", "::/0"}


class Ufw(Firewall):
    """The one that Ubuntu brings."""

    name = "ufw"
    questions = (
        Search(
            _ANSWER,
            r"^\s*ENABLED=|^(### tuple ###|-A) ",
            ("/etc/ufw/ufw.conf", *_RULES.values()),
            "line",
            program="ufw",
        ),
    )

    def holds(self, chain: Chain, state: HostState) -> bool:
        """Once disabled, it has chains, and no rules in them."""
        first = f"{_prefix(chain)}-before-{chain.hook}"
        is_there = state.ruleset.has_chain(chain.backend, chain.family, chain.table, first)
        return is_there and chain.table == "filter" and _told(state).is_enabled

    def is_own(self, rule: Rule, state: HostState) -> bool:
        """What it makes of a rule bears no comment: the line that it made it of does."""
        if not rule.chain.endswith(_OF_USER):
            return False
        return any(rule.chain == each.chain and _does_as(each, rule) for each in _told(state).lines)

    def precedes(self, drop: Drop, state: HostState) -> bool:
        """Its own before.rules come first, and so may others' rules in the base chain."""
        rule, chain = drop.rule, drop.chain
        if rule is None or rule.chain.startswith(f"{_prefix(chain)}-user-"):
            return False
        if rule.chain.startswith((f"{_prefix(chain)}-before-", f"{_prefix(chain)}-not-local")):
            return True
        place = (chain.backend, chain.family, chain.table)
        for each in state.ruleset.rules.get((place, chain.name), ()):
            targets = {verdict.target for _, verdict in each.verdicts}
            if f"{_prefix(chain)}-before-{chain.hook}" in targets:
                return False
            if each == rule or rule.chain in targets:
                return True
        return True

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        """Without the comment, which says that a rule is Culvert's."""
        del state
        yield _command("prepend" if _is_denied(drop) else "", _tuple(drop))

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        """None: it has its own."""
        del drops, state
        return {}

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """A rule that somebody else has, in whatever words, stays theirs."""
        del changed
        told = _told(state)
        wanted = {_tuple(drop): drop for drop in drops}
        for words in told.own:
            if words not in wanted:
                yield _taken_back(words, "prepend" if told.precedes_others(words) else "")
        is_reloaded = False
        for words, drop in wanted.items():
            if words not in (*told.own, *told.others):
                yield _added(words, drop)
            elif drop.chain in {each.chain for each in state.ruleset.drops(drop.flow)}:
                # It has the rule, and the kernel doesn't, or meets another one first.
                if _is_denied(drop) and words in told.own:
                    # Back behind the one that is met first.
                    yield _taken_back(words, "")
                    yield _added(words, drop)
                else:
                    is_reloaded = True
        if is_reloaded:
            yield Step(("~ufw: its rules as it has them",), ("ufw reload",))


@dataclass(frozen=True)
class _Told:
    """What ufw has been told: tuples, and of Culvert's, the rules that it makes of them."""

    is_enabled: bool = False
    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lines: tuple[Rule, ...] = ()
    all: tuple[str, ...] = ()

    def precedes_others(self, words: str) -> bool:
        """Whether a rule of somebody else's comes after one of Culvert's."""
        return bool({*self.all[self.all.index(words) :]} & {*self.others})


def _told(state: HostState) -> _Told:
    return _read(state.answers.get(_ANSWER, ""))


@lru_cache(maxsize=64)
def _read(answer: str) -> _Told:
    is_enabled, is_own = False, False
    own: dict[str, None] = {}
    others: dict[str, None] = {}
    every: dict[str, None] = {}
    lines: list[Rule] = []
    for line in answer.splitlines():
        if line.startswith(_TUPLE):
            words, _, comment = line.removeprefix(_TUPLE).partition(" comment=")
            is_own = comment.strip() == MARK.encode().hex()
            (own if is_own else others)[words.strip()] = every[words.strip()] = None
        elif line.startswith("-A "):
            family = "ip6" if line.startswith("-A ufw6-") else "ip"
            rule = iptables_listing.parse_rule(line, NFT, family, "filter")
            # Behind the last rule come limits and logging.
            if is_own and rule is not None and rule.chain.endswith(_OF_USER):
                lines.append(rule)
        else:
            value = line.partition("=")[2].strip().strip("\"'")
            is_enabled = value.lower() == "yes"
    # Of those with equal words, the first one is met.
    return _Told(is_enabled, tuple(own), tuple(others), tuple(lines), tuple(every))


def _does_as(told: Rule, rule: Rule) -> bool:
    """Whether ufw's line is the rule that the kernel tells of, whatever the order of its words."""
    there = iptables_listing.parse_rule(rule.text, NFT, told.family, "filter") or rule
    return {*told.conditions} == {*there.conditions} and told.verdicts == there.verdicts


def _prefix(chain: Chain) -> str:
    return _PREFIXES.get(chain.family, "ufw")


def _is_denied(drop: Drop) -> bool:
    """Whether a rule of the user's ends a flow: behind it, another one would do nothing."""
    return drop.rule is not None and "-user-" in drop.rule.chain


def _tuple(drop: Drop) -> str:
    """How ufw writes the rule that lets a flow pass."""
    flow = drop.flow
    if flow.protocol == PROTOCOL_41:
        direction = "in" if flow.hook == "input" else "out"
        return f"allow ipv6 any {flow.destination.ip} any {flow.source.ip} {direction}"
    found = (("in", flow.came_in), ("out", flow.goes_out))
    direction = "!".join(f"{word}_{name}" for word, name in found if name) or "in"
    addresses = f"any {_address(flow.destination)} any {_address(flow.source)}"
    return f"route:allow any {addresses} {direction}"


def _address(network: object) -> str:
    return str(network).removesuffix("/128")


def _command(how: str, words: str) -> str:
    """The command that has ufw take a rule in, or `delete` it."""
    action, protocol, _, destination, _, source, direction = words.split()
    parts = ["ufw", "route" if action.startswith("route:") else "", how, "allow"]
    if direction != "in":
        for word in direction.split("!"):
            way, _, interface = word.partition("_")
            parts += [way, f"on {interface}" if interface else ""]
    parts += [f"proto {protocol}" if protocol != "any" else ""]
    parts += [f"from {source}" if source not in _ANY else ""]
    parts += [f"to {destination}" if destination not in _ANY else ""]
    # Whatever stands in ufw's file.
    return shlex.join(" ".join(parts).split())


def _added(words: str, drop: Drop) -> Step:
    command = f"{_command('prepend' if _is_denied(drop) else '', words)} comment {MARK}"
    return Step((f"+{command}",), (command,), undo=(_command("delete", words),))


def _taken_back(words: str, how: str) -> Step:
    """`how` it is told again: it need not come as early where no other rule is behind it."""
    line, added = (f"{_command(each, words)} comment {MARK}" for each in ("", how))
    return Step((f"-{line}",), (_command("delete", words),), undo=(added,))
