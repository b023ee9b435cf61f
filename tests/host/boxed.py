"""Scripts that would change this machine, run in a folder that stands for its root."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

_PLACES = ("/run/culvert", "/run/systemd", "/var/lib/culvert", "/etc/systemd")


class Box:
    """The folder: `root` has /run, /var/lib and /etc, as far as scripts write there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("run", "var/lib", "etc/systemd/system"):
            (root / folder).mkdir(parents=True)

    @property
    def store(self) -> Path:
        return self.root / "var/lib/culvert"

    @property
    def hold(self) -> Path:
        return self.root / "run/culvert-hold"

    def inside(self, script: str) -> str:
        """The script, with the folder's paths instead of the machine's."""
        for place in _PLACES:
            script = script.replace(place, f"{self.root}{place}")
        # This machine has a network of its own.
        for mine in ("systemctl ", "ip address restore", "ip -$version -force"):
            script = script.replace(mine, f"echo {mine}")
        return script

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-s"], input=self.inside(script), capture_output=True, text=True, check=False
        )

    def start(self, script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(self.inside(script))
        process.stdin.close()
        return process

    def tree(self) -> dict[str, str]:
        """All files but the stamp, by their paths."""
        found = {}
        # What a host that has gone back still removes may be gone by now, folders and files.
        paths = (Path(folder) / name for folder, _, names in os.walk(self.root) for name in names)
        for path in sorted(paths):
            with suppress(FileNotFoundError):
                if path.is_file() and path.name != "culvert-stamp":
                    found[str(path.relative_to(self.root))] = path.read_text(errors="replace")
        return found
