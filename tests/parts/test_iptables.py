"""netfilter-persistent and Docker, told what to let pass, with iptables itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import iptables_listing, nft_listing
from tasks.host.changes import Changes
from tasks.host.ruleset import LEGACY, NFT, merged
from tasks.host.state import HostState, Unit
from tasks.parts import managers
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests import namespaces
from tests.samples import INVENTORY, bare, node

PERSISTENT, DOCKER = "netfilter-persistent.service", "docker.service"

V4 = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -p tcp -j ACCEPT
COMMIT
"""
V6 = """*mangle
:PREROUTING DROP [0:0]
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp6-adm-prohibited
COMMIT
"""
# As Docker 28 has them, but for its networks.
DOCKERS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:DOCKER-FORWARD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -i docker0 -j ACCEPT
COMMIT
"""
GONE = Node("fra1.example.net", None, None, (), is_cleared=True)


class Host:
    """A namespace's rules, as they are after some commands, and Culvert's files."""

    def __init__(self, folder: Path, backend: str, v4: str, v6: str, unit: str) -> None:
        self.folder = folder
        self.backend = backend
        self.unit = unit
        self.files = dict(bare("ifupdown", "server").files)
        self.saved = {"v4": v4, "v6": v6}
        self.commands = self.load()

    def load(self) -> list[str]:
        commands = []
        for family, text in self.saved.items():
            if text:
                path = self.folder / f"rules.{family}"
                path.write_text(text)
                program = "iptables" if family == "v4" else "ip6tables"
                commands.append(f"{program}-restore <{path}")
        return [self.here(command) for command in commands]

    def here(self, text: str) -> str:
        """The same, in a folder of the test's."""
        return text.replace("/etc/culvert/", f"{self.folder}/")

    def told(self) -> list[str]:
        asked = ["nft -j list ruleset", "iptables-save", "ip6tables-save"]
        lines = [line for ask in asked for line in ("echo @@@", ask)]
        _, *told = namespaces.run([*self.commands, *lines], self.backend).split("@@@\n")
        return told

    def rules(self) -> str:
        lines = "".join(self.told()[1:]).splitlines()
        return "\n".join(line for line in lines if not line.startswith("#"))

    def state(self, **unit: bool) -> HostState:
        nft, ip, ip6 = self.told()
        kind = NFT if self.backend == "nft" else LEGACY
        own = [
            iptables_listing.parse(text, kind, family)
            for text, family in ((ip, "ip"), (ip6, "ip6"))
        ]
        listed = nft_listing.parse(nft if self.backend == "nft" else "")
        state = bare("ifupdown", "server")
        saved = [
            f"/etc/iptables/rules.{family}:{number}:{line}"
            for family, text in self.saved.items()
            for number, line in enumerate(text.splitlines(), 1)
            if line.startswith("*") or "--comment culvert " in line
        ]
        found = Unit(**{"is_loaded": True, "is_active": True, "is_enabled": True, **unit})
        return replace(
            state,
            ruleset=merged(listed, own),
            files=self.files,
            units={**state.units, self.unit: found},
            answers={**state.answers, "iptables": "\n".join(saved)},
        )

    def converge(self, wanted: Node, *, undone: bool = False) -> Changes:
        changes = plan(wanted, self.state()).changes
        for change in changes.files:
            if change.after is None:
                self.files.pop(change.path)
            else:
                self.files[change.path] = change.after
                name = change.path.rpartition("/")[2]
                if name.startswith("open-"):
                    (self.folder / name).write_text(self.here(change.after.text))
        for step in changes.steps:
            if any("tables" in line for line in step.shown):
                commands = [*step.commands, *(step.undo if undone else ())]
                self.commands += [self.here(command) for command in commands]
        return changes


def running(changes: Changes) -> list[str]:
    steps = (*changes.removals, *changes.steps)
    return [line for step in steps for line in step.shown if "tables" in line]


each_backend = pytest.mark.parametrize("backend", ["nft", "legacy"])


def routed_to_two() -> Node:
    inventory = dict(INVENTORY)
    tunnel = {"server": "fra1.example.net", "ipv4": "192.0.2.2", "number": 2}
    inventory["db2.example.net"] = {"tunnel": tunnel}
    return declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"]


@namespaces.needed
@each_backend
def test_netfilter_persistent_is_told_by_a_plugin(tmp_path: Path, backend: str) -> None:
    if backend == "legacy" and not namespaces.has_legacy():
        pytest.skip("the kernel has no iptables-legacy")
    host = Host(tmp_path, backend, V4, V6, PERSISTENT)
    before = host.rules()
    first = host.converge(node("server"))
    legacy = "-legacy" if backend == "legacy" else ""
    mark = "-m comment --comment culvert -j ACCEPT"
    assert running(first) == [
        f"+iptables{legacy} INPUT -s 203.0.113.20 -d 198.51.100.10 -p 41 {mark}",
        f"+iptables{legacy} OUTPUT -s 198.51.100.10 -d 203.0.113.20 -p 41 {mark}",
        f"+ip6tables{legacy} -t mangle PREROUTING -i sit-web1 -s 2001:db8:1::3/128 {mark}",
        f"+ip6tables{legacy} FORWARD -i sit-web1 -o eth0 {mark}",
        f"+ip6tables{legacy} -t mangle PREROUTING -i eth0 -d 2001:db8:1::3/128 {mark}",
        f"+ip6tables{legacy} FORWARD -i eth0 -o sit-web1 {mark}",
    ]
    assert {path: file.mode for path, file in host.files.items() if "open" in path} == {
        "/etc/culvert/open-iptables": 0o644
    }
    plugin = host.files["/usr/share/netfilter-persistent/plugins.d/60-culvert"]
    assert plugin.mode == 0o755
    assert "exec sh /etc/culvert/open-iptables" in plugin.text
    assert running(host.converge(node("server"))) == []
    assert not plan(node("server"), host.state()).dropped
    opened = host.rules()
    # Its own reload takes all away, and the plugin brings it back; twice is once.
    host.commands += [*host.load(), *[host.here("sh /etc/culvert/open-iptables")] * 2]
    assert host.rules() == opened
    assert running(host.converge(node("server"))) == []
    host.converge(routed_to_two())
    assert not plan(routed_to_two(), host.state()).dropped
    host.converge(node("server"))
    assert sorted(host.rules().splitlines()) == sorted(opened.splitlines())
    host.converge(GONE)
    assert host.rules() == before
    assert running(host.converge(GONE)) == []
    assert not any("open" in path or "plugins.d" in path for path in host.files)


@namespaces.needed
def test_a_failure_leaves_the_rules_as_they_were(tmp_path: Path) -> None:
    host = Host(tmp_path, "nft", V4, V6, PERSISTENT)
    before = host.rules()
    host.converge(node("server"), undone=True)
    assert host.rules() == before
    host.converge(node("server"))
    one = host.rules()
    host.converge(routed_to_two(), undone=True)
    assert sorted(host.rules().splitlines()) == sorted(one.splitlines())


@namespaces.needed
def test_a_rule_that_came_before_has_them_put_first_again(tmp_path: Path) -> None:
    host = Host(tmp_path, "nft", V4, V6, PERSISTENT)
    host.converge(node("server"))
    host.commands.append("iptables -I INPUT -p 41 -j DROP")
    assert running(host.converge(node("server")))
    assert not plan(node("server"), host.state()).dropped


@namespaces.needed
def test_what_was_saved_with_the_hosts_own_is_told_of(tmp_path: Path) -> None:
    rule = "-A INPUT -s 203.0.113.20/32 -p ipv6 -m comment --comment culvert -j ACCEPT\n"
    saved = V4.replace("-A INPUT -i lo", f"{rule}-A INPUT -i lo")
    host = Host(tmp_path, "nft", saved, V6, PERSISTENT)
    assert not plan(node("server"), host.state()).warnings
    (warning,) = plan(GONE, host.state()).warnings
    assert warning.startswith("/etc/iptables/rules.v4, line 6, is a rule of Culvert's")


@namespaces.needed
def test_rules_that_nobody_saved_are_nobodys(tmp_path: Path) -> None:
    host = Host(tmp_path, "nft", V4, V6, PERSISTENT)
    host.saved = {}
    with pytest.raises(ObstacleError, match="no firewall that Culvert knows keeps that chain"):
        plan(node("server"), host.state())
    host = Host(tmp_path, "nft", V4, V6, PERSISTENT)
    with pytest.raises(ObstacleError, match=r"netfilter-persistent\.service, .* isn't enabled"):
        plan(node("server"), host.state(is_enabled=False))


@namespaces.needed
def test_docker_leaves_a_chain_to_others(tmp_path: Path) -> None:
    host = Host(tmp_path, "nft", "", DOCKERS, DOCKER)
    before = host.rules()
    mark = "-m comment --comment culvert -j ACCEPT"
    assert running(host.converge(node("server"))) == [
        f"+ip6tables DOCKER-USER -i sit-web1 -o eth0 {mark}",
        f"+ip6tables DOCKER-USER -i eth0 -o sit-web1 {mark}",
    ]
    drop_in = host.files["/etc/systemd/system/docker.service.d/60-culvert-open.conf"]
    assert "ExecStartPost=-/bin/sh /etc/culvert/open-docker" in drop_in.text
    assert running(host.converge(node("server"))) == []
    assert not plan(node("server"), host.state()).dropped
    # Beside what netfilter-persistent keeps.
    host.commands += [host.here("sh /etc/culvert/open-docker")] * 2
    assert running(host.converge(node("server"))) == []
    host.converge(GONE)
    assert host.rules() == before


@namespaces.needed
def test_what_docker_was_told_stays_where_its_policy_goes(tmp_path: Path) -> None:
    """It drops by default where it turned forwarding on, and after a boot Culvert has."""
    host = Host(tmp_path, "nft", "", DOCKERS, DOCKER)
    host.converge(node("server"))
    host.commands.append("ip6tables -P FORWARD ACCEPT")
    changes = plan(node("server"), host.state()).changes
    assert not changes.files
    assert not running(changes)
    host.converge(GONE)
    assert "culvert" not in host.rules()
    # Where nothing was told, nothing is.
    host.commands.append("ip6tables -P FORWARD ACCEPT")
    assert running(host.converge(node("server"))) == []


@namespaces.needed
def test_what_drops_before_dockers_chain_cant_be_told_there(tmp_path: Path) -> None:
    first = "-A FORWARD -i eth0 -j DROP\n-A FORWARD -j DOCKER-USER"
    text = DOCKERS.replace("-A FORWARD -j DOCKER-USER", first)
    with pytest.raises(ObstacleError, match="that comes before the rules that Docker lets be"):
        plan(node("server"), Host(tmp_path, "nft", "", text, DOCKER).state())
