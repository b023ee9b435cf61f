"""Files have the modes that they need, and no more."""

import re
import stat
from pathlib import Path

import pytest

from tasks.host.changes import Changes, FileChange
from tasks.host.state import File
from tasks.parts import managers
from tasks.planning.plan import plan
from tests.host.boxed import Box
from tests.samples import ROLES, bare, node

# Which netplan and NetworkManager don't take, or warn of, where others may read them.
_OF_ROOT = ("/etc/netplan/", "/etc/NetworkManager/system-connections/")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("manager", managers.NAMES)
def test_scripts_can_be_run_and_nothing_else(manager: str, role: str) -> None:
    changes = plan(node(role), bare(manager, role)).changes
    files = {change.path: change.after for change in changes.files if change.after}
    assert files
    for path, file in files.items():
        plain = 0o600 if path.startswith(_OF_ROOT) else 0o644
        assert file.mode == (0o755 if file.text.startswith("#!") else plain), path


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_what_waits_is_nobody_elses_until_it_has_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    box = Box(tmp_path, monkeypatch)
    folder = box.root / "etc/network"
    change = FileChange(str(folder / "60-culvert"), None, File("new", mode))
    changes = Changes("web1", (str(folder),), files=(change,))
    # Before it is given its mode.
    done = box.run(re.sub(r"chmod \d+", "stat -c %a", changes.rehearsal()))
    assert done.stdout.split()[:1] == ["600"], done.stdout
    assert box.run(changes.script()).returncode == 0
    found = stat.S_IMODE((folder / "60-culvert").stat().st_mode)
    assert found == mode
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
