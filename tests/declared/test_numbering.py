"""Who has which number, and what is free."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from tasks.declared import declaration, numbering
from tests.samples import SERVER

POOL = "2001:db8:100::/40"


def inventory(*numbers: int, **server: Any) -> dict[str, dict[str, Any]]:
    clients = {
        f"web{number}": {
            "tunnel": {"server": "fra1", "ipv4": f"203.0.113.{number}", "number": number}
        }
        for number in numbers
    }
    return {"fra1": {"tunnel_server": {**SERVER, **server}}, **clients}


def test_the_table_shows_every_tunnel_and_what_is_free() -> None:
    hosts = inventory(4, 2, prefix="2001:db8:1::/124")
    hosts["db1"] = {
        "tunnel": {
            "server": "fra1",
            "ipv4": "203.0.113.99",
            "server_ipv6": "2001:db8:1::e",
            "client_ipv6": "2001:db8:1::f",
        }
    }
    assert numbering.table(declaration.read(hosts, [])) == (
        "fra1: 2001:db8:1::/124, on-link\n"
        "    number  client  on the server  on the client  interfaces          routed prefixes\n"
        "    2       web2    2001:db8:1::4  2001:db8:1::5  sit-web2, sit-ipv6  -\n"
        "    4       web4    2001:db8:1::8  2001:db8:1::9  sit-web4, sit-ipv6  -\n"
        "    7       db1     2001:db8:1::e  2001:db8:1::f  sit-db1, sit-ipv6   -\n"
        "    free numbers: 1, 3, 5 to 6"
    )


def test_what_a_whole_prefix_takes_is_not_free() -> None:
    pair = IPAddress("2001:db8:1::b")
    taken: list[IPAddress | IPNetwork] = [IPNetwork("2001:db8:1::/125"), pair, IPNetwork("::/16")]
    prefix = IPNetwork("2001:db8:1::/124")
    assert [*numbering.gaps(prefix, taken)] == [(4, 4), (6, 7)]
    assert numbering.next_free(prefix, taken) == "the next free number is 4"
    wider = [*taken, IPNetwork("2001:db8::/32")]
    assert numbering.next_free(prefix, wider) == "2001:db8:1::/124 has no free number"


def test_a_full_prefix_says_so() -> None:
    hosts = inventory(1, prefix="2001:db8:1::/126", on_link=False)
    assert numbering.table(declaration.read(hosts, [])).splitlines()[0::3] == [
        "fra1: 2001:db8:1::/126, routed",
        "    free numbers: none",
    ]
    prefix = IPNetwork("2001:db8:1::/126")
    assert numbering.next_free(prefix, [prefix[3]]) == "2001:db8:1::/126 has no free number"


def test_the_next_free_prefixes_are_listed() -> None:
    hosts = inventory(1, prefix="2001:db8:100::/64", on_link=False, routed_prefixes=[POOL])
    hosts["web1"]["tunnel"]["routed_prefixes"] = ["2001:db8:100:100::/56", "2001:db8:100:1::/64"]
    table = numbering.table(declaration.read(hosts, []))
    assert "sit-web1, sit-ipv6  2001:db8:100:100::/56, 2001:db8:100:1::/64\n" in table
    assert table.splitlines()[-1] == (
        "    routed here: 2001:db8:100::/40; next free: 2001:db8:101::/48, 2001:db8:100:200::/56, "
        "2001:db8:100:2::/64"
    )
    assert numbering.free_prefix(48, [IPNetwork(POOL)], [IPNetwork("2001:db8::/32")]) is None


@given(st.sets(st.integers(1, 200)))
def test_free_and_taken_numbers_are_all_numbers(numbers: set[int]) -> None:
    prefix = IPNetwork("2001:db8:1::/119")
    taken = [numbering.addresses(prefix, number)[number % 2] for number in numbers]
    free = {n for first, last in numbering.gaps(prefix, taken) for n in range(first, last + 1)}
    assert free.isdisjoint(numbers)
    assert free | numbers == set(range(1, numbering.highest(prefix) + 1))
