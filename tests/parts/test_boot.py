"""What the next boot would undo on hosts of all kinds, and their neighbours that it would not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.host.state import HostState, Unit
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import (
    bare,
    deployed,
    ifupdown,
    ifupdown2,
    networkmanager,
    node,
    sysctl_files,
)

Change = Callable[[HostState], HostState]

# (role, files that set sysctls at boot, what is said of them; nothing where they do no harm)
FILES: list[tuple[str, dict[str, str], str | None]] = [
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding = 0"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.all.forwarding = 0 at the next boot, "
        "where Culvert needs 1: take that line out",
    ),
    ("server", {"/etc/sysctl.d/50-x.conf": "net.ipv6.conf.all.forwarding = 0"}, None),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding = 0",
         "/etc/sysctl.d/99-y.conf": "net.ipv6.conf.all.forwarding = 1"},
        None,
    ),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding=0\n"
                                    "net.ipv6.conf.all.forwarding=1"},
        None,
    ),
    (
        "server",
        {"/usr/lib/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding = 0"},
        "/usr/lib/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.all.forwarding = 0 at the next "
        "boot, where Culvert needs 1: have a file /etc/sysctl.d/99-x.conf without that line, which "
        "is read instead",
    ),
    (
        "server",
        {"/usr/lib/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding = 0",
         "/etc/sysctl.d/99-x.conf": ""},
        None,
    ),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "\nnet.ipv6.conf.*.forwarding = 0"},
        "/etc/sysctl.d/99-x.conf, line 2, sets net.ipv6.conf.eth0.forwarding = 0 at the next boot "
        "(by `net.ipv6.conf.*.forwarding = 0`), where Culvert needs 1: take that line out",
    ),
    ("server", {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.docker*.forwarding = 0"}, None),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "-net.ipv6.conf.all.forwarding"},
        "/etc/sysctl.d/99-x.conf, line 1, keeps net.ipv6.conf.all.forwarding unset at the next "
        "boot (by `-net.ipv6.conf.all.forwarding`), where Culvert needs 1: take that line out",
    ),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.default.forwarding = 0"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.sit-web1.forwarding = 0 at the next "
        "boot (by `net.ipv6.conf.default.forwarding = 0`), where Culvert needs 1: take that line "
        "out",
    ),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.all.proxy_ndp=0"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.all.proxy_ndp = 0 at the next boot, "
        "where Culvert needs 1: take that line out",
    ),
    # The interface's own is for nothing where that of all is on.
    ("server", {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.eth0.proxy_ndp=0"}, None),
    (
        "server",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.neigh.eth0.proxy_delay=80"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.neigh.eth0.proxy_delay = 80 at the next "
        "boot, where Culvert needs 0: take that line out",
    ),
    (
        "server",
        {"/etc/ufw/sysctl.conf": "net/ipv6/conf/all/forwarding=0"},
        "/etc/ufw/sysctl.conf, line 1, sets net.ipv6.conf.all.forwarding = 0 at the next boot, "
        "where Culvert needs 1: take that line out",
    ),
    ("server", {"/etc/ufw/sysctl.conf": "net/ipv6/conf/all/accept_redirects=0"}, None),
    ("client", {"/etc/ufw/sysctl.conf": "net/ipv6/conf/all/forwarding=0"}, None),
    (
        "client",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.all.disable_ipv6 = 1"},
        "/etc/sysctl.d/10-x.conf, line 1, sets net.ipv6.conf.all.disable_ipv6 = 1 at the next "
        "boot, where Culvert needs 0: take that line out",
    ),
    (
        "client",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.default.disable_ipv6=1"},
        "/etc/sysctl.d/10-x.conf, line 1, sets net.ipv6.conf.default.disable_ipv6 = 1 at the next "
        "boot, where Culvert needs 0: take that line out",
    ),
    (
        "client",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.sit-*.disable_ipv6=1"},
        "/etc/sysctl.d/10-x.conf, line 1, sets net.ipv6.conf.sit-ipv6.disable_ipv6 = 1 at the next "
        "boot (by `net.ipv6.conf.sit-*.disable_ipv6=1`), where Culvert needs 0: take that line out",
    ),
    ("client", {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.eth0.disable_ipv6=1"}, None),
    (
        "client",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.all.disable_ipv6=1",
         "/etc/sysctl.d/20-x.conf": "net.ipv6.conf.all.disable_ipv6=0"},
        None,
    ),
    (
        "server",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.eth0.disable_ipv6=1"},
        "/etc/sysctl.d/10-x.conf, line 1, sets net.ipv6.conf.eth0.disable_ipv6 = 1 at the next "
        "boot, where Culvert needs 0: take that line out",
    ),
    (
        "routing-client",
        {"/etc/sysctl.d/10-x.conf": "net.ipv6.conf.eth1.disable_ipv6=1"},
        "/etc/sysctl.d/10-x.conf, line 1, sets net.ipv6.conf.eth1.disable_ipv6 = 1 at the next "
        "boot, where Culvert needs 0: take that line out",
    ),
    (
        "routing-client",
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.eth1.forwarding=0"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.eth1.forwarding = 0 at the next boot, "
        "where Culvert needs 1: take that line out",
    ),
    ("routing-client", {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.eth0.forwarding=0"}, None),
    ("client", {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.all.forwarding=0"}, None),
]  # fmt: skip


def losses(role: str, state: HostState) -> tuple[str, ...]:
    return plan(node(role), state, only_to_prove=True).lost_at_boot


@pytest.mark.parametrize(("role", "files", "sentence"), FILES)
@pytest.mark.parametrize("when", [bare, deployed])
def test_sysctls(
    when: Callable[..., HostState], role: str, files: dict[str, str], sentence: str | None
) -> None:
    state = when("ifupdown", role)
    own = {path: file.text for path, file in state.files.items() if "/sysctl.d/" in path}
    state = replace(
        state, sysctl_files=sysctl_files({**own, **files}), ufw_sysctls="/etc/ufw/sysctl.conf"
    )
    assert losses(role, state) == ((sentence,) if sentence else ())


def test_a_run_leaves_such_a_host_alone() -> None:
    state = replace(
        bare("ifupdown", "client"),
        sysctl_files=sysctl_files({"/etc/sysctl.d/1.conf": "net.ipv6.conf.all.disable_ipv6=1"}),
    )
    with pytest.raises(ObstacleError, match=r"at the next boot, where Culvert needs 0"):
        plan(node("client"), state)


def test_one_line_is_told_of_once() -> None:
    state = replace(
        bare("ifupdown", "routing-client"),
        sysctl_files=sysctl_files(
            {"/etc/sysctl.d/99.conf": "net.ipv6.conf.all.forwarding=0\nnet.ipv6.conf.*.accept_ra=1"}
        ),
    )
    (sentence,) = losses("routing-client", state)
    assert "net.ipv6.conf.all.forwarding = 0 at" in sentence


def with_unit(name: str, **fields: bool) -> Change:
    unit = Unit(True, True, is_enabled=False, **fields)
    return lambda state: replace(state, units={**state.units, name: unit})


DISABLED, MASKED = {"is_off_at_boot": True}, {"is_off_at_boot": True, "is_masked": True}


def answering(question: str, answer: str) -> Change:
    return lambda state: replace(state, answers={**state.answers, question: answer})


def configured(text: str) -> Change:
    """NetworkManager, told something."""
    answer = networkmanager(["eth0", "eth1"], configuration=text)
    return answering("networkmanager", answer)


def set_up(*settings: str, source: str = "source /etc/network/interfaces.d/*") -> Change:
    """ifupdown with settings in /etc/default."""
    return answering("ifupdown", ifupdown(["eth0", "eth1"], source, settings=settings))


def set_up2(*settings: str) -> Change:
    return answering("ifupdown", ifupdown2(["eth0", "eth1"], settings=settings))


def set_up_ng(*settings: str) -> Change:
    source = "source-directory /etc/network/interfaces.d"
    program = "/usr/sbin/ifupdown"
    return answering("ifupdown", ifupdown(["eth0", "eth1"], source, program, settings))


def _off(service: str, word: str, command: str) -> str:
    return (
        f"{service}.service is {word}, so nothing would bring the tunnels up at the next boot: "
        f"run `systemctl {command} {service}.service`"
    )


def _left_alone(setting: str, interface: str = "sit-ipv6") -> str:
    return (
        f"NetworkManager is told to leave {interface} alone, so nothing would bring it up at the "
        f"next boot: take it out of `{setting}`, which is in one of "
        "/etc/NetworkManager/NetworkManager.conf"
    )


KEYFILE, DEVICES = "[keyfile]\nunmanaged-devices=", "[keyfile] unmanaged-devices="
NO_SCRIPTS = (
    "/etc/network/ifupdown2/ifupdown2.conf hasn't addon_scripts_support=1, so nothing would run "
    "Culvert's scripts for eth0 and sit-web1 in /etc/network: set it so"
)

# (manager, role, host, what is said of it; nothing where it does no harm)
MANAGERS: list[tuple[str, str, Change, str | None]] = [
    # systemd: what doesn't start.
    ("networkmanager", "client", with_unit("NetworkManager.service", **DISABLED),
     _off("NetworkManager", "disabled", "enable")),
    ("networkmanager", "client", with_unit("NetworkManager.service", **MASKED),
     _off("NetworkManager", "masked", "unmask")),
    ("networkmanager", "client", with_unit("NetworkManager.service"), None),
    ("networkmanager", "client", with_unit("systemd-networkd.service", **MASKED), None),
    ("networkd", "client", with_unit("systemd-networkd.service", **DISABLED),
     _off("systemd-networkd", "disabled", "enable")),
    ("networkd", "client", with_unit("networking.service", **MASKED), None),
    ("netplan", "client", with_unit("systemd-networkd.service", **MASKED),
     _off("systemd-networkd", "masked", "unmask")),
    ("netplan", "client", with_unit("systemd-networkd.service", **DISABLED), None),
    ("ifupdown", "client", with_unit("networking.service", **DISABLED),
     _off("networking", "disabled", "enable")),
    ("ifupdown2", "client", with_unit("networking.service", **MASKED),
     _off("networking", "masked", "unmask")),
    ("ifupdown-ng", "client", with_unit("networking.service", **DISABLED),
     _off("networking", "disabled", "enable")),
    ("ifupdown", "client", with_unit("NetworkManager.service", **DISABLED), None),
    # NetworkManager: what it is told to leave alone.
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:sit*"),
     _left_alone(f"{DEVICES}interface-name:sit*")),
    ("networkmanager", "server", configured(f"{KEYFILE}interface-name:sit-web1"),
     _left_alone(f"{DEVICES}interface-name:sit-web1", "sit-web1")),
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:=sit-ipv6"),
     _left_alone(f"{DEVICES}interface-name:=sit-ipv6")),
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:=sit*"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:~sit-?pv6"),
     _left_alone(f"{DEVICES}interface-name:~sit-?pv6")),
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:sit[-]*"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}sit-ipv6"),
     _left_alone(f"{DEVICES}sit-ipv6")),
    ("networkmanager", "client", configured(f"{KEYFILE}interface-name:mgmt,sit-other"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}type:wifi;type:iptunnel"),
     _left_alone(f"{DEVICES}type:wifi;type:iptunnel")),
    ("networkmanager", "client", configured(f"{KEYFILE}type:ethernet"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}mac:00:22:68:1c:59:b1"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}driver:sit"),
     _left_alone(f"{DEVICES}driver:sit")),
    ("networkmanager", "client", configured(f"{KEYFILE}driver:veth"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}driver:sit/1.0"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}*"), _left_alone(f"{DEVICES}*")),
    ("networkmanager", "client", configured(f"{KEYFILE}*,except:interface-name:eth0"),
     _left_alone(f"{DEVICES}*,except:interface-name:eth0")),
    ("networkmanager", "client", configured(f"{KEYFILE}except:interface-name:eth*"),
     _left_alone(f"{DEVICES}except:interface-name:eth*")),
    ("networkmanager", "client", configured(f"{KEYFILE}*,except:type:iptunnel"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}*,EXCEPT:interface-name:sit-*"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}*,except:driver:sit"), None),
    ("networkmanager", "client", configured(f"{KEYFILE}except:interface-name:sit-*"), None),
    ("networkmanager", "client",
     configured("[device-x]\nmatch-device=interface-name:sit*\nmanaged=0"),
     _left_alone("[device-x] managed=0")),
    ("networkmanager", "client", configured("[device]\nmanaged=false"),
     _left_alone("[device] managed=false")),
    ("networkmanager", "client",
     configured("[device-x]\nmatch-device=interface-name:eth1\nmanaged=0"), None),
    ("networkmanager", "client",
     configured("[device]\nmanaged=0\n\n[device-x]\nmatch-device=interface-name:sit*\nmanaged=1"),
     None),
    ("networkmanager", "client",
     configured("[device-x]\nmatch-device=driver:sit/1.0\nmanaged=0"), None),
    ("networkmanager", "client", configured("[main]\nno-auto-default=*\nplugins=ifupdown"), None),
    ("networkmanager", "client", configured("[ifupdown]\nmanaged=false"), None),
    ("networkmanager", "client", configured("[keyfile]\npath=/srv/nm"),
     "NetworkManager reads /srv/nm ([keyfile] path) and not "
     "/etc/NetworkManager/system-connections, where Culvert's files go: take that setting out of "
     "/etc/NetworkManager/NetworkManager.conf"),
    ("networkmanager", "client",
     configured("[keyfile]\npath=/etc/NetworkManager/system-connections/"), None),
    # ifupdown and its heirs.
    ("ifupdown", "client", set_up("CONFIGURE_INTERFACES=no"),
     "/etc/default/networking has CONFIGURE_INTERFACES=no, so nothing would bring the tunnels up "
     "at the next boot: take that line out"),
    ("ifupdown", "client", set_up('CONFIGURE_INTERFACES="yes"', "EXCLUDE_INTERFACES="), None),
    ("ifupdown", "client", set_up('EXCLUDE_INTERFACES="wlan0 sit-*"'),
     "/etc/default/networking has sit-* in EXCLUDE_INTERFACES, so sit-ipv6 would stay down at the "
     "next boot: take it out"),
    ("ifupdown", "client", set_up("EXCLUDE_INTERFACES=eth9"), None),
    ("ifupdown", "server", set_up("addon_scripts_support=0"), None),
    ("ifupdown", "server", set_up("auto_executor_selection=0"), None),
    ("ifupdown", "client", set_up(source="source /etc/network/extra/*"),
     "/etc/network/interfaces doesn't read /etc/network/interfaces.d, where Culvert's files go: "
     "add the line `source /etc/network/interfaces.d/*`"),
    ("ifupdown", "client", set_up(source="no-scripts sit-*\nsource /etc/network/interfaces.d/*"),
     None),
    ("ifupdown2", "server", set_up2("addon_scripts_support=0"), NO_SCRIPTS),
    ("ifupdown2", "server", set_up2(), NO_SCRIPTS),
    ("ifupdown2", "server", set_up2("addon_scripts_support= 1"), None),
    ("ifupdown2", "client", set_up2("addon_scripts_support=0"),
     NO_SCRIPTS.replace("eth0 and sit-web1", "sit-ipv6")),
    ("ifupdown2", "routing-client", set_up2("addon_scripts_support=0"),
     NO_SCRIPTS.replace("eth0 and sit-web1", "eth0 and eth1 and sit-ipv6")),
    ("ifupdown2", "client",
     set_up2("addon_scripts_support=1", "default_interfaces_configfile=/etc/network/mine"), None),
    ("ifupdown-ng", "client", set_up_ng("auto_executor_selection= 0"),
     "/etc/network/ifupdown-ng.conf has auto_executor_selection = 0, so nothing would make the "
     "tunnels at the next boot: take that line out"),
    ("ifupdown-ng", "client", set_up_ng("auto_executor_selection=1"), None),
    ("ifupdown-ng", "server", set_up_ng("addon_scripts_support=0"), None),
]  # fmt: skip


@pytest.mark.parametrize(("manager", "role", "change", "sentence"), MANAGERS)
@pytest.mark.parametrize("when", [bare, deployed])
def test_managers(
    when: Callable[..., HostState], manager: str, role: str, change: Change, sentence: str | None
) -> None:
    assert losses(role, change(when(manager, role))) == ((sentence,) if sentence else ())


def test_the_file_that_ifupdown2_reads_is_told_of() -> None:
    settings = ["addon_scripts_support=1", "default_interfaces_configfile=/etc/network/mine"]
    answer = ifupdown2(["eth0"], "source /srv/*", settings=settings)
    (sentence,) = losses("client", answering("ifupdown", answer)(bare("ifupdown2", "client")))
    assert sentence.startswith("/etc/network/mine doesn't read /etc/network/interfaces.d")
