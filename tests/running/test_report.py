"""What a run says at its end of each host, and its status, whatever became of them."""

import os
import pty
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import runs
from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start, until
from tests.samples import CLIENT, HOSTS, SERVER, bare, deployed
from tests.ssh_hosts import At, SshHost, SshHosts

# Of hosts that are declared to carry nothing any more: each needs no other.
OLD, NEW = deployed("ifupdown", "client"), bare("ifupdown", "client")
REMOVED = "5 files, 2 lines of the running system"
AS_DECLARED = {"is_deployed": True}
HANGS, WAITS = {"change": "hangs"}, {"ssh_command_timeout": 4}


def test_of_many_hosts_those_that_fail_neither_stop_nor_hide_the_others(tmp_path: Path) -> None:
    hosts: dict[str, SshHost] = {}
    for n in range(50):
        name = f"web{n}.example.net"
        match n % 10:
            case 2:
                hosts[name] = SshHost(replace(OLD, uid=1000), NEW)
            case 5:
                hosts[name] = SshHost(OLD, NEW, {"change": "hangs"})
            case 8:
                hosts[name] = SshHost(OLD, NEW, {"change": "fails"})
            case _:
                hosts[name] = SshHost(OLD, NEW)
    with SshHosts(hosts) as listening:
        inventory = [
            listening.data(name, tunnel=[], **(WAITS if host.unkind == HANGS else {}))
            for name, host in hosts.items()
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    told = {
        2: ["refused", "the SSH user is not root (uid 1000): add `--sudo`, or connect as root"],
        5: ["undone", "no end of a command in 4 s"],
        8: ["undone", "Culvert stopped at: mv -f x y; what it made is taken back"],
    }
    assert done.table == [
        [name, *told.get(n % 10, ["done", REMOVED])] for n, name in enumerate(hosts)
    ]
    well = [host for n, host in enumerate(hosts.values()) if n % 10 not in told]
    assert len(well) == 35
    assert all(host.asked == ["read", "rehearse", "change", "read", "confirm"] for host in well)


def test_a_server_and_a_client_are_done_and_then_there_is_nothing_to_do(run: Start) -> None:
    done = run()
    assert done.status == 0
    assert [row[:2] for row in done.table] == [[SERVER_HOST, "done"], [CLIENT_HOST, "done"]]
    again = run(server=AS_DECLARED, client=AS_DECLARED)
    assert again.status == 0
    assert again.table == [[SERVER_HOST, "nothing to do"], [CLIENT_HOST, "nothing to do"]]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("deploy.py", "--dry"), 0), (("deploy.py",), 1), (("tasks.drift.drift", "-y"), 1)],
)
def test_where_nothing_is_changed_it_is_told_what_would_be(
    run: Start, arguments: tuple[str, ...], status: int
) -> None:
    done = run(*arguments, server=AS_DECLARED)
    assert done.status == status
    assert [row[:2] for row in done.table] == [
        [SERVER_HOST, "nothing to do"],
        [CLIENT_HOST, "would change"],
    ]


def test_a_removal_and_a_proof_end_with_it_too(run: Start) -> None:
    removed = run("tasks.remove.remove", "-y", client=AS_DECLARED)
    assert [row[:2] for row in removed.table] == [
        [SERVER_HOST, "nothing to do"],
        [CLIENT_HOST, "done"],
    ]
    proven = run("tasks.verify.verify", "-y", client={**AS_DECLARED, "fails_check": 0})
    assert proven.status == 1
    sentence = f"expected: {SERVER_HOST} answers at 2001:db8:1::2 through sit-ipv6; seen: what was"
    assert proven.table[0] == [SERVER_HOST, "done", "proven"]
    assert proven.table[1][:2] == [CLIENT_HOST, "failed"]
    assert proven.table[1][2].startswith(sentence)


@pytest.mark.parametrize(
    ("server", "word"),
    [
        ({"tunnel_server": {**SERVER, "external_interface": "eth9"}}, "refused"),
        ({"breaks": "read"}, "failed"),
        ({"breaks": "change"}, "undone"),
    ],
)
def test_a_client_is_left_alone_because_of_its_server(
    run: Start, server: dict[str, object], word: str
) -> None:
    done = run(server=server, others={"@fake/mail1": {"sample": "ifupdown client"}})
    assert done.status == 1
    assert [row[:2] for row in done.table] == [
        [SERVER_HOST, word],
        [CLIENT_HOST, "left alone"],
        ["@fake/mail1", "left alone"],
    ]
    assert done.table[1][2] == f"its tunnel server {SERVER_HOST} failed"
    assert done.table[2][2] == "nothing is declared for it"


def test_hosts_that_are_not_in_the_run_are_not_in_the_table(run: Start) -> None:
    done = run("deploy.py", "-y", "--limit", SERVER_HOST)
    assert [row[0] for row in done.table] == [SERVER_HOST]


def test_where_no_host_can_be_reached_each_is_told(tmp_path: Path) -> None:
    hosts = {name: SshHost(OLD, NEW) for name in ("web1.example.net", "web2.example.net")}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, tunnel=[]) for name in hosts]
        for name in hosts:
            listening.close(name)
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    assert [row[:2] for row in done.table] == [[name, "unreachable"] for name in hosts]


@pytest.fixture
def hears_its_terminal() -> Iterator[None]:
    """Whoever starts the tests with nohup has all that they start hear nothing of its end."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hears_its_terminal")
@pytest.mark.parametrize(
    ("number", "why", "parallel"),
    [
        (signal.SIGINT, "the run was interrupted", "1"),
        (signal.SIGINT, "the run was interrupted", "10"),
        (signal.SIGTERM, "the run was ended by SIGTERM", "10"),
        (signal.SIGHUP, "the run was ended by SIGHUP: its terminal is gone", "10"),
    ],
)
def test_an_interrupted_run_has_hosts_go_back_and_tells_what_is_known(
    tmp_path: Path, number: int, why: str, parallel: str
) -> None:
    hosts = {"web1.example.net": SshHost(OLD, NEW, {"change": "hangs"}), "web2": SshHost(NEW, NEW)}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, tunnel=[]) for name in hosts]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y", "--parallel", parallel)
        until(lambda: "change" in hosts["web1.example.net"].asked)
        process.send_signal(number)
        done = runs.end(process)
    assert done.status == 128 + number
    assert f"[web1.example.net] undone: {why}\n" in done.output
    assert hosts["web1.example.net"].asked == ["read", "rehearse", "change", "recall"]
    assert done.table == [
        ["web1.example.net", "undone", why],
        ["web2", "nothing to do"],
    ]


def test_a_run_that_is_interrupted_while_hosts_are_confirmed_has_them_go_back(
    tmp_path: Path,
) -> None:
    host = SshHost(OLD, NEW, {"confirm": "hangs"})
    with SshHosts({"web1.example.net": host}) as listening:
        inventory = [listening.data("web1.example.net", tunnel=[])]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y")
        until(lambda: "confirm" in host.asked)
        process.send_signal(signal.SIGINT)
        done = runs.end(process)
    assert done.status == 130
    assert host.asked[-2:] == ["confirm", "recall"]
    assert done.table == [["web1.example.net", "undone", "the run was interrupted"]]


def test_an_interrupted_run_has_a_server_go_back_that_waits_for_its_client(tmp_path: Path) -> None:
    server, client = HOSTS["server"], HOSTS["client"]
    hosts = {
        server: SshHost(bare("ifupdown", "server"), deployed("ifupdown", "server")),
        client: SshHost(NEW, OLD, {"change": "hangs"}),
    }
    with SshHosts(hosts) as listening:
        inventory = [
            listening.data(server, tunnel_server=SERVER),
            listening.data(client, tunnel=CLIENT),
        ]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y")
        until(lambda: "change" in hosts[client].asked)
        process.send_signal(signal.SIGINT)
        done = runs.end(process)
    assert done.status == 130
    assert [host.asked[-1] for host in hosts.values()] == ["recall", "recall"]
    assert [row[1] for row in done.table] == ["undone", "undone"]


def test_a_run_that_is_interrupted_again_tells_that_its_hosts_go_back_by_themselves(
    tmp_path: Path,
) -> None:
    host = SshHost(OLD, NEW, {"change": "hangs", "recall": "hangs"})
    with SshHosts({"web1.example.net": host}) as listening:
        inventory = [listening.data("web1.example.net", tunnel=[])]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y")
        for at in ("change", "recall"):
            until(lambda at=at: at in host.asked)  # type: ignore[misc]
            process.send_signal(signal.SIGINT)
        done = runs.end(process)
    assert done.status == 130
    assert done.table == [
        [
            "web1.example.net",
            "not confirmed yet",
            "it goes back by itself: the run was interrupted",
        ]
    ]


def test_a_run_that_is_to_outlast_its_terminal_does(tmp_path: Path) -> None:
    host = SshHost(OLD, NEW, takes={"change": 2})
    with SshHosts({"web1.example.net": host}) as listening:
        inventory = [listening.data("web1.example.net", tunnel=[])]
        program = ("nohup", *runs.PYINFRA)
        process = runs.start(tmp_path, inventory, "deploy.py", "-y", program=program)
        until(lambda: "change" in host.asked)
        process.send_signal(signal.SIGHUP)
        done = runs.end(process)
    assert done.status == 0, done.output
    assert done.table == [["web1.example.net", "done", REMOVED]]


@pytest.mark.parametrize("at", ["banner", "login", "read"])
def test_a_run_that_is_interrupted_before_it_knows_a_host_ends(tmp_path: Path, at: At) -> None:
    hosts = {"web1.example.net": SshHost(OLD, NEW, {at: "hangs"})}
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, tunnel=[]) for name in hosts]
        process = runs.start(tmp_path, inventory, "deploy.py", "-y")
        until(lambda: bool(hosts["web1.example.net"].asked))
        process.send_signal(signal.SIGINT)
        done = runs.end(process)
    assert done.status == 130
    ended = "the run ended before it was looked at"
    assert done.table == [["web1.example.net", "left alone", ended]]


def test_a_run_that_is_not_confirmed_is_none_that_has_done_its_work(tmp_path: Path) -> None:
    hosts = {"web1.example.net": SshHost(OLD, NEW)}
    person, terminal = pty.openpty()
    os.write(person, b"no\n")
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, tunnel=[]) for name in hosts]
        done = runs.end(runs.start(tmp_path, inventory, "deploy.py", stdin=terminal))
    os.close(person)
    os.close(terminal)
    assert done.status == 1
    assert done.table == [["web1.example.net", "would change", REMOVED]]
    assert done.output.endswith("not confirmed: the run ends here\n")
    assert hosts["web1.example.net"].asked == ["read", "rehearse"]
