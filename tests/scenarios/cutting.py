"""A run that stands still at one line of what it does on a host, so that it can be cut there.

`python -m tests.scenarios.cutting CUTS …` is pyinfra, and CUTS a file of JSON: for each host that
is cut, which script (`change` or `confirm`), and where in it: a share of all its lines that do
something. At that line the host waits for as long as there is a file `STANDS_STILL`.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyinfra.api.host import Host

from tasks.host import rollback
from tasks.host.changes import Changes
from tasks.host.rollback import UNGUARDED, Guard
from tasks.running import facts

STANDS_STILL = "/run/stands-still"
"""Has the line at which it stands still."""

# Each step of a change says what it is, or how far it is.
_DOES = re.compile(r"take$|step=|begun=|mv |rm |put |sync |release$|ln |mkdir |await_word ")
# A text of many lines begins, such as another program; a line ends it that begins with the quote.
_QUOTES = re.compile(r"(?:perl -e|printf %s) '(?:#.*|main\(\) \{|store=.*)?$")
_STAYING = '. "$store/confirmed.new/stay"\n'
_BEGINS = {"change": "take", "confirm": "set -e"}


def lines(kind: str, script: str) -> list[int]:
    """The numbers of those lines of a script before which it may be cut."""
    return [*_numbers(script.splitlines(), _BEGINS[kind])]


def _numbers(text: list[str], begins: str) -> Iterator[int]:
    has_begun, end = False, ""
    for number, line in enumerate(text):
        if end and not line.startswith(end):
            continue
        is_last, end = bool(end), ""
        has_begun = has_begun or line == begins
        if not is_last and has_begun and _DOES.match(line):
            yield number
        if "<<'END'" in line:
            end = "END"
        elif _QUOTES.search(line):
            end = "' "


def cut(kind: str, script: str, share: float) -> str:
    """The script, which stands still at a share of all those lines, from 0 to 1."""
    text, found = script.splitlines(), lines(kind, script)
    number = found[min(int(share * len(found)), len(found) - 1)]
    place = f"{kind}, {found.index(number) + 1} of {len(found)}: {text[number][:100]}"
    quoted = place.replace("'", "'\\''")
    waits = f"echo '{quoted}' >{STANDS_STILL}; while [ -e {STANDS_STILL} ]; do sleep 0.2; done"
    return "\n".join([*text[:number], waits, *text[number:], ""])


def inject(cuts: Mapping[str, tuple[str, float]]) -> None:
    """Have the scripts for these hosts stand still."""
    changing, running = Changes.script, facts.run
    stays: dict[str, str] = {}

    def change(self: Changes, guard: Guard = UNGUARDED) -> str:
        script = changing(self, guard)
        stays[self.host] = self.kept().stay
        kind, share = cuts.get(self.host, ("", 0.0))
        return cut(kind, script, share) if kind == "change" else script

    def run(host: Host, script: str) -> str:
        kind, share = cuts.get(host.name, ("", 0.0))
        if kind == "confirm" and rollback.DISARMING in script:
            # As a part of the script, what it reads there can be cut like the rest of it.
            script = cut(kind, script.replace(_STAYING, stays[host.name]), share)
        return running(host, script)

    Changes.script = change  # type: ignore[method-assign]
    facts.run = run


if __name__ == "__main__":
    path = sys.argv.pop(1)
    # It replaces Python's threads: not where tests import this.
    from pyinfra_cli.main import main  # type: ignore[import-untyped]

    inject({name: tuple(found) for name, found in json.loads(Path(path).read_text()).items()})
    main()
