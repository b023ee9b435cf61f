"""What each manager makes of its own answer."""

from dataclasses import replace

import pytest

from tasks.host.state import UnreadableStateError
from tasks.parts import managers
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import answers, bare, ifupdown, ifupdown2, networkd, node


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_manager_holds_what_its_answer_names_and_no_more(manager: str) -> None:
    found = managers.by_name(manager)
    state = replace(bare(manager, "client"), answers=answers(manager, "eth0", "eth0.7"))
    for interface in ("eth0", "eth0.7"):
        assert found.evidence(state, interface)
    for interface in ("eth", "eth1", "x"):
        assert found.evidence(state, interface) is None


@pytest.mark.parametrize("manager", managers.NAMES)
def test_no_manager_takes_what_another_one_holds(manager: str) -> None:
    state = bare(manager, "client")
    holders = [each.name for each in managers.MANAGERS if each.evidence(state, "eth0")]
    assert holders == [manager]


@pytest.mark.parametrize(
    ("file", "criteria", "is_in_the_way"),
    [
        ("/etc/systemd/network/20-all.network", "Name=*", True),
        ("/usr/lib/systemd/network/50-x.network", "Name=eth* sit-*", True),
        ("/etc/systemd/network/20-x.network", "Name=!eth0 lo", True),
        ("/etc/systemd/network/20-x.network", "Type=sit", True),
        ("/etc/systemd/network/20-x.network", "Name=*\nType=ether", False),
        ("/etc/systemd/network/20-x.network", "Name=*\nMACAddress=00:00:5e:00:53:01", False),
        ("/etc/systemd/network/20-x.network", "Name=eth0", False),
        ("/etc/systemd/network/20-x.network", "Name=!sit-*", False),
        ("/usr/lib/systemd/network/80-all.network", "Name=*", False),
    ],
)
def test_a_file_that_takes_the_tunnel_from_networkd_is_in_the_way(
    file: str, criteria: str, is_in_the_way: bool
) -> None:
    lines = [f"{file}:{line}" for line in criteria.splitlines()]
    answer = "\n".join([networkd({"eth0": "/etc/systemd/network/eth0.network"}), *lines])
    state = replace(bare("networkd", "client"), answers={"networkd": answer})
    if not is_in_the_way:
        assert plan(node("client"), state).changes
        return
    with pytest.raises(ObstacleError) as caught:
        plan(node("client"), state)
    assert caught.value.sentences == (
        f"{file} is for sit-ipv6 too, and networkd reads it before 60-culvert-sit-ipv6.network: "
        "have its [Match] leave that interface out, or rename it",
    )


@pytest.mark.parametrize(
    ("program", "flavour"),
    [
        ("/usr/sbin/ifup", "ifupdown"),
        ("/sbin/ifup", "ifupdown"),
        ("/usr/sbin/ifupdown", "ifupdown-ng"),
        ("/usr/sbin/ifupdown-ng", "ifupdown-ng"),
    ],
)
def test_the_program_tells_which_ifupdown_it_is(program: str, flavour: str) -> None:
    answer = ifupdown(["eth0"], program=program)
    state = replace(bare("ifupdown", "client"), answers={"ifupdown": answer})
    assert plan(node("client"), state).grounds.startswith(f"{flavour} holds eth0: ")


def test_a_record_of_ifupdown2_that_is_cut_off_is_an_error_for_people() -> None:
    whole = ifupdown2(["eth0"])
    state = replace(bare("ifupdown2", "client"), answers={"ifupdown": whole[:-20]})
    with pytest.raises(UnreadableStateError, match="unexpected form"):
        plan(node("client"), state)
