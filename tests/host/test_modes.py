"""Files have the modes that they need, and no more."""

import random
import stat
from pathlib import Path
from string import ascii_letters

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
def test_a_file_has_its_mode_before_it_has_its_text(tmp_path: Path, mode: int) -> None:
    box = Box(tmp_path)
    folder = box.root / "etc/network"
    text = "".join(random.Random(1).choices(ascii_letters, k=100_000))
    change = FileChange(str(folder / "60-culvert"), None, File(text, mode))
    changes = Changes("web1", (str(folder),), files=(change,))
    # In a rehearsal that comes no further than to its middle, and that leaves what it has.
    half = "print $file substr $lines[0], 0, 40000; kill KILL => $$;"
    cut = changes.rehearsal().replace("return if print $file @lines", f"{half} return if 1")
    said = box.run(cut.replace('rm -rf "$scratch"', ":")).stdout
    assert said.endswith("rehearsed: 137\n")
    (waiting,) = (each for each in (box.root / "run").rglob(".60-culvert.new"))
    assert 0 < waiting.stat().st_size < len(text)
    assert stat.S_IMODE(waiting.stat().st_mode) == mode
    assert box.run(changes.script()).returncode == 0
    assert (folder / "60-culvert").read_text() == text
    assert stat.S_IMODE((folder / "60-culvert").stat().st_mode) == mode
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
