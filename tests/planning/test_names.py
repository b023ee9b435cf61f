"""Names on a host that no script and no file could hold as a name."""

from dataclasses import replace

import pytest
from netaddr import IPAddress

from tasks.host.changes import sysctl_command
from tasks.host.state import File, Link, Route
from tasks.parts.additions import proxy
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import bare, node

STRANGE = "/etc/netplan/60-culvert-$(reboot).yaml"


@pytest.mark.parametrize("is_cleared", [False, True])
def test_a_file_that_is_only_called_like_culverts_is_left_alone(is_cleared: bool) -> None:
    wanted = replace(node("client"), ends=(), is_cleared=True) if is_cleared else node("client")
    state = replace(bare("ifupdown", "client"), files={STRANGE: File("x")})
    with pytest.raises(ObstacleError, match="is called like a file of Culvert's") as caught:
        plan(wanted, state)
    assert caught.value.sentences[0].startswith(repr(STRANGE))


def test_an_external_interface_that_is_no_plain_name_is_refused() -> None:
    state = bare("ifupdown", "server")
    name = "a;reboot"
    links = {**state.links, name: Link(name, None, True, 1500)}
    state = replace(state, links=links, routes=(Route("default", "fe80::1", name, "ra", 1),))
    with pytest.raises(ObstacleError, match="its external interface is called 'a;reboot'"):
        plan(node("server"), state)


def test_other_interfaces_may_be_called_as_they_like() -> None:
    path = "net/ipv6/conf/a;reboot/forwarding"
    assert sysctl_command(path, "1") == f"sysctl '{path}' 1"
    entry = proxy(IPAddress("2001:db8::1"), "a;reboot")
    assert entry.delete == "ip -6 neighbour delete proxy 2001:db8::1 dev 'a;reboot'"
