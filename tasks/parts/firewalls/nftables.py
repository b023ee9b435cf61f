"""Pure: nftables.service and its /etc/nftables.conf, told by rules of Culvert's in its chains.

A file of rules is loaded at once, and again whenever the service has loaded its own. Who loads
/etc/nftables.conf by hand is without them until the service's next reload, or the next run.
"""

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from netaddr import IPNetwork, cidr_merge

from tasks.host import nft_listing
from tasks.host.changes import Step, once_back
from tasks.host.render import render
from tasks.host.ruleset import MARK, NFT, OWN_TABLE, PROTOCOL_41, Chain, Drop, Rule
from tasks.host.state import FOLDER, OWNED, File, HostState, Search
from tasks.parts.firewalls.firewall import (
    Firewall,
    compared,
    interfaces,
    networks,
    not_enabled,
    pasted,
)

_CONFIGURATION = "/etc/nftables.conf"
_UNIT = "nftables.service"
_UNITS = "/etc/systemd/system"
_DROP_IN = f"{_UNITS}/{_UNIT}.d/{OWNED}-open.conf"
_RULES = f"/etc/{FOLDER}/open.nft"
_SCRIPT = f"/etc/{FOLDER}/open-nftables"
_TABLE = re.compile(r"\btable\s+(?:(ip6?|inet|arp|bridge|netdev)\s+)?\"?([\w/.\\-]+)")

# From a listing with handles to words that delete each of Culvert's rules.
_DELETIONS = (
    'awk \'$1 == "table" { table = $2 " " $3 } $1 == "chain" { chain = $2 } '
    f'/ comment "{MARK}" # handle [0-9]+$/ && table != "{" ".join(OWN_TABLE)}" '
    '{ print "delete rule", table, chain, "handle", $NF }\''
)
_DELETED = f"nft -a list ruleset | {_DELETIONS}"


class Nftables(Firewall):
    """Chains of tables that the service's configuration, or a file that it includes, makes."""

    name = "nftables"
    folders = (f"/etc/{FOLDER}", _UNITS)
    own_folders = (FOLDER, f"{_UNIT}.d")
    questions = (
        Search(
            "nftables",
            r"^\s*((add|create)\s+)?table\s",
            (_CONFIGURATION,),
            "line",
            includes=r'^\s*include\s*"([^"]+)"',
        ),
    )

    def holds(self, chain: Chain, state: HostState) -> bool:
        is_loaded = _UNIT in state.units and state.units[_UNIT].is_loaded
        is_nfts = chain.backend == NFT and is_loaded
        return is_nfts and (chain.family, chain.table) in tables(state)

    def is_own(self, rule: Rule, state: HostState) -> bool:
        if rule.comment != MARK or rule.backend != NFT or (rule.family, rule.table) == OWN_TABLE:
            return False
        is_of_iptables = rule.place in state.ruleset.of_iptables
        return not is_of_iptables or (rule.family, rule.table) in tables(state)

    def unfit(self, state: HostState) -> str:
        return not_enabled(_UNIT, state)

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        del state
        yield pasted(drop, is_of_iptables=False)

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        del state
        if not drops:
            return {}
        rules = [f"{_chain(rule)} {rule.text}" for rule in _rules(drops)]
        script = render("nftables/open", deletions=_DELETIONS, rules=_RULES)
        return {
            _RULES: File(render("nftables/open.nft", rules=rules, mark=MARK)),
            _SCRIPT: File(script, mode=0o755),
            _DROP_IN: File(render("nftables/drop-in.conf", script=_SCRIPT)),
        }

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        if _RULES in staged:
            yield f"nft --check --file {staged[_RULES]} 2>&1"

    def stopping(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """Nothing, and once the old files are back, they are read again."""
        del drops, state
        if _DROP_IN in changed:
            yield once_back("systemctl daemon-reload")

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        if _DROP_IN in changed:
            reload = "systemctl daemon-reload"
            yield Step((f" run: {reload}",), (reload,))
        there = [rule for rule in state.ruleset.all_rules() if self.is_own(rule, state)]
        missing, stale = compared(_rules(drops), there, drops, state)
        if missing or stale:
            yield Step(
                shown=(*_lines("-", stale), *_lines("+", missing)),
                commands=(f"sh {_SCRIPT}" if drops else f"{_DELETED} | nft -f -",),
                undo=(_put_back(there),),
            )


def _put_back(rules: Iterable[Rule]) -> str:
    """What has the chains hold these rules of Culvert's, and no other."""
    lines = (f'insert rule {_chain(rule)} {rule.text} comment "{MARK}"' for rule in rules)
    inserted = "".join(f"echo {shlex.quote(line)}; " for line in lines)
    return f"{{ {_DELETED}; {inserted}}} | nft -f -"


def tables(state: HostState) -> set[tuple[str, str]]:
    """The family and the name of each table that is configured."""
    text = state.answers.get("nftables", "")
    return {(family or "ip", name) for family, name in _TABLE.findall(text)}


def _chain(rule: Rule) -> str:
    return f"{rule.family} {rule.table} {rule.chain}"


def _lines(sign: str, rules: Iterable[Rule]) -> Iterable[str]:
    for rule in rules:
        yield f'{sign}nftables {_chain(rule)}: {rule.text} comment "{MARK}"'


# --- Rules ---------------------------------------------------------------------------------------

_LEFT: dict[str, dict[str, Any]] = {
    "iifname": {"meta": {"key": "iifname"}},
    "oifname": {"meta": {"key": "oifname"}},
    "l4proto": {"meta": {"key": "l4proto"}},
    "nfproto": {"meta": {"key": "nfproto"}},
    **{
        f"{protocol} {field}": {"payload": {"protocol": protocol, "field": field}}
        for protocol in ("ip", "ip6")
        for field in ("saddr", "daddr")
    },
}


def _rules(drops: Iterable[Drop]) -> list[Rule]:
    """As few as will do, however many tunnels there are: each packet passes all of them."""
    drops = [*drops]
    frequency = Counter((drop.chain, *pair) for drop in drops for pair in interfaces(drop))
    alike: dict[tuple[Chain, str, tuple[tuple[str, Any], ...]], list[Any]] = {}
    for drop in drops:
        matches = _matches(drop)
        varying = _varying(drop, frequency)
        others = tuple((key, None if key == varying else value) for key, value in matches.items())
        alike.setdefault((drop.chain, varying, others), []).append(matches.get(varying))
    return [
        _rule(chain, {key: values if key == varying else [value] for key, value in matches})
        for (chain, varying, matches), values in alike.items()
    ]


def _matches(drop: Drop) -> dict[str, Any]:
    """What a rule asks of a flow, by what it looks at."""
    flow = drop.flow
    if flow.protocol == PROTOCOL_41:
        return {"ip saddr": flow.source, "ip daddr": flow.destination, "l4proto": PROTOCOL_41}
    found: dict[str, Any] = {
        "iifname" if is_in else "oifname": name for is_in, name in interfaces(drop)
    }
    found |= {f"ip6 {'saddr' if is_in else 'daddr'}": net for is_in, net in networks(drop)}
    # A table of one version's refuses to be asked.
    return found | ({"nfproto": f"ipv{flow.version}"} if drop.chain.family == "inet" else {})


def _varying(drop: Drop, frequency: Mapping[tuple[Chain, bool, str], int]) -> str:
    """What flows that are alike differ in: the other end, or the tunnel."""
    flow, chain = drop.flow, drop.chain
    if flow.protocol == PROTOCOL_41:
        return "ip saddr" if flow.hook == "input" else "ip daddr"
    if chain.hook != "forward":
        return "ip6 saddr" if flow.source.prefixlen else "ip6 daddr"
    into, out_of = frequency[chain, True, flow.came_in], frequency[chain, False, flow.goes_out]
    return "oifname" if into >= out_of else "iifname"


def _rule(chain: Chain, matches: Mapping[str, list[Any]]) -> Rule:
    """A rule, as nft would tell of it."""
    entry = {"family": chain.family, "table": chain.table, "chain": chain.name, "comment": MARK}
    expressions: list[Any] = [
        {"match": {"op": "==", "left": _LEFT[key], "right": _right(values)}}
        for key, values in matches.items()
    ]
    return nft_listing.parse_rule({**entry, "expr": [*expressions, {"accept": None}]})


def _right(values: list[Any]) -> Any:
    values = [*dict.fromkeys(values)]
    if any(isinstance(each, IPNetwork) and each.size > 1 for each in values):
        # A set takes nothing that overlaps.
        values = cidr_merge(values)
    found = [_network(each) if isinstance(each, IPNetwork) else each for each in values]
    return found[0] if len(found) == 1 else {"set": found}


def _network(network: IPNetwork) -> Any:
    if network.size == 1:
        return str(network.ip)
    return {"prefix": {"addr": str(network.network), "len": network.prefixlen}}
