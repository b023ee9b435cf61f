"""What a run over many hosts takes that finds nothing to do: `python -m tests.bench.wide [HOSTS]`.

CPU and memory are those of pyinfra alone, beside those of `exec -- true` on the same hosts, in
turns: over fake ones, which answer at once, and, as root, over a real sshd. What a host takes of
memory is what a run over all takes more than one over a tenth.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import runs
from tests.bench import here, sshd
from tests.bench.hosts import ANSWERING, inventory, program

HOSTS = 500
TURNS = 5
CPU_BAR = 1.3
MEMORY_BAR = 0.2
"""In MB for each host."""

DEPLOY, NOTHING = ("deploy.py", "-y"), ("exec", "--", "true")
FAKE = {"fake_delay": 0, "fake_delay_jitter": 0}


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds of CPU, and MB at its largest."""

    cpu: float
    memory: float


def cost(pyinfra: Sequence[str], hosts: runs.Hosts, folder: Path, *arguments: str) -> Cost:
    """What a run takes that finds nothing to change, or does nothing."""
    written = folder / "inventory.py"
    written.write_text(f"hosts = {hosts!r}\n")
    process = subprocess.Popen(
        [*pyinfra, str(written), *arguments],
        cwd=runs.REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    assert arguments != DEPLOY or said.count("nothing to do") == len(hosts), said
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def compare(what: str, pyinfra: Sequence[str], hosts: runs.Hosts, folder: Path) -> bool:
    """Print a line of CPU and one of memory; whether both bars are met."""
    ratios, memory = [], []
    for turn in range(TURNS):
        order = (DEPLOY, NOTHING) if turn % 2 else (NOTHING, DEPLOY)
        found = {each: cost(pyinfra, hosts, folder, *each) for each in order}
        ratios.append(found[DEPLOY].cpu / found[NOTHING].cpu)
        memory.append(found[DEPLOY].memory)
    # Whole pairs of a server and its client.
    tenth = max(len(hosts) // 20, 1) * 2
    few = cost(pyinfra, hosts[:tenth], folder, *DEPLOY)
    each = (statistics.median(memory) - few.memory) / (len(hosts) - tenth)
    ratio = statistics.median(ratios)
    verdicts = ["met" if ratio <= CPU_BAR else "MISSED", "met" if each <= MEMORY_BAR else "MISSED"]
    print(
        f"{what}, {len(hosts)} hosts: CPU of an unchanged run / of `exec -- true` {ratio:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), bar {CPU_BAR}: {verdicts[0]}\n"
        f"{what}, {len(hosts)} hosts: {each:.3f} MB a host, bar {MEMORY_BAR}: {verdicts[1]}",
        flush=True,
    )
    return "MISSED" not in verdicts


def main() -> int:
    """The status is 1 where a bar isn't met."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else HOSTS
    if hosts < 4:
        sys.exit("HOSTS must be at least 4: a tenth of them is compared with all.")
    here.tell()
    with TemporaryDirectory() as name:
        folder = Path(name)
        data, said = inventory(hosts, "@fake/")
        fake = program(said, folder)
        met = compare("fake", fake, [(each, {**own, **FAKE}) for each, own in data], folder)
        if sshd.PROGRAM is None or os.geteuid():
            print("over a real sshd: left out, it takes root, and sshd (openssh-server)")
            return 1 - met
        data, said = inventory(hosts)
        with sshd.listening(folder, said, ANSWERING) as ways:
            for each, text in said.items():
                (folder / ways[each]["ssh_hostname"]).write_text(text)
            reached = [(each, {**own, **ways[each]}) for each, own in data]
            met &= compare("sshd", runs.PYINFRA, reached, folder)
    return 1 - met


if __name__ == "__main__":
    sys.exit(main())
