"""Pure: policy routing, as ip-rule(8) tells of it: which rules a packet meets on its way."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from netaddr import IPAddress, IPNetwork

# What a rule may ask of a packet beside its addresses and where it came in. An ordinary packet has
# no mark, and comes from no VRF.
_OTHER_SELECTORS = {"tos", "dsfield", "fwmark", "oif", "uidrange", "ipproto", "sport", "dport"}
_OTHER_SELECTORS |= {"tun_id", "flowlabel", "dscp"}
# Of a rule that goes to one which isn't there: the kernel goes on with the next.
_UNRESOLVED = "[unresolved]"
_OF_VRF = "[l3mdev-table]"
REJECTIONS = frozenset({"blackhole", "unreachable", "prohibit"})
"""The types of rules and of routes that lead nowhere."""


@dataclass(frozen=True)
class Packet:
    """What rules look at; `interface` is where it came in, `lo` if the host sends it itself."""

    source: IPAddress
    destination: IPAddress
    interface: str = "lo"


@dataclass(frozen=True)
class Rule:
    """A rule as `ip rule` prints it; `text` is what comes after its priority."""

    priority: int
    text: str

    def __str__(self) -> str:
        return f"{self.priority}: {self.text}"

    def matches(self, packet: Packet) -> bool:
        """Whether it is for a packet without a mark, of any protocol."""
        is_for_it = (
            (self._source is None or packet.source in self._source)
            and (self._destination is None or packet.destination in self._destination)
            and self._after("iif") in {None, packet.interface}
            and not self._other_selectors
            and self.table != _OF_VRF
        )
        return is_for_it != self._is_negated

    @property
    def is_common(self) -> bool:
        """Whether it is for all packets between some addresses."""
        return not self._other_selectors or self._is_negated

    @cached_property
    def table(self) -> str | None:
        """The table that is looked up, where that is what the rule does."""
        return self._after("lookup")

    @cached_property
    def is_rejection(self) -> bool:
        return bool(REJECTIONS & {*self._words})

    @cached_property
    def goes_to(self) -> int | None:
        """The priority of the rule to go on with."""
        target = self._after("goto")
        if target is None or not target.isdecimal() or _UNRESOLVED in self._words:
            return None
        return int(target)

    @cached_property
    def suppressed(self) -> int:
        """The length of prefix up to which it takes a route for none."""
        return int(self._after("suppress_prefixlength") or -1)

    def check(self) -> None:
        """Raise AddrFormatError or ValueError where a word is none of a rule's."""
        _ = self._source, self._destination, self.suppressed

    @cached_property
    def _source(self) -> IPNetwork | None:
        return self._prefix("from")

    @cached_property
    def _destination(self) -> IPNetwork | None:
        return self._prefix("to")

    def _prefix(self, word: str) -> IPNetwork | None:
        prefix = self._after(word)
        return None if prefix in {None, "all"} else IPNetwork(prefix)

    @cached_property
    def _is_negated(self) -> bool:
        return self._words[0] == "not"

    @cached_property
    def _other_selectors(self) -> set[str]:
        return _OTHER_SELECTORS & {*self._words}

    @cached_property
    def _words(self) -> list[str]:
        return self.text.split()

    def _after(self, word: str) -> str | None:
        if word not in self._words[:-1]:
            return None
        return self._words[self._words.index(word) + 1]


def of(told: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules that `ip -json rule` tells of, in their order.

    Raises AddrFormatError, KeyError, TypeError and ValueError.
    """
    found = tuple(Rule(int(each["priority"]), _words(each)) for each in told)
    for rule in found:
        rule.check()
    return found


def _words(told: Mapping[str, Any]) -> str:
    """Those by which `ip rule` tells of the same rule, without -details."""
    found = ""
    for key, value in told.items():
        if key != "priority" and (key, value) not in _UNTOLD:
            default = f" {key}" if value is None else f" {key} {{}}"
            found += _WORDS.get(key, default).format(value)
    return found.strip()


# Of print_rule in iproute2, by its keys; the others are their own words.
_WORDS = {
    "src": " from {}",
    "dst": " to {}",
    **dict.fromkeys(("srclen", "dstlen", "fwmask"), "/{}"),
    **dict.fromkeys(("dscp_mask", "flowlabel_mask", "sport_mask", "dport_mask"), "/{}"),
    **dict.fromkeys(("iif_detached", "oif_detached"), " [detached]"),
    "l3mdev": f" lookup {_OF_VRF}",
    "uid_start": " uidrange {}",
    "sport_start": " sport {}",
    "dport_start": " dport {}",
    **dict.fromkeys(("uid_end", "sport_end", "dport_end"), "-{}"),
    "table": " lookup {}",
    "suppress_prefixlen": " suppress_prefixlength {}",
    "unresolved": f" {_UNRESOLVED}",
    "action": " {}",
    "protocol": " proto {}",
}
_UNTOLD = {("protocol", "kernel"), ("protocol", "unspec")}


def met(packet: Packet, rules: Iterable[Rule]) -> Iterator[Rule]:
    """The rules that are for a packet, one after another until one decides (fib_rules_lookup)."""
    least = 0
    for rule in rules:
        if rule.priority >= least and rule.matches(packet):
            if rule.goes_to is None:
                yield rule
            else:
                least = rule.goes_to
