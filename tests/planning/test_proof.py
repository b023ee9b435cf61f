"""What is proven on each end, and the sentences where the proof fails."""

import re
from dataclasses import replace

import pytest

from tasks.declared import declaration
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning import proof
from tasks.planning.proof import Check, Result
from tests import networks
from tests.planning import proving
from tests.planning.proving import CLIENT, OWN, PROBE, SERVER, SITES, firewall, sentences
from tests.samples import CLIENT as DECLARED
from tests.samples import INVENTORY, node

OF_CLIENT = [
    "fra1.example.net answers at 2001:db8:1::2 through sit-ipv6",
    "packets of full size (1480 bytes) pass through sit-ipv6 both ways",
    "TCP passes both ways between 2001:db8:1::3 and 2001:db8:1::2 through sit-ipv6 (16 KB each "
    "way)",
]

needs_nft = pytest.mark.skipif(not networks.can_filter(), reason="nft isn't installed here")


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
    inventory = {**INVENTORY, "web1.example.net": {"tunnel": {**DECLARED, "default_route": False}}}
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
    assert [check.expected for check in client if check.is_tcp] == [
        "TCP from 2001:db8:1::3 to 2001:4860:4860::8888 is answered"
    ]


# --- What the program sees, on this computer's own kernel ---


ROUTED = """
ip -n server route add 2001:db8:100::/48 via 2001:db8:1::3
ip -n client route add unreachable 2001:db8:100::/48
ip -n client link add eth1 type veth peer name lan
ip -n client link set eth1 up
ip -n client address add 2001:db8:100:1::1/64 dev eth1 nodad
"""


@needs_nft
@pytest.mark.parametrize(
    ("of_server", "of_client", "more"),
    [("server", "client", ""), ("delegating-server", "routing-client", ROUTED)],
    ids=["alone", "with networks"],
)
def test_what_is_as_it_should_be_is_verified(of_server: str, of_client: str, more: str) -> None:
    sites = {"server": Site(node(of_server), "eth1"), "client": Site(node(of_client), "eth0")}
    wanted = {name: proof.checks(site) for name, site in sites.items()}
    found = proving.seen(wanted, proving.HELD + more)
    for name, site in sites.items():
        assert sentences(found[name]) == [f"verified: {each}" for each in expected(site)]
        assert [*proof.explanations(site, found[name])] == []


def unmet(host: str, more: str, role: str = "") -> dict[str, str]:
    """What is expected on a host, but for TCP, and isn't met, and what is seen of it."""
    site = Site(node(role), SITES[host].external_interface) if role else SITES[host]
    wanted = [check for check in proof.checks(site) if not check.is_tcp]
    found = proving.seen({host: wanted}, more)[host]
    return {each.check.expected: each.seen for each in found if not each.is_met}


FILTER = "the tunnels' filter is in force (table inet culvert)"
SILENCE = "2 packets transmitted, 0 received, 100% packet loss"
DEAF = "icmpv6 type echo-request drop"


@needs_nft
def test_silence_is_said_with_what_was_expected_and_seen() -> None:
    more = firewall("server", DEAF, hook="prerouting") + proving.HELD
    wanted = proof.checks(SITES["client"])
    found = proving.seen({"client": wanted}, more)["client"]
    assert sentences(found) == [
        f"expected: {OF_CLIENT[0]}; seen: {SILENCE}",
        f"expected: {OF_CLIENT[1]}; seen: {SILENCE}",
        f"expected: {OF_CLIENT[2]}; seen: no connection in 2 s; the last attempt ended with: "
        "Connection refused",
        f"verified: {PROBE} is routed into sit-ipv6",
        f"expected: {PROBE} on the Internet answers {CLIENT}; seen: {SILENCE}",
        f"verified: TCP from {CLIENT} to {PROBE} is answered",
        f"verified: {FILTER}",
    ]


ANSWERED = f"{PROBE} on the Internet answers {CLIENT}"


@needs_nft
@pytest.mark.parametrize(
    ("more", "seen"),
    [
        (
            firewall(
                "server",
                "icmpv6 type echo-request reject with icmpv6 admin-prohibited",
                hook="forward",
            ),
            f"{SILENCE}; from {SERVER}: Destination unreachable: Administratively prohibited",
        ),
        (
            f"ip -n server route replace unreachable {PROBE}\n",
            f"{SILENCE}; from {SERVER}: Destination unreachable: No route",
        ),
        ("ip -6 -n client route delete default\n", "0 packets transmitted; Network is unreachable"),
        (
            f"ip -n client address delete {CLIENT}/127 dev sit-ipv6\n",
            "0 packets transmitted; Cannot assign requested address",
        ),
        (
            firewall("client", DEAF, hook="output"),
            "0 packets transmitted; Operation not permitted",
        ),
    ],
    ids=["rejected", "no route there", "no route here", "no address", "dropped here"],
)
def test_who_refuses_a_packet_is_told(more: str, seen: str) -> None:
    assert unmet("client", more)[ANSWERED] == seen


def test_packets_that_are_too_big_are_told_of() -> None:
    def seen(more: str) -> str:
        check = Check("large ones pass", f"ping {CLIENT} {PROBE} bytes 1480")
        (result,) = proving.seen({"client": [check]}, more)["client"]
        return "" if result.is_met else result.seen

    narrow = "ip -n server link set eth1 mtu 1400\n"
    assert seen("") == ""
    # The first packet meets with a router that says so, and the kernel remembers.
    assert (
        seen(narrow)
        == "1 packets transmitted, 0 received, 100% packet loss; message too long, mtu=1400"
    )
    assert seen("ip -n client link set sit-ipv6 mtu 1400\n") == (
        "0 packets transmitted; message too long, mtu=1400"
    )


@needs_nft
def test_a_server_that_ignores_echo_requests_is_known_by_where_hop_limits_end() -> None:
    ignoring = firewall("server", DEAF)
    assert {*unmet("client", ignoring)} == {FILTER}
    # It isn't who is asked that says so.
    asked = Check("another one answers", f"ping {CLIENT} {OWN} beyond {PROBE}")
    (found,) = proving.seen({"client": [asked]}, ignoring)["client"]
    assert sentences([found]) == [f"expected: another one answers; seen: {SILENCE}"]


UNANSWERED = f"{PROBE} on the Internet answers {SERVER}"
# The provider's router, which has the prefix on the link and asks who has an address.
ON_LINK = "ip -n internet route add 2001:db8:1::/64 dev eth0\n"
# It doesn't hear who has the tunnels', nor anybody's link-local address.
UNHEARD = firewall(
    "internet",
    *(f"ip6 saddr {a} icmpv6 type nd-neighbor-advert drop" for a in (SERVER, "fe80::/10")),
)


@needs_nft
@pytest.mark.parametrize("role", ["server", "delegating-server"])
def test_a_network_that_delivers_to_the_host_alone_is_told_of(role: str) -> None:
    site = Site(node(role), "eth1")
    seen = unmet("server", ON_LINK + UNHEARD, role)[UNANSWERED]
    told = re.fullmatch(
        rf"{SILENCE}; the host's own address is answered: {OWN}; to eth1 came (\d+) neighbour "
        r"solicitations meanwhile, and (\d+) advertisements left",
        seen,
    )
    assert told, seen
    assert int(told[1]) > 0
    assert int(told[2]) > 0
    found = results(site, {UNANSWERED: seen})
    (said,) = proof.explanations(site, found)
    assert "the provider's network doesn't deliver to these" in said
    server = node(role).server
    assert server is not None
    routed = Site(replace(node(role), server=replace(server, on_link=False)), "eth1")
    (said,) = proof.explanations(routed, results(routed, {UNANSWERED: seen}))
    assert "doesn't route their prefix to this host" in said
    # What isn't set up here is the cause then.
    found = results(site, {UNANSWERED: seen, "net.ipv6.conf.all.proxy_ndp is 1": "0"})
    assert [*proof.explanations(site, found)] == []


def test_a_host_that_reaches_nothing_says_no_more_than_that() -> None:
    assert (
        unmet("server", f"ip -n internet address delete {PROBE}/128 dev lo\n")[UNANSWERED]
        == SILENCE
    )


def test_what_is_missing_in_tables_is_seen_there() -> None:
    more = """
ip -n server neighbour delete proxy 2001:db8:1::3 dev eth1
ip -n server neighbour add proxy 2001:db8:1::3 dev sit-web1
ip -n server route add 2001:db8:100::/48 via 2001:db8:2::2
ip netns exec server sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/proxy_ndp'
ip netns exec server sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth1/forwarding'
"""
    assert unmet("server", more, "delegating-server") == {
        "2001:db8:100::/48 is routed into sit-web1": (
            "2001:db8:100::/48 via 2001:db8:2::2 dev eth1 metric 1024 pref medium"
        ),
        "net.ipv6.conf.eth1.forwarding is 1": "0",
        "net.ipv6.conf.all.proxy_ndp is 1": "0",
        "the proxy entry for 2001:db8:1::3 is on eth1": "2001:db8:1::3 dev sit-web1 proxy",
        FILTER: "Error: No such file or directory",
    }
    more = "ip -n client route add 2001:db8:100::/48 via 2001:db8:1::2\n"
    seen = unmet("client", more, "routing-client")
    assert seen["what nobody uses of 2001:db8:100::/48 is unreachable"] == (
        "2001:db8:100::/48 via 2001:db8:1::2 dev sit-ipv6 metric 1024 pref medium"
    )


COUNTED = """
ip netns exec server unshare --pid --fork sh <<'END_OF_COUNT'
sh /run/script >/run/said
# The next process has the next number.
sh -c 'echo $$'
END_OF_COUNT
"""


def test_a_proof_takes_the_same_few_processes_for_any_number_of_tunnels() -> None:
    def processes(tunnels: int) -> int:
        hosts = {
            f"web{n}": {"tunnel": {**DECLARED, "number": n, "ipv4": f"192.0.2.{n}"}}
            for n in range(1, tunnels + 1)
        }
        inventory = {"fra1.example.net": INVENTORY["fra1.example.net"], **hosts}
        nodes = declaration.read(inventory, managers.NAMES).nodes
        server = Site(nodes["fra1.example.net"], "eth1")
        checks = [check for check in proof.checks(server) if not check.is_tcp]
        script = proof.script(checks).replace("ATTEMPTS => 10,", "ATTEMPTS => 2,")
        written = f"cat >/run/script <<'END_OF_SCRIPT'\n{script}END_OF_SCRIPT\n"
        *_, number = networks.run(f"{proving.HOSTS}{written}{COUNTED}")
        return int(number) - 2

    # dash starts one that writes what is longer than a pipe.
    assert processes(100) <= processes(1) + 1 <= 5


# --- What results say together ---


def results(site: Site, unmet: dict[str, str]) -> list[Result]:
    """Of all checks, those that aren't met with what was seen."""
    checks = proof.checks(site)
    assert unmet.keys() <= {check.expected for check in checks}
    return [Result(c, c.expected not in unmet, unmet.get(c.expected, "")) for c in checks]


TCP_BEYOND = f"TCP from {CLIENT} to {PROBE} is answered"


def test_pings_alone_are_told_of() -> None:
    found = results(site("client"), {OF_CLIENT[2]: "no connection", TCP_BEYOND: "nothing came"})
    assert [*proof.explanations(site("client"), found)] == [
        "ping passes between 2001:db8:1::3 and 2001:db8:1::2, and TCP doesn't: a firewall lets "
        "ICMPv6 through and nothing else (on this host, or on fra1.example.net)",
        "ping passes between 2001:db8:1::3 and 2001:4860:4860::8888, and TCP doesn't: a firewall "
        "lets ICMPv6 through and nothing else (on the tunnel server, in what it forwards, or "
        "beyond)",
    ]


def test_where_nothing_passes_tcp_is_no_case_of_its_own() -> None:
    silent = dict.fromkeys((*OF_CLIENT, ANSWERED, TCP_BEYOND), "")
    assert [*proof.explanations(site("client"), results(site("client"), silent))] == []


def test_full_size_is_told_apart_from_a_firewall() -> None:
    stalled = "a connection, and of 16384 bytes 0 came in 20 s"
    found = results(site("client"), {OF_CLIENT[1]: SILENCE, OF_CLIENT[2]: stalled})
    assert [*proof.explanations(site("client"), found)] == [
        "small packets pass between 2001:db8:1::3 and 2001:db8:1::2, and those of 1480 bytes "
        "don't: the IPv4 path has room for less. Where pings show that, a run of both ends finds "
        "the MTU that fits; else write it under `mtu`"
    ]


@pytest.mark.parametrize("output", ["", "@@ check 1 0 fine\n", "bash: no\n"])
def test_a_check_that_is_not_told_of_is_not_met(output: str) -> None:
    (first, *_) = proof.results(proof.checks(site("client")), output)
    assert not first.is_met
    assert first.sentence.endswith("seen: nothing")
