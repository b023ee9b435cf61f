"""Which settings the next boot would make: what each set of files comes to, and by which line."""

from dataclasses import replace

import pytest

from tasks.host import boot
from tasks.host.state import Unit
from tests.samples import bare, sysctl_files

A, B = "/etc/sysctl.d/10-a.conf", "/etc/sysctl.d/20-b.conf"
B_OF_RUN, B_OF_PACKAGE = "/run/sysctl.d/20-b.conf", "/usr/lib/sysctl.d/20-b.conf"
UFW, SYSCTL_CONF = "/etc/ufw/sysctl.conf", "/etc/sysctl.conf"

# Files, a key of `all`, `eth0`, a new `sit-web1` or whatever, and what it comes to.
CASES: list[tuple[str, dict[str, str], str, str | None]] = [
    ("nothing", {}, "all.forwarding", None),
    ("a later file", {A: "all.forwarding=1", B: "all.forwarding=0"}, "all.forwarding", "0"),
    ("a later line", {A: "all.forwarding=0\nall.forwarding=1"}, "all.forwarding", "1"),
    (
        "a later name in a folder of packages",
        {B_OF_PACKAGE: "all.forwarding=0", A: "all.forwarding=1"},
        "all.forwarding",
        "0",
    ),
    ("a mask in /etc", {B_OF_PACKAGE: "all.forwarding=0", B: ""}, "all.forwarding", None),
    ("a mask in /run", {B_OF_PACKAGE: "all.forwarding=0", B_OF_RUN: ""}, "all.forwarding", None),
    ("/etc before /run", {B_OF_RUN: "all.forwarding=0", B: "#"}, "all.forwarding", None),
    ("slashes", {A: "/net/ipv6/conf/all/forwarding = 1"}, "all.forwarding", "1"),
    ("a dash before it", {A: "-all.forwarding=1"}, "all.forwarding", "1"),
    ("a comment", {A: "# all.forwarding=1\n;all.forwarding=1"}, "all.forwarding", None),
    ("no number", {A: "all.forwarding=yes"}, "all.forwarding", None),
    ("hexadecimal", {A: "all.forwarding=0x1"}, "all.forwarding", "0x1"),
    ("all is for every interface", {A: "all.forwarding=1"}, "eth0.forwarding", "1"),
    ("all is for new ones", {A: "all.disable_ipv6=1"}, "sit-web1.disable_ipv6", "1"),
    ("all is for default", {A: "all.disable_ipv6=1"}, "default.disable_ipv6", "1"),
    ("all of another key is for none", {A: "all.accept_ra=0"}, "eth0.accept_ra", None),
    ("all of another key is for no new ones", {A: "all.proxy_ndp=1"}, "sit-web1.proxy_ndp", None),
    ("default is for new ones", {A: "default.forwarding=0"}, "sit-web1.forwarding", "0"),
    ("default is for no others", {A: "default.forwarding=0"}, "eth0.forwarding", None),
    (
        "a new one has settings of its own",
        {A: "default.forwarding=0\nsit-web1.forwarding=1"},
        "sit-web1.forwarding",
        "1",
    ),
    ("all after one", {A: "eth0.disable_ipv6=0\nall.disable_ipv6=1"}, "lo.disable_ipv6", "1"),
    ("one after all", {A: "all.disable_ipv6=1\neth0.disable_ipv6=0"}, "eth0.disable_ipv6", "0"),
    # udev has the settings of a device applied again when it appears.
    ("one before all", {A: "eth0.forwarding=0\nall.forwarding=1"}, "eth0.forwarding", "0"),
    # systemd-sysctl leaves alone what is so already.
    ("all as it was", {A: "default.forwarding=1\nall.forwarding=0"}, "default.forwarding", "1"),
    ("a pattern", {A: "*.forwarding=0"}, "eth0.forwarding", "0"),
    ("a pattern for some", {A: "eth*.forwarding=0"}, "lo.forwarding", None),
    ("a pattern for new ones", {A: "sit-*.forwarding=0"}, "sit-web1.forwarding", "0"),
    ("a name beats a pattern", {A: "all.forwarding=1", B: "*.forwarding=0"}, "all.forwarding", "1"),
    ("what is kept from patterns", {A: "*.accept_ra=0\n-eth0.accept_ra"}, "eth0.accept_ra", None),
    ("what is taken back", {A: "eth0.accept_ra=2", B: "-eth0.accept_ra"}, "eth0.accept_ra", None),
    ("and set anew", {A: "-eth0.accept_ra", B: "eth0.accept_ra=2"}, "eth0.accept_ra", "2"),
    ("ufw is last", {UFW: "all.forwarding=0", B: "all.forwarding=1"}, "eth0.forwarding", "0"),
    ("another interface", {A: "eth9.forwarding=1"}, "eth9.forwarding", None),
    ("a file that systemd doesn't read", {SYSCTL_CONF: "all.accept_ra=1"}, "all.accept_ra", None),
]


def told(
    files: dict[str, str], key: str, *, ufw: str | None = UFW, units: dict[str, Unit] | None = None
) -> boot.Setting | None:
    texts = {
        path: "\n".join(_spelled_out(line) for line in text.splitlines())
        for path, text in files.items()
    }
    state = replace(bare("ifupdown", "server"), sysctl_files=sysctl_files(texts), ufw_sysctls=ufw)
    state = replace(state, units=state.units if units is None else units)
    return boot.foreseen(state, {}, ["sit-web1"]).get(f"net/ipv6/conf/{key.replace('.', '/')}")


def _spelled_out(line: str) -> str:
    """A line of the table with the whole key."""
    if "net" in line or line[:1] in {"", "#", ";"}:
        return line
    return f"{'-' * line.startswith('-')}net.ipv6.conf.{line.removeprefix('-')}"


@pytest.mark.parametrize(
    ("files", "key", "value"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_files_come_to_a_value(files: dict[str, str], key: str, value: str | None) -> None:
    found = told(files, key)
    assert (found.value if found else None) == value


def test_the_line_is_told_of() -> None:
    found = told({A: "\n# mine\nall.forwarding=1", B: "eth0.forwarding=0"}, "lo.forwarding")
    assert found is not None
    assert (found.line.path, found.line.number) == (A, 3)


def test_culverts_own_file_is_as_it_is_to_be() -> None:
    own = "/etc/sysctl.d/60-culvert.conf"
    state = bare("ifupdown", "server")
    state = replace(
        state,
        sysctl_files=sysctl_files(
            {own: "net.ipv6.conf.all.forwarding=0", B_OF_RUN: "net.ipv6.conf.eth0.accept_ra=2"}
        ),
    )
    path = "net/ipv6/conf/all/forwarding"
    assert boot.foreseen(state, {own: "net.ipv6.conf.all.forwarding = 1\n"}, [])[path].value == "1"
    assert path not in boot.foreseen(state, {own: None}, [])


@pytest.mark.parametrize(
    ("ufw", "units", "value"),
    [
        (UFW, {"ufw.service": Unit(True, True, is_enabled=True)}, "0"),
        (UFW, {"ufw.service": Unit(True, True, is_enabled=False)}, "1"),
        (None, {"ufw.service": Unit(True, True, is_enabled=True)}, "1"),
        # No systemd at all: an init script starts it.
        (UFW, {}, "0"),
    ],
)
def test_ufw_counts_where_it_starts(ufw: str | None, units: dict[str, Unit], value: str) -> None:
    files = {UFW: "all.forwarding=0", A: "all.forwarding=1"}
    found = told(files, "all.forwarding", ufw=ufw, units=units)
    assert found is not None
    assert found.value == value


def test_without_systemd_there_is_sysctl_conf_and_no_udev() -> None:
    files = {A: "eth0.forwarding=0", B: "all.forwarding=1", SYSCTL_CONF: "eth0.accept_ra=2"}
    found = told(files, "eth0.forwarding", units={})
    assert found is not None
    assert found.value == "1"
    assert told(files, "eth0.accept_ra", units={}) is not None
