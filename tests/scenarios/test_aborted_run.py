"""Tests that are ended before their time, by whomever, leave no machine behind."""

import subprocess
import sys

from tests.lab.lab import Lab
from tests.lab.topologies import BROKER
from tests.lab.waiting import ask_until
from tests.runs import REPOSITORY
from tests.scenarios.conftest import Labs

# Up as for tests, and then busy.
PROGRAM = """
from tests.scenarios.conftest import Labs
from tests.lab.topologies import BROKER
Labs().up(BROKER)
print("up", flush=True)
input()
"""
SECONDS = 10


def up(lab: Lab) -> list[str]:
    return [name for name, each in lab.machines.items() if each.qemu.runs()]


def test_no_machine_outlives_the_process_that_started_it_for_tests(labs: Labs) -> None:
    labs.down()
    lab = Lab(BROKER)
    # A lab that somebody is at work with stays.
    stays = up(lab) if up(lab) == list(lab.machines) else []
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        assert up(lab) == list(lab.machines)
        program.kill()
    assert ask_until(lambda found: found == stays, lambda: up(lab), SECONDS) == stays
