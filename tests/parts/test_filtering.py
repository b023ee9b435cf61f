"""Culvert's own table: what is in it for whom, how it changes, what is said of a difference."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host.state import HostState, Route, Unit
from tasks.parts import filtering, managers
from tasks.planning.plan import plan
from tests.samples import (
    CLIENT,
    HOSTS,
    INVENTORY,
    ROLES,
    ROUTED,
    SERVER,
    bare,
    deployed,
    filter_answer,
    node,
)

GOLDEN = Path(__file__).parents[1] / "golden"
OTHER_SERVER = {
    "ipv4": "198.51.100.20",
    "local_ipv4": "198.51.100.10",
    "prefix": "2001:db8:2::/64",
}
DELEGATING = ROUTED["fra1.example.net"]["tunnel_server"]


def table(wanted: Node, role: str = "server", state: HostState | None = None) -> str:
    """The text of the table that a host gets, by default a bare one."""
    (file,) = [
        change.after
        for change in plan(wanted, state or bare("ifupdown", role)).changes.files
        if change.path == filtering.FILE
    ]
    assert file is not None
    return file.text


def declared(server: dict[str, Any], *tunnels: dict[str, Any]) -> dict[str, Node]:
    """The nodes of a server and of a client for each tunnel."""
    inventory: dict[str, dict[str, Any]] = {"fra1.example.net": {"tunnel_server": server}}
    for number, tunnel in enumerate(tunnels, 1):
        ipv4 = f"203.0.113.{19 + number}"
        data = {**CLIENT, "ipv4": ipv4, "number": number, **tunnel}
        inventory[f"web{number}.example.net"] = {"tunnel": data}
    return dict(declaration.read(inventory, managers.NAMES).nodes)


@pytest.mark.parametrize("role", ROLES)
def test_the_table_is_exactly_this(role: str) -> None:
    assert table(node(role), role) == (GOLDEN / f"filter-{role}" / "filter.nft").read_text()


def chain(text: str, name: str) -> list[str]:
    """The lines of one chain of a table."""
    return text.partition(f"chain {name} {{")[2].partition("\n    }\n")[0].strip().splitlines()


GROUPS = {**SERVER, "between_tunnels": "groups"}


def test_nothing_passes_between_tunnels_that_is_not_declared() -> None:
    closed = declared(SERVER, {}, {})["fra1.example.net"]
    text = table(closed)
    assert "oifname @tunnels iifname @tunnels goto between_tunnels" in text
    assert "@group_" not in text
    opened = declared({**SERVER, "between_tunnels": True}, {}, {})["fra1.example.net"]
    assert "between_tunnels" not in table(opened)


def test_a_group_speaks_among_itself() -> None:
    office: dict[str, Any] = {"group": "office"}
    nodes = declared(GROUPS, office, office, {"group": "home"}, {})
    text = table(nodes["fra1.example.net"])
    assert "iifname @group_office oifname @group_office return" in text
    assert "iifname @group_home oifname @group_home return" in text
    (members,) = [
        part.partition("}")[0] for part in text.split("set ") if part.startswith("group_office")
    ]
    assert '"sit-web1",' in members
    assert '"sit-web2",' in members
    assert '"sit-web3",' not in members


def test_a_closed_client_lets_in_what_is_allowed() -> None:
    tunnel = {"inbound": "established", "allow": ["tcp/22", "udp/60000-61000"]}
    text = table(declared(SERVER, tunnel)["web1.example.net"], "client")
    chain = text.partition("chain closed_sit-ipv6 {")[2].partition("\n    }\n")[0]
    assert "ct state { established, related } return" in chain
    assert "tcp dport 22 return" in chain
    assert "udp dport 60000-61000 return" in chain
    assert chain.rstrip().splitlines()[-1].strip() == "counter drop"
    assert "closed_" not in table(declared(SERVER, {})["web1.example.net"], "client")


def test_what_is_declared_more_is_one_element_more() -> None:
    state = deployed("ifupdown", "server")
    more = declaration.read(
        {
            **INVENTORY,
            "web2.example.net": {"tunnel": {**CLIENT, "ipv4": "203.0.113.21", "number": 2}},
        },
        managers.NAMES,
    ).nodes["fra1.example.net"]
    first = plan(more, state).changes.steps[0]
    assert first.shown == (
        "+element of clients_128: 2001:db8:1::5",
        '+element of mtu_1480: "sit-web2"',
        '+element of sources_128: "sit-web2" . 2001:db8:1::5',
        '+element of tunnels: "sit-web2"',
    )
    change, load = first.commands
    assert "add element inet culvert clients_128 { 2001:db8:1::5 }" in change
    assert load == "/etc/culvert/filter load $scratch/change.nft"


def test_addresses_from_no_prefix_are_no_other_rule() -> None:
    pairs = [
        {"number": None, "server_ipv6": "2001:db8:77::2", "client_ipv6": "2001:db8:77::3"},
        {"number": None, "server_ipv6": "2001:db8:77::8", "client_ipv6": "2001:db8:77::9"},
    ]
    for tunnels in (pairs[:1], pairs):
        server = declared({"ipv4": "198.51.100.10"}, *tunnels)["fra1.example.net"]
        assert "        ip6 saddr { 2001:db8:77::/64 } goto from_others\n" in table(server)


def test_another_policy_is_read_anew_as_a_whole() -> None:
    state = deployed("ifupdown", "server")
    opened = declared({**SERVER, "between_tunnels": True}, {})["fra1.example.net"]
    first = plan(opened, state).changes.steps[0]
    assert first.commands == ("systemctl reload 60-culvert-filter.service",)


DAMAGES = [
    ('        iifname "sit0" counter drop\n', '+chain from_tunnel: iifname "sit0" counter drop'),
    (
        '            "sit-web1" . 2001:db8:1::3,\n',
        '+element of sources_128: "sit-web1" . 2001:db8:1::3',
    ),
]


@pytest.mark.parametrize(("lost", "told"), DAMAGES)
def test_what_was_taken_out_by_hand_is_named_and_put_back(lost: str, told: str) -> None:
    state = deployed("ifupdown", "server")
    text = state.files[filtering.FILE].text
    assert lost in text
    damaged = {**state.answers, **filter_answer(text.replace(lost, "", 1), text)}
    changes = plan(node("server"), replace(state, answers=damaged)).changes
    assert not changes.files
    (step,) = changes.steps
    assert step.shown == (told,)
    assert step.commands == ("systemctl reload 60-culvert-filter.service",)


def test_the_order_of_rules_counts() -> None:
    state = deployed("ifupdown", "server")
    text = state.files[filtering.FILE].text
    first, second = "iifname @tunnels goto from_client", 'iifname "sit0" counter drop'
    moved = text.replace(first, "#").replace(second, f"{second}\n        {first}", 1)
    answers = {**state.answers, **filter_answer(moved, text)}
    (step,) = plan(node("server"), replace(state, answers=answers)).changes.steps
    assert step.commands == ("systemctl reload 60-culvert-filter.service",)


def test_the_order_of_elements_does_not_count() -> None:
    listed = (
        'table inet culvert { # progname nft\n\tset a {\n\t\telements = { "x",\n\t\t\t"y" }\n\t}\n}'
    )
    other = 'table inet culvert {\n\tset a {\n\t\telements = { "y", "x" }\n\t}\n}'
    state = deployed("ifupdown", "server")
    answers = {**state.answers, **filter_answer(listed, other)}
    assert not plan(node("server"), replace(state, answers=answers)).changes


def test_a_service_that_somebody_stopped_is_started() -> None:
    state = deployed("ifupdown", "client")
    units = {**state.units, filtering.SERVICE: Unit(True, False, False)}
    gone = {**state.answers, **filter_answer("", state.files[filtering.FILE].text)}
    (enabled, started) = plan(
        node("client"), replace(state, units=units, answers=gone)
    ).changes.steps
    assert enabled.commands == ("systemctl --quiet enable 60-culvert-filter.service",)
    assert started.commands == ("systemctl start 60-culvert-filter.service",)


def test_it_stands_before_the_tunnels_and_goes_after_them() -> None:
    steps = plan(node("server"), bare("ifupdown", "server")).changes.steps
    shown = [line for step in steps for line in step.shown]
    first_link = next(i for i, line in enumerate(shown) if line.startswith("+link"))
    assert shown.index("+table inet culvert") < first_link
    nothing = Node(HOSTS["server"], None, None, ())
    removals = plan(nothing, deployed("ifupdown", "server")).changes.removals
    assert [step.shown for step in removals if step.shown][-1] == ("-table inet culvert",)


def test_a_copy_that_somebody_saved_is_told_of() -> None:
    state = deployed("ifupdown", "client")
    _, copies = filtering.QUESTIONS
    answers = {**state.answers, copies.name: "/etc/nftables.conf"}
    found = plan(node("client"), replace(state, answers=answers))
    assert not found.changes
    assert [line for line in found.warnings if line.startswith("/etc/nftables.conf has a copy")]


def test_a_server_without_ipv6_of_its_own_looks_for_no_neighbours() -> None:
    assert "on_link" in table(node("server"))
    assert "on_link" not in table(node("client"), "client")
    inventory = {
        "fra1.example.net": ROUTED["fra1.example.net"],
        "ams1.example.net": {
            "tunnel_server": {
                "ipv4": "203.0.113.20",
                "prefix": "2001:db8:100:1::/64",
                "on_link": False,
            },
            "tunnel": {**CLIENT, "routed_prefixes": ["2001:db8:100::/48"]},
        },
        "web1.example.net": {
            "tunnel": {**CLIENT, "server": "ams1.example.net", "ipv4": "203.0.113.21"}
        },
    }
    state = bare("ifupdown", "client")
    # Of a network at home, say, which comes and goes.
    eth0 = replace(state.links["eth0"], addresses=("203.0.113.20/25", "fd00:1::5/64"))
    state = replace(state, links={**state.links, "eth0": eth0})
    wanted = declaration.read(inventory, managers.NAMES).nodes["ams1.example.net"]
    assert 'oifname ""' not in (text := table(wanted, state=state))
    assert "on_link" not in text


def test_what_ipsec_carries_is_for_ipsec_to_judge() -> None:
    nodes = declared(SERVER, {"inbound": "established"})
    server = table(nodes["fra1.example.net"])
    client = table(nodes["web1.example.net"], "client")
    # It comes out of the tunnel's own interface, and is to go into it before it is wrapped.
    for text, name, line in (
        (server, "from_client", "meta ipsec exists return"),
        (client, "from_server", "meta ipsec exists return"),
        (client, "closed_sit-ipv6", "meta ipsec exists return"),
        (client, "into_server", "rt ipsec exists return"),
    ):
        lines = [each.strip() for each in chain(text, name)]
        assert lines.index(line) < lines.index("counter drop")


@pytest.mark.parametrize(
    ("role", "name"), [("server", "from_itself"), ("client", "to_own")], ids=["server", "client"]
)
def test_neighbours_are_not_found_through_a_tunnel(role: str, name: str) -> None:
    # The kernel remembers who asked, be it with each address of a /48.
    last = chain(table(node(role), role), name)[-1]
    assert last.strip().startswith(
        "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-"
    )


def test_a_server_hears_its_clients_from_no_server_of_its_own() -> None:
    inventory = {
        **INVENTORY,
        "ams1.example.net": {
            "tunnel_server": OTHER_SERVER,
            "tunnel": {
                **CLIENT,
                "ipv4": "198.51.100.20",
                "local_ipv4": "198.51.100.10",
                "number": 2,
                "default_route": False,
            },
        },
        "web2.example.net": {
            "tunnel": {**CLIENT, "server": "ams1.example.net", "ipv4": "203.0.113.21"}
        },
    }
    nodes = declaration.read(inventory, managers.NAMES).nodes
    # The first thing that is asked of what comes by the tunnel for the host's own addresses.
    assert chain(table(nodes["ams1.example.net"]), "to_own")[0] == "jump from_others"
    assert "from_others" not in table(nodes["web1.example.net"], "client")


def test_a_router_tells_what_is_on_the_link_of_an_address_that_came_alone() -> None:
    state = bare("ifupdown", "server")
    eth0 = replace(state.links["eth0"], addresses=("198.51.100.10/25", "2001:db8:9::1/128"))
    routes = [
        Route("2001:db8:9::/64", None, "eth0", "kernel", 256),
        # Of other interfaces, of what a gateway leads to, and of all: none is the link.
        Route("2001:db8:a::/64", None, "eth1", "kernel", 256),
        Route("2001:db8:b::/64", "fe80::1", "eth0", "static", 1024),
        Route("default", None, "eth0", "kernel", 1024),
    ]
    state = replace(state, links={**state.links, "eth0": eth0}, routes=(*state.routes, *routes))
    of_link = table(node("server"), state=state).partition("set on_link {")[2].partition("}")[0]
    assert [line.strip() for line in of_link.splitlines()[4:-1]] == [
        "2001:db8:1::/64,",
        "2001:db8:9::/64,",
    ]


def test_answers_of_another_tunnel_of_the_clients_take_the_default_route() -> None:
    inventory = {
        **INVENTORY,
        "ams1.example.net": {"tunnel_server": OTHER_SERVER},
        "web1.example.net": {
            "tunnel": [
                CLIENT,
                {
                    **CLIENT,
                    "server": "ams1.example.net",
                    "interface": "sit-ams1",
                    "default_route": False,
                },
            ]
        },
    }
    nodes = declaration.read(inventory, managers.NAMES).nodes
    first, second = table(nodes["fra1.example.net"]), table(nodes["ams1.example.net"])
    assert '"sit-web1" . 2001:db8:2::3,' in first
    assert '"sit-web1" . 2001:db8:1::3,' not in second
    # Nobody else comes with what isn't this server's to give.
    assert "\n            2001:db8:2::3," not in first
