"""Every file that lands on a host, for each manager and role, in full."""

from pathlib import Path

import pytest

from tasks.host.state import File
from tasks.parts import managers
from tasks.planning.plan import plan
from tests.samples import ROLES, bare, node

GOLDEN = Path(__file__).parents[2] / "golden"
MODES = {
    "netplan": 0o600,
    "networkd-dispatcher": 0o755,
    "system-connections": 0o600,
    "dispatcher.d": 0o755,
    "if-pre-up.d": 0o755,
    "if-up.d": 0o755,
}
FILTER = {
    "/etc/culvert/filter": 0o755,
    "/etc/culvert/filter.nft": 0o644,
    "/etc/systemd/system/60-culvert-filter.service": 0o644,
}


def golden(manager: str, role: str) -> dict[str, File]:
    root = GOLDEN / f"{manager}-{role}"
    files = {}
    for file in root.rglob("*"):
        if file.is_file():
            path = Path("/") / file.relative_to(root)
            mode = next((MODES[part] for part in path.parts if part in MODES), 0o644)
            files[str(path)] = File(file.read_text(), mode)
    return files


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("manager", managers.NAMES)
def test_the_files_are_exactly_these(manager: str, role: str) -> None:
    changes = plan(node(role), bare(manager, role)).changes
    found = {change.path: change.after for change in changes.files}
    for path, mode in FILTER.items():
        # The same for all.
        file = found.pop(path)
        assert file is not None
        assert file.mode == mode
    assert found == golden(manager, role)
