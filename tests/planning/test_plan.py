"""What lies between a host as it is and as declared."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from netaddr import IPAddress

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import changes, rollback
from tasks.host.changes import Step
from tasks.host.state import File, HostState, Link, Route, Unit
from tasks.parts import additions, filtering, managers, sit, sysctls
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import (
    CLIENT,
    INVENTORY,
    ROLES,
    answers,
    bare,
    deployed,
    networkd,
    networkmanager,
    node,
)

MANAGERS_AND_ROLES = [(manager, role) for manager in managers.NAMES for role in ROLES]
each_manager_and_role = pytest.mark.parametrize(("manager", "role"), MANAGERS_AND_ROLES)


def running(state: HostState, role: str) -> list[str]:
    """The lines on the running system in the diff."""
    changes = plan(node(role), state).changes
    return [line for step in (*changes.removals, *changes.steps) for line in step.shown]


def with_link(state: HostState, **changes: object) -> HostState:
    name = next(name for name, link in state.links.items() if link.kind == "sit")
    link = replace(state.links[name], **changes)  # type: ignore[arg-type]
    return replace(state, links={**state.links, name: link})


@each_manager_and_role
def test_a_host_as_declared_has_nothing_to_change(manager: str, role: str) -> None:
    changes = plan(node(role), deployed(manager, role)).changes
    assert not changes
    assert changes.diff() == ""


@each_manager_and_role
def test_every_script_is_one_that_a_posix_shell_reads(manager: str, role: str) -> None:
    script = plan(node(role), bare(manager, role)).changes.script()
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_server_without_clients_gets_files_that_can_be_read(manager: str) -> None:
    alone = declaration.read({"fra1": INVENTORY["fra1.example.net"]}, managers.NAMES).nodes["fra1"]
    written = {c.path: c.after for c in plan(alone, bare(manager, "server")).changes.files}
    assert "/etc/sysctl.d/60-culvert.conf" in written
    for file in written.values():
        if file is not None and file.text.startswith("#!"):
            subprocess.run(["sh", "-n"], input=file.text, text=True, check=True)


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_script_cut_off_anywhere_does_nothing(manager: str, tmp_path: Path) -> None:
    script = plan(node("server"), bare(manager, "server")).changes.script()
    marked = script.replace("set -eu\n", f"echo >{tmp_path}/ran; exit 0\n")
    cut = marked[: marked.rindex("main <")]
    for end in range(0, len(cut), 97):
        subprocess.run(
            ["sh", "-s"], input=cut[:end], text=True, check=False, stderr=subprocess.DEVNULL
        )
    assert not list(tmp_path.iterdir())
    subprocess.run(["sh", "-s"], input=marked, text=True, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ran"]


def test_accept_ra_is_set_before_forwarding() -> None:
    state = bare("ifupdown", "server")
    sysctls = {**state.sysctls, "net/ipv6/conf/eth0/accept_ra": "1"}
    lines = running(replace(state, sysctls=sysctls), "server")
    assert [line for line in lines if "sysctl net" in line][:4] == [
        "-sysctl net.ipv6.conf.eth0.accept_ra = 1",
        "+sysctl net.ipv6.conf.eth0.accept_ra = 2",
        "-sysctl net.ipv6.conf.all.forwarding = 0",
        "+sysctl net.ipv6.conf.all.forwarding = 1",
    ]
    text = plan(node("server"), replace(state, sysctls=sysctls)).changes.diff()
    assert "+net.ipv6.conf.eth0.accept_ra = 2\n+net.ipv6.conf.all.forwarding = 1\n" in text


REASONS: list[tuple[str, str]] = [
    ("server", "+sysctl net.ipv6.conf.all.forwarding = 1 "
               "(which turns it on for default, eth0, lo too)"),
    ("server", "+sysctl net.ipv6.conf.all.proxy_ndp = 1 (also where the router asks by unicast)"),
    ("server", "+sysctl net.ipv6.neigh.eth0.proxy_delay = 0 (answers at once)"),
    ("server", "+proxy entry 2001:db8:1::2 dev eth0 "
               "(answers the router there for this end of sit-web1)"),
    ("server", "+proxy entry 2001:db8:1::3 dev eth0 "
               "(answers the router there for web1.example.net)"),
    ("client", "+link sit0: down "
               "(the kernel's fallback device: comes with its sit module, and stays down)"),
    ("routing-client", "+route unreachable 2001:db8:100::/48 dev lo metric 4294967295 "
                       "(the worst metric: only for what nobody uses)"),
]  # fmt: skip


@pytest.mark.parametrize(("role", "line"), REASONS)
def test_a_line_that_does_not_speak_for_itself_has_a_reason(role: str, line: str) -> None:
    changes = plan(node(role), bare("ifupdown", role)).changes
    assert f"{line}\n" in changes.diff()
    # The record of what was added knows lines without.
    added = [c.after.text for c in changes.files if c.path == additions.FILE and c.after]
    assert not any("(" in text for text in added)


def test_accept_ra_has_a_reason_and_one_write_is_one_line() -> None:
    state = bare("ifupdown", "server")
    sysctls = {**state.sysctls, "net/ipv6/conf/eth0/accept_ra": "1"}
    text = plan(node("server"), replace(state, sysctls=sysctls)).changes.diff()
    (running,) = re.findall(r"^\+\+\+ .*\(running\)\n((?:.+\n)+)", text, re.MULTILINE)
    settings = [line for line in running.splitlines() if "sysctl net" in line]
    assert settings[:4] == [
        "-sysctl net.ipv6.conf.eth0.accept_ra = 1",
        "+sysctl net.ipv6.conf.eth0.accept_ra = 2 "
        "(goes on listening to routers, though it forwards)",
        "-sysctl net.ipv6.conf.all.forwarding = 0",
        "+sysctl net.ipv6.conf.all.forwarding = 1 (which turns it on for default, eth0, lo too)",
    ]
    assert ".forwarding" not in "".join(settings[4:])


def test_another_uplink_with_a_learned_default_route_keeps_it() -> None:
    state = bare("ifupdown", "server")
    state = replace(
        state,
        sysctls={**state.sysctls, "net/ipv6/conf/eth1/accept_ra": "1"},
        routes=(*state.routes, Route("default", "fe80::1", "eth1", "ra", 2048)),
    )
    assert "+sysctl net.ipv6.conf.eth1.accept_ra = 2" in running(state, "server")


def test_an_interface_with_a_dot_is_written_with_slashes() -> None:
    state = bare("ifupdown", "server")
    state = replace(
        state,
        links={**state.links, "eth0.7": replace(state.links["eth0"], name="eth0.7")},
        routes=(Route("default", "2001:db8:1::ffff", "eth0.7", "static", 1024),),
        answers=answers("ifupdown", "eth0.7"),
    )
    text = plan(node("server"), state).changes.diff()
    assert "+net/ipv6/neigh/eth0.7/proxy_delay = 0\n" in text


def test_what_netplan_makes_of_a_new_tunnels_file_goes_with_it() -> None:
    """Its generator does at any reload of systemd's, before a step of Culvert's has begun."""
    gone = (
        "rm -f /run/systemd/network/10-netplan-sit-web1.netdev "
        "/run/systemd/network/10-netplan-sit-web1.network"
    )

    def forgotten(state: HostState) -> list[Step]:
        removals = plan(node("server"), state).changes.removals
        return [step for step in removals if gone in step.undo]

    (step,) = forgotten(bare("netplan", "server"))
    # At a boot too, before which it was made anew.
    assert step.outlasts
    assert step.shown == ()
    assert forgotten(with_link(deployed("netplan", "server"), mtu=1400)) == []


def test_the_drop_in_follows_the_name_that_netplan_gave_the_file() -> None:
    state = bare("netplan", "server")
    file = "/run/systemd/network/10-netplan-uplink0.network"
    state = replace(state, answers={"networkd": networkd({"eth0": file})})
    paths = [change.path for change in plan(node("server"), state).changes.files]
    assert "/etc/systemd/network/10-netplan-uplink0.network.d/60-culvert.conf" in paths


REPAIRS: list[tuple[str, Callable[[HostState], HostState], list[str]]] = [
    (
        "server",
        lambda state: replace(state, proxies=frozenset({(IPAddress("2001:db8:1::2"), "eth0")})),
        ["+proxy entry 2001:db8:1::3 dev eth0"],
    ),
    (
        "server",
        lambda state: replace(state, sysctls={**state.sysctls, "net/ipv6/conf/all/proxy_ndp": "0"}),
        [
            "-sysctl net.ipv6.conf.all.proxy_ndp = 0",
            "+sysctl net.ipv6.conf.all.proxy_ndp = 1",
        ],
    ),
    (
        "server",
        lambda state: replace(
            state, sysctls={**state.sysctls, "net/ipv6/conf/eth0/forwarding": "0"}
        ),
        [
            "-sysctl net.ipv6.conf.eth0.forwarding = 0",
            "+sysctl net.ipv6.conf.eth0.forwarding = 1",
        ],
    ),
    (
        "server",
        lambda state: with_link(state, remote=IPAddress("203.0.113.99")),
        [
            "-link sit-web1: sit local 198.51.100.10 remote 203.0.113.99 ttl 255 mtu 1480 up",
            "+link sit-web1: sit local 198.51.100.10 remote 203.0.113.20 ttl 255 mtu 1480 up",
        ],
    ),
    (
        "client",
        lambda state: replace(
            state, sysctls={**state.sysctls, "net/ipv6/conf/sit-ipv6/accept_ra": "1"}
        ),
        [
            "-sysctl net.ipv6.conf.sit-ipv6.accept_ra = 1",
            "+sysctl net.ipv6.conf.sit-ipv6.accept_ra = 0",
        ],
    ),
    (
        "server",
        lambda state: replace(
            state, sysctls={**state.sysctls, "net/ipv6/conf/sit-web1/accept_redirects": "1"}
        ),
        [
            "-sysctl net.ipv6.conf.sit-web1.accept_redirects = 1",
            "+sysctl net.ipv6.conf.sit-web1.accept_redirects = 0",
        ],
    ),
    (
        "client",
        lambda state: with_link(state, mtu=1400),
        [
            "-link sit-ipv6: sit local 203.0.113.20 remote 198.51.100.10 ttl 255 mtu 1400 up",
            "+link sit-ipv6: sit local 203.0.113.20 remote 198.51.100.10 ttl 255 mtu 1480 up",
        ],
    ),
    (
        "client",
        lambda state: with_link(state, addresses=("2001:db8:1::5/127", "fe80::1/64")),
        [
            "-address 2001:db8:1::5/127 dev sit-ipv6",
            "+address 2001:db8:1::3/127 dev sit-ipv6",
        ],
    ),
    (
        "client",
        lambda state: replace(state, routes=()),
        [
            "+route 2001:db8:1::2/127 dev sit-ipv6",
            "+route default via 2001:db8:1::2 dev sit-ipv6",
        ],
    ),
    (
        "client",
        lambda state: replace(
            state,
            routes=(
                Route("2001:db8:1::2/127", None, "sit-ipv6", "kernel", 256),
                Route("default", None, "sit-ipv6", "boot", 1024),
            ),
        ),
        [
            "-route default dev sit-ipv6",
            "+route default via 2001:db8:1::2 dev sit-ipv6",
        ],
    ),
]


@pytest.mark.parametrize("manager", managers.NAMES)
@pytest.mark.parametrize(("role", "broken", "lines"), REPAIRS, ids=[r[2][-1] for r in REPAIRS])
def test_what_was_changed_by_hand_is_mended_in_place(
    manager: str, role: str, broken: Callable[[HostState], HostState], lines: list[str]
) -> None:
    state = broken(deployed(manager, role))
    assert running(state, role) == lines
    assert plan(node(role), state).changes.files == ()


@each_manager_and_role
def test_an_edited_file_is_put_back(manager: str, role: str) -> None:
    state = deployed(manager, role)
    for path, file in state.files.items():
        edited = replace(state, files={**state.files, path: replace(file, text=file.text + "x\n")})
        (change,) = plan(node(role), edited).changes.files
        assert (change.path, change.after) == (path, file)
        assert "-x\n" in change.diff("web1")


def test_a_wrong_mode_is_put_right_and_shown() -> None:
    state = deployed("netplan", "client")
    path = "/etc/netplan/60-culvert-sit-ipv6.yaml"
    opened = {**state.files, path: replace(state.files[path], mode=0o644)}
    (change,) = plan(node("client"), replace(state, files=opened)).changes.files
    assert change.diff("web1") == f"mode web1:{path} 0644 -> 0600\n"


@pytest.mark.parametrize(
    ("manager", "path", "command"),
    [
        (
            "ifupdown",
            "/etc/network/interfaces.d/60-culvert-sit-old",
            "ifdown --force sit-old || true",
        ),
        (
            "netplan",
            "/etc/netplan/60-culvert-sit-old.yaml",
            "rm -f /run/systemd/network/10-netplan-sit-old.netdev "
            "/run/systemd/network/10-netplan-sit-old.network",
        ),
        (
            "networkmanager",
            "/etc/NetworkManager/system-connections/60-culvert-sit-old.nmconnection",
            "cp -p /etc/NetworkManager/system-connections/60-culvert-sit-old.nmconnection "
            '"$scratch/"',
        ),
    ],
)
def test_a_tunnel_no_longer_declared_is_removed(manager: str, path: str, command: str) -> None:
    state = deployed(manager, "server")
    old = Link("sit-old", "sit", True, 1480, (), IPAddress("198.51.100.10"), None, 64)
    state = replace(
        state,
        files={**state.files, path: File("")},
        links={**state.links, "sit-old": old},
    )
    changes = plan(node("server"), state).changes
    assert [(change.path, change.after) for change in changes.files] == [(path, None)]
    (removal,) = changes.removals
    assert removal.shown == (
        "-link sit-old: sit local 198.51.100.10 remote any ttl 64 mtu 1480 up",
    )
    assert removal.commands[0] == command
    another = replace(state, links={**state.links, "sit-old": replace(old, kind="dummy")})
    assert plan(node("server"), another).changes.removals == ()
    # Gone by hand: what its manager made of it must go all the same.
    absent = replace(state, links={n: link for n, link in state.links.items() if n != "sit-old"})
    (removal,) = plan(node("server"), absent).changes.removals
    assert (removal.shown, removal.commands[0]) == ((), command)


@each_manager_and_role
def test_a_host_that_nothing_is_declared_for_is_rid_of_culvert(manager: str, role: str) -> None:
    state = deployed(manager, role)
    sit0 = Link("sit0", "sit", False, 1480)
    state = replace(state, links={**state.links, "sit0": sit0}, sit_is_module=True)
    nothing = Node(node(role).host, None, None, ())
    changes = plan(nothing, state).changes
    assert {change.path for change in changes.files} == set(state.files)
    assert all(change.after is None for change in changes.files)
    *stopped, disabled, filtering_stopped, _ = changes.removals
    # Protected until there is nothing left to protect.
    assert disabled.commands == ("systemctl --quiet disable 60-culvert-filter.service",)
    assert filtering_stopped.shown == ("-table inet culvert",)
    commands = [command for step in stopped for command in step.commands if step.shown]
    interface = node(role).ends[0].interface
    assert commands[-1] == f"delete_links {interface}"
    added = state.files[additions.FILE].text.splitlines() if additions.FILE in state.files else []
    taken_back = [line for step in changes.removals for line in step.shown]
    assert {f"-{line}" for line in added if not line.startswith("#")} <= {*taken_back}
    assert (sit.UNLOAD,) in [step.commands for step in changes.steps]
    # A tunnel of somebody else's needs the module.
    foreign = {**state.links, "he-ipv6": replace(sit0, name="he-ipv6")}
    steps = plan(nothing, replace(state, links=foreign)).changes.steps
    assert sit.UNLOAD not in [command for step in steps for command in step.commands]


TOOLS = {
    "lsns": "echo 1; echo 42",
    # The host's own namespace has sit0 alone, a container's a tunnel too, at times.
    "nsenter": "echo '5: sit0@NONE: <NOARP>'; [ $2 = 1 ] || cat container; exit 1",
    "ip": "cat named; exit 255",
    "modprobe": "echo gone",
}
TUNNEL = "7: he-ipv6@NONE: <NOARP>\n"


@pytest.mark.parametrize(
    ("container", "named", "output"), [("", "", "gone\n"), (TUNNEL, "", ""), ("", TUNNEL, "")]
)
def test_the_module_stays_where_a_container_has_a_tunnel(
    tmp_path: Path, container: str, named: str, output: str
) -> None:
    for tool, text in TOOLS.items():
        (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "container").write_text(container)
    (tmp_path / "named").write_text(named)
    done = subprocess.run(
        ["sh", "-euc", sit.UNLOAD],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (output, "")


def test_only_root_is_told_that_there_is_nothing_to_remove() -> None:
    # Others can't read a file of mode 0600, and this client has no other one.
    state = deployed("netplan", "client")
    state = replace(state, files={}, unreadable=tuple(state.files), uid=1000)
    with pytest.raises(ObstacleError, match="not root"):
        plan(Node(node("client").host, None, None, ()), state)


def test_folders_go_with_their_last_file_where_culvert_brought_them() -> None:
    nothing = Node(node("server").host, None, None, ())
    stay = plan(nothing, deployed("netplan", "server")).changes.kept().stay
    assert sorted({line.split()[1] for line in stay if line.startswith("rmdir ")}) == [
        "/etc/culvert",
        "/etc/systemd/network/10-netplan-eth0.network.d",
        "/var/lib/culvert",
    ]


def test_a_host_without_culvert_and_without_a_declaration_is_left_alone() -> None:
    state = replace(bare("ifupdown", "server"), uid=1000)
    assert not plan(Node("db1", None, None, ()), state).changes


def test_entries_that_culvert_did_not_make_stay() -> None:
    state = deployed("ifupdown", "server")
    state = replace(state, proxies=state.proxies | {(IPAddress("2001:db8:1::77"), "eth0")})
    assert not plan(node("server"), state).changes


def test_a_client_that_does_not_forward_gets_the_sysctls_of_its_tunnel_alone() -> None:
    changes = plan(node("client"), bare("ifupdown", "client")).changes
    files = {change.path: change.after for change in changes.files}
    file = files[sysctls.FILE]
    assert file is not None
    assert [line for line in file.text.splitlines() if not line.startswith("#")] == [
        f"-net.ipv6.conf.sit-ipv6.{key} = 0"
        for key in ("accept_ra", "accept_redirects", "autoconf")
    ]
    # They go with the tunnel.
    assert sysctls.BEFORE not in files


@pytest.mark.parametrize("manager", ["netplan", "networkd", "networkmanager"])
def test_a_new_tunnel_is_told_not_to_listen_before_it_is_up(manager: str) -> None:
    add, *rest = managers.by_name(manager).create(node("client").ends)
    assert add.startswith("ip link add sit-ipv6 ")
    assert rest[:4] == [
        "sysctl net/ipv6/conf/sit-ipv6/accept_ra 0",
        "sysctl net/ipv6/conf/sit-ipv6/accept_redirects 0",
        "sysctl net/ipv6/conf/sit-ipv6/autoconf 0",
        "ip link set dev sit-ipv6 up",
    ]


def test_the_manager_that_holds_the_external_interface_is_chosen() -> None:
    for manager in managers.NAMES:
        found = plan(node("client"), bare(manager, "client"))
        assert found.grounds.startswith(f"{manager} holds eth0: ")


@each_manager_and_role
def test_a_route_or_an_address_beside_the_tunnel_is_put_back(manager: str, role: str) -> None:
    state = deployed(manager, role)
    wanted = node(role)
    routes = tuple(route for route in state.routes if route.type != "unreachable")
    lines = running(replace(state, routes=routes), role)
    assert lines == [
        f"+route unreachable {prefix} dev lo metric 4294967295" for prefix in wanted.routed_here
    ]
    for lan in wanted.lans:
        inside = replace(state.links[lan.interface], addresses=("fe80::1/64",))
        lines = running(replace(state, links={**state.links, lan.interface: inside}), role)
        assert lines == [f"+address {lan.address} dev {lan.interface}"]


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_prefix_that_is_no_longer_declared_goes_with_all_that_came_with_it(manager: str) -> None:
    server = plan(node("server"), deployed(manager, "delegating-server")).changes
    assert [
        line
        for step in (*server.removals, *server.steps)
        for line in step.shown
        if line.startswith("-")
    ] == [
        "-route unreachable 2001:db8:100::/40 dev lo metric 4294967295",
        "-route 2001:db8:100::/48 via 2001:db8:1::3 dev sit-web1",
    ]
    client = plan(node("client"), deployed(manager, "routing-client")).changes
    stopped = [step.commands for step in client.removals if step.shown]
    assert stopped == [
        (
            "systemctl stop 60-culvert-radvd-eth1.service",
            "systemctl reset-failed 60-culvert-radvd-eth1.service 2>/dev/null || true",
        ),
        ("systemctl --quiet disable 60-culvert-radvd-eth1.service",),
        ("ip -6 route delete unreachable 2001:db8:100::/48 dev lo metric 4294967295",),
        ("ip -6 address delete 2001:db8:100:1::1/64 dev eth1",),
    ]
    reloading, *others = client.steps
    # No prefix of that length is left to look up.
    assert reloading.commands == ("systemctl reload 60-culvert-filter.service",)
    commands = [command for step in others for command in step.commands]
    assert commands == ["sysctl net/ipv6/conf/all/forwarding 0", "systemctl daemon-reload"]


@pytest.mark.parametrize("manager", managers.NAMES)
def test_advertisements_run_and_start_at_boot(manager: str) -> None:
    state = deployed(manager, "routing-client")
    unit = "60-culvert-radvd-eth1.service"
    for is_active, is_enabled, commands in (
        (False, True, [f"systemctl start {unit}"]),
        (True, False, [f"systemctl --quiet enable {unit}"]),
    ):
        units = {**state.units, unit: Unit(True, is_active, is_enabled)}
        steps = plan(node("routing-client"), replace(state, units=units)).changes.steps
        assert [command for step in steps for command in step.commands] == commands
    path = "/etc/culvert/radvd-eth1.conf"
    edited = replace(state, files={**state.files, path: File("")})
    changes = plan(node("routing-client"), edited).changes
    # Stopped first: where the run ends in between, the next one finds it stopped and starts it.
    assert [step.commands for step in changes.removals] == [(f"systemctl stop {unit}",)]
    assert [step.commands for step in changes.steps] == [(f"systemctl start {unit}",)]
    (check,) = changes.checks
    assert check.startswith("radvd --configtest --config $root/etc/culvert/.radvd-eth1.conf.new ")


def test_a_client_keeps_the_routes_that_are_its_own_affair() -> None:
    for role, routed in (("client", []), ("server", ["-route 2001:db8:77::/48 dev sit-web1"])):
        state = deployed("ifupdown", role)
        interface = node(role).ends[0].interface
        extra = Route("2001:db8:77::/48", None, interface, "boot", 1024)
        assert running(replace(state, routes=(*state.routes, extra)), role) == routed
        learned = replace(extra, protocol="bird")
        assert running(replace(state, routes=(*state.routes, learned)), role) == []


# Each pair of managers that have no file in common.
OTHERS = [
    (old, new)
    for old, new in permutations(managers.NAMES, 2)
    if not {old, new} <= {"ifupdown", "ifupdown2", "ifupdown-ng"}
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("old", "new"), OTHERS)
def test_another_manager_makes_the_tunnel_anew(role: str, old: str, new: str) -> None:
    state = replace(deployed(old, role), answers=bare(new, role).answers)
    changes = plan(node(role), state).changes
    (end,) = node(role).ends
    removed = changes.removals[-1]
    assert removed.shown[0].startswith(f"-link {end.interface}: ")
    assert removed.commands[:-1] == tuple(managers.by_name(old).remove([end.interface]))
    created = next(step for step in changes.steps if step.shown[0].startswith("+link"))
    assert created.commands == (*managers.by_name(new).create([end]), sit.are_made([end]))
    assert created.undo == (
        *managers.by_name(new).remove([end.interface]),
        f"delete_links {end.interface}",
        sit.UNLOAD,
    )
    # What is beside the tunnel stays: both managers need it.
    assert len(changes.removals) == 1


def test_tunnels_that_swap_their_peers_are_made_anew() -> None:
    """The kernel allows one tunnel for each pair of addresses, at every moment."""
    second = {**CLIENT, "ipv4": "203.0.113.21", "number": 2}
    hosts = {**INVENTORY, "web2.example.net": {"tunnel": second}}
    wanted = declaration.read(hosts, managers.NAMES).nodes["fra1.example.net"]
    state = bare("ifupdown", "server")
    files = {c.path: c.after for c in plan(wanted, state).changes.files if c.after is not None}
    links = {
        name: Link(
            name,
            "sit",
            True,
            1480,
            (f"2001:db8:1::{last}/127",),
            IPAddress("198.51.100.10"),
            IPAddress(f"203.0.113.{remote}"),
            255,
        )
        for name, last, remote in (("sit-web1", 2, 21), ("sit-web2", 4, 20))
    }
    changes = plan(wanted, replace(state, files=files, links={**state.links, **links})).changes
    (removed,) = changes.removals
    assert [line.split(":")[0] for line in removed.shown] == ["-link sit-web1", "-link sit-web2"]
    (created,) = (step for step in changes.steps if step.shown[0].startswith("+link sit-"))
    assert created.commands[0] == "lenient ifup --force sit-web1 sit-web2"


@pytest.mark.parametrize("order", [1, -1])
def test_a_route_leaves_one_tunnel_before_another_gets_it(order: int) -> None:
    """Both have one metric: the kernel refuses the second while the first is there."""
    tunnels = [
        {**CLIENT, "default_route": False},
        {**CLIENT, "server": "ams1", "interface": "sit-ams"},
    ]
    hosts = {
        **INVENTORY,
        "ams1": {"tunnel_server": {"ipv4": "198.51.100.20", "prefix": "2001:db8:2::/64"}},
        "web1.example.net": {"tunnel": tunnels[::order]},
    }
    wanted = declaration.read(hosts, managers.NAMES).nodes["web1.example.net"]
    state = deployed("ifupdown", "client")
    state = replace(state, ipv4_devices={end.remote: "eth0" for end in wanted.ends})
    new = [line for line in _shown(wanted, state) if "default" in line]
    assert new == [
        "-route default via 2001:db8:1::2 dev sit-ipv6",
        "+route default via 2001:db8:2::2 dev sit-ams",
    ]
    second = replace(state.links["sit-ipv6"], name="sit-ams", remote=IPAddress("198.51.100.20"))
    second = replace(second, addresses=("2001:db8:2::3/127",))
    owned = {**state.files, "/etc/network/interfaces.d/60-culvert-sit-ams": File("")}
    both = replace(state, links={**state.links, "sit-ams": second}, files=owned)
    assert [line for line in _shown(wanted, both) if "default" in line] == new


def _shown(wanted: Node, state: HostState) -> list[str]:
    changes = plan(wanted, state).changes
    return [line for step in (*changes.removals, *changes.steps) for line in step.shown]


def test_a_tunnel_that_is_about_to_go_is_no_way_to_the_internet() -> None:
    state = deployed("ifupdown", "client")
    hosts = {
        "web1.example.net": {"tunnel_server": {"ipv4": "203.0.113.20", "prefix": "2001:db8:9::/64"}}
    }
    wanted = declaration.read(hosts, managers.NAMES).nodes["web1.example.net"]
    with pytest.raises(ObstacleError, match="it has no IPv6 default route"):
        plan(wanted, state)
    native = Route("default", "2001:db8:9::ffff", "eth0", "static", 2048)
    found = plan(wanted, replace(state, routes=(*state.routes, native)))
    assert found.site is not None
    assert found.site.external_interface == "eth0"


def test_a_network_whose_router_stopped_forwarding_is_mended() -> None:
    state = deployed("ifupdown", "routing-client")
    sysctls = {**state.sysctls, "net/ipv6/conf/eth1/forwarding": "0"}
    assert running(replace(state, sysctls=sysctls), "routing-client") == [
        "-sysctl net.ipv6.conf.eth1.forwarding = 0",
        "+sysctl net.ipv6.conf.eth1.forwarding = 1",
    ]


def test_what_a_killed_run_left_behind_is_swept_up(tmp_path: Path) -> None:
    found = plan(node("server"), bare("ifupdown", "server")).changes
    folders = [*changes._sweeping(found.folders)]
    assert f"sweep {filtering.FOLDERS[0]}" in folders
    left = [".60-culvert-sit-web1.new", ".60-culvert-sit-web1.old", "culvert/.added.new"]
    kept = [".mine.new", "60-culvert-sit-web1", "culvert/added"]
    (tmp_path / "culvert").mkdir()
    for name in left + kept:
        (tmp_path / name).touch()
    sweep = changes._input("begin", [f"sweep {tmp_path}", f"sweep {tmp_path}/none"])
    here = rollback.program(rollback.FUNCTIONS, rollback.FILING, rollback.BEGINNING, sweep)
    subprocess.run(["sh", "-c", here], check=True)
    assert sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    ) == sorted(kept)


@pytest.mark.parametrize("role", ROLES)
def test_another_program_of_the_same_files_keeps_the_tunnel(role: str) -> None:
    state = replace(deployed("ifupdown", role), answers=bare("ifupdown2", role).answers)
    changes = plan(node(role), state).changes
    (end,) = node(role).ends
    paths = {change.path for change in changes.files}
    assert f"/etc/network/interfaces.d/60-culvert-{end.interface}" in paths
    assert not changes.removals
    assert not changes.steps


def test_a_route_that_came_with_an_address_goes_with_it() -> None:
    state = deployed("networkmanager", "client")
    old = Route("2001:db8:1::8/127", None, "sit-ipv6", "kernel", 675)
    assert running(replace(state, routes=(*state.routes, old)), "client") == [
        "-route 2001:db8:1::8/127 dev sit-ipv6 metric 675"
    ]
    link_local = replace(old, destination="fe80::/64")
    assert not running(replace(state, routes=(*state.routes, link_local)), "client")


def test_networkmanager_reads_a_changed_connection_of_a_running_tunnel() -> None:
    state = deployed("networkmanager", "client")
    path = "/etc/NetworkManager/system-connections/60-culvert-sit-ipv6.nmconnection"
    changed = replace(state, files={**state.files, path: File("", 0o600)})
    assert running(changed, "client") == [f" run: nmcli connection load {path}"]


@pytest.mark.parametrize("shown", ["connected", "connecting (getting IP configuration)"])
def test_networkmanager_holds_what_it_connects(shown: str) -> None:
    state = bare("networkmanager", "server")
    state = replace(state, answers={"networkmanager": networkmanager(["eth0"], shown)})
    assert plan(node("server"), state).grounds == (
        f"networkmanager holds eth0: NetworkManager has it {shown} by its connection 'Wired: eth0'"
    )
