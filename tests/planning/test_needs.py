"""What a run needs of a host, known before the first change on any."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.host.state import HostState, Room
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests.samples import bare, deployed, node

GONE = "modprobe: FATAL: Module rtnl-link-sit not found in directory /lib/modules/6.1.0-25"
INSMOD = "insmod /lib/modules/6.1.0/kernel/net/ipv6/sit.ko"
TUNNEL4 = "insmod /lib/modules/6.1.0/kernel/net/ipv4/tunnel4.ko"
HARDENED = "/etc/modprobe.d/cis.conf:install sit /bin/false"
Change = Callable[[HostState], HostState]


def loading(*said: str, disabled: str = "0") -> Change:
    return lambda state: replace(state, sit_loading=(disabled, *said))


def room(folder: str, free: int = 1_000_000, *, is_writable: bool = True) -> Change:
    return lambda state: replace(state, room={folder: Room(is_writable, free)})


# What a host is like, and what is said of it; nothing where it will do.
HOSTS: list[tuple[Change, str | None]] = [
    (loading(), "the kernel has no sit driver, which every tunnel needs ("),
    (loading(GONE), "the kernel has no sit driver, which every tunnel needs (FATAL: Module "),
    (loading("sh: 20: modprobe: not found"), "the kernel has no sit driver, which every tunnel"),
    (loading(TUNNEL4, INSMOD), None),
    (loading(TUNNEL4, "install /sbin/modprobe --ignore-install sit; logger sit"), None),
    (
        loading(TUNNEL4, INSMOD, disabled="1"),
        "the kernel has no sit driver loaded, and loads no module any more (kernel.modules_dis",
    ),
    (
        loading(TUNNEL4, "install /bin/false ", HARDENED),
        "the kernel is told not to load its sit driver: /etc/modprobe.d/cis.conf: install sit "
        "/bin/false: take that out",
    ),
    (loading("install /usr/bin/true ", INSMOD), "the kernel is told not to load its sit driver"),
    (
        loading("/usr/lib/modprobe.d/x.conf:blacklist sit"),
        "the kernel is told not to load its sit driver: /usr/lib/modprobe.d/x.conf: blacklist sit",
    ),
    (lambda s: replace(s, missing_programs=("nft",)), "`nft` isn't there: install nftables"),
    (
        lambda s: replace(s, missing_programs=("ip",), links={}),
        "`ip` isn't there: install iproute2",
    ),
    (room("/etc/network/interfaces.d"), None),
    (
        room("/etc/network/interfaces.d", is_writable=False),
        "/etc/network/interfaces.d is read-only: mount it read-write",
    ),
    (room("/etc/network/interfaces.d", 3), "/etc/network/interfaces.d has 3 KiB free, and 4 KiB"),
    # Nothing is to be written there.
    (room("/etc/netplan", is_writable=False), None),
]


@pytest.mark.parametrize(("change", "sentence"), HOSTS)
def test_a_host_that_lacks_something_is_refused_by_name(
    change: Change, sentence: str | None
) -> None:
    state = change(bare("ifupdown", "client"))
    if sentence is None:
        assert plan(node("client"), state).changes
        return
    with pytest.raises(ObstacleError) as caught:
        plan(node("client"), state)
    (said,) = caught.value.sentences
    assert said.startswith(sentence)


def test_a_read_only_host_that_is_as_declared_is_not_refused() -> None:
    state = deployed("ifupdown", "client")
    folders = {path.rpartition("/")[0] for path in state.files}
    full = dict.fromkeys(folders, Room(is_writable=False, free=0))
    assert not plan(node("client"), replace(state, room=full)).changes


def test_a_hook_that_fails_is_asked_for_nothing_and_the_kernel_is() -> None:
    (made,) = (
        step
        for step in plan(node("client"), bare("ifupdown", "client")).changes.steps
        if step.shown[0].startswith("+link sit-ipv6")
    )
    tried, asked = made.commands
    assert tried == "lenient ifup --force sit-ipv6"
    assert asked == "are_up sit-ipv6 2001:db8:1::3/127"


def test_old_files_need_room_for_their_copies() -> None:
    state = deployed("ifupdown", "client")
    edited = {p: replace(f, text=f"{f.text}#{5000 * '-'}\n") for p, f in state.files.items()}
    full = {"/var/lib/culvert": Room(is_writable=True, free=7)}
    with pytest.raises(ObstacleError) as caught:
        plan(node("client"), replace(state, files=edited, room=full))
    (said,) = caught.value.sentences
    assert said.startswith("/var/lib/culvert has 7 KiB free, and ")
