"""Whether what worked before a run still does: what is tried, what must be seen, what it means."""

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.declared.model import Node
from tasks.host.changes import Changes
from tasks.host.rollback import Guard
from tasks.planning import confirming
from tasks.planning.confirming import Probes, Verdict
from tests.samples import ROLES, bare, deployed, node

IPV4, IPV6 = "IPv4 default route via 192.0.2.1 dev eth0", "IPv6 default route via fe80::1 dev eth0"
ANSWERS, IS_THERE = "gateway 192.0.2.1 of eth0 answers", "gateway 192.0.2.1 of eth0 is there"
INTERNET = "the Internet answers over IPv6"
NOTHING = Node(node("server").host, None, None, (), is_cleared=True)


@pytest.mark.parametrize("role", ROLES)
def test_a_server_tries_the_internet_and_a_client_does_not(role: str) -> None:
    targets = confirming.before(node(role), bare("ifupdown", role)).targets
    assert targets == (("IPv6 - 2001:4860:4860::8888",) if role.endswith("server") else ())


def tunnels(role: str) -> dict[str, str]:
    return {end.interface: str(end.peer) for end in node(role).ends}


@pytest.mark.parametrize(
    ("role", "line", "own"),
    [
        ("server", "tunnel sit-web1 2001:db8:1::3", "sit-web1"),
        ("client", "tunnel sit-ipv6 2001:db8:1::2", "sit-ipv6"),
    ],
)
def test_a_tunnel_that_is_there_is_tried_from_its_end(role: str, line: str, own: str) -> None:
    state = deployed("ifupdown", role)
    before = confirming.before(node(role), state)
    after = confirming.after(node(role), state, tunnels(role))
    assert before == after
    assert before.targets[-1] == line
    assert own in before.own


def test_a_tunnel_that_is_new_is_tried_afterwards_alone() -> None:
    state = bare("ifupdown", "client")
    after = confirming.after(node("client"), state, tunnels("client"))
    assert after == Probes(("sit-ipv6",), ("tunnel sit-ipv6 2001:db8:1::2",))
    assert confirming.before(node("client"), state).targets == ()


def test_of_what_is_taken_off_no_tunnel_is_tried() -> None:
    state = deployed("ifupdown", "server")
    after = confirming.after(node("server"), state, {})
    assert [each.split()[0] for each in after.targets] == ["IPv6"]
    # Its routes are no loss either.
    assert "sit-web1" in after.own


def test_what_worked_must_work_but_for_tunnels_that_are_to_go() -> None:
    probes = Probes(("sit-a", "sit-ab"), ("IPv6 - 2001:db8::1", "tunnel sit-ab 2001:db8:1::3"))
    worked = {"tunnel sit-a answers", "tunnel sit-ab answers", IPV4, INTERNET}
    assert confirming.expected(worked, probes) == [IPV4, INTERNET, "tunnel sit-ab answers"]


def test_what_did_not_work_need_not() -> None:
    assert confirming.expected((), Probes((), ("tunnel sit-web1 2001:db8:1::3",))) == []


def test_what_works_is_told_apart_from_what_is_printed_beside_it() -> None:
    output = f"hello\n@@ works: {IPV4}\n@@ rehearsed: 0\n@@ works: {INTERNET}"
    assert confirming.works(output) == {IPV4, INTERNET}
    assert confirming.said_beside(output) == "hello\n@@ rehearsed: 0"


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("@@ ended: confirmed", Verdict("confirmed")),
        (
            f"@@ lost: {IPV4}\n@@ lost: {ANSWERS}\n@@ ended: undone",
            Verdict("undone", (IPV4, ANSWERS)),
        ),
        (f"@@ lost: {IPV4}\n@@ ended: undoing", Verdict("undoing", (IPV4,))),
        (f"@@ lost: {IPV4}", Verdict("", (IPV4,))),
        ("", Verdict("")),
    ],
)
def test_what_a_host_says_is_a_verdict(output: str, verdict: Verdict) -> None:
    assert confirming.verdict(output) == verdict


def test_what_was_seen_is_told_in_a_line_each_thing_once() -> None:
    other = "gateway fe80::1 of eth0 is there"
    said = confirming.confirmed([IPV4, ANSWERS, IS_THERE, other], Probes((), ()))
    assert said == (
        "confirmed over a new SSH connection: all that worked before still does "
        f"({IPV4}, {ANSWERS}, {other})"
    )
    assert "nothing worked before" in confirming.confirmed([], Probes((), ()))


# What runs here instead of the programs of a host. The address of a router is `up` or not.
IP = """#!/bin/sh
case "$*" in
"-4 route show default") cat {folder}/ipv4 ;;
"-6 route show default") cat {folder}/ipv6 ;;
"neighbour show to "*) grep "^$4 " {folder}/neighbours ;;
*) exit 2 ;;
esac
"""
PING = """#!/bin/sh
for address; do :; done
grep -qx "$address" {folder}/up
"""


class Probed:
    """A host of which some routes, neighbours and addresses are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("ip", IP), ("ping", PING)):
            (folder / name).write_text(text.format(folder=folder))
            (folder / name).chmod(0o755)
        self.has()

    def has(
        self,
        ipv4: Iterable[str] = (),
        ipv6: Iterable[str] = (),
        neighbours: Iterable[str] = (),
        up: Iterable[str] = (),
    ) -> None:
        lines = {"ipv4": ipv4, "ipv6": ipv6, "neighbours": neighbours, "up": up}
        for name, each in lines.items():
            (self.folder / name).write_text("".join(f"{line}\n" for line in each))

    def run(self, script: str) -> str:
        path = f"{self.folder}:/usr/bin:/bin"
        script = script.replace('PATH="/usr/local/sbin', f'PATH="{self.folder}:/usr/local/sbin')
        script = script.replace("/run/culvert", f"{self.folder}/culvert")
        script = script.replace("/var/lib/culvert", f"{self.folder}/store")
        script = script.replace("/etc/systemd", f"{self.folder}/systemd")
        done = subprocess.run(
            ["sh", "-s"],
            input=script,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr, done.stderr
        return done.stdout


@pytest.fixture
def probed(tmp_path: Path) -> Probed:
    return Probed(tmp_path)


PROBES = Probes(("sit-ipv6",), ("IPv6 - 2001:db8::8888", "tunnel sit-ipv6 2001:db8:1::2"))


def looked(probed: Probed) -> set[str]:
    return {*confirming.works(probed.run(confirming.looking(PROBES)))}


def test_a_host_of_which_nothing_works_says_nothing(probed: Probed) -> None:
    assert looked(probed) == set()


def test_routers_that_answer_and_routers_that_are_there_work(probed: Probed) -> None:
    probed.has(
        ipv4=["default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.9 metric 100"],
        ipv6=["default via fe80::1 dev eth0 proto ra metric 1024 pref medium"],
        neighbours=["192.0.2.1 lladdr 52:54:00:00:00:01 REACHABLE", "fe80::1  FAILED"],
        up=["192.0.2.1"],
    )
    assert looked(probed) == {IPV4, ANSWERS, IS_THERE, IPV6}


def test_a_router_of_the_other_family_is_one(probed: Probed) -> None:
    probed.has(ipv4=["default via inet6 fe80::1 dev eth0"], up=["fe80::1"])
    assert looked(probed) == {
        "IPv4 default route via inet6 fe80::1 dev eth0",
        "gateway fe80::1 of eth0 answers",
    }


def test_routes_of_culverts_own_and_those_to_nowhere_are_none(probed: Probed) -> None:
    probed.has(
        ipv4=["default dev ppp0 scope link"],
        ipv6=[
            "default via 2001:db8:1::2 dev sit-ipv6 metric 1024",
            "unreachable default dev lo metric 4294967295",
        ],
    )
    assert looked(probed) == {"IPv4 default route dev ppp0"}


def test_the_ends_of_tunnels_and_the_internet_are_asked(probed: Probed) -> None:
    probed.has(up=["2001:db8::8888"])
    assert looked(probed) == {INTERNET}
    probed.has(up=["2001:db8:1::2"])
    assert looked(probed) == {"tunnel sit-ipv6 answers"}


GUARD = Guard(within=2, run="run-1")


def judged(probed: Probed, *worked: str) -> Verdict:
    changes = Changes("web1")
    return confirming.verdict(probed.run(confirming.script(GUARD, changes, PROBES, worked)))


def waiting(probed: Probed) -> None:
    """Have the host wait for a word of this run."""
    for name in ("culvert-hold", "store", "store/pending"):
        (probed.folder / name).mkdir()
    (probed.folder / "store/pending/run").write_text("run-1\n")
    (probed.folder / "culvert-stamp").write_text("run-1\n")
    (probed.folder / "culvert-hold/deadline").write_text("99999999999\n")


def test_a_host_where_all_still_works_is_confirmed(probed: Probed) -> None:
    waiting(probed)
    probed.has(ipv4=["default via 192.0.2.1 dev eth0"], up=["192.0.2.1"])
    assert judged(probed, IPV4, ANSWERS) == Verdict("confirmed")
    assert (probed.folder / "store/confirmed").exists()
    assert not (probed.folder / "store/pending").exists()


def test_of_what_answers_now_and_then_each_has_to_once(probed: Probed) -> None:
    waiting(probed)
    probed.has(ipv4=["default via 192.0.2.1 dev eth0"])
    # The router answers at first, and the tunnel's other end when that doesn't any more.
    flapping = f"""#!/bin/sh
for address; do :; done
cd {probed.folder}
case $address in
192.0.2.1) [ ! -e tried ] || exit 1; sleep 1; : >tried ;;
2001:db8:1::2) [ -e tried ] || exit 1 ;;
*) exit 1 ;;
esac
"""
    (probed.folder / "ping").write_text(flapping)
    guard = replace(GUARD, within=30)
    script = confirming.script(guard, Changes("web1"), PROBES, (ANSWERS, "tunnel sit-ipv6 answers"))
    assert confirming.verdict(probed.run(script)) == Verdict("confirmed")


def test_a_host_that_has_lost_something_goes_back_and_says_what(probed: Probed) -> None:
    waiting(probed)
    probed.has(ipv4=["default via 192.0.2.1 dev eth0"])
    waits = subprocess.Popen(
        [
            *("sh", "-c"),
            f"cd {probed.folder}; until [ -e culvert-hold/request ]; do sleep 0.1; done; "
            "cp culvert-hold/request why; echo other >culvert-stamp; rm -r store/pending",
        ]
    )
    assert judged(probed, IPV4, ANSWERS) == Verdict("undone", (ANSWERS,))
    waits.wait()
    assert (probed.folder / "why").read_text() == f"this was lost: {ANSWERS}\n"


def test_a_host_that_has_gone_back_before_says_so(probed: Probed) -> None:
    probed.has(ipv4=["default via 192.0.2.1 dev eth0"])
    assert judged(probed, IPV4) == Verdict("undone")


def test_a_host_that_is_at_going_back_is_waited_for(probed: Probed) -> None:
    waiting(probed)
    (probed.folder / "store/pending").rename(probed.folder / "store/undoing")
    ends = subprocess.Popen(
        ["sh", "-c", f"cd {probed.folder}; sleep 2; echo other >culvert-stamp; rm -r store/undoing"]
    )
    assert judged(probed, IPV4) == Verdict("undone")
    assert not (probed.folder / "store/undoing/run").exists()
    assert ends.wait() == 0
