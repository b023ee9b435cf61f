"""Which rules a packet meets, as `ip rule` prints them."""

import pytest
from netaddr import IPAddress

from tasks.host import rules
from tasks.host.rules import Packet

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
    (found,) = rules.parse(f"100:\t{rule}\n")
    assert str(found) == f"100: {rule}"
    assert (found.matches(HERE), found.matches(PASSING)) == (is_for_here, is_for_passing)


def test_rules_are_met_in_their_order() -> None:
    text = "0:\tfrom all lookup local\n8:\tfrom all goto 20\n9:\tfrom all unreachable\n"
    found = rules.parse(f"{text}20:\tfrom all lookup 7 suppress_prefixlength 0\n")
    assert [str(rule) for rule in rules.met(HERE, found)] == [
        "0: from all lookup local",
        "20: from all lookup 7 suppress_prefixlength 0",
    ]
    missing = rules.parse("8:\tfrom all goto 9 [unresolved]\n20:\tfrom all lookup 7\n")
    assert [rule.table for rule in rules.met(HERE, missing)] == [None, "7"]
    assert [rule.table for rule in found] == ["local", None, None, "7"]
    assert [rule.suppressed for rule in found] == [-1, -1, -1, 0]
    assert [rule.is_rejection for rule in found] == [False, False, True, False]
