"""What the next boot would undo on hosts of all kinds, and their neighbours that it would not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.host.state import HostState
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import bare, deployed, node, sysctl_files

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
        {"/etc/sysctl.d/99-x.conf": "net.ipv6.conf.eth0.proxy_ndp=0"},
        "/etc/sysctl.d/99-x.conf, line 1, sets net.ipv6.conf.eth0.proxy_ndp = 0 at the next boot, "
        "where Culvert needs 1: take that line out",
    ),
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
