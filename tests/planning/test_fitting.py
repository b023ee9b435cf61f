"""The MTU that tunnels get, by what is written, what was found before, and what the hosts saw."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host.state import File, HostState
from tasks.parts import fitted, managers
from tasks.planning import fitting
from tasks.planning.plan import plan
from tests.planning.hosts import with_lines
from tests.samples import CLIENT, HOSTS, INVENTORY, bare, deployed

SERVER_NAME, CLIENT_NAME = HOSTS["server"], HOSTS["client"]
PATHS = {
    "server": ("198.51.100.10", "203.0.113.20"),
    "client": ("203.0.113.20", "198.51.100.10"),
}

TO_CLIENT = (
    "packets of up to {} bytes pass from fra1.example.net to web1.example.net (203.0.113.20)"
)
TO_SERVER = (
    "packets of up to {} bytes pass from web1.example.net to fra1.example.net (198.51.100.10)"
)
GETS = "so an MTU of {} goes to the tunnel of web1.example.net, at both ends"
DOUBT = (
    "either the path is too narrow for IPv6, or somebody on it drops large echo requests and "
    "nothing else"
)
DEAF = "web1.example.net (203.0.113.20) answers echo requests of fra1.example.net, but none of 1300"


def nodes(mtu: int | None = None) -> Mapping[str, Node]:
    tunnel = CLIENT if mtu is None else {**CLIENT, "mtu": mtu}
    inventory = {**INVENTORY, CLIENT_NAME: {"tunnel": tunnel}}
    return declaration.read(inventory, managers.NAMES).nodes


def host(role: str, text: str) -> HostState:
    """A host as a run would leave it, or find it at first, with more on it, a line for each thing:

    passes BYTES      (no larger packets reach the other end)
    remembers MTU     (which was found in an earlier run)
    deployed          (the tunnel is there)
    … and as `with_lines` has it
    """
    own = dict(line.split() for line in text.splitlines() if line[:3] in {"pas", "rem"})
    is_there = "deployed" in text.splitlines()
    state = deployed("ifupdown", role) if is_there else bare("ifupdown", role)
    others = (line for line in text.splitlines() if line.split()[0] in {"link", "get", "sit"})
    state = with_lines(state, "\n".join(others))
    (end,) = nodes()[HOSTS[role]].ends
    if "passes" in own:
        state = replace(state, paths={(end.local, end.remote): int(own["passes"])})
    if "remembers" in own:
        local, remote = PATHS[role]
        record = File(f"# Ours.\ntunnel local {local} remote {remote} mtu {own['remembers']}\n")
        state = replace(state, files={**state.files, fitted.FILE: record})
    return state


Row = tuple[int | None, str, str, int, list[str]]
# What is written, what the server and the client are like; what comes of it.
TUNNELS: list[Row] = [
    (None, "", "", 1480, []),
    (None, "deployed", "deployed", 1480, []),
    (1480, "", "", 1480, []),
    (1400, "passes 1420", "passes 1450", 1400, []),
    # Nobody answers: what was found before stays.
    (None, "deployed\nremembers 1380", "deployed\nremembers 1380", 1380, []),
    # The narrower way decides.
    (None, "passes 1400", "", 1380, [f"{TO_CLIENT.format(1400)}, {GETS.format(1380)}"]),
    (None, "passes 1450", "passes 1400", 1380, [f"{TO_SERVER.format(1400)}, {GETS.format(1380)}"]),
    (None, "", "passes 1300", 1280, [f"{TO_SERVER.format(1300)}, {GETS.format(1280)}"]),
    # An interface is a part of the path.
    (
        None,
        "",
        "link eth0 mtu 1450\npasses 1450",
        1430,
        [f"eth0 of web1.example.net carries packets of 1450 bytes, {GETS.format(1430)}"],
    ),
    # No run says it again, and no path that is wider by now changes anything.
    (None, "passes 1400\nremembers 1380", "passes 1400\nremembers 1380", 1380, []),
    (None, "passes 1450\nremembers 1380", "remembers 1380", 1380, []),
    (None, "remembers 1380", "remembers 1400", 1380, []),
    # One that is narrower does.
    (
        None,
        "passes 1350\nremembers 1380",
        "remembers 1380",
        1330,
        [f"{TO_CLIENT.format(1350)}, {GETS.format(1330)}"],
    ),
    # What is written counts, and what was found before doesn't.
    (1480, "remembers 1380", "", 1480, []),
    # Jumbo frames.
    (8980, "link eth0 mtu 9000", "link eth0 mtu 9000", 8980, []),
    # Somebody on the way may drop large pings.
    (
        1400,
        "passes 1299",
        "",
        1400,
        [f"{DEAF} bytes: {DOUBT}. The proof tells for web1.example.net"],
    ),
]


@pytest.mark.parametrize(("mtu", "server", "client", "found", "remarks"), TUNNELS)
def test_both_ends_get_what_fits(
    mtu: int | None, server: str, client: str, found: int, remarks: list[str]
) -> None:
    states = {SERVER_NAME: host("server", server), CLIENT_NAME: host("client", client)}
    fitted_nodes = fitting.fit(nodes(mtu), states)
    for name, state in states.items():
        (end,) = fitted_nodes.nodes[name].ends
        assert end.mtu == found
        assert [*fitted_nodes.remarks.get(name, ())] == remarks
        assert not fitted_nodes.refusals
        written = plan(fitted_nodes.nodes[name], state).changes.diff()
        if "deployed" not in server:
            assert f" mtu {found} up\n" in written
            is_recorded = mtu is None and found != 1480
            is_told = f"+tunnel local {end.local} remote {end.remote} mtu {found}\n" in written
            had = f"remembers {found}" in (server if name == SERVER_NAME else client)
            assert is_told == (is_recorded and not had)


REFUSALS: list[tuple[int | None, str, str, str]] = [
    (
        1480,
        "passes 1400",
        "",
        f"{TO_CLIENT.format(1400)}, so 1480 is too much for the tunnel of web1.example.net: write "
        '`"mtu": 1380` there, or no `mtu`',
    ),
    (
        8980,
        "link eth0 mtu 9000\npasses 1500",
        "link eth0 mtu 9000\npasses 8000",
        f"{TO_CLIENT.format(1500)}, so 8980 is too much for the tunnel of web1.example.net: write "
        '`"mtu": 1480` there, or no `mtu`',
    ),
    (
        1490,
        "",
        "",
        "eth0 of fra1.example.net carries packets of 1500 bytes, so 1490 is too much for the "
        'tunnel of web1.example.net: write `"mtu": 1480` there, or no `mtu`',
    ),
    (
        None,
        "",
        "link eth0 mtu 1290",
        "eth0 of web1.example.net carries packets of 1290 bytes, too little for the tunnel of "
        "web1.example.net: IPv6 needs 1280, so have it carry more, or take the tunnel out",
    ),
    (
        None,
        "passes 1299",
        "",
        f"{DEAF} bytes, too little for the tunnel of web1.example.net: {DOUBT}, and then `mtu` can "
        "say what fits",
    ),
]


@pytest.mark.parametrize(("mtu", "server", "client", "refusal"), REFUSALS)
def test_what_does_not_fit_is_refused_at_both_ends(
    mtu: int | None, server: str, client: str, refusal: str
) -> None:
    states = {SERVER_NAME: host("server", server), CLIENT_NAME: host("client", client)}
    found = fitting.fit(nodes(mtu), states)
    assert {name: [*said] for name, said in found.refusals.items()} == {
        SERVER_NAME: [refusal],
        CLIENT_NAME: [refusal],
    }
    # To prove what is there, or to take it off, is another matter.
    proven = fitting.fit(nodes(mtu), states, only_to_prove=True)
    assert not proven.refusals
    emptied = declaration.read(INVENTORY, managers.NAMES).emptied().nodes
    assert not fitting.fit(emptied, states).refusals


@pytest.mark.parametrize(
    ("client", "mtu", "remark"),
    [
        ("", 1480, None),
        ("deployed\nremembers 1380\npasses 1400", 1380, None),
        # Its other end would be left behind.
        (
            "deployed\npasses 1400",
            1480,
            "so 1480 is too much for the tunnel of web1.example.net: a run of both ends makes it "
            "1380",
        ),
        # Its other end would do the same.
        (
            "passes 1400",
            1380,
            "so an MTU of 1380 goes to the tunnel of web1.example.net at this end; "
            "fra1.example.net isn't in this run",
        ),
    ],
)
def test_an_end_alone_goes_no_way_of_its_own(client: str, mtu: int, remark: str | None) -> None:
    found = fitting.fit(nodes(), {CLIENT_NAME: host("client", client)})
    (end,) = found.nodes[CLIENT_NAME].ends
    assert end.mtu == mtu
    said = [f"{TO_SERVER.format(1400)}, {remark}"] if remark else []
    assert [*found.remarks.get(CLIENT_NAME, ())] == said
    # The other end's is what the proof there would go by.
    assert found.nodes[SERVER_NAME].ends[0].mtu == mtu


def test_a_proof_is_of_what_is_there_and_not_of_what_would_fit() -> None:
    states = {
        SERVER_NAME: host("server", "deployed\nremembers 1400\npasses 1350"),
        CLIENT_NAME: host("client", "deployed\nremembers 1400"),
    }
    found = fitting.fit(nodes(), states, only_to_prove=True)
    assert {end.mtu for node in found.nodes.values() for end in node.ends} == {1400}
    assert not found.remarks


def test_another_path_is_not_what_was_remembered() -> None:
    state = host("client", "deployed\nremembers 1380")
    moved: dict[str, Any] = {**CLIENT, "ipv4": "203.0.113.21"}
    elsewhere = {**INVENTORY, CLIENT_NAME: {"tunnel": moved}}
    found = fitting.fit(declaration.read(elsewhere, managers.NAMES).nodes, {CLIENT_NAME: state})
    (end,) = found.nodes[CLIENT_NAME].ends
    assert end.mtu == 1480


def test_what_is_remembered_goes_with_the_tunnel_and_where_an_mtu_is_written() -> None:
    state = host("client", "deployed\nremembers 1380")
    emptied = declaration.read(INVENTORY, managers.NAMES).emptied().nodes
    for wanted in (emptied, nodes(1380)):
        found = fitting.fit(wanted, {CLIENT_NAME: state}).nodes[CLIENT_NAME]
        (change,) = (c for c in plan(found, state).changes.files if c.path == fitted.FILE)
        assert change.after is None


def test_clients_of_one_interface_are_told_of_in_one_line() -> None:
    more = {"web2": {"tunnel": {**CLIENT, "number": 2, "ipv4": "203.0.113.22"}}}
    both = declaration.read({**INVENTORY, **more}, managers.NAMES).nodes
    found = fitting.fit(both, {SERVER_NAME: host("server", "link eth0 mtu 1450")})
    (remark, other) = found.remarks[SERVER_NAME]
    assert "of web1.example.net at this end" in remark
    assert "of web2 at this end" in other
    states = {name: host("server", "link eth0 mtu 1450") for name in (SERVER_NAME,)}
    states |= {name: host("client", "") for name in (CLIENT_NAME, "web2")}
    (remark,) = fitting.fit(both, states).remarks[SERVER_NAME]
    assert remark.endswith("goes to the tunnel of web1.example.net and web2, at both ends")
