"""Who may run it, and what their accounts may be like."""

from pathlib import Path

from tests import runs
from tests.lab.access import SUDO
from tests.lab.lab import Lab
from tests.runs import Hosts
from tests.scenarios.cases import NAMES, PAIRINGS, inventory
from tests.scenarios.observation import assert_traffic, differences, observe_all

WITHOUT_PYTHON = ("server-ifupdown", "client-ifupdown")


def entered_by_all() -> Hosts:
    """Each host with another user: none of them is root, and no two of them are alike."""
    by_user = {user: dict(inventory("crossed", user)) for user in SUDO}
    return [(name, by_user[user][name]) for name, user in zip(NAMES, SUDO, strict=True)]


def test_every_kind_of_user_deploys_and_verifies(lab: Lab, tmp_path: Path) -> None:
    """Sudo with and without a password, tcsh, a greeting in .bashrc, German, and no Python.

    And an sshd that lets nobody run two commands at once.
    """
    for name in NAMES:
        lab.machine(name).run(
            "sed -i 's/MaxSessions.*/MaxSessions 1/' /etc/ssh/sshd_config.d/lab.conf; "
            "systemctl reload ssh; sshd -T | grep -x 'maxsessions 1'"
        )
    for name in WITHOUT_PYTHON:
        lab.machine(name).run("rm -f /usr/bin/python3*; ! command -v python3")
    greeted = lab.machine(NAMES[list(SUDO).index("greta")])
    answer = greeted.run("sudo -u greta bash -c '. ~greta/.bashrc; ls /none'", check=False)
    assert "Datei oder Verzeichnis nicht gefunden" in answer.stderr
    hosts = entered_by_all()
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    for case in PAIRINGS["crossed"]:
        assert_traffic(lab, case)
    again = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert again.status == 0
    assert again.stderr.count("nothing to change") == len(NAMES)


def test_a_user_who_may_do_nothing_is_told_so(lab: Lab, tmp_path: Path) -> None:
    """Without sudo, and with one that wants a terminal."""
    (first, with_sudo), *others = entered_by_all()
    lab.machine(first).run("echo 'Defaults requiretty' >>/etc/sudoers.d/lab")
    before = observe_all(lab)
    hosts = [(first, with_sudo), *((name, {**data, "_sudo": False}) for name, data in others)]
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 1
    # As it is found, and in the table at the end.
    assert done.stderr.count("sudo wants a terminal, which a run has none of") == 2
    assert done.stderr.count("the SSH user is not root (uid 100") == 2 * len(others)
    assert differences(observe_all(lab), before) == []
