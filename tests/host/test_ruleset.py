"""What netfilter's rules do with a flow, as nft 1.0.6 and iptables 1.8.9 tell of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPNetwork

from tasks.host import iptables_listing, nft_listing
from tasks.host.ruleset import LEGACY, NFT, PROTOCOL_41, Chain, Flow, Ruleset, merged

LISTINGS = Path(__file__).parent / "listings"
# A listing of a chain that drops, and rules to put into it, by their words.
RULES = json.loads((LISTINGS / "nft-1.0.6.json").read_text())
# The same in another order. Its rules were seen to be the same, word by word.
LATER = json.loads((LISTINGS / "nft-1.1.3.json").read_text())

OUTER = Flow("input", IPNetwork("203.0.113.20"), IPNetwork("198.51.100.10"), "eth0", "", 41)
OUT = Flow("forward", IPNetwork("2001:db8:1::3"), IPNetwork("::/0"), "sit-web1", "eth0")
BACK = Flow("forward", IPNetwork("::/0"), IPNetwork("2001:db8:1::3"), "eth0", "sit-web1")


def ruleset(*rules: list[Any], hook: str = "input", policy: str = "drop", **more: Any) -> Ruleset:
    """The listing with these rules in its chain, each in the words of the JSON."""
    entries = json.loads(json.dumps(RULES["listing"]))
    for entry in entries:
        if "hook" in entry.get("chain", {}):
            entry["chain"] |= {"hook": hook, "policy": policy}
    for handle, rule in enumerate(rules, 100):
        place = {"family": "inet", "table": "filter", "chain": "input", "handle": handle}
        entries.append({"rule": {**place, "expr": rule, **more}})
    return nft_listing.parse(json.dumps({"nftables": entries}))


# Whether protocol 41 passes in `input`, and what a client sends passes in `forward`.
PASSING = {
    "ip saddr 203.0.113.20 ip daddr 198.51.100.10 meta l4proto 41 accept": (True, False),
    "ip protocol 41 accept": (True, False),
    "ip saddr 203.0.113.21 accept": (False, False),
    "ip saddr != 203.0.113.21 accept": (True, False),
    "ip saddr != 203.0.113.20 accept": (False, False),
    "ip saddr { 203.0.113.0/24, 192.0.2.1-192.0.2.9 } accept": (True, False),
    "ip saddr != { 203.0.113.0/24, 192.0.2.1-192.0.2.9 } accept": (False, False),
    "ip saddr @friends accept": (True, False),
    "ip saddr @banned accept": (False, False),
    "ip6 saddr 2001:db8:1::/64 accept": (False, True),
    "ip6 saddr != 2001:db8:7::/64 accept": (False, True),
    'iifname "eth0" accept': (True, False),
    'iifname "et*" accept': (True, False),
    'iifname { "eth1", "sit-*" } accept': (False, True),
    'iifname != "eth1" accept': (True, True),
    "iifname @inside accept": (True, True),
    'oifname "eth0" accept': (False, True),
    'iif "lo" accept': (False, False),
    "meta nfproto ipv4 accept": (True, False),
    "meta nfproto ipv6 accept": (False, True),
    "meta protocol ip accept": (True, False),
    "meta l4proto { tcp, udp, ipv6-icmp, 41 } accept": (True, True),
    # Told by names, of which the order isn't known.
    "meta l4proto 40-50 accept": (False, False),
    "meta l4proto != tcp accept": (True, False),
    "meta pkttype unicast accept": (True, True),
    "tcp dport 22 accept": (False, False),
    "tcp dport != 22 accept": (False, False),
    "th dport 53 accept": (False, False),
    "icmpv6 type echo-request accept": (False, False),
    "ct state new accept": (True, True),
    "ct state established,related accept": (False, False),
    "ct state { new, established } accept": (True, True),
    "ct state != established accept": (True, True),
    "ct state ! established,related accept": (True, True),
    "ct state vmap { established : accept, new : accept, invalid : drop }": (True, True),
    "ct state vmap { established : accept, invalid : drop }": (False, False),
    "ct direction original accept": (True, True),
    "ct status dnat accept": (False, False),
    'iifname vmap { "eth0" : accept, "sit-web1" : accept }': (True, True),
    "iifname vmap @ways": (True, True),
    'iifname . ip saddr vmap { "eth0" . 203.0.113.20 : accept }': (True, False),
    # A star is for all other keys, where it can be told that they are others.
    'iifname vmap { "lo" : drop, * : accept }': (True, True),
    'iifname vmap { "eth0" : continue, * : accept }': (False, True),
    "meta mark vmap { 1 : drop, * : accept }": (False, False),
    "ip6 saddr vmap { 2001:db8:9::/48 : drop, * : accept }": (False, True),
    'iifname . ip saddr vmap { "eth0" . 203.0.113.21 : drop, * : accept }': (True, False),
    'iifname . ip6 saddr { "sit-web1" . 2001:db8:1::/64 } accept': (False, True),
    "meta mark 1 accept": (False, False),
    "limit rate 10/second accept": (False, False),
    "ip saddr & 0.0.0.255 == 20 accept": (False, False),
    "fib daddr type local accept": (True, False),
    "fib saddr . iif oif exists accept": (False, False),
    "jump accepting": (True, True),
    "jump returning": (False, False),
    "goto returning": (False, False),
    "counter log accept": (True, True),
}


def test_every_rule_of_the_listing_is_tried() -> None:
    assert PASSING.keys() == RULES["rules"].keys()


@pytest.mark.parametrize("rule", PASSING)
def test_what_a_rule_lets_pass(rule: str) -> None:
    expression = RULES["rules"][rule]
    found = tuple(not ruleset(expression, hook=flow.hook).drops(flow) for flow in (OUTER, OUT))
    assert found == PASSING[rule]


@pytest.mark.parametrize("rule", [rule for rule in PASSING if rule.endswith(" accept")])
def test_what_a_rule_drops_is_what_it_would_let_pass(rule: str) -> None:
    """Also where that can't be judged: then it does neither."""
    expression = [*RULES["rules"][rule][:-1], {"drop": None}]
    for flow, is_met in zip((OUTER, OUT), PASSING[rule], strict=True):
        drops = ruleset(expression, hook=flow.hook, policy="accept").drops(flow)
        # Of all that may pass, one kind that is dropped is enough.
        assert bool(drops) == (is_met or (rule, flow) == ("meta l4proto != tcp accept", OUT))


def test_what_a_map_drops_all_else_by_is_dropped() -> None:
    told = json.dumps(RULES["rules"]['iifname vmap { "lo" : drop, * : accept }'])
    rule = json.loads(told.replace("accept", "drop"))
    assert [drop.rule is not None for drop in ruleset(rule, policy="accept").drops(OUTER)] == [True]


def test_a_later_nft_tells_of_the_same_in_another_order() -> None:
    told = [nft_listing.parse(json.dumps({"nftables": each["listing"]})) for each in (RULES, LATER)]
    assert LATER["listing"][1:] != RULES["listing"][1:]
    first, second = ({*map(str, each.policies)} for each in told)
    assert first == second == {"inet filter input"}
    assert len({frozenset(rule.effect for rule in each.all_rules()) for each in told}) == 1


def test_a_rule_for_a_part_of_a_network_is_no_rule_for_it() -> None:
    rule = RULES["rules"]["ip6 saddr 2001:db8:1::/64 accept"]
    assert not ruleset(rule, hook="forward").drops(OUT)
    assert ruleset(rule, hook="forward").drops(BACK)
    wide = Flow("forward", IPNetwork("2001:db8:1::/60"), IPNetwork("::/0"), "sit-web1", "eth0")
    assert ruleset(rule, hook="forward").drops(wide)


@pytest.mark.parametrize(
    ("operator", "prefix", "is_met"),
    [
        ("==", "2000::/3", True),
        ("!=", "2000::/3", False),
        ("==", "fc00::/7", False),
        ("!=", "fc00::/7", True),
        ("==", "2001:db8:7::/48", None),
        ("!=", "2001:db8:7::/48", None),
    ],
)
def test_the_internet_has_global_unicast_addresses(
    operator: str, prefix: str, is_met: bool | None
) -> None:
    left = {"payload": {"protocol": "ip6", "field": "saddr"}}
    addr, _, length = prefix.partition("/")
    right = {"prefix": {"addr": addr, "len": int(length)}}
    match = {"match": {"op": operator, "left": left, "right": right}}
    assert (not ruleset([match, {"accept": None}], hook="forward").drops(BACK)) == (is_met is True)
    dropping = ruleset([match, {"drop": None}], hook="forward", policy="accept")
    assert bool(dropping.drops(BACK)) == (is_met is True)


def test_what_drops_is_told_in_words() -> None:
    (drop,) = ruleset().drops(OUTER)
    assert drop.chain == Chain(NFT, "inet", "filter", "input", "input")
    assert drop.by == "its policy"
    assert str(drop) == "chain inet filter input drops it (policy)"
    rule = [*RULES["rules"]['iifname { "eth1", "sit-*" } accept'][:-1], {"reject": None}]
    (drop,) = ruleset(rule, hook="forward").drops(OUT)
    assert drop.by == 'iifname { "eth1", "sit-*" } reject'
    assert str(drop) == f"chain inet filter input drops it (`{drop.by}`)"
    assert [str(flow) for flow in (OUTER, OUT, BACK)] == [
        "protocol 41 from 203.0.113.20",
        "IPv6 from sit-web1 (2001:db8:1::3) to eth0",
        "IPv6 from eth0 to sit-web1 (2001:db8:1::3)",
    ]


def test_every_base_chain_on_the_way_must_let_it_pass() -> None:
    accepting = RULES["rules"]["counter log accept"]
    entries = json.loads(json.dumps(RULES["listing"]))
    place = {"family": "inet", "table": "late", "handle": 1}
    for hook, policy in (("prerouting", "drop"), ("input", "drop"), ("forward", "accept")):
        chain = {**place, "name": hook, "hook": hook, "policy": policy}
        entries.append({"chain": {**chain, "type": "filter", "prio": 10}})
    entries.append(
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": accepting}}
    )
    found = nft_listing.parse(json.dumps({"nftables": entries}))
    assert [drop.chain.name for drop in found.drops(OUTER)] == ["prerouting", "input"]
    assert [drop.chain.name for drop in found.drops(OUT)] == ["prerouting"]


def test_culverts_own_rules_can_be_left_out_of_consideration() -> None:
    found = ruleset(RULES["rules"]["ip protocol 41 accept"], comment="culvert")
    assert not found.drops(OUTER)
    assert found.drops(OUTER, as_without="culvert")
    assert found.without(lambda rule: rule.handle == 100).drops(OUTER)
    assert [rule.handle for rule in found.commented()["nft inet filter input"]] == [100]


def test_culverts_own_table_is_never_looked_at() -> None:
    text = json.dumps({"nftables": RULES["listing"]}).replace('"filter"', '"culvert"')
    assert not nft_listing.parse(text).drops(OUTER)


@pytest.mark.parametrize(("rule", "passes"), [("@inside accept", False), ("vmap @ways", True)])
def test_of_a_set_that_was_not_told_nothing_can_be_judged(rule: str, passes: bool) -> None:
    """And what is in the maps stands before all else, where the sets are too large."""
    place = {"family": "inet", "table": "filter", "chain": "input"}
    added = {"rule": {**place, "expr": RULES["rules"][f"iifname {rule}"]}}
    terse = [
        {kind: {key: value for key, value in entry.items() if key != "elem"}}
        for each in (*RULES["listing"], added)
        for kind, entry in each.items()
    ]
    maps = json.dumps({"nftables": [each for each in RULES["listing"] if "map" in each]})
    text = f"table inet filter\n{json.dumps({'nftables': terse})}"
    assert nft_listing.parse(text, is_terse=True).drops(OUTER)
    assert (not nft_listing.parse(f"{maps}\n{text}", is_terse=True).drops(OUTER)) == passes
    # Cut, where the maps are, too.
    assert nft_listing.parse(f"{maps[:-9]}\n{text}", is_terse=True).drops(OUTER)


@pytest.mark.parametrize(
    "expression",
    [
        [{"xt": None}, {"accept": None}],
        [{"xt": {"type": "match", "name": "recent"}}, {"accept": None}],
        ["socket transparent 1", {"accept": None}],
        [{"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "x"}}, {"accept": None}],
        [{"match": {"left": None}}, {"accept": None}],
        [{"match": 5}, {"accept": None}],
        [{"jump": {}}],
        [{"vmap": {"key": {"meta": {"key": "mark"}}, "data": {"set": [[1, {"accept": None}]]}}}],
        [5],
        None,
    ],
)
def test_what_is_not_known_is_no_promise(expression: Any) -> None:
    found = ruleset(expression)
    assert found.drops(OUTER)
    assert all(isinstance(rule.text, str) for rule in found.all_rules())


@pytest.mark.parametrize("flags", ["dormant", ["dormant"], ["owner", "dormant"]])
def test_a_table_that_sleeps_drops_nothing(flags: object) -> None:
    """Its chains hang on no hook, and its rules are as they were."""
    place = {"family": "inet", "name": "filter"}
    entries = [{"table": {**place, "flags": flags}}, *RULES["listing"]]
    found = nft_listing.parse(json.dumps({"nftables": entries}))
    assert ruleset().drops(OUTER)
    assert not found.drops(OUTER)
    assert found.rules == ruleset().rules


@pytest.mark.parametrize(
    ("chain", "unread"),
    [
        ("jump {\n\t\tct state established accept\n\t\tdrop\n\t}", ("inet filter",)),
        ("goto {\n\t\treject with tcp reset\n\t}", ("inet filter",)),
        ("jump {\n\t\taccept\n\t}", ()),
        ("socket transparent 1", ()),
    ],
)
def test_rules_in_braces_are_told_as_text_and_may_drop_anything(
    chain: str, unread: tuple[str, ...]
) -> None:
    inside = [RULES["rules"]['iifname "eth0" accept'][0], chain]
    assert ruleset(inside, inside, policy="accept").unread == unread


@pytest.mark.parametrize(
    "text", ["", "nft: not a number", "{}", "[]", '{"nftables": [1, {"rule": 2}]}']
)
def test_a_listing_that_cant_be_read_tells_of_no_rules(text: str) -> None:
    assert not nft_listing.parse(text).drops(OUTER)


def test_a_table_that_cant_be_read_is_named_and_the_others_are_read() -> None:
    """As nft 1.0.6 tells of a table with a flag: up to the flag."""
    listing = json.dumps({"nftables": RULES["listing"]})
    cut = '{"nftables": [{"table": {"family": "inet", "name": "mine", "flags": '
    tables = [("inet mine", cut), ("inet filter", listing), ("ip gone", ""), ("bridge b", cut)]

    found = nft_listing.parse("\n".join(f"table {name}\n{text}" for name, text in tables))

    assert found.unread == ("inet mine", "ip gone")
    assert found.drops(OUTER)
    assert merged(found, [iptables_listing.parse(UFW, NFT, "ip")]).unread == (
        "inet mine",
        "ip gone",
    )


def test_base_chains_that_iptables_knows_nothing_of_are_in_its_table_nonetheless() -> None:
    """It tells of its own instead, which aren't there, after a line that says so."""
    place = {"family": "ip", "table": "filter"}
    hook = {"hook": "input", "policy": "drop"}
    rule = {**place, "chain": "input", "expr": RULES["rules"]["ip protocol 41 accept"]}
    chain = {"chain": {**place, "name": "input", **hook}}
    own = iptables_listing.parse("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", NFT, "ip")

    (drop,) = merged(nft_listing.parse(json.dumps({"nftables": [chain]})), [own]).drops(OUTER)
    both = merged(nft_listing.parse(json.dumps({"nftables": [chain, {"rule": rule}]})), [own])

    assert drop.chain.name == "input"
    assert not both.is_of_iptables(drop.chain)
    assert not both.drops(OUTER)


TO_PEER = Flow(
    "output", IPNetwork("198.51.100.10"), IPNetwork("203.0.113.20"), "", "eth0", PROTOCOL_41
)


@pytest.mark.parametrize(
    ("rule", "flow", "passes"),
    [
        ("PREROUTING -i eth0 -j DNAT --to-destination 192.0.2.7", OUTER, False),
        ("PREROUTING -i eth0 -p tcp -j DNAT --to-destination 192.0.2.7", OUTER, True),
        ("PREROUTING -i eth0 -j DNAT --to-destination 198.51.100.10", OUTER, True),
        ("PREROUTING -i eth0 -j DNAT --to-destination 192.0.2.7-192.0.2.9", OUTER, True),
        ("POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.11", TO_PEER, False),
        ("POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.10 --persistent", TO_PEER, True),
        ("POSTROUTING -o eth0 -j MASQUERADE", TO_PEER, True),
    ],
)
def test_a_packet_of_a_tunnels_that_gets_another_address_is_lost(
    rule: str, flow: Flow, passes: bool
) -> None:
    chains = ":PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
    found = iptables_listing.parse(f"*nat\n{chains}-A {rule}\n", NFT, "ip")
    assert (not found.drops(flow)) == passes


@pytest.mark.parametrize(
    ("statement", "passes"),
    [
        ({"dnat": {"addr": "192.0.2.7"}}, False),
        ({"dnat": {"addr": "198.51.100.10"}}, True),
        ({"dnat": {"family": "ip6", "addr": "fd00::2"}}, True),
        ({"dnat": {"addr": {"range": ["192.0.2.7", "192.0.2.9"]}}}, True),
        ({"snat": {"family": "ip", "addr": "192.0.2.7"}}, False),
        ({"redirect": None}, True),
        ({"masquerade": None}, True),
    ],
)
def test_nft_tells_of_another_address(statement: dict[str, Any], passes: bool) -> None:
    found = ruleset([statement], hook="prerouting", policy="accept")
    assert (not found.drops(OUTER)) == passes
    assert not found.drops(BACK)
    assert passes or "to 192.0.2.7`" in str(*found.drops(OUTER))


UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw-before-input - [0:0]
:ufw-not-local - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j LOG --log-prefix "-- [UFW] "
-A INPUT -j REJECT --reject-with icmp-port-unreachable
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST,MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -j DROP
"""


def test_a_flow_through_the_chains_of_ufw() -> None:
    (drop,) = iptables_listing.parse(UFW, NFT, "ip").drops(OUTER)
    assert drop.by == "-A INPUT -j REJECT --reject-with icmp-port-unreachable"
    opened = "-A ufw-user-input -s 203.0.113.20/32 -d 198.51.100.10/32 -p ipv6 -j ACCEPT\n"
    assert not iptables_listing.parse(UFW + opened, NFT, "ip").drops(OUTER)


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        ("-p ipv6 -j ACCEPT", True),
        ("-p 41 -j ACCEPT", True),
        ("! -p tcp -j ACCEPT", True),
        ("-s 203.0.113.0/24 -i eth+ -j ACCEPT", True),
        ("! -s 203.0.113.0/24 -j ACCEPT", False),
        ("! -i eth1 -j ACCEPT", True),
        ("-o eth0 -j ACCEPT", False),
        ("-m iprange --src-range 203.0.113.16-203.0.113.31 -j ACCEPT", True),
        ("-m iprange ! --src-range 203.0.113.16-203.0.113.31 -j ACCEPT", False),
        ('-m comment --comment "-j DROP" -j ACCEPT', True),
        ("-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", True),
        ("-m state ! --state INVALID -j ACCEPT", True),
        ("-m limit --limit 3/min -j ACCEPT", False),
        ("-p tcp -m multiport --dports 22,80 -j ACCEPT", False),
        ("-m set --match-set friends src -j ACCEPT", False),
        ("-m socket -j ACCEPT", False),
        ("-m pkttype --pkt-type unicast -j ACCEPT", True),
        ("-j MARK --set-xmark 0x1/0xffffffff", False),
        ("-j NFQUEUE --queue-num 1", True),
        ("-g elsewhere", True),
        ("-s nonsense -j ACCEPT", False),
        ('-m comment --comment "cut', False),
        ("", False),
    ],
)
def test_what_a_rule_of_iptables_lets_pass(rule: str, passes: bool) -> None:
    text = (
        f"*filter\n:INPUT DROP [0:0]\n:elsewhere - [0:0]\n-A elsewhere -j ACCEPT\n-A INPUT {rule}\n"
    )
    found = iptables_listing.parse(text, LEGACY, "ip")
    assert (not found.drops(OUTER)) == passes
    assert found.is_of_iptables(Chain(LEGACY, "ip", "filter", "INPUT", "input"))


def test_a_rule_for_one_protocol_is_found_among_rules_for_one_address_each() -> None:
    """Rules are looked up by what they are for; a protocol is none of the things to look up by."""
    chain = {"family": "ip", "table": "filter", "chain": "input"}
    base = {"family": "ip", "table": "filter", "name": "input", "hook": "input", "policy": "drop"}

    def rule(field: str, value: object) -> dict[str, object]:
        left = {"payload": {"protocol": "ip", "field": field}}
        match = {"match": {"op": "==", "left": left, "right": value}}
        return {"rule": {**chain, "expr": [match, {"accept": None}]}}

    rules = [rule("saddr", "192.0.2.1"), rule("protocol", 41)]
    found = nft_listing.parse(json.dumps({"nftables": [{"chain": base}, *rules]}))
    passing = Flow(
        "input", IPNetwork("203.0.113.20"), IPNetwork("198.51.100.10"), "eth0", "", PROTOCOL_41
    )
    assert found.drops(passing) == ()
