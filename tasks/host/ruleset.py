"""Pure: netfilter's rules, as a host tells of them, and what they do with a flow of packets.

Every base chain of a hook must let a packet pass: one that accepts overrules none that drops. What
can't be judged from here (rate limits, marks, sets of unknown content, modules) counts as a rule
that doesn't match: what accepts by it is no promise, and what drops by it is for others.
Source: nf_tables_core.c of Linux, libnftables-json(5), iptables-extensions(8).
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from netaddr import IPNetwork

NFT, LEGACY = "nft", "iptables-legacy"
OWN_TABLE = ("inet", "culvert")
MARK = "culvert"
"""The comment that every rule of Culvert's carries in somebody else's chain."""
POLICY = "its policy"
PROTOCOL_41 = 41

# A packet of a kind that isn't known is one of these, and each of them must pass.
_COMMON = (6, 17, 58)
# Before and after what a packet is for, it meets these.
_HOOKS = {
    "input": ("prerouting", "input"),
    "forward": ("prerouting", "forward", "postrouting"),
    "output": ("output", "postrouting"),
}
_FAMILIES = {4: {"ip", "inet"}, 6: {"ip6", "inet"}}
_TRANSLATED = {"dnat", "snat"}
# Of all addresses, those that the Internet has: rules are written for them (RFC 4291, section 2.4).
_IN_USE = {IPNetwork("::/0"): IPNetwork("2000::/3")}
# What a hook knows of a packet's interfaces.
_HAS_CAME_IN = {"prerouting", "input", "forward"}
_HAS_GOES_OUT = {"forward", "output", "postrouting"}
# Chains that jump in circles are refused by the kernel; a listing may have been cut in two.
_DEPTH = 32

Truth = bool | None
"""None: it can't be judged."""


@dataclass(frozen=True)
class Chain:
    """A base chain; `backend` is `nft` or `iptables-legacy`.

    What iptables-nft makes is nft's, too: `Ruleset.is_of_iptables` tells.
    """

    backend: str
    family: str
    table: str
    name: str
    hook: str

    def __str__(self) -> str:
        if self.backend == LEGACY:
            program = "ip6tables" if self.family == "ip6" else "iptables"
            return f"{program} (legacy) {self.table} {self.name}"
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Flow:
    """Packets that must pass, new to connection tracking.

    `protocol` None: a TCP, UDP or ICMPv6 packet of which nothing more is known. An interface that
    isn't known is empty. `port` is where a TCP or UDP packet is to.
    """

    hook: str
    source: IPNetwork
    destination: IPNetwork
    came_in: str = ""
    goes_out: str = ""
    protocol: int | None = None
    port: int | None = None

    @property
    def version(self) -> int:
        return int(self.source.version)

    def __str__(self) -> str:
        if self.protocol == PROTOCOL_41:
            kind = "protocol 41"
        else:
            kind = f"IPv{self.version}" if self.protocol is None else f"protocol {self.protocol}"
        if self.hook == "forward":
            # The network that is meant, beside the interface that leads to it.
            came, goes = (
                f"{name} ({_short(network)})" if network.prefixlen else name
                for name, network in (
                    (self.came_in, self.source),
                    (self.goes_out, self.destination),
                )
            )
            return f"{kind} from {came} to {goes}"
        other = self.source if self.hook == "input" else self.destination
        return f"{kind} {'from' if self.hook == 'input' else 'to'} {_short(other)}"


@dataclass(frozen=True)
class Ranges:
    """Addresses of one version, in order and merged; ports, where that is 0."""

    version: int
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    @classmethod
    def of(cls, version: int, pairs: Iterable[tuple[int, int]]) -> "Ranges":
        merged: list[tuple[int, int]] = []
        for first, last in sorted(pairs):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return cls(version, tuple(f for f, _ in merged), tuple(e for _, e in merged))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [*zip(self.firsts, self.lasts, strict=True)]

    def holds(self, network: IPNetwork) -> Truth:
        """Whether all of the network lies in it; None where a part does."""
        if network.version != self.version:
            return False
        place = bisect_right(self.firsts, network.last)
        if not place or self.lasts[place - 1] < network.first:
            return False
        inside = self.firsts[place - 1] <= network.first and network.last <= self.lasts[place - 1]
        return True if inside else None

    def has(self, number: int) -> bool:
        place = bisect_right(self.firsts, number)
        return place > 0 and number <= self.lasts[place - 1]


@dataclass(frozen=True)
class Names:
    """Words: of interfaces, with a star at the end of one that is a pattern, or of anything."""

    exact: frozenset[str]
    beginnings: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> "Names":
        patterns = {w for w in words if w.endswith("*") and not w.endswith("\\*")}
        exact = frozenset(w.replace("\\*", "*") for w in {*words} - patterns)
        return cls(exact, frozenset(word[:-1] for word in patterns))

    def holds(self, word: str) -> bool:
        return word in self.exact or any(word.startswith(each) for each in self.beginnings)


@dataclass(frozen=True)
class Condition:
    """What a rule asks of a packet.

    `keys` name what is looked at, more than one of them together; `values` are what each key may
    have, in alternatives, or None where they can't be told.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Ranges | Names | None, ...], ...] | None
    is_negated: bool = False


UNKNOWN = Condition(("unknown",), None)


@dataclass(frozen=True)
class Verdict:
    """Where a packet goes: accept, drop, return, jump, goto, or, of a map's, on: continue.

    Or it is accepted with another destination, dnat, or source, snat. `target` is a chain's name,
    or that address.
    """

    kind: str
    target: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule of a chain, base or not. `handle` is nft's, 0 where there is none."""

    backend: str
    family: str
    table: str
    chain: str
    text: str
    conditions: tuple[Condition, ...] = ()
    # The first whose condition holds counts: most rules have one, without any; a map has many, and
    # at its end perhaps one for all else.
    verdicts: tuple[tuple[Condition | None, Verdict], ...] = ()
    comment: str = ""
    handle: int = 0
    # Something in it is of a module's, of which whoever told says no more than that.
    is_opaque: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        return self.backend, self.family, self.table

    @cached_property
    def effect(self) -> tuple[object, ...]:
        """What is the same for rules that do the same in the same chain, whatever their words."""
        return self.place, self.chain, frozenset(self.conditions), self.verdicts

    @cached_property
    def marks(self) -> tuple[tuple[str, object], ...]:
        """Single values, each of which a packet must have; by one alone it is soon found."""
        return tuple(
            (condition.keys[0], mark)
            for condition in self.conditions
            if (mark := _single(condition)) is not None
        )


@dataclass(frozen=True)
class Drop:
    """A flow that ends in a base chain, `by` a rule, in its words, or its policy."""

    flow: Flow
    chain: Chain
    by: str
    rule: Rule | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.rule is None:
            return f"chain {self.chain} drops it (policy)"
        inside = f" in {self.rule.chain}" if self.rule.chain != self.chain.name else ""
        return f"chain {self.chain} drops it{inside} (`{self.by}`)"


def _single(condition: Condition) -> object:
    """The one interface or address that a condition lets pass; None where there are more."""
    values = condition.values
    if condition.is_negated or len(condition.keys) != 1 or values is None or len(values) != 1:
        return None
    (found,) = values[0]
    if isinstance(found, Names) and condition.keys[0] in {"came in", "goes out"}:
        return next(iter(found.exact)) if len(found.exact) == 1 and not found.beginnings else None
    is_address = condition.keys[0].startswith(("source of IPv", "destination of IPv"))
    if is_address and isinstance(found, Ranges) and found.firsts == found.lasts:
        return found.firsts[0] if len(found.firsts) == 1 else None
    return None


@dataclass(frozen=True)
class _Index:
    """The rules of one chain: which of them a packet may meet, without asking all.

    Of very many rules, most are for one address or one interface each.
    """

    rules: tuple[Rule, ...]

    def met(self, flow: Flow) -> Iterable[Rule]:
        if not self._by_mark:
            return self.rules
        marks: list[tuple[str, object]] = [("came in", flow.came_in), ("goes out", flow.goes_out)]
        for key, network in (("source", flow.source), ("destination", flow.destination)):
            if network.size == 1:
                marks.append((f"{key} of IPv{flow.version}", network.first))
        places = [place for mark in marks for place in self._by_mark.get(mark, ())]
        return (self.rules[place] for place in sorted([*places, *self._of_all]))

    @cached_property
    def _rarest(self) -> list[tuple[str, object] | None]:
        """Of each rule the mark that the fewest others have."""
        frequency = Counter(mark for rule in self.rules for mark in rule.marks)
        return [min(rule.marks, key=frequency.__getitem__, default=None) for rule in self.rules]

    @cached_property
    def _by_mark(self) -> dict[tuple[str, object], list[int]]:
        found: dict[tuple[str, object], list[int]] = {}
        for place, mark in enumerate(self._rarest):
            if mark is not None:
                found.setdefault(mark, []).append(place)
        return found

    @cached_property
    def _of_all(self) -> list[int]:
        return [place for place, mark in enumerate(self._rarest) if mark is None]


Place = tuple[str, str, str]
"""A backend, a family, a table."""


@dataclass(frozen=True)
class Ruleset:
    """All base chains of a host, with their policies, and the rules of every chain in order.

    `of_iptables` are the tables that iptables-nft or iptables-legacy manages, `unread` those, by
    family and name, of which nft told nothing that can be read.
    """

    policies: Mapping[Chain, str] = field(default_factory=dict)
    rules: Mapping[tuple[Place, str], tuple[Rule, ...]] = field(default_factory=dict)
    of_iptables: frozenset[Place] = frozenset()
    unread: tuple[str, ...] = ()

    def is_of_iptables(self, chain: Chain) -> bool:
        """Whether iptables manages the chain, by whatever backend.

        Of a table's base chains it knows those with its own names, and no other.
        """
        is_its_table = (chain.backend, chain.family, chain.table) in self.of_iptables
        return is_its_table and chain.name == chain.hook.upper()

    def has_chain(self, backend: str, family: str, table: str, name: str) -> bool:
        return ((backend, family, table), name) in self.rules

    @property
    def may_drop(self) -> bool:
        """Whether anything ends anywhere."""
        return bool(self._chains)

    def drops(self, flow: Flow, *, as_without: str = "") -> tuple[Drop, ...]:
        """The base chains in which a flow ends, in the order in which it meets their hooks.

        As if the rules were not there whose comment is `as_without`.
        """
        if as_without:
            return self.without(lambda rule: rule.comment == as_without).drops(flow)
        if flow not in self._known:
            self._known[flow] = tuple(self._drops(flow))
        return self._known[flow]

    def may_pass(self, flow: Flow) -> bool:
        """Whether some packets of a flow pass, by rules that can't be judged, too.

        Where the question is who is kept out, what accepts by them is no comfort.
        """
        return not any(
            _Walk(self, flow, chain, flow.protocol or 0, is_generous=True).drop()
            for hook in _HOOKS[flow.hook]
            for chain in self._chains.get((hook, flow.version), ())
        )

    def without(
        self, is_left_out: Callable[[Rule], bool], dropping: Collection[Chain] = ()
    ) -> "Ruleset":
        """The same host, but for some of its rules, and with a policy of `drop` in some chains."""
        out = frozenset(id(rule) for rule in self.all_rules() if is_left_out(rule))
        strict = frozenset(chain for chain in dropping if self.policies[chain] != "drop")
        if not out and not strict:
            return self
        if (out, strict) not in self._others:
            rules = {
                key: tuple(rule for rule in found if id(rule) not in out)
                for key, found in self.rules.items()
            }
            policies = {**self.policies, **dict.fromkeys(strict, "drop")}
            self._others[out, strict] = replace(self, rules=rules, policies=policies)
        return self._others[out, strict]

    def _drops(self, flow: Flow) -> Iterator[Drop]:
        kinds = _COMMON if flow.protocol is None else (flow.protocol,)
        for hook in _HOOKS[flow.hook]:
            for chain in self._chains.get((hook, flow.version), ()):
                found = (_Walk(self, flow, chain, kind).drop() for kind in kinds)
                if drop := next((each for each in found if each), None):
                    yield drop

    def commented(self, comment: str = MARK) -> dict[str, tuple[Rule, ...]]:
        """The rules with this comment, in the order of each chain, by words for the chain."""
        return {
            " ".join((*place, chain)): found
            for (place, chain), rules in self.rules.items()
            if (found := tuple(rule for rule in rules if rule.comment == comment))
        }

    def all_rules(self) -> Iterator[Rule]:
        for rules in self.rules.values():
            yield from rules

    # Asked again and again of the same rules.
    @cached_property
    def _known(self) -> dict[Flow, tuple[Drop, ...]]:
        return {}

    @cached_property
    def indices(self) -> dict[tuple[Place, str], _Index]:
        """The rules of each chain, ready to be asked."""
        return {key: _Index(rules) for key, rules in self.rules.items()}

    @cached_property
    def _others(self) -> dict[tuple[frozenset[int], frozenset[Chain]], "Ruleset"]:
        return {}

    @cached_property
    def _chains(self) -> dict[tuple[str, int], list[Chain]]:
        found: dict[tuple[str, int], list[Chain]] = {}
        for chain in self.policies:
            for version, families in _FAMILIES.items():
                is_own = (chain.family, chain.table) == OWN_TABLE
                if chain.family in families and not is_own and self._may_drop(chain):
                    found.setdefault((chain.hook, version), []).append(chain)
        return found

    def _may_drop(self, chain: Chain) -> bool:
        """Whether anything ends there at all."""
        if self.policies[chain] == "drop":
            return True
        place, left, seen = (chain.backend, chain.family, chain.table), [chain.name], set[str]()
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            for rule in self.rules.get((place, name), ()):
                for _, verdict in rule.verdicts:
                    if verdict.kind in {"drop", *_TRANSLATED}:
                        return True
                    left.append(verdict.target)
        return False


def merged(listed: Ruleset, told: Iterable[Ruleset]) -> Ruleset:
    """What nft lists, and what iptables tells: of rules of its own tables, and of tables beside.

    Of a table with base chains that aren't its own, iptables tells as if they weren't there, and as
    if its own were, empty.
    """
    told = [*told]
    better = frozenset[Place]().union(*(each.of_iptables for each in told))
    policies: dict[Chain, str] = {}
    rules = {**listed.rules}
    for each in told:
        policies |= each.policies
        rules |= {key: _both(listed.rules.get(key, ()), own) for key, own in each.rules.items()}
    policies |= listed.policies
    read = {" ".join(place[1:]) for place in better}
    return Ruleset(
        policies, rules, better, tuple(each for each in listed.unread if each not in read)
    )


def _both(listed: tuple[Rule, ...], told: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules of one chain, as each is told best.

    Nft knows nothing of iptables' modules, and iptables leaves out what it knows nothing of.
    """
    if len(listed) != len(told):
        return told or listed
    return tuple(
        other if one.is_opaque else replace(one, text=other.text, comment=other.comment)
        for one, other in zip(listed, told, strict=True)
    )


@dataclass(frozen=True)
class _Walk:
    """A flow's packets of one protocol, through one base chain and those that it jumps to."""

    ruleset: Ruleset
    flow: Flow
    chain: Chain
    protocol: int
    # Whether a rule that can't be judged accepts, where it accepts at all.
    is_generous: bool = False

    def drop(self) -> Drop | None:
        """How it ends here; None where it passes."""
        verdict, rule = self._through(self.chain.name, 0)
        if verdict == "accept" or (
            verdict == "return" and self.ruleset.policies[self.chain] != "drop"
        ):
            return None
        by = POLICY if rule is None else rule.text
        return Drop(self.flow, self.chain, by, rule)

    def _through(self, chain: str, depth: int) -> tuple[str, Rule | None]:
        """`accept` or `drop`, with the rule that says so, or `return` at the end."""
        if depth > _DEPTH:
            return "return", None
        place = (self.chain.backend, self.chain.family, self.chain.table)
        for rule in self._met((place, chain)):
            is_met = _all(map(self._holds, rule.conditions))
            if is_met is False or (is_met is None and not self.is_generous):
                continue
            verdict = self._verdict(rule)
            if verdict is None:
                continue
            ended: str = verdict.kind
            by: Rule | None = rule
            if verdict.kind in _TRANSLATED:
                ended = "drop" if self._is_lost(verdict) else "accept"
            if verdict.kind in {"jump", "goto"}:
                ended, by = self._through(verdict.target, depth + 1)
            if is_met is None and ended != "accept":
                continue
            if verdict.kind in {"accept", "drop", "return"}:
                return ended, by if ended != "return" else None
            if ended != "return" or verdict.kind == "goto":
                return ended, by
        return "return", None

    def _verdict(self, rule: Rule) -> Verdict | None:
        """That of the first condition that holds; one without any is for what meets no other."""
        may_hold = False
        for condition, verdict in rule.verdicts:
            held = self._holds(condition) if condition else not may_hold
            if held:
                return verdict if verdict.kind != "continue" else None
            may_hold = may_hold or held is None
        return None

    def _is_lost(self, translated: Verdict) -> bool:
        """Whether no tunnel is for a packet any more, which is found by both its addresses."""
        is_to = translated.kind == "dnat"
        address = self.flow.destination if is_to else self.flow.source
        return self.flow.protocol == PROTOCOL_41 and translated.target != str(address.ip)

    def _met(self, chain: tuple[Place, str]) -> Iterable[Rule]:
        index = self.ruleset.indices.get(chain)
        return index.met(self.flow) if index else ()

    def _holds(self, condition: Condition) -> Truth:
        if condition.values is None:
            return None
        # A rule on IPv4 addresses is for no IPv6 packet, also where it says `!=`.
        if any(not self._is_of(key) for key in condition.keys):
            return False
        found: Truth = False
        for alternative in condition.values:
            held = _all(map(self._has, condition.keys, alternative))
            if held:
                found = True
                break
            if held is None:
                found = None
        return found if found is None else found != condition.is_negated

    def _is_of(self, key: str) -> bool:
        """Whether a packet has what a key names."""
        if key.endswith((" of IPv4", " of IPv6")):
            return key.endswith(str(self.flow.version))
        return True

    def _has(self, key: str, values: Ranges | Names | None) -> Truth:
        """Whether what a key names is among the values."""
        if values is None:
            return None
        name = key.partition(" of ")[0]
        if name == "port":
            if self.flow.port is None or not isinstance(values, Ranges):
                return None
            return values.has(self.flow.port)
        if isinstance(values, Ranges):
            networks = {"source": self.flow.source, "destination": self.flow.destination}
            network = networks.get(name)
            return None if network is None else values.holds(_IN_USE.get(network, network))
        word = self._word(name)
        return None if word is None else values.holds(word)

    def _word(self, key: str) -> str | None:
        flow, hook = self.flow, self.chain.hook
        words = {
            "came in": flow.came_in if hook in _HAS_CAME_IN else "",
            "goes out": flow.goes_out if hook in _HAS_GOES_OUT else "",
            "protocol": str(self.protocol),
            "version": str(flow.version),
            "state": "new",
            "direction": "original",
            "packet": "host",
            # Where the packet is for: this host, or somebody else.
            "destination type": "local" if flow.hook == "input" else "unicast",
        }
        return words.get(key) or None


def _all(truths: Iterable[Truth]) -> Truth:
    found: Truth = True
    for each in truths:
        if each is False:
            return False
        if each is None:
            found = None
    return found


def only(key: str, values: Collection[str]) -> Condition:
    """The condition that a key has one of these words."""
    return Condition((key,), ((Names.of(values),),))


# By their names in rules; any other name is of another protocol.
_PROTOCOLS = {
    "icmp": "1", "tcp": "6", "udp": "17", "ipv6": "41", "ipv6-encap": "41", "gre": "47",
    "esp": "50", "ah": "51", "ipv6-icmp": "58", "icmpv6": "58", "sctp": "132",
}  # fmt: skip


def protocol_number(name: object) -> str:
    """The number of a protocol, as a word; a name that isn't known stays what it is."""
    return _PROTOCOLS.get(str(name), str(name))


def _short(network: IPNetwork) -> str:
    return str(network.ip) if network.size == 1 else str(network)
