"""Pure: what `nft -j list table` prints of each, as a ruleset. What isn't known can't be judged.

Source: libnftables-json(5); nft 1.0.6 and 1.1.3.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from netaddr import AddrFormatError, IPAddress, IPNetwork, valid_ipv4

from tasks.host.ruleset import (
    NFT,
    UNKNOWN,
    Chain,
    Condition,
    Names,
    Place,
    Ranges,
    Rule,
    Ruleset,
    Verdict,
    only,
    protocol_number,
)

# Those of packets that are routed; a bridge's and a device's own are another affair.
_FAMILIES = {"ip", "ip6", "inet"}
_VERDICTS = {"accept", "drop", "return", "jump", "goto"}
# What ends a packet's way through a chain, and lets it pass as far as that goes.
_PASSING = {"queue", "dnat", "snat", "masquerade", "redirect", "tproxy"}
_TRANSLATED = {"dnat", "snat"}
_SILENT = {"counter", "log", "mangle", "notrack", "flow", "last", "ct helper", "ct timeout"}
_SILENT |= {"ct expectation", "secmark", "dup", "comment"}
_META = {
    "iif": "came in",
    "iifname": "came in",
    "oif": "goes out",
    "oifname": "goes out",
    "l4proto": "protocol",
    "nfproto": "version",
    "protocol": "version",
    "pkttype": "packet",
}
_CT = {"state": "state", "direction": "direction"}
_PAYLOAD = {
    ("ip", "saddr"): "source of IPv4",
    ("ip", "daddr"): "destination of IPv4",
    ("ip", "protocol"): "protocol of IPv4",
    ("ip", "version"): "version",
    ("ip6", "saddr"): "source of IPv6",
    ("ip6", "daddr"): "destination of IPv6",
    ("ip6", "nexthdr"): "protocol of IPv6",
    ("ip6", "version"): "version",
    ("tcp", "dport"): "port",
    ("udp", "dport"): "port",
    ("th", "dport"): "port",
}
_VERSIONS = {"ipv4": "4", "ipv6": "6", "ip": "4", "ip6": "6"}
_WITH_PORTS = ("6", "17", "33", "132", "136")
_UNSURE = {"timeout", "dynamic"}
# In braces where it is jumped to, a chain is told as text, and none of its rules as a rule.
_IN_BRACES = re.compile(r"(?:jump|goto) \{.*\b(?:drop|reject)\b", re.DOTALL)
_ANNOUNCED = re.compile(r"^table (\S+ .+)$", re.MULTILINE)


@dataclass
class _Sets:
    """The elements of each named set and map, None where they come and go or weren't told."""

    is_terse: bool
    found: dict[tuple[str, str, str], list[Any] | None] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        key = (entry["family"], entry["table"], entry["name"])
        is_told = "elem" in entry or not self.is_terse
        if is_told and not _UNSURE & {*_listed(entry.get("flags"))}:
            self.found[key] = entry.get("elem", [])
        else:
            self.found.setdefault(key, None)


def parse(text: str, *, is_terse: bool = False) -> Ruleset:
    """The ruleset that is told, in one document of JSON or several.

    Each may have a line before it with the table that it is of, which names it where it can't be
    read.
    """
    entries: list[Any] = []
    unread = []
    first, *named = _ANNOUNCED.split(text)
    for table, document in [("", first), *zip(named[::2], named[1::2], strict=True)]:
        try:
            entries += json.loads(document)["nftables"] if table or document.strip() else []
        except (ValueError, KeyError, TypeError):
            if table.partition(" ")[0] in _FAMILIES:
                unread.append(table)
    sets = _Sets(is_terse)
    dormant = {*_dormant(entries)}
    policies: dict[Chain, str] = {}
    rules: dict[tuple[Place, str], list[Rule]] = {}
    told = [*_told(entries)]
    for kind, entry in told:
        if kind in {"set", "map"}:
            sets.add(entry)
        elif kind == "chain":
            place = (NFT, entry["family"], entry["table"])
            rules.setdefault((place, entry["name"]), [])
            if "hook" in entry and (entry["family"], entry["table"]) not in dormant:
                chain = Chain(*place, entry["name"], entry["hook"])
                policies[chain] = entry.get("policy", "accept")
    for kind, entry in told:
        if kind == "rule":
            rule = parse_rule(entry, sets)
            rules.setdefault((rule.place, rule.chain), []).append(rule)
            if any(map(_is_in_braces, _listed(entry.get("expr")))):
                unread.append(f"{rule.family} {rule.table}")
    found = {key: tuple(each) for key, each in rules.items()}
    return Ruleset(policies, found, unread=tuple(dict.fromkeys(unread)))


def _dormant(entries: Iterable[object]) -> Iterator[tuple[str, str]]:
    """The tables that are put to sleep: no packet meets their chains."""
    for found in entries:
        table = found.get("table") if isinstance(found, dict) else None
        if isinstance(table, dict) and "dormant" in _listed(table.get("flags")):
            yield table.get("family", ""), table.get("name", "")


def _is_in_braces(statement: object) -> bool:
    """Whether it leads to rules that can't be read, of which one drops."""
    return isinstance(statement, str) and _IN_BRACES.match(statement) is not None


def _told(entries: Iterable[object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for found in entries:
        for kind, entry in found.items() if isinstance(found, dict) else ():
            is_whole = isinstance(entry, dict) and {"family", "table"} <= entry.keys()
            name = "chain" if kind == "rule" else "name"
            if is_whole and name in entry and entry["family"] in _FAMILIES:
                yield kind, entry


def parse_rule(entry: Mapping[str, Any], sets: _Sets | None = None) -> Rule:
    """One rule, as an object of the listing."""
    sets = sets or _Sets(is_terse=True)
    conditions: list[Condition] = []
    verdicts: tuple[tuple[Condition | None, Verdict], ...] = ()
    reader = _Reader(sets, entry["family"], entry["table"])
    statements = entry.get("expr")
    for statement in statements if isinstance(statements, list) else ():
        try:
            more, verdicts = reader.statement(statement)
        except (KeyError, ValueError, TypeError, AttributeError, AddrFormatError):
            more, verdicts = [UNKNOWN], ()
        conditions += more
        if verdicts:
            break
    return Rule(
        backend=NFT,
        family=entry["family"],
        table=entry["table"],
        chain=entry["chain"],
        text=" ".join(map(words, _listed(statements))),
        conditions=tuple(conditions),
        verdicts=verdicts,
        comment=str(entry.get("comment", "")),
        handle=entry.get("handle", 0),
        is_opaque=any(isinstance(each, dict) and "xt" in each for each in _listed(statements)),
    )


_Read = tuple[list[Condition], tuple[tuple[Condition | None, Verdict], ...]]


@dataclass(frozen=True)
class _Reader:
    """Statements of one table's rules."""

    sets: _Sets
    family: str
    table: str

    def statement(self, statement: object) -> _Read:
        if not isinstance(statement, dict) or len(statement) != 1:
            return [UNKNOWN], ()
        ((kind, body),) = statement.items()
        if kind in _VERDICTS:
            target = body["target"] if kind in {"jump", "goto"} else ""
            return [], ((None, Verdict(kind, target)),)
        if kind == "reject":
            return [], ((None, Verdict("drop")),)
        if kind in _TRANSLATED and isinstance(body, dict) and _is_ipv4(body.get("addr")):
            return [], ((None, Verdict(kind, body["addr"])),)
        if kind in _PASSING:
            return [], ((None, Verdict("accept")),)
        if kind in _SILENT or (kind == "set" and not body.get("stmt")):
            return [], ()
        if kind == "match":
            return self._match(body), ()
        if kind == "vmap":
            # What is for all other keys comes last; sorting keeps the order of the rest.
            found = sorted(self._vmap(body), key=lambda each: each[0] is None)
            return _needed(body["key"]), tuple(found)
        if kind == "xt" and isinstance(body, dict):
            return _xt(body.get("type"), body.get("name"))
        return [UNKNOWN], ()

    def _match(self, body: Mapping[str, Any]) -> list[Condition]:
        left, operator = body["left"], body["op"]
        needed = _needed(left)
        keys = _keys(left)
        if "unknown" in keys or operator not in {"==", "!=", "in", "!"}:
            return [*needed, UNKNOWN]
        values = self._values(keys, body["right"])
        return [*needed, Condition(keys, values, is_negated=operator in {"!=", "!"})]

    def _vmap(self, body: Mapping[str, Any]) -> Iterator[tuple[Condition | None, Verdict]]:
        keys = _keys(body["key"])
        for element in self._elements(body["data"]) or ():
            value, verdict = element
            ((kind, target),) = verdict.items()
            if kind in {*_VERDICTS, "continue"}:
                name = target["target"] if kind in {"jump", "goto"} else ""
                condition = None
                if _plain(value) != "*":
                    known = "unknown" not in keys
                    values = self._values(keys, {"set": [value]}) if known else None
                    condition = Condition(keys, values)
                yield condition, Verdict(kind, name)

    def _elements(self, right: object) -> list[Any] | None:
        """The elements that are written, or those of a named set."""
        if isinstance(right, str) and right.startswith("@"):
            return self.sets.found.get((self.family, self.table, right[1:]))
        if isinstance(right, dict) and "set" in right:
            return _listed(right["set"])
        if isinstance(right, dict) and "|" in right:
            return _listed(right["|"])
        return _listed(right)

    def _values(
        self, keys: tuple[str, ...], right: object
    ) -> tuple[tuple[Ranges | Names | None, ...], ...] | None:
        elements = self._elements(right)
        if elements is None:
            return None
        plain = [_plain(element) for element in elements]
        if len(keys) == 1:
            return tuple((each,) for each in _gathered(keys[0], plain))
        return tuple(
            tuple(_one(key, part) for key, part in zip(keys, element["concat"], strict=True))
            for element in plain
        )


def _xt(kind: object, name: object) -> _Read:
    """What iptables put there, of which little is told."""
    if (kind, name) == ("match", "comment"):
        return [], ()
    if (kind, name) == ("target", "REJECT"):
        return [], ((None, Verdict("drop")),)
    return ([UNKNOWN] if kind != "target" else []), ()


def _needed(left: object) -> list[Condition]:
    """What a packet must be for there to be what is looked at."""
    if not isinstance(left, dict):
        return []
    payload = left.get("payload")
    if isinstance(payload, dict) and "protocol" in payload:
        protocol = payload["protocol"]
        if protocol == "th":
            return [only("protocol", _WITH_PORTS)]
        if protocol not in {"ip", "ip6", "ether", "vlan", "arp"}:
            return [only("protocol", [protocol_number(protocol)])]
        if protocol in {"ip", "ip6"}:
            return [only("version", [_VERSIONS[protocol]])]
    if "&" in left:
        return _needed(_listed(left["&"])[0])
    if "concat" in left:
        return [condition for each in left["concat"] for condition in _needed(each)]
    return []


def _keys(left: object) -> tuple[str, ...]:
    if not isinstance(left, dict):
        return ("unknown",)
    if "concat" in left:
        return tuple(_key(each) for each in left["concat"])
    return (_key(left),)


def _key(left: Mapping[str, Any]) -> str:
    ((kind, body),) = left.items()
    found = None
    if kind == "meta":
        found = _META.get(body["key"])
    elif kind == "ct":
        found = _CT.get(body["key"])
    elif kind == "payload":
        found = _PAYLOAD.get((body.get("protocol"), body.get("field")))
    elif kind == "fib" and body.get("result") == "type" and "daddr" in _listed(body.get("flags")):
        found = "destination type"
    return found or "unknown"


def _gathered(key: str, elements: Iterable[object]) -> Iterator[Ranges | Names | None]:
    """Alternatives of one key, all that can be together in one."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    exact: set[str] = set()
    beginnings: set[str] = set()
    for element in elements:
        found = _one(key, element)
        if isinstance(found, Ranges):
            ranges.setdefault(found.version, []).extend(found.pairs)
        elif isinstance(found, Names):
            exact |= found.exact
            beginnings |= found.beginnings
        else:
            yield None
    for version, pairs in ranges.items():
        yield Ranges.of(version, pairs)
    if exact or beginnings:
        yield Names(frozenset(exact), frozenset(beginnings))


def _one(key: str, element: object) -> Ranges | Names | None:
    name, _, version = key.partition(" of IPv")
    if name in {"source", "destination"}:
        return _range(element, int(version))
    if name == "port":
        return _ports(element)
    if isinstance(element, dict) and "range" in element and name == "protocol":
        first, last = element["range"]
        is_told = isinstance(first, int) and isinstance(last, int)
        return Names.of(map(str, range(first, min(last, 255) + 1))) if is_told else None
    if isinstance(element, dict | list) or element == "*":
        return None
    if name == "protocol":
        return Names.of([protocol_number(element)])
    if name == "version":
        return Names.of([_VERSIONS.get(str(element), str(element))])
    if name == "packet":
        return Names.of(["host" if element == "unicast" else str(element)])
    return Names.of([str(element)])


def _range(element: object, version: int) -> Ranges | None:
    if isinstance(element, dict) and "prefix" in element:
        prefix = element["prefix"]
        network = IPNetwork(f"{prefix['addr']}/{prefix['len']}")
        pair = (network.first, network.last)
    elif isinstance(element, dict) and "range" in element:
        first, last = map(IPAddress, element["range"])
        pair = (int(first), int(last))
    elif isinstance(element, str):
        address = int(IPAddress(element))
        pair = (address, address)
    else:
        return None
    return Ranges.of(version, [pair])


def _ports(element: Any) -> Ranges | None:
    is_range = isinstance(element, dict) and "range" in element
    first, last = element["range"] if is_range else (element, element)
    is_told = isinstance(first, int) and isinstance(last, int)
    return Ranges.of(0, [(first, last)]) if is_told else None


def _is_ipv4(address: object) -> bool:
    return isinstance(address, str) and valid_ipv4(address)


def _plain(element: Any) -> Any:
    """An element without its timeout, counter and comment."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


# --- Words ---------------------------------------------------------------------------------------


def words(expression: Any) -> str:
    """A statement or an expression as people write it; what isn't known, as it is told."""
    if isinstance(expression, str):
        return expression
    if not isinstance(expression, dict) or len(expression) != 1:
        return json.dumps(expression)
    ((kind, body),) = expression.items()
    try:
        return _SPEAKING[kind](body) if kind in _SPEAKING else _otherwise(kind, body)
    except (KeyError, ValueError, TypeError, AttributeError):
        return json.dumps(expression)


def _otherwise(kind: str, body: Any) -> str:
    if kind in _TRANSLATED and body and _is_ipv4(body.get("addr")):
        return f"{kind} to {body['addr']}"
    if kind in {*_SILENT, *_PASSING, "reject"} or body is None:
        return kind
    return f"{kind} {json.dumps(body)}"


def _match_words(body: Mapping[str, Any]) -> str:
    operator = "" if body["op"] in {"==", "in"} else f"{body['op']} "
    right = body["right"]
    shown = ",".join(map(words, right)) if isinstance(right, list) else _quoted(body["left"], right)
    return f"{words(body['left'])} {operator}{shown}"


def _quoted(left: Any, right: Any) -> str:
    """The right side; names of interfaces stand in quotes."""
    is_name = isinstance(left, dict) and left.get("meta", {}).get("key", "").endswith("name")
    if is_name and isinstance(right, dict) and "set" in right:
        return "{ " + ", ".join(f'"{each}"' for each in _listed(right["set"])) + " }"
    return f'"{right}"' if is_name and not right.startswith("@") else words(right)


def _meta_words(body: Mapping[str, Any]) -> str:
    bare = {"iif", "iifname", "oif", "oifname", "mark"}
    return str(body["key"]) if body["key"] in bare else f"meta {body['key']}"


def _limit_words(body: Mapping[str, Any]) -> str:
    over = "over " if body.get("inv") else ""
    return f"limit rate {over}{body['rate']}/{body['per']}"


def _vmap_words(body: Mapping[str, Any]) -> str:
    data = body["data"]
    if isinstance(data, str):
        return f"{words(body['key'])} vmap {data}"
    pairs = (f"{words(_plain(key))} : {words(verdict)}" for key, verdict in _listed(data["set"]))
    return f"{words(body['key'])} vmap {{ {', '.join(pairs)} }}"


_SPEAKING: dict[str, Callable[[Any], str]] = {
    "match": _match_words,
    "meta": _meta_words,
    "ct": lambda body: f"ct {body['key']}",
    "payload": lambda body: f"{body['protocol']} {body['field']}",
    "fib": lambda body: f"fib {' . '.join(body['flags'])} {body['result']}",
    "concat": lambda body: " . ".join(map(words, body)),
    "set": lambda body: "{ " + ", ".join(words(_plain(e)) for e in _listed(body)) + " }",
    "prefix": lambda body: f"{body['addr']}/{body['len']}",
    "range": lambda body: f"{body[0]}-{body[1]}",
    "limit": _limit_words,
    "vmap": _vmap_words,
    "jump": lambda body: f"jump {body['target']}",
    "goto": lambda body: f"goto {body['target']}",
    "xt": lambda body: f"xt {body['type']} {body['name']}",
}
