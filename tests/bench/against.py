"""Culvert beside others on a host that really answers: `python -m tests.bench.against [TURNS]`.

As root. The others (`peers/`) make a host the same server of tunnels, each as its best users would
write it: one shell script over one `ssh`, which pings from every tunnel, too; pyinfra's own
operations; and a playbook of Ansible's with pipelining and a connection that is kept. They have no
packet filter, look for nothing of others' that is in the way, and don't go back where a run fails;
and but for the script, they prove nothing. After each stage the host must be the same by all.

They take turns, each on a new host that it deploys, finds unchanged, and changes by one tunnel's
MTU. The server alone is in the run; its clients have their ends already, and answer. Ratios are of
wall-clock times of one turn. What pyinfra takes for itself, an `exec -- true` on one host of its
connector @fake, is taken off Culvert's side alone; the ratio with all of it is told beside.
"""

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import commands, container, delay, here, sshd
from tests.bench.commands import SERVER, Command, Wanted, Way

TURNS = 5
ROUND_TRIPS = (0.0, 0.05)
"""In seconds."""
TUNNELS = (1, 10, 100)
FEW = 10
"""Up to so many tunnels all take part; beyond, the script alone."""
FIRST, UNCHANGED, CHANGED = STAGES = ("first deploy", "unchanged", "one changed")
MTU = 1400
"""Of the tunnel that changes."""

SCRIPT, STOCK, ANSIBLE, CULVERT, START = (
    "the script",
    "stock operations",
    "Ansible",
    "Culvert",
    "pyinfra's start",
)
TOOLS: dict[str, Callable[[Wanted, Way, Path], Command]] = {
    CULVERT: commands.culvert,
    SCRIPT: commands.script,
    STOCK: commands.stock,
    ANSIBLE: commands.ansible,
}
MOST = {0.0: 2.0, 0.05: 1.5}
"""By round trip: an unchanged run takes at most so many times what the script does."""
LEAST = {STOCK: 3.0, ANSIBLE: 10.0}
"""At every stage these take at least so many times what Culvert does."""
Times = dict[tuple[str, str], float]
"""Seconds, by who took them and at which stage."""

_SESSION = f"""read -r first <"$host"
export HOME=/run/root PATH={container.PATH}
exec nsenter --target="$first" --net --mount --pid -- /bin/sh -c "$SSH_ORIGINAL_COMMAND\""""


def taken(command: Command) -> tuple[float, str]:
    """Seconds, and what was printed."""
    began = time.monotonic()
    said = command.run()
    return time.monotonic() - began, said


def turn(tools: Sequence[str], tunnels: int, way: Way, folder: Path) -> Times:
    """What each takes at each stage, on hosts of their own, which must be the same."""
    times: Times = {}
    states = {}
    wanted = dict.fromkeys(STAGES, commands.server(tunnels))
    wanted[CHANGED] = commands.server(tunnels, MTU)
    for tool in tools:
        with container.up(wanted[FIRST].clients) as host:
            (folder / way["ssh_hostname"]).write_text(f"{host.number}\n")
            for stage in STAGES:
                seconds, said = taken(TOOLS[tool](wanted[stage], way, folder))
                commands.end_kept(folder)
                times[tool, stage] = seconds
                states[tool, stage] = host.state()
                is_done = "nothing to do" in said
                assert tool != CULVERT or is_done == (stage == UNCHANGED), said
    for (tool, stage), state in states.items():
        wanted_state = states[CULVERT, stage]
        differ = sorted(k for k in state | wanted_state if state.get(k) != wanted_state.get(k))
        assert not differ, (tool, stage, [(k, state.get(k), wanted_state.get(k)) for k in differ])
    times[START, ""], _ = taken(commands.start(folder))
    return times


def told(ratios: Sequence[float]) -> str:
    """A median and its spread."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def line(tool: str, stage: str, round_trip: float, turns: Sequence[Times]) -> tuple[str, bool]:
    """What is said of one of the others at a stage, and whether its bar, if any, is met."""
    own = [times[CULVERT, stage] for times in turns]
    others = [times[tool, stage] for times in turns]
    starts = [times[START, ""] for times in turns]
    median, theirs, start = map(statistics.median, (own, others, starts))
    pairs = [*zip(own, others, starts, strict=True)]
    if tool == SCRIPT:
        what, bar = "Culvert / the script", MOST[round_trip] if stage == UNCHANGED else None
        without, whole = [(a - s) / b for a, b, s in pairs], [a / b for a, b, _ in pairs]
        is_met = bar is None or statistics.median(without) <= bar
    else:
        what, bar = f"{tool} / Culvert", LEAST[tool]
        without, whole = [b / (a - s) for a, b, s in pairs], [b / a for a, b, _ in pairs]
        is_met = statistics.median(without) >= bar
    verdict = "no bar" if bar is None else f"bar {bar:g}: {'met' if is_met else 'MISSED'}"
    return (
        f"{what} {told(without)}, {verdict}; with pyinfra's start {told(whole)}; "
        f"{median:.2f} s, of which the start {start:.2f} s, and {theirs:.2f} s"
    ), is_met


def compare(tunnels: int, round_trip: float, turns: int, way: Way, folder: Path) -> bool:
    """Print a line for each of the others at each stage; whether all bars are met."""
    tools = [CULVERT, *([SCRIPT, STOCK, ANSIBLE] if tunnels <= FEW else [SCRIPT])]
    found = []
    for number in range(turns):
        found.append(turn(tools if number % 2 else tools[::-1], tunnels, way, folder))
    is_met = True
    for stage in STAGES:
        for tool in tools[1:]:
            said, is_well = line(tool, stage, round_trip, found)
            is_met = is_met and is_well
            where = f"{tunnels} tunnel{'' if tunnels == 1 else 's'}, {round_trip * 1000:.0f} ms"
            print(f"{where}, {stage}: {said}", flush=True)
    return is_met


def main() -> int:
    """The status is 1 where a bar isn't met."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    tunnels = [*map(int, sys.argv[2:])] or TUNNELS
    lacking = [each for each in ("ssh", "ping", "nft", "perl", "sysctl") if not shutil.which(each)]
    lacking += [] if sshd.PROGRAM else ["sshd"]
    lacking += [] if commands.PLAYBOOK.exists() else [str(commands.PLAYBOOK)]
    if lacking or os.geteuid():
        sys.exit(f"this needs root, and {', '.join(lacking) or 'nothing more'}")
    here.tell()
    is_met = True
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        way = stack.enter_context(sshd.listening(folder, [SERVER], _SESSION))[SERVER]
        for round_trip in ROUND_TRIPS:
            by = way
            if round_trip:
                away = delay.round_trip(round_trip, way["ssh_hostname"], way["ssh_port"])
                by = {**way, "ssh_port": stack.enter_context(away)}
            for count in tunnels:
                is_met = compare(count, round_trip, turns, by, folder) and is_met
    return 1 - is_met


if __name__ == "__main__":
    sys.exit(main())
