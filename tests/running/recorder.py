"""pyinfra on fake hosts, with a log of every command: `python -m tests.running.recorder LOG …`.

The hosts of `tests.samples` answer as `manager role` in their data `sample` says; a host becomes
`deployed` when a script changes it, unless its data has `breaks`; with `raises` there it answers
nothing. With `waits_for_other` its proof ends when that of another host has begun, as one of TCP
does. Packets larger than `passes` don't leave it. Those whose data has the same `machine` are one.
What the data has under `boots_with` is a sysctl that a file of the host's sets at boot; under
`says`, what a script prints that changes it or proves something, under `ends`, one that asks
whether all still works, and under `works` is what works before. One with `was_run` in its data
remembers the run that made it deployed, and one with `edits` has a line more in that file since.
What `stays` changes with no script. It may have a `holder` and a `report`. One that `was_cut_off`
changes when that is taken back.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from paramiko import ChannelException
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra_cli.main import main  # type: ignore[import-untyped]

from tasks.host import answer as answer_of_host
from tasks.host import rollback, state
from tasks.planning.plan import plan
from tests import answers, samples


def answer(self: FakeConnector, command: object, **arguments: Any) -> tuple[bool, CommandOutput]:
    """One exec: what kind it is, whether it succeeds and what it prints."""
    if (name := self.host.data.get("raises")) is not None:
        raise ERRORS[name]
    text = str(arguments.get("_stdin"))
    assert str(command) == "sh -s", command
    # A script turns a bare host into a deployed one, and the other way round.
    deployed = (self.host.name in changed) != bool(self.host.data.get("is_deployed"))
    kind = answers.kind(text)
    if kind == "read":
        machine = self.host.data.get("machine", self.host.name)
        setting = self.host.data.get("boots_with", "#")
        when = "deployed" if deployed else "bare"
        passes = self.host.data.get("passes", 0)
        by = self.host.data.get("was_run", "") if rollback.RECORD in text else ""
        edits = self.host.data.get("edits", "")
        told = {key: self.host.data.get(key, "") for key in ("holder", "report")}
        told["stamp"] = stamps.get(self.host.name, "")
        told["is_cut_off"] = self.host.name not in cleared and self.host.data.get("was_cut_off", "")
        words = [when, *self.host.data.sample.split(), machine, passes, setting, by, edits, told]
        lines = [json.dumps(words)]
    elif kind == "rehearse":
        lines = ["netplan: no such key", "@@ rehearsed: 1"]
        if self.host.data.get("refuses") != kind:
            works = [f"@@ works: {each}" for each in self.host.data.get("works", ())]
            lines = [*works, "@@ rehearsed: 0"]
    elif kind == "change":
        stamps[self.host.name] = answers.run_of(text)
        lines = [self.host.data.get("says", "it broke")]
        if not self.host.data.get("stays"):
            changed.symmetric_difference_update({self.host.name})
    elif kind == "clear":
        lines = []
        cleared.add(self.host.name)
        changed.add(self.host.name)
    elif kind in {"extend", "recall", "confirm"}:
        ended = {"extend": "", "recall": "undone", "confirm": "@@ ended: confirmed"}[kind]
        lines = self.host.data.get("ends", ended).split("\n")
    else:
        failing = self.host.data.get("fails_check")
        seen = self.host.data.get("says", "what was seen")
        lines = [f"@@ check {i} {int(i == failing)} {seen}" for i in range(200)]
        proving.add(self.host.name)
        if self.host.data.get("waits_for_other"):
            gevent.sleep(0.5)
            assert len(proving) > 1
    log.append((self.host.name, kind))
    broken = self.host.data.get("breaks") == kind
    return not broken, CommandOutput([OutputLine("stdout", line) for line in lines])


def parse(output: str) -> state.HostState:
    when, manager, role, machine, passes, setting, by, edits, told = json.loads(output)
    found = {"bare": samples.bare, "deployed": samples.deployed}[when](manager, role)
    (end,) = samples.node(role).ends
    files = {**found.files}
    if edits:
        files[edits] = replace(files[edits], text=f"{files[edits].text}# Mine.\n")
    before = samples.bare(manager, role)
    return replace(
        found,
        machine=machine,
        files=files,
        record=plan(samples.node(role), before).changes.record() if by else "",
        recorded_by=by,
        paths={(end.local, end.remote): passes} if passes else {},
        sysctl_files=samples.sysctl_files({LATER: setting}),
        **told,
    )


def connect(self: FakeConnector) -> None:
    log.append((self.host.name, "connect"))


# A file that sysctl.d(5) reads after Culvert's.
LATER = "/etc/sysctl.d/99-later.conf"

ERRORS = {
    "nobody to ask": EOFError(),
    "no session": ChannelException(2, "Connect failed"),
    "no connection": ConnectionResetError("reset by peer"),
}

log: list[tuple[str, str]] = []
changed: set[str] = set()
cleared: set[str] = set()
stamps: dict[str, str] = {}
proving: set[str] = set()

if __name__ == "__main__":
    destination = Path(sys.argv.pop(1))
    samples.rename({name: f"@fake/{name}" for name in samples.INVENTORY})
    FakeConnector.run_shell_command = answer  # type: ignore[method-assign,assignment]
    FakeConnector.connect = connect  # type: ignore[method-assign,assignment]
    answer_of_host.parse = parse
    try:
        main()
    finally:
        destination.write_text(json.dumps(log))
