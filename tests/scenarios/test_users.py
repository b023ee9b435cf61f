"""Who may run it."""

from pathlib import Path

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import NAMES, PAIRINGS, inventory
from tests.scenarios.observation import assert_traffic, differences, observe_all


def test_a_user_with_sudo_deploys(lab: Lab, tmp_path: Path) -> None:
    hosts = [(name, {**data, "_sudo": True}) for name, data in inventory("crossed", "admin")]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    for case in PAIRINGS["crossed"]:
        assert_traffic(lab, case)
    again = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert again.status == 0
    assert again.stderr.count("nothing to change") == len(NAMES)


def test_a_user_without_sudo_is_told_so(lab: Lab, tmp_path: Path) -> None:
    before = observe_all(lab)
    hosts = [(name, {**data, "_sudo": False}) for name, data in inventory("crossed", "admin")]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 1
    assert done.stderr.count("the SSH user is not root (uid 1000): add `--sudo`") == len(NAMES)
    assert differences(observe_all(lab), before) == []
