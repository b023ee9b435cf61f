"""How many processes a run starts on a host: few at each stage, and no more for many tunnels.

Its scripts are run in a folder, by programs that do nothing, but for those that handle its files.
Whatever is started has a number: programs, and what the shell starts for itself.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks import parts
from tasks.declared.model import Node
from tasks.host.rollback import UNGUARDED, Guard
from tasks.host.state import HostState
from tasks.parts import filtering, managers
from tasks.planning import confirming, proof
from tasks.planning.plan import plan
from tests.planning.proving import SHORT
from tests.planning.simulated import apply, read, starting
from tests.planning.test_growth import server
from tests.samples import node
from tests.test_fuzz import PROGRAMS

FEW, MANY = 1, 101
EACH = 0.2
_REAL = (
    *("awk", "base64", "cat", "chmod", "cp", "date", "df", "grep", "ln", "mkdir", "mktemp"),
    *("mv", "perl", "readlink", "rm", "rmdir", "sed", "sh", "sha256sum", "sort"),
)
_PLACES = ("etc", "run", "var/lib", "proc/sys", "sys/class/net", "sys/module")
_PLACE = re.compile(
    rf"(?:(?<=[\s\"'=<>;(])|(?<=pending/files)|(?<=new/files)|(?<=\$root))/(?=(?:{'|'.join(_PLACES)})\b)"
)
# In a namespace of their own processes are numbered from 1.
_UNSHARE = [shutil.which("unshare") or "", "--map-root-user", "--net", "--pid", "--fork"]
_IP = shutil.which("ip", path="/usr/sbin:/usr/bin:/sbin:/bin")
_COUNTED = f"""echo "$NETWORK" | {_IP} -batch - || exit
/bin/sh -s >/dev/null || exit
exec /bin/sh -c '/bin/sh -c "echo \\$\\$"'"""
_COUNTING = 4
_NETWORK = """link add eth0 type veth peer name peer0
link set eth0 up
route add default dev eth0
"""


# What a run looks at. NETPLAN makes a file for each of its own. What waits for a word is as good as
# there, and isn't counted.
_SAYING = {
    "ifquery": "shift 3; for each; do echo 2001:db8::1/127; done",
    "netplan": """cd "$3"; mkdir -p run/systemd/network
for each in etc/netplan/60-culvert-*; do
    name=${each#*culvert-}; : >"run/systemd/network/10-netplan-${name%.yaml}.netdev"
done""",
    "nft": """case "$*" in 'list tables')
    echo 'table ip filter'
    [ ! -e @ROOT@/held ] || echo 'table inet culvert'
esac""",
    "systemctl": """case "$*" in 'start 60-culvert-filter.service') : >@ROOT@/held ;;
'show --property=Id,'*)
for each in @UNITS@; do
    printf '%s\\n' "Id=$each" LoadState=loaded ActiveState=active UnitFileState=enabled ''
done ;; esac""",
    "systemd-run": """IFS= read -r stat </proc/1/stat
set -- ${stat##*) }; shift 19; echo "1 $1" >@ROOT@/run/culvert-hold/waiter""",
    "unshare": "echo 'table inet culvert {'",
}
_OF_MANAGERS = {"ifup", "ifdown", "ifquery", "netplan", "networkctl", "nmcli", "NetworkManager"}
_IFUPDOWN = ("ifup", "ifdown", "ifquery")
_PROGRAMS_OF = {
    "netplan": ("netplan", "networkctl"),
    "networkd": ("networkctl",),
    "networkmanager": ("nmcli", "NetworkManager"),
}


@dataclass(frozen=True)
class Host:
    """A folder that stands for the root of one, with what the manager has there."""

    root: Path
    node: Node
    state: HostState
    manager: str

    def prepare(self) -> None:
        self.root.mkdir()
        for place in (
            *_PLACES,
            *("etc/netplan", "etc/systemd/system/sysinit.target.wants", "run/systemd/system"),
            *("run/systemd/network", "sys/module/nf_tables", "sys/module/sit"),
        ):
            (self.root / place).mkdir(parents=True, exist_ok=True)
        settings = (f"net/ipv6/conf/{end.interface}/x" for end in self.node.ends)
        for path in (*self.state.sysctls, *settings, "kernel/random/boot_id"):
            (self.root / "proc/sys" / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / "proc/sys" / path).write_text("0\n")
        for end in self.node.ends:
            (self.root / "sys/class/net" / end.interface).mkdir()
        self._write_programs()

    def _write_programs(self) -> None:
        said = {"@ROOT@": str(self.root)}
        said["@UNITS@"] = "systemd-networkd.service NetworkManager.service ufw.service"
        scripts = dict.fromkeys(PROGRAMS, ":")
        scripts |= {name: f'exec {shutil.which(name)} "$@"' for name in _REAL}
        scripts |= _SAYING
        for name in _OF_MANAGERS - {*_PROGRAMS_OF.get(self.manager, _IFUPDOWN)}:
            scripts.pop(name, None)
        for name in _PROGRAMS_OF.get(self.manager, ()):
            scripts.setdefault(name, ":")
        folder = self.root / "programs"
        folder.mkdir()
        for name, script in scripts.items():
            text = re.sub("@[A-Z]+@", lambda found: said[found[0]], script)
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)

    def _up(self) -> str:
        """Words of iproute2's that have all tunnels up."""
        lines = (
            f"link add {end.interface} type veth peer name peer-{number}\n"
            f"link set {end.interface} up\naddress add {end.network} dev {end.interface}"
            for number, end in enumerate(self.node.ends)
        )
        return "\n".join(lines)

    def inside(self, script: str) -> str:
        return _PLACE.sub(f"{self.root}/", script)

    def started(self, script: str) -> int:
        """How many processes the script takes."""
        # Folders of copies that are elsewhere here.
        script = re.sub(r"^sync \S+/files\S*\n", "", script, flags=re.MULTILINE)
        script = re.sub(r'PATH="[^"]*"', f'PATH="{self.root}/programs"', self.inside(script))
        done = subprocess.run(
            [*_UNSHARE, "--mount-proc", "/bin/sh", "-c", _COUNTED],
            input=script,
            text=True,
            capture_output=True,
            check=False,
            env={"PATH": f"{self.root}/programs", "NETWORK": _NETWORK + self._up()},
        )
        if done.stderr.startswith("unshare:"):
            pytest.skip(f"no namespaces here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr[-2000:]
        return int(done.stdout) - _COUNTING


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_tunnel_more_is_no_process_more(manager: str, tmp_path: Path) -> None:
    counts = []
    for tunnels in (FEW, MANY):
        _, state = starting(manager, "server")
        host = Host(tmp_path / str(tunnels), server(tunnels, is_routed=True), state, manager)
        host.prepare()
        changes = plan(host.node, state).changes
        counts.append(host.started(changes.script(UNGUARDED)))
        for change in changes.files:
            assert change.after
            text = host.inside(change.after.text)
            assert (host.root / change.path[1:]).read_text() == text
    few, many = counts
    assert many - few <= EACH * (MANY - FEW)


@pytest.mark.parametrize("manager", managers.NAMES)
def test_one_tunnel_that_is_added_takes_as_few_among_many(manager: str, tmp_path: Path) -> None:
    counts = []
    for tunnels in (FEW, MANY):
        simulated, state = starting(manager, "server")
        apply(plan(server(tunnels, is_routed=True), state).changes, simulated)
        node = server(tunnels + 1, is_routed=True)
        host = Host(tmp_path / str(tunnels), node, read(simulated, state, manager), manager)
        host.prepare()
        for path, file in simulated.files.items():
            (host.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            # The process that holds the table isn't here.
            is_started = path == filtering.HOLDER
            (host.root / path[1:]).write_text("#!/bin/sh\n" if is_started else file.text)
            (host.root / path[1:]).chmod(file.mode)
        changes = plan(node, host.state).changes
        assert any(change.before for change in changes.files)
        counts.append(host.started(changes.script(GUARD)))
    few, many = counts
    assert many <= few
    assert few <= ADDED[manager]


# With one tunnel, at most so many at the stages of a first run. A client has one or two less than
# a server, without its entries and settings.
STAGES = ("reading", "rehearsal", "change", "after", "confirming", "proof")
MOST = {
    "netplan": (11, 10, 21, 10, 4, 3),
    "networkd": (11, 7, 17, 10, 4, 3),
    "networkmanager": (14, 8, 18, 13, 4, 3),
    "ifupdown": (13, 9, 17, 12, 4, 3),
    "ifupdown2": (13, 9, 17, 12, 4, 3),
    "ifupdown-ng": (13, 11, 19, 12, 4, 3),
}
FIRST = 60
"""A first run, where Culvert makes the tunnels itself."""
# Runs that look, and those that find nothing to change.
DRY, UNCHANGED = 40, 40
# A run that adds a tunnel to others.
ADDED = dict(zip(managers.NAMES, (35, 31, 31, 31, 31, 31), strict=True))
# A host where all works has these.
WORKED = ("IPv4 default route dev eth0",)
GUARD = Guard(by="alice@laptop", run="run-1")


def stages(host: Host) -> dict[str, int]:
    """How many processes each stage of a first run takes, in their order."""
    host.prepare()
    found = plan(host.node, host.state)
    before = confirming.before(host.node, host.state)
    after = confirming.after(host.node, host.state, found.tunnels)
    proving = proof.script(proof.checks(found.site))
    for written, instead in SHORT.items():
        proving = proving.replace(written, instead)
    scripts = {
        "reading": parts.script(host.node, measures=True),
        "rehearsal": confirming.looking(before) + found.changes.rehearsal(),
        "change": found.changes.script(GUARD),
        "after": parts.script(host.node),
        "confirming": confirming.script(GUARD, after, WORKED),
        "proof": proving,
    }
    return {name: host.started(script) for name, script in scripts.items()}


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_run_starts_few_at_each_stage(manager: str, role: str) -> None:
    _, state = starting(manager, role)
    # Its name is in all paths, and more input than a pipe has room for is a process more.
    with TemporaryDirectory() as folder:
        counts = stages(Host(Path(folder) / "host", node(role), state, manager))
    assert counts["reading"] + counts["rehearsal"] <= DRY
    assert counts["reading"] + counts["proof"] <= UNCHANGED
    assert sum(counts.values()) <= FIRST or manager.startswith("ifupdown")
    most = dict(zip(STAGES, MOST[manager], strict=True))
    assert {name: count for name, count in counts.items() if count > most[name]} == {}
