"""The labs, each up and in the state that a test asks for."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import runs
from tests.lab.errors import ReleaseError
from tests.lab.lab import Lab
from tests.lab.places import PORT_VARIABLE, PORTS, Place
from tests.lab.topologies import BROKER, Topology
from tests.runs import Hosts, Run
from tests.scenarios.cases import NEIGHBOURS, Neighbours, inventory
from tests.scenarios.observation import Observation, observe_all

Deploy = Callable[[str], None]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the lab, and what stays in one process: a file's tests of one topology.

    Each process has a lab of its own, in which what was deployed once is put back for the next
    test.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            topology = parameters.get("topology", BROKER)
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.xdist_group(f"{topology.name}-{item.path.stem}"))


class Labs:
    """The labs of a process, of which one is up at a time, and what is known of that one."""

    def __init__(self) -> None:
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
            lab = Lab(topology, is_tied=True)
            try:
                self._was_up = not lab.up()
            except ReleaseError as error:
                if topology is BROKER:
                    raise
                self._unavailable[topology] = f"{topology.name}: a release can't be had: {error}"
                pytest.skip(self._unavailable[topology])
            self._lab = lab
            self._lab.reset()
            self._bare, self._deployments = {}, {}
        return self._lab

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

    def deployed(
        self, name: str, hosts: Hosts, folder: Path, beforehand: Callable[[], None] | None = None
    ) -> Run:
        """Put the lab into the state right after the first deployment of an inventory.

        Where it is deployed only now, something is done `beforehand`, and may go on.
        """
        assert self._lab is not None
        if name in self._deployments:
            self._lab.restore(name)
        else:
            self._lab.reset()
            if beforehand:
                beforehand()
            self._deployments[name] = runs.run(folder, hosts, "deploy.py", "-y")
            self._lab.save(name)
        return self._deployments[name]


@pytest.fixture(scope="session")
def labs(worker_id: str) -> Iterator[Labs]:
    if worker_id != "master":
        # One of several processes, each with machines of its own.
        port = Place.from_environment().port + PORTS * int(worker_id.removeprefix("gw"))
        os.environ[PORT_VARIABLE] = str(port)
    # As Ctrl-C does, a termination ends the tests in order, so that no disk is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    labs = Labs()
    try:
        yield labs
    finally:
        labs.down()


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


@pytest.fixture(params=NEIGHBOURS, ids=lambda among: among.server)
def among(request: pytest.FixtureRequest, labs: Labs, lab: Lab, tmp_path: Path) -> Neighbours:
    """Two clients of one server, deployed."""
    del lab
    found: Neighbours = request.param
    done = labs.deployed(f"neighbours-of-{found.server}", found.hosts(), tmp_path)
    assert done.status == 0, done.output
    return found
