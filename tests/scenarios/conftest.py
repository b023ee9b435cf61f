"""The lab, up and in the state that a test asks for."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import runs
from tests.lab.lab import Lab
from tests.runs import Run
from tests.scenarios.cases import inventory
from tests.scenarios.observation import Observation, observe_all

Deploy = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def running_lab() -> Iterator[Lab]:
    # As Ctrl-C does, a termination ends the tests in order, so that no machine is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Lab() as lab:
        lab.reset()
        yield lab


@pytest.fixture
def lab(running_lab: Lab) -> Lab:
    """The lab as it was booted: nothing of Culvert anywhere."""
    running_lab.reset()
    return running_lab


@pytest.fixture(scope="session")
def bare(running_lab: Lab) -> dict[str, Observation]:
    """What the machines are like before any run."""
    running_lab.reset()
    return observe_all(running_lab)


@pytest.fixture(scope="session")
def deployments(running_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The first deployment of each pairing that a test asked for; the lab keeps a snapshot."""
    del running_lab, tmp_path_factory
    return {}


@pytest.fixture
def deployed(running_lab: Lab, deployments: dict[str, Run], tmp_path: Path) -> Deploy:
    """Puts the lab into the state right after the first deployment of a pairing."""

    def deploy(pairing: str) -> None:
        if pairing not in deployments:
            running_lab.reset()
            deployments[pairing] = runs.run(tmp_path, inventory(pairing), "deploy.py", "-y")
            running_lab.save(pairing)
        assert deployments[pairing].status == 0, deployments[pairing].output
        running_lab.restore(pairing)

    return deploy
