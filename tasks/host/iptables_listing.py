"""Pure: what `iptables-save` and `ip6tables-save` print, as a ruleset, of either backend.

Of a match that isn't known nothing can be judged.
"""

import shlex
from collections.abc import Iterator

from netaddr import AddrFormatError, IPAddress, IPNetwork, valid_ipv4

from tasks.host.ruleset import (
    UNKNOWN,
    Chain,
    Condition,
    Place,
    Ranges,
    Rule,
    Ruleset,
    Verdict,
    only,
    protocol_number,
)

_HOOKS = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
# Modules whose every option is read, or that say nothing by themselves.
_UNDERSTOOD = {"comment", "conntrack", "state", "addrtype", "pkttype", "iprange"}
_UNDERSTOOD |= {"multiport", "tcp", "udp", "icmp", "icmp6", "icmpv6", "sctp"}
_ACCEPTING = {"ACCEPT", "QUEUE", "NFQUEUE", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "TPROXY"}
_ACCEPTING |= {"NETMAP"}
_VERDICTS = {**dict.fromkeys(_ACCEPTING, "accept"), "DROP": "drop", "REJECT": "drop"}
_VERDICTS |= {"RETURN": "return"}
_TRANSLATING = {"DNAT": ("dnat", "--to-destination"), "SNAT": ("snat", "--to-source")}
_LONG = {
    "--source": "-s",
    "--destination": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--jump": "-j",
    "--goto": "-g",
    "--match": "-m",
    "--state": "--ctstate",
}


def parse(text: str, backend: str, family: str) -> Ruleset:
    """The ruleset that one of the programs tells of; lines that can't be read are passed over."""
    policies: dict[Chain, str] = {}
    rules: dict[tuple[Place, str], list[Rule]] = {}
    own: set[Place] = set()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            own.add((backend, family, table))
        elif line.startswith(":") and len(words := line[1:].split()) > 1:
            place = (backend, family, table)
            rules.setdefault((place, words[0]), [])
            if words[0] in _HOOKS and words[1] != "-":
                chain = Chain(*place, words[0], words[0].lower())
                policies[chain] = words[1].lower()
        elif line.startswith("-A ") and table:
            rule = parse_rule(line, backend, family, table)
            if rule is not None:
                rules.setdefault((rule.place, rule.chain), []).append(rule)
    return Ruleset(policies, {key: tuple(each) for key, each in rules.items()}, frozenset(own))


def parse_rule(line: str, backend: str, family: str, table: str) -> Rule | None:
    """The rule that a line `-A CHAIN …` makes; None where it can't be split into words."""
    try:
        _, chain, *words = shlex.split(line)
    except ValueError:
        return None
    conditions: list[Condition] = []
    verdicts: tuple[tuple[Condition | None, Verdict], ...] = ()
    comment = ""
    for option, values, is_negated in _options(words):
        if option in {"-j", "-g"}:
            # What comes after is the target's. One that is no chain has an end of its own: none.
            verdicts = ((None, _verdict(option, values[0] if values else "", words)),)
            break
        if option == "--comment":
            comment = " ".join(values)
            continue
        try:
            condition = _condition(option, values, family)
        except (ValueError, IndexError, AddrFormatError):
            condition = UNKNOWN
        if condition is not None:
            negated = Condition(condition.keys, condition.values, is_negated)
            conditions.append(negated if is_negated else condition)
    return Rule(backend, family, table, chain, line, tuple(conditions), verdicts, comment)


def _verdict(option: str, name: str, words: list[str]) -> Verdict:
    if name in _TRANSLATING:
        kind, word = _TRANSLATING[name]
        address = words[words.index(word) + 1 :][:1] if word in words else []
        # One for all, without ports.
        if address and valid_ipv4(address[0]):
            return Verdict(kind, address[0])
    if name in _VERDICTS:
        return Verdict(_VERDICTS[name])
    return Verdict("goto" if option == "-g" else "jump", name)


def _options(words: list[str]) -> Iterator[tuple[str, list[str], bool]]:
    """Each option with its values, and whether there is a `!` before it."""
    option, values, is_negated, is_next_negated = "", list[str](), False, False
    for word in words:
        if option in _OF_TEXT and not values:
            values.append(word)
        elif word == "!":
            is_next_negated = True
        elif word.startswith("-"):
            if option:
                yield option, values, is_negated
            option, values = _LONG.get(word, word), []
            is_negated, is_next_negated = is_next_negated, False
        else:
            values.append(word)
    if option:
        yield option, values, is_negated


# Those whose value may begin with a dash.
_OF_TEXT = {"--comment", "--string", "--hex-string"}

# What `--syn` is: the first packet of a connection.
_OF_NEW = ["FIN,SYN,RST,ACK", "SYN"]


def _condition(option: str, values: list[str], family: str) -> Condition | None:
    """What an option asks of a packet; None where that is nothing."""
    version = 6 if family == "ip6" else 4
    addresses = {"-s": "source", "-d": "destination"}
    addresses |= {"--src-range": "source", "--dst-range": "destination"}
    if option in addresses:
        key = f"{addresses[option]} of IPv{version}"
        return Condition((key,), ((_range(values[0], version),),))
    if option in {"-i", "-o"}:
        word = values[0]
        # A plus sign at the end is what a star is elsewhere.
        pattern = f"{word[:-1]}*" if word.endswith("+") else word
        return only("came in" if option == "-i" else "goes out", [pattern])
    if option == "-p":
        return None if values[0] in {"all", "0"} else only("protocol", [protocol_number(values[0])])
    if option in {"--dport", "--dports"}:
        pairs = (each.partition(":") for each in values[0].split(","))
        found = [(int(first), int(last or first)) for first, _, last in pairs]
        return Condition(("port",), ((Ranges.of(0, found),),))
    if option == "--tcp-flags" and values == _OF_NEW:
        return only("protocol", [protocol_number("tcp")])
    if option == "-m":
        return None if values[0] in _UNDERSTOOD else UNKNOWN
    if option == "--ctstate":
        return only("state", values[0].lower().split(","))
    if option == "--ctdir":
        return only("direction", [values[0].lower()])
    if option == "--dst-type":
        return only("destination type", values[0].lower().split(","))
    if option == "--pkt-type":
        return only("packet", ["host" if values[0] == "unicast" else values[0]])
    return UNKNOWN


def _range(text: str, version: int) -> Ranges:
    if "-" in text:
        first, last = map(IPAddress, text.split("-"))
        return Ranges.of(version, [(int(first), int(last))])
    network = IPNetwork(text)
    return Ranges.of(version, [(network.first, network.last)])
