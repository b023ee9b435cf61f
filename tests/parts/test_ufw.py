"""ufw, by what it answered in the lab (0.36.2, on Debian 12 and 13)."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tasks.declared.model import Node
from tasks.host import iptables_listing
from tasks.host.ruleset import NFT, Ruleset, merged
from tasks.host.state import HostState
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import bare, node

GONE = Node("fra1.example.net", None, None, (), is_cleared=True)
CULVERT = "comment=63756c76657274"

# As `ufw allow …` wrote them, each with the line that it makes of it; then as iptables-save has it.
OUTER = "allow ipv6 any 198.51.100.10 any 203.0.113.20 in"
OUTER_LINE = "-A ufw-user-input -p ipv6 -d 198.51.100.10 -s 203.0.113.20 -j ACCEPT"
OUTER_SAVED = "-A ufw-user-input -s 203.0.113.20/32 -d 198.51.100.10/32 -p ipv6 -j ACCEPT"
INWARD = "route:allow any any 2001:db8:1::3 any ::/0 in_eth0!out_sit-web1"
INWARD_LINE = "-A ufw6-user-forward -i eth0 -o sit-web1 -d 2001:db8:1::3 -j ACCEPT"
INWARD_SAVED = "-A ufw6-user-forward -d 2001:db8:1::3/128 -i eth0 -o sit-web1 -j ACCEPT"
OUTWARD = "route:allow any any ::/0 any 2001:db8:1::3 in_sit-web1!out_eth0"
OUTWARD_LINE = "-A ufw6-user-forward -i sit-web1 -o eth0 -s 2001:db8:1::3 -j ACCEPT"
OUTWARD_SAVED = "-A ufw6-user-forward -s 2001:db8:1::3/128 -i sit-web1 -o eth0 -j ACCEPT"
TOLD = {OUTER: OUTER_LINE, OUTWARD: OUTWARD_LINE, INWARD: INWARD_LINE}
SAVED = (OUTER_SAVED, OUTWARD_SAVED, INWARD_SAVED)
COMMANDS = (
    "ufw allow proto ipv6 from 203.0.113.20 to 198.51.100.10",
    "ufw route allow in on sit-web1 out on eth0 from 2001:db8:1::3",
    "ufw route allow in on eth0 out on sit-web1 to 2001:db8:1::3",
)


def table(prefix: str, user: Iterable[str], output: str) -> str:
    """The chains that matter, as iptables-save tells of them."""
    policies = {"INPUT": "DROP", "FORWARD": "DROP", "OUTPUT": output}
    lines = ["*filter", *(f":{name} {policy} [0:0]" for name, policy in policies.items())]
    jumps = []
    for name in policies:
        hook = name.lower()
        lines += [f":{prefix}-{kind}-{hook} - [0:0]" for kind in ("before", "user", "after")]
        jumps += [f"-A {name} -j {prefix}-{kind}-{hook}" for kind in ("before", "after")]
        established = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        jumps.append(f"-A {prefix}-before-{hook} {established}")
        jumps.append(f"-A {prefix}-before-{hook} -j {prefix}-user-{hook}")
    mine = [line for line in user if line.startswith(f"-A {prefix}-")]
    return "\n".join([*lines, *jumps, *mine, "COMMIT"])


def host(
    saved: Iterable[str] = (),
    told: Iterable[str] = (),
    *,
    enabled: str = "yes",
    output: str = "ACCEPT",
    before: HostState | None = None,
) -> HostState:
    saved = [*saved]
    rules = [
        iptables_listing.parse(table(prefix, saved, output), NFT, family)
        for prefix, family in (("ufw", "ip"), ("ufw6", "ip6"))
    ]
    state = before or bare("ifupdown", "server")
    answer = "\n".join([f"ENABLED={enabled}", *told])
    return replace(
        state,
        ruleset=merged(Ruleset(), rules),
        answers={**state.answers, "ufw": answer},
    )


def with_comment(comment: str, rules: dict[str, str] = TOLD) -> list[str]:
    return [
        line for words, made in rules.items() for line in (f"### tuple ### {words}{comment}", made)
    ]


def shown(state: HostState, wanted: Node | None = None) -> list[str]:
    changes = plan(wanted or node("server"), state).changes
    steps = (*changes.removals, *changes.steps)
    return [line for step in steps for line in step.shown if "ufw" in line]


def run(state: HostState, wanted: Node | None = None) -> list[str]:
    changes = plan(wanted or node("server"), state).changes
    return [each for step in changes.steps for each in step.commands if each.startswith("ufw")]


def test_it_is_told_what_it_drops_with_a_comment_and_no_more() -> None:
    assert shown(host()) == [f"+{command} comment culvert" for command in COMMANDS]
    assert run(host()) == [f"{command} comment culvert" for command in COMMANDS]


def test_what_was_told_is_not_told_again() -> None:
    assert shown(host(SAVED, with_comment(f" {CULVERT}"))) == []


def test_what_is_needed_no_more_is_taken_back() -> None:
    assert run(host(SAVED, with_comment(f" {CULVERT}")), GONE) == [
        "ufw delete allow proto ipv6 from 203.0.113.20 to 198.51.100.10",
        "ufw route delete allow in on sit-web1 out on eth0 from 2001:db8:1::3",
        "ufw route delete allow in on eth0 out on sit-web1 to 2001:db8:1::3",
    ]


@pytest.mark.parametrize("comment", ["", " comment=6d696e65"])
def test_the_same_rule_of_somebody_elses_stays_theirs(comment: str) -> None:
    state = host(SAVED, with_comment(comment))
    assert shown(state) == []
    assert shown(state, GONE) == []


def test_rules_that_the_kernel_lost_are_loaded_again() -> None:
    assert run(host((), with_comment(f" {CULVERT}"))) == ["ufw reload"]


def test_a_rule_of_the_users_that_refuses_comes_after_it() -> None:
    deny = "-A ufw-user-input -s 203.0.113.0/24 -j DROP"
    assert run(host([deny]))[0] == (
        "ufw prepend allow proto ipv6 from 203.0.113.20 to 198.51.100.10 comment culvert"
    )
    behind = host([deny, *SAVED], with_comment(f" {CULVERT}"))
    assert run(behind) == [
        "ufw delete allow proto ipv6 from 203.0.113.20 to 198.51.100.10",
        "ufw prepend allow proto ipv6 from 203.0.113.20 to 198.51.100.10 comment culvert",
    ]
    assert run(host([OUTER_SAVED, deny, *SAVED[1:]], with_comment(f" {CULVERT}"))) == []


def test_what_goes_out_is_let_out_where_that_is_filtered() -> None:
    found = run(host(output="DROP"))
    assert found[1] == (
        "ufw allow out proto ipv6 from 198.51.100.10 to 203.0.113.20 comment culvert"
    )


def test_its_own_early_rules_are_not_overruled() -> None:
    early = "-A ufw-before-input -p 41 -j DROP"
    rules = table("ufw", [], "ACCEPT").replace(
        "-A ufw-before-input -j", f"{early}\n-A ufw-before-input -j"
    )
    state = replace(host(), ruleset=merged(Ruleset(), [iptables_listing.parse(rules, NFT, "ip")]))
    with pytest.raises(ObstacleError) as caught:
        plan(node("server"), state)
    assert "comes before the rules that ufw lets be added" in caught.value.sentences[0]
    # A rule of ufw's would come too late.
    assert caught.value.sentences[1].strip() == (
        "iptables -I INPUT -s 203.0.113.20 -d 198.51.100.10 -p 41 -j ACCEPT"
    )


def test_once_disabled_it_is_told_nothing() -> None:
    empty = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:ufw-before-input - [0:0]\nCOMMIT"
    rules = merged(Ruleset(), [iptables_listing.parse(empty, NFT, "ip")])
    assert shown(replace(host(enabled="no"), ruleset=rules)) == []


def test_a_host_that_is_left_alone_is_told_of_rules_without_the_comment() -> None:
    wanted = replace(node("server"), leaves_firewall=True)
    with pytest.raises(ObstacleError) as caught:
        plan(wanted, host())
    lines = [line.strip() for line in caught.value.sentences]
    assert [line for line in lines if line.startswith("ufw ")] == [*COMMANDS]


def test_a_rule_comes_back_before_what_it_preceded() -> None:
    words = "deny any 22 198.51.100.10 any 0.0.0.0/0 in"
    for told, how in (([], ""), ([f"### tuple ### {words}"], "prepend ")):
        state = host(SAVED, [*with_comment(f" {CULVERT}"), *told])
        undone = [each for step in plan(GONE, state).changes.steps for each in step.undo]
        assert f"ufw {how}allow proto ipv6 from 203.0.113.20 to 198.51.100.10 comment culvert" in (
            undone
        )
