"""Back to before the last confirmed run, and what has changed since."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host.changes import RUN, Changes, Step
from tasks.host.state import File, HostState, Link, Room, Route
from tasks.parts import FOLDERS, OWN_FOLDERS, managers
from tasks.planning import confirming, undo
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.planning.hosts import with_lines
from tests.samples import CLIENT, HOSTS, INVENTORY, ROLES, bare, deployed, node

BY = "alice@laptop from 192.0.2.9, since 2026-11-27 12:03:04 UTC"
MANAGERS_AND_ROLES = [(manager, role) for manager in managers.NAMES for role in ROLES]
each_manager_and_role = pytest.mark.parametrize(("manager", "role"), MANAGERS_AND_ROLES)

FILE = "/etc/network/interfaces.d/60-culvert-sit-ipv6"


def remembering(state: HostState, changes: Changes) -> HostState:
    copies = {change.path: change.before for change in changes.files if change.before}
    return replace(state, record=changes.record(), recorded_by=BY, copies=copies)


def was_run(manager: str, role: str) -> HostState:
    """A host that was bare, and remembers the run that deployed it."""
    return remembering(deployed(manager, role), plan(node(role), bare(manager, role)).changes)


def cleared(role: str) -> Node:
    return Node(HOSTS[role.rpartition("-")[2]], None, None, (), is_cleared=True)


def refusals(state: HostState, role: str = "client") -> tuple[str, ...]:
    with pytest.raises(ObstacleError) as caught:
        undo.plan(cleared(role), state)
    return caught.value.sentences


def differing(state: HostState, role: str = "client") -> tuple[str, ...]:
    *found, way_out = refusals(state, role)
    assert way_out.startswith("taking that run back would take this along: ")
    return tuple(found)


def text(step: Step) -> tuple[Any, ...]:
    """What a step says and does, but for commands that stand for themselves, and its reason."""
    shown = tuple(line for line in step.shown if not line.startswith(RUN))
    return shown, step.commands, step.undo, step.outlasts


@each_manager_and_role
def test_what_is_undone_is_the_last_run_and_undoing_that_is_it_again(
    manager: str, role: str
) -> None:
    done = plan(node(role), bare(manager, role)).changes
    found = undo.plan(cleared(role), was_run(manager, role))
    assert found.changes == replace(
        done.reversed(), folders=FOLDERS, own_folders=OWN_FOLDERS, goes_back=True
    )
    assert found.changes.to_nothing
    assert (
        found.grounds
        == "takes back the run of alice@laptop from 192.0.2.9 at 2026-11-27 12:03:04 UTC"
    )
    again = undo.plan(cleared(role), remembering(bare(manager, role), found.changes)).changes
    assert (again.files, again.from_nothing) == (done.files, True)
    assert [*map(text, again.removals)] == [*map(text, done.removals)]
    assert [*map(text, again.steps)] == [*map(text, done.steps)]


@each_manager_and_role
def test_nothing_is_left_to_do_on_a_host_as_it_was(manager: str, role: str) -> None:
    found = undo.plan(cleared(role), was_run(manager, role))
    assert not undo.rest(found, bare(manager, role)).changes
    # All that changes is seen where nothing was done.
    left = undo.rest(found, was_run(manager, role)).changes
    assert left.files == found.changes.files
    lines = left.diff().splitlines()
    (end,) = node(role).ends
    assert f"-address {end.network} dev {end.interface}" in lines
    assert any(line.startswith(f"-link {end.interface}: sit local ") for line in lines)
    assert ("+sysctl net.ipv6.conf.all.forwarding = 0" in lines) == node(role).forwards


def test_folders_are_those_of_now_and_the_name_is_that_of_the_inventory() -> None:
    changes = plan(node("client"), bare("ifupdown", "client")).changes
    old = replace(changes, host="old", folders=("/old",), own_folders=("old",))
    found = undo.plan(cleared("client"), remembering(deployed("ifupdown", "client"), old)).changes
    assert (found.host, found.folders, found.own_folders) == (
        "web1.example.net",
        FOLDERS,
        OWN_FOLDERS,
    )


def test_whoever_may_change_nothing_is_told_so_alone() -> None:
    # The record is root's to read.
    (said,) = refusals(replace(deployed("ifupdown", "client"), uid=1000))
    assert said.startswith("the SSH user is not root (uid 1000)")


def test_without_a_record_nothing_is_undone() -> None:
    for state in (bare("ifupdown", "client"), deployed("ifupdown", "client")):
        (said,) = refusals(state)
        assert said.startswith("it remembers no confirmed run: it was never changed, ")


# As it was when it had the texts of files, too.
OLD_RECORD = json.dumps(asdict(plan(node("client"), bare("ifupdown", "client")).changes))


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"host": 1}', json.dumps({"files": []}), OLD_RECORD]
)
def test_a_record_that_cannot_be_read_is_told(record: str) -> None:
    (said,) = refusals(replace(deployed("ifupdown", "client"), record=record))
    assert said.startswith("what it remembers of its last run can't be read")


def test_a_record_without_the_copies_of_its_files_is_one_that_cannot_be_read() -> None:
    state = changed("client", with_mtu(1400)[HOSTS["client"]], mtu=1400)
    (said,) = refusals(replace(state, copies={}))
    assert said.startswith("what it remembers of its last run can't be read")


def test_a_run_that_was_cut_off_goes_before() -> None:
    (said,) = refusals(replace(was_run("ifupdown", "client"), is_cut_off=True))
    assert said.startswith("a run was cut off there before it was confirmed")


def test_a_name_that_is_no_plain_word_and_a_disk_without_room_are_refused() -> None:
    state = was_run("ifupdown", "client")
    odd = replace(state, files={**state.files, "/etc/60-culvert odd": File("")})
    assert "'/etc/60-culvert odd' is called like" in refusals(odd)[0]
    full = replace(state, room={"/etc/network/interfaces.d": Room(False, 0)})
    assert refusals(full)[0].startswith("/etc/network/interfaces.d is read-only")


def with_file(state: HostState, path: str, file: File | None) -> HostState:
    files = {**state.files, **({path: file} if file else {})}
    if file is None:
        del files[path]
    return replace(state, files=files)


def test_what_became_of_files_since_is_told() -> None:
    state = was_run("ifupdown", "client")
    file = state.files[FILE]
    assert differing(with_file(state, FILE, None)) == (
        f"{FILE} was written by that run, and isn't there any more",
    )
    assert differing(with_file(state, FILE, replace(file, mode=0o600))) == (
        f"{FILE} has mode 0600, and that run left 0644",
    )
    longer = replace(file, text=f"{file.text}    mtu 1280\n")
    assert differing(with_file(state, FILE, longer)) == (
        f"{FILE} was edited since that run wrote it",
    )
    gone = undo.plan(cleared("client"), state).changes
    back = remembering(bare("ifupdown", "client"), gone)
    assert differing(with_file(back, FILE, file)) == (
        f"{FILE} was taken away by that run, and is there again",
    )


LINK = "link sit-ipv6: sit local 203.0.113.20 remote 198.51.100.10 ttl 255 mtu 1480 up"
ROUTE = "route default via 2001:db8:1::2 dev sit-ipv6"
PROXY = "proxy entry 2001:db8:1::3 dev eth0"
FORWARDING = "net.ipv6.conf.all.forwarding"


def test_what_became_of_a_link_and_what_is_on_it_is_told() -> None:
    state = was_run("ifupdown", "client")
    link = state.links["sit-ipv6"]

    def having(**changes: Any) -> HostState:
        return replace(state, links={**state.links, "sit-ipv6": replace(link, **changes)})

    assert differing(having(mtu=1400)) == (
        f"`{LINK.replace('1480', '1400')}` was changed since: that run left `{LINK}`",
    )
    assert differing(having(is_up=False)) == (
        f"`{LINK.replace(' up', ' down')}` was changed since: that run left `{LINK}`",
    )
    assert differing(having(addresses=())) == (
        "`address 2001:db8:1::3/127 dev sit-ipv6` was made by that run, and isn't there any more",
    )
    routes = tuple(route for route in state.routes if route.destination != "default")
    assert differing(replace(state, routes=routes)) == (
        f"`{ROUTE}` was made by that run, and isn't there any more",
    )
    links = {name: each for name, each in state.links.items() if name != "sit-ipv6"}
    assert f"`{LINK}` was made by that run, and isn't there any more" in differing(
        replace(state, links=links)
    )


def test_what_became_of_a_setting_or_an_entry_is_told() -> None:
    state = was_run("ifupdown", "server")
    assert differing(with_lines(state, f"set {FORWARDING} = 0"), "server") == (
        f"`sysctl {FORWARDING} = 0` was changed since: that run left `sysctl {FORWARDING} = 1`",
    )
    entries = frozenset(each for each in state.proxies if str(each[0]) != "2001:db8:1::3")
    assert differing(replace(state, proxies=entries), "server") == (
        f"`{PROXY}` was made by that run, and isn't there any more",
    )


def test_what_is_there_again_is_told_and_of_what_kind_it_is() -> None:
    state = was_run("ifupdown", "client")
    back = remembering(bare("ifupdown", "client"), undo.plan(cleared("client"), state).changes)
    again = Link("sit-ipv6", "wireguard", True, 1420, ())
    assert differing(replace(back, links={**back.links, "sit-ipv6": again})) == (
        "`link sit-ipv6: wireguard` was taken away by that run, and is there again",
    )
    route = Route("default", "2001:db8:1::2", "sit-ipv6", "static", 1024)
    assert differing(replace(back, routes=(route,))) == (
        f"`{ROUTE}` was taken away by that run, and is there again",
    )


def test_what_no_run_touched_and_sit0_stop_nothing() -> None:
    state = was_run("ifupdown", "client")
    others = with_lines(
        state,
        """
        address 2001:db8:ffff::1/64 dev wg0
        route 2001:db8:fffe::/48 via 2001:db8:ffff::2 dev wg0
        entry 2001:db8:ffff::3 dev eth0
        set net.ipv6.conf.wg0.accept_ra = 0
        """,
    )
    others = replace(others, links={**others.links, "sit0": Link("sit0", "sit", True, 1480, ())})
    found = undo.plan(cleared("client"), others)
    assert found.changes == undo.plan(cleared("client"), state).changes
    # Tunnels of others keep the module.
    assert not undo.rest(
        found, with_lines(bare("ifupdown", "client"), "sit x local 203.0.113.20 remote 192.0.2.1")
    ).changes


def with_mtu(mtu: int, **more: Any) -> Mapping[str, Node]:
    inventory = {**INVENTORY, "web1.example.net": {"tunnel": {**CLIENT, "mtu": mtu, **more}}}
    return declaration.read(inventory, managers.NAMES).nodes


def changed(role: str, wanted: Node, **of_link: Any) -> HostState:
    """A host whose tunnel was changed in place, by what it remembers as the last run."""
    before = deployed("ifupdown", role)
    done = plan(wanted, before).changes
    (end,) = wanted.ends
    files = {**before.files}
    files |= {change.path: change.after for change in done.files if change.after}
    link = replace(before.links[end.interface], **of_link)
    settings = {f"net/ipv6/conf/{end.interface}/mtu": str(link.mtu)}
    after = replace(
        before,
        files=files,
        links={**before.links, end.interface: link},
        sysctls={**before.sysctls, **settings},
    )
    return remembering(after, done)


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_change_in_place_goes_back_in_place_and_forth_again(role: str) -> None:
    state = changed(role, with_mtu(1400)[HOSTS[role]], mtu=1400)
    found = undo.plan(cleared(role), state)
    steps = (*found.changes.removals, *found.changes.steps)
    ((old, new),) = [each.shown for each in steps if any("link" in line for line in each.shown)]
    assert (old[0], new[0]) == ("-", "+")
    assert ("mtu 1400" in old, "mtu 1480" in new) == (True, True)
    assert not found.changes.to_nothing
    assert not undo.rest(found, deployed("ifupdown", role)).changes
    # It still has to work afterwards.
    (end,) = node(role).ends
    assert found.tunnels == {end.interface: str(end.peer)}


def test_what_is_tried_afterwards_is_what_is_then_there() -> None:
    state = was_run("ifupdown", "client")
    found = undo.plan(cleared("client"), state)
    assert found.tunnels == {}
    probes = confirming.after(node("client"), state, found.tunnels)
    assert confirming.expected(["tunnel sit-ipv6 answers"], probes) == []
    # By their new addresses, or those that they get back.
    back = remembering(bare("ifupdown", "client"), found.changes)
    assert undo.plan(cleared("client"), back).tunnels == {"sit-ipv6": "2001:db8:1::2"}
