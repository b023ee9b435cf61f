"""Which rules a packet meets, as `ip rule` tells of them."""

import json

import pytest
from netaddr import IPAddress

from tasks.host import rules
from tasks.host.rules import Packet, Rule
from tests import networks

HERE = Packet(IPAddress("2001:db8:1::2"), IPAddress("2001:db8:1::3"))
PASSING = Packet(IPAddress("2001:db8:ffff::1"), IPAddress("2001:db8:1::3"), "eth0")


@pytest.mark.parametrize(
    ("rule", "is_for_here", "is_for_passing"),
    [
        ("from all lookup 100", True, True),
        ("from 2001:db8:1::/64 lookup 100", True, False),
        ("from 2001:db8:1::2 lookup 100 proto static", True, False),
        ("from all to 2001:db8:1::/64 blackhole", True, True),
        ("from all to 2001:db8:2::/64 lookup 100", False, False),
        ("from all iif eth0 lookup 100", False, True),
        ("from all iif wg0 [detached] lookup 100", False, False),
        ("from all fwmark 0x6 lookup 100", False, False),
        ("not from all fwmark 0xca6c lookup 51820", True, True),
        ("not from 2001:db8:1::/64 lookup 100", False, True),
        ("from all uidrange 0-1000 lookup 100", False, False),
        ("from all lookup 100 dscp EF", False, False),
        ("from all ipproto tcp dport 80 lookup 100", False, False),
        ("from all lookup [l3mdev-table]", False, False),
        ("from all lookup main suppress_prefixlength 0", True, True),
    ],
)
def test_a_rule_is_for_a_packet(rule: str, is_for_here: bool, is_for_passing: bool) -> None:
    found = Rule(100, rule)
    found.check()
    assert str(found) == f"100: {rule}"
    assert (found.matches(HERE), found.matches(PASSING)) == (is_for_here, is_for_passing)


def test_rules_are_met_in_their_order() -> None:
    found = [
        Rule(0, "from all lookup local"),
        Rule(8, "from all goto 20"),
        Rule(9, "from all unreachable"),
        Rule(20, "from all lookup 7 suppress_prefixlength 0"),
    ]
    assert [str(rule) for rule in rules.met(HERE, found)] == [
        "0: from all lookup local",
        "20: from all lookup 7 suppress_prefixlength 0",
    ]
    missing = [Rule(8, "from all goto 9 [unresolved]"), Rule(20, "from all lookup 7")]
    assert [rule.table for rule in rules.met(HERE, missing)] == [None, "7"]
    assert [rule.table for rule in found] == ["local", None, None, "7"]
    assert [rule.suppressed for rule in found] == [-1, -1, -1, 0]
    assert [rule.is_rejection for rule in found] == [False, False, True, False]


MADE = """
from 2001:db8:1::/64 iif lo lookup 100
not from 2001:db8:1::2 to 2001:db8:2::/48 iif wg0 oif eth0 lookup main suppress_prefixlength 3
fwmark 6/7 lookup 7
fwmark 0xca6c uidrange 0-0 lookup 51820 protocol static
ipproto tcp sport 1-3 dport 80 lookup 7
tos 0x10 lookup 100
tun_id 7 lookup 100
lookup main suppress_ifgroup 3
l3mdev
pref 100 goto 30000
nop
prohibit
unreachable
blackhole
"""
"""Words of `ip -6 rule add`, for all that one may be asked for."""


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_is_told_in_the_words_of_ip_rule(version: int) -> None:
    words = [line for line in MADE.strip().splitlines() if version == 6 or ":" not in line]
    lines = "\n".join(f"rule add {each}" for each in words)
    # As a host is asked: of IPv4 with all details, by naming no version.
    details = "" if version == 6 else "-details"
    family = "-6" if version == 6 else ""
    said = networks.run(
        f"ip -{version} -batch - <<'END'\n{lines}\nEND\n"
        f"ip -{version} rule show\necho\n"
        f"echo rule show | ip {family} -json {details} -batch -\n"
    )
    text, told = said[: said.index("")], json.loads("".join(said[said.index("") :]))
    assert len(text) >= len(words)
    assert [str(rule) for rule in rules.of(told)] == [" ".join(line.split()) for line in text]
