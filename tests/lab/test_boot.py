"""The last words of a machine that does not boot are told: its lab may be gone by then."""

from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.lab import Lab


def test_a_machine_that_does_not_boot_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    machine = Lab().machine("server-netplan")
    machine.qemu.console.parent.mkdir(parents=True)
    machine.qemu.console.write_text("Kernel panic - not syncing: no root\n")
    with pytest.raises(LabError, match=r"server-netplan has not booted(.|\n)*syncing: no root"):
        machine.wait_until_settled()
