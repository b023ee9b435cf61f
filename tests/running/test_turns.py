"""Hosts are changed at the same time, each after those that it needs, and waits for no other."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests import runs
from tests.answers import Kind
from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start, until
from tests.samples import bare, deployed, pair
from tests.ssh_hosts import SshHost, SshHosts

OLD, NEW = deployed("ifupdown", "client"), bare("ifupdown", "client")


@dataclass
class Waiting(SshHost):
    """A host that is through with its change once others have been asked for theirs."""

    others: list[SshHost] = field(default_factory=list)

    def answer(self, name: str, script: str) -> tuple[Kind, int, str, str]:
        found = super().answer(name, script)
        while found[0] == "change" and not all("change" in host.asked for host in self.others):
            time.sleep(0.02)
        return found


def test_a_client_waits_for_no_server_but_its_own(tmp_path: Path) -> None:
    of = {**pair(1), **pair(2)}
    hosts = {name: SshHost(before, after) for name, (_, before, after) in of.items()}
    _, before, after = of["fra1.example.net"]
    hosts["fra1.example.net"] = Waiting(before, after, others=[hosts["web2.example.net"]])
    with SshHosts(hosts) as listening:
        inventory = [
            listening.data(name, ssh_command_timeout=20, **data) for name, (data, *_) in of.items()
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 0, done.output
    assert [row[1] for row in done.table] == ["done"] * 4


def test_of_more_hosts_than_are_changed_at_a_time_none_waits_for_one_that_hangs(
    tmp_path: Path,
) -> None:
    others = [SshHost(OLD, NEW) for _ in range(4)]
    hosts: dict[str, SshHost] = {"web0": Waiting(OLD, NEW, others=others)}
    hosts |= {f"web{n}": host for n, host in enumerate(others, 1)}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(n, ssh_command_timeout=20, tunnel=[]) for n in hosts]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y", "--parallel", "2")
    assert done.status == 0, done.output
    assert [row[1] for row in done.table] == ["done"] * 5


def test_whoever_waits_leaves_its_place_to_those_it_waits_for(run: Start) -> None:
    def reverse(hosts: runs.Hosts) -> runs.Hosts:
        return hosts[::-1]

    done = run("deploy.py", "-y", "--parallel", "1", write=reverse)
    assert done.status == 0, done.output
    changed = [host for host, kind in done.execs if kind == "change"]
    assert changed == [SERVER_HOST, CLIENT_HOST]


def test_one_at_a_time_is_one_at_a_time(tmp_path: Path) -> None:
    class Alone(SshHost):
        def answer(self, name: str, script: str) -> tuple[Kind, int, str, str]:
            found = super().answer(name, script)
            if found[0] == "change":
                assert not at_work
                at_work.append(name)
                time.sleep(0.5)
                at_work.remove(name)
            return found

    at_work: list[str] = []
    of = {**pair(1), **pair(2)}
    hosts = {name: Alone(before, after) for name, (_, before, after) in of.items()}
    with SshHosts(hosts) as listening:
        # Where two are at work, one never answers.
        inventory = [
            listening.data(name, ssh_command_timeout=20, **data) for name, (data, *_) in of.items()
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y", "--parallel", "1")
    assert done.status == 0, done.output


def test_where_a_run_is_interrupted_nobodys_turn_comes_any_more(tmp_path: Path) -> None:
    of = pair(1)
    hosts = {name: SshHost(before, after) for name, (_, before, after) in of.items()}
    hosts["fra1.example.net"].unkind = {"change": "hangs"}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, **data) for name, (data, *_) in of.items()]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y", "--parallel", "1")
        until(lambda: "change" in hosts["fra1.example.net"].asked)
        process.send_signal(signal.SIGINT)
        done = runs.end(process)
    assert done.status == 130
    assert hosts["web1.example.net"].asked == ["read", "rehearse"]
    assert [row[1:] for row in done.table] == [
        ["undone", "the run was interrupted"],
        ["left alone", "the run ended before its turn"],
    ]
