"""What is tried of TCP, by the program of the proof, on this computer's own kernel."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.planning import proof
from tests import networks
from tests.planning import proving
from tests.planning.proving import CLIENT, PROBE, SERVER, SITES, firewall

CROSSING = (
    f"TCP passes both ways between {SERVER} and {CLIENT} through sit-web1 (16 KB each way)",
    f"TCP passes both ways between {CLIENT} and {SERVER} through sit-ipv6 (16 KB each way)",
)

# What a host's firewall is often like: nothing comes in that nobody asked for.
STATEFUL = """ct state invalid drop
        ct state established,related accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        {verdict}"""


def stateful(host: str, verdict: str = "drop") -> str:
    return firewall(host, STATEFUL.format(verdict=verdict).replace("{{", "{").replace("}}", "}"))


def tried(*hosts: str, more: str = "", after: float = 0, seconds: int = 0) -> dict[str, str]:
    """By what is expected, the sentences of the proof's TCP on hosts, the last one begun later."""
    wanted = {name: [c for c in proof.checks(SITES[name]) if c.is_tcp] for name in hosts}
    patience = {"SECONDS => 20;": f"SECONDS => {seconds};"} if seconds else {}
    found = proving.seen(wanted, more, after, patience)
    return {each.check.expected: each.sentence for results in found.values() for each in results}


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
