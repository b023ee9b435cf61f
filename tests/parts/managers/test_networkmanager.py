"""NetworkManager is told of very many tunnels in turns, and asked again where it is busy."""

import os
import subprocess
from pathlib import Path

import pytest

from tasks.parts import managers

BUSY = "Error: failed to load connection: Timeout was reached."
SILENT = "Error: NetworkManager is not running."
UNREADABLE = "Could not load file '/etc/x'"
# Says what is in the first of the files there, and takes that away.
NMCLI = """#!/bin/sh
for each in "$ANSWERS"/*; do
    [ -e "$each" ] || exit 0
    cat "$each"; rm "$each"
    case $each in *-failed) exit 1 ;; *) exit 0 ;; esac
done
"""


def loads(*interfaces: str) -> list[str]:
    return [*managers.by_name("networkmanager").reread(interfaces)]


def test_very_many_are_read_a_hundred_at_a_time() -> None:
    found = loads(*(f"sit-web{number}" for number in range(250)))
    assert [command.count(".nmconnection") for command in found] == [100, 100, 50]


@pytest.mark.parametrize(
    ("answers", "ends_with"),
    [
        ([], ""),
        ([("", True)], ""),
        ([("Warning: versions don't match", True)], ""),
        ([(BUSY, False), ("", True)], ""),
        ([(SILENT, False)] * 20, SILENT),
        ([(UNREADABLE, True)], UNREADABLE),
        ([("Error: no permission.", False), ("", True)], "Error: no permission."),
        ([("Killed", False), ("", True)], "Killed"),
    ],
    ids=[
        "reads",
        "reads in silence",
        "warns",
        "busy",
        "gone",
        "unreadable",
        "refuses",
        "is killed",
    ],
)
def test_it_is_asked_again_while_it_is_busy_and_what_it_says_at_last_is_told(
    tmp_path: Path, answers: list[tuple[str, bool]], ends_with: str
) -> None:
    (told,) = loads("sit-web1")
    for name, text in {"nmcli": NMCLI, "sleep": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    folder = tmp_path / "answers"
    folder.mkdir()
    for number, (text, is_well) in enumerate(answers):
        (folder / f"{number:02}{'' if is_well else '-failed'}").write_text(text)
    done = subprocess.run(
        ["sh", "-c", f"set -e\ntrap 'echo \"$step\"' EXIT\n{told}"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSWERS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (ends_with == "")
    assert done.stdout.strip() == (ends_with and f"nmcli connection load: {ends_with}")
