"""What is said of the kernel's sit0, up now or brought up at the next boot."""

from dataclasses import replace

import pytest

from tasks.host.state import HostState, Line, Link
from tasks.planning.plan import plan
from tests import samples
from tests.samples import bare, deployed, node

NETWORKD = "/etc/systemd/network"
PROFILE = "/etc/NetworkManager/system-connections/mine.nmconnection"
AT_BOOT = "bring up sit0 at the next boot, which takes protocol 41 from anybody"


def with_fallback(state: HostState, *, is_up: bool) -> HostState:
    return replace(state, links={**state.links, "sit0": Link("sit0", "sit", is_up, 1480)})


def with_lines(state: HostState, path: str, text: str) -> HostState:
    lines = (Line(path, n, line) for n, line in enumerate(text.splitlines(), 1))
    return replace(state, lines=(*state.lines, *lines))


def with_networkd(state: HostState, *lines: str) -> HostState:
    """Networkd runs there and has these lines in files of its own."""
    known = state.answers.get("networkd") or samples.networkd({})
    return replace(state, answers={**state.answers, "networkd": "\n".join([known, *lines])})


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_fallback_device_that_is_up_is_told_on_every_run(role: str) -> None:
    state = with_fallback(deployed("ifupdown", role), is_up=True)
    found = plan(node(role), state)
    assert not found.changes
    assert found.warnings == (
        "sit0 is up, so that it takes protocol 41 from anybody, and no tunnel needs it: run "
        "`ip link set sit0 down`",
    )
    assert not plan(node(role), with_fallback(state, is_up=False)).warnings


def test_nobody_is_told_where_no_tunnel_is() -> None:
    state = with_fallback(bare("ifupdown", "client"), is_up=True)
    assert not plan(replace(node("client"), ends=(), is_cleared=True), state).warnings


# Lines of networkd's files by its answer, and the file that brings sit0 up.
FILES: list[tuple[tuple[str, ...], str | None]] = [
    ((f"{NETWORKD}/70-tunnels.network:Name=sit*",), f"{NETWORKD}/70-tunnels.network"),
    ((f"{NETWORKD}/70-tunnels.network:Kind=sit",), f"{NETWORKD}/70-tunnels.network"),
    ((f"{NETWORKD}/99-all.network:Name = *",), f"{NETWORKD}/99-all.network"),
    ((f"{NETWORKD}/70-tunnels.network:Name=!sit0",), None),
    ((f"{NETWORKD}/70-tunnels.network:Name=sit1 sit2",), None),
    ((f"{NETWORKD}/70-all.network:Name=*", f"{NETWORKD}/70-all.network:Type=ether"), None),
    (
        (f"{NETWORKD}/70-t.network:Name=sit*", f"{NETWORKD}/70-t.network:[Link] Unmanaged=yes"),
        None,
    ),
    (
        (
            f"{NETWORKD}/5-t.network:Name=sit0",
            f"{NETWORKD}/5-t.network:[Link] ActivationPolicy=down",
        ),
        None,
    ),
    # The first by name is the one that is read, in whatever folder.
    (
        (
            f"{NETWORKD}/70-t.network:Name=sit*",
            "/usr/lib/systemd/network/65-x.network:Name=sit0",
            "/usr/lib/systemd/network/65-x.network:[Link] Unmanaged=true",
        ),
        None,
    ),
    (
        (f"{NETWORKD}/70-t.network:Name=eth0", "/usr/lib/systemd/network/70-t.network:Name=sit*"),
        None,
    ),
]


@pytest.mark.parametrize("manager", ["netplan", "networkd", "ifupdown", "networkmanager"])
@pytest.mark.parametrize(("lines", "file"), FILES)
def test_a_file_of_networkds_that_is_for_it_is_named_whoever_the_manager_is(
    manager: str, lines: tuple[str, ...], file: str | None
) -> None:
    state = with_networkd(deployed(manager, "server"), *lines)
    said = plan(node("server"), state, only_to_prove=True).warnings
    assert said == (
        (f"{file} has networkd {AT_BOOT}, and which no tunnel needs: have its [Match] leave sit0 "
         "out",) if file else ()
    )  # fmt: skip


@pytest.mark.parametrize("manager", ["ifupdown", "ifupdown2", "ifupdown-ng"])
def test_a_stanza_that_is_for_it_is_named(manager: str) -> None:
    state = deployed(manager, "client")
    path = "/etc/network/interfaces"
    (said,) = plan(node("client"), with_lines(state, path, "# auto sit0\nauto lo sit0")).warnings
    assert said.startswith(f"{path}, line 2, has {manager} {AT_BOOT}")
    assert said.endswith(": take sit0 out of `auto lo sit0`")
    for line in ("iface sit0 inet6 manual", "auto sit01", "#auto sit0"):
        assert not plan(node("client"), with_lines(state, path, line)).warnings
    others = deployed("networkd", "client")
    assert not plan(node("client"), with_lines(others, path, "auto sit0")).warnings


def test_a_profile_that_is_for_it_is_named() -> None:
    state = deployed("networkmanager", "client")
    (said,) = plan(node("client"), with_lines(state, PROFILE, "interface-name=sit0")).warnings
    assert said.startswith(f"{PROFILE} has NetworkManager {AT_BOOT}")
    asleep = with_lines(state, PROFILE, "autoconnect=false\ninterface-name=sit0")
    assert not plan(node("client"), asleep).warnings


@pytest.mark.parametrize(
    ("line", "is_told"),
    [
        ("ip link set sit0 up", True),
        ("    post-up ip link set dev sit0 mtu 1480 up || true", True),
        ("ifconfig sit0 up", True),
        ("ifup --force sit0", True),
        ("ip link set sit0 down", False),
        ("# ip link set sit0 up", False),
    ],
)
def test_a_command_that_is_for_it_is_named(line: str, is_told: bool) -> None:
    state = with_lines(deployed("ifupdown", "client"), "/etc/rc.local", line)
    said = plan(node("client"), state).warnings
    assert [each.partition(",")[0] for each in said] == ["/etc/rc.local"] * is_told
