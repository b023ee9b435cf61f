"""The labs, each up and in the state that a test asks for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from tests import runs
from tests.lab.errors import ReleaseError
from tests.lab.lab import Lab
from tests.lab.topologies import BROKER, Topology
from tests.runs import REPOSITORY, Hosts, Run
from tests.scenarios.cases import inventory
from tests.scenarios.observation import Observation, observe_all

Deploy = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """The table of what each manager lived through, with seconds, or how it ended."""
    rows: dict[str, dict[str, str]] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.getreports(outcome):
            found = dict(getattr(report, "user_properties", ()))
            if "scenario" in found:
                cells = rows.setdefault(found["host"], {})
                seconds = found.get("seconds")
                ended = f"{seconds:.0f} s" if outcome == "passed" else outcome.upper()
                cells[found["scenario"]] = ended
    if not rows:
        return
    titles = list(dict.fromkeys(title for cells in rows.values() for title in cells))
    width = max(map(len, rows))
    terminalreporter.section("what each manager lived through")
    terminalreporter.line(f"{'':{width}}  {'  '.join(titles)}")
    for host, cells in rows.items():
        line = "  ".join(f"{cells.get(title, ''):>{len(title)}}" for title in titles)
        terminalreporter.line(f"{host:{width}}  {line}")


class Labs:
    """The labs of all topologies, of which one is up at a time, and what is known of that one.

    `wanted` are those that will be asked for.
    """

    def __init__(self, wanted: Iterable[Topology] = ()) -> None:
        self._wanted = tuple(wanted)
        self._building: subprocess.Popen[bytes] | None = None
        self._lab: Lab | None = None
        self._was_up = False
        self._bare: dict[str, Observation] = {}
        self._deployments: dict[str, Run] = {}
        self._unavailable: dict[Topology, str] = {}

    def up(self, topology: Topology) -> Lab:
        """The lab of a topology; another one goes down for it."""
        if topology in self._unavailable:
            pytest.skip(self._unavailable[topology])
        if self._lab is None or self._lab.topology != topology:
            self.down()
            lab = Lab(topology)
            try:
                self._was_up = not lab.up()
            except ReleaseError as error:
                if topology is BROKER:
                    raise
                self._unavailable[topology] = f"{topology.name}: a release can't be had: {error}"
                pytest.skip(self._unavailable[topology])
            self._lab = lab
            self._build_ahead(topology)
            self._lab.reset()
            self._bare, self._deployments = {}, {}
        return self._lab

    def _build_ahead(self, topology: Topology) -> None:
        """Build the images of all other topologies in what the tests leave of the processors.

        What fails is tried again, and told, where its topology is asked for.
        """
        others = [each.name for each in self._wanted if each != topology]
        if self._building is None and others:
            self._building = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, "-m", "tests.lab", "build", *others],
                cwd=REPOSITORY,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def end(self) -> None:
        """End the machines, and what is being built."""
        self.down()
        if self._building is not None and self._building.poll() is None:
            os.killpg(self._building.pid, signal.SIGTERM)
            self._building.wait()

    def down(self) -> None:
        """End the machines, unless they ran before the tests."""
        if self._lab is not None:
            self._lab.close()
            if not self._was_up:
                self._lab.down()
            self._lab = None

    def bare(self) -> dict[str, Observation]:
        """What the hosts are like before any run."""
        assert self._lab is not None
        if not self._bare:
            self._lab.reset()
            self._bare = observe_all(self._lab)
        return self._bare

    def deployed(self, name: str, hosts: Hosts, folder: Path) -> Run:
        """Put the lab into the state right after the first deployment of an inventory."""
        assert self._lab is not None
        if name not in self._deployments:
            self._lab.reset()
            self._deployments[name] = runs.run(folder, hosts, "deploy.py", "-y")
            self._lab.save(name)
        self._lab.restore(name)
        return self._deployments[name]


@pytest.fixture(scope="session")
def labs(request: pytest.FixtureRequest) -> Iterator[Labs]:
    # As Ctrl-C does, a termination ends the tests in order, so that no machine is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parameters = [
        value
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        for value in item.callspec.params.values()
    ]
    labs = Labs(dict.fromkeys(each for each in parameters if isinstance(each, Topology)))
    try:
        yield labs
    finally:
        labs.end()


@pytest.fixture
def running_lab(labs: Labs) -> Lab:
    """The broker's lab, in whatever state."""
    return labs.up(BROKER)


@pytest.fixture
def lab(running_lab: Lab) -> Lab:
    """The broker's lab as it was booted: nothing of Culvert anywhere."""
    running_lab.reset()
    return running_lab


@pytest.fixture
def bare(labs: Labs, running_lab: Lab) -> dict[str, Observation]:
    """What the broker's machines are like before any run."""
    del running_lab
    return labs.bare()


@pytest.fixture
def deployed(labs: Labs, running_lab: Lab, tmp_path: Path) -> Deploy:
    """Puts the broker's lab into the state right after the first deployment of an inventory."""
    del running_lab

    def deploy(name: str) -> None:
        run = labs.deployed(name, inventory(name), tmp_path)
        assert run.status == 0, run.output

    return deploy
