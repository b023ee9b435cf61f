"""A run that stands still at one line of what it does on a host, so that it can be cut there.

`python -m tests.scenarios.cutting CUTS …` is pyinfra, and CUTS a file of JSON: for each host that
is cut, which script (`change` or `confirm`), and where in it: a share of all its lines that do
something. At that line the host waits for as long as there is a file `STANDS_STILL`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pyinfra.api.host import Host

from tasks.host import rollback
from tasks.host.changes import Changes
from tasks.host.rollback import UNGUARDED, Guard
from tasks.running import facts
from tests import runs

STANDS_STILL = "/run/stands-still"
"""Has the line at which it stands still."""

# Each step of a change says what it is, or how far it is.
_DOES = re.compile(r"step=|begun=|mv |rm |put |mkdir ")
# What files.pl does in lines that it reads.
_DOES_TO_FILES = re.compile(
    r"take |stamp |scratch$|remove |folder |> |put |copy |program |made |remember |link |rename "
    r"|sync |wait |only |away |rmdir |clean$"
)
_READS = re.compile(r"(?:begin|files) <<'?END'?$")
_BEGINS = {"change": "take ", "confirm": "set -e"}
_STAYING = f"do {rollback.STORE}/confirmed.new/stay\n"
# A verb more for files.pl, which has a script stand still.
_VERB = "    at => sub { $at = $_[0] },\n"
_STANDING = f"""    still => sub {{
        write_file("{STANDS_STILL}", 0644, "$_[0]\\n");
        select undef, undef, undef, 0.2 while -e "{STANDS_STILL}";
    }},
"""


def lines(kind: str, script: str) -> list[int]:
    """The numbers of those lines of a script before which it may be cut."""
    return [number for number, _ in _numbers(script.splitlines(), _BEGINS[kind])]


def _numbers(text: list[str], begins: str) -> Iterator[tuple[int, bool]]:
    """Each of them, and whether it is one that files.pl reads."""
    has_begun = is_input = is_text = False
    for number, line in enumerate(text):
        if line == "END":
            is_input = is_text = False
            continue
        has_begun = has_begun or line.startswith(begins)
        does = _DOES_TO_FILES if is_input else _DOES
        if has_begun and not is_text and does.match(line):
            yield number, is_input
        is_input = is_input or bool(_READS.match(line))
        is_text = is_text or (not is_input and "<<'END'" in line)


def cut(kind: str, script: str, share: float) -> str:
    """The script, which stands still at a share of all those lines, from 0 to 1."""
    text = script.splitlines()
    found = [*_numbers(text, _BEGINS[kind])]
    at = min(int(share * len(found)), len(found) - 1)
    number, is_input = found[at]
    place = f"{kind}, {at + 1} of {len(found)}: {text[number][:100]}"
    if is_input:
        waits = f"still {place}"
    else:
        quoted = place.replace("'", "'\\''")
        waits = f"echo '{quoted}' >{STANDS_STILL}; while [ -e {STANDS_STILL} ]; do sleep 0.2; done"
    whole = "\n".join([*text[:number], waits, *text[number:], ""])
    return whole.replace(_VERB, f"{_VERB}{_STANDING}")


def inject(cuts: Mapping[str, tuple[str, float]]) -> None:
    """Have the scripts for these hosts stand still."""
    changing, running = Changes.script, facts.run
    stays: dict[str, Sequence[str]] = {}

    def change(self: Changes, guard: Guard = UNGUARDED) -> str:
        script = changing(self, guard)
        stays[self.host] = self.kept().stay
        kind, share = cuts.get(self.host, ("", 0.0))
        return cut(kind, script, share) if kind == "change" else script

    def run(host: Host, script: str) -> str:
        kind, share = cuts.get(host.name, ("", 0.0))
        if kind == "confirm" and rollback.DISARMING in script:
            # As a part of the script, what it reads there can be cut like the rest of it.
            stay = "".join(f"{line}\n" for line in stays[host.name])
            script = cut(kind, script.replace(_STAYING, stay), share)
        return running(host, script)

    Changes.script = change  # type: ignore[method-assign]
    facts.run = run


def start(
    folder: Path, hosts: runs.Hosts, cuts: Mapping[str, tuple[str, float]], *arguments: str
) -> subprocess.Popen[str]:
    """A run that stands still where it is cut, as `inject` has it."""
    path = folder / "cuts.json"
    path.write_text(json.dumps(cuts))
    program = (sys.executable, "-m", "tests.scenarios.cutting", str(path))
    return runs.start(folder, hosts, *arguments, program=program)


if __name__ == "__main__":
    path = sys.argv.pop(1)
    # It replaces Python's threads: not where tests import this.
    from pyinfra_cli.main import main  # type: ignore[import-untyped]

    inject({name: tuple(found) for name, found in json.loads(Path(path).read_text()).items()})
    main()
