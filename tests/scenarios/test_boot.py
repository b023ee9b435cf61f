"""What the next boot makes of sysctls is what was foretold, to the last key."""

import shlex
from collections.abc import Iterable

import pytest

from tasks import parts
from tasks.declared.model import Node
from tasks.host import answer, boot
from tasks.host.state import HostState
from tests.lab.lab import LabMachine
from tests.lab.topologies import BROKER, TOPOLOGIES, Topology
from tests.scenarios.conftest import Labs

FILES = {
    "/etc/sysctl.d/10-first.conf": (
        "# a comment\n"
        "; another\n"
        "net.ipv6.conf.eth0.forwarding = 0\n"
        "net.ipv6.conf.*.proxy_ndp=1\n"
        "-net.ipv6.conf.lo.proxy_ndp\n"
        "net/ipv6/conf/default/disable_ipv6=1\n"
    ),
    "/usr/lib/sysctl.d/20-masked.conf": "net.ipv6.conf.all.forwarding = 0\n",
    "/etc/sysctl.d/20-masked.conf": None,
    "/run/sysctl.d/30-gone-by-then.conf": "",
    "/usr/local/lib/sysctl.d/50-overruled.conf": "net.ipv6.conf.lo.forwarding = 1\n",
    "/etc/sysctl.d/50-overruled.conf": " -net.ipv6.conf.all.forwarding\t=\t1 \n",
    "/usr/lib/sysctl.d/60-later.conf": (
        "net.ipv6.conf.mgmt.proxy_ndp = 0\n"
        "net.ipv6.conf.all.proxy_ndp = nonsense\n"
        "net.ipv6.conf.default.disable_ipv6 = 0\n"
        "net.ipv6.conf.missing0.forwarding = 1\n"
        "net.ipv6.neigh.eth0.proxy_delay = 0\n"
    ),
}
TOLD = {
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/eth0/forwarding": "0",
    "net/ipv6/conf/lo/forwarding": "1",
    "net/ipv6/conf/mgmt/forwarding": "1",
    "net/ipv6/conf/eth0/proxy_ndp": "1",
    "net/ipv6/conf/mgmt/proxy_ndp": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/neigh/eth0/proxy_delay": "0",
}


@pytest.mark.parametrize(
    ("topology", "host"),
    [(BROKER, "client-ifupdown"), (TOPOLOGIES["trixie"], "client-ifupdown-trixie")],
    ids=["bookworm", "trixie"],
)
def test_the_next_boot_sets_what_was_foretold(labs: Labs, topology: Topology, host: str) -> None:
    lab = labs.up(topology)
    lab.reset()
    machine = lab.machine(host)
    machine.run("; ".join(_writing()))
    told = {p: s.value for p, s in boot.foreseen(_read(machine), {}, []).items() if s.value}
    assert {path: told.get(path) for path in TOLD} == TOLD
    machine.reboot()
    found = _read(machine).sysctls
    assert {path: found[path] for path in told if path in found} == told
    assert found["net/ipv6/conf/lo/proxy_ndp"] == found["net/ipv6/conf/lo/disable_ipv6"] == "0"


def _writing() -> Iterable[str]:
    for path, text in FILES.items():
        yield f"mkdir -p {path.rpartition('/')[0]}"
        yield (
            f"ln -sf /dev/null {path}" if text is None else f"printf %s {shlex.quote(text)} >{path}"
        )
    yield "sync"


def _read(machine: LabMachine) -> HostState:
    node = Node(machine.machine.name, None, None, ())
    return answer.parse(machine.run(parts.script(node)).stdout)
