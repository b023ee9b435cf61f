"""Settings that forwarding needs, and what they were before."""

from dataclasses import replace

import pytest

from tasks.declared.model import Node
from tasks.host.state import HostState, Link, Route
from tasks.parts import managers, sysctls
from tasks.planning.plan import plan
from tests.samples import bare, deployed, node

NOTHING = Node("fra1.example.net", None, None, ())


def shown(wanted: Node, state: HostState) -> list[str]:
    return [line for step in plan(wanted, state).changes.steps for line in step.told]


def commands(wanted: Node, state: HostState) -> list[str]:
    found = [line for step in plan(wanted, state).changes.steps for line in step.commands]
    return [line for line in found if not line.startswith("systemctl ")]


@pytest.mark.parametrize("manager", managers.NAMES)
def test_what_was_before_is_remembered_and_set_back(manager: str) -> None:
    after = deployed(manager, "server")
    assert commands(NOTHING, after) == [
        "sysctl net/ipv6/conf/all/forwarding 0",
        "sysctl net/ipv6/conf/all/proxy_ndp 0",
        "sysctl net/ipv6/neigh/eth0/proxy_delay 80",
    ]
    assert shown(NOTHING, after)[:2] == [
        "-sysctl net.ipv6.conf.all.forwarding = 1",
        "+sysctl net.ipv6.conf.all.forwarding = 0 (which turns it off for default, eth0, lo too)",
    ]
    assert {c.path for c in plan(NOTHING, after).changes.files} == set(after.files)


def test_a_boot_that_takes_a_run_back_sets_them_again_once_the_file_is_gone() -> None:
    changes = plan(node("server"), bare("ifupdown", "server")).changes
    (again,) = (step for step in changes.removals if step.outlasts and not step.shown)
    assert again.commands == (":",)
    assert "sysctl_again net/ipv6/neigh/eth0/proxy_delay 80" in again.undo
    assert {*again.undo} == {
        command
        for step in changes.steps
        for command in step.undo
        if command.startswith("sysctl_again ")
    }


def test_an_interface_whose_proxying_networkd_turned_on_is_set_back() -> None:
    own = "net/ipv6/conf/eth0/proxy_ndp"
    after = deployed("networkd", "server")
    after = replace(after, sysctls={**after.sysctls, own: "1"})
    assert not plan(node("server"), after).changes
    assert f"sysctl {own} 0" in commands(NOTHING, after)


def test_an_interface_that_forwarded_before_forwards_after() -> None:
    lo = "net/ipv6/conf/lo/forwarding"
    before = bare("ifupdown", "server")
    before = replace(before, sysctls={**before.sysctls, lo: "1"})
    after = deployed("ifupdown", "server", before)
    assert commands(NOTHING, after)[:2] == [
        "sysctl net/ipv6/conf/all/forwarding 0",
        "sysctl net/ipv6/conf/lo/forwarding 1",
    ]
    assert not any("conf.lo.forwarding" in line for line in shown(NOTHING, after))


def test_a_router_stays_one() -> None:
    before = bare("ifupdown", "server")
    forwarding = {path: "1" for path in before.sysctls if path.endswith("/forwarding")}
    after = deployed(
        "ifupdown", "server", replace(before, sysctls={**before.sysctls, **forwarding})
    )
    assert not any("forwarding" in command for command in commands(NOTHING, after))


def test_what_is_remembered_outlives_what_comes_later() -> None:
    state = deployed("ifupdown", "server")
    later = {**state.sysctls, "net/ipv6/conf/docker0/forwarding": "1"}
    assert not plan(node("server"), replace(state, sysctls=later)).changes
    assert "docker0" not in state.files[sysctls.BEFORE].text


def listening(state: HostState, accept_ra: str) -> HostState:
    """With a second uplink, on which the host listens to routers."""
    setting = {"net/ipv6/conf/eth1/accept_ra": accept_ra, "net/ipv6/conf/eth1/forwarding": "0"}
    return replace(
        state,
        links={**state.links, "eth1": Link("eth1", None, True, 1500)},
        sysctls={**state.sysctls, **setting},
    )


ACCEPTED = "sysctl net/ipv6/conf/eth1/accept_ra 2"


def test_a_host_goes_on_listening_where_only_its_address_is_learned() -> None:
    state = listening(bare("ifupdown", "server"), "1")
    assert ACCEPTED not in commands(node("server"), state)
    eth1 = replace(state.links["eth1"], addresses=("fd00::5/64",), is_advertised_to=True)
    learned = replace(state, links={**state.links, "eth1": eth1})
    assert commands(node("server"), learned)[0] == ACCEPTED


def test_nobody_is_listened_to_in_a_tunnel() -> None:
    """What somebody advertised out of it is mended, and isn't waited for again."""
    state = deployed("ifupdown", "routing-client")
    conf = "net/ipv6/conf/sit-ipv6"
    heard = {f"{conf}/accept_ra": "1", f"{conf}/hop_limit": "1", f"{conf}/mtu": "1280"}
    lured = replace(
        state,
        sysctls={**state.sysctls, **heard},
        routes=(*state.routes, Route("default", "fe80::bad", "sit-ipv6", "ra", 1024)),
    )
    changes = plan(node("routing-client"), lured).changes
    assert changes.files == ()
    assert [command for step in changes.steps for command in step.commands] == [
        f"sysctl {conf}/accept_ra 0",
        f"sysctl {conf}/hop_limit 64",
        f"sysctl {conf}/mtu 1480",
        "ip -6 route delete default via fe80::bad dev sit-ipv6 metric 1024",
    ]


def test_a_router_that_is_silent_at_the_moment_is_listened_to() -> None:
    before = listening(bare("ifupdown", "server"), "1")
    learned = (*before.routes, Route("default", "fe80::1", "eth1", "ra", 2048))
    after = deployed("ifupdown", "server", replace(before, routes=learned))
    after = replace(listening(after, "2"), routes=after.routes[:1] + after.routes[2:])
    assert not any(route.protocol == "ra" for route in after.routes)
    forwarding = {p: "1" for p in after.sysctls if p.endswith("/forwarding")}
    assert not plan(node("server"), replace(after, sysctls={**after.sysctls, **forwarding})).changes


def test_accept_ra_is_set_back_after_forwarding() -> None:
    before = bare("ifupdown", "server")
    before = replace(before, sysctls={**before.sysctls, "net/ipv6/conf/eth0/accept_ra": "1"})
    after = deployed("ifupdown", "server", before)
    after = replace(after, sysctls={**after.sysctls, "net/ipv6/conf/eth0/accept_ra": "2"})
    assert not plan(node("server"), after).changes
    assert commands(NOTHING, after)[:2] == [
        "sysctl net/ipv6/conf/all/forwarding 0",
        "sysctl net/ipv6/conf/eth0/accept_ra 1",
    ]
