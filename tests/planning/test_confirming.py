"""Whether what worked before a run still does: what is tried, what must be seen, what it means."""

from dataclasses import replace

import pytest

from tasks.declared.model import Node
from tasks.host import rollback
from tasks.host.rollback import Guard
from tasks.planning import confirming
from tasks.planning.confirming import Probes, Verdict
from tests import networks
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


def test_what_did_not_work_is_not_waited_for() -> None:
    probes = Probes(
        (), ("IPv6 - 2001:db8::1", "tunnel sit-a 2001:db8::3", "tunnel sit-b 2001:db8::5")
    )
    script = confirming.script(Guard(), probes, [INTERNET, "tunnel sit-b answers"])
    assert [target for target in probes.targets if target in script] == [*probes.targets[::2]]


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


# A host with a router and a tunnel, of which nothing has an address yet but the host.
HOST = """
make host router peer
ip -n host link add eth0 type veth peer name eth0 netns router
ip -n host link add sit-ipv6 type veth peer name sit-web1 netns peer
ip -n host link set eth0 up
ip -n host link set sit-ipv6 up
ip -n router link set eth0 up
ip -n peer link set sit-web1 up
ip -n host address add 192.0.2.9/24 dev eth0
ip -n host address add 2001:db8:2::9/64 dev eth0 nodad
ip -n host address add 2001:db8:1::3/127 dev sit-ipv6 nodad
ip -n host route add 2001:db8::8888 via 2001:db8:2::1
"""
ROUTE = "ip -n host route add default via 192.0.2.1"
ROUTER = "ip -n router address add 192.0.2.1/24 dev eth0"
LINK_LOCAL = "ip -n router address add fe80::1/64 dev eth0 nodad"
OTHER_END = "ip -n peer address add 2001:db8:1::2/127 dev sit-web1 nodad"
SILENT = "ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all'"


def probed(script: str, *lines: str) -> str:
    """What a script prints on that host, after these lines."""
    for place, instead in (("/var/lib/culvert", "/run/store"), ("/etc/systemd", "/run/systemd")):
        script = script.replace(place, instead)
    begun = "ip netns exec host sh -s <<'END_OF_SCRIPT'\n"
    return "\n".join(networks.run("\n".join([HOST, *lines, f"{begun}{script}END_OF_SCRIPT\n"])))


PROBES = Probes(("sit-ipv6",), ("IPv6 - 2001:db8::8888", "tunnel sit-ipv6 2001:db8:1::2"))


def looked(*lines: str) -> set[str]:
    return {*confirming.works(probed(confirming.looking(PROBES), *lines))}


def test_a_host_of_which_nothing_works_says_nothing() -> None:
    assert looked() == set()


@pytest.mark.parametrize("option", ["PERL_UNICODE=SDA", "PERL_UNICODE=", "PERL5OPT=-Mopen=:utf8"])
def test_what_people_set_for_their_own_perl_is_not_for_this_one(option: str) -> None:
    assert looked(ROUTE, ROUTER, f"export {option}") == {IPV4, ANSWERS, IS_THERE}


def test_where_nothing_can_look_before_a_run_it_fails() -> None:
    """Else nothing would be missed afterwards."""
    script = confirming.looking(PROBES).replace("AF_NETLINK => 16", "AF_NETLINK => 99")
    with pytest.raises(AssertionError, match="netlink: Address family not supported"):
        probed(script + "echo went on >&2\n")


def test_routers_that_answer_and_routers_that_are_there_work() -> None:
    nobody = "ip -n host route add default via fe80::2 dev eth0"
    route = "IPv6 default route via fe80::2 dev eth0"
    assert looked(ROUTE, ROUTER, nobody) == {IPV4, ANSWERS, IS_THERE, route}
    assert looked(ROUTE, ROUTER, SILENT) == {IPV4, IS_THERE}


def test_a_router_of_the_other_family_is_one() -> None:
    route = "ip -n host -4 route add default via inet6 fe80::1 dev eth0"
    assert looked(route, LINK_LOCAL) == {
        "IPv4 default route via inet6 fe80::1 dev eth0",
        "gateway fe80::1 of eth0 answers",
        "gateway fe80::1 of eth0 is there",
    }


def test_each_of_several_routers_is_one() -> None:
    route = "ip -n host route add default nexthop via 192.0.2.1 nexthop via 192.0.2.2"
    assert looked(route, ROUTER) == {
        *(IPV4, ANSWERS, IS_THERE),
        "IPv4 default route via 192.0.2.2 dev eth0",
    }


def test_routes_of_culverts_own_and_those_to_nowhere_are_none() -> None:
    routes = (
        "ip -n host route add default dev eth0",
        "ip -n host route add default via 2001:db8:1::2 dev sit-ipv6",
        "ip -n host -6 route add unreachable default metric 4294967295",
    )
    assert looked(*routes) == {"IPv4 default route dev eth0"}


def test_the_ends_of_tunnels_and_the_internet_are_asked() -> None:
    assert looked(OTHER_END) == {"tunnel sit-ipv6 answers"}
    internet = (
        "ip -n router address add 2001:db8:2::1/64 dev eth0 nodad",
        "ip -n router address add 2001:db8::8888/128 dev lo nodad",
    )
    assert looked(*internet) == {INTERNET}


def test_an_end_that_answers_by_another_way_does_not_by_its_tunnel() -> None:
    elsewhere = (
        "ip -n router address add 2001:db8:1::2/128 dev lo nodad",
        "ip -n router address add 2001:db8:2::1/64 dev eth0 nodad",
        "ip -n host route add 2001:db8:1::2 via 2001:db8:2::1",
    )
    assert looked(*elsewhere) == set()


GUARD = Guard(within=2, run="run-1")
# Has the host wait for a word of this run.
STAYING = "\n".join(rollback.staying([], [], forgets=False))
WAITING = f"""mkdir -p /run/culvert-hold /run/store/pending
cat >/run/store/pending/stay <<'END'
{STAYING.replace("/var/lib/culvert", "/run/store")}
END
echo run-1 | tee /run/store/pending/run >/run/culvert-stamp
echo 99999999999 >/run/culvert-hold/deadline"""


def judgement(*worked: str, guard: Guard = GUARD, after: str = "") -> str:
    return confirming.script(guard, PROBES, worked) + after


def judged(script: str, *lines: str) -> Verdict:
    return confirming.verdict(probed(script, *lines))


def test_a_host_where_all_still_works_is_confirmed() -> None:
    script = judgement(IPV4, ANSWERS, after="cd /run/store; echo *; cat confirmed/*\n")
    said = probed(script, WAITING, "echo by >/run/store/pending/holder", ROUTE, ROUTER)
    # All else that a host is put back by is gone.
    assert said == "@@ ended: confirmed\nconfirmed\nby"


def test_of_what_answers_now_and_then_each_has_to_once() -> None:
    # The router answers at first, and the tunnel's other end when that doesn't any more.
    flapping = f"{{ sleep 3.5; {SILENT}; {OTHER_END}; }} &"
    script = judgement(ANSWERS, "tunnel sit-ipv6 answers", guard=replace(GUARD, within=30))
    assert judged(script, WAITING, ROUTE, ROUTER, flapping) == Verdict("confirmed")


def test_a_host_that_has_lost_something_goes_back_and_says_what() -> None:
    goes_back = """{
    until [ -e /run/culvert-hold/request ]; do sleep 0.1; done
    cp /run/culvert-hold/request /run/why; echo other >/run/culvert-stamp; rm -r /run/store/pending
} &"""
    said = probed(judgement(IPV4, ANSWERS, after="cat /run/why\n"), WAITING, ROUTE, goes_back)
    assert confirming.verdict(said) == Verdict("undone", (ANSWERS,))
    assert said.endswith(f"\nthis was lost: {ANSWERS}")


def test_where_nothing_can_look_the_host_goes_back() -> None:
    """As where perl was lost."""
    script = judgement(IPV4).replace("perl -e", "no-perl -e")
    gone = "{ sleep 1; echo other >/run/culvert-stamp; rm -r /run/store/pending; } &"
    (lost,) = judged(script, WAITING, ROUTE, gone).lost
    assert lost.startswith("sight of it")


def test_a_host_that_has_gone_back_before_says_so() -> None:
    assert judged(judgement(IPV4), ROUTE) == Verdict("undone")


def test_a_host_that_is_at_going_back_is_waited_for() -> None:
    at_it = "mv /run/store/pending /run/store/undoing"
    ends = "{ sleep 2; echo other >/run/culvert-stamp; rm -r /run/store/undoing; } &"
    script = judgement(IPV4, after="ls /run/store\n")
    said = probed(script, WAITING, at_it, ROUTE, ends)
    assert said.endswith("@@ ended: undone")
