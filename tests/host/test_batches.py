"""What a script does for many at once, on this computer's own kernel."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from netaddr import IPAddress

from tasks.host import changes
from tasks.host.changes import Changes, Step
from tasks.parts import additions, sit
from tasks.parts.managers.networkd import Networkd
from tests import networks
from tests.planning import simulated
from tests.planning.test_growth import server

SHOWN = "ip -oneline link show | sed 's/^[0-9]*: //; s/[:@].*//' | sort | xargs echo"
ENTRIES = "ip -6 neighbour show proxy | cut -d' ' -f1 | sort | xargs echo"


def run(*lines: str) -> list[str]:
    """What is printed below a link `up0` that is up, by a shell that has the script's functions."""
    return networks.run(
        "\n".join(
            [
                "scratch=/run",
                # /sys is the host's, and what is below /proc/sys/net is this network's.
                changes._TOOLS.replace("/sys/class/net/", "/proc/sys/net/ipv6/conf/"),
                "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
                # As a script that goes back has them: what fails stops nothing.
                "set +e",
                *lines,
            ]
        )
    )


def attempt(command: str) -> str:
    return f'step=; {command} 2>/dev/null && echo done || echo "$step"'


def batched(*commands: str) -> tuple[str, ...]:
    (action,) = Changes("web1", steps=(Step((), commands),)).actions
    return action.commands


LINKS = (
    "ip link add a0 type veth peer name a1",
    "ip link set dev up0 mtu 1400",
    "ip link set dev gone0 mtu 1400",
    "ip link add b0 type veth peer name b1",
    "ip link set dev gone1 mtu 1400",
)


def test_commands_that_follow_one_another_stop_at_the_first_that_fails() -> None:
    (batch,) = batched(*LINKS)
    assert run(attempt(batch), SHOWN) == ["ip link set dev gone0 mtu 1400", "a0 a1 lo up0 up1"]


def test_on_the_way_back_each_is_tried_and_those_that_fail_are_told() -> None:
    (action,) = Changes("web1", steps=(Step((), ("true",), LINKS),)).actions
    (batch,) = action.undo
    failed = "ip link set dev gone0 mtu 1400; ip link set dev gone1 mtu 1400"
    assert run(attempt(batch), SHOWN) == [failed, "a0 a1 b0 b1 lo up0 up1"]


def test_what_may_fail_is_tried_by_itself_and_as_a_whole() -> None:
    (batch,) = batched(*(f"{command} || true" for command in LINKS))
    assert run(attempt(batch), SHOWN) == ["done", "a0 a1 b0 b1 lo up0 up1"]


def test_where_iproute2_does_not_say_what_failed_all_of_it_is_told() -> None:
    commands = [f"ip -6 neighbour delete proxy 2001:db8::{n} dev up0" for n in (1, 2)]
    (batch,) = batched(*commands)
    assert run(attempt(batch)) == ["; ".join(commands)]


def steps_of(lines: Iterable[additions.Addition]) -> Changes:
    steps = tuple(
        Step((f"+{each.line}",), (each.add,), tuple(f"{c} || true" for c in each.taking_back))
        for each in lines
    )
    return Changes("web1", steps=steps)


def test_an_entry_that_is_gone_by_then_keeps_none_of_the_others() -> None:
    entries = [additions.proxy(IPAddress(f"2001:db8::{n}"), "up0") for n in range(1, 5)]
    found = steps_of([*entries, additions.unreachable("2001:db8:5::/48")])
    (action,) = found.actions
    (add,), (take_back,) = action.commands, action.undo
    gone = entries[2].delete
    routes = "ip -6 route show type unreachable | wc -l"
    assert run(add, ENTRIES, routes, gone, attempt(take_back), ENTRIES, routes) == [
        "2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4",
        "1",
        "done",
        "",
        "0",
    ]


def test_links_go_that_are_there_and_one_that_stays_is_told() -> None:
    assert run(
        LINKS[0], LINKS[3], attempt("delete_links a0 gone0 b0"), SHOWN, attempt("delete_links lo")
    ) == ["done", "lo up0 up1", "ip link delete lo"]


def test_tunnels_that_are_not_up_with_their_address_are_told() -> None:
    made = ["ip address add 2001:db8::1/64 dev up0", "ip address add 2001:db8:1::1/127 dev up1"]
    there = "up0 2001:db8::1/64 up1 2001:db8:1::1/127"
    assert run(
        *made,
        attempt(f"are_up {there}"),
        "ip link set up1 down",
        attempt(f"are_up {there} gone0 2001:db8:2::1/127"),
    ) == ["done", "bringing up up1 with 2001:db8:1::1/127, gone0 with 2001:db8:2::1/127"]


def test_a_file_that_is_not_there_is_told_by_its_new_name() -> None:
    lines = ("/run/a /run/x", "/run/none /run/y", "/run/b /run/z")
    command = "\n".join(["rename <<END", *lines, "END"])
    assert run("touch /run/a /run/b", f"{{\n{command}\n}} 2>&1", "cd /run; echo ?") == [
        "/run/y: No such file or directory",
        "b x",
    ]


@pytest.mark.parametrize("parts", [0, 1, 2, 4, 8, 10, 13, 15, None])
def test_tunnels_are_made_and_taken_back_from_wherever_that_came_to(parts: int | None) -> None:
    """With other links for tunnels: what else the kernel is told is the same."""
    ends = server(3, is_routed=True).ends
    names = [end.interface for end in ends]
    step = Step((), (*Networkd().create(ends), sit.are_made(ends)), (sit.deletion(names),))
    (action,) = Changes("fra1", steps=(step,)).actions
    # Where it isn't cut off, what one process does is done by one.
    commands = action.commands if parts is None else simulated.parts_of(action)[:parts]
    script = "\n".join(["set -e", *commands, "echo all"])
    script = re.sub(r"sit local \S+ remote 10\.0\.(\d+)\S+ ttl 255", r"veth peer name p\1", script)
    shown = "ip -6 -oneline address show up to 2001:db8::/32 | wc -l; ip -6 route | grep -c via"
    made = run(script, shown) if parts is None else ["all", "3", "3"]
    assert made == ["all", "3", "3"]
    assert run(script, *action.undo, SHOWN) == ["all", "lo up0 up1"]


def test_folders_are_gathered_below_another_one(tmp_path: Path) -> None:
    there, new, root = tmp_path / "netplan", tmp_path / "new", tmp_path / "root"
    (there / "deeper").mkdir(parents=True)
    for file, text in ((there / "a.yaml", "a"), (there / "deeper/b.yaml", "b"), (new, "c\n")):
        file.write_text(text)
        file.chmod(0o600)
    (there / "link.yaml").symlink_to("/nowhere/at.all")
    lines = f"gather {root} {there} {tmp_path}/none <<END\n{new} {root}{there}/c.yaml\nEND"
    said = run(lines, f"cd {root}{there}", "stat -c '%a %N' *", "cat a.yaml c.yaml")
    assert said == ["600 'a.yaml'", "600 'c.yaml'", "777 'link.yaml' -> '/nowhere/at.all'", "ac"]
    # What is called like a new one is a link that leads out of it.
    (there / "c.yaml").symlink_to(tmp_path / "live")
    (tmp_path / "live").write_text("live")
    assert run(f"rm -r {root}", lines, f"cat {root}{there}/c.yaml {tmp_path}/live") == ["c", "live"]
    missing = f"gather {root} 2>/dev/null <<END || echo failed\n{new}.not {root}/x\nEND"
    assert run(missing) == ["failed"]
