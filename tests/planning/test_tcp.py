"""What is tried of TCP, by the program of the proof, on this computer's own kernel."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.declared import declaration
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning import proof
from tests import networks
from tests.samples import INVENTORY, node

SERVER, CLIENT, PROBE = "2001:db8:1::2", "2001:db8:1::3", "2001:4860:4860::8888"
CROSSING = (
    f"TCP passes both ways between {SERVER} and {CLIENT} through sit-web1 (16 KB each way)",
    f"TCP passes both ways between {CLIENT} and {SERVER} through sit-ipv6 (16 KB each way)",
)

# The ends of a tunnel, and what lies behind the server.
HOSTS = f"""
make client server internet
ip -n client link add eth0 mtu 1480 type veth peer name eth0 netns server
ip -n server link add eth1 mtu 1500 type veth peer name eth0 netns internet
for host in client server internet; do ip -n $host link set eth0 up; done
ip -n server link set eth1 up
ip -n client address add {CLIENT}/127 dev eth0 nodad
ip -n server address add {SERVER}/127 dev eth0 nodad
ip -n server address add 2001:db8:2::1/64 dev eth1 nodad
ip -n internet address add 2001:db8:2::2/64 dev eth0 nodad
ip -n internet address add {PROBE}/128 dev lo nodad
ip -n client route add default via {SERVER}
ip -n server route add {PROBE} via 2001:db8:2::2
ip -n internet route add default via 2001:db8:2::1
ip netns exec server sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
"""

TABLE = """
ip netns exec {host} nft -f - <<'END'
table inet f {{
    chain c {{
        type filter hook {hook} priority 0
        {rules}
    }}
}}
END
"""
# What a host's firewall is often like: nothing comes in that nobody asked for.
STATEFUL = """ct state invalid drop
        ct state established,related accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        {verdict}"""


def firewall(host: str, *rules: str, hook: str = "input") -> str:
    return TABLE.format(host=host, hook=hook, rules="\n        ".join(rules))


def stateful(host: str, verdict: str = "drop") -> str:
    return firewall(host, STATEFUL.format(verdict=verdict).replace("{{", "{").replace("}}", "}"))


def sites() -> Iterable[tuple[str, Site]]:
    return ("server", Site(node("server"), "eth1")), ("client", Site(node("client"), "eth0"))


PATIENCE = "SECONDS => 20;"


def tried(*hosts: str, more: str = "", after: float = 0, seconds: int = 0) -> dict[str, str]:
    """By what is expected, the sentences of the proof's TCP on hosts, the last one begun later."""
    script = HOSTS + more
    wanted = {}
    for name, site in sites():
        if name in hosts:
            wanted[name] = [check for check in proof.checks(site) if check.role]
            text = proof.script(wanted[name])
            if seconds:
                assert PATIENCE in text
                text = text.replace(PATIENCE, f"SECONDS => {seconds};")
            pause = f"sleep {after}\n" if name == hosts[-1] else ""
            script += f"{pause}ip netns exec {name} sh >/run/{name} <<'END_OF_SCRIPT' &\n{text}\n"
            script += "END_OF_SCRIPT\n"
    script += "wait\n" + "".join(f"echo '= {name}'; cat /run/{name}\n" for name in hosts)
    printed = "\n".join(networks.run(script)).split("= ")
    found = {}
    for part in filter(None, printed):
        name, _, output = part.partition("\n")
        for result in proof.results(wanted[name], output):
            found[result.check.expected] = result.sentence
    return found


def are_verified(found: dict[str, str]) -> bool:
    return all(sentence.startswith("verified: ") for sentence in found.values())


FIREWALLS = {
    "none": "",
    "of the client": stateful("client"),
    "of the server": stateful("server"),
    "of both": stateful("client") + stateful("server"),
    "that say so": stateful("client", "reject with icmpv6 admin-prohibited")
    + stateful("server", "reject with tcp reset"),
}


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("more", FIREWALLS.values(), ids=FIREWALLS.keys())
def test_two_ends_without_services_meet_behind_their_firewalls(more: str, after: float) -> None:
    if more and not networks.can_filter():
        pytest.skip("nft isn't installed here")
    found = tried("server", "client", more=more, after=after)
    assert {*CROSSING} < {*found}
    assert are_verified(found), found


def test_one_end_alone_is_told_of_and_whoever_is_in_the_way() -> None:
    if not networks.can_filter():
        pytest.skip("nft isn't installed here")
    cases = [
        (("client",), "", CROSSING[1], "no connection in 6 s; the last attempt ended with: Conn"),
        (
            ("server", "client"),
            firewall("server", "meta length > 1400 drop"),
            CROSSING[1],
            "a connection, and of 16384 bytes 16384 came, but not all that was sent arrived there",
        ),
        (
            ("client",),
            firewall("server", "meta l4proto tcp drop", hook="forward"),
            f"TCP from {CLIENT} to {PROBE} is answered",
            "nothing came back from the ports 53, 443, 80, 22 in 6 s",
        ),
        (
            ("client",),
            firewall("server", "meta l4proto tcp reject", hook="forward"),
            f"TCP from {CLIENT} to {PROBE} is answered",
            "port",
        ),
    ]

    def check(case: tuple[tuple[str, ...], str, str, str]) -> None:
        hosts, more, expected, seen = case
        assert (
            f"expected: {expected}; seen: {seen}" in tried(*hosts, more=more, seconds=6)[expected]
        )

    with ThreadPoolExecutor() as pool:
        assert len([*pool.map(check, cases)]) == len(cases)


def test_many_tunnels_are_tried_by_one_process() -> None:
    numbers = range(1, 701)
    hosts = {
        f"web{n}": {
            "tunnel": {"server": "fra1", "ipv4": f"192.0.{n // 200}.{n % 200 + 1}", "number": n}
        }
        for n in numbers
    }
    inventory = {"fra1": INVENTORY["fra1.example.net"], **hosts}
    server = declaration.read(inventory, managers.NAMES).nodes["fra1"]
    checks = [check for check in proof.checks(Site(server, "eth1")) if check.role]
    assert len(checks) == len(numbers)
    assert proof.script(checks).count("exec perl") == 1
