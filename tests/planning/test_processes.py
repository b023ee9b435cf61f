"""How many processes a first run starts on a server: as few for many tunnels as for one.

Its script is run in a folder, by programs that do nothing, but for those that handle its files.
Whatever is started has a number: programs, and what the shell starts for itself.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tasks.declared.model import End
from tasks.host.changes import Changes
from tasks.parts import managers
from tasks.planning.plan import plan
from tests.planning.simulated import starting
from tests.planning.test_growth import server
from tests.test_fuzz import PROGRAMS

FEW, MANY = 1, 101
EACH = 0.2
_REAL = (
    *("base64", "cat", "chmod", "cp", "date", "find", "grep", "gzip", "ln", "mkdir", "mktemp"),
    *("mv", "perl", "rm", "rmdir", "sed", "sort", "tar"),
)
_PLACES = ("etc", "run", "var/lib", "proc/sys", "sys/class/net")
_PLACE = re.compile(rf"(?<=[\s\"'=<>;(])/(?=(?:{'|'.join(_PLACES)})\b)")
# In a namespace of their own processes are numbered from 1.
_UNSHARE = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]
_COUNTED = "sh -s >/dev/null || exit; exec sh -c 'sh -c \"echo \\$\\$\"'"


# What a run looks at. NETPLAN makes a file for each of its own.
_SAYING = {
    "ip": "case \"$*\" in *'address show'*) echo '@UP@' ;; esac",
    "ifquery": "shift 3; for each; do echo 2001:db8::1/127; done",
    "netplan": """cd "$3"; mkdir -p run/systemd/network
for each in etc/netplan/60-culvert-*; do
    name=${each#*culvert-}; : >"run/systemd/network/10-netplan-${name%.yaml}.netdev"
done""",
    "unshare": "echo 'table inet culvert {'",
}


def programs(folder: Path, ends: Iterable[End]) -> None:
    folder.mkdir()
    up = "\n".join(f"7: {end.interface}    inet6 {end.network} scope global" for end in ends)
    scripts = dict.fromkeys(PROGRAMS, ":")
    scripts |= {name: f'exec {shutil.which(name)} "$@"' for name in _REAL}
    scripts |= {name: script.replace("@UP@", up) for name, script in _SAYING.items()}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


def started(changes: Changes, ends: Iterable[End], settings: Iterable[str], root: Path) -> int:
    """How many processes the changes take."""
    root.mkdir()
    programs(root / "programs", ends)
    for place in (*_PLACES, "etc/netplan", "run/systemd/network"):
        (root / place).mkdir(parents=True, exist_ok=True)
    for path in (*settings, *(f"net/ipv6/conf/{end.interface}/x" for end in ends)):
        (root / "proc/sys" / path).parent.mkdir(parents=True, exist_ok=True)
    for end in ends:
        (root / "sys/class/net" / end.interface).mkdir()
    script = _PLACE.sub(f"{root}/", changes.script())
    script = re.sub(r'PATH="[^"]*"', f'PATH="{root}/programs"', script, count=1)
    script = script.replace("\nmade= root=\n", f"\nmade= root={root}\n", 1)
    # As after a look for files of the host's own.
    script = script.replace("\nstep=start", '\nmkdir -p "$scratch/etc/netplan"\nstep=start', 1)
    done = subprocess.run(
        [*_UNSHARE, "sh", "-c", _COUNTED],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-2000:]
    for change in changes.files:
        assert change.after and (root / change.path[1:]).read_text() == change.after.text
    return int(done.stdout)


@pytest.mark.parametrize("manager", managers.NAMES)
def test_a_tunnel_more_is_no_process_more(manager: str, tmp_path: Path) -> None:
    counts = []
    for tunnels in (FEW, MANY):
        node = server(tunnels, is_routed=True)
        _, state = starting(manager, "server")
        changes = plan(node, state).changes
        counts.append(started(changes, node.ends, state.sysctls, tmp_path / str(tunnels)))
    few, many = counts
    assert many - few <= EACH * (MANY - FEW)
