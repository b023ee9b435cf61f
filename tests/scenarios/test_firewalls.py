"""Hosts with a firewall that drops what nobody opened: each firewall as its own users set it up.

What passes is tried cold: connection tracking would let a tunnel's packets in as answers to those
that the host sent a moment ago.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from netaddr import IPAddress, IPNetwork

from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.lab.machines import FAR_ADDRESS
from tests.lab.topologies import BROKER, FIREWALLED, Topology
from tests.runs import Hosts, Run
from tests.scenarios.cases import Case, connected, straight, tunnels
from tests.scenarios.conftest import Labs

NFTABLES_CONF = """\
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname { "lo", "mgmt" } accept
        meta l4proto { icmp, ipv6-icmp } accept
        tcp dport 22 accept
    }
    chain forward { type filter hook forward priority filter; policy drop; }
}
"""
IPTABLES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p {icmp} -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


@dataclass(frozen=True)
class Kept:
    """A firewall: the commands that switch it on, and that have it read its rules again.

    `files` are where it keeps them, `loaded` waits for it after a boot.
    """

    name: str
    topology: Topology
    on: str
    reload: str
    files: str
    loaded: str = "true"

    def __str__(self) -> str:
        return self.name


def _written(path: str, text: str) -> str:
    return f"cat >{path} <<'END'\n{text}END\n"


NFTABLES = Kept(
    "nftables",
    FIREWALLED["firewalls"],
    f"{_written('/etc/nftables.conf', NFTABLES_CONF)}systemctl enable --now nftables 2>&1",
    "systemctl reload nftables",
    "/etc/nftables.conf",
)
_V4, _V6 = (IPTABLES.format(icmp=icmp) for icmp in ("icmp", "ipv6-icmp"))
# Its unit has started before it has loaded its rules.
_FIREWALLD_RUNS = "timeout 300 sh -c 'until firewall-cmd --state; do sleep 2; done' 2>&1"
FIREWALLS = (
    Kept(
        "ufw",
        FIREWALLED["firewalls"],
        "ufw allow 22/tcp; ufw default deny incoming; ufw default deny routed; ufw --force enable",
        "ufw reload",
        "/etc/ufw /etc/default/ufw",
    ),
    Kept(
        "firewalld",
        FIREWALLED["firewalls"],
        f"systemctl unmask firewalld 2>&1; systemctl start firewalld; {_FIREWALLD_RUNS}",
        # Its command waits for a minute, and a busy emulated machine takes longer.
        f"firewall-cmd --reload || {_FIREWALLD_RUNS}",
        "/etc/firewalld",
        _FIREWALLD_RUNS,
    ),
    NFTABLES,
    Kept(
        "iptables-persistent",
        FIREWALLED["persistent"],
        f"{_written('/etc/iptables/rules.v4', _V4)}{_written('/etc/iptables/rules.v6', _V6)}"
        "netfilter-persistent reload",
        "netfilter-persistent reload",
        "/etc/iptables",
    ),
)
DOCKER = Kept(
    "docker",
    FIREWALLED["docker"],
    # A network with IPv6: for those it sets the policy of what is forwarded.
    "systemctl unmask containerd docker docker.socket 2>&1; systemctl start docker; "
    "docker network create --ipv6 --subnet 2001:db8:aaaa::/64 six",
    "systemctl restart docker",
    "/etc/docker",
    "systemctl start docker",
)
PATIENCE = 600
"""In seconds: firewalld and Docker take a while to start where the processor is emulated."""


@dataclass(frozen=True)
class Hit:
    """A pair of hosts with a firewall each."""

    lab: Lab
    firewall: Kept
    case: Case
    folder: Path
    more: dict[str, Any]

    @property
    def names(self) -> tuple[str, str]:
        return self.case.server, self.case.client

    @property
    def prefix(self) -> IPNetwork:
        """What is routed to the client."""
        return next(IPNetwork(self.case.topology.routed_prefix(self.case.server)).subnet(48))

    @property
    def hosts(self) -> Hosts:
        hosts = tunnels([self.case])
        whole = self.case.topology.routed_prefix(self.case.server)
        for _, data in hosts:
            data.update(self.more)
            if "tunnel_server" in data:
                data["tunnel_server"]["routed_prefixes"] = [whole]
            else:
                data["tunnel"]["routed_prefixes"] = [str(self.prefix)]
        return connected(self.case.topology, hosts)

    def run(self, task: str = "deploy.py") -> Run:
        return runs.run(self.folder, self.hosts, task, "-y")

    def with_keys(self, **more: Any) -> "Hit":
        return Hit(self.lab, self.firewall, self.case, self.folder, more)

    def on_both(self, command: str) -> list[str]:
        """What the two hosts say, at the same time."""

        def told(name: str) -> str:
            return self.lab.machine(name).run(command, timeout=PATIENCE).stdout

        with ThreadPoolExecutor() as pool:
            return list(pool.map(told, self.names))

    def rules(self) -> list[str]:
        """All rules that the hosts have but Culvert's table, and the firewall's own files."""
        return self.on_both(
            "nft -s list ruleset | sed '/^table inet culvert /,/^}/d'; "
            "for save in iptables-save ip6tables-save; do "
            "if command -v $save >/dev/null; then "
            "$save | sed -e '/^#/d' -e 's/ *\\[[0-9]*:[0-9]*\\]//'; fi; done 2>/dev/null; "
            f"find {self.firewall.files} -type f -exec md5sum {{}} + 2>/dev/null | sort -k2; "
            f"find {self.firewall.files} -printf '%m %p\\n' 2>/dev/null | sort"
        )


# --- What passes -----------------------------------------------------------------------------


def attempts(hit: Hit) -> Iterator[tuple[str, str, str]]:
    """Every kind of traffic that a tunnel is for: its name, who begins it, with which command."""
    case, far = hit.case, FAR_ADDRESS
    routed = hit.prefix[1]
    ways: list[tuple[str, str, Any, Any]] = [
        ("Internet to client", "internet", far, case.client_ipv6),
        ("client to Internet", case.client, case.client_ipv6, far),
        ("client to server", case.client, case.client_ipv6, case.server_ipv6),
        ("server to client", case.server, case.server_ipv6, case.client_ipv6),
        ("Internet to routed prefix", "internet", far, routed),
        ("routed prefix to Internet", case.client, routed, far),
    ]
    for title, name, source, destination in ways:
        yield f"ping, {title}", name, f"ping -6 -n -c 1 -W 5 -I {source} {destination}"
        # An SSH server's first words: a whole connection, and data the other way.
        yield f"TCP, {title}", name, _greeted(source, destination)


def _greeted(source: IPAddress | str, destination: IPAddress | str) -> str:
    there = f"TCP6:[{destination}]:22,bind=[{source}],connect-timeout=5"
    return f"socat -u -T 5 {there} - 2>/dev/null </dev/null | grep -a SSH-"


def passed(hit: Hit, words: str = "") -> dict[str, bool]:
    """What passes, each time with no packet of the tunnel's remembered by any host.

    Only what has these words in its name.
    """
    hit.on_both("sysctl -q -w net.netfilter.nf_conntrack_generic_timeout=2")
    # As long as it is there, a neighbour on the way may be looked for.
    client = hit.lab.machine(hit.case.client)
    client.run(f"ip -6 address replace {hit.prefix[1]}/128 dev lo")
    found = {}
    for title, name, command in attempts(hit):
        if words not in title:
            continue
        time.sleep(4)
        found[title] = hit.lab.machine(name).run(command, check=False).status == 0
    client.run(f"ip -6 address delete {hit.prefix[1]}/128 dev lo")
    return found


def assert_all_pass(hit: Hit, when: str) -> None:
    """All that tunnels are for, and beside it Culvert's own table is there."""
    hit.on_both("nft list table inet culvert >/dev/null")
    found = passed(hit)
    assert [title for title, is_through in found.items() if not is_through] == [], when


# --- The tests -------------------------------------------------------------------------------


def cases(*firewalls: Kept) -> list[Any]:
    """Each firewall on each release that has it, which is for the campaign."""
    return [
        pytest.param(
            firewall.topology,
            firewall,
            index,
            id=f"{firewall}-{row.suite}",
            marks=[pytest.mark.campaign],
        )
        for firewall in firewalls
        for index, row in enumerate(firewall.topology.rows)
    ]


# On hosts that every run of the tests has.
SAMPLE = [pytest.param(BROKER, replace(NFTABLES, topology=BROKER), 0, id="nftables")]


@pytest.fixture
def hit(labs: Labs, topology: Topology, firewall: Kept, index: int, tmp_path: Path) -> Hit:
    lab = labs.up(topology)
    lab.reset()
    return Hit(lab, firewall, straight(topology)[index], tmp_path, {})


PARAMETERS = ("topology", "firewall", "index")


def reboot(hit: Hit) -> None:
    hit.lab.reboot(hit.names)
    hit.on_both(hit.firewall.loaded)


def assert_opened(hit: Hit) -> None:
    """By a run, for good."""
    opened = hit.run()

    assert opened.status == 0, opened.output
    assert_all_pass(hit, "opened")
    hit.on_both(hit.firewall.reload)
    assert_all_pass(hit, "reloaded")
    reboot(hit)
    assert_all_pass(hit, "rebooted")
    again = hit.run()
    assert again.status == 0, again.output
    for name in hit.names:
        assert re.search(rf"\[{name}\] +nothing to change", again.stderr), again.output


@pytest.mark.parametrize(PARAMETERS, [*SAMPLE, *cases(*FIREWALLS)])
def test_a_firewall_that_drops_by_default_is_opened_and_closed_again(hit: Hit) -> None:
    first = hit.run()
    assert first.status == 0, first.output
    hit.on_both(hit.firewall.on)
    before = hit.rules()
    # The rest takes as long as it takes to give up.
    assert not any(passed(hit, "Internet to client").values())
    assert_opened(hit)

    gone = hit.run("tasks.remove.remove")

    assert gone.status == 0, gone.output
    assert hit.rules() == before


@pytest.mark.parametrize(PARAMETERS, cases(DOCKER))
def test_what_docker_drops_for_others_is_opened_and_closed_again(hit: Hit) -> None:
    hit.on_both(hit.firewall.on)
    before = hit.rules()
    assert_opened(hit)

    gone = hit.run("tasks.remove.remove")

    assert gone.status == 0, gone.output
    # It drops by default again as soon as it is the one to turn forwarding on. What it makes for
    # each network has another order then.
    reboot(hit)
    for now, then in zip(hit.rules(), before, strict=True):
        assert sorted(now.splitlines()) == sorted(then.splitlines())


@pytest.mark.parametrize(PARAMETERS, [*SAMPLE, *cases(*FIREWALLS)])
def test_a_firewall_that_is_to_be_left_alone_is_opened_by_hand(hit: Hit) -> None:
    left = hit.with_keys(firewall="leave")
    left.on_both(hit.firewall.on)
    before = left.rules()

    refused = left.run()

    assert refused.status == 1, refused.output
    assert left.rules() == before
    assert left.on_both("ip -o link show type sit") == ["", ""]
    # The client is left alone where its server fails: each is told once what it lacks.
    for _ in range(2):
        for name in left.names:
            pasted = commands(refused, name)
            if pasted:
                left.lab.machine(name).run("\n".join(["set -e", *pasted]), timeout=PATIENCE)
        refused = left.run()
    assert refused.status == 0, refused.output
    assert_all_pass(left, "opened by hand")


def commands(run: Run, host: str) -> list[str]:
    """What a run tells a person to run on a host."""
    return [
        line.strip()
        for line in re.findall(rf"^ *\[{host}\] +(.*)$", run.stderr, re.MULTILINE)
        if line.strip().startswith(PROGRAMS)
    ]


PROGRAMS = ("nft ", "iptables", "ip6tables", "ufw ", "firewall-cmd ")


@pytest.mark.parametrize(PARAMETERS, SAMPLE)
def test_answers_that_pass_prove_nothing(hit: Hit) -> None:
    """The host's own packets open the way for a while, and the ruleset stays shut."""
    left = hit.with_keys(firewall="leave")
    first = left.run()
    assert first.status == 0, first.output
    left.on_both(hit.firewall.on)
    server, client = map(left.lab.machine, left.names)
    _warm(server, left.case.client_ipv6, client, left.case.server_ipv6)

    proven = left.run("tasks.verify.verify")

    assert proven.status == 1, proven.output
    assert "let in" in proven.output, proven.output


def _warm(server: LabMachine, client_ipv6: IPAddress, client: LabMachine, ipv6: IPAddress) -> None:
    """Each end sends to the other at the same time, so that each one's packets are answers."""
    pinging = [
        machine.start(f"ping -6 -n -c 5 -i 1 {address}")
        for machine, address in ((server, client_ipv6), (client, ipv6))
    ]
    for each in pinging:
        each.wait()
    client.run(f"ping -6 -n -c 1 -W 5 {ipv6}")
