"""What a client is told that the IPv6 Internet is about to reach."""

import json
from dataclasses import replace
from typing import Any

import pytest
from netaddr import IPAddress

from tasks.declared.model import Allowed
from tasks.host import answer, iptables_listing, nft_listing
from tasks.host.ruleset import NFT, Ruleset
from tasks.host.state import HostState, Listener, Route
from tasks.planning.exposure import exposed
from tasks.planning.plan import plan
from tests import answers
from tests.host.test_answer import ANSWER
from tests.samples import bare, deployed, node

ANY = IPAddress("::")
SSHD = Listener("tcp", ANY, 22, "sshd")
POSTGRES = Listener("tcp", ANY, 5432, "postgres")
WIREGUARD = Listener("udp", ANY, 51820)
SAID = "from the IPv6 Internet, these answer as soon as the tunnel is up, and no rule of the host's"

SS = """\
udp   UNCONN 0      0            0.0.0.0:68        0.0.0.0:*    users:(("dhclient",pid=400,fd=6))
udp   UNCONN 0      0      [fe80::1]%eth0:546         [::]:*    users:(("networkd",pid=2,fd=9))
udp   UNCONN 0      0                  *:5353            *:*    users:(("avahi d\\"x",pid=12,fd=9))
udp   UNCONN 0      0             *%eth0:67              *:*    users:(("dnsmasq",pid=12,fd=9))
udp   UNCONN 0      0               [::]:51820        [::]:*
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=500,fd=3))
tcp   LISTEN 0      128   [::]:22   [::]:*    users:(("systemd",pid=1,fd=9),("sshd",pid=5,fd=3))
tcp   LISTEN 0      128            [::1]:631          [::]:*    users:(("cupsd",pid=500,fd=3))
tcp   LISTEN 0      5    [2001:db8:1::3]:80           [::]:*
"""
PROC = """\
tcp   sl  local_address                         remote_address                        st tx_queue
tcp    0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000
tcp    1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000
tcp    2: B80D0120000001000000000003000000:0050 B80D0120000001000000000004000000:8000 01 00000000
udp   sl  local_address                         remote_address                        st tx_queue
udp  123: 00000000000000000000000000000000:CA6C 00000000000000000000000000000000:0000 07 00000000
"""


def before(*listeners: Listener, **more: Any) -> HostState:
    return replace(bare("ifupdown", "client"), listeners=listeners, **more)


def nft(policy: str, *rules: list[dict[str, Any]], family: str = "inet") -> Ruleset:
    """One chain of hook input, with these rules."""
    place = {"family": family, "table": "filter"}
    base = {"type": "filter", "hook": "input", "prio": 0, "policy": policy}
    entries: list[dict[str, Any]] = [{"chain": {**place, "name": "input", "handle": 1, **base}}]
    for handle, rule in enumerate(rules, 2):
        entries.append({"rule": {**place, "chain": "input", "handle": handle, "expr": rule}})
    return nft_listing.parse(json.dumps({"nftables": entries}))


def match(right: Any, protocol: str = "tcp", field: str = "dport") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": "==", "left": left, "right": right}}


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}
LIMIT = {"limit": {"rate": 3, "per": "minute"}}


def test_all_is_told_in_one_line_by_program_and_port() -> None:
    found = plan(node("client"), before(SSHD, POSTGRES, WIREGUARD, SSHD))
    assert found.warnings == (
        f"{SAID} filters them: UDP 51820, postgres (TCP 5432), sshd (TCP 22): see "
        "docs/firewalls.md",
    )
    assert found.changes


def test_nobody_is_told_of_what_is_there_already() -> None:
    assert not plan(
        node("client"), replace(deployed("ifupdown", "client"), listeners=(SSHD,))
    ).warnings
    native = Route("default", "fe80::1", "eth0", "ra", 1024)
    assert not exposed(node("client"), before(SSHD, routes=(native,)))
    server = replace(bare("ifupdown", "server"), listeners=(SSHD,))
    assert not exposed(node("server"), server)


def test_what_others_cannot_reach_is_not_told() -> None:
    addresses = ("::1", "fe80::1", "fd00::1", "2001:db8:7::1")
    here = [Listener("tcp", IPAddress(each), 22, "sshd") for each in addresses]
    assert not exposed(node("client"), before(*here))
    on_tunnel = Listener("tcp", IPAddress("2001:db8:1::3"), 22, "sshd")
    assert exposed(node("client"), before(on_tunnel)) == [on_tunnel]


# Whether SSH, Postgres and WireGuard are reached.
RULES: list[tuple[Ruleset, str]] = [
    (Ruleset(), "SPW"),
    (nft("accept"), "SPW"),
    (nft("drop", [ESTABLISHED, ACCEPT]), ""),
    (nft("drop", family="ip"), "SPW"),
    (nft("drop", [match(22), ACCEPT]), "S"),
    (nft("drop", [match({"set": [22, {"range": [5000, 6000]}]}), ACCEPT]), "SP"),
    (nft("drop", [match(51820, "udp"), ACCEPT]), "W"),
    (nft("drop", [match({"range": [1024, 65535]}, "th"), ACCEPT]), "PW"),
    (nft("accept", [match(5432), DROP]), "SW"),
    (nft("accept", [match({"range": [1, 65535]}), {"reject": None}]), "W"),
    # It is accepted now and then.
    (nft("drop", [match(22), LIMIT, ACCEPT]), "S"),
    (nft("accept", [match(22), LIMIT, DROP]), "SPW"),
    # From somebody, who isn't everybody.
    (nft("drop", [match("2001:db8:7::1", "ip6", "saddr"), ACCEPT]), ""),
    (nft("drop", [match("2001:db8:1::3", "ip6", "daddr"), ACCEPT]), "SPW"),
]
IPTABLES = {
    "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT": "S",
    "-A INPUT -p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT": "S",
    "-A INPUT -p tcp -m tcp --dport 1024:6000 -j ACCEPT": "P",
    "-A INPUT -p tcp -m multiport --dports 22,80:443,5432 -j ACCEPT": "SP",
    "-A INPUT -p tcp -m multiport ! --dports 22 -j ACCEPT": "P",
    "-A INPUT -p udp -m udp --sport 53 -j ACCEPT": "W",
    "-A INPUT -i eth0 -j ACCEPT": "",
    "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT": "",
}
RULES += [
    (iptables_listing.parse(f"*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT", NFT, "ip6"), reached)
    for rule, reached in IPTABLES.items()
]


@pytest.mark.parametrize(("ruleset", "reached"), RULES)
def test_what_the_host_filters_is_not_told(ruleset: Ruleset, reached: str) -> None:
    state = before(SSHD, POSTGRES, WIREGUARD, ruleset=ruleset)
    letters = {SSHD: "S", POSTGRES: "P", WIREGUARD: "W"}
    assert {letters[each] for each in exposed(node("client"), state)} == {*reached}


def test_what_a_closed_tunnel_lets_in_is_told() -> None:
    (end,) = node("client").ends
    allowed = (Allowed("tcp", 20, 25), Allowed("udp", 5432, 5432))
    closed = replace(end, tunnel=replace(end.tunnel, is_closed=True, allow=allowed))
    state = before(SSHD, POSTGRES, WIREGUARD)
    assert exposed(replace(node("client"), ends=(closed,)), state) == [SSHD]


def test_who_listens_on_ipv6_is_read() -> None:
    told = {**answers.sections(ANSWER.format(files="")), **answers.of(bare("ifupdown", "client"))}
    found = [answer.parse(answers.text({**told, "listeners": text})) for text in (SS, PROC)]
    assert found[0].listeners == (
        Listener("udp", ANY, 5353, 'avahi d\\"x'),
        Listener("udp", ANY, 51820),
        Listener("tcp", ANY, 22, "sshd"),
        Listener("tcp", IPAddress("::1"), 631, "cupsd"),
        Listener("tcp", IPAddress("2001:db8:1::3"), 80),
    )
    assert found[1].listeners == (
        Listener("tcp", ANY, 22),
        Listener("tcp", IPAddress("::1"), 631),
        Listener("udp", ANY, 51820),
    )
