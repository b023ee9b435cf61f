"""What is proven on each end, and the sentences where the proof fails."""

import subprocess
from pathlib import Path

import pytest

from tasks.declared import declaration
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning import proof
from tests.samples import CLIENT, INVENTORY, node

ANSWERS = "1 packets transmitted, 1 received, 0% packet loss, time 0ms"
SILENCE = "1 packets transmitted, 0 received, 100% packet loss, time 0ms"


def site(role: str) -> Site:
    return Site(node(role), "eth0")


def expected(site: Site) -> list[str]:
    return [check.expected for check in proof.checks(site)]


def test_the_server_proves_its_tunnel_and_its_proxying() -> None:
    assert expected(site("server")) == [
        "web1.example.net answers at 2001:db8:1::3 through sit-web1",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::2",
        "net.ipv6.conf.all.forwarding is 1",
        "net.ipv6.conf.eth0.forwarding is 1",
        "net.ipv6.conf.all.proxy_ndp is 1",
        "neighbour solicitations for 2001:db8:1::2 are answered on eth0",
        "neighbour solicitations for 2001:db8:1::3 are answered on eth0",
    ]


def test_the_client_proves_its_tunnel_and_its_way_to_the_internet() -> None:
    assert expected(site("client")) == [
        "fra1.example.net answers at 2001:db8:1::2 through sit-ipv6",
        "2001:4860:4860::8888 is routed into sit-ipv6",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::3",
    ]


def test_routed_prefixes_and_networks_are_proven_on_both_ends() -> None:
    assert [*expected(site("delegating-server"))][:3] == [
        "web1.example.net answers at 2001:db8:1::3 through sit-web1",
        "2001:db8:100::/48 is routed into sit-web1",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:1::2",
    ]
    assert expected(site("routing-client"))[2:4] == [
        "what nobody uses of 2001:db8:100::/48 is unreachable",
        "2001:4860:4860::8888 on the Internet answers 2001:db8:100:1::1 on eth1",
    ]


def test_a_client_without_the_default_route_proves_its_tunnel_alone() -> None:
    inventory = {**INVENTORY, "web1.example.net": {"tunnel": {**CLIENT, "default_route": False}}}
    client = declaration.read(inventory, managers.NAMES).nodes["web1.example.net"]
    assert expected(Site(client, "eth0")) == [
        "fra1.example.net answers at 2001:db8:1::2 through sit-ipv6"
    ]


def run(tmp_path: Path, site: Site, **tools: str) -> list[proof.Result]:
    """What the script finds on a computer whose tools print these texts."""
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
    assert [result.is_met for result in found] == [True, True, True]
    assert found[0].sentence == (
        "verified: fra1.example.net answers at 2001:db8:1::2 through sit-ipv6"
    )


def test_silence_is_said_with_what_was_expected_and_seen(tmp_path: Path) -> None:
    found = run(tmp_path, site("client"), ping=SILENCE, ip="x dev eth0", sleep="")
    assert [result.sentence for result in found] == [
        "expected: fra1.example.net answers at 2001:db8:1::2 through sit-ipv6; seen: "
        "1 packets transmitted, 0 received, 100% packet loss, time 0ms",
        "expected: 2001:4860:4860::8888 is routed into sit-ipv6; seen: x dev eth0",
        "expected: 2001:4860:4860::8888 on the Internet answers 2001:db8:1::3; seen: "
        "1 packets transmitted, 0 received, 100% packet loss, time 0ms",
    ]


def test_of_very_many_checks_some_are_made_at_a_time(tmp_path: Path) -> None:
    hosts = {f"web{n}": {"tunnel": {**CLIENT, "number": n, "ipv4": f"192.0.2.{n}"}} for n in MANY}
    inventory = {"fra1.example.net": INVENTORY["fra1.example.net"], **hosts}
    server = Site(declaration.read(inventory, managers.NAMES).nodes["fra1.example.net"], "eth0")
    entries = "\n".join(f"{address} dev eth0 proxy" for address in server.proxied)
    found = run(tmp_path, server, ping=ANSWERS, ip=entries)
    # This computer's own settings are another matter.
    told = [result for result in found if not result.check.expected.startswith("net.ipv6.")]
    assert [result.sentence for result in told if not result.is_met] == []
    assert len(found) == 4 * len(MANY) + 3
    waits = proof.script(proof.checks(server)).splitlines().count("wait")
    assert waits == len(found) // proof.AT_ONCE + 1


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
