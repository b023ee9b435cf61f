"""What is proven on each end, and the sentences where the proof fails."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.declared import declaration
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning import proof
from tests.samples import CLIENT, INVENTORY, node

OF_CLIENT = [
    "fra1.example.net answers at 2001:db8:1::2 through sit-ipv6",
    "packets of full size (1480 bytes) pass through sit-ipv6 both ways",
    "TCP passes both ways between 2001:db8:1::3 and 2001:db8:1::2 through sit-ipv6 (16 KB each "
    "way)",
]
ANSWERS = "1 packets transmitted, 1 received, 0% packet loss, time 0ms"
SILENCE = "1 packets transmitted, 0 received, 100% packet loss, time 0ms"


def site(role: str) -> Site:
    return Site(node(role), "eth0")


def expected(site: Site) -> list[str]:
    return [check.expected for check in proof.checks(site)]


def test_the_server_proves_its_tunnel_and_its_proxying() -> None:
    assert expected(site("server")) == [
        "web1.example.net answers at 2001:db8:1::3 through sit-web1",
        "packets of full size (1480 bytes) pass through sit-web1 both ways",
        "TCP passes both ways between 2001:db8:1::2 and 2001:db8:1::3 through sit-web1 (16 KB each "
        "way)",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::2",
        "net.ipv6.conf.all.forwarding is 1",
        "net.ipv6.conf.eth0.forwarding is 1",
        "net.ipv6.conf.all.proxy_ndp is 1",
        "the proxy entry for 2001:db8:1::2 is on eth0",
        "the proxy entry for 2001:db8:1::3 is on eth0",
        "the tunnels' filter is in force (table inet culvert)",
    ]


def test_the_client_proves_its_tunnel_and_its_way_to_the_internet() -> None:
    assert expected(site("client")) == [
        *OF_CLIENT,
        "2001:4860:4860::8888 is routed into sit-ipv6",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::3",
        "TCP from 2001:db8:1::3 to 2001:4860:4860::8888 is answered",
        "the tunnels' filter is in force (table inet culvert)",
    ]


def test_routed_prefixes_and_networks_are_proven_on_both_ends() -> None:
    assert [*expected(site("delegating-server"))][3:5] == [
        "2001:db8:100::/48 is routed into sit-web1",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::2",
    ]
    assert expected(site("routing-client"))[4:7] == [
        "what nobody uses of 2001:db8:100::/48 is unreachable",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:100:1::1 on eth1",
        "TCP from 2001:db8:100:1::1 to 2001:4860:4860::8888 is answered",
    ]


def test_a_client_without_the_default_route_proves_its_tunnel_alone() -> None:
    inventory = {**INVENTORY, "web1.example.net": {"tunnel": {**CLIENT, "default_route": False}}}
    client = declaration.read(inventory, managers.NAMES).nodes["web1.example.net"]
    assert expected(Site(client, "eth0")) == [
        *OF_CLIENT,
        "the tunnels' filter is in force (table inet culvert)",
    ]


def test_what_takes_both_ends_is_left_out_where_one_is_absent() -> None:
    server = proof.checks(site("server"), ["web1.example.net"])
    assert server[0].expected.startswith("2001:4860:4860::8888 on the")
    client = proof.checks(site("client"), ["fra1.example.net"])
    assert [check.expected for check in client][:2] == OF_CLIENT[:2]
    assert {check.role for check in client} == {"", "probe"}


# A program that finds that all connections are made.
CONNECTED = r"""sed -n '1,/^__END__/d; s/^\([0-9]*\) .*/@@ check \1 0 all came/p'"""
UNCONNECTED = CONNECTED.replace("0 all came", "1 no connection")


def run(tmp_path: Path, site: Site, perl: str = CONNECTED, **tools: str) -> list[proof.Result]:
    """What the script finds on a computer whose tools print these texts."""
    tools = {"nft": "flags owner", **tools}
    (tmp_path / "perl").write_text(f"#!/bin/sh\n{perl}\n")
    (tmp_path / "perl").chmod(0o755)
    for tool, text in tools.items():
        (tmp_path / tool).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (tmp_path / tool).chmod(0o755)
    wanted = proof.checks(site)
    done = subprocess.run(
        ["sh", "-c", proof.script(wanted)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return proof.results(wanted, done.stdout)


def test_answers_are_a_proof(tmp_path: Path) -> None:
    found = run(tmp_path, site("client"), ping=ANSWERS, ip="2001:db8::8 dev sit-ipv6 src x")
    assert [result.is_met for result in found] == [True] * 7
    assert found[0].sentence == (
        "verified: fra1.example.net answers at 2001:db8:1::2 through sit-ipv6"
    )
    assert found[2].seen == "all came"
    assert [*proof.explanations(site("client"), found)] == []


def test_silence_is_said_with_what_was_expected_and_seen(tmp_path: Path) -> None:
    tools = {"ping": SILENCE, "ip": "x dev eth0", "sleep": "", "perl": UNCONNECTED}
    found = run(tmp_path, site("client"), **tools)
    assert [result.sentence for result in found] == [
        "expected: fra1.example.net answers at 2001:db8:1::2 through sit-ipv6; seen: "
        "1 packets transmitted, 0 received, 100% packet loss, time 0ms",
        "expected: packets of full size (1480 bytes) pass through sit-ipv6 both ways; seen: "
        "1 packets transmitted, 0 received, 100% packet loss, time 0ms",
        f"expected: {OF_CLIENT[2]}; seen: no connection",
        "expected: 2001:4860:4860::8888 is routed into sit-ipv6; seen: x dev eth0",
        "expected: 2001:4860:4860::8888 on the Internet answers 2001:db8:1::3; seen: "
        "1 packets transmitted, 0 received, 100% packet loss, time 0ms",
        "expected: TCP from 2001:db8:1::3 to 2001:4860:4860::8888 is answered; seen: no connection",
        "verified: the tunnels' filter is in force (table inet culvert)",
    ]
    # Where nothing passes, TCP is no case of its own.
    assert [*proof.explanations(site("client"), found)] == []


def test_a_filter_that_is_gone_fails_the_proof(tmp_path: Path) -> None:
    lost = "Error: No such file or directory\nlist table inet culvert\n           ^^^^^^^"
    found = run(tmp_path, site("client"), ping=ANSWERS, ip="x dev sit-ipv6", nft=lost)
    assert [result.sentence for result in found if not result.is_met] == [
        "expected: the tunnels' filter is in force (table inet culvert); seen: "
        "Error: No such file or directory"
    ]


def test_pings_alone_are_told_of(tmp_path: Path) -> None:
    found = run(tmp_path, site("client"), UNCONNECTED, ping=ANSWERS, ip="x dev sit-ipv6")
    assert [result.is_met for result in found] == [True, True, False, True, True, False, True]
    assert [*proof.explanations(site("client"), found)] == [
        "ping passes between 2001:db8:1::3 and 2001:db8:1::2, and TCP doesn't: a firewall lets "
        "ICMPv6 through and nothing else (on this host, or on fra1.example.net)",
        "ping passes between 2001:db8:1::3 and 2001:4860:4860::8888, and TCP doesn't: a firewall "
        "lets ICMPv6 through and nothing else (on the tunnel server, in what it forwards, or "
        "beyond)",
    ]


def test_full_size_is_told_apart_from_a_firewall(tmp_path: Path) -> None:
    found = run(tmp_path, site("client"), UNCONNECTED, ping=ANSWERS, ip="x dev sit-ipv6")
    stalled = [
        replace(result, is_met=False) if result.check.size else result for result in found[:2]
    ]
    stalled.append(replace(found[2], seen="a connection, and of 16384 bytes 0 came in 20 s"))
    assert [*proof.explanations(site("client"), stalled)] == [
        "small packets pass between 2001:db8:1::3 and 2001:db8:1::2, and those of 1480 bytes "
        "don't: the IPv4 path has room for less. Where pings show that, a run of both ends finds "
        "the MTU that fits; else write it under `mtu`"
    ]


PINGS = """\
case "$*" in
{cases}
*) cat silence; exit 1 ;;
esac"""
HELD = "echo flags owner"
ROUTE = "echo '2001:4860:4860::8888 dev lo src 2001:db8:1::1'"


def run_with(tmp_path: Path, site: Site, cases: str, ip: str) -> list[proof.Result]:
    """As `run`, with programs that answer as their words are."""
    (tmp_path / "silence").write_text(SILENCE)
    (tmp_path / "answer").write_text(ANSWERS)
    ping = PINGS.format(cases=cases).replace("cat ", f"cat {tmp_path}/")
    for tool, text in (
        ("ping", ping),
        ("ip", ip),
        ("sleep", ""),
        ("perl", CONNECTED),
        ("nft", HELD),
    ):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / tool).chmod(0o755)
    wanted = proof.checks(site)
    # This computer has no eth0.
    script = proof.script(wanted).replace("eth0", "lo")
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return proof.results(wanted, done.stdout)


def test_a_server_that_ignores_echo_requests_is_known_by_where_hop_limits_end(
    tmp_path: Path,
) -> None:
    probe = "*'-I 2001:db8:1::3 2001:4860:4860::8888'"
    ended = "echo 'From 2001:db8:1::2 icmp_seq=1 Time exceeded: Hop limit'; exit 1"
    cases = f"*'-t 1 '{probe}) {ended} ;;\n{probe}) cat answer ;;"
    found = run_with(tmp_path, site("client"), cases, "echo dev sit-ipv6")
    assert [result.is_met for result in found] == [True] * 7
    another = cases.replace("From 2001:db8:1::2 ", "From 2001:db8:1::22 ")
    assert not run_with(tmp_path, site("client"), another, "echo dev sit-ipv6")[0].is_met


@pytest.mark.parametrize("role", ["server", "delegating-server"])
def test_a_network_that_delivers_to_the_host_alone_is_told_of(tmp_path: Path, role: str) -> None:
    cases = "*'-I 2001:db8:1::1 2001:4860:4860::8888') cat answer ;;"
    found = run_with(tmp_path, site(role), cases, ROUTE)
    (result,) = [each for each in found if each.check.expected.endswith("answers 2001:db8:1::2")]
    assert result.sentence.endswith(
        "100% packet loss, time 0ms; the host's own address is answered: 2001:db8:1::1; to lo came "
        "0 neighbour solicitations meanwhile, and 0 advertisements left"
    )
    # What isn't set up here is the cause then.
    assert [*proof.explanations(site(role), found)] == []
    is_set_up = [replace(r, is_met=r.is_met or r is not result) for r in found]
    (said,) = proof.explanations(site(role), is_set_up)
    assert "the provider's network doesn't deliver to these" in said
    routed = (
        replace(node(role), server=replace(server, on_link=False))
        if (server := node(role).server)
        else node(role)
    )
    (said,) = proof.explanations(Site(routed, "eth0"), is_set_up)
    assert "doesn't route their prefix to this host" in said


def test_a_host_that_reaches_nothing_says_no_more_than_that(tmp_path: Path) -> None:
    found = run_with(tmp_path, site("server"), "nothing) ;;", ROUTE)
    assert not any("own address" in result.seen for result in found)
    assert [*proof.explanations(site("server"), found)] == []


def test_of_very_many_checks_some_are_made_at_a_time(tmp_path: Path) -> None:
    hosts = {f"web{n}": {"tunnel": {**CLIENT, "number": n, "ipv4": f"192.0.2.{n}"}} for n in MANY}
    inventory = {"fra1.example.net": INVENTORY["fra1.example.net"], **hosts}
    server = Site(declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"], "eth0")
    entries = "\n".join(f"{address} dev eth0 proxy" for address in server.proxied)
    found = run(tmp_path, server, ping=ANSWERS, ip=entries)
    # This computer's own settings are another matter.
    told = [result for result in found if not result.check.expected.startswith("net.ipv6.")]
    assert [result.sentence for result in told if not result.is_met] == []
    assert len(found) == 6 * len(MANY) + 4
    waits = proof.script(proof.checks(server)).splitlines().count("wait")
    assert waits == (len(found) - len(MANY)) // proof.AT_ONCE + 1


MANY = range(1, 81)


def test_ten_percent_loss_is_no_zero_loss(tmp_path: Path) -> None:
    text = SILENCE.replace("100%", "10%")
    found = run(tmp_path, site("client"), ping=text, ip="sit-ipv6", sleep="")
    assert not found[0].is_met


@pytest.mark.parametrize("output", ["", "@@ check 1 0 fine\n", "bash: no\n"])
def test_a_check_that_is_not_told_of_is_not_met(output: str) -> None:
    (first, *_) = proof.results(proof.checks(site("client")), output)
    assert not first.is_met
    assert first.sentence.endswith("seen: nothing")
