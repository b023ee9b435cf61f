"""A run that is cut anywhere leaves a host that is the old one or the new one, whole.

Each case cuts a run on a host of ifupdown's and one of netplan's at the same time, each at a line
of its own script; then come a run that makes it what it is to be, and one that has nothing to do.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tasks.host import rollback
from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.lab.topologies import BROKER
from tests.scenarios.cases import PAIRINGS, connected, tunnels
from tests.scenarios.conftest import Labs
from tests.scenarios.cutting import STANDS_STILL
from tests.scenarios.observation import Observation, differences, observe_all

Fault = Literal["controller killed", "network cut", "machine reset"]
FAULTS: tuple[Fault, ...] = ("controller killed", "network cut", "machine reset")
DEPLOY, REMOVE = "deploy.py", "tasks.remove.remove"
WITHIN = 15
PROGRAM = (sys.executable, "-m", "tests.scenarios.cutting")
IFUPDOWN, NETPLAN = PAIRINGS["straight"]
HOSTS = {
    "server": (IFUPDOWN.server, NETPLAN.server),
    "client": (IFUPDOWN.client, NETPLAN.client),
}


def without_journal(found: Observation) -> Observation:
    """All but what a host remembers of runs, which is no part of what it carries."""
    left = {
        f for f in found.files if not any(p in f for p in (rollback.CONFIRMED, rollback.REPORT))
    }
    if not any(f"{rollback.STORE}/" in each for each in left):
        left = {each for each in left if not each.endswith(rollback.STORE)}
    return replace(found, files=frozenset(left))


class Cutter:
    """The lab, what its hosts are like in each state, and runs that are cut."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        data = {"confirm_within": WITHIN, "ssh_command_timeout": 120}
        cases = connected(lab.topology, tunnels([IFUPDOWN, NETPLAN]))
        self.inventory = [(name, {**each, **data}) for name, each in cases]
        self.is_saved: set[str] = set()
        self.known: dict[tuple[str, str, bool], dict[str, Observation]] = {}

    def run(self, task: str, role: str) -> runs.Run:
        return runs.run(self.folder, self.inventory, task, "-y", *_limits(role))

    def begin(self, role: str) -> None:
        """Bare hosts; with servers, where it is about clients."""
        if f"bare-{role}" in self.is_saved:
            self.lab.restore(f"bare-{role}")
            return
        self.lab.reset()
        if role == "client":
            done = self.run(DEPLOY, "server")
            assert done.status == 0, done.output
        self._save("bare", role)
        done = self.run(DEPLOY, role)
        assert done.status == 0, done.output
        self._save("deployed", role)
        for state in ("bare", "deployed"):
            self.lab.restore(f"{state}-{role}")
            self.cut_power(HOSTS[role])
            self.known[state, role, True] = self.observed(role)
        self.lab.restore(f"bare-{role}")

    def _save(self, state: str, role: str) -> None:
        self.lab.save(f"{state}-{role}")
        self.is_saved.add(f"{state}-{role}")
        self.known[state, role, False] = self.observed(role)

    def observed(self, role: str) -> dict[str, Observation]:
        found = observe_all(self.lab, HOSTS[role])
        return {name: without_journal(each) for name, each in found.items()}

    def machines(self, names: Iterable[str]) -> list[LabMachine]:
        return [self.lab.machine(name) for name in names]

    def cut_power(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(LabMachine.cut_power, self.machines(names)))

    def cut(self, task: str, role: str, script: str, share: float, fault: Fault) -> list[str]:
        """Cut a run of a task on the hosts of a role; where that was."""
        cuts = self.folder / "cuts.json"
        cuts.write_text(json.dumps(dict.fromkeys(HOSTS[role], (script, share))))
        program = (*PROGRAM, str(cuts))
        process = runs.start(
            self.folder, self.inventory, task, "-y", *_limits(role), program=program
        )
        machines = self.machines(HOSTS[role])
        for machine in machines:
            machine.wait_for(f"[ -e {STANDS_STILL} ]", 120)
        places = [
            f"{machine.machine.name}: {task}, {machine.run(f'cat {STANDS_STILL}').stdout.strip()}"
            for machine in machines
        ]
        match fault:
            case "controller killed":
                process.kill()
                for machine in machines:
                    machine.run(f"rm {STANDS_STILL}")
            case "network cut":
                for machine in machines:
                    machine.run(f"(sleep 3; rm {STANDS_STILL}) >/dev/null 2>&1 &")
                    machine.qemu.plug_management(is_plugged=False)
                time.sleep(WITHIN + 8)
                for machine in machines:
                    machine.qemu.plug_management(is_plugged=True)
            case "machine reset":
                process.kill()
                self.cut_power(HOSTS[role])
        if fault == "network cut":
            runs.end(process)
        else:
            process.communicate()
        for machine in machines:
            machine.wait_for(f"[ ! -e {rollback.HOLD} ]", 90)
            machine.run(f"[ ! -e {rollback.PENDING} ] && [ ! -e {rollback.UNDOING} ]")
        return places

    def assert_whole(self, role: str, *, is_booted: bool) -> None:
        """Each host is as it is bare, or as it is deployed, and nothing between."""
        for name, found in self.observed(role).items():
            left = {
                state: differences({name: found}, {name: self.known[state, role, is_booted][name]})
                for state in ("bare", "deployed")
            }
            assert not all(left.values()), left

    def assert_is(self, state: str, role: str, *, is_booted: bool) -> None:
        assert differences(self.observed(role), self.known[state, role, is_booted]) == []


def _limits(role: str) -> list[str]:
    return [word for name in HOSTS[role] for word in ("--limit", name)]


@pytest.fixture(scope="module")
def cutter(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Cutter:
    return Cutter(labs.up(BROKER), tmp_path_factory.mktemp("cuts"))


# One in the middle of everything is the sample of `make test`.
SHARES = tuple((n + 0.5) / 13 for n in range(13))
PLACES = [
    *(("server", "change", share) for share in SHARES),
    *(("client", "change", share) for share in SHARES[::3]),
    *(("server", "confirm", share) for share in (0.0, 0.2, 0.5, 0.9)),
]


@pytest.mark.lab
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "where",
    [
        pytest.param(each, id=f"{each[0]} {each[1]} {each[2]:.2f}", marks=pytest.mark.campaign)
        for each in PLACES
    ],
)
def test_a_run_that_is_cut_leaves_the_old_host_or_the_new_one(
    cutter: Cutter,
    where: tuple[str, str, float],
    fault: Fault,
    record_property: Callable[[str, object], None],
) -> None:
    role, script, share = where
    is_booted = fault == "machine reset"
    cutter.begin(role)
    places = []
    for task, state in ((DEPLOY, "deployed"), (REMOVE, "bare")):
        places += cutter.cut(task, role, script, share, fault)
        cutter.assert_whole(role, is_booted=is_booted)
        done = cutter.run(task, role)
        assert done.status == 0, done.output
        cutter.assert_is(state, role, is_booted=is_booted)
        again = cutter.run(task, role)
        assert again.status == 0, again.output
        assert {word for _, word, *_ in again.table} == {"nothing to do"}, again.output
    record_property("cuts", [f"{fault}, {place}" for place in places])
