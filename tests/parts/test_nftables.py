"""An nftables.service that is told what to let pass, with nft itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import asking, nft_listing
from tasks.host.changes import Changes
from tasks.host.state import HostState, Unit
from tasks.parts import managers
from tasks.parts.firewalls import nftables
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests import namespaces
from tests.samples import INVENTORY, bare, deployed, node

UNIT = "nftables.service"
CONFIGURATION = """
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif "lo" accept
        tcp dport 22 accept comment "mine"
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
    }
    chain output { type filter hook output priority filter; policy accept
    }
}
table ip6 old {
    chain forward {
        type filter hook forward priority 10; policy accept;
        iifname "sit-*" reject
    }
}
"""
TABLES = "table inet filter {\ntable ip6 old {"


def with_nftables(state: HostState, told: str, **unit: bool) -> HostState:
    found = Unit(**{"is_loaded": True, "is_active": True, "is_enabled": True, **unit})
    return replace(
        state,
        ruleset=nft_listing.parse(told),
        units={**state.units, UNIT: found},
        answers={**state.answers, "nftables": TABLES},
    )


def running(changes: Changes) -> list[str]:
    steps = (*changes.removals, *changes.steps)
    return [line for step in steps for line in step.shown if "nftables" in line]


class Host:
    """A namespace's rules, as they are after some commands, and Culvert's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = [self.load]

    @property
    def load(self) -> str:
        path = self.folder / "nftables.conf"
        path.write_text(CONFIGURATION)
        return f"nft -f {path}"

    def listing(self) -> str:
        return namespaces.run([*self.commands, "nft -j list ruleset"])

    def plain(self) -> str:
        return namespaces.run([*self.commands, "nft list ruleset"])

    def converge(self, found: Changes, *, undone: bool = False) -> None:
        for change in found.files:
            if change.path.startswith("/etc/culvert/open") and change.after:
                path = self.folder / change.path.rpartition("/")[2]
                path.write_text(self.here(change.after.text))
        for step in found.steps:
            if any("nftables" in line and "systemctl" not in line for line in step.shown):
                commands = [*step.commands, *(step.undo if undone else ())]
                self.commands += [self.here(command) for command in commands]

    def here(self, text: str) -> str:
        return text.replace("/etc/culvert/", f"{self.folder}/")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def three_clients() -> Node:
    inventory = dict(INVENTORY)
    for number in (2, 3):
        tunnel = {"server": "fra1.example.net", "ipv4": f"192.0.2.{number}", "number": number}
        inventory[f"db{number}.example.net"] = {"tunnel": tunnel}
    return declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"]


def opened(host: Host, wanted: Node, state: HostState) -> Changes:
    return plan(wanted, with_nftables(state, host.listing())).changes


@namespaces.needed
def test_what_drops_is_opened_by_few_rules(host: Host) -> None:
    before = host.plain()
    state = bare("ifupdown", "server")
    changes = opened(host, three_clients(), state)
    assert running(changes) == [
        "+nftables inet filter input: ip saddr { 203.0.113.20, 192.0.2.2, 192.0.2.3 } ip daddr "
        '198.51.100.10 meta l4proto 41 accept comment "culvert"',
        '+nftables inet filter forward: iifname { "sit-web1", "sit-db2", "sit-db3" } oifname '
        '"eth0" meta nfproto ipv6 accept comment "culvert"',
        '+nftables ip6 old forward: iifname { "sit-web1", "sit-db2", "sit-db3" } oifname "eth0" '
        'accept comment "culvert"',
        '+nftables inet filter forward: iifname "eth0" oifname { "sit-web1", "sit-db2", "sit-db3" '
        '} meta nfproto ipv6 accept comment "culvert"',
    ]
    host.converge(changes)
    files = {change.path: change.after for change in changes.files if change.after}
    assert {path for path in files if "open" in path} == {
        "/etc/culvert/open.nft",
        "/etc/culvert/open-nftables",
        "/etc/systemd/system/nftables.service.d/60-culvert-open.conf",
    }
    after = replace(state, files=files)
    # A second run has nothing to do here, and neither has one after the service's next start.
    assert running(opened(host, three_clients(), after)) == []
    host.commands += [host.load, host.here("sh /etc/culvert/open-nftables")] * 2
    assert running(opened(host, three_clients(), after)) == []
    assert not plan(three_clients(), with_nftables(after, host.listing())).dropped
    # Fewer tunnels have fewer rules, and none have none: byte for byte.
    fewer = opened(host, node("server"), after)
    assert len(running(fewer)) == 8
    host.converge(fewer)
    assert running(opened(host, node("server"), after)) == []
    gone = Node("fra1.example.net", None, None, (), is_cleared=True)
    host.converge(opened(host, gone, after))
    assert host.plain() == before
    assert running(opened(host, gone, after)) == []


@namespaces.needed
def test_a_failure_leaves_the_rules_as_they_were(host: Host) -> None:
    before = host.plain()
    host.converge(opened(host, node("server"), bare("ifupdown", "server")), undone=True)
    assert host.plain() == before
    host.converge(opened(host, node("server"), bare("ifupdown", "server")))
    one = host.plain()
    host.converge(opened(host, three_clients(), bare("ifupdown", "server")), undone=True)
    assert sorted(host.plain().splitlines()) == sorted(one.splitlines())


@namespaces.needed
def test_a_rule_that_came_before_has_them_put_first_again(host: Host) -> None:
    state = bare("ifupdown", "server")
    host.converge(opened(host, node("server"), state))
    host.commands.append("nft insert rule inet filter input ip protocol 41 drop")
    assert plan(node("server"), with_nftables(state, host.listing()), only_to_prove=True).dropped
    host.converge(opened(host, node("server"), state))
    assert not plan(node("server"), with_nftables(state, host.listing())).dropped
    assert running(opened(host, node("server"), state)) == []


@namespaces.needed
def test_a_client_lets_protocol_41_in(host: Host) -> None:
    changes = opened(host, node("client"), deployed("ifupdown", "client"))
    assert running(changes) == [
        "+nftables inet filter input: ip saddr 198.51.100.10 ip daddr 203.0.113.20 meta l4proto "
        '41 accept comment "culvert"'
    ]
    host.converge(changes)
    assert running(opened(host, node("client"), deployed("ifupdown", "client"))) == []


@namespaces.needed
def test_nft_can_read_the_file_before_it_counts(host: Host) -> None:
    changes = opened(host, node("server"), bare("ifupdown", "server"))
    (check,) = [command for command in changes.checks if "open.nft" in command]
    host.converge(changes)
    host.commands.append(
        check.replace("$root/etc/culvert/.open.nft.new", f"{host.folder}/open.nft")
    )
    before = host.plain()
    assert before.count('comment "culvert"') == 4


@namespaces.needed
def test_a_service_that_isnt_enabled_is_told_nothing(host: Host) -> None:
    state = with_nftables(bare("ifupdown", "server"), host.listing(), is_enabled=False)
    with pytest.raises(ObstacleError, match=r"nftables\.service, .* isn't enabled"):
        plan(node("server"), state)
    elsewhere = with_nftables(bare("ifupdown", "server"), host.listing())
    elsewhere = replace(elsewhere, answers={**elsewhere.answers, "nftables": "table inet nat {"})
    with pytest.raises(ObstacleError, match="no firewall that Culvert knows"):
        plan(node("server"), elsewhere)


def test_the_tables_that_are_configured_are_found_in_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "nftables.d").mkdir()
    main = tmp_path / "nftables.conf"
    main.write_text(f'#!/usr/sbin/nft -f\nflush ruleset\n\tinclude "{tmp_path}/nftables.d/*.nft"\n')
    (tmp_path / "nftables.d" / "a.nft").write_text(f'include "{tmp_path}/last"\ntable inet a {{\n')
    (tmp_path / "nftables.d" / "b.nft").write_text("add table ip6 b\n# table ip c\ntable d {\n")
    (tmp_path / "last").write_text("table ip e { chain x { } }\n")
    (question,) = nftables.Nftables.questions
    script = asking.searching([replace(question, places=(str(main),))])
    told = namespaces.shell(f"tables= sysctls=\n{script}")
    state = HostState(answers={"nftables": told})
    assert nftables.tables(state) == {("inet", "a"), ("ip6", "b"), ("ip", "d"), ("ip", "e")}
