"""A run that is cut anywhere leaves a host that is the old one or the new one, whole.

Each case cuts a run on a host of ifupdown's and one of netplan's at the same time, each at a line
of its own script; then come a run that makes it what it is to be, and one that has nothing to do.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.host import rollback
from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.lab.topologies import BROKER
from tests.scenarios import cutting
from tests.scenarios.cases import PAIRINGS, connected, tunnels
from tests.scenarios.conftest import Labs
from tests.scenarios.cutting import STANDS_STILL
from tests.scenarios.observation import Observation, carried, differences

FAULTS = ("controller killed", "network cut", "machine reset")
# What is done to a host in the middle of a run, and what ends that; the controller is killed, too.
TROUBLES = {
    "clock set back": ("date -s '1 day ago'", ":"),
    "clock set forward": ("date -s '1 day'", ":"),
    "disk full": ("fallocate -l $(df --output=avail -B1 / | tail -1) /filler; true", "rm /filler"),
    "run full": (
        "fallocate -l $(df --output=avail -B1 /run | tail -1) /run/filler; true",
        "rm -f /run/filler",
    ),
    "etc read-only": (
        "mount --bind /etc /etc && mount -o remount,ro,bind /etc",
        "umount /etc",
    ),
}
REBOOTS = "host reboots by itself"
DEPLOY, REMOVE = "deploy.py", "tasks.remove.remove"
WITHIN = 15
# Cut between the file of the unit that a boot would start, and the link by which it does: nobody
# starts it then, and the next run takes it away.
IDLE = re.compile(rf" {re.escape(rollback.UNIT_FILE)}$")
IFUPDOWN, NETPLAN = PAIRINGS["straight"]
HOSTS = {
    "server": (IFUPDOWN.server, NETPLAN.server),
    "client": (IFUPDOWN.client, NETPLAN.client),
}


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
            self.known[state, role, True] = carried(self.lab, HOSTS[role])
        self.lab.restore(f"bare-{role}")

    def _save(self, state: str, role: str) -> None:
        self.lab.save(f"{state}-{role}")
        self.is_saved.add(f"{state}-{role}")
        self.known[state, role, False] = carried(self.lab, HOSTS[role])

    def machines(self, names: Iterable[str]) -> list[LabMachine]:
        return [self.lab.machine(name) for name in names]

    def cut_power(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(LabMachine.cut_power, self.machines(names)))

    def start(self, task: str, role: str, script: str, share: float) -> subprocess.Popen[str]:
        """Have a run of a task stand still on the hosts of a role."""
        cuts = dict.fromkeys(HOSTS[role], (script, share))
        process = cutting.start(self.folder, self.inventory, cuts, task, "-y", *_limits(role))
        for machine in self.machines(HOSTS[role]):
            machine.wait_for(f"[ -e {STANDS_STILL} ]", 120)
        return process

    def go_on(self, role: str) -> None:
        for machine in self.machines(HOSTS[role]):
            machine.run(f"rm {STANDS_STILL}")

    def cut(self, task: str, role: str, script: str, share: float, fault: str) -> list[str]:
        """Cut a run of a task on the hosts of a role; where that was."""
        process = self.start(task, role, script, share)
        machines = self.machines(HOSTS[role])
        places = [
            f"{machine.machine.name}: {task}, {machine.run(f'cat {STANDS_STILL}').stdout.strip()}"
            for machine in machines
        ]
        if fault in TROUBLES or fault == REBOOTS:
            self._trouble(process, machines, fault)
            return places
        match fault:
            case "controller killed":
                process.kill()
                self.go_on(role)
            case "network cut":
                for machine in machines:
                    machine.run(f"(sleep 3; rm {STANDS_STILL}) >/dev/null 2>&1 &")
                    machine.qemu.plug_management(is_plugged=False)
                time.sleep(WITHIN + 8)
                for machine in machines:
                    machine.qemu.plug_management(is_plugged=True)
                    # Nothing has come by it for so long that it may take as long to come again.
                    machine.close()
            case "machine reset":
                process.kill()
                self.cut_power(HOSTS[role])
        if fault == "network cut":
            runs.end(process)
        else:
            process.communicate()
        for machine in machines:
            machine.wait_for(f"[ ! -e {rollback.HOLD} ]", 90)
            journal = f"{rollback.PENDING} {rollback.UNDOING} {rollback.STORE}/*.new"
            left = machine.run(f"ls -d {journal}", check=False).stdout
            assert not left, (left, machine.run(f"cat {rollback.REPORT}", check=False).stdout)
        return places

    def _trouble(
        self, process: subprocess.Popen[str], machines: list[LabMachine], fault: str
    ) -> None:
        process.kill()
        process.communicate()
        if fault == REBOOTS:
            with ThreadPoolExecutor() as pool:
                list(pool.map(LabMachine.reboot, machines))
            return
        makes, ends = TROUBLES[fault]
        for machine in machines:
            machine.run(f"{makes}; rm {STANDS_STILL}")
        begun = time.monotonic()
        for machine in machines:
            machine.wait_for(f"[ ! -e {rollback.HOLD} ]", WITHIN + 45)
            # It waits for as long as it was told to, and no longer.
            assert not fault.startswith("clock") or time.monotonic() - begun >= WITHIN - 2
            machine.run(ends)

    def assert_whole(self, role: str) -> None:
        """Each host is as it is bare, or as it is deployed, and nothing between."""
        self.assert_is(("bare", "deployed"), role)

    def assert_is(self, states: tuple[str, ...], role: str) -> None:
        """Each host is as in one of these states, as it is made or as it is booted."""
        for name, found in carried(self.lab, HOSTS[role]).items():
            known = (
                self.known[state, role, booted] for state in states for booted in (False, True)
            )
            differing = (differences({name: found}, {name: each[name]}) for each in known)
            left = ([line for line in lines if not IDLE.search(line)] for lines in differing)
            nearest = min(left, key=len)
            assert not nearest, "\n".join(nearest)


def _limits(role: str) -> list[str]:
    return [word for name in HOSTS[role] for word in ("--limit", name)]


@pytest.fixture(scope="module")
def cutter(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Cutter:
    return Cutter(labs.up(BROKER), tmp_path_factory.mktemp("cuts"))


# Of all these, one is in `make test`: in the middle, and by the hardest cut.
SAMPLE = ("server change 0.50", "machine reset")
SHARES = tuple((n + 0.5) / 9 for n in range(9))
PLACES = [
    *(("server", "change", share) for share in SHARES),
    *(("client", "change", share) for share in SHARES[1::5]),
    *(("server", "confirm", share) for share in (0.0, 0.4, 0.8)),
]


def _name(place: tuple[str, str, float]) -> str:
    return f"{place[0]} {place[1]} {place[2]:.2f}"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("where", "fault"),
    [
        pytest.param(
            place,
            fault,
            id=f"{_name(place)}, {fault}",
            marks=() if (_name(place), fault) == SAMPLE else pytest.mark.campaign,
        )
        for fault in FAULTS
        for place in PLACES
    ],
)
def test_a_run_that_is_cut_leaves_the_old_host_or_the_new_one(
    cutter: Cutter,
    where: tuple[str, str, float],
    fault: str,
    record_property: Callable[[str, object], None],
) -> None:
    role, script, share = where
    cutter.begin(role)
    places = []
    for task, state in ((DEPLOY, "deployed"), (REMOVE, "bare")):
        places += cutter.cut(task, role, script, share, fault)
        cutter.assert_whole(role)
        done = cutter.run(task, role)
        assert done.status == 0, done.output
        cutter.assert_is((state,), role)
        again = cutter.run(task, role)
        assert again.status == 0, again.output
        assert {word for _, word, *_ in again.table} == {"nothing to do"}, again.output
    record_property("cuts", [f"{fault}, {place}" for place in places])


@pytest.mark.lab
@pytest.mark.campaign
@pytest.mark.parametrize("fault", [*TROUBLES, REBOOTS])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_host_in_trouble_is_made_what_it_is_to_be_by_the_next_run(
    cutter: Cutter, share: float, fault: str
) -> None:
    cutter.begin("server")
    # The clocks are set when all is done, and it is waited for a word.
    cutter.cut(DEPLOY, "server", "change", 0.99 if fault.startswith("clock") else share, fault)
    if fault != "etc read-only":
        cutter.assert_whole("server")
    done = cutter.run(DEPLOY, "server")
    assert done.status == 0, done.output
    cutter.assert_is(("deployed",), "server")
    again = cutter.run(DEPLOY, "server")
    assert {word for _, word, *_ in again.table} == {"nothing to do"}, again.output


@pytest.mark.lab
@pytest.mark.campaign
def test_of_two_runs_at_once_the_second_is_told_who_is_at_work(cutter: Cutter) -> None:
    cutter.begin("server")
    first = cutter.start(DEPLOY, "server", "change", 0.5)
    second = cutter.run(DEPLOY, "server")
    assert second.status == 1
    for _, word, why in second.table:
        assert word == "refused", second.output
        assert re.match(r"\w+@\S+ from \S+, since 20\S+ \S+ UTC, is at work on this host", why)
    cutter.go_on("server")
    done = runs.end(first)
    assert done.status == 0, done.output
    cutter.assert_is(("deployed",), "server")


@pytest.mark.lab
@pytest.mark.campaign
def test_a_run_that_was_overtaken_changes_nothing(cutter: Cutter) -> None:
    cutter.begin("server")
    # It has read its hosts, and made its plan.
    overtaken = cutter.start(DEPLOY, "server", "change", 0.0)
    done = cutter.run(DEPLOY, "server")
    assert done.status == 0, done.output
    cutter.go_on("server")
    ended = runs.end(overtaken)
    assert ended.status == 1
    overtook = "another run has changed this host since this one looked at it: run again"
    assert overtook in ended.output
    cutter.assert_is(("deployed",), "server")
